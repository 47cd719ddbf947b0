"""Indicators: causal functions of arrays, for `self.indicator(sma, self.bars.close, 30)` or on their own.

All of them take one-dimensional arrays of numbers of one length, which they do not change, and return new float64 arrays of
that length, or a tuple of those:

- The value at i depends on values 0 to i only: removing or changing later values changes no bit of it.
- During warm-up it is NaN, for as long as each function documents. A period longer than the data gives only NaN.
- NaN and infinity are missing values. A function of a window is NaN while one is inside. A recursive function, which
  depends on all earlier values (ema, rsi, macd, atr, directional, adx, obv), is NaN there and starts again after it.
- A period that is not a whole number of at least 1 raises `IndicatorError`, as do inputs of unequal lengths.

They do not use time: a gap in the bars has no effect.
"""

from __future__ import annotations

from weaver.marvin.indicators.channels import donchian, highest, lowest
from weaver.marvin.indicators.crossovers import crossover, crossunder
from weaver.marvin.indicators.momentum import cci, macd, momentum, roc, rsi, stochastic
from weaver.marvin.indicators.moving_averages import ema, sma, wma
from weaver.marvin.indicators.trend import adx, directional
from weaver.marvin.indicators.volatility import atr, bollinger, stdev, true_range
from weaver.marvin.indicators.volume import obv, vwap

__all__ = [
    "adx",
    "atr",
    "bollinger",
    "cci",
    "crossover",
    "crossunder",
    "directional",
    "donchian",
    "ema",
    "highest",
    "lowest",
    "macd",
    "momentum",
    "obv",
    "roc",
    "rsi",
    "sma",
    "stdev",
    "stochastic",
    "true_range",
    "vwap",
    "wma",
]
