"""Trend: direction of price moves and its strength: directional, adx."""

from __future__ import annotations

import numpy as np

from weaver.marvin.indicators.arrays import Floats, columns, ratio, whole
from weaver.marvin.indicators.smoothing import smooth
from weaver.marvin.indicators.volatility import true_range

__all__ = ["adx", "directional"]


def directional(high: Floats, low: Floats, close: Floats, period: int = 14) -> tuple[Floats, Floats]:
    """Return the directional indicators (+DI, -DI), 0 to 100: the share of the true range that went up and that went down.

    A bar moves up by high - previous high, down by previous low - low; the larger counts, where it is positive. Both
    and the true range are averaged by Wilder's smoothing. 0 where there is no range at all. Warm-up: the first `period`
    values are NaN. Recursive. TA-Lib `PLUS_DI` and `MINUS_DI` start from one value fewer (the sum of
    period - 1, faded once), so that the two approach each other as (1 - 1 / period) ** bars.
    Source: Wilder, "New Concepts in Technical Trading Systems" (1978), section IV.
    """
    high, low, close = columns("directional", high=high, low=low, close=close)
    return _directional(high, low, close, whole("directional", "period", period))


def adx(high: Floats, low: Floats, close: Floats, period: int = 14) -> Floats:
    """Return the average directional index, 0 to 100: how one-sided the movement is, in either direction.

    dx = 100 * |(+DI) - (-DI)| / ((+DI) + (-DI)), 0 where both are 0; adx is dx under Wilder's smoothing, starting as
    the mean of `period` of them. Warm-up: the first `2 * period - 1` values are NaN. Recursive. TA-Lib `ADX`
    starts otherwise (see `directional`) and approaches it; where both are 0 it repeats the dx before.
    Source: Wilder, "New Concepts in Technical Trading Systems" (1978), section IV.
    """
    high, low, close = columns("adx", high=high, low=low, close=close)
    period = whole("adx", "period", period)
    plus, minus = _directional(high, low, close, period)
    return smooth(100.0 * ratio(np.abs(plus - minus), plus + minus, if_zero=0.0), period, 1.0 / period)


def _directional(high: Floats, low: Floats, close: Floats, period: int) -> tuple[Floats, Floats]:
    span = true_range(high, low, close)
    up, down = np.diff(high, prepend=np.nan), -np.diff(low, prepend=np.nan)
    # Where the true range is missing so are these, so that all three averages start on the same bar, also after a gap.
    nothing = span * 0.0
    plus = np.maximum(up, 0.0) * (up > down) + nothing
    minus = np.maximum(down, 0.0) * (down > up) + nothing
    average = smooth(span, period, 1.0 / period)
    return (
        100.0 * ratio(smooth(plus, period, 1.0 / period), average, if_zero=0.0),
        100.0 * ratio(smooth(minus, period, 1.0 / period), average, if_zero=0.0),
    )
