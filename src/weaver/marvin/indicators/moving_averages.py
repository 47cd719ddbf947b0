"""Moving averages: simple, exponential, weighted."""

from __future__ import annotations

from weaver.marvin.indicators.arrays import Floats, columns, whole
from weaver.marvin.indicators.smoothing import smooth
from weaver.marvin.indicators.windows import window_mean, window_weighted_mean

__all__ = ["ema", "sma", "wma"]


def sma(values: Floats, period: int) -> Floats:
    """Return the simple moving average: the mean of the last `period` values.

    Warm-up: the first `period - 1` values are NaN. Depends on its window alone. TA-Lib `SMA` agrees.
    Source: Murphy, "Technical Analysis of the Financial Markets" (1999), chapter 9.
    """
    (values,) = columns("sma", values=values)
    return window_mean(values, whole("sma", "period", period))


def ema(values: Floats, period: int) -> Floats:
    """Return the exponential moving average with alpha = 2 / (period + 1), first the mean of `period` values.

    Warm-up: the first `period - 1` values are NaN. Recursive. TA-Lib `EMA` agrees from the first value on.
    Source: Murphy, "Technical Analysis of the Financial Markets" (1999), chapter 9.
    """
    (values,) = columns("ema", values=values)
    period = whole("ema", "period", period)
    return smooth(values, period, 2.0 / (period + 1))


def wma(values: Floats, period: int) -> Floats:
    """Return the weighted moving average: the newest value weighs `period`, the one before `period - 1`, the oldest 1.

    Warm-up: the first `period - 1` values are NaN. Depends on its window alone. TA-Lib `WMA` agrees.
    Source: Murphy, "Technical Analysis of the Financial Markets" (1999), chapter 9 ("linearly weighted").
    """
    (values,) = columns("wma", values=values)
    return window_weighted_mean(values, whole("wma", "period", period))
