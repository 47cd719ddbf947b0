"""Wiring: the only place that joins ports to adapters: the store to its database, the log to its clock."""

from __future__ import annotations

import asyncio
import os
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

from weaver.glados.clock.system import SystemClock
from weaver.walle.consumer_desk import PostgresConsumerDesk
from weaver.walle.database import Database
from weaver.walle.event_log import PostgresEventLog
from weaver.walle.run_store import RunStore
from weaver.walle.schema import revision_of

__all__ = ["OpenStore", "open_store", "runs_folder"]


@dataclass(frozen=True, slots=True)
class OpenStore:
    """A store that is open: the database and what speaks to it."""

    database: Database
    log: PostgresEventLog
    runs: RunStore
    desk: PostgresConsumerDesk


@asynccontextmanager
async def open_store(
    url: str | None = None, *, say: Callable[[str], None] | None = None, check: bool = True
) -> AsyncIterator[OpenStore]:
    """The store at `url`; without one that of DB_URL, or else Weaver's own server, which is started where it is not running.

    The tables of a new own server are made; an older schema is told with what to run (SchemaMismatch). `say` hears what
    takes long. Must not be called twice at once in one thread's event loop while its own server starts.
    """
    async with AsyncExitStack() as stack:
        own = url is None and not os.environ.get("DB_URL")
        if own:
            from weaver.walle.embedded import attach

            holding = await asyncio.to_thread(attach)
            stack.callback(holding.close)
            url = holding.url
        database = Database(url or os.environ["DB_URL"], clock=SystemClock())
        stack.push_async_callback(database.close)
        if own and check:
            await _make_tables(database, say)
        log = PostgresEventLog(database)
        stack.push_async_callback(log.close)
        yield OpenStore(database, log, RunStore(database), PostgresConsumerDesk(database))


async def _make_tables(database: Database, say: Callable[[str], None] | None) -> None:
    connection = await database.connect()
    try:
        new = await revision_of(connection) is None
    finally:
        await connection.close()
    if new:
        if say is not None:
            say("making the tables of a new database ...")
        from weaver.walle.migrating import upgrade

        await asyncio.to_thread(upgrade, database.url)


def runs_folder() -> Path:
    """Where the files of recorded runs lie, beside the catalog of bars."""
    from weaver.walle.bars.catalog import default_root

    return default_root().parent / "runs"
