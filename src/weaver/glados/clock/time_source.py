"""Time source: where real time comes from, as a parameter, so that a test can move it.

Three readings tell a step of the wall clock from a suspend of the machine: wall time jumps in both, running time stands
still in both, and only a suspend adds to the time slept.
"""

from __future__ import annotations

import time
from typing import NamedTuple, Protocol

__all__ = ["Reading", "SystemTime", "TimeSource"]

# Two clocks cannot be read at the same instant. A process that is put aside between the two looks again, a few times.
_APART_NS = 1_000_000
_LOOKS = 4


class Reading(NamedTuple):
    """One look at the clocks, in nanoseconds."""

    wall: int
    """Since 1970-01-01 UTC; may jump."""
    running: int
    """Since an arbitrary start; never jumps, and stands still while the machine is suspended (where that can be told)."""
    slept: int
    """Time spent suspended, since an arbitrary start; always 0 where the system does not tell."""


class TimeSource(Protocol):
    """What a real-time clock reads and, without an event loop, waits by."""

    def wall_ns(self) -> int:
        """Wall time in nanoseconds since 1970-01-01 UTC."""
        ...

    def read(self) -> Reading:
        """All readings at one moment."""
        ...

    def sleep(self, ns: int) -> None:
        """Block this thread for about `ns` nanoseconds of running time."""
        ...


class SystemTime:
    """The clocks of this machine."""

    def wall_ns(self) -> int:
        """Wall time in nanoseconds since 1970-01-01 UTC."""
        return time.time_ns()

    def read(self) -> Reading:
        """All readings at one moment; the time slept is known on Linux, from CLOCK_BOOTTIME."""
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
    """Time since boot with suspends counted, where the system has such a clock; else the running time."""
    if hasattr(time, "CLOCK_BOOTTIME"):
        return time.clock_gettime_ns(time.CLOCK_BOOTTIME)
    return time.monotonic_ns()
