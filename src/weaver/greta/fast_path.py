"""FastPath: handles simple market orders (no limit, stop or time in force), by far the most common kind.

They fill at their symbol's next open, and need no `WorkingOrder` as long as they are alone and can certainly be paid for.
Otherwise they are promoted to the order book and take the general way of `bar_interval`, which gives the same result: a
property test compares the two byte for byte. This module contains no rule of its own.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

from weaver.core.account import Account
from weaver.core.bars import Bar
from weaver.core.orders import Command, Fill, OrderRequest, OrderStatus, OrderUpdate, Side
from weaver.greta.broker_settings import BrokerSettings
from weaver.greta.market import Market
from weaver.greta.order_book import OrderBook
from weaver.greta.pricing import LEAST_SALE

__all__ = ["FastPath"]

_BUY, _SELL = Side.BUY, Side.SELL
_ACCEPTED, _FILLED = OrderStatus.ACCEPTED, OrderStatus.FILLED


class FastPath:
    """Takes plain market orders at a tick and fills them at the next opens.

    `open` says whether any order may be taken. `book` fills one order whole, or returns None if the cash cannot pay for it;
    `fill_promoted` fills one in the general way; `report_filled` shows a fill to the strategy; `watch` is called when the
    cash may have become negative.
    """

    def __init__(
        self,
        order_book: OrderBook,
        market: Market,
        account: Account,
        settings: BrokerSettings,
        *,
        book: Callable[[OrderRequest, int, Bar, int], Fill | None],
        fill_promoted: Callable[[OrderRequest, Bar], None],
        report_filled: Callable[[Fill, int, int], None] | None,
        watch: Callable[[], None],
    ) -> None:
        slippage, rate = settings.slippage_rate, settings.commission_rate
        self.open = (
            slippage is not None
            and slippage <= 1.0 - LEAST_SALE
            and rate is not None
            and settings.volume_cap is None
            and settings.leverage >= 1.0
        )
        self._order_book = order_book
        self._account = account
        self._states, self._index_of = market.states, market.index_of
        self._book = book
        self._fill_promoted = fill_promoted
        self._report_filled = report_filled or _refuse
        self._watch = watch
        # The most that one lot may cost per unit of price.
        self._dearest = [
            instrument.to_quantity(1) * instrument.multiplier * (1.0 + (slippage or 0.0)) * (1.0 + (rate or 0.0))
            for instrument in account.instruments
        ]

    def takes(self, commands: Sequence[Command], now_ns: int) -> bool:
        """Take a tick's commands if they are all plain orders that can certainly be paid for together."""
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
        order_book = self._order_book
        order_book.waiting.extend(commands)  # type: ignore[arg-type]
        if order_book.announces:
            index_of = self._index_of
            in_order = sorted(order_book.waiting, key=lambda request: (index_of[request.symbol], request.number))
            order_book.updates.extend(OrderUpdate(request.number, now_ns, _ACCEPTED) for request in in_order)
        return True

    def fill_alone(self, bar: Bar, now_ns: int) -> bool:
        """For a run with one symbol: fill the only order that waits at the open of `bar`, and show it to the strategy.

        Return False, having done nothing, if there is more to do or to deliver.
        """
        order_book = self._order_book
        waiting = order_book.waiting
        if not waiting or order_book.by_number or order_book.watching or order_book.updates or order_book.announces:
            return False
        fill = self._book(waiting[0], 0, bar, now_ns)
        if fill is None:
            return False
        waiting.clear()
        self._report_filled(fill, 0, now_ns)
        order_book.busy = False
        if self._account.cash < 0.0:
            self._watch()
        return True

    def fill_quietly(self, bars: Sequence[Bar], now_ns: int) -> bool:
        """Do the same for several symbols. Return False if something is left to do or to deliver."""
        order_book = self._order_book
        if (
            not order_book.waiting
            or order_book.by_number
            or order_book.watching
            or order_book.updates
            or order_book.announces
        ):
            return False
        return self.fill(bars, now_ns, quietly=True) and not order_book.busy

    def fill(self, bars: Sequence[Bar], now_ns: int, *, quietly: bool = False) -> bool:
        """Fill all orders that wait at the opens of `bars`; return False, having done nothing, if one of them has no bar.

        The fills become updates of the order book, or are shown to the strategy at once (`quietly`).
        """
        order_book, index_of = self._order_book, self._index_of
        waiting = order_book.waiting
        if len(bars) == len(self._states):
            bar_of = {request.symbol: bars[index_of[request.symbol]] for request in waiting}
        else:
            present = {bar.symbol: bar for bar in bars}
            bar_of = {request.symbol: present[request.symbol] for request in waiting if request.symbol in present}
            if len(bar_of) < len(waiting):
                return False
        order_book.waiting = []
        order_book.busy = False
        first_update, first_fill = len(order_book.updates), len(order_book.fills)
        # Sales of held positions come first, so that their proceeds can be spent at the same opens.
        for side in (_SELL, _BUY):
            for request in waiting:
                if request.side is side:
                    index, bar = index_of[request.symbol], bar_of[request.symbol]
                    fill = self._book(request, index, bar, now_ns)
                    if fill is None:
                        self._fill_promoted(request, bar)
                    elif quietly:
                        self._report_filled(fill, index, now_ns)
                    else:
                        order_book.updates.append(OrderUpdate(request.number, now_ns, _FILLED, None, fill))
        order_book.sort_news(first_update, first_fill)
        if order_book.updates or self._account.cash < 0.0:
            self._watch()
        return True


def _refuse(fill: Fill, index: int, now_ns: int) -> None:
    raise AssertionError("a broker whose order book announces everything shows no fill directly")
