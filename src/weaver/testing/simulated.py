"""SimulatedTime: the clocks of a machine in a test, which can be set, suspended, blocked, and wake early or late.

It is a `TimeSource` for the real-time clocks and provides both of their alarms: staged timers on an event loop with
simulated time, and the kernel's timerfd as a pipe that becomes readable at the simulated time. No operation takes real
time. Of the code under test, only the time and the system calls are replaced.
"""

from __future__ import annotations

import errno
import math
import os
from collections.abc import Callable, Coroutine
from datetime import datetime
from typing import Any, TypeVar

from weaver.core.instants import to_ns
from weaver.glados.clock.alarm import Alarm, StagedAlarm
from weaver.glados.clock.deadlines import Deadlines
from weaver.glados.clock.time_source import Reading, TimeKind, TimeSource
from weaver.glados.clock.timerfd import TimerfdAlarm
from weaver.testing.loop import run_until_idle

__all__ = ["SimulatedTime"]

_T = TypeVar("_T")

_EXPIRED, _CANCELLED = b"e", b"c"


class SimulatedTime:
    """Wall time starts at `start`, running time at 0; both pass only while all code on the loop waits.

    `late_ns` is added to every wake-up of the kernel's timer; a negative value wakes too early, once for each instant.
    """

    def __init__(self, start: datetime | str | int = "2024-01-01", *, late_ns: int = 0) -> None:
        self._wall = to_ns(start)
        self._running = 0
        self._slept = 0
        self._script = Deadlines()
        self._timers = _Timers(self)
        self.late_ns = late_ns

    def wall_ns(self) -> int:
        """Return wall time in nanoseconds since 1970-01-01 UTC."""
        return self._wall

    def elapsed_ns(self) -> int:
        """Return running and suspended time together, in nanoseconds since the start of the simulation."""
        return self._running + self._slept

    def read(self) -> Reading:
        """Return all readings of this moment."""
        return Reading(self._wall, self._running, self._slept)

    def sleep(self, ns: int) -> None:
        """Block the caller for `ns`; actions set by `after` run meanwhile, on time."""
        end = self._running + ns
        while (due := self._script.next_ns()) is not None and due <= end:
            self._pass_until(due)
        self._pass_until(end)

    def step(self, ns: int) -> None:
        """Set the wall clock forward by `ns` (back when negative)."""
        self._wall += ns
        self._timers.clock_was_set()

    def slew(self, ns: int) -> None:
        """Adjust the wall clock by `ns` as a time daemon does, without a notification to the timers."""
        self._wall += ns

    def suspend(self, ns: int) -> None:
        """Suspend the machine for `ns`: wall and elapsed time pass, running time does not."""
        self._wall += ns
        self._slept += ns
        self._timers.clock_was_set()

    def after(self, ns: int, action: Callable[[], None]) -> None:
        """Call `action` after `ns` of running time."""
        self._script.add(self._running + ns, action)

    def staged(self, source: TimeSource, wake: Callable[[], None], kind: TimeKind = TimeKind.WALL) -> Alarm:
        """Return an alarm of staged loop timers; pass this method to a clock as `alarm=`. Works inside `run`."""
        return StagedAlarm(source, wake, kind)

    def timerfd(self, source: TimeSource, wake: Callable[[], None], kind: TimeKind = TimeKind.WALL) -> Alarm:
        """Return an alarm over a descriptor that behaves like the kernel's; pass this method to a clock as `alarm=`."""
        return TimerfdAlarm(source, wake, kind, self._timers)

    def run(self, main: Coroutine[Any, Any, _T]) -> _T:
        """Run `main` on a new event loop; time passes whenever all code on it waits."""
        try:
            return run_until_idle(main, self._idle, lambda: self._running / 1e9)
        finally:
            self._timers.close()

    def _idle(self, timeout: float | None) -> bool:
        """Let time pass up to the next timer or scripted action."""
        coming = [self._script.next_ns(), self._timers.next_ns()]
        if timeout is not None:
            coming.append(self._running + math.ceil(timeout * 1e9))
        times = [ts for ts in coming if ts is not None]
        if not times:
            return False
        self._pass_until(min(times))
        self._timers.expire()
        return True

    def _pass_until(self, running_ns: int) -> None:
        passed = max(0, running_ns - self._running)
        self._running += passed
        self._wall += passed
        while (action := self._script.take(self._running)) is not None:
            action()


class _Timers:
    """The kernel's timers, each as the reading end of a pipe.

    Those of wall time behave as CLOCK_REALTIME with TFD_TIMER_CANCEL_ON_SET, those of elapsed time as CLOCK_BOOTTIME.
    """

    def __init__(self, time: SimulatedTime) -> None:
        self._time = time
        self._writers: dict[int, int] = {}
        self._armed: dict[int, tuple[TimeKind, int]] = {}
        self._cancelled: set[int] = set()
        self._fired_early: set[tuple[TimeKind, int]] = set()

    def create(self, kind: TimeKind) -> int:
        reader, writer = os.pipe()
        os.set_blocking(reader, False)
        # The number may be that of a descriptor that has been closed since.
        self._forget(reader)
        self._writers[reader] = writer
        return reader

    def settime(self, fd: int, ts_ns: int, kind: TimeKind) -> None:
        self._armed[fd] = kind, ts_ns
        try:
            while os.read(fd, 64):
                pass
        except BlockingIOError:
            pass
        if fd in self._cancelled:
            # As the kernel does it: the timer is armed, and the caller learns that the clock was set before.
            self._cancelled.discard(fd)
            raise OSError(errno.ECANCELED, os.strerror(errno.ECANCELED))

    def read(self, fd: int) -> None:
        message = os.read(fd, 1)
        self._cancelled.discard(fd)
        if message == _CANCELLED:
            raise OSError(errno.ECANCELED, os.strerror(errno.ECANCELED))

    def next_ns(self) -> int | None:
        """Return the running time at which the next timer fires; None where none is armed."""
        now = self._time.read()
        waits = (self._fires(kind, ts) - now.of(kind) for kind, ts in self._armed.values())
        return min((now.running + max(0, wait) for wait in waits), default=None)

    def expire(self) -> None:
        now = self._time.read()
        for fd, (kind, ts) in tuple(self._armed.items()):
            if self._fires(kind, ts) <= now.of(kind):
                del self._armed[fd]
                if now.of(kind) < ts:
                    self._fired_early.add((kind, ts))
                self._write(fd, _EXPIRED)

    def clock_was_set(self) -> None:
        for fd, (kind, _) in tuple(self._armed.items()):
            if kind is TimeKind.WALL:
                self._cancelled.add(fd)
                self._write(fd, _CANCELLED)

    def close(self) -> None:
        for fd in tuple(self._writers):
            self._forget(fd)

    def _fires(self, kind: TimeKind, ts_ns: int) -> int:
        late = self._time.late_ns
        return ts_ns if late < 0 and (kind, ts_ns) in self._fired_early else ts_ns + late

    def _write(self, fd: int, message: bytes) -> None:
        try:
            os.write(self._writers[fd], message)
        except BrokenPipeError:
            self._forget(fd)  # the alarm has closed its end

    def _forget(self, fd: int) -> None:
        self._armed.pop(fd, None)
        self._cancelled.discard(fd)
        writer = self._writers.pop(fd, None)
        if writer is not None:
            os.close(writer)
