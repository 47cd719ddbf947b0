"""Adjusting: the order of prices stays, the close is adj_close, splits and dividends are told apart."""

from __future__ import annotations

import numpy as np
import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st

import builders
from weaver.core.errors import DataError
from weaver.data.adjust import adjust, split_steps


def _bars(close: list[float], adj_close: list[float]) -> pl.DataFrame:
    prices = np.array(close)
    frame = builders.frame(prices, highs=prices * 1.1, lows=prices * 0.9, volumes=100.0, adj_close=adj_close)
    return frame.drop("timestamp")


def test_a_split_makes_prices_continuous_and_counts_later_shares() -> None:
    adjusted, notes = adjust(_bars([100.0, 102.0, 51.0, 52.0], [50.0, 51.0, 51.0, 52.0]))
    assert adjusted["close"].to_list() == [50.0, 51.0, 51.0, 52.0]
    assert adjusted["volume"].to_list() == [200.0, 200.0, 100.0, 100.0]
    assert "1 split in the data" in notes[0]


def test_a_dividend_leaves_the_volume_alone() -> None:
    adjusted, notes = adjust(_bars([100.0, 100.0], [99.0, 100.0]))
    assert adjusted["volume"].to_list() == [100.0, 100.0]
    assert "0 splits" in notes[0]


def test_a_reverse_split_divides_the_volume() -> None:
    adjusted, _ = adjust(_bars([1.0, 10.0], [10.0, 10.0]))
    assert adjusted["volume"].to_list() == [10.0, 100.0]


@given(st.lists(st.tuples(st.floats(0.01, 1e5), st.floats(1e-3, 1.0)), min_size=1, max_size=30))
def test_high_and_low_still_enclose_the_bar_and_the_close_is_exact(rows: list[tuple[float, float]]) -> None:
    bars = _bars([close for close, _ in rows], [close * factor for close, factor in rows])
    adjusted, _ = adjust(bars)
    assert adjusted["close"].equals(bars["adj_close"].rename("close"))
    inside = pl.min_horizontal("open", "close") >= pl.col("low"), pl.max_horizontal("open", "close") <= pl.col("high")
    assert adjusted.select(pl.all_horizontal(inside).all()).item()


def test_only_round_ratios_are_splits() -> None:
    factor = np.array([14.0, 2.0, 2.0, 1.995, 3.0, 1.0])
    assert split_steps(factor).tolist() == [1.0, 7.0, 1.0, 1.0, 1.0, 3.0]  # 1.995 to 3.0 is 1:1.504
    assert split_steps(np.array([1.0])).tolist() == [1.0]


@pytest.mark.parametrize("value", [0.0, -1.0, float("nan"), float("inf")])
def test_an_impossible_adjusted_close_is_refused_by_row(value: float) -> None:
    with pytest.raises(DataError, match=r"adj_close is .* in row 1"):
        adjust(_bars([1.0, 1.0], [1.0, value]))


def test_without_adj_close_nothing_is_guessed() -> None:
    with pytest.raises(DataError, match="adjusted=False"):
        adjust(_bars([1.0], [1.0]).drop("adj_close"))
