"""Metrics: the formulas, each a function of plain arrays. What is not defined is NaN, never a warning or an infinity.

Definitions, sources and units stand in docs/metrics.md. Nothing here knows a strategy, an order or a file.
"""

from __future__ import annotations

import math
from typing import NamedTuple

import numpy as np

from weaver.core.bars import Floats, Instants

__all__ = [
    "DAY_NS",
    "YEAR_DAYS",
    "Drawdown",
    "Sampling",
    "cagr",
    "calmar",
    "drawdown",
    "drawdown_curve",
    "mean_std",
    "period_returns",
    "profit_factor",
    "sampling",
    "sharpe",
    "sortino",
    "volatility",
    "years_between",
]

DAY_NS = 86_400_000_000_000
YEAR_DAYS = 365.25
NAN = math.nan
_BLOCK = 1 << 15


class Drawdown(NamedTuple):
    """The deepest fall: `depth` as a fraction <= 0, its rows; and the longest time below a peak, in ns."""

    depth: float
    peak_row: int
    trough_row: int
    longest_ns: int


class Sampling(NamedTuple):
    """How a curve is sampled into returns: the last row of each period, and how many such periods a year has."""

    rows: Instants
    per_year: float
    period: str


def years_between(start_ns: int, end_ns: int) -> float:
    """Elapsed time in years of 365.25 days."""
    return (end_ns - start_ns) / (DAY_NS * YEAR_DAYS)


def drawdown_curve(equity: Floats, initial: float) -> Floats:
    """Equity over its highest value so far, minus 1; the start counts as a value. NaN while that high is not
    positive."""
    peak = np.maximum.accumulate(equity)
    np.maximum(peak, initial, out=peak)
    with np.errstate(divide="ignore", invalid="ignore"):
        curve = np.divide(equity, peak, out=peak if initial > 0 else None)
    curve -= 1.0
    if initial <= 0:
        curve[~np.isfinite(curve)] = NAN
    return curve


def drawdown(equity: Floats, initial: float, start_ns: int, end: Instants) -> Drawdown:
    """The deepest and the longest drawdown of a curve; `start_ns` is when `initial` held, `end` when each row did.

    A drawdown lasts from the last row at the peak to the first row that reaches it again, or to the end of the run.
    Row -1 is the start. NaN and no duration for an initial value that is not positive.
    """
    if not initial > 0:
        return Drawdown(NAN, -1, -1, 0)
    peak, peak_row = initial, -1  # so far, and the row that last held it
    depth, depth_peak, depth_row, longest = 0.0, -1, -1, 0

    def time_of(row: int) -> int:
        return start_ns if row < 0 else int(end[row])

    # In blocks, because a million fresh rows of scratch memory cost more than the arithmetic on them.
    high = np.empty(min(_BLOCK, len(equity)))
    share = np.empty_like(high)
    for base in range(0, len(equity), _BLOCK):
        block = equity[base : base + _BLOCK]
        size = len(block)
        np.maximum.accumulate(block, out=high[:size])
        np.maximum(high[:size], peak, out=high[:size])
        np.divide(block, high[:size], out=share[:size])
        tops = np.flatnonzero(block >= high[:size]) + base
        lowest = int(np.argmin(share[:size]))
        if share[lowest] - 1.0 < depth:
            depth, depth_row = float(share[lowest] - 1.0), base + lowest
            before = int(np.searchsorted(tops, depth_row))
            depth_peak = int(tops[before - 1]) if before else peak_row
        if len(tops):
            rows = np.concatenate(([peak_row], tops))
            gaps = np.flatnonzero(np.diff(rows) > 1)
            if len(gaps):
                since = end[rows[gaps]]
                since[0] = time_of(int(rows[gaps[0]]))
                longest = max(longest, int((end[rows[gaps + 1]] - since).max()))
            peak, peak_row = float(high[size - 1]), int(tops[-1])
    if peak_row < len(equity) - 1:
        longest = max(longest, time_of(len(equity) - 1) - time_of(peak_row))
    return Drawdown(depth, depth_peak, depth_row, longest)


