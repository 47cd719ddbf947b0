"""The alarms against the real kernel: an absolute timer fires, and a clock that is set wakes it at once."""

from __future__ import annotations

import asyncio
import ctypes
import errno
import os
import sys
import time
from types import SimpleNamespace
from typing import Any

import pytest

from weaver.core.instants import NS_PER_SECOND
from weaver.glados.clock import alarm as alarm_module
from weaver.glados.clock import timerfd
from weaver.glados.clock.alarm import StagedAlarm, default_alarm
from weaver.glados.clock.time_source import Reading, SystemTime, TimeKind
from weaver.glados.clock.timerfd import TimerCalls, TimerfdAlarm, libc_calls, os_calls, system_calls

linux = pytest.mark.skipif(sys.platform != "linux", reason="timerfd is Linux's")
HOUR = 3600 * NS_PER_SECOND

_ADJ_SETOFFSET, _ADJ_NANO = 0x0100, 0x2000


def step_the_clock(nanoseconds: int) -> bool:
    """Set the wall clock forward or back by a few nanoseconds, which nobody notices but timers that ask to be told.

    False where that is not permitted.
    """
    library = ctypes.CDLL(None, use_errno=True)
    # struct timex on 64 bits: `modes` comes first, the offset's seconds and nanoseconds are the tenth and eleventh word.
    timex = (ctypes.c_long * 64)()
    timex[0] = _ADJ_SETOFFSET | _ADJ_NANO
    timex[9], timex[10] = divmod(nanoseconds, NS_PER_SECOND)
    return int(library.adjtimex(ctypes.byref(timex))) >= 0


calls_of_this_python = [pytest.param(libc_calls, id="libc")] + (
    [pytest.param(os_calls, id="os")] if hasattr(os, "timerfd_create") else []
)


@linux
@pytest.mark.parametrize("make", calls_of_this_python)
class TestRealTimerfd:
    def test_an_instant_that_has_passed_wakes_at_once(self, make: Any) -> None:
        async def main() -> None:
            woken = asyncio.Event()
            alarm = TimerfdAlarm(SystemTime(), woken.set, calls=make())
            for ts in (time.time_ns() - HOUR, time.time_ns(), 0, -HOUR):
                woken.clear()
                alarm.arm(ts)
                await woken.wait()
            alarm.close()
            alarm.close()

        asyncio.run(main())

    def test_a_millisecond_ahead_is_not_early(self, make: Any) -> None:
        async def main() -> None:
            woken = asyncio.Event()
            alarm = TimerfdAlarm(SystemTime(), woken.set, calls=make())
            due = time.time_ns() + 1_000_000
            alarm.arm(due + HOUR)
            alarm.arm(due)
            await woken.wait()
            assert time.time_ns() >= due
            alarm.close()

        asyncio.run(main())

    def test_elapsed_time_is_the_kernels_boot_time(self, make: Any) -> None:
        async def main() -> None:
            woken = asyncio.Event()
            alarm = TimerfdAlarm(SystemTime(), woken.set, TimeKind.ELAPSED, calls=make())
            due = SystemTime().elapsed_ns() + 1_000_000
            alarm.arm(due + HOUR)
            alarm.arm(due)
            await woken.wait()
            assert SystemTime().elapsed_ns() >= due
            alarm.close()

        asyncio.run(main())

    def test_a_clock_that_is_set_wakes_at_once_with_ecanceled(self, make: Any) -> None:
        codes: list[int | None] = []

        class Spied:
            def __init__(self, calls: TimerCalls) -> None:
                self.create, self.settime, self._read = calls.create, calls.settime, calls.read

            def read(self, fd: int) -> None:
                try:
                    self._read(fd)
                except OSError as error:
                    codes.append(error.errno)
                    raise

        async def main() -> None:
            woken = asyncio.Event()
            alarm = TimerfdAlarm(SystemTime(), woken.set, calls=Spied(make()))
            alarm.arm(time.time_ns() + HOUR)
            if step_the_clock(1):
                await woken.wait()
                assert codes == [errno.ECANCELED]
                woken.clear()
                # Armed again after a step that nobody has read: the kernel says so, and the alarm looks again.
                alarm.arm(time.time_ns() + HOUR)
                assert step_the_clock(-1)
                alarm.arm(time.time_ns() + HOUR)
                await woken.wait()
            alarm.close()

        asyncio.run(main())
        if not codes:
            pytest.skip("setting the clock is not permitted here; the injected descriptor covers it")

    def test_reading_before_anything_happened_blocks_nobody(self, make: Any) -> None:
        async def main() -> None:
            alarm = TimerfdAlarm(SystemTime(), lambda: pytest.fail("woken by nothing"), calls=make())
            alarm._readable()
            alarm.close()

        asyncio.run(main())

    def test_an_alarm_that_nobody_closed_gives_its_descriptor_back(self, make: Any) -> None:
        async def main() -> int:
            alarm = TimerfdAlarm(SystemTime(), lambda: None, calls=make())
            return alarm._fd

        fd = asyncio.run(main())
        with pytest.raises(OSError, match="Bad file descriptor"):
            os.fstat(fd)


