"""Load: puts the data of a dump into a new database, whose tables our own migrations made.

The dump gives rows and numbers of sequences. Every statement is written here, with the names of our own tables, so a dump
cannot make the server or psql run anything. Guarantees that the data are loaded whole or not at all, and that afterwards all
constraints of the tables hold. Indexes and keys are dropped before the load and made again after it, as pg_restore does:
this takes half the time.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from typing import Any

import asyncpg

from weaver.core.errors import BackupError
from weaver.core.text import brief
from weaver.walle.connection import Connector, first_line
from weaver.walle.copy_rows import copy_text
from weaver.walle.database import named_errors
from weaver.walle.dump.contents import REVISION_TABLE, KnownTables
from weaver.walle.dump.reader import SequenceValue, TableData

__all__ = ["check_rows", "known_tables", "load"]

_REFUSED_ROWS = (asyncpg.IntegrityConstraintViolationError, asyncpg.DataError, asyncpg.ProgramLimitExceededError)
_LONGEST_DETAIL = 300
_NO_TIMEOUTS = """
SELECT set_config(name, '0', false) FROM pg_settings
WHERE name IN ('statement_timeout', 'lock_timeout', 'idle_in_transaction_session_timeout', 'transaction_timeout')
"""
_COLUMNS = """
SELECT c.relname, array_agg(a.attname::text ORDER BY a.attnum)
FROM pg_class c JOIN pg_attribute a ON a.attrelid = c.oid
WHERE c.relnamespace = 'public'::regnamespace AND c.relkind = 'r' AND a.attnum > 0 AND NOT a.attisdropped
  AND a.attgenerated = '' AND c.relname <> $1
GROUP BY c.relname
"""
_SEQUENCES = """
SELECT s.relname, t.relname, a.attname
FROM pg_class s JOIN pg_depend d ON d.objid = s.oid AND d.classid = 'pg_class'::regclass AND d.deptype IN ('a', 'i')
JOIN pg_class t ON t.oid = d.refobjid JOIN pg_attribute a ON a.attrelid = t.oid AND a.attnum = d.refobjsubid
WHERE s.relnamespace = 'public'::regnamespace AND s.relkind = 'S'
"""
_OTHERS = """
SELECT CASE contype WHEN 'f' THEN 'FK CONSTRAINT' WHEN 'c' THEN 'CHECK CONSTRAINT' ELSE 'CONSTRAINT' END
       || ' public ' || conrelid::regclass || ' ' || conname
FROM pg_constraint WHERE connamespace = 'public'::regnamespace AND conrelid <> 0
UNION ALL
SELECT 'INDEX public ' || indexname FROM pg_indexes WHERE schemaname = 'public'
"""
_KEYS = """
SELECT format('ALTER TABLE %s DROP CONSTRAINT %I', conrelid::regclass, conname),
       format('ALTER TABLE %s ADD CONSTRAINT %I %s', conrelid::regclass, conname, pg_get_constraintdef(oid))
FROM pg_constraint
WHERE connamespace = 'public'::regnamespace AND contype IN ('p', 'u', 'f') AND conrelid <> $1::text::regclass
ORDER BY contype = 'f' DESC, conname
"""
_INDEXES = """
SELECT format('DROP INDEX %s', i.indexrelid::regclass), pg_get_indexdef(i.indexrelid)
FROM pg_index i JOIN pg_class c ON c.oid = i.indexrelid
WHERE c.relnamespace = 'public'::regnamespace
  AND NOT EXISTS (SELECT FROM pg_constraint k WHERE k.conindid = i.indexrelid)
