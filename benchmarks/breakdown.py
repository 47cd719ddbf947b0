"""Where W1's time goes: the same run built up one part at a time, each line's cost being its difference to the one before.

CPU time, the least of several runs in this process; a guide for whoever makes it faster, not a comparison with others.

    python benchmarks/breakdown.py [BARS]
"""

from __future__ import annotations

import gc
import sys
import time
from collections.abc import Callable

import msgspec
import polars as pl
from workloads import CASH, COMMISSION, Bars, walk

from weaver import Strategy, backtest
from weaver.indicators import sma

RUNS = 3
CHUNK = 2_000


class Bar(msgspec.Struct, frozen=True, gc=False):
    ts_ns: int
    open: float
    high: float
    low: float
    close: float
    volume: float


class Empty(Strategy):
    def on_bar(self, bar):
        pass


class Computed(Strategy):
    def on_start(self):
        self.fast_ma = self.indicator(sma, self.bars.close, 10)
        self.slow_ma = self.indicator(sma, self.bars.close, 30)

    def on_bar(self, bar):
        pass


class Read(Computed):
    def on_bar(self, bar):
        if self.fast_ma[-1] > self.slow_ma[-1] or self.fast_ma[-1] < self.slow_ma[-1]:
            pass


class Positioned(Computed):
    def on_bar(self, bar):
        if (self.fast_ma[-1] > self.slow_ma[-1] and not self.position) or (
            self.fast_ma[-1] < self.slow_ma[-1] and self.position
        ):
            pass


class SmaCross(Computed):
    def on_bar(self, bar):
        if self.fast_ma[-1] > self.slow_ma[-1] and not self.position:
            self.buy(quantity=1)
        elif self.fast_ma[-1] < self.slow_ma[-1] and self.position:
            self.close()


def plain(bars: Bars) -> None:
    """One object and one call per bar, and nothing else: what a loop in Python cannot go below."""

    def on_bar(bar: Bar) -> None:
        pass

    for low in range(0, len(bars.start_ns), CHUNK):
        part = slice(low, low + CHUNK)
        lists = [bars.start_ns[part].tolist(), *(rows[0][part].tolist() for rows in bars.columns.values())]
        for row in zip(*lists, strict=True):
            on_bar(Bar(*row))


def cost(run: Callable[[], object], bars: int) -> float:
    """ns of CPU per bar, the least of RUNS."""
    least = float("inf")
    for _ in range(RUNS):
        gc.collect()
        began = time.process_time()
        run()
        least = min(least, time.process_time() - began)
    return least / bars * 1e9


def main() -> None:
    bars = walk(1, int(sys.argv[1]) if len(sys.argv) > 1 else 300_000)
    stamps = pl.Series("timestamp", bars.start_ns).cast(pl.Datetime("ns", "UTC"))
    frame = pl.DataFrame({"timestamp": stamps, **{name: rows[0] for name, rows in bars.columns.items()}})

    def run(strategy: type[Strategy], *, look: bool = False) -> Callable[[], object]:
        def timed() -> None:
            result = backtest(strategy, frame, cash=CASH, commission=COMMISSION, timeframe="1m")
            if look:
                assert result.stats
                assert len(result.fills) >= 0

        return timed

    run(SmaCross, look=True)()
    steps: list[tuple[str, Callable[[], object]]] = [
        ("one object and one call per bar, in plain Python (the floor)", lambda: plain(bars)),
        ("an empty `on_bar`: checking the bars, the clock, the loop, equity (W2)", run(Empty)),
        ("two averages computed over the whole history", run(Computed)),
        ("reading and comparing them: 2 to 4 times `[-1]` a bar", run(Read)),
        ("asking for `self.position`", run(Positioned)),
        ("orders, matching, fills, the account, news of orders", run(SmaCross)),
        ("`result.stats` and `result.fills`", run(SmaCross, look=True)),
    ]
    print(f"| part of W1, {len(bars):,} bars | ns per bar | up to here |\n|---|--:|--:|")
    before = 0.0
    for title, step in steps:
        now = cost(step, len(bars))
        print(f"| {title} | {now - before:,.0f} | {now:,.0f} |", flush=True)
        before = now


if __name__ == "__main__":
    main()
