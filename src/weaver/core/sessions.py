"""Sessions of a run's bars: which session each row belongs to and where sessions begin and end. Knows no prices."""

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
    """Per row: the session's date (00:00 UTC), whether it is the session's first bar, and whether it is its last."""

    ids: Instants
    first: NDArray[np.bool_]
    last: NDArray[np.bool_]


def session_rows(series: BarSeries, calendar: SessionCalendar | None) -> SessionRows:
    """A daily or longer bar is a session of its own; shorter ones follow the calendar, or UTC dates without one."""
    start = series.start
    if series.timeframe.is_daily_or_longer:
        every = np.ones(len(start), dtype=bool)
        return SessionRows(start, every, every)
    if calendar is None:
        ids = start - start % NS_PER_DAY
        closes = ids + NS_PER_DAY
    else:
        ids = calendar.session_ids(start, series.timeframe)
        dates = np.unique(ids)
        ends = calendar.bar_ends(dates, Timeframe("1d"))
        closes = ends[np.searchsorted(dates, ids)]
    changes = ids[1:] != ids[:-1]
    first = np.r_[True, changes]
    last = np.r_[changes, False] | (series.end >= closes)
    return SessionRows(ids, first, last)
