"""BaseClock: the guarantees and the life cycle that all clocks share.

Each boundary is ticked exactly once, in order and never early, or it is reported once as missed (`ClockGap`). A callback
that raises is unsubscribed and reported (`CallbackFailure`); the other callbacks keep their ticks, that boundary included.
Starting a running clock raises; stopping is idempotent; a stopped clock starts again from the beginning; no callback is
called after `stop()` returns. Subclasses decide when boundaries come.
"""

from __future__ import annotations

import asyncio
import logging
from abc import ABC, abstractmethod
from collections import deque
from collections.abc import Iterator
from contextvars import ContextVar
from datetime import datetime
from functools import partial

from weaver.core.calendar import SessionCalendar
from weaver.core.errors import ClockError, ClockRunning, ConfigError
from weaver.core.instants import format_ns, from_ns
from weaver.core.ports import Unsubscribe
from weaver.core.text import brief
from weaver.core.timeframe import Timeframe
from weaver.glados.clock.grid import make_grid
from weaver.glados.clock.ticks import (
    CallbackFailure,
    ClockGap,
    GapCallback,
    LastTick,
    Subscription,
    TickCallback,
    check_callback,
)

__all__ = ["BaseClock", "logger"]

logger = logging.getLogger("weaver.clock")

# A run that subscribes again after each failure must not fill the memory; the log has every failure.
_FAILURES_KEPT = 256
# Gaps are kept for later inspection; more than this in one run means that no code is reading them.
_GAPS_KEPT = 256

# The clocks whose callbacks are running the current code. A task that a callback starts inherits it, so that a callback
# may stop its own clock, directly or through a task that it awaits, without waiting for itself.
_INSIDE: ContextVar[tuple[BaseClock, ...]] = ContextVar("weaver_clock_inside", default=())


