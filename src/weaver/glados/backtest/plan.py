"""RunPlan: a run's validated arguments and loaded bars. Everything that can be refused is refused here, before the run."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from weaver.core.bars import BarSeries
from weaver.core.calendar import SessionCalendar
from weaver.core.errors import ConfigError, NoBars, StrategyError
from weaver.core.instants import format_ns
from weaver.core.instrument import Instrument
from weaver.core.text import brief
from weaver.core.timeframe import Timeframe
from weaver.data.load_bars import load_bars
from weaver.glados.backtest.options import RunOptions
from weaver.glados.clock.calendars import get_calendar
from weaver.greta.broker_settings import BrokerSettings
from weaver.greta.costs import Borrow, Financing, commission_of, slippage_of
from weaver.marvin.class_checks import check_runnable
from weaver.marvin.parameters import resolve_values
from weaver.marvin.source_hash import source_hash
from weaver.marvin.strategy import Strategy

__all__ = ["RunPlan", "describe_instruments", "plan_run"]


@dataclass(frozen=True, slots=True, kw_only=True)
class RunPlan:
    """The input of a run. Two runs of one plan make the same decisions and the same fills.

    `series` holds the bars of the run by symbol, in the order of the run; `shown` holds them with the history before them
    (default: without any). `finer` holds bars of a smaller timeframe, by symbol, for `intrabar="drill"`.
    """

    strategy: type[Strategy]
    series: Mapping[str, BarSeries]
    settings: BrokerSettings
    cash: float
    params: Mapping[str, Any]
    shown: Mapping[str, BarSeries] = field(default_factory=dict)
    calendar: SessionCalendar | None = None
    seed: int = 0
    finalize: bool = False
    finer: Mapping[str, BarSeries] | None = None
    warnings: tuple[str, ...] = ()
    started: bool = False
    """Whether `start=` was given without `history=`, so that indicators warm up within the run."""
    periods_per_year: float | None = None

    def __post_init__(self) -> None:
        if not self.shown:
            object.__setattr__(self, "shown", self.series)
        if not self.series or any(not len(bars) for bars in self.series.values()):
            raise NoBars("no bars to run on; check symbols, start and end")

    @property
    def timeframe(self) -> Timeframe:
        """The length of the run's bars."""
        return next(iter(self.series.values())).timeframe

    @property
    def history_ns(self) -> int | None:
        """The start of the first bar of the history; None without any."""
        return min((int(bars.start[0]) for bars in self.shown.values() if bars.history), default=None)

    def describe(self) -> dict[str, object]:
        """Return all settings in force as values that JSON can hold."""
        settings = self.settings.describe()
        if self.finer is not None:
            smaller = next(iter(self.finer.values())).timeframe
            settings["intrabar"] = f"drill into {smaller} bars, worst where they do not tell"
        history = self.history_ns
        stated: dict[str, object] = {} if history is None else {"history": format_ns(history)}
        stated |= {} if self.periods_per_year is None else {"periods_per_year": self.periods_per_year}
        return {
            "cash": self.cash,
            **settings,
            "finalize": self.finalize,
            "seed": self.seed,
            "calendar": None if self.calendar is None else self.calendar.name,
            "instruments": describe_instruments(self.series),
            "finer": None if self.finer is None else str(next(iter(self.finer.values())).timeframe),
            "source": source_hash(self.strategy),
            **stated,
        }


def describe_instruments(series: Mapping[str, BarSeries]) -> dict[str, object]:
    """Return the terms of the instruments as text: once where all symbols share them, otherwise by symbol."""

    def terms(instrument: Instrument) -> dict[str, object]:
        return {
            "lot": format(instrument.lot, "f"),
            "price_step": None if instrument.price_step is None else str(instrument.price_step),
            "multiplier": instrument.multiplier,
            "quote": instrument.quote,
        }

    instruments = {symbol: terms(bars.instrument) for symbol, bars in series.items()}
    first = next(iter(instruments.values()))
    return first if all(each == first for each in instruments.values()) else dict(instruments)


