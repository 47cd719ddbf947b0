"""Fills, orders, trades and equity of a run as Polars frames with documented columns (docs/metrics.md).

Every time column is `Datetime("us", "UTC")`.
"""

from __future__ import annotations

from collections.abc import Sequence
from operator import attrgetter
from typing import Any

import numpy as np
import polars as pl
from numpy.typing import NDArray

from weaver.core.bars import Floats, Instants
from weaver.results.fill_columns import FillColumns
from weaver.results.record import RunRecord
from weaver.results.trade_columns import TradeColumns

__all__ = ["TIME", "equity_frame", "fills_frame", "orders_frame", "trades_frame"]

TIME = pl.Datetime("us", "UTC")


def fills_frame(record: RunRecord, fills: FillColumns) -> pl.DataFrame:
    """Return one row per fill: timestamp (start of the bar it filled in), symbol, side (buy | sell), quantity, price,
    commission, order_id, tag."""
    return pl.DataFrame(
        {
            "timestamp": _times(fills.ts),
            "symbol": _names(record.symbols, fills.symbol),
            "side": _names(("sell", "buy"), fills.buy),
            "quantity": fills.quantity,
            "price": fills.price,
            "commission": fills.commission,
            "order_id": fills.number,
            "tag": _tags(record),
        }
    )


def trades_frame(record: RunRecord, fills: FillColumns, trades: TradeColumns) -> pl.DataFrame:
    """Return one row per trade: symbol, side (long | short), quantity, entry_time, entry_price, exit_time, exit_price, pnl
    (after commissions), return, commission, bars_held, entry_order_id, exit_order_id, entry_tag, exit_tag.

    For trades still open, exit_time, exit_order_id and exit_tag are null, the last close is the exit price of the quantity
    still held, and two more columns follow: open_quantity and unrealised.
    """
    tags = _tags(record)
    entry, leave = trades.entry, trades.exit
    count = len(entry)
    columns = {
        "symbol": _names(record.symbols, fills.symbol[entry]),
        "side": _names(("short", "long"), trades.long),
        "quantity": trades.quantity,
        "entry_time": _times(fills.ts[entry]),
        "entry_price": trades.entry_price,
        "exit_time": _nulls(count, TIME) if leave is None else _times(fills.ts[leave]),
        "exit_price": trades.exit_price,
        "pnl": trades.pnl,
        "return": trades.returns,
        "commission": trades.commission,
        "bars_held": trades.bars_held,
        "entry_order_id": fills.number[entry],
        "exit_order_id": _nulls(count, pl.Int64()) if leave is None else fills.number[leave],
        "entry_tag": tags.gather(_index(entry)),
        "exit_tag": _nulls(count, pl.String()) if leave is None else tags.gather(_index(leave)),
    }
    if leave is None:
        columns |= {"open_quantity": trades.open_quantity, "unrealised": trades.unrealised}
    return pl.DataFrame(columns)


def orders_frame(record: RunRecord) -> pl.DataFrame:
    """Return one row per order, in the order they were given: order_id, submitted, done, symbol, side, kind, quantity,
    limit, stop, tif, status, reason, filled_quantity, average_price, tag, parent, exit."""
    orders = record.orders

    def column(name: str, dtype: Any) -> pl.Series:
        return pl.Series(name, list(map(attrgetter(name), orders)), dtype=dtype)

    return pl.DataFrame(
        {
            "order_id": column("number", pl.Int64),
            "submitted": _optional_times([order.submitted_ns for order in orders]),
            "done": _optional_times([order.done_ns for order in orders]),
            "symbol": column("symbol", pl.String),
            "side": pl.Series("side", [order.side.value for order in orders], dtype=pl.String),
            "kind": column("kind", pl.String),
            "quantity": column("quantity", pl.Float64),
            "limit": column("limit", pl.Float64),
            "stop": column("stop", pl.Float64),
            "tif": pl.Series("tif", [order.tif.value for order in orders], dtype=pl.String),
            "status": pl.Series("status", [order.status.value for order in orders], dtype=pl.String),
            "reason": column("reason", pl.String),
            "filled_quantity": column("filled_quantity", pl.Float64),
            "average_price": column("average_price", pl.Float64),
            "tag": column("tag", pl.String),
            "parent": column("parent", pl.Int64),
            "exit": column("exit", pl.Boolean),
        }
    )


def equity_frame(record: RunRecord, drawdown: Floats) -> pl.DataFrame:
    """Return one row per bar end: timestamp (start of the bar that ends there), equity, cash, gross_exposure, net_exposure,
    drawdown (<= 0)."""
    return pl.DataFrame(
        {
            "timestamp": _times(record.equity_start),
            "equity": record.equity,
            "cash": record.cash,
            "gross_exposure": record.gross_exposure,
            "net_exposure": record.net_exposure,
            "drawdown": drawdown,
        }
    )


def _times(ns: Instants) -> pl.Series:
    return pl.Series(ns // 1000, dtype=pl.Int64).cast(TIME)


def _optional_times(ns: Sequence[int | None]) -> pl.Series:
    return (pl.Series(ns, dtype=pl.Int64) // 1000).cast(TIME)


def _nulls(count: int, dtype: pl.DataType) -> pl.Series:
    return pl.Series([None], dtype=dtype).new_from_index(0, count)


def _names(names: Sequence[str], index: NDArray[Any]) -> pl.Series:
    if len(names) == 1:
        return pl.Series(names, dtype=pl.String).new_from_index(0, len(index))
    return pl.Series(names, dtype=pl.String).gather(_index(index))


def _index(index: NDArray[Any]) -> pl.Series:
    return pl.Series(index.astype(np.uint32))


def _tags(record: RunRecord) -> pl.Series:
    return pl.Series([fill.tag for fill in record.fills], dtype=pl.String)
