"""ClockContract: the test suite of the `Clock` port (weaver.core.ports).

It checks that lengths of time follow elapsed time, instants follow wall time, and that nothing happens early. How late a
call may be is not part of it, except for `LATEST_NS`, far below the hour by which the wall clock is set.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine
from typing import Any

from weaver.core.instants import NS_PER_SECOND
from weaver.core.ports import Clock, run_within, sleep_for

__all__ = ["ClockContract"]

_SECOND = NS_PER_SECOND
_HOUR = 3600 * NS_PER_SECOND


class ClockContract:
    """Subclass it in a test module; pytest finds the tests.

    Each test runs on a new clock, with time that passes whenever all code on the event loop waits.
    """

    LATEST_NS = NS_PER_SECOND
    """A wait may take this much longer than was asked for."""

    def make_clock(self) -> Clock:
        """Return the clock for one test. It must be possible to set its wall clock with `set_wall_clock`."""
        raise NotImplementedError("return a new clock")

    def set_wall_clock(self, clock: Clock, by_ns: int) -> None:
        """Set the wall clock that `clock` reads by `by_ns`: forward when positive, back when negative."""
        raise NotImplementedError("set the wall clock")

    def run(self, clock: Clock, main: Coroutine[Any, Any, None]) -> None:
        """Run one test; let time pass on `clock` while `main` waits."""
        raise NotImplementedError("run the coroutine")

    def test_elapsed_time_passes_with_wall_time(self) -> None:
        async def main(clock: Clock) -> None:
            wall, elapsed = clock.now_ns(), clock.elapsed_ns()
            await clock.sleep_until(wall + 3 * _SECOND)
            self._check_wait(clock.now_ns() - wall, 3 * _SECOND)
            self._check_wait(clock.elapsed_ns() - elapsed, 3 * _SECOND)

        self._run(main)

    def test_setting_the_wall_clock_changes_wall_time_alone(self) -> None:
        async def main(clock: Clock) -> None:
            for by_ns in (_HOUR, -_HOUR):
                wall, elapsed = clock.now_ns(), clock.elapsed_ns()
                self.set_wall_clock(clock, by_ns)
                assert abs(clock.now_ns() - wall - by_ns) < _SECOND
                assert 0 <= clock.elapsed_ns() - elapsed < _SECOND

        self._run(main)

    def test_a_timeout_takes_as_long_when_the_wall_clock_is_set_back(self) -> None:
        self._run(lambda clock: self._time_out(clock, -_HOUR))

    def test_a_timeout_takes_as_long_when_the_wall_clock_is_set_forward(self) -> None:
        self._run(lambda clock: self._time_out(clock, _HOUR))

    def test_a_sleep_takes_as_long_when_the_wall_clock_is_set_back(self) -> None:
        self._run(lambda clock: self._sleep(clock, -_HOUR))

    def test_a_sleep_takes_as_long_when_the_wall_clock_is_set_forward(self) -> None:
        self._run(lambda clock: self._sleep(clock, _HOUR))

    def test_sleep_until_follows_the_wall_clock_forward(self) -> None:
        async def main(clock: Clock) -> None:
            began = clock.elapsed_ns()
            clock.call_after(_SECOND, lambda: self.set_wall_clock(clock, _HOUR))
            await clock.sleep_until(clock.now_ns() + _HOUR)
            self._check_wait(clock.elapsed_ns() - began, _SECOND)

        self._run(main)

    def test_sleep_until_follows_the_wall_clock_back(self) -> None:
        async def main(clock: Clock) -> None:
            began, due = clock.elapsed_ns(), clock.now_ns() + 10 * _SECOND
            clock.call_after(_SECOND, lambda: self.set_wall_clock(clock, -_HOUR))
            await clock.sleep_until(due)
            assert clock.now_ns() >= due
            self._check_wait(clock.elapsed_ns() - began, _HOUR + 10 * _SECOND)

        self._run(main)

    def test_sleep_until_a_time_that_has_passed_returns_at_once(self) -> None:
        async def main(clock: Clock) -> None:
            began, now = clock.elapsed_ns(), clock.now_ns()
            await clock.sleep_until(now - _HOUR)
            await clock.sleep_until(now)
            await sleep_for(clock, 0)
            await sleep_for(clock, -_HOUR)
            self._check_wait(clock.elapsed_ns() - began, 0)

        self._run(main)

    def test_calls_come_in_the_order_of_their_delays_and_then_of_registration(self) -> None:
        async def main(clock: Clock) -> None:
            calls: list[str] = []
            for name, delay_s in (("d", 4), ("b", 2), ("a", 1), ("c", 2)):
                clock.call_after(delay_s * _SECOND, _append(calls, name))
            cancel = clock.call_after(3 * _SECOND, _append(calls, "cancelled"))
            cancel()
            cancel()
            await sleep_for(clock, 5 * _SECOND)
            cancel()
            assert calls == ["a", "b", "c", "d"]

        self._run(main)

    def test_a_call_that_was_cancelled_by_another_in_the_same_instant_does_not_come(self) -> None:
        async def main(clock: Clock) -> None:
            calls: list[str] = []

            def answer() -> None:
                calls.append("answer")
                give_up()

            clock.call_after(_SECOND, answer)
            give_up = clock.call_after(_SECOND, _append(calls, "too late"))
            await sleep_for(clock, 2 * _SECOND)
            assert calls == ["answer"]

        self._run(main)

    def test_a_result_in_time_is_returned(self) -> None:
        async def main(clock: Clock) -> None:
            async def answer() -> str:
                await sleep_for(clock, 2 * _SECOND)
                return "in time"

            assert await run_within(clock, 3 * _SECOND, answer()) == "in time"

        self._run(main)

    async def _time_out(self, clock: Clock, by_ns: int) -> None:
        began = clock.elapsed_ns()
        clock.call_after(_SECOND, lambda: self.set_wall_clock(clock, by_ns))
        try:
            await run_within(clock, 5 * _SECOND, asyncio.Event().wait())
        except TimeoutError:
            self._check_wait(clock.elapsed_ns() - began, 5 * _SECOND)
        else:
            raise AssertionError("run_within did not raise TimeoutError")

    async def _sleep(self, clock: Clock, by_ns: int) -> None:
        began = clock.elapsed_ns()
        clock.call_after(_SECOND, lambda: self.set_wall_clock(clock, by_ns))
        await sleep_for(clock, 5 * _SECOND)
        self._check_wait(clock.elapsed_ns() - began, 5 * _SECOND)

    def _run(self, test: Callable[[Clock], Coroutine[Any, Any, None]]) -> None:
        clock = self.make_clock()
        self.run(clock, test(clock))

    def _check_wait(self, waited_ns: int, asked_ns: int) -> None:
        latest_ns = asked_ns + self.LATEST_NS
        if not asked_ns <= waited_ns <= latest_ns:
            raise AssertionError(
                f"a wait of {asked_ns / 1e9:g} s took {waited_ns / 1e9:g} s; it may take up to {latest_ns / 1e9:g} s"
            )


def _append(calls: list[str], name: str) -> Callable[[], None]:
    return lambda: calls.append(name)
