"""Channels: the range of the last bars: highest, lowest, donchian."""

from __future__ import annotations

from weaver.marvin.indicators.arrays import Floats, columns, whole
from weaver.marvin.indicators.windows import window_max, window_min

__all__ = ["donchian", "highest", "lowest"]


def highest(values: Floats, period: int) -> Floats:
    """Return the largest of the last `period` values, the newest included; for a breakout compare with the one before.

    Warm-up: the first `period - 1` values are NaN. Depends on its window alone. TA-Lib `MAX` agrees.
    """
    (values,) = columns("highest", values=values)
    return window_max(values, whole("highest", "period", period))


def lowest(values: Floats, period: int) -> Floats:
    """Return the smallest of the last `period` values, the newest included.

    Warm-up: the first `period - 1` values are NaN. Depends on its window alone. TA-Lib `MIN` agrees.
    """
    (values,) = columns("lowest", values=values)
    return window_min(values, whole("lowest", "period", period))


def donchian(high: Floats, low: Floats, period: int = 20) -> tuple[Floats, Floats, Floats]:
    """Return the Donchian channel (upper, middle, lower): the highest high, the lowest low, and half-way between.

    The newest bar is included, so a close is never outside; for a breakout compare with the one before.
    Warm-up: the first `period - 1` values are NaN. Depends on its window alone. TA-Lib has `MAX` and `MIN` only.
    Source: Donchian's four-week rule, in Murphy, "Technical Analysis of the Financial Markets" (1999), chapter 9.
    """
    high, low = columns("donchian", high=high, low=low)
    period = whole("donchian", "period", period)
    upper, lower = window_max(high, period), window_min(low, period)
    return upper, (upper + lower) / 2.0, lower
