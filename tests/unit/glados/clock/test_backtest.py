"""BacktestClock: every boundary of a stretch once, in order, in constant memory, on a loop or without one."""

from __future__ import annotations

import asyncio
import itertools
import threading
import tracemalloc
from collections.abc import Awaitable, Callable
from datetime import UTC, date, datetime, timedelta
from types import SimpleNamespace

import pytest

from weaver.core.errors import ClockError, ClockRunning, ConfigError, NaiveDatetimeError
from weaver.core.instants import to_ns
from weaver.core.ports import TickSource
from weaver.core.timeframe import Timeframe
from weaver.glados.clock import BacktestClock, ClockTick
from weaver.glados.clock import backtest as backtest_module

START = datetime(2024, 1, 1, tzinfo=UTC)


def hours(count: int) -> BacktestClock:
    """A clock that ticks hours 0 to `count`, both included."""
    return BacktestClock(START, START + timedelta(hours=count), "1h")


def run(clock: BacktestClock, callback: Callable[[ClockTick], Awaitable[None] | None] | None = None) -> list[ClockTick]:
    """The ticks of one whole run on an event loop."""
    seen: list[ClockTick] = []

    async def main() -> None:
        ends = [clock.on_tick(seen.append)]
        if callback is not None:
            ends.append(clock.on_tick(callback))
        await clock.start("run", stop_on_error=True)
        await clock.wait()
        for end in ends:
            end()

    asyncio.run(main())
    return seen


async def turns(count: int = 5) -> None:
    for _ in range(count):
        await asyncio.sleep(0)  # noqa: TID251 - lets the clock's task run, and waits for nothing


class TestBacktestClockInit:
    def test_initializes_with_time_range(self) -> None:
        clock = BacktestClock(START, "2024-01-02T00:00:00Z", "1h")
        assert (clock.start_time, clock.end_time) == (START, START + timedelta(days=1))
        assert clock.timeframe == Timeframe("1h")
        assert not clock.is_running
        assert clock.tick_count == 0
        assert clock.error is None
        assert clock.calendar is None
        assert clock.run_id == ""

    def test_initializes_at_start_time(self) -> None:
        clock = hours(3)
        assert clock.current_time() == clock.simulated_time == START
        assert clock.now_ns() == to_ns(START)

    def test_validates_end_after_start(self) -> None:
        with pytest.raises(ConfigError, match=r"start_time=2024-01-02.* is after end_time=2024-01-01"):
            BacktestClock("2024-01-02", "2024-01-01", "1h")

    def test_one_instant_gives_one_tick(self) -> None:
        assert [tick.ts for tick in BacktestClock(START, START, "1h").ticks()] == [START]

    def test_a_naive_time_is_refused(self) -> None:
        with pytest.raises(NaiveDatetimeError, match=r"datetime\(2024, 1, 1, tzinfo=UTC\)"):
            BacktestClock(datetime(2024, 1, 1), START, "1h")
        with pytest.raises(NaiveDatetimeError):
            BacktestClock(START, "2024-01-01T09:00", "1h")

    def test_dates_and_timeframes_may_be_given_in_every_form(self) -> None:
        clock = BacktestClock(date(2024, 1, 1), to_ns("2024-01-03"), Timeframe("1d"))
        assert len(list(clock.boundaries())) == 3

    def test_a_stretch_off_the_grid_ticks_the_boundaries_inside_it(self) -> None:
        clock = BacktestClock("2024-01-01T00:00:01Z", "2024-01-01T03:59:59Z", "1h")
        assert [tick.ts.hour for tick in clock.ticks()] == [1, 2, 3]

    def test_a_stretch_without_a_boundary_is_refused_with_the_next_one(self) -> None:
        with pytest.raises(ConfigError, match=r"no 1h boundary is between .*the next is 2024-01-01T01:00:00Z"):
            BacktestClock("2024-01-01T00:00:01Z", "2024-01-01T00:00:02Z", "1h")

    def test_it_is_a_tick_source(self) -> None:
        assert isinstance(hours(1), TickSource)