def plan_run(strategy: type[Strategy], bars: Any, options: RunOptions) -> RunPlan:
    """Validate the arguments of `backtest` and load the bars. Raises every error that `backtest` raises before it runs."""
    if not (isinstance(strategy, type) and issubclass(strategy, Strategy)):
        instance = isinstance(strategy, Strategy)
        hint = "pass the class itself, not an instance" if instance else "derive it from weaver.Strategy"
        raise StrategyError(f"{brief(strategy)} is not a strategy class; {hint}")
    if not (options.params is None or isinstance(options.params, Mapping)):
        raise ConfigError(f'params={brief(options.params)}: give a mapping of names to values, such as {{"fast": 10}}')
    warnings = check_runnable(strategy, Strategy._reserved)
    params = resolve_values(strategy, options.params)
    _check_account(options)
    settings = _broker_settings(options)
    calendar = get_calendar(options.calendar) if isinstance(options.calendar, str) else options.calendar
    if not (calendar is None or isinstance(calendar, SessionCalendar)):
        raise ConfigError(
            f'calendar={brief(calendar)}: give the name of an exchange, such as "XNYS", or a SessionCalendar'
        )
    series = load_bars(
        bars,
        symbols=[options.symbols] if isinstance(options.symbols, str) else options.symbols,
        timeframe=options.timeframe,
        start=options.start,
        history=options.history,
        end=options.end,
        calendar=calendar,
        tz=options.tz,
        time_unit=options.time_unit,
        instrument=options.instrument,
    )
    finer = options.finer
    return RunPlan(
        strategy=strategy,
        series={symbol: bars.without_history() for symbol, bars in series.items()},
        shown=series,
        started=options.start is not None and options.history is None,
        settings=settings,
        cash=float(options.cash),
        params=params,
        calendar=calendar,
        seed=int(options.seed),
        finalize=options.finalize,
        warnings=warnings,
        finer=None
        if finer is None
        else load_bars(finer, symbols=list(series), calendar=calendar, tz=options.tz, time_unit=options.time_unit),
        periods_per_year=None if options.periods_per_year is None else float(options.periods_per_year),
    )


def _check_account(options: RunOptions) -> None:
    cash, seed, finalize = options.cash, options.seed, options.finalize
    if not (_is_number(cash) and math.isfinite(cash) and cash > 0):
        raise ConfigError(f"cash={brief(cash)}: must be a number greater than zero")
    if isinstance(seed, bool) or not isinstance(seed, int | np.integer) or seed < 0:
        raise ConfigError(f"seed={brief(seed)}: must be a whole number, zero or greater")
    periods = options.periods_per_year
    if periods is not None and not (_is_number(periods) and math.isfinite(periods) and periods > 0):
        raise ConfigError(f"periods_per_year={brief(periods)}: must be a number greater than zero, such as 252 or 365")
    if not isinstance(finalize, bool):
        raise ConfigError(f"finalize={brief(finalize)}: must be True or False")
    if options.intrabar == "drill" and options.finer is None:
        raise ConfigError('intrabar="drill" needs the smaller bars: backtest(..., finer=bars_of_a_smaller_timeframe)')
    if options.finer is not None and options.intrabar == "best":
        raise ConfigError(
            'intrabar="best" and finer= contradict each other: where the smaller bars leave the order open, the worse '
            "order fills; leave one of them out"
        )


def _broker_settings(options: RunOptions) -> BrokerSettings:
    borrow, financing, intrabar = options.borrow, options.financing, options.intrabar
    return BrokerSettings(
        commission=commission_of(options.commission),
        slippage=slippage_of(options.slippage),
        spread=0.0 if options.spread is None else options.spread,
        leverage=options.leverage,
        cash_only=options.cash_only,
        maintenance=options.maintenance,
        borrow_rate=borrow.annual_rate if isinstance(borrow, Borrow) else borrow,
        financing_rate=financing.annual_rate if isinstance(financing, Financing) else financing,
        volume_cap=options.volume_cap,
        intrabar="drill" if options.finer is not None and intrabar == "worst" else intrabar,
        limit_fill=options.limit_fill,
    )


def _is_number(value: object) -> bool:
    return isinstance(value, int | float | np.integer | np.floating) and not isinstance(value, bool)
