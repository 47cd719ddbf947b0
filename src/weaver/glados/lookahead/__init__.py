"""check(): whether a strategy's decisions use the future, on given bars, by taking the future away and making up another.

It proves something about these bars and these parameters, not about all others, and only about data that goes through the
run: a strategy that reads a file of its own is beyond it. What it cannot see is listed in docs/checking.md.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from weaver.core.calendar import SessionCalendar
from weaver.core.errors import ConfigError
from weaver.core.instrument import Instrument
from weaver.core.timeframe import Timeframe
from weaver.glados.backtest.plan import Instant, plan_run
from weaver.glados.lookahead.checker import LookaheadChecker
from weaver.glados.lookahead.outside_state import OutsideState
from weaver.glados.lookahead.report import CheckReport
from weaver.glados.lookahead.traced_run import Runner
from weaver.greta.costs import Borrow, Commission, Financing, Slippage
from weaver.marvin.strategy import Strategy

__all__ = ["check"]


def check(
    strategy: type[Strategy],
    bars: Any,
    *,
    params: Mapping[str, Any] | None = None,
    cash: float = 100_000,
    commission: float | Commission | Callable[[float, float, float, bool], float] | None = 0.0,
    slippage: float | Slippage | None = None,
    spread: float | None = None,
    leverage: float = 1.0,
    cash_only: bool = False,
    symbols: Sequence[str] | str | None = None,
    timeframe: str | Timeframe | None = None,
    start: Instant | None = None,
    end: Instant | None = None,
    calendar: str | SessionCalendar | None = None,
    tz: str | None = None,
    instrument: Instrument | Mapping[str, Instrument] | None = None,
    intrabar: str = "worst",
    limit_fill: str = "touch",
    volume_cap: float | None = None,
    maintenance: float | None = None,
    borrow: float | Borrow = 0.0,
    financing: float | Financing = 0.0,
    seed: int = 0,
    cuts: int | None = None,
    history: int | None = None,
    progress: Callable[[int, int], object] | None = None,
) -> CheckReport:
    """Whether `strategy` (the class) is free of look-ahead, repeatable and restartable on `bars`.

    After each of up to 2,000 bars the rest is cut off, and once more scrambled, and all orders up to there and all
    indicator values up to there must stay what they were. Beyond 2,000 bars every edge of missing values is cut and a sample
    drawn by `seed`; `cuts` is the most cuts to try instead. `history` is how many bars a live run would be shown, for
    the report of what remembers longer. `progress` is called with (cuts done, cuts in all).

    Raises what `backtest` raises, StrategyCrashed included, where the strategy fails on all of the bars; where it fails on
    fewer of them, that is a finding. The arguments that are not named here are `backtest`'s.
    """
    for name, value in (("cuts", cuts), ("history", history)):
        if value is not None and (isinstance(value, bool) or not isinstance(value, int)):
            raise ConfigError(f"{name}={value!r}: must be a whole number")
        if value is not None and value < 1:
            raise ConfigError(f"{name}={value!r}: must be at least 1")
    plan = plan_run(
        strategy,
        bars,
        cash=cash,
        commission=commission,
        slippage=slippage,
        spread=spread,
        leverage=leverage,
        cash_only=cash_only,
        params=params,
        symbols=symbols,
        timeframe=timeframe,
        start=start,
        end=end,
        calendar=calendar,
        tz=tz,
        instrument=instrument,
        intrabar=intrabar,
        seed=seed,
        limit_fill=limit_fill,
        volume_cap=volume_cap,
        maintenance=maintenance,
        borrow=borrow,
        financing=financing,
    )
    runner = Runner(strategy, plan.series, plan.params, plan.settings, plan.cash, plan.calendar, plan.seed)
    return LookaheadChecker(runner, OutsideState(strategy), cuts, history, progress).report()
