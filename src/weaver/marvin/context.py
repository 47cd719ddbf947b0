"""Context: what stands between a strategy and whoever runs it, the same for a backtest and a live run.

It numbers orders, keeps their handles, makes views and indicators, holds timers, and delivers what happened. It decides no
fill and reads no clock: the engine sets `now_ns`, moves the tracks, and takes `commands` at the end of each tick.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from datetime import datetime
from typing import TYPE_CHECKING, Any

from weaver.core.account import Account
from weaver.core.bars import BarSeries
from weaver.core.calendar import SessionCalendar
from weaver.core.errors import OrderError, StrategyError, SymbolRequired
from weaver.core.instants import from_ns
from weaver.core.orders import (
    Cancel,
    Command,
    Fill,
    Link,
    Modify,
    OrderRequest,
    OrderStatus,
    OrderUpdate,
    Side,
    TimeInForce,
    Trail,
)
from weaver.marvin.bars import RunBars, SymbolBars, Track, unknown_symbol
from weaver.marvin.indicating import IndicatorInfo, compute_indicator
from weaver.marvin.order import Order, Position
from weaver.marvin.state import Positions, SymbolState
from weaver.marvin.terms import check_terms, lots_of, number_of, price_of, stop_of, time_in_force
from weaver.marvin.timers import Timers
from weaver.marvin.views import FedView

if TYPE_CHECKING:
    import numpy as np

    from weaver.marvin.strategy import Strategy

__all__ = ["Context", "SymbolState"]

_DONE = frozenset({OrderStatus.FILLED, OrderStatus.CANCELLED, OrderStatus.EXPIRED, OrderStatus.REJECTED})
# A member of an Enum is looked up through a descriptor on CPython 3.11; a module's constant is not.
_BUY, _SELL = Side.BUY, Side.SELL
_FILLED = OrderStatus.FILLED
_MANY = 10**15  # units; a float holds every whole number up to there


class Context:
    """One strategy's run, seen from the strategy's side."""

    def __init__(
        self,
        strategy: Strategy,
        series: Mapping[str, BarSeries],
        account: Account,
        *,
        run_id: str,
        seed: int,
        calendar: SessionCalendar | None = None,
        through: bool = False,
    ) -> None:
        kind = type(strategy)
        base = next(cls for cls in kind.__mro__ if cls.__dict__.get("__weaver_base__"))
        self.overrides = frozenset(
            name
            for name in ("on_start", "on_bar", "on_bars", "on_order", "on_fill", "on_stop")
            if getattr(kind, name) is not getattr(base, name)
        )
        self.strategy = strategy
        self.run_id = run_id
        self.seed = seed
        self.calendar = calendar
        self.symbols = tuple(series)
        self.now_ns = 0
        self.commands: list[Command] = []
        self.orders: list[Order] = []
        self.derived: list[Track] = []
        self.timers = Timers(self.show_derived)
        self.indicators: list[IndicatorInfo] = []
        self.phase = "start"
        self.over = False
        self.states: list[SymbolState] = []
        for index, one in enumerate(series.values()):
            track = Track(symbols=(one.symbol,), label=one.symbol, start=one.start, end=one.end)
            self.states.append(SymbolState(index, one, SymbolBars(one, track, self._derive, calendar), track))
        self._by_symbol = {state.symbol: state for state in self.states}
        self.index_of = {state.symbol: state.index for state in self.states}
        self.positions = Positions(self.symbols)
        self._flat = tuple(self.positions.values())
        self.account = account
        # With on_fill the strategy must see the account grow fill by fill, so while it is told it looks at one of its own.
        self._engine_account = account
        self._told = account.copy() if "on_fill" in self.overrides else None
        self._open: dict[int, Order] = {}
        self._targets: dict[int, list[Order]] = {}
        self._single = self.states[0] if len(self.states) == 1 else None
        self._random: np.random.Generator | None = None
        strategy._context = self
        strategy.positions = self.positions
        if self._single is not None:
            strategy.bars = self._single.bars
            strategy.position = self.positions[self.symbols[0]]
        else:
            parts = {state.symbol: state.bars for state in self.states}
            strategy.bars = RunBars(parts, self._derive, calendar)

    # Time and knowledge.

    @property
    def now(self) -> datetime:
        """This tick, aware UTC."""
        return from_ns(self.now_ns)

    def equity(self) -> float:
        """The account at the last closes."""
        return self.account.equity(self.marks())

    def marks(self) -> list[float]:
        """Every symbol's last close, 0.0 before its first bar (when its position can only be zero)."""
        return [state.closes[state.cursor.last] if state.cursor.last >= 0 else 0.0 for state in self.states]

    def state(self, symbol: str | None, what: str) -> SymbolState:
        """The state of `symbol`, or of the only one. Raises SymbolRequired and UnknownSymbol."""
        if symbol is None:
            if self._single is None:
                raise SymbolRequired(
                    f"{what}: this run has {len(self.symbols)} symbols; say which one, for example "
                    f"symbol={self.symbols[0]!r}"
                )
            return self._single
        try:
            return self._by_symbol[symbol]
        except (KeyError, TypeError):  # TypeError: a list, for example
            raise unknown_symbol(symbol, self._by_symbol) from None

    def open_orders(self) -> tuple[Order, ...]:
        """The open orders, oldest first."""
        return tuple(self._open.values())

    def random(self) -> np.random.Generator:
        """The run's generator."""
        if self._random is None:
            from numpy.random import default_rng  # NumPy's random costs 10 ms to import, and few strategies draw

            self._random = default_rng(self.seed)
        return self._random

    def quantity_of(self, request: OrderRequest) -> float:
        """The request's size in units."""
        return self._by_symbol[request.symbol].instrument.to_quantity(request.lots)

    # Indicators and derived bars.

    def _derive(self, track: Track) -> None:
        if self.phase != "start":
            raise StrategyError(f"{track.label}: resample and join are for on_start only")
        self.derived.append(track)

    def indicator(
        self,
        function: Callable[..., Any],
        inputs: Sequence[Any],
        kwargs: Mapping[str, Any],
        plot: Any,
        name: str | None,
    ) -> Any:
        """See `Strategy.indicator`."""
        if self.phase != "start":
            raise StrategyError(f"indicator({getattr(function, '__name__', function)}) is for on_start only")
        tracks = {id(state.cursor): state.track for state in self.states}
        tracks.update({id(track.cursor): track for track in self.derived})
        views, info = compute_indicator(function, inputs, kwargs, plot, name, tracks)
        self.indicators.append(info)
        for symbol in info.track.symbols:
            state = self._by_symbol[symbol]
            state.ready_ns = max(state.ready_ns, info.ready_ns)
        return views

    def begin(self, state: SymbolState) -> None:
        """The first bar of a symbol is about to be seen."""
        state.track.begin()
        for view in state.fed_views:
            view.__class__ = FedView

    def show_derived(self) -> None:
        """Move resampled and joined bars up to now."""
        for track in self.derived:
            track.advance_to(self.now_ns)

    # Orders.

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
        """Number an order, keep its handle and queue its request; with its bracket's legs, if any."""
        state = self._single
        if state is None or symbol is not None:
            state = self.state(symbol, side.value)
        if type(quantity) is int and 0 < quantity < _MANY and state.unit_lots:
            lots, units = quantity * state.unit_lots, float(quantity)
        else:
            lots, units = self._lots(state, quantity, side.value), None
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
        limit = price_of(state, limit, "limit", up=not buy)
        stop_price, trail = stop_of(state, stop, "stop", up=buy)
        loss, loss_trail = stop_of(state, stop_loss, "stop_loss", up=not buy)
        profit = price_of(state, take_profit, "take_profit", up=buy)
        check_terms(side.value, force, limit, stop_price, trail)
        # A stop-limit may fill anywhere between its stop and its limit, so a leg lies beyond both.
        entries = [price for price in (limit, stop_price) if price is not None]
        for name, price, above in (("stop_loss", loss, not buy), ("take_profit", profit, buy)):
            for entry in entries:
                if price is not None and (price <= entry if above else price >= entry):
                    raise OrderError(
                        f"{side.value}: {name}={price:g} lies on the wrong side of the entry at {entry:g}; "
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
            order.stop_loss = self._keep(state, leg)
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
            order.take_profit = self._keep(state, leg)
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
        state = self.state(symbol, "close")
        asked = None if quantity is None else self._lots(state, quantity, "close")
        held = self.account.lots[state.index]
        if held == 0:
            return None
        buy = held < 0
        lots = abs(held) if asked is None else min(abs(held), asked)
        if limit is None and stop is None and tif is None and good_till is None:
            # A part leaves the other exits at work, so that what stays is as protected as it was.
            if lots == abs(held) and self._open:
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
        stop_price, trail = stop_of(state, stop, "stop", up=buy)
        request = OrderRequest(
            number=len(self.orders) + 1,
            symbol=state.symbol,
            side=_BUY if buy else _SELL,
            lots=lots,
            limit=price_of(state, limit, "limit", up=not buy),
            stop=stop_price,
            trail=trail,
            tif=force,
            good_till_ns=until,
            exit=True,
            tag=tag,
        )
        check_terms("close", force, request.limit, stop_price, trail)
        return self._keep_part(state, request, quantity, asked)

    def _keep_part(self, state: SymbolState, request: OrderRequest, quantity: float | None, asked: int | None) -> Order:
        if asked is None or asked <= request.lots:
            return self._keep(state, request, quantity)
        order = self._keep(state, request)
        order.note = f"quantity {quantity!r} cut to {order.quantity:g}: the position"
        return order

    def _cancel_exits(self, symbol: str, side: Side) -> None:
        """Cancel the position's exits, with the rest of their entries; an entry that has not filled yet keeps its legs."""
        for order in self._open.values():
            request = order.request
            if request.exit and request.symbol == symbol and request.side is side:
                entry = None if request.parent is None else self.orders[request.parent - 1]
                if entry is None or entry.filled_quantity > 0:
                    self.commands.append(Cancel(order.id))
                    if entry is not None:
                        self.cancel(entry)

    def target(self, symbol: str | None, weight: float | None, quantity: float | None, tag: str | None) -> Order | None:
        """See `Strategy.target`."""
        if (weight is None) == (quantity is None):
            raise OrderError("target: give exactly one of weight= and quantity=")
        state = self.state(symbol, "target")
        return self._trade_towards(state, self._target_lots(state, weight, quantity), weight is not None, tag)

    def _target_lots(self, state: SymbolState, weight: float | None, quantity: float | None) -> int:
        """The position, in lots, that a weight or a quantity means now. Raises OrderError, and has done nothing then."""
        if weight is not None:
            share = number_of(weight, "target: weight")
            close = state.last_close
            if close is None and share != 0:
                raise OrderError(f"target: {state.symbol} has no close yet, so a weight has no price; wait for on_bar")
            wanted = share * self.equity() / (close * state.instrument.multiplier) if close is not None else 0.0
        else:
            wanted = number_of(quantity, "target: quantity")
        return lots_of(state, wanted, "target")

    def _trade_towards(self, state: SymbolState, wanted: int, shrink: bool, tag: str | None) -> Order | None:
        for earlier in self._targets.pop(state.index, ()):
            if earlier.is_open:
                self.commands.append(Cancel(earlier.id))
        lots = wanted - self.account.lots[state.index]
        if lots == 0:
            return None
        request = OrderRequest(
            number=len(self.orders) + 1,
            symbol=state.symbol,
            side=_BUY if lots > 0 else _SELL,
            lots=abs(lots),
            shrink=shrink,
            tag=tag,
        )
        order = self._keep(state, request)
        self._targets[state.index] = [order]
        return order

    def target_weights(self, weights: Mapping[str, float], tag: str | None) -> tuple[Order, ...]:
        """See `Strategy.target_weights`."""
        if not isinstance(weights, Mapping):
            raise OrderError(
                f"target_weights: {weights!r} is no mapping of symbols to weights, such as {{{self.symbols[0]!r}: 0.5}}"
            )
        for symbol in weights:
            self.state(symbol, "target_weights")
        # All are understood before the first is placed: one that is refused leaves nothing half done.
        wanted = [
            (state, self._target_lots(state, weights.get(state.symbol, 0.0), None))
            for state in self.states
            if state.symbol in weights or self.account.lots[state.index] or self._targets.get(state.index)
        ]
        placed = [self._trade_towards(state, lots, True, tag) for state, lots in wanted]
        return tuple(order for order in placed if order is not None)

    def link(self, orders: Sequence[Order]) -> None:
        """See `Strategy.oco`."""
        for order in orders:
            if not isinstance(order, Order):
                raise OrderError(f"oco: {order!r} is not an order; give what buy, sell or close returned")
        if len(orders) < 2 or len({order.id for order in orders}) != len(orders):
            raise OrderError("oco: give at least two different orders")
        self.commands.append(Link(tuple(order.id for order in orders)))

    def cancel(self, order: Order) -> None:
        """See `Order.cancel`."""
        if order.is_open:
            self.commands.append(Cancel(order.id))

    def modify(self, order: Order, *, limit: float | None, stop: float | Trail | None, quantity: float | None) -> None:
        """See `Order.modify`."""
        if not order.is_open:
            return
        state = self._by_symbol[order.symbol]
        buy = order.side is _BUY
        if limit is None and stop is None and quantity is None:
            raise OrderError(f"modify: say what to change of order {order.id}: limit=, stop= or quantity=")
        if quantity is not None and order.request.parent is not None:
            raise OrderError(f"modify: order {order.id} is a bracket's leg; its quantity is what its entry has filled")
        if limit is not None and order.request.limit is None:
            raise OrderError(f"modify: order {order.id} has no limit to change; cancel it and place another")
        if stop is not None and order.request.stop is None:
            raise OrderError(f"modify: order {order.id} has no stop price to change; cancel it and place another")
        if isinstance(stop, Trail):
            raise OrderError(f"modify: the stop of order {order.id} is a price; it cannot become a trail")
        self.commands.append(
            Modify(
                number=order.id,
                limit=price_of(state, limit, "limit", up=not buy),
                stop=price_of(state, stop, "stop", up=buy),
                lots=None if quantity is None else self._lots(state, quantity, "modify"),
            )
        )

    def index_of_order(self, number: int) -> int:
        """The index of the symbol that order `number` is for; -1 for one that it has not heard of."""
        return self._by_symbol[self.orders[number - 1].symbol].index if number <= len(self.orders) else -1

    def next_number(self) -> int:
        """The number of the run's next order."""
        return len(self.orders) + 1

    def adopt(self, request: OrderRequest, tick_ns: int) -> Order:
        """Keep the handle of an order that the broker made itself at that tick (a liquidation)."""
        order = Order(self, request, self.quantity_of(request), tick_ns)
        self.orders.append(order)
        self._open[order.id] = order
        return order

    def _keep(
        self, state: SymbolState, request: OrderRequest, asked: float | None = None, units: float | None = None
    ) -> Order:
        """Keep the handle of a request and queue it. `units` is its size where that is known; `asked` what was wanted."""
        if self.over:
            raise OrderError(f"{request.side.value}: orders from on_stop are refused; the run is over")
        if request.tag is not None and not isinstance(request.tag, str):
            raise OrderError(f"{request.side.value}: tag={request.tag!r} is no text; give tag={str(request.tag)!r}")
        if units is None:
            units = state.instrument.to_quantity(request.lots)
        order = Order(self, request, units, self.now_ns)
        if asked is not None and float(asked) != units:
            order.note = f"quantity {asked!r} cut to {units:g}: whole lots of {state.instrument.lot}"
        self.orders.append(order)
        self._open[request.number] = order
        self.commands.append(request)
        return order

    def _lots(self, state: SymbolState, quantity: float, what: str) -> int:
        value = number_of(quantity, f"{what}: quantity")
        if value <= 0:
            raise OrderError(f"{what}: quantity={quantity!r} must be greater than zero")
        return lots_of(state, value, what)

    # Telling the strategy.

    def start(self) -> None:
        """Run `on_start`."""
        self.phase = "start"
        self.strategy.on_start()
        self.phase = "run"

    def stop(self) -> None:
        """Run `on_stop`."""
        self.phase = "stop"
        self.over = True
        self.strategy.on_stop()

    def deliver(self, updates: Sequence[OrderUpdate]) -> None:
        """Tell the strategy what happened to its orders, in this order."""
        orders = self.orders
        on_order = self.strategy.on_order if "on_order" in self.overrides else None
        on_fill = self.strategy.on_fill if "on_fill" in self.overrides else None
        told = self._told
        if told is not None:
            if told.charged != self._engine_account.charged:
                told.charge(self._engine_account.charged - told.charged)
            self.account = told
        for update in updates:
            if update.number > len(orders):
                assert update.request is not None
                self.adopt(update.request, self.now_ns)
            order = orders[update.number - 1]
            order._move(update)
            fill = update.fill
            if update.status in _DONE:
                self._open.pop(update.number, None)
            if fill is not None:
                index = self.index_of[fill.symbol]
                if told is not None:
                    lots = fill.lots if fill.side is _BUY else -fill.lots
                    told.apply(index, lots, fill.quantity, fill.price, fill.commission)
                self._tell_position(index, fill.symbol)
            if on_order is not None:
                on_order(order)
            if fill is not None and on_fill is not None:
                on_fill(fill)
        if told is not None:
            self._catch_up(told)

    def tell_filled(self, fill: Fill, index: int, now_ns: int) -> None:
        """An order filled whole at once, and the strategy listens to no news: what it reads is put right, no more."""
        number = fill.number
        order = self.orders[number - 1]
        order.status = _FILLED
        order.updated_ns = now_ns
        order.filled_quantity = fill.quantity
        order.average_price = fill.price
        order._filled_lots = fill.lots
        del self._open[number]
        self._tell_position(index, fill.symbol)

    def _catch_up(self, told: Account) -> None:
        """All fills have been told: what the strategy sees is the engine's account again, to the last bit."""
        engine = self.account = self._engine_account
        told.cash, told.charged = engine.cash, engine.charged
        if told.average != engine.average:  # one symbol's orders were told in another order than they filled in
            told.average[:] = engine.average
            for state in self.states:
                self._tell_position(state.index, state.symbol)

    def _tell_position(self, index: int, symbol: str) -> None:
        account = self.account
        if account.lots[index]:
            position = Position(account.quantity[index])
            position.symbol = symbol
            position.average_price = account.average[index]
        else:
            position = self._flat[index]
        dict.__setitem__(self.positions, symbol, position)
        if self._single is not None:
            self.strategy.position = position
