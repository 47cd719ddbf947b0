"""Private home: keeps other users out of WEAVER_HOME, whatever the umask and however an older version made it.

Weaver makes folders there with mode 0700 and files with mode 0600 (core/files.py). `secure_home` corrects those that exist,
once: where it finds some that other users can enter or read, it takes their permissions away and reports that in one line on
standard error. It never changes a link, a file with several names, or anything that belongs to another user; nor the home
itself where that holds other files than Weaver's, such as /tmp or a folder of projects; nor a weaver.toml that every user
can write to, which is ignored until its owner has looked at it (core/trusted_file.py).
"""

from __future__ import annotations

import contextlib
import os
import stat
from collections.abc import Callable
from pathlib import Path

from weaver.core.errors import ConfigError
from weaver.core.notices import notice
from weaver.core.text import visible
from weaver.home import data_folder

__all__ = ["is_in_home", "secure_home"]

_OTHERS = 0o077
_SETTINGS = "weaver.toml"
_OURS = ("catalog", "runs", "postgres", _SETTINGS)
_MOST_NAMED = 3
_HARMLESS = "harmless"


def is_in_home(path: Path) -> bool:
    """Return whether `path` is in WEAVER_HOME, after following links; so a catalog linked to a shared folder is not."""
    try:
        return path.resolve().is_relative_to(data_folder().resolve())
    except (ConfigError, OSError, RuntimeError):
        return False


def secure_home(home: Path, say: Callable[[str], None] | None = None) -> None:
    """Take the permissions of other users away from what Weaver has in `home`, and call `say` with a line if there were any.

    `say` prints to standard error by default. A home that is private already costs a few calls of the system.
    """
    if os.name != "posix":
        return
    try:
        home = home.resolve()  # the home itself may be a link, which its owner made
    except (OSError, RuntimeError):
        return
    open_paths = [path for path in (home, *(home / name for name in _OURS)) if _is_open(path)]
    if not open_paths:
        return
    tree = _Tree()
    if home in open_paths and _is_only_ours(home):
        tree.close(home, below=False)
    for name in _OURS:
        if name != _SETTINGS or not _is_open(home / name, by=stat.S_IWOTH):
            tree.close(home / name)
    if tree.closed and any(os.path.lexists(home / name) for name in _OURS):
        (say or notice)(tree.report(home))


class _Tree:
    """Closes folders from the top down, by descriptor: no other user can put a link in the place of an entry meanwhile."""

    def __init__(self) -> None:
        self.closed = 0
        self.left: list[str] = []

    def close(self, path: Path, *, folder: int | None = None, below: bool = True) -> None:
        """Close `path`, an entry of the open `folder`, and everything below it."""
        name = path if folder is None else path.name
        try:
            status = os.stat(name, dir_fd=folder, follow_symlinks=False)
            if reason := _reason_to_leave(status):
                self.left += [f"{path} ({reason})"] * (reason != _HARMLESS)
                return
            opened = os.open(name, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK, dir_fd=folder)
        except FileNotFoundError:
            return
        except OSError as error:
            self.left.append(f"{path} ({error.strerror})")
            return
        try:
            status = os.fstat(opened)
            if _reason_to_leave(status):  # exchanged in between
                return
            if status.st_mode & _OTHERS and not self._close_open(opened, path):
                return
            if below and stat.S_ISDIR(status.st_mode):
                for entry in sorted(os.listdir(opened)):
                    self.close(path / entry, folder=opened)
        except OSError as error:
            self.left.append(f"{path} ({error.strerror})")
        finally:
            os.close(opened)

    def _close_open(self, opened: int, path: Path) -> bool:
        """Return whether the open folder or file could be closed: a Windows disk has the permissions of its mount."""
        os.fchmod(opened, stat.S_IMODE(os.fstat(opened).st_mode) & 0o700)
        is_closed = not os.fstat(opened).st_mode & _OTHERS
        if is_closed:
            self.closed += 1
        else:
            self.left.append(f"{path} (its file system has no such permissions)")
        return is_closed

    def report(self, home: Path) -> str:
        """Return the line that says what was done."""
        line = (
            f"other users could enter or read {self.closed} folders and files in {home}: now only you can (0700, 0600)"
        )
        if self.left:
            named = ", ".join(self.left[:_MOST_NAMED])
            line += f"; not changed: {named}" + (
                "" if len(self.left) <= _MOST_NAMED else f" and {len(self.left) - _MOST_NAMED} more"
            )
        return visible(line)


def _reason_to_leave(status: os.stat_result) -> str:
    """Return why a folder or file is not changed; an empty text where it is."""
    is_open = status.st_mode & _OTHERS
    if stat.S_ISLNK(status.st_mode):
        return "a link"
    if not stat.S_ISDIR(status.st_mode) and not stat.S_ISREG(status.st_mode):  # the server's socket
        return _HARMLESS
    if status.st_uid != os.geteuid():
        return "of another user" if is_open else _HARMLESS
    if stat.S_ISREG(status.st_mode) and status.st_nlink > 1:
        return "a file with several names" if is_open else _HARMLESS
    return ""


def _is_open(path: Path, *, by: int = _OTHERS) -> bool:
    """Return whether other users have one of the permissions `by` on a folder or file of ours."""
    try:
        status = path.lstat()
    except OSError:
        return False
    is_plain = stat.S_ISDIR(status.st_mode) or stat.S_ISREG(status.st_mode)
    return is_plain and status.st_uid == os.geteuid() and bool(status.st_mode & by)


def _is_only_ours(home: Path) -> bool:
    """Return whether the home has no other files than Weaver's; a folder with the sticky bit is shared on purpose."""
    with contextlib.suppress(OSError):
        return not home.stat().st_mode & stat.S_ISVTX and all(
            name in _OURS or name.startswith(".runs.") for name in os.listdir(home)
        )
    return False
