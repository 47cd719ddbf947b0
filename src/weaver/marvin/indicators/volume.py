"""Volume: average traded price and direction of volume: vwap, obv."""

from __future__ import annotations

import numpy as np

from weaver.marvin.indicators.arrays import Floats, blank, columns, complete_runs, ratio, whole
from weaver.marvin.indicators.windows import window_mean

__all__ = ["obv", "vwap"]


def vwap(high: Floats, low: Floats, close: Floats, volume: Floats, period: int = 20) -> Floats:
    """Return the rolling volume-weighted average price: sum(typical * volume) / sum(volume) over the last `period` bars.

    typical = (high + low + close) / 3. It rolls, and does not start anew with a session. Warm-up: the first
    `period - 1` values are NaN; NaN too where nothing was traded in the whole window, so always with quotes, which have
    no volume. Depends on its window alone. Not in TA-Lib.
    Source: Berkowitz, Logue and Noser, "The Total Cost of Transactions on the NYSE", Journal of Finance 43:1 (1988).
    """
    high, low, close, volume = columns("vwap", high=high, low=low, close=close, volume=volume)
    period = whole("vwap", "period", period)
    typical = (high + low + close) / 3.0
    return ratio(window_mean(typical * volume, period), window_mean(volume, period), if_zero=np.nan)


def obv(close: Floats, volume: Floats) -> Floats:
    """Return the on-balance volume: the running total of volume, added on a higher close and subtracted on a lower one.

    It starts at the first bar's volume, so it has no warm-up; only its changes mean something. A missing value gives
    NaN, and the total starts anew after it. Recursive. TA-Lib `OBV` agrees.
    Source: Granville, "New Key to Stock Market Profits" (1963).
    """
    close, volume = columns("obv", close=close, volume=volume)
    result = blank(len(close))
    for first, stop in complete_runs(close + volume, 1):
        flow = np.sign(np.diff(close[first:stop], prepend=-np.inf)) * volume[first:stop]
        result[first:stop] = np.cumsum(flow)
    return result