ORDER BY c.relname
"""
_UNCHECKED = """
SELECT conrelid::regclass::text, conname, pg_get_expr(conbin, conrelid)
FROM pg_constraint WHERE connamespace = 'public'::regnamespace AND contype = 'c' AND NOT convalidated ORDER BY 1, 2
"""


async def known_tables(url: str) -> KnownTables:
    """Return the tables in the database at `url`, which our own migrations made."""
    connection = await Connector(url).connect()
    try:
        return KnownTables(
            columns={name: tuple(columns) for name, columns in await connection.fetch(_COLUMNS, REVISION_TABLE)},
            sequences={name: (table, column) for name, table, column in await connection.fetch(_SEQUENCES)},
            others=frozenset(name for (name,) in await connection.fetch(_OTHERS)),
        )
    finally:
        connection.terminate()


async def load(url: str, known: KnownTables, sections: Iterable[TableData | SequenceValue]) -> None:
    """Load the sections of a dump into the empty tables `known` of the database at `url`, in one transaction.

    Raises BackupError for data of another table, column or sequence, and for rows that the tables refuse.
    """
    with named_errors(url):
        connection = await Connector(url).connect()
    try:
        with named_errors(url, lambda: not connection.is_closed()), _named_rows():
            await connection.execute(_NO_TIMEOUTS)
            async with connection.transaction():
                await _load(connection, known, sections)
    finally:
        connection.terminate()


async def _load(connection: Any, known: KnownTables, sections: Iterable[TableData | SequenceValue]) -> None:
    # Emptying a table first spares its rows the write-ahead log on a server with wal_level=minimal.
    await connection.execute(f"TRUNCATE {', '.join(known.columns)}")
    dropped = [*await connection.fetch(_KEYS, REVISION_TABLE), *await connection.fetch(_INDEXES)]
    for drop, _ in dropped:
        await connection.execute(drop)
    loaded: set[str] = set()
    values: dict[str, SequenceValue] = {}
    for section in sections:
        if isinstance(section, SequenceValue):
            if section.schema != "public" or section.name not in known.sequences:
                raise BackupError(
                    f"it has a value of the sequence {section.schema}.{section.name}, which is not Weaver's"
                )
            values[section.name] = section
            continue
        _check_table(section, known, loaded)
        loaded.add(section.table)
        await copy_text(connection, section.table, section.columns, section.rows, encoding=section.encoding)
    for _, make in reversed(dropped):  # keys before the foreign keys that refer to them
        await connection.execute(make)
    for name, (table, column) in known.sequences.items():
        await _set_sequence(connection, table, column, values.get(name))


def _check_table(section: TableData, known: KnownTables, loaded: set[str]) -> None:
    name = f"{section.schema}.{section.table}"
    if section.schema != "public" or section.table not in known.columns:
        raise BackupError(f"it has rows of the table {name}, which is not Weaver's")
    if section.table in loaded:
        raise BackupError(f"it has the rows of the table {name} twice")
    if sorted(section.columns) != sorted(known.columns[section.table]):
        raise BackupError(
            f"the table {name} has the columns {', '.join(section.columns)} in it, and Weaver's table has "
            f"{', '.join(known.columns[section.table])}"
        )


async def _set_sequence(connection: Any, table: str, column: str, value: SequenceValue | None) -> None:
    """Set the sequence to its number in the dump, or to the largest id where that is larger: no id is given twice."""
    largest = await connection.fetchval(f"SELECT max({column}) FROM {table}")
    is_called = largest is not None or (value is not None and value.is_called)
    number = max(largest or 1, value.value if value is not None else 1)
    await connection.execute(
        "SELECT setval(pg_get_serial_sequence($1, $2)::regclass, $3, $4)", table, column, number, is_called
    )


async def check_rows(url: str) -> None:
    """Check the rows by the constraints that the migrations left unchecked. Raises BackupError with the first wrong row."""
    with named_errors(url):
        connection = await Connector(url).connect()
    try:
        with named_errors(url, lambda: not connection.is_closed()):
            await connection.execute(_NO_TIMEOUTS)
            for table, constraint, condition in await connection.fetch(_UNCHECKED):
                row = await connection.fetchval(
                    f"SELECT left(t::text, 200) FROM {table} t WHERE NOT ({condition}) LIMIT 1"
                )
                if row is not None:
                    raise BackupError(
                        f"the table {table} has a row that its constraint {constraint} refuses: {brief(row)}"
                    )
                await connection.execute(f'ALTER TABLE {table} VALIDATE CONSTRAINT "{constraint}"')
    finally:
        connection.terminate()


@contextmanager
def _named_rows() -> Iterator[None]:
    """Raise BackupError where the server refuses a row in the block."""
    try:
        yield
    except _REFUSED_ROWS as error:
        parts = (first_line(error), error.detail, error.context)
        text = "; ".join(part[:_LONGEST_DETAIL] for part in parts if part)
        raise BackupError(f"the server refuses a row: {text}") from None