class TestBacktestClockLifecycle:
    def test_start_begins_ticking(self) -> None:
        clock = hours(3)

        async def main() -> None:
            await clock.start("run 7")
            assert clock.is_running
            assert clock.run_id == "run 7"
            await clock.wait()

        asyncio.run(main())
        assert clock.tick_count == 4
        assert not clock.is_running

    def test_stop_halts_ticks(self) -> None:
        clock = hours(100)
        seen: list[ClockTick] = []

        async def main() -> None:
            async def callback(tick: ClockTick) -> None:
                seen.append(tick)
                await turns(1)

            clock.on_tick(callback)
            await clock.start("run")
            await turns(10)
            await clock.stop()
            count = len(seen)
            await turns(20)
            assert 0 < len(seen) == count < 100
            await clock.stop()

        asyncio.run(main())
        assert not clock.is_complete

    def test_stopping_before_the_first_tick_calls_nobody(self) -> None:
        clock = hours(3)

        async def main() -> None:
            clock.on_tick(lambda tick: pytest.fail("ticked after stop"))
            await clock.start("run")
            await clock.stop()
            await turns()

        asyncio.run(main())
        assert clock.tick_count == 0

    def test_stop_waits_for_the_callback_in_progress(self) -> None:
        clock = hours(3)
        finished: list[int] = []

        async def main() -> None:
            async def callback(tick: ClockTick) -> None:
                await turns(5)
                finished.append(tick.bar_index)

            clock.on_tick(callback)
            await clock.start("run")
            await turns(2)
            await asyncio.gather(clock.stop(), clock.stop())
            assert finished == [0]

        asyncio.run(main())

    def test_a_callback_may_stop_its_own_clock_and_nobody_is_called_after_it(self) -> None:
        clock = hours(100)

        async def callback(tick: ClockTick) -> None:
            if tick.bar_index == 2:
                await asyncio.create_task(clock.stop())
                assert not clock.is_running

        async def main() -> None:
            clock.on_tick(callback)
            clock.on_tick(seen.append)
            await clock.start("run")
            await clock.wait()

        seen: list[ClockTick] = []
        asyncio.run(main())
        assert [tick.bar_index for tick in seen] == [0, 1]
        assert not clock.is_complete

    def test_a_callback_cannot_wait_for_its_own_clock(self) -> None:
        clock = hours(1)

        async def callback(_: ClockTick) -> None:
            await clock.wait()

        with pytest.raises(ClockError, match="cannot wait for the end of its own clock"):
            run(clock, callback)

    def test_cannot_start_twice(self) -> None:
        async def main() -> None:
            clock = hours(3)
            await clock.start("first")
            with pytest.raises(ClockRunning, match="'first'"):
                await clock.start("second")
            assert clock.run_id == "first"
            await clock.wait()

        asyncio.run(main())

    def test_restart_resets_state(self) -> None:
        clock = hours(3)
        first, second = run(clock), run(clock)
        assert first == second
        assert clock.tick_count == 4

        async def main() -> None:
            await clock.start("again")
            assert (clock.tick_count, clock.progress, clock.is_complete) == (0, 0.0, False)
            assert clock.current_time() == START
            await clock.wait()

        asyncio.run(main())

    def test_a_stopped_clock_starts_again_from_the_beginning(self) -> None:
        clock = hours(50)

        async def main() -> None:
            async def slow(_: ClockTick) -> None:
                await turns(1)

            end = clock.on_tick(slow)
            await clock.start("run")
            await turns(7)
            await clock.stop()
            end()

        asyncio.run(main())
        assert [tick.bar_index for tick in run(clock)] == list(range(51))

    def test_the_error_of_the_only_callback_stops_the_clock_and_wait_raises_it(self) -> None:
        clock = hours(10)
        seen: list[int] = []

        def callback(tick: ClockTick) -> None:
            seen.append(tick.bar_index)
            if tick.bar_index == 3:
                raise ZeroDivisionError("at three")

        async def main() -> None:
            clock.on_tick(callback)
            await clock.start("run")
            with pytest.raises(ZeroDivisionError, match="at three"):
                await clock.wait()
            with pytest.raises(ZeroDivisionError):
                await clock.wait()
            await clock.stop()

        asyncio.run(main())
        assert seen == [0, 1, 2, 3]
        assert isinstance(clock.error, ZeroDivisionError)
        assert not clock.is_running
        assert not clock.is_complete

    def test_a_new_start_forgets_the_error(self) -> None:
        clock = hours(2)

        async def broken(_: ClockTick) -> None:
            raise ValueError("no")

        with pytest.raises(ValueError, match="no"):
            run(clock, broken)

        async def main() -> None:
            await clock.start("again")
            assert clock.error is None
            assert clock.failures == ()
            await clock.wait()

        asyncio.run(main())

    def test_a_callback_that_awaits_something_cancelled_is_an_error_too(self) -> None:
        async def callback(_: ClockTick) -> None:
            future = asyncio.get_running_loop().create_future()
            future.cancel()
            await future

        with pytest.raises(asyncio.CancelledError):
            run(hours(2), callback)

    def test_the_end_of_the_event_loop_ends_the_clock(self) -> None:
        clock = hours(2)

        async def main() -> None:
            async def forever(_: ClockTick) -> None:
                await asyncio.get_running_loop().create_future()

            clock.on_tick(forever)
            await clock.start("run")
            await turns()

        asyncio.run(main())
        assert not clock.is_running
        assert clock.error is None

    def test_waiting_before_a_start_returns_at_once(self) -> None:
        asyncio.run(hours(1).wait())

    def test_a_start_without_an_event_loop_leaves_the_clock_as_it_was(self) -> None:
        clock = hours(1)
        start = clock.start("run")
        with pytest.raises(RuntimeError):
            start.send(None)
        assert not clock.is_running

    def test_a_failing_beginning_leaves_the_clock_startable(self, monkeypatch: pytest.MonkeyPatch) -> None:
        clock = hours(1)

        async def main() -> None:
            with monkeypatch.context() as patch:
                patch.setattr(clock, "_begin", lambda: 1 / 0)
                with pytest.raises(ZeroDivisionError):
                    await clock.start("run")
            await clock.start("again")
            await clock.wait()

        asyncio.run(main())
        assert clock.is_complete

    def test_a_past_misses_nothing(self) -> None:
        clock = hours(1)
        clock.on_gap(lambda gap: pytest.fail(str(gap)))()
        run(clock)
        assert clock.gaps == ()