def sampling(start: Instants, timeframe_ns: int) -> Sampling:
    """Sample by UTC day (by the bars' starts), or by bar where bars are longer than a day.

    A year has 365 days where bars are seen on all seven weekdays, 252 on five, 52 times the weekdays otherwise. A
    weekday counts when it is seen at least half as often as the commonest one, so that a stray Sunday changes
    nothing.
    """
    if timeframe_ns > DAY_NS or not len(start):
        return Sampling(np.arange(len(start)), YEAR_DAYS * DAY_NS / timeframe_ns, "bar")
    # Searching for the midnights beats dividing every row by a day: a thousand look-ups against a million divisions.
    midnights = np.arange(start[0] // DAY_NS + 1, start[-1] // DAY_NS + 2) * DAY_NS
    last = np.unique(np.searchsorted(start, midnights)) - 1
    seen = np.bincount((start[last] // DAY_NS + 3) % 7, minlength=7)  # 1970-01-01 was a Thursday; 0 is Monday
    weekdays = int((seen * 2 >= seen.max()).sum())
    return Sampling(last, {7: 365.0, 5: 252.0}.get(weekdays, 52.0 * weekdays), "day")


def period_returns(equity: Floats, rows: Instants, initial: float) -> Floats:
    """Simple returns from one sampled row to the next, the first one from `initial`. Empty where equity ever is <=
    0."""
    values = np.concatenate(([initial], equity[rows]))
    if not np.all(values > 0) or not np.all(np.isfinite(values)):
        return np.empty(0)
    returns: Floats = values[1:] / values[:-1] - 1.0
    return returns


def cagr(initial: float, final: float, years: float) -> float:
    """Compound annual growth rate, a fraction. NaN for a capital that is not positive or no elapsed time."""
    if not (initial > 0 and final > 0 and years > 0):
        return NAN
    log_growth = math.log(final / initial) / years
    return math.expm1(log_growth) if log_growth < 100 else NAN  # a minute's gain, compounded for a year, says nothing


def mean_std(values: Floats) -> tuple[float, float]:
    """Mean and sample standard deviation (n - 1). A spread that is only rounding counts as none."""
    if len(values) < 2:
        return (float(values[0]), NAN) if len(values) else (NAN, NAN)
    mean, spread = float(values.mean()), float(values.std(ddof=1))
    return mean, (spread if spread > 1e-14 * max(1.0, abs(mean)) else 0.0)


def volatility(returns: Floats, per_year: float) -> float:
    """Standard deviation of the returns, annualised by the square root of time."""
    return mean_std(returns)[1] * math.sqrt(per_year)


def sharpe(returns: Floats, per_year: float) -> float:
    """Sharpe ratio (Sharpe 1994) over a risk-free rate of 0, annualised."""
    mean, spread = mean_std(returns)
    return mean / spread * math.sqrt(per_year) if spread > 0 else NAN


def sortino(returns: Floats, per_year: float) -> float:
    """Sortino ratio (Sortino and Price 1994) over a target of 0, annualised: the downside counts every period."""
    if not len(returns):
        return NAN
    downside = math.sqrt(float(np.mean(np.minimum(returns, 0.0) ** 2)))
    return float(returns.mean()) / downside * math.sqrt(per_year) if downside > 0 else NAN


def calmar(growth: float, depth: float) -> float:
    """Calmar ratio (Young 1991), over the whole run: CAGR over the size of the maximum drawdown."""
    return growth / -depth if depth < 0 else NAN


def profit_factor(pnl: Floats) -> float:
    """Gross profit over gross loss. NaN without a losing trade."""
    loss = -float(pnl[pnl < 0].sum())
    return float(pnl[pnl > 0].sum()) / loss if loss > 0 else NAN
