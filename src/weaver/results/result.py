"""Result: everything about one run, for users: frames, statistics, chart, report, JSON. A result never changes.

The numbers come from `RunAnalysis`, the rest of the module only presents them. Statistics and JSON of two runs with equal
records are equal byte for byte, except for the run id and the elapsed time.
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from dataclasses import replace
from datetime import datetime
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

from weaver.core.instants import format_ns, from_ns
from weaver.core.jsonable import jsonable
from weaver.core.replaced_modules import noting_replaced_modules
from weaver.core.text import visible_json
from weaver.results.analysis import RunAnalysis, StatsView
from weaver.results.record import RunRecord

if TYPE_CHECKING:
    import plotly.graph_objects as go
    import polars as pl

    from weaver.core.timeframe import Timeframe

__all__ = ["JSON_KEYS", "Result", "StatsView"]

JSON_KEYS = (
    "run_id",
    "strategy",
    "params",
    "symbols",
    "timeframe",
    "start",
    "end",
    "bars",
    "fills",
    "final_equity",
    "stats",
    "settings",
    "elapsed_s",
    "bars_per_s",
)


class Result:
    """The result of a run: frames, statistics, chart, report and JSON, all computed from one `RunRecord`."""

    recording: Any = None
    """The `RunRecorder` that writes the run to the store, with `wait()` and `error`; None for a run that is not recorded."""

    def __init__(self, record: RunRecord) -> None:
        self.record = record
        self.analysis = RunAnalysis(record)
        """The columns and statistics behind this result, as NumPy arrays."""

    def __reduce__(self) -> tuple[Any, ...]:
        # Only the record is pickled; everything else is computed from it again. Orders and fills may be lazy views of an
        # engine's lists, which must not be pickled, so they become tuples.
        return Result, (replace(self.record, orders=tuple(self.record.orders), fills=tuple(self.record.fills)),)

    # Strategy and parameters

    @property
    def run_id(self) -> str:
        return self.record.run_id

    @property
    def strategy(self) -> str:
        """The strategy's class name."""
        return self.record.strategy

    @property
    def params(self) -> Mapping[str, object]:
        return self.record.params

    @property
    def symbols(self) -> tuple[str, ...]:
        return self.record.symbols

    @property
    def timeframe(self) -> Timeframe:
        return self.record.timeframe

    @property
    def settings(self) -> Mapping[str, object]:
        """Every setting in force: the intrabar rule, costs, leverage and so on."""
        return self.record.settings

    @property
    def warnings(self) -> tuple[str, ...]:
        """Warnings about the result: rejected orders, liquidations, gaps in the bars, positions
        still open, doubtful data."""
        return self.analysis.warnings

    @property
    def bars(self) -> int:
        """Bars processed, over all symbols."""
        return self.record.bars

    @property
    def elapsed_s(self) -> float:
        """Duration of the run in seconds."""
        return self.record.elapsed_s

    @property
    def start(self) -> datetime | None:
        """Start of the first bar, aware UTC; None for a run without bars."""
        return from_ns(int(self.record.equity_start[0])) if len(self.record.equity_start) else None

    @property
    def end(self) -> datetime | None:
        """End of the last bar, aware UTC; None for a run without bars."""
        return from_ns(int(self.record.equity_end[-1])) if len(self.record.equity_end) else None

    # Results

    @property
    def final_equity(self) -> float:
        """Equity at the last bar's close, in the account's currency."""
        return float(self.record.equity[-1]) if len(self.record.equity) else self.record.initial_cash

    @property
    def stats(self) -> StatsView:
        """The statistics as a read-only mapping; docs/metrics.md has definitions and units. NaN: not defined."""
        return self.analysis.stats

    @cached_property
    def fills(self) -> pl.DataFrame:
        """One row per fill, in the order they happened: timestamp (UTC, start of the bar it filled in), symbol, side
        (buy | sell), quantity, price, commission, order_id, tag."""
        from weaver.results import frames

        return frames.fills_frame(self.record, self.analysis.fills)

    @cached_property
    def orders(self) -> pl.DataFrame:
        """One row per order, in the order they were given: order_id, submitted, done, symbol, side, kind, quantity,
        limit, stop, tif, status, reason, filled_quantity, average_price, tag, parent, exit."""
        from weaver.results import frames

        return frames.orders_frame(self.record)

    @cached_property
    def trades(self) -> pl.DataFrame:
        """One row per closed trade, from flat to flat, ordered by exit: symbol, side (long | short), quantity (the largest
        held), entry_time, entry_price, exit_time, exit_price (averages over the fills), pnl (after commissions), return,
        commission, bars_held, entry_order_id, exit_order_id, entry_tag, exit_tag (of the first and the last fill)."""
        from weaver.results import frames

        return frames.trades_frame(self.record, self.analysis.fills, self.analysis.trades)

    @cached_property
    def open_trades(self) -> pl.DataFrame:
        """The columns of `trades` for trades still open at the end: no exit, what is held is valued at the last close. In
        addition open_quantity, the quantity still held, and unrealised, its profit over the average price paid for it."""
        from weaver.results import frames

        return frames.trades_frame(self.record, self.analysis.fills, self.analysis.open_trades)

    @cached_property
    def fifo_trades(self) -> pl.DataFrame:
        """The columns of `trades` with one row per pair of fills, first in, first out: the part of an exit fill that closes
        the part of an entry fill. The profits of both frames have the same sum once every position is flat."""
        from weaver.results import frames

        return frames.trades_frame(self.record, self.analysis.fills, self.analysis.fifo_trades)

    @cached_property
    def equity(self) -> pl.DataFrame:
        """One row per bar end, named by the bar's start: timestamp (UTC), equity, cash, gross_exposure, net_exposure,
        drawdown (a fraction <= 0 of the highest equity so far)."""
        from weaver.results import frames

        return frames.equity_frame(self.record, self.analysis.drawdown)

    # Output

    def to_json(self) -> str:
        """Return the run as one JSON object with the keys of `JSON_KEYS`; `fills` is their number, NaN becomes null."""
        record = self.record
        rate = record.bars / record.elapsed_s if record.elapsed_s > 0 else math.nan
        rows = len(record.equity_start)
        values: dict[str, object] = {
            "run_id": record.run_id,
            "strategy": record.strategy,
            "params": record.params,
            "symbols": record.symbols,
            "timeframe": record.timeframe.text,
            "start": format_ns(int(record.equity_start[0])) if rows else None,
            "end": format_ns(int(record.equity_end[-1])) if rows else None,
            "bars": record.bars,
            "fills": len(record.fills),
            "final_equity": self.final_equity,
            "stats": self.stats,
            "settings": record.settings,
            "elapsed_s": record.elapsed_s,
            "bars_per_s": rate,
        }
        return visible_json(json.dumps(jsonable(values), allow_nan=False, ensure_ascii=False, indent=2))

    def plot(self, symbol: str | None = None) -> go.Figure:
        """Return a Plotly figure: equity and buy-and-hold, drawdown, candles with the fills and indicators of one symbol
        (default: the first). It is downsampled to a few thousand points; the report draws exact bars on zoom."""
        from weaver.results.figure import draw

        return draw(self.analysis, symbol)

    def report(self, path: str | Path = "report.html") -> Path:
        """Write the report, a self-contained HTML file that opens offline, and return its absolute path."""
        with noting_replaced_modules():  # an html.py next to the script
            from weaver.results.report.writer import write_report

            return write_report(self.analysis, Path(path))

    def __repr__(self) -> str:
        from weaver.results.text import as_text

        return as_text(self.analysis)

    def _repr_html_(self) -> str:
        from weaver.results.text import as_html

        return as_html(self.analysis)
