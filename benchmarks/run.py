"""The benchmark: what Weaver and its peers cost per bar, measured in one go on this machine, as a table of ratios.

Every number is the median of several runs, each in a fresh process, one at a time and interleaved, so that whatever the
machine does meanwhile meets all tools alike. It says which tools gave the expected fills and equity. It proves nothing
about another machine, and a loaded one spoils it (the load average is printed).

    python benchmarks/run.py              everything: about half an hour
    python benchmarks/run.py --quick      small sizes and one run: does it work, a few minutes once the tools are there
    python benchmarks/run.py --write      and put the table into docs/performance.md
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import subprocess
import sys
import time
from dataclasses import dataclass, field
from datetime import date
from pathlib import Path
from statistics import median

from make_env import CACHE, HERE, CannotInstall, python_of

PAGE = HERE.parent / "docs" / "performance.md"
BEGIN, END = "<!-- benchmark: begin -->", "<!-- benchmark: end -->"
CASH, COMMISSION = "1000000", "0.001"
TIMEOUT_S = 3600


@dataclass(frozen=True)
class Tool:
    """A peer: its script, its environment (None: this one), its workloads, and `small` where it gets a tenth of the bars."""

    title: str
    script: str
    environment: str | None
    workloads: tuple[str, ...]
    small: bool = False
    slow: bool = False
    note: str = ""
    arguments: tuple[str, ...] = ()


TOOLS = {
    "weaver": Tool("**Weaver**", "weaver_peer.py", None, ("W1", "W1-real", "W2", "W3", "W5", "W6")),
    "plain": Tool(
        "plain Python", "plain_peer.py", None, ("W1", "W2"), note="a loop without orders, events or checks: the floor"
    ),
    "backtesting": Tool(
        "backtesting.py 0.6.6",
        "backtesting_peer.py",
        "backtesting",
        ("W1", "W1-real", "W2", "W5", "W6"),
        note="starts one bar after the averages have values; one instrument at a time, so no W3",
    ),
    "raptorbt": Tool(
        "raptorbt 0.13.4, class mode",
        "raptorbt_peer.py",
        "raptorbt",
        ("W5", "W6"),
        note="`run_strategy_backtest`, a Python class on a compiled core; where the open is beyond a limit it fills at the "
        "limit, not at the open, which is why its equity differs in W6",
    ),
    "vectorbt": Tool(
        "vectorbt 1.2",
        "vectorbt_peer.py",
        "vectorbt",
        ("W1", "W3"),
        note="whole columns through compiled code (compiled before the measurement), no Python per bar, so no W2",
    ),
    "vectorbt-pass": Tool(
        "vectorbt 1.2, no statistics",
        "vectorbt_peer.py",
        "vectorbt",
        ("W1", "W3"),
        note="the vectorised pass alone",
        arguments=("pass",),
    ),
    "basana": Tool(
        "basana 1.11",
        "basana_peer.py",
        "basana",
        ("W1", "W2", "W3"),
        slow=True,
        note="prices are Decimals, made before the measurement; it computes no statistics",
    ),
    "backtrader": Tool(
        "backtrader 1.9.78.123",
        "backtrader_peer.py",
        "backtrader",
        ("W1", "W2", "W3"),
        slow=True,
        note="drawdown and trade analysers, no observers",
    ),
    "nautilus": Tool(
        "nautilus_trader 1.221",
        "nautilus_peer.py",
        "nautilus",
        ("W1", "W2", "W3"),
        small=True,
        note="a tenth of the bars; a market order given on a bar fills at that bar's close, not at the next open",
    ),
    "pybroker": Tool(
        "pybroker 2.0", "pybroker_peer.py", "pybroker", ("W3",), slow=True, note="without bootstrapped statistics"
    ),
}
TITLES = {
    "W1": "W1: SMA 10/30 crossing, one unit, next open, 10 basis points",
    "W1-real": "W1 on real prices",
    "W2": "W2: an empty `on_bar`",
    "W3": "W3: W1 on 100 instruments in one account",
    "W5": "W5: one unit with a stop 20 % below and a target 25 % above, bought again after each exit",
    "W6": "W6: a grid of 500 resting limit orders, and two that fill and are given anew at each bar",
}


@dataclass
class Cell:
    """The runs of one tool on one workload."""

    tool: str
    workload: str
    folder: Path
    python: Path
    about: dict
    runs: list[dict] = field(default_factory=list)
    failure: str = ""

    def median_of(self, key: str) -> float:
        return median(run[key] for run in self.runs)

    @property
    def ns_per_bar(self) -> float:
        return self.median_of("cpu_s") / self.about["bars"] * 1e9

    @property
    def answers(self) -> dict:
        """The right answer, and those of other rules for fills, by their description."""
        return self.about.get(self.workload, self.about["answers"])

    @property
    def verdict(self) -> str:
        """Whether the tool gave the expected answer, and under which rule for fills."""
        if self.workload == "W2":
            return "-"
        run = self.runs[-1]
        for words, (fills, equity) in self.answers.items():
            if run["fills"] == fills and abs(run["final_equity"] - equity) < 0.01:
                return words
        fills, equity = self.answers["yes"]
        return f"expected {fills:,} and {equity:,.4f}"


def environment() -> dict[str, str]:
    """Ours, without helper threads of a linear algebra library that spin beside the measurement: no tool uses them."""
    names = ("OPENBLAS_NUM_THREADS", "OMP_NUM_THREADS", "MKL_NUM_THREADS")
    return {**os.environ, **dict.fromkeys(names, "1"), "PYTHONWARNINGS": "ignore"}


def data(name: str, *arguments: str) -> Path:
    """A data set's folder; written by a process of its own, since a large parent would count as a child's memory."""
    folder = CACHE / "data" / name
    command = [sys.executable, str(HERE / "workloads.py"), str(folder), *arguments]
    subprocess.run(command, check=True, env=environment())
    return folder


def plan(tools: list[str], workloads: list[str], quick: bool) -> list[Cell]:
    """All cells to measure, with their data written and their environments built."""
    bars, instruments, each = (20_000, 20, 1_000) if quick else (1_000_000, 100, 10_000)
    cells = []
    for name in tools:
        tool = TOOLS[name]
        part = 10 if tool.small and not quick else 1
        mine = [workload for workload in workloads if workload in tool.workloads]
        if "W1-real" in mine and not os.environ.get("WEAVER_TEST_DATA"):
            mine.remove("W1-real")
        if not mine:
            continue
        failure, python = "", Path(sys.executable)
        try:
            python = python_of(tool.environment) if tool.environment else python
        except CannotInstall as error:
            failure = f"cannot be installed here: {error}"
        for workload in mine:
            if workload == "W3":
                folder = data(f"walk-{instruments}x{each // part}", str(instruments), str(each // part))
            elif workload in ("W5", "W6"):
                size = bars // (10 if workload == "W5" else 200)
                folder = data(f"orders-1x{size}", "1", str(size))
            elif workload == "W1-real":
                folder = data("real-20000", "real", "20000") if quick else data("real", "real")
            else:
                folder = data(f"walk-1x{bars // part}", "1", str(bars // part))
            about = json.loads((folder / "expected.json").read_text())
            cells.append(Cell(name, workload, folder, python, about, failure=failure))
    return cells


def measure(cell: Cell) -> None:
    """One more run of `cell`, in a fresh process."""
    tool = TOOLS[cell.tool]
    command = [str(cell.python), str(HERE / "peers" / tool.script), cell.workload, str(cell.folder), *tool.arguments]
    try:
        result = subprocess.run(
            command, capture_output=True, text=True, check=False, env=environment(), timeout=TIMEOUT_S
        )
    except subprocess.TimeoutExpired:
        cell.failure = f"took longer than {TIMEOUT_S} s"
        return
    lines = result.stdout.splitlines() or [""]
    if result.returncode or not lines[-1].startswith("{"):
        cell.failure = ((result.stderr or result.stdout).strip().splitlines() or ["no output"])[-1]
        return
    cell.runs.append(json.loads(lines[-1]))
    print(f"  {cell.tool:13} {cell.workload:8} {cell.runs[-1]['cpu_s']:9.3f} s", file=sys.stderr, flush=True)


def command_line(folder: Path, runs: int) -> dict[str, float]:
    """The whole process of `weaver backtest` over the bars in `folder`: wall, CPU and peak memory, medians."""
    command = [sys.executable, "-m", "weaver", "backtest", str(HERE / "strategies" / "sma_cross.py")]
    command += [
        "--data",
        str(folder / "bars.parquet"),
        "--cash",
        CASH,
        "--commission",
        COMMISSION,
        "--no-record",
        "--json",
        "-",
    ]
    walls, cpus, peaks = [], [], []
    for _ in range(runs + 1):
        began = time.perf_counter()
        child = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, env=dict(os.environ))
        _, status, usage = os.wait4(child.pid, 0)
        walls.append(time.perf_counter() - began)
        if status:
            raise SystemExit(f"{' '.join(command)}\nfailed: {(child.stderr.read() if child.stderr else b'').decode()}")
        child.returncode = 0
        cpus.append(usage.ru_utime + usage.ru_stime)
        peaks.append(usage.ru_maxrss / (1024.0 if sys.platform != "darwin" else 1024.0**2))
    # The first one may have compiled modules and read the disk.
    return {"wall_s": median(walls[1:]), "cpu_s": median(cpus[1:]), "peak_mb": median(peaks[1:])}


def breakdown(bars: int) -> str:
    """W1 taken apart, by breakdown.py."""
    command = [sys.executable, str(HERE / "breakdown.py"), str(bars)]
    result = subprocess.run(command, capture_output=True, text=True, check=True, env=environment())
    return f"### Where the time goes\n\n{result.stdout}"


def machine() -> str:
    """CPU model, cores, Python, date, and how busy it was."""
    model = platform.processor() or platform.machine()
    about = Path("/proc/cpuinfo")
    if about.exists():
        lines = [line.partition(":")[2].strip() for line in about.read_text().splitlines() if "model name" in line]
        speeds = [line.partition(":")[2].strip() for line in about.read_text().splitlines() if "cpu MHz" in line]
        model = f"{lines[0] if lines else model}{f' at {float(speeds[0]):.0f} MHz' if speeds else ''}"
    busy = f", load average {os.getloadavg()[0]:.1f}" if hasattr(os, "getloadavg") else ""
    return (
        f"{model}, {os.cpu_count()} cores, {platform.system()} {platform.release()}, "
        f"Python {platform.python_version()}, {date.today()}{busy}"
    )


def table(cells: list[Cell], workload: str) -> list[str]:
    """The markdown table of one workload, cheapest first."""
    ours = [cell for cell in cells if cell.workload == workload]
    measured = sorted((cell for cell in ours if cell.runs), key=lambda cell: cell.ns_per_bar)
    if not measured:
        return []
    weaver = next((cell.ns_per_bar for cell in measured if cell.tool == "weaver"), None)
    largest = max(measured, key=lambda cell: cell.about["bars"]).about
    lines = [
        f"### {TITLES[workload]}",
        "",
        f"{largest['bars']:,} bars in all; {largest['source']}.",
        "",
        "| tool | ns per bar | least - most | x Weaver | fills | final equity | as expected | peak MB | bars | runs |",
        "|---|--:|--:|--:|--:|--:|---|--:|--:|--:|",
    ]
    for cell in measured:
        each = [run["cpu_s"] / cell.about["bars"] * 1e9 for run in cell.runs]
        ratio = f"{cell.ns_per_bar / weaver:.2f}" if weaver else "-"
        last = cell.runs[-1]
        lines.append(
            f"| {TOOLS[cell.tool].title} | {cell.ns_per_bar:,.0f} | {min(each):,.0f} - {max(each):,.0f} | {ratio} "
            f"| {last['fills']:,} | {last['final_equity']:,.4f} | {cell.verdict} | {cell.median_of('peak_mb'):,.0f} "
            f"| {cell.about['bars']:,} | {len(cell.runs)} |"
        )
    lines += [f"| {TOOLS[cell.tool].title} | {cell.failure} |" for cell in ours if not cell.runs]
    return [*lines, ""]


def goals(cells: list[Cell], process: dict[str, float] | None) -> list[str]:
    """What was to be reached, and what was."""
    by = {(cell.tool, cell.workload): cell for cell in cells if cell.runs}
    rows: list[tuple[str, str, str, bool]] = []
    for workload, times, below in (("W1", 10, 600), ("W2", 8, 340)):
        weaver, peer = by.get(("weaver", workload)), by.get(("backtesting", workload))
        if weaver and peer:
            ratio = peer.ns_per_bar / weaver.ns_per_bar
            rows.append((f"{workload} against backtesting.py", f"{times} x", f"{ratio:.1f} x", ratio >= times))
        if weaver:
            measured = weaver.ns_per_bar
            rows.append((f"{workload} per bar", f"below {below} ns", f"{measured:,.0f} ns", measured < below))
    weaver, peer = by.get(("weaver", "W5")), by.get(("backtesting", "W5"))
    if weaver:
        measured = weaver.ns_per_bar
        rows.append(("W5 per bar", "at most 600 ns", f"{measured:,.0f} ns", measured <= 600))
    if weaver and peer:
        ratio = peer.ns_per_bar / weaver.ns_per_bar
        rows.append(("W5 against backtesting.py", "5 x", f"{ratio:.1f} x", ratio >= 5))
    if cell := by.get(("weaver", "W3")):
        rows.append(("W3 per bar", "below 900 ns", f"{cell.ns_per_bar:,.0f} ns", cell.ns_per_bar < 900))
    if cell := by.get(("weaver", "W1")):
        peak = cell.median_of("peak_mb")
        rows.append(("W1 peak memory", "below 300 MB", f"{peak:,.0f} MB", peak < 300))
    if process:
        words = f"{process['wall_s']:.2f} s ({process['cpu_s']:.2f} s CPU, {process['peak_mb']:.0f} MB)"
        rows.append(("`weaver backtest`, whole process", "below 1.2 s", words, process["wall_s"] < 1.2))
    lines = ["### Goals", "", "| what | goal | measured | reached |", "|---|--:|--:|---|"]
    lines += [f"| {what} | {goal} | {got} | {'yes' if met else '**no**'} |" for what, goal, got, met in rows]
    return [*lines, ""]


def report(cells: list[Cell], process: dict[str, float] | None, parts: str, quick: bool, on: str) -> str:
    """The whole text, as markdown."""
    lines = [f"Measured on: {on}.", ""]
    if quick:
        lines += ["**A quick run: small sizes, one run each. It shows that everything works, not how fast it is.**", ""]
    lines += goals(cells, process)
    for workload in TITLES:
        lines += table(cells, workload)
    if any(cell.workload == "W1-real" and cell.runs for cell in cells):
        lines.append(
            "- Real prices move in steps, so the two averages are now and then exactly equal; which of them is then the "
            "larger is decided by how a tool rounds, and moves a few fills."
        )
    shown = {cell.tool for cell in cells}
    lines += [f"- {TOOLS[name].title}: {TOOLS[name].note}." for name in TOOLS if name in shown and TOOLS[name].note]
    return "\n".join([*lines, "", parts] if parts else lines) + "\n"


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--quick", action="store_true", help="small sizes, one run")
    parser.add_argument("--runs", type=int, default=5, help="runs of each tool; the slow ones get half (default 5)")
    parser.add_argument("--only", default=",".join(TOOLS), metavar="TOOLS", help=f"of {','.join(TOOLS)}")
    parser.add_argument("--workloads", default=",".join(TITLES), help=f"of {','.join(TITLES)}")
    parser.add_argument("--write", action="store_true", help="put the result into docs/performance.md")
    options = parser.parse_args()
    tools, workloads = options.only.split(","), options.workloads.split(",")
    for name, known in [(name, TOOLS) for name in tools] + [(name, TITLES) for name in workloads]:
        if name not in known:
            parser.error(f"{name!r} is none of {', '.join(known)}")
    runs = 1 if options.quick else options.runs
    cells, on = plan(tools, workloads, options.quick), machine()
    for turn in range(runs):
        print(f"round {turn + 1} of {runs}", file=sys.stderr, flush=True)
        for cell in cells[turn % len(cells) :] + cells[: turn % len(cells)]:  # nobody is always the first
            if not cell.failure and not (TOOLS[cell.tool].slow and turn >= (runs + 1) // 2):
                measure(cell)
    process, parts = None, ""
    if "weaver" in tools and "W1" in workloads:
        size = "20000" if options.quick else "100000"
        process = command_line(data(f"walk-1x{size}", "1", size), runs)
        parts = breakdown(20_000 if options.quick else 300_000)
    text = report(cells, process, parts, options.quick, on)
    print(text)
    if options.write:
        before, _, rest = PAGE.read_text().partition(BEGIN)
        PAGE.write_text(before + BEGIN + "\n" + text + END + rest.partition(END)[2])
    if any(cell.failure for cell in cells if cell.tool == "weaver"):
        raise SystemExit(
            "Weaver's own run failed: " + next(c.failure for c in cells if c.tool == "weaver" and c.failure)
        )


if __name__ == "__main__":
    main()
