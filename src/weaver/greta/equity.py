"""Equity: the account marked at every bar's end, in one vectorised pass over what the broker logged.

Row by row it equals `Account.equity` at that tick to the last bit: the same operations in the same order.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from weaver.core.bars import BarSeries, Floats, Instants

__all__ = ["EquityColumns", "StepLog", "equity_columns"]


class StepLog:
    """A value over time that changes at ticks: `values[i]` holds from the bar end `ticks[i]` (ns, rising) on.

    Two flat lists and not pairs: a pair would be one more object for the garbage collector to visit, for every fill.
    """

    __slots__ = ("ticks", "values")

    def __init__(self) -> None:
        self.ticks: list[int] = []
        self.values: list[float] = []

    def add(self, tick_ns: int, value: float) -> None:
        """Note a change; of several at one tick the last counts."""
        self.ticks.append(tick_ns)
        self.values.append(value)


@dataclass(frozen=True, slots=True, kw_only=True)
class EquityColumns:
    """One row per bar end over the union of the symbols: int64 nanoseconds UTC, and money as float64."""

    start: Instants
    end: Instants
    equity: Floats
    cash: Floats
    gross: Floats
    net: Floats


def equity_columns(
    series: Mapping[str, BarSeries],
    initial_cash: float,
    cash_log: StepLog,
    quantity_log: Sequence[StepLog],
    last_tick_ns: int,
) -> EquityColumns:
    """Mark an account at the closes. Rows after `last_tick_ns` are left out, for a run that was stopped."""
    all_series = list(series.values())
    if len(all_series) == 1:
        start, end = all_series[0].start, all_series[0].end
    else:
        end, first = np.unique(np.concatenate([one.end for one in all_series]), return_index=True)
        start = np.concatenate([one.start for one in all_series])[first]
    rows = int(np.searchsorted(end, last_tick_ns, side="right"))
    start, end = start[:rows], end[:rows]
    cash = _steps(cash_log, end, initial_cash)
    # A fresh column of a million rows costs more in page faults than in arithmetic, so equal columns are one: without
    # shorts what is held gross is what is held net.
    shorts = any(min(log.values) < 0 for log in quantity_log if log.ticks)
    equity, net, gross = cash, None, None
    for one, log in zip(all_series, quantity_log, strict=True):
        if not log.ticks:
            continue
        value = _steps(log, end, 0.0)
        value *= _marks(one, end)
        if one.instrument.multiplier != 1.0:
            value *= one.instrument.multiplier
        if net is None:
            equity = cash + value
            gross = np.abs(value) if shorts else value
            net = value
        else:
            equity += value
            net += value
            if shorts:
                gross += np.abs(value)
    if net is None or gross is None:
        net = gross = np.zeros(rows)
    return EquityColumns(start=start, end=end, equity=equity, cash=cash, gross=gross, net=net)


def _steps(log: StepLog, end: Instants, before: float) -> Floats:
    """The value of a step function at each of `end`."""
    if not log.ticks:
        return np.full(len(end), before)
    ticks = np.array(log.ticks, dtype=np.int64)
    values = np.array(log.values, dtype=np.float64)
    edges = np.searchsorted(end, ticks, side="left")
    lengths = np.diff(np.r_[0, edges, len(end)])
    return np.repeat(np.r_[before, values], lengths)


def _marks(one: BarSeries, end: Instants) -> Floats:
    """The last close known at each of `end`; 0.0 before the first, when the position can only be zero."""
    if len(one) >= len(end) and np.array_equal(one.end[: len(end)], end):
        return one.close[: len(end)]
    rows = np.searchsorted(one.end, end, side="right") - 1
    return np.where(rows >= 0, one.close[np.maximum(rows, 0)], 0.0)
