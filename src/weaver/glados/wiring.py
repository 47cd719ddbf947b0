"""Wiring: the only place that joins ports and implementations: the store and its database, the log and its clock."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

from weaver.config import Settings
from weaver.core.ports import Clock
from weaver.core.run_folders import RunFolders
from weaver.glados.clock.system import SystemClock
from weaver.private_home import secure_home
from weaver.walle.consumer_store import PostgresConsumerStore
from weaver.walle.database import Database
from weaver.walle.log.event_log import PostgresEventLog
from weaver.walle.offset_store import PostgresOffsetStore
from weaver.walle.runs import RunStore
from weaver.walle.schema import REVISION, revision_of

_PATIENCE_S = 3.0
"""How long a command, or a recording, tries to reach a server that does not answer: a restart takes a second or two."""

PENDING_FILE = "pending.json"
"""A file in the folder of a run whose end is not in the database yet (glados/backtest/run_ending.py)."""

__all__ = [
    "PENDING_FILE",
    "OpenStore",
    "creates_server",
    "has_pending_runs",
    "open_store",
    "pending_run_ids",
    "run_folders",
    "runs_folder",
]


@dataclass(frozen=True, slots=True)
class OpenStore:
    """An open store: the event log, runs, and what a consumer needs, all on one database."""

    database: Database
    log: PostgresEventLog
    runs: RunStore
    consumer_store: PostgresConsumerStore
    clock: Clock

    @property
    def offsets(self) -> PostgresOffsetStore:
        """The offsets of all consumers."""
        return self.consumer_store.offsets

    @property
    def desk(self) -> PostgresConsumerStore:
        """An earlier name of `consumer_store`."""
        return self.consumer_store


@asynccontextmanager
async def open_store(
    settings: Settings | None = None, *, say: Callable[[str], None] | None = None, resume: bool = False
) -> AsyncIterator[OpenStore]:
    """Open the store for the block: the database of DB_URL, or else the embedded server, which is started if necessary.

    `settings` replaces the settings of the environment and of weaver.toml. The tables of the embedded database are created
    and kept up to date. A database of your own whose tables are older raises SchemaMismatch, which names the command to
    run; one that cannot be reached raises StoreUnavailable. `say` is called with a line before a step that takes long.
    With `resume`, for a program that goes on with earlier work, a `weaver db stop` stays in force (StoreUnavailable).
    """
    settings = settings or Settings.load()
    secure_home(settings.home)
    wanted = settings.database
    async with AsyncExitStack() as stack:
        url, restart, description = wanted.url, None, None
        if url is None:
            from weaver.walle.embedded import attach

            holding = await asyncio.to_thread(attach, settings.home, linger=settings.linger, resume=resume)
            stack.callback(holding.close)
            url, restart, description = holding.guarded_url, holding.restart, holding.description
        clock = SystemClock()
        database = Database(
            url,
            clock=clock,
            pool_size=wanted.pool_size,
            max_overflow=wanted.max_overflow,
            echo=wanted.echo,
            patience_s=_PATIENCE_S,
            restart=restart,
            description=description,
        )
        stack.push_async_callback(database.close)
        if wanted.url is None:
            await _make_tables(database, say)
        log = PostgresEventLog(database)
        stack.push_async_callback(log.close)
        yield OpenStore(database, log, RunStore(database), PostgresConsumerStore(database), clock)


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

        for line in await asyncio.to_thread(upgrade, database.url):
            if say is not None:
                say(line)


def runs_folder() -> Path:
    """Return the folder of the files of recorded runs."""
    return Settings.load().home / "runs"


def run_folders() -> RunFolders:
    """Return the folders of recorded runs, one for each run id."""
    return RunFolders(runs_folder())


def pending_run_ids(folders: RunFolders) -> list[str]:
    """Return the ids of the runs whose end is not in the database yet; none where this user cannot list the runs."""
    try:
        return list(folders.run_ids(having=PENDING_FILE))
    except PermissionError:
        return []


def has_pending_runs() -> bool:
    """Return whether there are runs whose end is not in the database yet."""
    return bool(pending_run_ids(run_folders()))


def creates_server() -> bool:
    """Return whether opening the store would create the embedded database, which takes seconds."""
    settings = Settings.load()
    return settings.database.url is None and not (settings.home / "postgres").exists()
