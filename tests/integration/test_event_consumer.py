"""Consumers on PostgreSQL keep the contract of every consumer, and survive what happens to connections."""

from __future__ import annotations

import asyncio
import sys
from collections.abc import Callable
from typing import Any

import pytest

from weaver.core.errors import ConfigError
from weaver.events.consumer import EventConsumer
from weaver.events.envelope import StoredEvent
from weaver.glados.clock.system import SystemClock
from weaver.testing.contracts import ConsumerStoreContract, EventConsumerContract
from weaver.testing.contracts.samples import note
from weaver.walle.consumer_store import PostgresConsumerStore
from weaver.walle.database import Database, DatabaseTransaction
from weaver.walle.log.event_log import PostgresEventLog
from weaver.walle.transient import transient_as_unavailable

pytestmark = pytest.mark.log

RunOn = Callable[..., Any]


@pytest.mark.usefixtures("in_postgres")
class TestPostgresConsumerDesk(ConsumerStoreContract): ...


@pytest.mark.usefixtures("in_postgres")
class TestEventConsumerOnPostgres(EventConsumerContract): ...


class Seen:
    """A handler that remembers, and can be waited for."""

    def __init__(self) -> None:
        self.numbers: list[int] = []
        self._more = asyncio.Event()

    async def __call__(self, stored: StoredEvent, transaction: Any) -> None:
        self.numbers.append(stored.envelope.payload.number)
        self._more.set()

    async def until(self, count: int) -> None:
        while len(self.numbers) < count:
            self._more.clear()
            await self._more.wait()


def consumer_on(
    database: Database, log: PostgresEventLog, handler: Any, name: str = "one", **more: Any
) -> EventConsumer:
    desk = PostgresConsumerStore(database, retry_s=0.01)
    return EventConsumer(name, handler, log=log, desk=desk, clock=database.clock, pause_ns=1_000_000, **more)


def test_the_second_of_a_name_takes_over_when_the_connection_of_the_first_is_cut(run_on: RunOn) -> None:
    async def main(database: Database) -> None:
        async with Database(database.url, clock=database.clock) as other:
            log, other_log = PostgresEventLog(database), PostgresEventLog(other)
            seen, other_seen = Seen(), Seen()
            first = consumer_on(database, log, seen)
            first.start()
            await log.append(note(1))
            await seen.until(1)
            second = consumer_on(other, other_log, other_seen)
            second.start()
            async with other.connection() as connection:
                ended = await connection.fetch(
                    "SELECT pg_terminate_backend(pid) FROM pg_locks WHERE locktype = 'advisory' AND granted "
                    "AND database = (SELECT oid FROM pg_database WHERE datname = current_database())"
                )
            assert len(ended) == 1
            number = 2
            while not other_seen.numbers and first.state != "waiting":
                await other_log.append(note(number))
                number += 1
            await other_log.append(note(0))
            stands = -2
            while stands != await other_log.latest_offset():
                stands = await second._desk.offsets.get_offset("one")
            await first.stop()
            await second.stop()
            # Whoever got the lease: every event was handled once, in order, by one of the two.
            both = seen.numbers + other_seen.numbers
            assert sorted(both) == sorted({*range(1, number), 0})
            await log.close()
            await other_log.close()

    run_on(main)


def test_a_lost_lease_is_known_as_soon_as_the_connection_is(run_on: RunOn) -> None:
    async def main(database: Database) -> None:
        desk = PostgresConsumerStore(database)
        async with desk.lease("one") as lease:
            async with database.connection() as connection:
                assert not lease.lost
                while not lease.lost:
                    await connection.fetch(
                        "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE application_name = $1",
                        "weaver consumer one",
                    )
            assert lease.lost

    run_on(main)


def test_an_effect_in_the_database_counts_once_although_the_handler_fails_in_between(run_on: RunOn) -> None:
    async def main(database: Database) -> None:
        log = PostgresEventLog(database)
        async with database.connection() as connection:
            await connection.execute("CREATE TABLE IF NOT EXISTS tally (number int)")
            await connection.execute("TRUNCATE tally")
        failures = iter([KeyError("x"), ConnectionResetError("y"), TimeoutError("z")])
        seen = Seen()

        async def handler(stored: StoredEvent, transaction: DatabaseTransaction) -> None:
            number = stored.envelope.payload.number
            await transaction.connection.execute("INSERT INTO tally VALUES ($1)", number)
            if number == 3 and (error := next(failures, None)):
                raise error
            await seen(stored, transaction)

        consumer = consumer_on(database, log, handler, batch=4)
        last = (await log.append([note(number) for number in range(6)]))[-1]
        consumer.start()
        while await consumer._desk.offsets.get_offset("one") != last:
            pass
        await consumer.stop()
        async with database.connection() as connection:
            rows = await connection.fetch("SELECT number FROM tally ORDER BY number")
            await connection.execute("DROP TABLE tally")
        assert [row[0] for row in rows] == [0, 1, 2, 3, 4, 5]
        assert await consumer._desk.dead_letters() == []
        await log.close()

    run_on(main)


