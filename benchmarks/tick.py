"""CPU time of one tick over columns that grow, as paper trading runs it: `python benchmarks/tick.py [ROUNDS]`.

The strategy has sma, ema and atr and a history of 5,000 bars. A round is 200 ticks, each with one new bar; the line shows
the median of the rounds and the least of them.
"""

from __future__ import annotations

import sys
import time
from statistics import median

import numpy as np

from weaver import Strategy
from weaver.core.account import Account
from weaver.core.bars import Bar, BarSeries
from weaver.core.timeframe import Timeframe
from weaver.indicators import atr, ema, sma
from weaver.marvin.context import Context
from weaver.marvin.tick import ShownBar, TickInputs, TickProcedure

MINUTE = 60 * 10**9
BARS, TICKS = 5_000, 200


class NoIndicator(Strategy):
    """Reads the newest close."""

    def on_bar(self, bar: Bar) -> None:
        self.close_now = self.bars.close[-1]


class ThreeIndicators(NoIndicator):
    """Reads three indicators at each bar."""

    def on_start(self) -> None:
        bars = self.bars
        self.lines = [
            self.indicator(sma, bars.close, 20),
            self.indicator(ema, bars.close, 20),
            self.indicator(atr, bars.high, bars.low, bars.close, 14),
        ]

    def on_bar(self, bar: Bar) -> None:
        self.sum_now = sum(line[-1] for line in self.lines)


def walk(count: int) -> BarSeries:
    """Return a random walk of one-minute bars."""
    close = 100 + np.cumsum(np.random.default_rng(7).normal(size=count)) * 0.01
    start = np.arange(count, dtype=np.int64) * MINUTE
    columns = {"open": close.copy(), "high": close + 0.1, "low": close - 0.1, "close": close}
    return BarSeries(
        symbol="A", timeframe=Timeframe("1m"), start=start, end=start + MINUTE, volume=np.ones(count), **columns
    )


def round_of(kind: type[Strategy], bars: BarSeries) -> float:
    """Return the CPU time of a tick in microseconds, over TICKS ticks that follow BARS bars."""
    known = bars.rows(0, BARS)
    object.__setattr__(known, "history", BARS)
    account = Account(10_000.0, ["A"], [bars.instrument])
    ticks = TickProcedure(Context(kind(), {"A": known}, account, run_id="benchmark", seed=0, grows=True))
    ticks.start(int(known.end[-1]))
    inputs = []
    for row in range(BARS, BARS + TICKS):
        prices = [float(column[row]) for column in (bars.open, bars.high, bars.low, bars.close, bars.volume)]
        shown = ShownBar(Bar("A", int(bars.start[row]), *prices), int(bars.end[row]))
        inputs.append(TickInputs(tick_ns=shown.end_ns, bars=(shown,), account=account.snapshot()))
    began = time.process_time()
    for each in inputs:
        ticks.tick(each)
    return (time.process_time() - began) / TICKS * 1e6


def main() -> None:
    """Print one line per strategy."""
    rounds = int(sys.argv[1]) if len(sys.argv) > 1 else 9
    bars = walk(BARS + TICKS)
    kinds = (NoIndicator, ThreeIndicators)
    figures: dict[str, list[float]] = {kind.__name__: [] for kind in kinds}
    for _ in range(rounds):
        for kind in kinds:
            figures[kind.__name__].append(round_of(kind, bars))
    for name, values in figures.items():
        print(f"{name}: {median(values):.0f} us CPU a tick at {BARS:,} bars (least {min(values):.0f})")


if __name__ == "__main__":
    main()
