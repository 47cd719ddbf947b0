"""The numbers: definitions written out the slow way, exactness on flat prices and large offsets, edge cases."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from weaver.indicators import (
    adx,
    atr,
    bollinger,
    cci,
    directional,
    donchian,
    ema,
    highest,
    lowest,
    macd,
    momentum,
    obv,
    roc,
    rsi,
    sma,
    stdev,
    stochastic,
    true_range,
    vwap,
    wma,
)

prices = st.lists(st.floats(0.001, 1e6), min_size=1, max_size=80).map(np.array)
periods = st.integers(1, 40)


@settings(max_examples=200, deadline=None)
@given(values=prices, period=periods)
def test_windows_agree_with_their_definition_written_out(values: np.ndarray, period: int) -> None:
    means, weighted, spread = sma(values, period), wma(values, period), stdev(values, period)
    top, bottom = highest(values, period), lowest(values, period)
    for i in range(period - 1, len(values)):
        window = values[i - period + 1 : i + 1].tolist()
        mean = math.fsum(window) / period
        total = math.fsum(weight * value for weight, value in enumerate(window, 1))
        assert means[i] == pytest.approx(mean, rel=1e-14)
        assert weighted[i] == pytest.approx(total / (period * (period + 1) / 2), rel=1e-14)
        deviation = math.sqrt(math.fsum((value - mean) ** 2 for value in window) / period)
        assert spread[i] == pytest.approx(deviation, rel=1e-12, abs=1e-13 * max(window))
        assert (top[i], bottom[i]) == (max(window), min(window))


@settings(max_examples=200, deadline=None)
@given(value=st.floats(1e-6, 1e12), period=periods)
def test_flat_prices_give_exactly_that_price_and_no_deviation(value: float, period: int) -> None:
    flat = np.full(100, value)
    for average in (sma, wma, ema, highest, lowest):
        assert set(average(flat, period)[period - 1 :].tolist()) == {value}
    assert set(stdev(flat, period)[period - 1 :].tolist()) == {0.0}
    upper, middle, lower = bollinger(flat, period)
    assert upper[-1] == middle[-1] == lower[-1] == value
    assert set(atr(flat, flat, flat, period)[period:].tolist()) == {0.0}


def test_a_flat_stretch_is_exact_after_wild_prices_too() -> None:
    values = np.concatenate([np.random.default_rng(1).random(1000) * 1e9, np.full(100, 0.1)])
    assert set(sma(values, 30)[-50:].tolist()) == {0.1}
    assert set(stdev(values, 30)[-50:].tolist()) == {0.0}


@pytest.mark.parametrize("offset", [1e6, 1e9, 1e12])
def test_a_large_offset_costs_no_digits(offset: float) -> None:
    swings = np.random.default_rng(2).integers(-1000, 1000, 50_000) / 1024.0  # exact on every offset
    there, here = sma(swings + offset, 30), sma(swings, 30)
    assert np.nanmax(np.abs(there - offset - here)) <= 4 * np.spacing(offset)
    assert np.nanmax(np.abs(stdev(swings + offset, 30) / stdev(swings, 30) - 1.0)) < 1e-12


def test_ema_follows_its_recursion_from_the_mean_of_the_first_values() -> None:
    values = np.random.default_rng(3).random(60)
    expected = float(np.mean(values[:10]))
    result = ema(values, 10)
    assert result[9] == pytest.approx(expected)
    for i in range(10, 60):
        expected += 2.0 / 11.0 * (values[i] - expected)
        assert result[i] == pytest.approx(expected, rel=1e-13)


def test_rsi_of_wilders_own_kind_of_example() -> None:
    values = np.array([10.0, 11.0, 10.5, 11.5, 11.5, 12.5])
    # changes +1 -0.5 +1 | 0 +1: averages 2/3 and 1/6, then (4/9, 1/9), then (17/27, 2/27)
    assert rsi(values, 3)[3:].tolist() == pytest.approx([80.0, 80.0, 100.0 * 17.0 / 19.0])


def test_rsi_is_one_hundred_without_falls_zero_without_rises_and_fifty_without_movement() -> None:
    rising = np.arange(1.0, 40.0)
    assert rsi(rising, 14)[-1] == 100.0
    assert rsi(rising[::-1], 14)[-1] == 0.0
    assert rsi(np.full(40, 7.0), 14)[-1] == 50.0


def test_stochastic_is_one_hundred_at_the_top_zero_at_the_bottom_and_fifty_without_range() -> None:
    rising = np.arange(1.0, 60.0)
    assert stochastic(rising, rising, rising)[0][-1] == 100.0
    assert stochastic(rising[::-1], rising[::-1], rising[::-1])[1][-1] == 0.0
    flat = np.full(40, 7.0)
    assert [series[-1] for series in stochastic(flat, flat, flat)] == [50.0, 50.0]


def test_a_flat_market_has_no_direction_no_deviation_and_no_change() -> None:
    flat = np.full(60, 7.0)
    assert [series[-1] for series in directional(flat, flat, flat)] == [0.0, 0.0]
    assert adx(flat, flat, flat)[-1] == 0.0
    assert cci(flat, flat, flat)[-1] == 0.0
    assert roc(flat)[-1] == momentum(flat)[-1] == 0.0
    assert [series[-1] for series in macd(flat)] == [0.0, 0.0, 0.0]


def test_a_straight_rise_is_all_one_direction() -> None:
    rising = np.arange(1.0, 80.0)
    plus, minus = directional(rising + 0.5, rising - 0.5, rising)
    assert minus[-1] == 0.0
    assert plus[-1] == pytest.approx(100.0 * 1.0 / 1.5)
    assert adx(rising + 0.5, rising - 0.5, rising)[-1] == pytest.approx(100.0)


def test_roc_has_no_value_where_the_earlier_one_is_zero() -> None:
    assert np.isnan(roc(np.array([0.0, 1.0, 2.0]), 1)[1])
    assert roc(np.array([0.0, 1.0, 2.0]), 1)[2] == 100.0


def test_true_range_reaches_back_to_the_previous_close() -> None:
    high, low, close = np.array([10.0, 15.0, 9.0]), np.array([9.0, 14.0, 8.0]), np.array([9.5, 14.5, 8.5])
    assert true_range(high, low, close)[1:].tolist() == [5.5, 6.5]


def test_donchian_is_highest_high_lowest_low_and_half_way() -> None:
    upper, middle, lower = donchian(np.array([3.0, 5.0, 4.0]), np.array([1.0, 2.0, 2.0]), 2)
    assert (upper[1:].tolist(), middle[1:].tolist(), lower[1:].tolist()) == ([5.0, 5.0], [3.0, 3.5], [1.0, 2.0])


def test_vwap_weighs_by_volume_and_has_no_value_without_any() -> None:
    price = np.array([10.0, 20.0, 30.0, 40.0])
    result = vwap(price, price, price, np.array([1.0, 3.0, 0.0, 0.0]), 2)
    assert result[1:3].tolist() == [17.5, 20.0]
    assert np.isnan(result[3])


def test_obv_adds_on_a_rise_subtracts_on_a_fall_and_stands_still_between() -> None:
    result = obv(np.array([10.0, 11.0, 11.0, 9.0]), np.array([5.0, 2.0, 4.0, 3.0]))
    assert result.tolist() == [5.0, 7.0, 7.0, 4.0]
