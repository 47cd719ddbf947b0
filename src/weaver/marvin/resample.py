"""Resampling: bars of a longer timeframe from bars of a shorter one. A longer bar is visible only once it is complete."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from weaver.core.bars import BarSeries, Instants
from weaver.core.calendar import SessionCalendar
from weaver.core.errors import TimeframeError
from weaver.core.timeframe import Timeframe

__all__ = ["resample", "resample_rows"]


def resample(series: BarSeries, timeframe: Timeframe, calendar: SessionCalendar | None) -> BarSeries:
    """Return the bars of `series` combined into bars of `timeframe`; a first one that begins before the data is dropped.

    A bar that the data end in is kept: it ends after the last tick, so it is never shown. Raises TimeframeError where the
    longer timeframe is not a multiple of the shorter one.
    """
    return resample_rows(series, timeframe, calendar)[0]


def resample_rows(
    series: BarSeries, timeframe: Timeframe, calendar: SessionCalendar | None, *, keep_first: bool = False
) -> tuple[BarSeries, NDArray[np.intp]]:
    """Return what `resample` does, and the row of `series` with which each long bar begins.

    `keep_first` says that `series` continues earlier bars, so that its first long bar is kept.
    """
    if timeframe.ns <= series.timeframe.ns or timeframe.ns % series.timeframe.ns:
        raise TimeframeError(
            f"cannot resample {series.timeframe} bars to {timeframe}: give a longer timeframe that is a multiple of it"
        )
    edges = np.empty(0, dtype=np.intp)
    if len(series):
        start, end, began = _buckets(series, timeframe, calendar)
        edges = np.flatnonzero(np.r_[True, start[1:] != start[:-1]])
        if series.start[0] > began and not keep_first:
            edges = edges[1:]
    if not len(edges):
        return replace(series.rows(0, 0), timeframe=timeframe), edges
    first = int(edges[0])
    at = edges - first
    last = np.r_[edges[1:], len(start)] - 1
    long_bars = BarSeries(
        symbol=series.symbol,
        timeframe=timeframe,
        start=start[edges],
        end=end[edges],
        open=series.open[edges],
        high=np.maximum.reduceat(series.high[first:], at),
        low=np.minimum.reduceat(series.low[first:], at),
        close=series.close[last],
        volume=np.add.reduceat(series.volume[first:], at),
        extra={name: column[last] for name, column in series.extra.items()},
        instrument=series.instrument,
        source=series.source,
    )
    return long_bars, edges


def _buckets(
    series: BarSeries, timeframe: Timeframe, calendar: SessionCalendar | None
) -> tuple[Instants, Instants, int]:
    """Return, for every short bar, the start and end of its long bar; and the instant at which the first began to trade."""
    starts = series.start
    if calendar is None:
        start = timeframe.bar_starts(starts)
        return start, start + timeframe.ns, int(start[0])
    sessions = calendar.sessions(int(starts[0]), int(series.end[-1]))
    if timeframe.is_intraday:
        # Cut at each close and, where there is one, at lunch, as the calendar's own bars of this length are.
        bounds = calendar.boundaries(int(sessions.open[0]), int(sessions.close[-1]), timeframe)
        row = np.searchsorted(bounds, starts, side="right") - 1
        return bounds[row], bounds[row + 1], int(bounds[row[0]])
    # A session belongs to the long bar of its date; the bar ends with the last session in it, also where that has no bars.
    monday, sunday = timeframe.bar_start(int(sessions.date[0])), timeframe.next_bar_start(int(sessions.date[-1])) - 1
    sessions = calendar.sessions(monday, sunday)
    names = sessions.date if series.timeframe.is_daily_or_longer else sessions.open
    bucket_of_session = timeframe.bar_starts(sessions.date)
    start = bucket_of_session[np.searchsorted(names, starts, side="right") - 1]
    last = np.searchsorted(bucket_of_session, start, side="right") - 1
    return start, sessions.close[last], int(names[np.searchsorted(bucket_of_session, start[0], side="left")])
