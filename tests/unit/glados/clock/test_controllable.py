"""ControllableClock: moves only when told, in order, never back; a day of ticks and timeouts takes milliseconds."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from functools import partial
from typing import Any

import pytest

from weaver.core.errors import ClockError, ClockMovedBackwards, ClockRunning
from weaver.core.instants import NS_PER_SECOND, to_ns
from weaver.core.ports import Clock, TickSource, run_within, sleep_for
from weaver.glados.clock import BaseClock, ClockGap, ClockTick, GapReason
from weaver.testing import ControllableClock
from weaver.testing import clock as clock_module

START = datetime(2024, 1, 2, tzinfo=UTC)
MINUTE = 60 * NS_PER_SECOND


def test_it_is_every_kind_of_clock(clock: ControllableClock) -> None:
    assert isinstance(clock, Clock)
    assert isinstance(clock, TickSource)
    assert isinstance(clock, BaseClock)
    assert clock.current_time() == START


def test_advancing_by_bars_ticks_each_boundary(clock: ControllableClock) -> None:
    async def main() -> None:
        got: list[datetime] = []
        clock.on_tick(lambda tick: got.append(tick.ts))
        await clock.start("run")
        await clock.advance()
        assert got == [START + timedelta(minutes=1)]
        await clock.advance(bars=3)
        assert got == [START + timedelta(minutes=n) for n in range(1, 5)]
        await clock.advance(bars=0)
        assert [tick.ts for tick in clock.ticks] == got
        assert clock.ticks[0] == ClockTick("run", to_ns(START) + MINUTE, "1m", 0, False)
        await clock.stop()
        await clock.advance()
        assert clock.tick_count == 4

    asyncio.run(main())


def test_advancing_to_an_instant_ticks_what_lies_before_it(clock: ControllableClock) -> None:
    async def main() -> None:
        await clock.start("run")
        await clock.advance_to(START + timedelta(seconds=150))
        assert len(clock.ticks) == 2
        assert clock.current_time() == START + timedelta(seconds=150)
        await clock.advance_to("2024-01-02T00:03:00Z")
        assert len(clock.ticks) == 3

    asyncio.run(main())


def test_going_backwards_is_refused(clock: ControllableClock) -> None:
    async def main() -> None:
        with pytest.raises(ClockMovedBackwards, match=r"is at 2024-01-02T00:00:00Z .*back to 2024-01-01"):
            await clock.advance_to("2024-01-01")
        with pytest.raises(ClockMovedBackwards, match="bars=-1"):
            await clock.advance(bars=-1)
        assert clock.current_time() == START

    asyncio.run(main())


def test_everything_due_happens_in_order_the_tick_before_the_timers_of_its_instant(clock: ControllableClock) -> None:
    async def main() -> list[str]:
        happened: list[str] = []

        def note(what: str) -> Callable[[], None]:
            return lambda: happened.append(f"{what} {clock.current_time():%M:%S}")

        clock.on_tick(lambda tick: note("tick")())
        await clock.start("run")
        clock.call_at(to_ns(START) + MINUTE, note("second"))
        clock.call_at(to_ns(START) + MINUTE - 1 * NS_PER_SECOND, note("first"))
        clock.call_at(to_ns(START) + MINUTE, note("third"))
        clock.call_at(to_ns(START) + MINUTE, note("never"))()
        clock.call_at(to_ns(START), note("now"))
        clock.call_at(to_ns(START), note("never"))()
        await clock.advance(2)
        return happened

    assert asyncio.run(main()) == [
        "now 00:00",
        "first 00:59",
        "tick 01:00",
        "second 01:00",
        "third 01:00",
        "tick 02:00",
    ]


def test_what_one_timer_takes_back_does_not_come_though_it_was_due_with_it(clock: ControllableClock) -> None:
    async def main() -> list[str]:
        due, seen = to_ns(START) + MINUTE, []
        clock.call_at(due, lambda: (seen.append("answer"), give_up()))  # type: ignore[arg-type,return-value]
        give_up = clock.call_at(due, lambda: seen.append("too late"))
        await clock.advance(2)
        return seen

    assert asyncio.run(main()) == ["answer"]


def test_what_is_woken_settles_before_time_goes_on(clock: ControllableClock) -> None:
    async def main() -> list[str]:
        seen: list[str] = []

        async def worker() -> None:
            while True:
                await sleep_for(clock, 20 * NS_PER_SECOND)
                for _ in range(30):
                    await asyncio.sleep(0)  # noqa: TID251 - lets the clock run, and waits for nothing
                seen.append(f"{clock.current_time():%M:%S}")

        working = asyncio.ensure_future(worker())
        await clock.advance_to(START + timedelta(seconds=65))
        working.cancel()
        return seen

    assert asyncio.run(main()) == ["00:20", "00:40", "01:00"]


def test_a_callback_may_sleep_on_the_clock_without_blocking_it(clock: ControllableClock) -> None:
    async def main() -> None:
        done: list[int] = []

        async def callback(tick: ClockTick) -> None:
            await clock.sleep_until(tick.ts_ns + 90 * NS_PER_SECOND)
            done.append(tick.bar_index)

        clock.on_tick(callback)
        await clock.start("run")
        await clock.advance(5)
        # Each call lasts until a minute and a half after its tick, so at five minutes the fourth is under way.
        assert done == [0, 1, 2]
        await clock.advance(5)
        await asyncio.wait({asyncio.ensure_future(clock.stop()), asyncio.ensure_future(clock.advance(5))})

    asyncio.run(main())


def test_an_error_in_a_callback_comes_out_of_the_advance(clock: ControllableClock) -> None:
    async def main() -> None:
        async def broken(_: ClockTick) -> None:
            raise ZeroDivisionError

        clock.on_tick(broken)
        await clock.start("run")
        with pytest.raises(ZeroDivisionError):
            await clock.advance()
        assert not clock.is_running
        with pytest.raises(ZeroDivisionError):
            await clock.wait()

    asyncio.run(main())


def test_what_the_clock_wakes_must_not_move_it(clock: ControllableClock) -> None:
    async def main() -> None:
        clock.on_tick(lambda tick: clock.advance())
        await clock.start("run")
        with pytest.raises(ClockError, match="being moved already"):
            await clock.advance()

    asyncio.run(main())


def test_code_that_never_waits_is_named(clock: ControllableClock, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(clock_module, "_MOST_TURNS", 50)

    async def main() -> None:
        async def spin() -> None:
            while True:  # noqa: ASYNC110 - a program that spins is what this is about
                await asyncio.sleep(0)  # noqa: TID251

        spinning = asyncio.ensure_future(spin())
        with pytest.raises(ClockError, match="still busy after 50 turns"):
            await clock.advance()
        spinning.cancel()

    asyncio.run(main())


def test_a_loop_that_hides_what_is_ready_gets_more_turns(clock: ControllableClock) -> None:
    class Opaque:
        def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
            self.create_future, self.call_soon = loop.create_future, loop.call_soon

    async def main() -> int:
        count = 0

        async def work() -> None:
            nonlocal count
            for _ in range(100):
                await asyncio.sleep(0)  # noqa: TID251
                count += 1

        working = asyncio.ensure_future(work())
        loop = asyncio.get_running_loop()
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(clock_module.asyncio, "get_running_loop", lambda: Opaque(loop))
            await clock.settle()
        await working
        return count

    assert asyncio.run(main()) == 100


def test_a_restart_begins_afresh_where_the_clock_stands(clock: ControllableClock) -> None:
    async def main() -> None:
        await clock.start("first")
        await clock.advance(2)
        with pytest.raises(ClockRunning):
            await clock.start("second")
        with pytest.raises(ClockRunning):
            next(clock.boundaries())
        await clock.stop()
        await clock.start("second")
        assert clock.ticks == ()
        await clock.advance()
        assert [(tick.run_id, tick.bar_index) for tick in clock.ticks] == [("second", 0)]
        assert clock.current_time() == START + timedelta(minutes=3)

    asyncio.run(main())


class TestSettingTheWallClock:
    """The wall clock is set while elapsed time does not move, as on a real machine."""

    def test_a_timeout_of_five_seconds_takes_five_seconds(self, clock: ControllableClock) -> None:
        async def main(hours: int) -> None:
            timing_out = asyncio.ensure_future(run_within(clock, 5 * NS_PER_SECOND, asyncio.Event().wait()))
            await clock.settle()
            clock.set_wall_time(clock.now_ns() + hours * 60 * MINUTE)
            await clock.advance_to(clock.now_ns() + 5 * NS_PER_SECOND - 1)
            assert not timing_out.done()
            await clock.advance_to(clock.now_ns() + 1)
            with pytest.raises(TimeoutError):
                await timing_out

        for hours in (-1, 1):
            asyncio.run(main(hours))
        assert clock.elapsed_ns() == 10 * NS_PER_SECOND
        assert clock.now_ns() == to_ns(START) + 10 * NS_PER_SECOND

    def test_boundaries_that_a_step_skips_are_one_gap_and_none_is_ticked_twice(self, clock: ControllableClock) -> None:
        async def main() -> None:
            gaps: list[ClockGap] = []
            clock.on_gap(gaps.append)
            await clock.start("run")
            await clock.advance(2)
            clock.set_wall_time(START + timedelta(minutes=4, seconds=30))
            await clock.settle()
            assert [(gap.first, gap.count, gap.reason) for gap in gaps] == [
                (START + timedelta(minutes=3), 2, GapReason.STEP)
            ]
            clock.set_wall_time(START)
            await clock.advance_to(START + timedelta(minutes=6))
            await clock.stop()

        asyncio.run(main())
        minutes = [(tick.ts - START) // timedelta(minutes=1) for tick in clock.ticks]
        assert minutes == [1, 2, 5, 6]
        assert [tick.bar_index for tick in clock.ticks] == [0, 1, 4, 5]

    def test_timers_of_wall_time_that_a_step_passes_are_called(self, clock: ControllableClock) -> None:
        async def main() -> list[str]:
            calls: list[str] = []
            clock.call_at(clock.now_ns() + MINUTE, lambda: calls.append("wall"))
            clock.call_after(MINUTE, lambda: calls.append("elapsed"))
            clock.set_wall_time(clock.now_ns() + 2 * MINUTE)
            await clock.settle()
            assert calls == ["wall"]
            await clock.advance_to(clock.now_ns() + MINUTE)
            return calls

        assert asyncio.run(main()) == ["wall", "elapsed"]

    def test_timers_of_both_times_in_one_instant_come_in_the_order_in_which_they_were_set(
        self, clock: ControllableClock
    ) -> None:
        async def main() -> list[int]:
            calls: list[int] = []
            for number in range(6):
                if number % 2:
                    clock.call_at(clock.now_ns() + MINUTE, partial(calls.append, number))
                else:
                    clock.call_after(MINUTE, partial(calls.append, number))
            await clock.advance()
            return calls

        assert asyncio.run(main()) == list(range(6))

    def test_an_advance_ends_where_the_clock_was_set_past_its_target(self, clock: ControllableClock) -> None:
        async def main() -> None:
            clock.call_after(NS_PER_SECOND, lambda: clock.set_wall_time(START + timedelta(hours=1)))
            await clock.advance_to(START + timedelta(minutes=1))

        asyncio.run(main())
        assert clock.current_time() == START + timedelta(hours=1)
        assert clock.elapsed_ns() == NS_PER_SECOND


class TestAutojump:
    def test_a_day_of_ticks_timeouts_and_retries_passes_by_itself(self, clock: ControllableClock) -> None:
        async def main() -> int:
            retries = 0

            async def connect() -> None:
                nonlocal retries
                while True:
                    with pytest.raises(TimeoutError):
                        await run_within(clock, 5 * MINUTE, asyncio.Event().wait())
                    retries += 1
                    await sleep_for(clock, 5 * MINUTE)

            await clock.start("run")
            connecting = asyncio.ensure_future(connect())
            await clock.sleep_until(to_ns(START + timedelta(days=1)))
            connecting.cancel()
            await clock.stop()
            return retries

        assert clock.run(main()) == 144
        assert len(clock.ticks) == 24 * 60
        assert clock.current_time() == START + timedelta(days=1)

    def test_two_runs_happen_identically(self) -> None:
        def story() -> list[Any]:
            clock, told = ControllableClock(START, "1h"), []

            async def worker(name: str, every: int) -> None:
                while True:
                    await sleep_for(clock, every * MINUTE)
                    told.append((name, clock.now_ns()))

            async def main() -> None:
                clock.on_tick(lambda tick: told.append(("tick", tick.ts_ns)))
                await clock.start("run")
                workers = [
                    asyncio.ensure_future(worker(name, every)) for name, every in (("a", 7), ("b", 13), ("c", 30))
                ]
                await clock.sleep_until(to_ns(START + timedelta(days=2)))
                for each in workers:
                    each.cancel()
                await clock.stop()

            clock.run(main())
            return told

        assert story() == story()

    def test_the_loops_own_timers_still_run_where_the_clock_has_nothing_due(self, clock: ControllableClock) -> None:
        async def main() -> str:
            async with asyncio.timeout(10):
                called = asyncio.get_running_loop().create_future()
                asyncio.get_running_loop().call_later(0.0001, called.set_result, "called")
                return str(await called)

        assert clock.run(main()) == "called"


class TestBoundaries:
    def test_boundaries_begin_where_the_clock_stands_and_move_it_along(self) -> None:
        clock = ControllableClock(START, "1h", end_time="2024-01-02T03:00Z")
        for number, boundary in enumerate(clock.boundaries()):
            assert clock.now_ns() == boundary == to_ns(START) + number * 60 * MINUTE
        assert clock.current_time() == START + timedelta(hours=3)

    def test_without_an_end_they_are_endless(self, clock: ControllableClock) -> None:
        boundaries = clock.boundaries()
        assert [next(boundaries) for _ in range(3000)][-1] == to_ns(START) + 2999 * MINUTE

    def test_a_withheld_boundary_never_comes(self) -> None:
        clock = ControllableClock(START, "1h", end_time="2024-01-02T03:00Z", withhold=["2024-01-02T02:00Z"])
        assert [(ts - to_ns(START)) // (60 * MINUTE) for ts in clock.boundaries()] == [0, 1, 3]

        async def main() -> None:
            ticking = ControllableClock(START, "1h", withhold=["2024-01-02T02:00Z"], is_backtest=True)
            await ticking.start("run")
            await ticking.advance(3)
            assert [(tick.ts.hour, tick.bar_index, tick.is_backtest) for tick in ticking.ticks] == [
                (1, 0, True),
                (3, 2, True),
            ]

        asyncio.run(main())

    def test_a_calendar_gives_its_sessions(self) -> None:
        clock = ControllableClock("2024-11-29", "1d", calendar="XNYS", end_time="2024-11-30")
        assert [f"{datetime.fromtimestamp(ts / 1e9, UTC):%H:%M}" for ts in clock.boundaries()] == ["14:30", "18:00"]
