"""Columns: fills and trades of a record as NumPy arrays, in one pass over the fills. Frames and statistics share
them."""

from __future__ import annotations

from dataclasses import dataclass
from decimal import Decimal
from fractions import Fraction
from typing import Any

import numpy as np
from numpy.typing import NDArray

from weaver.core.bars import Floats, Instants
from weaver.core.orders import Side
from weaver.results.record import RunRecord
from weaver.results.trades import Pairs, pair_fifo

__all__ = ["FillColumns", "TradeColumns", "fill_columns", "trade_columns"]

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


@dataclass(frozen=True, slots=True, kw_only=True)
class TradeColumns:
    """One row per round trip, ordered by its exit; `entry` and `exit` index the fills.

    For positions still open (`exit` is None) the exit is the last close, and nothing is paid for it.
    """

    entry: Ints
    exit: Ints | None
    long: Bools
    quantity: Floats
    exit_price: Floats
    pnl: Floats
    returns: Floats
    commission: Floats
    bars_held: Ints

    def __len__(self) -> int:
        return len(self.entry)


def fill_columns(record: RunRecord) -> FillColumns:
    """The fills of `record` in columns."""
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


def trade_columns(record: RunRecord, fills: FillColumns) -> tuple[TradeColumns, TradeColumns]:
    """The closed round trips, and what is still open, marked at its symbol's last close."""
    pairs = pair_fifo(fills.symbol, np.where(fills.buy, fills.lots, -fills.lots))
    closed = _closed(record, fills, pairs)
    last_close = np.array(
        [record.series[name].close[-1] if len(record.series[name]) else np.nan for name in record.symbols]
    )
    last_bar = np.array([len(record.series[name]) - 1 for name in record.symbols], dtype=np.int64)
    entry = pairs.open_entry
    mark = last_close[fills.symbol[entry]]
    still_open = _trades(
        fills,
        entry,
        None,
        _quantity(record, fills, entry, pairs.open_lots),
        mark,
        fills.commission[entry] * _share(pairs.open_lots, fills.lots[entry]),
        last_bar[fills.symbol[entry]] - fills.bar[entry],
    )
    return closed, still_open


def _closed(record: RunRecord, fills: FillColumns, pairs: Pairs) -> TradeColumns:
    entry, leave = pairs.entry, pairs.exit
    commission = fills.commission[entry] * _share(pairs.lots, fills.lots[entry])
    commission += fills.commission[leave] * _share(pairs.lots, fills.lots[leave])
    held = fills.bar[leave] - fills.bar[entry]
    quantity = _quantity(record, fills, entry, pairs.lots)
    return _trades(fills, entry, leave, quantity, fills.price[leave], commission, held)


def _trades(
    fills: FillColumns,
    entry: Ints,
    leave: Ints | None,
    quantity: Floats,
    exit_price: Floats,
    commission: Floats,
    held: Ints,
) -> TradeColumns:
    is_long, entry_price = fills.buy[entry], fills.price[entry]
    units = quantity * fills.multiplier[entry]
    gain = (exit_price - entry_price) * units
    pnl = np.where(is_long, gain, -gain) - commission
    paid = np.abs(entry_price) * units
    returns = np.divide(pnl, paid, out=np.full(len(pnl), np.nan), where=paid > 0)
    return TradeColumns(
        entry=entry,
        exit=leave,
        long=is_long,
        quantity=quantity,
        exit_price=exit_price,
        pnl=pnl,
        returns=returns,
        commission=commission,
        bars_held=held,
    )


def _share(part: NDArray[Any], whole: NDArray[Any]) -> Floats:
    """Part over whole as a fraction, exactly 1.0 where they are equal."""
    return np.asarray(part / whole, dtype=np.float64)


def _quantity(record: RunRecord, fills: FillColumns, at: Ints, lots: NDArray[Any]) -> Floats:
    """Lots as quantities of their instrument, rounded once, as a fill's own quantity is."""
    exact = [Fraction(Decimal(str(record.series[name].instrument.lot))) for name in record.symbols]
    units = np.array([float(lot.numerator) for lot in exact])[fills.symbol[at]]
    per_unit = np.array([float(lot.denominator) for lot in exact])[fills.symbol[at]]
    return np.asarray(lots.astype(np.float64) * units / per_unit, dtype=np.float64)


def _present(symbol: Ints, count: int) -> Ints:
    return np.flatnonzero(np.bincount(symbol, minlength=count)) if len(symbol) else symbol
