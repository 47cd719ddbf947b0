"""What every indicator promises: causal to the last bit, missing values, errors, inputs left alone."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import weaver.indicators
from weaver.core.errors import IndicatorError
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

# name: (call with high, low, close, volume and a period; NaN at the start for that period; remembers for ever)
Call = Callable[[Any, Any, Any, Any, Any], Any]
INDICATORS: dict[str, tuple[Call, Callable[[int], tuple[int, ...]], bool]] = {
    "sma": (lambda h, lo, c, v, p: sma(c, p), lambda p: (p - 1,), False),
    "ema": (lambda h, lo, c, v, p: ema(c, p), lambda p: (p - 1,), True),
    "wma": (lambda h, lo, c, v, p: wma(c, p), lambda p: (p - 1,), False),
    "rsi": (lambda h, lo, c, v, p: rsi(c, p), lambda p: (p,), True),
    "macd": (
        lambda h, lo, c, v, p: macd(c, p, p + 3 if isinstance(p, int) else 9, 4),
        lambda p: (p + 2, p + 5, p + 5),
        True,
    ),
    "bollinger": (lambda h, lo, c, v, p: bollinger(c, p), lambda p: (p - 1, p - 1, p - 1), False),
    "atr": (lambda h, lo, c, v, p: atr(h, lo, c, p), lambda p: (p,), True),
    "true_range": (lambda h, lo, c, v, p: true_range(h, lo, c), lambda p: (1,), False),
    "stochastic": (lambda h, lo, c, v, p: stochastic(h, lo, c, p, 3, 2), lambda p: (p + 1, p + 2), False),
    "directional": (lambda h, lo, c, v, p: directional(h, lo, c, p), lambda p: (p, p), True),
    "adx": (lambda h, lo, c, v, p: adx(h, lo, c, p), lambda p: (2 * p - 1,), True),
    "cci": (lambda h, lo, c, v, p: cci(h, lo, c, p), lambda p: (p - 1,), False),
    "donchian": (lambda h, lo, c, v, p: donchian(h, lo, p), lambda p: (p - 1, p - 1, p - 1), False),
    "roc": (lambda h, lo, c, v, p: roc(c, p), lambda p: (p,), False),
    "momentum": (lambda h, lo, c, v, p: momentum(c, p), lambda p: (p,), False),
    "stdev": (lambda h, lo, c, v, p: stdev(c, p), lambda p: (p - 1,), False),
    "vwap": (lambda h, lo, c, v, p: vwap(h, lo, c, v, p), lambda p: (p - 1,), False),
    "obv": (lambda h, lo, c, v, p: obv(c, v), lambda p: (0,), True),
    "highest": (lambda h, lo, c, v, p: highest(c, p), lambda p: (p - 1,), False),
    "lowest": (lambda h, lo, c, v, p: lowest(c, p), lambda p: (p - 1,), False),
}
WITHOUT_PERIOD = {"true_range", "obv"}
every_indicator = pytest.mark.parametrize("name", sorted(INDICATORS))
every_window = pytest.mark.parametrize(
    "name", sorted(name for name, (_, _, for_ever) in INDICATORS.items() if not for_ever)
)
everything_for_ever = pytest.mark.parametrize(
    "name", sorted(name for name, (_, _, for_ever) in INDICATORS.items() if for_ever)
)
every_period = pytest.mark.parametrize("name", sorted(set(INDICATORS) - WITHOUT_PERIOD))


def bars(count: int, seed: int = 0, missing: int = 0) -> tuple[np.ndarray, ...]:
    """high, low, close, volume of a random walk, read-only; `missing` closes and highs are NaN."""
    rng = np.random.default_rng(seed)
    close = 100.0 + np.cumsum(rng.normal(size=count))
    high, low = close + rng.random(count), close - rng.random(count)
    volume = rng.random(count) * 1000.0
    for column in (close, high):
        column[rng.integers(0, max(count, 1), size=missing if count else 0)] = np.nan
    for column in (high, low, close, volume):
        column.flags.writeable = False
    return high, low, close, volume


def outputs(name: str, columns: tuple[np.ndarray, ...], period: Any) -> tuple[np.ndarray, ...]:
    result = INDICATORS[name][0](*columns, period)
    return result if isinstance(result, tuple) else (result,)


def same(a: np.ndarray, b: np.ndarray) -> bool:
    """Equal to the last bit, NaN included."""
    return bool(a.shape == b.shape and np.array_equal(a, b, equal_nan=True))


def test_every_public_indicator_is_held_to_these_promises() -> None:
    assert set(weaver.indicators.__all__) == set(INDICATORS) | {"crossover", "crossunder"}


def test_the_public_names_are_the_ones_that_are_there() -> None:
    names = {name for name in vars(weaver.indicators) if not name.startswith("_")} - {"annotations"}
    assert names == set(weaver.indicators.__all__)


@every_indicator
@settings(max_examples=40, deadline=None)
@given(
    count=st.integers(0, 120),
    cut=st.integers(0, 120),
    period=st.integers(1, 20),
    seed=st.integers(0, 10_000),
    missing=st.integers(0, 3),
)
def test_cutting_or_changing_the_future_changes_no_bit(
    name: str, count: int, cut: int, period: int, seed: int, missing: int
) -> None:
    whole = bars(count, seed, missing)
    cut = min(cut, count)
    scrambled = tuple(np.concatenate([column[:cut], column[cut:][::-1] * 3.0 + 1.0]) for column in whole)
    for full, short, other in zip(
        outputs(name, whole, period),
        outputs(name, tuple(column[:cut] for column in whole), period),
        outputs(name, scrambled, period),
        strict=True,
    ):
        assert same(full[:cut], short)
        assert same(other[:cut], short)


@every_indicator
def test_the_future_changes_no_bit_across_the_blocks_that_windows_are_computed_in(name: str) -> None:
    whole = bars(40_000)
    cut = 33_333
    for full, short in zip(
        outputs(name, whole, 30), outputs(name, tuple(column[:cut] for column in whole), 30), strict=True
    ):
        assert same(full[:cut], short)


@every_window
@settings(max_examples=30, deadline=None)
@given(skip=st.integers(0, 60), period=st.integers(1, 20), seed=st.integers(0, 10_000))
def test_a_function_of_a_window_does_not_know_what_came_before_it(name: str, skip: int, period: int, seed: int) -> None:
    whole = bars(100, seed)
    for full, late in zip(
        outputs(name, whole, period), outputs(name, tuple(column[skip:] for column in whole), period), strict=True
    ):
        warm = ~np.isnan(late)
        assert same(full[skip:][warm], late[warm])


@every_indicator
@pytest.mark.parametrize("period", [1, 2, 5, 14, 31])
def test_the_warm_up_is_as_long_as_documented(name: str, period: int) -> None:
    for output, warm_up in zip(outputs(name, bars(200), period), INDICATORS[name][1](period), strict=True):
        assert np.flatnonzero(~np.isnan(output))[0] == warm_up
        assert not np.isnan(output[warm_up:]).any()


@every_indicator
@pytest.mark.parametrize("count", [0, 1, 2, 7])
def test_a_period_longer_than_the_data_gives_only_nan(name: str, count: int) -> None:
    for output in outputs(name, bars(count), 50):
        assert len(output) == count
        if name not in WITHOUT_PERIOD:
            assert np.isnan(output).all()


@every_indicator
def test_results_are_new_float64_arrays_of_the_same_length_and_inputs_stay_as_they_were(name: str) -> None:
    columns = tuple(column.copy() for column in bars(100, missing=2))
    before = tuple(column.copy() for column in columns)
    for output in outputs(name, columns, 1) + outputs(name, columns, 9):
        assert output.dtype == np.float64
        assert output.shape == (100,)
        assert output.flags.writeable
        assert not any(np.shares_memory(output, column) for column in columns)
        output[:] = -1.0
    assert all(same(a, b) for a, b in zip(columns, before, strict=True))


@every_indicator
@pytest.mark.parametrize("hole", [np.nan, np.inf, -np.inf])
def test_a_missing_value_gives_nan_and_the_result_comes_back_after_it(name: str, hole: float) -> None:
    columns = tuple(column.copy() for column in bars(200))
    for column in columns[:3]:
        column[90] = hole
    for output in outputs(name, columns, 5):
        assert np.isnan(output[90])
        assert not np.isnan(output[110:]).any()
        assert not np.isinf(output).any()
    for whole, holed in zip(outputs(name, bars(200), 5), outputs(name, columns, 5), strict=True):
        assert same(whole[:90], holed[:90])
        if not INDICATORS[name][2]:
            assert same(whole[110:], holed[110:])


@everything_for_ever
def test_after_a_missing_value_what_remembers_for_ever_starts_anew(name: str) -> None:
    columns = tuple(column.copy() for column in bars(200))
    for column in columns:
        column[90] = np.nan
    for holed, late in zip(
        outputs(name, columns, 5), outputs(name, tuple(column[91:] for column in columns), 5), strict=True
    ):
        assert same(holed[91:], late)


@every_period
@pytest.mark.parametrize("period", [0, -1, 2.0, 2.5, True, None, "3", float("nan")])
def test_a_period_that_is_not_a_whole_number_of_at_least_one_is_refused_by_name_and_value(
    name: str, period: Any
) -> None:
    with pytest.raises(IndicatorError, match=r"whole number of at least 1") as caught:
        outputs(name, bars(50), period)
    assert name in str(caught.value)
    assert repr(period) in str(caught.value)
    assert isinstance(caught.value, ValueError)


@every_indicator
def test_a_numpy_integer_is_a_whole_number(name: str) -> None:
    for a, b in zip(outputs(name, bars(50), 5), outputs(name, bars(50), np.int64(5)), strict=True):
        assert name == "macd" or same(a, b)


@pytest.mark.parametrize(
    "call",
    [
        lambda h, lo, c, v: atr(h[:-1], lo, c),
        lambda h, lo, c, v: stochastic(h, lo, c[1:]),
        lambda h, lo, c, v: obv(c, v[:3]),
        lambda h, lo, c, v: donchian(h, lo[5:]),
        lambda h, lo, c, v: vwap(h, lo, c, v[2:]),
    ],
)
def test_columns_of_unequal_length_are_refused_with_their_lengths(call: Callable[..., Any]) -> None:
    with pytest.raises(IndicatorError, match=r"equally long, but .* has 50"):
        call(*bars(50))


def test_what_is_not_one_column_of_numbers_is_refused() -> None:
    with pytest.raises(IndicatorError, match="one dimension"):
        sma(np.zeros((3, 3)), 2)
    with pytest.raises(IndicatorError, match="array of numbers"):
        sma(np.array(["a", "b"]), 2)


def test_whole_number_columns_and_lists_are_taken_too() -> None:
    assert sma([1, 2, 3, 4], 2).tolist()[1:] == [1.5, 2.5, 3.5]  # type: ignore[arg-type]
    assert highest(np.array([1, 3, 2], dtype=np.int32), 2).tolist()[1:] == [3.0, 3.0]  # type: ignore[arg-type]


def test_macd_refuses_a_fast_period_that_is_not_smaller() -> None:
    with pytest.raises(IndicatorError, match="fast=26 must be smaller than slow=26"):
        macd(bars(50)[2], 26, 26)
