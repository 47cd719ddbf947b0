"""Every clock that ticks to subscribers keeps the contract, and clocks with the faults that it forbids do not."""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine
from typing import Any

import pytest

from weaver.core.instants import NS_PER_SECOND
from weaver.glados.clock import BacktestClock, BaseClock, CallbackFailure, RealtimeClock
from weaver.testing import ControllableClock, SimulatedTime
from weaver.testing.contracts import TickClockContract

MINUTE = 60 * NS_PER_SECOND


class TestBacktestClock(TickClockContract):
    clock_type: type[BacktestClock] = BacktestClock

    def make_clock(self) -> BaseClock:
        return self.clock_type(self.START, "2024-01-02T13:00Z", "1m")

    def run(self, clock: BaseClock, main: Coroutine[Any, Any, None]) -> None:
        asyncio.run(main)

    async def pass_boundaries(self, clock: BaseClock, count: int) -> None:
        await clock.wait()


class OnSimulatedTime(TickClockContract):
    """A RealtimeClock whose time source and alarm are simulated."""

    alarm = "timerfd"
    clock_type: type[RealtimeClock] = RealtimeClock

    def make_clock(self) -> BaseClock:
        self.time = SimulatedTime(self.START)
        return self.clock_type("1m", source=self.time, alarm=getattr(self.time, self.alarm))

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


class TestControllableClock(TickClockContract):
    def make_clock(self) -> BaseClock:
        return ControllableClock(self.START)

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
