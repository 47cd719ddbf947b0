"""Launching: a child process that runs as another user and does not outlive its parent. POSIX; for the keeper alone.

The parent-death signal (Linux) is asked for after the change of user, because that change clears it, and from the
process's only thread, because it is sent when the *thread* dies that made the child. Call this before any thread is made.
"""

from __future__ import annotations

import ctypes
import os
import signal
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

__all__ = ["Runner", "launch", "runner_of"]

_PR_SET_PDEATHSIG = 1
_CANNOT_RUN = 127


@dataclass(frozen=True, slots=True)
class Runner:
    """The user that a child runs as."""

    name: str
    uid: int
    gid: int


def runner_of(name: str | None) -> Runner | None:
    """The user of this name; None stays None, and means: as we are."""
    if name is None:
        return None
    import pwd

    entry = pwd.getpwnam(name)
    return Runner(name, entry.pw_uid, entry.pw_gid)


def _libc() -> Any:
    return ctypes.CDLL(None, use_errno=True) if sys.platform == "linux" else None


def launch(
    arguments: Sequence[str],
    *,
    environment: Mapping[str, str],
    runner: Runner | None,
    death_signal: int,
    stdin: int,
    output: int,
    keep: Sequence[int] = (),
) -> int:
    """Start `arguments` and return its process id. `keep` are descriptors that it inherits under their numbers."""
    libc = _libc()
    parent = os.getpid()
    child = os.fork()
    if child:
        return child
    try:
        os.dup2(stdin, 0)
        os.dup2(output, 1)
        os.dup2(output, 2)
        for descriptor in keep:
            os.set_inheritable(descriptor, True)
        os.umask(0o077)
        if runner is not None:
            os.setgroups([])
            os.setgid(runner.gid)
            os.setuid(runner.uid)
        if libc is not None:
            libc.prctl(_PR_SET_PDEATHSIG, death_signal, 0, 0, 0)
        if os.getppid() != parent:  # it died before the signal was armed
            os._exit(_CANNOT_RUN)
        for number in (signal.SIGPIPE, signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
            signal.signal(number, signal.SIG_DFL)
        os.execve(arguments[0], list(arguments), environment)
    except OSError as error:
        os.write(2, f"{arguments[0]}: {error}\n".encode())
    finally:
        os._exit(_CANNOT_RUN)
