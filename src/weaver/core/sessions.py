"""Sessions of a series: which session each bar belongs to, whether it is the first or last, and when its session closes.

Every value of a row follows from the calendar and from rows up to that one, never from the bar that comes after it. So a
series that is cut anywhere has the same sessions up to the cut, and a live run knows them as early as a backtest does.
This module does not read prices.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from weaver.core.bars import BarSeries, Instants
from weaver.core.calendar import SessionCalendar
from weaver.core.instants import NS_PER_DAY
from weaver.core.timeframe import Timeframe

__all__ = ["SessionRows", "session_rows"]


@dataclass(frozen=True, slots=True)
class SessionRows:
    """The sessions of a series, one value per row; instants are nanoseconds since 1970-01-01 UTC."""

    ids: Instants
    """The session's date at 00:00 UTC; for a bar of a day or longer, its start."""
    close: Instants
    """The tick at which the session closes, whether or not a bar ends there."""
    first: NDArray[np.bool_]
    """True for the first bar of a session in the series."""
    last: NDArray[np.bool_]
    """True for the bar that ends at its session's close. A session whose last bars are missing has none."""


def session_rows(series: BarSeries, calendar: SessionCalendar | None) -> SessionRows:
    """Return the session of each row of `series`.

    A bar of a day or longer is a session of its own. Shorter bars follow the calendar; without one a session is a UTC date
    and closes at the next 00:00 UTC. Raises `OffGridError` for bars that are not on the calendar's grid.
    """
    start = series.start
    if series.timeframe.is_daily_or_longer:
        always = np.ones(len(start), dtype=bool)
        return SessionRows(start, series.end, always, always)
    if calendar is None:
        ids = start - start % NS_PER_DAY
        close = ids + NS_PER_DAY
    else:
        ids = calendar.session_ids(start, series.timeframe)
        dates = np.unique(ids)
        close = calendar.bar_ends(dates, Timeframe("1d"))[np.searchsorted(dates, ids)]
    first = np.r_[True, ids[1:] != ids[:-1]]
    return SessionRows(ids, close, first, series.end >= close)
