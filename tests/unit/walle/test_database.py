"""Database without a server: URLs and that no password is shown, and errors by Weaver's names."""

from __future__ import annotations

import asyncio

import asyncpg
import pytest

from weaver.core.errors import (
    ConfigError,
    DatabaseDiskFull,
    SchemaMismatch,
    StoreError,
    StoreUnavailable,
)
from weaver.testing import ControllableClock
from weaver.walle.database import Database, describe_url, named_errors

pytestmark = pytest.mark.log

SECRET = "s3cret"


@pytest.mark.parametrize(
    ("url", "said"),
    [
        ("postgresql+asyncpg://me:s3cret@db.example:5433/weaver", "PostgreSQL me@db.example:5433/weaver"),
        ("postgresql://me:s3cret@db.example/weaver", "PostgreSQL me@db.example/weaver"),
        ("postgres://db.example/weaver", "PostgreSQL db.example/weaver"),
        ("postgresql+asyncpg://me:s3cret@/weaver?host=/run/pg&port=5432", "PostgreSQL me@/run/pg/weaver"),
        ("postgresql+asyncpg:///weaver", "PostgreSQL localhost/weaver"),
        ("postgresql+asyncpg:///weaver?host=%2Frun%2Fpg&password=s3cret", "PostgreSQL /run/pg/weaver"),
        ("postgresql+asyncpg://me:s3cret%2F%40%23@[::1]:5432/weaver", "PostgreSQL me@::1/weaver"),
    ],
)
def test_a_url_is_described_without_its_password(url: str, said: str) -> None:
    assert describe_url(url) == said
    database = Database(url, clock=ControllableClock())
    assert repr(database) == f"<Database {said}>"
    assert SECRET not in repr(database)


@pytest.mark.parametrize(
    "url",
    [
        "mysql://me:s3cret@host/db",
        "sqlite:///file.db",
        "me:s3cret@host/db",
        "",
        "postgresql+psycopg://me:s3cret@host/db",
    ],
)
def test_another_scheme_is_refused_with_the_right_one(url: str) -> None:
    with pytest.raises(ConfigError, match=r"postgresql\+asyncpg://user:password@host:5432/name") as refused:
        Database(url, clock=ControllableClock())
    assert SECRET not in str(refused.value)


@pytest.mark.parametrize("mark", ["/", "#", "?"])
@pytest.mark.parametrize("password", ["s3cret{}more", "12{}s3cret", "{}s3cret"])
def test_a_password_with_a_mark_that_ends_it_is_refused_and_never_shown(mark: str, password: str) -> None:
    url = f"postgresql+asyncpg://me:{password.format(mark)}@host:5432/db"
    with pytest.raises(ConfigError, match="%2F for /") as refused:
        Database(url, clock=ControllableClock())
    for shown in (str(refused.value), repr(refused.value.__cause__), repr(refused.value.__context__)):
        assert SECRET not in shown


@pytest.mark.parametrize(
    ("error", "named", "said"),
    [
        (asyncpg.DiskFullError("no room\nsecond line"), DatabaseDiskFull, "no room; make room"),
        (asyncpg.UndefinedTableError('relation "outbox" does not exist'), SchemaMismatch, "weaver db upgrade"),
        (asyncpg.ReadOnlySQLTransactionError("read only"), StoreUnavailable, "primary"),
        (asyncpg.ConnectionDoesNotExistError("closed"), StoreUnavailable, "broke: closed"),
        (asyncpg.AdminShutdownError("terminating"), StoreUnavailable, "terminating"),
        (ConnectionResetError(), StoreUnavailable, "ConnectionResetError"),
        (SchemaMismatch("as it is"), SchemaMismatch, "as it is"),
    ],
)
def test_what_the_driver_raises_gets_weavers_name(error: Exception, named: type[Exception], said: str) -> None:
    with pytest.raises(named) as told, named_errors("postgresql://me:s3cret@host/db"):
        raise error
    assert type(told.value) is named
    assert said in str(told.value)
    assert SECRET not in str(told.value)


@pytest.mark.parametrize("error", [ValueError("v"), asyncpg.UniqueViolationError("u"), KeyError("k")])
def test_what_is_no_error_of_the_connection_passes(error: Exception) -> None:
    with pytest.raises(type(error)) as told, named_errors("postgresql://host/db"):
        raise error
    assert told.value is error


def test_while_the_connection_stands_an_os_error_is_the_callers_own() -> None:
    for error in (FileNotFoundError("f"), TimeoutError("t"), asyncpg.InterfaceError("wrong call")):
        with pytest.raises(type(error)) as told, named_errors("postgresql://host/db", lambda: True):
            raise error
        assert told.value is error
        with pytest.raises(StoreUnavailable), named_errors("postgresql://host/db", lambda: False):
            raise error


def test_a_database_that_was_never_used_closes_and_stays_closed() -> None:
    async def main() -> None:
        async with Database("postgresql://host/db", clock=ControllableClock()) as database:
            pass
        with pytest.raises(StoreError, match="is closed"):
            await database.connect()

    asyncio.run(main())
