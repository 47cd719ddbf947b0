"""Windows: mean, weighted mean, deviation and extremes of the last `period` values, at every index.

A result depends on the values in its own window and on nothing else, to the last bit: not on what came before (there is
no running sum that could drift), not on what comes after, not on the length of the array. The mean, weighted mean and
extremes of equal values are exactly that value, and their deviation is exactly zero.

How: a window of 2w values is made of two windows of w, so log2(period) passes over the array give all windows of 1, 2,
4, ... values, and any other period is put together from those (30 = 2 + 4 + 8 + 16). Neighbours are merged as means and
not as sums, by the pairwise rule of Chan, Golub and LeVeque (1979), "Updating Formulae and a Pairwise Algorithm for
Computing Sample Variances", which is what keeps equal values exact and large offsets harmless. A running sum costs
one pass, but carries every rounding error on for ever and turns a single NaN into NaN until the end.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from weaver.marvin.indicators.arrays import Floats, blank

__all__ = ["mean_distance", "window_deviation", "window_max", "window_mean", "window_min", "window_weighted_mean"]

BLOCK = 16_384
"""Values worked on at a time: few enough for all passes to stay in a core's cache (1 M values at once cost 4 times)."""


def _in_blocks(kernel: Callable[[Floats, int], Floats], values: Floats, period: int) -> Floats:
    """Apply `kernel` to overlapping blocks of `values`; it returns one result per complete window of its block."""
    count = len(values)
    result = blank(count)
    step = max(BLOCK, 4 * period)
    for first in range(period - 1, count, step):
        stop = min(first + step, count)
        result[first:stop] = kernel(values[first - period + 1 : stop], period)
    return result


def window_mean(values: Floats, period: int) -> Floats:
    """Return the mean of the last `period` values; NaN for the first `period - 1` and while a missing value is inside."""
    return _in_blocks(_mean, values, period)


def window_weighted_mean(values: Floats, period: int) -> Floats:
    """Return the mean with weights 1, 2, ..., `period`, the newest value counting most; NaN as for `window_mean`."""
    return _in_blocks(_weighted_mean, values, period)


def window_deviation(values: Floats, period: int) -> Floats:
    """Return the population standard deviation (divisor `period`) of the last values; NaN as for `window_mean`."""
    return _in_blocks(_deviation, values, period)


def window_max(values: Floats, period: int) -> Floats:
    """Return the largest of the last `period` values; NaN as for `window_mean`."""
    return _in_blocks(lambda block, width: _extreme(np.maximum, block, width), values, period)


def window_min(values: Floats, period: int) -> Floats:
    """Return the smallest of the last `period` values; NaN as for `window_mean`."""
    return _in_blocks(lambda block, width: _extreme(np.minimum, block, width), values, period)


def mean_distance(values: Floats, period: int) -> Floats:
    """Return the mean absolute distance of the last `period` values from their mean. One pass per value of the period."""
    return _in_blocks(_mean_distance, values, period)


def _mean(block: Floats, period: int) -> Floats:
    count = len(block) - period + 1
    sums, width, placed = block, 1, 0
    mean: Floats | None = None
    while True:
        if period & width:
            piece = sums[placed : placed + count] * (1.0 / width)
            if mean is None:
                mean = piece
            else:
                piece -= mean
                piece *= width / (placed + width)
                mean += piece
            placed += width
            if placed == period:
                return mean
        sums = sums[:-width] + sums[width:]
        width *= 2


def _weighted_mean(block: Floats, period: int) -> Floats:
    count = len(block) - period + 1
    means, weighted, width, placed = block, block, 1, 0
    mean: Floats | None = None
    result: Floats | None = None
    while True:
        if period & width:
            new, new_weighted = means[placed : placed + count], weighted[placed : placed + count]
            if mean is None or result is None:
                mean, result = new, new_weighted
            else:
                result = _weighted_merge(result, placed, new, new_weighted, width)
                mean = mean + (new - mean) * (width / (placed + width))
            placed += width
            if placed == period:
                return result
        weighted = _weighted_merge(weighted[:-width], width, means[width:], weighted[width:], width)
        means = (means[:-width] + means[width:]) * 0.5
        width *= 2


def _weighted_merge(old_weighted: Floats, old_count: int, new: Floats, new_weighted: Floats, new_count: int) -> Floats:
    """Return the weighted mean of old values followed by new ones: each new one weighs `old_count` more than on its own."""
    total = (old_count + new_count) * (old_count + new_count + 1) / 2
    result = (old_weighted - new_weighted) * (old_count * (old_count + 1) / 2 / total)
    result += (new - new_weighted) * (old_count * new_count / total)
    result += new_weighted
    return result


def _deviation(block: Floats, period: int) -> Floats:
    """Means are kept as their distance from the first value of their window, so that a large offset costs no digits."""
    count = len(block) - period + 1
    means = np.where(np.isnan(block), np.nan, 0.0)
    squares, width, placed = means, 1, 0
    mean: Floats | None = None
    square: Floats | None = None
    while True:
        if period & width:
            piece, piece_squares = means[placed : placed + count], squares[placed : placed + count]
            if mean is None or square is None:
                mean, square = piece.copy(), piece_squares.copy()
            else:
                gap = block[placed : placed + count] - block[:count]
                gap += piece
                gap -= mean
                mean += gap * (width / (placed + width))
                gap *= gap
                gap *= placed * width / (placed + width)
                square += piece_squares
                square += gap
            placed += width
            if placed == period:
                square *= 1.0 / period
                return np.sqrt(square, out=square)
        starts = len(means) - width
        further = block[width : width + starts] - block[:starts]
        further += means[width:]
        gap = further - means[:-width]
        gap *= gap
        gap *= width / 2
        squares = squares[:-width] + squares[width:]
        squares += gap
        means = means[:-width] + further
        means *= 0.5
        width *= 2


def _extreme(larger: np.ufunc, block: Floats, period: int) -> Floats:
    """Two windows of a power of two, one at each end, cover the whole; that they overlap does not matter."""
    width = 1
    while width * 2 <= period:
        block = larger(block[:-width], block[width:])
        width *= 2
    result: Floats = larger(block[: len(block) - (period - width)], block[period - width :])
    return result


def _mean_distance(block: Floats, period: int) -> Floats:
    mean = _mean(block, period)
    count = len(mean)
    distance = np.zeros(count)
    for place in range(period):
        gap = block[place : place + count] - mean
        distance += np.abs(gap, out=gap)
    distance *= 1.0 / period
    return distance
