"""Weaver. Timed: `backtest(...)` on a data frame in memory, then `stats`, `fills` and `final_equity`."""

from __future__ import annotations

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

import polars as pl
from measure import Outcome, Run, measure
from strategies.sma_cross import SmaCross
from workloads import CASH, COMMISSION, GRID, STOP, TARGET, Bars

from weaver import Strategy, backtest
from weaver.indicators import sma


class Nothing(Strategy):
    def on_bar(self, bar):
        pass


class SmaCrossOfEach(Strategy):
    def on_start(self):
        self.averages = {}
        for symbol in self.symbols:
            close = self.bars[symbol].close
            self.averages[symbol] = self.indicator(sma, close, 10), self.indicator(sma, close, 30)

    def on_bar(self, bar):
        symbol = bar.symbol
        fast, slow = self.averages[symbol]
        if fast[-1] > slow[-1]:
            if not self.positions[symbol]:
                self.buy(quantity=1, symbol=symbol)
        elif fast[-1] < slow[-1] and self.positions[symbol]:
            self.close(symbol=symbol)


class Bracket(Strategy):
    def on_bar(self, bar):
        if not self.position:
            self.buy(quantity=1, stop_loss=bar.close * STOP, take_profit=bar.close * TARGET)


class Grid(Strategy):
    resting = GRID // 2

    def on_start(self):
        self.rested = False

    def on_bar(self, bar):
        close = bar.close
        if not self.rested:
            self.rested = True
            for step in range(self.resting):
                self.buy(quantity=1, limit=close * 0.5 - step * 0.01)
                self.sell(quantity=1, limit=close * 2.0 + step * 0.01)
        self.buy(quantity=1, limit=close * 1.01)
        self.sell(quantity=1, limit=close * 0.99)


STRATEGIES = {"W1": SmaCross, "W1-real": SmaCross, "W2": Nothing, "W3": SmaCrossOfEach, "W5": Bracket, "W6": Grid}


def prepare(workload: str, bars: Bars) -> Run:
    stamps = pl.Series("timestamp", bars.start_ns).cast(pl.Datetime("ns", "UTC"))
    frames = {
        symbol: pl.DataFrame({"timestamp": stamps, **{name: rows[i] for name, rows in bars.columns.items()}})
        for i, symbol in enumerate(bars.symbols)
    }
    data = frames if len(frames) > 1 else next(iter(frames.values()))

    def run() -> Outcome:
        result = backtest(STRATEGIES[workload], data, cash=CASH, commission=COMMISSION, timeframe="1m")
        assert result.stats
        return Outcome(len(result.fills), result.final_equity)

    return run


measure(prepare)
