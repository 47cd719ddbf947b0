"""The log survives: the server killed, connections cut, a listener that hears nothing, a consumer killed in a transaction.

Every kill happens at a named point that was reached, never after a time. Printed is how long it took until all was well again.
"""

from __future__ import annotations

import asyncio
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import asyncpg
import msgspec
import pytest
from postgres import Server, running_server
from readers import within

from weaver.core.errors import OutcomeUnknown, StoreError
from weaver.core.ports import sleep_for
from weaver.events.consumer import EventConsumer
from weaver.events.envelope import Envelope, StoredEvent, envelope
from weaver.events.health import ListenerState
from weaver.events.registry import register
from weaver.glados.clock import SystemClock
from weaver.walle.consumer_store import PostgresConsumerStore
from weaver.walle.database import Database
from weaver.walle.log.event_log import PostgresEventLog
from weaver.walle.log.notifications import Listener

HERE = Path(__file__).resolve().parent
SECOND = 1_000_000_000


@register("crash.Happened")
class Happened(msgspec.Struct, frozen=True, kw_only=True):
    number: int


def fact(number: int) -> Envelope:
    return envelope(Happened(number=number), ts=number, producer="crash")


@pytest.fixture(scope="module")
def server() -> Iterator[Server]:
    with running_server(durable=True) as server:
        yield server


class Collected:
    """Follows the log from its beginning; `reached(n)` returns once n events were delivered."""

    def __init__(self, log: PostgresEventLog) -> None:
        self._log = log
        self.events: list[StoredEvent] = []
        self._more = asyncio.Event()
        self._task = asyncio.create_task(self._follow())

    async def _follow(self) -> None:
        async for stored in self._log.subscribe(from_offset=-1):
            self.events.append(stored)
            self._more.set()

    async def until(self, enough: Callable[[set[int]], bool]) -> None:
        async def wait() -> None:
            while not enough(set(self.numbers)):
                self._more.clear()
                await self._more.wait()

        await within(30, wait())

    @property
    def numbers(self) -> list[int]:
        return [one.envelope.payload.number for one in self.events]

    async def close(self) -> None:
        self._task.cancel()
        await asyncio.wait([self._task])


