"""A run as a Plotly figure, downsampled for drawing. The report draws exact bars on zoom."""

from __future__ import annotations

from html import escape
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from weaver.core.bars import BarSeries, Floats, Instants
from weaver.core.errors import UnknownSymbol
from weaver.core.text import brief
from weaver.results.analysis import RunAnalysis
from weaver.results.downsampling import candles, extremes
from weaver.results.fill_columns import FillColumns
from weaver.results.formats import period_text, symbols_text
from weaver.results.record import PlotSeries

if TYPE_CHECKING:
    import plotly.graph_objects as go

__all__ = ["draw"]

POINTS = 3_000
CANDLES = 1_500
MARKS = 1_000
"""Fills of one side that are marked; of more, an even selection, and the legend says so."""


def draw(analysis: RunAnalysis, symbol: str | None = None) -> go.Figure:
    """Return a figure with equity and buy-and-hold, drawdown, candles of `symbol` (default: the first) with fills and
    overlays, and a panel for each further plot. Raises `UnknownSymbol`."""
    from plotly.subplots import make_subplots

    record = analysis.record
    name = record.symbols[0] if symbol is None else symbol
    if name not in record.symbols:
        raise UnknownSymbol(f"symbol {brief(name)} is not in this run; it has {', '.join(record.symbols[:20])}")
    mine = [plot for plot in record.plots if plot.symbol == name]
    panels = list(dict.fromkeys(plot.name for plot in mine if not plot.overlay))
    heights = [0.32, 0.13, 0.45, *[0.13] * len(panels)]
    figure: go.Figure = make_subplots(
        rows=len(heights),
        cols=1,
        shared_xaxes=True,
        vertical_spacing=0.03,
        row_heights=[h / sum(heights) for h in heights],
    )

    def line(ts: Instants, values: Floats, row: int, color: str | None, label: str, **extra: Any) -> None:
        rows = extremes(values, POINTS)
        figure.add_scatter(
            x=_times(ts[rows]), y=values[rows], name=label, line={"color": color, "width": 1.5}, row=row, col=1, **extra
        )

    hold = analysis.buy_and_hold
    if hold is not None:
        line(record.equity_start, hold, 1, "#a3a099", "buy and hold")
    line(record.equity_start, record.equity, 1, "#2a5f8f", "strategy")
    line(record.equity_start, analysis.drawdown, 2, "#bb4a3c", "drawdown", fill="tozeroy", showlegend=False)
    bars = record.series[name]
    merged = candles(bars, CANDLES)
    figure.add_candlestick(
        x=_times(merged.start), open=merged.open, high=merged.high, low=merged.low, close=merged.close,
        name=escape(name), increasing_line_color="#17806d", decreasing_line_color="#bb4a3c", showlegend=False, row=3, col=1,
    )  # fmt: skip
    for plot in mine:
        ts, values = _aligned(plot, bars)
        line(ts, values, 3 if plot.overlay else 4 + panels.index(plot.name), None, escape(plot.name))
    _mark_fills(figure, analysis.fills, record.symbols.index(name))
    title = f"{record.strategy} on {symbols_text(record.symbols, 4)}, {record.timeframe}, {period_text(record)}"
    figure.update_layout(
        title=escape(title), template="plotly_white", height=720 + 120 * len(panels), hovermode="x",
        legend={"orientation": "h", "y": 1.02, "yanchor": "bottom", "x": 0}, margin={"l": 60, "r": 20, "t": 90, "b": 40},
    )  # fmt: skip
    figure.update_xaxes(rangeslider_visible=False)
    figure.update_yaxes(title_text="equity", row=1, col=1)
    figure.update_yaxes(title_text="drawdown", tickformat=".1~%", row=2, col=1)
    figure.update_yaxes(title_text=escape(name), row=3, col=1)
    for index, panel in enumerate(panels):
        figure.update_yaxes(title_text=escape(panel), row=4 + index, col=1)
    return figure


def _mark_fills(figure: go.Figure, fills: FillColumns, symbol: int) -> None:
    for buy, label, shape, color in (
        (True, "buys", "triangle-up", "#1d6fc4"),
        (False, "sells", "triangle-down", "#d9822b"),
    ):
        every = np.flatnonzero((fills.symbol == symbol) & (fills.buy == buy))
        shown = every[:: max(1, -(-len(every) // MARKS))]
        figure.add_scatter(
            x=_times(fills.ts[shown]),
            y=fills.price[shown],
            mode="markers",
            name=label if len(shown) == len(every) else f"{label} ({len(shown):,} of {len(every):,})",
            marker={"symbol": shape, "color": color, "size": 10, "line": {"color": "white", "width": 1}},
            text=[f"{quantity:,.10g} at {price:,.10g}" for quantity, price in
                  zip(fills.quantity[shown].tolist(), fills.price[shown].tolist(), strict=True)],
            hovertemplate="%{text}<extra></extra>",
            row=3,
            col=1,
        )  # fmt: skip


def _aligned(plot: PlotSeries, bars: BarSeries) -> tuple[Instants, Floats]:
    if plot.ts is not None:
        return plot.ts, plot.values
    count = min(len(plot.values), len(bars))
    return bars.start[:count], plot.values[:count]


def _times(ns: Instants) -> NDArray[np.datetime64]:
    return ns.astype("datetime64[ns]").astype("datetime64[ms]")
