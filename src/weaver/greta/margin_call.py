"""Margin call: closes all positions when the equity is below the maintenance margin. It fills nothing itself."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from weaver.core.account import Account
from weaver.core.orders import OrderRequest, OrderStatus, Side
from weaver.greta.broker_settings import BrokerSettings
from weaver.greta.buying_power import SLACK
from weaver.greta.market import Market
from weaver.greta.order_book import OrderBook

__all__ = ["LIQUIDATION", "Adopt", "MarginCall"]

Adopt = Callable[[int, Side, int, str, int], OrderRequest]
"""Numbers an order of the broker itself: symbol index, side, lots, tag, tick. Order numbers belong to the order entry."""

LIQUIDATION = "liquidation: "
"""Beginning of the note of every order that a margin call gives, and of the reason of every order that it cancels."""


class MarginCall:
    """The maintenance margin of one account."""

    def __init__(
        self,
        order_book: OrderBook,
        market: Market,
        account: Account,
        settings: BrokerSettings,
        adopt: Adopt,
    ) -> None:
        self._order_book = order_book
        self._market = market
        self._account = account
        self._maintenance = settings.maintenance_margin
        self._adopt = adopt
        # A long position paid for in cash costs nothing to hold, and with a leverage of 1 or more it is never called.
        self._always_watch = settings.leverage < 1.0

    def watch(self) -> None:
        """Decide whether positions must be watched bar by bar; to be called after the positions or the cash have changed."""
        account = self._account
        self._order_book.watching = (
            account.shorts > 0 or account.cash < 0.0 or (self._always_watch and any(account.lots))
        )
        self._order_book.wake()

    def check(self, marks: Sequence[float]) -> None:
        """Liquidate if the equity at the closes `marks` is below the maintenance margin."""
        equity, gross = self._account.equity(marks), self._account.gross(marks)
        needed = self._maintenance * gross
        if gross > 0 and needed - equity > SLACK * max(needed, abs(equity)):
            self._liquidate(
                f"{LIQUIDATION}equity {equity:.2f} is below {self._maintenance:g} of the gross position {gross:.2f}"
            )

    def _liquidate(self, reason: str) -> None:
        """Cancel every open order of every symbol, and close every position at its symbol's next open."""
        order_book = self._order_book
        order_book.promote()
        first_update = len(order_book.updates)
        for order in list(order_book.by_number.values()):
            if not order.liquidation:
                order_book.end(order, OrderStatus.CANCELLED, reason)
        for index, book in enumerate(order_book.books):
            held = self._account.lots[index]
            # An order that is in the book now is an earlier liquidation, still waiting for a bar.
            if held and not book.orders:
                # It is numbered at once: before the strategy receives the update it may give orders of its own.
                side = Side.SELL if held > 0 else Side.BUY
                order = order_book.new(self._adopt(index, side, abs(held), "liquidation", order_book.now_ns))
                order.liquidation = True
                order_book.add(order)
                order_book.report(order.number, OrderStatus.ACCEPTED, reason, None, order.request)
        order_book.sort_news(first_update, len(order_book.fills))
