"""Database: connections to PostgreSQL, transactions and sessions on them, and its errors under Weaver's names.

Guarantees: connecting is retried with growing pauses while the server is away or starting, because nothing has been done
yet; the embedded server is started again first if it crashed. A statement is never retried: after it was sent, only its
caller knows whether a repetition does harm. A connection that breaks during a commit raises OutcomeUnknown, never less.

Does not guarantee that a connection survives its server. connection.py makes the connections.
"""

from __future__ import annotations

import asyncio
import socket
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager
from typing import TYPE_CHECKING, Any
from weakref import WeakSet

import asyncpg

from weaver.core.database_url import DatabaseUrl
from weaver.core.errors import (
    DatabaseDiskFull,
    OutcomeUnknown,
    SchemaMismatch,
    StoreError,
    StoreUnavailable,
)
from weaver.core.instants import NS_PER_SECOND
from weaver.core.ports import Clock, run_within, sleep_for
from weaver.walle.connection import (
    BROKEN,
    Connector,
    connection_error,
    describe_url,
    first_line,
    missing_privilege,
)
from weaver.walle.schema import check_schema

if TYPE_CHECKING:
    from sqlalchemy.ext.asyncio import AsyncEngine, AsyncSession, async_sessionmaker

__all__ = ["BROKEN", "Database", "DatabaseTransaction", "describe_url", "named_errors"]

_AMBIGUOUS = (asyncpg.InterfaceError, OSError)
_FINAL = (asyncpg.ClientConfigurationError, socket.gaierror)
"""Errors of connecting that a second attempt would repeat: a wrong URL, a host that does not exist."""

_FIRST_PAUSE_NS = NS_PER_SECOND // 50
_LONGEST_PAUSE_NS = 2 * NS_PER_SECOND
_LONGEST_CLOSE_NS = 10 * NS_PER_SECOND


class DatabaseTransaction:
    """A transaction of this database. Its attributes are for `walle` only."""

    def __init__(self, connection: Any) -> None:
        self.connection = connection
        self.after_commit: list[Callable[[], None]] = []


