"""Strategy: the base class of users' strategies. A strategy sees the bars that have closed and gives orders.

The same class runs in a backtest, on paper and live. Its code runs only at ticks. It keeps its state on `self`: nothing is
saved, and after a restart the class runs again over the recorded inputs from `on_start`.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from datetime import datetime
from typing import TYPE_CHECKING, Any, ClassVar, Never, NoReturn, Self

from weaver.core.bars import Bar
from weaver.core.errors import StrategyError, SymbolRequired
from weaver.core.instants import from_ns
from weaver.core.orders import Fill, Side, TimeInForce, Trail
from weaver.core.text import brief
from weaver.core.timeframe import Timeframe
from weaver.marvin.call_errors import MISSING, wrong_call
from weaver.marvin.class_checks import check_class
from weaver.marvin.order import Order
from weaver.marvin.parameters import parameters_of
from weaver.marvin.positions import Position

if TYPE_CHECKING:
    import numpy as np

    from weaver.marvin.context import Context
    from weaver.marvin.order_entry import OrderEntry

__all__ = ["Strategy"]

_BUY, _SELL = Side.BUY, Side.SELL


class _NotRunning:
    """Raise StrategyError for every use: it replaces the context of a strategy outside a run."""

    def __getattr__(self, name: str) -> NoReturn:
        raise StrategyError("this strategy is not running; pass the class itself to backtest(...)")


_NOT_RUNNING: Any = _NotRunning()


class _PositionOfOneSymbol:
    """Answers `self.position` in a run with several symbols, or outside a run.

    It is not a data descriptor on purpose: with one symbol the context puts the position into the instance, and reading
    it costs no call.
    """

    def __get__(self, strategy: Strategy | None, owner: type) -> Position:
        if strategy is None:
            return self  # type: ignore[return-value]
        symbols = strategy._context.run.symbols
        raise SymbolRequired(
            f"self.position: this run has {len(symbols)} symbols; say which one, for example "
            f"self.positions[{brief(symbols[0])}]"
        )


class _PositionsOfARun:
    """Answers `self.positions` outside a run; in a run the context sets the attribute of the instance."""

    def __get__(self, strategy: Strategy | None, owner: type) -> Mapping[str, Position]:
        return self if strategy is None else strategy._context.positions  # type: ignore[return-value]


class Strategy:
    """Base class of every strategy.

    Public annotated class attributes with a default are its parameters (int, float, bool, str, Enum or Timeframe):
    validated, and settable from the command line and from code. Override the callbacks you need:
    `on_start`, `on_bar(bar)`, `on_bars(bars)`, `on_order(order)`, `on_fill(fill)`, `on_stop`.
    """

    __weaver_base__ = True

    bars: Any
    """The bars that have closed: `self.bars.close` with one symbol, `self.bars["AAPL"].close` with several."""
    position: Position = _PositionOfOneSymbol()  # type: ignore[assignment]
    """The position as a signed number of units, with one symbol; 0.0 is flat and false."""
    positions: Mapping[str, Position] = _PositionsOfARun()  # type: ignore[assignment]
    """Every symbol's position."""
    _context: Context
    _order_entry: OrderEntry
    _reserved: ClassVar[frozenset[str]]

    def __new__(cls, *args: Any, **kwargs: Any) -> Self:
        # Set here and not as a default of the class: CPython reads what only the instance has several times faster.
        self = super().__new__(cls)
        self._context = self._order_entry = _NOT_RUNNING
        return self

    def __init_subclass__(cls, **kwargs: Any) -> None:
        super().__init_subclass__(**kwargs)
        check_class(cls, Strategy._reserved)
        parameters_of(cls)

    # Callbacks. The engine calls one only where a class overrides it.

    def on_start(self) -> None:
        """Prepare the run: called once, at its first tick, before any bar. Create indicators and timers here."""

    def on_bar(self, bar: Bar) -> None:
        """Act on a bar: called for each bar of each symbol as it closes, once that symbol's indicators have a value."""

    def on_bars(self, bars: Mapping[str, Bar]) -> None:
        """Act on all bars of a tick: called once after its `on_bar`s, with the bars that closed, by symbol."""

    def on_order(self, order: Order) -> None:
        """React to an order whose status has changed since the last tick."""

    def on_fill(self, fill: Fill) -> None:
        """React to a fill since the last tick; position and cash include the fills up to this one."""

    def on_stop(self) -> None:
        """End the run: called once, after the last bar; orders are refused here."""

    # Bars, account and parameters.

    @property
    def now(self) -> datetime:
        """The current tick as an aware UTC datetime: the end of the bar that just closed."""
        return from_ns(self._context.run.now_ns)

    @property
    def symbols(self) -> tuple[str, ...]:
        """The symbols in the order of the run."""
        return self._context.run.symbols

    @property
    def cash(self) -> float:
        """Cash in the account, including the proceeds of short sales, which cannot be spent."""
        return self._context.run.account.cash

    @property
    def equity(self) -> float:
        """Cash plus all positions at their last closes."""
        return self._context.run.equity()

    @property
    def orders(self) -> tuple[Order, ...]:
        """The open orders, oldest first."""
        return self._context.open_orders()

    @property
    def random(self) -> np.random.Generator:
        """A random generator seeded by the run: the same run draws the same numbers."""
        return self._context.random()

    # Orders, indicators and timers.

    def buy(
        self,
        quantity: float = MISSING,
        *extra: Never,
        symbol: str | None = None,
        limit: float | None = None,
        stop: float | Trail | None = None,
        stop_loss: float | Trail | None = None,
        take_profit: float | None = None,
        tif: str | TimeInForce | None = None,
        good_till: datetime | str | None = None,
        tag: str | None = None,
        **unknown: Never,
    ) -> Order:
        """Buy `quantity` units: at the market, or at `limit`, from `stop` on, or both (a stop-limit).

        `stop_loss` and `take_profit` attach exits that live from the entry's fill. `tif` is gtc (default), day, gtd (with
        `good_till`), ioc, fok, at_open or at_close. Raises OrderError for what can never be an order.
        """
        if extra or unknown or quantity is MISSING:
            raise wrong_call("buy", () if quantity is MISSING else (quantity, *extra), unknown)
        return self._order_entry.place(_BUY, quantity, symbol, limit, stop, stop_loss, take_profit, tif, good_till, tag)

    def sell(
        self,
        quantity: float = MISSING,
        *extra: Never,
        symbol: str | None = None,
        limit: float | None = None,
        stop: float | Trail | None = None,
        stop_loss: float | Trail | None = None,
        take_profit: float | None = None,
        tif: str | TimeInForce | None = None,
        good_till: datetime | str | None = None,
        tag: str | None = None,
        **unknown: Never,
    ) -> Order:
        """Sell `quantity` units; see `buy`. Selling more than is held goes short."""
        if extra or unknown or quantity is MISSING:
            raise wrong_call("sell", () if quantity is MISSING else (quantity, *extra), unknown)
        return self._order_entry.place(
            _SELL, quantity, symbol, limit, stop, stop_loss, take_profit, tif, good_till, tag
        )

    def close(
        self,
        quantity: float | None = None,
        *extra: Never,
        symbol: str | None = None,
        limit: float | None = None,
        stop: float | Trail | None = None,
        tif: str | TimeInForce | None = None,
        good_till: datetime | str | None = None,
        tag: str | None = None,
        **unknown: Never,
    ) -> Order | None:
        """Reduce the position by `quantity` units, or close it. Return None if there is no position.

        It shrinks with the position, ends with it, and shares one allowance with the other exits. A plain `close()`, of all
        there is at the next open, cancels the other exits first, with what is left of the entries they belong to; one of a
        part, with a price or with a time in force leaves them at work, so that the position stays protected.
        """
        if extra or unknown:
            raise wrong_call("close", (quantity, *extra), unknown)
        return self._order_entry.close(quantity, symbol, limit, stop, tif, good_till, tag)

    def target(
        self,
        *extra: Never,
        weight: float | None = None,
        quantity: float | None = None,
        symbol: str | None = None,
        tag: str | None = None,
        **unknown: Never,
    ) -> Order | None:
        """Trade towards a position: `weight` of the equity at the last closes (1.0 is all of it), or `quantity` units.

        Replaces its own earlier open orders. None where nothing needs to be traded.
        """
        if extra or unknown:
            raise wrong_call("target", extra, unknown)
        return self._order_entry.target(symbol, weight, quantity, tag)

    def target_weights(
        self, weights: Mapping[str, float] = MISSING, *extra: Never, tag: str | None = None, **unknown: Never
    ) -> tuple[Order, ...]:
        """Trade towards these weights; symbols of the run that are not named go to 0."""
        if extra or unknown or weights is MISSING:
            raise wrong_call("target_weights", () if weights is MISSING else (weights, *extra), unknown)
        return self._order_entry.target_weights(weights, tag)

    def oco(self, *orders: Order) -> None:
        """One cancels the other: when any of `orders` fills, the rest is cancelled."""
        self._order_entry.link(orders)

    def indicator(
        self, function: Callable[..., Any], *inputs: Any, plot: Any = None, name: str | None = None, **kwargs: Any
    ) -> Any:
        """Return a view, or a tuple of views, of `function(*inputs, **kwargs)`; from `on_start` only.

        Views among the inputs are handed over as read-only float64 arrays of the whole column; the result must have their
        length, and its value at bar i may depend on bars 0..i only (`weaver check` proves it). `on_bar` waits until it has
        a value. `plot` says how the report draws it: True or "overlay" (on the prices), "panel" (below them), False.
        """
        return self._context.indicator(function, inputs, kwargs, plot, name)

    def at(self, when: datetime | str, callback: Callable[[], object]) -> None:
        """Call `callback` at the first tick at or after `when`."""
        self._context.timers.at(when, callback)

    def every(self, period: str | Timeframe, callback: Callable[[], object]) -> None:
        """Call `callback` at the first tick at or after each boundary of `period`: "1h", "day", "month", ... (UTC)."""
        self._context.timers.every(period, callback, self._context.run.now_ns)


Strategy._reserved = frozenset(
    name for name in (*vars(Strategy), *Strategy.__annotations__) if not name.startswith(("__", "on_"))
)
