"""ControllableClock: a clock that moves only when a test moves it, by bars, to an instant, or to the next due event.

It is the `Clock` port, a `TickSource` and a clock to subscribe to, with the same contract as the real ones. Ticks, timers,
timeouts and sleeps happen in order of their instants; at one instant the tick goes first, then timers in the order in which
they were set. Elapsed time never goes back; wall time does only where the test sets it (`set_wall_time`). It never waits
for real time.
"""

from __future__ import annotations

import asyncio
import itertools
from collections.abc import Callable, Coroutine, Iterable, Iterator
from datetime import date, datetime
from typing import Any, TypeVar

from weaver.core.calendar import SessionCalendar
from weaver.core.errors import ClockError, ClockMovedBackwards, ClockRunning
from weaver.core.instants import format_ns, to_ns
from weaver.core.ports import Unschedule, until_called
from weaver.core.timeframe import Timeframe
from weaver.glados.clock.deadlines import Deadlines
from weaver.glados.clock.delivery import DeliveringClock
from weaver.glados.clock.ticks import CallbackFailure, ClockTick
from weaver.glados.clock.time_source import Reading
from weaver.glados.clock.tracker import Tracker
from weaver.testing.loop import run_until_idle

__all__ = ["ControllableClock"]

_T = TypeVar("_T")

# Code that is still busy after this many turns of the event loop is spinning, and the test would hang without a message.
_MOST_TURNS = 100_000
# Used where the loop does not show what is ready (uvloop): enough turns for a chain of as many awaits.
_BLIND_TURNS = 200


