"""The account marked at the end of every bar, in one vectorised pass over the changes that the broker logged.

Every row equals `Account.equity` at that tick to the last bit: the operations and their order are the same.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from itertools import islice
from typing import Any

import numpy as np
from numpy.typing import NDArray

from weaver.core.bars import BarSeries, Floats, Instants

__all__ = ["AccountLog", "EquityColumns", "equity_columns"]


class AccountLog:
    """The account after each change: `add(tick, symbol index, units held, cash)`; index -1 where only the cash changed.

    One flat list with four entries per change: a tuple per change would be one more object for every fill.
    """

    __slots__ = ("add", "entries")

    def __init__(self) -> None:
        self.entries: list[Any] = []
        self.add: Callable[[tuple[int, int, float, float]], None] = self.entries.extend
        """Add a change as one tuple; of several at one tick the last counts."""

    def column(self, which: int, dtype: type) -> NDArray[Any]:
        """Return column 0 (ticks), 1 (symbol indices), 2 (units) or 3 (cash)."""
        return np.fromiter(islice(self.entries, which, None, 4), dtype=dtype, count=len(self.entries) // 4)


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
    series: Mapping[str, BarSeries], initial_cash: float, log: AccountLog, last_tick_ns: int
) -> EquityColumns:
    """Mark an account at the closes, up to `last_tick_ns` (a run may have been stopped early)."""
    all_series = list(series.values())
    if len(all_series) == 1:
        start, end = all_series[0].start, all_series[0].end
    else:
        end, first = np.unique(np.concatenate([one.end for one in all_series]), return_index=True)
        start = np.concatenate([one.start for one in all_series])[first]
    rows = int(np.searchsorted(end, last_tick_ns, side="right"))
    start, end = start[:rows], end[:rows]
    edges = np.searchsorted(end, log.column(0, np.int64), side="left")
    cash = _steps(edges, log.column(3, np.float64), rows, initial_cash)
    index, units = log.column(1, np.int64), log.column(2, np.float64)
    if len(all_series) > 1 or index.min(initial=0) < 0:
        by_symbol = np.argsort(index, kind="stable")
        index, units, edges = index[by_symbol], units[by_symbol], edges[by_symbol]
    first_of = np.searchsorted(index, np.arange(len(all_series) + 1))
    # A fresh column of a million rows costs more in page faults than in arithmetic, so equal columns are one: without
    # shorts what is held gross is what is held net.
    shorts = bool((units < 0).any())
    equity, net, gross = cash, None, None
    for number, one in enumerate(all_series):
        mine = slice(first_of[number], first_of[number + 1])
        if mine.start == mine.stop:
            continue
        value = _steps(edges[mine], units[mine], rows, 0.0)
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


def _steps(edges: NDArray[np.intp], values: Floats, rows: int, before: float) -> Floats:
    """Return a step function over `rows` rows: `before`, then `values[i]` from row `edges[i]` (rising) on."""
    if not len(edges):
        return np.full(rows, before)
    return np.repeat(np.r_[before, values], np.diff(edges, prepend=0, append=rows))


def _marks(one: BarSeries, end: Instants) -> Floats:
    """Return the last close known at each of `end`; 0.0 before the first, when the position can only be zero."""
    if len(one) >= len(end) and np.array_equal(one.end[: len(end)], end):
        return one.close[: len(end)]
    rows = np.searchsorted(one.end, end, side="right") - 1
    return np.where(rows >= 0, one.close[np.maximum(rows, 0)], 0.0)
