"""Database: connections to PostgreSQL, transactions and sessions on them, and its errors by Weaver's names.

Connecting is tried again with growing pauses while the server is away or starting, for nothing has been done yet. A
statement is not: once it was sent, only its caller can know whether doing it twice does harm. A connection that broke while
a commit was on its way is OutcomeUnknown, and never anything milder.
"""

from __future__ import annotations

import asyncio
import socket
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager
from typing import TYPE_CHECKING, Any
from urllib.parse import unquote, urlsplit
from weakref import WeakSet

import asyncpg

from weaver.core.errors import (
    ConfigError,
    DatabaseDiskFull,
    OutcomeUnknown,
    SchemaMismatch,
    StoreError,
    StoreUnavailable,
)
from weaver.core.instants import NS_PER_SECOND
from weaver.core.ports import Clock, run_within, sleep_for
from weaver.walle.schema import check_schema

if TYPE_CHECKING:
    from sqlalchemy.ext.asyncio import AsyncEngine, AsyncSession, async_sessionmaker

__all__ = ["BROKEN", "Database", "DatabaseTransaction", "describe_url", "named_errors"]

BROKEN = (
    asyncpg.PostgresConnectionError,
    asyncpg.CannotConnectNowError,
    asyncpg.AdminShutdownError,
    asyncpg.CrashShutdownError,
    asyncpg.IdleInTransactionSessionTimeoutError,
    asyncpg.InterfaceError,
    asyncpg.InternalClientError,
    OSError,
)
"""What asyncpg raises when a connection is gone, or cannot be had."""

_AMBIGUOUS = (asyncpg.InterfaceError, OSError)

_REFUSED = (
    asyncpg.InvalidPasswordError,
    asyncpg.InvalidAuthorizationSpecificationError,
    asyncpg.InvalidCatalogNameError,
)
_FIRST_PAUSE_NS = NS_PER_SECOND // 50
_LONGEST_PAUSE_NS = 2 * NS_PER_SECOND
_LONGEST_CLOSE_NS = 10 * NS_PER_SECOND
_SETTINGS = {
    "application_name": "weaver",
    "synchronous_commit": "on",  # what `append` returned from has reached the disk, whatever the server's default
    "jit": "off",  # every statement here is short
    "timezone": "UTC",
    # A machine that vanished is noticed in half a minute, and its leases are free again. No effect on a Unix socket.
    "tcp_keepalives_idle": "10",
    "tcp_keepalives_interval": "5",
    "tcp_keepalives_count": "4",
}


class DatabaseTransaction:
    """A transaction of this database; what it holds is the store's own business."""

    def __init__(self, connection: Any) -> None:
        self.connection = connection
        self.after_commit: list[Callable[[], None]] = []


