"""OutsideState: the state that a strategy can change outside `self`, so that it can be restored and named.

It covers global variables, class attributes, closures, default arguments and `functools` caches of the strategy's modules
and of the modules in the same folder. It does not cover files, other processes, the state of libraries, or containers with
more than `LARGEST` elements.
"""

from __future__ import annotations

import builtins
import pickle
import sys
from collections import deque
from collections.abc import Callable, Iterator
from pathlib import Path
from types import CellType, CodeType, FunctionType, ModuleType
from typing import Any

import numpy as np

from weaver.marvin.strategy import Strategy

__all__ = ["LARGEST", "OutsideState"]

LARGEST = 100_000
"""Most elements of a container that is copied: it is restored thousands of times."""
_DEEPEST = 4

_ABSENT: Any = object()
_Owner = dict[str, Any] | type | CellType


class OutsideState:
    """A snapshot of the outside state. `restore()` restores it, `changed()` names the differences."""

    def __init__(self, strategy: type[Strategy]) -> None:
        bases = [cls for cls in strategy.__mro__ if cls is not object and not cls.__dict__.get("__weaver_base__")]
        self._modules = {cls.__module__ for cls in bases}
        self._folders = {folder for name in self._modules if (folder := _folder(sys.modules.get(name))) is not None}
        self._seen: set[int] = set()
        self._bindings: dict[tuple[int, str], tuple[_Owner, str, Any, str]] = {}
        self._contents: list[tuple[Any, Any, str]] = []
        self._caches: list[Callable[[], object]] = []
        self._classes: list[tuple[type, frozenset[str]]] = []
        for cls in bases:
            self._explore_class(cls)

    def restore(self) -> None:
        """Restore the snapshot."""
        for owner, name, value, _ in self._bindings.values():
            if _get(owner, name) is not value:
                _put(owner, name, value)
        for cls, name in self._new_attributes():
            delattr(cls, name)
        for container, content, _ in self._contents:
            _refill(container, content)
        for clear in self._caches:
            clear()

    def changed(self) -> tuple[str, ...]:
        """Name the differences: "the global variable seen", "the class attribute Counter.trades"."""
        differences = [text for owner, name, value, text in self._bindings.values() if _get(owner, name) is not value]
        differences += [f"the class attribute {cls.__name__}.{name}" for cls, name in self._new_attributes()]
        differences += [text for container, content, text in self._contents if not _holds(container, content)]
        return tuple(dict.fromkeys(differences))

    def _new_attributes(self) -> list[tuple[type, str]]:
        return [
            (cls, name) for cls, names in self._classes for name in vars(cls) if name not in names and name[:2] != "__"
        ]

    # Taking the snapshot.

    def _is_own(self, module: ModuleType | None) -> bool:
        if module is None:
            return False
        return module.__name__ in self._modules or _folder(module) in self._folders

    def _explore_class(self, cls: type) -> None:
        if self._is_new(cls):
            self._classes.append((cls, frozenset(vars(cls))))
            for name, value in list(vars(cls).items()):
                for function in _functions(value):
                    self._explore_function(function)
                if not name.startswith("__") and not _functions(value):
                    self._bind(cls, name, value, f"the class attribute {cls.__name__}.{name}")

    def _explore_function(self, function: FunctionType) -> None:
        if not self._is_new(function):
            return
        space = function.__globals__
        title = function.__qualname__
        for value in (*(function.__defaults__ or ()), *(function.__kwdefaults__ or {}).values()):
            self._hold(value, f"a default argument of {title}")
        for name, cell in zip(function.__code__.co_freevars, function.__closure__ or (), strict=True):
            if name != "__class__":
                self._bind(cell, name, _get(cell, name), f"the variable {name} around {title}")
        for name in _names(function.__code__):
            value = space.get(name, _ABSENT)
            if value is _ABSENT and hasattr(builtins, name):
                continue
            self._bind(space, name, value, f"the global variable {name}")
            if isinstance(value, ModuleType) and self._is_own(value):
                for inner in _names(function.__code__):
                    if inner in vars(value):
                        self._bind(vars(value), inner, vars(value)[inner], f"the global variable {name}.{inner}")

    def _bind(self, owner: _Owner, name: str, value: Any, text: str) -> None:
        """Record a name with its value, and explore the value."""
        functions = _functions(value)
        module = getattr(value, "__module__", None)
        own = isinstance(module, str) and self._is_own(sys.modules.get(module))
        if own and callable(getattr(value, "cache_clear", None)):
            self._caches.append(value.cache_clear)
        if functions:
            for function in functions:
                if own:
                    self._explore_function(function)
        elif isinstance(value, type):
            if own and not value.__dict__.get("__weaver_base__"):
                self._explore_class(value)
        elif not isinstance(value, ModuleType):
            self._bindings.setdefault((id(owner), name), (owner, name, value, text))
            self._hold(value, text)

    def _hold(self, value: Any, text: str, depth: int = 0) -> None:
        """Record the content of `value` where it can be changed in place and restored."""
        content = self._content_of(value)
        if content is _ABSENT or depth > _DEEPEST or not self._is_new(value):
            return
        self._contents.append((value, content, text))
        inner = content.values() if isinstance(content, dict) else content if isinstance(content, list) else ()
        for element in inner:
            self._hold(element, text, depth + 1)

    def _content_of(self, value: Any) -> Any:
        if isinstance(value, np.random.Generator):
            return ("generator", value.bit_generator.state)
        if isinstance(value, np.ndarray):
            return (
                value.copy() if value.size <= LARGEST and value.flags.writeable and value.dtype != object else _ABSENT
            )
        if isinstance(value, dict):
            return dict(value) if len(value) <= LARGEST else _ABSENT
        if isinstance(value, list | deque | set | bytearray):
            return list(value) if len(value) <= LARGEST else _ABSENT
        inside = getattr(value, "__dict__", None)
        if isinstance(inside, dict) and self._is_own(sys.modules.get(type(value).__module__)):
            return dict(inside)
        return _ABSENT

    def _is_new(self, value: Any) -> bool:
        new = id(value) not in self._seen
        self._seen.add(id(value))
        return new


