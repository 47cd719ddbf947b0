"""EventConsumer on a clock that is moved by hand: how long it waits, and what it does when the store is away."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from itertools import pairwise
from typing import Any

import msgspec
import pytest

from weaver.core.errors import ConfigError, OutcomeUnknown, StoreUnavailable
from weaver.core.ports import sleep_for
from weaver.events.consumer import ConsumerState, EventConsumer
from weaver.events.consumer_store import InMemoryConsumerStore, TransactionLimit, letter_of
from weaver.events.envelope import StoredEvent, UnknownPayload
from weaver.events.log import InMemoryEventLog
from weaver.testing import ControllableClock
from weaver.testing.contracts.samples import note

pytestmark = pytest.mark.log

SECOND = 1_000_000_000


def test_the_pauses_between_tries_double_up_to_half_a_minute() -> None:
    clock = ControllableClock()
    times: list[float] = []

    async def handler(stored: StoredEvent, transaction: Any) -> None:
        times.append(clock.elapsed_ns() / SECOND)
        raise KeyError("x")

    async def main() -> EventConsumer:
        log, desk = InMemoryEventLog(), InMemoryConsumerStore()
        await log.append(note(1))
        consumer = EventConsumer(
            "one", handler, log=log, desk=desk, clock=clock, attempts=8, pause_ns=SECOND, poison="halt"
        )
        consumer.start()
        await consumer.wait_ended()
        assert (consumer.state, consumer.parked, consumer.last_error) == ("halted", 1, "KeyError: 'x'")
        await consumer.stop()
        return consumer

    clock.run(main())
    pauses = [round(after - before, 3) for before, after in pairwise(times)]
    assert pauses == [1, 2, 4, 8, 16, 30, 30]


@pytest.mark.parametrize("hours", [-1, 1])
def test_the_pauses_between_tries_are_as_long_when_the_wall_clock_is_set(hours: int) -> None:
    clock = ControllableClock()
    times: list[float] = []

    async def handler(stored: StoredEvent, transaction: Any) -> None:
        times.append(clock.elapsed_ns() / SECOND)
        clock.call_after(SECOND // 2, lambda: clock.set_wall_time(clock.now_ns() + hours * 3600 * SECOND))
        raise KeyError("x")

    async def main() -> None:
        log, store = InMemoryEventLog(), InMemoryConsumerStore()
        await log.append(note(1))
        consumer = EventConsumer(
            "one", handler, log=log, desk=store, clock=clock, attempts=4, pause_ns=SECOND, poison="halt"
        )
        consumer.start()
        await consumer.wait_ended()
        await consumer.stop()

    clock.run(main())
    assert [after - before for before, after in pairwise(times)] == [1, 2, 4]


@pytest.mark.parametrize("error", [StoreUnavailable("away"), OutcomeUnknown("cut")])
def test_while_the_store_is_away_the_consumer_waits_and_blames_no_event(error: Exception) -> None:
    clock = ControllableClock()

    class Away(InMemoryConsumerStore):
        failures = 3

        @asynccontextmanager
        async def transaction(self) -> AsyncIterator[Any]:
            async with super().transaction() as transaction:
                yield transaction
                if self.failures:
                    self.failures -= 1
                    raise error

    seen: list[int] = []

    async def handler(stored: StoredEvent, transaction: Any) -> None:
        seen.append(stored.envelope.payload.number)

    async def main() -> None:
        log, desk = InMemoryEventLog(), Away()
        await log.append([note(1), note(2)])
        consumer = EventConsumer("one", handler, log=log, desk=desk, clock=clock, attempts=1)
        consumer.start()
        while consumer.handled < 2:
            await sleep_for(clock, SECOND)
        await consumer.stop()
        assert seen == [1, 2] * 4
        assert await desk.dead_letters() == []
        assert consumer.last_error == f"{type(error).__name__}: {error}"

    clock.run(main())


def test_an_error_of_the_log_ends_the_consumer_and_is_told_by_stop() -> None:
    class Broken(InMemoryEventLog):
        async def batches(self, **_: Any) -> AsyncIterator[list[StoredEvent]]:
            raise ValueError("not an event of the log")
            yield []

    async def main() -> None:
        async def handler(stored: StoredEvent, transaction: Any) -> None: ...

        consumer = EventConsumer("one", handler, log=Broken(), desk=InMemoryConsumerStore(), clock=ControllableClock())
        consumer.start()
        await consumer.wait_ended()
        with pytest.raises(ValueError, match="not an event"):
            await consumer.stop()
        assert consumer.state is ConsumerState.STOPPED
        await consumer.stop()
        await consumer.wait_ended()

    asyncio.run(main())


def test_a_rewind_between_two_tries_counts_at_once() -> None:
    clock = ControllableClock()
    seen: list[int] = []

    async def main() -> None:
        log, desk = InMemoryEventLog(), InMemoryConsumerStore()
        offsets = await log.append([note(1), note(2)])
        tried = asyncio.Event()

        async def handler(stored: StoredEvent, transaction: Any) -> None:
            seen.append(stored.envelope.payload.number)
            if seen[-1] == 2 and seen.count(2) < 3:
                tried.set()
                raise KeyError("x")

        consumer = EventConsumer("one", handler, log=log, desk=desk, clock=clock, batch=1, pause_ns=60 * SECOND)
        consumer.start()
        await tried.wait()
        await clock.settle()
        assert consumer.state is ConsumerState.RETRYING
        await consumer.rewind(-1)
        await clock.advance_to(clock.now_ns() + 60 * SECOND)
        assert seen == [1, 2, 1, 2], "from the beginning, and not the second once more"
        await clock.advance_to(clock.now_ns() + 60 * SECOND)
        assert seen == [1, 2, 1, 2, 2]
        assert await desk.offsets.get_offset("one") == offsets[1]
        await consumer.stop()

    asyncio.run(main())


def test_the_state_says_paused_while_it_waits_for_resume() -> None:
    clock = ControllableClock()

    async def main() -> None:
        log, desk = InMemoryEventLog(), InMemoryConsumerStore()

        async def handler(stored: StoredEvent, transaction: Any) -> None: ...

        consumer = EventConsumer("one", handler, log=log, desk=desk, clock=clock)
        consumer.start()
        await clock.settle()
        assert consumer.state is ConsumerState.RUNNING
        consumer.pause()
        await log.append(note(1))
        await clock.settle()
        assert (consumer.state, consumer.handled) == ("paused", 0)
        consumer.resume()
        await clock.settle()
        assert (consumer.state, consumer.handled) == ("running", 1)
        consumer.pause()
        await log.append(note(2))
        await clock.settle()
        await consumer.stop()
        assert (consumer.state, consumer.handled) == ("stopped", 1)
        consumer.start()  # which ends the pause
        await clock.settle()
        assert consumer.handled == 2
        await consumer.stop()

    asyncio.run(main())


def test_a_letter_is_bounded_and_holds_no_nul() -> None:
    letter = letter_of(StoredEvent(7, note(1)), "one", ValueError("a\0b" + "x" * 5000), 3)
    assert (letter.consumer_id, letter.offset, letter.event_type, letter.attempts) == ("one", 7, "testing.Noted", 3)
    assert letter.error.startswith("ValueError: a\\0bxxx")
    assert len(letter.error) <= 2001


class Limited(InMemoryConsumerStore):
    """Ends a transaction that takes longer than `limit_s`, as a server does: the driver only learns that it is gone."""

    def __init__(self, clock: ControllableClock, limit_s: int) -> None:
        super().__init__()
        self._clock = clock
        self._limit = TransactionLimit(setting="idle_in_transaction_session_timeout", ns=limit_s * SECOND)
        self.commits = 0

    async def transaction_limit(self) -> TransactionLimit | None:
        return self._limit

    @asynccontextmanager
    async def transaction(self) -> AsyncIterator[Any]:
        began = self._clock.elapsed_ns()
        async with super().transaction() as transaction:
            yield transaction
            if self._clock.elapsed_ns() - began >= self._limit.ns:
                raise StoreUnavailable("the connection was closed")
        self.commits += 1


def run_slow(durations_s: list[float]) -> tuple[list[int], Limited]:
    """Handle an event for each duration on a store that allows a transaction 60 s; the calls and the store."""
    clock = ControllableClock()
    store = Limited(clock, 60)
    calls: list[int] = []

    async def handler(stored: StoredEvent, transaction: Any) -> None:
        calls.append(stored.envelope.payload.number)
        await sleep_for(clock, round(durations_s[calls[-1]] * SECOND))

    async def main() -> None:
        log = InMemoryEventLog()
        offsets = await log.append([note(number) for number in range(len(durations_s))])
        consumer = EventConsumer("one", handler, log=log, consumer_store=store, clock=clock)
        consumer.start()
        while consumer.handled < len(durations_s):
            await sleep_for(clock, SECOND)
        await consumer.stop()
        assert (consumer.offset, consumer.parked) == (offsets[-1], 0)

    clock.run(main())
    return calls, store


def test_a_slow_handler_of_many_events_commits_in_slices_so_that_no_transaction_exceeds_the_servers_limit() -> None:
    calls, store = run_slow([0.15] * 500)
    assert calls == list(range(500)), "75 s of work, each event once"
    assert store.commits == 15, "34 events of 0.15 s reach the slice of 5 s"


def test_a_batch_that_exceeds_the_servers_limit_all_the_same_is_handled_one_by_one() -> None:
    calls, store = run_slow([4, 58, 4, 58])
    assert calls == [0, 1, 0, 1, 2, 3]
    assert store.commits == 4


def test_a_single_event_that_exceeds_the_limit_is_the_handlers_failure_and_the_limit_is_named() -> None:
    clock = ControllableClock()

    async def handler(stored: StoredEvent, transaction: Any) -> None:
        await sleep_for(clock, 61 * SECOND if stored.envelope.payload.number == 2 else 1)

    async def main() -> None:
        log, store = InMemoryEventLog(), Limited(clock, 60)
        await log.append([note(1), note(2), note(3)])
        consumer = EventConsumer("one", handler, log=log, consumer_store=store, clock=clock, attempts=2)
        consumer.start()
        while consumer.handled < 2:
            await sleep_for(clock, SECOND)
        await consumer.stop()
        (letter,) = await store.dead_letters()
        assert letter.attempts == 2
        assert letter.error == (
            "HandlerTooSlow: the transaction took 61 s, and the server ends one after 60 s "
            "(idle_in_transaction_session_timeout); make the handler faster, or raise that setting"
        )

    clock.run(main())


def test_a_consumer_whose_lease_is_lost_says_so_while_no_event_comes() -> None:
    clock = ControllableClock()

    class Away(InMemoryConsumerStore):
        broken = asyncio.Event()
        away = False

        @asynccontextmanager
        async def lease(self, consumer_id: str) -> AsyncIterator[Any]:
            if self.away:
                await sleep_for(clock, 3 * SECOND)
                raise StoreUnavailable("the server is away")

            class Lost:
                lost = property(lambda _: self.broken.is_set())

                async def wait_lost(_) -> None:  # noqa: N805
                    await self.broken.wait()

            yield Lost()

    async def handler(stored: StoredEvent, transaction: Any) -> None: ...

    async def main() -> None:
        log, store = InMemoryEventLog(), Away()
        consumer = EventConsumer("one", handler, log=log, consumer_store=store, clock=clock)
        consumer.start()
        await clock.settle()
        assert (consumer.state, consumer.last_error) == ("running", None)
        store.away = True
        store.broken.set()
        await clock.settle()
        assert consumer.state == "waiting"
        assert "lease was closed" in str(consumer.last_error)
        await clock.advance_to(clock.now_ns() + 3 * SECOND)
        assert (consumer.state, consumer.last_error) == ("retrying", "StoreUnavailable: the server is away")
        store.away = False
        store.broken.clear()
        await clock.advance_to(clock.now_ns() + 60 * SECOND)
        assert consumer.state == "running"
        await log.append(note(1))
        await clock.settle()
        assert consumer.handled == 1
        await consumer.stop()

    asyncio.run(main())


def test_failed_reads_of_the_log_show_in_the_state_until_reading_works_again() -> None:
    clock = ControllableClock()

    class Failing(InMemoryEventLog):
        async def batches(self, *, on_error: Any = None, **more: Any) -> AsyncIterator[Any]:
            on_error(StoreUnavailable("a statement was cancelled"))
            await sleep_for(clock, SECOND)
            on_error(None)
            async for batch in super().batches(**more):
                yield batch

    async def handler(stored: StoredEvent, transaction: Any) -> None: ...

    async def main() -> None:
        log, store = Failing(), InMemoryConsumerStore()
        consumer = EventConsumer("one", handler, log=log, consumer_store=store, clock=clock)
        consumer.start()
        await clock.settle()
        assert (consumer.state, consumer.last_error) == ("retrying", "StoreUnavailable: a statement was cancelled")
        await clock.advance_to(clock.now_ns() + SECOND)
        assert consumer.state == "running"
        await consumer.stop()

    asyncio.run(main())


def test_an_event_without_a_readable_payload_is_parked_and_the_handler_never_sees_it() -> None:
    class Raw(InMemoryEventLog):
        """Gives event 2 as a payload that does not match, and event 3 as one of a type that is not known."""

        async def read_from(self, offset: int, limit: int = 1000) -> list[StoredEvent]:
            events = []
            for stored in await super().read_from(offset, limit):
                event = stored.envelope
                match event.payload.number:
                    case 2:
                        event = msgspec.structs.replace(event, payload=UnknownPayload(b"{}", "Expected `int`"))
                    case 3:
                        event = msgspec.structs.replace(event, type="later.Thing", payload=UnknownPayload(b"{}"))
                events.append(StoredEvent(stored.offset, event))
            return events

    seen: list[int] = []

    async def handler(stored: StoredEvent, transaction: Any) -> None:
        seen.append(stored.envelope.payload.number)

    async def main() -> None:
        clock = ControllableClock()
        log, store = Raw(), InMemoryConsumerStore()
        await log.append([note(number) for number in range(1, 6)])
        consumer = EventConsumer("one", handler, log=log, consumer_store=store, clock=clock)
        consumer.start()
        await clock.settle()
        await consumer.stop()
        assert (seen, consumer.parked) == ([1, 4, 5], 2)
        letters = await store.dead_letters()
        assert [(letter.offset, letter.event_type, letter.attempts) for letter in letters] == [
            (2, "testing.Noted", 0),
            (3, "later.Thing", 0),
        ]
        assert letters[0].error == "EventNotSerialisable: Expected `int`"
        assert letters[1].error.startswith("UnknownEventType: no class is registered for later.Thing version 1")

    asyncio.run(main())


@pytest.mark.parametrize("wrong", [{"pause_ns": 0}, {"slice_ns": 0}, {"slice_ns": 1.5}, {"consumer_store": None}])
def test_settings_that_make_no_consumer_are_refused(wrong: dict[str, Any]) -> None:
    async def handler(stored: StoredEvent, transaction: Any) -> None: ...

    settings = {"log": InMemoryEventLog(), "consumer_store": InMemoryConsumerStore(), "clock": ControllableClock()}
    with pytest.raises(ConfigError, match=next(iter(wrong))):
        EventConsumer("one", handler, **(settings | wrong))
