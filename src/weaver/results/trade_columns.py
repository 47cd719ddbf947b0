"""Trades of a record as NumPy columns: from flat to flat, and as FIFO pairs, with prices, profits and commissions.

Both are exact in lots. Prices of several fills are averages weighted by quantity; the average of one fill, or of fills at
one price, is that price to the last bit. The commission of a fill that belongs to two trades is divided by quantity.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from decimal import Decimal
from fractions import Fraction
from typing import Any

import numpy as np
from numpy.typing import NDArray

from weaver.core.bars import Floats
from weaver.results.fifo_pairs import pair_fifo
from weaver.results.fill_columns import FillColumns
from weaver.results.record import RunRecord
from weaver.results.trades import Lots, RoundTrips, round_trips

__all__ = ["TradeColumns", "fifo_columns", "trade_columns"]

Bools = NDArray[np.bool_]
Ints = NDArray[np.int64]


@dataclass(frozen=True, slots=True, kw_only=True)
class TradeColumns:
    """One row per trade, closed ones ordered by their exit, open ones by their entry.

    `entry` and `exit` index the fills: the first and the last of a trade. For trades still open (`exit` is None) the
    quantity held is valued at the last close, without a commission; `open_quantity` is that quantity, and `unrealised`
    its profit over the average price paid for it. Both are 0 for closed trades.
    """

    entry: Ints
    exit: Ints | None
    long: Bools
    quantity: Floats
    entry_price: Floats
    exit_price: Floats
    pnl: Floats
    returns: Floats
    commission: Floats
    bars_held: Ints
    open_quantity: Floats
    unrealised: Floats

    def __len__(self) -> int:
        return len(self.entry)


def trade_columns(record: RunRecord, fills: FillColumns) -> tuple[TradeColumns, TradeColumns]:
    """Return the closed trades from flat to flat, and those still open at the end."""
    trips = round_trips(fills.symbol, _signed(fills))
    count = len(trips.entry)
    entering, leaving = trips.entering, ~trips.entering
    lots = trips.lots.astype(np.float64)
    held = trips.held.astype(np.float64)
    prices = fills.price[trips.fill]
    entered = _sums(trips.trade[entering], lots[entering], count)
    entry_price = _average(fills.price[trips.entry], prices[entering], lots[entering], trips.trade[entering], count)
    # The quantity still held is valued at the last close.
    last_rows = _last_rows(record)
    closes = [
        record.series[name].close[row] if row >= 0 else np.nan
        for name, row in zip(record.symbols, last_rows, strict=True)
    ]
    marks = np.array(closes)[fills.symbol[trips.entry]]
    still = np.flatnonzero(held > 0)
    last = np.where(trips.exit >= 0, fills.price[np.maximum(trips.exit, 0)], marks)
    exit_price = _average(
        last,
        np.concatenate((prices[leaving], marks[still])),
        np.concatenate((lots[leaving], held[still])),
        np.concatenate((trips.trade[leaving], still)),
        count,
    )
    fees = fills.commission[trips.fill] * _share(trips.lots, fills.lots[trips.fill])
    commission = _sums(trips.trade[entering], fees[entering], count)
    commission += _sums(trips.trade[leaving], fees[leaving], count)
    last_bar = np.where(trips.exit >= 0, fills.bar[np.maximum(trips.exit, 0)], last_rows[fills.symbol[trips.entry]])
    average_cost = _average_costs(fills, trips, still)
    every = _trades(
        fills,
        trips.entry,
        trips.exit,
        quantity=_quantity(record, fills, trips.entry, trips.largest),
        traded=_quantity(record, fills, trips.entry, entered),
        entry_price=entry_price,
        exit_price=exit_price,
        commission=commission,
        held=last_bar - fills.bar[trips.entry],
        open_quantity=_quantity(record, fills, trips.entry, trips.held),
        gain=np.where(held > 0, marks - average_cost, 0.0),
    )
    closed = np.flatnonzero(trips.exit >= 0)
    return (
        _rows(every, closed[np.lexsort((trips.entry[closed], trips.exit[closed]))]),
        _rows(every, still[np.argsort(trips.entry[still], kind="stable")], closed=False),
    )


def fifo_columns(record: RunRecord, fills: FillColumns) -> TradeColumns:
    """Return the closed FIFO pairs: each pairs a part of an exit fill with the part of an entry fill that it closes."""
    pairs = pair_fifo(fills.symbol, _signed(fills))
    entry, leave = pairs.entry, pairs.exit
    commission = fills.commission[entry] * _share(pairs.lots, fills.lots[entry])
    commission += fills.commission[leave] * _share(pairs.lots, fills.lots[leave])
    quantity = _quantity(record, fills, entry, pairs.lots)
    none = np.zeros(len(entry))
    return _trades(
        fills,
        entry,
        leave,
        quantity=quantity,
        traded=quantity,
        entry_price=fills.price[entry],
        exit_price=fills.price[leave],
        commission=commission,
        held=fills.bar[leave] - fills.bar[entry],
        open_quantity=none,
        gain=none,
    )


def _trades(
    fills: FillColumns,
    entry: Ints,
    leave: Ints,
    *,
    quantity: Floats,
    traded: Floats,
    entry_price: Floats,
    exit_price: Floats,
    commission: Floats,
    held: Ints,
    open_quantity: Floats,
    gain: Floats,
) -> TradeColumns:
    """Profits and returns: `traded` is the quantity that was entered in all, `gain` the price difference of what is held."""
    is_long, multiplier = fills.buy[entry], fills.multiplier[entry]
    profit = (exit_price - entry_price) * (traded * multiplier)
    pnl = np.where(is_long, profit, -profit) - commission
    paid = np.abs(entry_price) * (quantity * multiplier)
    unrealised = gain * (open_quantity * multiplier)
    return TradeColumns(
        entry=entry,
        exit=leave,
        long=is_long,
        quantity=quantity,
        entry_price=entry_price,
        exit_price=exit_price,
        pnl=pnl,
        returns=np.divide(pnl, paid, out=np.full(len(pnl), np.nan), where=paid > 0),
        commission=commission,
        bars_held=held,
        open_quantity=open_quantity,
        unrealised=np.where(is_long, unrealised, -unrealised),
    )


def _rows(trades: TradeColumns, rows: Ints, *, closed: bool = True) -> TradeColumns:
    columns = {name: getattr(trades, name)[rows] for name in TradeColumns.__dataclass_fields__}
    return TradeColumns(**(columns if closed else columns | {"exit": None}))


def _signed(fills: FillColumns) -> Lots:
    return np.where(fills.buy, fills.lots, -fills.lots)


def _average(base: Floats, prices: Floats, weights: Floats, trade: Ints, count: int) -> Floats:
    """Return the weighted average price per trade, computed from `base`: exactly `base` where all prices equal it."""
    return base + _sums(trade, (prices - base[trade]) * weights, count) / _sums(trade, weights, count)


def _sums(trade: Ints, values: Floats, count: int) -> Floats:
    """Return the sum of `values` per trade."""
    return np.bincount(trade, weights=values, minlength=count).astype(np.float64)


def _average_costs(fills: FillColumns, trips: RoundTrips, still: Ints) -> Floats:
    """Return the average price of the quantity still held, per trade (NaN for closed ones), as the account keeps it: an
    addition changes it, a reduction does not."""
    costs = np.full(len(trips.entry), np.nan)
    if not len(still):
        return costs
    parts = np.flatnonzero(np.isin(trips.trade, still))
    parts = parts[np.lexsort((~trips.entering[parts], trips.fill[parts], trips.trade[parts]))]
    lots = trips.lots.astype(np.float64)
    current, held = -1, 0.0
    for part in parts.tolist():
        trade, size = int(trips.trade[part]), float(lots[part])
        if trade != current:
            current, held = trade, 0.0
        if trips.entering[part]:
            price, held = float(fills.price[trips.fill[part]]), held + size
            costs[trade] = price if held == size else costs[trade] + (price - costs[trade]) * (size / held)
        else:
            held -= size
    return costs


def _last_rows(record: RunRecord) -> Ints:
    """Return the row of each symbol's last bar that ended within the run, which may have stopped early; -1 without one."""
    last_ns = record.equity_end[-1] if len(record.equity_end) else 0
    rows = [int(np.searchsorted(record.series[name].end, last_ns, side="right")) - 1 for name in record.symbols]
    return np.array(rows, dtype=np.int64)


def _share(part: NDArray[Any], whole: NDArray[Any]) -> Floats:
    """Part over whole as a fraction, exactly 1.0 where they are equal."""
    return np.asarray(part / whole, dtype=np.float64)


def _quantity(record: RunRecord, fills: FillColumns, at: Ints, lots: NDArray[Any]) -> Floats:
    """Lots as quantities of the instruments of fills `at`, rounded once, as a fill's own quantity is."""
    units, per_unit = _fractions([record.series[name].instrument.lot for name in record.symbols])
    symbol = fills.symbol[at]
    return np.asarray(lots.astype(np.float64) * units[symbol] / per_unit[symbol], dtype=np.float64)


def _fractions(lots: Sequence[object]) -> tuple[Floats, Floats]:
    exact = [Fraction(Decimal(str(lot))) for lot in lots]
    return np.array([float(lot.numerator) for lot in exact]), np.array([float(lot.denominator) for lot in exact])
