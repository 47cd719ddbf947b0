"""Tools, workloads and result tables of the benchmark of the event log."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from statistics import median

from measurement import LATE_S, Sizes


@dataclass(frozen=True)
class Tool:
    """A peer: its environment (None: this one), its workloads, and the tool whose stored events it reads, if not its own."""

    title: str
    script: str
    environment: str | None
    workloads: tuple[str, ...]
    reads: str = ""
    note: str = ""
    arguments: tuple[str, ...] = ()
    ours: bool = False


APPENDS = ("append-1", "append-16", "batches")
WAITS = ("latency", "latency-100")
TOOLS = {
    "plain": Tool(
        "plain asyncpg",
        "plain_peer.py",
        None,
        (*APPENDS, "catch-up"),
        reads="weaver",
        note="INSERT with a connection per writer, COPY, or SELECT in pages with the JSON decoded (msgspec, to a dict); "
        "it waits for no gap and notifies no reader",
        ours=True,
    ),
    "weaver": Tool("**Weaver**", "weaver_peer.py", None, (*APPENDS, "catch-up", *WAITS, "quiet"), ours=True),
    "weaver-subscribe": Tool(
        "**Weaver**, one by one",
        "weaver_peer.py",
        None,
        ("catch-up",),
        reads="weaver",
        note="`subscribe` instead of `batches`",
        arguments=("subscribe",),
        ours=True,
    ),
    "weaver-inside": Tool(
        "**Weaver**, in one process",
        "weaver_peer.py",
        None,
        WAITS,
        note="the events are appended in the process that reads them",
        arguments=("inside",),
        ours=True,
    ),
    "eventsourcing": Tool(
        "eventsourcing 9.5.6",
        "eventsourcing_peer.py",
        "eventsourcing",
        (*APPENDS, "catch-up", *WAITS, "quiet"),
        note="its application recorder, with threads; the state of its events is made before the measurement, and read "
        "with json",
    ),
    "procrastinate": Tool(
        "procrastinate 3.10.0",
        "procrastinate_peer.py",
        "procrastinate",
        (*APPENDS, *WAITS, "quiet"),
        note="a job queue: a job is also fetched, marked and finished; a worker of 16 at a time; nothing to catch up with",
    ),
    "pgqueuer": Tool(
        "pgqueuer 1.6.0",
        "pgqueuer_peer.py",
        "pgqueuer",
        (*APPENDS, *WAITS, "quiet"),
        note="a job queue: a job is also locked, logged and deleted; its manager's defaults; nothing to catch up with",
    ),
}
TITLES = {
    "append-1": "Append one at a time, one writer",
    "append-16": "Append one at a time, 16 concurrent writers",
    "batches": "Append in batches of 1,000",
    "catch-up": "Catch up",
    "latency": "From an append in one process to a callback in another, 1,000 events/s",
    "latency-100": "The same at 100 events/s",
    "quiet": "A reader of a quiet log",
}
RATES = {"latency": 1000, "latency-100": 100}
FLOOR = {"append-1": "INSERT", "append-16": "INSERT", "batches": "COPY", "catch-up": "SELECT"}


@dataclass
class Cell:
    """The runs of one tool on one workload."""

    tool: str
    workload: str
    python: Path
    runs: list[dict] = field(default_factory=list)
    failure: str = ""

    def median_of(self, key: str) -> float:
        return median(run[key] for run in self.runs)

    def range_of(self, key: str, digits: int = 0) -> str:
        values = [run[key] for run in self.runs]
        return f"{min(values):,.{digits}f} - {max(values):,.{digits}f}"


def table(cells: list[Cell], workload: str) -> list[str]:
    """Return the markdown table of one workload, best first."""
    ours = [cell for cell in cells if cell.workload == workload]
    done = [cell for cell in ours if cell.runs]
    if not done:
        return []
    lines = [f"### {TITLES[workload]}", ""]
    if workload in RATES:
        lines += [
            "| tool | p50 ms | least - most | p99 ms | least - most | arrived | runs |",
            "|---|--:|--:|--:|--:|--:|--:|",
        ]
        for cell in sorted(done, key=lambda cell: cell.median_of("p50_ms")):
            lines.append(
                f"| {TOOLS[cell.tool].title} | {cell.median_of('p50_ms'):,.2f} | {cell.range_of('p50_ms', 2)} "
                f"| {cell.median_of('p99_ms'):,.2f} | {cell.range_of('p99_ms', 2)} "
                f"| {cell.median_of('arrived') * 100:.0f} % | {len(cell.runs)} |"
            )
    elif workload == "quiet":
        lines += ["| tool | CPU ms per second | least - most | runs |", "|---|--:|--:|--:|"]
        for cell in done:
            for run in cell.runs:
                run["ms_per_s"] = run["cpu_s"] / run["of_s"] * 1e3
        for cell in sorted(done, key=lambda cell: cell.median_of("ms_per_s")):
            lines.append(
                f"| {TOOLS[cell.tool].title} | {cell.median_of('ms_per_s'):.2f} | {cell.range_of('ms_per_s', 2)} "
                f"| {len(cell.runs)} |"
            )
    else:
        floor = next((cell.median_of("per_s") for cell in done if cell.tool == "plain"), None)
        lines += [
            f"| tool | events/s | least - most | x {FLOOR[workload]} | client CPU, microseconds per event | runs |",
            "|---|--:|--:|--:|--:|--:|",
        ]
        for cell in sorted(done, key=lambda cell: -cell.median_of("per_s")):
            cpu = median(run["cpu_s"] / run["events"] * 1e6 for run in cell.runs)
            ratio = f"{cell.median_of('per_s') / floor:.2f}" if floor else "-"
            lines.append(
                f"| {TOOLS[cell.tool].title} | {cell.median_of('per_s'):,.0f} | {cell.range_of('per_s')} "
                f"| {ratio} | {cpu:,.1f} | {len(cell.runs)} |"
            )
    lines += [f"| {TOOLS[cell.tool].title} | {cell.failure} |" for cell in ours if not cell.runs]
    return [*lines, ""]


def goals(cells: list[Cell]) -> list[str]:
    """Return the table of targets and results."""
    by = {(cell.tool, cell.workload): cell for cell in cells if cell.runs}
    rows: list[tuple[str, str, str, bool]] = []
    for workload, least, what in (
        ("append-16", 0.85, "16 writers, one at a time, against plain INSERT"),
        ("batches", 0.8, "batches of 1,000 against COPY"),
    ):
        weaver, plain = by.get(("weaver", workload)), by.get(("plain", workload))
        if weaver and plain:
            ratio = weaver.median_of("per_s") / plain.median_of("per_s")
            rows.append((what, f"at least {least} x", f"{ratio:.2f} x", ratio >= least))
    if weaver := by.get(("weaver", "catch-up")):
        speed = weaver.median_of("per_s")
        rows.append(("catching up, typed", "at least 250,000 events/s", f"{speed:,.0f} events/s", speed >= 250_000))
    for tool, where in (("weaver", "of another process"), ("weaver-inside", "of the same process")):
        if weaver := by.get((tool, "latency")):
            for key, most in (("p50_ms", 1.5), ("p99_ms", 10)):
                value = weaver.median_of(key)
                good = value < most and weaver.median_of("arrived") == 1
                what = f"append to callback {where}, 1,000 events/s, {key[:3]}"
                rows.append((what, f"below {most} ms", f"{value:.2f} ms", good))
    if weaver := by.get(("weaver", "quiet")):
        cpu = median(run["cpu_s"] / run["of_s"] * 1e3 for run in weaver.runs)
        rows.append(("a quiet reader's CPU", "below 2 ms per second", f"{cpu:.2f} ms", cpu < 2))
    lines = ["### Goals", "", "| what | goal | measured | reached |", "|---|--:|--:|---|"]
    lines += [f"| {what} | {goal} | {value} | {'yes' if good else '**no**'} |" for what, goal, value, good in rows]
    return [*lines, ""] if rows else []


def report(cells: list[Cell], sizes: Sizes, quick: bool, on: str, about: str) -> str:
    """Return the complete markdown text."""
    lines = [f"Measured on: {on}.", "", f"{about}.", ""]
    if quick:
        lines += ["**With --quick: short runs, once each; the numbers mean little.**", ""]
    lines += goals(cells)
    for workload in TITLES:
        lines += table(cells, workload)
    lines.append(
        f"- Events of 300 bytes of JSON. Appends for {sizes.append_s:g} s in each run; {sizes.stored:,} events to catch up "
        f"with; {sizes.latency_s:g} s of events at a steady rate, the first second not counted; {sizes.quiet_s:g} s of "
        "quiet."
    )
    lines.append(
        "- A delay of seconds means that a tool cannot keep up with the rate; it grows with the length of the run. Events "
        f"that had not arrived {LATE_S:g} s after the last append are not counted."
    )
    shown = {cell.tool for cell in cells}
    lines += [f"- {TOOLS[name].title}: {TOOLS[name].note}." for name in TOOLS if name in shown and TOOLS[name].note]
    return "\n".join(lines) + "\n"
