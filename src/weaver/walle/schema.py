"""Schema: which tables this Weaver expects, and how an open database is asked for its own. It changes nothing.

The revision is a plain constant, so that a command that only wants to know imports neither the models nor Alembic.
"""

from __future__ import annotations

from typing import Any

import asyncpg

from weaver.core.errors import SchemaMismatch

__all__ = ["CHANNEL", "REVISION", "check_schema", "check_sequence", "revision_of"]

REVISION = "002"
"""The newest revision in walle/migrations/versions."""

CHANNEL = "weaver_events"
"""Where a NOTIFY says that something was appended. It is a hint; the table is the truth."""


async def revision_of(connection: Any) -> str | None:
    """The database's revision; None where no migration ever ran."""
    try:
        found: str | None = await connection.fetchval("SELECT version_num FROM alembic_version")
    except asyncpg.UndefinedTableError:
        return None
    return found


async def check_schema(connection: Any) -> None:
    """Raise SchemaMismatch where the tables are not those of this Weaver, and say what to run."""
    found = await revision_of(connection)
    if found == REVISION:
        return
    if found is None:
        raise SchemaMismatch("the database has no tables of Weaver's yet; make them with: weaver db upgrade")
    if found < REVISION:
        raise SchemaMismatch(
            f"the database has revision {found}, this Weaver needs {REVISION}; bring it up to date with: weaver db upgrade "
            "(a copy first: weaver db backup FILE)"
        )
    raise SchemaMismatch(
        f"the database has revision {found}, made by a newer Weaver than this one, which knows {REVISION}; "
        "install that version, or restore a backup from before"
    )


async def check_sequence(connection: Any) -> None:
    """Raise SchemaMismatch where the log's ids would not be handed out one by one, in order: its readers rely on that."""
    row = await connection.fetchrow(
        "SELECT seqcache, seqincrement, seqcycle FROM pg_sequence WHERE seqrelid = "
        "pg_get_serial_sequence('outbox', 'id')::regclass"
    )
    if row is None:
        raise SchemaMismatch("the column outbox.id has no sequence of its own; make the tables with: weaver db upgrade")
    cache, increment, cycle = row
    if (cache, increment, cycle) != (1, 1, False):
        raise SchemaMismatch(
            f"the sequence of outbox.id has CACHE {cache}, INCREMENT {increment}{', CYCLE' if cycle else ''}: readers would "
            "pass events over; mend it with: ALTER SEQUENCE outbox_id_seq CACHE 1 INCREMENT 1 NO CYCLE"
        )
