"""The event log in PostgreSQL keeps the contract of every log, and what only a database can promise."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any

import pytest

from weaver.core.errors import ConfigError, OutcomeUnknown, SchemaMismatch, StoreUnavailable
from weaver.events.envelope import StoredEvent, UnknownPayload, encode
from weaver.events.health import ListenerState
from weaver.testing.contracts import EventLogContract, RefusalContract
from weaver.testing.contracts.samples import note
from weaver.walle.database import Database
from weaver.walle.log.event_log import PostgresEventLog
from weaver.walle.log.event_queries import EventQueries
from weaver.walle.log.gap_aware_reader import PRUNING_LOCK, GapAwareReader
from weaver.walle.log.notifications import Listener

pytestmark = pytest.mark.log

RunOn = Callable[..., Any]


@pytest.mark.usefixtures("in_postgres")
class TestPostgresEventLog(EventLogContract): ...


@pytest.mark.usefixtures("in_postgres")
class TestPostgresEventLogRefuses(RefusalContract): ...


@asynccontextmanager
async def log_of(database: Database, **settings: Any) -> AsyncIterator[PostgresEventLog]:
    log = PostgresEventLog(database, **settings)
    try:
        yield log
    finally:
        await log.close()


def numbers(events: list[StoredEvent]) -> list[int]:
    return [one.envelope.payload.number for one in events]


async def cut(database: Database, application: str) -> int:
    """End the connections of that name; how many there were."""
    async with database.connection() as connection:
        rows = await connection.fetch(
            "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE application_name = $1 "
            "AND datname = current_database() AND pid <> pg_backend_pid()",
            application,
        )
    return len(rows)


def test_the_row_holds_the_whole_envelope_and_its_type(run_on: RunOn) -> None:
    async def main(database: Database) -> None:
        async with log_of(database) as log:
            sent = note(7, run_id="run-1")
            offset = await log.append(sent)
            async with database.connection() as connection:
                row = await connection.fetchrow("SELECT id, type, payload::text, created_at FROM outbox")
        assert (row["id"], row["type"]) == (offset, "testing.Noted")
        assert row["created_at"].tzinfo is not None
        assert json.loads(row["payload"]) == {
            "id": sent.id,
            "type": "testing.Noted",
            "version": 1,
            "run_id": "run-1",
            "corr_id": sent.id,
            "causation_id": None,
            "ts": sent.ts_text,
            "producer": "test",
            "payload": {"number": 7, "text": ""},
        }

    run_on(main)


def test_another_process_reads_what_was_appended_and_goes_on_from_an_offset(run_on: RunOn) -> None:
    async def write(database: Database) -> list[int]:
        async with log_of(database) as log:
            return await log.append([note(1), note(2)])

    async def read(database: Database) -> list[int]:
        async with log_of(database) as log:
            return numbers(await log.read_from(offsets[0]))

    offsets = run_on(write)
    assert run_on(read) == [2]


def test_an_event_and_a_row_of_a_session_come_together_or_not_at_all(run_on: RunOn) -> None:
    from weaver.walle.models import ConsumerOffset

    async def failing(database: Database, log: PostgresEventLog) -> None:
        async with database.session() as session:
            await log.append(note(1), transaction=session)  # the session's first statement
            session.add(ConsumerOffset(consumer_id="one", last_offset=1))
            await session.flush()
            raise KeyError

    async def main(database: Database) -> None:
        async with log_of(database) as log:
            with pytest.raises(KeyError):
                await failing(database, log)
            assert await log.read_from(-1) == []
            stream = log.subscribe(from_offset=-1)
            waiting = asyncio.ensure_future(anext(stream))
            async with database.session() as session:
                session.add(ConsumerOffset(consumer_id="one", last_offset=1))
                offset = await log.append(note(2), transaction=session)
                assert await log.read_from(-1) == []
            assert (await waiting).offset == offset
            await stream.aclose()
            async with database.session() as session:
                found = await session.get(ConsumerOffset, "one")
            assert found is not None
            assert found.last_offset == 1

    run_on(main)


def test_an_event_of_a_savepoint_that_was_rolled_back_is_gone_and_the_rest_stays(run_on: RunOn) -> None:
    async def main(database: Database) -> None:
        async with log_of(database) as log:
            async with database.transaction() as transaction:
                await log.append(note(1), transaction=transaction)
                savepoint = transaction.connection.transaction()
                await savepoint.start()
                await log.append(note(2), transaction=transaction)
                await savepoint.rollback()
                await log.append(note(3), transaction=transaction)
            assert numbers(await log.read_from(-1)) == [1, 3]

    run_on(main)


def test_a_batch_larger_than_a_statement_is_one_transaction_in_its_order(run_on: RunOn) -> None:
    async def main(database: Database) -> None:
        async with log_of(database) as log:
            sent = [note(number, text="x" * 900_000) for number in range(20)]
            offsets = await log.append(sent)
            found = await log.read_from(-1)
            assert [one.offset for one in found] == offsets
            assert numbers(found) == list(range(20))
            async with database.connection() as connection:
                assert await connection.fetchval("SELECT count(DISTINCT xmin::text) FROM outbox") == 1

    run_on(main)


def test_what_the_server_refuses_takes_no_other_append_down_with_it(run_on: RunOn) -> None:
    import asyncpg

    async def main(database: Database) -> None:
        async with log_of(database) as log:
            async with database.connection() as connection:
                await connection.execute(
                    "ALTER TABLE outbox ADD CONSTRAINT no_thirteen CHECK (payload -> 'payload' ->> 'number' <> '13')"
                )
            try:
                done = await asyncio.gather(*(log.append(note(n)) for n in range(11, 16)), return_exceptions=True)
            finally:
                async with database.connection() as connection:
                    await connection.execute("ALTER TABLE outbox DROP CONSTRAINT no_thirteen")
            assert isinstance(done[2], asyncpg.CheckViolationError)
            assert numbers(await log.read_from(-1)) == [11, 12, 14, 15]
            assert all(isinstance(one, int) for one in done[:2] + done[3:])

    run_on(main)


def test_an_append_whose_connection_was_cut_is_of_unknown_outcome_and_the_next_one_works(run_on: RunOn) -> None:
    async def main(database: Database) -> None:
        async with log_of(database) as log:
            blocker, watcher = await database.connect(), await database.connect()
            for events in (note(1), [note(1), note(2)]):
                await blocker.execute("BEGIN; LOCK TABLE outbox IN EXCLUSIVE MODE")
                append = asyncio.ensure_future(log.append(events))
                while not await watcher.fetchval(
                    "SELECT count(pg_terminate_backend(pid)) FROM pg_stat_activity "
                    "WHERE wait_event_type = 'Lock' AND datname = current_database()"
                ):
                    pass
                with pytest.raises(OutcomeUnknown, match="look whether they are there"):
                    await append
                await blocker.execute("ROLLBACK")
            await blocker.close()
            await watcher.close()
            await log.append(note(3))
            assert numbers(await log.read_from(-1)) == [3]

    run_on(main)


def test_a_subscription_survives_that_its_connections_are_cut(run_on: RunOn) -> None:
    async def main(database: Database) -> None:
        async with log_of(database, poll_s=0.01) as log:
            stream = log.subscribe(from_offset=-1)
            offsets = [await log.append(note(1))]
            assert (await anext(stream)).offset == offsets[0]
            assert await cut(database, "weaver listener") <= 1
            async with Database(database.url, clock=database.clock) as other:
                await cut(other, "weaver")
            try:
                await log.append(note(2))
            except OutcomeUnknown:  # the client had not heard yet that its connection is gone
                assert await log.latest_offset() == offsets[0], "so one looks whether it is there"
                await log.append(note(2))
            assert (await anext(stream)).envelope.payload.number == 2
            await stream.aclose()

    run_on(main)


def test_events_of_another_process_wake_a_reader_that_polls_once_an_hour(run_on: RunOn) -> None:
    async def main(database: Database) -> None:
        async with log_of(database, poll_s=3600.0) as reading, Database(database.url, clock=database.clock) as other:
            stream = reading.subscribe(from_offset=-1)
            waiting = asyncio.ensure_future(anext(stream))
            async with log_of(other) as writing:
                while not waiting.done():
                    await writing.append(note(1))
            assert (await waiting).envelope.payload.number == 1
            health = await reading.health()
            assert health.listener in (ListenerState.LIVE, ListenerState.QUIET, ListenerState.CONNECTING)
            await stream.aclose()

    run_on(main)


def test_a_reader_that_nobody_wakes_looks_by_itself(run_on: RunOn) -> None:
    async def main(database: Database) -> None:
        class Deaf(Listener):
            def wake(self) -> None: ...

        async with log_of(database, poll_s=0.01, listener=Deaf(database)) as log:
            stream = log.subscribe(from_offset=-1)
            waiting = asyncio.ensure_future(anext(stream))
            offset = await log.append(note(1))
            assert (await waiting).offset == offset
            await stream.aclose()

    run_on(main)


def test_a_listener_that_is_quiet_checks_itself_and_says_so(run_on: RunOn) -> None:
    async def main(database: Database) -> None:
        listener = Listener(database, canary_ns=1_000_000)
        woken = asyncio.Event()
        assert listener.state is ListenerState.OFF
        unsubscribe = listener.subscribe(woken.set)
        await woken.wait()  # it listens, and what came before is looked at
        other = await database.connect()
        woken.clear()
        await other.execute("NOTIFY weaver_events")
        await woken.wait()
        while listener.state is not ListenerState.QUIET:  # until a canary came back after it
            await other.execute("SELECT 1")
        assert listener.reconnects == 0
        unsubscribe()
        unsubscribe()
        await listener.close()
        assert listener.state is ListenerState.OFF
        await other.close()

    run_on(main)


def test_a_listener_whose_canary_gives_no_answer_connects_anew(run_on: RunOn) -> None:
    async def main(database: Database) -> None:
        class Half(Listener):
            """Half open: what the server sends does not arrive."""

            deaf = True

            def _came_back(self, *_: object) -> None:
                if not self.deaf:
                    super()._came_back()

        listener = Half(database, canary_ns=1_000_000, answer_ns=20_000_000)
        calls: list[int] = []
        again = asyncio.Event()

        def call() -> None:
            calls.append(listener.reconnects)
            again.set()

        listener.subscribe(call)
        while not calls or calls[-1] < 1:
            again.clear()
            await again.wait()
        assert listener.reconnects >= 1, "and whoever waits was woken, to look what it missed"
        await listener.close()

    run_on(main)


def test_health_tells_of_lag_age_and_waits(run_on: RunOn) -> None:
    async def main(database: Database) -> None:
        async with log_of(database) as log:
            empty = await log.health()
            assert (empty.latest_offset, empty.events, empty.age_s, empty.lag) == (-1, 0, None, {})
            assert empty.listener is ListenerState.OFF
            offsets = await log.append([note(number) for number in range(5)])
            async with database.connection() as connection:
                await connection.execute(
                    "INSERT INTO consumer_offsets (consumer_id, last_offset) VALUES ('new', -1), ('at', $1), ('ahead', 99)",
                    offsets[2],
                )
            stream = log.subscribe(from_offset=-1)
            async with database.transaction() as transaction:
                await log.append(note(5), transaction=transaction)
                last = await log.append(note(6))
                for _ in range(5):
                    await anext(stream)
                waiting = asyncio.ensure_future(anext(stream))
                while (await log.health()).gap_waits == 0:
                    pass
            assert (await waiting).offset == last - 1
            now = await log.health()
            assert now.latest_offset == last
            assert now.age_s is not None
            assert now.age_s >= 0
            assert now.lag == {"new": last + 1, "at": last - offsets[2], "ahead": 0}
            await stream.aclose()
            after = await log.health()
            assert after.gap_waits >= 1, "what a reader met is not forgotten with it"
            assert after.gap_wait_s > 0

    run_on(main)


def test_a_transaction_that_only_prunes_holds_no_reader_up(run_on: RunOn) -> None:
    async def failing(database: Database, log: PostgresEventLog) -> None:
        async with database.transaction() as transaction:
            await log.append(note(4), transaction=transaction)
            raise KeyError

    async def main(database: Database) -> None:
        async with log_of(database) as log:
            await log.append([note(1), note(2), note(3)])
            async with database.transaction() as pruning:
                await pruning.connection.execute(f"SELECT pg_advisory_xact_lock({PRUNING_LOCK})")
                await pruning.connection.execute("DELETE FROM outbox WHERE id < 3")
                with pytest.raises(KeyError):
                    await failing(database, log)
                last = await log.append(note(5))
                stream = log.subscribe(from_offset=3)
                assert (await anext(stream)).offset == last
                await stream.aclose()
            assert numbers(await log.read_from(-1)) == [3, 5]

    run_on(main)


def test_a_gap_is_waited_for_by_the_transactions_that_were_open_then_and_no_later_ones(run_on: RunOn) -> None:
    """Else a log that is always being written to would never be read on."""

    async def main(database: Database) -> None:
        async with log_of(database) as log:
            reader = GapAwareReader("SELECT id FROM outbox WHERE id > $1 ORDER BY id LIMIT $2", database.clock)
            async with database.connection() as reading:
                early = database.transaction()
                transaction = await early.__aenter__()
                first = await log.append(note(1), transaction=transaction)
                second = await log.append(note(2))
                waiting = asyncio.ensure_future(reader.read(reading, -1, 10))
                while reader.gap_waits == 0:
                    async with database.connection() as other:
                        await other.fetchval("SELECT 1")
                async with database.transaction() as late:
                    await log.append(note(3), transaction=late)
                    await early.__aexit__(None, None, None)
                    assert [row[0] for row in await waiting] == [first, second]

    run_on(main)


@pytest.mark.parametrize("change", ["CACHE 50", "INCREMENT 2", "CYCLE"])
def test_a_sequence_that_would_lose_events_is_refused_with_what_mends_it(own_url: str, change: str) -> None:
    from weaver.glados.clock.system import SystemClock

    async def main() -> None:
        async with Database(own_url, clock=SystemClock()) as database, log_of(database) as log:
            await log.append(note(1))
            async with database.connection() as connection:
                await connection.execute(f"ALTER SEQUENCE outbox_id_seq {change}")
            with pytest.raises(SchemaMismatch, match="CACHE 1 INCREMENT 1 NO CYCLE") as refused:
                await log.read_from(-1)
            assert change in str(refused.value)
            async with database.connection() as connection:
                await connection.execute(str(refused.value).rpartition("with: ")[2])
            assert numbers(await log.read_from(-1)) == [1]

    asyncio.run(main())


def test_a_poll_of_no_length_is_refused(run_on: RunOn) -> None:
    async def main(database: Database) -> None:
        with pytest.raises(ConfigError, match="poll_s=0"):
            PostgresEventLog(database, poll_s=0)

    run_on(main)


def test_a_log_whose_database_is_closed_says_so(run_on: RunOn) -> None:
    async def main(database: Database) -> None:
        log = PostgresEventLog(database)
        await log.append(note(1))
        await database.close()
        for call in (log.append(note(2)), log.append([note(2)]), log.read_from(-1), log.latest_offset()):
            with pytest.raises(Exception, match="is closed") as ended:
                await call
            assert not isinstance(ended.value, StoreUnavailable), "trying again does not help"
        await log.close()

    run_on(main)


def test_rows_that_do_not_match_their_class_reach_reader_and_stream_raw(run_on: RunOn) -> None:
    async def main(database: Database) -> None:
        log = PostgresEventLog(database)
        await log.append(note(1))
        event = encode(note(2)).decode()
        async with database.connection() as connection:
            for kind, payload in (
                ("testing.Noted", event.replace('"number":2', '"number":"two"')),
                ("later.Thing", event.replace("testing.Noted", "later.Thing")),
                ("by.Hand", "{}"),
            ):
                await connection.execute("INSERT INTO outbox (type, payload) VALUES ($1, $2::jsonb)", kind, payload)
        await log.append(note(3))
        read = await log.read_from(-1)
        assert [stored.envelope.type for stored in read] == [
            "testing.Noted", "testing.Noted", "later.Thing", "by.Hand", "testing.Noted",
        ]  # fmt: skip
        assert [isinstance(stored.envelope.payload, UnknownPayload) for stored in read] == [
            False,
            True,
            True,
            True,
            False,
        ]
        stream = log.subscribe(from_offset=-1)
        assert [await anext(stream) for _ in range(5)] == read
        await stream.aclose()
        assert await EventQueries(database).find("2") == read[1]
        await log.close()

    run_on(main)


@pytest.mark.parametrize(
    "failure",
    ["SET statement_timeout = 1; SELECT pg_sleep(10)", "SELECT pg_cancel_backend(pg_backend_pid()), pg_sleep(10)"],
)
def test_a_subscription_survives_a_statement_that_is_cancelled(run_on: RunOn, failure: str) -> None:
    async def main(database: Database) -> None:
        failures: list[Exception | None] = []
        left = [2]

        @asynccontextmanager
        async def connection() -> AsyncIterator[Any]:
            async with whole() as connection:
                if left[0] and log._sequence_checked:
                    left[0] -= 1
                    try:
                        await connection.execute(failure)
                    finally:
                        await connection.execute("RESET statement_timeout")
                yield connection

        async with log_of(database) as log:
            await log.append([note(1), note(2)])
            await log.read_from(-1)
            whole = database.connection
            database.connection = connection  # type: ignore[method-assign]
            stream = log.batches(from_offset=-1, on_error=failures.append)
            assert numbers(await anext(stream)) == [1, 2]
            await stream.aclose()
            assert [type(error) for error in failures] == [StoreUnavailable, StoreUnavailable, type(None)]
            database.connection = whole  # type: ignore[method-assign]

    run_on(main)
