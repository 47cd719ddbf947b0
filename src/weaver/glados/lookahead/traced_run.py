"""Traced runs: a strategy run over changed bars, with a record of each command it gives.

A traced run uses the same engine, broker and context as a backtest. A symbol that has no bar before the cut gets one bar of
another price, which is never ticked. The strategy's output is discarded.
"""

from __future__ import annotations

import contextlib
import io
import warnings
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np

from weaver.core.account import Account
from weaver.core.bars import BarSeries, Instants
from weaver.core.errors import StrategyCrashed
from weaver.core.orders import Command, Fill
from weaver.glados.backtest import clock_for
from weaver.glados.backtest.plan import RunPlan
from weaver.glados.clock.backtest import BacktestClock
from weaver.greta.engine import Engine, Hooks
from weaver.marvin.context import Context
from weaver.marvin.indicator import IndicatorInfo
from weaver.marvin.strategy import Strategy

__all__ = ["Crash", "RunTrace", "TracedRunner"]


@dataclass(frozen=True, slots=True)
class Crash:
    """An exception of the strategy: `phase` is "start" (on_start), "run" or "stop" (on_stop), `tick` the instant in ns."""

    phase: str
    tick: int
    error: BaseException

    @property
    def text(self) -> str:
        """The strategy's own exception as one line."""
        cause = self.error.__cause__ or self.error
        return f"{type(cause).__name__}: {' '.join(str(cause).split())}"


@dataclass(slots=True)
class RunTrace:
    """The commands, fills and indicators of one run. `ticks` (ns, rising) and `commands` are parallel."""

    ticks: list[int] = field(default_factory=list)
    commands: list[tuple[Command, ...]] = field(default_factory=list)
    fills: list[Fill] = field(default_factory=list)
    indicators: list[IndicatorInfo] = field(default_factory=list)
    crash: Crash | None = None

    @property
    def orders(self) -> int:
        """The number of commands."""
        return sum(map(len, self.commands))


class TracedRunner:
    """Runs the strategy of a plan on its bars or a changed version of them, each time with a new instance.

    Finer bars (`finer=`) are passed on up to the last tick of a run.
    """

    def __init__(self, plan: RunPlan) -> None:
        self.plan = plan
        self.strategy = plan.strategy
        self.series = dict(plan.shown)
        """The bars by symbol, history included."""
        self.params = dict(plan.params)
        self.calendar = plan.calendar
        self.ticks: Instants = np.unique(np.concatenate([bars.end for bars in plan.series.values()]))
        """Every instant (ns) at which a bar of the run ends, rising."""
        self.timeframe = plan.timeframe
        clock = clock_for(plan.series, plan.calendar)
        self._first = clock.start_time
        # A calendar computes its boundaries slowly, and there are hardly more of them than bars.
        self._boundaries = None if plan.calendar is None else np.fromiter(clock.boundaries(), dtype=np.int64)

    def run(self, series: Mapping[str, BarSeries] | None = None, *, last_tick: int | None = None) -> RunTrace:
        """Run on `series` (default: the bars of the plan) up to and including the tick `last_tick` (ns).

        An exception of the strategy is part of the trace; an error of Weaver itself is raised.
        """
        plan = self.plan
        last_ns = int(self.ticks[-1]) if last_tick is None else last_tick
        trace = RunTrace()

        def record(commands: Sequence[Command], tick_ns: int) -> None:
            trace.ticks.append(tick_ns)
            trace.commands.append(tuple(commands))

        engine = Engine(
            self._instance(),
            self.series if series is None else series,
            self._ticks_until(last_ns),
            run_id="check",
            cash=plan.cash,
            settings=plan.settings,
            seed=plan.seed,
            calendar=plan.calendar,
            params=self.params,
            hooks=Hooks(on_commands=record),
            finalize=plan.finalize,
            finer=None
            if plan.finer is None
            else {symbol: _until(bars, last_ns) for symbol, bars in plan.finer.items()},
        )
        trace.indicators = engine.context.indicators
        try:
            with _silence():
                engine.run()
        except StrategyCrashed as error:
            trace.crash = Crash(engine.context.phase, engine.context.now_ns, error)
        trace.fills = engine.broker.fills
        return trace

    def indicators(self, series: Mapping[str, BarSeries]) -> list[IndicatorInfo] | None:
        """Return the indicators that `on_start` creates on `series`; None where it raises."""
        account = Account(self.plan.cash, list(series), [bars.instrument for bars in series.values()])
        context = Context(
            self._instance(), series, account, run_id="check", seed=self.plan.seed, calendar=self.calendar
        )
        context.now_ns = min(int(bars.start[min(bars.history, len(bars) - 1)]) for bars in series.values())
        try:
            with _silence():
                context.start()
        except Exception:  # noqa: BLE001 - supervises the strategy's code, which runs on fewer bars than it was written for
            return None
        return context.indicators

    def _instance(self) -> Strategy:
        instance = self.strategy()
        for name, value in self.params.items():
            setattr(instance, name, value)
        return instance

    def _ticks_until(self, last_ns: int) -> Iterator[int]:
        if self._boundaries is not None:
            stop = int(np.searchsorted(self._boundaries, last_ns, side="right"))
            return iter(self._boundaries[:stop].tolist())
        return BacktestClock(self._first, last_ns, self.timeframe).boundaries()


def _until(series: BarSeries, last_ns: int) -> BarSeries:
    return series.rows(0, int(np.searchsorted(series.end, last_ns, side="right")))


class _Discard(io.TextIOBase):
    def write(self, text: str) -> int:
        return len(text)


@contextlib.contextmanager
def _silence() -> Iterator[None]:
    """Discard output and warnings: a strategy that prints once in a backtest would print thousands of times here."""
    with warnings.catch_warnings(), contextlib.redirect_stdout(_Discard()), np.errstate(all="ignore"):
        warnings.simplefilter("ignore")
        yield
