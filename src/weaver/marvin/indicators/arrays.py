"""Check the inputs of every indicator: float64 columns of one length, and periods that are whole numbers.

Inputs are never changed. For all indicators alike, NaN and infinity are missing values.
"""

from __future__ import annotations

import operator

import numpy as np
from numpy.typing import ArrayLike

from weaver.core.bars import Floats
from weaver.core.errors import IndicatorError
from weaver.core.text import brief

__all__ = ["Floats", "blank", "columns", "complete_runs", "ratio", "whole"]


def columns(indicator: str, **inputs: ArrayLike) -> tuple[Floats, ...]:
    """Return the inputs as one-dimensional float64 arrays of one length, infinity as NaN; shared where possible."""
    arrays: list[Floats] = []
    for name, values in inputs.items():
        try:
            array = np.asarray(values, dtype=np.float64)
        except (TypeError, ValueError) as error:
            raise IndicatorError(f"{indicator}: {name} must be an array of numbers, not {values!r:.60}") from error
        if array.ndim != 1:
            raise IndicatorError(f"{indicator}: {name} must have one dimension, not the shape {array.shape}")
        if np.isinf(array).any():
            array = np.where(np.isinf(array), np.nan, array)
        arrays.append(array)
    if len({len(array) for array in arrays}) > 1:
        lengths = ", ".join(f"{name} has {len(array)}" for name, array in zip(inputs, arrays, strict=True))
        raise IndicatorError(f"{indicator}: the inputs must be equally long, but {lengths} values")
    return tuple(arrays)


def whole(indicator: str, name: str, value: int) -> int:
    """Return `value` as an int of at least 1; a float is refused even where it is whole, since it is usually a mistake."""
    try:
        number = operator.index(value)
    except TypeError:
        number = 0
    if number < 1 or isinstance(value, bool | np.bool_):
        raise IndicatorError(
            f"{indicator}: {name}={brief(value)} must be a whole number of at least 1, such as {name}=14"
        )
    return number


def blank(length: int) -> Floats:
    """Return `length` missing values."""
    return np.full(length, np.nan)


def complete_runs(values: Floats, at_least: int) -> list[list[int]]:
    """Return [first, stop) of every stretch of at least `at_least` values without a missing one, in order."""
    missing = np.isnan(values)
    first = int(missing.argmin()) if len(missing) else 0
    if not missing[first:].any():  # nothing is missing but the warm-up: the usual case, at a tenth of the cost
        return [[first, len(values)]] if len(values) - first >= at_least else []
    present = np.zeros(len(values) + 2, dtype=np.int8)
    present[1:-1] = ~missing
    edges = np.flatnonzero(np.diff(present)).reshape(-1, 2)
    runs: list[list[int]] = edges[edges[:, 1] - edges[:, 0] >= at_least].tolist()
    return runs


def ratio(above: Floats, below: Floats, *, if_zero: float) -> Floats:
    """Return above / below, `if_zero` where below is zero, and NaN where either is missing."""
    with np.errstate(divide="ignore", invalid="ignore", over="ignore"):
        result: Floats = above / below
    zero = below == 0.0
    if zero.any():
        result[zero] = np.where(np.isnan(above[zero]), np.nan, if_zero)
    return result
