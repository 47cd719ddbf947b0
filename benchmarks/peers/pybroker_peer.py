"""pybroker 2.0. Timed: `Strategy(...).backtest()` without bootstrapping, which computes its statistics."""

from __future__ import annotations

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

import pandas as pd
import pybroker
from measure import Outcome, Run, measure
from pybroker import PriceType, Strategy, StrategyConfig
from pybroker.common import FeeMode
from workloads import CASH, COMMISSION, FAST, SLOW, Bars

pybroker.disable_logging()
pybroker.disable_progress_bar()


def average(period):
    return lambda data: pd.Series(data.close).rolling(period).mean().to_numpy()


def on_bar(ctx):
    fast, slow = ctx.indicator("fast")[-1], ctx.indicator("slow")[-1]
    if fast > slow:
        if not ctx.long_pos():
            ctx.buy_shares = 1
            ctx.buy_fill_price = PriceType.OPEN
    elif fast < slow and ctx.long_pos():
        ctx.sell_shares = 1
        ctx.sell_fill_price = PriceType.OPEN


def prepare(workload: str, bars: Bars) -> Run:
    dates = pd.to_datetime(bars.start_ns)
    frame = pd.concat(
        [
            pd.DataFrame({"symbol": symbol, "date": dates, **{name: rows[i] for name, rows in bars.columns.items()}})
            for i, symbol in enumerate(bars.symbols)
        ],
        ignore_index=True,
    )
    config = StrategyConfig(
        initial_cash=CASH,
        fee_mode=FeeMode.ORDER_PERCENT,
        fee_amount=COMMISSION * 100,
        round_fill_price=False,
        round_test_result=False,
    )
    indicators = [pybroker.indicator("fast", average(FAST)), pybroker.indicator("slow", average(SLOW))]

    def run() -> Outcome:
        strategy = Strategy(frame, dates[0], dates[-1], config)
        strategy.add_execution(on_bar, bars.symbols, indicators=indicators)
        result = strategy.backtest(calc_bootstrap=False)
        return Outcome(len(result.orders), float(result.portfolio["market_value"].iloc[-1]))

    return run


measure(prepare)
