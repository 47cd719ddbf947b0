"""Every clock that ticks to subscribers keeps the contract, and clocks with the faults that it forbids do not."""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine, Iterator
from random import Random
from typing import Any

import numpy as np
import pytest

from weaver.core.instants import NS_PER_SECOND, to_ns
from weaver.core.timeframe import Timeframe
from weaver.glados.clock import (
    BacktestClock,
    BaseClock,
    CallbackFailure,
    ClockGap,
    ClockTick,
    Reading,
    RealtimeClock,
    get_calendar,
)
from weaver.glados.clock.grid import Grid, make_grid
from weaver.glados.clock.ticks import LastTick, gap_while_down
from weaver.glados.clock.tracker import Tracker
from weaver.testing import ControllableClock, SimulatedTime
from weaver.testing.contracts import TickClockContract

MINUTE = 60 * NS_PER_SECOND


class TestBacktestClock(TickClockContract):
    clock_type: type[BacktestClock] = BacktestClock

    def make_clock(self, start: str = TickClockContract.START, calendar: str | None = None) -> BaseClock:
        return self.clock_type(start, to_ns(start) + 60 * MINUTE, "1m", calendar=calendar)

    def run(self, clock: BaseClock, main: Coroutine[Any, Any, None]) -> None:
        asyncio.run(main)

    async def pass_boundaries(self, clock: BaseClock, count: int) -> None:
        await clock.wait()


class OnSimulatedTime(TickClockContract):
    """A RealtimeClock whose time source and alarm are simulated."""

    alarm = "timerfd"
    clock_type: type[RealtimeClock] = RealtimeClock

    def make_clock(self, start: str = TickClockContract.START, calendar: str | None = None) -> BaseClock:
        self.time = SimulatedTime(start)
        return self.clock_type("1m", calendar=calendar, source=self.time, alarm=getattr(self.time, self.alarm))

    def run(self, clock: BaseClock, main: Coroutine[Any, Any, None]) -> None:
        self.time.run(main)

    async def pass_boundaries(self, clock: BaseClock, count: int) -> None:
        passed = asyncio.get_running_loop().create_future()
        self.time.after(count * MINUTE, lambda: passed.set_result(None))
        await passed


class TestRealtimeClockWithTheKernelsTimer(OnSimulatedTime):
    pass


class TestRealtimeClockWithStagedTimers(OnSimulatedTime):
    alarm = "staged"


class TestRealtimeClockAtSixtyTimesTheSpeed(OnSimulatedTime):
    def make_clock(self, start: str = TickClockContract.START, calendar: str | None = None) -> BaseClock:
        self.time = SimulatedTime("2030-06-01T08:00Z")
        alarm = getattr(self.time, self.alarm)
        return self.clock_type("1m", calendar=calendar, speed=60, start_time=start, source=self.time, alarm=alarm)

    async def pass_boundaries(self, clock: BaseClock, count: int) -> None:
        passed = asyncio.get_running_loop().create_future()
        self.time.after(count * NS_PER_SECOND, lambda: passed.set_result(None))
        await passed


class TestRealtimeClockAtSixtyTimesTheSpeedWithStagedTimers(TestRealtimeClockAtSixtyTimesTheSpeed):
    alarm = "staged"


class TestControllableClock(TickClockContract):
    def make_clock(self, start: str = TickClockContract.START, calendar: str | None = None) -> BaseClock:
        return ControllableClock(start, calendar=calendar)

    def run(self, clock: BaseClock, main: Coroutine[Any, Any, None]) -> None:
        assert isinstance(clock, ControllableClock)
        clock.run(main)

    async def pass_boundaries(self, clock: BaseClock, count: int) -> None:
        assert isinstance(clock, ControllableClock)
        passed = asyncio.get_running_loop().create_future()
        clock.call_after(count * MINUTE, lambda: passed.set_result(None))
        await passed
        for _ in range(20):
            await asyncio.sleep(0)  # noqa: TID251 - the callbacks of the last boundary return


