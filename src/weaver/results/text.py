"""A result as a table for the terminal and as static HTML with an SVG chart for a notebook. Neither contains a script."""

from __future__ import annotations

from html import escape

import numpy as np

from weaver.core.bars import Floats, Instants
from weaver.core.text import visible
from weaver.results.analysis import RunAnalysis
from weaver.results.downsampling import extremes
from weaver.results.formats import days, money, number, percent, period_text, symbols_text

__all__ = ["as_html", "as_text", "table_rows"]


def table_rows(analysis: RunAnalysis) -> list[tuple[str, str, str]]:
    """Return the main statistics as (name, value, buy-and-hold's value or an empty text)."""
    stats = analysis.stats
    return [
        ("Final equity", money(stats["final_equity"]), money(stats["buy_and_hold_final_equity"])),
        ("Return", percent(stats["return"]), percent(stats["buy_and_hold_return"])),
        ("CAGR", percent(stats["cagr"]), percent(stats["buy_and_hold_cagr"])),
        ("Volatility", percent(stats["volatility"]), percent(stats["buy_and_hold_volatility"])),
        ("Sharpe", number(stats["sharpe"]), number(stats["buy_and_hold_sharpe"])),
        ("Sortino", number(stats["sortino"]), ""),
        ("Calmar", number(stats["calmar"]), ""),
        ("Maximum drawdown", percent(stats["max_drawdown"]), percent(stats["buy_and_hold_max_drawdown"])),
        ("Longest drawdown", days(stats["max_drawdown_days"]), ""),
        ("Exposure", percent(stats["exposure"]), ""),
        ("Trades", f"{stats['trades']:,}", ""),
        ("Win rate", percent(stats["win_rate"]), ""),
        ("Profit factor", number(stats["profit_factor"]), ""),
        ("Expectancy", money(stats["expectancy"]), ""),
        ("Commissions", money(stats["commissions"]), ""),
    ]


def _title(analysis: RunAnalysis) -> str:
    record = analysis.record
    return visible(f"{record.strategy} on {symbols_text(record.symbols)}, {record.timeframe}, {period_text(record)}")


def as_text(analysis: RunAnalysis) -> str:
    """Return the result as a small table for a terminal."""
    record = analysis.record
    lines = [
        f"{_title(analysis)} ({record.bars:,} bars)",
        f"{'':<18}{'strategy':>18}{'buy and hold':>18}",
    ]
    lines += [f"{name:<18}{value:>18}{beside:>18}".rstrip() for name, value, beside in table_rows(analysis)]
    if analysis.open_positions is not None:
        count, profit = len(analysis.open_trades), money(analysis.stats["unrealised_profit"])
        lines.append(f"{'Open positions':<18}{f'{count:,}, unrealised profit {profit}':>36}")
    if not record.finished:
        lines.append("This run was stopped before the end of its bars.")
    lines += [f"Warning: {text}" for text in _warnings(analysis)]
    return "\n".join(lines)


def _warnings(analysis: RunAnalysis) -> list[str]:
    """Return the warnings except that about open positions, which have a line of the table."""
    return [text for text in analysis.warnings if text != analysis.open_positions]


def as_html(analysis: RunAnalysis) -> str:
    """Return the main statistics and a chart of equity and drawdown, for a notebook."""
    rows = "".join(
        f'<tr><td style="text-align:left">{escape(name)}</td><td>{escape(value)}</td><td>{escape(beside)}</td></tr>'
        for name, value, beside in table_rows(analysis)
    )
    warnings = "".join(f"<p>Warning: {escape(text)}</p>" for text in analysis.warnings)
    title = _title(analysis)
    return (
        f'<div style="max-width:60em"><p><b>{escape(title)}</b></p>{warnings}{_svg(analysis)}'
        f'<table style="text-align:right;font-variant-numeric:tabular-nums"><tr><th></th><th>strategy</th>'
        f"<th>buy and hold</th></tr>{rows}</table></div>"
    )


def _svg(analysis: RunAnalysis, width: int = 840, height: int = 260) -> str:
    record = analysis.record
    if len(record.equity) < 2:
        return ""
    top = int(height * 0.68)
    hold = analysis.buy_and_hold
    curves = [record.equity] if hold is None else [record.equity, hold]
    low = min(float(np.min(curve)) for curve in curves)
    high = max(float(np.max(curve)) for curve in curves)
    equity = _path(record.equity_start, record.equity, low, high, 4, top - 4, width)
    beside = "" if hold is None else _path(record.equity_start, hold, low, high, 4, top - 4, width)
    curve = analysis.drawdown
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
