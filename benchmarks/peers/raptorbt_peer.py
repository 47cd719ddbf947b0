"""raptorbt 0.13.4 in class mode. Timed: `run_strategy_backtest(...)`, which computes its statistics. One instrument only."""

from __future__ import annotations

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from measure import Outcome, Run, measure
from raptorbt import BacktestConfig
from raptorbt.strategy import Strategy, run_strategy_backtest
from raptorbt.strategy.orders import Limit, Market
from workloads import CASH, COMMISSION, GRID, STOP, TARGET, Bars


class Bracket(Strategy):
    def on_bar(self, ctx):
        if ctx.is_flat:
            close = ctx.bar.close
            self.submit_order(Market(side="buy", units=1.0, stop_price=close * STOP, target_price=close * TARGET))


class Grid(Strategy):
    def on_start(self, ctx):
        self.rested = False

    def on_bar(self, ctx):
        close = ctx.bar.close
        if not self.rested:
            self.rested = True
            for step in range(GRID // 2):
                self.submit_order(Limit(side="buy", units=1.0, price=close * 0.5 - step * 0.01))
                self.submit_order(Limit(side="sell", units=1.0, price=close * 2.0 + step * 0.01))
        self.submit_order(Limit(side="buy", units=1.0, price=close * 1.01))
        self.submit_order(Limit(side="sell", units=1.0, price=close * 0.99))


STRATEGIES = {"W5": Bracket, "W6": Grid}


def prepare(workload: str, bars: Bars) -> Run:
    columns = [bars.columns[name][0] for name in ("open", "high", "low", "close", "volume")]
    config = BacktestConfig(initial_capital=CASH, fees=COMMISSION, fill_timing="next_bar_open")

    def run() -> Outcome:
        result = run_strategy_backtest(
            STRATEGIES[workload], bars.start_ns, *columns, config=config, account_type="margin"
        )
        trades = result.trades()
        still_open = sum(trade.exit_idx == len(bars) - 1 for trade in trades)
        return Outcome(2 * len(trades) - still_open, float(result.equity_curve()[-1]))

    return run


measure(prepare)
