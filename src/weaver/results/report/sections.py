"""The parts of the report's page that need no script, as HTML. Every text from outside is escaped here."""

from __future__ import annotations

import math
import re
from collections.abc import Iterable, Mapping
from html import escape

import numpy as np

from weaver.core.bars import BarSeries, Floats
from weaver.core.durations import duration_text
from weaver.core.instants import format_ns
from weaver.core.jsonable import jsonable
from weaver.core.timeframe import Timeframe
from weaver.results.analysis import RunAnalysis
from weaver.results.formats import days, money, number, percent

__all__ = ["data_used", "details", "instant", "monthly_returns", "notices", "statistics", "tiles"]

MONTHS = ("Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec")
MAX_LISTED = 50
"""Symbols in the table of data; more would fill pages."""

MAX_ALIKE = 3
"""Notes that differ only in their symbol and numbers and are still listed one by one."""

_NUMBER = re.compile(r"[\d][\d,.:TZ-]*(?:\s*(?:ns|us|ms|[smhdw]))?(?:\s+\d+[smhdw])*")
_PLURAL = re.compile(r"\bgaps?\b|\bruns?\b")


def instant(ns: int) -> str:
    """Return an instant as `2024-03-01 09:30` in UTC, at midnight the date alone."""
    return format_ns(ns).removesuffix("Z").removesuffix("T00:00:00").removesuffix(":00").replace("T", " ")


def notices(analysis: RunAnalysis) -> str:
    """Return the warnings of the run, first that it was stopped early."""
    texts = [text for text in analysis.warnings if text != analysis.open_positions]  # which the tile of trades shows
    if not analysis.record.finished:
        texts.insert(0, "This run was stopped before the end of its bars; everything below covers the part that ran.")
    return "".join(f'<p class="notice">{escape(text)}</p>' for text in texts)


def tiles(analysis: RunAnalysis) -> str:
    """Return the six main numbers, with those of buy-and-hold below."""
    stats = analysis.stats
    rows = [
        ("Return", percent(stats["return"]), percent(stats["buy_and_hold_return"]), _tone(stats["return"])),
        ("Per year", percent(stats["cagr"]), percent(stats["buy_and_hold_cagr"]), _tone(stats["cagr"])),
        ("Maximum drawdown", percent(stats["max_drawdown"]), percent(stats["buy_and_hold_max_drawdown"]), ""),
        ("Sharpe ratio", number(stats["sharpe"]), number(stats["buy_and_hold_sharpe"]), ""),
        ("Final equity", money(stats["final_equity"]), money(stats["buy_and_hold_final_equity"]), ""),
    ]
    html = [
        f'<div class="tile"><span>{name}</span><strong class="{tone}">{escape(value)}</strong>'
        f"<small>buy and hold {escape(beside)}</small></div>"
        for name, value, beside, tone in rows
    ]
    won = f"{percent(stats['win_rate'])} won" if stats["trades"] else "none closed"
    if stats["open_trades"]:
        won += f", {stats['open_trades']:,} still open (unrealised {money(stats['unrealised_profit'])})"
    html.append(f'<div class="tile"><span>Trades</span><strong>{stats["trades"]:,}</strong><small>{won}</small></div>')
    return "".join(html)