def test_a_wrong_statement_of_a_handler_is_the_handlers_fault_and_is_put_aside(run_on: RunOn) -> None:
    async def main(database: Database) -> None:
        log = PostgresEventLog(database)
        offset = await log.append(note(1))

        async def handler(stored: StoredEvent, transaction: DatabaseTransaction) -> None:
            await transaction.connection.execute("SELECT 1", "one argument too many")

        consumer = consumer_on(database, log, handler, attempts=2)
        consumer.start()
        while await consumer._desk.offsets.get_offset("one") != offset:
            pass
        await consumer.stop()
        (letter,) = await consumer._desk.dead_letters()
        assert letter.error.startswith("InterfaceError")
        await log.close()

    run_on(main)


def test_a_consumer_whose_transaction_is_cut_begins_again_and_handles_everything(run_on: RunOn) -> None:
    async def main(database: Database) -> None:
        log = PostgresEventLog(database)
        seen = Seen()
        cuts = iter([True])

        async def handler(stored: StoredEvent, transaction: DatabaseTransaction) -> None:
            if stored.envelope.payload.number == 2 and next(cuts, False):
                pid = transaction.connection.get_server_pid()
                async with database.connection() as other:
                    await other.execute(f"SELECT pg_terminate_backend({pid}, 10000)")
            await transaction.connection.fetchval("SELECT 1")
            await seen(stored, transaction)

        last = (await log.append([note(1), note(2), note(3)]))[-1]
        consumer = consumer_on(database, log, handler)
        consumer.start()
        while await consumer._desk.offsets.get_offset("one") != last:
            pass
        await consumer.stop()
        assert seen.numbers in ([1, 1, 2, 3], [1, 2, 1, 2, 3])
        assert consumer.parked == 0
        assert consumer.last_error is not None, "and blames the connection"
        assert consumer.last_error.startswith("StoreUnavailable")
        await log.close()

    run_on(main)


def test_a_letter_holds_a_copy_of_the_event_that_outlives_it(run_on: RunOn) -> None:
    async def main(database: Database) -> None:
        log = PostgresEventLog(database)

        async def handler(stored: StoredEvent, transaction: Any) -> None:
            raise KeyError("x\0y")

        offset = await log.append(note(1))
        consumer = consumer_on(database, log, handler, attempts=1)
        consumer.start()
        while await consumer._desk.offsets.get_offset("one") != offset:
            pass
        await consumer.stop()
        async with database.connection() as connection:
            await connection.execute("DELETE FROM outbox")
            payload = await connection.fetchval("SELECT payload ->> 'id' FROM dead_letters")
        assert payload == note(1).id
        await log.close()

    run_on(main)


def test_a_pause_of_no_length_between_looks_at_a_lease_is_refused(run_on: RunOn) -> None:
    async def main(database: Database) -> None:
        with pytest.raises(ConfigError, match="retry_s=0"):
            PostgresConsumerStore(database, retry_s=0)

    run_on(main)


def test_a_handler_that_appends_alone_needs_no_second_connection_of_the_pool(run_on: RunOn) -> None:
    async def main(database: Database) -> None:
        log, first = PostgresEventLog(database), PostgresEventLog(database)
        appended = asyncio.Event()

        async def append_once(stored: StoredEvent, transaction: Any) -> None:
            if stored.envelope.payload.number == 1:
                await log.append(note(2))
                appended.set()

        await first.append(note(1))
        consumer = consumer_on(database, log, append_once)
        consumer.start()
        await asyncio.wait_for(appended.wait(), 30)
        await consumer.stop()
        await log.close()
        await first.close()

    run_on(main, pool_size=1, max_overflow=0)


