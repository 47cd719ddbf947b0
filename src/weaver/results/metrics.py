"""The formulas of the statistics, each a function of plain arrays. A number that is not defined is NaN, never infinite.

docs/metrics.md has the definitions, sources and units. Nothing here knows a strategy, an order or a file.
"""

from __future__ import annotations

import math
from typing import NamedTuple

import numpy as np

from weaver.core.bars import Floats, Instants

__all__ = [
    "DAY_NS",
    "ROUNDING",
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
    "total_return",
    "volatility",
    "years_between",
]

DAY_NS = 86_400_000_000_000
YEAR_DAYS = 365.25
HOUR_NS = DAY_NS // 24
NAN = math.nan

ROUNDING = 1e-10
"""Returns and drawdowns of at most this size count as zero: they are the rounding of sums of money, not gains or losses.

Equity in float64 has a relative step of 2e-16. Millions of fills, at a hundred times the equity, add up to less than 1e-10,
and 1e-10 of an account of 100,000 is a thousandth of a cent.
"""

_BLOCK = 1 << 15
_SATURDAY, _SUNDAY = 5, 6


class Drawdown(NamedTuple):
    """The deepest drawdown as a fraction <= 0 with its rows, and the longest time below a peak in nanoseconds."""

    depth: float
    peak_row: int
    trough_row: int
    longest_ns: int


class Sampling(NamedTuple):
    """How a curve is sampled into returns: the last row of each period, the periods in a year, and "day" or "bar"."""

    rows: Instants
    per_year: float
    period: str


def years_between(start_ns: int, end_ns: int) -> float:
    """Return the elapsed time in years of 365.25 days."""
    return (end_ns - start_ns) / (DAY_NS * YEAR_DAYS)


def drawdown_curve(equity: Floats, initial: float) -> Floats:
    """Return equity over its highest value so far, minus 1; `initial` counts as the first value.

    Differences of at most `ROUNDING` are zero. NaN while the highest value is not positive.
    """
    peak = np.maximum.accumulate(equity)
    np.maximum(peak, initial, out=peak)
    with np.errstate(divide="ignore", invalid="ignore"):
        curve = np.divide(equity, peak, out=peak if initial > 0 else None)
    curve -= 1.0
    curve[curve >= -ROUNDING] = 0.0
    if initial <= 0:
        curve[~np.isfinite(curve)] = NAN
    return curve


