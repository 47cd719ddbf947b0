"""Trusted files: reads a file only if another user cannot have chosen its content.

A file is trusted if this user or root owns it, and the link to it if there is one, and if not every user may write to it. A
group that may write to it is trusted, because its owner gave the group that permission. Not checked are access control
lists, and the folders above it: a user who may write to such a folder can put a file of their own there, which is then not
trusted, or take the file away.
"""

from __future__ import annotations

import os
import stat
from pathlib import Path

__all__ = ["UntrustedFile", "read_trusted"]


class UntrustedFile(Exception):
    """Another user may have written the file. The text says why, and what to do."""


def read_trusted(path: Path, *, limit: int) -> bytes:
    """Return the content of `path`, at most `limit` + 1 bytes of it.

    Raises UntrustedFile, or OSError where it is missing, cannot be read or is not a regular file. Never waits: a named pipe
    is not opened for reading.
    """
    if os.name != "posix":
        return path.read_bytes()[: limit + 1]
    _check_owner(path.lstat())
    opened = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
    with open(opened, "rb") as file:
        status = os.fstat(opened)
        _check_owner(status)
        if not stat.S_ISREG(status.st_mode):
            raise OSError("it is not a regular file")
        if status.st_mode & stat.S_IWOTH:
            raise UntrustedFile(
                "every user can write to it; if its content is yours, take that permission away (chmod o-w)"
            )
        return file.read(limit + 1)


def _check_owner(status: os.stat_result) -> None:
    if status.st_uid in (os.geteuid(), 0):
        return
    import pwd

    try:
        owner = pwd.getpwuid(status.st_uid).pw_name
    except KeyError:
        owner = f"id {status.st_uid}"
    raise UntrustedFile(f"it belongs to user {owner}, not to you or root; if you want its settings, copy it")
