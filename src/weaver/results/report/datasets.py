"""The data of the report's page, in encoded blocks, and every limit of the page with its reason."""

from __future__ import annotations

from typing import Any

import numpy as np

from weaver.core.bars import BarSeries, Instants
from weaver.results.analysis import RunAnalysis
from weaver.results.downsampling import candles, extremes
from weaver.results.fill_columns import FillColumns
from weaver.results.record import PlotSeries
from weaver.results.report.column_codec import Block, pack, pack_bars
from weaver.results.trade_columns import TradeColumns

__all__ = ["Datasets", "datasets"]

Datasets = tuple[dict[str, Any], dict[str, Block]]

SECOND_NS = 1_000_000_000

MAX_ROWS = 1_500_000
"""Rows of one column: a million bars are about 8 MB of text, and as much again as numbers in the browser."""

MAX_TOTAL_ROWS = 3_000_000
"""Bars over all symbols, so that the file stays below some 30 MB."""

MIN_ROWS = 2_000
"""Bars that every symbol has, whatever the number of symbols."""

MAX_SYMBOLS = 300
"""Symbols in the page; if there are more, those with the most fills."""

MAX_FILLS = 300_000
"""Fills and trades in the page; `result.fills` and `result.trades` have all."""


def datasets(analysis: RunAnalysis) -> Datasets:
    """Return the page's facts as values for JSON, and its blocks by name: equity, fills, trades, bars-0, plots-0, ..."""
    record = analysis.record
    shown = _shown_symbols(analysis)
    cap = max(MIN_ROWS, min(MAX_ROWS, MAX_TOTAL_ROWS // max(len(shown), 1)))
    blocks: dict[str, Block] = {}
    symbols = []
    for index, symbol in enumerate(shown):
        bars = record.series[symbol]
        merged = candles(bars, cap)
        blocks[f"bars-{index}"] = pack_bars(merged)
        plots = [plot for plot in record.plots if plot.symbol == symbol]
        if plots:
            blocks[f"plots-{index}"] = _plots_block(plots, bars, merged.size)
        symbols.append(
            {
                "name": symbol,
                "size": merged.size,
                "bars": len(bars),
                "plots": [{"name": plot.name, "overlay": plot.overlay, "style": plot.style} for plot in plots],
            }
        )
    blocks["equity"], equity_rows = _equity_block(analysis, shown)
    fills, closed, still_open = analysis.fills, analysis.trades, analysis.open_trades
    tags: dict[str | None, int] = {None: 0}
    tag = np.fromiter((tags.setdefault(fill.tag, len(tags)) for fill in record.fills), np.int64, len(record.fills))
    place = {record.symbols.index(name): index for index, name in enumerate(shown)}
    where = np.array([place.get(index, -1) for index in range(len(record.symbols))], dtype=np.int64)
    blocks["fills"] = _fills_block(fills, tag, where)
    blocks["trades"] = _trades_block(closed, still_open)
    facts = {
        "strategy": record.strategy,
        "timeframe_s": record.timeframe.ns // SECOND_NS,
        "initial": record.initial_cash,
        "symbols": symbols,
        "symbol_names": list(record.symbols),
        "tags": list(tags),
        "equity_rows": equity_rows,
        "counts": {"symbols": len(record.symbols), "fills": len(fills), "trades": len(closed), "open": len(still_open)},
        "limits": {"fills": MAX_FILLS, "symbols": MAX_SYMBOLS},
    }
    return facts, blocks


def _shown_symbols(analysis: RunAnalysis) -> list[str]:
    names = list(analysis.record.symbols)
    if len(names) <= MAX_SYMBOLS:
        return names
    fills = np.bincount(analysis.fills.symbol, minlength=len(names))
    return [names[index] for index in np.argsort(-fills, kind="stable")[:MAX_SYMBOLS]]


def _equity_block(analysis: RunAnalysis, shown: list[str]) -> tuple[Block, dict[str, object]]:
    record = analysis.record
    rows = extremes(record.equity, MAX_ROWS)
    every = len(rows) == len(record.equity)
    columns = {"start": _seconds(record.equity_start[rows]), "equity": record.equity[rows]}
    # With one symbol the page computes buy-and-hold from the closes, which it has already.
    bars = record.series[shown[0]] if shown else None
    from_closes = (
        every
        and len(record.symbols) == 1
        and bars is not None
        and 0 < len(bars) == len(rows)
        and float(bars.close.min()) > 0
    )
    hold = None if from_closes else analysis.buy_and_hold
    if hold is not None:
        columns["hold"] = hold[rows]
    return pack(columns), {"rows": len(rows), "exact": every, "hold_from_closes": from_closes}


def _fills_block(fills: FillColumns, tag: Instants, place: Instants) -> Block:
    keep = slice(0, MAX_FILLS)
    return pack(
        {
            "time": _seconds(fills.ts[keep]),
            "symbol": fills.symbol[keep],
            "place": place[fills.symbol[keep]],
            "buy": fills.buy[keep],
            "quantity": fills.quantity[keep],
            "price": fills.price[keep],
            "commission": fills.commission[keep],
            "order": fills.number[keep],
            "tag": tag[keep],
        }
    )


def _trades_block(closed: TradeColumns, still_open: TradeColumns) -> Block:
    assert closed.exit is not None
    listed = np.flatnonzero((closed.entry < MAX_FILLS) & (closed.exit < MAX_FILLS))
    rest = np.flatnonzero(still_open.entry < MAX_FILLS)
    parts = ((closed, listed), (still_open, rest))

    def column(name: str) -> np.ndarray[Any, Any]:
        return np.concatenate([getattr(trades, name)[rows] for trades, rows in parts])

    return pack(
        {
            "entry": column("entry"),
            "exit": np.concatenate((closed.exit[listed], np.full(len(rest), -1, dtype=np.int64))),
            "long": column("long"),
            "quantity": column("quantity"),
            "entry_price": column("entry_price"),
            "exit_price": column("exit_price"),
            "pnl": column("pnl"),
            "return": column("returns"),
            "commission": column("commission"),
            "bars": column("bars_held"),
        }
    )


def _plots_block(plots: list[PlotSeries], bars: BarSeries, size: int) -> Block:
    """Each plot at the last of every `size` merged bars; a plot with its own instants is aligned to the bars."""
    last = np.minimum(np.arange(0, len(bars), size) + size, len(bars)) - 1
    columns = {}
    for index, plot in enumerate(plots):
        values = plot.values
        if plot.ts is not None:
            at = np.searchsorted(plot.ts, bars.start, side="right") - 1
            values = np.where(at >= 0, values[at], np.nan) if len(values) else np.full(len(bars), np.nan)
        if len(values) < len(bars):
            values = np.concatenate((values, np.full(len(bars) - len(values), np.nan)))
        columns[str(index)] = values[last]
    return pack(columns)


def _seconds(ns: Instants) -> Instants:
    return ns // SECOND_NS
