"""What recording costs: W1 with and without it, and the whole process of a recorded `weaver backtest`.

Every run is a fresh process, recorded and unrecorded in turn, medians; the server is the embedded one, in a folder of its
own. A call is the time that `backtest()` takes until it returns; then a thread goes on until everything is in the store,
which the process waits for at its end.

    python benchmarks/recording.py              a few minutes
    python benchmarks/recording.py --quick      a tenth of the bars, one run: does it work
    python benchmarks/recording.py --write      and put the table into docs/performance.md
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from statistics import median

from run import machine
from workloads import CASH, COMMISSION, walk, write_parquet

HERE = Path(__file__).resolve().parent
PAGE = HERE.parent / "docs" / "performance.md"
BEGIN, END = "<!-- recording: begin -->", "<!-- recording: end -->"


def one_run(bars: int, record: bool) -> dict[str, float]:
    """In this process: W1 over `bars` bars, after a short one that pays for imports, the server's start included."""
    import polars as pl
    from strategies.sma_cross import SmaCross

    from weaver import backtest

    made = walk(1, bars)
    stamps = pl.Series("timestamp", made.start_ns).cast(pl.Datetime("ns", "UTC"))
    frame = pl.DataFrame({"timestamp": stamps, **{name: rows[0] for name, rows in made.columns.items()}})
    settings = {"cash": CASH, "commission": COMMISSION, "timeframe": "1m", "record": record}
    first = backtest(SmaCross, frame.head(1000), **settings)
    if record:
        first.recording.wait()
    began = time.perf_counter()
    result = backtest(SmaCross, frame, **settings)
    call = time.perf_counter() - began
    assert result.stats
    if record:
        result.recording.wait()
        assert result.recording.error is None, result.recording.error
    return {"call": call, "durable": time.perf_counter() - began, "orders": len(result.orders)}


def in_a_process(bars: int, record: bool, home: str) -> dict[str, float]:
    command = [sys.executable, __file__, "--one", str(bars), str(int(record))]
    ended = subprocess.run(command, capture_output=True, text=True, check=False, env=os.environ | {"WEAVER_HOME": home})
    if ended.returncode:
        raise SystemExit(f"{' '.join(command)}\nfailed: {ended.stderr}")
    found: dict[str, float] = json.loads(ended.stdout)
    return found


def whole_process(parquet: Path, home: str, record: bool) -> float:
    """Seconds of `weaver backtest` from start to end; where it records, the server is started first, for it alone."""
    command = [
        sys.executable,
        "-m",
        "weaver",
        "backtest",
        str(HERE / "strategies" / "sma_cross.py"),
        "--data",
        str(parquet),
    ]
    command += ["--cash", str(CASH), "--commission", str(COMMISSION), "--record" if record else "--no-record"]
    began = time.perf_counter()
    ended = subprocess.run(command, capture_output=True, text=True, check=False, env=os.environ | {"WEAVER_HOME": home})
    took = time.perf_counter() - began
    if ended.returncode or ("recorded: " in ended.stderr) != record:
        raise SystemExit(f"{' '.join(command)}\nfailed: {ended.stderr}")
    return took


def measured(bars: int, runs: int) -> str:
    rows: dict[bool, list[dict[str, float]]] = {True: [], False: []}
    walls: dict[bool, list[float]] = {True: [], False: []}
    with tempfile.TemporaryDirectory() as home:
        in_a_process(2000, True, home)  # the very first start makes the database
        for number in range(runs):
            for record in (True, False) if number % 2 else (False, True):
                rows[record].append(in_a_process(bars, record, home))
                print(".", end="", file=sys.stderr, flush=True)
        parquet = Path(home) / "bars.parquet"
        write_parquet(walk(1, bars // 10), parquet)
        for record in (True, False):
            whole_process(parquet, home, record)
        for number in range(runs):
            for record in (True, False) if number % 2 else (False, True):
                walls[record].append(whole_process(parquet, home, record))
    print(file=sys.stderr)
    plain, kept = median(row["call"] for row in rows[False]), median(row["call"] for row in rows[True])
    paired = median(a["call"] / b["call"] for a, b in zip(rows[True], rows[False], strict=True))
    durable = median(row["durable"] for row in rows[True])
    orders = rows[True][0]["orders"]
    alone, recorded = median(walls[False]), median(walls[True])
    # fmt: off
    table = [
        f"Measured on: {machine()}; medians of {runs} runs each, in turn.",
        "",
        "| what | goal | measured | reached |",
        "|---|--:|--:|---|",
        row(f"W1 ({bars:,} bars, {orders:,.0f} orders), recorded, until the call returns", "at most 1.05 x unrecorded",
            f"{paired:.2f} x ({kept:.2f} s and {plain:.2f} s)", paired <= 1.05),
        f"| the same, until everything is in the store | | {durable:.2f} s | |",
        row(f"`weaver backtest`, {bars // 10:,} bars, the whole process, the server started first", "below 2 s",
            f"{recorded:.2f} s (unrecorded {alone:.2f} s)", recorded < 2),
    ]
    # fmt: on
    return "\n".join(table) + "\n"


def row(what: str, goal: str, found: str, reached: bool) -> str:
    return f"| {what} | {goal} | {found} | {'yes' if reached else '**no**'} |"


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--quick", action="store_true", help="a tenth of the bars, one run")
    parser.add_argument("--write", action="store_true", help="put the table into docs/performance.md")
    parser.add_argument("--runs", type=int, default=7)
    parser.add_argument("--one", nargs=2, type=int, metavar=("BARS", "RECORD"), help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.one:
        print(json.dumps(one_run(given.one[0], bool(given.one[1]))))
        return
    text = measured(100_000 if given.quick else 1_000_000, 1 if given.quick else given.runs)
    print(text)
    if given.write:
        page = PAGE.read_text(encoding="utf-8")
        head, rest = page.split(BEGIN)
        PAGE.write_text(f"{head}{BEGIN}\n{text}{END}{rest.split(END)[1]}", encoding="utf-8")


if __name__ == "__main__":
    main()
