"""backtesting.py 0.6.6. Timed: `Backtest(...).run()`, which computes its statistics. One instrument only."""

from __future__ import annotations

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

import pandas as pd
from backtesting import Backtest, Strategy
from measure import Outcome, Run, measure
from workloads import CASH, COMMISSION, FAST, SLOW, Bars


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


def prepare(workload: str, bars: Bars) -> Run:
    frame = pd.DataFrame(
        {name.title(): rows[0] for name, rows in bars.columns.items()}, index=pd.to_datetime(bars.start_ns)
    )

    def run() -> Outcome:
        strategy = Nothing if workload == "W2" else SmaCross
        stats = Backtest(frame, strategy, cash=CASH, commission=COMMISSION).run()
        still_open = len(stats["_strategy"].trades)
        return Outcome(2 * len(stats["_trades"]) + still_open, float(stats["Equity Final [$]"]))

    return run


measure(prepare)
