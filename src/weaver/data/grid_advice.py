"""Advice for bars that do not start on the grid of their timeframe. Following it never shows a bar before it ends."""

from __future__ import annotations

import numpy as np

from weaver.core.bars import Instants
from weaver.core.durations import duration_text
from weaver.core.instants import NS_PER_DAY, NS_PER_SECOND
from weaver.core.timeframe import Timeframe
from weaver.data.bar_checks import commonest_spacing

__all__ = ["off_grid_advice", "resample_advice"]

_CALENDAR = (
    'name the exchange whose sessions they follow: backtest(..., calendar="XNYS"), on the command line --calendar XNYS'
)


def resample_advice(starts: Instants, timeframe: Timeframe) -> str | None:
    """Return the sentence for bars that are shorter than the timeframe given for them; None for other bars."""
    ordered = starts if (starts[1:] > starts[:-1]).all() else np.unique(starts)
    spacing = commonest_spacing(ordered)
    if spacing is None or spacing >= timeframe.ns:
        return None
    return (
        f"the bars are {duration_text(spacing)} apart, so they are not {timeframe} bars; a timeframe says how long the "
        "bars in the data are, and does not make longer ones of them: leave it out, and resample in the strategy, "
        f'self.bars.resample("{timeframe}")'
    )


def off_grid_advice(offsets: Instants, timeframe: Timeframe) -> str:
    """Return what helps where `offsets` (nanoseconds after a boundary, 0 for a bar on the grid) are not all 0."""
    if not timeframe.is_intraday:
        day = "date" if timeframe.ns == NS_PER_DAY else "Monday of the week"
        return (
            f"a bar of a day or longer is named by the {day} in which it ends, as 00:00 UTC, so that it is not seen "
            "before it ends; give these dates"
        )
    everywhere = bool((offsets != 0).all())
    if everywhere and int(offsets.min()) >= timeframe.ns - NS_PER_SECOND:
        return (
            f"these stamps are the last instants of their bars; stamp each bar with its start, the {timeframe} boundary "
            f'before it (in Polars .dt.truncate("{timeframe}"))'
        )
    if everywhere:
        return (
            f"{_CALENDAR}; or build bars on the {timeframe} grid from shorter ones. Do not move a stamp to an earlier "
            "boundary: the bar would be seen before it ends. Replace stamps that are ends of bars by their starts"
        )
    return (
        f"correct these stamps at their source, or leave the rows out; do not move a stamp to an earlier boundary, since "
        f"the bar would be seen before it ends. Or {_CALENDAR}"
    )
