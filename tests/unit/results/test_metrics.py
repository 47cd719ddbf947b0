"""The formulas agree with the libraries that define them in the same way, and with plain loops."""

from __future__ import annotations

import math
from typing import Any

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


def sample(start: Any, step: int, **more: Any) -> metrics.Sampling:
    """Sampling of bars that last `step` nanoseconds."""
    return metrics.sampling(start, start + step, step, **more)


def bars_on(weekdays: set[int], weeks: int, per_day: int = 1) -> np.ndarray:
    days = [day for day in range(weeks * 7) if day % 7 in weekdays]
    return np.array([MONDAY + day * DAY + k * DAY // per_day for day in days for k in range(per_day)], dtype=np.int64)


@pytest.mark.parametrize(
    ("weekdays", "per_year"), [({0, 1, 2, 3, 4}, 252.0), (set(range(7)), 365.0), ({0, 1, 2, 3, 4, 6}, 312.0)]
)
def test_the_weekdays_that_trade_say_how_many_periods_a_year_has(weekdays: set[int], per_year: float) -> None:
    sampled = sample(bars_on(weekdays, 30, per_day=4), DAY // 4)
    assert (sampled.per_year, sampled.period) == (per_year, "day")


def test_a_stray_sunday_does_not_change_the_annualisation() -> None:
    start = np.sort(np.append(bars_on({0, 1, 2, 3, 4}, 30), MONDAY + 6 * DAY))
    assert sample(start, DAY).per_year == 252.0


def minutes(first: float, last: float) -> np.ndarray:
    """One-minute bars without a break, from `first` to `last` days after a Monday at 00:00 UTC."""
    return MONDAY + np.arange(round(first * 1440), round(last * 1440), dtype=np.int64) * (DAY // 1440)


@pytest.mark.parametrize("days", [1, 2, 3, 5, 6, 7])
@pytest.mark.parametrize("weekday", range(7))
def test_bars_around_the_clock_have_365_periods_however_few_days_there_are(weekday: int, days: int) -> None:
    assert sample(minutes(weekday, weekday + days), DAY // 1440).per_year == 365.0


@pytest.mark.parametrize(
    ("start", "per_year"),
    [
        (np.concatenate([minutes(day + 14.5 / 24, day + 21 / 24) for day in range(3)]), 252.0),  # three days of a stock
        (minutes(14.5 / 24, 21 / 24), 252.0),  # one day of it
        (minutes(-2 / 24, 4 + 22 / 24), 312.0),  # a week of currencies: Sunday evening to Friday evening
        (np.concatenate([minutes(day, day + 23 / 24) for day in range(4)]), 252.0),  # a future with an hour's break
        (bars_on({0, 1, 2}, 1), 252.0),  # daily bars without a weekend cannot show that a market is always open
        (bars_on({4, 5, 6}, 1), 365.0),
        (bars_on({6, 0, 1, 2, 3}, 3) - 7 * DAY, 252.0),  # Sunday to Thursday
        (bars_on({0, 2, 4}, 30), 156.0),
        (bars_on({0, 1, 3, 4}, 1), 252.0),  # a holiday in a short week
    ],
)
def test_a_few_days_do_not_claim_a_week_of_their_own(start: np.ndarray, per_year: float) -> None:
    step = DAY // 1440 if len(start) > 200 else DAY
    assert sample(start, step).per_year == per_year


def test_sessions_that_cross_midnight_are_one_period_each() -> None:
    hours = np.arange(-1, 5)  # from 23:00 UTC of the day before
    dates = np.array([MONDAY + day * DAY for week in range(4) for day in range(7 * week, 7 * week + 5)])
    start = (dates[:, None] + hours * (DAY // 24)).ravel()
    by_session = sample(start, DAY // 24, session_dates=np.repeat(dates, len(hours)))
    assert by_session.rows.tolist() == list(range(5, 120, 6))
    assert by_session.per_year == 252.0
    assert len(sample(start, DAY // 24).rows) > 20  # by UTC days there would be more


def test_periods_per_year_can_be_stated() -> None:
    assert sample(bars_on({0, 1, 2, 3, 4}, 30), DAY, per_year=260).per_year == 260.0
    assert sample(MONDAY + np.arange(10) * 7 * DAY, 7 * DAY, per_year=52).per_year == 52.0


NOISE = st.lists(st.integers(-400, 400), min_size=2, max_size=60)


@given(NOISE, st.sampled_from([1.0, 100_000.0, 3e9]))
def test_rounding_of_equity_is_neither_a_return_nor_a_drawdown(ulps: list[int], initial: float) -> None:
    equity = initial + np.array(ulps) * np.spacing(initial)
    end = np.arange(1, len(ulps) + 1)
    returns = metrics.period_returns(equity, np.arange(len(ulps)), initial)
    assert not returns.any()
    assert math.isnan(metrics.sharpe(returns, 252))
    assert math.isnan(metrics.sortino(returns, 252))
    assert metrics.volatility(returns, 252) == 0.0
    assert metrics.drawdown(equity, initial, 0, end)[0] == 0.0
    assert metrics.drawdown(equity, initial, 0, end).longest_ns == 0
    assert not metrics.drawdown_curve(equity, initial).any()
    assert metrics.total_return(initial, float(equity[-1])) == metrics.cagr(initial, float(equity[-1]), 1.0) == 0.0


def test_a_loss_larger_than_rounding_counts() -> None:
    equity = np.array([1.0, 1.0 - 1e-9, 1.0])
    returns = metrics.period_returns(equity, np.arange(3), 1.0)
    assert metrics.sortino(returns, 252) == pytest.approx(0.0, abs=1e-5)
    assert metrics.drawdown(equity, 1.0, 0, np.array([1, 2, 3])).depth == pytest.approx(-1e-9)


def test_intraday_bars_are_sampled_at_the_last_bar_of_each_utc_day() -> None:
    start = np.array([MONDAY, MONDAY + 5, MONDAY + DAY - 1, MONDAY + DAY, MONDAY + 9 * DAY], dtype=np.int64)
    assert sample(start, 1).rows.tolist() == [2, 3, 4]


def test_weekly_bars_are_sampled_by_bar() -> None:
    sampled = sample(MONDAY + np.arange(10) * 7 * DAY, 7 * DAY)
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
