"""What orders at work cost per bar: CPU time of the bars after the orders were placed, on a synthetic random walk.

    python benchmarks/orders_at_work.py [ROUNDS]     (7 unless given; about a minute each)

The cases are run in turn, ROUNDS times, in one process; a row shows the median and the least. Placing the orders is not
counted, except where the strategy places new ones at each bar.
"""

from __future__ import annotations

import sys
import time
from datetime import timedelta
from statistics import median

import polars as pl
from run import machine
from workloads import CASH, COMMISSION, Bars, walk

from weaver import Strategy, Trail, backtest


class Timed(Strategy):
    """Places orders at the first bar, and measures from the second one to the end."""

    spent = 0.0

    def on_start(self):
        self.began = 0.0

    def on_bar(self, bar):
        if not self.began:
            self.place(bar.close)
            self.began = time.process_time()

    def on_stop(self):
        type(self).spent = time.process_time() - self.began

    def place(self, close):
        pass


class Bracket(Timed):
    def place(self, close):
        self.buy(1, stop_loss=close * 0.2, take_profit=close * 5)


class Limits(Timed):
    def place(self, close):
        for step in range(500):
            self.buy(1, limit=close * 0.2 - step * 0.01)


class GoodTillLimits(Timed):
    """500 good-till limits, of which none ends within the run."""

    def place(self, close):
        for step in range(500):
            self.buy(1, limit=close * 0.2 - step * 0.01, good_till=self.now + timedelta(days=1000))


class TrailingStop(Timed):
    def place(self, close):
        self.buy(1, stop_loss=Trail(percent=80))


class Live(Timed):
    """Two limits that fill at each bar, and two new ones."""

    resting = 0

    def place(self, close):
        for step in range(self.resting // 2):
            self.buy(1, limit=close * 0.2 - step * 0.01)
            self.sell(1, limit=close * 5 + step * 0.01)

    def on_bar(self, bar):
        super().on_bar(bar)
        self.buy(1, limit=bar.close * 1.01)
        self.sell(1, limit=bar.close * 0.99)


class LiveGrid(Live):
    resting = 500


class Equity(Timed):
    def on_bar(self, bar):
        self.began = self.began or time.process_time()
        _ = self.equity


CASES = {
    "no order": (Timed, 1, 100_000),
    "a position with stop and target": (Bracket, 1, 100_000),
    "500 untouched limits": (Limits, 1, 100_000),
    "500 untouched limits with good_till": (GoodTillLimits, 1, 100_000),
    "a position with a trailing stop": (TrailingStop, 1, 20_000),
    "two fills and two new orders a bar": (Live, 1, 5_000),
    "the same in a grid of 500": (LiveGrid, 1, 5_000),
    "500 symbols that read `self.equity`": (Equity, 500, 100_000),
}
"""Title: strategy, symbols, bars of all symbols together."""


def frames(bars: Bars) -> object:
    stamps = pl.Series("timestamp", bars.start_ns).cast(pl.Datetime("ns", "UTC"))
    data = {
        symbol: pl.DataFrame({"timestamp": stamps, **{name: rows[i] for name, rows in bars.columns.items()}})
        for i, symbol in enumerate(bars.symbols)
    }
    return data if len(data) > 1 else next(iter(data.values()))


def main() -> None:
    rounds = int(sys.argv[1]) if len(sys.argv) > 1 else 7
    data = {title: frames(walk(symbols, bars // symbols)) for title, (_, symbols, bars) in CASES.items()}
    spent: dict[str, list[float]] = {title: [] for title in CASES}
    for turn in range(rounds + 1):
        for title, (strategy, _, bars) in CASES.items():
            backtest(strategy, data[title], cash=CASH, commission=COMMISSION, timeframe="1m")
            if turn:  # the first round warms up
                spent[title].append(strategy.spent / bars * 1e9)
    print(f"Measured on: {machine()}; {rounds} rounds.\n")
    print("| orders at work | ns per bar | least |\n|---|--:|--:|")
    for title, values in spent.items():
        print(f"| {title} | {median(values):,.0f} | {min(values):,.0f} |")
    pairs = zip(spent["two fills and two new orders a bar"], spent["the same in a grid of 500"], strict=True)
    print(f"\nA grid of 500 against an otherwise empty book: {median(grid / alone for alone, grid in pairs):.2f} x.")


if __name__ == "__main__":
    main()
