"""An event is never passed over, whatever order transactions commit in; and a rolled-back one stalls nobody.

The order of what happens is fixed step by step: a reader's every query waits for the test's word. Where a test says "all
orders", it goes through all of them.
"""

from __future__ import annotations

import asyncio
import os
import signal
from collections.abc import Awaitable, Callable, Iterator, Sequence
from typing import Any

import asyncpg
import pytest
from postgres import Server, running_server
from readers import INSERT, QUERY, ListsFirstReader, NaiveReader, NoPause, Turns, stepped, within

from weaver.core.errors import ConfigError, SchemaMismatch
from weaver.glados.clock import SystemClock
from weaver.walle.database import Database
from weaver.walle.log.event_log import PostgresEventLog
from weaver.walle.log.gap_aware_reader import PRUNING_LOCK, GapAwareReader

pytestmark = pytest.mark.log

LIMIT = 100


@pytest.fixture(scope="module")
def one_name(server: Server) -> str:
    return server.new_database()


@pytest.fixture
def name(server: Server, one_name: str) -> str:
    """A database with empty tables."""
    server.empty(one_name)
    return one_name


class Connections:
    """Plain connections to one database, closed at the end of the block."""

    def __init__(self, dsn: str) -> None:
        self._dsn = dsn
        self._open: list[Any] = []

    async def new(self) -> Any:
        self._open.append(await asyncpg.connect(self._dsn))
        return self._open[-1]

    async def __aenter__(self) -> Connections:
        return self

    async def __aexit__(self, *error: object) -> None:
        for one in self._open:
            await one.close()


async def insert(connection: Any) -> int:
    found: int = await connection.fetchval(INSERT)
    return found


def ids(rows: Sequence[Sequence[Any]]) -> list[int]:
    return [row[0] for row in rows]


async def now(connection: Any, after: int = -1, limit: int = LIMIT) -> list[int]:
    """All that readers can be given at this moment, without waiting for a gap."""
    reader, seen = GapAwareReader(QUERY, NoPause()), [after]
    while part := ids(await within(10, reader.read(connection, seen[-1], limit, wait=False))):
        assert len(part) <= limit
        seen += part
    return seen[1:]


def test_the_second_to_insert_commits_first_and_the_reader_does_not_pass_the_first(server: Server, name: str) -> None:
    async def main() -> None:
        async with Connections(server.dsn(name)) as connections:
            a, b, reads = [await connections.new() for _ in range(3)]
            turns = Turns()
            reading = asyncio.ensure_future(stepped(GapAwareReader, turns).read(reads, -1, LIMIT))
            await a.execute("BEGIN")
            assert await insert(a) == 1
            assert await insert(b) == 2
            assert await turns.step() == "fetch"
            assert await now(b) == []
            for _ in range(5):
                assert await turns.step() == "writers"
            assert not reading.done()
            await a.execute("COMMIT")
            assert await turns.step() == "writers"
            assert await turns.step() == "fetch"
            assert ids(await within(10, reading)) == [1, 2]

    asyncio.run(main())


def test_a_gap_that_was_rolled_back_is_passed_with_one_look_at_the_writers(server: Server, name: str) -> None:
    async def main() -> None:
        async with Connections(server.dsn(name)) as connections:
            a, b, reads = [await connections.new() for _ in range(3)]
            await a.execute("BEGIN")
            await insert(a)
            await insert(b)
            await a.execute("ROLLBACK")
            turns = Turns()
            reading = asyncio.ensure_future(stepped(GapAwareReader, turns).read(reads, -1, LIMIT))
            assert [await turns.step() for _ in range(3)] == ["fetch", "writers", "fetch"]
            assert ids(await within(10, reading)) == [2]

    asyncio.run(main())


