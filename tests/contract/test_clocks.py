"""Every implementation of the `Clock` port keeps its contract; a clock that waits by wall time, as before, does not."""

from __future__ import annotations

from collections.abc import Callable, Coroutine
from typing import Any

import pytest

from weaver.core.instants import NS_PER_SECOND
from weaver.core.ports import Clock, Unschedule, sleep_for
from weaver.glados.clock import SystemClock
from weaver.testing import ControllableClock, SimulatedTime
from weaver.testing.contracts import ClockContract

pytestmark = pytest.mark.log

HOUR = 3600 * NS_PER_SECOND


class OnSimulatedTime(ClockContract):
    """A SystemClock whose time source and alarm are simulated."""

    alarm = "timerfd"
    clock_type: type[SystemClock] = SystemClock

    def make_clock(self) -> Clock:
        self.time = SimulatedTime("2024-01-02T12:00:30Z")
        return self.clock_type(self.time, getattr(self.time, self.alarm))

    def set_wall_clock(self, clock: Clock, by_ns: int) -> None:
        self.time.step(by_ns)

    def run(self, clock: Clock, main: Coroutine[Any, Any, None]) -> None:
        self.time.run(main)


class TestSystemClockWithTheKernelsTimer(OnSimulatedTime):
    LATEST_NS = 1_000_000


class TestSystemClockWithStagedTimers(OnSimulatedTime):
    # A step of the wall clock is noticed within a stage of at most a second.
    alarm = "staged"


class TestControllableClock(ClockContract):
    LATEST_NS = 0

    def make_clock(self) -> Clock:
        return ControllableClock("2024-01-02")

    def set_wall_clock(self, clock: Clock, by_ns: int) -> None:
        assert isinstance(clock, ControllableClock)
        clock.set_wall_time(clock.now_ns() + by_ns)

    def run(self, clock: Clock, main: Coroutine[Any, Any, None]) -> None:
        assert isinstance(clock, ControllableClock)
        clock.run(main)


class WaitsByWallTime(SystemClock):
    """WRONG: computes a deadline from the wall clock, as every timeout did before."""

    def call_after(self, delay_ns: int, callback: Callable[[], None]) -> Unschedule:
        return self.call_at(self.now_ns() + delay_ns, callback)


@pytest.mark.parametrize("alarm", ["timerfd", "staged"])
@pytest.mark.parametrize("test", ["a_timeout", "a_sleep"])
@pytest.mark.parametrize(("direction", "took"), [("back", "3605"), ("forward", "[12]")])
def test_a_clock_that_waits_by_wall_time_fails_the_contract(alarm: str, test: str, direction: str, took: str) -> None:
    class Wrong(OnSimulatedTime):
        clock_type = WaitsByWallTime

    contract = Wrong()
    contract.alarm = alarm
    with pytest.raises(AssertionError, match=f"a wait of 5 s took {took} s"):
        getattr(contract, f"test_{test}_takes_as_long_when_the_wall_clock_is_set_{direction}")()


@pytest.mark.parametrize("alarm", ["timerfd", "staged"])
def test_time_suspended_counts_as_elapsed(alarm: str) -> None:
    time = SimulatedTime("2024-01-02")
    clock = SystemClock(time, getattr(time, alarm))

    async def main() -> None:
        time.after(NS_PER_SECOND, lambda: time.suspend(HOUR))
        await sleep_for(clock, HOUR)
        assert HOUR <= clock.elapsed_ns() < HOUR + 3 * NS_PER_SECOND
        assert time.read().running < 3 * NS_PER_SECOND

    time.run(main())


@pytest.mark.parametrize("alarm", ["timerfd", "staged"])
def test_a_slewed_wall_clock_does_not_change_a_wait(alarm: str) -> None:
    time = SimulatedTime("2024-01-02")
    clock = SystemClock(time, getattr(time, alarm))

    async def main() -> None:
        for second in range(1, 60):
            time.after(second * NS_PER_SECOND, lambda: time.slew(-500_000))
        await sleep_for(clock, 60 * NS_PER_SECOND)
        assert 0 <= clock.elapsed_ns() - 60 * NS_PER_SECOND < 1_000_000

    time.run(main())


def test_a_timer_that_fires_early_wakes_no_one_early() -> None:
    time = SimulatedTime("2024-01-02", late_ns=-2_000_000)
    clock = SystemClock(time, time.timerfd)

    async def main() -> None:
        await sleep_for(clock, 5 * NS_PER_SECOND)
        assert clock.elapsed_ns() >= 5 * NS_PER_SECOND

    time.run(main())
