"""RealtimeClock: ticks at the boundaries of wall time, never early, each exactly once or reported as missed.

It wakes by an absolute kernel timer where there is one and by staged loop timers elsewhere, and notices when the wall clock
is set or the machine was suspended. Lateness is always measured. It does not compensate for a blocked event loop; it
reports the boundaries missed by that. Its time can pass faster or slower than the machine's, by the same rules.
"""

from __future__ import annotations

from collections.abc import Iterator
from datetime import date, datetime

from weaver.core.calendar import SessionCalendar
from weaver.core.errors import ClockRunning, ConfigError, WeaverError
from weaver.core.instants import NS_PER_SECOND, format_ns, from_ns, to_ns
from weaver.core.text import brief
from weaver.core.timeframe import Timeframe
from weaver.glados.clock.alarm import Alarm, AlarmFactory, default_alarm
from weaver.glados.clock.base import logger
from weaver.glados.clock.delivery import DeliveringClock
from weaver.glados.clock.drift import Drift, DriftMeter
from weaver.glados.clock.scaled_time import ScaledTime, check_speed
from weaver.glados.clock.time_source import Reading, SystemTime, TimeSource
from weaver.glados.clock.tracker import Tracker

__all__ = ["RealtimeClock", "check_spin"]

# Slewing moves wall time against running time by 0.05 % at most. Reading the time at least this often keeps that below a
# step, however long the bars are.
_LOOK_NS = 600 * NS_PER_SECOND
_LOG_EVERY_NS = 300 * NS_PER_SECOND
# Without an event loop nothing wakes the sleeper when the clock is set, so it reads the time every second.
_NAP_NS = NS_PER_SECOND
_LONGEST_SPIN = 0.005


def check_spin(spin: float) -> None:
    """Raise `ConfigError` unless `spin` (seconds) is a length of time that a clock may spend in a busy loop."""
    if isinstance(spin, bool) or not isinstance(spin, int | float) or not 0.0 <= spin <= _LONGEST_SPIN:
        raise ConfigError(f"spin={brief(spin)}: must be between 0 and {_LONGEST_SPIN} seconds; 0.0003 is a good value")


