"""Server processes: which processes serve a data folder, and whether they work, as the operating system shows them.

Only the standard library is imported, because the keeper runs this under `python -I -S`.
"""

from __future__ import annotations

import contextlib
import os
import signal
import sys
from collections.abc import Iterator
from pathlib import Path

__all__ = ["kill_left_behind", "serves", "work_of"]


def serves(pid: int, data: Path) -> bool:
    """Return whether `pid` is a living PostgreSQL on `data`: not a zombie, nor a later process with its number."""
    if sys.platform == "linux":
        try:
            state = Path(f"/proc/{pid}/stat").read_bytes().rpartition(b") ")[2][:1]
            return state not in (b"Z", b"X") and os.path.samefile(f"/proc/{pid}/cwd", data)
        except OSError:  # gone, or another user's, who cannot serve this folder
            return False
    import subprocess

    said = subprocess.run(
        ["/bin/ps", "-o", "stat=,comm=", "-p", str(pid)], capture_output=True, text=True, check=False
    ).stdout
    return "postgres" in said and not said.lstrip().startswith("Z")


def _processes() -> Iterator[int]:
    with contextlib.suppress(OSError):
        for name in os.listdir("/proc"):
            if name.isdecimal():
                yield int(name)


def kill_left_behind(data: Path) -> None:
    """End the backends of a server that was killed. The caller holds keeper.lock, so only they use this folder."""
    for pid in _processes():
        if pid != os.getpid() and serves(pid, data):
            with contextlib.suppress(OSError):
                os.kill(pid, signal.SIGKILL)


def work_of(pid: int | None) -> int | None:
    """Return a number that grows while the server or its children work (Linux); None where that is not known."""
    if sys.platform != "linux" or pid is None:
        return None
    work = 0
    try:
        children = Path(f"/proc/{pid}/task/{pid}/children").read_text(encoding="ascii").split()
    except OSError:
        return None
    for process in (str(pid), *children):
        with contextlib.suppress(OSError):
            fields = Path(f"/proc/{process}/stat").read_bytes().rpartition(b") ")[2].split()
            work += int(fields[11]) + int(fields[12]) + int(fields[7])  # user and system ticks, minor faults
        with contextlib.suppress(OSError):
            for line in Path(f"/proc/{process}/io").read_text(encoding="ascii").splitlines()[:2]:
                work += int(line.split()[1])
    return work
