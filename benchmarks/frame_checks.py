"""Measure what it costs to check a frame: the times, the grid, every bar, gaps, halts and splits, in ns of CPU per bar.

Loads a Polars and a pandas frame of one-minute bars in turn, and prints the least and the median of all rounds.

    python benchmarks/frame_checks.py [BARS] [ROUNDS]
"""

from __future__ import annotations

import gc
import statistics
import sys
import time

from weaver.data.load_bars import load_bars
from weaver.data.synthetic import synthetic_bars


def cpu_ns(frame: object, bars: int) -> float:
    """Return the CPU time of one load, in ns per bar."""
    gc.collect()
    began = time.process_time_ns()
    load_bars(frame)
    return (time.process_time_ns() - began) / bars


def main() -> None:
    bars = int(sys.argv[1]) if len(sys.argv) > 1 else 1_000_000
    rounds = int(sys.argv[2]) if len(sys.argv) > 2 else 15
    frame = synthetic_bars(bars).drop("symbol")
    frames = {"Polars": frame, "pandas": frame.to_pandas().set_index("timestamp")}
    costs: dict[str, list[float]] = {name: [] for name in frames}
    for _ in range(rounds + 1):
        for name, each in frames.items():
            costs[name].append(cpu_ns(each, bars))
    print(f"| frame of {bars:,} bars | ns per bar, least of {rounds} | median |\n|---|--:|--:|")
    for name, values in costs.items():
        print(f"| {name} | {min(values[1:]):.0f} | {statistics.median(values[1:]):.0f} |")


if __name__ == "__main__":
    main()
