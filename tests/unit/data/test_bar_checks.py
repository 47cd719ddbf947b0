"""Checks of bars: the quick way over chunks finds the same rows as a look at each row."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import builders
from weaver.core.timeframe import Timeframe
from weaver.data import bar_checks, gap_notes
from weaver.data.bar_checks import (
    Spacing,
    commonest_spacing,
    impossible_bars,
    longer_spacing,
    off_grid_rows,
    unordered_rows,
)
from weaver.data.gap_notes import find_halts, find_splits

ODD = (float("nan"), float("inf"), float("-inf"), 0.0, -1.0, 1e9)


@pytest.fixture(autouse=True)
def _small_chunks(monkeypatch: pytest.MonkeyPatch) -> None:
    for module in (bar_checks, gap_notes):
        monkeypatch.setattr(module, "CHUNK", 4)


def columns(count: int) -> dict[str, np.ndarray]:
    frame = builders.frame(**builders.random_walk(count, seed=count))
    return {name: frame[name].to_numpy().copy() for name in ("open", "high", "low", "close", "volume")}


@given(
    st.integers(1, 20),
    st.lists(st.tuples(st.integers(0, 19), st.sampled_from(builders.NAMES), st.sampled_from(ODD)), max_size=4),
)
def test_impossible_bars_are_those_of_the_rule(count: int, changes: list[tuple[int, str, float]]) -> None:
    bars = columns(count)
    for row, name, value in changes:
        if row < count:
            bars[name][row] = value
    o, h, low, c, v = (bars[name] for name in builders.NAMES)
    rule = [
        row
        for row in range(count)
        if not (0 < low[row] <= min(o[row], c[row]) and max(o[row], c[row]) <= h[row] < np.inf and 0 <= v[row] < np.inf)
        or np.isnan([o[row], c[row]]).any()
    ]
    assert impossible_bars(bars).tolist() == rule


@given(st.lists(st.integers(0, 40), min_size=1, max_size=20), st.sampled_from([1, 60, 300]))
def test_spacing_order_and_grid_are_those_of_each_row(minutes: list[int], offset: int) -> None:
    starts = builders.MONDAY + np.array(minutes, dtype=np.int64) * builders.MINUTE + offset // 60 * builders.MINUTE
    starts[-1] += offset % 60 * 10**9
    apart = np.diff(starts)
    spacing = Spacing.of(starts)
    if len(starts) > 1:
        assert (spacing.smallest, spacing.largest) == (apart.min(), apart.max())
        assert commonest_spacing(starts, spacing) == commonest_spacing(starts)
    assert unordered_rows(starts, spacing).tolist() == unordered_rows(starts).tolist()
    assert longer_spacing(starts, Timeframe("1m"), spacing) == longer_spacing(starts, Timeframe("1m"))
    for timeframe in (Timeframe("1m"), Timeframe("5m")):
        rows = np.flatnonzero(timeframe.offsets(starts)).tolist()
        assert off_grid_rows(starts, timeframe, spacing).tolist() == rows


def test_regular_bars_off_the_grid_are_found_without_a_look_at_each() -> None:
    starts = builders.MONDAY + np.arange(10, dtype=np.int64) * 5 * builders.MINUTE
    spacing = Spacing.of(starts)
    assert spacing.is_regular
    assert not len(off_grid_rows(starts, Timeframe("5m"), spacing))
    assert len(off_grid_rows(starts + builders.MINUTE, Timeframe("5m"), spacing)) == 10
    assert len(off_grid_rows(starts, Timeframe("15m"), spacing)) == 6


@given(st.lists(st.sampled_from(["trade", "flat", "quiet move"]), min_size=1, max_size=30))
def test_halts_are_runs_of_five_flat_bars_without_volume(kinds: list[str]) -> None:
    level, rows = 100.0, []
    for kind in kinds:
        level += kind != "flat"
        rows.append((level, level, level, level, 5.0 if kind == "trade" else 0.0))
    o, h, low, c, v = np.array(rows).T.copy()
    flat = [kind == "flat" or (row == 0 and kind != "trade") for row, kind in enumerate(kinds)]
    runs, first = [], None
    for row, is_flat in enumerate([*flat, False]):
        if is_flat and first is None:
            first = row
        elif not is_flat and first is not None:
            runs += [(first, row - 1)] if row - first >= 5 else []
            first = None
    expected = runs if "trade" in kinds else []
    assert find_halts(np.arange(len(rows)), o, h, low, c, v) == expected


@pytest.mark.parametrize("row", [4, 5, 8, 9])
def test_a_split_is_found_wherever_a_chunk_ends(row: int) -> None:
    close = np.full(14, 100.0)
    close[row:] = 50.0
    starts = builders.MONDAY + np.arange(14, dtype=np.int64) * builders.DAY
    assert find_splits(starts, close, close) == [(row, "2:1")]
