"""SimulatedBroker: the venue and the account of a backtest. This module is the only place where a fill is booked.

The rules are docs/fills.md. Modules: `acceptance` takes the commands, `order_book` holds the orders at work,
`bar_interval` decides when a bar fills one, `matching` at what price, `pricing` computes slippage and commission,
`buying_power` checks the money, and `fast_path` handles plain market orders. The broker reads no clock.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from typing import TYPE_CHECKING

from weaver.core.account import Account
from weaver.core.bars import Bar
from weaver.core.orders import Command, Fill, OrderRequest, OrderStatus, OrderUpdate, Side, TimeInForce
from weaver.greta.acceptance import Acceptance
from weaver.greta.broker_settings import BrokerSettings
from weaver.greta.buying_power import BuyingPower
from weaver.greta.fast_path import FastPath
from weaver.greta.holding_costs import holding_cost
from weaver.greta.margin_call import Adopt, MarginCall
from weaver.greta.market import Market
from weaver.greta.order_book import OrderBook
from weaver.greta.pricing import Pricing
from weaver.greta.working_order import LIMIT, MARKET, PARTNER_FILLED, POSITION_GONE, STOP, STOP_LIMIT, WorkingOrder
from weaver.results.equity import AccountLog

if TYPE_CHECKING:
    from weaver.marvin.broker import Broker

__all__ = ["SimulatedBroker"]

_FILLED = OrderStatus.FILLED
_BUY = Side.BUY


class SimulatedBroker:
    """Books fills, and holds the parts of the venue.

    `order_book` are the orders at work; `fills` all fills; `account_log` the account after each tick that changed it;
    `lane` the fast path of plain market orders. `adopt` numbers the orders of the broker itself. `report_filled(fill, symbol
    index, tick)` is a shortcut of a backtest: it replaces the update of a fill where the order book does not announce all.
    """

    def __init__(
        self,
        market: Market,
        account: Account,
        settings: BrokerSettings,
        adopt: Adopt,
        report_filled: Callable[[Fill, int, int], None] | None = None,
    ) -> None:
        self.account = account
        self.settings = settings
        self.order_book = OrderBook(market)
        self.fills = self.order_book.fills
        self.account_log = AccountLog()
        self.pricing = Pricing(account, settings)
        self.margin_call = MarginCall(self.order_book, market, account, settings, adopt)
        self.lane = FastPath(
            self.order_book,
            market,
            account,
            settings,
            book=self.book_plain,
            fill_promoted=self.fill_promoted,
            report_filled=report_filled,
            watch=self.margin_call.watch,
        )
        self.inside = False
        """Whether the inside of bars is being handled: notional that is freed now cannot be spent until the close."""
        self.newborn: list[WorkingOrder] = []
        """The bracket legs that the last fill started."""
        self._market = market
        self._funds = BuyingPower(account, self._marks, settings.leverage, cash_only=settings.cash_only)
        self._acceptance = Acceptance(self.order_book, market, account, self.pricing, self._funds)
        self._freed = 0.0
        self._room: dict[int, int] = {}
        self._touched: set[int] = set()
        self._to_quantity = [instrument.to_quantity for instrument in account.instruments]
        self._multipliers = account.multipliers
        self._log = self.account_log.add
        # The costs where they are plain fractions; nothing else reaches book_plain.
        slippage, self._rate = settings.slippage_rate or 0.0, settings.commission_rate or 0.0
        self._up, self._down = 1.0 + slippage, 1.0 - slippage
        # The same floor as in Pricing.least_sale; slippage of more than 99 % takes the general way.
        self._steps = [float(instrument.price_step or 0.0) for instrument in account.instruments]

    # The strategy's commands.

    def send(self, commands: Sequence[Command], tick_ns: int) -> None:
        """Take the commands that the strategy gave at `tick_ns`."""
        order_book = self.order_book
        order_book.now_ns = tick_ns
        order_book.wake()  # every command is answered
        if not order_book.by_number and not order_book.waiting and self.lane.takes(commands, tick_ns):
            return
        order_book.promote()
        first_update = len(order_book.updates)
        self._acceptance.take(commands)
        order_book.sort_news(first_update, len(self.fills))

    def take_updates(self) -> list[OrderUpdate]:
        """Return the updates since the last call, in the order in which the strategy receives them."""
        return self.order_book.take_updates()

    # Fills.

    def payable_at_open(self, orders: Sequence[tuple[WorkingOrder, Bar]]) -> list[tuple[int, float]]:
        """Return for orders that may be cut how many lots each fills at its open, at the largest common factor, and that."""
        increases = []
        for order, bar in orders:
            lots = self.lots_in_reach(order, bar)
            price_of = partial(self._price_at_open, order, bar)
            increases.append(order.increase(lots, self.account.lots[order.index], price_of))
        sizes, factor = self._funds.largest(self.account, increases, self._freed)
        if sizes != [increase.lots for increase in increases]:
            self.order_book.basket_was_cut(orders[0][0].request.basket, factor)
        return [(size, factor) for size in sizes]

    def _price_at_open(self, order: WorkingOrder, bar: Bar, lots: int) -> tuple[float, float]:
        return self.pricing.priced(order, bar.volume, bar.open, lots, maker=False)[:2]

    def fill(
        self,
        order: WorkingOrder,
        bar: Bar,
        price: float,
        *,
        maker: bool,
        payable: tuple[int, float] | None = None,
    ) -> None:
        """Fill as much of `order` as can be filled at `price` (before slippage), and apply the consequences.

        `payable` is its part of `payable_at_open`, for an order that may be cut.
        """
        account, index = self.account, order.index
        held = account.lots[index]
        lots = order.lots
        if order.exit:
            lots = order.exit_lots(held)
            if lots == 0:
                self.order_book.end(order, OrderStatus.CANCELLED, POSITION_GONE)
                return
        cap = self.settings.volume_cap
        if cap is not None:
            lots = self._capped(order, lots, bar, cap)
            if lots == 0:
                return
        reduces = held != 0 and (held > 0) != order.buy and lots <= abs(held)
        final, commission, quantity = self.pricing.priced(order, bar.volume, price, lots, maker=maker)
        signed = lots if order.buy else -lots
        note: str | None = None
        if payable is not None:
            most, factor = payable
            if most == 0:
                self.order_book.end(order, OrderStatus.REJECTED, self.pricing.nothing_left(order, factor))
                return
            if most < lots:
                lots, signed = most, most if order.buy else -most
                note = self.pricing.shrunk(order, lots)
                final, commission, quantity = self.pricing.priced(order, bar.volume, price, lots, maker=maker)
                order.lots = lots
        elif not reduces and not self._funds.allows(account, index, signed, final, commission, self._freed):
            reason = self._funds.refusal(account, index, signed, final, commission, self._freed)
            self.order_book.end(order, OrderStatus.REJECTED, reason)
            return
        if cap is not None:
            self._room[index] -= lots
        account.apply(index, signed, quantity, final, commission)
        self._touched.add(index)
        if reduces and self.inside:
            self._freed += quantity * final * account.multipliers[index]
        request = order.request
        fill = Fill(
            order.number, request.symbol, bar.ts_ns, request.side, lots, quantity, final, commission, request.tag
        )
        self.fills.append(fill)
        order.filled += lots
        if order.parent is None:
            order.lots -= lots
            complete = order.lots == 0
        else:
            order.parent.legs_filled += lots
            complete = order.parent.uncovered == 0
        order.status = _FILLED if complete else OrderStatus.PARTIALLY_FILLED
        self.order_book.report(order.number, order.status, note, fill)
        if complete:
            self.order_book.remove(order)
        else:
            order.keep(fill)
        if (
            order.partners is not None
            or order.parent is not None
            or order.legs is not None
            or self.order_book.books[index].exits
        ):
            self._apply_consequences(order, price)

    def book_plain(self, request: OrderRequest, index: int, bar: Bar, now_ns: int) -> Fill | None:
        """Fill a plain market order of the fast path whole.

        Return None, having done nothing, if the cash cannot pay for it.
        """
        account, lots, side = self.account, request.lots, request.side
        quantity = self._to_quantity[index](lots)
        if side is _BUY:
            price = bar.open * self._up
            notional = quantity * price * self._multipliers[index]
            commission = notional * self._rate
            if account.cash - notional - commission < 0.0:
                return None
            account.apply(index, lots, quantity, price, commission)
        else:
            price = bar.open * self._down
            if price < self._steps[index]:
                price = min(bar.open, self._steps[index])
            commission = quantity * price * self._multipliers[index] * self._rate
            account.apply(index, -lots, quantity, price, commission)
        fill = Fill(request.number, request.symbol, bar.ts_ns, side, lots, quantity, price, commission, request.tag)
        self.fills.append(fill)
        self._log((now_ns, index, account.quantity[index], account.cash))
        return fill

    def fill_promoted(self, request: OrderRequest, bar: Bar) -> None:
        """Fill an order of the fast path in the general way at the open of `bar`.

        The account may not be able to pay for it.
        """
        self.fill(self.order_book.promote_one(request), bar, bar.open, maker=False)
        self.log_account()

    def close_at(self, request: OrderRequest, bar: Bar) -> None:
        """Fill an order that the engine gives at the end of a run, at the close of `bar`."""
        order = self.order_book.new(request)
        self.order_book.report(order.number, OrderStatus.ACCEPTED, None, None, request)
        self._room[order.index] = request.lots  # the volume cap is for orders that can wait for another bar
        self.fill(order, bar, bar.close, maker=False)

    def _apply_consequences(self, order: WorkingOrder, price: float) -> None:
        """End or start the orders that a fill affects: partners, entry, legs, and exits that have lost their position."""
        end = self.order_book.end
        for other in order.partners or ():
            end(other, OrderStatus.CANCELLED, PARTNER_FILLED)
        parent = order.parent
        if parent is not None:
            end(parent, OrderStatus.CANCELLED, "a leg of its bracket has filled")
            if parent.uncovered == 0:
                for leg in parent.legs or ():
                    if leg is not order:
                        end(leg, OrderStatus.CANCELLED, "the other leg has closed the bracket")
        held = self.account.lots[order.index]
        for leg in order.legs or ():
            if leg.waiting and not leg.done:
                if held and (held > 0) == order.buy:
                    leg.best = price
                    self.order_book.start_leg(leg)
                    self.newborn.append(leg)
                elif order.done:
                    end(leg, OrderStatus.CANCELLED, POSITION_GONE)
        for other in self.order_book.books[order.index].exits_without_position(held):
            end(other, OrderStatus.CANCELLED, POSITION_GONE)
            if other.parent is not None:  # the rest of the entry would open a position without protection
                end(other.parent, OrderStatus.CANCELLED, "its legs have ended with their position")

    # The volume cap.

    def begin_interval(self) -> None:
        """Begin with the bars of another tick: nothing is freed, and no volume used, yet."""
        self._room.clear()
        self._freed = 0.0

    def lots_in_reach(self, order: WorkingOrder, bar: Bar) -> int:
        """Return how many lots of `order` this bar could fill now."""
        lots = order.exit_lots(self.account.lots[order.index]) if order.exit else order.lots
        cap = self.settings.volume_cap
        return lots if cap is None else min(lots, self._room_left(order.index, bar, cap))

    def _room_left(self, index: int, bar: Bar, cap: float) -> int:
        """Return how many lots of a symbol the volume cap still leaves in this bar."""
        if index not in self._room:
            self._room[index] = self.account.instruments[index].to_lots(cap * bar.volume)
        return self._room[index]

    def _capped(self, order: WorkingOrder, lots: int, bar: Bar, cap: float) -> int:
        left = self._room_left(order.index, bar, cap)
        if lots <= left:
            return lots
        if order.tif is TimeInForce.FOK:
            self.order_book.end(order, OrderStatus.EXPIRED, "fok: the volume cap leaves too little")
            return 0
        # The order was reached; its rest waits for volume.
        order.sits_out = True
        if order.kind is STOP:
            order.kind = MARKET
            order.trail = None
        elif order.kind is STOP_LIMIT:
            order.kind = LIMIT
        self.order_book.replace(order)
        return left

    # The account.

    def hold(self, now_ns: int, elapsed_ns: int) -> None:
        """At a bar's end: charge the costs of holding the positions for `elapsed_ns`, and check the maintenance margin."""
        self.order_book.now_ns = now_ns
        marks = self._market.closes()
        cost = holding_cost(self.account, marks, self.settings, elapsed_ns)
        if cost:
            self.account.charge(cost)
            self.log_account()
        self.margin_call.check(marks)
        self.margin_call.watch()

    @property
    def holding_costs(self) -> float:
        """All costs of holding that were charged so far."""
        return self.account.charged

    def log_account(self) -> None:
        """Record the cash and the positions that have changed at this tick."""
        account, add, now_ns = self.account, self.account_log.add, self.order_book.now_ns
        if not self._touched:
            add((now_ns, -1, 0.0, account.cash))
        for index in self._touched:
            add((now_ns, index, account.quantity[index], account.cash))
        self._touched.clear()

    def _marks(self) -> Sequence[float]:
        return self._market.marks(self.account.average)


if TYPE_CHECKING:
    _it_is_a: type[Broker] = SimulatedBroker
