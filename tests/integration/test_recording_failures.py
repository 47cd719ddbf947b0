"""A recording whose store fails at the end of a run changes nothing about the run, gives up in time and is made up for later."""

from __future__ import annotations

import asyncio
import os
import signal
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import asyncpg
import pytest
from postgres import Server, running_server
from readers import within

from weaver import Strategy, backtest, shipped_bars
from weaver.cli.main import main
from weaver.core.errors import DatabaseDiskFull, OutcomeUnknown, StoreError
from weaver.glados import wiring
from weaver.glados.backtest import run_ending, run_recorder
from weaver.glados.wiring import OpenStore, has_pending_runs, open_store, runs_folder
from weaver.results.result import Result
from weaver.walle.copy_rows import copy_csv, copy_records
from weaver.walle.database import Database
from weaver.walle.runs import FILL_COLUMNS, RunStore

pytestmark = pytest.mark.log

SECOND = 1_000_000_000


class Flips(Strategy):
    def on_bar(self, bar: Any) -> None:
        self.close() if self.position else self.buy(1)


@pytest.fixture(scope="module")
def own_server() -> Iterator[Server]:
    """A server that may be killed. Only the machine's crash would need its flushes."""
    with running_server(durable=False) as server:
        yield server


@pytest.fixture
def server(own_server: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Server:
    monkeypatch.setenv("DB_URL", own_server.url(own_server.new_database()))
    monkeypatch.setenv("WEAVER_HOME", str(tmp_path))
    monkeypatch.setattr("weaver.glados.backtest.stopwatch_ns", lambda: 0)  # all is written at the end
    monkeypatch.setattr(run_ending, "ROWS_IN_BULK", 0)
    monkeypatch.setattr(wiring, "_PATIENCE_S", 0.05)
    monkeypatch.setattr(run_recorder, "PATIENCE_NS", 60 * SECOND)  # not waited for where the store comes back
    return own_server


@pytest.fixture
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    """For stores that do not come back: what takes 10 s otherwise."""
    monkeypatch.setattr(run_recorder, "PATIENCE_NS", SECOND // 2)


@pytest.fixture
def at_the_end(monkeypatch: pytest.MonkeyPatch) -> Callable[..., list[int]]:
    """`at_the_end(action)`: what happens when the final write copies its first rows. The calls are counted."""

    def arrange(action: Callable[[Any], Any], *, times: int = 1) -> list[int]:
        calls: list[int] = []
        whole = RunStore.add_csv

        async def add_csv(self: RunStore, table: str, columns: Any, parts: Any, transaction: Any) -> None:
            calls.append(1)
            if len(calls) <= times:
                await action(transaction.connection)
            await whole(self, table, columns, parts, transaction)

        monkeypatch.setattr(RunStore, "add_csv", add_csv)
        return calls

    return arrange


def run() -> Result:
    result = backtest(Flips, shipped_bars("AAPL"), commission=0.001, record=True)
    assert result.recording.wait(60)
    return result


def ask(work: Callable[[OpenStore], Any]) -> Any:
    async def go() -> Any:
        async with open_store() as opened:
            return await work(opened)

    return asyncio.run(go())


def stored_once(result: Result) -> None:
    """The run is complete in the database, each order, fill and event once."""
    (row,) = ask(lambda store: store.runs.newest())
    assert (row.id, row.status, row.orders, row.fills) == (
        result.run_id, "completed", len(result.record.orders), len(result.record.fills),
    )  # fmt: skip
    found = ask(lambda store: store.log.read_from(-1))
    types = [stored.envelope.type for stored in found]
    assert types[:2] == ["run.Created", "run.Started"]
    assert types[-1] == "run.Completed"
    assert set(types[2:-1]) <= {"orders.Recorded", "orders.RecordedInBulk"}
    fills, orders = 0, []
    for stored in found[2:-1]:
        payload = stored.envelope.payload
        if stored.envelope.type == "orders.Recorded":
            fills += len(payload.fills)
            orders += [row[0] for row in payload.orders]
        else:
            numbers = [int(line.split(",")[0]) for line in payload.fills.splitlines()[1:]]
            assert numbers == list(range(fills + 1, fills + 1 + len(numbers)))
            fills += len(numbers)
            orders += [int(line.split(",")[0]) for line in payload.orders.splitlines()[1:]]
    assert fills == len(result.record.fills)
    assert sorted(orders) == list(range(1, len(result.record.orders) + 1))
    assert {stored.envelope.corr_id for stored in found} == {found[0].envelope.id}
    assert not has_pending_runs()


def test_a_server_that_dies_in_the_final_write_leaves_the_result_and_the_files_and_the_run_is_recorded_later(
    server: Server, impatient: None, at_the_end: Any, capsys: pytest.CaptureFixture[str]
) -> None:
    async def kill(connection: Any) -> None:
        await asyncio.to_thread(server.kill)

    at_the_end(kill)
    try:
        result = run()
        plain = backtest(Flips, shipped_bars("AAPL"), commission=0.001)
        assert result.final_equity == plain.final_equity, "a recording that fails does not change the run"
        assert isinstance(result.recording.error, StoreError)
        assert f"the run's files are kept in {runs_folder() / result.run_id}" in str(result.recording.error)
        assert (runs_folder() / result.run_id / "fills.parquet").exists()
        assert has_pending_runs()
    finally:
        server.start()
    assert main(["runs", "show", "last"]) == 0
    assert "status  completed" in capsys.readouterr().out
    stored_once(result)


def test_a_server_that_is_back_in_time_gets_the_run_at_once(server: Server, at_the_end: Any) -> None:
    async def restart(connection: Any) -> None:
        def in_its_thread() -> None:  # it goes on where the recording's own step is cancelled
            server.kill()
            server.start()

        await asyncio.to_thread(in_its_thread)

    at_the_end(restart)
    result = run()
    assert result.recording.error is None
    stored_once(result)


def test_a_connection_that_is_cut_in_the_final_write_is_replaced(server: Server, at_the_end: Any) -> None:
    async def cut(connection: Any) -> None:
        other = await asyncpg.connect(os.environ["DB_URL"].replace("+asyncpg", ""))
        await other.execute("SELECT pg_terminate_backend($1)", connection.get_server_pid())
        await other.close()

    at_the_end(cut)
    result = run()
    assert result.recording.error is None
    stored_once(result)


def test_a_server_that_answers_nothing_is_given_up_and_the_run_is_recorded_later(
    server: Server, impatient: None, at_the_end: Any
) -> None:
    async def freeze(connection: Any) -> None:
        os.kill(connection.get_server_pid(), signal.SIGSTOP)

    at_the_end(freeze)
    try:
        result = run()
        assert "did not answer for 0.5 s" in str(result.recording.error)
        assert has_pending_runs()
    finally:
        server.kill()
        server.start()
    assert main(["runs", "list"]) == 0
    stored_once(result)


def test_a_full_disk_in_the_final_write_is_told_by_runs_show_until_there_is_room(
    server: Server, impatient: None, at_the_end: Any, capsys: pytest.CaptureFixture[str]
) -> None:
    async def full(connection: Any) -> None:
        raise DatabaseDiskFull("PostgreSQL has no room: could not extend file")

    calls = at_the_end(full, times=1000)
    result = run()
    assert "could not extend file" in str(result.recording.error)
    assert main(["runs", "show", "last"]) == 0
    out, err = capsys.readouterr()
    assert "status  not recorded whole: PostgreSQL has no room: could not extend file" in out
    assert f"run {result.run_id} is not recorded yet: DatabaseDiskFull" in err
    assert "Final equity" in out, "the figures come from its files"
    calls += [1] * 1000  # there is room
    assert main(["runs", "show", "last"]) == 0
    assert "status  completed" in capsys.readouterr().out
    stored_once(result)


def test_a_commit_whose_outcome_was_unknown_is_not_done_twice(server: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    whole, ended = Database.transaction, []

    @asynccontextmanager
    async def transaction(self: Database) -> AsyncIterator[Any]:
        async with whole(self) as inner:
            yield inner
            status = await inner.connection.fetchval("SELECT status FROM runs")
        if status == "completed" and not ended:
            ended.append(1)
            raise OutcomeUnknown("the connection broke while it was committing")

    monkeypatch.setattr(Database, "transaction", transaction)
    result = run()
    assert ended == [1]
    assert result.recording.error is None
    stored_once(result)


def test_a_run_that_the_store_never_saw_is_recorded_by_the_next_run(server: Server) -> None:
    server.stop()
    try:
        result = run()
        assert "files are kept" in str(result.recording.error)
    finally:
        server.start()
    second = run()
    assert second.recording.error is None
    rows = ask(lambda store: store.runs.newest())
    assert {(row.id, row.status, row.fills) for row in rows} == {
        (one.run_id, "completed", len(one.record.fills)) for one in (result, second)
    }
    assert not has_pending_runs()


def test_a_run_that_is_pending_for_another_database_waits_for_that_one(
    server: Server, impatient: None, at_the_end: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def full(connection: Any) -> None:
        raise DatabaseDiskFull("no room")

    calls = at_the_end(full, times=1000)
    result = run()
    calls += [1] * 1000
    own = os.environ["DB_URL"]
    monkeypatch.setenv("DB_URL", server.url(server.new_database()))
    assert main(["runs", "list"]) == 0
    assert ask(lambda store: store.runs.newest()) == []
    monkeypatch.setenv("DB_URL", own)
    assert main(["runs", "list"]) == 0
    stored_once(result)


# ---------------------------------------------------------------- COPY


def rows(count: int) -> Iterator[bytes]:
    for number in range(count):
        yield f"r,{number},1,A,buy,0,1,1,0,{'x' * 1000}\n".encode() * 64


async def until_the_driver_waits_for_room(connection: Any) -> None:
    transport = connection._transport
    while transport.get_write_buffer_size() < transport.get_write_buffer_limits()[1]:
        await turn()


async def turn() -> None:
    passed: asyncio.Future[None] = asyncio.get_running_loop().create_future()
    asyncio.get_running_loop().call_soon(passed.set_result, None)
    await passed


@pytest.mark.parametrize("guarded", [True, False])
def test_a_copy_returns_when_the_connection_is_lost_while_it_waits_for_room(server: Server, guarded: bool) -> None:
    """The control is asyncpg's own COPY, which goes on waiting although its connection is closed."""

    async def go() -> None:
        connection = await asyncpg.connect(os.environ["DB_URL"].replace("+asyncpg", ""))
        os.kill(connection.get_server_pid(), signal.SIGSTOP)
        if guarded:
            copying = copy_csv(connection, "fills", FILL_COLUMNS, rows(100_000))
        else:

            async def source() -> AsyncIterator[bytes]:
                for part in rows(100_000):
                    yield part

            copying = connection.copy_to_table("fills", source=source(), format="csv", columns=FILL_COLUMNS)
        task = asyncio.ensure_future(copying)
        await until_the_driver_waits_for_room(connection)
        await asyncio.to_thread(server.kill)
        if guarded:
            with pytest.raises(asyncpg.ConnectionDoesNotExistError, match="COPY"):
                await within(10, task)
        else:
            while not connection.is_closed():
                await turn()
            for _ in range(100):
                await turn()
            assert not task.done()
            task.cancel()
            await asyncio.wait([task])

    try:
        asyncio.run(go())
    finally:
        server.start()


def test_a_copy_that_the_server_refuses_raises_what_it_says(server: Server) -> None:
    async def go() -> None:
        connection = await asyncpg.connect(os.environ["DB_URL"].replace("+asyncpg", ""))
        with pytest.raises(asyncpg.BadCopyFileFormatError):
            await copy_csv(connection, "fills", FILL_COLUMNS, [b"r,1\n"])
        fill = ("r", 1, 1, "A", "buy", 0, 1.0, 1.0, 0.0, None)
        await copy_records(connection, "fills", FILL_COLUMNS, [fill])
        with pytest.raises(asyncpg.UniqueViolationError):
            await copy_records(connection, "fills", FILL_COLUMNS, [fill])
        await copy_csv(connection, "fills", FILL_COLUMNS, [b'r,2,2,"A, B",sell,0,0.1,1e300,-0.0,""\n'])
        row = await connection.fetchrow("SELECT symbol, quantity, price, tag FROM fills WHERE seq = 2")
        assert tuple(row) == ("A, B", 0.1, 1e300, "")
        await connection.close()

    asyncio.run(go())


def test_a_run_that_was_deleted_while_it_was_recorded_stays_deleted_and_the_recording_says_so(
    server: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = RunStore.stored_part

    async def deleted(self: RunStore, run_id: str, transaction: Any) -> Any:
        await transaction.connection.execute("DELETE FROM runs WHERE id = $1", run_id)
        return await whole(self, run_id, transaction)

    monkeypatch.setattr(RunStore, "stored_part", deleted)
    result = run()
    assert isinstance(result.recording.error, run_ending.RunDeleted)
    assert str(result.recording.error) == f"run {result.run_id} was deleted while it was being recorded"
    assert not has_pending_runs(), "no later command records it again"


def test_a_large_recording_that_breaks_between_its_parts_goes_on_where_it_was(
    server: Server, at_the_end: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(run_ending, "_ROWS_OF_A_COPY", 50)

    async def break_the_fifth(connection: Any) -> None:
        if len(calls) == 5:
            connection.terminate()

    calls = at_the_end(break_the_fifth, times=5)
    result = run()
    assert result.recording.error is None
    parts = 2 * -(-len(result.record.fills) // 50)
    assert parts + 1 <= len(calls) <= parts + 2, "at most the two parts under way are written again"
    stored_once(result)
