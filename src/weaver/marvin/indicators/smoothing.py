"""Exponential smoothing: each value moves the average by a fixed share of the distance to it, `y += alpha * (x - y)`.

It starts with the mean of the first `period` values and starts again after a missing value. It is recursive: the
share of the start fades as (1 - alpha) ** bars, so two histories that begin on different bars agree only after a while.
The recursion itself runs in Polars (`ewm_mean`, not adjusted), about 10 ns a value; a Python loop costs 15 times that.
"""

from __future__ import annotations

import numpy as np

from weaver.marvin.indicators.arrays import Floats, blank, complete_runs
from weaver.marvin.indicators.windows import window_mean

__all__ = ["smooth"]


def smooth(values: Floats, period: int, alpha: float) -> Floats:
    """Return `values` smoothed with `alpha` in (0, 1]; NaN until there were `period` values in a row.

    The average of equal values is exactly that value.
    """
    if period == 1:
        return values.copy()
    import polars as pl  # here, so that a module of plain functions costs nothing to import

    result = blank(len(values))
    for first, stop in complete_runs(values, period):
        tail = values[first + period - 1 : stop].copy()
        tail[0] = window_mean(values[first : first + period], period)[-1]
        smoothed = pl.Series(tail).ewm_mean(alpha=alpha, adjust=False, ignore_nulls=False)
        result[first + period - 1 : stop] = np.asarray(smoothed.to_numpy(), dtype=np.float64)
    return result
