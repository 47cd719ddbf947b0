"""OrderBook: the orders at work, and the updates and fills that the strategy has not received yet.

It adds, finds and ends orders. It decides no fill and books none.
"""

from __future__ import annotations

from collections.abc import Sequence

from weaver.core.bars import Bar
from weaver.core.orders import Fill, OrderRequest, OrderStatus, OrderUpdate, TimeInForce
from weaver.greta.expiry import Expiry
from weaver.greta.market import Market
from weaver.greta.symbol_book import SymbolBook
from weaver.greta.working_order import ENDS_WITH_SESSION, WorkingOrder

__all__ = ["OrderBook"]

_INFINITY = float("inf")
_ACCEPTED = OrderStatus.ACCEPTED
_TIME_IS_UP = {
    TimeInForce.GTD: "gtd: its time is up",
    TimeInForce.DAY: "day: its session is over",
    TimeInForce.AT_CLOSE: "at_close: no bar ended at the close of its session",
}


class OrderBook:
    """The orders of one run that are at work."""

    def __init__(self, market: Market) -> None:
        self.books = [SymbolBook() for _ in market.symbols]
        """By symbol, the orders that a bar can fill."""
        self.by_number: dict[int, WorkingOrder] = {}
        """All open orders, including the legs of entries that have not filled yet."""
        self.waiting: list[OrderRequest] = []
        """Plain market orders on the fast path; they are in no book."""
        self.expiry = Expiry()
        """The open orders that end at an instant or with a session."""
        self.updates: list[OrderUpdate] = []
        """The updates that the strategy receives at the next tick."""
        self.fills: list[Fill] = []
        """All fills of the run."""
        self.cut_baskets: dict[int, tuple[int, float]] = {}
        """The target_weights calls that were cut to what could be paid for: the tick, and the smallest factor."""
        self.now_ns = 0
        """The tick that is being handled; updates are dated with it."""
        self.busy = False
        """Whether the next bar concerns the broker: there are orders, updates to deliver, or positions to watch."""
        self.quiet_low, self.quiet_high = _INFINITY, -_INFINITY
        """With one symbol: a bar whose low is above the one and whose high is below the other reaches no order.

        Both are infinite, so that no bar is quiet, while there is more to do than to wait for these prices.
        """
        self.watching = False
        """Whether positions cost something to hold, or may be called for lack of margin."""
        self.announces = True
        """Whether the strategy listens to every update (on_order, on_fill), and not only to how an order ends."""
        self._index_of_order: dict[int, int] = {}
        """The symbol's index of the orders that updates may be about, by number."""
        self._filled: set[int] = set()
        self._fills_seen = 0
        self._market = market
        self._index_of = market.index_of
        self._only = self.books[0] if len(self.books) == 1 else None

    def new(self, request: OrderRequest) -> WorkingOrder:
        """Return an order that can be accepted or refused; it is not at work yet."""
        index = self._index_of_order[request.number] = self._index_of[request.symbol]
        return WorkingOrder(request, index)

    def add(self, order: WorkingOrder) -> None:
        """Let an order work: bars can fill it from now on."""
        self.books[order.index].add(order)
        self.by_number[order.number] = order

    def add_waiting_leg(self, leg: WorkingOrder) -> None:
        """Keep a bracket leg whose entry has not filled."""
        self.by_number[leg.number] = leg

    def start_leg(self, leg: WorkingOrder) -> None:
        """Let a bracket leg work: its entry has filled."""
        leg.waiting = False
        self.books[leg.index].add(leg)

    def promote(self) -> None:
        """Move the orders that wait on the fast path into their books."""
        if self.waiting:
            waiting, self.waiting = self.waiting, []
            for request in waiting:
                self.promote_one(request)

    def promote_one(self, request: OrderRequest) -> WorkingOrder:
        """Put one order of the fast path into its book."""
        order = self.new(request)
        self.add(order)
        if not self.announces:
            self.report(order.number, _ACCEPTED)
        return order

    def remove(self, order: WorkingOrder) -> None:
        """Take an order that is done out of its book."""
        order.done = True
        self.by_number.pop(order.number, None)
        self.books[order.index].remove(order)

    def replace(self, order: WorkingOrder) -> None:
        """Take note that the kind or the prices of an order have changed."""
        self.books[order.index].replace(order)

    def end(self, order: WorkingOrder, status: OrderStatus, reason: str) -> None:
        """End an order other than by filling; its legs that wait for it end too."""
        if order.done:
            return
        self.remove(order)
        order.status = status
        self.report(order.number, status, reason)
        for leg in order.legs or ():
            if leg.waiting or order.uncovered == 0:
                self.end(leg, OrderStatus.CANCELLED, "its entry has ended")

    def expire_timed(self, now_ns: int) -> None:
        """End the orders of all symbols whose `good_till` or session close is at or before `now_ns`."""
        if now_ns < self.expiry.next_ns:
            return
        tick_ns = self.now_ns
        for order in self.expiry.take_due(now_ns):
            assert order.until_ns is not None
            # The close of a session is a tick, though the broker may learn of it only at the next bar.
            self.now_ns = order.until_ns if order.tif in ENDS_WITH_SESSION else tick_ns
            self.end(order, OrderStatus.EXPIRED, _TIME_IS_UP[order.tif])
        self.now_ns = tick_ns

    def join_sessions(self, bars: Sequence[Bar]) -> None:
        """Let orders that end with a session belong to the first one that has a bar after acceptance."""
        self.expiry.join_sessions((self._index_of[bar.symbol] for bar in bars), self._market.session_close)

    def expire_between_bars(self, now_ns: int) -> None:
        """End the orders whose time is up at a tick on which no bar ends."""
        self.now_ns = now_ns
        self.expire_timed(now_ns)

    def basket_was_cut(self, basket: int | None, factor: float) -> None:
        """Count a target_weights call whose orders were cut to `factor` of their size; one that is cut twice counts once."""
        if basket is not None:
            first_ns, smallest = self.cut_baskets.get(basket, (self.now_ns, 1.0))
            self.cut_baskets[basket] = (first_ns, min(smallest, factor))

    def has_filled(self, number: int) -> bool:
        """Return whether order `number` has filled, at least in part."""
        if self._fills_seen < len(self.fills):
            self._filled.update(fill.number for fill in self.fills[self._fills_seen :])
            self._fills_seen = len(self.fills)
        return number in self._filled

    # News.

    def report(
        self,
        number: int,
        status: OrderStatus,
        reason: str | None = None,
        fill: Fill | None = None,
        request: OrderRequest | None = None,
    ) -> None:
        """Add an update for the strategy."""
        self.updates.append(OrderUpdate(number, self.now_ns, status, reason, fill, request))

    def sort_news(self, first_update: int, first_fill: int) -> None:
        """Sort what happened at one instant, from these positions on, by symbol and order number: not as it was booked."""
        index_of = self._index_of
        if len(self.updates) - first_update > 1:
            index_of_order = self._index_of_order
            updates = self.updates[first_update:]
            updates.sort(
                key=lambda update: (
                    index_of_order[update.number] if update.fill is None else index_of[update.fill.symbol],
                    update.number,
                )
            )
            self.updates[first_update:] = updates
        if len(self.fills) - first_fill > 1:
            fills = self.fills[first_fill:]
            fills.sort(key=lambda fill: (index_of[fill.symbol], fill.number))
            self.fills[first_fill:] = fills

    def take_updates(self) -> list[OrderUpdate]:
        """Return the updates that the strategy has not received, and forget them."""
        updates, self.updates = self.updates, []
        if not self.by_number:
            self._index_of_order.clear()
        return updates

    def rest(self) -> None:
        """Stay busy only if orders are at work or positions are watched: the updates have been delivered."""
        self.busy = bool(self.by_number) or self.watching or bool(self.waiting)
        book = self._only
        if book is not None and not (self.watching or self.waiting or book.restless):
            self.quiet_low, self.quiet_high = book.below, book.above
        else:
            self.quiet_low, self.quiet_high = _INFINITY, -_INFINITY

    def wake(self) -> None:
        """Look at the next bar, whatever its prices."""
        self.busy = True
        self.quiet_low, self.quiet_high = _INFINITY, -_INFINITY
