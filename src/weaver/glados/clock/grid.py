"""Grid: the boundaries that a clock ticks, either all multiples of the timeframe in UTC or those of a session calendar.

Every query takes constant memory, however long the period. The grid does not read a clock.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from weaver.core.calendar import SessionCalendar
from weaver.core.errors import CalendarError
from weaver.core.instants import NS_PER_DAY, format_ns
from weaver.core.timeframe import Timeframe

__all__ = ["Grid", "SessionGrid", "UtcGrid", "make_grid"]

# Session ticks are computed in windows: at least a day, and for long bars long enough for some thousand ticks.
_WINDOW_BARS = 4096
# The longest closure of an exchange was some months (1914); a calendar without sessions for longer has ended.
_LONGEST_CLOSURE = 400 * NS_PER_DAY


class Grid(Protocol):
    """The boundaries of one timeframe, as int nanoseconds since 1970-01-01 UTC."""

    def between(self, first_ns: int, last_ns: int) -> Iterator[int]:
        """Return every boundary in [first_ns, last_ns], rising."""
        ...

    def next_after(self, ts_ns: int) -> int:
        """Return the first boundary strictly after `ts_ns`."""
        ...

    def ends(self, first_ns: int, last_ns: int) -> tuple[int, int] | None:
        """Return the first and the last boundary in [first_ns, last_ns], or None when there is none."""
        ...

    def count(self, first_ns: int, last_ns: int) -> int:
        """Return the number of boundaries in [first_ns, last_ns]."""
        ...


class UtcGrid:
    """Every multiple of the timeframe; weeks from Monday."""

    def __init__(self, timeframe: Timeframe) -> None:
        self._timeframe = timeframe

    def between(self, first_ns: int, last_ns: int) -> Iterator[int]:
        """Return every boundary in [first_ns, last_ns], rising: the iterator of a range."""
        return iter(range(self.next_after(first_ns - 1), last_ns + 1, self._timeframe.ns))

    def next_after(self, ts_ns: int) -> int:
        """Return the first boundary strictly after `ts_ns`."""
        return self._timeframe.next_bar_start(ts_ns)

    def ends(self, first_ns: int, last_ns: int) -> tuple[int, int] | None:
        """Return the first and the last boundary in [first_ns, last_ns], or None when there is none."""
        first = self.next_after(first_ns - 1)
        return (first, self._timeframe.bar_start(last_ns)) if first <= last_ns else None

    def count(self, first_ns: int, last_ns: int) -> int:
        """Return the number of boundaries in [first_ns, last_ns]."""
        return self._timeframe.count(first_ns, last_ns + 1)


class SessionGrid:
    """The opens of trading and the ends of bars, by a session calendar."""

    def __init__(self, timeframe: Timeframe, calendar: SessionCalendar) -> None:
        self._timeframe = timeframe
        self._calendar = calendar
        self._window = max(NS_PER_DAY, _WINDOW_BARS * timeframe.ns) if timeframe.is_intraday else 3650 * NS_PER_DAY
        self._ahead: NDArray[np.int64] = np.empty(0, dtype=np.int64)
        self._ahead_from = 0

    def between(self, first_ns: int, last_ns: int) -> Iterator[int]:
        """Yield every boundary in [first_ns, last_ns], rising; one window of them is in memory at a time."""
        low = first_ns
        while low <= last_ns:
            high = min(low + self._window - 1, last_ns)
            yield from self._calendar.boundaries(low, high, self._timeframe).tolist()
            low = high + 1

    def next_after(self, ts_ns: int) -> int:
        """Return the first boundary strictly after `ts_ns`; raise `CalendarError` without one for over a year."""
        ahead = self._ahead
        if not (len(ahead) and self._ahead_from <= ts_ns < ahead[-1]):
            low, span = ts_ns + 1, NS_PER_DAY
            while True:
                ahead = self._calendar.boundaries(low, low + span, self._timeframe)
                if len(ahead):
                    break
                if span >= _LONGEST_CLOSURE:
                    raise CalendarError(
                        f"calendar {self._calendar.name!r} has no session in the {span // NS_PER_DAY} days after "
                        f"{format_ns(ts_ns)}; the clock would never tick"
                    )
                span = min(span * 4, _LONGEST_CLOSURE)
            self._ahead, self._ahead_from = ahead, ts_ns
        return int(ahead[np.searchsorted(ahead, ts_ns, side="right")])

    def ends(self, first_ns: int, last_ns: int) -> tuple[int, int] | None:
        """Return the first and the last boundary in [first_ns, last_ns], or None when there is none."""
        first = next(self.between(first_ns, last_ns), None)
        if first is None:
            return None
        high = last_ns
        while True:
            low = max(first, high - self._window + 1)
            ticks = self._calendar.boundaries(low, high, self._timeframe)
            if len(ticks):
                return first, int(ticks[-1])
            high = low - 1

    def count(self, first_ns: int, last_ns: int) -> int:
        """Return the number of boundaries in [first_ns, last_ns]."""
        total, low = 0, first_ns
        while low <= last_ns:
            high = min(low + self._window - 1, last_ns)
            total += len(self._calendar.boundaries(low, high, self._timeframe))
            low = high + 1
        return total


def make_grid(timeframe: Timeframe, calendar: SessionCalendar | None) -> Grid:
    """Return the grid of `calendar`, or that of UTC without one."""
    return UtcGrid(timeframe) if calendar is None else SessionGrid(timeframe, calendar)