class RealtimeClock(DeliveringClock):
    """Ticks every boundary of wall time from the next one after `start()` until `stop()`.

    `spin` (seconds, at most 0.005) wakes that much early and waits for the rest in a busy loop. That removes most of the
    remaining lateness (the kernel's wake-up, about 0.2 ms) for that much processor time per tick; 0.0003 is a good value.
    With `speed` (0.001 to 10,000,000) the clock's time is `start_time` plus that many times the elapsed time since
    `start()`, and its alarm is scaled alike; `start_time` is the machine's wall time by default. Setting the machine's clock
    does not change it. Lateness is in the clock's time. Timeouts remain in real time, as they belong to the `Clock` port.
    `source` and `alarm` replace the machine's time and timers in tests.
    """

    def __init__(
        self,
        timeframe: str | Timeframe,
        *,
        calendar: str | SessionCalendar | None = None,
        spin: float = 0.0,
        speed: float = 1.0,
        start_time: datetime | date | str | int | None = None,
        source: TimeSource | None = None,
        alarm: AlarmFactory | None = None,
    ) -> None:
        super().__init__(timeframe, calendar)
        check_spin(spin)
        check_speed(speed)
        self._speed = float(speed)
        self._spin_ns = self._clock_ns(round(spin * 1e9))
        self._scaled: ScaledTime | None = None
        self._source = source or SystemTime()
        self._make_alarm = alarm or default_alarm
        if speed != 1 or start_time is not None:
            start_ns = None if start_time is None else to_ns(start_time)
            self._scaled = ScaledTime(self._source, self._speed, start_ns)
            self._source = self._scaled
            self._make_alarm = self._scaled.alarms(self._make_alarm)
        self._alarm: Alarm | None = None
        self._tracker: Tracker | None = None
        self._meter = DriftMeter()
        self._logged_ns = 0
        self._held = False

    @property
    def speed(self) -> float:
        """How many times faster than the machine's time the time of this clock passes; 1.0 is real time."""
        return self._speed

    @property
    def drift(self) -> Drift:
        """The lateness of the ticks and the number of gaps since the last start."""
        return self._meter.snapshot()

    @property
    def holding_until(self) -> datetime | None:
        """The next boundary, while wall time is before the last ticked one after a step back; else None."""
        held = self._tracker.holding_until if self._tracker is not None else None
        return None if held is None else from_ns(held)

    @property
    def next_boundary(self) -> datetime | None:
        """The next boundary, an aware UTC datetime; None when the clock is not running."""
        return from_ns(self._tracker.due) if self._tracker is not None and self._running else None

    def now_ns(self) -> int:
        """Return the clock's time in nanoseconds since 1970-01-01 UTC, but never before a boundary that was already ticked.

        It is wall time, unless the clock was given a speed or a start time.
        """
        settled = self._tracker.settled if self._tracker is not None and self._running else None
        wall = self._source.wall_ns()
        return wall if settled is None else max(wall, settled)

    def boundaries(self) -> Iterator[int]:
        """Yield the boundaries as ints, each at its time: blocks the calling thread, without an event loop.

        It is endless; close it to end. The guarantees are those of ticking: never early, never twice; missed boundaries are
        in `gaps` and the log. The clock is running meanwhile.
        """
        if self._running:
            raise ClockRunning(f"this clock is already running (run {brief(self._run_id)}); await stop() first")
        self._enter("")
        try:
            tracker = self._track()
            while not self._stopping:
                reading = self._source.read()
                if reading.wall < tracker.due:
                    self._source.sleep(min(tracker.due - reading.wall, self._clock_ns(_NAP_NS)))
                    reading = self._source.read()
                boundary = self._judge(tracker, reading)
                if boundary is not None:
                    self._tick_count += 1
                    yield boundary[0]
        finally:
            self._finish()

    def _latest_ns(self) -> int:
        return self._source.wall_ns() if self._scaled is None else self._scaled.start_ns()

    def _clock_ns(self, real_ns: int) -> int:
        """Return how far this clock's time moves in `real_ns` of the machine's time."""
        return round(real_ns * self._speed)

    def _begin(self) -> None:
        tracker = self._track()
        if tracker.missed is not None:
            self._meter.record_gap(tracker.missed.count)
            self._report(tracker.missed)
        self._alarm = self._make_alarm(self._source, self._wake)
        self._arm(tracker)

    def _track(self) -> Tracker:
        if self._scaled is not None:
            self._scaled.begin()
        reading = self._source.read()
        self._meter = DriftMeter()
        self._held = False
        self._logged_ns = reading.running
        # A step is a second of real time at any speed: readings of the machine's clocks may be a millisecond apart.
        step_ns = self._clock_ns(NS_PER_SECOND)
        self._tracker = Tracker(self._grid, reading, self._after, step_ns=step_ns)
        return self._tracker

    def _wake(self) -> None:
        if self._stopping or not self._running or self._tracker is None:
            return
        tracker = self._tracker
        try:
            boundary = self._judge(tracker, self._spun(tracker.due))
        except WeaverError as error:  # a session calendar that knows no further session
            self._fail(error)
            return
        # Armed before the callbacks are called, so that none of them delays the next boundary.
        self._arm(tracker)
        if boundary is not None:
            self._deliver(*boundary, is_backtest=False)

    def _arm(self, tracker: Tracker) -> None:
        if self._alarm is not None:
            self._alarm.arm(min(tracker.due - self._spin_ns, self._source.wall_ns() + self._clock_ns(_LOOK_NS)))

    def _spun(self, due: int) -> Reading:
        """Return the current reading; within a spin's length before `due`, wait for it busily, at most twice the spin."""
        reading = self._source.read()
        if 0 < due - reading.wall <= self._spin_ns:
            give_up = reading.running + 2 * self._spin_ns
            while reading.wall < due and reading.running < give_up:
                reading = self._source.read()
        return reading

    def _judge(self, tracker: Tracker, reading: Reading) -> tuple[int, int] | None:
        """Let the tracker judge a wake-up; measure and report; return the boundary to tick, with its index, or None."""
        wake = tracker.wake(reading)
        if wake.gap is not None:
            self._meter.record_gap(wake.gap.count)
            self._report(wake.gap)
        self._say_when_holding(tracker, reading)
        if wake.boundary is None:
            return None
        self._meter.record(wake.late_ns)
        if reading.running - self._logged_ns >= self._clock_ns(_LOG_EVERY_NS):
            self._logged_ns = reading.running
            logger.info("clock of run %r: %s", self._run_id, self.drift)
        return wake.boundary, wake.bar_index

    def _say_when_holding(self, tracker: Tracker, reading: Reading) -> None:
        until = tracker.holding_until
        if until is not None and not self._held:
            logger.warning(
                "clock of run %r: the wall clock was set back to %s, before the last tick; holding until %s",
                self._run_id,
                format_ns(reading.wall),
                format_ns(until),
            )
        self._held = until is not None

    def _silence(self) -> None:
        if self._alarm is not None:
            self._alarm.close()
            self._alarm = None

    def _finish(self) -> None:
        self._silence()
        if self._running and self._meter.snapshot().ticks:
            logger.info("clock of run %r ended: %s", self._run_id, self.drift)
        super()._finish()