class Database:
    """One database, which `url` names (postgresql+asyncpg://user:password@host:5432/name). It connects when first used.

    At most `pool_size` + `max_overflow` connections are open. `patience_s` is how long connecting is tried before
    StoreUnavailable. `echo` logs the statements that go through SQLAlchemy.
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
    ) -> None:
        self.url = url
        self.dsn = _dsn(url)
        self.clock = clock
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

    # Plain connections.

    async def connect(self, **settings: str) -> Any:
        """A connection of one's own, outside the pool, for what holds one for long. Its caller closes it, or `close`."""
        self.check_open()
        made = await self._patiently(
            lambda: asyncpg.connect(self.dsn, server_settings=_SETTINGS | settings, timeout=10)
        )
        self._own.add(made)
        return made

    async def connect_checked(self, **settings: str) -> Any:
        """What `connect` gives, once it was asked whether the tables are those of this Weaver."""
        made = await self.connect(**settings)
        try:
            with named_errors(self.url, lambda: _stands(made)):
                await self._check(made)
        except BaseException:
            made.terminate()
            raise
        return made

    @asynccontextmanager
    async def connection(self) -> AsyncIterator[Any]:
        """A pooled connection for the block. The first one asks whether the tables are those of this Weaver."""
        with named_errors(self.url):
            connection = await self._acquire()
        try:
            with named_errors(self.url, lambda: _stands(connection)):
                await self._check(connection)
                yield connection
        finally:
            await self._pool.release(connection)

    @asynccontextmanager
    async def transaction(self) -> AsyncIterator[DatabaseTransaction]:
        """A transaction for the block: committed at its end, rolled back where it raises.

        Raises OutcomeUnknown where the connection broke while it committed.
        """
        async with self.connection() as connection:
            inner = connection.transaction()
            await inner.start()
            one = DatabaseTransaction(connection)
            try:
                yield one
            except BaseException:
                if _stands(connection):
                    await asyncio.shield(inner.rollback())
                raise
            try:
                await inner.commit()
            except BROKEN as error:
                raise self._unknown(error) from error
            if connection.last_told == "ROLLBACK":
                raise StoreError(
                    "the transaction was rolled back whole, for one of its statements had failed; nothing of it is there"
                )
        for step in one.after_commit:
            step()

    async def _check(self, connection: Any) -> None:
        if not self._checked:
            await check_schema(connection)
            self._checked = True

    def _unknown(self, error: Exception) -> OutcomeUnknown:
        return OutcomeUnknown(
            f"the connection to {describe_url(self.url)} broke while it was committing ({_first_line(error)}); "
            "look whether it was done before doing it again"
        )

    async def _acquire(self) -> Any:
        self.check_open()
        async with self._opening:
            if self._pool is None:
                # The connections are left clean by everybody here, so that giving one back needs no round trip.
                self._pool = await asyncpg.create_pool(
                    self.dsn,
                    min_size=0,
                    max_size=self._most,
                    server_settings=_SETTINGS,
                    reset=_leave,
                    timeout=10,
                    connection_class=_Connection,
                )
        return await self._patiently(self._pool.acquire)

    def check_open(self) -> None:
        """Raise StoreError where it was closed."""
        if self._closed:
            raise StoreError(f"{self!r} is closed")

    async def _patiently(self, attempt: Callable[[], Any]) -> Any:
        """`attempt`, again and again while the server is away, until the patience ends."""
        pause, last = _FIRST_PAUSE_NS, self.clock.elapsed_ns() + self._patience_ns
        while True:
            try:
                return await attempt()
            except _REFUSED as error:
                raise StoreUnavailable(
                    f"{describe_url(self.url)} refused the connection: {error}; is the URL right (DB_URL)?"
                ) from error
            except (*BROKEN, asyncpg.TooManyConnectionsError, TimeoutError) as error:
                if isinstance(error, asyncpg.InterfaceError) and "pool is clos" in str(error):
                    raise StoreError(f"{self!r} is closed") from error
                now = self.clock.elapsed_ns()
                if now >= last or isinstance(error, socket.gaierror):  # no such host: nor will there be one in a second
                    raise StoreUnavailable(
                        f"{describe_url(self.url)} cannot be reached: {_first_line(error)}; is it running? "
                        "(weaver db status; or is DB_URL right?)"
                    ) from error
                await sleep_for(self.clock, min(pause, last - now))
                pause = min(2 * pause, _LONGEST_PAUSE_NS)

    # SQLAlchemy's.

    @property
    def engine(self) -> AsyncEngine:
        """SQLAlchemy's engine on this database, made when first asked for."""
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
        """Makes sessions whose objects stay readable after the commit."""
        if self._sessions is None:
            from sqlalchemy.ext.asyncio import async_sessionmaker

            self._sessions = async_sessionmaker(self.engine, expire_on_commit=False)
        return self._sessions

    @asynccontextmanager
    async def session(self) -> AsyncIterator[AsyncSession]:
        """A session for the block: committed at its end, rolled back where it raises."""
        self.check_open()
        with named_errors(self.url, lambda: True):  # what comes from the driver, SQLAlchemy has wrapped
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
        """Close all connections, once those in use were given back. Twice is nothing.

        Who uses it afterwards gets StoreError.
        """
        self._closed = True
        if self._pool is not None:  # which stays: whoever still uses a connection gives it back there
            try:
                await run_within(self.clock, _LONGEST_CLOSE_NS, asyncio.shield(self._pool.close()))
            except (TimeoutError, *BROKEN):  # somebody keeps a connection, or it is gone
                self._pool.terminate()
        engine, self._engine = self._engine, None
        if engine is not None:
            await engine.dispose()
        for connection in tuple(self._own):
            connection.terminate()


