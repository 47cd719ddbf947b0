"""Context: connects a strategy to the engine that runs it, in the same way for a backtest and a live run.

It makes views and indicators, holds timers, and reports order updates to the strategy; `order_entry` takes the orders. It
decides no fill and reads no clock: the engine sets `run.now_ns`, moves the tracks, and takes `commands` at the end of
each tick.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from weaver.core.account import Account, AccountSnapshot
from weaver.core.bars import BarSeries
from weaver.core.calendar import SessionCalendar
from weaver.core.errors import StrategyError
from weaver.core.fill_book import TradeIds
from weaver.core.orders import Fill, OrderStatus, OrderUpdate, Side
from weaver.core.text import brief, cut
from weaver.marvin.bar_views import RunBars, SymbolBars, Track
from weaver.marvin.indicator import IndicatorInfo, compute_indicator
from weaver.marvin.order import Order
from weaver.marvin.order_entry import OrderEntry
from weaver.marvin.positions import Position, Positions
from weaver.marvin.run_state import RunState
from weaver.marvin.symbol_state import SymbolState
from weaver.marvin.timers import Timers
from weaver.marvin.unexpected_update import UnexpectedUpdate, contradiction
from weaver.marvin.views import FedView

if TYPE_CHECKING:
    import numpy as np

    from weaver.marvin.strategy import Strategy

__all__ = ["MOST_INDICATORS", "Context"]

MOST_INDICATORS = 10_000
"""Indicators of a run, and resampled or joined bars of it. Each holds a value for every bar."""

# A member of an Enum is looked up through a descriptor on CPython 3.11; a module's constant is not.
_BUY, _FILLED = Side.BUY, OrderStatus.FILLED


class Context:
    """One strategy's run.

    `run` is its state at the current tick; `overrides` names the callbacks that the strategy defines; `derived` are the
    tracks of resampled and joined bars; `phase` is "start", "run" or "stop"; `commands` are the orders and cancels of
    this tick, `orders` the handles of all orders by number. `grows` says that `series` are only the first bars, and that a
    `History` adds the others.
    """

    def __init__(
        self,
        strategy: Strategy,
        series: Mapping[str, BarSeries],
        account: Account,
        *,
        run_id: str,
        seed: int,
        calendar: SessionCalendar | None = None,
        grows: bool = False,
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
        self.grows = grows
        self.derived: list[Track] = []
        self.timers = Timers(self.show_derived, lambda: self.run.now_ns)
        self.indicators: list[IndicatorInfo] = []
        self.phase = "start"
        self.states: list[SymbolState] = []
        for index, bars in enumerate(series.values()):
            track = Track(symbols=(bars.symbol,), label=bars.symbol, start=bars.start, end=bars.end)
            track.cursor.last = bars.history - 1
            self.states.append(SymbolState(index, bars, SymbolBars(bars, track, self._derive, calendar), track))
        self.run = RunState(self.states, account)
        self.symbols = self.run.symbols
        self.order_entry = OrderEntry(self.run)
        self.commands, self.orders = self.order_entry.commands, self.order_entry.orders
        self._open = self.order_entry.open
        self.positions = Positions(self.symbols)
        self._flat = tuple(self.positions.values())
        # With on_fill the strategy must see the account change fill by fill, so during the report it sees a copy.
        self._engine_account = account
        self._reported_account = account.copy() if "on_fill" in self.overrides else None
        self._shown_account: AccountSnapshot | None = None
        self._trades = TradeIds()
        self._random: np.random.Generator | None = None
        strategy._context = self
        strategy._order_entry = self.order_entry
        strategy.positions = self.positions
        only = self.run.only
        if only is not None:
            strategy.bars = only.bars
            strategy.position = self.positions[only.symbol]
        else:
            parts = {state.symbol: state.bars for state in self.states}
            strategy.bars = RunBars(parts, self._derive, calendar)

    # Time and knowledge.

    @property
    def now_ns(self) -> int:
        """The current tick in UTC nanoseconds."""
        return self.run.now_ns

    @now_ns.setter
    def now_ns(self, tick_ns: int) -> None:
        self.run.now_ns = tick_ns

    def open_orders(self) -> tuple[Order, ...]:
        """Return the open orders, oldest first."""
        return tuple(self._open.values())

    def random(self) -> np.random.Generator:
        """Return the run's random generator."""
        if self._random is None:
            from numpy.random import default_rng  # NumPy's random costs 10 ms to import, and few strategies draw

            self._random = default_rng(self.seed)
        return self._random

    # Indicators and derived bars.

    def _derive(self, track: Track) -> None:
        if self.phase != "start":
            raise StrategyError(f"{track.label}: resample and join are for on_start only")
        if len(self.derived) >= MOST_INDICATORS:
            raise StrategyError(f"{track.label}: {MOST_INDICATORS:,} resampled or joined bars are the most in one run")
        if any(state.first_row for state in self.states):
            track.advance_to(self.run.now_ns)  # history is visible in on_start
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
            function_name = getattr(function, "__name__", type(function).__name__)
            raise StrategyError(f"indicator({cut(str(function_name))}) is for on_start only")
        if len(self.indicators) >= MOST_INDICATORS:
            raise StrategyError(f"indicator: {MOST_INDICATORS:,} indicators are the most in one run")
        tracks = {id(state.cursor): state.track for state in self.states}
        tracks.update({id(track.cursor): track for track in self.derived})
        views, info = compute_indicator(function, inputs, kwargs, plot, name, tracks, grows=self.grows)
        self.indicators.append(info)
        for symbol in info.track.symbols:
            state = self.run.state(symbol, "indicator")
            state.ready_ns = max(state.ready_ns, info.ready_ns)
        return views

    def begin(self, state: SymbolState) -> None:
        """Let the views of a symbol show values: its first bar is about to close."""
        state.track.begin()
        for view in state.fed_views:
            view.__class__ = FedView

    def show_derived(self) -> None:
        """Move the resampled and joined bars to the current tick."""
        for track in self.derived:
            track.advance_to(self.run.now_ns)

    def check_positions(self) -> None:
        """Raise StrategyError where the strategy has replaced `position`, `positions` or `bars`."""
        # Not through strategy.__dict__: asking for it once makes every later read of an attribute slower (CPython 3.11).
        run = self.run
        expected: dict[str, object] = {"positions": self.positions}
        if run.only is not None:
            expected |= {"position": self.positions[run.only.symbol], "bars": run.only.bars}
        for name, value in expected.items():
            present = getattr(self.strategy, name, None)
            if present is not value:
                raise StrategyError(
                    f"self.{name} was set to {brief(present)} by the strategy; Weaver sets it itself, and positions "
                    "change by orders only (self.buy, self.sell, self.close, self.target)"
                )

    # Calling the strategy.

    def start(self) -> None:
        """Run `on_start`."""
        self.phase = "start"
        self.strategy.on_start()
        self.phase = "run"

    def stop(self) -> None:
        """Run `on_stop`."""
        self.phase = "stop"
        self.order_entry.end()
        self.strategy.on_stop()

    def deliver(self, updates: Sequence[OrderUpdate]) -> Sequence[UnexpectedUpdate]:
        """Apply updates to the order handles and positions, and call on_order and on_fill, in this order.

        A trade that was delivered before and an update that changes nothing are passed over. Return the updates that
        contradict what was known, such as a fill of an order that was cancelled: their fills are booked all the same.
        """
        orders, run, unexpected = self.orders, self.run, []
        on_order = self.strategy.on_order if "on_order" in self.overrides else None
        on_fill = self.strategy.on_fill if "on_fill" in self.overrides else None
        account = self._reported_account
        if account is not None:
            if account.charged != self._engine_account.charged:
                account.charge(self._engine_account.charged - account.charged)
            run.account = account
        run.account_changed()
        for update in updates:
            number, fill = update.number, update.fill
            if fill is not None:
                if fill.symbol not in run.index_of:
                    text = (
                        f"symbol {brief(fill.symbol)} is not in this run; its fill of {fill.quantity:g} is not booked"
                    )
                    unexpected.append(UnexpectedUpdate(update, text))
                    continue
                if not self._trades.add(fill):
                    fill = None
            order = orders[number - 1] if 0 < number <= len(orders) else None
            if order is not None and fill is not None and fill.symbol != order.symbol:
                order = None
            before = None
            if order is not None:
                before = order._status
                if not order._move(update, fill):
                    continue
                if not order._status.is_open:
                    self._open.pop(number, None)
            elif fill is None and update.fill is not None:
                continue
            if fill is not None:
                index = run.index_of[fill.symbol]
                if account is not None:
                    lots = fill.lots if fill.side is _BUY else -fill.lots
                    account.apply(index, lots, fill.quantity, fill.price, fill.commission)
                self._update_position(index, fill.symbol)
            reason = contradiction(order, before, fill, number)
            if reason is not None:
                unexpected.append(UnexpectedUpdate(update, reason))
            if order is not None and on_order is not None:
                on_order(order)
            if fill is not None and on_fill is not None:
                on_fill(fill)
        if account is not None:
            self._catch_up(account)
        return unexpected

    def show_account(self, snapshot: AccountSnapshot) -> None:
        """Take the account as it is after the news that is about to be delivered."""
        if snapshot != self._shown_account:
            self._shown_account = snapshot
            self._engine_account.restore(snapshot)
            self.run.account_changed()

    def report_filled(self, fill: Fill, index: int, now_ns: int) -> None:
        """Record that an order has filled whole at once, for a strategy without on_order and on_fill."""
        number = fill.number
        order = self.orders[number - 1]
        order._status = _FILLED
        order._updated_ns = now_ns
        order._filled_quantity = fill.quantity
        order._average_price = fill.price
        order._filled_lots = fill.lots
        del self._open[number]
        self._update_position(index, fill.symbol)

    def _catch_up(self, reported: Account) -> None:
        """Show the strategy the engine's account again, to the last bit: all fills have been reported."""
        engine = self.run.account = self._engine_account
        reported.cash, reported.charged = engine.cash, engine.charged
        self.run.account_changed()
        # One symbol's orders may be reported in another order than they filled in, or without their fills.
        if reported.average != engine.average or reported.lots != engine.lots:
            reported.restore(engine.snapshot())
            for state in self.states:
                self._update_position(state.index, state.symbol)

    def _update_position(self, index: int, symbol: str) -> None:
        run = self.run
        account = run.account
        if run.only is None:
            run.account_changed()
        if account.lots[index]:
            position = Position(account.quantity[index])
            position.symbol = symbol
            position.average_price = account.average[index]
        else:
            position = self._flat[index]
        dict.__setitem__(self.positions, symbol, position)
        if run.only is not None:
            self.strategy.position = position
