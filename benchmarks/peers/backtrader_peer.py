"""backtrader 1.9.78.123. Timed: feeds, `Cerebro.run()` with drawdown and trade analysers, without observers."""

from __future__ import annotations

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

import backtrader as bt
from measure import Outcome, Run, measure
from workloads import CASH, COMMISSION, FAST, SLOW, Bars

DAY_NS = 86_400_000_000_000
ORDINAL_1970 = 719_163


class Feed(bt.feed.DataBase):
    """Bars from lists, which is cheaper than a pandas frame."""

    params = (("rows", None), ("timeframe", bt.TimeFrame.Minutes), ("compression", 1))

    def start(self):
        super().start()
        self.iterator = iter(self.p.rows)

    def _load(self):
        row = next(self.iterator, None)
        if row is None:
            return False
        lines = self.lines
        lines.datetime[0], lines.open[0], lines.high[0], lines.low[0], lines.close[0], lines.volume[0] = row
        return True


class SmaCross(bt.Strategy):
    def __init__(self):
        self.fills = 0
        self.averages = [
            (data, bt.ind.SMA(data.close, period=FAST), bt.ind.SMA(data.close, period=SLOW)) for data in self.datas
        ]

    def notify_order(self, order):
        if order.status == order.Completed:
            self.fills += 1

    def next(self):
        for data, fast, slow in self.averages:
            if fast[0] > slow[0]:
                if not self.getposition(data):
                    self.buy(data=data, size=1)
            elif fast[0] < slow[0] and self.getposition(data):
                self.close(data=data)


class Nothing(bt.Strategy):
    fills = 0

    def next(self):
        pass


def prepare(workload: str, bars: Bars) -> Run:
    days = (bars.start_ns // DAY_NS + ORDINAL_1970 + (bars.start_ns % DAY_NS) / DAY_NS).tolist()
    rows = [
        list(zip(days, *(values[i].tolist() for values in bars.columns.values()), strict=True))
        for i in range(len(bars.symbols))
    ]

    def run() -> Outcome:
        cerebro = bt.Cerebro(stdstats=False)
        for symbol, lines in zip(bars.symbols, rows, strict=True):
            cerebro.adddata(Feed(rows=lines), name=symbol)
        cerebro.addstrategy(Nothing if workload == "W2" else SmaCross)
        cerebro.addanalyzer(bt.analyzers.DrawDown)
        cerebro.addanalyzer(bt.analyzers.TradeAnalyzer)
        cerebro.broker.setcash(CASH)
        cerebro.broker.setcommission(commission=COMMISSION)
        (strategy,) = cerebro.run()
        for analyzer in strategy.analyzers:
            analyzer.get_analysis()
        return Outcome(strategy.fills, float(cerebro.broker.getvalue()))

    return run


measure(prepare)