class _Connection(asyncpg.Connection):  # type: ignore[misc]
    """Remembers what the server told of the last command: to COMMIT, ROLLBACK after an error that somebody swallowed."""

    last_told = ""

    async def execute(self, query: str, *args: Any, timeout: float | None = None) -> str:  # noqa: ASYNC109 - the driver's
        told: str = await super().execute(query, *args, timeout=timeout)
        self.last_told = told
        return told


def _stands(connection: Any) -> bool:
    try:
        return not connection.is_closed()
    except asyncpg.InterfaceError:  # the pool has taken a broken one back already
        return False


async def _leave(connection: Any) -> None:
    """What giving a connection back to the pool does to it."""


@contextmanager
def named_errors(url: str, stands: Callable[[], bool] = lambda: False) -> Iterator[None]:
    """The driver's errors within the block by Weaver's names.

    An error that may have come from elsewhere (a file that is not there, a wrong argument) is the connection's only where
    that does not stand; else it is left as it is, and nobody waits for a server that is well.
    """
    try:
        yield
    except StoreError:
        raise
    except (asyncpg.DiskFullError, asyncpg.OutOfMemoryError) as error:
        raise DatabaseDiskFull(
            f"{describe_url(url)} has no room: {_first_line(error)}; make room and do it again, nothing was written"
        ) from error
    except asyncpg.UndefinedTableError as error:
        raise SchemaMismatch(f"{_first_line(error)}: bring the tables up to date with: weaver db upgrade") from error
    except asyncpg.ReadOnlySQLTransactionError as error:
        raise StoreUnavailable(f"{describe_url(url)} only reads: {error}; name the primary server in DB_URL") from error
    except BROKEN as error:
        if isinstance(error, _AMBIGUOUS) and stands():
            raise
        raise StoreUnavailable(f"the connection to {describe_url(url)} broke: {_first_line(error)}") from error
    except Exception as error:
        if type(error).__module__.startswith("sqlalchemy.") and getattr(error, "orig", None) is not None:
            raise _of_sqlalchemy(error, url) from error
        raise


def _of_sqlalchemy(error: Any, url: str) -> Exception:
    """SQLAlchemy wraps the driver's error twice; the innermost one says what happened."""
    inner = _innermost(error)
    if isinstance(inner, asyncpg.IntegrityConstraintViolationError):
        return StoreError(f"the database refused it: {_first_line(inner)}")
    try:
        with named_errors(url):
            raise inner
    except StoreError as named:
        return named
    except BaseException:  # noqa: BLE001 - it is raised again by the caller, as it came
        return StoreError(f"the database refused it: {_first_line(inner)}")


def _innermost(error: BaseException) -> BaseException:
    inner: BaseException = getattr(error, "orig", None) or error
    while inner.__cause__ is not None:
        inner = inner.__cause__
    return inner


def describe_url(url: str) -> str:
    """Where a URL leads, without its password: `user@host:5432/name`."""
    parts = urlsplit(url)
    query = dict(pair.partition("=")[::2] for pair in parts.query.split("&") if pair)
    host = parts.hostname or unquote(query.get("host", "")) or "localhost"
    port = f":{parts.port}" if parts.port else ""
    return f"PostgreSQL {parts.username or ''}{'@' if parts.username else ''}{host}{port}{parts.path}"


def _dsn(url: str) -> str:
    scheme, separator, rest = url.partition("://")
    if not separator or scheme not in ("postgresql+asyncpg", "postgresql", "postgres"):
        what = f"the scheme {scheme[:40]!r}" if separator else "no scheme"
        raise ConfigError(f"database URL with {what}: write postgresql+asyncpg://user:password@host:5432/name")
    # A mark within a password that was not escaped ends the host early, and what follows would be shown as something else.
    try:
        parts = urlsplit(url)
        readable = parts.port != 0 and "@" not in parts.path + parts.fragment
        readable = readable and ("@" in parts.netloc or not parts.netloc or "@" not in rest)
    except ValueError:
        readable = False
    if not readable:
        raise ConfigError(
            "the database URL cannot be read: write postgresql+asyncpg://user:password@host:5432/name, and the special "
            "characters of a password as %40 for @, %2F for /, %23 for #, %3F for ?, %3A for :"
        )
    return f"postgresql://{rest}"


def _first_line(error: BaseException) -> str:
    return (str(error) or type(error).__name__).strip().splitlines()[0]