def drawdown(equity: Floats, initial: float, start_ns: int, end: Instants) -> Drawdown:
    """Return the deepest and the longest drawdown of a curve.

    `start_ns` is the time of `initial`, `end` holds the time of each row. A drawdown lasts from the last row at the peak to
    the first row that reaches it again, or to the last row. Row -1 is the start. A row within `ROUNDING` of the highest
    value so far is at the peak. The depth is NaN and the duration 0 if `initial` is not positive.
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
        tops = np.flatnonzero(share[:size] >= 1.0 - ROUNDING) + base
        lowest = int(np.argmin(share[:size]))
        if share[lowest] < 1.0 - ROUNDING and share[lowest] - 1.0 < depth:
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


def sampling(
    start: Instants,
    end: Instants,
    timeframe_ns: int,
    *,
    session_dates: Instants | None = None,
    per_year: float | None = None,
) -> Sampling:
    """Sample rows by session, or by bar where bars are longer than a day.

    `start` and `end` are the bars of the rows in nanoseconds UTC. `session_dates` holds the date of each row's session, as
    00:00 UTC; without it, the UTC day of the bar's start is its session. `per_year` replaces the periods per year that
    follow from the data.
    """
    if timeframe_ns > DAY_NS or not len(start):
        rows, yearly, period = np.arange(len(start)), YEAR_DAYS * DAY_NS / timeframe_ns, "bar"
    else:
        rows = _last_rows(start if session_dates is None else session_dates)
        dates = (start if session_dates is None else session_dates)[rows] // DAY_NS
        round_the_clock = timeframe_ns < DAY_NS and _covers_whole_days(start, end)
        yearly, period = _sessions_per_year(dates, round_the_clock=round_the_clock), "day"
    return Sampling(rows, yearly if per_year is None else float(per_year), period)


def _last_rows(times: Instants) -> Instants:
    """Return the last row of each UTC day."""
    # Searching for the midnights beats dividing every row by a day: a thousand look-ups against a million divisions.
    midnights = np.arange(times[0] // DAY_NS + 1, times[-1] // DAY_NS + 2) * DAY_NS
    return np.unique(np.searchsorted(times, midnights)) - 1


def _covers_whole_days(start: Instants, end: Instants) -> bool:
    """Whether the bars cover every UTC day from 00:00 to 24:00, without a break of an hour or more, for under a week."""
    if end[-1] - start[0] >= 7 * DAY_NS or start[0] % DAY_NS or end[-1] % DAY_NS:
        return False
    return len(start) < 2 or int((start[1:] - end[:-1]).max()) < HOUR_NS


def _sessions_per_year(dates: Instants, *, round_the_clock: bool) -> float:
    """Estimate the sessions per year from the dates (days since 1970-01-01) on which there were any.

    365 with all seven weekdays, 252 with five, otherwise 52 times the number of weekdays. A weekday counts when it is seen
    at least half as often as the commonest one, so that a stray Sunday changes nothing. A few days do not show every
    weekday: up to four weeks, Monday to Friday or a part of it is 252; below a week, a Saturday or bars around the clock
    are 365.
    """
    seen = np.bincount((dates + 3) % 7, minlength=7)  # 1970-01-01 was a Thursday; 0 is Monday
    weekdays = np.flatnonzero(seen * 2 >= seen.max())
    span = int(dates[-1] - dates[0]) + 1
    if span < 7:
        if round_the_clock or _SATURDAY in weekdays:
            return 365.0
        return 52.0 * len(weekdays) if len(weekdays) == 6 else 252.0
    if span <= 28 and not {_SATURDAY, _SUNDAY} & set(weekdays.tolist()):
        return 252.0
    return {7: 365.0, 5: 252.0}.get(len(weekdays), 52.0 * len(weekdays))


def period_returns(equity: Floats, rows: Instants, initial: float) -> Floats:
    """Return the simple returns from one sampled row to the next, the first one from `initial`.

    Returns of at most `ROUNDING` are zero. Empty where a sampled equity is not positive.
    """
    values = np.concatenate(([initial], equity[rows]))
    if not np.all(values > 0) or not np.all(np.isfinite(values)):
        return np.empty(0)
    returns: Floats = values[1:] / values[:-1] - 1.0
    returns[np.abs(returns) <= ROUNDING] = 0.0
    return returns


def total_return(initial: float, final: float) -> float:
    """Return final over initial, minus 1; zero within `ROUNDING`, NaN if `initial` is not positive."""
    if not initial > 0:
        return NAN
    growth = final / initial - 1.0
    return growth if abs(growth) > ROUNDING else 0.0


def cagr(initial: float, final: float, years: float) -> float:
    """Return the compound annual growth rate, a fraction. NaN if a capital or the elapsed time is not positive."""
    if not (initial > 0 and final > 0 and years > 0):
        return NAN
    if not total_return(initial, final):
        return 0.0
    log_growth = math.log(final / initial) / years
    return math.expm1(log_growth) if log_growth < 100 else NAN  # a minute's gain compounded for a year has no meaning


def mean_std(values: Floats) -> tuple[float, float]:
    """Return the mean and the sample standard deviation (n - 1) of returns; a deviation of at most `ROUNDING` is zero."""
    if len(values) < 2:
        return (float(values[0]), NAN) if len(values) else (NAN, NAN)
    mean, spread = float(values.mean()), float(values.std(ddof=1))
    return mean, (spread if spread > ROUNDING else 0.0)


def volatility(returns: Floats, per_year: float) -> float:
    """Return the standard deviation of the returns, annualised by the square root of time."""
    return mean_std(returns)[1] * math.sqrt(per_year)


def sharpe(returns: Floats, per_year: float) -> float:
    """Return the Sharpe ratio (Sharpe 1994) over a risk-free rate of 0, annualised."""
    mean, spread = mean_std(returns)
    return mean / spread * math.sqrt(per_year) if spread > 0 else NAN


def sortino(returns: Floats, per_year: float) -> float:
    """Return the Sortino ratio (Sortino and Price 1994) over a target of 0, annualised. The mean is over all periods."""
    if not len(returns):
        return NAN
    downside = math.sqrt(float(np.mean(np.where(returns < -ROUNDING, returns, 0.0) ** 2)))
    return float(returns.mean()) / downside * math.sqrt(per_year) if downside > 0 else NAN


def calmar(growth: float, depth: float) -> float:
    """Return the Calmar ratio (Young 1991) over the whole run: CAGR over the size of the maximum drawdown."""
    return growth / -depth if depth < -ROUNDING else NAN


def profit_factor(pnl: Floats) -> float:
    """Return gross profit over gross loss; NaN without a losing trade."""
    loss = -float(pnl[pnl < 0].sum())
    return float(pnl[pnl > 0].sum()) / loss if loss > 0 else NAN
