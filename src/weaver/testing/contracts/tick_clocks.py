"""TickClockContract: the test suite of clocks that tick bar boundaries to subscribers (weaver.glados.clock.BaseClock).

It checks that each boundary is ticked once and in order or reported as missed, and that a callback that raises costs no
other callback a tick. How late a tick may be is not part of it.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Coroutine
from typing import Any

from weaver.core.instants import NS_PER_SECOND, to_ns
from weaver.glados.clock import BaseClock, ClockTick

__all__ = ["TickClockContract"]

_MINUTE = 60 * NS_PER_SECOND


class TickClockContract:
    """Subclass it in a test module; pytest finds the tests. Each test runs on a new clock."""

    START = "2024-01-02T12:00:30Z"
    """The time of a new clock, between two boundaries."""

    def make_clock(self) -> BaseClock:
        """Return a clock of one-minute bars at `START`, not started. It must be able to tick at least 20 boundaries."""
        raise NotImplementedError("return a new clock")

    def run(self, clock: BaseClock, main: Coroutine[Any, Any, None]) -> None:
        """Run one test."""
        raise NotImplementedError("run the coroutine")

    async def pass_boundaries(self, clock: BaseClock, count: int) -> None:
        """Return once `count` more boundaries have passed on the running `clock` and their callbacks have returned.

        A clock that does not wait for real time may pass more of them. Errors of callbacks are not raised here.
        """
        raise NotImplementedError("let time pass")

    def test_a_callback_that_raises_costs_the_others_no_tick(self) -> None:
        for is_async in (False, True):
            for place in range(3):
                self._check_others_keep_their_ticks(is_async=is_async, place=place)

    def _check_others_keep_their_ticks(self, *, is_async: bool, place: int) -> None:
        received: dict[str, list[int]] = {"bad": [], "good": [], "slow": []}

        async def main(clock: BaseClock) -> None:
            bad = _failing_at(2, received["bad"], is_async=is_async)
            callbacks = [_recorder(received["good"]), _slow_recorder(received["slow"])]
            callbacks.insert(place, bad)
            for callback in callbacks:
                clock.on_tick(callback)
            await clock.start("run")
            await self.pass_boundaries(clock, 6)
            assert received["bad"] == [0, 1, 2]
            assert received["good"][:6] == received["slow"][:6] == [0, 1, 2, 3, 4, 5]
            (failure,) = clock.failures
            assert failure.callback is bad
            assert isinstance(failure.error, ZeroDivisionError)
            assert failure.ts_ns == self._boundary(2)
            assert "2024-01-02T12:03:00Z: it raised ZeroDivisionError" in str(failure)
            assert clock.error is None
            await clock.stop()
            await clock.wait()

        self._run(main)

    def test_two_callbacks_that_raise_at_one_boundary_are_both_reported(self) -> None:
        received: list[int] = []

        async def main(clock: BaseClock) -> None:
            for is_async in (False, True):
                clock.on_tick(_failing_at(1, [], is_async=is_async))
            clock.on_tick(_recorder(received))
            await clock.start("run")
            await self.pass_boundaries(clock, 4)
            assert received[:4] == [0, 1, 2, 3]
            assert [failure.ts_ns for failure in clock.failures] == [self._boundary(1)] * 2
            await clock.stop()

        self._run(main)

    def test_wait_raises_once_no_callback_is_left(self) -> None:
        async def main(clock: BaseClock) -> None:
            first = ValueError("first")
            clock.on_tick(_failing_at(1, [], first))
            clock.on_tick(_failing_at(3, [], KeyError("second")))
            await clock.start("run")
            assert await _raised(clock.wait()) is first
            assert clock.error is first
            assert not clock.is_running
            assert clock.tick_count == 4
            assert [type(failure.error) for failure in clock.failures] == [ValueError, KeyError]

        self._run(main)

    def test_the_first_error_stops_a_clock_that_stops_on_errors(self) -> None:
        received: list[int] = []

        async def main(clock: BaseClock) -> None:
            clock.on_tick(_recorder(received))
            clock.on_tick(_failing_at(1, []))
            await clock.start("run", stop_on_error=True)
            assert isinstance(await _raised(clock.wait()), ZeroDivisionError)
            assert received == [0, 1]
            assert not clock.is_running

        self._run(main)

    def test_a_callback_that_raised_stays_unsubscribed_after_a_restart(self) -> None:
        bad: list[int] = []
        received: list[int] = []

        async def main(clock: BaseClock) -> None:
            unsubscribe = clock.on_tick(_failing_at(0, bad))
            clock.on_tick(_recorder(received))
            await clock.start("run")
            await self.pass_boundaries(clock, 2)
            await clock.stop()
            unsubscribe()
            await clock.start("again")
            assert clock.failures == ()
            received.clear()
            await self.pass_boundaries(clock, 2)
            await clock.stop()
            assert bad == [0]
            assert received[:2] == [0, 1]

        self._run(main)

    def test_an_exception_that_is_not_for_supervisors_ends_the_run(self) -> None:
        class Abort(BaseException):
            pass

        async def main(clock: BaseClock) -> None:
            clock.on_tick(_failing_at(1, [], Abort()))
            clock.on_tick(lambda _: None)
            await clock.start("run")
            assert isinstance(await _raised(clock.wait()), Abort)
            assert not clock.is_running

        self._run(main)

    def test_an_interrupt_from_the_keyboard_leaves_the_event_loop(self) -> None:
        async def main(clock: BaseClock) -> None:
            clock.on_tick(_failing_at(1, [], KeyboardInterrupt()))
            clock.on_tick(lambda _: None)
            await clock.start("run")
            await clock.wait()

        try:
            self._run(main)
        except KeyboardInterrupt:
            return
        raise AssertionError("the interrupt was swallowed")

    def _boundary(self, index: int) -> int:
        """Return the boundary with `index` after `START`, in nanoseconds since 1970-01-01 UTC."""
        return (to_ns(self.START) // _MINUTE + 1 + index) * _MINUTE

    def _run(self, test: Callable[[BaseClock], Coroutine[Any, Any, None]]) -> None:
        clock = self.make_clock()
        self.run(clock, test(clock))


async def _raised(awaitable: Awaitable[None]) -> BaseException | None:
    """Return the exception that `awaitable` raises; None without one."""
    try:
        await awaitable
    except BaseException as error:  # noqa: BLE001 - the test judges it
        return error
    return None


async def _let_others_run() -> None:
    await asyncio.sleep(0)  # noqa: TID251 - a turn of the event loop, no length of time


def _recorder(received: list[int]) -> Callable[[ClockTick], None]:
    return lambda tick: received.append(tick.bar_index)


def _slow_recorder(received: list[int]) -> Callable[[ClockTick], Coroutine[Any, Any, None]]:
    """Return a callback that gives the event loop some turns before it records."""

    async def callback(tick: ClockTick) -> None:
        for _ in range(3):
            await _let_others_run()
        received.append(tick.bar_index)

    return callback


def _failing_at(
    index: int, received: list[int], error: BaseException | None = None, *, is_async: bool = False
) -> Callable[[ClockTick], Any]:
    """Return a callback that records ticks and raises `error` at the one with `index`."""

    def callback(tick: ClockTick) -> None:
        received.append(tick.bar_index)
        if tick.bar_index == index:
            raise error or ZeroDivisionError("broken")

    async def coroutine(tick: ClockTick) -> None:
        await _let_others_run()
        callback(tick)

    return coroutine if is_async else callback