def test_a_handler_slower_than_the_servers_limit_is_parked_and_all_others_are_handled(
    own_url: str,
) -> None:
    """The handler of event 3 returns when the server has ended its transaction; so nothing is waited for but the limit."""
    seen: list[int] = []

    async def handler(stored: StoredEvent, transaction: DatabaseTransaction) -> None:
        seen.append(stored.envelope.payload.number)
        if seen[-1] == 3:
            ended = asyncio.Event()
            transaction.connection.add_termination_listener(lambda _: ended.set())
            await ended.wait()

    async def main() -> None:
        async with Database(own_url, clock=SystemClock()) as database, database.connection() as connection:
            name = await connection.fetchval("SELECT current_database()")
            await connection.execute(f"ALTER DATABASE {name} SET idle_in_transaction_session_timeout = '40ms'")
        async with Database(own_url, clock=SystemClock()) as database:
            log = PostgresEventLog(database)
            offsets = await log.append([note(number) for number in range(1, 6)])
            consumer = consumer_on(database, log, handler, attempts=2)
            consumer.start()
            while await consumer._desk.offsets.get_offset("one") != offsets[-1]:
                pass
            await consumer.stop()
            (letter,) = await consumer._desk.dead_letters()
            assert (letter.offset, letter.attempts, consumer.handled) == (offsets[2], 2, 4)
            assert "the server ends one after 0.04 s (idle_in_transaction_session_timeout)" in letter.error
            await log.close()

    asyncio.run(main())
    assert seen == [1, 2, 3, 1, 2, 3, 3, 4, 5]


_ENDS_IN_ITS_HANDLER = """
import asyncio, os, sys
from weaver.events.consumer import EventConsumer
from weaver.glados.clock.system import SystemClock
from weaver.testing.contracts.samples import note
from weaver.walle.consumer_store import PostgresConsumerStore
from weaver.walle.database import Database
from weaver.walle.log.event_log import PostgresEventLog


async def handler(stored, transaction):
    if stored.envelope.payload.number == 2:
        os.kill(os.getpid(), 9)


async def main():
    clock = SystemClock()
    async with Database(sys.argv[1], clock=clock) as database:
        log, store = PostgresEventLog(database), PostgresConsumerStore(database, retry_s=0.02)
        consumer = EventConsumer("one", handler, log=log, consumer_store=store, clock=clock, attempts=1)
        consumer.start()
        while await store.offsets.get_offset("one") != 3:
            pass
        await consumer.stop()
        await log.close()


asyncio.run(main())
"""


def test_a_handler_that_kills_its_process_is_put_aside_after_its_attempts(run_on: RunOn) -> None:
    async def main(database: Database) -> None:
        log, store = PostgresEventLog(database), PostgresConsumerStore(database)
        offsets = await log.append([note(1), note(2), note(3)])
        codes = []
        while not codes or codes[-1] == -9:
            child = await asyncio.create_subprocess_exec(sys.executable, "-c", _ENDS_IN_ITS_HANDLER, database.url)
            codes.append(await child.wait())
            assert len(codes) < 6, "it is retried for ever"
        assert codes == [-9, -9, 0], "once in the batch, once alone"
        (letter,) = await store.dead_letters()
        assert (letter.offset, letter.attempts) == (offsets[1], 1)
        assert letter.error.startswith("ProcessEnded")
        assert await store.offsets.get_offset("one") == offsets[2]
        await log.close()

    run_on(main)


def test_a_statement_of_the_consumers_own_that_is_cancelled_is_no_events_fault(run_on: RunOn) -> None:
    async def main(database: Database) -> None:
        log, seen = PostgresEventLog(database), Seen()
        await log.append([note(1), note(2)])
        cancelled: list[int] = []

        class Cancelled(PostgresConsumerStore):
            """The first two times its statement is cancelled by the server, as by a statement timeout."""

            async def advance(self, consumer_id: str, before: int, after: int, transaction: Any) -> None:
                if len(cancelled) < 2:
                    cancelled.append(after)
                    with transient_as_unavailable(database.url):
                        await transaction.connection.execute("SET LOCAL statement_timeout = 1; SELECT pg_sleep(10)")
                await super().advance(consumer_id, before, after, transaction)

        store = Cancelled(database)
        consumer = EventConsumer(
            "one", seen, log=log, consumer_store=store, clock=database.clock, attempts=1, pause_ns=1
        )
        consumer.start()
        while consumer.handled < 2:
            await store.offsets.get_offset("one")
        await consumer.stop()
        assert (len(cancelled), consumer.parked, await store.dead_letters()) == (2, 0, [])
        assert "did not complete a statement" in str(consumer.last_error)
        await log.close()

    run_on(main)
