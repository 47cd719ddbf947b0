"""TickClockContract: the test suite of clocks that tick bar boundaries to subscribers (weaver.glados.clock.BaseClock).

It checks that each boundary is ticked once and in order or reported as missed, and that a callback that raises costs no
other callback a tick. How late a tick may be is not part of it.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Coroutine
from typing import Any

from weaver.core.errors import ConfigError
from weaver.core.instants import NS_PER_SECOND, to_ns
from weaver.glados.clock import BaseClock, ClockGap, ClockTick, GapReason

__all__ = ["TickClockContract"]

_MINUTE = 60 * NS_PER_SECOND


class TickClockContract:
    """Subclass it in a test module; pytest finds the tests. Each test runs on a new clock.

    One test needs the extra `calendars`.
    """

    START = "2024-01-02T12:00:30Z"
    """The time of a new clock, between two boundaries."""

    def make_clock(self, start: str = START, calendar: str | None = None) -> BaseClock:
        """Return a clock of one-minute bars at `start`, not started. It must be able to tick the 20 minutes after it."""
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

    def test_a_run_that_resumes_reports_what_it_missed_as_one_gap_and_continues_the_count(self) -> None:
        ticks, gaps = self._resume(self.START, "2024-01-02T11:50Z", 7)
        assert gaps == [_gap("2024-01-02T11:51Z", "2024-01-02T12:00Z", 10)]
        assert ticks[:2] == [(self._boundary(0), 18), (self._boundary(1), 19)]

    def test_a_run_that_resumes_within_the_bar_after_its_last_tick_has_missed_nothing(self) -> None:
        ticks, gaps = self._resume(self.START, "2024-01-02T12:00Z", 7)
        assert gaps == []
        assert ticks[0] == (self._boundary(0), 8)

    def test_a_boundary_at_the_very_instant_of_a_resumption_is_ticked(self) -> None:
        ticks, gaps = self._resume("2024-01-02T12:00Z", "2024-01-02T11:57Z", 0)
        assert gaps == [_gap("2024-01-02T11:58Z", "2024-01-02T11:59Z", 2)]
        assert ticks[0] == (to_ns("2024-01-02T12:00Z"), 3)

    def test_a_resumption_long_after_counts_by_the_grid(self) -> None:
        ticks, gaps = self._resume(self.START, "2014-01-02T12:00Z", 0)
        minutes = (to_ns("2024-01-02T12:00Z") - to_ns("2014-01-02T12:00Z")) // _MINUTE
        assert gaps == [_gap("2014-01-02T12:01Z", "2024-01-02T12:00Z", minutes)]
        assert ticks[0] == (self._boundary(0), minutes + 1)

    def test_a_resumption_counts_only_the_boundaries_of_the_calendar(self) -> None:
        # Over a weekend on which daylight saving begins: the session ends at 21:00 UTC and the next one opens at 13:30 UTC.
        ticks, gaps = self._resume("2024-03-11T13:31:30Z", "2024-03-08T20:58Z", 0, "XNYS")
        assert gaps == [_gap("2024-03-08T20:59Z", "2024-03-11T13:31Z", 4)]
        assert ticks[0] == (to_ns("2024-03-11T13:32Z"), 5)

    def test_a_gap_callback_that_raises_costs_no_tick(self) -> None:
        def broken(_: ClockGap) -> None:
            raise ZeroDivisionError("gap")

        received: list[int] = []
        gaps: list[ClockGap] = []

        async def main(clock: BaseClock) -> None:
            clock.on_gap(broken)
            clock.on_gap(gaps.append)
            clock.on_tick(_recorder(received))
            await clock.start("run", after_ns=to_ns("2024-01-02T11:50Z"))
            await self.pass_boundaries(clock, 3)
            assert [failure.ts_ns for failure in clock.failures] == [to_ns("2024-01-02T11:51Z")]
            assert len(gaps) == 1
            assert received[:3] == [11, 12, 13]
            await clock.stop()
            await clock.wait()

        self._run(main)

    def test_the_failure_of_the_last_gap_callback_stops_a_clock_without_tick_callbacks(self) -> None:
        for is_async in (False, True):
            self._check_gap_callbacks_fail(is_async=is_async)

    def _check_gap_callbacks_fail(self, *, is_async: bool) -> None:
        async def broken(_: ClockGap) -> None:
            await _let_others_run()
            raise ValueError("gap")

        def broken_at_once(_: ClockGap) -> None:
            raise ValueError("gap")

        async def main(clock: BaseClock) -> None:
            callback = broken if is_async else broken_at_once
            unsubscribe = clock.on_gap(callback)
            clock.on_gap(callback)
            await clock.start("run", after_ns=to_ns("2024-01-02T11:50Z"))
            assert isinstance(await _raised(clock.wait()), ValueError)
            assert len(clock.failures) == 2
            unsubscribe()

        self._run(main)

    def test_a_last_tick_that_cannot_be_is_refused_by_name(self) -> None:
        wrong: tuple[tuple[dict[str, Any], str], ...] = (
            ({"after_ns": to_ns("2024-01-02T11:50:10Z")}, "after_ns=2024-01-02T11:50:10Z is not a 1m boundary"),
            ({"after_ns": to_ns("2025-01-02T12:00Z")}, "after_ns=2025-01-02T12:00:00Z is later than 2024-01-02T1"),
            ({"after_ns": True}, "after_ns=True: give the ts_ns"),
            ({"after_ns": "2024-01-02T11:50Z"}, "after_ns='2024-01-02T11:50Z': give the ts_ns"),
            ({"after_ns": 0, "after_index": -1}, "after_index=-1: give the bar_index"),
            ({"after_index": 3}, "after_index=3 needs after_ns"),
        )

        async def main(clock: BaseClock) -> None:
            for settings, text in wrong:
                error = await _raised(clock.start("run", **settings))
                assert isinstance(error, ConfigError)
                assert text in str(error)
                assert not clock.is_running
            await clock.start("run")
            await clock.stop()

        self._run(main)

    def _resume(
        self, start: str, after: str, after_index: int, calendar: str | None = None
    ) -> tuple[list[tuple[int, int]], list[ClockGap]]:
        """Return the ticks (boundary, index) and gaps of a run that resumes at `start`."""
        ticks: list[tuple[int, int]] = []
        gaps: list[ClockGap] = []
        order: list[str] = []
        clock = self.make_clock(start, calendar)

        async def main() -> None:
            clock.on_tick(lambda tick: ticks.append((tick.ts_ns, tick.bar_index)))
            clock.on_tick(lambda _: order.append("tick"))
            clock.on_gap(gaps.append)
            clock.on_gap(lambda _: order.append("gap"))
            await clock.start("run", after_ns=to_ns(after), after_index=after_index)
            await self.pass_boundaries(clock, 3)
            await clock.stop()

        self.run(clock, main())
        assert clock.gaps == tuple(gaps)
        assert order[: len(gaps)] == ["gap"] * len(gaps)
        return ticks, gaps

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


def _gap(first: str, last: str, count: int) -> ClockGap:
    return ClockGap(to_ns(first), to_ns(last), count, GapReason.DOWN)


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
