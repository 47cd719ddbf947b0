"""One measurement, inside a tool's own environment: CPU time of the run call and the peak memory of the process.

A peer gives a function `prepare(workload, bars)`, which puts the bars into the tool's own input form (not timed) and
returns the run (timed): indicators, the bars, and the result with its statistics. The same is first done on a few bars,
so that imports and compiling are not counted. Prints one line of JSON.
"""

from __future__ import annotations

import gc
import json
import resource
import sys
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path

from workloads import Bars, read

Run = Callable[[], "Outcome"]


@dataclass(frozen=True)
class Outcome:
    """What a run did, to show that all tools did the same work."""

    fills: int
    final_equity: float


def measure(prepare: Callable[[str, Bars], Run]) -> None:
    """PEER.py WORKLOAD FOLDER: measures and prints."""
    workload, folder = sys.argv[1], Path(sys.argv[2])
    prepare(workload, read(folder).head(2, 300 if workload == "W3" else 1000))()
    run = prepare(workload, read(folder))
    gc.collect()
    wall, cpu = time.perf_counter(), time.process_time()
    outcome = run()
    cpu, wall = time.process_time() - cpu, time.perf_counter() - wall
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / (1024.0 if sys.platform != "darwin" else 1024.0**2)
    print(json.dumps({"cpu_s": cpu, "wall_s": wall, "peak_mb": peak, **asdict(outcome)}))
