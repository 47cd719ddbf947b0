"""Hidden files: files next to a strategy that an import statement does not reach, because an installed module has the name.

It looks at the import statements of the file and of the modules in its folder that it has imported, without running them. It
does not see imports by `importlib`.
"""

from __future__ import annotations

import ast
import importlib.util
import os
import sys
from collections.abc import Iterable, Iterator
from pathlib import Path

__all__ = ["hidden_file", "hidden_imports"]


def hidden_imports(files: Iterable[Path], folder: Path, *, relative: bool = True) -> list[str]:
    """Return a sentence for each file or package of `folder` that `files` import, but cannot, with the way out.

    `relative` says that `files` can import from the folder with a dot.
    """
    names = {name: file for file in files for name in _imported_names(file)}
    return [
        f"{file.name} imports {name!r}, which is {_origin(name)}, not {hidden}; rename {hidden.name}"
        + (f", or write: from . import {name}" if relative else "")
        for name, file in sorted(names.items())
        if (hidden := hidden_file(name, folder)) is not None and hidden != file
    ]


def hidden_file(name: str, folder: Path) -> Path | None:
    """Return the file or package of `folder` whose name a module has that is imported from elsewhere, or None."""
    for file, origin in ((folder / f"{name}.py",) * 2, (folder / name, folder / name / "__init__.py")):
        if os.path.isfile(origin):  # False for a name that no file can have, where Path.is_file raises
            is_elsewhere, place = _place(name)
            is_same = place is not None and os.path.realpath(place) == os.path.realpath(origin)
            return file if is_elsewhere and not is_same else None
    return None


def _place(name: str) -> tuple[bool, str | None]:
    """Return whether `name` is loaded, or can be found outside of the user's folders, and the file of the module or None."""
    if name in sys.modules:
        return True, getattr(sys.modules[name], "__file__", None)
    spec = importlib.util.find_spec(name)
    return spec is not None, None if spec is None else spec.origin


def _origin(name: str) -> str:
    if name in sys.stdlib_module_names:
        return "Python's own module"
    return f"the installed module {_place(name)[1] or name}"


def _imported_names(file: Path) -> Iterator[str]:
    """Yield the top-level names that absolute import statements of the file begin with."""
    try:
        tree = ast.parse(file.read_bytes())
    except (OSError, SyntaxError, ValueError):
        return
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            for alias in node.names:
                yield alias.name.partition(".")[0]
        elif isinstance(node, ast.ImportFrom) and node.level == 0 and node.module:
            yield node.module.partition(".")[0]
