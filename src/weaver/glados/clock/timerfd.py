"""Timerfd: an absolute timer of the Linux kernel as an alarm on the event loop.

It fires within a fraction of a millisecond, however long the wait. A timer of wall time (CLOCK_REALTIME) also fires at once
(read fails with ECANCELED) when the wall clock is set or the machine wakes from a suspend. A timer of elapsed time
(CLOCK_BOOTTIME) ignores the wall clock. The calls are those of `os` from Python 3.13, and of the C library before.
"""

from __future__ import annotations

import asyncio
import ctypes
import errno
import os
import sys
from collections.abc import Callable
from typing import Protocol

from weaver.core.instants import NS_PER_SECOND
from weaver.glados.clock.time_source import TimeKind, TimeSource

__all__ = ["TimerCalls", "TimerfdAlarm", "libc_calls", "os_calls", "system_calls"]

# From <sys/timerfd.h>; the same on every architecture that Linux runs on, except TFD_NONBLOCK, for which os has the value.
_TFD_CLOEXEC = 0o2000000
_TFD_TIMER_ABSTIME = 1
_TFD_TIMER_CANCEL_ON_SET = 2
# From <time.h>; the same on every architecture. Python has CLOCK_BOOTTIME only on Linux.
_CLOCKS = {TimeKind.WALL: 0, TimeKind.ELAPSED: 7}


class TimerCalls(Protocol):
    """The three system calls; a test passes its own, with a descriptor that it makes readable itself."""

    def create(self, kind: TimeKind) -> int:
        """Return a descriptor that does not block, of a timer of wall or elapsed time."""
        ...

    def settime(self, fd: int, ts_ns: int, kind: TimeKind) -> None:
        """Fire once at `ts_ns`; for wall time raise OSError(ECANCELED) when the clock was set since the last read."""
        ...

    def read(self, fd: int) -> None:
        """Take the expiry; OSError(ECANCELED) when the clock was set, BlockingIOError when nothing has happened."""
        ...


class TimerfdAlarm:
    """Watches a timerfd with `loop.add_reader`. Raises OSError or NotImplementedError where the system has none."""

    def __init__(
        self,
        source: TimeSource,
        wake: Callable[[], None],
        kind: TimeKind = TimeKind.WALL,
        calls: TimerCalls | None = None,
    ) -> None:
        self._wake = wake
        self._kind = kind
        self._calls = calls or system_calls()
        self._loop = asyncio.get_running_loop()
        self._again: asyncio.Handle | None = None
        self._fd = self._calls.create(kind)
        self._loop.add_reader(self._fd, self._readable)

    def arm(self, ts_ns: int) -> None:
        """Wake at `ts_ns` of the alarm's time (soon when it has passed), instead of the instant that was armed before."""
        try:
            # Zero would disarm the timer, and the kernel takes no negative time.
            self._calls.settime(self._fd, max(1, ts_ns), self._kind)
        except OSError as error:
            if error.errno != errno.ECANCELED:
                raise
            # The timer is armed, but the wall clock was set before: the clock that armed it must read the time again.
            self._again = self._loop.call_soon(self._wake)

    def close(self) -> None:
        """Never wake again; closing twice does nothing."""
        if self._again is not None:
            self._again.cancel()
        if self._fd >= 0:
            self._loop.remove_reader(self._fd)
            os.close(self._fd)
            self._fd = -1

    def __del__(self) -> None:
        # An event loop that ended without stopping its clock must not leak a descriptor.
        if getattr(self, "_fd", -1) >= 0:
            os.close(self._fd)

    def _readable(self) -> None:
        try:
            self._calls.read(self._fd)
        except BlockingIOError:
            return
        except OSError as error:
            if error.errno != errno.ECANCELED:
                raise
        self._wake()


def system_calls() -> TimerCalls:
    """Return the calls of this Python and system; raise `NotImplementedError` where there are none."""
    if sys.platform != "linux":
        raise NotImplementedError(f"{sys.platform} has no timerfd")
    return os_calls() if hasattr(os, "timerfd_create") else libc_calls()


class _Reading:
    def read(self, fd: int) -> None:
        os.read(fd, 8)


class _OsCalls(_Reading):
    def create(self, kind: TimeKind) -> int:
        timerfd_create: Callable[..., int] = getattr(os, "timerfd_create")  # noqa: B009 - unknown before Python 3.13
        return timerfd_create(_CLOCKS[kind], flags=os.O_NONBLOCK | _TFD_CLOEXEC)

    def settime(self, fd: int, ts_ns: int, kind: TimeKind) -> None:
        settime: Callable[..., object] = getattr(os, "timerfd_settime_ns")  # noqa: B009 - unknown before Python 3.13
        settime(fd, flags=_flags(kind), initial=ts_ns)


class _Timespec(ctypes.Structure):
    _fields_ = (("tv_sec", ctypes.c_long), ("tv_nsec", ctypes.c_long))


class _Itimerspec(ctypes.Structure):
    _fields_ = (("it_interval", _Timespec), ("it_value", _Timespec))


class _LibcCalls(_Reading):
    def __init__(self, library: ctypes.CDLL) -> None:
        self._library = library

    def create(self, kind: TimeKind) -> int:
        return self._checked(self._library.timerfd_create(_CLOCKS[kind], os.O_NONBLOCK | _TFD_CLOEXEC))

    def settime(self, fd: int, ts_ns: int, kind: TimeKind) -> None:
        seconds, rest = divmod(ts_ns, NS_PER_SECOND)
        value = _Itimerspec(_Timespec(0, 0), _Timespec(seconds, rest))
        self._checked(self._library.timerfd_settime(fd, _flags(kind), ctypes.byref(value), None))

    @staticmethod
    def _checked(result: int) -> int:
        if result < 0:
            number = ctypes.get_errno()
            raise OSError(number, os.strerror(number))
        return result


def _flags(kind: TimeKind) -> int:
    """Return the flags of an absolute timer; one of wall time is cancelled when the clock is set."""
    return _TFD_TIMER_ABSTIME | (_TFD_TIMER_CANCEL_ON_SET if kind is TimeKind.WALL else 0)


def os_calls() -> TimerCalls:
    """Return the calls of `os`, from Python 3.13."""
    return _OsCalls()


def libc_calls() -> TimerCalls:
    """Return the calls of the C library; raise `NotImplementedError` where it lacks them or time has not 64 bits."""
    library = ctypes.CDLL(None, use_errno=True)
    if ctypes.sizeof(ctypes.c_long) != 8 or not hasattr(library, "timerfd_settime"):
        raise NotImplementedError("this C library has no timerfd with 64-bit time")
    return _LibcCalls(library)
