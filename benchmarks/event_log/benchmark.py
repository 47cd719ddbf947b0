"""Benchmark of the event log: Weaver and its peers on one PostgreSQL server with fsync on, as a table of ratios.

Every number is the median of several runs, each in a fresh process on a fresh database, one at a time and interleaved.
Without --url it starts its own server, with the settings of Weaver's embedded one. The numbers hold for this disk only: a
commit costs as much as the disk takes for a flush. A loaded machine distorts them (the load average is printed).

    python benchmarks/event_log/benchmark.py              all workloads, about 15 minutes
    python benchmarks/event_log/benchmark.py --quick      short, one run, to see whether it works
    python benchmarks/event_log/benchmark.py --write      also write the tables into docs/performance.md
"""

from __future__ import annotations

import argparse
import asyncio
import json
import shutil
import signal
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

sys.path.append(str(Path(__file__).resolve().parents[1]))

import asyncpg
from make_env import CannotInstall, python_of
from measurement import Sizes
from run import environment, machine
from tables import RATES, TITLES, TOOLS, Cell, report

HERE = Path(__file__).resolve().parent
PAGE = HERE.parents[1] / "docs" / "performance.md"
BEGIN, END = "<!-- event log: begin -->", "<!-- event log: end -->"
TIMEOUT_S = 600
TEMPLATE = "weaver_bench_template"
FULL = Sizes(append_s=3, batch=1000, stored=1_000_000, rate=1000, latency_s=6, quiet_s=10)
QUICK = Sizes(append_s=1, batch=1000, stored=100_000, rate=1000, latency_s=3, quiet_s=3)


class Databases:
    """The benchmark's databases on one server, all named weaver_bench_*, dropped at the end."""

    def __init__(self, url: str) -> None:
        self._url = urlsplit(url.replace("postgresql+asyncpg://", "postgresql://", 1))

    def url(self, name: str) -> str:
        return self._url._replace(path=f"/{name}").geturl()

    def sql(self, *statements: str) -> Any:
        """Execute the statements one by one; return the value of the last."""

        async def run() -> Any:
            connection = await asyncpg.connect(self._url.geturl())
            try:
                for statement in statements[:-1]:
                    await connection.execute(statement)
                return await connection.fetchval(statements[-1])
            finally:
                await connection.close()

        return asyncio.run(run())

    def make_template(self) -> None:
        """Create Weaver's tables with its migrations; plain SQL is measured on the same tables."""
        from weaver.walle.migrate import upgrade

        self.fresh(TEMPLATE, ours=False)
        upgrade(self.url(TEMPLATE).replace("postgresql://", "postgresql+asyncpg://"))

    def fresh(self, name: str, *, ours: bool) -> str:
        """Create an empty database, with Weaver's tables if `ours`, and a checkpoint; return its URL."""
        template = f" TEMPLATE {TEMPLATE}" if ours else ""
        self.drop(name)
        self.sql(f"CREATE DATABASE {name}{template}", "CHECKPOINT")
        return self.url(name)

    def settle(self, name: str) -> None:
        """Do now what autovacuum would do some time after a load."""

        async def run() -> None:
            connection = await asyncpg.connect(self.url(name))
            await connection.execute("VACUUM ANALYZE")
            await connection.close()

        asyncio.run(run())
        self.sql("CHECKPOINT")

    def drop(self, name: str) -> None:
        self.sql(f"DROP DATABASE IF EXISTS {name} WITH (FORCE)")

    def about(self) -> str:
        """Return the server's version and relevant settings; exit if it does not flush commits."""
        names = ("server_version", "fsync", "synchronous_commit", "wal_sync_method", "shared_buffers", "max_wal_size")
        found = {name: self.sql(f"SELECT current_setting('{name}')") for name in names}
        if (found["fsync"], found["synchronous_commit"]) != ("on", "on"):
            raise SystemExit(f"the server has {found}: it must flush commits")
        settings = ", ".join(f"{name} {value}" for name, value in found.items() if name != "server_version")
        return f"PostgreSQL {found['server_version']}: {settings}"


def plan(tools: list[str], workloads: list[str]) -> list[Cell]:
    """Return all cells to measure, with their environments built."""
    cells = []
    for name in tools:
        tool, failure, python = TOOLS[name], "", Path(sys.executable)
        try:
            python = python_of(tool.environment) if tool.environment else python
        except CannotInstall as error:
            failure = f"cannot be installed here: {error}"
        cells += [Cell(name, one, python, failure=failure) for one in workloads if one in tool.workloads]
    return cells