async def cut(server: Server, name: str, application: str) -> None:
    """Cut the connections of that name, as soon as there is one, and return when they have ended."""
    clock = SystemClock()

    async def until_cut(connection: Any) -> None:
        while not await connection.fetch(
            "SELECT pg_terminate_backend(pid, 10000) FROM pg_stat_activity WHERE datname = $1 AND application_name = $2",
            name,
            application,
        ):
            await sleep_for(clock, SECOND // 100)

    connection = await asyncpg.connect(server.dsn("postgres"))
    try:
        await within(20, until_cut(connection))
    finally:
        await connection.close()


def test_the_server_is_killed_under_load_and_every_acknowledged_event_arrives_in_order(server: Server) -> None:
    name = server.new_database()

    async def main() -> None:
        clock = SystemClock()
        acknowledged: set[int] = set()
        unknown: set[int] = set()
        goal, loaded = 200, asyncio.Event()
        numbers = iter(range(10_000))

        async def write(log: PostgresEventLog) -> None:
            while len(acknowledged) < goal:
                number = next(numbers)
                try:
                    await log.append(fact(number))
                    acknowledged.add(number)
                except OutcomeUnknown:
                    unknown.add(number)
                except StoreError:
                    pass  # nothing was written
                if len(acknowledged) >= 100:
                    loaded.set()

        async with Database(server.url(name), clock=clock, patience_s=30) as database:
            log = PostgresEventLog(
                database, poll_s=0.2, listener=Listener(database, canary_ns=SECOND, answer_ns=SECOND)
            )
            seen = Collected(log)
            writers = [asyncio.create_task(write(log)) for _ in range(8)]
            await within(30, loaded.wait())
            server.kill()
            began = clock.elapsed_ns()
            goal = len(acknowledged) + 100
            await asyncio.to_thread(server.start)
            await within(40, asyncio.gather(*writers))
            await seen.until(acknowledged.issubset)
            print(
                f"\nserver killed: all is well after {(clock.elapsed_ns() - began) / 1e9:.2f} s, {len(unknown)} unknown outcomes"
            )
            assert acknowledged <= set(seen.numbers) <= acknowledged | unknown
            offsets = [one.offset for one in seen.events]
            assert offsets == sorted(set(offsets))
            assert len(set(seen.numbers)) == len(seen.numbers)
            await seen.close()
            await log.close()

    asyncio.run(main())


@pytest.mark.parametrize("application", ["weaver listener", "weaver notifier", "weaver"])
def test_a_connection_is_cut_and_nothing_is_lost(server: Server, application: str) -> None:
    name = server.new_database()

    async def main() -> None:
        clock = SystemClock()
        async with Database(server.url(name), clock=clock) as database:
            log = PostgresEventLog(database, poll_s=0.2)
            seen = Collected(log)
            await log.append([fact(number) for number in range(3)])
            await log.append(fact(3))
            await seen.until({0, 1, 2, 3}.issubset)
            await log.append(fact(4))
            await seen.until({4}.issubset)
            await cut(server, name, application)
            began = clock.elapsed_ns()
            await append_surely(log, 5)
            await seen.until({5}.issubset)
            print(f"\n{application} cut: {(clock.elapsed_ns() - began) / 1e9:.2f} s")
            assert seen.numbers == list(range(6))
            await seen.close()
            await log.close()

    async def append_surely(log: PostgresEventLog, number: int) -> None:
        try:
            await log.append(fact(number))
        except StoreError:
            written = [one.envelope.payload.number for one in await log.read_from(-1)]
            if number not in written:
                await log.append(fact(number))

    asyncio.run(main())


def test_a_consumer_whose_lease_was_cut_takes_it_again_and_does_everything_once(server: Server) -> None:
    name = server.new_database()

    async def main() -> None:
        clock = SystemClock()
        async with Database(server.url(name), clock=clock) as database:
            log = PostgresEventLog(database, poll_s=0.1)
            done: list[int] = []
            more = asyncio.Event()

            async def handle(stored: StoredEvent, transaction: Any) -> None:
                done.append(stored.envelope.payload.number)
                more.set()

            consumer = EventConsumer("one", handle, log=log, desk=PostgresConsumerStore(database), clock=clock)
            consumer.start()

            async def until(number: int) -> None:
                while number not in done:
                    more.clear()
                    await more.wait()

            await log.append(fact(0))
            await within(20, until(0))
            await cut(server, name, "weaver consumer one")
            began = clock.elapsed_ns()
            await log.append(fact(1))
            await within(20, until(1))
            print(f"\nlease cut: {(clock.elapsed_ns() - began) / 1e9:.2f} s")
            await log.append(fact(2))
            await within(20, until(2))
            await consumer.stop()
            assert done == [0, 1, 2]
            assert await PostgresConsumerStore(database).offsets.get_offset("one") == 3
            await log.close()

    asyncio.run(main())


@pytest.mark.parametrize("error", [FileNotFoundError("a file of the handler's"), asyncpg.InterfaceError("wrong SQL")])
def test_a_handler_that_fails_on_its_own_is_put_aside_and_not_taken_for_a_lost_server(
    server: Server, error: Exception
) -> None:
    name = server.new_database()

    async def main() -> None:
        clock = SystemClock()
        async with Database(server.url(name), clock=clock) as database:
            log = PostgresEventLog(database, poll_s=0.1)
            desk = PostgresConsumerStore(database)
            handled = asyncio.Event()

            async def handle(stored: StoredEvent, transaction: Any) -> None:
                if stored.envelope.payload.number == 0:
                    raise error
                handled.set()

            consumer = EventConsumer("one", handle, log=log, desk=desk, clock=clock, attempts=2, pause_ns=1000, batch=1)
            consumer.start()
            await log.append([fact(0), fact(1)])
            await within(20, handled.wait())
            await consumer.stop()
            assert [(one.offset, one.attempts) for one in await desk.dead_letters()] == [(1, 2)]
            await log.close()

    asyncio.run(main())


@pytest.mark.parametrize("opened", ["transaction", "session"])
def test_an_append_is_taken_back_with_its_transaction_also_where_it_was_the_first_statement(
    server: Server, opened: str
) -> None:
    name = server.new_database()

    async def main() -> None:
        async with Database(server.url(name), clock=SystemClock()) as database:
            log = PostgresEventLog(database)

            async def take_back() -> None:
                async with getattr(database, opened)() as transaction:
                    await log.append(fact(0), transaction=transaction)
                    raise LookupError

            with pytest.raises(LookupError):
                await take_back()
            assert await log.read_from(-1) == []
            await log.close()

    asyncio.run(main())


@pytest.mark.parametrize("opened", ["transaction", "session"])
def test_a_commit_on_a_connection_that_was_cut_is_an_unknown_outcome(server: Server, opened: str) -> None:
    name = server.new_database()

    async def main() -> None:
        async with Database(server.url(name), clock=SystemClock()) as database:
            log = PostgresEventLog(database)

            async def commit_over_nothing() -> None:
                async with getattr(database, opened)() as transaction:
                    await log.append(fact(0), transaction=transaction)
                    await cut(server, name, "weaver")

            with pytest.raises(OutcomeUnknown):
                await commit_over_nothing()
            assert await log.read_from(-1) == []
            await log.close()

    asyncio.run(main())


class Proxy:
    """A socket before the server's. `swallow` lets nothing through any more, either way, and says nothing."""

    def __init__(self, server: Server, folder: Path) -> None:
        self._target = str(server.socket / ".s.PGSQL.5432")
        self.folder = folder
        self._tasks: set[asyncio.Task[None]] = set()
        self._swallowed: set[asyncio.StreamWriter] = set()
        self._all: list[asyncio.StreamWriter] = []

    async def __aenter__(self) -> Proxy:
        self._server = await asyncio.start_unix_server(self._serve, str(self.folder / ".s.PGSQL.5432"))
        return self

    async def __aexit__(self, *error: object) -> None:
        self._server.close()
        for writer in self._all:
            writer.transport.abort()
        for task in self._tasks:
            task.cancel()
        if self._tasks:
            await asyncio.wait(self._tasks)

    def swallow(self) -> None:
        """Connections that are open now are half-open from here on; new ones work."""
        self._swallowed.update(self._all)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        there, out = await asyncio.open_unix_connection(self._target)
        self._all += [writer, out]
        self._tasks |= {asyncio.create_task(self._pump(reader, out)), asyncio.create_task(self._pump(there, writer))}

    async def _pump(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            while data := await reader.read(65536):
                if writer not in self._swallowed:
                    writer.write(data)
        except ConnectionError:
            pass
        if writer not in self._swallowed:
            writer.close()


class Watched(Listener):
    """Notes every state that it was in."""

    def __setattr__(self, name: str, value: Any) -> None:
        if name == "state":
            self.__dict__.setdefault("states", []).append(value)
            if value is ListenerState.DEAD:
                self.__dict__.setdefault("died", asyncio.Event()).set()
        super().__setattr__(name, value)


def test_a_half_open_listener_is_found_dead_by_its_canary_and_nothing_is_lost(server: Server) -> None:
    name = server.new_database()
    folder = server.folder / "proxy"
    folder.mkdir()

    async def main() -> None:
        clock = SystemClock()
        async with (
            Proxy(server, folder) as proxy,
            Database(server.url(name), clock=clock) as direct,
            Database(f"postgresql+asyncpg://weaver@/{name}?host={folder}", clock=clock) as through,
        ):
            listener = Watched(through, canary_ns=SECOND // 10, answer_ns=SECOND // 5)
            listener.died = asyncio.Event()
            log = PostgresEventLog(direct, poll_s=0.2, listener=listener)
            writing = PostgresEventLog(direct)
            seen = Collected(log)
            await writing.append(fact(0))
            await seen.until({0}.issubset)
            proxy.swallow()
            began = clock.elapsed_ns()
            await writing.append(fact(1))
            await within(20, listener.died.wait())
            dead = clock.elapsed_ns()
            await seen.until({1}.issubset)
            print(f"\nhalf-open: dead after {(dead - began) / 1e9:.2f} s")
            assert listener.reconnects >= 1
            await writing.append(fact(2))
            await seen.until({2}.issubset)
            assert seen.numbers == [0, 1, 2]
            await seen.close()
            await log.close()
            await writing.close()

    asyncio.run(main())


class Deaf(Listener):
    """Connects, and hears nothing."""

    def _heard(self, *_: object) -> None:
        pass


def test_where_no_notify_arrives_the_poll_finds_what_was_appended(server: Server) -> None:
    name = server.new_database()

    async def main() -> None:
        clock = SystemClock()
        async with Database(server.url(name), clock=clock) as database:
            log = PostgresEventLog(database, poll_s=0.1, listener=Deaf(database))
            writing = PostgresEventLog(database)
            seen = Collected(log)
            for number in range(3):
                began = clock.elapsed_ns()
                await writing.append(fact(number))
                await seen.until({number}.issubset)
            print(f"\nno NOTIFY: found after {(clock.elapsed_ns() - began) / 1e9:.2f} s")
            assert seen.numbers == [0, 1, 2]
            await seen.close()
            await log.close()
            await writing.close()

    asyncio.run(main())


CONSUMER = """
import asyncio, sys
import msgspec
from weaver.events.consumer import EventConsumer
from weaver.events.registry import register
from weaver.glados.clock import SystemClock
from weaver.walle.consumer_store import PostgresConsumerStore
from weaver.walle.database import Database
from weaver.walle.log.event_log import PostgresEventLog

@register("crash.Happened")  # an event of a type that is not known here would be put aside
class Happened(msgspec.Struct, frozen=True, kw_only=True):
    number: int

async def main(url, hang_at):
    async with Database(url, clock=SystemClock()) as database:
        log = PostgresEventLog(database, poll_s=0.1)
        async def handle(stored, transaction):
            await transaction.connection.execute("INSERT INTO effect VALUES ($1)", stored.offset)
            if stored.offset == hang_at:
                print("inside", flush=True)
                await asyncio.Event().wait()
        consumer = EventConsumer("one", handle, log=log, desk=PostgresConsumerStore(database), clock=SystemClock(), batch=3)
        consumer.start()
        await consumer.wait_ended()

asyncio.run(main(sys.argv[1], int(sys.argv[2])))
"""


def test_a_consumer_is_killed_inside_a_transaction_and_another_takes_over_exactly_once(server: Server) -> None:
    name = server.new_database()
    clock = SystemClock()

    async def prepare() -> None:
        async with Database(server.url(name), clock=clock) as database:
            log = PostgresEventLog(database)
            async with database.connection() as connection:
                await connection.execute("CREATE TABLE effect (event_offset bigint)")
            await log.append([fact(number) for number in range(10)])
            await log.close()

    async def taken_over() -> list[int]:
        connection = await asyncpg.connect(server.dsn(name))
        try:
            while await connection.fetchval("SELECT coalesce(max(last_offset), -1) FROM consumer_offsets") < 10:
                await sleep_for(clock, SECOND // 100)
            return [row[0] for row in await connection.fetch("SELECT event_offset FROM effect ORDER BY 1")]
        finally:
            await connection.close()

    asyncio.run(prepare())
    command = [sys.executable, "-c", CONSUMER, server.url(name)]
    with subprocess.Popen([*command, "5"], stdout=subprocess.PIPE, text=True) as first:
        assert first.stdout is not None
        assert first.stdout.readline() == "inside\n"
        with subprocess.Popen([*command, "-1"], stdout=subprocess.DEVNULL) as second:
            try:
                first.kill()
                first.wait(20)
                began = clock.elapsed_ns()
                effects = asyncio.run(within(20, taken_over()))
                print(f"\nconsumer killed: another had taken over after {(clock.elapsed_ns() - began) / 1e9:.2f} s")
            finally:
                first.kill()
                second.kill()
    assert effects == list(range(1, 11))
