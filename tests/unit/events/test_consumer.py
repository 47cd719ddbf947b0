"""EventConsumer on a clock that is moved by hand: how long it waits, and what it does when the store is away."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from itertools import pairwise
from typing import Any

import pytest

from weaver.core.errors import OutcomeUnknown, StoreUnavailable
from weaver.core.ports import sleep_for
from weaver.events.consumer import ConsumerState, EventConsumer
from weaver.events.consumer_store import InMemoryConsumerStore, letter_of
from weaver.events.envelope import StoredEvent
from weaver.events.log import InMemoryEventLog
from weaver.testing import ControllableClock
from weaver.testing.contracts.samples import note

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
