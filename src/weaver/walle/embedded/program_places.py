"""Program places: the folders from which Weaver runs programs.

Guarantees that no program is taken from a folder that Python searches for the user's modules (that of a script or a
strategy, the current one), nor from a relative or empty entry of PATH; and that root runs no program that another user could
replace, except users who could replace Weaver or its Python as well. It does not look at groups, nor at the libraries of a
program.
"""

from __future__ import annotations

import os
import stat
import sys
from collections.abc import Iterator
from importlib.machinery import PathFinder
from pathlib import Path

__all__ = ["find_on_path", "other_owner", "package_folders", "search_path"]

_WEAVER = Path(__file__).parents[2]
_INSTALLED = ("site-packages", "dist-packages")


def package_folders(name: str) -> list[Path]:
    """Return the folders of the installed package `name`: in site-packages, or in the folder that contains Weaver."""
    home = os.path.realpath(_WEAVER.parent)
    entries = [
        entry
        for entry in sys.path
        if os.path.isabs(entry) and (Path(entry).name in _INSTALLED or os.path.realpath(entry) == home)
    ]
    spec = PathFinder.find_spec(name, entries)
    return [Path(folder) for folder in (spec.submodule_search_locations or ())] if spec else []


def search_path() -> str:
    """Return PATH without its relative and empty entries, which depend on the current folder.

    An empty PATH means the current folder too, so the system's folders replace it.
    """
    entries = [entry for entry in os.environ.get("PATH", "").split(os.pathsep) if os.path.isabs(entry)]
    return os.pathsep.join(entries) or os.defpath


def find_on_path(name: str) -> Path | None:
    """Return the program `name` from the absolute entries of PATH."""
    for entry in search_path().split(os.pathsep):
        program = Path(entry, name)
        if program.is_file() and os.access(program, os.X_OK):
            return program
    return None


def other_owner(program: Path) -> str | None:
    """Return what lets another user replace the program, if root runs Weaver: "/x/bin belongs to user ann"; else None."""
    if os.geteuid() != 0:
        return None
    trusted = set(_trusted_users())
    for path in _chain(program):
        status = path.lstat()
        if status.st_uid not in trusted:
            return f"{path} belongs to user {_name(status.st_uid)}"
        is_open = status.st_mode & stat.S_IWOTH and not status.st_mode & stat.S_ISVTX
        if is_open and not stat.S_ISLNK(status.st_mode):
            return f"{path} can be written by every user"
    return None


def _trusted_users() -> Iterator[int]:
    """Yield root, the user who called sudo, and the owners of Weaver, of its Python and of the folders above them."""
    yield 0
    caller = os.environ.get("SUDO_UID", "")
    if caller.isdecimal():
        yield int(caller)
    for place in (_WEAVER, Path(sys.prefix), Path(sys.executable)):
        for path in _chain(place):
            yield path.lstat().st_uid


def _chain(path: Path) -> list[Path]:
    """Return the path and all folders above it, as written and with symbolic links resolved."""
    written, real = path.absolute(), path.resolve()
    return list(dict.fromkeys((written, *written.parents, real, *real.parents)))


def _name(uid: int) -> str:
    import pwd

    try:
        return pwd.getpwuid(uid).pw_name
    except KeyError:
        return str(uid)
