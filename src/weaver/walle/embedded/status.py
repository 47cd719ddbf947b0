"""Looking: what is to be said about the embedded server, without starting it or holding it."""

from __future__ import annotations

import contextlib
import fcntl
import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from weaver.walle.embedded.attachment import is_kept_by, server_of
from weaver.walle.embedded.paths import DatabasePaths

__all__ = ["State", "look", "users_in_words", "users_of"]


@dataclass(frozen=True, slots=True, kw_only=True)
class State:
    """The server of one place, at one instant. `server` is what its keeper wrote down, None where none runs."""

    place: DatabasePaths
    server: dict[str, Any] | None
    kept: bool
    linger: float
    users: list[tuple[int, str]]
    size: int

    def as_json(self) -> dict[str, Any]:
        """For programs. There is no password in it."""
        return {
            "running": self.server is not None,
            "embedded": True,
            "folder": str(self.place.folder),
            "size_bytes": self.size,
            **({} if self.server is None else self.server),
            "kept": self.kept,
            "linger_s": self.linger,
            "users": [{"pid": pid, "command": command} for pid, command in self.users],
        }


def look(place: DatabasePaths) -> State:
    """See how things stand; the next instant may be another."""
    running = False
    with contextlib.suppress(OSError), place.keeper_lock.open("a") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_SH | fcntl.LOCK_NB)
        except BlockingIOError:
            running = True
    linger = 0.0
    with contextlib.suppress(OSError, ValueError):
        linger = float(place.linger.read_text(encoding="ascii")) if running else 0.0
    return State(
        place=place,
        server=server_of(place) if running else None,
        kept=running and is_kept_by(place),
        linger=linger,
        users=users_of(place) if running else [],
        size=sum(_sizes(place.folder)),
    )


def _sizes(folder: Path) -> list[int]:
    sizes = []
    for where, _, names in os.walk(folder):
        for name in names:
            with contextlib.suppress(OSError):
                sizes.append(os.lstat(os.path.join(where, name)).st_size)
    return sizes


def users_of(place: DatabasePaths) -> list[tuple[int, str]]:
    """The processes that hold the server, with their commands; empty where the system does not tell (Linux does)."""
    try:
        inode = str(place.users_lock.stat().st_ino)
        lines = Path("/proc/locks").read_text(encoding="ascii").splitlines()
    except OSError:
        return []
    found = {}
    for line in lines:  # 1: FLOCK  ADVISORY  READ 1234 fd:01:5678 0 EOF; with -> before FLOCK for one that waits
        fields = line.split()
        if len(fields) > 5 and fields[1] == "FLOCK" and fields[3] == "READ" and fields[5].rpartition(":")[2] == inode:
            pid = int(fields[4])
            found[pid] = _command(pid)
    return sorted(found.items())


def users_in_words(place: DatabasePaths) -> str:
    """` by process 12 (weaver backtest ...)`, or nothing where nobody knows."""
    users = [f"process {pid} ({command})" for pid, command in users_of(place)]
    return f" by {', '.join(users)}" if users else ""


def _command(pid: int) -> str:
    try:
        words = Path(f"/proc/{pid}/cmdline").read_bytes().rstrip(b"\0").replace(b"\0", b" ").decode(errors="replace")
    except OSError:
        return "?"
    line = " ".join(words.split())
    return line if len(line) <= 80 else line[:77] + "..."