class _StopsForAll:
    """WRONG: one callback that raises ends the ticks of all, as every clock did before."""

    def _record_failure(self, failure: CallbackFailure, *, is_last: bool) -> bool:
        return super()._record_failure(failure, is_last=True)  # type: ignore[misc,no-any-return]


class BacktestThatStopsForAll(_StopsForAll, BacktestClock):
    pass


class RealtimeThatStopsForAll(_StopsForAll, RealtimeClock):
    pass


@pytest.mark.parametrize("suite", [TestBacktestClock, TestRealtimeClockWithTheKernelsTimer])
def test_a_clock_that_one_bad_callback_stops_fails_the_contract(suite: type[Any]) -> None:
    class Wrong(suite):  # type: ignore[misc]
        clock_type = BacktestThatStopsForAll if suite is TestBacktestClock else RealtimeThatStopsForAll

    for name in ("a_callback_that_raises_costs_the_others_no_tick", "wait_raises_once_no_callback_is_left"):
        with pytest.raises((AssertionError, ZeroDivisionError, ValueError)):
            getattr(Wrong(), f"test_{name}")()


class ForgetsTheInstantOfTheStart(Tracker):
    """WRONG: a run that resumes goes on after the time of its start, as a new run does."""

    def __init__(self, grid: Grid, reading: Reading, after: LastTick | None = None) -> None:
        super().__init__(grid, reading, after)
        self.due = grid.next_after(reading.wall)


class ForgetsTheCount(Tracker):
    """WRONG: the count of a run that resumes leaves out the boundaries that were missed."""

    def __init__(self, grid: Grid, reading: Reading, after: LastTick | None = None) -> None:
        super().__init__(grid, reading, after)
        self._index = 0 if after is None else after.bar_index + 1


class ReportsWhatIsTicked(Tracker):
    """WRONG: the boundary at the very instant of the start is reported as missed and ticked."""

    def __init__(self, grid: Grid, reading: Reading, after: LastTick | None = None) -> None:
        super().__init__(grid, reading, after)
        if after is not None:
            self.missed = gap_while_down(grid, after.ts_ns, reading.wall + 1)


def survives_kills(seed: int) -> None:
    """Run, kill and resume a clock at random instants; check that each boundary is ticked or reported once, with its index."""
    random = Random(seed)
    timeframe, calendar = random.choice(
        [("1m", None), ("5m", None), ("1h", "XNYS"), ("1d", None), ("1d", "XNYS"), ("1w", None)]
    )
    grid = make_grid(Timeframe(timeframe), get_calendar(calendar) if calendar else None)
    now = to_ns("2024-03-04T14:30Z") + random.randrange(5 * 86_400) * NS_PER_SECOND
    covered: list[int] = []
    last: ClockTick | None = None
    for _ in range(random.randint(2, 5)):
        clock = ControllableClock(now, timeframe, calendar=calendar)
        gaps: list[ClockGap] = []
        clock.on_gap(gaps.append)
        bars = random.randint(1, 4)

        async def main(clock: ControllableClock = clock, bars: int = bars, last: ClockTick | None = last) -> None:
            if last is None:
                await clock.start("run")
            else:
                await clock.start("run", after_ns=last.ts_ns, after_index=last.bar_index)
            await clock.advance(bars)
            await clock.stop()

        asyncio.run(main())
        for gap in gaps:
            missed = list(grid.between(gap.first_ns, gap.last_ns))
            assert (missed[0], missed[-1], len(missed)) == (gap.first_ns, gap.last_ns, gap.count)
            covered += missed
        for tick in clock.ticks:
            covered.append(tick.ts_ns)
            assert tick.bar_index == len(covered) - 1
        last = clock.ticks[-1]
        boundaries = list(grid.between(last.ts_ns, last.ts_ns + 60 * 86_400 * NS_PER_SECOND))
        # A restart within the same bar, some bars later, or at the very instant of a boundary.
        now = boundaries[random.randint(0, 3)] + random.choice([0, 0, 1, 20 * NS_PER_SECOND])
    assert covered == list(grid.between(covered[0], covered[-1]))


