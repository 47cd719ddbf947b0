"""RealtimeClock at other speeds than that of the machine, on simulated time, with each of its alarms."""

from __future__ import annotations

import asyncio
from random import Random
from typing import Any

import pytest

from weaver.core.errors import ConfigError
from weaver.core.instants import NS_PER_SECOND, to_ns
from weaver.core.timeframe import Timeframe
from weaver.glados.clock import ClockGap, ClockTick, GapReason, Reading, RealtimeClock
from weaver.glados.clock.scaled_time import ScaledTime
from weaver.glados.clock.tracker import Tracker, Wake
from weaver.testing import SimulatedTime

SECOND, MINUTE, HOUR = NS_PER_SECOND, 60 * NS_PER_SECOND, 3600 * NS_PER_SECOND
MACHINE = "2024-01-02T12:00:30Z"

kinds = pytest.mark.parametrize("kind", ["timerfd", "staged"])


class Scene:
    """A clock on a simulated machine, the ticks and gaps that it reported, and its time at each tick."""

    def __init__(self, kind: str, speed: float, timeframe: str = "1m", **settings: Any) -> None:
        self.time = SimulatedTime(MACHINE)
        self.clock = RealtimeClock(timeframe, speed=speed, source=self.time, alarm=getattr(self.time, kind), **settings)
        self.ticks: list[ClockTick] = []
        self.gaps: list[ClockGap] = []
        self.late: list[int] = []
        self.clock.on_tick(self._tick)
        self.clock.on_gap(self.gaps.append)

    def _tick(self, tick: ClockTick) -> None:
        self.ticks.append(tick)
        self.late.append(self.clock._source.wall_ns() - tick.ts_ns)

    def run(self, ns: int, **start: Any) -> None:
        """Start, let `ns` of the machine's time pass, stop."""

        async def main() -> None:
            passed = asyncio.get_running_loop().create_future()
            await self.clock.start("run", **start)
            self.time.after(ns, lambda: passed.set_result(None))
            await passed
            await self.clock.stop()

        self.time.run(main())