@pytest.mark.parametrize(
    "script",
    [
        "SAVEPOINT s; INSERT; ROLLBACK TO s; INSERT",
        "INSERT; SAVEPOINT s; INSERT; ROLLBACK TO s; INSERT",
        "SAVEPOINT s; INSERT; RELEASE s; INSERT",
        "SAVEPOINT s; INSERT; SAVEPOINT t; INSERT; ROLLBACK TO t; INSERT; RELEASE s",
        "SAVEPOINT s; INSERT; SAVEPOINT t; INSERT; RELEASE t; ROLLBACK TO s; INSERT",
        "SAVEPOINT s; INSERT; SAVEPOINT t; INSERT; RELEASE t; RELEASE s",
        "SAVEPOINT s; SAVEPOINT t; INSERT; RELEASE t; INSERT; ROLLBACK TO s",
    ],
)
@pytest.mark.parametrize("end", ["COMMIT", "ROLLBACK"])
def test_savepoints_hold_readers_only_while_what_they_took_may_come(
    server: Server, name: str, script: str, end: str
) -> None:
    """After every step of the script another event is committed behind it, and the reader looks."""

    async def main() -> None:
        async with Connections(server.dsn(name)) as connections:
            a, b, reads = [await connections.new() for _ in range(3)]
            taken: list[int] = []  # by A, whatever became of it
            coming: list[int] = []  # of these, what is there once A commits
            marks: dict[str, int] = {}
            others: list[int] = []
            seen: list[int] = []
            await a.execute("BEGIN")
            for step in script.split("; "):
                if step == "INSERT":
                    taken.append(await insert(a))
                    coming.append(taken[-1])
                else:
                    await a.execute(step)
                    if step.startswith("SAVEPOINT"):
                        marks[step[-1]] = len(coming)
                    elif step.startswith("ROLLBACK"):
                        del coming[marks[step[-1]] :]
                others.append(await insert(b))
                # A holds readers before its next id while any of them may come. Taking back the first lets go of the table.
                last = seen[-1] if seen else -1
                held = min((one for one in taken if one > last), default=None) if coming else None
                seen += await now(reads, last)
                assert seen == [one for one in others if held is None or one < held]
            await a.execute(end)
            seen += await now(reads, seen[-1] if seen else -1)
            assert seen == sorted(others + (coming if end == "COMMIT" else []))

    asyncio.run(main())


@pytest.mark.parametrize("end", ["COMMIT", "ROLLBACK"])
def test_a_prepared_transaction_holds_readers_until_it_ends(server: Server, name: str, end: str) -> None:
    async def main() -> None:
        async with Connections(server.dsn(name)) as connections:
            a, b, reads = [await connections.new() for _ in range(3)]
            await a.execute("BEGIN")
            await insert(a)
            await insert(b)
            await a.execute(f"PREPARE TRANSACTION '{name}'")
            assert await now(reads) == []
            await a.execute(f"{end} PREPARED '{name}'")
            assert await now(reads) == ([1, 2] if end == "COMMIT" else [2])

    asyncio.run(main())


@pytest.mark.parametrize("end", ["COMMIT", "ROLLBACK"])
def test_a_transaction_that_is_prepared_while_a_reader_waits_for_it_has_not_ended(
    server: Server, name: str, end: str
) -> None:
    async def main() -> None:
        async with Connections(server.dsn(name)) as connections:
            a, b, reads = [await connections.new() for _ in range(3)]
            turns = Turns()
            reading = asyncio.ensure_future(stepped(GapAwareReader, turns).read(reads, -1, LIMIT))
            await a.execute("BEGIN")
            await insert(a)
            await insert(b)
            assert [await turns.step() for _ in range(3)] == ["fetch", "writers", "writers"]
            await a.execute(f"PREPARE TRANSACTION '{name}'")
            assert [await turns.step() for _ in range(3)] == ["writers"] * 3
            await a.execute(f"{end} PREPARED '{name}'")
            turns.release()
            assert ids(await within(10, reading)) == ([1, 2] if end == "COMMIT" else [2])

    asyncio.run(main())


class Newest:
    """Whatever is asked of it is asked of the newest of `connections`, as of a pool that has replaced a broken one."""

    def __init__(self, connections: list[Any]) -> None:
        self._connections = connections

    def __getattr__(self, name: str) -> Any:
        return getattr(self._connections[-1], name)


def restart(server: Server, pid: int) -> None:
    server.stop()
    server.start()


def kill_and_start(server: Server, pid: int) -> None:
    server.kill()
    server.start()


def kill_one_backend(server: Server, pid: int) -> None:
    """The server ends all backends and recovers, and its start time stays the same."""
    os.kill(pid, signal.SIGKILL)
    asyncio.run(server._until_it_answers())


