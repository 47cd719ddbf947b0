"""RealtimeClock on simulated time, with each of its alarms: the kernel's timer (injected) and staged loop timers."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from weaver.core.errors import CalendarError, ClockRunning, ConfigError
from weaver.core.instants import NS_PER_SECOND, to_ns
from weaver.core.ports import TickSource
from weaver.core.timeframe import Timeframe
from weaver.glados.clock import BacktestClock, BaseClock, ClockGap, ClockTick, GapReason, RealtimeClock
from weaver.glados.clock.alarm import Alarm, default_alarm
from weaver.glados.clock.delivery import QUEUE_LIMIT
from weaver.testing import SimulatedTime

SECOND, MINUTE, HOUR = NS_PER_SECOND, 60 * NS_PER_SECOND, 3600 * NS_PER_SECOND
NOON = datetime(2024, 1, 2, 12, tzinfo=UTC)


class Scene:
    """A clock on a simulated machine that says 12:00:30, and what it told its subscribers."""

    def __init__(self, kind: str, timeframe: str = "1m", **settings: Any) -> None:
        self.time = SimulatedTime(NOON + timedelta(seconds=30))
        self.clock = RealtimeClock(timeframe, source=self.time, alarm=getattr(self.time, kind), **settings)
        self.told: list[ClockTick | ClockGap] = []
        self.at: list[int] = []
        self.clock.on_tick(self._tick)
        self.clock.on_gap(self.told.append)

    def _tick(self, tick: ClockTick) -> None:
        self.told.append(tick)
        self.at.append(self.time.wall_ns())

    @property
    def ticks(self) -> list[ClockTick]:
        return [each for each in self.told if isinstance(each, ClockTick)]

    @property
    def gaps(self) -> list[ClockGap]:
        return [each for each in self.told if isinstance(each, ClockGap)]

    @property
    def late(self) -> list[int]:
        return [at - tick.ts_ns for at, tick in zip(self.at, self.ticks, strict=True)]

    async def live(self, ns: int) -> None:
        """Let `ns` of running time pass."""
        done = asyncio.get_running_loop().create_future()
        self.time.after(ns, lambda: done.set_result(None))
        await done

    def run(self, ns: int) -> None:
        """Start, let `ns` pass, stop."""

        async def main() -> None:
            await self.clock.start("run")
            await self.live(ns)
            await self.clock.stop()

        self.time.run(main())

    def minutes(self) -> list[str]:
        return [f"{tick.ts:%H:%M}" for tick in self.ticks]


@pytest.fixture(params=["timerfd", "staged"])
def kind(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture
def scene(kind: str) -> Scene:
    return Scene(kind)


class TestRealtimeClockInit:
    def test_initializes_with_timeframe(self) -> None:
        clock = RealtimeClock("5m")
        assert clock.timeframe == Timeframe("5m")
        assert not clock.is_running
        assert clock.next_boundary is clock.holding_until is None
        assert clock.drift.ticks == 0
        assert abs(clock.current_time() - datetime.now(UTC)) < timedelta(hours=1)

    @pytest.mark.parametrize("spin", [-0.1, 0.006, float("nan")])
    def test_a_spin_that_would_burn_a_processor_is_refused(self, spin: float) -> None:
        with pytest.raises(ConfigError, match="spin="):
            RealtimeClock("1m", spin=spin)

    @pytest.mark.parametrize("clock", [RealtimeClock("1m"), BacktestClock("2024-01-01", "2024-01-02", "1h")])
    @pytest.mark.parametrize("method", ["on_tick", "on_gap"])
    def test_what_cannot_be_called_is_refused_where_it_is_subscribed(self, clock: BaseClock, method: str) -> None:
        with pytest.raises(ConfigError, match=rf"{method}\(None\): give a function"):
            getattr(clock, method)(None)

    def test_what_is_no_calendar_is_refused(self) -> None:
        with pytest.raises(ConfigError, match="calendar=5: give the name of an exchange"):
            RealtimeClock("1m", calendar=5)  # type: ignore[arg-type]

    def test_it_is_a_tick_source(self) -> None:
        assert isinstance(RealtimeClock("1m"), TickSource)


class TestRealtimeClockLifecycle:
    def test_start_schedules_first_tick(self, scene: Scene) -> None:
        async def main() -> None:
            await scene.clock.start("run")
            assert scene.clock.is_running
            assert scene.clock.next_boundary == NOON + timedelta(minutes=1)
            assert scene.clock.tick_count == 0
            await scene.live(31 * SECOND)
            assert scene.clock.tick_count == 1
            await scene.clock.stop()

        scene.time.run(main())

    def test_stop_cancels_pending_tick(self, scene: Scene) -> None:
        async def main() -> None:
            await scene.clock.start("run")
            await scene.live(20 * SECOND)
            await scene.clock.stop()
            await scene.clock.stop()
            assert not scene.clock.is_running
            await scene.live(300 * SECOND)

        scene.time.run(main())
        assert scene.told == []

    def test_cannot_start_twice(self, scene: Scene) -> None:
        async def main() -> None:
            await scene.clock.start("first")
            with pytest.raises(ClockRunning, match="'first'"):
                await scene.clock.start("second")
            with pytest.raises(ClockRunning, match="'first'"):
                next(scene.clock.boundaries())
            await scene.clock.stop()

        scene.time.run(main())

    def test_restart_begins_afresh(self, scene: Scene) -> None:
        async def main() -> None:
            for _ in range(2):
                await scene.clock.start("run")
                await scene.live(2 * MINUTE)
                await scene.clock.stop()
                assert scene.clock.tick_count == scene.clock.drift.ticks == 2

        scene.time.run(main())
        assert [tick.bar_index for tick in scene.ticks] == [0, 1, 0, 1]

    def test_wait_returns_when_somebody_stops_the_clock(self, scene: Scene) -> None:
        async def main() -> None:
            await scene.clock.start("run")
            waiting = asyncio.ensure_future(scene.clock.wait())
            await scene.live(MINUTE)
            assert not waiting.done()
            await scene.clock.stop()
            await waiting

        scene.time.run(main())

    def test_a_callback_may_stop_its_own_clock(self, scene: Scene) -> None:
        async def callback(tick: ClockTick) -> None:
            if tick.bar_index == 1:
                await scene.clock.stop()

        async def main() -> None:
            scene.clock.on_tick(callback)
            await scene.clock.start("run")
            await scene.clock.wait()
            await scene.live(5 * MINUTE)

        scene.time.run(main())
        assert scene.minutes() == ["12:01", "12:02"]

    def test_an_error_in_a_callback_stops_a_clock_that_stops_on_errors(self, scene: Scene) -> None:
        async def broken(tick: ClockTick) -> None:
            raise ZeroDivisionError(tick.bar_index)

        async def main() -> None:
            scene.clock.on_tick(broken)
            await scene.clock.start("run", stop_on_error=True)
            with pytest.raises(ZeroDivisionError):
                await scene.clock.wait()
            assert not scene.clock.is_running
            await scene.live(5 * MINUTE)

        scene.time.run(main())
        assert isinstance(scene.clock.error, ZeroDivisionError)
        assert len(scene.ticks) == 1

    def test_two_callbacks_that_fail_leave_the_first_error(self, scene: Scene) -> None:
        def broken(text: str) -> None:
            raise ValueError(text)

        async def main() -> None:
            scene.clock.on_tick(lambda _: broken("first"))
            scene.clock.on_tick(lambda _: broken("second"))
            await scene.clock.start("run", stop_on_error=True)
            with pytest.raises(ValueError, match="first"):
                await scene.clock.wait()

        scene.time.run(main())

    def test_a_callback_that_raises_among_late_ticks_gets_no_more_of_them_and_costs_no_other_one(
        self, scene: Scene
    ) -> None:
        bad: list[int] = []
        slow: list[int] = []

        async def broken(tick: ClockTick) -> None:
            await scene.live(210 * SECOND if not bad else SECOND)
            bad.append(tick.bar_index)
            if len(bad) == 2:
                raise ZeroDivisionError

        async def patient(tick: ClockTick) -> None:
            await scene.live(210 * SECOND if not slow else SECOND)
            slow.append(tick.bar_index)

        async def main() -> None:
            scene.clock.on_tick(broken)
            scene.clock.on_tick(patient)
            await scene.clock.start("run")
            await scene.live(6 * MINUTE)
            (failure,) = scene.clock.failures
            assert failure.ts == NOON + timedelta(minutes=2)
            await scene.clock.stop()

        scene.time.run(main())
        assert bad == [0, 1]
        assert slow == [tick.bar_index for tick in scene.ticks] == [0, 1, 2, 3, 4, 5]
        assert scene.gaps == []

    def test_a_callback_that_awaits_something_cancelled_is_an_error_too(self, scene: Scene) -> None:
        async def callback(_: ClockTick) -> None:
            future = asyncio.get_running_loop().create_future()
            future.cancel()
            await future

        async def main() -> None:
            scene.clock.on_tick(callback)
            await scene.clock.start("run", stop_on_error=True)
            with pytest.raises(asyncio.CancelledError):
                await scene.clock.wait()

        scene.time.run(main())

    def test_the_end_of_the_event_loop_ends_what_is_being_delivered(self, scene: Scene) -> None:
        async def forever(_: ClockTick) -> None:
            await asyncio.get_running_loop().create_future()

        async def main() -> None:
            scene.clock.on_tick(forever)
            await scene.clock.start("run")
            await scene.live(MINUTE)

        scene.time.run(main())
        assert scene.clock.error is None

    def test_a_calendar_that_ends_stops_the_clock_with_its_error(self, kind: str) -> None:
        scene = Scene(kind)

        async def main() -> None:
            await scene.clock.start("run")

            def no_more(_: int) -> int:
                raise CalendarError("no further session")

            scene.clock._grid.next_after = no_more  # type: ignore[method-assign]
            with pytest.raises(CalendarError, match="no further session"):
                await scene.clock.wait()

        scene.time.run(main())

    def test_a_late_wake_up_after_stop_is_nothing(self, scene: Scene) -> None:
        scene.clock._wake()
        assert scene.told == []


class TestRealtimeClockTicks:
    def test_first_tick_at_next_bar_boundary(self, scene: Scene) -> None:
        scene.run(31 * SECOND)
        assert [tick.ts for tick in scene.ticks] == [NOON + timedelta(minutes=1)]
        assert scene.ticks[0] == ClockTick("run", to_ns("2024-01-02T12:01Z"), "1m", 0, False)

    def test_a_start_on_a_boundary_waits_for_the_next(self, kind: str) -> None:
        scene = Scene(kind, "30s")
        scene.run(45 * SECOND)
        assert [tick.ts for tick in scene.ticks] == [NOON + timedelta(minutes=1)]

    def test_subsequent_ticks_at_intervals(self, scene: Scene) -> None:
        scene.run(10 * MINUTE)
        assert [tick.ts for tick in scene.ticks] == [NOON + timedelta(minutes=n) for n in range(1, 11)]
        assert [tick.bar_index for tick in scene.ticks] == list(range(10))

    def test_tick_ts_is_bar_start_not_emission_time(self, scene: Scene) -> None:
        scene.time.late_ns = 7_000_000
        scene.run(3 * MINUTE)
        assert all(tick.ts_ns % MINUTE == 0 for tick in scene.ticks)
        assert all(0 <= late < 10_000_000 for late in scene.late)

    def test_no_tick_is_ever_early(self, scene: Scene) -> None:
        scene.run(60 * MINUTE)
        assert min(scene.late) >= 0
        assert max(scene.late) < 1_000_000

    @pytest.mark.parametrize("early", [1, 1_000_000, 2 * SECOND])
    def test_a_bar_is_ticked_exactly_once_when_the_clock_wakes_early(self, early: int) -> None:
        scene = Scene("timerfd")
        scene.time.late_ns = -early

        async def main() -> None:
            await scene.clock.start("run")
            scene.clock._wake()
            scene.clock._wake()
            await scene.live(3 * MINUTE)
            scene.clock._wake()
            await scene.clock.stop()

        scene.time.run(main())
        assert scene.minutes() == ["12:01", "12:02", "12:03"]
        assert min(scene.late) >= 0

    def test_spinning_waits_out_the_rest_of_an_early_wake_up(self) -> None:
        scene = Scene("timerfd", spin=0.0003)
        woken: list[int] = []
        read = scene.time.read

        def reading() -> Any:
            scene.time._pass_until(scene.time._running + 10_000)  # a look at the clock takes 10 us
            woken.append(scene.time.wall_ns() % MINUTE)
            return read()

        scene.time.read = reading  # type: ignore[method-assign]
        scene.run(2 * MINUTE)
        assert len(scene.ticks) == 2
        assert all(0 <= late <= 20_000 for late in scene.late)
        assert sum(rest >= MINUTE - 300_000 for rest in woken) >= 40

    def test_a_spin_is_bounded_when_time_stands_still(self) -> None:
        scene = Scene("staged", spin=0.0003)
        running = 0
        frozen = to_ns("2024-01-02T12:00:59.9999Z")

        def reading() -> Any:
            nonlocal running
            running += 100_000
            return scene.time.__class__(frozen).read()._replace(running=running)

        scene.time.read = reading  # type: ignore[method-assign]
        assert scene.clock._spun(to_ns("2024-01-02T12:01Z")).wall == frozen
        assert running <= 900_000

    def test_compensates_for_callback_duration(self, scene: Scene) -> None:
        scene.clock.on_tick(lambda _: scene.time.sleep(20 * SECOND))
        scene.run(5 * MINUTE)
        assert scene.minutes() == ["12:01", "12:02", "12:03", "12:04", "12:05"]
        assert max(scene.late) < 1_000_000

    def test_recovers_from_missed_tick(self, scene: Scene) -> None:
        scene.clock.on_tick(lambda tick: scene.time.sleep(150 * SECOND if tick.bar_index == 0 else 0))
        scene.run(6 * MINUTE)
        assert scene.minutes() == ["12:01", "12:03", "12:04", "12:05", "12:06"]
        assert [tick.bar_index for tick in scene.ticks] == [0, 2, 3, 4, 5]
        assert scene.gaps == [ClockGap(to_ns("2024-01-02T12:02Z"), to_ns("2024-01-02T12:02Z"), 1, GapReason.BLOCKED)]

    def test_a_boundary_that_passed_within_its_own_bar_is_ticked_late(self, scene: Scene) -> None:
        scene.clock.on_tick(lambda tick: scene.time.sleep(90 * SECOND if tick.bar_index == 0 else 0))
        scene.run(4 * MINUTE)
        assert scene.minutes() == ["12:01", "12:02", "12:03", "12:04"]
        assert scene.gaps == []
        assert scene.clock.drift.max_ns >= 30 * SECOND

    def test_a_slow_coroutine_delays_nobody_else_and_loses_nothing(self, scene: Scene) -> None:
        slow: list[tuple[int, int]] = []

        async def callback(tick: ClockTick) -> None:
            await scene.live(90 * SECOND)
            slow.append((tick.bar_index, scene.time.wall_ns()))

        async def main() -> None:
            end = scene.clock.on_tick(callback)
            await scene.clock.start("run")
            await scene.live(10 * MINUTE)
            assert max(scene.late) < 1_000_000
            assert len(scene.ticks) == 10
            await scene.live(6 * MINUTE)
            assert [index for index, _ in slow[:10]] == list(range(10))
            end()
            await scene.clock.stop()

        scene.time.run(main())
        assert scene.gaps == []

    def test_what_a_slow_coroutine_never_got_is_reported_when_the_clock_stops(self, scene: Scene) -> None:
        async def callback(_: ClockTick) -> None:
            await scene.live(150 * SECOND)

        scene.clock.on_tick(callback)
        scene.run(6 * MINUTE)
        first, last = to_ns("2024-01-02T12:04Z"), to_ns("2024-01-02T12:06Z")
        assert scene.clock.gaps == (ClockGap(first, last, 3, GapReason.STOPPED),)
        assert scene.clock.gaps[0].first == NOON + timedelta(minutes=4)
        assert scene.clock.gaps[0].last == NOON + timedelta(minutes=6)

    @pytest.mark.parametrize("beyond", [1, QUEUE_LIMIT + 5])
    def test_a_callback_that_falls_too_far_behind_loses_ticks_and_hears_of_it(self, beyond: int) -> None:
        scene = Scene("timerfd", "1s")
        got: list[int] = []

        async def main() -> None:
            release = asyncio.get_running_loop().create_future()

            async def stuck(tick: ClockTick) -> None:
                await release
                got.append(tick.bar_index)

            scene.clock.on_tick(stuck)
            await scene.clock.start("run")
            await scene.live((1 + QUEUE_LIMIT + beyond) * SECOND + SECOND // 2)
            release.set_result(None)
            await scene.live(2 * SECOND)
            await scene.clock.stop()

        scene.time.run(main())
        assert len(scene.ticks) == 1 + QUEUE_LIMIT + beyond + 2
        assert got == [*range(1 + QUEUE_LIMIT), 1 + QUEUE_LIMIT + beyond, 2 + QUEUE_LIMIT + beyond]
        assert sum(gap.count for gap in scene.gaps) == beyond
        assert {gap.reason for gap in scene.gaps} == {GapReason.SLOW_CALLBACK}
        assert [gap.count for gap in scene.gaps] == ([beyond] if beyond == 1 else [QUEUE_LIMIT, 5])

    def test_a_gap_callback_that_is_stuck_loses_nothing_that_is_not_in_gaps(self) -> None:
        scene = Scene("timerfd", "1s")

        async def stuck(_: ClockGap) -> None:
            await asyncio.get_running_loop().create_future()

        async def main() -> None:
            end = scene.clock.on_gap(stuck)
            await scene.clock.start("run")
            for _ in range(QUEUE_LIMIT + 3):
                scene.clock._report(ClockGap(0, 0, 1, GapReason.STEP))
            assert len(scene.clock.gaps) == 256
            end()
            end()

        scene.time.run(main())

    def test_an_unsubscribed_callback_gets_nothing_more_not_even_what_was_queued(self, scene: Scene) -> None:
        got: list[int] = []

        async def main() -> None:
            async def slow(tick: ClockTick) -> None:
                got.append(tick.bar_index)
                await scene.live(3 * MINUTE)

            end = scene.clock.on_tick(slow)
            await scene.clock.start("run")
            await scene.live(150 * SECOND)
            end()
            end()
            await scene.live(10 * MINUTE)
            await scene.clock.stop()

        scene.time.run(main())
        assert got == [0]

    def test_stop_waits_for_a_callback_in_progress_that_has_unsubscribed_itself(self, scene: Scene) -> None:
        saved: list[int] = []

        async def main() -> None:
            async def once(tick: ClockTick) -> None:
                end()
                await scene.live(5 * SECOND)
                saved.append(tick.bar_index)

            end = scene.clock.on_tick(once)
            await scene.clock.start("run")
            await scene.live(31 * SECOND)
            await scene.clock.stop()
            assert saved == [0]

        scene.time.run(main())

    def test_the_error_of_an_unsubscribed_callback_belongs_to_its_own_run_and_not_the_next(self, scene: Scene) -> None:
        async def main() -> None:
            async def once(tick: ClockTick) -> None:
                end()
                await scene.live(5 * SECOND)
                raise ValueError(tick.run_id)

            end = scene.clock.on_tick(once)
            await scene.clock.start("first")
            await scene.live(31 * SECOND)
            await scene.clock.stop()
            await scene.clock.wait()
            assert [str(failure.error) for failure in scene.clock.failures] == ["first"]
            await scene.clock.start("second")
            assert scene.clock.failures == ()
            await scene.live(2 * MINUTE)
            assert scene.clock.is_running
            assert scene.clock.error is None
            await scene.clock.stop()

        scene.time.run(main())

    def test_the_clock_never_says_a_time_before_its_last_tick(self, scene: Scene) -> None:
        async def main() -> None:
            await scene.clock.start("run")
            await scene.live(31 * SECOND)
            scene.time.step(-HOUR)
            assert scene.clock.current_time() == NOON + timedelta(minutes=1)
            await scene.clock.stop()
            assert scene.clock.current_time() < NOON

        scene.time.run(main())

    def test_boundaries_without_an_event_loop_block_until_their_time(self) -> None:
        scene = Scene("staged")
        seen = []
        boundaries = scene.clock.boundaries()
        for boundary in boundaries:
            assert scene.time.wall_ns() >= boundary
            assert scene.clock.is_running
            seen.append(boundary)
            if len(seen) == 2:
                scene.time.sleep(150 * SECOND)
            if len(seen) == 4:
                boundaries.close()  # type: ignore[attr-defined]
        assert [(ts - to_ns(NOON)) // MINUTE for ts in seen] == [1, 2, 4, 5]
        assert [gap.count for gap in scene.clock.gaps] == [1]
        assert not scene.clock.is_running
        assert scene.clock.tick_count == 4

    def test_stopping_ends_boundaries_without_an_event_loop(self) -> None:
        scene = Scene("staged")
        boundaries = scene.clock.boundaries()
        next(boundaries)
        scene.clock._stopping = True
        assert list(boundaries) == []


class TestRealtimeClockDrift:
    def test_drift_is_measured_always(self, scene: Scene) -> None:
        delays: Iterator[int] = iter([1_000_000, 2_000_000, 3_000_000, 4_000_000])

        async def main() -> None:
            await scene.clock.start("run")
            for delay in delays:
                due = scene.clock._tracker.due - scene.time.wall_ns()  # type: ignore[union-attr]
                scene.time.after(due - 1, lambda delay=delay: scene.time.sleep(delay + 1))  # type: ignore[misc]
                await scene.live(due + 10_000_000)
            await scene.clock.stop()

        scene.time.run(main())
        drift = scene.clock.drift
        assert drift.ticks == 4
        assert drift.last_ns == drift.max_ns == drift.p99_ns == pytest.approx(4_000_000, abs=10_000)
        assert drift.p50_ns == pytest.approx(2_000_000, abs=10_000)
        assert drift.gaps == drift.missed == 0

    def test_drift_counts_gaps_and_what_was_missed(self, scene: Scene) -> None:
        scene.time.after(MINUTE, lambda: scene.time.step(HOUR))
        scene.run(3 * MINUTE)
        assert (scene.clock.drift.gaps, scene.clock.drift.missed) == (1, 60)

    def test_drift_is_logged_now_and_then_and_at_the_end(self, scene: Scene, caplog: pytest.LogCaptureFixture) -> None:
        with caplog.at_level(logging.INFO, logger="weaver.clock"):
            scene.run(11 * MINUTE)
        said = [record.getMessage() for record in caplog.records]
        assert [("ended" in line) for line in said] == [False, False, True]
        assert "11 ticks, late by last" in said[-1]
        assert "0 gaps (0 boundaries missed)" in said[-1]

    def test_a_long_wait_is_looked_at_now_and_then(self) -> None:
        scene = Scene("timerfd", "1d")
        armed: list[int] = []
        make = scene.clock._make_alarm

        def spied(source: Any, wake: Any) -> Alarm:
            alarm = make(source, wake)
            arm = alarm.arm
            alarm.arm = lambda ts: (armed.append(ts - scene.time.wall_ns()), arm(ts))[1]  # type: ignore[method-assign,func-returns-value]
            return alarm

        scene.clock._make_alarm = spied
        scene.run(13 * HOUR)
        assert len(scene.ticks) == 1
        assert max(armed) == 600 * SECOND

    def test_time_that_is_not_the_systems_gets_staged_timers(self) -> None:
        time = SimulatedTime()

        async def main() -> str:
            alarm = default_alarm(time, lambda: None)
            alarm.close()
            return type(alarm).__name__

        assert time.run(main()) == "StagedAlarm"