class BaseClock(ABC):
    """A clock that ticks bar boundaries to its subscribers on an event loop. Not thread-safe: one loop drives it."""

    def __init__(self, timeframe: str | Timeframe, calendar: str | SessionCalendar | None = None) -> None:
        self._timeframe = Timeframe.of(timeframe)
        if isinstance(calendar, str):
            from weaver.glados.clock.calendars import get_calendar

            calendar = get_calendar(calendar)
        if not (calendar is None or isinstance(calendar, SessionCalendar)):
            raise ConfigError(
                f"calendar={brief(calendar)}: give the name of an exchange, such as 'XNYS', or a SessionCalendar"
            )
        self._calendar = calendar
        self._grid = make_grid(self._timeframe, calendar)
        self._subscriptions: tuple[Subscription, ...] = ()
        self._run_id = ""
        self._running = False
        self._stopping = False
        self._tick_count = 0
        self._error: BaseException | None = None
        self._failures: deque[CallbackFailure] = deque(maxlen=_FAILURES_KEPT)
        self._stop_on_error = False
        self._gaps: deque[ClockGap] = deque(maxlen=_GAPS_KEPT)
        self._after: LastTick | None = None
        self._ended: asyncio.Future[None] | None = None

    @property
    def timeframe(self) -> Timeframe:
        """The length of the bars whose boundaries are ticked."""
        return self._timeframe

    @property
    def calendar(self) -> SessionCalendar | None:
        """The session calendar of the ticks; None: UTC, around the clock."""
        return self._calendar

    @property
    def run_id(self) -> str:
        """The run id of the last start; empty before the first start."""
        return self._run_id

    @property
    def is_running(self) -> bool:
        """Whether the clock was started and neither ended nor stopped since."""
        return self._running and not self._stopping

    @property
    def tick_count(self) -> int:
        """Number of boundaries ticked since the last start."""
        return self._tick_count

    @property
    def error(self) -> BaseException | None:
        """The error that stopped the clock and that `wait()` raises; None without one.

        If callbacks failed, it is the error of the oldest of `failures`.
        """
        return self._error

    @property
    def failures(self) -> tuple[CallbackFailure, ...]:
        """The latest 256 failures of callbacks since the last start, oldest first."""
        return tuple(self._failures)

    def on_tick(self, callback: TickCallback) -> Unsubscribe:
        """Call `callback` (a function or a coroutine function) at every tick, in the order of subscription.

        Returns the function that ends the subscription. A callback that raises is unsubscribed and reported in `failures`
        and the log.
        """
        check_callback("on_tick", callback)
        subscription = Subscription(callback)
        self._subscriptions = (*self._subscriptions, subscription)
        return partial(self._unsubscribe, subscription)

    @property
    def gaps(self) -> tuple[ClockGap, ...]:
        """The latest 256 reports of missed boundaries since the last start, oldest first."""
        return tuple(self._gaps)

    @abstractmethod
    def on_gap(self, callback: GapCallback) -> Unsubscribe:
        """Call `callback` for every report of missed boundaries; otherwise like `on_tick`."""

    async def start(
        self, run_id: str, *, after_ns: int | None = None, after_index: int = 0, stop_on_error: bool = False
    ) -> None:
        """Start ticking, from the beginning and with fresh state. Raises `ClockRunning` when it is running already.

        To resume a run, pass `ts_ns` and `bar_index` of its last tick as `after_ns` and `after_index`: the boundaries that
        were missed since are reported as one gap (`DOWN`), and the count of boundaries continues. A boundary at the very
        instant of the start is ticked. Raises `ConfigError` when `after_ns` is not a boundary or is later than the time of
        this clock (a backtest: its last boundary).

        With `stop_on_error` the first callback that raises stops the clock; otherwise the last one that is left does.
        """
        if self._running:
            raise ClockRunning(f"this clock is already running (run {brief(self._run_id)}); await stop() first")
        after = self._last_tick(after_ns, after_index)
        ended = asyncio.get_running_loop().create_future()
        self._enter(run_id, after)
        self._stop_on_error = stop_on_error
        self._ended = ended
        try:
            self._begin()
        except BaseException:
            self._finish()
            raise

    async def stop(self) -> None:
        """Stop ticking; no callback is called after this returns. Stopping twice does nothing.

        It waits for a callback in progress, unless that callback is the one that stops the clock.
        """
        if not self._running:
            return
        if not self._stopping:
            self._stopping = True
            self._halt()
        if self not in _INSIDE.get() and self._ended is not None:
            await asyncio.wait({self._ended})

    async def wait(self) -> None:
        """Return when the clock has ended. Returns at once before a start.

        Raises `error` if that ended the clock: the error of a callback when no tick callback was left after it, or of the
        first one with `start(stop_on_error=True)`.
        """
        if self in _INSIDE.get():
            raise ClockError("a callback cannot wait for the end of its own clock; await stop() or return instead")
        if self._running and self._ended is not None:
            await asyncio.wait({self._ended})
        if self._error is not None:
            raise self._error

    def current_time(self) -> datetime:
        """Return the time on this clock, an aware UTC datetime."""
        return from_ns(self.now_ns())

    @abstractmethod
    def now_ns(self) -> int:
        """Return the time on this clock, in nanoseconds since 1970-01-01 UTC."""

    @abstractmethod
    def boundaries(self) -> Iterator[int]:
        """Return the boundaries as ints (nanoseconds since 1970-01-01 UTC), for use without an event loop."""

    @abstractmethod
    def _latest_ns(self) -> int:
        """Return the latest instant at which a run that this clock resumes can have had its last tick."""

    @abstractmethod
    def _begin(self) -> None:
        """Schedule the first tick; the state is fresh and an event loop is running."""

    @abstractmethod
    def _halt(self) -> None:
        """Prevent further ticks and ensure that `_finish` is called; `_stopping` is set."""

    def _last_tick(self, after_ns: int | None, after_index: int) -> LastTick | None:
        """Return the arguments of a start as the last tick of the run; None for a new run."""
        if isinstance(after_index, bool) or not isinstance(after_index, int) or after_index < 0:
            raise ConfigError(f"after_index={brief(after_index)}: give the bar_index of the run's last tick, 0 or more")
        if after_ns is None:
            if after_index:
                raise ConfigError(f"after_index={after_index} needs after_ns as well, the ts_ns of the run's last tick")
            return None
        if isinstance(after_ns, bool) or not isinstance(after_ns, int):
            raise ConfigError(
                f"after_ns={brief(after_ns)}: give the ts_ns of the run's last tick, an int of nanoseconds"
            )
        latest = self._latest_ns()
        if after_ns > latest:
            raise ConfigError(
                f"after_ns={format_ns(after_ns)} is later than {format_ns(latest)}, the latest that this clock can resume "
                "after; pass the ts_ns of the run's last tick, and check the time of this machine"
            )
        following = self._grid.next_after(after_ns - 1)
        if following != after_ns:
            of = f" of calendar {self._calendar.name!r}" if self._calendar else ""
            raise ConfigError(
                f"after_ns={format_ns(after_ns)} is not a {self._timeframe} boundary{of} (the next one is "
                f"{format_ns(following)}); pass the ts_ns of the run's last tick, and its timeframe and calendar"
            )
        return LastTick(after_ns, after_index)

    def _enter(self, run_id: str, after: LastTick | None = None) -> None:
        self._after = after
        self._gaps.clear()
        self._run_id = run_id
        self._running = True
        self._stopping = False
        self._tick_count = 0
        self._error = None
        self._failures.clear()

    def _mark_inside(self) -> None:
        """Record that this task runs callbacks of this clock; call it once in each such task."""
        _INSIDE.set((*_INSIDE.get(), self))

    def _record_missed(self, gap: ClockGap) -> None:
        self._gaps.append(gap)
        logger.warning("clock of run %r: %s", self._run_id, gap)

    def _unsubscribe(self, subscription: Subscription) -> None:
        subscription.active = False
        self._subscriptions = tuple(each for each in self._subscriptions if each is not subscription)

    def _record_failure(self, failure: CallbackFailure, *, is_last: bool) -> bool:
        """Report a callback that was unsubscribed because it raised; return whether that ends the run.

        `is_last` says that no callback is left that could receive what this one received.
        """
        self._failures.append(failure)
        logger.error("clock of run %r: %s", self._run_id, failure, exc_info=failure.error)
        ends = is_last or self._stop_on_error
        if ends:
            self._keep_error(self._failures[0].error)
        return ends

    def _keep_error(self, error: BaseException) -> None:
        if self._error is None:
            self._error = error
            logger.error("clock of run %r stopped: %s", self._run_id, brief(error))

    def _is_cancelled(self, error: BaseException) -> bool:
        """Whether `error` is the cancellation of the current task, not that of something that a callback awaited."""
        task = asyncio.current_task()
        return isinstance(error, asyncio.CancelledError) and task is not None and bool(task.cancelling())

    def _finish(self) -> None:
        self._running = False
        self._stopping = False
        ended, self._ended = self._ended, None
        if ended is not None and not ended.done() and not ended.get_loop().is_closed():
            ended.set_result(None)
