"""Volatility: width of price swings: stdev, bollinger, true_range, atr."""

from __future__ import annotations

import numpy as np

from weaver.marvin.indicators.arrays import Floats, blank, columns, whole
from weaver.marvin.indicators.smoothing import smooth
from weaver.marvin.indicators.windows import window_deviation, window_mean

__all__ = ["atr", "bollinger", "stdev", "true_range"]


def stdev(values: Floats, period: int) -> Floats:
    """Return the standard deviation of the last `period` values around their mean, as a population (divisor `period`).

    Warm-up: the first `period - 1` values are NaN. Depends on its window alone; exactly 0 for equal values, and precise
    for small swings on a large offset. TA-Lib `STDDEV` agrees (it takes E[x^2] - E[x]^2, which loses those digits).
    """
    (values,) = columns("stdev", values=values)
    return window_deviation(values, whole("stdev", "period", period))


def bollinger(values: Floats, period: int = 20, deviations: float = 2.0) -> tuple[Floats, Floats, Floats]:
    """Return the Bollinger bands (upper, middle, lower): the simple average and `deviations` standard deviations around it.

    Warm-up: the first `period - 1` values are NaN. Depends on its window alone. TA-Lib `BBANDS` agrees.
    Source: Bollinger, "Bollinger on Bollinger Bands" (2001) (population standard deviation).
    """
    (values,) = columns("bollinger", values=values)
    period = whole("bollinger", "period", period)
    middle = window_mean(values, period)
    width = deviations * window_deviation(values, period)
    return middle + width, middle, middle - width


def true_range(high: Floats, low: Floats, close: Floats) -> Floats:
    """Return the largest of high - low, |high - previous close| and |low - previous close|.

    Warm-up: the first value is NaN, since it has no previous close. TA-Lib `TRANGE` agrees.
    Source: Wilder, "New Concepts in Technical Trading Systems" (1978), section III.
    """
    high, low, close = columns("true_range", high=high, low=low, close=close)
    return _true_range(high, low, close)


def atr(high: Floats, low: Floats, close: Floats, period: int = 14) -> Floats:
    """Return the average true range by Wilder's smoothing: first the mean of `period` true ranges, then 1 / period of each.

    Warm-up: the first `period` values are NaN. Recursive. TA-Lib `ATR` agrees from the first value on.
    Source: Wilder, "New Concepts in Technical Trading Systems" (1978), section III.
    """
    high, low, close = columns("atr", high=high, low=low, close=close)
    period = whole("atr", "period", period)
    return smooth(_true_range(high, low, close), period, 1.0 / period)


def _true_range(high: Floats, low: Floats, close: Floats) -> Floats:
    result = blank(len(close))
    before = close[:-1]
    result[1:] = np.maximum(high[1:], before) - np.minimum(low[1:], before)
    return result
