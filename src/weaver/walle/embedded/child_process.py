"""Child process: runs a program as another user, so that it does not outlive its parent. POSIX; used by the keeper.

The parent-death signal (Linux) is requested after the change of user, because that change clears it. It is sent when the
*thread* that made the child ends, so `launch` must be called before the process has a second thread.
"""

from __future__ import annotations

import ctypes
import os
import signal
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

__all__ = ["ServerUser", "find_user", "launch"]

_PR_SET_PDEATHSIG = 1
_CANNOT_RUN = 127


@dataclass(frozen=True, slots=True)
class ServerUser:
    """The user as whom the server runs."""

    name: str
    uid: int
    gid: int


def find_user(name: str | None) -> ServerUser | None:
    """Return the user of this name; None stays None, and means the user of this process."""
    if name is None:
        return None
    import pwd

    entry = pwd.getpwnam(name)
    return ServerUser(name, entry.pw_uid, entry.pw_gid)


def _libc() -> Any:
    return ctypes.CDLL(None, use_errno=True) if sys.platform == "linux" else None


def launch(
    arguments: Sequence[str],
    *,
    environment: Mapping[str, str],
    user: ServerUser | None,
    death_signal: int,
    stdin: int,
    output: int,
    keep: Sequence[int] = (),
) -> int:
    """Start the program `arguments` and return its process id. It inherits the descriptors `keep` under their numbers."""
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
        if user is not None:
            os.setgroups([])
            os.setgid(user.gid)
            os.setuid(user.uid)
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