@pytest.mark.parametrize("end", ["COMMIT", "ROLLBACK"])
@pytest.mark.parametrize("interrupt", [restart, kill_and_start, kill_one_backend])
def test_a_prepared_transaction_is_waited_for_although_the_server_restarts_meanwhile(
    recovering: Server, interrupt: Callable[[Server, int], None], end: str
) -> None:
    """Its virtual id is another one afterwards, so that it looks as if it had ended."""
    name = recovering.new_database()

    async def main() -> None:
        async with Connections(recovering.dsn(name)) as connections:
            a, b, *reads = [await connections.new() for _ in range(3)]
            turns = Turns()
            reading = asyncio.ensure_future(stepped(GapAwareReader, turns).read(Newest(reads), -1, LIMIT))
            await a.execute("BEGIN")
            await insert(a)
            await insert(b)
            assert [await turns.step() for _ in range(3)] == ["fetch", "writers", "writers"]
            await a.execute(f"PREPARE TRANSACTION '{name}'")
            assert await turns.step() == "writers"
            await asyncio.to_thread(interrupt, recovering, b.get_server_pid())
            c = await connections.new()
            reads.append(await connections.new())
            assert [await turns.step() for _ in range(4)] == ["writers", "fetch", "writers", "writers"], (
                "it begins anew"
            )
            await c.execute(f"{end} PREPARED '{name}'")
            turns.release()
            assert ids(await within(10, reading)) == ([1, 2] if end == "COMMIT" else [2])

    asyncio.run(main())


@pytest.fixture
def recovering() -> Iterator[Server]:
    """A server of the test's own that may be killed."""
    with running_server(durable=True) as server:
        yield server


def test_a_connection_that_is_opened_while_a_reader_waits_makes_it_read_again_and_nothing_else(
    server: Server, name: str
) -> None:
    async def main() -> None:
        async with Connections(server.dsn(name)) as connections:
            a, b, *reads = [await connections.new() for _ in range(3)]
            turns = Turns()
            reading = asyncio.ensure_future(stepped(GapAwareReader, turns).read(Newest(reads), -1, LIMIT))
            await a.execute("BEGIN")
            await insert(a)
            await insert(b)
            assert [await turns.step() for _ in range(3)] == ["fetch", "writers", "writers"]
            reads.append(await connections.new())
            assert [await turns.step() for _ in range(5)] == ["writers", "fetch", "writers", "writers", "writers"]
            await a.execute("COMMIT")
            turns.release()
            assert ids(await within(10, reading)) == [1, 2]

    asyncio.run(main())


def test_a_standby_is_refused(recovering: Server) -> None:
    name = recovering.new_database()

    async def append() -> None:
        async with Connections(recovering.dsn(name)) as connections:
            a, b = await connections.new(), await connections.new()
            await a.execute("BEGIN")
            await insert(a)
            await insert(b)
            await a.execute("ROLLBACK")  # which leaves a gap

    async def read() -> None:
        async with Database(recovering.url(name), clock=SystemClock()) as database:
            log = PostgresEventLog(database)
            for reading in (log.read_from(-1), anext(log.subscribe(from_offset=-1))):
                with pytest.raises(ConfigError, match="standby"):
                    await within(10, reading)
            async with database.connection() as connection:
                with pytest.raises(ConfigError, match="name the primary server in DB_URL"):
                    await GapAwareReader(QUERY, NoPause()).read(connection, -1, LIMIT)
            await log.close()

    asyncio.run(append())
    recovering.stop()
    signal_file = recovering.folder / "data" / "standby.signal"
    signal_file.touch(mode=0o644)
    recovering.start()
    try:
        asyncio.run(read())
    finally:
        recovering.stop()
        signal_file.unlink()


async def no_lock(connection: Any) -> None:
    """Nothing that could fill a gap."""
    await connection.execute("BEGIN; INSERT INTO consumer_offsets VALUES ('another', 1)")


async def reading_the_log(connection: Any) -> None:
    await connection.execute("BEGIN; SELECT count(*) FROM outbox")


async def pruning(connection: Any) -> None:
    await connection.execute(f"BEGIN; SELECT pg_advisory_xact_lock({PRUNING_LOCK}); DELETE FROM outbox WHERE id = -5")


async def analysing(connection: Any) -> None:
    await connection.execute("BEGIN; ANALYZE outbox")


