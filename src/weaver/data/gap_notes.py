"""Gaps: what a series of bars lacks, and what in it looks odd, in sentences for people. Nothing here changes a bar."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from weaver.core.bars import Floats, Instants
from weaver.core.calendar import SessionCalendar
from weaver.core.durations import duration_text
from weaver.core.errors import OffGridError
from weaver.core.instants import NS_PER_DAY, format_ns
from weaver.core.timeframe import Timeframe
from weaver.data.bar_checks import LONG_WEEKEND_NS

__all__ = ["Gap", "find_gaps", "find_halts", "find_splits", "notes_about", "split_warnings"]

# The Thursday of the epoch is weekday 3, counted from Monday.
_EPOCH_WEEKDAY = 3
_HALT_BARS = 5
_SPLIT_MOVE = 0.40
_SPLIT_RATIOS = np.array([1.5, *range(2, 11), 12, 15, 20, 25, 30, 40, 50, 100], dtype=np.float64)
_SPLIT_TOLERANCE = 0.03
_SPLIT_BARS = 5
_SPLITS_TOLD = 5


@dataclass(frozen=True, slots=True)
class Gap:
    """Time without bars, [start, end) in nanoseconds UTC: from the end of the bar before to the start of the one after."""

    start: int
    end: int

    @property
    def length(self) -> int:
        """In nanoseconds."""
        return self.end - self.start


def find_gaps(
    starts: Instants, ends: Instants, timeframe: Timeframe, calendar: SessionCalendar | None = None
) -> list[Gap]:
    """Where bars are missing.

    With a calendar: wherever a bar of its sessions is absent. Without one: wherever a bar does not start as the one
    before it ends; but daily bars that never fall on a week-end may be up to four days apart.
    """
    if len(starts) < 2:
        return []
    apart = np.flatnonzero(starts[1:] > ends[:-1])
    if calendar is not None:
        return _gaps_in_sessions(starts, ends, apart, timeframe, calendar)
    if timeframe.ns == NS_PER_DAY and not (((starts // NS_PER_DAY + _EPOCH_WEEKDAY) % 7) >= 5).any():
        apart = apart[starts[apart + 1] - starts[apart] > LONG_WEEKEND_NS]
    return [Gap(int(ends[row]), int(starts[row + 1])) for row in apart]


def _gaps_in_sessions(
    starts: Instants, ends: Instants, apart: Instants, timeframe: Timeframe, calendar: SessionCalendar
) -> list[Gap]:
    if not timeframe.is_intraday:
        dates = calendar.sessions(int(starts[0]), int(starts[-1])).date
        if timeframe.ns != NS_PER_DAY:
            dates = np.unique(timeframe.bar_starts(dates))
        between = np.searchsorted(dates, starts[1:], side="left") - np.searchsorted(dates, starts[:-1], side="right")
        return [Gap(int(ends[row]), int(starts[row + 1])) for row in np.flatnonzero(between > 0)]
    sessions = calendar.sessions(int(starts[0]), int(starts[-1]))
    found = []
    for row in apart:
        quiet, back = int(ends[row]), int(starts[row + 1])
        bounds = calendar.boundaries(quiet, back, timeframe)
        # Right when the market was closed throughout: at a close until the next open, or over its lunch break.
        closed = len(bounds) <= 2 and (quiet in sessions.close or not _is_bar(calendar, quiet, timeframe))
        if not closed:
            found.append(Gap(quiet, back))
    return found


def _is_bar(calendar: SessionCalendar, start: int, timeframe: Timeframe) -> bool:
    try:
        calendar.bar_ends(np.array([start], dtype=np.int64), timeframe)
    except OffGridError:
        return False
    return True


def find_halts(
    starts: Instants, open_: Floats, high: Floats, low: Floats, close: Floats, volume: Floats
) -> list[tuple[int, int]]:
    """Runs of five or more flat bars at the previous close without volume, as rows [first, last]: a feed that fills a halt.

    Empty where no bar has a volume at all (quotes).
    """
    if len(starts) < _HALT_BARS or not volume.any():
        return []
    flat = (volume == 0) & (high == low) & (open_ == close)
    flat[1:] &= close[1:] == close[:-1]
    edges = np.flatnonzero(np.diff(np.concatenate(([0], flat.view(np.int8), [0]))))
    return [(int(a), int(b) - 1) for a, b in zip(edges[::2], edges[1::2], strict=True) if b - a >= _HALT_BARS]


def find_splits(starts: Instants, open_: Floats, close: Floats) -> list[tuple[int, str]]:
    """Rows whose open is more than 40 % from the close before by a round ratio, with that ratio ("2:1", "1:10").

    The new level must last for a few bars (a bad tick does not), and the row must not follow on a long gap.
    """
    if len(open_) < 2:
        return []
    ratio = close[:-1] / open_[1:]
    found = []
    for row in np.flatnonzero(np.maximum(ratio, 1.0 / ratio) > 1.0 + _SPLIT_MOVE) + 1:
        move = float(ratio[row - 1])
        size = max(move, 1.0 / move)
        nearest = float(_SPLIT_RATIOS[np.abs(_SPLIT_RATIOS / size - 1.0).argmin()])
        before, after = close[max(0, row - _SPLIT_BARS) : row], close[row : row + _SPLIT_BARS]
        lasts = max(lasting := float(np.median(before) / np.median(after)), 1.0 / lasting) > 1.0 + _SPLIT_MOVE / 2
        near = starts[row] - starts[row - 1] <= max(LONG_WEEKEND_NS, 2 * int(np.diff(starts[:3]).min()))
        if abs(size / nearest - 1.0) <= _SPLIT_TOLERANCE and lasts and near and (lasting > 1) == (move > 1):
            new, old = ("3", "2") if nearest == 1.5 else (f"{nearest:g}", "1")
            found.append((int(row), f"{new}:{old}" if move > 1 else f"{old}:{new}"))
    return found


def notes_about(
    symbol: str,
    timeframe: Timeframe,
    starts: Instants,
    ends: Instants,
    columns: dict[str, Floats],
    calendar: SessionCalendar | None = None,
) -> list[str]:
    """Sentences about gaps and halts."""
    notes = []
    gaps = find_gaps(starts, ends, timeframe, calendar)
    if gaps:
        largest = max(gaps, key=lambda gap: gap.length)
        where = "" if calendar is None else f" in the sessions of {calendar.name}"
        notes.append(
            f"{symbol}: {len(gaps):,} gap{'s' if len(gaps) > 1 else ''} in the {timeframe} bars{where}; the largest is "
            f"{duration_text(largest.length)} from {format_ns(largest.start)}, the first {duration_text(gaps[0].length)} "
            f"from {format_ns(gaps[0].start)}"
        )
    o, h, low, c, v = (columns[name] for name in ("open", "high", "low", "close", "volume"))
    halts = find_halts(starts, o, h, low, c, v)
    if halts:
        first, last = max(halts, key=lambda run: run[1] - run[0])
        notes.append(
            f"{symbol}: {len(halts):,} run{'s' if len(halts) > 1 else ''} of flat bars without volume (a halt that the feed "
            f"has filled?); the longest is {last - first + 1} bars from {format_ns(int(starts[first]))}"
        )
    return notes


def split_warnings(symbol: str, starts: Instants, open_: Floats, close: Floats) -> list[str]:
    """Sentences about what looks like a split in unadjusted data, which makes a backtest wrong."""
    splits = find_splits(starts, open_, close)
    told = [
        f"{symbol}: looks like a {ratio} split in unadjusted data at {format_ns(int(starts[row]))}: the close before is "
        f"{close[row - 1]:g}, the open {open_[row]:g}; use adjusted prices"
        for row, ratio in splits[:_SPLITS_TOLD]
    ]
    if len(splits) > _SPLITS_TOLD:
        told.append(f"{symbol}: {len(splits) - _SPLITS_TOLD} further bars look like splits in unadjusted data")
    return told