class Database:
    """The database that `url` names (postgresql+asyncpg://user:password@host:5432/name). It connects at its first use.

    At most `pool_size` + `max_overflow` pooled connections are open. Connecting is tried for `patience_s` seconds before
    StoreUnavailable. `echo` logs the statements that go through SQLAlchemy. `restart` is called in a thread when the server
    does not answer: it starts a server that crashed and returns its URL, or raises StoreError where it must not.
    `description` names the database for people (default: `describe_url`); unlike `url` it does not change with a restart.
    """

    def __init__(
        self,
        url: str,
        *,
        clock: Clock,
        pool_size: int = 5,
        max_overflow: int = 10,
        echo: bool = False,
        patience_s: float = 10.0,
        restart: Callable[[], str] | None = None,
        description: str | None = None,
    ) -> None:
        self.url = url
        self.description = description or describe_url(url)
        self.clock = clock
        self._connector = Connector(url)
        self._restart = restart
        self._restarting = asyncio.Lock()
        self._most = pool_size + max_overflow
        self._pool_size = pool_size
        self._max_overflow = max_overflow
        self._echo = echo
        self._patience_ns = int(patience_s * NS_PER_SECOND)
        self._pool: Any = None
        self._opening = asyncio.Lock()
        self._engine: AsyncEngine | None = None
        self._sessions: async_sessionmaker[AsyncSession] | None = None
        self._own: WeakSet[Any] = WeakSet()
        self._checked = False
        self._closed = False

    def __repr__(self) -> str:
        return f"<Database {describe_url(self.url)}>"

    async def __aenter__(self) -> Database:
        return self

    async def __aexit__(self, *error: object) -> None:
        await self.close()

    async def connect(self, **settings: str) -> Any:
        """Return a connection outside the pool, for long use. Its caller closes it; otherwise `close` does.

        `application_name` replaces the name "weaver" in pg_stat_activity; other `settings` are session settings.
        """
        self.check_open()
        application = settings.pop("application_name", "weaver")
        connection = await self._patiently(lambda: self._connector.connect(application=application, settings=settings))
        self._own.add(connection)
        return connection

    async def connect_checked(self, **settings: str) -> Any:
        """Return what `connect` returns, after a check that the tables are those of this version of Weaver."""
        connection = await self.connect(**settings)
        try:
            with named_errors(self.url, lambda: _is_usable(connection)):
                await self._check(connection)
        except BaseException:
            connection.terminate()
            raise
        return connection

    @asynccontextmanager
    async def connection(self) -> AsyncIterator[Any]:
        """Return a pooled connection for the block. The first one checks that the tables are those of this version."""
        with named_errors(self.url):
            connection = await self._acquire()
        try:
            with named_errors(self.url, lambda: _is_usable(connection)):
                await self._check(connection)
                yield connection
        finally:
            await self._pool.release(connection)

    @asynccontextmanager
    async def transaction(self) -> AsyncIterator[DatabaseTransaction]:
        """Return a transaction for the block: committed at its end, rolled back if the block raises.

        Raises OutcomeUnknown if the connection broke during the commit.
        """
        async with self.connection() as connection:
            inner = connection.transaction()
            await inner.start()
            transaction = DatabaseTransaction(connection)
            try:
                yield transaction
            except BaseException:
                if _is_usable(connection):
                    await asyncio.shield(inner.rollback())
                raise
            try:
                await inner.commit()
            except BROKEN as error:
                raise self._unknown(error) from error
            if connection.last_told == "ROLLBACK":
                raise StoreError(
                    "the server rolled the transaction back because one of its statements had failed; nothing was written"
                )
        for step in transaction.after_commit:
            step()

    async def _check(self, connection: Any) -> None:
        if not self._checked:
            await check_schema(connection)
            self._checked = True

    def _unknown(self, error: Exception) -> OutcomeUnknown:
        return OutcomeUnknown(
            f"the connection to {describe_url(self.url)} broke while it was committing ({first_line(error)}); "
            "check whether it was done before doing it again"
        )

    async def _acquire(self) -> Any:
        self.check_open()
        async with self._opening:
            if self._pool is None:
                # All users of a connection leave it clean, so that its return to the pool needs no round trip.
                self._pool = await asyncpg.create_pool(
                    min_size=0,
                    max_size=self._most,
                    reset=_keep_as_it_is,
                    connect=self._connect_for_pool,
                    connection_class=_Connection,
                )
        return await self._patiently(self._pool.acquire)

    async def _connect_for_pool(self, *_: Any, **__: Any) -> Any:
        return await self._connector.connect(connection_class=_Connection)

    def check_open(self) -> None:
        """Raise StoreError if this database was closed."""
        if self._closed:
            raise StoreError(f"{self!r} is closed")

    async def _patiently(self, attempt: Callable[[], Any]) -> Any:
        """Call `attempt` until it succeeds, while the server is away, for at most `patience_s` seconds."""
        pause, last = _FIRST_PAUSE_NS, self.clock.elapsed_ns() + self._patience_ns
        while True:
            try:
                return await attempt()
            except StoreError:
                raise
            except (asyncpg.PostgresError, asyncpg.InterfaceError, OSError) as error:
                if isinstance(error, asyncpg.InterfaceError) and "pool is clos" in str(error):
                    raise StoreError(f"{self!r} is closed") from error
                named = connection_error(self._connector.url, error)
                if named is None:
                    raise
                now = self.clock.elapsed_ns()
                if not _is_transient(error) or now >= last:
                    raise named from error
                await self._restart_server()
                await sleep_for(self.clock, min(pause, last - now))
                pause = min(2 * pause, _LONGEST_PAUSE_NS)

    async def _restart_server(self) -> None:
        if self._restart is not None:
            async with self._restarting:
                url = await asyncio.to_thread(self._restart)
                if url != self.url:
                    self.url, self._connector = url, Connector(url)

    # SQLAlchemy's.

    @property
    def engine(self) -> AsyncEngine:
        """SQLAlchemy's engine on this database, created at its first use."""
        if self._engine is None:
            from sqlalchemy.ext.asyncio import create_async_engine

            self._engine = create_async_engine(
                "postgresql+asyncpg://",
                async_creator=self.connect,
                pool_size=self._pool_size,
                max_overflow=self._max_overflow,
                pool_pre_ping=True,
                echo=self._echo,
            )
        return self._engine

    @property
    def session_factory(self) -> async_sessionmaker[AsyncSession]:
        """Factory of sessions whose objects stay readable after the commit."""
        if self._sessions is None:
            from sqlalchemy.ext.asyncio import async_sessionmaker

            self._sessions = async_sessionmaker(self.engine, expire_on_commit=False)
        return self._sessions

    @asynccontextmanager
    async def session(self) -> AsyncIterator[AsyncSession]:
        """Return a session for the block: committed at its end, rolled back if the block raises."""
        self.check_open()
        with named_errors(self.url, lambda: True):  # SQLAlchemy has wrapped the driver's errors
            async with self.session_factory() as session:
                if not self._checked:
                    connection = await (await session.connection()).get_raw_connection()
                    await self._check(connection.driver_connection)
                yield session
                try:
                    await session.commit()
                except Exception as error:
                    if isinstance(_innermost(error), BROKEN):
                        raise self._unknown(error) from error
                    raise

    async def close(self) -> None:
        """Close all connections after those in use were returned. Later use raises StoreError; closing again is allowed."""
        self._closed = True
        if self._pool is not None:  # kept: connections in use are returned to it
            try:
                await run_within(self.clock, _LONGEST_CLOSE_NS, asyncio.shield(self._pool.close()))
            except (TimeoutError, *BROKEN):  # a connection is still in use, or it is gone
                self._pool.terminate()
        engine, self._engine = self._engine, None
        if engine is not None:
            await engine.dispose()
        for connection in tuple(self._own):
            connection.terminate()

    def terminate(self) -> None:
        """Close all connections at once without waiting for the server. Their transactions are rolled back."""
        self._closed = True
        if self._pool is not None:
            self._pool.terminate()
        for connection in tuple(self._own):
            connection.terminate()


