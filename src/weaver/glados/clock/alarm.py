"""Alarm: wakes a clock at an instant of wall time or of elapsed time.

An alarm of wall time also wakes when the wall clock is set. An alarm may wake too often, or a little early or late: the
clock that it wakes reads the time itself. There are two implementations: an absolute timer of the Linux kernel (`timerfd`)
and, everywhere else, staged timers of the event loop.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Protocol

from weaver.core.instants import NS_PER_SECOND
from weaver.glados.clock.time_source import SystemTime, TimeKind, TimeSource

__all__ = ["Alarm", "AlarmFactory", "StagedAlarm", "default_alarm"]

# A stage of at most a second limits both the lateness of an event loop's timers (epoll's slack is 0.1 % of the wait: 58 ms
# in a minute, 1 ms in a second) and how long a step of the wall clock or a suspend goes unnoticed.
_STAGE_NS = NS_PER_SECOND
# Each stage is late by 0.1 % of itself, so the stage before the last ends before the due time, and the last one is short.
_LAST_STAGE_NS = 5_000_000
# Slewing moves the wall clock by up to 0.05 % against running time; more than this in a second was a step.
_STEP_NS = 50_000_000


class Alarm(Protocol):
    """Calls its clock's wake-up function on the event loop."""

    def arm(self, ts_ns: int) -> None:
        """Wake at `ts_ns` of the alarm's time (soon when it has passed), instead of the instant that was armed before."""
        ...

    def close(self) -> None:
        """Never wake again; closing twice does nothing."""
        ...


class AlarmFactory(Protocol):
    """Makes an alarm on the running event loop."""

    def __call__(self, source: TimeSource, wake: Callable[[], None], kind: TimeKind = TimeKind.WALL, /) -> Alarm:
        """Return an alarm that calls `wake` by the time `kind` of `source`."""
        ...


def default_alarm(source: TimeSource, wake: Callable[[], None], kind: TimeKind = TimeKind.WALL) -> Alarm:
    """Return a timerfd alarm where the kernel has one and the time is the system's own, else staged timers."""
    from weaver.glados.clock.timerfd import TimerfdAlarm

    if isinstance(source, SystemTime):
        try:
            return TimerfdAlarm(source, wake, kind)
        except (OSError, NotImplementedError):
            pass  # No such system call or clock, no descriptor left, or a loop that cannot watch one: use staged timers.
    return StagedAlarm(source, wake, kind)


class StagedAlarm:
    """Timers of the event loop, in stages of at most a second; reads the time source after each."""

    def __init__(self, source: TimeSource, wake: Callable[[], None], kind: TimeKind = TimeKind.WALL) -> None:
        self._source = source
        self._wake = wake
        self._kind = kind
        self._loop = asyncio.get_running_loop()
        self._timer: asyncio.TimerHandle | None = None
        self._due = 0
        self._offset = 0

    def arm(self, ts_ns: int) -> None:
        """Wake at `ts_ns` of the alarm's time (soon when it has passed), instead of the instant that was armed before."""
        self.close()
        self._due = ts_ns
        reading = self._source.read()
        now = reading.of(self._kind)
        self._offset = now - reading.running
        self._schedule(ts_ns - now)

    def close(self) -> None:
        """Never wake again; closing twice does nothing."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _schedule(self, left_ns: int) -> None:
        stage = min(left_ns, _STAGE_NS)
        if left_ns > _LAST_STAGE_NS:
            stage = min(stage, left_ns - _LAST_STAGE_NS // 2)
        self._timer = self._loop.call_later(max(0, stage) / 1e9, self._stage)

    def _stage(self) -> None:
        self._timer = None
        reading = self._source.read()
        now = reading.of(self._kind)
        if now >= self._due or abs(now - reading.running - self._offset) > _STEP_NS:
            self._wake()
        else:
            self._offset = now - reading.running
            self._schedule(self._due - now)
