"""What is drawn is less than what there is, and never hides a spike."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import builders
from weaver.core.bars import BarSeries
from weaver.results.downsampling import candles, extremes

NUMBERS = st.lists(st.one_of(st.floats(-1e6, 1e6), st.just(float("nan"))), max_size=300)


@given(NUMBERS, st.integers(4, 100))
def test_first_last_lowest_and_highest_always_survive(numbers: list[float], points: int) -> None:
    values = np.array(numbers)
    rows = extremes(values, points)
    assert np.all(np.diff(rows) > 0)
    assert len(rows) <= max(points + 4, 8)
    if len(values):
        assert (rows[0], rows[-1]) == (0, len(values) - 1)
    if np.isfinite(values).any():
        kept = values[rows]
        assert np.nanmin(kept) == np.nanmin(values)
        assert np.nanmax(kept) == np.nanmax(values)


@given(st.integers(1, 200), st.integers(1, 50))
def test_merged_candles_keep_open_close_highest_and_lowest(count: int, most: int) -> None:
    rng = np.random.default_rng(count)
    opens, closes = rng.uniform(50, 60, count), rng.uniform(50, 60, count)
    highs, lows = np.maximum(opens, closes) + 1, np.minimum(opens, closes) - 1
    bars = builders.series(closes, opens=opens, highs=highs, lows=lows, step="1m")
    merged = candles(bars, most)
    assert len(merged.start) <= most
    assert (merged.open[0], merged.close[-1]) == (bars.open[0], bars.close[-1])
    assert (merged.high.max(), merged.low.min()) == (bars.high.max(), bars.low.min())
    assert (merged.start[0], merged.end[-1]) == (bars.start[0], bars.end[-1])
    for at, first in enumerate(range(0, count, merged.size)):
        rows = slice(first, first + merged.size)
        assert merged.high[at] == bars.high[rows].max()
        assert merged.low[at] == bars.low[rows].min()


def test_part_of_the_bars_can_be_merged(series: Callable[..., BarSeries]) -> None:
    bars = series("A", [1.0, 2.0, 3.0, 4.0, 5.0])
    merged = candles(bars, 2, 1, 4)
    assert merged.close.tolist() == [3.0, 4.0]
    assert merged.high.tolist() == pytest.approx([3.03, 4.04])


def test_no_bars_give_no_candles(series: Callable[..., BarSeries]) -> None:
    assert len(candles(series("A", []), 10).start) == 0
