"""Plan: a run as it was asked for, understood and checked before anything runs."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import date, datetime
from typing import Any

import numpy as np

from weaver.core.bars import BarSeries
from weaver.core.calendar import SessionCalendar
from weaver.core.errors import ConfigError, NoBars, StrategyError
from weaver.core.instrument import Instrument
from weaver.core.timeframe import Timeframe
from weaver.data.load_bars import load_bars
from weaver.glados.clock.calendars import get_calendar
from weaver.greta.broker_settings import BrokerSettings
from weaver.greta.costs import Borrow, Commission, Financing, Slippage, commission_of, slippage_of
from weaver.marvin.parameters import resolve_values
from weaver.marvin.strategy import Strategy

__all__ = ["Instant", "RunPlan", "plan_run"]

Instant = datetime | date | str


@dataclass(frozen=True, slots=True, kw_only=True)
class RunPlan:
    """Everything that a run needs and nothing that it does: two runs of one plan are equal.

    `finer` holds bars of a smaller timeframe, by symbol, for `intrabar="drill"`.
    """

    strategy: type[Strategy]
    series: Mapping[str, BarSeries]
    settings: BrokerSettings
    cash: float
    params: Mapping[str, Any]
    calendar: SessionCalendar | None = None
    seed: int = 0
    finalize: bool = False
    finer: Mapping[str, BarSeries] | None = None

    def __post_init__(self) -> None:
        if not self.series or any(not len(one) for one in self.series.values()):
            raise NoBars("no bars to run on; check symbols, start and end")

    @property
    def timeframe(self) -> Timeframe:
        """The length of the run's bars."""
        return next(iter(self.series.values())).timeframe

    def describe(self) -> dict[str, object]:
        """All settings in force, ready for JSON."""
        settings = self.settings.describe()
        if self.finer is not None:
            smaller = next(iter(self.finer.values())).timeframe
            settings["intrabar"] = f"drill into {smaller} bars, worst where they do not tell"
        return {
            "cash": self.cash,
            **settings,
            "finalize": self.finalize,
            "seed": self.seed,
            "calendar": None if self.calendar is None else self.calendar.name,
        }


def plan_run(
    strategy: type[Strategy],
    bars: Any,
    *,
    cash: float = 100_000,
    commission: float | Commission | Callable[[float, float, float, bool], float] | None = 0.0,
    slippage: float | Slippage | None = None,
    spread: float | None = None,
    leverage: float = 1.0,
    cash_only: bool = False,
    finalize: bool = False,
    params: Mapping[str, Any] | None = None,
    symbols: Sequence[str] | str | None = None,
    timeframe: str | Timeframe | None = None,
    start: Instant | None = None,
    end: Instant | None = None,
    calendar: str | SessionCalendar | None = None,
    tz: str | None = None,
    instrument: Instrument | Mapping[str, Instrument] | None = None,
    intrabar: str = "worst",
    finer: Any = None,
    seed: int = 0,
    limit_fill: str = "touch",
    volume_cap: float | None = None,
    maintenance: float | None = None,
    borrow: float | Borrow = 0.0,
    financing: float | Financing = 0.0,
) -> RunPlan:
    """The arguments of `backtest`, understood. Raises what `backtest` raises before it runs."""
    if not (isinstance(strategy, type) and issubclass(strategy, Strategy)):
        instance = isinstance(strategy, Strategy)
        hint = "pass the class itself, not an instance" if instance else "derive it from weaver.Strategy"
        raise StrategyError(f"{strategy!r} is not a strategy class; {hint}")
    if not (params is None or isinstance(params, Mapping)):
        raise ConfigError(f'params={params!r}: give a mapping of names to values, such as {{"fast": 10}}')
    values = resolve_values(strategy, params)
    if not (_is_number(cash) and math.isfinite(cash) and cash > 0):
        raise ConfigError(f"cash={cash!r}: must be a number greater than zero")
    if isinstance(seed, bool) or not isinstance(seed, int | np.integer) or seed < 0:
        raise ConfigError(f"seed={seed!r}: must be a whole number, zero or greater")
    if not isinstance(finalize, bool):
        raise ConfigError(f"finalize={finalize!r}: must be True or False")
    if intrabar == "drill" and finer is None:
        raise ConfigError('intrabar="drill" needs the smaller bars: backtest(..., finer=bars_of_a_smaller_timeframe)')
    if finer is not None and intrabar == "best":
        raise ConfigError(
            'intrabar="best" and finer= contradict each other: where the smaller bars do not tell, the worse order fills; '
            "leave one of them out"
        )
    settings = BrokerSettings(
        commission=commission_of(commission),
        slippage=slippage_of(slippage),
        spread=0.0 if spread is None else spread,
        leverage=leverage,
        cash_only=cash_only,
        maintenance=maintenance,
        borrow_rate=borrow.annual_rate if isinstance(borrow, Borrow) else borrow,
        financing_rate=financing.annual_rate if isinstance(financing, Financing) else financing,
        volume_cap=volume_cap,
        intrabar="drill" if finer is not None and intrabar == "worst" else intrabar,
        limit_fill=limit_fill,
    )
    sessions = get_calendar(calendar) if isinstance(calendar, str) else calendar
    if not (sessions is None or isinstance(sessions, SessionCalendar)):
        raise ConfigError(f'calendar={calendar!r}: give the name of an exchange, such as "XNYS", or a SessionCalendar')
    series = load_bars(
        bars,
        symbols=[symbols] if isinstance(symbols, str) else symbols,
        timeframe=timeframe,
        start=start,
        end=end,
        calendar=sessions,
        tz=tz,
        instrument=instrument,
    )
    return RunPlan(
        strategy=strategy,
        series=series,
        settings=settings,
        cash=float(cash),
        params=values,
        calendar=sessions,
        seed=int(seed),
        finalize=finalize,
        finer=None if finer is None else load_bars(finer, symbols=list(series), calendar=sessions, tz=tz),
    )


def _is_number(value: object) -> bool:
    return isinstance(value, int | float | np.integer | np.floating) and not isinstance(value, bool)
