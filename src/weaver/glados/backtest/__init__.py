"""backtest(): run one strategy over bars, on Weaver's own clock, and return its Result.

The public entry of the backtester (Greta). It needs no event loop, and also works inside a running one, in a thread and in a
spawned worker process.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from weaver.core.bars import BarSeries
from weaver.core.calendar import SessionCalendar
from weaver.core.errors import ConfigError, StrategyCrashed, StrategyError
from weaver.core.instrument import Instrument
from weaver.core.replaced_modules import noting_replaced_modules
from weaver.core.text import brief, cut, describe_error
from weaver.core.timeframe import Timeframe
from weaver.glados.backtest.build_result import result_of
from weaver.glados.backtest.options import Instant, RunOptions
from weaver.glados.backtest.plan import RunPlan, plan_run
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
    history: int | Instant | None = None,
    end: Instant | None = None,
    calendar: str | SessionCalendar | None = None,
    tz: str | None = None,
    time_unit: str | None = None,
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
    periods_per_year: float | None = None,
    should_stop: Callable[[], bool] | None = None,
    record: bool = False,
) -> Result:
    """Backtest `strategy` (the class) on `bars` and return the Result.

    Data:
        bars: a Polars or pandas frame, the path of a CSV or Parquet file, a catalog selection, or a mapping of symbols to
            any of these.
        symbols: use these symbols only; their order is the order of the run.
        timeframe: length of a bar, such as "1h" (default: the most common spacing of the bars).
        start, end: use the bars whose start is in [start, end): an aware datetime, a date or ISO text.
        history: bars before `start` that indicators and views include, as a number of bars of each symbol or the instant
            of the first one. `on_bar` is not called for them, and no order fills there.
        tz: time zone of timestamps without one. calendar: exchange ("XNYS") whose sessions the bars follow.
        time_unit: unit of timestamps that are numbers: "s", "ms", "us", "ns", "excel" or "matlab" (default: by their size,
            where that leaves no doubt).
        instrument: lot size, price step, quote currency and so on; one `Instrument` for all symbols, or a mapping.
        params: values of the strategy's parameters. seed: seed of the strategy's `self.random`.
    Account:
        cash: starting cash. leverage: largest gross exposure, as a multiple of equity. cash_only: forbid shorts and
            borrowing. maintenance: liquidate when equity falls below this fraction of the gross exposure.
        borrow, financing: yearly rates for short positions and for borrowed cash (0.03 is 3 %).
    Fills:
        commission: fraction of the notional (0.001 is 0.1 %), an object of `weaver.costs`, or a function.
        slippage, spread: fractions of the price; slippage may also be an object of `weaver.costs`.
        volume_cap: fill at most this fraction of a bar's volume. limit_fill: "touch", or "through" to fill a limit order
            only beyond its price. intrabar: "worst" or "best", the exit that fills where a bar reached two of them.
        finer: bars of a smaller timeframe that decide which of the two was reached first.
        finalize: close open positions at the last close.
    Statistics:
        periods_per_year: number of return periods (sessions) in a year, instead of the one that follows from the data.
    Run:
        progress: True draws a bar on standard error; a function is called with (bars done, bars in all).
        should_stop: called between chunks of bars; the run ends when it returns True.
        record: also store the run in the database (`weaver runs list`). A thread writes it; `result.recording.wait()`
            waits for it, and so does the end of the process.

    Raises DataError for bars that cannot be right, ParameterError and ConfigError for arguments, StrategyError for a
    class that cannot run, UnsafeFork for a Polars frame in a worker process that was forked after a run, and
    StrategyCrashed when the strategy raises; its `result` holds the run up to there.
    """
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
    if not (progress is None or isinstance(progress, bool) or callable(progress)):
        raise ConfigError(
            f"progress={brief(progress)}: give True for a progress bar, or a function of (bars done, bars in all)"
        )
    if not (should_stop is None or callable(should_stop)):
        raise ConfigError(f"should_stop={brief(should_stop)}: give a function that returns True to stop the run")
    if not isinstance(record, bool):
        raise ConfigError(f"record={brief(record)}: must be True or False")
    with noting_replaced_modules():  # a secrets.py next to the script
        plan = plan_run(strategy, bars, options)
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
    """Run a plan; `backtest` is `plan_run` and this function together."""
    instance = _new_strategy(plan)
    run_id = new_run_id()
    recording = _recording(run_id, plan) if record else None
    began = stopwatch_ns()
    engine = Engine(
        instance,
        plan.shown,
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
    except BaseException as error:  # Ctrl-C or exit(): the recording states that the run ended here
        recording.stopped(type(error).__name__, None)
        raise
    result.recording = recording
    return result


def _new_strategy(plan: RunPlan) -> Strategy:
    try:
        instance = plan.strategy()
    except Exception as error:
        raise StrategyError(
            f"{cut(plan.strategy.__name__)}() raised {describe_error(error)}; a strategy is created without arguments: "
            "make its settings parameters (typed class attributes) or set them up in on_start"
        ) from error
    for name, value in plan.params.items():
        setattr(instance, name, value)
    return instance


def _run(engine: Engine, plan: RunPlan, began: int) -> Result:
    try:
        engine.run()
    except StrategyCrashed as crash:
        crash.result = result_of(engine, plan, stopwatch_ns() - began)
        raise
    return result_of(engine, plan, stopwatch_ns() - began)


def _recording(run_id: str, plan: RunPlan) -> RunRecorder:
    from weaver.glados.backtest.run_recorder import RunRecorder
    from weaver.glados.wiring import creates_server, open_store, runs_folder

    return RunRecorder(run_id, plan, open_store, SystemClock(), runs_folder(), new_server=creates_server())


def clock_for(series: Mapping[str, BarSeries], calendar: SessionCalendar | None) -> BacktestClock:
    """Return the clock that ticks from the first bar's start to the last bar's end."""
    all_series = list(series.values())
    first = min(int(bars.start[0]) for bars in all_series)
    last = max(int(bars.end[-1]) for bars in all_series)
    if calendar is not None:
        # A daily bar is named by its date at 00:00 UTC, which in the Far East is after the open of that session.
        opens = calendar.sessions(first, last).open
        first = min(first, int(opens[0])) if len(opens) else first
    return BacktestClock(first, last, all_series[0].timeframe, calendar=calendar)
