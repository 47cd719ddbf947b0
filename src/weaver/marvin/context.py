"""Context: what stands between a strategy and whoever runs it, the same for a backtest and a live run.

It makes views and indicators, holds timers, and delivers what happened; orders are its desk's. It decides no fill and
reads no clock: the engine sets `now_ns`, moves the tracks, and takes `commands` at the end of each tick.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from datetime import datetime
from typing import TYPE_CHECKING, Any

from weaver.core.account import Account
from weaver.core.bars import BarSeries
from weaver.core.calendar import SessionCalendar
from weaver.core.errors import StrategyError, SymbolRequired
from weaver.core.instants import from_ns
from weaver.core.orders import Fill, OrderStatus, OrderUpdate, Side
from weaver.core.suggest import unknown_symbol
from weaver.marvin.bar_views import RunBars, SymbolBars, Track
from weaver.marvin.indicator import IndicatorInfo, compute_indicator
from weaver.marvin.order import Order, Position
from weaver.marvin.order_entry import OrderEntry
from weaver.marvin.symbol_state import Positions, SymbolState
from weaver.marvin.timers import Timers
from weaver.marvin.views import FedView

if TYPE_CHECKING:
    import numpy as np

    from weaver.marvin.strategy import Strategy

__all__ = ["Context", "SymbolState"]

_DONE = frozenset({OrderStatus.FILLED, OrderStatus.CANCELLED, OrderStatus.EXPIRED, OrderStatus.REJECTED})
# A member of an Enum is looked up through a descriptor on CPython 3.11; a module's constant is not.
_BUY, _FILLED = Side.BUY, OrderStatus.FILLED


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
        self.derived: list[Track] = []
        self.timers = Timers(self.show_derived)
        self.indicators: list[IndicatorInfo] = []
        self.phase = "start"
        self.states: list[SymbolState] = []
        for index, one in enumerate(series.values()):
            track = Track(symbols=(one.symbol,), label=one.symbol, start=one.start, end=one.end)
            self.states.append(SymbolState(index, one, SymbolBars(one, track, self._derive, calendar), track))
        self.desk = OrderEntry(self, self.states)
        self.commands, self.orders, self._open = self.desk.commands, self.desk.orders, self.desk.open
        self._by_symbol = {state.symbol: state for state in self.states}
        self.index_of = {state.symbol: state.index for state in self.states}
        self.positions = Positions(self.symbols)
        self._flat = tuple(self.positions.values())
        self.account = account
        # With on_fill the strategy must see the account grow fill by fill, so while it is told it looks at one of its own.
        self._engine_account = account
        self._told = account.copy() if "on_fill" in self.overrides else None
        self._single = self.states[0] if len(self.states) == 1 else None
        self._random: np.random.Generator | None = None
        strategy._context = self
        strategy._desk = self.desk
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

    def index_of_order(self, number: int) -> int:
        """The index of the symbol that order `number` is for; -1 for one that it has not heard of."""
        return self._by_symbol[self.orders[number - 1].symbol].index if number <= len(self.orders) else -1

    def next_number(self) -> int:
        """The number of the run's next order."""
        return len(self.orders) + 1

    # Telling the strategy.

    def start(self) -> None:
        """Run `on_start`."""
        self.phase = "start"
        self.strategy.on_start()
        self.phase = "run"

    def stop(self) -> None:
        """Run `on_stop`."""
        self.phase = "stop"
        self.desk.over = True
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
                self.desk.adopt(update.request, self.now_ns)
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
