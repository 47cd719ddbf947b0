"""Summary: a result in a terminal and in a notebook. Static text and SVG: nothing to load, nothing to run."""

from __future__ import annotations

import math
from html import escape
from typing import TYPE_CHECKING

import numpy as np

from weaver.core.bars import Floats, Instants
from weaver.core.instants import format_ns
from weaver.results.downsampling import extremes
from weaver.results.stats import buy_and_hold_curve

if TYPE_CHECKING:
    from weaver.results.result import Result

__all__ = ["as_html", "as_text", "money", "percent", "period_text"]


def money(value: float) -> str:
    """An amount with thousands separators: cents below a million, three digits below a tenth; a dash where not defined."""
    if not math.isfinite(value):
        return "-"
    if 0 < abs(value) < 0.1:
        return f"{value:.3g}" if abs(value) >= 1e-4 else f"{value:.2e}"
    return f"{value:,.2f}" if abs(value) < 1e6 else f"{value:,.0f}"


def percent(value: float) -> str:
    """A fraction as percent; a dash where it is not defined."""
    return f"{value * 100:,.2f} %" if math.isfinite(value) else "-"


def number(value: float) -> str:
    """A plain number with two decimals; a dash where it is not defined."""
    return f"{value:,.2f}" if math.isfinite(value) else "-"


def period_text(result: Result) -> str:
    """First bar's start to last bar's end, dates alone where they are midnights."""
    record = result.record
    if not len(record.equity_start):
        return "no bars"
    ends = (format_ns(int(record.equity_start[0])), format_ns(int(record.equity_end[-1])))
    return " to ".join(text.removesuffix("T00:00:00Z").replace("T", " ").replace("Z", " UTC") for text in ends)


def rows_of(result: Result) -> list[tuple[str, str, str]]:
    """What matters most: (name, value, the same for buy-and-hold or an empty text)."""
    stats = result.stats
    return [
        ("Final equity", money(stats["final_equity"]), money(stats["buy_and_hold_final_equity"])),
        ("Return", percent(stats["return"]), percent(stats["buy_and_hold_return"])),
        ("CAGR", percent(stats["cagr"]), percent(stats["buy_and_hold_cagr"])),
        ("Volatility", percent(stats["volatility"]), percent(stats["buy_and_hold_volatility"])),
        ("Sharpe", number(stats["sharpe"]), number(stats["buy_and_hold_sharpe"])),
        ("Sortino", number(stats["sortino"]), ""),
        ("Calmar", number(stats["calmar"]), ""),
        ("Maximum drawdown", percent(stats["max_drawdown"]), percent(stats["buy_and_hold_max_drawdown"])),
        ("Longest drawdown", f"{stats['max_drawdown_days']:,.1f} days", ""),
        ("Exposure", percent(stats["exposure"]), ""),
        ("Trades", f"{stats['trades']:,}", ""),
        ("Win rate", percent(stats["win_rate"]), ""),
        ("Profit factor", number(stats["profit_factor"]), ""),
        ("Expectancy", money(stats["expectancy"]), ""),
        ("Commissions", money(stats["commissions"]), ""),
    ]


def as_text(result: Result) -> str:
    """The result as a small table for a terminal."""
    record = result.record
    symbols = ", ".join(record.symbols[:5]) + (
        f" and {len(record.symbols) - 5} more" if len(record.symbols) > 5 else ""
    )
    lines = [
        f"{record.strategy} on {symbols}, {record.timeframe}, {period_text(result)} ({record.bars:,} bars)",
        f"{'':<18}{'strategy':>18}{'buy and hold':>18}",
    ]
    lines += [f"{name:<18}{value:>18}{beside:>18}".rstrip() for name, value, beside in rows_of(result)]
    if not record.finished:
        lines.append("This run was stopped before the end of its bars.")
    lines += [f"Warning: {text}" for text in record.warnings]
    return "\n".join(lines)


def as_html(result: Result) -> str:
    """The statistics and a chart of equity and drawdown, for a notebook."""
    record = result.record
    rows = "".join(
        f'<tr><td style="text-align:left">{escape(name)}</td><td>{escape(value)}</td><td>{escape(beside)}</td></tr>'
        for name, value, beside in rows_of(result)
    )
    warnings = "".join(f"<p>Warning: {escape(text)}</p>" for text in record.warnings)
    title = f"{record.strategy} on {', '.join(record.symbols[:5])}, {record.timeframe}, {period_text(result)}"
    return (
        f'<div style="max-width:60em"><p><b>{escape(title)}</b></p>{warnings}{_svg(result)}'
        f'<table style="text-align:right;font-variant-numeric:tabular-nums"><tr><th></th><th>strategy</th>'
        f"<th>buy and hold</th></tr>{rows}</table></div>"
    )


def _svg(result: Result, width: int = 840, height: int = 260) -> str:
    record = result.record
    if len(record.equity) < 2:
        return ""
    top = int(height * 0.68)
    hold = buy_and_hold_curve(record)
    curves = [record.equity] if hold is None else [record.equity, hold]
    low = min(float(np.min(curve)) for curve in curves)
    high = max(float(np.max(curve)) for curve in curves)
    equity = _path(record.equity_start, record.equity, low, high, 4, top - 4, width)
    beside = "" if hold is None else _path(record.equity_start, hold, low, high, 4, top - 4, width)
    curve = result.equity["drawdown"].to_numpy()
    deepest = float(np.min(curve)) if np.isfinite(curve).all() else 0.0
    fall = _path(record.equity_start, curve, deepest, 0.0, top + 12, height - 4, width) if deepest < 0 else ""
    return (
        f'<svg viewBox="0 0 {width} {height}" width="100%" role="img" aria-label="Equity and drawdown" fill="none" '
        f'stroke-linejoin="round" font-family="sans-serif" font-size="11">'
        f'<path d="{beside}" stroke="#9aa0a6" stroke-width="1.2"/><path d="{equity}" stroke="#2f6f9f" stroke-width="1.6"/>'
        f'<path d="{fall}" stroke="#b5523b" stroke-width="1"/>'
        f'<text x="4" y="12" fill="#2f6f9f">equity</text><text x="52" y="12" fill="#80868b">buy and hold</text>'
        f'<text x="4" y="{height - 6}" fill="#b5523b">drawdown {escape(percent(deepest))}</text></svg>'
    )


def _path(start: Instants, values: Floats, low: float, high: float, top: float, bottom: float, width: int) -> str:
    rows = extremes(values, 1200)
    spread = (high - low) or 1.0
    span = float(start[-1] - start[0]) or 1.0
    x = (start[rows] - start[0]) / span * width
    y = bottom - (values[rows] - low) / spread * (bottom - top)
    return "M" + "L".join(f"{a:.1f} {b:.1f}" for a, b in zip(x.tolist(), y.tolist(), strict=True))
