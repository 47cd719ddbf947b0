"""Warnings that follow from a run's record: rejected orders, liquidations, gaps in the bars, positions still open.

Each is one sentence for the whole run, with counts, the most common reasons and the first instant. They are computed from
the record, so that a stored run has the same warnings as a new one.
"""

from __future__ import annotations

import re
from collections.abc import Sequence

from weaver.core.durations import duration_text
from weaver.core.instants import format_ns
from weaver.results.formats import money
from weaver.results.record import OrderRecord, RunRecord
from weaver.results.trade_columns import TradeColumns

__all__ = ["gaps_text", "liquidations_text", "open_positions_text", "rejections_text", "unfilled_text"]

REASONS_SHOWN = 3
REASONS_READ = 100_000
"""Rejections whose reasons are grouped: more would take seconds and change nothing in the order of the reasons."""

_NUMBER = re.compile(r"[-+]?\d[\d,]*(?:\.\d+)?(?:e[-+]?\d+)?", re.IGNORECASE)


def unfilled_text(record: RunRecord) -> str | None:
    """Return a warning if orders were given and none was filled."""
    if not len(record.orders) or len(record.fills):
        return None
    return f"no order has filled; there were {len(record.orders):,}"


def rejections_text(record: RunRecord, rejected: Sequence[OrderRecord]) -> str | None:
    """Return a warning about rejected orders with the most common reasons and the first instant, or None.

    Reasons that differ only in numbers and symbols are one; the first of them is quoted.
    """
    if not rejected:
        return None
    groups: dict[str, tuple[int, str]] = {}
    for order in rejected[:REASONS_READ]:
        reason = order.reason or "no reason given"
        kind = _NUMBER.sub("#", reason.replace(order.symbol, "SYMBOL"))
        count, example = groups.get(kind, (0, reason))
        groups[kind] = (count + 1, example)
    common = sorted(groups.values(), key=lambda group: -group[0])
    first = min(order.done_ns if order.done_ns is not None else order.submitted_ns for order in rejected)
    text = f"rejected orders: {len(rejected):,} of {len(record.orders):,}, the first at {format_ns(first)}; "
    if len(common) == 1:
        alike = len({order.reason for order in rejected[:REASONS_READ]}) > 1
        return text + ("reason of the first: " if alike else "reason: ") + common[0][1]
    shown = "; ".join(f"{count:,} for: {example}" for count, example in common[:REASONS_SHOWN])
    more = len(common) - REASONS_SHOWN
    return text + shown + (f"; and {more} more reasons" if more > 1 else "; and one more reason" if more == 1 else "")


def liquidations_text(liquidations: Sequence[OrderRecord]) -> str | None:
    """Return a warning about forced liquidations with the first instant and its reason, or None."""
    if not liquidations:
        return None
    times = sorted({order.submitted_ns for order in liquidations})
    first = next(order for order in liquidations if order.submitted_ns == times[0])
    why = f": {first.reason.removeprefix('liquidation: ')}" if first.reason and "liquidation: " in first.reason else ""
    how_often = "once" if len(times) == 1 else f"{len(times):,} times, the first"
    return f"the account was liquidated {how_often} at {format_ns(times[0])}{why}"


def gaps_text(record: RunRecord) -> str | None:
    """Return a warning about missing bars, one for all symbols, or None."""
    gaps = {name: gap for name in record.symbols if (gap := record.series[name].gaps) is not None}
    if not gaps:
        return None
    total = sum(gap.count for gap in gaps.values())
    first = min(gaps, key=lambda name: gaps[name].first[0])
    largest = max(gaps, key=lambda name: gaps[name].largest[1] - gaps[name].largest[0])
    where = first if len(record.symbols) == 1 else f"{len(gaps):,} of {len(record.symbols):,} symbols"
    text = f"{total:,} gap{'' if total == 1 else 's'} in the bars of {where}: "
    start, end = gaps[largest].largest
    text += f"{'' if total == 1 else 'the largest is '}{duration_text(end - start, units=2)} from {format_ns(start)}"
    text += "" if len(record.symbols) == 1 else f" ({largest})"
    if total > 1 and gaps[first].first != gaps[largest].largest:
        start, end = gaps[first].first
        text += f", the first {duration_text(end - start, units=2)} from {format_ns(start)}"
        text += "" if len(record.symbols) == 1 else f" ({first})"
    return text


def open_positions_text(open_trades: TradeColumns) -> str | None:
    """Return a sentence about the positions open at the end, with their unrealised profit, or None."""
    if not len(open_trades):
        return None
    count = len(open_trades)
    profit = money(float(open_trades.unrealised.sum()))
    return f"{count:,} position{'' if count == 1 else 's'} still open at the end, with an unrealised profit of {profit}"
