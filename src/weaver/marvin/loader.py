"""Loader: loads a strategy class from `file.py`, `file.py:Class` or `module:Class`. It runs the file, as an import would.

A file is read anew at each load, with the modules in its folder that it imports (`import helpers`, `from . import
helpers`). Files of the same name in different folders are different modules. An import inside a function that runs later
uses the folder that was loaded last.

A file in the folder never replaces an installed module: `import html` is Python's own, also where there is an html.py, and
only the user's code imports from the folder (see `weaver.core.user_folders`). A strategy that imports a hidden name is
loaded with a warning, or its error names the file.
"""

from __future__ import annotations

import hashlib
import importlib.util
import os
import sys
import warnings
from collections.abc import Callable, Mapping
from importlib.machinery import SourceFileLoader
from pathlib import Path
from types import CodeType, ModuleType
from typing import Any

from weaver.core.errors import StrategyError, StrategyLoadError
from weaver.core.suggest import nearest, suggest
from weaver.core.text import brief, cut, cut_middle, describe_error
from weaver.core.user_folders import import_named_module, search_last
from weaver.marvin.hidden_files import hidden_file, hidden_imports
from weaver.marvin.parameters import parse_values
from weaver.marvin.strategy import Strategy

__all__ = ["load_strategy", "parse_params"]

_PACKAGE = "weaver_strategies_"


def _warn(message: str) -> None:
    warnings.warn(message, stacklevel=4)  # the caller of load_strategy


def load_strategy(text: str | os.PathLike[str], *, warn: Callable[[str], object] = _warn) -> type[Strategy]:
    """Return the class that `text` names. Raises StrategyLoadError that names the file or module and its classes.

    `warn` receives a sentence for each file next to the strategy that it imports but that an installed module hides.
    """
    text = os.fspath(text)
    place, _, name = text.rpartition(":") if ":" in text and not text.endswith(".py") else (text, "", "")
    # On Windows `C:\dir\file.py` has a colon that separates nothing.
    if not place or (len(place) == 1 and place.isalpha()):
        place, name = text, ""
    if not place.strip("./ "):
        raise StrategyLoadError(f"{brief(text)} names no strategy; give file.py, file.py:Class or module:Class")
    module = _from_file(Path(place), warn) if place.endswith(".py") else _from_module(place, text, warn)
    found = {
        key: value
        for key, value in vars(module).items()
        if isinstance(value, type) and issubclass(value, Strategy) and value is not Strategy
    }
    # A second name for the same class is no second strategy, and one with an underscore is a base for others.
    own = {value.__name__: value for value in found.values() if value.__module__ == module.__name__}
    own = {key: value for key, value in own.items() if not key.startswith("_")} or own
    if name:
        if name in found:
            return found[name]
        hint = suggest(name, found, f"it has: {', '.join(own) or 'no strategy'}")
        raise StrategyLoadError(f"{place} has no strategy {brief(name)}; {hint}")
    if len(own) == 1:
        return next(iter(own.values()))
    if not own:
        raise StrategyLoadError(f"{place} has no strategy: no class in it derives from weaver.Strategy")
    ways = ", ".join(f"{place}:{key}" for key in own)
    raise StrategyLoadError(f"{place} has {len(own)} strategies; say which one: {ways}")


def parse_params(cls: type[Strategy], texts: Mapping[str, str]) -> dict[str, Any]:
    """Parameter values from text, as a command line gives them. Raises ParameterError."""
    return parse_values(cls, texts)


class _FreshSource(SourceFileLoader):
    """Compiles the file at each load: cached bytecode is dated in whole seconds and would miss a quick change."""

    def get_code(self, fullname: str) -> CodeType:
        path = self.get_filename(fullname)
        code: CodeType = self.source_to_code(self.get_data(path), path)
        return code


def _from_file(path: Path, warn: Callable[[str], object]) -> ModuleType:
    if not path.is_file():
        near = nearest(path.name, (other.name for other in path.parent.glob("*.py")))
        hint = f"; did you mean {path.with_name(near[0])}?" if near else ""
        raise StrategyLoadError(f"strategy file {path} does not exist{hint}")
    resolved = path.resolve()
    folder = str(resolved.parent)
    # The folder becomes a package: relative imports work, and equal names in other folders are other modules.
    package = _PACKAGE + hashlib.sha256(folder.encode()).hexdigest()[:12]
    _forget_neighbours(folder, package)
    parent = ModuleType(package, "The folder of a strategy's file.")
    parent.__path__ = [folder]
    sys.modules[package] = parent
    name = f"{package}.{resolved.stem}"
    spec = importlib.util.spec_from_file_location(name, resolved, loader=_FreshSource(name, str(resolved)))
    if spec is None or spec.loader is None:
        raise StrategyLoadError(f"strategy file {path} cannot be loaded as Python")
    module = importlib.util.module_from_spec(spec)
    before = set(sys.modules)
    sys.modules[name] = module  # so that pickling, annotations and tracebacks find it
    try:
        spec.loader.exec_module(module)
    except BaseException as error:
        sys.modules.pop(name, None)
        if isinstance(error, SystemExit):
            raise StrategyLoadError(
                f"strategy file {path} ends the program when loaded: {_told(error, path)}"
            ) from error
        if isinstance(error, StrategyError) or not isinstance(error, Exception):
            raise
        reasons = [_told(error, path)]
        if isinstance(error, ImportError | AttributeError):
            reasons += _hidden_from(resolved, before)
        raise StrategyLoadError(f"strategy file {path} failed to load: {'; '.join(reasons)}") from error
    finally:
        _remember_neighbours(folder, before)
    for sentence in _hidden_from(resolved, before):
        warn(sentence)
    return module


