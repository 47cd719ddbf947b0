"""Momentum: size and steadiness of price moves: rsi, macd, stochastic, cci, roc, momentum."""

from __future__ import annotations

import numpy as np

from weaver.core.errors import IndicatorError
from weaver.marvin.indicators.arrays import Floats, blank, columns, ratio, whole
from weaver.marvin.indicators.smoothing import smooth
from weaver.marvin.indicators.windows import mean_distance, window_max, window_mean, window_min

__all__ = ["cci", "macd", "momentum", "roc", "rsi", "stochastic"]


def momentum(values: Floats, period: int = 10) -> Floats:
    """Return the change over `period` bars, in the unit of `values`: values[i] - values[i - period].

    Warm-up: the first `period` values are NaN. Needs nothing between the two. TA-Lib `MOM` agrees.
    """
    (values,) = columns("momentum", values=values)
    period = whole("momentum", "period", period)
    result = blank(len(values))
    result[period:] = values[period:] - values[:-period]
    return result


def roc(values: Floats, period: int = 10) -> Floats:
    """Return the rate of change over `period` bars in percent: 100 * (values[i] / values[i - period] - 1).

    Warm-up: the first `period` values are NaN; NaN too where the earlier value is zero (TA-Lib `ROC` gives 0 there and
    agrees elsewhere).
    """
    (values,) = columns("roc", values=values)
    period = whole("roc", "period", period)
    result = blank(len(values))
    before = values[:-period]
    result[period:] = 100.0 * ratio(values[period:] - before, before, if_zero=np.nan)
    return result


def rsi(values: Floats, period: int = 14) -> Floats:
    """Return the relative strength index, 0 to 100: the share of rises in all movement, by Wilder's smoothing.

    The averages start as the mean of the first `period` changes and move by 1 / period of the distance from then on.
    Warm-up: the first `period` values are NaN. Recursive. 50 where nothing has moved at all (TA-Lib `RSI` gives
    0 there and agrees elsewhere, from the first value on).
    Source: Wilder, "New Concepts in Technical Trading Systems" (1978), section VI.
    """
    (values,) = columns("rsi", values=values)
    period = whole("rsi", "period", period)
    change = np.diff(values, prepend=np.nan)
    rise = smooth(np.maximum(change, 0.0), period, 1.0 / period)
    fall = smooth(np.maximum(-change, 0.0), period, 1.0 / period)
    return 100.0 * ratio(rise, rise + fall, if_zero=0.5)


def macd(values: Floats, fast: int = 12, slow: int = 26, signal: int = 9) -> tuple[Floats, Floats, Floats]:
    """Return the moving average convergence/divergence: (line, signal line, histogram).

    line = ema(values, fast) - ema(values, slow); signal line = ema(line, signal); histogram = line - signal line.
    Warm-up: the line's first `slow - 1` values are NaN, the other two's first `slow + signal - 2`. Recursive.
    TA-Lib `MACD` starts its fast average `slow - fast` bars later and hides the line until the signal is there: the two
    approach each other as (1 - 2 / (fast + 1)) ** bars.
    Source: Appel, "Technical Analysis: Power Tools for Active Investors" (2005).
    """
    (values,) = columns("macd", values=values)
    fast, slow, signal = whole("macd", "fast", fast), whole("macd", "slow", slow), whole("macd", "signal", signal)
    if fast >= slow:
        raise IndicatorError(f"macd: fast={fast} must be smaller than slow={slow}")
    line = smooth(values, fast, 2.0 / (fast + 1)) - smooth(values, slow, 2.0 / (slow + 1))
    signal_line = smooth(line, signal, 2.0 / (signal + 1))
    return line, signal_line, line - signal_line


def stochastic(
    high: Floats, low: Floats, close: Floats, period: int = 14, smoothing: int = 3, signal: int = 3
) -> tuple[Floats, Floats]:
    """Return the stochastic oscillator (%K, %D), 0 to 100: the place of the close in the range of the last `period` bars.

    raw = 100 * (close - lowest) / (highest - lowest); %K = sma(raw, smoothing); %D = sma(%K, signal). `smoothing=1` is
    the fast stochastic. Warm-up: %K's first `period + smoothing - 2` values are NaN, %D's `signal - 1` more. Depends on
    its window alone. raw is 50 where the whole window has no range (TA-Lib `STOCH` gives 0 there and agrees elsewhere).
    Source: Lane, "Lane's Stochastics", Technical Analysis of Stocks & Commodities 2:3 (1984).
    """
    high, low, close = columns("stochastic", high=high, low=low, close=close)
    period, smoothing = whole("stochastic", "period", period), whole("stochastic", "smoothing", smoothing)
    signal = whole("stochastic", "signal", signal)
    lowest = window_min(low, period)
    raw = 100.0 * ratio(close - lowest, window_max(high, period) - lowest, if_zero=0.5)
    slow = window_mean(raw, smoothing)
    return slow, window_mean(slow, signal)


def cci(high: Floats, low: Floats, close: Floats, period: int = 20) -> Floats:
    """Return the commodity channel index: the typical price's distance from its average in mean deviations, over 0.015.

    typical = (high + low + close) / 3; cci = (typical - sma) / (0.015 * mean absolute distance from that sma), over
    the last `period` bars. Warm-up: the first `period - 1` values are NaN. Depends on its window alone. 0 where the
    window is flat. TA-Lib `CCI` agrees. Cost grows with `period`.
    Source: Lambert, "Commodity Channel Index", Commodities magazine (October 1980).
    """
    high, low, close = columns("cci", high=high, low=low, close=close)
    period = whole("cci", "period", period)
    typical = (high + low + close) / 3.0
    return ratio(typical - window_mean(typical, period), 0.015 * mean_distance(typical, period), if_zero=0.0)
