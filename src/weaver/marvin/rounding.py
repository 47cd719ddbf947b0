"""Rounding: whether two columns that were computed from more and from fewer bars agree.

Some causal sums (by FFT, in blocks or threads) round differently on longer columns; that is not a change of a value.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from weaver.core.bars import Floats

__all__ = ["TOLERANCE", "values_agree"]

TOLERANCE = 1e-9
"""Relative tolerance: some causal sums (by FFT, in blocks or threads) round differently on longer columns."""
_OF_SCALE = 1e-12
"""Tolerance relative to the largest value so far, for values that are differences close to zero."""


def values_agree(first: Floats, second: Floats) -> NDArray[np.bool_]:
    """Return elementwise whether two columns are equal, both NaN, or within TOLERANCE of each other."""
    same: NDArray[np.bool_] = first == second
    same |= np.isnan(first) & np.isnan(second)
    finite = np.isfinite(first) & np.isfinite(second)
    size = np.maximum(np.abs(first), np.abs(second), where=finite, out=np.zeros(len(first)))
    room = TOLERANCE * size + _OF_SCALE * (np.maximum.accumulate(size) if len(size) else size)
    apart = np.subtract(first, second, where=finite, out=np.full(len(first), np.inf))
    same |= np.abs(apart) <= room
    return same
