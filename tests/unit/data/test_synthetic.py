"""Synthetic bars: seeded, possible, realistic in their size, and labelled."""

from __future__ import annotations

from datetime import UTC, datetime

import numpy as np
import polars as pl
import pytest

from weaver.core.errors import ConfigError
from weaver.core.instants import to_ns
from weaver.data.load_bars import load_bars
from weaver.data.synthetic import synthetic_bars


def test_the_same_seed_gives_the_same_bars_and_another_one_others() -> None:
    assert synthetic_bars(500, seed=3).equals(synthetic_bars(500, seed=3))
    assert not synthetic_bars(500, seed=3).equals(synthetic_bars(500, seed=4))


def test_a_shorter_series_is_the_beginning_of_a_longer_one() -> None:
    assert synthetic_bars(70_000).head(500).equals(synthetic_bars(500))


@pytest.mark.parametrize(
    ("price", "timeframe", "volatility"), [(100.0, "1m", 0.6), (0.00012, "1h", 2.0), (4e4, "1d", 0.0)]
)
def test_every_bar_is_possible_and_opens_where_the_last_one_closed(
    price: float, timeframe: str, volatility: float
) -> None:
    bars = synthetic_bars(5_000, price=price, timeframe=timeframe, volatility=volatility)
    series = load_bars(bars)["SYNTH"]  # refuses what is impossible
    assert str(series.timeframe) == timeframe
    assert series.open[0] == pytest.approx(price)
    assert (series.open[1:] == series.close[:-1]).mean() > 0.99


def test_volatility_within_and_between_bars_is_what_was_asked_for() -> None:
    bars = synthetic_bars(50_000, volatility=0.5, price=10_000.0)
    year = 365 * 1440
    between = np.diff(np.log(bars["close"].to_numpy())).std() * year**0.5
    # Parkinson, "The Extreme Value Method for Estimating the Variance of the Rate of Return", 1980.
    within = (np.mean(np.log(bars["high"].to_numpy() / bars["low"].to_numpy()) ** 2) / (4 * np.log(2)) * year) ** 0.5
    assert between == pytest.approx(0.5, rel=0.02)
    assert within == pytest.approx(0.5, rel=0.03)


def test_bars_start_on_the_grid_at_or_after_the_given_start() -> None:
    bars = synthetic_bars(2, timeframe="1h", start=datetime(2024, 1, 1, 10, 30, tzinfo=UTC))
    assert bars["timestamp"].to_list() == [datetime(2024, 1, 1, 11, tzinfo=UTC), datetime(2024, 1, 1, 12, tzinfo=UTC)]
    assert bars.schema["timestamp"] == pl.Datetime("us", "UTC")


@pytest.mark.parametrize(
    "wrong",
    [
        {"n": 0},
        {"n": 1, "price": 0.0},
        {"n": 1, "price": float("nan")},
        {"n": 1, "price": float("inf")},
        {"n": 1, "volatility": -1.0},
        {"n": 1, "volatility": float("inf")},
        {"n": 9, "volatility": 1e200},
        {"n": 1, "seed": -1},
        {"n": 10_000, "timeframe": "1w", "start": to_ns("2200-01-01")},
        {"n": 1, "start": to_ns("9999-01-01")},
        {"n": 1, "start": to_ns("1500-01-01")},
    ],
)
def test_impossible_arguments_are_refused(wrong: dict) -> None:
    with pytest.raises(ConfigError):
        synthetic_bars(**wrong)