class TestBacktestClockTicks:
    def test_emits_ticks_in_sequence(self) -> None:
        seen = run(hours(24))
        assert [tick.ts for tick in seen] == [START + timedelta(hours=n) for n in range(25)]

    def test_tick_timestamps_advance_by_timeframe(self) -> None:
        seen = run(BacktestClock("2024-01-01", "2024-01-01T01:00Z", "5m"))
        assert {b.ts - a.ts for a, b in itertools.pairwise(seen)} == {timedelta(minutes=5)}

    def test_stops_at_end_time(self) -> None:
        clock = hours(5)
        assert run(clock)[-1].ts == clock.end_time == clock.current_time()

    def test_bar_index_increments(self) -> None:
        assert [tick.bar_index for tick in run(hours(9))] == list(range(10))

    def test_is_backtest_flag_true(self) -> None:
        assert all(tick.is_backtest for tick in run(hours(2)))

    def test_a_tick_holds_run_and_timeframe_and_makes_its_datetime_on_demand(self) -> None:
        tick = run(hours(0))[0]
        assert tick == ClockTick("run", to_ns(START), "1h", 0, True)
        assert tick.ts == START
        assert tick.ts.tzinfo is UTC
        with pytest.raises(AttributeError):
            tick.bar_index = 2  # type: ignore[misc]

    def test_callbacks_are_called_in_the_order_of_subscription_functions_and_coroutines_alike(self) -> None:
        clock, order = hours(1), []

        def plain(tick: ClockTick) -> int:  # what a plain function returns does not matter
            order.append(("plain", tick.bar_index))
            return 1

        async def coroutine(tick: ClockTick) -> None:
            await turns(1)
            order.append(("coroutine", tick.bar_index))

        async def main() -> None:
            clock.on_tick(coroutine)
            clock.on_tick(plain)  # type: ignore[arg-type]
            await clock.start("run")
            await clock.wait()

        asyncio.run(main())
        assert order == [("coroutine", 0), ("plain", 0), ("coroutine", 1), ("plain", 1)]

    def test_an_unsubscribed_callback_is_not_called_again_even_within_the_tick(self) -> None:
        clock, seen = hours(3), []

        async def main() -> None:
            def first(tick: ClockTick) -> None:
                if tick.bar_index == 1:
                    end_second()
                    end_second()

            clock.on_tick(first)
            end_second = clock.on_tick(lambda tick: seen.append(tick.bar_index))
            await clock.start("run")
            await clock.wait()

        asyncio.run(main())
        assert seen == [0]

    def test_the_plain_iterator_gives_the_same_ticks(self) -> None:
        clock = hours(24)
        assert list(clock.ticks("run")) == run(clock)
        assert [tick.ts_ns for tick in clock.ticks()] == list(clock.boundaries())

    def test_the_plain_iterator_moves_the_clock_along(self) -> None:
        clock = hours(4)
        for tick in clock.ticks():
            assert clock.current_time() == tick.ts
            assert clock.tick_count == tick.bar_index + 1
            assert clock.progress == tick.bar_index / 4
            assert clock.is_running
        assert clock.is_complete
        assert not clock.is_running

    def test_a_second_iterator_or_a_start_meanwhile_is_refused(self) -> None:
        clock = hours(4)
        first, second = clock.ticks("first"), clock.ticks("second")
        next(first)
        with pytest.raises(ClockRunning, match="'first'"):
            next(second)
        with pytest.raises(ClockRunning):
            asyncio.run(clock.start("third"))
        del first
        assert not clock.is_running
        assert not clock.is_complete
        assert len(list(clock.ticks())) == 5

    def test_stopping_ends_the_plain_iterator(self) -> None:
        clock = hours(10)

        async def main() -> int:
            count = 0
            stopping = None
            for tick in clock.ticks():
                count += 1
                if tick.bar_index == 3:
                    stopping = asyncio.ensure_future(clock.stop())
                    await turns(2)
            assert stopping is not None
            await stopping
            return count

        assert asyncio.run(main()) == 4
        assert not clock.is_complete

    def test_the_iterators_work_inside_a_running_loop_and_in_a_thread(self) -> None:
        async def main() -> int:
            return len(list(hours(3).ticks()))

        assert asyncio.run(main()) == 4
        counts: list[int] = []
        thread = threading.Thread(target=lambda: counts.append(len(list(hours(3).ticks()))))
        thread.start()
        thread.join()
        assert counts == [4]

    def test_plain_boundaries_are_the_iterator_of_a_range(self) -> None:
        assert isinstance(hours(3).boundaries(), type(iter(range(0))))

    def test_ten_years_of_seconds_take_constant_memory(self) -> None:
        clock = BacktestClock("2014-01-01", "2024-01-01", "1s")

        def peak(count: int) -> int:
            tracemalloc.start()
            for _, _tick in zip(range(count), clock.ticks(), strict=False):
                pass
            used = tracemalloc.get_traced_memory()[1]
            tracemalloc.stop()
            return used

        peak(10)  # what is allocated once, at the first use, is not the clock's
        kept = 20_000 * 50  # bytes, had every tick left but an int and its slot in a list behind
        assert peak(20_000) < peak(200) + kept / 10  # a test runner's own thread allocates a little meanwhile

    def test_it_yields_to_the_event_loop_about_every_ten_milliseconds_of_work(
        self, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        now = 0

        def perf_counter_ns() -> int:
            nonlocal now
            now += 1_000_000  # every look, and so every tick, takes a simulated millisecond
            return now

        monkeypatch.setattr(backtest_module, "time", SimpleNamespace(perf_counter_ns=perf_counter_ns))
        clock, at = hours(100), []

        async def main() -> None:
            await clock.start("run")
            while clock.is_running:
                await turns(1)
                at.append(clock.tick_count)

        asyncio.run(main())
        steps = {b - a for a, b in itertools.pairwise(at)}
        assert steps <= {9, 10, 11, 101 % 10, 1, 0}
        assert 9 <= len(at) <= 14


class TestBacktestClockBackpressure:
    def test_waits_for_ack_when_enabled(self) -> None:
        async def main() -> None:
            clock = BacktestClock(START, START + timedelta(hours=2), "1h", backpressure=True)
            await clock.start("run")
            for expected in (1, 2, 3):
                await turns(10)
                assert clock.tick_count == expected
                assert not clock.is_complete
                clock.acknowledge()
            await clock.wait()
            assert clock.is_complete

        asyncio.run(main())

    def test_continues_without_ack_when_disabled(self) -> None:
        clock = hours(3)
        run(clock)
        assert clock.is_complete

    def test_can_toggle_backpressure(self) -> None:
        async def main() -> None:
            clock = hours(20)

            async def callback(tick: ClockTick) -> None:
                if tick.bar_index == 5:
                    clock.enable_backpressure()

            clock.on_tick(callback)
            await clock.start("run")
            await turns(20)
            assert clock.tick_count == 6
            clock.acknowledge()
            await turns(20)
            assert clock.tick_count == 7
            clock.disable_backpressure()
            await clock.wait()
            assert clock.tick_count == 21

        asyncio.run(main())

    def test_an_acknowledgement_in_the_callback_counts_and_none_is_saved_up(self) -> None:
        async def main() -> None:
            clock = hours(3)
            clock.enable_backpressure()
            clock.acknowledge()

            def callback(tick: ClockTick) -> None:
                if tick.bar_index == 0:
                    clock.acknowledge()
                    clock.acknowledge()

            clock.on_tick(callback)
            await clock.start("run")
            await turns(10)
            assert clock.tick_count == 2
            await clock.stop()

        asyncio.run(main())

    def test_stopping_ends_the_wait(self) -> None:
        async def main() -> None:
            clock = hours(3)
            clock.enable_backpressure()
            await clock.start("run")
            await turns()
            await clock.stop()
            assert clock.tick_count == 1

        asyncio.run(main())

    def test_taking_the_next_tick_of_the_plain_iterator_acknowledges(self) -> None:
        clock = hours(3)
        clock.enable_backpressure()
        assert len(list(clock.ticks())) == 4


class TestBacktestClockProgress:
    def test_progress_at_start_is_zero(self) -> None:
        assert hours(4).progress == 0.0
        assert BacktestClock(START, START, "1h").progress == 0.0

    def test_progress_grows_with_the_ticks(self) -> None:
        clock = hours(4)
        assert [clock.progress for _ in clock.ticks()] == [0.0, 0.25, 0.5, 0.75, 1.0]

    def test_progress_at_end_is_one(self) -> None:
        clock = hours(4)
        run(clock)
        assert clock.progress == 1.0
        one = BacktestClock(START, START, "1h")
        assert [one.progress for _ in one.ticks()] == [1.0]

    def test_is_complete_when_past_end(self) -> None:
        clock = hours(4)
        assert not clock.is_complete
        for _ in clock.ticks():
            assert not clock.is_complete
        assert clock.is_complete
        assert clock.simulated_time == clock.end_time
