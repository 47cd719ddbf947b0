"""The data that every tool gets, byte for byte the same, and the answer that it should give.

The bars are a seeded random walk (synthetic, and labelled so) unless WEAVER_TEST_DATA names a folder of real ones.
Prices have 8 decimals, so that two averages are practically never equal and rounding cannot decide a crossing. The answer
comes from whole-number arithmetic and from no tool. Run as a script it writes the files; tools read them with NumPy.
"""

from __future__ import annotations

import json
import os
import sys
from dataclasses import dataclass
from pathlib import Path

import numpy as np

SEED = 20_200_101
CASH = 1_000_000.0
COMMISSION = 0.001
FAST, SLOW = 10, 30
STOP, TARGET = 0.8, 1.25
"""W5: where the stop and the target are, as shares of the close at which the entry is decided."""
GRID = 500
"""W6: how many orders rest, half of them below half and half above twice the first close."""
MINUTE_NS = 60_000_000_000
START_NS = 1_577_836_800_000_000_000  # 2020-01-01 UTC
COLUMNS = ("open", "high", "low", "close", "volume")


@dataclass(frozen=True)
class Bars:
    """One-minute bars of `symbols`, all on the same starts: `columns[name]` has a row per symbol."""

    symbols: list[str]
    start_ns: np.ndarray
    columns: dict[str, np.ndarray]

    def __len__(self) -> int:
        """Bars of all symbols together."""
        return len(self.start_ns) * len(self.symbols)

    def head(self, symbols: int, bars: int) -> Bars:
        """A small copy, for warming up."""
        columns = {name: values[:symbols, :bars].copy() for name, values in self.columns.items()}
        return Bars(self.symbols[:symbols], self.start_ns[:bars].copy(), columns)


def walk(symbols: int, bars: int, seed: int = SEED) -> Bars:
    """A geometric random walk of 5 basis points a minute around 100, with 8 decimals."""
    rng = np.random.default_rng(seed)
    columns: dict[str, list[np.ndarray]] = {name: [] for name in COLUMNS}
    for _ in range(symbols):
        close = np.round(100.0 * np.exp(np.cumsum(rng.normal(0.0, 5e-4, bars))), 8)
        open_ = np.round(np.concatenate([[100.0], close[:-1]]) * np.exp(rng.normal(0.0, 5e-5, bars)), 8)
        spread = rng.random((2, bars)) * 3e-4
        columns["open"].append(open_)
        columns["high"].append(np.round(np.maximum(open_, close) * (1.0 + spread[0]), 8))
        columns["low"].append(np.round(np.minimum(open_, close) * (1.0 - spread[1]), 8))
        columns["close"].append(close)
        columns["volume"].append(np.round(rng.random(bars) * 1000.0 + 1.0, 2))
    start = START_NS + MINUTE_NS * np.arange(bars, dtype=np.int64)
    return Bars([f"S{i:03d}" for i in range(symbols)], start, {name: np.array(rows) for name, rows in columns.items()})


def real(folder: Path) -> Bars:
    """FILUSDT, one-minute bars of 21 months, from the test data."""
    import polars as pl

    frame = pl.read_parquet(folder / "clean" / "crypto_FILUSDT_1m_binance_um.parquet")
    start = frame["timestamp"].cast(pl.Int64).to_numpy() * 1000
    return Bars(["FILUSDT"], start, {name: frame[name].to_numpy()[None, :].copy() for name in COLUMNS})


def expected(bars: Bars, *, same_close: bool = False, skipped: int = 0) -> tuple[int, float]:
    """(fills, final equity) of W1 on each symbol in one account.

    `same_close` for tools that fill where they decide, `skipped` for those that pass over the first bars that could decide.
    """
    fills, equity = 0, CASH
    for row in range(len(bars.symbols)):
        units = np.round(bars.columns["close"][row] * 1e8).astype(np.int64)
        totals = np.concatenate([[0], np.cumsum(units)])
        fast = (totals[SLOW:] - totals[SLOW - FAST : -FAST]) * SLOW
        slow = (totals[SLOW:] - totals[:-SLOW]) * FAST
        prices = (bars.columns["close"] if same_close else bars.columns["open"])[row].tolist()
        held = False
        sides = np.sign(fast - slow)[skipped:].tolist()
        for place, side in enumerate(sides, SLOW - 1 + skipped + (not same_close)):
            if place >= len(prices):
                break
            if side > 0 and not held:
                held, fills, equity = True, fills + 1, equity - prices[place] * (1.0 + COMMISSION)
            elif side < 0 and held:
                held, fills, equity = False, fills + 1, equity + prices[place] * (1.0 - COMMISSION)
        equity += bars.columns["close"][row, -1] if held else 0.0
    return fills, float(equity)


