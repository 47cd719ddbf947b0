"""Downsampling of curves and bars for drawing. Each bucket keeps its first, last, lowest and highest value.

For drawing only: no statistic is computed from a downsampled column.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from weaver.core.bars import BarSeries, Floats, Instants

__all__ = ["Candles", "candles", "extremes"]

Ints = NDArray[np.int64]


class Candles(NamedTuple):
    """Bars merged `size` at a time: their first start and last end in ns, and open, high, low, close."""

    size: int
    start: Instants
    end: Instants
    open: Floats
    high: Floats
    low: Floats
    close: Floats


def extremes(values: Floats, points: int) -> Ints:
    """Return about `points` rows to draw: of each bucket the first, lowest, highest and last.

    The rows are strictly increasing; all of them where there are no more than `points`. A number takes precedence over
    NaN.
    """
    count = len(values)
    if count <= points or points < 4:
        return np.arange(count)
    buckets = max(points // 4, 1)
    size = -(-count // buckets)
    whole = count // size
    block = values[: whole * size].reshape(whole, size)
    first = np.arange(whole) * size
    lowest = first + np.argmin(np.where(np.isnan(block), np.inf, block), axis=1)
    highest = first + np.argmax(np.where(np.isnan(block), -np.inf, block), axis=1)
    rest = np.arange(whole * size, count)
    if len(rest) > 4:
        tail = values[rest]
        keep = [0, len(rest) - 1]
        if not np.isnan(tail).all():
            keep += [int(np.nanargmin(tail)), int(np.nanargmax(tail))]
        rest = rest[keep]
    return np.unique(np.concatenate((first, lowest, highest, first + size - 1, rest)))


def candles(bars: BarSeries, count: int, low: int = 0, high: int | None = None) -> Candles:
    """Return about `count` candles or fewer of rows low to high, each with the first open, the last close, the highest high
    and the lowest low of its bars."""
    high = len(bars) if high is None else high
    size = max(1, -(-(high - low) // max(count, 1)))
    first = np.arange(low, high, size)
    last = np.minimum(first + size, high) - 1
    if not len(first):
        none = np.empty(0)
        return Candles(1, bars.start[:0], bars.end[:0], none, none, none, none)
    return Candles(
        size,
        bars.start[first],
        bars.end[last],
        bars.open[first],
        np.maximum.reduceat(bars.high[:high], first),
        np.minimum.reduceat(bars.low[:high], first),
        bars.close[last],
    )