def statistics(analysis: RunAnalysis) -> str:
    """Return all statistics in groups, each with a short definition."""
    stats = analysis.stats
    year = f"{stats['periods_per_year']:,.0f} periods a year"
    groups: list[tuple[str, list[tuple[str, str, str, str]]]] = [
        (
            "Growth",
            [
                ("Starting cash", money(stats["initial_equity"]), "", ""),
                ("Final equity", money(stats["final_equity"]), money(stats["buy_and_hold_final_equity"]), ""),
                (
                    "Return",
                    percent(stats["return"]),
                    percent(stats["buy_and_hold_return"]),
                    "final over starting equity",
                ),
                (
                    "CAGR",
                    percent(stats["cagr"]),
                    percent(stats["buy_and_hold_cagr"]),
                    "compounded, years of 365.25 days",
                ),
            ],
        ),
        (
            "Risk",
            [
                ("Volatility", percent(stats["volatility"]), percent(stats["buy_and_hold_volatility"]), year),
                ("Sharpe ratio", number(stats["sharpe"]), number(stats["buy_and_hold_sharpe"]), f"rate 0, {year}"),
                ("Sortino ratio", number(stats["sortino"]), "", f"target 0, {year}"),
                ("Calmar ratio", number(stats["calmar"]), "", "CAGR over maximum drawdown"),
                (
                    "Maximum drawdown",
                    percent(stats["max_drawdown"]),
                    percent(stats["buy_and_hold_max_drawdown"]),
                    "of equity at bar ends",
                ),
                ("Longest drawdown", days(stats["max_drawdown_days"]), "", "below a peak, recovered or not"),
                ("Exposure", percent(stats["exposure"]), "", "bars that ended with a position"),
            ],
        ),
        (
            "Trades",
            [
                ("Closed trades", f"{stats['trades']:,}", "", "from flat to flat"),
                ("Still open", f"{stats['open_trades']:,}", "", ""),
                ("Unrealised profit", money(stats["unrealised_profit"]), "", "of open positions, at the last close"),
                ("Win rate", percent(stats["win_rate"]), "", "after commissions"),
                ("Profit factor", number(stats["profit_factor"]), "", "gross profit over gross loss"),
                ("Expectancy", money(stats["expectancy"]), "", "mean profit of a trade"),
                ("Average win", money(stats["average_win"]), "", ""),
                ("Average loss", money(stats["average_loss"]), "", ""),
                ("Best trade", money(stats["best_trade"]), "", ""),
                ("Worst trade", money(stats["worst_trade"]), "", ""),
                ("Average bars held", number(stats["average_bars_held"]), "", ""),
            ],
        ),
        (
            "Activity and costs",
            [
                ("Orders", f"{stats['orders']:,}", "", ""),
                ("Rejected orders", f"{stats['rejected_orders']:,}", "", ""),
                ("Liquidations", f"{stats['liquidations']:,}", "", "forced by the maintenance margin"),
                ("Fills", f"{stats['fills']:,}", "", ""),
                ("Value traded", money(stats["traded_value"]), "", "buys and sells"),
                (
                    "Turnover per year",
                    number(stats["turnover_per_year"]),
                    "",
                    "value traded over mean equity, per year",
                ),
                ("Commissions", money(stats["commissions"]), "", ""),
                ("Borrow and financing", money(stats["holding_costs"]), "", ""),
            ],
        ),
    ]
    return "".join(_group(title, rows) for title, rows in groups)


def _group(title: str, rows: list[tuple[str, str, str, str]]) -> str:
    compared = any(beside for _, _, beside, _ in rows)
    body = "".join(
        f"<tr><th scope=row>{escape(name)}{f'<small>{escape(hint)}</small>' if hint else ''}</th><td>{escape(value)}</td>"
        + (f"<td class=muted>{escape(beside)}</td></tr>" if compared else "</tr>")
        for name, value, beside, hint in rows
    )
    head = "<thead><tr><th></th><th>strategy</th><th>buy and hold</th></tr></thead>" if compared else ""
    return f"<section><h3>{escape(title)}</h3><table class=stats>{head}<tbody>{body}</tbody></table></section>"


