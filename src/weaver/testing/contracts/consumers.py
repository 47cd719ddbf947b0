"""EventConsumerContract: tests of EventConsumer on a log and a consumer store: order, exactly once, no loss.

The handlers here append events within their transaction; these are the effects that are counted.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

from weaver.core.errors import ConfigError, DatabaseDiskFull
from weaver.core.ports import sleep_for
from weaver.events.consumer import ConsumerState, EventConsumer, Poison
from weaver.events.envelope import StoredEvent, envelope
from weaver.events.log import Transaction
from weaver.testing.contracts.harness import Store, StoreContract, meanwhile, on_store, refused
from weaver.testing.contracts.samples import Answered, note

__all__ = ["EventConsumerContract"]

_PAUSE_NS = 1_000_000


class _Answering:
    """A handler: answers every event with one of its own, after `before` had its say. It can be waited for."""

    def __init__(self, store: Store, before: Callable[[int], None] = lambda number: None) -> None:
        self._store = store
        self._before = before
        self._more = asyncio.Event()
        self.tried: list[int] = []

    async def __call__(self, stored: StoredEvent, transaction: Transaction) -> None:
        number = stored.envelope.payload.number
        self.tried.append(number)
        self._more.set()
        answer = envelope(Answered(number), ts=0, producer="test", cause=stored.envelope)
        await self._store.log.append(answer, transaction=transaction)
        self._before(number)

    async def until(self, tries: int) -> None:
        while len(self.tried) < tries:
            self._more.clear()
            await self._more.wait()


async def _answers(store: Store) -> list[int]:
    found = await store.log.read_from(-1)
    return [one.envelope.payload.to for one in found if one.envelope.type == "testing.Answered"]


async def _until_answered(store: Store, count: int) -> None:
    """Return once `count` answers are committed."""
    stream = store.log.subscribe(types="testing.Answered", from_offset=-1)
    for _ in range(count):
        await anext(stream)
    await stream.aclose()  # type: ignore[attr-defined]


def _consumer(store: Store, handler: Any, name: str = "answering", **more: Any) -> EventConsumer:
    given: dict[str, Any] = {"types": "testing.Noted", "pause_ns": _PAUSE_NS, "attempts": 3} | more
    return EventConsumer(name, handler, log=store.log, desk=store.desk, clock=store.clock, **given)


class EventConsumerContract(StoreContract):
    """Subclass it and open log and consumer store in `opened`."""

    @on_store
    async def test_events_are_handled_in_order_and_the_offset_is_that_of_the_last(self, store: Store) -> None:
        offsets = await store.log.append([note(number) for number in range(5)])
        handler = _Answering(store)
        consumer = _consumer(store, handler, batch=2)
        consumer.start()
        later = await store.log.append(note(5))
        await _until_answered(store, 6)
        await consumer.stop()
        assert handler.tried == [0, 1, 2, 3, 4, 5]
        assert await _answers(store) == handler.tried
        # What the consumer did not want (its own answers) it may have passed over besides.
        assert await store.desk.offsets.get_offset("answering") == consumer.offset >= later
        assert (consumer.handled, consumer.parked, consumer.state) == (6, 0, ConsumerState.STOPPED)
        assert offsets[-1] < later

    @on_store
    async def test_events_that_are_for_others_are_passed_over_so_that_nobody_waits_for_it(self, store: Store) -> None:
        consumer = _consumer(store, _Answering(store), types="testing.Nothing", batch=3)
        consumer.start()
        last = (await store.log.append([note(number) for number in range(6)]))[-1]
        while await store.desk.offsets.get_offset("answering") != last:
            await meanwhile(store)
        await consumer.stop()
        assert consumer.handled == 0

    @on_store
    async def test_a_full_disk_is_no_events_fault(self, store: Store) -> None:
        """However often it is told: nothing is put aside, and the work goes on once there is room."""
        told: list[int] = []

        def no_room(number: int) -> None:
            told.append(number)
            if len(told) <= 5:
                raise DatabaseDiskFull("there is no room")

        await store.log.append(note(1))
        consumer = _consumer(store, _Answering(store, no_room), attempts=2)
        consumer.start()
        await _until_answered(store, 1)
        await consumer.stop()
        assert (consumer.parked, told) == (0, [1] * 6)
        assert await store.desk.dead_letters() == []

    @on_store
    async def test_it_goes_on_after_what_was_handled(self, store: Store) -> None:
        await store.log.append([note(1), note(2)])
        consumer = _consumer(store, _Answering(store))
        consumer.start()
        await _until_answered(store, 2)
        await consumer.stop()
        await store.log.append(note(3))
        for again in (consumer, _consumer(store, second := _Answering(store))):
            again.start()
            await _until_answered(store, 3)
            await again.stop()
        assert await _answers(store) == [1, 2, 3]
        assert second.tried == []

    @on_store
    async def test_a_handler_that_raises_leaves_no_effect_and_is_tried_again(self, store: Store) -> None:
        await store.log.append([note(1), note(2), note(3)])
        failures = iter([RuntimeError("once"), RuntimeError("twice")])

        def fail_twice(number: int) -> None:
            if number == 2 and (error := next(failures, None)):
                raise error

        handler = _Answering(store, fail_twice)
        consumer = _consumer(store, handler)
        consumer.start()
        await _until_answered(store, 3)
        await consumer.stop()
        assert await _answers(store) == [1, 2, 3]
        assert handler.tried.count(2) == 3
        assert await store.desk.dead_letters() == []
        assert consumer.parked == 0

    @on_store
    async def test_an_error_of_the_handlers_own_is_never_taken_for_one_of_the_store(self, store: Store) -> None:
        """A handler that cannot reach its mail server (an OSError) is a handler that fails, and no store that is away."""
        await store.log.append([note(1), note(2), note(3), note(4)])

        def fail(number: int) -> None:
            if number == 1:
                raise ConnectionRefusedError("no mail server")
            if number == 2:
                raise TimeoutError("too slow")
            if number == 3:
                raise FileNotFoundError("no file")

        consumer = _consumer(store, _Answering(store, fail))
        consumer.start()
        await _until_answered(store, 1)
        await consumer.stop()
        assert await _answers(store) == [4]
        errors = [letter.error for letter in await store.desk.dead_letters()]
        assert errors == [
            "ConnectionRefusedError: no mail server",
            "TimeoutError: too slow",
            "FileNotFoundError: no file",
        ]

    @on_store
    async def test_an_error_whose_text_no_table_can_hold_is_parked_all_the_same(self, store: Store) -> None:
        class Unprintable(Exception):
            def __str__(self) -> str:
                raise RuntimeError("no text")

        errors: dict[int, Exception] = {
            1: KeyError("half a character: \ud800"),
            2: ValueError("NUL: \0"),
            3: Unprintable(),
            4: ValueError("x" * 5000),
        }

        def fail(number: int) -> None:
            if number in errors:
                raise errors[number]

        await store.log.append([note(number) for number in range(1, 6)])
        consumer = _consumer(store, _Answering(store, fail), attempts=1)
        consumer.start()
        await _until_answered(store, 1)
        await consumer.stop()
        assert (await _answers(store), consumer.parked) == ([5], 4)
        told = [letter.error for letter in await store.desk.dead_letters()]
        assert told[0].startswith("KeyError: ")
        assert "ud800" in told[0]
        assert told[1] == "ValueError: NUL: \\0"
        assert told[2].startswith("Unprintable: ")
        assert len(told[3]) <= 2000

    @on_store
    async def test_a_handler_that_leaks_a_cancelled_error_fails_and_does_not_end_the_consumer(
        self, store: Store
    ) -> None:
        def leak(number: int) -> None:
            if number == 1:
                raise asyncio.CancelledError

        await store.log.append([note(1), note(2)])
        handler = _Answering(store, leak)
        consumer = _consumer(store, handler, attempts=2)
        consumer.start()
        await _until_answered(store, 1)
        assert consumer.state == "running"
        await consumer.stop()
        assert await _answers(store) == [2]
        (letter,) = await store.desk.dead_letters()
        assert letter.error.startswith("HandlerCancelled: the handler raised CancelledError")
        assert letter.attempts == 2

    @on_store
    async def test_a_consumer_whose_task_is_cancelled_says_that_it_has_stopped(self, store: Store) -> None:
        await store.log.append(note(1))
        consumer = _consumer(store, _Answering(store))
        consumer.start()
        await _until_answered(store, 1)
        next(task for task in asyncio.all_tasks() if task.get_name() == "consumer answering").cancel()
        await consumer.wait_ended()
        assert (consumer.state, consumer.last_error) == ("stopped", "CancelledError")
        await consumer.stop()

    @on_store
    async def test_an_event_in_which_every_process_ends_is_put_aside_across_restarts(self, store: Store) -> None:
        """A new consumer object is a new process: what the one before knew is gone, but not what it stored."""

        class Killed(BaseException):
            pass

        def end(number: int) -> None:
            if number == 3:
                raise Killed

        offsets = await store.log.append([note(number) for number in range(1, 6)])
        ends = 0
        tried: list[int] = []
        while True:
            handler = _Answering(store, end)
            consumer = _consumer(store, handler, attempts=2)
            consumer.start()
            answered = asyncio.ensure_future(_until_answered(store, 4))
            await asyncio.wait([answered, asyncio.ensure_future(consumer.wait_ended())], return_when="FIRST_COMPLETED")
            tried += handler.tried
            if answered.done():
                break
            answered.cancel()
            ends += 1
            assert ends < 10, "it is retried for ever"
            assert consumer.state == "stopped"
            assert consumer.last_error == "Killed"
            try:
                await consumer.stop()
            except Killed:
                pass
        await consumer.stop()
        assert await _answers(store) == [1, 2, 4, 5]
        (letter,) = await store.desk.dead_letters()
        assert (letter.offset, letter.attempts) == (offsets[2], 2)
        assert letter.error.startswith(
            "ProcessEnded: the process ended while the handler was running, 2 times in a row"
        )
        assert tried.count(3) == ends <= 4
        assert await store.desk.get_attempt("answering") is None

    @on_store
    async def test_an_event_that_a_process_survives_the_second_time_is_handled(self, store: Store) -> None:
        class Killed(BaseException):
            pass

        ends = iter([Killed(), Killed(), Killed()])

        def end(number: int) -> None:
            if number == 2 and (killed := next(ends, None)):
                raise killed

        await store.log.append([note(1), note(2), note(3)])
        for _ in range(3):
            consumer = _consumer(store, _Answering(store, end), attempts=5)
            consumer.start()
            await consumer.wait_ended()
            try:
                await consumer.stop()
            except Killed:
                pass
        consumer = _consumer(store, _Answering(store, end), attempts=5)
        consumer.start()
        await _until_answered(store, 3)
        await consumer.stop()
        assert await _answers(store) == [1, 2, 3]
        assert await store.desk.dead_letters() == []

    @on_store
    async def test_a_slice_of_time_ends_a_transaction_between_two_events(self, store: Store) -> None:
        """With a slice shorter than any handler takes, each event is committed alone, in its order."""
        offsets: list[int] = []

        class Remembering(_Answering):
            async def __call__(self, stored: StoredEvent, transaction: Transaction) -> None:
                offsets.append(await store.desk.offsets.get_offset("answering"))
                await super().__call__(stored, transaction)
                await sleep_for(store.clock, 1_000)

        events = await store.log.append([note(number) for number in range(1, 4)])
        consumer = _consumer(store, Remembering(store), slice_ns=1)
        consumer.start()
        await _until_answered(store, 3)
        await consumer.stop()
        assert await _answers(store) == [1, 2, 3]
        assert offsets == [-1, events[0], events[1]]

    @on_store
    async def test_poison_is_put_aside_after_its_tries_and_the_others_are_not_held_up(self, store: Store) -> None:
        offsets = await store.log.append([note(1), note(2), note(3)])

        def fail(number: int) -> None:
            if number == 2:
                raise KeyError("unknown symbol")

        handler = _Answering(store, fail)
        consumer = _consumer(store, handler)
        consumer.start()
        await _until_answered(store, 2)
        await consumer.stop()
        assert await _answers(store) == [1, 3]
        (letter,) = await store.desk.dead_letters("answering")
        assert (letter.offset, letter.event_type, letter.attempts) == (offsets[1], "testing.Noted", 3)
        assert letter.error == "KeyError: 'unknown symbol'"
        assert await store.desk.offsets.get_offset("answering") == offsets[2]
        assert (consumer.handled, consumer.parked) == (2, 1)

    @on_store
    async def test_poison_at_the_end_moves_the_offset_past_it(self, store: Store) -> None:
        last = await store.log.append(note(1))

        def fail(number: int) -> None:
            if number == 1:
                raise KeyError("x")

        consumer = _consumer(store, _Answering(store, fail), attempts=1)
        consumer.start()
        await store.log.append(note(2))
        await _until_answered(store, 1)
        await consumer.stop()
        assert await store.desk.offsets.get_offset("answering") > last
        assert [letter.attempts for letter in await store.desk.dead_letters()] == [1]

    @on_store
    async def test_a_consumer_that_halts_on_poison_stands_before_it_and_begins_there_again(self, store: Store) -> None:
        offsets = await store.log.append([note(1), note(2), note(3)])
        broken = True

        def fail(number: int) -> None:
            if number == 2 and broken:
                raise KeyError("x")

        consumer = _consumer(store, _Answering(store, fail), poison=Poison.HALT)
        consumer.start()
        await consumer.wait_ended()
        assert consumer.state == "halted"
        assert consumer.last_error == "KeyError: 'x'"
        assert await store.desk.offsets.get_offset("answering") == offsets[0]
        assert [letter.offset for letter in await store.desk.dead_letters()] == [offsets[1]]
        await consumer.stop()
        broken = False
        consumer.start()
        await _until_answered(store, 3)
        await consumer.stop()
        assert await _answers(store) == [1, 2, 3]
        assert consumer.state == "stopped"

    @on_store
    async def test_rewind_handles_again_what_lies_after_the_offset(self, store: Store) -> None:
        offsets = await store.log.append([note(1), note(2), note(3)])
        consumer = _consumer(store, _Answering(store))
        consumer.start()
        await _until_answered(store, 3)
        await consumer.rewind(offsets[0])
        await _until_answered(store, 5)
        await consumer.rewind()
        await _until_answered(store, 8)
        await consumer.stop()
        assert await _answers(store) == [1, 2, 3, 2, 3, 1, 2, 3]
        assert await store.desk.offsets.get_offset("answering") == offsets[2]

    @on_store
    async def test_rewind_of_one_that_does_not_run_counts_when_it_starts(self, store: Store) -> None:
        offsets = await store.log.append([note(1), note(2), note(3)])
        consumer = _consumer(store, _Answering(store))
        await consumer.rewind(offsets[1])
        consumer.start()
        await _until_answered(store, 1)
        await consumer.stop()
        assert await _answers(store) == [3]

    @on_store
    async def test_a_paused_consumer_handles_nothing_until_it_is_resumed(self, store: Store) -> None:
        handler = _Answering(store)
        consumer = _consumer(store, handler)
        consumer.start()
        await store.log.append(note(1))
        await _until_answered(store, 1)
        consumer.pause()
        await store.log.append([note(2), note(3)])
        other = _Answering(store)
        witness = _consumer(store, other, "witness")
        witness.start()
        await other.until(3)
        await witness.stop()
        assert handler.tried == [1], "what the witness has handled long ago"
        consumer.resume()
        await handler.until(3)
        await consumer.stop()
        assert handler.tried == [1, 2, 3]

    @on_store
    async def test_stop_waits_for_the_handler_and_keeps_what_it_did(self, store: Store) -> None:
        offset = await store.log.append(note(1))
        begun, may_end = asyncio.Event(), asyncio.Event()

        async def handler(stored: StoredEvent, transaction: Transaction) -> None:
            begun.set()
            await may_end.wait()
            await store.log.append(envelope(Answered(1), ts=0, producer="test"), transaction=transaction)

        consumer = _consumer(store, handler)
        consumer.start()
        await begun.wait()
        stopping = asyncio.ensure_future(consumer.stop())
        await meanwhile(store)
        assert not stopping.done()
        may_end.set()
        await stopping
        assert await _answers(store) == [1]
        assert await store.desk.offsets.get_offset("answering") == offset
        await consumer.stop()  # twice is nothing

    @on_store
    async def test_stop_does_not_wait_out_the_pause_before_the_next_try(self, store: Store) -> None:
        await store.log.append(note(1))

        def fail(number: int) -> None:
            raise KeyError("x")

        handler = _Answering(store, fail)
        consumer = _consumer(store, handler, pause_ns=3600 * 1_000_000_000, attempts=10)
        before = store.clock.elapsed_ns()
        consumer.start()
        await handler.until(1)
        await consumer.stop()
        assert store.clock.elapsed_ns() - before < 60 * 1_000_000_000
        assert len(handler.tried) == 1
        assert await store.desk.offsets.get_offset("answering") == -1
        assert await store.desk.dead_letters() == []

    @on_store
    async def test_a_lease_that_is_lost_takes_the_effect_back(self, store: Store) -> None:
        offsets = await store.log.append([note(1), note(2)])
        handler = _Answering(store)

        async def handle(stored: StoredEvent, transaction: Transaction) -> None:
            if stored.offset == offsets[0]:  # meanwhile another process dealt with it
                await store.desk.offsets.set_offset("answering", offsets[0], backwards=True)
            await handler(stored, transaction)

        consumer = _consumer(store, handle, batch=1)
        consumer.start()
        await _until_answered(store, 1)
        await consumer.stop()
        assert handler.tried == [1, 2]
        assert await _answers(store) == [2]
        assert consumer.last_error is not None
        assert consumer.last_error.startswith("LeaseLost")
        assert await store.desk.offsets.get_offset("answering") >= offsets[1]

    @on_store
    async def test_of_two_with_one_name_one_works_and_the_other_takes_over_at_its_end(self, store: Store) -> None:
        first_handler, second_handler = _Answering(store), _Answering(store)
        first = _consumer(store, first_handler)
        first.start()
        await store.log.append(note(1))
        await first_handler.until(1)
        second = _consumer(store, second_handler)
        second.start()
        await store.log.append([note(2), note(3)])
        await _until_answered(store, 3)
        assert second.state is ConsumerState.WAITING
        assert second_handler.tried == []
        await first.stop()
        await store.log.append(note(4))
        await second_handler.until(1)
        await second.stop()
        assert first_handler.tried == [1, 2, 3]
        assert second_handler.tried == [4]
        assert await _answers(store) == [1, 2, 3, 4]

    @on_store
    async def test_consumers_of_two_names_both_see_everything(self, store: Store) -> None:
        await store.log.append([note(1), note(2)])
        handlers = _Answering(store), _Answering(store)
        both = [_consumer(store, handler, f"number {n}") for n, handler in enumerate(handlers)]
        for one in both:
            one.start()
        await _until_answered(store, 4)
        for one in both:
            await one.stop()
        assert [handler.tried for handler in handlers] == [[1, 2], [1, 2]]

    @on_store
    async def test_what_makes_no_consumer_is_refused_at_once(self, store: Store) -> None:
        for wrong in (
            {"name": ""},
            {"batch": 0},
            {"batch": True},
            {"batch": 10**9},
            {"attempts": 0},
            {"poison": "ignore"},
            {"types": "orders"},
        ):
            with refused(ConfigError, repr(next(iter(wrong.values())))):
                _consumer(store, _Answering(store), **wrong)

    @on_store
    async def test_starting_one_that_runs_is_refused(self, store: Store) -> None:
        consumer = _consumer(store, _Answering(store))
        consumer.start()
        with refused(ConfigError, "answering"):
            consumer.start()
        await consumer.stop()
