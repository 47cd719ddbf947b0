"""User folders: make the modules of a folder importable for the user's code, after all installed modules.

Guarantees that a file in such a folder never replaces a module of the standard library or of site-packages, and that neither
Weaver nor an installed package imports it, not even in place of an optional package that is not installed. Does not cover a
folder that Python itself searches first: that of the script in `python script.py`, and the folders in PYTHONPATH.

The folder becomes the last entry of `sys.path`, written as "FOLDER/.". A finder of this module serves the entry in this
process. In a spawned worker it is an ordinary entry, so that functions of these modules can be sent there.
"""

from __future__ import annotations

import importlib
import os
import sys
from importlib.machinery import ModuleSpec, PathFinder
from types import FrameType, ModuleType

__all__ = ["import_named_module", "is_user_entry", "search_last"]

_MARK = "."
_WEAVER = os.path.dirname(os.path.dirname(os.path.abspath(__file__))) + os.sep
_STANDARD_LIBRARY = os.path.dirname(os.__file__) + os.sep
_INSTALLED = frozenset(("site-packages", "dist-packages"))

_entries: set[str] = set()
_named: list[str] = []
"""Modules that the user named, for example in `weaver backtest module:Class`: Weaver imports them itself."""


def search_last(folder: str) -> None:
    """Let the user's code import the modules of `folder`, an absolute path.

    All other entries of `sys.path` precede it, except the folders of earlier calls.
    """
    entry = os.path.join(folder, _MARK)
    if _hook not in sys.path_hooks:
        sys.path_hooks.insert(0, _hook)
    if entry not in _entries:
        _entries.add(entry)
        sys.path_importer_cache.pop(entry, None)  # an ordinary finder, in a spawned worker
    earlier = [each for each in sys.path if each in _entries and each != entry]
    sys.path[:] = [each for each in sys.path if each not in _entries] + [entry, *earlier]
    importlib.invalidate_caches()


def is_user_entry(entry: str) -> bool:
    """Return whether this entry of `sys.path` is a folder of the user's modules."""
    return entry in _entries


def import_named_module(name: str) -> ModuleType:
    """Import the module that the user named; it may be in a folder of `search_last`. Raises what the import raises."""
    root = name.partition(".")[0]
    _named.append(root)
    try:
        return importlib.import_module(name)
    finally:
        _named.remove(root)


class _UserFolder:
    """The finder of one folder, which `sys.path_hooks` makes."""

    def __init__(self, folder: str) -> None:
        self._folder = folder

    def find_spec(self, name: str, target: ModuleType | None = None) -> ModuleSpec | None:
        """Return the spec of the top-level module `name` of the folder, if the user's code imports it.

        A module that was imported from the folder may be reloaded by any code, such as the autoreload of a notebook.
        """
        folder = os.path.join(self._folder, "")
        is_loaded = (getattr(sys.modules.get(name), "__file__", None) or "").startswith(folder)
        if name not in _named and not is_loaded and not _is_user_import(folder):
            return None
        return PathFinder.find_spec(name, [self._folder], target)

    def invalidate_caches(self) -> None:
        """Do nothing: `PathFinder` keeps the finder that has a cache."""


def _hook(entry: str) -> _UserFolder:
    if entry not in _entries:
        raise ImportError(entry)
    return _UserFolder(os.path.dirname(entry))


def _is_user_import(folder: str) -> bool:
    """Return whether the code that imports now is the user's: neither Weaver's nor an installed package's.

    Frames of the standard library belong to their caller: `importlib.import_module`, or an optional module of `subprocess`.
    """
    frame: FrameType | None = sys._getframe(2)
    while frame is not None:
        file = frame.f_code.co_filename
        inner = file.removeprefix(folder)  # shorter for the user's own files, which may be below site-packages
        if _is_within(_WEAVER, file, folder) or not _INSTALLED.isdisjoint(inner.split(os.sep)):
            return False
        if not file.startswith("<frozen ") and not _is_within(_STANDARD_LIBRARY, file, folder):
            return True
        frame = frame.f_back
    return True  # a thread of the standard library, which unpickles the user's values


def _is_within(root: str, file: str, folder: str) -> bool:
    """Return whether `file` is below `root`, and not in a user's folder that is below `root` itself."""
    return file.startswith(root) and not (folder.startswith(root) and file.startswith(folder))
