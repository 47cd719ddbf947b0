"""The formulas agree with the libraries they are defined like, and with a loop a child could write."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from weaver.core.bars import Floats
from weaver.results import metrics

DAY = metrics.DAY_NS
MONDAY = 19_723 * DAY


def known_returns() -> Floats:
    """756 business days whose returns need no generator to be reproduced."""
    i = np.arange(1, 757)
    return np.asarray(((i * 7919) % 201 - 99) / 10_000)


# empyrical-reloaded's numbers for `known_returns()`, annualised with 252 and with 365 periods.
def test_ratios_agree_with_empyrical() -> None:
    returns = known_returns()
    assert metrics.volatility(returns, 252) == pytest.approx(0.09213140198536049, rel=1e-12)
    assert metrics.sharpe(returns, 252) == pytest.approx(0.47974956472520974, rel=1e-12)
    assert metrics.sortino(returns, 252) == pytest.approx(0.6969028869229604, rel=1e-12)
    assert metrics.sharpe(returns, 365) == pytest.approx(0.5773786905218543, rel=1e-12)
    assert metrics.sortino(returns, 365) == pytest.approx(0.8387227542414796, rel=1e-12)
    assert metrics.volatility(returns, 365) == pytest.approx(0.11088015945302379, rel=1e-12)


def test_drawdown_growth_and_calmar_agree_with_empyrical() -> None:
    equity = np.cumprod(1 + known_returns())
    end = MONDAY + np.arange(1, len(equity) + 1) * DAY
    depth = metrics.drawdown(equity, 1.0, MONDAY, end).depth
    growth = metrics.cagr(1.0, float(equity[-1]), len(equity) / 252)
    assert depth == pytest.approx(-0.053433871105323945, rel=1e-12)
    assert growth == pytest.approx(0.04076807180158859, rel=1e-12)
    assert metrics.calmar(growth, depth) == pytest.approx(0.7629630973438235, rel=1e-12)


CURVES = st.lists(st.integers(50, 150), min_size=1, max_size=50)


@given(CURVES, st.sampled_from([1, 2, 7, 1 << 15]))
def test_the_drawdown_in_blocks_equals_a_plain_loop(levels: list[int], block: int) -> None:
    initial = 100.0
    end = np.array([(i + 1) * (i + 2) for i in range(len(levels))], dtype=np.int64)  # uneven on purpose
    depth, longest, peak, since = 0.0, 0, initial, 0
    below = False
    for level, now in zip(levels, end.tolist(), strict=True):
        if level >= peak:
            longest = max(longest, now - since) if below else longest
            peak, since, below = level, now, False
        else:
            depth, below = min(depth, level / peak - 1.0), True
    if below:
        longest = max(longest, int(end[-1]) - since)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(metrics, "_BLOCK", block)
        found = metrics.drawdown(np.array(levels, dtype=np.float64), initial, 0, end)
    assert (found.depth, found.longest_ns) == (depth, longest)
    assert found.depth == min(0.0, float(metrics.drawdown_curve(np.array(levels, float), initial).min()))
    if depth < 0:
        value_at_peak = initial if found.peak_row < 0 else levels[found.peak_row]
        assert levels[found.trough_row] / value_at_peak - 1.0 == depth


def test_a_fall_below_the_starting_cash_is_a_drawdown_from_the_start() -> None:
    found = metrics.drawdown(np.array([90.0, 95.0]), 100.0, 0, np.array([10, 20]))
    assert found == metrics.Drawdown(90 / 100 - 1, -1, 0, 20)


def test_a_curve_that_only_rises_has_no_drawdown() -> None:
    assert metrics.drawdown(np.array([100.0, 100.0, 101.0]), 100.0, 0, np.array([1, 2, 3])) == (0.0, -1, -1, 0)


def bars_on(weekdays: set[int], weeks: int, per_day: int = 1) -> np.ndarray:
    days = [day for day in range(weeks * 7) if day % 7 in weekdays]
    return np.array([MONDAY + day * DAY + k * DAY // per_day for day in days for k in range(per_day)], dtype=np.int64)


@pytest.mark.parametrize(
    ("weekdays", "per_year"), [({0, 1, 2, 3, 4}, 252.0), (set(range(7)), 365.0), ({0, 1, 2, 3, 4, 6}, 312.0)]
)
def test_the_weekdays_that_trade_say_how_many_periods_a_year_has(weekdays: set[int], per_year: float) -> None:
    sampled = metrics.sampling(bars_on(weekdays, 30, per_day=4), DAY // 4)
    assert (sampled.per_year, sampled.period) == (per_year, "day")


def test_a_stray_sunday_does_not_change_the_annualisation() -> None:
    start = np.sort(np.append(bars_on({0, 1, 2, 3, 4}, 30), MONDAY + 6 * DAY))
    assert metrics.sampling(start, DAY).per_year == 252.0


def test_intraday_bars_are_sampled_at_the_last_bar_of_each_utc_day() -> None:
    start = np.array([MONDAY, MONDAY + 5, MONDAY + DAY - 1, MONDAY + DAY, MONDAY + 9 * DAY], dtype=np.int64)
    assert metrics.sampling(start, 1).rows.tolist() == [2, 3, 4]


def test_weekly_bars_are_sampled_by_bar() -> None:
    sampled = metrics.sampling(MONDAY + np.arange(10) * 7 * DAY, 7 * DAY)
    assert sampled.period == "bar"
    assert sampled.rows.tolist() == list(range(10))
    assert sampled.per_year == pytest.approx(365.25 / 7)


def test_the_first_return_is_counted_from_the_starting_cash() -> None:
    assert metrics.period_returns(np.array([110.0, 99.0]), np.array([0, 1]), 100.0).tolist() == pytest.approx(
        [0.1, -0.1]
    )


def test_a_run_that_lost_everything_has_no_returns_to_annualise() -> None:
    returns = metrics.period_returns(np.array([50.0, -1.0, 3.0]), np.arange(3), 100.0)
    assert len(returns) == 0
    assert math.isnan(metrics.sharpe(returns, 252))
    assert math.isnan(metrics.cagr(100.0, -1.0, 1.0))


@pytest.mark.parametrize("returns", [np.array([]), np.array([0.01]), np.zeros(9), np.full(9, 0.1)])
def test_ratios_without_a_spread_are_not_defined(returns: Floats) -> None:
    assert math.isnan(metrics.sharpe(returns, 252))
    assert math.isnan(metrics.sortino(returns, 252))


def test_a_growth_too_large_to_compound_is_not_defined() -> None:
    assert math.isnan(metrics.cagr(1.0, 1.1, metrics.years_between(0, 60 * 10**9)))


def test_a_profit_factor_without_losses_is_not_defined() -> None:
    assert math.isnan(metrics.profit_factor(np.array([1.0, 2.0])))
    assert metrics.profit_factor(np.array([3.0, -2.0, 0.0])) == 1.5
