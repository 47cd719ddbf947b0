"""Timers.

Callbacks at an instant or at every boundary of a period, run at the first tick at or after it. It reads no clock.
"""

from __future__ import annotations

import heapq
import inspect
from collections.abc import Callable
from datetime import UTC, datetime

from weaver.core.errors import StrategyError, TimeframeError
from weaver.core.instants import from_ns, to_ns
from weaver.core.text import brief
from weaver.core.timeframe import Timeframe
from weaver.marvin.command_queue import MOST_COMMANDS, too_many

__all__ = ["NEVER", "Timers"]

NEVER = 2**63 - 1

_MONTHS = {"month": 1, "quarter": 3, "year": 12}
_WORDS = {"minute": "1m", "hour": "1h", "day": "1d", "week": "1w"}


class Timers:
    """The timers of a run, due in the order (instant, order of setting). `next_due` is the earliest if any is set
    (`armed`).

    `before` is called before what is due, to show the callbacks what is known by then; `now_ns` returns the current tick.
    """

    __slots__ = ("_before", "_heap", "_now_ns", "_set", "_set_in_tick", "_tick_ns", "armed", "next_due")

    def __init__(self, before: Callable[[], object] = lambda: None, now_ns: Callable[[], int] = lambda: 0) -> None:
        self._before = before
        self._now_ns = now_ns
        self._tick_ns = 0  # the tick in which the last timer was set
        self._set_in_tick = 0
        self._heap: list[tuple[int, int, Callable[[], object], Callable[[int], int] | None]] = []
        self._set = 0
        self.armed = False
        self.next_due = NEVER

    def at(self, when: datetime | str | int, callback: Callable[[], object]) -> None:
        """Call `callback` once, at the first tick at or after `when` (an aware datetime or an ISO string)."""
        _check(callback, f"at({brief(when)}, {brief(callback)})")
        self._count("at")
        self._add(to_ns(when), callback, None)

    def every(self, period: str | Timeframe, callback: Callable[[], object], now_ns: int) -> None:
        """Call `callback` at each boundary of `period` after now; boundaries missed between two ticks count once.

        `period` is a timeframe ("1h") or one of minute, hour, day, week, month, quarter, year, all in UTC.
        """
        _check(callback, f"every({brief(period)}, {brief(callback)})")
        following = _following(period)
        self._count("every")
        self._add(following(now_ns), callback, following)

    def fire(self, now_ns: int) -> None:
        """Run the callbacks that are due at `now_ns`.

        A timer that a callback sets for now or earlier is due at the next tick.
        """
        heap = self._heap
        # All that is due is taken first: a callback that sets itself again for now would otherwise never end.
        due = []
        while heap and heap[0][0] <= now_ns:
            due.append(heapq.heappop(heap))
        if due:
            self._before()
        for _, _, callback, following in due:
            if following is not None:
                self._add(following(now_ns), callback, following)
        for _, _, callback, _ in due:
            callback()
        self.armed = bool(heap)
        self.next_due = heap[0][0] if heap else NEVER

    def _count(self, call: str) -> None:
        """Raise StrategyError for more than MOST_COMMANDS timers that one tick sets; repeated ones set themselves."""
        now_ns = self._now_ns()
        if now_ns != self._tick_ns:
            self._tick_ns, self._set_in_tick = now_ns, 0
        if self._set_in_tick >= MOST_COMMANDS:
            raise too_many(call, MOST_COMMANDS, "timers")
        self._set_in_tick += 1

    def _add(self, due: int, callback: Callable[[], object], following: Callable[[int], int] | None) -> None:
        self._set += 1
        heapq.heappush(self._heap, (due, self._set, callback, following))
        self.armed = True
        self.next_due = self._heap[0][0]


def _check(callback: object, call: str) -> None:
    if not callable(callback):
        raise StrategyError(f"{call}: the second argument is the function to call, without calling it")
    try:
        inspect.signature(callback).bind()
    except TypeError as error:
        raise StrategyError(f"{call}: the function is called without arguments, and {error}") from None
    except ValueError:
        pass  # some functions written in C do not say what they take


def _following(period: str | Timeframe) -> Callable[[int], int]:
    if isinstance(period, str) and period in _MONTHS:
        months = _MONTHS[period]
        return lambda now: _next_month(now, months)
    try:
        return Timeframe.of(_WORDS.get(period, period) if isinstance(period, str) else period).next_bar_start
    except TimeframeError as error:
        words = ", ".join([*_WORDS, *_MONTHS])
        raise StrategyError(f"every({brief(period)}): {error}; or one of: {words}") from error


def _next_month(now_ns: int, months: int) -> int:
    now = from_ns(now_ns)
    index = (now.year * 12 + now.month - 1) // months * months + months
    return to_ns(datetime(index // 12, index % 12 + 1, 1, tzinfo=UTC))