class Injected:
    """System calls over a pipe; each `say` makes the descriptor readable with that outcome."""

    def __init__(self) -> None:
        self.armed: list[int] = []
        self.outcomes: list[OSError | None] = []
        self.on_settime: OSError | None = None

    def create(self, kind: TimeKind) -> int:
        reader, self.writer = os.pipe()
        os.set_blocking(reader, False)
        return reader

    def say(self, outcome: OSError | None = None) -> None:
        self.outcomes.append(outcome)
        os.write(self.writer, b"x")

    def settime(self, fd: int, ts_ns: int, kind: TimeKind) -> None:
        self.armed.append(ts_ns)
        if self.on_settime is not None:
            raise self.on_settime

    def read(self, fd: int) -> None:
        os.read(fd, 1)
        if (outcome := self.outcomes.pop(0)) is not None:
            raise outcome


@linux
class TestInjectedDescriptor:
    def run(self, *outcomes: OSError | None, settime: OSError | None = None) -> int:
        """How often the alarm wakes its clock."""
        calls, woken = Injected(), []

        async def main() -> None:
            problems: list[Any] = []
            asyncio.get_running_loop().set_exception_handler(lambda _, context: problems.append(context["exception"]))
            alarm = TimerfdAlarm(SystemTime(), lambda: woken.append(1), calls=calls)
            calls.on_settime = settime
            try:
                alarm.arm(5)
                for outcome in outcomes:
                    calls.say(outcome)
                    for _ in range(3):
                        await asyncio.sleep(0)  # noqa: TID251 - lets the loop look at the descriptor
            finally:
                alarm.close()
                os.close(calls.writer)
            if problems:
                raise problems[0]

        asyncio.run(main())
        return len(woken)

    def test_an_expiry_wakes(self) -> None:
        assert self.run(None, None) == 2

    def test_ecanceled_wakes(self) -> None:
        assert self.run(OSError(errno.ECANCELED, "")) == 1

    def test_a_spurious_wake_up_of_the_loop_does_not(self) -> None:
        assert self.run(BlockingIOError()) == 0

    def test_any_other_error_is_not_swallowed(self) -> None:
        with pytest.raises(OSError, match="broken"):
            self.run(OSError(errno.EIO, "broken"))

    def test_ecanceled_while_arming_wakes_too(self) -> None:
        assert self.run(None, settime=OSError(errno.ECANCELED, "")) == 2

    def test_closing_takes_back_a_wake_up_that_arming_has_caused(self) -> None:
        assert self.run(settime=OSError(errno.ECANCELED, "")) == 0

    def test_any_other_error_while_arming_is_raised(self) -> None:
        with pytest.raises(OSError, match="broken"):
            self.run(settime=OSError(errno.EINVAL, "broken"))


