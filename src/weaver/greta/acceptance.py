"""Acceptance: from a strategy's commands to orders at work: accept or reject, cancel, modify, link. It fills nothing.

An order is rejected here if it cannot be paid for at its expected price; it is checked again when it fills.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial

from weaver.core.account import Account
from weaver.core.orders import (
    Cancel,
    Command,
    Link,
    Modify,
    OrderRequest,
    OrderStatus,
    TimeInForce,
)
from weaver.greta.buying_power import BuyingPower
from weaver.greta.market import Market
from weaver.greta.order_book import OrderBook
from weaver.greta.pricing import Pricing
from weaver.greta.working_order import (
    ENDS_WITH_SESSION,
    MARKET,
    PARTNER_FILLED,
    POSITION_GONE,
    STOP,
    STOP_LIMIT,
    WorkingOrder,
)

__all__ = ["Acceptance"]

_ACCEPTED = OrderStatus.ACCEPTED
_BY_STRATEGY = "cancelled by the strategy"


class Acceptance:
    """Turns the commands of one tick into orders of an OrderBook."""

    def __init__(
        self, order_book: OrderBook, market: Market, account: Account, pricing: Pricing, funds: BuyingPower
    ) -> None:
        self._order_book = order_book
        self._market = market
        self._account = account
        self._pricing = pricing
        self._funds = funds

    def take(self, commands: Sequence[Command]) -> None:
        """Handle one tick's commands: cancels, then changes, then orders (reducing ones first), then links."""
        order_book = self._order_book
        order_book.expire_timed(order_book.now_ns)  # a timer's tick may be between two bars
        new = {command.number: order_book.new(command) for command in commands if type(command) is OrderRequest}
        self._cancel(commands, new)
        for command in commands:
            if type(command) is Modify:
                order = new.get(command.number)
                if order is not None:
                    if not self._modify(order, command, OrderStatus.SUBMITTED):
                        del new[command.number]
                elif command.number in order_book.by_number:
                    order = order_book.by_number[command.number]
                    if not order.liquidation:
                        self._modify(order, command, order.status)
        self._accept_all(list(new.values()))
        for command in commands:
            if type(command) is Link:
                self._link(command)

    def _cancel(self, commands: Sequence[Command], new: dict[int, WorkingOrder]) -> None:
        """Cancel orders at work; an order of this tick that is cancelled again never begins, nor do its legs."""
        order_book = self._order_book
        cancelled = set()
        for command in commands:
            if type(command) is Cancel:
                order = order_book.by_number.get(command.number)
                if command.number in new:
                    cancelled.add(command.number)
                elif order is not None and not order.liquidation:
                    order_book.end(order, OrderStatus.CANCELLED, _BY_STRATEGY)
        for number, order in list(new.items()):
            if number in cancelled or order.request.parent in cancelled:
                cancelled.add(number)
                del new[number]
                order_book.report(number, OrderStatus.CANCELLED, _BY_STRATEGY)

    def _accept_all(self, orders: Sequence[WorkingOrder]) -> None:
        account = self._account
        entries = [order for order in orders if order.request.parent is None]
        entries.sort(key=lambda order: not order.reduces(account.lots[order.index]))
        # The expected effect of an accepted order counts for those after it, so they are checked on a copy.
        expected = account.copy() if len(entries) > 1 else account
        book = expected is not account
        in_baskets: set[int] = set()
        for place, order in enumerate(entries):
            if order.number in in_baskets:
                continue
            if order.request.shrink and not order.reduces(expected.lots[order.index]):
                basket = self._basket_of(order, entries[place:], expected)
                in_baskets.update(member.number for member in basket)
                self._accept_basket(basket, expected, book=book)
            else:
                self._accept(order, expected, book=book)
        for leg in orders:
            if leg.request.parent is not None:
                self._accept_leg(leg)

    def _accept(self, order: WorkingOrder, expected: Account, *, book: bool) -> None:
        """Accept or reject one order against the account `expected`, and `book` what it is expected to do there."""
        if self._is_refused(order):
            return
        index = order.index
        reduces = order.reduces(expected.lots[index])
        close = self._market.last_close(index)
        if close is not None and (book or not reduces):
            if order.trail is not None:
                order.best = close
            volume = self._market.last_volume(index)
            price, commission = self._pricing.expected(order, close, volume, order.lots)
            if not reduces:
                lots = order.lots if order.buy else -order.lots
                if not self._funds.allows(expected, index, lots, price, commission, 0.0):
                    reason = self._funds.refusal(expected, index, lots, price, commission, 0.0)
                    self._order_book.report(order.number, OrderStatus.REJECTED, reason)
                    return
            if book and order.kind is MARKET:
                self._expect(order, expected, close, volume)
        self._begin(order, None)

    def _basket_of(
        self, order: WorkingOrder, following: Sequence[WorkingOrder], expected: Account
    ) -> list[WorkingOrder]:
        """Return the increasing orders of its target_weights call among `following`; the order alone if it is of none."""
        basket = order.request.basket
        if basket is None:
            return [order]
        return [
            entry
            for entry in following
            if entry.request.basket == basket and not entry.reduces(expected.lots[entry.index])
        ]

    def _accept_basket(self, orders: Sequence[WorkingOrder], expected: Account, *, book: bool) -> None:
        """Accept orders whose sizes came from weights, all cut by the largest factor at which they can be paid for."""
        priced: list[tuple[WorkingOrder, float, float]] = []
        increases = []
        for order in orders:
            if self._is_refused(order):
                continue
            close = self._market.last_close(order.index)
            if close is None:
                self._begin(order, None)
                continue
            volume = self._market.last_volume(order.index)
            priced.append((order, close, volume))
            price_of = partial(self._pricing.expected, order, close, volume)
            increases.append(order.increase(order.lots, expected.lots[order.index], price_of))
        if not priced:
            return
        sizes, factor = self._funds.largest(expected, increases, 0.0)
        if sizes != [increase.lots for increase in increases]:
            self._order_book.basket_was_cut(orders[0].request.basket, factor)
        for (order, close, volume), lots in zip(priced, sizes, strict=True):
            note = None
            if lots < order.lots:
                if lots == 0:
                    self._order_book.report(
                        order.number, OrderStatus.REJECTED, self._pricing.nothing_left(order, factor)
                    )
                    continue
                note = self._pricing.shrunk(order, lots)
                order.lots = lots
            if book:
                self._expect(order, expected, close, volume)
            self._begin(order, note)

    def _begin(self, order: WorkingOrder, note: str | None) -> None:
        """Let an accepted order work."""
        close = self._market.last_close(order.index)
        if order.trail is not None:
            assert close is not None
            order.best = close
        if order.until_ns is not None or order.tif in ENDS_WITH_SESSION:
            self._order_book.expiry.add(order)
        order.status = _ACCEPTED
        self._order_book.add(order)
        self._order_book.report(order.number, _ACCEPTED, note)

    def _expect(self, order: WorkingOrder, expected: Account, close: float, volume: float) -> None:
        """Book what a market order is expected to do."""
        index, lots = order.index, order.lots
        if order.exit:
            held = expected.lots[index]
            lots = min(lots, max(0, -held if order.buy else held))
        if lots:
            price, commission = self._pricing.expected(order, close, volume, lots)
            quantity = expected.instruments[index].to_quantity(lots)
            expected.apply(index, lots if order.buy else -lots, quantity, price, commission)

    def _accept_leg(self, leg: WorkingOrder) -> None:
        parent = self._order_book.by_number.get(leg.request.parent or 0)
        if parent is None:
            self._order_book.report(leg.number, OrderStatus.CANCELLED, "its entry was rejected")
            return
        leg.parent = parent
        leg.waiting = True
        leg.status = _ACCEPTED
        parent.legs = [*(parent.legs or ()), leg]
        self._order_book.add_waiting_leg(leg)
        self._order_book.report(leg.number, _ACCEPTED)

    def _is_refused(self, order: WorkingOrder) -> bool:
        """Report an order that ends before its money is checked, and return whether it does."""
        report = self._order_book.report
        till = order.request.good_till_ns
        if order.lots <= 0:
            lot = self._account.instruments[order.index].lot
            report(order.number, OrderStatus.REJECTED, f"the quantity is less than one lot of {lot}")
        elif order.tif in (
            TimeInForce.AT_OPEN,
            TimeInForce.AT_CLOSE,
        ) and not self._market.sessions_are_known(order.index):
            timeframe = self._market.states[order.index].series.timeframe
            report(
                order.number,
                OrderStatus.REJECTED,
                f"tif={order.tif.value!r} on {timeframe} bars needs a calendar; give backtest(calendar=...)",
            )
        elif order.trail is not None and self._market.last_close(order.index) is None:
            report(order.number, OrderStatus.REJECTED, "a trailing stop needs a close to start from")
        elif till is not None and till <= self._order_book.now_ns:
            report(order.number, OrderStatus.EXPIRED, "gtd: its time is up")
        elif order.exit and order.exit_lots(self._account.lots[order.index]) == 0:
            report(order.number, OrderStatus.CANCELLED, POSITION_GONE)
        else:
            return False
        return True

    def _modify(self, order: WorkingOrder, change: Modify, status: OrderStatus) -> bool:
        """Change an order as asked; return False if nothing is left of it."""
        if change.limit is not None and order.limit is not None:
            order.limit = change.limit
        if change.stop is not None and order.kind in (STOP, STOP_LIMIT):
            order.stop = change.stop
        if change.lots is not None and order.parent is None and order.request.parent is None:
            order.lots = max(0, change.lots - order.filled)
        self._order_book.replace(order)
        request = order.request
        order.request = OrderRequest(
            number=request.number,
            symbol=request.symbol,
            side=request.side,
            lots=order.filled + order.lots,
            plain=request.plain,
            limit=order.limit,
            stop=order.stop,
            trail=request.trail,
            tif=request.tif,
            good_till_ns=request.good_till_ns,
            exit=request.exit,
            parent=request.parent,
            shrink=request.shrink,
            basket=request.basket,
            tag=request.tag,
        )
        if order.lots == 0:
            self._order_book.end(order, OrderStatus.CANCELLED, "its quantity was cut to what had filled")
            return False
        self._order_book.report(order.number, status, "modified", None, order.request)
        return True

    def _link(self, link: Link) -> None:
        """Link orders pair by pair; if one of them has filled already, the others are cancelled at once."""
        by_number = self._order_book.by_number
        alive = [by_number[number] for number in link.numbers if number in by_number]
        for order in alive:
            others = [other for other in alive if other is not order and other not in (order.partners or ())]
            order.partners = [*(order.partners or ()), *others]
        if any(self._order_book.has_filled(number) for number in link.numbers):
            for order in alive:
                if not order.filled:
                    self._order_book.end(order, OrderStatus.CANCELLED, PARTNER_FILLED)
