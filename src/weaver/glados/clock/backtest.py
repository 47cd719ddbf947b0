"""BacktestClock: the boundaries of a past period, as fast as they are consumed.

The same ticks come to subscribers on an event loop (`start`), as tick objects from an iterator (`ticks`) and as ints
(`boundaries`). Memory does not grow with the length of the run. It reads real time only to yield to its event loop.
"""

from __future__ import annotations

import asyncio
import inspect
import time
from collections.abc import Generator, Iterator
from datetime import date, datetime
from functools import partial

from weaver.core.calendar import SessionCalendar
from weaver.core.errors import ClockRunning, ConfigError
from weaver.core.instants import format_ns, from_ns, to_ns
from weaver.core.ports import Unsubscribe
from weaver.core.text import brief
from weaver.core.timeframe import Timeframe
from weaver.glados.clock.base import BaseClock
from weaver.glados.clock.ticks import (
    CallbackFailure,
    ClockGap,
    ClockTick,
    GapCallback,
    LastTick,
    Subscription,
    check_callback,
    gap_while_down,
)

__all__ = ["BacktestClock"]

# A turn of the event loop at every tick would cost 20 times the tick itself; every 10 ms delays other tasks little.
_SLICE_NS = 10_000_000


class BacktestClock(BaseClock):
    """Ticks every boundary from `start_time` to `end_time`, both included.

    Times are aware datetimes, dates (00:00 UTC), ISO strings with an offset, or int nanoseconds since 1970-01-01 UTC.
    Raises `ConfigError` when the start is after the end or there is no boundary between them, and `NaiveDatetimeError`.
    With `backpressure` the clock waits after every tick until `acknowledge()` is called. If the callback that acknowledges
    might raise, start the clock with `stop_on_error=True`, since the clock would wait for it without end.
    """

    def __init__(
        self,
        start_time: datetime | date | str | int,
        end_time: datetime | date | str | int,
        timeframe: str | Timeframe,
        *,
        calendar: str | SessionCalendar | None = None,
        backpressure: bool = False,
    ) -> None:
        super().__init__(timeframe, calendar)
        self._start_ns, self._end_ns = to_ns(start_time), to_ns(end_time)
        span = f"start_time={format_ns(self._start_ns)}", f"end_time={format_ns(self._end_ns)}"
        if self._start_ns > self._end_ns:
            raise ConfigError(f"{span[0]} is after {span[1]}; swap them")
        ends = self._grid.ends(self._start_ns, self._end_ns)
        if ends is None:
            of = f" of calendar {self._calendar.name!r}" if self._calendar else ""
            nearest = format_ns(self._grid.next_after(self._end_ns))
            raise ConfigError(
                f"no {self._timeframe} boundary{of} is between {span[0]} and {span[1]}; the next is {nearest}"
            )
        self._first_ns, self._last_ns = ends
        self._now_ns = self._start_ns
        self._next_ns, self._next_index = self._first_ns, 0
        self._gap_subscriptions: tuple[Subscription, ...] = ()
        self._complete = False
        self._backpressure = backpressure
        self._acknowledged = False
        self._awaiting: asyncio.Future[None] | None = None
        self._task: asyncio.Task[None] | None = None

    @property
    def start_time(self) -> datetime:
        """The start of the period, an aware UTC datetime."""
        return from_ns(self._start_ns)

    @property
    def end_time(self) -> datetime:
        """The end of the period, an aware UTC datetime."""
        return from_ns(self._end_ns)

    @property
    def simulated_time(self) -> datetime:
        """The current tick, an aware UTC datetime; `start_time` before the first."""
        return from_ns(self._now_ns)

    @property
    def progress(self) -> float:
        """The fraction of the period that has been ticked: 0.0 before the first tick, 1.0 at the last one."""
        if self._complete:
            return 1.0
        if not self._tick_count and self._now_ns <= self._first_ns:
            return 0.0
        length = self._last_ns - self._first_ns
        return (self._now_ns - self._first_ns) / length if length else 1.0

    @property
    def is_complete(self) -> bool:
        """Whether every boundary has been ticked and every callback of the last one has returned."""
        return self._complete

    def on_gap(self, callback: GapCallback) -> Unsubscribe:
        """Call `callback` for the boundaries before the period that a run which resumes has missed, before the first tick.

        A backtest has no other gaps. Otherwise like `on_tick`.
        """
        check_callback("on_gap", callback)
        subscription = Subscription(callback)
        self._gap_subscriptions = (*self._gap_subscriptions, subscription)
        return partial(self._unsubscribe, subscription)

    def now_ns(self) -> int:
        """Return the current tick in nanoseconds since 1970-01-01 UTC; the start before the first."""
        return self._now_ns

    def boundaries(self) -> Iterator[int]:
        """Return all boundaries as ints, without changing the clock; without a calendar this is the iterator of a range."""
        return self._grid.between(self._first_ns, self._last_ns)

    def ticks(self, run_id: str = "backtest") -> Iterator[ClockTick]:
        """Return the ticks as an iterator that moves the clock's time, count and progress along.

        Taking the next tick acknowledges the one before. Subscribers are not called. The clock is running until the
        iterator is exhausted or closed; meanwhile a second iterator or a start raises `ClockRunning`.
        """
        return self._iterate(run_id)

    def enable_backpressure(self) -> None:
        """Wait for `acknowledge()` after each tick, from the next one on."""
        self._backpressure = True

    def disable_backpressure(self) -> None:
        """Tick without waiting; a wait in progress ends."""
        self._backpressure = False
        self._wake()

    def acknowledge(self) -> None:
        """Let the clock go on after the current tick. Calling it early or twice has the same effect as once."""
        self._acknowledged = True
        self._wake()

    def _latest_ns(self) -> int:
        return self._last_ns

    def _enter(self, run_id: str, after: LastTick | None = None) -> None:
        super()._enter(run_id, after)
        self._now_ns = self._start_ns
        self._next_ns, self._next_index = self._first_ns, 0
        if after is not None:
            # Time does not pass between the runs of a backtest, so only boundaries before its period can be missed.
            self._now_ns = max(self._start_ns, after.ts_ns)
            self._next_ns, self._next_index = max(self._first_ns, after.ts_ns + 1), after.bar_index + 1
            gap = gap_while_down(self._grid, after.ts_ns, self._next_ns)
            if gap is not None:
                self._next_index += gap.count
                self._record_missed(gap)
        self._complete = False
        self._acknowledged = False

    def _iterate(self, run_id: str) -> Generator[ClockTick, None, None]:
        if self._running:
            raise ClockRunning(f"this clock is already running (run {brief(self._run_id)}); finish or stop that first")
        self._enter(run_id)
        text = self._timeframe.text
        try:
            for index, ts in enumerate(self.boundaries()):
                self._now_ns = ts
                self._tick_count = index + 1
                yield ClockTick(run_id, ts, text, index, True)
                if self._stopping:
                    return
            self._complete = True
        finally:
            self._finish()

    def _begin(self) -> None:
        self._task = asyncio.get_running_loop().create_task(self._run(), name=f"backtest clock {self._run_id}")

    def _halt(self) -> None:
        self._wake()

    def _wake(self) -> None:
        if self._awaiting is not None and not self._awaiting.done():
            self._awaiting.set_result(None)

    async def _run(self) -> None:
        self._mark_inside()
        try:
            self._complete = await self._tick_all()
        except asyncio.CancelledError:
            raise
        except BaseException as error:
            # A calendar that ends, or an exception that is not for supervisors: wait() raises it.
            self._keep_error(error)
            if isinstance(error, KeyboardInterrupt | SystemExit):
                raise
        finally:
            self._task = None
            self._finish()

    def _unsubscribe(self, subscription: Subscription) -> None:
        super()._unsubscribe(subscription)
        self._gap_subscriptions = tuple(each for each in self._gap_subscriptions if each is not subscription)

    def _end_failed(self, subscription: Subscription, error: BaseException, event: ClockTick | ClockGap) -> None:
        self._unsubscribe(subscription)
        is_tick = isinstance(event, ClockTick)
        is_last = not self._subscriptions and (is_tick or not self._gap_subscriptions)
        ts_ns = event.ts_ns if isinstance(event, ClockTick) else event.first_ns
        failure = CallbackFailure(callback=subscription.callback, error=error, ts_ns=ts_ns)
        if self._record_failure(failure, is_last=is_last):
            self._stopping = True

    async def _deliver_gap(self, gap: ClockGap) -> None:
        for subscription in self._gap_subscriptions:
            if subscription.active and not self._stopping:
                try:
                    result = subscription.callback(gap)
                    if result is not None and inspect.isawaitable(result):
                        await result
                # The clock supervises its callbacks; see _tick_all.
                except (Exception, asyncio.CancelledError) as error:
                    if self._is_cancelled(error):
                        raise
                    self._end_failed(subscription, error, gap)

    async def _tick_all(self) -> bool:
        """Tick every boundary; False when it was stopped before the end."""
        run_id, text = self._run_id, self._timeframe.text
        for gap in self.gaps:
            await self._deliver_gap(gap)
        slice_end = time.perf_counter_ns() + _SLICE_NS
        for index, ts in enumerate(self._grid.between(self._next_ns, self._last_ns), self._next_index):
            if self._stopping:
                return False
            self._now_ns = ts
            self._tick_count += 1
            self._acknowledged = False
            tick = ClockTick(run_id, ts, text, index, True)
            for subscription in self._subscriptions:
                if subscription.active:
                    try:
                        result = subscription.callback(tick)
                        if result is not None and inspect.isawaitable(result):
                            await result
                    # The clock supervises its callbacks: one that raises must not cost the others their ticks.
                    except (Exception, asyncio.CancelledError) as error:
                        if self._is_cancelled(error):
                            raise
                        self._end_failed(subscription, error, tick)
                    if self._stopping:
                        return False
            while self._backpressure and not self._acknowledged and not self._stopping:
                self._awaiting = asyncio.get_running_loop().create_future()
                await self._awaiting
            if time.perf_counter_ns() >= slice_end:
                await asyncio.sleep(0)
                slice_end = time.perf_counter_ns() + _SLICE_NS
        return not self._stopping
