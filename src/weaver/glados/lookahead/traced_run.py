"""Checked runs: a strategy run again and again over changed bars, with every decision it takes written down.

A run here goes through the same engine, broker and context as a backtest; nothing is simulated more simply. Where a symbol
has no bar yet by the cut, one stand-in bar of another price takes its place and is never ticked. What a strategy prints is
dropped.
"""

from __future__ import annotations

import contextlib
import io
import warnings
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from weaver.core.account import Account
from weaver.core.bars import BarSeries, Instants
from weaver.core.calendar import SessionCalendar
from weaver.core.errors import StrategyCrashed
from weaver.core.orders import Command, Fill
from weaver.glados.backtest import clock_for
from weaver.glados.clock.backtest import BacktestClock
from weaver.greta.broker import SimulatedBroker
from weaver.greta.broker_settings import BrokerSettings
from weaver.greta.engine import Engine
from weaver.marvin.context import Context
from weaver.marvin.indicator import IndicatorInfo
from weaver.marvin.strategy import Strategy

__all__ = ["Crash", "RunTrace", "Runner"]


@dataclass(frozen=True, slots=True)
class Crash:
    """How a strategy raised: `phase` is "start" (in on_start), "run" or "stop"; `tick` the instant in ns."""

    phase: str
    tick: int
    error: BaseException

    @property
    def text(self) -> str:
        """The strategy's own exception in one line."""
        cause = self.error.__cause__ or self.error
        return f"{type(cause).__name__}: {' '.join(str(cause).split())}"


@dataclass(slots=True)
class RunTrace:
    """What one run decided, tick by tick, and what came of it. `ticks` and `commands` are parallel, in order of time."""

    ticks: list[int] = field(default_factory=list)
    commands: list[tuple[Command, ...]] = field(default_factory=list)
    fills: list[Fill] = field(default_factory=list)
    indicators: list[IndicatorInfo] = field(default_factory=list)
    crash: Crash | None = None

    @property
    def orders(self) -> int:
        """How many commands were given."""
        return sum(map(len, self.commands))


class _TracedBroker(SimulatedBroker):
    """The backtest's own broker, which also keeps the commands that it receives."""

    def __init__(self, engine: Engine, settings: BrokerSettings, recording: RunTrace) -> None:
        super().__init__(engine.context, engine.account, settings)
        self._recording = recording

    def send(self, commands: Sequence[Command], tick_ns: int) -> None:
        self._recording.ticks.append(tick_ns)
        self._recording.commands.append(tuple(commands))
        super().send(commands, tick_ns)


class Runner:
    """Runs `strategy` over `series` or a changed version of it, each time with a new instance and the same settings."""

    def __init__(
        self,
        strategy: type[Strategy],
        series: Mapping[str, BarSeries],
        params: Mapping[str, Any],
        settings: BrokerSettings,
        cash: float,
        calendar: SessionCalendar | None,
        seed: int,
    ) -> None:
        self.strategy = strategy
        self.series = dict(series)
        self.params = dict(params)
        self.settings = settings
        self.cash = cash
        self.calendar = calendar
        self.seed = seed
        self.ticks: Instants = np.unique(np.concatenate([one.end for one in self.series.values()]))
        """Every instant at which a bar ends, rising."""
        self.timeframe = next(iter(self.series.values())).timeframe
        clock = clock_for(self.series, calendar)
        self._first = clock.start_time
        # A calendar lays out its boundaries slowly, and there are hardly more of them than bars.
        self._boundaries = None if calendar is None else np.fromiter(clock.boundaries(), dtype=np.int64)

    def run(self, series: Mapping[str, BarSeries] | None = None, *, last_tick: int | None = None) -> RunTrace:
        """One run, over the bars as they are unless others are given, up to and including the tick `last_tick` (ns).

        A strategy that raises is recorded and not raised; an error of Weaver's own is raised.
        """
        engine = Engine(
            self._instance(),
            self.series if series is None else series,
            self._ticks_until(int(self.ticks[-1]) if last_tick is None else last_tick),
            run_id="check",
            cash=self.cash,
            settings=self.settings,
            seed=self.seed,
            calendar=self.calendar,
            params=self.params,
        )
        recording = RunTrace(indicators=engine.context.indicators)
        broker = engine.broker = _TracedBroker(engine, self.settings, recording)
        try:
            with _silence():
                engine.run()
        except StrategyCrashed as error:
            recording.crash = Crash(engine.context.phase, engine.context.now_ns, error)
        recording.fills = broker.fills
        return recording

    def indicators(self, series: Mapping[str, BarSeries]) -> list[IndicatorInfo] | None:
        """The indicators that `on_start` makes over `series`, without running on; None where it raises."""
        account = Account(self.cash, list(series), [one.instrument for one in series.values()])
        context = Context(self._instance(), series, account, run_id="check", seed=self.seed, calendar=self.calendar)
        context.now_ns = min(int(one.start[0]) for one in series.values())
        try:
            with _silence():
                context.start()
        except Exception:  # noqa: BLE001 - the strategy's own code, on less data than it was written for
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


class _Nowhere(io.TextIOBase):
    def write(self, text: str) -> int:
        return len(text)


@contextlib.contextmanager
def _silence() -> Iterator[None]:
    """A strategy prints once in a backtest and would thousands of times here; the same goes for what NumPy warns of."""
    with warnings.catch_warnings(), contextlib.redirect_stdout(_Nowhere()), np.errstate(all="ignore"):
        warnings.simplefilter("ignore")
        yield
