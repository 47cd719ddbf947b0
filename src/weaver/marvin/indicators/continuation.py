"""Continuation: the values of an indicator for added bars, from the end of its columns.

It gives the same bits as the whole computation, which repeats all steps of the whole history. It does not look at earlier
inputs: callers use it only where those have not changed.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from types import FunctionType, MappingProxyType
from typing import Any

import numpy as np

from weaver.marvin.indicators.arrays import Floats
from weaver.marvin.indicators.moving_averages import ema, sma
from weaver.marvin.indicators.volatility import atr
from weaver.marvin.indicators.windows import window_mean

__all__ = ["continued"]

_MOST_ADDED = 64
"""Added bars up to which a step in Python for each is cheaper than the whole computation."""


def continued(
    function: Callable[..., Any], inputs: Sequence[Any], keywords: Mapping[str, Any], earlier: Floats, length: int
) -> list[float] | None:
    """Return the values of `function(*inputs, **keywords)` from row `len(earlier)` to `length`.

    `earlier` holds the values before them. Return None where the whole must be computed.
    """
    step = _CONTINUATIONS.get(function) if isinstance(function, FunctionType) else None
    if step is None or not 0 < length - len(earlier) <= _MOST_ADDED or not len(earlier) or math.isnan(earlier[-1]):
        return None
    return step(earlier, *inputs, **keywords)


def _sma(earlier: Floats, values: Floats, period: int) -> list[float] | None:
    tail = values[len(earlier) - period + 1 :]
    if not np.isfinite(tail).all():
        return None
    added: list[float] = window_mean(tail, period)[period - 1 :].tolist()
    return added


def _ema(earlier: Floats, values: Floats, period: int) -> list[float] | None:
    return _smoothed(float(earlier[-1]), values[len(earlier) :].tolist(), period, 2.0 / (period + 1))


def _atr(earlier: Floats, high: Floats, low: Floats, close: Floats, period: int = 14) -> list[float] | None:
    row = len(earlier) - 1  # a range needs the close before it
    ranges = []
    for top, bottom, before in zip(
        high[row + 1 :].tolist(), low[row + 1 :].tolist(), close[row:-1].tolist(), strict=True
    ):
        if not (math.isfinite(top) and math.isfinite(bottom) and math.isfinite(before)):
            return None
        ranges.append((top if top > before else before) - (bottom if bottom < before else before))
    return _smoothed(float(earlier[-1]), ranges, period, 1.0 / period)


def _smoothed(value: float, added: Sequence[float], period: int, alpha: float) -> list[float] | None:
    """Continue `smooth`; None where it starts again after a missing value, and for a period of 1, which copies."""
    if period == 1:
        return None
    values = []
    for new in added:
        if not math.isfinite(new):
            return None
        value += alpha * (new - value)
        values.append(value)
    return values


_CONTINUATIONS: Mapping[object, Callable[..., list[float] | None]] = MappingProxyType({sma: _sma, ema: _ema, atr: _atr})
