"""Alarm: wakes a clock at an instant of wall time, and at once when somebody sets the wall clock.

An alarm may wake too often or a little early or late; the clock that it wakes looks at the time itself. There are two: an
absolute timer of the Linux kernel (`timerfd`), and staged timers of the event loop for everywhere else.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Protocol

from weaver.core.instants import NS_PER_SECOND
from weaver.glados.clock.time_source import SystemTime, TimeSource

__all__ = ["Alarm", "AlarmFactory", "StagedAlarm", "default_alarm"]

# A stage of at most a second bounds both what an event loop's timers lose (epoll's slack grows with 0.1 % of the wait:
# 58 ms in a minute, 1 ms in a second) and how long a step of the wall clock goes unnoticed.
_STAGE_NS = NS_PER_SECOND
# Each stage is late by 0.1 % of itself, so the stage before the last ends short of the aim, and the last is a short one.
_LAST_STAGE_NS = 5_000_000
# Slewing moves the wall clock by up to 0.05 % against running time; more than this in a second was a step.
_STEP_NS = 50_000_000


class Alarm(Protocol):
    """Calls its clock's wake-up function on the event loop."""

    def arm(self, ts_ns: int) -> None:
        """Wake at `ts_ns` of wall time (at once when it has passed), instead of what was armed before."""
        ...

    def close(self) -> None:
        """Never wake again; closing twice does nothing."""
        ...


AlarmFactory = Callable[[TimeSource, Callable[[], None]], Alarm]
"""Makes an alarm on the running event loop from a time source and the function to call."""


def default_alarm(source: TimeSource, wake: Callable[[], None]) -> Alarm:
    """The best alarm there is: a timerfd where the kernel has one and the time is the system's own, else staged timers."""
    from weaver.glados.clock.timerfd import TimerfdAlarm

    if isinstance(source, SystemTime):
        try:
            return TimerfdAlarm(source, wake)
        except (OSError, NotImplementedError):
            pass  # No such system call, no descriptor left, or a loop that cannot watch one: staged timers always work.
    return StagedAlarm(source, wake)


class StagedAlarm:
    """Timers of the event loop, in stages of at most a second, with a look at the time source after each."""

    def __init__(self, source: TimeSource, wake: Callable[[], None]) -> None:
        self._source = source
        self._wake = wake
        self._loop = asyncio.get_running_loop()
        self._timer: asyncio.TimerHandle | None = None
        self._due = 0
        self._offset = 0

    def arm(self, ts_ns: int) -> None:
        """Wake at `ts_ns` of wall time (at once when it has passed), instead of what was armed before."""
        self.close()
        self._due = ts_ns
        reading = self._source.read()
        self._offset = reading.wall - reading.running
        self._schedule(ts_ns - reading.wall)

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
        if reading.wall >= self._due or abs(reading.wall - reading.running - self._offset) > _STEP_NS:
            self._wake()
        else:
            self._offset = reading.wall - reading.running
            self._schedule(self._due - reading.wall)
