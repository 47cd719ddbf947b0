"""Database on a real server: transactions and sessions, errors by name, patience, and what closing means."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from pathlib import Path
from typing import Any

import asyncpg
import pytest

from weaver.core.errors import OutcomeUnknown, SchemaMismatch, StoreError, StoreUnavailable
from weaver.glados.clock.system import SystemClock
from weaver.testing import ControllableClock
from weaver.walle.database import Database, describe_url
from weaver.walle.models import ConsumerOffset, OutboxEvent, ResultRow, Run

pytestmark = pytest.mark.log

RunOn = Callable[..., Any]

COUNT = "SELECT count(*) FROM consumer_offsets"
INSERT = "INSERT INTO consumer_offsets (consumer_id, last_offset) VALUES ('one', 1)"


def count(database: Database) -> Any:
    async def ask() -> int:
        async with database.connection() as connection:
            found: int = await connection.fetchval(COUNT)
            return found

    return ask()


def test_a_transaction_commits_at_its_end_and_rolls_back_where_it_raises(run_on: RunOn) -> None:
    async def failing(database: Database) -> None:
        async with database.transaction() as transaction:
            await transaction.connection.execute(INSERT)
            assert await count(database) == 0
            raise KeyError("x")

    async def main(database: Database) -> None:
        with pytest.raises(KeyError):
            await failing(database)
        assert await count(database) == 0
        async with database.transaction() as transaction:
            await transaction.connection.execute(INSERT)
        assert await count(database) == 1

    run_on(main)


def test_what_follows_a_commit_happens_after_it_and_never_after_a_rollback(run_on: RunOn) -> None:
    async def failing(database: Database, told: list[str]) -> None:
        async with database.transaction() as transaction:
            transaction.after_commit.append(lambda: told.append("rolled back"))
            raise KeyError("x")

    async def main(database: Database) -> None:
        told: list[str] = []
        with pytest.raises(KeyError):
            await failing(database, told)
        async with database.transaction() as transaction:
            transaction.after_commit.append(lambda: told.append("committed"))
            assert told == []
        assert told == ["committed"]

    run_on(main)


def test_a_transaction_that_is_cancelled_leaves_nothing_and_a_clean_pool(run_on: RunOn) -> None:
    async def main(database: Database) -> None:
        begun = asyncio.Event()

        async def hang() -> None:
            async with database.transaction() as transaction:
                await transaction.connection.execute(INSERT)
                begun.set()
                await transaction.connection.execute("SELECT pg_sleep(600)")

        hanging = asyncio.ensure_future(hang())
        await begun.wait()
        hanging.cancel()
        with pytest.raises(asyncio.CancelledError):
            await hanging
        assert await count(database) == 0
        async with database.transaction() as transaction:
            await transaction.connection.execute(INSERT)
        assert await count(database) == 1

    run_on(main, pool_size=1, max_overflow=0)


def test_a_session_commits_at_its_end_and_rolls_back_where_it_raises(run_on: RunOn) -> None:
    async def failing(database: Database) -> None:
        async with database.session() as session:
            session.add(ConsumerOffset(consumer_id="one", last_offset=1))
            await session.flush()
            raise KeyError("x")

    async def main(database: Database) -> None:
        with pytest.raises(KeyError):
            await failing(database)
        assert await count(database) == 0
        async with database.session() as session:
            session.add(made := ConsumerOffset(consumer_id="one", last_offset=1))
        assert await count(database) == 1
        assert made.last_offset == 1, "readable after the commit"
        assert database.engine is database.engine
        assert database.session_factory is database.session_factory

    run_on(main)


def test_models_get_the_databases_defaults_and_come_back_equal(run_on: RunOn) -> None:
    async def main(database: Database) -> None:
        payload = {"id": "x", "payload": {"n": [1, 2.5, None, "ä"]}}
        async with database.session() as session:
            session.add(event := OutboxEvent(type="testing.Noted", payload=payload))
            session.add(ConsumerOffset(consumer_id="new"))
            session.add(
                Run(
                    id="20240101T000000000000Z-abcdefgh",
                    mode="backtest",
                    strategy="s",
                    status="running",
                    config={"a": 1},
                    lock_key=-(2**62),
                )
            )
        async with database.session() as session:
            stored = await session.get(OutboxEvent, event.id)
            offset = await session.get(ConsumerOffset, "new")
            run = await session.get(Run, "20240101T000000000000Z-abcdefgh")
        assert stored is not None
        assert offset is not None
        assert run is not None
        assert stored.payload == payload
        assert stored.created_at.tzinfo is not None
        assert offset.last_offset == -1
        assert (run.bars_done, run.bars_total, run.ended_at, run.config) == (0, None, None, {"a": 1})

    run_on(main)


def test_constraints_hold_and_are_told_by_name(run_on: RunOn) -> None:
    async def add(database: Database, row: Any) -> None:
        async with database.session() as session:
            session.add(row)

    async def main(database: Database) -> None:
        await add(database, ConsumerOffset(consumer_id="one", last_offset=1))
        result = ResultRow(run_id="no run", stats={}, equity=[], elapsed_s=0.0)
        for row, said in (
            (ConsumerOffset(consumer_id="one", last_offset=2), "duplicate key"),
            (ConsumerOffset(consumer_id="x" * 101, last_offset=2), "value too long"),
            (OutboxEvent(type=None, payload={}), "null value"),
            (OutboxEvent(type="a.B", payload={}, id=7), "cannot insert a non-DEFAULT value"),
            (result, "foreign key"),
        ):
            with pytest.raises(StoreError, match=said):
                await add(database, row)
        async with database.session() as session:
            found = await session.get(ConsumerOffset, "one")
        assert found is not None
        assert found.last_offset == 1

    run_on(main)


def test_a_database_without_tables_says_what_to_run(empty_url: str) -> None:
    async def plain(database: Database) -> None:
        async with database.connection():
            pass

    async def session(database: Database) -> None:
        async with database.session():
            pass

    async def main() -> None:
        for use in (plain, session):
            async with Database(empty_url, clock=SystemClock()) as database:
                for _ in range(2):  # nor is it forgotten after the first time
                    with pytest.raises(SchemaMismatch, match="weaver db upgrade"):
                        await use(database)

    asyncio.run(main())


@pytest.mark.parametrize(
    ("revision", "said"),
    [("000", "needs 003; update it with: weaver db upgrade"), ("999", "made by a newer Weaver")],
)
def test_an_older_and_a_newer_schema_are_told_with_what_to_do(own_url: str, revision: str, said: str) -> None:
    async def main() -> None:
        async with Database(own_url, clock=SystemClock()) as database:
            plain = await database.connect()
            await plain.execute(f"UPDATE alembic_version SET version_num = '{revision}'")
            await plain.close()
            with pytest.raises(SchemaMismatch, match=said):
                await count(database)

    asyncio.run(main())


def test_a_table_that_is_gone_is_told_with_what_to_run(own_url: str) -> None:
    async def main() -> None:
        async with Database(own_url, clock=SystemClock()) as database:
            await count(database)
            plain = await database.connect()
            await plain.execute("DROP TABLE consumer_offsets")
            await plain.close()
            with pytest.raises(SchemaMismatch, match="weaver db upgrade"):
                await count(database)

    asyncio.run(main())


def test_a_commit_whose_connection_is_gone_is_of_unknown_outcome(run_on: RunOn) -> None:
    async def cut(database: Database) -> None:
        async with database.transaction() as transaction:
            await transaction.connection.execute(INSERT)
            async with database.connection() as other:
                await other.execute("SELECT pg_terminate_backend($1, 10000)", transaction.connection.get_server_pid())

    async def main(database: Database) -> None:
        with pytest.raises(OutcomeUnknown, match="check whether it was done"):
            await cut(database)
        assert await count(database) == 0

    run_on(main)


def test_a_statement_whose_connection_is_gone_is_told_as_that(run_on: RunOn) -> None:
    async def suicide(database: Database) -> None:
        async with database.connection() as connection:
            await connection.execute("SELECT pg_terminate_backend(pg_backend_pid())")

    async def main(database: Database) -> None:
        with pytest.raises(StoreUnavailable):
            await suicide(database)
        assert await count(database) == 0, "the pool makes a new one"

    run_on(main)


def test_the_callers_own_errors_pass_as_they_are(run_on: RunOn) -> None:
    async def plain(database: Database, error: BaseException) -> None:
        async with database.connection():
            raise error

    async def session(database: Database, error: BaseException) -> None:
        async with database.session():
            raise error

    async def main(database: Database) -> None:
        for use in (plain, session):
            for error in (FileNotFoundError("f"), TimeoutError("t"), ConnectionResetError("c"), ValueError("v")):
                with pytest.raises(type(error)) as ended:
                    await use(database, error)
                assert ended.value is error

    run_on(main)


def test_a_server_that_only_reads_is_told_as_that(run_on: RunOn) -> None:
    async def write(database: Database) -> None:
        async with database.connection() as connection, connection.transaction(readonly=True):
            await connection.execute(INSERT)

    async def main(database: Database) -> None:
        with pytest.raises(StoreUnavailable, match="name the primary server"):
            await write(database)

    run_on(main)


def test_a_disk_that_is_full_is_told_as_that(run_on: RunOn) -> None:
    from weaver.core.errors import DatabaseDiskFull

    async def write(database: Database) -> None:
        async with database.connection() as connection:
            await connection.execute("DO $$ BEGIN RAISE EXCEPTION 'no space left' USING ERRCODE = '53100'; END $$")

    async def main(database: Database) -> None:
        with pytest.raises(DatabaseDiskFull, match="no space left"):
            await write(database)

    run_on(main)


def test_a_database_that_does_not_exist_is_told_at_once(server_url: str) -> None:
    async def main() -> None:
        url = server_url.replace("/weaver", "/no_such_database", 1) if "@/weaver" in server_url else None
        if url is None:
            head, _, tail = server_url.rpartition("/")
            url = f"{head}/no_such_database" + (f"?{tail.partition('?')[2]}" if "?" in tail else "")
        async with Database(url, clock=ControllableClock()) as database:
            with pytest.raises(StoreUnavailable, match="no_such_database") as told:
                await count(database)
        assert "DB_URL" in str(told.value)

    asyncio.run(main())


def test_a_server_that_is_away_is_tried_until_the_patience_ends(tmp_path: Path) -> None:
    clock = ControllableClock()

    async def main() -> None:
        database = Database(f"postgresql+asyncpg://me:secret@/name?host={tmp_path}", clock=clock, patience_s=10)
        began = clock.elapsed_ns()
        for use in (count(database), database.connect()):
            with pytest.raises(StoreUnavailable, match="is it running") as told:
                await use
            assert "secret" not in str(told.value)
        assert clock.elapsed_ns() - began == 20_000_000_000
        await database.close()

    clock.run(main())


@pytest.mark.parametrize("hours", [-1, 1])
def test_the_patience_is_as_long_when_the_wall_clock_is_set(hours: int, tmp_path: Path) -> None:
    clock = ControllableClock()

    async def main() -> None:
        database = Database(f"postgresql+asyncpg://me:secret@/name?host={tmp_path}", clock=clock, patience_s=10)
        clock.call_after(10**9, lambda: clock.set_wall_time(clock.now_ns() + hours * 3600 * 10**9))
        with pytest.raises(StoreUnavailable):
            await database.connect()
        assert clock.elapsed_ns() == 10 * 10**9
        await database.close()

    clock.run(main())


def test_a_server_that_comes_while_it_is_tried_is_used(monkeypatch: pytest.MonkeyPatch, database_url: str) -> None:
    clock = ControllableClock()
    refusals = iter([ConnectionRefusedError("not yet"), asyncpg.CannotConnectNowError("the system is starting up")])
    connect = asyncpg.connect

    async def later(*arguments: Any, **settings: Any) -> Any:
        if error := next(refusals, None):
            raise error
        return await connect(*arguments, **settings)

    async def main() -> None:
        database = Database(database_url, clock=clock)
        monkeypatch.setattr(asyncpg, "connect", later)
        connecting = asyncio.ensure_future(database.connect())
        await clock.advance_to(clock.now_ns() + 10**9)
        connection = await connecting
        assert await connection.fetchval("SELECT 1") == 1
        await connection.close()

    asyncio.run(main())


def test_a_closed_database_stays_closed(run_on: RunOn) -> None:
    async def session(database: Database) -> None:
        async with database.session():
            pass

    async def main(database: Database) -> None:
        await count(database)
        await session(database)
        await database.close()
        await database.close()
        for use in (count(database), session(database), database.connect()):
            with pytest.raises(StoreError, match="is closed") as told:
                await use
            assert not isinstance(told.value, StoreUnavailable)
            assert describe_url(database.url) in str(told.value)

    run_on(main)


def test_whoever_waits_for_a_connection_of_a_pool_that_closes_is_told(run_on: RunOn) -> None:
    async def main(database: Database) -> None:
        async with database.connection() as connection:
            waiting = asyncio.ensure_future(count(database))
            closing = asyncio.ensure_future(database.close())
            await connection.fetchval("SELECT 1")
        results = await asyncio.gather(waiting, closing, return_exceptions=True)
        assert results[1] is None
        assert results[0] == 0 or isinstance(results[0], StoreError)

    run_on(main, pool_size=1, max_overflow=0)


def test_what_was_committed_has_reached_the_disk_whatever_the_servers_default(run_on: RunOn) -> None:
    async def main(database: Database) -> None:
        async with database.connection() as connection:
            assert await connection.fetchval("SHOW synchronous_commit") == "on"
            assert await connection.fetchval("SHOW timezone") == "UTC"
            assert await connection.fetchval("SHOW application_name") == "weaver"

    run_on(main)
