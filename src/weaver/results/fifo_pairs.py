"""FIFO pairs: fills paired first in, first out, exactly, in whole lots.

A pair is the part of one exit fill that closes the part of one entry fill; a fill that turns a position closes with
one part and opens with the other. What is still open is returned separately.

The pairing needs no loop: within one symbol and direction the k-th lot opened is the k-th lot closed, so the pairs
are the pieces between the sorted boundaries of the two running sums. All sums are of integers.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from weaver.results.trades import Lots, split_fills

__all__ = ["Pairs", "pair_fifo"]

Ints = NDArray[np.int64]


class Pairs(NamedTuple):
    """Indices into the fills. `entry`, `exit`, `lots`: one per pair, ordered by (exit, entry); `open_entry` and
    `open_lots`: what is left open, ordered by entry."""

    entry: Ints
    exit: Ints
    lots: Lots
    open_entry: Ints
    open_lots: Lots


def pair_fifo(symbol: Ints, signed_lots: Lots) -> Pairs:
    """Pair fills, first in, first out.

    `symbol` is a code per fill, `signed_lots` its lots, positive for a buy, never 0; both in the order of the fills.
    """
    none = np.empty(0, dtype=np.int64)
    if not len(symbol):
        return Pairs(none, none, none, none, none)
    order, code, buy, before, opening, closing = split_fills(symbol, signed_lots)

    # Each group (symbol, direction) has a running sum of opened and one of closed lots; groups follow one another on it.
    opens, closes = np.flatnonzero(opening > 0), np.flatnonzero(closing > 0)
    open_group = code[opens] * 2 + buy[opens]
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
