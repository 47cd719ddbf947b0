"""Differences: where two runs of a strategy first differ, in its decisions and in its indicators' values."""

from __future__ import annotations

from bisect import bisect_right
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from weaver.core.bars import Floats
from weaver.core.orders import Command
from weaver.glados.lookahead.traced_run import RunTrace
from weaver.marvin.indicator import IndicatorInfo

__all__ = [
    "TOLERANCE",
    "DecisionDifference",
    "IndicatorDifference",
    "decisions_differ",
    "indicator_differs",
    "values_agree",
]

TOLERANCE = 1e-9
"""Relative: some honest sums (FFT, blocked or threaded ones) round differently on longer columns."""
_OF_SCALE = 1e-12
"""Of the largest value so far: the same rounding, where values are differences that come near zero."""


@dataclass(frozen=True, slots=True)
class DecisionDifference:
    """At `tick` (ns) one run gave `expected` and the other `found`; `number` counts the ticks with commands before it."""

    tick: int
    number: int
    expected: tuple[Command, ...]
    found: tuple[Command, ...]


@dataclass(frozen=True, slots=True)
class IndicatorDifference:
    """At `row` of its track an indicator had `expected` and now `found`; None where it has no such row."""

    row: int
    expected: float
    found: float | None
    rounding: bool = False
    """Equal within TOLERANCE: not the future's doing."""


def decisions_differ(expected: RunTrace, found: RunTrace, last_tick: int) -> DecisionDifference | None:
    """The first tick up to `last_tick` (ns, inclusive) at which the commands differ in anything at all."""
    ends = bisect_right(expected.ticks, last_tick), bisect_right(found.ticks, last_tick)
    for row in range(min(ends)):
        if expected.ticks[row] != found.ticks[row] or expected.commands[row] != found.commands[row]:
            break
    else:
        if ends[0] == ends[1]:
            return None
        row = min(ends)
    one = (expected.ticks[row], expected.commands[row]) if row < ends[0] else None
    two = (found.ticks[row], found.commands[row]) if row < ends[1] else None
    tick = min(pair[0] for pair in (one, two) if pair is not None)
    return DecisionDifference(
        tick=tick,
        number=row,
        expected=one[1] if one is not None and one[0] == tick else (),
        found=two[1] if two is not None and two[0] == tick else (),
    )


def indicator_differs(expected: IndicatorInfo, found: IndicatorInfo, last_tick: int) -> IndicatorDifference | None:
    """The first row that is visible at `last_tick` (ns) and has another value; one that is only rounded is said to be."""
    rows = int(np.searchsorted(expected.track.end, last_tick, side="right"))
    if len(expected.outputs) != len(found.outputs):
        return IndicatorDifference(0, float(expected.outputs[0][0]) if rows else np.nan, None)
    rounded: IndicatorDifference | None = None
    for one, two in zip(expected.outputs, found.outputs, strict=True):
        before, after = one[:rows], two[:rows]
        if before.tobytes() == after.tobytes():  # the usual case, at the price of a memcmp
            continue
        short = len(after)
        same = before[:short] == after
        same |= np.isnan(before[:short]) & np.isnan(after)
        if same.all() and short == rows:
            continue
        close = values_agree(before[:short], after)
        row = int(np.flatnonzero(~close)[0]) if not close.all() else short
        if row < rows:
            return IndicatorDifference(row, float(before[row]), float(after[row]) if row < short else None)
        row = int(np.flatnonzero(~same)[0])
        rounded = rounded or IndicatorDifference(row, float(before[row]), float(after[row]), rounding=True)
    return rounded


def values_agree(one: Floats, two: Floats) -> NDArray[np.bool_]:
    """Elementwise: equal, both NaN, or within TOLERANCE of each other."""
    same: NDArray[np.bool_] = one == two
    same |= np.isnan(one) & np.isnan(two)
    finite = np.isfinite(one) & np.isfinite(two)
    size = np.maximum(np.abs(one), np.abs(two), where=finite, out=np.zeros(len(one)))
    room = TOLERANCE * size + _OF_SCALE * (np.maximum.accumulate(size) if len(size) else size)
    apart = np.subtract(one, two, where=finite, out=np.full(len(one), np.inf))
    same |= np.abs(apart) <= room
    return same
