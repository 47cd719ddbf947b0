"""Weaver: write a strategy once, as one class, and backtest it bar by bar.

The public names below are imported when they are first used, so that `import weaver` takes less than a millisecond.
Indicators are in `weaver.indicators`, cost models in `weaver.costs`, test tools in `weaver.testing`.
"""

import os
import sys
from importlib import import_module

TYPE_CHECKING = (
    False  # type checkers take it for true; importing `typing` for it would cost half of what this module costs
)
if TYPE_CHECKING:
    from weaver import costs as costs
    from weaver import indicators as indicators
    from weaver.core.bars import Bar, BarSeries
    from weaver.core.errors import (
        ConfigError,
        DataError,
        MissingExtra,
        NaiveDatetimeError,
        OrderError,
        ParameterError,
        StrategyCrashed,
        StrategyError,
        SymbolRequired,
        TimeframeError,
        UnknownSymbol,
        UnsafeFork,
        WeaverError,
    )
    from weaver.core.instrument import Instrument
    from weaver.core.orders import Fill, OrderStatus, Side, TimeInForce, Trail
    from weaver.core.timeframe import Timeframe
    from weaver.data.catalog import Catalog
    from weaver.data.shipped import shipped_bars
    from weaver.data.synthetic import synthetic_bars
    from weaver.events.consumer import EventConsumer
    from weaver.glados.backtest import backtest
    from weaver.glados.clock.backtest import BacktestClock
    from weaver.glados.clock.factory import ClockConfig, create_clock
    from weaver.glados.clock.realtime import RealtimeClock
    from weaver.glados.clock.system import SystemClock
    from weaver.glados.lookahead import check
    from weaver.glados.wiring import open_store
    from weaver.indicators import crossover
    from weaver.marvin.order import Order
    from weaver.marvin.strategy import Strategy
    from weaver.results.result import Result


__version__ = "0.1.0"

_NAMES_OF_MODULES = {
    "weaver.core.bars": ("Bar", "BarSeries"),
    "weaver.core.errors": (
        "ConfigError",
        "DataError",
        "MissingExtra",
        "NaiveDatetimeError",
        "OrderError",
        "ParameterError",
        "StrategyCrashed",
        "StrategyError",
        "SymbolRequired",
        "TimeframeError",
        "UnknownSymbol",
        "UnsafeFork",
        "WeaverError",
    ),
    "weaver.core.instrument": ("Instrument",),
    "weaver.core.orders": ("Fill", "OrderStatus", "Side", "TimeInForce", "Trail"),
    "weaver.core.timeframe": ("Timeframe",),
    "weaver.events.consumer": ("EventConsumer",),
    "weaver.glados.backtest": ("backtest",),
    "weaver.glados.lookahead": ("check",),
    "weaver.glados.clock.backtest": ("BacktestClock",),
    "weaver.glados.clock.factory": ("ClockConfig", "create_clock"),
    "weaver.glados.clock.realtime": ("RealtimeClock",),
    "weaver.glados.clock.system": ("SystemClock",),
    "weaver.glados.wiring": ("open_store",),
    "weaver.indicators": ("crossover",),
    "weaver.marvin.order": ("Order",),
    "weaver.marvin.strategy": ("Strategy",),
    "weaver.results.result": ("Result",),
    "weaver.data.catalog": ("Catalog",),
    "weaver.data.shipped": ("shipped_bars",),
    "weaver.data.synthetic": ("synthetic_bars",),
}
_MODULE_OF = {name: module for module, names in _NAMES_OF_MODULES.items() for name in names}
_MODULES = ("costs", "indicators", "testing")  # so that `import weaver` is enough for weaver.costs.SlippageBps

__all__ = [
    "BacktestClock",
    "Bar",
    "BarSeries",
    "Catalog",
    "ClockConfig",
    "ConfigError",
    "DataError",
    "EventConsumer",
    "Fill",
    "Instrument",
    "MissingExtra",
    "NaiveDatetimeError",
    "Order",
    "OrderError",
    "OrderStatus",
    "ParameterError",
    "RealtimeClock",
    "Result",
    "Side",
    "Strategy",
    "StrategyCrashed",
    "StrategyError",
    "SymbolRequired",
    "SystemClock",
    "TimeInForce",
    "Timeframe",
    "TimeframeError",
    "Trail",
    "UnknownSymbol",
    "UnsafeFork",
    "WeaverError",
    "backtest",
    "check",
    "create_clock",
    "crossover",
    "open_store",
    "shipped_bars",
    "synthetic_bars",
]


if not TYPE_CHECKING:  # a type checker that saw it would believe that every name exists

    def __getattr__(name: str) -> object:
        if name in _MODULES:
            return import_module(f"weaver.{name}")
        try:
            module = _MODULE_OF[name]
        except KeyError:
            raise AttributeError(f"module 'weaver' has no attribute {name!r}") from None
        value = getattr(import_module(module), name)
        globals()[name] = value  # the next look-up does not come here
        return value


def _before_fork() -> None:
    if "polars" in sys.modules:  # without Polars there is no thread that a child could miss
        import_module("weaver.core.fork_safety").note_fork()


def _after_fork_in_child() -> None:
    if "weaver.core.fork_safety" in sys.modules:
        sys.modules["weaver.core.fork_safety"].note_child()


if hasattr(os, "register_at_fork"):  # Windows has no fork
    os.register_at_fork(before=_before_fork, after_in_child=_after_fork_in_child)


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
