"""OrderEntry: numbers a strategy's orders, rounds them to the instrument's terms, queues them and keeps their handles.

It is the same for a backtest and a live run, and decides no fill. The engine takes the queue, `commands`, at the end of
the tick.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime

import msgspec

from weaver.core.errors import OrderError, StrategyError
from weaver.core.orders import LONGEST_TAG, Cancel, Link, OrderRequest, Side, TimeInForce, Trail
from weaver.core.text import brief, cut
from weaver.marvin.command_queue import CommandQueue, too_many
from weaver.marvin.order import Order
from weaver.marvin.order_arguments import (
    check_distance,
    check_terms,
    lots_of,
    number_of,
    positive_lots,
    price_of,
    stop_of,
    time_in_force,
)
from weaver.marvin.run_state import RunState
from weaver.marvin.symbol_state import SymbolState

__all__ = ["MOST_LINKED", "OrderEntry"]

# A member of an Enum is looked up through a descriptor on CPython 3.11; a module's constant is not.
_BUY, _SELL = Side.BUY, Side.SELL
_NEGLIGIBLE = 1e-9  # of the equity: a target that differs by less gives no order
MOST_LINKED = 1_000
"""Orders of one oco call. Each is linked with each of the others, so the work grows with their square."""

_MANY = 10**15  # units; a float holds every whole number up to there


class OrderEntry:
    """`orders` are all handles by number; `open` are those that can still fill; `over` refuses new ones."""

    def __init__(self, run: RunState) -> None:
        self._queue = CommandQueue(len(run.states))
        self.commands = self._queue.commands
        self.orders: list[Order] = []
        self.open: dict[int, Order] = {}
        self.cut_tags = 0
        """The number of orders whose tag was cut to LONGEST_TAG characters."""
        self.over = False
        self._most = self._queue.most
        self.without_price: dict[str, int] = {}
        """The symbols that target_weights left out because they had no close yet, with the first tick of each."""
        self._run = run
        self._only = run.only
        self._targets: dict[int, list[Order]] = {}

    def end(self) -> None:
        """Refuse new orders from now on: the run is over."""
        self.over = True
        self._most = -1

    def place(
        self,
        side: Side,
        quantity: float,
        symbol: str | None,
        limit: float | None,
        stop: float | Trail | None,
        stop_loss: float | Trail | None,
        take_profit: float | None,
        tif: str | TimeInForce | None,
        good_till: datetime | str | None,
        tag: str | None,
    ) -> Order:
        """Assign a number to an order, keep its handle and queue its request, with those of its bracket's legs."""
        state = self._only
        if state is None or symbol is not None:
            state = self._run.state(symbol, side.value)
        if type(quantity) is int and 0 < quantity < _MANY and state.unit_lots:
            lots, units = quantity * state.unit_lots, float(quantity)
        else:
            lots, units = positive_lots(state.instrument, quantity, side.value), None
        if (
            limit is None
            and stop is None
            and stop_loss is None
            and take_profit is None
            and tif is None
            and good_till is None
        ):
            request = OrderRequest(
                number=len(self.orders) + 1, symbol=state.symbol, side=side, lots=lots, plain=True, tag=tag
            )
            return self._keep(state, request, quantity, units)
        return self._place_with_terms(
            state, side, lots, quantity, limit, stop, stop_loss, take_profit, tif, good_till, tag
        )

    def _place_with_terms(
        self,
        state: SymbolState,
        side: Side,
        lots: int,
        asked: float,
        limit: float | None,
        stop: float | Trail | None,
        stop_loss: float | Trail | None,
        take_profit: float | None,
        tif: str | TimeInForce | None,
        good_till: datetime | str | None,
        tag: str | None,
    ) -> Order:
        buy = side is _BUY
        force, until = time_in_force(tif, good_till)
        limit = price_of(state.instrument, limit, "limit", up=not buy)
        stop_price, trail = stop_of(state.instrument, stop, "stop", up=buy)
        loss, loss_trail = stop_of(state.instrument, stop_loss, "stop_loss", up=not buy)
        profit = price_of(state.instrument, take_profit, "take_profit", up=buy)
        check_terms(side.value, force, limit, stop_price, trail)
        reference = state.last_close if limit is None and stop_price is None else limit or stop_price
        check_distance(side.value, "stop", stop_price, state.last_close, above=buy)
        check_distance(side.value, "stop_loss", loss, reference, above=not buy)
        check_distance(side.value, "take_profit", profit, reference, above=buy)
        # A stop-limit may fill anywhere between its stop and its limit, so a leg lies beyond both.
        entries = [price for price in (limit, stop_price) if price is not None]
        for name, price, above in (("stop_loss", loss, not buy), ("take_profit", profit, buy)):
            for entry in entries:
                if price is not None and (price <= entry if above else price >= entry):
                    raise OrderError(
                        f"{side.value}: {name}={price:g} is on the wrong side of the entry at {entry:g}; "
                        f"it must be {'above' if above else 'below'} it"
                    )
        if loss is not None and profit is not None and (loss >= profit if buy else loss <= profit):
            raise OrderError(f"{side.value}: stop_loss={loss:g} and take_profit={profit:g} are the wrong way round")
        number = len(self.orders) + 1
        request = OrderRequest(
            number=number,
            symbol=state.symbol,
            side=side,
            lots=lots,
            limit=limit,
            stop=stop_price,
            trail=trail,
            tif=force,
            good_till_ns=until,
            tag=tag,
        )
        order = self._keep(state, request, asked)
        other = _SELL if buy else _BUY
        if loss is not None or loss_trail is not None:
            leg = OrderRequest(
                number=len(self.orders) + 1,
                symbol=state.symbol,
                side=other,
                lots=lots,
                stop=loss,
                trail=loss_trail,
                exit=True,
                parent=number,
                tag="stop_loss" if tag is None else tag,
            )
            order._stop_loss = self._keep(state, leg)
        if profit is not None:
            leg = OrderRequest(
                number=len(self.orders) + 1,
                symbol=state.symbol,
                side=other,
                lots=lots,
                limit=profit,
                exit=True,
                parent=number,
                tag="take_profit" if tag is None else tag,
            )
            order._take_profit = self._keep(state, leg)
        return order

    def close(
        self,
        quantity: float | None,
        symbol: str | None,
        limit: float | None,
        stop: float | Trail | None,
        tif: str | TimeInForce | None,
        good_till: datetime | str | None,
        tag: str | None,
    ) -> Order | None:
        """See `Strategy.close`."""
        state = self._run.state(symbol, "close")
        asked = None if quantity is None else positive_lots(state.instrument, quantity, "close")
        held = self._run.account.lots[state.index]
        if held == 0:
            return None
        buy = held < 0
        lots = abs(held) if asked is None else min(abs(held), asked)
        if limit is None and stop is None and tif is None and good_till is None:
            # A part leaves the other exits at work, so that what stays is as protected as it was.
            if lots == abs(held) and self.open:
                self._cancel_exits(state.symbol, _BUY if buy else _SELL)
            request = OrderRequest(
                number=len(self.orders) + 1,
                symbol=state.symbol,
                side=_BUY if buy else _SELL,
                lots=lots,
                plain=True,
                exit=True,
                tag=tag,
            )
            return self._keep_part(state, request, quantity, asked)
        force, until = time_in_force(tif, good_till)
        stop_price, trail = stop_of(state.instrument, stop, "stop", up=buy)
        request = OrderRequest(
            number=len(self.orders) + 1,
            symbol=state.symbol,
            side=_BUY if buy else _SELL,
            lots=lots,
            limit=price_of(state.instrument, limit, "limit", up=not buy),
            stop=stop_price,
            trail=trail,
            tif=force,
            good_till_ns=until,
            exit=True,
            tag=tag,
        )
        check_terms("close", force, request.limit, stop_price, trail)
        check_distance("close", "stop", stop_price, state.last_close, above=buy)
        return self._keep_part(state, request, quantity, asked)

    def _keep_part(self, state: SymbolState, request: OrderRequest, quantity: float | None, asked: int | None) -> Order:
        if asked is None or asked <= request.lots:
            return self._keep(state, request, quantity)
        order = self._keep(state, request)
        order._note = f"quantity {brief(quantity)} cut to {order.quantity:g}: the position"
        return order

    def _cancel_exits(self, symbol: str, side: Side) -> None:
        """Cancel the position's exits, with the rest of their entries; an entry that has not filled yet keeps its legs."""
        for order in self.open.values():
            request = order.request
            if request.exit and request.symbol == symbol and request.side is side:
                entry = None if request.parent is None else self.orders[request.parent - 1]
                if entry is None or entry.filled_quantity > 0:
                    self.commands.append(Cancel(order.id))
                    if entry is not None:
                        entry.cancel()

    def target(self, symbol: str | None, weight: float | None, quantity: float | None, tag: str | None) -> Order | None:
        """See `Strategy.target`."""
        if (weight is None) == (quantity is None):
            raise OrderError("target: give exactly one of weight= and quantity=")
        state = self._run.state(symbol, "target")
        lots = self._lots_to_target(state, weight, quantity)
        return self._trade_towards(state, lots, shrink=weight is not None, tag=tag, basket=None)

    def _lots_to_target(self, state: SymbolState, weight: float | None, quantity: float | None) -> int:
        """Return the signed lots from the position to the one that a weight or a quantity means now.

        They are 0 where the difference is less than one lot, or worth less than 1e-9 of the equity. Raises OrderError.
        """
        close = state.last_close
        if weight is not None:
            share = number_of(weight, "target: weight")
            if close is None and share != 0:
                raise OrderError(f"target: {state.symbol} has no close yet, so a weight has no price; wait for on_bar")
            wanted = share * self._run.equity() / (close * state.instrument.multiplier) if close is not None else 0.0
        else:
            wanted = number_of(quantity, "target: quantity")
        held = self._run.account.lots[state.index]
        lots = lots_of(state.instrument, wanted, "target") - held
        # `wanted` is cut towards zero, so a position that is nearly a lot smaller may differ by one all the same.
        if abs(lots) == 1 and lots_of(state.instrument, wanted - state.instrument.to_quantity(held), "target") == 0:
            return 0
        if lots and close is not None:
            value = state.instrument.to_quantity(abs(lots)) * close * state.instrument.multiplier
            if value < _NEGLIGIBLE * abs(self._run.equity()):
                return 0
        return lots

    def _trade_towards(
        self, state: SymbolState, lots: int, *, shrink: bool, tag: str | None, basket: int | None
    ) -> Order | None:
        for earlier in self._targets.pop(state.index, ()):
            if earlier.is_open:
                self.commands.append(Cancel(earlier.id))
        if lots == 0:
            return None
        request = OrderRequest(
            number=len(self.orders) + 1,
            symbol=state.symbol,
            side=_BUY if lots > 0 else _SELL,
            lots=abs(lots),
            shrink=shrink,
            basket=basket,
            tag=tag,
        )
        order = self._keep(state, request)
        self._targets[state.index] = [order]
        return order

    def target_weights(self, weights: Mapping[str, float], tag: str | None) -> tuple[Order, ...]:
        """See `Strategy.target_weights`."""
        if not isinstance(weights, Mapping):
            example = {self._run.states[0].symbol: 0.5}
            raise OrderError(
                f"target_weights: {brief(weights)} is no mapping of symbols to weights, such as {brief(example)}"
            )
        for symbol in weights:
            self._run.state(symbol, "target_weights")
        # Every weight is computed before the first order is placed: one that is refused leaves nothing half done.
        differences = []
        for state in self._run.states:
            weight = weights.get(state.symbol, 0.0)
            if state.last_close is None and number_of(weight, f"target_weights: weight of {state.symbol}") != 0:
                self.without_price.setdefault(state.symbol, self._run.now_ns)
            elif state.symbol in weights or self._run.account.lots[state.index] or self._targets.get(state.index):
                differences.append((state, self._lots_to_target(state, weight, None)))
        basket = len(self.orders) + 1
        placed = [self._trade_towards(state, lots, shrink=True, tag=tag, basket=basket) for state, lots in differences]
        return tuple(order for order in placed if order is not None)

    def link(self, orders: Sequence[Order]) -> None:
        """See `Strategy.oco`."""
        for order in orders:
            if not isinstance(order, Order):
                raise OrderError(f"oco: {brief(order)} is not an order; give what buy, sell or close returned")
        if len(orders) > MOST_LINKED:
            raise OrderError(f"oco: {len(orders):,} orders; {MOST_LINKED:,} are the most")
        if len(orders) < 2 or len({order.id for order in orders}) != len(orders):
            raise OrderError("oco: give at least two different orders")
        self._queue.add(Link(tuple(order.id for order in orders)), "oco")

    def adopt(self, state: SymbolState, side: Side, lots: int, tag: str, tick_ns: int) -> OrderRequest:
        """Assign a number to an order of the broker itself (a liquidation), and keep its handle."""
        request = OrderRequest(
            number=len(self.orders) + 1, symbol=state.symbol, side=side, lots=lots, exit=True, tag=tag
        )
        instrument = state.instrument
        order = Order(self._queue, instrument, request, instrument.to_quantity(lots), tick_ns, tick_ns)
        self.orders.append(order)
        self.open[order.id] = order
        return request

    def _keep(
        self, state: SymbolState, request: OrderRequest, asked: float | None = None, units: float | None = None
    ) -> Order:
        """Keep the handle of a request and queue it.

        `units` is its size if known; `asked` is the quantity that was requested.
        """
        commands = self.commands
        if len(commands) >= self._most:
            raise self._refusal(request)
        tag = request.tag
        if tag is not None and (type(tag) is not str or len(tag) > LONGEST_TAG):
            request = self._with_valid_tag(request)
        if units is None:
            units = state.instrument.to_quantity(request.lots)
        now = self._run.now_ns
        order = Order(self._queue, state.instrument, request, units, now, now)
        if asked is not None and float(asked) != units:
            order._note = f"quantity {brief(asked)} cut to {units:g}: whole lots of {state.instrument.lot}"
        self.orders.append(order)
        self.open[request.number] = order
        commands.append(request)
        return order

    def _refusal(self, request: OrderRequest) -> StrategyError:
        if self.over:
            return OrderError(f"{request.side.value}: orders from on_stop are refused; the run is over")
        return too_many(request.side.value, self._most)

    def _with_valid_tag(self, request: OrderRequest) -> OrderRequest:
        """Return the request with its tag cut to LONGEST_TAG characters. Raises OrderError if it is not a string."""
        tag = request.tag
        if not isinstance(tag, str):
            raise OrderError(f"{request.side.value}: tag={brief(tag)} is not a string; give tag={brief(str(tag))}")
        if len(tag) <= LONGEST_TAG:  # a class derived from str, such as an Enum
            return request
        self.cut_tags += 1
        return msgspec.structs.replace(request, tag=cut(tag, LONGEST_TAG))
