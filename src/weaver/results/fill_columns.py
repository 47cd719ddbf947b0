"""Fills of a record as NumPy columns, built in one pass over the fills."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from weaver.core.bars import Floats, Instants
from weaver.core.orders import Side
from weaver.results.record import RunRecord

__all__ = ["FillColumns", "fill_columns"]

Bools = NDArray[np.bool_]
Ints = NDArray[np.int64]

_BLOCK = 1024


@dataclass(frozen=True, slots=True, kw_only=True)
class FillColumns:
    """One row per fill, in the order they happened. `symbol` indexes the run's symbols, `bar` that symbol's bars."""

    symbol: Ints
    ts: Instants
    bar: Ints
    buy: Bools
    lots: NDArray[Any]
    quantity: Floats
    price: Floats
    commission: Floats
    number: Ints
    multiplier: Floats

    def __len__(self) -> int:
        return len(self.ts)


def fill_columns(record: RunRecord) -> FillColumns:
    """Return the fills of `record` in columns."""
    fills = record.fills
    count = len(fills)
    code = {symbol: index for index, symbol in enumerate(record.symbols)}
    symbol = np.zeros(count, dtype=np.int64)
    ts, number = np.empty(count, dtype=np.int64), np.empty(count, dtype=np.int64)
    buy = np.empty(count, dtype=np.bool_)
    quantity, price, commission = np.empty(count), np.empty(count), np.empty(count)
    all_lots: list[NDArray[Any]] = [np.empty(0, dtype=np.int64)]
    buy_side = Side.BUY
    # In blocks, so that a fill is still in the processor's cache when its next field is read.
    for base in range(0, count, _BLOCK):
        block = fills[base : base + _BLOCK]
        part, size = slice(base, base + len(block)), len(block)
        if len(code) > 1:
            symbol[part] = [code[fill.symbol] for fill in block]
        ts[part] = np.fromiter([fill.ts_ns for fill in block], np.int64, size)
        number[part] = np.fromiter([fill.number for fill in block], np.int64, size)
        buy[part] = [fill.side is buy_side for fill in block]
        quantity[part] = np.fromiter([fill.quantity for fill in block], np.float64, size)
        price[part] = np.fromiter([fill.price for fill in block], np.float64, size)
        commission[part] = np.fromiter([fill.commission for fill in block], np.float64, size)
        lots = [fill.lots for fill in block]
        try:
            all_lots.append(np.fromiter(lots, np.int64, size))
        except OverflowError:  # more than 9.2e18 lots in one fill: Python's integers hold them
            all_lots.append(np.array(lots, dtype=object))
    bar = np.zeros(count, dtype=np.int64)
    for index in _present(symbol, len(code)):
        mine = slice(None) if len(code) == 1 else symbol == index
        bar[mine] = np.searchsorted(record.series[record.symbols[index]].start, ts[mine], side="right") - 1
    multipliers = np.array([record.series[name].instrument.multiplier for name in record.symbols])
    return FillColumns(
        symbol=symbol,
        ts=ts,
        bar=bar,
        buy=buy,
        lots=np.concatenate(all_lots),
        quantity=quantity,
        price=price,
        commission=commission,
        number=number,
        multiplier=multipliers[symbol],
    )


def _present(symbol: Ints, count: int) -> Ints:
    return np.flatnonzero(np.bincount(symbol, minlength=count)) if len(symbol) else symbol
