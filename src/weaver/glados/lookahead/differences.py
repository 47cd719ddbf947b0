"""Differences: where two runs of a strategy first differ, in its decisions and in its indicators' values."""

from __future__ import annotations

from bisect import bisect_right
from dataclasses import dataclass

import numpy as np

from weaver.core.orders import Command
from weaver.glados.lookahead.traced_run import RunTrace
from weaver.marvin.indicator import IndicatorInfo
from weaver.marvin.rounding import values_agree

__all__ = [
    "DecisionDifference",
    "IndicatorDifference",
    "decisions_differ",
    "indicator_differs",
]


@dataclass(frozen=True, slots=True)
class DecisionDifference:
    """Two runs' commands at `tick` (ns), where they first differ. `number` counts the earlier ticks with commands."""

    tick: int
    number: int
    expected: tuple[Command, ...]
    actual: tuple[Command, ...]


@dataclass(frozen=True, slots=True)
class IndicatorDifference:
    """An indicator's values in two runs at `row` of its track; `actual` is None where the second run has no such row."""

    row: int
    expected: float
    actual: float | None
    rounding: bool = False
    """Whether the values are equal within TOLERANCE, which later bars do not explain."""


def decisions_differ(expected: RunTrace, actual: RunTrace, last_tick: int) -> DecisionDifference | None:
    """Return the first tick up to `last_tick` (ns, inclusive) at which the commands differ; None where all are equal."""
    ends = bisect_right(expected.ticks, last_tick), bisect_right(actual.ticks, last_tick)
    for row in range(min(ends)):
        if expected.ticks[row] != actual.ticks[row] or expected.commands[row] != actual.commands[row]:
            break
    else:
        if ends[0] == ends[1]:
            return None
        row = min(ends)
    before = (expected.ticks[row], expected.commands[row]) if row < ends[0] else None
    after = (actual.ticks[row], actual.commands[row]) if row < ends[1] else None
    tick = min(pair[0] for pair in (before, after) if pair is not None)
    return DecisionDifference(
        tick=tick,
        number=row,
        expected=before[1] if before is not None and before[0] == tick else (),
        actual=after[1] if after is not None and after[0] == tick else (),
    )


def indicator_differs(expected: IndicatorInfo, actual: IndicatorInfo, last_tick: int) -> IndicatorDifference | None:
    """Return the first row visible at `last_tick` (ns) that has another value; None where all are equal.

    A row that differs by rounding only is returned, marked `rounding`, where no other row differs.
    """
    rows = int(np.searchsorted(expected.track.end, last_tick, side="right"))
    if len(expected.outputs) != len(actual.outputs):
        return IndicatorDifference(0, float(expected.outputs[0][0]) if rows else np.nan, None)
    rounded: IndicatorDifference | None = None
    for old, new in zip(expected.outputs, actual.outputs, strict=True):
        before, after = old[:rows], new[:rows]
        if before.tobytes() == after.tobytes():  # the usual case, at the cost of a memcmp
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
