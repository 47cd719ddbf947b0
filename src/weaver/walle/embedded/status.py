"""Status: the state of the embedded server and its users. Starts nothing and attaches to nothing."""

from __future__ import annotations

import contextlib
import fcntl
import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from weaver.walle.embedded.attachment import is_kept
from weaver.walle.embedded.paths import DatabasePaths
from weaver.walle.embedded.startup import read_server_facts

__all__ = ["ServerStatus", "describe_users", "list_users", "read_status"]


@dataclass(frozen=True, slots=True, kw_only=True)
class ServerStatus:
    """The state of one embedded server at one instant. `server` is None if it does not run."""

    place: DatabasePaths
    server: dict[str, Any] | None
    kept: bool
    linger: float
    users: list[tuple[int, str]]
    size: int

    def as_json(self) -> dict[str, Any]:
        """Return the status for programs, without the password."""
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


def read_status(place: DatabasePaths) -> ServerStatus:
    """Read the current status, which may change at any time."""
    running = False
    with contextlib.suppress(OSError), place.keeper_lock.open("a") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_SH | fcntl.LOCK_NB)
        except BlockingIOError:
            running = True
    linger = 0.0
    with contextlib.suppress(OSError, ValueError):
        linger = float(place.linger.read_text(encoding="ascii")) if running else 0.0
    return ServerStatus(
        place=place,
        server=read_server_facts(place) if running else None,
        kept=running and is_kept(place),
        linger=linger,
        users=list_users(place) if running else [],
        size=sum(_sizes(place.folder)),
    )


def _sizes(folder: Path) -> list[int]:
    sizes = []
    for where, _, names in os.walk(folder):
        for name in names:
            with contextlib.suppress(OSError):
                sizes.append(os.lstat(os.path.join(where, name)).st_size)
    return sizes


def list_users(place: DatabasePaths) -> list[tuple[int, str]]:
    """Return process ids and commands of the server's users; empty on systems that do not list locks (Linux does)."""
    try:
        inode = str(place.users_lock.stat().st_ino)
        lines = Path("/proc/locks").read_text(encoding="ascii").splitlines()
    except OSError:
        return []
    users = {}
    for line in lines:  # 1: FLOCK  ADVISORY  READ 1234 fd:01:5678 0 EOF; with -> before FLOCK for one that waits
        fields = line.split()
        if len(fields) > 5 and fields[1] == "FLOCK" and fields[3] == "READ" and fields[5].rpartition(":")[2] == inode:
            pid = int(fields[4])
            users[pid] = _command(pid)
    return sorted(users.items())


def describe_users(place: DatabasePaths) -> str:
    """Return ` by process 12 (weaver backtest ...)` for an error, or an empty text if no users are known."""
    users = [f"process {pid} ({command})" for pid, command in list_users(place)]
    return f" by {', '.join(users)}" if users else ""


def _command(pid: int) -> str:
    try:
        words = Path(f"/proc/{pid}/cmdline").read_bytes().rstrip(b"\0").replace(b"\0", b" ").decode(errors="replace")
    except OSError:
        return "?"
    line = " ".join(words.split())
    return line if len(line) <= 80 else line[:77] + "..."