def _folder(module: ModuleType | None) -> Path | None:
    file = getattr(module, "__file__", None)
    return Path(file).parent if file else None


def _functions(value: Any) -> tuple[FunctionType, ...]:
    """Return the plain functions behind an attribute of a class or module."""
    if isinstance(value, FunctionType):
        inner = value.__dict__.get("__wrapped__")
        return (value, *_functions(inner)) if inner is not None else (value,)
    if isinstance(value, staticmethod | classmethod):
        return _functions(value.__func__)
    if isinstance(value, property):
        return tuple(accessor for accessor in (value.fget, value.fset) if isinstance(accessor, FunctionType))
    inside = getattr(value, "__dict__", None)
    wrapped = inside.get("__wrapped__") if callable(value) and type(inside) is dict else None
    return _functions(wrapped) if wrapped is not None else ()


def _names(code: CodeType) -> Iterator[str]:
    yield from code.co_names
    for constant in code.co_consts:
        if isinstance(constant, CodeType):
            yield from _names(constant)


def _get(owner: _Owner, name: str) -> Any:
    if isinstance(owner, CellType):
        try:
            return owner.cell_contents
        except ValueError:
            return _ABSENT
    space = owner.__dict__ if isinstance(owner, type) else owner
    return space.get(name, _ABSENT)


def _put(owner: _Owner, name: str, value: Any) -> None:
    if isinstance(owner, CellType):
        if value is not _ABSENT:
            owner.cell_contents = value
    elif isinstance(owner, type):
        delattr(owner, name) if value is _ABSENT else setattr(owner, name, value)
    elif value is _ABSENT:
        owner.pop(name, None)
    else:
        owner[name] = value


def _refill(container: Any, content: Any) -> None:
    if _holds(container, content):
        return
    if isinstance(container, np.random.Generator):
        container.bit_generator.state = content[1]
    elif isinstance(container, np.ndarray):
        container[...] = content
    elif isinstance(container, dict | set):
        container.clear()
        container.update(content)
    elif isinstance(container, list | bytearray):
        container[:] = content
    elif isinstance(container, deque):
        container.clear()
        container.extend(content)
    else:
        container.__dict__.clear()
        container.__dict__.update(content)


def _holds(container: Any, content: Any) -> bool:
    """Return whether `container` still has exactly these elements (identical, not equal)."""
    if isinstance(container, np.random.Generator):
        return bool(pickle.dumps(container.bit_generator.state) == pickle.dumps(content[1]))  # some hold arrays
    if isinstance(container, np.ndarray):
        return bool(container.tobytes() == content.tobytes())
    if isinstance(content, dict):
        inside = container if isinstance(container, dict) else container.__dict__
        return bool(inside.keys() == content.keys() and all(inside[key] is value for key, value in content.items()))
    if isinstance(container, bytearray):
        return bool(list(container) == content)
    if isinstance(container, set):
        return bool(container == set(content))
    return len(container) == len(content) and all(a is b for a, b in zip(container, content, strict=True))