def all_survive_kills() -> None:
    for seed in range(120):
        survives_kills(seed)


def test_each_boundary_of_a_run_that_is_killed_is_ticked_or_reported_once_with_its_index() -> None:
    all_survive_kills()


@pytest.mark.parametrize("wrong", [ForgetsTheInstantOfTheStart, ForgetsTheCount, ReportsWhatIsTicked])
def test_a_wrong_resumption_fails_on_the_same_seeds(wrong: type[Tracker], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("weaver.testing.clock.Tracker", wrong)
    with pytest.raises(AssertionError):
        all_survive_kills()


@pytest.mark.parametrize("calendar", [None, "XNYS"])
def test_ten_years_of_missed_minutes_are_counted_in_windows(
    calendar: str | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    grid = make_grid(Timeframe("1m"), get_calendar(calendar) if calendar else None)
    boundaries = grid.between
    looked_at = 0

    def between(first_ns: int, last_ns: int) -> Iterator[int]:
        nonlocal looked_at
        for ts in boundaries(first_ns, last_ns):
            looked_at += 1
            yield ts

    monkeypatch.setattr(grid, "between", between)
    first, last = to_ns("2014-01-02T18:00Z"), to_ns("2024-01-02T18:00Z")
    gap = gap_while_down(grid, first, last)
    assert gap is not None
    expected = (last - first) // MINUTE - 1
    if calendar is not None:
        sessions = get_calendar(calendar).sessions(first, last)
        opens, closes = np.maximum(sessions.open, first + MINUTE), np.minimum(sessions.close, last - MINUTE)
        expected = int(((closes - opens) // MINUTE + 1).sum())
    assert gap.count == expected
    assert looked_at <= 1


def test_the_end_of_the_event_loop_ends_a_backtest_that_delivers_a_gap() -> None:
    clock = BacktestClock("2024-01-02", "2024-01-03", "1h")

    async def forever(_: ClockGap) -> None:
        await asyncio.get_running_loop().create_future()

    async def main() -> None:
        clock.on_gap(forever)
        await clock.start("run", after_ns=to_ns("2024-01-01T20:00Z"))
        await asyncio.sleep(0)  # noqa: TID251 - the clock's task begins

    asyncio.run(main())
    assert not clock.is_running
    assert clock.error is None


def test_a_backtest_that_resumes_after_its_last_boundary_is_complete() -> None:
    clock = BacktestClock("2024-01-02", "2024-01-03", "1h")
    ticks: list[ClockTick] = []
    clock.on_tick(ticks.append)

    async def main() -> None:
        await clock.start("run", after_ns=to_ns("2024-01-03"), after_index=24)
        await clock.wait()

    asyncio.run(main())
    assert ticks == []
    assert clock.is_complete
    assert clock.now_ns() == to_ns("2024-01-03")


def test_a_backtest_that_resumes_in_its_period_ticks_the_rest_and_has_missed_nothing() -> None:
    whole = list(BacktestClock("2024-01-02", "2024-01-03", "1h").ticks("run"))
    clock = BacktestClock("2024-01-02", "2024-01-03", "1h")
    ticks: list[ClockTick] = []
    progress: list[float] = []
    clock.on_tick(ticks.append)
    clock.on_tick(lambda _: progress.append(clock.progress))

    async def main() -> None:
        await clock.start("run", after_ns=whole[11].ts_ns, after_index=whole[11].bar_index)
        assert clock.progress == 11 / 24
        await clock.wait()

    asyncio.run(main())
    assert ticks == whole[12:]
    assert clock.gaps == ()
    assert clock.tick_count == 13
    assert progress[0] == 0.5
    assert progress[-1] == 1.0