class _Connection(asyncpg.Connection):  # type: ignore[misc]
    """Stores the server's answer to the last command: for COMMIT it is ROLLBACK after an error that the caller ignored."""

    last_told = ""

    async def execute(self, query: str, *args: Any, timeout: float | None = None) -> str:  # noqa: ASYNC109 - the driver's
        answer: str = await super().execute(query, *args, timeout=timeout)
        self.last_told = answer
        return answer


def _is_transient(error: BaseException) -> bool:
    """Return whether another attempt to connect may succeed: the server is away, starting or full; the URL is right."""
    passing = (*BROKEN, asyncpg.TooManyConnectionsError, TimeoutError)
    return isinstance(error, passing) and not isinstance(error, (*_FINAL, asyncpg.ProtocolViolationError))


def _is_usable(connection: Any) -> bool:
    try:
        return not connection.is_closed()
    except asyncpg.InterfaceError:  # the pool has taken a broken one back already
        return False


async def _keep_as_it_is(connection: Any) -> None:
    """Reset nothing when a connection returns to the pool."""


@contextmanager
def named_errors(url: str, is_usable: Callable[[], bool] = lambda: False) -> Iterator[None]:
    """Raise the driver's errors of the block under Weaver's names.

    An error that may have another cause (a missing file, a wrong argument) counts as the connection's only if the connection
    is not usable any more. Otherwise it passes unchanged, so that the caller does not wait for a server that is well.
    """
    try:
        yield
    except StoreError:
        raise
    except (asyncpg.DiskFullError, asyncpg.OutOfMemoryError) as error:
        raise DatabaseDiskFull(
            f"{describe_url(url)} has no room: {first_line(error)}; make room and do it again, nothing was written"
        ) from error
    except asyncpg.UndefinedTableError as error:
        raise SchemaMismatch(f"{first_line(error)}: bring the tables up to date with: weaver db upgrade") from error
    except asyncpg.ReadOnlySQLTransactionError as error:
        raise StoreUnavailable(f"{describe_url(url)} only reads: {error}; name the primary server in DB_URL") from error
    except asyncpg.InsufficientPrivilegeError as error:
        raise missing_privilege(describe_url(url), DatabaseUrl.parse(url).user, error) from error
    except BROKEN as error:
        if isinstance(error, _AMBIGUOUS) and is_usable():
            raise
        raise StoreUnavailable(f"the connection to {describe_url(url)} broke: {first_line(error)}") from error
    except Exception as error:
        if type(error).__module__.startswith("sqlalchemy.") and getattr(error, "orig", None) is not None:
            raise _of_sqlalchemy(error, url) from error
        raise


def _of_sqlalchemy(error: Any, url: str) -> Exception:
    """Return Weaver's error for one of SQLAlchemy's, which wraps the driver's error twice."""
    inner = _innermost(error)
    if isinstance(inner, asyncpg.IntegrityConstraintViolationError):
        return StoreError(f"the database refused it: {first_line(inner)}")
    try:
        with named_errors(url):
            raise inner
    except StoreError as named:
        return named
    except BaseException:  # noqa: BLE001 - it is raised again by the caller, as it came
        return StoreError(f"the database refused it: {first_line(inner)}")


def _innermost(error: BaseException) -> BaseException:
    inner: BaseException = getattr(error, "orig", None) or error
    while inner.__cause__ is not None:
        inner = inner.__cause__
    return inner
