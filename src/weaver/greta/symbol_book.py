"""SymbolBook: the orders at work in one symbol, in price order, so that a bar touches only the orders that it reaches.

An order with a fixed limit or stop rests at a price level: the price at which falling or rising prices reach it first. A
bar whose low and high are between the nearest levels reaches none of them. Other orders (market orders, trailing stops,
orders that are judged at an open or a close) are looked at for every bar. It decides no fill: `matching` says whether an
order that is reached fills.
"""

from __future__ import annotations

from bisect import bisect_left, bisect_right, insort

from weaver.core.bars import Bar
from weaver.core.orders import TimeInForce
from weaver.greta.working_order import LIMIT, MARKET, WorkingOrder

__all__ = ["SymbolBook"]

Level = tuple[float, int, WorkingOrder]
"""A price, the order's number, and the order."""

_INFINITY = float("inf")
_RESTING = (TimeInForce.GTC, TimeInForce.GTD, TimeInForce.DAY)


class SymbolBook:
    """The orders of one symbol that a bar can fill.

    `orders` are all of them by number, in the order in which they began to work; `exits` are those that only reduce.
    Falling prices reach no order above `below`, rising prices none below `above`. `restless` says whether every bar must
    be looked at.
    """

    __slots__ = (
        "_buying_exits",
        "_each_bar",
        "_falling",
        "_fresh",
        "_rising",
        "above",
        "below",
        "exits",
        "orders",
        "restless",
    )

    def __init__(self) -> None:
        self.orders: dict[int, WorkingOrder] = {}
        self.exits: dict[int, WorkingOrder] = {}
        self.below = -_INFINITY
        self.above = _INFINITY
        self.restless = False
        self._falling: list[Level] = []  # buy limits and selling stops, by rising price
        self._rising: list[Level] = []  # sell limits and buying stops, by rising price
        self._each_bar: dict[int, WorkingOrder] = {}
        self._fresh: list[WorkingOrder] = []
        self._buying_exits = 0

    def add(self, order: WorkingOrder) -> None:
        """Add an order that has not been in the book."""
        self.orders[order.number] = order
        if order.exit:
            self.exits[order.number] = order
            self._buying_exits += order.buy
        self._fresh.append(order)
        self.restless = True
        self._place(order)

    def remove(self, order: WorkingOrder) -> None:
        """Remove an order; do nothing if it is not in the book."""
        if self.orders.pop(order.number, None) is None:
            return
        if self.exits.pop(order.number, None) is not None:
            self._buying_exits -= order.buy
        self._take_away(order)

    def replace(self, order: WorkingOrder) -> None:
        """Put an order whose kind or prices have changed where it belongs; do nothing if it is not in the book."""
        if order.number in self.orders:
            self._take_away(order)
            self._place(order)

    def exits_without_position(self, held: int) -> tuple[WorkingOrder, ...]:
        """Return the exits that a position of `held` lots leaves nothing to reduce, in the order of the book."""
        exits = self.exits
        if held == 0:
            return tuple(exits.values())
        if not (self._buying_exits if held > 0 else len(exits) - self._buying_exits):
            return ()
        return tuple(order for order in exits.values() if (held > 0) == order.buy)

    def is_quiet(self, bar: Bar) -> bool:
        """Return whether `bar` changes nothing: it reaches no order, and no order must be looked at."""
        return not self.restless and bar.low > self.below and bar.high < self.above

    def reached(self, bar: Bar) -> list[WorkingOrder]:
        """Return the orders that `bar` may fill or change, each once."""
        orders = [level[2] for level in self._falling[bisect_left(self._falling, (bar.low,)) :]]
        orders += [level[2] for level in self._rising[: bisect_right(self._rising, (bar.high, _INFINITY))]]
        orders += self._each_bar.values()
        return orders

    def settle(self) -> None:
        """Note that a bar has ended: no order is fresh any more."""
        for order in self._fresh:
            order.fresh = False
        self._fresh.clear()
        self.restless = bool(self._each_bar)

    def _place(self, order: WorkingOrder) -> None:
        if order.kind is MARKET or order.trail is not None or order.tif not in _RESTING:
            self._each_bar[order.number] = order
            order.levels = None
            self.restless = True
            return
        is_limit = order.kind is LIMIT
        price = order.limit if is_limit else order.stop
        assert price is not None
        # Falling prices reach a buy's limit and a sale's stop; rising ones a sale's limit and a buy's stop.
        order.levels = self._falling if order.buy is is_limit else self._rising
        order.level_price = price
        insort(order.levels, (price, order.number, order))
        self._find_nearest()

    def _take_away(self, order: WorkingOrder) -> None:
        levels = order.levels
        if levels is None:
            del self._each_bar[order.number]
            self.restless = bool(self._each_bar or self._fresh)
            return
        del levels[bisect_left(levels, (order.level_price, order.number))]
        self._find_nearest()

    def _find_nearest(self) -> None:
        self.below = self._falling[-1][0] if self._falling else -_INFINITY
        self.above = self._rising[0][0] if self._rising else _INFINITY
