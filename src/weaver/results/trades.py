"""Trades: fills paired first in, first out into round trips, exactly, in whole lots.

A trade is the part of one exit fill that closes the part of one entry fill; a fill that turns a position closes with
one part and opens with the other. Commissions are split by quantity. What is still open is handed back beside, never
counted.

The pairing needs no loop: within one symbol and direction the k-th lot opened is the k-th lot closed, so the trades
are the pieces between the sorted boundaries of the two running sums. Integers throughout; no position is ever
"almost" flat.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

__all__ = ["Pairs", "pair_fifo"]

Ints = NDArray[np.int64]
Lots = NDArray[Any]  # int64, or Python integers (dtype object) where a running sum would not fit


class Pairs(NamedTuple):
    """Indices into the fills. `entry`, `exit`, `lots`: one per round trip, ordered by (exit, entry); `open_entry` and
    `open_lots`: what is left, ordered by entry."""

    entry: Ints
    exit: Ints
    lots: Lots
    open_entry: Ints
    open_lots: Lots


def pair_fifo(symbol: Ints, signed_lots: Lots) -> Pairs:
    """Pair fills into round trips, first in, first out.

    `symbol` is a code per fill, `signed_lots` its lots, positive for a buy, never 0; both in the order the fills
    happened.
    """
    count = len(symbol)
    none = np.empty(0, dtype=np.int64)
    if count == 0:
        return Pairs(none, none, none, none, none)
    signed_lots = _safe(signed_lots)
    one_symbol = bool((symbol == symbol[0]).all())
    order = np.arange(count) if one_symbol else np.argsort(symbol, kind="stable")
    lots, code = signed_lots[order], symbol[order]

    # Position before each fill, within its symbol: the running sum less what earlier symbols added to it.
    total = np.cumsum(lots)
    if one_symbol:
        before = total - lots
    else:
        first = np.flatnonzero(np.r_[True, code[1:] != code[:-1]])
        sizes = np.diff(np.r_[first, count])
        before = total - lots - np.repeat(total[first] - lots[first], sizes)

    size = abs(lots)
    held = abs(before)
    against = (before > 0) & (lots < 0) | (before < 0) & (lots > 0)
    closing = np.where(against, np.minimum(held, size), 0)
    opening = size - closing

    # Two parts of a group (symbol, direction) meet in one running sum each; groups lie one after the other on it.
    opens, closes = np.flatnonzero(opening > 0), np.flatnonzero(closing > 0)
    open_group = code[opens] * 2 + (lots[opens] > 0)
    close_group = code[closes] * 2 + (before[closes] > 0)
    by_open, by_close = np.argsort(open_group, kind="stable"), np.argsort(close_group, kind="stable")
    opens, open_group = opens[by_open], open_group[by_open]
    closes, close_group = closes[by_close], close_group[by_close]

    opened = np.cumsum(opening[opens])
    group_first = np.flatnonzero(np.r_[True, open_group[1:] != open_group[:-1]])
    groups = open_group[group_first]
    offset = opened[group_first] - opening[opens][group_first]  # where each group starts on the running sum
    closed_by = closing[closes]
    if len(closes):
        close_first = np.flatnonzero(np.r_[True, close_group[1:] != close_group[:-1]])
        running = np.cumsum(closed_by)
        own = np.repeat(running[close_first] - closed_by[close_first], np.diff(np.r_[close_first, len(closes)]))
        closed = running - own + offset[np.searchsorted(groups, close_group)]
        close_last = np.r_[close_first[1:], len(closes)] - 1
        limit = offset.copy()
        limit[np.searchsorted(groups, close_group[close_last])] = closed[close_last]
    else:
        closed, limit = closed_by, offset

    group_sizes = np.diff(np.r_[group_first, len(opens)])
    open_limit = np.repeat(limit, group_sizes)
    edges = np.unique(np.r_[closed, opened[opened <= open_limit]])
    entry_at = np.searchsorted(opened, edges)
    exit_at = np.searchsorted(closed, edges)
    group_start = np.repeat(offset, group_sizes)[entry_at]
    earlier = np.r_[group_start[:1], edges[:-1]]
    piece = edges - np.maximum(earlier, group_start)

    entry, exit_ = order[opens[entry_at]], order[closes[exit_at]]
    rows = np.lexsort((entry, exit_))

    left = np.minimum(opened - open_limit, opening[opens])
    still = np.flatnonzero(left > 0)
    open_entry = order[opens[still]]
    open_rows = np.argsort(open_entry, kind="stable")
    return Pairs(entry[rows], exit_[rows], piece[rows], open_entry[open_rows], left[still][open_rows])


def _safe(lots: Lots) -> Lots:
    """The same lots in a type whose running sums are exact: int64, or Python integers where they might not fit."""
    if lots.dtype == object or float(np.abs(lots.astype(np.float64)).sum()) < 2.0**61:
        return lots
    return lots.astype(object)
