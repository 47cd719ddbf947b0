"""SystemClock: the `Clock` port on the machine's time; also the stopwatch and the generator of run ids.

`sleep_until` and `call_at` follow the wall clock, also when it is set; `call_after` follows elapsed time, which setting the
clock does not change. None of them fires early. Each event loop has its own deadlines. An alarm exists only while a
deadline is pending.
"""

from __future__ import annotations

import asyncio
import secrets
import threading
import time
from collections.abc import Callable
from typing import NamedTuple
from weakref import WeakKeyDictionary

from weaver.core.instants import NS_PER_SECOND, from_ns
from weaver.core.ports import Unschedule, until_called
from weaver.glados.clock.alarm import Alarm, AlarmFactory, default_alarm
from weaver.glados.clock.deadlines import Deadlines
from weaver.glados.clock.time_source import SystemTime, TimeKind, TimeSource

__all__ = ["RunIds", "SystemClock", "new_run_id", "stopwatch_ns"]

_ID_ALPHABET = "0123456789abcdefghjkmnpqrstvwxyz"
_ID_RANDOM = 8


class _LoopDeadlines:
    """The deadlines of one event loop by one kind of time, with an alarm while there are any."""

    def __init__(self, source: TimeSource, make_alarm: AlarmFactory, kind: TimeKind) -> None:
        self._source = source
        self._make_alarm = make_alarm
        self._kind = kind
        self._read = source.wall_ns if kind is TimeKind.WALL else source.elapsed_ns
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

    def add_after(self, delay_ns: int, callback: Callable[[], None]) -> Unschedule:
        return self.add(self._read() + delay_ns, callback)

    def _wake(self) -> None:
        self._armed_ns = None
        now = self._read()
        loop = asyncio.get_running_loop()
        while (callback := self._deadlines.take(now)) is not None:
            # Through the loop, so that an error in one callback is reported there and does not affect the others.
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
                self._alarm = self._make_alarm(self._source, self._wake, self._kind)
            self._armed_ns = next_ns
            self._alarm.arm(next_ns)


class _LoopTimes(NamedTuple):
    """The deadlines of one event loop."""

    wall: _LoopDeadlines
    elapsed: _LoopDeadlines


class SystemClock:
    """Real time. `source` and `alarm` are for tests."""

    def __init__(self, source: TimeSource | None = None, alarm: AlarmFactory | None = None) -> None:
        self._source = source or SystemTime()
        self._make_alarm = alarm or default_alarm
        self._loops: WeakKeyDictionary[asyncio.AbstractEventLoop, _LoopTimes] = WeakKeyDictionary()

    def now_ns(self) -> int:
        """Return wall time in nanoseconds since 1970-01-01 UTC."""
        return self._source.wall_ns()

    def elapsed_ns(self) -> int:
        """Return nanoseconds since an arbitrary start, time suspended included. Setting the wall clock changes nothing."""
        return self._source.elapsed_ns()

    async def sleep_until(self, ts_ns: int) -> None:
        """Return at wall time `ts_ns` or as soon as possible after it, never before; at once when it has passed."""
        await until_called(lambda wake: self.call_at(ts_ns, wake))

    def call_at(self, ts_ns: int, callback: Callable[[], None]) -> Unschedule:
        """Call `callback` once on the running event loop, at wall time `ts_ns` or as soon as possible after it."""
        return self._deadlines().wall.add(ts_ns, callback)

    def call_after(self, delay_ns: int, callback: Callable[[], None]) -> Unschedule:
        """Call `callback` once on the running event loop after `delay_ns` of elapsed time, never before."""
        return self._deadlines().elapsed.add_after(delay_ns, callback)

    def _deadlines(self) -> _LoopTimes:
        loop = asyncio.get_running_loop()
        times = self._loops.get(loop)
        if times is None:
            times = self._loops[loop] = _LoopTimes(
                *(_LoopDeadlines(self._source, self._make_alarm, kind) for kind in TimeKind)
            )
        return times


def stopwatch_ns() -> int:
    """Return nanoseconds since an arbitrary start, for measuring how long something takes; never jumps."""
    return time.perf_counter_ns()


class RunIds:
    """Generates run ids from a time source."""

    def __init__(self, source: TimeSource | None = None) -> None:
        self._source = source or SystemTime()
        self._lock = threading.Lock()
        self._last_us = 0

    def new(self) -> str:
        """Return a new id; see `new_run_id`."""
        with self._lock:
            self._last_us = max(self._last_us + 1, self._source.wall_ns() // 1000)
            created = from_ns(self._last_us * (NS_PER_SECOND // 1_000_000))
        return f"{created:%Y%m%dT%H%M%S%f}Z-{''.join(secrets.choice(_ID_ALPHABET) for _ in range(_ID_RANDOM))}"


_run_ids = RunIds()


def new_run_id() -> str:
    """Return a new id such as `20240301T093000123456Z-7k2m9q4x`: creation time (UTC) and 40 random bits.

    Ids sort by creation time. Those of one process sort in order of creation even when the clock is set back.
    """
    return _run_ids.new()