class ControllableClock(DeliveringClock):
    """A clock that shows `start_time` until it is moved.

    `withhold` names boundaries that it never ticks, against its contract, to test that the code under test notices.
    `end_time` ends `boundaries()`, which is endless without it. One clock serves one event loop.
    """

    def __init__(
        self,
        start_time: datetime | date | str | int = "2024-01-01",
        timeframe: str | Timeframe = "1m",
        *,
        end_time: datetime | date | str | int | None = None,
        calendar: str | SessionCalendar | None = None,
        withhold: Iterable[datetime | date | str | int] = (),
        is_backtest: bool = False,
    ) -> None:
        super().__init__(timeframe, calendar)
        self._now_ns = to_ns(start_time)
        self._elapsed_ns = 0
        self._end_ns = None if end_time is None else to_ns(end_time)
        self._withheld = frozenset(map(to_ns, withhold))
        self._is_backtest = is_backtest
        self._tracker: Tracker | None = None
        self._ticks: list[ClockTick] = []
        numbers = itertools.count()
        self._wall_deadlines = Deadlines(numbers)
        self._elapsed_deadlines = Deadlines(numbers)
        self._moving = False
        self._unraised: list[BaseException] = []

    @property
    def ticks(self) -> tuple[ClockTick, ...]:
        """All ticks since the last start."""
        return tuple(self._ticks)

    def now_ns(self) -> int:
        """Return the clock's wall time, in nanoseconds since 1970-01-01 UTC."""
        return self._now_ns

    def elapsed_ns(self) -> int:
        """Return how far the clock was moved since it was created, in nanoseconds; `set_wall_time` does not count."""
        return self._elapsed_ns

    def call_at(self, ts_ns: int, callback: Callable[[], None]) -> Unschedule:
        """Call `callback` once on the running event loop when wall time reaches `ts_ns`; soon when it has passed."""
        if ts_ns > self._now_ns:
            return self._wall_deadlines.add(ts_ns, callback)
        return asyncio.get_running_loop().call_soon(callback).cancel

    def call_after(self, delay_ns: int, callback: Callable[[], None]) -> Unschedule:
        """Call `callback` once on the running event loop after `delay_ns` of elapsed time; soon when it is not positive."""
        if delay_ns > 0:
            return self._elapsed_deadlines.add(self._elapsed_ns + delay_ns, callback)
        return asyncio.get_running_loop().call_soon(callback).cancel

    async def sleep_until(self, ts_ns: int) -> None:
        """Return when wall time has reached `ts_ns`; at once when it has passed."""
        await until_called(lambda wake: self.call_at(ts_ns, wake))

    async def advance(self, bars: int = 1) -> None:
        """Move to the next boundary, `bars` times. All that is due on the way happens, and its consequences settle."""
        if bars < 0:
            raise ClockMovedBackwards(f"advance(bars={bars}): a clock cannot be moved backwards; make a new one")
        for _ in range(bars):
            await self.advance_to(self._grid.next_after(self._now_ns))

    async def advance_to(self, ts: datetime | date | str | int) -> None:
        """Move wall and elapsed time on until wall time is `ts`. All that is due happens in order and settles.

        Raises `ClockMovedBackwards` when the clock has passed `ts`, and the error of a callback, after its boundary.
        """
        target = to_ns(ts)
        if target < self._now_ns:
            raise ClockMovedBackwards(
                f"the clock is at {format_ns(self._now_ns)} and cannot be moved back to {format_ns(target)}; "
                "make a new one, or set its wall time (set_wall_time)"
            )
        if self._moving:
            raise ClockError("the clock is being moved already; code that it wakes must not move it")
        self._moving = True
        try:
            await self.settle()
            while (wait := self._next_wait()) is not None and self._now_ns + wait <= target:
                self._move_by(wait)
                await self.settle()
            # The wall clock may have been set past the target by code that was woken on the way.
            self._pass(max(0, target - self._now_ns))
        finally:
            self._moving = False

    def set_wall_time(self, ts: datetime | date | str | int) -> None:
        """Set the wall clock forward or back to `ts`, as an administrator or a time daemon does; no time elapses.

        Boundaries are treated as in `RealtimeClock`: those skipped by a step of a second or more are reported as a gap,
        and after a step back no boundary is ticked twice. Timers of wall time that have become due are called soon.
        """
        self._now_ns = to_ns(ts)
        self._happen()

    async def settle(self) -> None:
        """Return when all other code on the event loop is waiting.

        Raises the error of a callback that failed since the last call, once; the other callbacks go on. Raises the error
        that stopped the clock every time.
        """
        loop = asyncio.get_running_loop()
        ready = getattr(loop, "_ready", None)
        turns = quiet = 0
        # Two quiet turns: the second one has seen what the selector had to say.
        while quiet < (2 if ready is not None else _BLIND_TURNS):
            turn = loop.create_future()
            loop.call_soon(turn.set_result, None)
            await turn
            quiet = 0 if ready else quiet + 1
            turns += 1
            if turns > _MOST_TURNS:
                raise ClockError(f"the code under test is still busy after {_MOST_TURNS} turns of the event loop")
        unraised, self._unraised = self._unraised, []
        if self._error is not None:
            raise self._error
        if unraised:
            raise unraised[0]

    def run(self, main: Coroutine[Any, Any, _T]) -> _T:
        """Run `main` on a new event loop, with autojump: when all code is blocked, move to the next due event.

        A day of one-minute ticks, timeouts and retries then takes as long as the code that they run.
        """
        return run_until_idle(main, self._jump)

    def boundaries(self) -> Iterator[int]:
        """Yield the boundaries from the clock's time to `end_time`, both included, and move the clock along."""
        if self._running:
            raise ClockRunning(f"this clock is already running (run {self._run_id!r}); await stop() first")
        ts = self._grid.next_after(self._now_ns - 1)
        while self._end_ns is None or ts <= self._end_ns:
            if ts not in self._withheld:
                self._pass(ts - self._now_ns)
                yield ts
            ts = self._grid.next_after(ts)

    def _latest_ns(self) -> int:
        return self._now_ns

    def _begin(self) -> None:
        self._ticks.clear()
        self._unraised.clear()
        self._tracker = Tracker(self._grid, self._reading(), self._after)
        if self._tracker.missed is not None:
            self._report(self._tracker.missed)

    def _record_failure(self, failure: CallbackFailure, *, is_last: bool) -> bool:
        self._unraised.append(failure.error)
        return super()._record_failure(failure, is_last=is_last)

    def _silence(self) -> None:
        self._tracker = None

    def _reading(self) -> Reading:
        return Reading(self._now_ns, self._elapsed_ns, 0)

    def _next_wait(self) -> int | None:
        """Return the nanoseconds until the next tick or timer; None where nothing is scheduled."""
        due = (self._tracker.due if self._tracker is not None else None, self._wall_deadlines.next_ns())
        waits = [ts - self._now_ns for ts in due if ts is not None]
        after = self._elapsed_deadlines.next_ns()
        if after is not None:
            waits.append(after - self._elapsed_ns)
        return min(waits, default=None)

    def _pass(self, ns: int) -> None:
        self._now_ns += ns
        self._elapsed_ns += ns

    def _move_by(self, ns: int) -> None:
        self._pass(ns)
        self._happen()

    def _happen(self) -> None:
        """Deliver the tick that is due, or report missed ones; then call the timers that are due."""
        if self._tracker is not None:
            wake = self._tracker.wake(self._reading())
            if wake.gap is not None:
                self._report(wake.gap)
            if wake.boundary is not None and wake.boundary not in self._withheld:
                self._ticks.append(self._deliver(wake.boundary, wake.bar_index, is_backtest=self._is_backtest))
        while (callback := self._take_due()) is not None:
            asyncio.get_running_loop().call_soon(callback)

    def _take_due(self) -> Callable[[], None] | None:
        """Remove and return the next due timer; of two in the same instant, the one that was set first."""
        wall = self._wall_deadlines.due_number(self._now_ns)
        elapsed = self._elapsed_deadlines.due_number(self._elapsed_ns)
        if elapsed is None or (wall is not None and wall < elapsed):
            return self._wall_deadlines.take(self._now_ns)
        return self._elapsed_deadlines.take(self._elapsed_ns)

    def _jump(self, _timeout: float | None) -> bool:
        wait = self._next_wait()
        if wait is None:
            return False
        self._move_by(wait)
        return True
