"""A small maker of run records from plain arrays, so that results are tested without an engine."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import pytest

import builders
from weaver.core.bars import BarSeries
from weaver.core.instrument import Instrument
from weaver.core.orders import Fill, Side
from weaver.results import RunRecord

Trade = tuple[int, str, int, float, float]
"""bar index, symbol, signed lots, price, commission"""


def make_series(
    symbol: str,
    close: Sequence[float],
    *,
    timeframe: str = "1d",
    first: int = builders.MONDAY,
    instrument: Instrument | None = None,
) -> BarSeries:
    """Bars whose open is the close before, and whose high and low are one per cent beyond both."""
    values = np.asarray(close, dtype=np.float64)
    opens = np.concatenate((values[:1], values[:-1]))
    return builders.series(
        values,
        opens=opens,
        highs=np.maximum(opens, values) * 1.01,
        lows=np.minimum(opens, values) * 0.99,
        symbol=symbol,
        step=timeframe,
        start=first,
        instrument=instrument,
    )


def make_record(
    series: Sequence[BarSeries], trades: Sequence[Trade] = (), *, cash: float = 10_000.0, **changed: Any
) -> RunRecord:
    """A record whose equity is the plain bookkeeping of `trades` over the union of the bars."""
    by_symbol = {bars.symbol: bars for bars in series}
    ends, rows = np.unique(np.concatenate([bars.end for bars in series]), return_index=True)
    starts = np.concatenate([bars.start for bars in series])[rows]
    fills = []
    money = np.full(len(ends), float(cash))
    gross, net = np.zeros(len(ends)), np.zeros(len(ends))
    held = {symbol: np.zeros(len(ends)) for symbol in by_symbol}
    for number, (bar, symbol, lots, price, commission) in enumerate(trades, 1):
        bars = by_symbol[symbol]
        quantity = bars.instrument.to_quantity(abs(lots))
        side = Side.BUY if lots > 0 else Side.SELL
        fills.append(
            Fill(
                number=number,
                symbol=symbol,
                ts_ns=int(bars.start[bar]),
                side=side,
                lots=abs(lots),
                quantity=quantity,
                price=price,
                commission=commission,
                tag=f"tag {number}",
            )
        )
        row = int(np.searchsorted(ends, bars.end[bar]))
        signed = quantity if lots > 0 else -quantity
        money[row:] -= signed * price * bars.instrument.multiplier + commission
        held[symbol][row:] += signed
    for symbol, bars in by_symbol.items():
        at = np.searchsorted(bars.end, ends, side="right") - 1
        mark = np.where(at >= 0, bars.close[at], 0.0) * bars.instrument.multiplier
        net += held[symbol] * mark
        gross += np.abs(held[symbol] * mark)
    values: dict[str, Any] = {
        "run_id": "run-1",
        "strategy": "SmaCross",
        "symbols": tuple(by_symbol),
        "timeframe": series[0].timeframe,
        "series": by_symbol,
        "fills": fills,
        "equity_start": starts,
        "equity_end": ends,
        "equity": money + net,
        "cash": money,
        "gross_exposure": gross,
        "net_exposure": net,
        "initial_cash": cash,
        "bars": sum(map(len, series)),
        "elapsed_s": 0.5,
    }
    return RunRecord(**(values | changed))


@pytest.fixture
def series() -> Callable[..., BarSeries]:
    return make_series


@pytest.fixture
def record() -> Callable[..., RunRecord]:
    return make_record