@pytest.mark.parametrize("hold", [no_lock, reading_the_log, pruning, analysing])
def test_a_transaction_that_cannot_fill_a_gap_delays_nobody(
    server: Server, name: str, hold: Callable[[Any], Awaitable[None]]
) -> None:
    async def main() -> None:
        async with Connections(server.dsn(name)) as connections:
            idle, a, b, reads = [await connections.new() for _ in range(4)]
            await hold(idle)
            await a.execute("BEGIN")
            await insert(a)
            await insert(b)
            await a.execute("ROLLBACK")
            assert await now(reads) == [2]
            await idle.execute("ROLLBACK")

    asyncio.run(main())


def test_a_writer_in_another_database_delays_nobody(server: Server, name: str) -> None:
    other = server.new_database()

    async def main() -> None:
        async with Connections(server.dsn(other)) as elsewhere, Connections(server.dsn(name)) as connections:
            idle, a, reads = await elsewhere.new(), await connections.new(), await connections.new()
            await idle.execute("BEGIN")
            await insert(idle)
            await a.execute("BEGIN")
            await insert(a)
            await a.execute("ROLLBACK")
            await insert(a)
            assert await now(reads) == [2]

    asyncio.run(main())


def test_the_servers_own_limit_ends_a_transaction_that_sleeps_on_the_log(server: Server, name: str) -> None:
    async def main() -> None:
        async with Connections(server.dsn(name)) as connections:
            a, b, reads = [await connections.new() for _ in range(3)]
            await a.execute("SET idle_in_transaction_session_timeout = '100ms'")
            await a.execute("BEGIN")
            await insert(a)
            await insert(b)
            assert await now(reads) == []
            reader = GapAwareReader(QUERY, SystemClock())
            assert ids(await within(10, reader.read(reads, -1, LIMIT))) == [2]
            assert reader.gap_waits == 1
            assert reader.gap_wait_ns > 0

    asyncio.run(main())


@pytest.mark.parametrize("limit", [1, 2, 3, 5, 100])
def test_several_gaps_and_limits_smaller_than_a_gap(server: Server, name: str, limit: int) -> None:
    async def main() -> None:
        async with Connections(server.dsn(name)) as connections:
            a, b, c, reads = [await connections.new() for _ in range(4)]
            await a.execute("BEGIN")
            await c.execute("BEGIN")
            committed = [await insert(b)]
            first = [await insert(a) for _ in range(4)]
            committed += [await insert(b), await insert(b)]
            await c.execute("SAVEPOINT s")
            for _ in range(4):
                await insert(c)
            await c.execute("ROLLBACK TO s")
            second = [await insert(c)]
            committed.append(await insert(b))
            assert await now(reads, -1, limit) == [1]
            await a.execute("COMMIT")
            assert await now(reads, -1, limit) == sorted([*committed[:3], *first])
            await c.execute("COMMIT")
            assert await now(reads, -1, limit) == sorted([*committed, *first, *second])

    asyncio.run(main())


def test_a_pruned_beginning_holds_nobody_and_costs_one_look(server: Server, name: str) -> None:
    async def main() -> None:
        async with Connections(server.dsn(name)) as connections:
            a, reads = await connections.new(), await connections.new()
            for _ in range(10):
                await insert(a)
            await a.execute("DELETE FROM outbox WHERE id <= 7")
            turns = Turns()
            reading = asyncio.ensure_future(stepped(GapAwareReader, turns).read(reads, -1, 2))
            assert [await turns.step() for _ in range(3)] == ["fetch", "writers", "fetch"]
            assert ids(await within(10, reading)) == [8, 9]

    asyncio.run(main())


@pytest.mark.parametrize("change", ["CACHE 20", "INCREMENT 2", "CYCLE"])
def test_a_sequence_that_hands_out_ids_out_of_order_is_refused_at_the_start(
    server: Server, name: str, change: str
) -> None:
    async def main() -> None:
        async with Connections(server.dsn(name)) as connections:
            await (await connections.new()).execute(f"ALTER SEQUENCE outbox_id_seq {change}")
        async with Database(server.url(name), clock=SystemClock()) as database:
            log = PostgresEventLog(database)
            with pytest.raises(SchemaMismatch, match=change.split()[0]):
                await log.read_from(-1)
            with pytest.raises(SchemaMismatch, match="ALTER SEQUENCE outbox_id_seq CACHE 1"):
                await anext(log.batches(from_offset=-1))
            await log.close()

    asyncio.run(main())


