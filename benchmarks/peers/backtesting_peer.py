"""backtesting.py 0.6.6. Timed: `Backtest(...).run()`, which computes its statistics. One instrument only."""

from __future__ import annotations

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

import pandas as pd
from backtesting import Backtest, Strategy
from measure import Outcome, Run, measure
from workloads import CASH, COMMISSION, FAST, GRID, SLOW, STOP, TARGET, Bars


def average(values, period):
    return pd.Series(values).rolling(period).mean()


class SmaCross(Strategy):
    def init(self):
        self.fast = self.I(average, self.data.Close, FAST)
        self.slow = self.I(average, self.data.Close, SLOW)

    def next(self):
        if self.fast[-1] > self.slow[-1]:
            if not self.position:
                self.buy(size=1)
        elif self.fast[-1] < self.slow[-1] and self.position:
            self.position.close()


class Nothing(Strategy):
    def init(self):
        pass

    def next(self):
        pass


class Bracket(Nothing):
    def next(self):
        if not self.position:
            close = self.data.Close[-1]
            self.buy(size=1, sl=close * STOP, tp=close * TARGET)


class Grid(Strategy):
    def init(self):
        self.rested = False

    def next(self):
        close = self.data.Close[-1]
        if not self.rested:
            self.rested = True
            for step in range(GRID // 2):
                self.buy(size=1, limit=close * 0.5 - step * 0.01)
                self.sell(size=1, limit=close * 2.0 + step * 0.01)
        self.buy(size=1, limit=close * 1.01)
        self.sell(size=1, limit=close * 0.99)


STRATEGIES = {"W2": Nothing, "W5": Bracket, "W6": Grid}


def prepare(workload: str, bars: Bars) -> Run:
    frame = pd.DataFrame(
        {name.title(): rows[0] for name, rows in bars.columns.items()}, index=pd.to_datetime(bars.start_ns)
    )

    def run() -> Outcome:
        strategy = STRATEGIES.get(workload, SmaCross)
        stats = Backtest(frame, strategy, cash=CASH, commission=COMMISSION).run()
        still_open = len(stats["_strategy"].trades)
        return Outcome(2 * len(stats["_trades"]) + still_open, float(stats["Equity Final [$]"]))

    return run


measure(prepare)
