"""Delivery: each callback receives its events in order from its own queue.

So a callback that is slow, or that raises and is unsubscribed, does not delay the others or cost them a tick.

A queue is bounded. Ticks that do not fit, or are still queued when the clock stops, are reported as missed. A plain
function runs on the event loop itself: one that blocks also blocks the clock, which reports the boundaries missed by that.
"""

from __future__ import annotations

import asyncio
import inspect
from abc import abstractmethod
from collections import deque
from collections.abc import Awaitable, Callable
from typing import Any

from weaver.core.calendar import SessionCalendar
from weaver.core.ports import Unsubscribe
from weaver.core.timeframe import Timeframe
from weaver.glados.clock.base import BaseClock, logger
from weaver.glados.clock.ticks import (
    CallbackFailure,
    ClockGap,
    ClockTick,
    GapCallback,
    GapReason,
    Subscription,
    TickCallback,
    check_callback,
)

__all__ = ["DeliveringClock"]

# A callback that is this many ticks behind (17 minutes of one-second bars) will not catch up; its ticks become a gap.
QUEUE_LIMIT = 1024


class _Queue:
    """The queued events of one callback, and the task that delivers them while there are any."""

    def __init__(self, clock: DeliveringClock, callback: Callable[[Any], Awaitable[None] | None], limit: int) -> None:
        self._clock = clock
        self._callback = callback
        self._limit = limit
        self._events: deque[Any] = deque()
        self._task: asyncio.Task[None] | None = None
        self._lost: list[int] = []
        self.active = True
        self.end: Unsubscribe = lambda: None

    @property
    def is_busy(self) -> bool:
        return self._task is not None

    @property
    def callback(self) -> Callable[[Any], Awaitable[None] | None]:
        return self._callback

    def push(self, event: object) -> None:
        if len(self._events) >= self._limit:
            if isinstance(event, ClockTick):
                self._lose(event.ts_ns)
            return
        self.report(GapReason.SLOW_CALLBACK)
        self._events.append(event)
        if self._task is None:
            self._task = asyncio.get_running_loop().create_task(self._drain())

    def discard(self) -> list[int]:
        """Drop the queued events; return the boundaries among them."""
        boundaries = [event.ts_ns for event in self._events if isinstance(event, ClockTick)]
        self._events.clear()
        return boundaries

    def close(self) -> None:
        """Report the undelivered boundaries, as the clock stops."""
        self.report(GapReason.SLOW_CALLBACK)
        self._lost = self.discard()
        self.report(GapReason.STOPPED)

    def report(self, reason: GapReason) -> None:
        """Report the lost boundaries, once."""
        if self._lost:
            gap = ClockGap(self._lost[0], self._lost[-1], len(self._lost), reason)
            self._lost = []
            self._clock._report(gap)

    def _lose(self, ts_ns: int) -> None:
        if not self._lost:
            logger.warning("callback %r is %d ticks behind; further ticks are left out", self._callback, self._limit)
        # A report needs only the ends and the number, but the list must have a bound as well.
        self._lost.append(ts_ns)
        if len(self._lost) >= self._limit:
            self.report(GapReason.SLOW_CALLBACK)

    async def _drain(self) -> None:
        self._clock._mark_inside()
        try:
            while self._events and self.active:
                event = self._events.popleft()
                try:
                    result = self._callback(event)
                    if result is not None and inspect.isawaitable(result):
                        await result
                # The clock supervises its callbacks: one that raises must not cost the others their ticks.
                except (Exception, asyncio.CancelledError) as error:
                    if self._clock._is_cancelled(error):
                        raise
                    self._clock._end_failed(self, error, event)
        except asyncio.CancelledError:
            raise
        except BaseException as error:
            # An exception that is not for supervisors: the run ends at once, and wait() raises it.
            self._clock._fail(error)
            if isinstance(error, KeyboardInterrupt | SystemExit):
                raise
        finally:
            self._task = None
            self._clock._drained()


