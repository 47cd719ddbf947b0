"""RunRecord: the facts of a run as plain columns and values. It checks shapes and computes nothing.

An engine fills it once, at the end of a run; statistics, frames and the report are computed from it alone.
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Literal

import msgspec
import numpy as np

from weaver.core.bars import BarSeries, Floats, Instants
from weaver.core.errors import DataError
from weaver.core.orders import Fill, OrderStatus, Side, TimeInForce
from weaver.core.text import brief

if TYPE_CHECKING:
    from weaver.core.timeframe import Timeframe

__all__ = ["LazyOrders", "OrderRecord", "PlotSeries", "PlotStyle", "RunRecord"]

PlotStyle = Literal["line", "step", "points", "bars"]


class OrderRecord(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """One order of the run in its final state.

    `number` counts the run's orders from 1. `submitted_ns` is the tick at which it was given, `done_ns` the time at which it
    ended (None: still at work). `parent` is the entry order of a bracket leg, `exit` marks an order that may only reduce,
    `kind` is market, limit, stop, stop-limit or trailing stop. `average_price` is None while nothing is filled.
    """

    number: int
    symbol: str
    side: Side
    quantity: float
    limit: float | None = None
    stop: float | None = None
    tif: TimeInForce = TimeInForce.GTC
    tag: str | None = None
    status: OrderStatus = OrderStatus.SUBMITTED
    reason: str | None = None
    submitted_ns: int
    done_ns: int | None = None
    filled_quantity: float = 0.0
    average_price: float | None = None
    parent: int | None = None
    exit: bool = False
    kind: str = "market"
    liquidation: bool = False
    """Whether the broker gave it, because equity had fallen below the maintenance margin."""


class LazyOrders(Sequence[OrderRecord]):
    """Orders that become records on access. The two methods make only the records that they return."""

    @abstractmethod
    def rejected(self) -> list[OrderRecord]:
        """Return the rejected orders, in the order they were given."""

    @abstractmethod
    def liquidations(self) -> list[OrderRecord]:
        """Return the orders that the broker gave to liquidate, in the order they were given."""


@dataclass(frozen=True, slots=True, kw_only=True)
class PlotSeries:
    """A line for the report to draw.

    `values` is float64 and aligned to the symbol's bars, or to `ts` (int64 ns, increasing) where that is given; NaN
    is a gap. `overlay` draws it over the candles, otherwise in a panel of its own, which series of one `name` share.
    """

    symbol: str
    name: str
    values: Floats
    ts: Instants | None = None
    overlay: bool = True
    style: PlotStyle = "line"

    def __post_init__(self) -> None:
        if self.values.ndim != 1 or (self.ts is not None and self.ts.shape != self.values.shape):
            raise DataError(f"plot {brief(self.name)}: one value per instant is needed")


@dataclass(frozen=True, slots=True, kw_only=True)
class RunRecord:
    """All facts of one run. Arrays must not be changed; they are not copied.

    The equity columns have one row per bar end over the union of the symbols: `equity_start` and `equity_end` are
    int64 nanoseconds since 1970-01-01 UTC (start and end of that bar), `equity`, `cash`, `gross_exposure` (the sum of
    |position| * close) and `net_exposure` (the sum of position * close) are float64 in the account's currency, marked
    at the last known closes. `session_dates` has the date of each row's session (00:00 UTC) where the bars follow a
    calendar; None means UTC days. `fills` are in the order they happened. `bars` counts the bars processed over all
    symbols; `elapsed_s` is the duration of the run, measured by the caller. `warnings` are for the user; `notes` describe
    the data and its changes. `periods_per_year` replaces the value that follows from the data. `settings` and `params` hold
    values that JSON can hold, or enums.
    """

    run_id: str
    strategy: str
    symbols: tuple[str, ...]
    timeframe: Timeframe
    series: Mapping[str, BarSeries]
    equity_start: Instants
    equity_end: Instants
    equity: Floats
    cash: Floats
    gross_exposure: Floats
    net_exposure: Floats
    initial_cash: float
    source: str | None = None
    params: Mapping[str, object] = field(default_factory=dict)
    fills: Sequence[Fill] = ()
    orders: Sequence[OrderRecord] = ()
    settings: Mapping[str, object] = field(default_factory=dict)
    plots: Sequence[PlotSeries] = ()
    warnings: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()
    seed: int = 0
    elapsed_s: float = 0.0
    bars: int = 0
    finished: bool = True
    holding_costs: float = 0.0
    calendar: str | None = None
    session_dates: Instants | None = None
    periods_per_year: float | None = None

    def __post_init__(self) -> None:
        rows = self.equity_start.shape
        for name in ("equity_start", "equity_end"):
            if getattr(self, name).dtype != np.int64 or getattr(self, name).shape != rows:
                raise DataError(f"run record: {brief(name)} must be int64 nanoseconds, one per bar end")
        for name in ("equity", "cash", "gross_exposure", "net_exposure"):
            if getattr(self, name).dtype != np.float64 or getattr(self, name).shape != rows:
                raise DataError(f"run record: {brief(name)} must be float64, one per bar end")
        if self.session_dates is not None and self.session_dates.shape != rows:
            raise DataError("run record: 'session_dates' must have one date per bar end")
        missing = [symbol for symbol in self.symbols if symbol not in self.series]
        if missing:
            raise DataError(f"run record: no bars for {', '.join(missing)}")
