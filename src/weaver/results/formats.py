"""Numbers and periods as text, the same in the printed table, the notebook and the report.

A value that is not defined (NaN, infinite) is shown as a dash, and no text shows a negative zero.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

from weaver.core.instants import format_ns
from weaver.results.record import RunRecord

__all__ = ["days", "money", "number", "percent", "period_text", "symbols_text"]


def money(value: float) -> str:
    """Return an amount with thousands separators: whole from a million on, three digits below a tenth, else cents."""
    if not math.isfinite(value):
        return "-"
    if 0 < abs(value) < 0.1:
        return f"{value:.3g}" if abs(value) >= 1e-4 else f"{value:.2e}"
    return f"{value:,.2f}" if abs(value) < 1e6 else f"{value:,.0f}"


def percent(value: float) -> str:
    """Return a fraction as percent with two decimals: 0.12 is "12.00 %"."""
    return f"{value * 100:z,.2f} %" if math.isfinite(value) else "-"


def number(value: float) -> str:
    """Return a plain number with two decimals."""
    return f"{value:z,.2f}" if math.isfinite(value) else "-"


def days(value: float) -> str:
    """Return a number of days with one decimal."""
    return f"{value:z,.1f} days" if math.isfinite(value) else "-"


def period_text(record: RunRecord) -> str:
    """Return the first bar's start and the last bar's end; midnights as dates."""
    if not len(record.equity_start):
        return "no bars"
    ends = (format_ns(int(record.equity_start[0])), format_ns(int(record.equity_end[-1])))
    return " to ".join(text.removesuffix("T00:00:00Z").replace("T", " ").replace("Z", " UTC") for text in ends)


def symbols_text(symbols: Sequence[str], most: int = 5) -> str:
    """Return the first `most` symbols, and how many more there are."""
    more = f" and {len(symbols) - most} more" if len(symbols) > most else ""
    return ", ".join(symbols[:most]) + more
