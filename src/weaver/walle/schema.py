"""Schema: the revision of the tables that this version of Weaver needs, and checks of an open database. Changes nothing.

The revision is a plain constant, so that a command which only checks it imports neither the models nor Alembic.
"""

from __future__ import annotations

from typing import Any

import asyncpg

from weaver.core.errors import SchemaMismatch

__all__ = ["CHANNEL", "REVISION", "check_schema", "check_sequence", "revision_of"]

REVISION = "003"
"""The newest revision in walle/migrations/versions."""

CHANNEL = "weaver_events"
"""The channel of the NOTIFY after an append. It is only a hint: readers rely on the table."""


async def revision_of(connection: Any) -> str | None:
    """Return the database's revision; None if no migration was ever run."""
    try:
        revision: str | None = await connection.fetchval("SELECT version_num FROM alembic_version")
    except asyncpg.UndefinedTableError:
        return None
    return revision


async def check_schema(connection: Any) -> None:
    """Raise SchemaMismatch, which names the command to run, if the tables are not those of this version of Weaver."""
    revision = await revision_of(connection)
    if revision == REVISION:
        return
    if revision is None:
        raise SchemaMismatch("the database has no tables of Weaver's yet; make them with: weaver db upgrade")
    if revision < REVISION:
        raise SchemaMismatch(
            f"the database has revision {revision}, this Weaver needs {REVISION}; update it with: weaver db upgrade "
            "(a copy first: weaver db backup FILE)"
        )
    raise SchemaMismatch(
        f"the database has revision {revision}, made by a newer Weaver than this one, which knows {REVISION}; "
        "install that version, or restore a backup from before"
    )


async def check_sequence(connection: Any) -> None:
    """Raise SchemaMismatch if the log's sequence does not assign ids one by one, in order, as its readers need."""
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
            "skip events; repair it with: ALTER SEQUENCE outbox_id_seq CACHE 1 INCREMENT 1 NO CYCLE"
        )