# All orders of the steps of some writers and one reader.

Schedule = tuple[str, ...]


def orders(parts: Sequence[Schedule]) -> Iterator[Schedule]:
    """All orders of the steps of `parts` in which the steps of each keep theirs."""
    if not any(parts):
        yield ()
    for number, part in enumerate(parts):
        if part:
            rest = [*parts[:number], part[1:], *parts[number + 1 :]]
            yield from ((part[0], *later) for later in orders(rest))


def schedules(writers: str, ends: Sequence[str], reads: int) -> list[Schedule]:
    """Writers insert in the order of their letters: which of them is called A makes no difference."""
    inserts = tuple(f"{one} insert" for one in writers)
    found = orders(
        [*[(f"{one} insert", f"{one} {end}") for one, end in zip(writers, ends, strict=True)], ("read",) * reads]
    )
    return [one for one in found if tuple(step for step in one if step in inserts) == inserts]


class Enumeration:
    """Runs schedules on one database, each after the last id that the one before took."""

    def __init__(self, connections: Connections, kind: type[GapAwareReader]) -> None:
        self._connections = connections
        self._kind = kind
        self._writers: dict[str, Any] = {}
        self._reads: Any = None
        self._last = -1

    async def run(self, schedule: Schedule) -> tuple[list[int], list[int]]:
        """What was committed and what was delivered."""
        for step in schedule:
            if step[0] not in self._writers and step != "read":
                self._writers[step[0]] = await self._connections.new()
        if self._reads is None:
            self._reads = await self._connections.new()
        turns, taken, committed, delivered = Turns(), {}, [], []
        ended = False
        after = self._last

        async def follow() -> None:
            nonlocal after
            reader = stepped(self._kind, turns)
            while True:
                last = ended
                rows = await reader.read(self._reads, after, LIMIT)
                delivered.extend(ids(rows))
                if rows:
                    after = rows[-1][0]
                elif last:
                    return

        following = asyncio.ensure_future(follow())
        for step in schedule:
            if step == "read":
                await turns.step()
                continue
            writer, what = step.split()
            if what == "insert":
                await self._writers[writer].execute("BEGIN")
                taken[writer] = self._last = await insert(self._writers[writer])
            else:
                await self._writers[writer].execute(what)
                if what == "COMMIT":
                    committed.append(taken[writer])
        ended = True
        turns.release()
        await within(10, following)
        return sorted(committed), delivered


async def enumerate_all(
    server: Server, name: str, kind: type[GapAwareReader], all_of_them: list[Schedule]
) -> list[Schedule]:
    """The schedules after which not exactly what was committed had been delivered, in order."""
    wrong = []
    async with Connections(server.dsn(name)) as connections:
        enumeration = Enumeration(connections, kind)
        for schedule in all_of_them:
            committed, delivered = await enumeration.run(schedule)
            if committed != delivered:
                wrong.append(schedule)
    return wrong


TWO = [
    schedule
    for ends in (("COMMIT", "COMMIT"), ("ROLLBACK", "COMMIT"), ("COMMIT", "ROLLBACK"))
    for schedule in schedules("AB", ends, reads=4)
]
THREE = [
    schedule
    for ends in (("COMMIT", "COMMIT", "COMMIT"), ("ROLLBACK", "COMMIT", "COMMIT"))
    for schedule in schedules("ABC", ends, reads=2)
]


@pytest.mark.parametrize("all_of_them", [TWO, THREE], ids=["two writers", "three writers"])
def test_in_all_orders_of_the_steps_everything_committed_is_delivered_in_order(
    server: Server, name: str, all_of_them: list[Schedule]
) -> None:
    """The wrong readers go through the same orders: an enumeration in which they lose nothing would prove nothing."""

    async def main() -> None:
        assert await enumerate_all(server, name, GapAwareReader, all_of_them) == []
        lost = {kind: await enumerate_all(server, name, kind, all_of_them) for kind in (NaiveReader, ListsFirstReader)}
        print(f"{len(all_of_them)} orders; wrong in {', '.join(f'{k.__name__} {len(v)}' for k, v in lost.items())}")
        assert all(lost.values())

    asyncio.run(main())
