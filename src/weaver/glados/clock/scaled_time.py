"""ScaledTime: a machine's time made faster or slower, and alarms that are scaled with it.

Scaled time follows the elapsed time of the machine, so setting the machine's wall clock does not change it, and time
suspended counts. All values are exact integers: an alarm never wakes before its instant because of rounding. A time source
alone is not enough, because an alarm that waits by the machine's time would wake far too late (30 s at 60 times the speed).
"""

from __future__ import annotations

from collections.abc import Callable

from weaver.core.errors import ConfigError
from weaver.core.text import brief
from weaver.glados.clock.alarm import Alarm, AlarmFactory
from weaver.glados.clock.time_source import Reading, TimeKind, TimeSource

__all__ = ["ScaledTime", "check_speed"]

# At the lower limit a one-minute bar takes 17 hours, at the upper one a week takes 60 ms.
_SLOWEST, _FASTEST = 0.001, 10_000_000


def check_speed(speed: float) -> None:
    """Raise `ConfigError` unless `speed` is a number that time can be multiplied by."""
    if isinstance(speed, bool) or not isinstance(speed, int | float) or not _SLOWEST <= speed <= _FASTEST:
        raise ConfigError(
            f"speed={brief(speed)}: must be a number from {_SLOWEST} to {_FASTEST}; 1 is real time, and at 60 an hour takes "
            "a minute"
        )


class ScaledTime:
    """A `TimeSource` whose wall time is `start_ns` plus `speed` times the elapsed time of `machine` since `begin()`.

    Before that it is `start_ns`; if `start_ns` is None, it is the machine's wall time. All readings and lengths of time are
    scaled.
    """

    def __init__(self, machine: TimeSource, speed: float, start_ns: int | None = None) -> None:
        check_speed(speed)
        self._machine = machine
        self._numerator, self._denominator = speed.as_integer_ratio()
        self._start_ns = start_ns
        self._first_ns = 0
        self._origin_ns: int | None = None

    def begin(self) -> None:
        """Let scaled time pass from its start on, also when it was passing already."""
        self._first_ns = self.start_ns()
        self._origin_ns = self._machine.read().elapsed

    def start_ns(self) -> int:
        """Return the scaled time at which `begin()` would start, in nanoseconds since 1970-01-01 UTC."""
        return self._machine.wall_ns() if self._start_ns is None else self._start_ns

    def wall_ns(self) -> int:
        """Return scaled wall time in nanoseconds since 1970-01-01 UTC."""
        return self._wall(self._machine.elapsed_ns())

    def elapsed_ns(self) -> int:
        """Return scaled nanoseconds since an arbitrary start, time suspended included."""
        return self._scaled(self._machine.elapsed_ns())

    def read(self) -> Reading:
        """Return all readings of one moment, scaled."""
        reading = self._machine.read()
        return Reading(self._wall(reading.elapsed), self._scaled(reading.running), self._scaled(reading.slept))

    def sleep(self, ns: int) -> None:
        """Block this thread for about `ns` nanoseconds of scaled time."""
        self._machine.sleep(self._real(ns))

    def alarms(self, make_alarm: AlarmFactory) -> AlarmFactory:
        """Return a factory of alarms of scaled wall time, each of which waits on one of `make_alarm` by elapsed time."""

        def make(_source: TimeSource, wake: Callable[[], None], _kind: TimeKind = TimeKind.WALL) -> Alarm:
            return _ScaledAlarm(make_alarm(self._machine, wake, TimeKind.ELAPSED), self._machine_time)

        return make

    def _machine_time(self, ts_ns: int) -> int:
        """Return the elapsed time of the machine at which scaled wall time reaches `ts_ns`."""
        assert self._origin_ns is not None, "an alarm is armed by a clock that has begun"
        return self._origin_ns + self._real(ts_ns - self._first_ns)

    def _wall(self, elapsed_ns: int) -> int:
        return (
            self.start_ns() if self._origin_ns is None else self._first_ns + self._scaled(elapsed_ns - self._origin_ns)
        )

    def _scaled(self, ns: int) -> int:
        """Return scaled nanoseconds, rounded down."""
        return ns * self._numerator // self._denominator

    def _real(self, ns: int) -> int:
        """Return nanoseconds of the machine, rounded up, so that `_scaled` of them is not less than `ns`."""
        return -(-ns * self._denominator // self._numerator)


class _ScaledAlarm:
    """An alarm of scaled wall time."""

    def __init__(self, alarm: Alarm, machine_time: Callable[[int], int]) -> None:
        self._alarm = alarm
        self._machine_time = machine_time

    def arm(self, ts_ns: int) -> None:
        """Wake at `ts_ns` of scaled time (soon when it has passed), instead of the instant that was armed before."""
        self._alarm.arm(self._machine_time(ts_ns))

    def close(self) -> None:
        """Never wake again; closing twice does nothing."""
        self._alarm.close()
