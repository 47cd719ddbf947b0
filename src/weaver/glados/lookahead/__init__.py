"""check(): whether a strategy's decisions use later bars, tested by removing and scrambling the bars after each bar.

The result holds for the given bars and parameters, and only for data that reaches the strategy through the run: a file that
the strategy reads itself is not covered. docs/checking.md lists the limits.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from weaver.core.calendar import SessionCalendar
from weaver.core.errors import ConfigError
from weaver.core.instrument import Instrument
from weaver.core.text import brief
from weaver.core.timeframe import Timeframe
from weaver.glados.backtest.options import Instant, RunOptions
from weaver.glados.backtest.plan import plan_run
from weaver.glados.lookahead.checker import LookaheadChecker
from weaver.glados.lookahead.outside_state import OutsideState
from weaver.glados.lookahead.report import CheckReport
from weaver.glados.lookahead.traced_run import TracedRunner
from weaver.greta.costs import Borrow, Commission, Financing, Slippage
from weaver.marvin.strategy import Strategy

__all__ = ["RENAMED_OPTIONS", "check"]

RENAMED_OPTIONS = {
    "history": "history= now adds bars before start= for the indicators, as in backtest; bars of a live run are lookback=",
    "seed": "seed= now seeds the strategy's self.random, as in backtest; the seed of the sample of cuts is sample_seed=",
}
"""Arguments of `check` whose meaning changed in this version, with the sentence that each use prints."""


def check(
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
    history: int | Instant | None = None,
    end: Instant | None = None,
    calendar: str | SessionCalendar | None = None,
    tz: str | None = None,
    time_unit: str | None = None,
    instrument: Instrument | Mapping[str, Instrument] | None = None,
    intrabar: str = "worst",
    finer: Any = None,
    seed: int = 0,
    limit_fill: str = "touch",
    volume_cap: float | None = None,
    maintenance: float | None = None,
    borrow: float | Borrow = 0.0,
    financing: float | Financing = 0.0,
    periods_per_year: float | None = None,
    cuts: int | None = None,
    lookback: int | None = None,
    sample_seed: int = 0,
    progress: Callable[[int, int], object] | None = None,
) -> CheckReport:
    """Check `strategy` (the class) on `bars` for look-ahead, repeatability and restarts, and return a CheckReport.

    After each of up to 2,000 bars the later bars are removed, and once more scrambled. All orders and all indicator values
    up to that bar must stay the same. With more bars, every edge of missing values and a sample of the others are cut.

    cuts: the largest number of cuts instead. sample_seed: seed of the sample and of the scrambled bars. lookback: number of
    bars that a live run will have; the report names indicators that depend on more. progress: called with (cuts done, cuts
    in all). All other arguments are those of `backtest` and mean the same.

    Raises the errors of `backtest`, StrategyCrashed included, where the strategy fails on all of the bars. A strategy that
    fails on fewer bars only is a finding.
    """
    if history is not None:
        warnings.warn(f"check(): {RENAMED_OPTIONS['history']}", FutureWarning, stacklevel=2)
    if seed:
        warnings.warn(f"check(): {RENAMED_OPTIONS['seed']}", FutureWarning, stacklevel=2)
    options = RunOptions(
        cash=cash,
        commission=commission,
        slippage=slippage,
        spread=spread,
        leverage=leverage,
        cash_only=cash_only,
        finalize=finalize,
        params=params,
        symbols=symbols,
        timeframe=timeframe,
        start=start,
        history=history,
        end=end,
        calendar=calendar,
        tz=tz,
        time_unit=time_unit,
        instrument=instrument,
        intrabar=intrabar,
        finer=finer,
        seed=seed,
        limit_fill=limit_fill,
        volume_cap=volume_cap,
        maintenance=maintenance,
        borrow=borrow,
        financing=financing,
        periods_per_year=periods_per_year,
    )
    for name, value, least in (("cuts", cuts, 1), ("lookback", lookback, 1), ("sample_seed", sample_seed, 0)):
        if value is not None and (isinstance(value, bool) or not isinstance(value, int)):
            raise ConfigError(f"{name}={brief(value)}: must be a whole number")
        if value is not None and value < least:
            raise ConfigError(f"{name}={brief(value)}: must be at least {least}")
    runner = TracedRunner(plan_run(strategy, bars, options))
    checker = LookaheadChecker(
        runner, OutsideState(strategy), limit=cuts, lookback=lookback, sample_seed=sample_seed, progress=progress
    )
    return checker.report()
