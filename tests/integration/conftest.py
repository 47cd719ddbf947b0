"""A real PostgreSQL for the tests: the server that DB_URL names, or our own, and a fresh migrated database for each test."""

from __future__ import annotations

import asyncio
import fcntl
import os
import signal
from collections.abc import AsyncIterator, Callable, Coroutine, Iterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit, urlunsplit

import asyncpg
import pytest
from postgres import Server, running_server

from weaver.glados.clock.system import SystemClock
from weaver.testing.contracts import Store
from weaver.walle.consumer_store import PostgresConsumerStore
from weaver.walle.database import Database
from weaver.walle.embedded import attach
from weaver.walle.log.event_log import PostgresEventLog
from weaver.walle.migrate import upgrade


def on_server(url: str, *statements: str) -> None:
    """Execute `statements` one by one on the database that `url` names."""

    async def main() -> None:
        connection = await asyncpg.connect(url.replace("+asyncpg", ""))
        try:
            for statement in statements:
                await connection.execute(statement)
        finally:
            await connection.close()

    asyncio.run(main())


def with_database(url: str, name: str) -> str:
    """`url` with another database's name."""
    parts = urlsplit(url)
    plain = urlunsplit(parts._replace(path=f"/{name}"))
    return plain if parts.netloc else plain.replace(f"{parts.scheme}:/", f"{parts.scheme}:///", 1)


@pytest.fixture(scope="session")
def server() -> Iterator[Server]:
    """A server of a test's own, which knows prepared transactions and need not flush: one for each worker of the tests."""
    with running_server(durable=False) as server:
        yield server


@pytest.fixture(scope="session")
def server_url(tmp_path_factory: pytest.TempPathFactory, request: pytest.FixtureRequest) -> Iterator[str]:
    """A server where databases may be made. All workers share it; ours ends with the last of them."""
    if given := os.environ.get("DB_URL"):
        yield given
        return
    with attach(_shared(tmp_path_factory, request) / "server") as holding:
        # Every test begins with a new database, so nothing is lost with a crash of the machine. No test of what reaches the
        # disk may use this server.
        settings = Path(holding.server["data"]) / "postgresql.conf"
        if _NOT_DURABLE not in settings.read_text():
            with settings.open("a") as file:
                file.write(_NOT_DURABLE)
        os.kill(holding.server["pid"], signal.SIGHUP)
        yield holding.url


@pytest.fixture(scope="session")
def template(server_url: str, tmp_path_factory: pytest.TempPathFactory, request: pytest.FixtureRequest) -> str:
    """The name of a database that was migrated once, of which the others are copies."""
    folder = _shared(tmp_path_factory, request)
    name = f"weaver_template_{os.getppid() if hasattr(request.config, 'workerinput') else os.getpid()}"
    with (folder / "template.lock").open("a+") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        lock.seek(0)
        if lock.read() != name:
            on_server(server_url, f"DROP DATABASE IF EXISTS {name}", f"CREATE DATABASE {name}")
            upgrade(with_database(server_url, name))
            lock.write(name)
    return name


@pytest.fixture
def empty_url(server_url: str) -> Iterator[str]:
    """A new database without any tables."""
    yield from _database(server_url, "empty", "template1")


@pytest.fixture
def own_url(server_url: str, template: str) -> Iterator[str]:
    """A new database with Weaver's tables, for tests that change them; `database_url` is ten times faster."""
    yield from _database(server_url, "own", template)


@pytest.fixture(scope="session")
def _emptied(server_url: str, template: str) -> Iterator[str]:
    yield from _database(server_url, "emptied", template)


@pytest.fixture
def database_url(_emptied: str) -> str:
    """A database with Weaver's tables, empty, and used by nobody else."""
    on_server(_emptied, _LEAVE, _EMPTY)
    return _emptied


@pytest.fixture
def run_on(database_url: str) -> Callable[..., Any]:
    """`run_on(main)` runs the coroutine function `main(database)` on a `Database` with Weaver's tables, empty."""

    def run(main: Callable[[Database], Coroutine[Any, Any, Any]], **settings: Any) -> Any:
        async def whole() -> Any:
            async with Database(database_url, clock=SystemClock(), **settings) as database:
                return await main(database)

        return asyncio.run(whole())

    return run


@pytest.fixture
def in_postgres(database_url: str, request: pytest.FixtureRequest) -> None:
    """Opens the store of a contract suite in PostgreSQL, on real time: what is waited for is the server."""

    @asynccontextmanager
    async def opened() -> AsyncIterator[Store]:
        clock = SystemClock()
        async with Database(database_url, clock=clock) as database:
            log = PostgresEventLog(database)
            try:
                yield Store(log=log, desk=PostgresConsumerStore(database, retry_s=0.02), clock=clock)
            finally:
                await log.close()

    request.instance.opened = opened


_NOT_DURABLE = "fsync = off\n"
# Without the autovacuum's workers, which have no user: only a superuser may end them.
_LEAVE = """
SELECT pg_terminate_backend(pid) FROM pg_stat_activity
WHERE datname = current_database() AND pid <> pg_backend_pid() AND usesysid IS NOT NULL
"""
_EMPTY = (
    "TRUNCATE outbox, consumer_offsets, consumer_attempts, dead_letters, runs, orders, fills, results RESTART IDENTITY"
)


def _database(server_url: str, what: str, template: str) -> Iterator[str]:
    name = f"weaver_test_{os.getpid()}_{what}"
    on_server(server_url, f"DROP DATABASE IF EXISTS {name}", f"CREATE DATABASE {name} TEMPLATE {template}")
    try:
        yield with_database(server_url, name)
    finally:
        on_server(server_url, f"DROP DATABASE {name} WITH (FORCE)")


def _shared(tmp_path_factory: pytest.TempPathFactory, request: pytest.FixtureRequest) -> Path:
    """A folder of this test run that all its workers know."""
    base = tmp_path_factory.getbasetemp()
    return base.parent if hasattr(request.config, "workerinput") else base