def call(cell: Cell, workload: str, url: str, sizes: Sizes) -> dict | None:
    """Return one measurement from a fresh process; None if it failed."""
    tool = TOOLS[cell.tool]
    command = [str(cell.python), str(HERE / "peers" / tool.script), workload, url, json.dumps(asdict(sizes))]
    command += tool.arguments
    try:
        result = subprocess.run(
            command, capture_output=True, text=True, check=False, env=environment(), timeout=TIMEOUT_S
        )
    except subprocess.TimeoutExpired:
        cell.failure = f"took longer than {TIMEOUT_S} s"
        return None
    lines = result.stdout.splitlines() or [""]
    if result.returncode or not lines[-1].startswith("{"):
        cell.failure = ((result.stderr or result.stdout).strip().splitlines() or ["no output"])[-1]
        print(f"  {cell.tool:16} {workload:10} failed: {cell.failure}", file=sys.stderr, flush=True)
        return None
    return json.loads(lines[-1])


def measure(cell: Cell, databases: Databases, sizes: Sizes, filled: set[str]) -> None:
    """Run `cell` once more. The events of catch-up are stored once, by the tool itself."""
    tool = TOOLS[cell.tool]
    if cell.workload == "catch-up":
        owner = tool.reads or cell.tool
        name = f"weaver_bench_stored_{owner}"
        if owner not in filled:
            url = databases.fresh(name, ours=tool.ours)
            if call(cell if owner == cell.tool else Cell(owner, "", cell.python), "fill", url, sizes) is None:
                cell.failure = cell.failure or "its events could not be stored"
                return
            databases.settle(name)
            filled.add(owner)
        values = call(cell, "catch-up", databases.url(name), sizes)
    else:
        name = f"weaver_bench_{cell.tool}".replace("-", "_")
        workload, own = cell.workload, sizes
        if workload in RATES:
            workload, own = "latency", replace(sizes, rate=RATES[workload])
        values = call(cell, workload, databases.fresh(name, ours=tool.ours), own)
        databases.drop(name)
    if values is not None:
        cell.runs.append(values)
        shown = "  ".join(f"{key} {value:,.3f}" for key, value in values.items())
        print(f"  {cell.tool:16} {cell.workload:10} {shown}", file=sys.stderr, flush=True)


@contextmanager
def server() -> Iterator[str]:
    """Yield the URL of a new embedded server, which is removed after the block."""
    from weaver.walle.embedded.attachment import attach, stop

    folder = Path(tempfile.mkdtemp(prefix="weaver-bench-"))
    holding = attach(folder)
    try:
        yield holding.url
    finally:
        holding.close()
        stop(holding.place)
        shutil.rmtree(folder)


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--quick", action="store_true", help="short, one run")
    parser.add_argument("--runs", type=int, default=5, help="runs of each tool (default 5)")
    parser.add_argument("--only", default=",".join(TOOLS), metavar="TOOLS", help=f"of {','.join(TOOLS)}")
    parser.add_argument("--workloads", default=",".join(TITLES), help=f"of {','.join(TITLES)}")
    parser.add_argument("--url", help="another server; its user makes and drops databases named weaver_bench_*")
    parser.add_argument("--write", action="store_true", help="put the result into docs/performance.md")
    options = parser.parse_args()
    signal.signal(signal.SIGTERM, lambda number, frame: sys.exit(128 + number))  # the server is stopped on the way out
    tools, workloads = options.only.split(","), options.workloads.split(",")
    for name, known in [(name, TOOLS) for name in tools] + [(name, TITLES) for name in workloads]:
        if name not in known:
            parser.error(f"{name!r} is unknown; choose from {', '.join(known)}")
    runs, sizes = (1, QUICK) if options.quick else (options.runs, FULL)
    cells, on = plan(tools, workloads), machine()
    filled: set[str] = set()
    with nullcontext(options.url) if options.url else server() as url:
        databases = Databases(url)
        about = databases.about()
        databases.make_template()
        try:
            for turn in range(runs):
                print(f"round {turn + 1} of {runs}", file=sys.stderr, flush=True)
                for workload in workloads:  # the first tool changes each round
                    ours = [cell for cell in cells if cell.workload == workload and not cell.failure]
                    for cell in ours[turn % max(1, len(ours)) :] + ours[: turn % max(1, len(ours))]:
                        measure(cell, databases, sizes, filled)
        finally:
            for name in [TEMPLATE, *(f"weaver_bench_stored_{owner}" for owner in filled)]:
                databases.drop(name)
    text = report(cells, sizes, options.quick, on, about)
    print(text)
    if options.write:
        before, _, rest = PAGE.read_text().partition(BEGIN)
        PAGE.write_text(before + BEGIN + "\n" + text + END + rest.partition(END)[2])
    failures = [cell.failure for cell in cells if cell.failure and TOOLS[cell.tool].ours]
    if failures:
        raise SystemExit(f"Weaver's own run failed: {failures[0]}")


if __name__ == "__main__":
    main()