@kinds
@pytest.mark.parametrize(
    ("speed", "timeframe", "lasts", "count"),
    [(0.5, "1m", 10 * MINUTE, 5), (60, "1m", 30 * SECOND, 30), (86400, "1d", 20 * SECOND, 20), (7.3, "5m", HOUR, 87)],
)
def test_boundaries_are_ticked_in_order_never_early_and_on_time(
    kind: str, speed: float, timeframe: str, lasts: int, count: int
) -> None:
    scene = Scene(kind, speed, timeframe)
    scene.run(lasts)
    bar = Timeframe(timeframe).ns
    first = (to_ns(MACHINE) // bar + 1) * bar
    assert [tick.ts_ns for tick in scene.ticks] == [first + n * bar for n in range(count)]
    assert [tick.bar_index for tick in scene.ticks] == list(range(count))
    assert scene.gaps == []
    # A millisecond of the machine's time, in the time of the clock.
    assert 0 <= min(scene.late) <= max(scene.late) <= speed * 1_000_000
    assert scene.clock.drift.max_ns == max(scene.late)
    assert scene.clock.speed == speed


@kinds
def test_a_time_source_without_a_scaled_alarm_ticks_late_or_never(kind: str) -> None:
    """The control of the test above: with the machine's alarm, ticks at 60 times the speed come 30 s late and more."""
    scene = Scene(kind, 1)
    scaled = ScaledTime(scene.time, 60)
    scaled.begin()
    scene.clock._source = scaled
    scene.run(30 * SECOND)
    assert len(scene.ticks) < 30 or max(scene.late) >= 20 * SECOND


@kinds
def test_setting_the_machines_clock_changes_nothing(kind: str) -> None:
    scene = Scene(kind, 60)
    scene.time.after(5 * SECOND + 1, lambda: scene.time.step(HOUR))
    scene.time.after(15 * SECOND + 1, lambda: scene.time.step(-2 * HOUR))
    scene.time.after(20 * SECOND + 1, lambda: scene.time.slew(-SECOND))
    scene.run(30 * SECOND)
    undisturbed = Scene(kind, 60)
    undisturbed.run(30 * SECOND)
    assert scene.ticks == undisturbed.ticks
    assert scene.gaps == []
    assert max(scene.late) <= 60_000_000


@kinds
def test_boundaries_passed_while_the_machine_was_suspended_are_one_gap(kind: str) -> None:
    scene = Scene(kind, 60)
    scene.time.after(5 * SECOND + SECOND // 4, lambda: scene.time.suspend(10 * SECOND))
    scene.run(12 * SECOND)
    ((first, last, count, reason),) = [(gap.first, gap.last, gap.count, gap.reason) for gap in scene.gaps]
    assert (count, reason) in ((10, GapReason.SUSPEND), (11, GapReason.SUSPEND))
    assert (last - first).total_seconds() == 60 * (count - 1)
    covered = [tick.ts_ns // MINUTE for tick in scene.ticks] + [
        first_ns // MINUTE + n for first_ns in (scene.gaps[0].first_ns,) for n in range(count)
    ]
    assert sorted(covered) == list(range(min(covered), max(covered) + 1))


class _ReadingsApart:
    """A time source whose readings of running and elapsed time are up to a millisecond apart, as after an interruption."""

    def __init__(self, time: SimulatedTime) -> None:
        self._time = time
        self._random = Random(1)
        self.wall_ns, self.elapsed_ns, self.sleep = time.wall_ns, time.elapsed_ns, time.sleep

    def read(self) -> Reading:
        reading = self._time.read()
        apart = self._random.randrange(1_000_000)
        return reading._replace(running=reading.running - apart, slept=reading.slept + apart)


@kinds
def test_readings_a_millisecond_apart_are_no_step_at_any_speed(kind: str, monkeypatch: pytest.MonkeyPatch) -> None:
    def run() -> Scene:
        scene = Scene(kind, 86400, "1h")
        assert scene.clock._scaled is not None
        scene.clock._scaled._machine = _ReadingsApart(scene.time)
        scene.run(2 * SECOND)
        return scene

    scene = run()
    assert scene.gaps == []
    assert len(scene.ticks) == 48

    class StepsOfASecond(Tracker):
        """WRONG: takes a second of the clock's time for a step."""

        def __init__(self, *arguments: Any, step_ns: int) -> None:
            super().__init__(*arguments)

    monkeypatch.setattr("weaver.glados.clock.realtime.Tracker", StepsOfASecond)
    assert run().gaps


@pytest.mark.parametrize("speed", [0, -1, 0.0001, 1e8, float("nan"), float("inf"), True, "60", None])
def test_a_speed_that_is_not_a_positive_finite_number_is_refused(speed: Any) -> None:
    with pytest.raises(ConfigError, match=r"speed=.*must be a number from 0\.001 to 10000000"):
        RealtimeClock("1m", speed=speed)


@kinds
def test_time_stands_still_at_the_start_time_until_the_start(kind: str) -> None:
    scene = Scene(kind, 86400, "1d", start_time="2020-03-02")
    scene.time.sleep(HOUR)
    assert scene.clock.current_time().isoformat() == "2020-03-02T00:00:00+00:00"
    scene.run(3 * SECOND + SECOND // 2)
    assert [f"{tick.ts:%m-%d}" for tick in scene.ticks] == ["03-03", "03-04", "03-05"]
    # It starts again from there, and resumes from there.
    scene.ticks.clear()
    scene.run(SECOND + SECOND // 2)
    assert [f"{tick.ts:%m-%d}" for tick in scene.ticks] == ["03-03"]


@kinds
def test_a_run_resumes_at_the_time_of_its_last_tick_without_a_gap(kind: str) -> None:
    scene = Scene(kind, 86400, "1d", start_time="2020-03-05")
    scene.run(2 * SECOND + SECOND // 2, after_ns=to_ns("2020-03-05"), after_index=9)
    assert [(f"{tick.ts:%m-%d}", tick.bar_index) for tick in scene.ticks] == [("03-06", 10), ("03-07", 11)]
    assert scene.gaps == []


def test_a_last_tick_after_the_start_time_is_refused() -> None:
    scene = Scene("staged", 86400, "1d", start_time="2020-03-05")
    with pytest.raises(ConfigError, match="after_ns=2020-03-06T00:00:00Z is later than 2020-03-05T00:00:00Z"):
        scene.run(SECOND, after_ns=to_ns("2020-03-06"))


def test_boundaries_without_an_event_loop_come_at_their_scaled_time() -> None:
    scene = Scene("staged", 60)
    began = scene.time.read().running
    for index, boundary in enumerate(boundaries := scene.clock.boundaries()):
        assert scene.clock.now_ns() - boundary < 60 * 1000
        if index == 9:
            boundaries.close()  # type: ignore[attr-defined]
    assert (scene.time.read().running - began) / SECOND == pytest.approx(9.5, abs=0.001)


def test_scaled_lengths_of_time_agree_with_each_other() -> None:
    time = SimulatedTime(MACHINE)
    scaled = ScaledTime(time, 60)
    assert scaled.wall_ns() == time.wall_ns()
    scaled.begin()
    scaled.sleep(MINUTE)
    time.suspend(SECOND)
    assert time.elapsed_ns() == 2 * SECOND
    assert scaled.elapsed_ns() == scaled.read().elapsed == 2 * MINUTE
    assert scaled.read().wall == scaled.wall_ns() == to_ns(MACHINE) + 2 * MINUTE


def test_a_spin_is_in_real_time() -> None:
    clock = RealtimeClock("1m", spin=0.001, speed=60)
    assert clock._spin_ns == 60_000_000


def _never_early(seed: int, kind: str) -> None:
    """Run a clock at a random speed through late and early wake-ups, suspends and blocks; check every boundary."""
    random = Random(seed)
    speed = random.choice([random.uniform(0.01, 3), random.uniform(3, 500), 60, 1 / 3])
    scene = Scene(kind, speed, start_time="2024-01-01T00:00:07.123Z")
    scene.time.late_ns = random.choice([0, -2_000_000, 3_000_000])
    length = round(random.randint(5, 30) * MINUTE / speed)
    for _ in range(random.randint(0, 4)):
        event = random.choice([scene.time.suspend, scene.time.sleep, scene.time.step])
        ns = round(random.uniform(0, 4) * MINUTE / speed)
        scene.time.after(random.randrange(length), lambda event=event, ns=ns: event(ns))  # type: ignore[misc]
    scene.run(length)
    assert min(scene.late, default=0) >= 0
    covered = [(tick.ts_ns, 1) for tick in scene.ticks] + [(gap.first_ns, gap.count) for gap in scene.gaps]
    expected = to_ns("2024-01-01T00:01Z")
    for ts_ns, count in sorted(covered):
        assert ts_ns == expected
        expected += count * MINUTE


# Staged timers wake every second of the machine's time, so that each seed takes longer.
SEEDS = {"timerfd": 150, "staged": 40}


def _never_early_on_all_seeds(kind: str) -> None:
    for seed in range(SEEDS[kind]):
        _never_early(seed, kind)


@kinds
def test_each_boundary_is_ticked_or_reported_once_and_never_early_at_any_speed(kind: str) -> None:
    _never_early_on_all_seeds(kind)


def test_a_clock_that_trusts_its_alarm_is_early_on_the_same_seeds(monkeypatch: pytest.MonkeyPatch) -> None:
    class TrustsTheAlarm(Tracker):
        """WRONG: ticks whenever it is woken, without looking whether the time has come."""

        def wake(self, now: Reading) -> Wake:
            return super().wake(now._replace(wall=max(now.wall, self.due)))

    monkeypatch.setattr("weaver.glados.clock.realtime.Tracker", TrustsTheAlarm)
    with pytest.raises(AssertionError):
        _never_early_on_all_seeds("timerfd")
