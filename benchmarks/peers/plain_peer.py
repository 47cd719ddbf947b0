"""The floor: W1 and W2 written out in plain Python over chunks of the columns, without orders, events or checks."""

from __future__ import annotations

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

import msgspec
import numpy as np
from measure import Outcome, Run, measure
from workloads import CASH, COMMISSION, FAST, SLOW, Bars

CHUNK = 2_000


class Bar(msgspec.Struct, frozen=True, gc=False):
    ts_ns: int
    open: float
    high: float
    low: float
    close: float
    volume: float


def prepare(workload: str, bars: Bars) -> Run:
    columns = {name: rows[0] for name, rows in bars.columns.items()}
    starts = bars.start_ns

    def average(values: np.ndarray, period: int) -> np.ndarray:
        totals = np.concatenate([[0.0], np.cumsum(values)])
        result = np.full(len(values), np.nan)
        result[period - 1 :] = (totals[period:] - totals[:-period]) / period
        return result

    def crossing() -> Outcome:
        fast, slow = average(columns["close"], FAST), average(columns["close"], SLOW)
        cash, held, wish, fills = CASH, 0, 0, []
        position = np.zeros(len(starts), dtype=np.int8)
        spent = np.zeros(len(starts))
        for low in range(0, len(starts), CHUNK):
            part = slice(low, low + CHUNK)
            inputs = zip(columns["open"][part].tolist(), fast[part].tolist(), slow[part].tolist(), strict=True)
            for place, (price, a, b) in enumerate(inputs, low):
                if wish:
                    cost = wish * price + COMMISSION * price
                    cash -= cost
                    spent[place] = cost
                    held += wish
                    position[place] = wish
                    fills.append((place, wish, price, COMMISSION * price))
                    wish = 0
                if a > b:
                    if not held:
                        wish = 1
                elif a < b and held:
                    wish = -1
        equity = CASH - np.cumsum(spent) + np.cumsum(position) * columns["close"]
        returns = np.diff(equity) / equity[:-1]
        drawdown = float((equity / np.maximum.accumulate(equity)).min())
        assert np.isfinite(returns.mean() / returns.std() + drawdown)
        return Outcome(len(fills), float(equity[-1]))

    def calling() -> Outcome:
        def on_bar(bar: Bar) -> None:
            pass

        for low in range(0, len(starts), CHUNK):
            part = slice(low, low + CHUNK)
            lists = [starts[part].tolist(), *(columns[name][part].tolist() for name in columns)]
            for row in zip(*lists, strict=True):
                on_bar(Bar(*row))
        return Outcome(0, CASH)

    return calling if workload == "W2" else crossing


measure(prepare)
