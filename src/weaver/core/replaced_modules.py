"""Replaced modules: name the file that Python imports in place of one of its own modules, or of an installed one.

Python searches the folder of the script first in `python script.py`, and the folders in PYTHONPATH before its own. Weaver
cannot prevent that an `html.py` there replaces Python's, but an error that follows from it can say so.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from importlib.machinery import PathFinder

__all__ = ["noting_replaced_modules", "replaced_module_note"]

_INSTALLED = ("site-packages", "dist-packages")


def replaced_module_note(error: BaseException) -> str | None:
    """Return the sentence to add to `error`, with the file to rename, or None where a replaced module did not cause it."""
    if isinstance(error, AttributeError):
        name = getattr(error.obj, "__name__", None)
    elif isinstance(error, ImportError):
        name = error.name
    else:
        return None
    root = name.partition(".")[0] if isinstance(name, str) else ""
    file = getattr(sys.modules.get(root), "__file__", None)
    if file is None or _is_original(root, file):
        return None
    kind = "Python's own module" if root in sys.stdlib_module_names else "the installed module"
    return f"{file} is imported in place of {kind} {root!r}; rename it"


@contextmanager
def noting_replaced_modules() -> Iterator[None]:
    """Add the sentence of `replaced_module_note` to an error of the block, as a note below its traceback."""
    try:
        yield
    except (AttributeError, ImportError) as error:
        if (note := replaced_module_note(error)) is not None:
            error.add_note(note)
        raise


def _is_original(name: str, file: str) -> bool:
    """Return whether `file` is the module `name` of Python or of an installed package, or the only one of this name."""
    if name in sys.stdlib_module_names:
        return file.startswith((os.path.dirname(os.__file__) + os.sep, "<frozen "))
    spec = PathFinder.find_spec(name, [entry for entry in sys.path if os.path.basename(entry) in _INSTALLED])
    return spec is None or spec.origin is None or os.path.realpath(spec.origin) == os.path.realpath(file)
