"""backtest(): runs one strategy over bars, on Weaver's own clock, and gives back everything about it.

The public entry of the backtester (Greta). It needs no event loop, and works inside a running one, in a thread and in a
worker process: a backtest waits for nothing but the processor.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from weaver.core.bars import BarSeries
from weaver.core.calendar import SessionCalendar
from weaver.core.errors import ConfigError, StrategyCrashed, StrategyError
from weaver.core.instrument import Instrument
from weaver.core.timeframe import Timeframe
from weaver.glados.backtest.build_result import result_of
from weaver.glados.backtest.plan import Instant, RunPlan, plan_run
from weaver.glados.backtest.progress import Progress
from weaver.glados.clock.backtest import BacktestClock
from weaver.glados.clock.system import SystemClock, new_run_id, stopwatch_ns
from weaver.greta.costs import Borrow, Commission, Financing, Slippage
from weaver.greta.engine import Engine, Hooks
from weaver.marvin.strategy import Strategy
from weaver.results.result import Result

if TYPE_CHECKING:
    from weaver.glados.backtest.run_recorder import RunRecorder

__all__ = ["backtest", "clock_for", "run_plan"]


def backtest(
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
    progress: Callable[[int, int], object] | bool | None = None,
    limit_fill: str = "touch",
    volume_cap: float | None = None,
    maintenance: float | None = None,
    borrow: float | Borrow = 0.0,
    financing: float | Financing = 0.0,
    should_stop: Callable[[], bool] | None = None,
    record: bool = False,
) -> Result:
    """Run `strategy` (the class) over `bars` and return its Result.

    `bars` is a Polars or pandas frame, a Parquet or CSV path, a catalog selection, or a mapping symbol -> any of these.
    `commission` is a fraction of the notional (0.001 is 0.1 %), `slippage` and `spread` fractions of the price, or objects
    of `weaver.costs`. `start` and `end` select the bars whose start lies in [start, end). `calendar` names an exchange
    ("XNYS") whose sessions the bars follow; `tz` says in which zone naive intraday times were written.
    `finalize=True` closes open positions at their last close. `intrabar` is "worst" or "best": who wins where a bar could
    have filled either of two rival orders; `finer=`, bars of a smaller timeframe, looks up which was first.
    `limit_fill="through"` fills a limit only beyond its price, `volume_cap=0.1`
    at most a tenth of a bar's volume. `borrow` and `financing` are yearly rates. `progress` is True for a bar on standard
    error, or a function of (bars done, bars in all). `should_stop` is asked between chunks of bars. `record=True` keeps the
    run in the store (`weaver runs list`): it is written by a thread, which `result.recording.wait()` waits for, and the
    process does at its end.

    Raises DataError for bars that cannot be right, ParameterError and ConfigError for settings, and StrategyCrashed when the
    strategy raises; what was done by then is its `result`.
    """
    if not (progress is None or isinstance(progress, bool) or callable(progress)):
        raise ConfigError(
            f"progress={progress!r}: give True for a progress bar, or a function of (bars done, bars in all)"
        )
    if not (should_stop is None or callable(should_stop)):
        raise ConfigError(f"should_stop={should_stop!r}: give a function that says whether to stop")
    plan = plan_run(
        strategy,
        bars,
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
        end=end,
        calendar=calendar,
        tz=tz,
        instrument=instrument,
        intrabar=intrabar,
        finer=finer,
        seed=seed,
        limit_fill=limit_fill,
        volume_cap=volume_cap,
        maintenance=maintenance,
        borrow=borrow,
        financing=financing,
    )
    if not isinstance(record, bool):
        raise ConfigError(f"record={record!r}: must be True or False")
    if progress is True:
        with Progress(draw=True) as show:
            return run_plan(plan, show, should_stop, record=record)
    return run_plan(plan, progress if callable(progress) else None, should_stop, record=record)


def run_plan(
    plan: RunPlan,
    progress: Callable[[int, int], object] | None = None,
    should_stop: Callable[[], bool] | None = None,
    *,
    record: bool = False,
) -> Result:
    """Run what `plan_run` has understood; `backtest` is the two together."""
    try:
        instance = plan.strategy()
    except Exception as error:
        raise StrategyError(
            f"{plan.strategy.__name__}() raised {type(error).__name__}: {error}; a strategy is made without arguments: what "
            "it needs is a parameter (a typed class attribute) or set up in on_start"
        ) from error
    for name, value in plan.params.items():
        setattr(instance, name, value)
    run_id = new_run_id()
    recording = _recording(run_id, plan) if record else None
    began = stopwatch_ns()
    engine = Engine(
        instance,
        plan.series,
        clock_for(plan.series, plan.calendar).boundaries(),
        run_id=run_id,
        cash=plan.cash,
        settings=plan.settings,
        seed=plan.seed,
        calendar=plan.calendar,
        params=plan.params,
        finalize=plan.finalize,
        hooks=Hooks(
            stopwatch=stopwatch_ns,
            progress=progress,
            should_stop=should_stop,
            sink=None if recording is None else recording.sink,
        ),
        finer=plan.finer,
    )
    if recording is None:
        return _run(engine, plan, began)
    try:
        recording.start(lambda: engine.bars_done)
        result = _run(engine, plan, began)
        if engine.finished:
            recording.completed(result)
        else:
            recording.stopped(engine.stopped_by, result)
    except StrategyCrashed as crash:
        recording.failed(crash, crash.result)
        crash.result.recording = recording
        raise
    except BaseException as error:  # a Ctrl-C, an exit(): the run ends here, and its trace says so
        recording.stopped(type(error).__name__, None)
        raise
    result.recording = recording
    return result


def _run(engine: Engine, plan: RunPlan, began: int) -> Result:
    try:
        engine.run()
    except StrategyCrashed as crash:
        crash.result = result_of(engine, plan, stopwatch_ns() - began)
        raise
    return result_of(engine, plan, stopwatch_ns() - began)


def _recording(run_id: str, plan: RunPlan) -> RunRecorder:
    from weaver.glados.backtest.run_recorder import RunRecorder
    from weaver.glados.wiring import open_store, runs_folder

    return RunRecorder(run_id, plan, open_store, SystemClock().now_ns, runs_folder())


def clock_for(series: Mapping[str, BarSeries], calendar: SessionCalendar | None) -> BacktestClock:
    """The clock that ticks from the first bar's start to the last bar's end."""
    all_series = list(series.values())
    first = min(int(one.start[0]) for one in all_series)
    last = max(int(one.end[-1]) for one in all_series)
    if calendar is not None:
        # A daily bar is named by its date at 00:00 UTC, which in the far east lies after that session's open.
        opens = calendar.sessions(first, last).open
        first = min(first, int(opens[0])) if len(opens) else first
    return BacktestClock(first, last, all_series[0].timeframe, calendar=calendar)