class DeliveringClock(BaseClock):
    """A clock that goes on while its callbacks work: a `BaseClock` with queues and reports of missed boundaries."""

    def __init__(self, timeframe: str | Timeframe, calendar: str | SessionCalendar | None = None) -> None:
        super().__init__(timeframe, calendar)
        self._queues: dict[Subscription, _Queue] = {}
        self._gap_queues: tuple[_Queue, ...] = ()
        # Unsubscribed while their callback was in progress: `stop` waits for it, and its error still belongs to this run.
        self._retired: tuple[_Queue, ...] = ()

    def on_tick(self, callback: TickCallback) -> Unsubscribe:
        """Call `callback` (a function or a coroutine function) at every tick, in order, independently of the others.

        Returns the function that ends the subscription. A callback that raises is unsubscribed and reported in `failures`
        and the log. A callback that falls more than 1,024 ticks behind loses ticks, which are reported as a gap.
        """
        unsubscribe = super().on_tick(callback)
        subscription = self._subscriptions[-1]
        queue = self._queues[subscription] = _Queue(self, callback, QUEUE_LIMIT)

        def end() -> None:
            unsubscribe()
            if self._queues.pop(subscription, None) is not None:
                self._retire(queue)

        queue.end = end
        return end

    def on_gap(self, callback: GapCallback) -> Unsubscribe:
        """Call `callback` for every report of missed boundaries; otherwise like `on_tick`.

        Boundaries that a slow callback still misses when the clock stops are in `gaps` and the log only.
        """
        check_callback("on_gap", callback)
        queue = _Queue(self, callback, QUEUE_LIMIT)
        self._gap_queues = (*self._gap_queues, queue)

        def end() -> None:
            self._gap_queues = tuple(each for each in self._gap_queues if each is not queue)
            self._retire(queue)

        queue.end = end
        return end

    def _deliver(self, ts_ns: int, index: int, *, is_backtest: bool) -> ClockTick:
        tick = ClockTick(self._run_id, ts_ns, self._timeframe.text, index, is_backtest)
        self._tick_count += 1
        for queue in tuple(self._queues.values()):
            queue.push(tick)
        return tick

    def _report(self, gap: ClockGap) -> None:
        self._record_missed(gap)
        # Without an event loop (`boundaries`) no callback is called.
        if self._ended is not None and not self._stopping:
            for queue in self._gap_queues:
                queue.push(gap)

    def _retire(self, queue: _Queue) -> None:
        queue.active = False
        queue.discard()
        if queue.is_busy:
            self._retired = (*self._retired, queue)

    def _end_failed(self, queue: _Queue, error: BaseException, event: ClockTick | ClockGap) -> None:
        """End the subscription of a callback that raised; stop the clock when that was the last one."""
        queue.end()
        is_tick = isinstance(event, ClockTick)
        # A callback for gaps is no reason to go on without one for ticks, and its failure none to stop one for ticks.
        is_last = not self._subscriptions and (is_tick or not self._gap_queues)
        ts_ns = event.ts_ns if isinstance(event, ClockTick) else event.first_ns
        failure = CallbackFailure(callback=queue.callback, error=error, ts_ns=ts_ns)
        if self._record_failure(failure, is_last=is_last):
            self._fail(self._failures[0].error)

    def _fail(self, error: BaseException) -> None:
        self._keep_error(error)
        if self._running and not self._stopping:
            self._stopping = True
            self._halt()

    def _halt(self) -> None:
        self._silence()
        for queue in (*self._queues.values(), *self._gap_queues):
            queue.close()
        self._drained()

    def _drained(self) -> None:
        """Finish the run once no callback is in progress."""
        self._retired = tuple(queue for queue in self._retired if queue.is_busy)
        queues = (*self._queues.values(), *self._gap_queues, *self._retired)
        if self._stopping and not any(queue.is_busy for queue in queues):
            self._finish()

    @abstractmethod
    def _silence(self) -> None:
        """Ensure that nothing wakes this clock any more."""
