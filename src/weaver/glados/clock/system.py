"""SystemClock: the `Clock` port on real time, beside a stopwatch and the maker of run ids.

`sleep_until` and `call_at` follow the wall clock, also when it is set, and never fire early. Each event loop has its own
deadlines; an alarm exists only while something waits.
"""

from __future__ import annotations

import asyncio
import secrets
import threading
import time
from collections.abc import Callable
from weakref import WeakKeyDictionary

from weaver.core.instants import NS_PER_SECOND, from_ns
from weaver.core.ports import Unschedule
from weaver.glados.clock.alarm import Alarm, AlarmFactory, default_alarm
from weaver.glados.clock.deadlines import Deadlines
from weaver.glados.clock.time_source import SystemTime, TimeSource

__all__ = ["RunIds", "SystemClock", "new_run_id", "stopwatch_ns"]

_ID_ALPHABET = "0123456789abcdefghjkmnpqrstvwxyz"
_ID_RANDOM = 8


class _LoopDeadlines:
    """The deadlines of one event loop, with an alarm while there are any."""

    def __init__(self, source: TimeSource, make_alarm: AlarmFactory) -> None:
        self._source = source
        self._make_alarm = make_alarm
        self._deadlines = Deadlines()
        self._alarm: Alarm | None = None
        self._armed_ns: int | None = None

    def add(self, ts_ns: int, callback: Callable[[], None]) -> Unschedule:
        cancel = self._deadlines.add(ts_ns, callback)
        self._arm()

        def forget() -> None:
            cancel()
            self._arm()

        return forget

    def _wake(self) -> None:
        self._armed_ns = None
        now = self._source.wall_ns()
        loop = asyncio.get_running_loop()
        while (callback := self._deadlines.take(now)) is not None:
            # Through the loop, so that one callback that raises is reported there and hurts no other.
            loop.call_soon(callback)
        self._arm()

    def _arm(self) -> None:
        next_ns = self._deadlines.next_ns()
        if next_ns is None:
            if self._alarm is not None:
                self._alarm.close()
                self._alarm = None
            self._armed_ns = None
        elif next_ns != self._armed_ns:
            if self._alarm is None:
                self._alarm = self._make_alarm(self._source, self._wake)
            self._armed_ns = next_ns
            self._alarm.arm(next_ns)


class SystemClock:
    """Real time. `source` and `alarm` are for tests."""

    def __init__(self, source: TimeSource | None = None, alarm: AlarmFactory | None = None) -> None:
        self._source = source or SystemTime()
        self._make_alarm = alarm or default_alarm
        self._loops: WeakKeyDictionary[asyncio.AbstractEventLoop, _LoopDeadlines] = WeakKeyDictionary()

    def now_ns(self) -> int:
        """Wall time in nanoseconds since 1970-01-01 UTC."""
        return self._source.wall_ns()

    async def sleep_until(self, ts_ns: int) -> None:
        """Return at `ts_ns` or as soon after it as can be, never before; at once when it has passed."""
        woken = asyncio.get_running_loop().create_future()
        cancel = self.call_at(ts_ns, lambda: None if woken.done() else woken.set_result(None))
        try:
            await woken
        finally:
            cancel()

    def call_at(self, ts_ns: int, callback: Callable[[], None]) -> Unschedule:
        """Call `callback` once on the running event loop, at `ts_ns` or as soon after it as can be, never before."""
        loop = asyncio.get_running_loop()
        deadlines = self._loops.get(loop)
        if deadlines is None:
            deadlines = self._loops[loop] = _LoopDeadlines(self._source, self._make_alarm)
        return deadlines.add(ts_ns, callback)


def stopwatch_ns() -> int:
    """Nanoseconds since an arbitrary start, for measuring how long something takes; never jumps."""
    return time.perf_counter_ns()


class RunIds:
    """Makes run ids by a time source."""

    def __init__(self, source: TimeSource | None = None) -> None:
        self._source = source or SystemTime()
        self._lock = threading.Lock()
        self._last_us = 0

    def new(self) -> str:
        """A new id; see `new_run_id`."""
        with self._lock:
            self._last_us = max(self._last_us + 1, self._source.wall_ns() // 1000)
            made = from_ns(self._last_us * (NS_PER_SECOND // 1_000_000))
        return f"{made:%Y%m%dT%H%M%S%f}Z-{''.join(secrets.choice(_ID_ALPHABET) for _ in range(_ID_RANDOM))}"


_run_ids = RunIds()


def new_run_id() -> str:
    """A new id such as `20240301T093000123456Z-7k2m9q4x`: sorts by the time it was made (UTC), unique by 40 random bits.

    Ids of one process sort in the order in which they were made, even within a microsecond or when the clock is set back.
    """
    return _run_ids.new()
