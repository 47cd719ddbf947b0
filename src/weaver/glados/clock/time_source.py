"""Time source: the clocks of the machine, as a parameter, so that a test can replace them.

Three readings distinguish a step of the wall clock from a suspended machine. In both, wall time jumps and running time
does not. Only a suspend adds to the time slept.
"""

from __future__ import annotations

import time
from enum import IntEnum
from typing import NamedTuple, Protocol

__all__ = ["Reading", "SystemTime", "TimeKind", "TimeSource"]

# Two clocks cannot be read at the same instant. If the process was interrupted between the two, read again, a few times.
_APART_NS = 1_000_000
_LOOKS = 4


class TimeKind(IntEnum):
    """The two times that code can wait by."""

    WALL = 0
    """Time of day, in nanoseconds since 1970-01-01 UTC; jumps when the clock is set."""
    ELAPSED = 1
    """Nanoseconds since an arbitrary start; never jumps, and passes while the machine is suspended."""


class Reading(NamedTuple):
    """All clocks at one moment, in nanoseconds."""

    wall: int
    """Since 1970-01-01 UTC; may jump."""
    running: int
    """Since an arbitrary start; never jumps, and stops while the machine is suspended (where the system tells)."""
    slept: int
    """Time spent suspended, since an arbitrary start; constant where the system does not tell."""

    @property
    def elapsed(self) -> int:
        """Running and suspended time together."""
        return self.running + self.slept

    def of(self, kind: TimeKind) -> int:
        """Return the wall or the elapsed time."""
        return self.wall if kind is TimeKind.WALL else self.elapsed


class TimeSource(Protocol):
    """The clocks that a real-time clock reads, and how it waits without an event loop."""

    def wall_ns(self) -> int:
        """Return wall time in nanoseconds since 1970-01-01 UTC."""
        ...

    def elapsed_ns(self) -> int:
        """Return nanoseconds since an arbitrary start, time suspended included. Setting the wall clock changes nothing."""
        ...

    def read(self) -> Reading:
        """Return all readings of one moment."""
        ...

    def sleep(self, ns: int) -> None:
        """Block this thread for about `ns` nanoseconds of running time."""
        ...


class SystemTime:
    """The clocks of this machine. Elapsed time is CLOCK_BOOTTIME on Linux and the monotonic clock elsewhere."""

    def wall_ns(self) -> int:
        """Return wall time in nanoseconds since 1970-01-01 UTC."""
        return time.time_ns()

    def elapsed_ns(self) -> int:
        """Return nanoseconds since an arbitrary start, time suspended included where the system tells."""
        return _boot_ns()

    def read(self) -> Reading:
        """Return all readings of one moment; the time slept is known on Linux, from CLOCK_BOOTTIME."""
        for _ in range(_LOOKS):
            running = time.monotonic_ns()
            reading = Reading(time.time_ns(), running, _boot_ns() - running)
            if time.monotonic_ns() - running < _APART_NS:
                break
        return reading

    def sleep(self, ns: int) -> None:
        """Block this thread for about `ns` nanoseconds."""
        time.sleep(ns / 1e9)


def _boot_ns() -> int:
    """Return the time since boot, suspends included, where the system has such a clock; else the running time."""
    if hasattr(time, "CLOCK_BOOTTIME"):
        return time.clock_gettime_ns(time.CLOCK_BOOTTIME)
    return time.monotonic_ns()