_neighbours: set[str] = set()
"""Modules in the folder of a strategy's file that the file was the first to import."""


def _forget_neighbours(folder: str, package: str) -> None:
    """Let the next import of a strategy's neighbours read their files, and search `folder` before those loaded earlier."""
    for name in [name for name in sys.modules if name in _neighbours or f"{name}.".startswith(f"{package}.")]:
        del sys.modules[name]
    _neighbours.clear()
    search_last(folder)


def _remember_neighbours(folder: str, before: set[str]) -> None:
    for name, file in _new_files(folder, before):
        stem = os.path.join(folder, *name.split("."))
        if file in (f"{stem}.py", os.path.join(stem, "__init__.py")):
            _neighbours.add(name)


def _new_files(folder: str, before: set[str]) -> list[tuple[str, str]]:
    """Return name and file of each module below `folder` that is new since the names `before`."""
    files = [(name, getattr(sys.modules[name], "__file__", None)) for name in sorted(set(sys.modules) - before)]
    return [(name, file) for name, file in files if file is not None and file.startswith(os.path.join(folder, ""))]


def _hidden_from(file: Path, before: set[str]) -> list[str]:
    """Return a sentence for each hidden file that the strategy's file, or a module next to it, imports."""
    new = [Path(path) for _, path in _new_files(str(file.parent), before)]
    return hidden_imports([file, *(path for path in new if path.parent == file.parent)], file.parent)


def _from_module(place: str, text: str, warn: Callable[[str], object]) -> ModuleType:
    current = _current_folder()
    if current is not None and not {"", ".", str(current)}.intersection(sys.path):
        search_last(str(current))
    try:
        module = import_named_module(place)
    except ModuleNotFoundError as error:
        if error.name is None or not place.startswith(error.name):
            reasons = [cut_middle(str(error), 2_000), *_hidden_from_module(place, current)]
            raise StrategyLoadError(f"strategy {brief(text)} failed to load: {'; '.join(reasons)}") from error
        file = Path(f"{place}.py")
        hint = (
            f"did you mean {file}?" if file.is_file() else f"a file is written with its ending, as path/to/{file.name}"
        )
        raise StrategyLoadError(f"strategy {brief(text)}: there is no module {brief(place)}; {hint}") from error
    except StrategyError:
        raise
    except Exception as error:
        reasons = [describe_error(error)]
        if isinstance(error, ImportError | AttributeError):
            reasons += _hidden_from_module(place, current)
        raise StrategyLoadError(f"strategy {brief(text)} failed to load: {'; '.join(reasons)}") from error
    for sentence in _hidden_from_module(place, current):
        warn(sentence)
    hidden = None if current is None else hidden_file(place, current)
    if hidden is not None:
        warn(
            f"{brief(place)} is an installed module, {getattr(module, '__file__', place)}; to load {hidden}, name the file"
        )
    return module


def _hidden_from_module(place: str, current: Path | None) -> list[str]:
    """Return a sentence for each hidden file of the current folder that a module in it imports."""
    file = None if current is None else current.joinpath(*place.split(".")).with_suffix(".py")
    return [] if current is None or file is None else hidden_imports([file], current, relative=False)


def _current_folder() -> Path | None:
    try:
        return Path.cwd()
    except OSError:  # it was deleted
        return None


def _told(error: BaseException, path: Path) -> str:
    if isinstance(error, SyntaxError):
        other = Path(error.filename or path.name).name
        where = "" if other == path.name else f"{other}, "
        return f"{error.msg} ({where}line {error.lineno}: {cut((error.text or '').strip(), 200)})"
    trace, line = error.__traceback__, None
    while trace is not None:
        if Path(trace.tb_frame.f_code.co_filename).name == path.name:
            line = trace.tb_lineno
        trace = trace.tb_next
    return describe_error(error) + (f" (line {line})" if line else "")
