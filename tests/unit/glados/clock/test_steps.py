"""Steps of the wall clock and suspends: nothing is ticked twice, nothing is lost without a word, with either alarm."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from weaver.core.instants import NS_PER_SECOND, to_ns
from weaver.core.timeframe import Timeframe
from weaver.glados.clock import ClockGap, ClockTick, GapReason, Reading, RealtimeClock
from weaver.glados.clock.grid import UtcGrid
from weaver.glados.clock.tracker import Tracker
from weaver.testing import SimulatedTime

SECOND, MINUTE, HOUR = NS_PER_SECOND, 60 * NS_PER_SECOND, 3600 * NS_PER_SECOND
NOON = datetime(2024, 1, 2, 12, tzinfo=UTC)


def minute(number: int) -> int:
    """The instant `number` minutes after noon."""
    return to_ns(NOON) + number * MINUTE


class Machine:
    """A one-minute clock that starts at 12:00:30 and has ticked 12:01 and 12:02 when something happens at 12:02:10."""

    def __init__(self, kind: str) -> None:
        self.time = SimulatedTime(NOON + timedelta(seconds=30))
        self.clock = RealtimeClock("1m", source=self.time, alarm=getattr(self.time, kind))
        self.told: list[int | ClockGap] = []
        self.at: list[int] = []
        self.clock.on_tick(self._tick)
        self.clock.on_gap(self.told.append)

    def _tick(self, tick: ClockTick) -> None:
        self.told.append((tick.ts_ns - to_ns(NOON)) // MINUTE)
        self.at.append(self.time.wall_ns() - tick.ts_ns)

    def run(self, happening: Callable[[], None], ns: int, check: Callable[[], None] | None = None) -> None:
        async def main() -> None:
            done = asyncio.get_running_loop().create_future()
            self.time.after(100 * SECOND, happening)
            if check is not None:
                self.time.after(102 * SECOND, check)
            self.time.after(100 * SECOND + ns, lambda: done.set_result(None))
            await self.clock.start("run")
            await done
            await self.clock.stop()

        self.time.run(main())
        assert min(self.at) >= 0, "a tick came early"


@pytest.fixture(params=["timerfd", "staged"])
def machine(request: pytest.FixtureRequest) -> Machine:
    return Machine(request.param)


@pytest.mark.parametrize(
    ("happening", "reason"),
    [(SimulatedTime.step, GapReason.STEP), (SimulatedTime.suspend, GapReason.SUSPEND)],
)
def test_an_hour_forward_is_reported_once_and_ticking_goes_on_at_the_next_boundary(
    machine: Machine, happening: Callable[[SimulatedTime, int], None], reason: GapReason
) -> None:
    machine.run(lambda: happening(machine.time, HOUR), 3 * MINUTE)
    assert machine.told == [1, 2, ClockGap(minute(3), minute(62), 60, reason), 63, 64, 65]
    assert machine.clock.gaps == (machine.told[2],)
    assert str(machine.clock.gaps[0]) == f"60 missed, 2024-01-02T12:03:00Z to 2024-01-02T13:02:00Z: {reason}"
    assert machine.clock.drift.gaps == 1


def test_the_index_of_a_tick_counts_what_was_missed(machine: Machine) -> None:
    indexes: list[int] = []
    machine.clock.on_tick(lambda tick: indexes.append(tick.bar_index))
    machine.run(lambda: machine.time.step(HOUR), 3 * MINUTE)
    assert indexes == [0, 1, 62, 63, 64]
    assert machine.clock.tick_count == 5


def test_an_hour_backward_ticks_nothing_twice_and_says_until_when_it_holds(
    machine: Machine, caplog: pytest.LogCaptureFixture
) -> None:
    held: list[datetime | None] = []
    with caplog.at_level(logging.WARNING, logger="weaver.clock"):
        machine.run(
            lambda: machine.time.step(-HOUR), HOUR + 3 * MINUTE, lambda: held.append(machine.clock.holding_until)
        )
    assert machine.told == [1, 2, 3, 4, 5]
    assert held == [NOON + timedelta(minutes=3)]
    assert machine.clock.holding_until is None
    said = [record.getMessage() for record in caplog.records]
    assert len(said) == 1
    assert "set back to 2024-01-02T11:02:1" in said[0]
    assert "holding until 2024-01-02T12:03:00Z" in said[0]


def test_back_and_forth_in_one_bar_changes_nothing(machine: Machine) -> None:
    def there_and_back() -> None:
        machine.time.step(-HOUR)
        machine.time.after(20 * SECOND, lambda: machine.time.step(HOUR))

    machine.run(there_and_back, 3 * MINUTE)
    assert machine.told == [1, 2, 3, 4, 5]


def test_what_was_reported_as_missed_is_not_ticked_when_the_clock_is_set_back(machine: Machine) -> None:
    def there_and_back() -> None:
        machine.time.step(HOUR)
        machine.time.after(90 * SECOND, lambda: machine.time.step(-HOUR))

    machine.run(there_and_back, HOUR + 5 * MINUTE)
    assert machine.told[:4] == [1, 2, ClockGap(minute(3), minute(62), 60, GapReason.STEP), 63]
    assert machine.told[4:6] == [64, 65]


def test_a_clock_set_back_before_its_first_tick_begins_where_time_is_now() -> None:
    for kind in ("timerfd", "staged"):
        machine = Machine(kind)
        machine.time.after(10 * SECOND, lambda machine=machine: machine.time.step(-HOUR))  # type: ignore[misc]
        machine.run(lambda: None, MINUTE)
        assert machine.told[:2] == [-59, -58]


@pytest.mark.parametrize("ns", [100_000_000, 900_000_000, -100_000_000, -900_000_000])
def test_a_small_correction_loses_no_bar(machine: Machine, ns: int) -> None:
    def correct() -> None:
        # A moment before 12:03, so that a correction forward jumps over the boundary.
        machine.time.after(49 * SECOND + 950_000_000, lambda: machine.time.step(ns))

    machine.run(correct, 4 * MINUTE)
    assert machine.told == [1, 2, 3, 4, 5, 6]


def test_slewing_over_a_day_is_no_step() -> None:
    time = SimulatedTime("2024-01-01T00:00:30Z")
    clock = RealtimeClock("1d", source=time, alarm=time.timerfd)
    told: list[object] = []
    clock.on_gap(told.append)
    clock.on_tick(lambda tick: told.append(tick.ts))

    async def main() -> None:
        done = asyncio.get_running_loop().create_future()

        def slew() -> None:
            time.slew(SECOND // 2)  # 500 ppm, the most that a time daemon slews by
            time.after(1000 * SECOND, slew)

        time.after(1000 * SECOND, slew)
        time.after(50 * HOUR, lambda: done.set_result(None))
        await clock.start("run")
        await done
        await clock.stop()

    time.run(main())
    assert told == [datetime(2024, 1, 2, tzinfo=UTC), datetime(2024, 1, 3, tzinfo=UTC)]


def test_a_step_is_noticed_at_once_by_the_kernels_timer_and_within_a_second_by_staged_ones() -> None:
    for kind, within in (("timerfd", 1_000_000), ("staged", SECOND)):
        machine, at = Machine(kind), []
        machine.clock.on_gap(lambda _, machine=machine, at=at: at.append(machine.time.read().running))  # type: ignore[misc]
        machine.run(lambda machine=machine: machine.time.step(HOUR), MINUTE)  # type: ignore[misc]
        assert 0 <= at[0] - 100 * SECOND <= within


# --- any history of wake-ups, as arithmetic ---------------------------------------------------------------------------

# Each entry: running time that passes, a jump of the wall clock with or without the machine having slept.
histories = st.lists(
    st.tuples(
        st.integers(0, 5 * MINUTE),
        st.one_of(st.just(0), st.integers(-2 * HOUR, 2 * HOUR), st.integers(-SECOND, SECOND)),
        st.booleans(),
    ),
    min_size=1,
    max_size=40,
)


@given(histories, st.sampled_from(["1s", "7m", "1m", "1h"]).filter(lambda text: text != "7m"), st.integers(0, HOUR))
def test_each_boundary_is_ticked_or_reported_exactly_once_in_order_and_never_early(
    history: list[tuple[int, int, bool]], text: str, offset: int
) -> None:
    timeframe = Timeframe(text)
    start = to_ns(NOON) + offset
    tracker = Tracker(UtcGrid(timeframe), Reading(start, 0, 0))
    wall, running, slept, settled = start, 0, 0, None
    settled_at_start = timeframe.bar_start(start)
    expected_index = 0
    for passed, jump, asleep in history:
        wall, running = wall + passed + jump, running + passed
        if asleep and jump > 0:
            slept += jump
        wake = tracker.wake(Reading(wall, running, slept))
        covered: list[tuple[int, int]] = []
        if wake.gap is not None:
            covered.append((wake.gap.first_ns, wake.gap.last_ns))
            assert wake.gap.count == (wake.gap.last_ns - wake.gap.first_ns) // timeframe.ns + 1
        if wake.boundary is not None:
            covered.append((wake.boundary, wake.boundary))
            assert wake.late_ns == wall - wake.boundary >= 0
        for first, last in covered:
            if settled is not None:
                assert first == settled + timeframe.ns
            else:
                assert first == timeframe.bar_start(first)
            assert last <= wall
            expected_index += (last - first) // timeframe.ns + 1
            settled = last
        if wake.boundary is not None:
            assert wake.bar_index == expected_index - 1
        assert tracker.settled == settled
        assert tracker.due > wall or tracker.due == wall + timeframe.ns
        assert (tracker.holding_until is not None) == (settled is not None and wall < settled)
    assert settled is None or settled >= settled_at_start - 2 * HOUR * len(history)
