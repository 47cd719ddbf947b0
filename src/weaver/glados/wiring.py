"""Wiring: the only place that joins ports to adapters: the store to its database, the log to its clock."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

from weaver.config import Settings
from weaver.glados.clock.system import SystemClock
from weaver.walle.consumer_store import PostgresConsumerStore
from weaver.walle.database import Database
from weaver.walle.log.event_log import PostgresEventLog
from weaver.walle.runs import RunStore
from weaver.walle.schema import REVISION, revision_of

_PATIENCE_S = 3.0
"""How long a command, or a recording, tries to reach a server that does not answer: a restart takes a second or two."""

PENDING_FILE = "pending.json"
"""A file in the folder of a run whose end is not in the database yet (glados/backtest/run_ending.py)."""

__all__ = ["PENDING_FILE", "OpenStore", "has_pending_runs", "open_store", "runs_folder"]


@dataclass(frozen=True, slots=True)
class OpenStore:
    """A store that is open: the database and what speaks to it."""

    database: Database
    log: PostgresEventLog
    runs: RunStore
    desk: PostgresConsumerStore


@asynccontextmanager
async def open_store(
    settings: Settings | None = None, *, say: Callable[[str], None] | None = None
) -> AsyncIterator[OpenStore]:
    """The store that `settings` name (the default: those of this machine and folder): a database of one's own, or else the
    embedded server, which is started where it is not running.

    The tables of the embedded database are created and kept up to date. A database of your own whose tables are older
    raises SchemaMismatch, which names the command to run. `say` is called with a line before a step that takes long.
    """
    settings = settings or Settings.load()
    wanted = settings.database
    async with AsyncExitStack() as stack:
        url, restart = wanted.url, None
        if url is None:
            from weaver.walle.embedded import attach

            holding = await asyncio.to_thread(attach, settings.home, linger=settings.linger)
            stack.callback(holding.close)
            url, restart = holding.url, holding.restart
        database = Database(
            url,
            clock=SystemClock(),
            pool_size=wanted.pool_size,
            max_overflow=wanted.max_overflow,
            echo=wanted.echo,
            patience_s=_PATIENCE_S,
            restart=restart,
        )
        stack.push_async_callback(database.close)
        if wanted.url is None:
            await _make_tables(database, say)
        log = PostgresEventLog(database)
        stack.push_async_callback(log.close)
        yield OpenStore(database, log, RunStore(database), PostgresConsumerStore(database))


async def _make_tables(database: Database, say: Callable[[str], None] | None) -> None:
    """Create the tables of a new embedded database, or bring those of an older Weaver up to date."""
    connection = await database.connect()
    try:
        revision = await revision_of(connection)
    finally:
        await connection.close()
    if revision is None or revision < REVISION:
        if say is not None:
            what = "making the tables of a new database" if revision is None else "bringing the tables up to date"
            say(f"{what} ...")
        from weaver.walle.migrate import upgrade

        await asyncio.to_thread(upgrade, database.url)


def runs_folder() -> Path:
    """Where the files of recorded runs lie, beside the catalog of bars."""
    return Settings.load().home / "runs"


def has_pending_runs() -> bool:
    """Return whether there are runs whose end is not in the database yet."""
    return any(runs_folder().glob(f"*/{PENDING_FILE}"))
