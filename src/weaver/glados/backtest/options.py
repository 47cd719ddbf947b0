"""RunOptions: the arguments that decide a run's outcome, as one frozen value that `backtest()` and `check()` both fill.

It checks nothing: `plan_run` validates the options together with the strategy and the bars. A test compares its fields with
the signatures of `backtest()` and `check()` and with the options of the command line (`weaver.cli.options`).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import date, datetime
from typing import Any

from weaver.core.calendar import SessionCalendar
from weaver.core.instrument import Instrument
from weaver.core.timeframe import Timeframe
from weaver.greta.costs import Borrow, Commission, Financing, Slippage

__all__ = ["Instant", "RunOptions"]

Instant = datetime | date | str


@dataclass(frozen=True, slots=True, kw_only=True)
class RunOptions:
    """The options of one run; `weaver.backtest` documents each. Progress, recording and cancellation are not among them."""

    cash: float = 100_000
    commission: float | Commission | Callable[[float, float, float, bool], float] | None = 0.0
    slippage: float | Slippage | None = None
    spread: float | None = None
    leverage: float = 1.0
    cash_only: bool = False
    finalize: bool = False
    params: Mapping[str, Any] | None = None
    symbols: Sequence[str] | str | None = None
    timeframe: str | Timeframe | None = None
    start: Instant | None = None
    history: int | Instant | None = None
    end: Instant | None = None
    calendar: str | SessionCalendar | None = None
    tz: str | None = None
    time_unit: str | None = None
    instrument: Instrument | Mapping[str, Instrument] | None = None
    intrabar: str = "worst"
    finer: Any = None
    seed: int = 0
    limit_fill: str = "touch"
    volume_cap: float | None = None
    maintenance: float | None = None
    borrow: float | Borrow = 0.0
    financing: float | Financing = 0.0
    periods_per_year: float | None = None
