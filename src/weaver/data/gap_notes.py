"""Gaps, halts and likely splits in a series of bars, as values and as sentences. Nothing here changes a bar."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from weaver.core.bars import Floats, GapSummary, Instants
from weaver.core.calendar import SessionCalendar
from weaver.core.durations import duration_text
from weaver.core.errors import OffGridError
from weaver.core.instants import NS_PER_DAY, format_ns
from weaver.core.timeframe import Timeframe
from weaver.data.bar_checks import CHUNK, LONG_WEEKEND_NS

__all__ = ["Gap", "find_gaps", "find_halts", "find_splits", "notes_about", "split_warnings", "unexpected_gaps"]

# The Thursday of the epoch is weekday 3, counted from Monday.
_EPOCH_WEEKDAY = 3
_HALT_BARS = 5
_SPLIT_MOVE = 0.40
_NEARLY_MOVED = 1.0 + 0.99 * _SPLIT_MOVE
_SPLIT_RATIOS = np.array([1.5, *range(2, 11), 12, 15, 20, 25, 30, 40, 50, 100], dtype=np.float64)
_SPLIT_TOLERANCE = 0.03
_SPLIT_TOLERANCE_3_2 = 0.01  # a fall by a third does happen on one day
_UNUSUAL_BREAK_NS = 7 * NS_PER_DAY
_SPLIT_BARS = 5
_SPLITS_TOLD = 5


@dataclass(frozen=True, slots=True)
class Gap:
    """Time without bars, [start, end) in nanoseconds UTC: from the end of the bar before to the start of the one after."""

    start: int
    end: int

    @property
    def length(self) -> int:
        """Return the length in nanoseconds."""
        return self.end - self.start


def find_gaps(
    starts: Instants, ends: Instants, timeframe: Timeframe, calendar: SessionCalendar | None = None
) -> list[Gap]:
    """Return the gaps: times where bars are missing.

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
    gaps = []
    for row in apart:
        quiet, back = int(ends[row]), int(starts[row + 1])
        bounds = calendar.boundaries(quiet, back, timeframe)
        # Right when the market was closed throughout: at a close until the next open, or over its lunch break.
        closed = len(bounds) <= 2 and (quiet in sessions.close or not _is_bar(calendar, quiet, timeframe))
        if not closed:
            gaps.append(Gap(quiet, back))
    return gaps


def _is_bar(calendar: SessionCalendar, start: int, timeframe: Timeframe) -> bool:
    try:
        calendar.bar_ends(np.array([start], dtype=np.int64), timeframe)
    except OffGridError:
        return False
    return True


def find_halts(
    starts: Instants, open_: Floats, high: Floats, low: Floats, close: Floats, volume: Floats
) -> list[tuple[int, int]]:
    """Return runs of five or more flat bars at the previous close without volume, as rows [first, last].

    Feeds fill halts of trading with such bars.
    Empty where no bar has a volume at all (quotes).
    """
    rows = np.flatnonzero(volume == 0)
    if len(rows) < _HALT_BARS or len(rows) == len(starts):
        return []
    rows = rows[(high[rows] == low[rows]) & (open_[rows] == close[rows])]
    rows = rows[(rows == 0) | (close[rows] == close[rows - 1])]
    runs = np.split(rows, np.flatnonzero(np.diff(rows) != 1) + 1)
    return [(int(run[0]), int(run[-1])) for run in runs if len(run) >= _HALT_BARS]


