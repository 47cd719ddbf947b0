"""ControllableClock: a clock that moves only when a test moves it, by bars, to an instant, or to whatever is due next.

It is the `Clock` port, a `TickSource` and a clock to subscribe to, with the same contract as the real ones. Everything that
waits on it (ticks, timers, timeouts, sleeps) happens in order of its instant; at one instant the tick goes first, then
timers in the order in which they were set. It never goes backwards and never waits for real time.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine, Iterable, Iterator
from datetime import date, datetime
from typing import Any, TypeVar

from weaver.core.calendar import SessionCalendar
from weaver.core.errors import ClockError, ClockMovedBackwards, ClockRunning
from weaver.core.instants import format_ns, to_ns
from weaver.core.ports import Unschedule
from weaver.core.timeframe import Timeframe
from weaver.glados.clock.base import ClockTick
from weaver.glados.clock.deadlines import Deadlines
from weaver.glados.clock.delivery import DeliveringClock
from weaver.testing.loop import run_until_idle

__all__ = ["ControllableClock"]

_T = TypeVar("_T")

# Code that is still busy after this many turns of the event loop is spinning, and the test would hang without a word.
_MOST_TURNS = 100_000
# Used where the loop does not show what is ready (uvloop): enough turns for a chain of as many awaits.
_BLIND_TURNS = 200


class ControllableClock(DeliveringClock):
    """A clock that stands at `start_time` until it is moved.

    `withhold` names boundaries that it never ticks, against its contract, to see that the code under test notices.
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
        self._end_ns = None if end_time is None else to_ns(end_time)
        self._withheld = frozenset(map(to_ns, withhold))
        self._is_backtest = is_backtest
        self._due: int | None = None
        self._index = 0
        self._ticks: list[ClockTick] = []
        self._deadlines = Deadlines()
        self._moving = False

    @property
    def ticks(self) -> tuple[ClockTick, ...]:
        """Every tick since the last start."""
        return tuple(self._ticks)

    def now_ns(self) -> int:
        """Where the clock stands, in nanoseconds since 1970-01-01 UTC."""
        return self._now_ns

    def call_at(self, ts_ns: int, callback: Callable[[], None]) -> Unschedule:
        """Call `callback` once on the running event loop when the clock reaches `ts_ns`; soon when it has."""
        if ts_ns > self._now_ns:
            return self._deadlines.add(ts_ns, callback)
        return asyncio.get_running_loop().call_soon(callback).cancel

    async def sleep_until(self, ts_ns: int) -> None:
        """Return when the clock has reached `ts_ns`; at once when it has passed."""
        woken = asyncio.get_running_loop().create_future()
        cancel = self.call_at(ts_ns, lambda: None if woken.done() else woken.set_result(None))
        try:
            await woken
        finally:
            cancel()

    async def advance(self, bars: int = 1) -> None:
        """Move to the next boundary, `bars` times; on the way everything due happens, and its consequences settle."""
        if bars < 0:
            raise ClockMovedBackwards(f"advance(bars={bars}): a clock cannot be moved backwards; make a new one")
        for _ in range(bars):
            await self.advance_to(self._grid.next_after(self._now_ns))

    async def advance_to(self, ts: datetime | date | str | int) -> None:
        """Move to `ts`; on the way everything due happens in order, and its consequences settle.

        Raises `ClockMovedBackwards` when the clock has passed `ts`, and what a tick callback raised.
        """
        target = to_ns(ts)
        if target < self._now_ns:
            raise ClockMovedBackwards(
                f"the clock stands at {format_ns(self._now_ns)} and cannot be moved back to {format_ns(target)}; "
                "make a new one"
            )
        if self._moving:
            raise ClockError("the clock is being moved already; what it wakes must not move it")
        self._moving = True
        try:
            await self.settle()
            while (due := self._next_ns()) is not None and due <= target:
                self._move_to(due)
                await self.settle()
            self._now_ns = target
        finally:
            self._moving = False

    async def settle(self) -> None:
        """Return when everything else on the event loop is waiting for something; raise what a tick callback raised."""
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
        if self._error is not None:
            raise self._error

    def run(self, main: Coroutine[Any, Any, _T]) -> _T:
        """Run `main` on an event loop of its own, with autojump: when everything is blocked, move to what is due next.

        A day of one-minute ticks, timeouts and retries then takes as long as the code that they run.
        """
        return run_until_idle(main, self._jump)

    def boundaries(self) -> Iterator[int]:
        """The boundaries from where the clock stands to `end_time`, both included, moving the clock along."""
        if self._running:
            raise ClockRunning(f"this clock is already running (run {self._run_id!r}); await stop() first")
        ts = self._grid.next_after(self._now_ns - 1)
        while self._end_ns is None or ts <= self._end_ns:
            if ts not in self._withheld:
                self._now_ns = ts
                yield ts
            ts = self._grid.next_after(ts)

    def _begin(self) -> None:
        self._ticks.clear()
        self._index = 0
        self._due = self._grid.next_after(self._now_ns)

    def _silence(self) -> None:
        self._due = None

    def _next_ns(self) -> int | None:
        waiting = [ts for ts in (self._due, self._deadlines.next_ns()) if ts is not None]
        return min(waiting, default=None)

    def _move_to(self, ts_ns: int) -> None:
        """Stand at `ts_ns`, where something is due: hand the tick over, then the timers."""
        self._now_ns = ts_ns
        if self._due == ts_ns:
            self._due = self._grid.next_after(ts_ns)
            if ts_ns not in self._withheld:
                self._ticks.append(self._deliver(ts_ns, self._index, is_backtest=self._is_backtest))
            self._index += 1
        loop = asyncio.get_running_loop()
        while (callback := self._deadlines.take(ts_ns)) is not None:
            loop.call_soon(callback)

    def _jump(self, _timeout: float | None) -> bool:
        due = self._next_ns()
        if due is None:
            return False
        self._move_to(due)
        return True
