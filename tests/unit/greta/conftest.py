"""Small runs for the tests of the backtester: bars from a few numbers, a strategy from a few functions."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import pytest

import builders
from weaver.core.bars import BarSeries
from weaver.core.orders import Fill, OrderUpdate
from weaver.greta.broker_settings import BrokerSettings
from weaver.greta.engine import Engine, Hooks
from weaver.marvin.order import Order
from weaver.marvin.strategy import Strategy


@pytest.fixture
def bars() -> Callable[..., BarSeries]:
    """`bars((o, h, l, c), None, (o, h, l, c, volume), ...)`: None is a bar that is missing."""

    def build(*rows: builders.Row, timeframe: str = "1d", **options: Any) -> BarSeries:
        return builders.series_of_rows(*rows, volume=1e6, step=timeframe, **options)

    return build


@dataclass
class Run:
    """What a run left behind."""

    engine: Engine
    strategy: Any
    sunk: list[tuple[tuple[OrderUpdate, ...], tuple[Fill, ...]]] = field(default_factory=list)

    @property
    def fills(self) -> list[tuple[int, str, float, float]]:
        """(order, side, quantity, price) of every fill."""
        return [(fill.number, fill.side.value, fill.quantity, fill.price) for fill in self.engine.broker.fills]

    @property
    def orders(self) -> list[Order]:
        return self.engine.context.orders

    @property
    def statuses(self) -> list[str]:
        return [order.status.value for order in self.orders]


Callbacks = Mapping[str, Callable[..., Any]]


@pytest.fixture
def run() -> Callable[..., Run]:
    """`run(series, on_bar=lambda self, bar: ..., cash=..., commission=...)`: the callbacks by name, then the settings."""

    def go(
        series: BarSeries | Sequence[BarSeries],
        *,
        cash: float = 10_000.0,
        boundaries: Iterator[int] | None = None,
        calendar: Any = None,
        finalize: bool = False,
        hooks: Hooks | None = None,
        params: Mapping[str, object] | None = None,
        **given: Any,
    ) -> Run:
        several = [series] if isinstance(series, BarSeries) else list(series)
        callbacks = {name: given.pop(name) for name in list(given) if name.startswith("on_")}
        # The engine tells a strategy's own errors by the modules of its classes: this one's and the test's.
        base = type("Base", (Strategy,), {"__module__": __name__})
        caller = sys._getframe(1).f_globals["__name__"]
        strategy = type("Small", (base,), {"__module__": caller, **callbacks})()
        if boundaries is None:
            ticks = {int(one.start[0]) for one in several[:1]} | {int(end) for one in several for end in one.end}
            boundaries = iter(sorted(ticks))
        engine = Engine(
            strategy,
            {one.symbol: one for one in several},
            boundaries,
            run_id="unit",
            cash=cash,
            settings=BrokerSettings(**given),
            calendar=calendar,
            params=params,
            finalize=finalize,
            hooks=hooks,
        )
        made = Run(engine, strategy)
        engine.run()
        return made

    return go


@pytest.fixture
def at_bar() -> Callable[..., Callable[..., None]]:
    """`at_bar({0: lambda self: self.buy(1)})`: an `on_bar` that acts on the bars with these places, from 0."""

    def make(acts: Mapping[int, Callable[[Any], object]]) -> Callable[..., None]:
        def on_bar(self: Any, bar: Any) -> None:
            place = self.__dict__.setdefault("_place", 0)
            self._place = place + 1
            if place in acts:
                acts[place](self)

        return on_bar

    return make