def expected_of_brackets(bars: Bars, *, skipped: int = 0) -> tuple[int, float]:
    """(fills, final equity) of W5: one unit is bought at the next open whenever there is none, with a stop and a target.

    `skipped` for tools that pass over the first bars that could decide; the same in W6.
    """
    fills, equity, held, stop, target = 0, CASH, False, 0.0, 0.0
    closes = bars.columns["close"][0].tolist()
    rows = zip(*(bars.columns[name][0].tolist() for name in COLUMNS[:4]), strict=True)
    for place, (open_, high, low, _) in enumerate(rows):
        if not held and place > skipped:
            held, fills, equity = True, fills + 1, equity - open_ * (1.0 + COMMISSION)
            stop, target = closes[place - 1] * STOP, closes[place - 1] * TARGET
        price = min(open_, stop) if low <= stop else max(open_, target) if high >= target else None
        if held and price is not None:
            held, fills, equity = False, fills + 1, equity + price * (1.0 - COMMISSION)
    return fills, equity + (closes[-1] if held else 0.0)


def expected_of_grid(bars: Bars, *, skipped: int = 0) -> tuple[int, float]:
    """(fills, final equity) of W6: a unit is bought and sold at each open but the first, and nothing else fills."""
    opens = bars.columns["open"][0, 1 + skipped :]
    return 2 * len(opens), CASH - float(np.sum(opens * 2.0 * COMMISSION))


def write(bars: Bars, folder: Path, source: str) -> None:
    """bars.npz, and expected.json last, so that a folder with it is complete."""
    folder.mkdir(parents=True, exist_ok=True)
    np.savez(folder / "bars.npz", symbols=np.array(bars.symbols), start_ns=bars.start_ns, **bars.columns)
    answers = {
        "yes": expected(bars),
        "yes, but for its first bar": expected(bars, skipped=1),
        "yes, at the close decided on": expected(bars, same_close=True),
    }
    about = {"source": source, "symbols": len(bars.symbols), "bars": len(bars), "answers": answers}
    if len(bars.symbols) == 1:
        for workload, answer in (("W5", expected_of_brackets), ("W6", expected_of_grid)):
            about[workload] = {"yes": answer(bars), "yes, but for its first bar": answer(bars, skipped=1)}
    (folder / "expected.json").write_text(json.dumps(about))


def read(folder: Path) -> Bars:
    """What `write` wrote."""
    with np.load(folder / "bars.npz") as stored:
        columns = {name: stored[name] for name in COLUMNS}
        return Bars([str(name) for name in stored["symbols"]], stored["start_ns"], columns)


def write_parquet(bars: Bars, path: Path) -> None:
    """The first symbol's bars as a file that a person would have."""
    import polars as pl

    columns = {name: values[0] for name, values in bars.columns.items()}
    stamps = pl.Series("timestamp", bars.start_ns).cast(pl.Datetime("ns", "UTC")).cast(pl.Datetime("us", "UTC"))
    pl.DataFrame({"timestamp": stamps, **columns}).write_parquet(path)


def main() -> None:
    """workloads.py FOLDER SYMBOLS BARS | FOLDER real [BARS]; and FOLDER/bars.parquet when there is one symbol."""
    folder = Path(sys.argv[1])
    if (folder / "expected.json").exists():
        return
    if sys.argv[2] == "real":
        bars, source = real(Path(os.environ["WEAVER_TEST_DATA"])), "real: FILUSDT one-minute bars"
        if len(sys.argv) > 3:
            bars = bars.head(1, int(sys.argv[3]))
    else:
        bars, source = walk(int(sys.argv[2]), int(sys.argv[3])), f"synthetic: random walk, seed {SEED}"
    folder.mkdir(parents=True, exist_ok=True)
    if len(bars.symbols) == 1:
        write_parquet(bars, folder / "bars.parquet")
    write(bars, folder, source)


if __name__ == "__main__":
    main()
