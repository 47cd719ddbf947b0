"""The fill rules as functions of numbers: which orders a bar reaches, and at what price before slippage.

The functions have no state: the caller keeps a trail's best price and whether a stop-limit was triggered. `buy` is the
order's side; o, h, l, c are the bar's prices. Every returned price is within [l, h]. docs/fills.md gives the rules in
words, with their reasons; an independent simulator in tests/agreement checks this file against them. All arguments are
positional, also the booleans: compiled code calls functions that way.
"""

from __future__ import annotations

from enum import IntEnum

__all__ = [
    "AT_LIMIT",
    "AT_OPEN",
    "AT_STOP",
    "CLOSED",
    "FELL",
    "LOSS",
    "NOTHING",
    "NO_LEG",
    "OPENED",
    "PROFIT",
    "RESTS_AS_LIMIT",
    "ROSE",
    "TURNED",
    "EntryPath",
    "Leg",
    "Reach",
    "best_after_bar",
    "best_after_entry",
    "leg_on_entry_bar",
    "leg_price",
    "limit_fills_at_open",
    "limit_fills_inside",
    "mark_gain",
    "stop_fills_at_open",
    "stop_fills_inside",
    "stop_limit_at_open",
    "stop_limit_inside",
    "trail_level",
]


class Reach(IntEnum):
    """What a bar does to a stop-limit order."""

    NOTHING = 0
    AT_OPEN = 1
    """It fills at the open."""
    AT_STOP = 2
    """It fills at its stop."""
    AT_LIMIT = 3
    """It fills at its limit."""
    RESTS_AS_LIMIT = 4
    """It was triggered beyond its limit and is a plain limit order from then on."""


class Leg(IntEnum):
    """A leg of a bracket."""

    NONE = 0
    LOSS = 1
    PROFIT = 2


class EntryPath(IntEnum):
    """How a bracket's entry was reached."""

    CLOSED = -1
    """At the close."""
    OPENED = 0
    """At the open, or in an earlier bar."""
    FELL = 1
    """By a move in the trader's favour: a buy's limit below, a sell's limit above."""
    ROSE = 2
    """By a stop: a buy's above, a sell's below."""
    TURNED = 3
    """A stop-limit that was triggered by its stop and then filled at its limit on the way back."""


# A member of an Enum is looked up through a descriptor on CPython 3.11; a module's constant is not.
NOTHING, AT_OPEN, AT_STOP, AT_LIMIT, RESTS_AS_LIMIT = Reach
NO_LEG, LOSS, PROFIT = Leg
CLOSED, OPENED, FELL, ROSE, TURNED = EntryPath


def limit_fills_at_open(buy: bool, limit: float, o: float, through: bool) -> bool:
    """Return whether a limit order fills at the bar's open (price: o)."""
    if through:
        return o < limit if buy else o > limit
    return o <= limit if buy else o >= limit


def limit_fills_inside(buy: bool, limit: float, l: float, h: float, through: bool) -> bool:  # noqa: E741
    """Return whether a limit order that did not fill at the open fills inside the bar (price: limit)."""
    if through:
        return l < limit if buy else h > limit
    return l <= limit if buy else h >= limit


def stop_fills_at_open(buy: bool, stop: float, o: float) -> bool:
    """Return whether a stop order is triggered by the open itself (price: o, not its trigger)."""
    return o >= stop if buy else o <= stop


def stop_fills_inside(buy: bool, stop: float, l: float, h: float) -> bool:  # noqa: E741
    """Return whether a stop order that the open did not trigger is triggered inside the bar (price: stop)."""
    return h >= stop if buy else l <= stop


def stop_limit_at_open(buy: bool, stop: float, limit: float, o: float) -> Reach:
    """NOTHING (not triggered), AT_OPEN (fills at o) or RESTS_AS_LIMIT (triggered beyond its limit: a plain limit now)."""
    if not (o >= stop if buy else o <= stop):
        return NOTHING
    if o <= limit if buy else o >= limit:
        return AT_OPEN
    return RESTS_AS_LIMIT


def stop_limit_inside(buy: bool, stop: float, limit: float, l: float, h: float, c: float) -> Reach:  # noqa: E741
    """For an order that the open did not trigger: NOTHING, AT_STOP, AT_LIMIT, or RESTS_AS_LIMIT (from the next bar on).

    If the stop is beyond the limit, only the close proves that the price came back to the limit after the trigger.
    """
    if not (h >= stop if buy else l <= stop):
        return NOTHING
    if stop <= limit if buy else stop >= limit:
        return AT_STOP
    if c <= limit if buy else c >= limit:
        return AT_LIMIT
    return RESTS_AS_LIMIT


def trail_level(buy: bool, best: float, percent: float | None, amount: float | None) -> float:
    """Return the level of a trailing stop for the best price so far; `percent` is in percent of it, `amount` in price."""
    distance = best * percent / 100.0 if percent is not None else amount
    assert distance is not None
    return best + distance if buy else best - distance


def best_after_bar(buy: bool, best: float, l: float, h: float) -> float:  # noqa: E741
    """Return a trail's best price once a bar is complete: a selling stop follows highs, a buying one lows."""
    if buy:
        return l if l < best else best
    return h if h > best else best


def best_after_entry(buy: bool, best: float, how: int, l: float, h: float, c: float) -> float:  # noqa: E741
    """Return the same after the bar inside which its entry filled: only prices certainly reached after the entry count.

    `buy` is the trail's side, the opposite of the entry's. After an entry by a stop the far extreme came later; after one
    by a limit only the close certainly did.
    """
    if how == ROSE:
        return best_after_bar(buy, best, l, h)
    return best_after_bar(buy, best, c, c)


def leg_on_entry_bar(
    long: bool,
    how: int,
    entry: float,
    loss: float | None,
    profit: float | None,
    l: float,  # noqa: E741
    h: float,
    c: float,
    through: bool,
    worst: bool,
) -> Leg:
    """Return the bracket leg that fills in the bar whose inside filled the entry at `entry`: NO_LEG, LOSS or PROFIT.

    A leg fills if every path of prices reaches it after the entry. If the profit must have been reached but the loss
    could have been first, the loss fills, unless `worst` is off. The entry's own price was certainly seen, which matters
    to a leg that was moved beyond it.
    """
    loss_must = loss_could = profit_must = False
    if loss is not None:
        loss_could = l <= loss if long else h >= loss
        last = (l if long else h) if how == FELL else c
        loss_must = min(last, entry) <= loss if long else max(last, entry) >= loss
    if profit is not None:
        last = (h if long else l) if how == ROSE else c
        profit_must = limit_fills_inside(not long, profit, min(last, entry), max(last, entry), through)
    if profit_must and not worst:
        return PROFIT
    if loss_must or (profit_must and loss_could):
        return LOSS
    return PROFIT if profit_must else NO_LEG


def leg_price(buy: bool, which: int, level: float, entry: float) -> float:
    """Return the price of such a leg: its level, or the entry's price if that is beyond it, as at an open."""
    if buy == (which == LOSS):
        return max(level, entry)
    return min(level, entry)


def mark_gain(buy: bool, price: float, quantity: float, c: float) -> float:
    """Return the gain of a fill at the bar's close; of two fills the lower gain is the worse for the trader."""
    return (c - price) * quantity if buy else (price - c) * quantity