class TestChoice:
    def choose(self) -> str:
        async def main() -> str:
            alarm = default_alarm(SystemTime(), lambda: None)
            alarm.close()
            return type(alarm).__name__

        return asyncio.run(main())

    @linux
    def test_linux_gets_the_kernels_timer(self) -> None:
        assert self.choose() == "TimerfdAlarm"

    def test_elsewhere_there_are_staged_timers(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(timerfd, "sys", SimpleNamespace(platform="darwin"))
        with pytest.raises(NotImplementedError, match="darwin has no timerfd"):
            system_calls()
        assert self.choose() == "StagedAlarm"

    @linux
    def test_without_a_descriptor_left_there_are_staged_timers(self, monkeypatch: pytest.MonkeyPatch) -> None:
        def none_left() -> TimerCalls:
            raise OSError(errno.EMFILE, "Too many open files")

        monkeypatch.setattr(timerfd, "system_calls", none_left)
        assert self.choose() == "StagedAlarm"

    @linux
    def test_python_with_its_own_calls_uses_them(self, monkeypatch: pytest.MonkeyPatch) -> None:
        made: list[tuple[object, ...]] = []
        stand_in = SimpleNamespace(
            timerfd_create=lambda *arguments, **named: made.append(("create", *arguments, named["flags"])) or 99,
            timerfd_settime_ns=lambda *arguments, **named: made.append(
                ("settime", *arguments, named["flags"], named["initial"])
            ),
            O_NONBLOCK=os.O_NONBLOCK,
        )
        monkeypatch.setattr(timerfd, "os", stand_in)
        calls = system_calls()
        assert calls.create(TimeKind.WALL) == 99
        assert calls.create(TimeKind.ELAPSED) == 99
        calls.settime(99, 7, TimeKind.WALL)
        calls.settime(99, 7, TimeKind.ELAPSED)
        assert made == [
            ("create", time.CLOCK_REALTIME, os.O_NONBLOCK | 0o2000000),
            ("create", time.CLOCK_BOOTTIME, os.O_NONBLOCK | 0o2000000),
            ("settime", 99, 3, 7),
            ("settime", 99, 1, 7),
        ]

    @linux
    def test_python_without_them_uses_the_c_library(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(timerfd, "os", SimpleNamespace())
        assert type(system_calls()) is type(libc_calls())

    @linux
    def test_a_c_library_without_the_calls_is_refused(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(timerfd.ctypes, "CDLL", lambda *_, **__: SimpleNamespace())
        with pytest.raises(NotImplementedError, match="64-bit time"):
            libc_calls()

    @linux
    def test_an_error_of_the_c_library_is_an_oserror(self) -> None:
        with pytest.raises(OSError, match="Bad file descriptor"):
            libc_calls().settime(-1, 1, TimeKind.WALL)


def test_staged_timers_are_at_most_a_second_each_and_the_last_is_short() -> None:
    waits: list[float] = []

    class Loop:
        def call_later(self, delay: float, callback: Any) -> Any:
            waits.append(delay)
            return SimpleNamespace(cancel=lambda: None)

    source = SimpleNamespace(wall=0, running=0)
    source.read = lambda: Reading(source.wall, source.running, 0)

    async def main() -> StagedAlarm:
        return StagedAlarm(source, lambda: waits.append(-1.0))  # type: ignore[arg-type]

    alarm = asyncio.run(main())
    alarm._loop = Loop()  # type: ignore[assignment]
    alarm.arm(2 * NS_PER_SECOND + NS_PER_SECOND // 2)
    while waits[-1] >= 0:
        # The loop is late by a thousandth of every wait, as epoll is.
        passed = round(waits[-1] * 1.001e9)
        source.wall, source.running = source.wall + passed, source.running + passed
        alarm._stage()
    assert max(waits) <= 1.0
    assert sum(waits[:-1]) == pytest.approx(2.5, abs=0.01)
    assert source.wall - int(2.5 * NS_PER_SECOND) < 10_000
    assert alarm_module._STAGE_NS == NS_PER_SECOND
