"""Lane: market orders that nothing but their symbol's next open decides, the commonest case by far.

They wait here and get by without a `WorkingOrder` as long as they are alone and can surely be paid for; otherwise they are
promoted to the general way of `broker` and `interval`, which gives the same: a property test compares the two byte for
byte. Nothing here is a rule of its own.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from weaver.core.account import Account
from weaver.core.bars import Bar
from weaver.core.orders import Command, Fill, OrderRequest, OrderStatus, OrderUpdate, Side
from weaver.greta.broker_settings import BrokerSettings
from weaver.greta.pricing import LEAST_SALE
from weaver.marvin.context import Context
from weaver.results.equity import AccountLog

if TYPE_CHECKING:
    from weaver.greta.broker import SimulatedBroker

__all__ = ["FastPath"]

_BUY, _SELL = Side.BUY, Side.SELL
_ACCEPTED, _FILLED = OrderStatus.ACCEPTED, OrderStatus.FILLED


class FastPath:
    """`waiting` holds the orders that were taken at the last tick, `open` says whether any are taken at all."""

    def __init__(
        self,
        broker: SimulatedBroker,
        context: Context,
        account: Account,
        settings: BrokerSettings,
        fills: list[Fill],
        log: AccountLog,
    ) -> None:
        slippage, rate = settings.slippage_rate, settings.commission_rate
        self.waiting: list[OrderRequest] = []
        self.open = (
            slippage is not None
            and slippage <= 1.0 - LEAST_SALE
            and rate is not None
            and settings.volume_cap is None
            and settings.leverage >= 1.0
        )
        self._broker = broker
        self._context = context
        self._account = account
        self._orders, self._states, self._index_of = context.orders, context.states, context.index_of
        self._fills = fills
        self._log = log.add
        self._multipliers = account.multipliers
        self._up, self._down, self._rate = 1.0 + (slippage or 0.0), 1.0 - (slippage or 0.0), rate or 0.0
        # The same floor as in Pricing.least_sale; slippage of more than 99 % takes the general way.
        self._steps = [float(one.price_step or 0.0) for one in account.instruments]
        # What one lot may cost for each unit of price, all told.
        self._dearest = [
            one.to_quantity(1) * one.multiplier * self._up * (1.0 + self._rate) for one in account.instruments
        ]

    def takes(self, commands: Sequence[Command], now_ns: int) -> bool:
        """Take a tick's commands, if plain orders are all that they are and they can surely be paid for together."""
        account = self._account
        if not self.open or account.shorts:
            return False
        left = account.cash
        for request in commands:
            if type(request) is not OrderRequest or not request.plain:
                return False
            lots, index = request.lots, self._index_of[request.symbol]
            if request.side is _BUY:
                close = self._states[index].last_close
                if close is None:
                    return False
                left -= lots * close * self._dearest[index]
            elif lots > account.lots[index]:
                return False
            if lots <= 0:
                return False
        if left < 0.0:
            return False
        if len(commands) > 1 and len({request.symbol for request in commands}) < len(commands):  # type: ignore[union-attr]
            return False
        self.waiting.extend(commands)  # type: ignore[arg-type]
        broker = self._broker
        if broker.announces:
            first_update = len(broker.updates)
            broker.updates.extend(OrderUpdate(request.number, now_ns, _ACCEPTED) for request in self.waiting)
            broker.tell_in_order(first_update, len(self._fills))
        return True

    def fill_alone(self, bar: Bar, now_ns: int) -> bool:
        """For a run with one symbol: fill the one order that waits at the open of `bar`, and tell the strategy at once.

        False, and nothing done, where that is not all there is to do or to tell.
        """
        waiting, broker = self.waiting, self._broker
        if not waiting or broker.by_number or broker.watching or broker.updates or broker.announces:
            return False
        fill = self._book(waiting[0], 0, bar, now_ns)
        if fill is None:
            return False
        waiting.clear()
        self._context.tell_filled(fill, 0, now_ns)
        broker.busy = False
        if self._account.cash < 0.0:
            broker.mind()
        return True

    def fill_quietly(self, bars: Sequence[Bar], now_ns: int) -> bool:
        """`fill_alone` for several symbols. False where something is left to do or to tell."""
        broker = self._broker
        if not self.waiting or broker.by_number or broker.watching or broker.updates or broker.announces:
            return False
        return self.fill(bars, now_ns, quietly=True) and not broker.busy

    def fill(self, bars: Sequence[Bar], now_ns: int, quietly: bool = False) -> bool:
        """Fill all that waits at the opens of `bars`; False, and nothing done, where one of them has no bar.

        What happened becomes news of the broker, or is told at once (`quietly`).
        """
        context, broker = self._context, self._broker
        waiting, index_of = self.waiting, self._index_of
        if len(bars) == len(self._states):
            found = {request.symbol: bars[index_of[request.symbol]] for request in waiting}
        else:
            there = {bar.symbol: bar for bar in bars}
            found = {request.symbol: there[request.symbol] for request in waiting if request.symbol in there}
            if len(found) < len(waiting):
                return False
        self.waiting = []
        broker.busy = False
        first_update, first_fill = len(broker.updates), len(self._fills)
        # Sales of what is held come first, so that what they bring can be spent at the same opens.
        for side in (_SELL, _BUY):
            for request in waiting:
                if request.side is side:
                    index, bar = index_of[request.symbol], found[request.symbol]
                    fill = self._book(request, index, bar, now_ns)
                    if fill is None:
                        broker.fill_promoted(request, bar)
                    elif quietly:
                        context.tell_filled(fill, index, now_ns)
                    else:
                        broker.updates.append(OrderUpdate(request.number, now_ns, _FILLED, None, fill))
        broker.tell_in_order(first_update, first_fill)
        if broker.updates or self._account.cash < 0.0:
            broker.mind()
        return True

    def _book(self, request: OrderRequest, index: int, bar: Bar, now_ns: int) -> Fill | None:
        """Fill one order whole; None, and nothing done, where its open is more than the cash can pay."""
        account, lots, side = self._account, request.lots, request.side
        quantity = self._orders[request.number - 1].quantity
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
        self._fills.append(fill)
        self._log((now_ns, index, account.quantity[index], account.cash))
        return fill