def monthly_returns(analysis: RunAnalysis) -> str:
    """Return a table of years and months, coloured by size; the first month counts from the starting cash."""
    record = analysis.record
    if len(record.equity) == 0:
        return "<p class=muted>No bars.</p>"
    start = record.equity_start if record.session_dates is None else record.session_dates
    first, final = (np.datetime64(int(start[row]), "ns").astype("datetime64[M]") for row in (0, -1))
    month = np.timedelta64(1, "M")
    edges = np.arange(first, final + 2 * month, month).astype("datetime64[ns]").astype(np.int64)
    rows = np.searchsorted(start, edges[1:]) - 1  # the last row before each month's end, or of an earlier month
    level = np.concatenate(([record.initial_cash], record.equity[rows]))
    empty = np.diff(np.concatenate(([-1], rows))) == 0
    returns = _changes(level, empty)
    known = np.abs(returns[np.isfinite(returns)])
    scale = max(float(np.quantile(known, 0.95)) if len(known) else 0.0, 1e-9)
    digits = 1 if scale >= 0.005 else 2 if scale >= 0.0005 else 3  # a cautious strategy's months are not all zero
    months = np.arange(first, final + month, month).astype(int).tolist()  # counted from January 1970
    by_month = dict(zip(months, returns.tolist(), strict=True))
    body = []
    for year in range(months[0] // 12, months[-1] // 12 + 1):
        of_year = [by_month.get(year * 12 + month) for month in range(12)]
        whole = math.prod(1 + value for value in of_year if value is not None and math.isfinite(value)) - 1
        cells = "".join(_heat(value, scale, digits) for value in of_year)
        body.append(f"<tr><th scope=row>{1970 + year}</th>{cells}<td class=total>{_signed(whole, digits)}</td></tr>")
    head = "".join(f"<th scope=col>{month}</th>" for month in MONTHS)
    return (
        f"<div class=scroll><table class=heat><thead><tr><th></th>{head}<th scope=col class=total>Year</th></tr></thead>"
        f"<tbody>{''.join(body)}</tbody></table></div>"
    )


def _changes(level: Floats, empty: np.ndarray[tuple[int], np.dtype[np.bool_]]) -> Floats:
    with np.errstate(divide="ignore", invalid="ignore"):
        changes = np.where((level[:-1] > 0) & ~empty, level[1:] / level[:-1] - 1.0, np.nan)
    return np.asarray(changes, dtype=np.float64)


def _heat(value: float | None, scale: float, digits: int) -> str:
    if value is None or not math.isfinite(value):
        return "<td></td>"
    strength = round(min(abs(value) / scale, 1.0) * 70)
    return f'<td class="{_tone(value)}" style="--k:{strength}%">{_signed(value, digits)}</td>'


def _signed(value: float, digits: int) -> str:
    """Return a fraction as percent with its sign; zero without one."""
    rounded = round(value * 100, digits)
    return f"{rounded:+.{digits}f}" if rounded else f"{0:.{digits}f}"


def details(values: Mapping[str, object]) -> str:
    """Return names and values as a description list; nested mappings as "name: value, ..."."""
    if not values:
        return "<p class=muted>None.</p>"
    rows = (f"<dt>{escape(str(name))}</dt><dd>{escape(_text(jsonable(value)))}</dd>" for name, value in values.items())
    return f"<dl>{''.join(rows)}</dl>"


def data_used(analysis: RunAnalysis) -> str:
    """Return a table of the bars of each symbol with source, number, period and breaks, and the notes about them."""
    record = analysis.record
    listed = record.symbols[:MAX_LISTED]
    rows = "".join(_series_row(record.series[symbol], record.timeframe) for symbol in listed)
    more = len(record.symbols) - len(listed)
    html = (
        "<div class=scroll><table class=list><thead><tr><th>Symbol</th><th>Bars</th><th>First bar</th><th>Last bar</th>"
        f"<th>Breaks between bars</th><th>Source</th></tr></thead><tbody>{rows}</tbody></table></div>"
    )
    if more:
        html += f"<p class=muted>And {more:,} more symbols.</p>"
    notes = [*record.notes, *(note for name in record.symbols for note in record.series[name].notes)]
    return html + "".join(f"<p class=note>{escape(note)}</p>" for note in merged_notes(notes, record.symbols))


def merged_notes(notes: Iterable[str], symbols: Iterable[str]) -> list[str]:
    """Return each note once. Notes of more than three symbols that differ only in numbers become one, with an example."""
    prefixes = {f"{symbol}: " for symbol in symbols}
    groups: dict[str, list[str]] = {}
    for note in dict.fromkeys(notes):
        prefix, colon, rest = note.partition(": ")
        per_symbol = prefix + colon in prefixes
        groups.setdefault(_NUMBER.sub("#", _PLURAL.sub("", rest)) if per_symbol else f"\0{note}", []).append(note)
    merged = []
    for alike in groups.values():
        if len(alike) > MAX_ALIKE:
            merged.append(f"{len(alike):,} symbols have notes of this kind, for example {alike[0]}")
        else:
            merged += alike
    return merged


def _series_row(bars: BarSeries, timeframe: Timeframe) -> str:
    first, last = (instant(int(bars.start[0])), instant(int(bars.start[-1]))) if len(bars) else ("", "")
    return (
        f"<tr><td>{escape(bars.symbol)}</td><td>{len(bars):,}</td><td class=when>{first}</td>"
        f"<td class=when>{last}</td><td class=text>{escape(breaks_text(bars))}</td>"
        f"<td class=text>{escape(bars.source)}</td></tr>"
    )


def breaks_text(bars: BarSeries) -> str:
    """Return the breaks between bars as text: their number, the most common lengths, and the longest."""
    gaps = bars.start[1:] - bars.end[:-1]
    rows = np.flatnonzero(gaps > 0)
    if not len(rows):
        return "none"
    lengths, counts = np.unique(gaps[rows], return_counts=True)
    common = np.argsort(-counts, kind="stable")[:3]
    parts = ", ".join(f"{counts[at]:,} of {duration_text(int(lengths[at]))}" for at in common)
    longest = int(rows[np.argmax(gaps[rows])])
    text = f"{len(rows):,}: {parts}"
    if len(lengths) > 3 or len(rows) <= 3:
        text += f"; the longest {duration_text(int(gaps[longest]))} from {instant(int(bars.end[longest]))}"
    return text


def _text(value: object) -> str:
    match value:
        case None:
            return "none"
        case bool():
            return "yes" if value else "no"
        case dict():
            return _join(f"{name}: {_text(item)}" for name, item in value.items()) or "none"
        case list():
            return _join(_text(item) for item in value) or "none"
        case float():
            return f"{value:,.10g}"
        case int():
            return f"{value:,}"
        case _:
            return str(value)


def _join(parts: Iterable[str]) -> str:
    return ", ".join(parts)


def _tone(value: float) -> str:
    return "up" if value > 0 else "down" if value < 0 else ""
