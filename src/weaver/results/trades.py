"""Trades: fills grouped into round trips, from flat to flat, exactly, in whole lots.

A trade begins with the fill that opens a position in a symbol and ends with the fill that makes it flat again. Fills in
between add to it or reduce it; partial fills of one order belong to one trade. A fill that turns a position ends one trade
with the part that closes it and begins the next with the rest.

The grouping has no loop over fills. All sums are of integers, so that a position that was closed is exactly zero.
`fifo_pairs` has the other common definition, one row per pair of an entry fill and an exit fill.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

__all__ = ["Lots", "Parts", "RoundTrips", "exact_lots", "round_trips", "split_fills"]

Ints = NDArray[np.int64]
Lots = NDArray[Any]  # int64, or Python integers (dtype object) where a running sum would not fit


class Parts(NamedTuple):
    """Fills in the order (symbol, time), each divided into the part that opens and the part that closes.

    `fill` is the index of the fill, `symbol` its symbol's code, `buy` its side, `before` the position before it, `opening`
    and `closing` the lots of both parts (>= 0, together the fill's lots).
    """

    fill: Ints
    symbol: Ints
    buy: NDArray[np.bool_]
    before: Lots
    opening: Lots
    closing: Lots


class RoundTrips(NamedTuple):
    """Trades, in the order (symbol, time).

    Per trade: `entry`, the index of its first fill; `exit`, that of its last fill, or -1 while it is open; `largest`, the
    largest position in lots; `held`, the lots still held. Per part of a fill: `fill`, `trade` (a row of the former), `lots`,
    and whether it is an `entering` part.
    """

    entry: Ints
    exit: Ints
    largest: Lots
    held: Lots
    fill: Ints
    trade: Ints
    lots: Lots
    entering: NDArray[np.bool_]


def split_fills(symbol: Ints, signed_lots: Lots) -> Parts:
    """Divide every fill into the part that closes what was held before it, and the part that opens.

    `symbol` is a code per fill, `signed_lots` its lots, positive for a buy, never 0; both in the order of the fills. At
    least one fill is needed.
    """
    signed_lots = exact_lots(signed_lots)
    one_symbol = bool((symbol == symbol[0]).all())
    order = np.arange(len(symbol)) if one_symbol else np.argsort(symbol, kind="stable")
    lots, code = signed_lots[order], symbol[order]
    # The position before each fill, within its symbol: the running sum less that of the symbols sorted before it.
    total = np.cumsum(lots)
    if one_symbol:
        before = total - lots
    else:
        first = np.flatnonzero(np.r_[True, code[1:] != code[:-1]])
        sizes = np.diff(np.r_[first, len(code)])
        before = total - lots - np.repeat(total[first] - lots[first], sizes)
    size, held = abs(lots), abs(before)
    against = (before > 0) & (lots < 0) | (before < 0) & (lots > 0)
    closing = np.where(against, np.minimum(held, size), 0)
    return Parts(order, code, np.asarray(lots > 0, dtype=np.bool_), before, size - closing, closing)


def round_trips(symbol: Ints, signed_lots: Lots) -> RoundTrips:
    """Group fills into trades from flat to flat; the arguments are those of `split_fills`."""
    none = np.empty(0, dtype=np.int64)
    if not len(symbol):
        return RoundTrips(none, none, none, none, none, none, none, np.empty(0, dtype=np.bool_))
    parts = split_fills(symbol, signed_lots)
    held = abs(parts.before)
    opens, closes = parts.opening > 0, parts.closing > 0
    begins = opens & ((held == 0) | closes)
    first = np.flatnonzero(begins)
    number = np.cumsum(begins) - 1  # the trade of each opening part
    number_closed = number - begins  # and of each closing part, which precedes the opening one of the same fill
    ends = np.flatnonzero(closes & (parts.closing == held))
    leave = np.full(len(first), -1, dtype=np.int64)
    leave[number_closed[ends]] = parts.fill[ends]
    after = np.where(opens, np.where(closes, parts.opening, held + parts.opening), held - parts.closing)
    entered = np.add.reduceat(parts.opening, first)
    left = np.zeros_like(entered)
    np.add.at(left, number_closed[closes], parts.closing[closes])
    return RoundTrips(
        entry=parts.fill[first],
        exit=leave,
        largest=np.maximum.reduceat(after, first),
        held=entered - left,
        fill=np.concatenate((parts.fill[opens], parts.fill[closes])),
        trade=np.concatenate((number[opens], number_closed[closes])),
        lots=np.concatenate((parts.opening[opens], parts.closing[closes])),
        entering=np.repeat([True, False], [int(opens.sum()), int(closes.sum())]),
    )


def exact_lots(lots: Lots) -> Lots:
    """Return the same lots in a type whose running sums are exact: int64, or Python integers where these might not fit."""
    if lots.dtype == object or float(np.abs(lots.astype(np.float64)).sum()) < 2.0**61:
        return lots
    return lots.astype(object)