def unexpected_gaps(gaps: list[Gap], starts: Instants, calendar: SessionCalendar | None = None) -> GapSummary | None:
    """Return the gaps that a run should warn of, or None.

    With a calendar: all. Without one, only the bars show when a market is closed. If there are bars on weekends, and no
    more than one gap in two weeks, all count; otherwise only those of a week or longer.
    """
    if gaps and calendar is None:
        days = starts // NS_PER_DAY
        weekends = bool(((days[:: max(1, len(days) // 5_000)] + _EPOCH_WEEKDAY) % 7 >= 5).any())
        if not weekends or len(gaps) > (int(days[-1]) - int(days[0])) / 14:
            gaps = [gap for gap in gaps if gap.length >= _UNUSUAL_BREAK_NS]
    if not gaps:
        return None
    first, largest = gaps[0], max(gaps, key=lambda gap: gap.length)
    return GapSummary(count=len(gaps), first=(first.start, first.end), largest=(largest.start, largest.end))


def find_splits(
    starts: Instants, open_: Floats, close: Floats, adj_close: Floats | None = None
) -> list[tuple[int, str]]:
    """Return the rows whose open is about a round ratio from the close before, with that ratio ("2:1", "1:10").

    The move is above 40 % and within 3 % of the ratio (1 % of 3:2), the new level lasts for a few bars (a bad tick does
    not), and the row does not follow a long gap. Where `adj_close` is known it decides: close / adj_close steps at a split,
    and stays the same at a real move or in prices that are adjusted already.
    """
    if len(open_) < 2:
        return []
    splits = []
    for row in _large_moves(open_, close):
        move = float(close[row - 1] / open_[row])
        size = max(move, 1.0 / move)
        nearest = float(_SPLIT_RATIOS[np.abs(_SPLIT_RATIOS / size - 1.0).argmin()])
        before, after = close[max(0, row - _SPLIT_BARS) : row], close[row : row + _SPLIT_BARS]
        lasts = max(lasting := float(np.median(before) / np.median(after)), 1.0 / lasting) > 1.0 + _SPLIT_MOVE / 2
        near = starts[row] - starts[row - 1] <= max(LONG_WEEKEND_NS, 2 * int(np.diff(starts[:3]).min()))
        tolerance = _SPLIT_TOLERANCE_3_2 if nearest == 1.5 else _SPLIT_TOLERANCE
        close_to_ratio = abs(size / nearest - 1.0) <= tolerance
        real = adj_close is not None and _moves_alike(close, adj_close, int(row))
        if close_to_ratio and lasts and near and (lasting > 1) == (move > 1) and not real:
            new, old = ("3", "2") if nearest == 1.5 else (f"{nearest:g}", "1")
            splits.append((int(row), f"{new}:{old}" if move > 1 else f"{old}:{new}"))
    return splits


def _large_moves(open_: Floats, close: Floats) -> list[int]:
    """Return the rows whose open is more than 40 % from the close before. A quick check of each chunk rejects most."""
    rows: list[int] = []
    for first in range(0, len(open_) - 1, CHUNK):
        before, after = close[first : min(first + CHUNK, len(close) - 1)], open_[first + 1 : first + 1 + CHUNK]
        # A little less than the limit, so that the exact comparison below decides.
        if not ((after * _NEARLY_MOVED > before).all() and (before * _NEARLY_MOVED > after).all()):
            ratio = before / after
            rows += (np.flatnonzero(np.maximum(ratio, 1.0 / ratio) > 1.0 + _SPLIT_MOVE) + first + 1).tolist()
    return rows


def _moves_alike(close: Floats, adj_close: Floats, row: int) -> bool:
    """Return whether the adjusted close moves as the close at `row`, within 10 % (a dividend); False where missing."""
    with np.errstate(divide="ignore", invalid="ignore"):
        step = (close[row - 1] / adj_close[row - 1]) / (close[row] / adj_close[row])
    return bool(np.isfinite(step)) and abs(step - 1.0) < 0.1


def notes_about(
    symbol: str,
    timeframe: Timeframe,
    starts: Instants,
    ends: Instants,
    columns: dict[str, Floats],
    calendar: SessionCalendar | None = None,
    gaps: list[Gap] | None = None,
) -> list[str]:
    """Return sentences about gaps and halts. `gaps` are those of `find_gaps`, where the caller has them already."""
    notes = []
    if gaps is None:
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


def split_warnings(
    symbol: str, starts: Instants, open_: Floats, close: Floats, adj_close: Floats | None = None
) -> list[str]:
    """Return sentences about likely splits in unadjusted data, with the ratio and how far the prices are from it."""
    splits = find_splits(starts, open_, close, adj_close)
    sentences = []
    for row, ratio in splits[:_SPLITS_TOLD]:
        new, old = ratio.split(":")
        move = close[row - 1] / open_[row]
        distance = abs(move / (float(new) / float(old)) - 1.0)
        sentences.append(
            f"{symbol}: looks like a {ratio} split in unadjusted data at {format_ns(int(starts[row]))}: the close before is "
            f"{close[row - 1]:g}, the open {open_[row]:g}, {distance * 100:.1f} % from that ratio; use adjusted prices"
        )
    if len(splits) > _SPLITS_TOLD:
        sentences.append(f"{symbol}: {len(splits) - _SPLITS_TOLD} further bars look like splits in unadjusted data")
    return sentences
