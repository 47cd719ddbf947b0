"""Source hash: a fingerprint of a strategy's code, which identifies a run together with its parameters and bars.

It covers the files of the strategy's classes and every module of the same folder that these files import, directly or
through each other, also inside functions. It does not cover installed packages, data files, or modules of other folders.
"""

from __future__ import annotations

import ast
import hashlib
import inspect
import sys
from collections.abc import Iterator
from pathlib import Path
from weakref import WeakKeyDictionary

from weaver.marvin.strategy import Strategy

__all__ = ["source_hash"]

_hashes: WeakKeyDictionary[type, str | None] = WeakKeyDictionary()
_LARGEST = 10_000_000  # bytes of one file; a larger one is data rather than code


def source_hash(strategy: type[Strategy]) -> str | None:
    """Return 16 hexadecimal digits that change with the strategy's code; None where its source is not available.

    A class is hashed once, when it first runs. A class without a file (a notebook cell) is hashed by its own source.
    """
    try:
        return _hashes[strategy]
    except KeyError:
        value = _hashes[strategy] = _compute(strategy)
        return value


def _compute(strategy: type[Strategy]) -> str | None:
    files: dict[Path, bytes] = {}
    texts: list[str] = []
    for cls in strategy.__mro__:
        if cls is object or cls.__dict__.get("__weaver_base__"):
            continue
        file = getattr(sys.modules.get(cls.__module__), "__file__", None)
        if file is not None and Path(file).is_file():
            _collect(Path(file).resolve(), sys.modules[cls.__module__].__package__ or "", files)
            continue
        try:
            texts.append(inspect.getsource(cls))
        except (OSError, TypeError):
            return None
    digest = hashlib.sha256()
    for path, content in sorted(files.items(), key=lambda item: (item[0].name, item[1])):
        digest.update(f"{path.name}\n{len(content)}\n".encode() + content)
    for text in texts:
        digest.update(text.encode("utf-8", "surrogatepass"))
    return digest.hexdigest()[:16]


def _collect(path: Path, package: str, files: dict[Path, bytes]) -> None:
    """Add a file and the modules of its folder that it imports, directly or through each other."""
    if path in files or not path.is_file() or path.stat().st_size > _LARGEST:
        return
    content = files[path] = path.read_bytes()
    try:
        tree = ast.parse(content)
    except (SyntaxError, ValueError):
        return
    for name in _imported_names(tree, package):
        module = path.parent.joinpath(*name.split("."))
        for candidate in (module.with_name(module.name + ".py"), module / "__init__.py"):
            _collect(candidate, package, files)


def _imported_names(tree: ast.Module, package: str) -> Iterator[str]:
    """Yield dotted names of imports, relative to the folder of the file."""
    prefix = f"{package}." if package else ""
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            for alias in node.names:
                yield alias.name.removeprefix(prefix)
        elif isinstance(node, ast.ImportFrom) and node.level <= 1:
            module = (node.module or "").removeprefix(prefix) if node.level == 0 else node.module or ""
            if module and module != package:
                yield module
            for alias in node.names:
                yield f"{module}.{alias.name}" if module and module != package else alias.name
