"""Parameters: a strategy's public annotated class attributes with a default.

Values are checked by name and type and never converted silently: an int is accepted for a float, text only from a command
line.
"""

from __future__ import annotations

import inspect
import math
import sys
import typing
from collections.abc import Mapping
from enum import Enum
from typing import Any

from weaver.core.errors import ParameterError, TimeframeError
from weaver.core.suggest import listed, suggest
from weaver.core.text import LONGEST_MESSAGE, brief, cut
from weaver.core.timeframe import Timeframe

__all__ = ["parameters_of", "parse_values", "resolve_values"]

LONGEST_NAME = 120
"""Characters of a parameter's name; recorded runs store no more."""

_MOST_BITS = 4_096  # about 1,200 digits; Python writes no number of more than 4,300 digits as text
_PLAIN = (int, float, bool, str, Timeframe)
_TRUTHS = {"true": True, "yes": True, "1": True, "false": False, "no": False, "0": False}


def parameters_of(cls: type) -> dict[str, tuple[type, Any]]:
    """name -> (type, default) of every parameter of `cls`, base classes first. Raises ParameterError for a bad one.

    A derived class may give a new default without repeating the annotation. `ClassVar` is no parameter.
    """
    kinds: dict[str, Any] = {}
    for base in reversed(cls.__mro__):
        if base is object or base.__dict__.get("__weaver_base__"):
            continue
        for name, hint in inspect.get_annotations(base).items():
            if name.startswith("_") or name not in base.__dict__:
                continue
            if len(name) > LONGEST_NAME:
                raise ParameterError(
                    f"{cut(cls.__name__)}.{cut(name)}: the name of a parameter has at most {LONGEST_NAME} characters"
                )
            kind = _kind(cls, base, name, hint)
            if kind is None:
                kinds.pop(name, None)
            else:
                kinds[name] = kind
    return {name: (kind, _checked(cls, name, kind, _default(cls, name))) for name, kind in kinds.items()}


def _default(cls: type, name: str) -> Any:
    # Not getattr: a property that hides a parameter must be seen as what it is.
    return next(base.__dict__[name] for base in cls.__mro__ if name in base.__dict__)


def _kind(cls: type, base: type, name: str, hint: Any) -> Any:
    """Return the parameter's type, None for a ClassVar."""
    if isinstance(hint, str):
        hint = _evaluated(cls, base, name, hint)
    if hint is typing.ClassVar or typing.get_origin(hint) is typing.ClassVar:
        return None
    if hint in _PLAIN or (isinstance(hint, type) and issubclass(hint, Enum)):
        return hint
    shown = hint.__name__ if isinstance(hint, type) else str(hint)
    raise ParameterError(
        f"{cls.__name__}.{name} is annotated as {shown}: a parameter is an int, float, bool, str, Enum or Timeframe; "
        f"name it _{name} if it is not a parameter"
    )


def _evaluated(cls: type, base: type, name: str, hint: str) -> Any:
    """Return the type of an annotation that is text, as in a file with `from __future__ import annotations`.

    Only this one is evaluated: others may use names that only the author's type checker knows.
    """
    module = sys.modules.get(base.__module__)
    try:
        return eval(hint, dict(vars(module)) if module else {}, dict(vars(base)))
    except Exception as error:
        kind = type(_default(base, name))
        if kind.__name__ == hint.rpartition(".")[2]:
            return kind  # an Enum that was defined inside a function is found nowhere else
        raise ParameterError(f"{cls.__name__}.{name}: cannot read its annotation {brief(hint)} ({error})") from error


def resolve_values(cls: type, given: Mapping[str, Any] | None) -> dict[str, Any]:
    """Return all parameters' values: those in `given`, else defaults. Raises ParameterError for unknown names and types."""
    parameters = parameters_of(cls)
    values = {name: default for name, (_, default) in parameters.items()}
    for name, value in (given or {}).items():
        if name not in parameters:
            raise ParameterError(_unknown(cls, name, list(parameters)))
        values[name] = _checked(cls, name, parameters[name][0], value)
    return values


def parse_values(cls: type, texts: Mapping[str, str]) -> dict[str, Any]:
    """Return parameter values from the texts of a command line. Raises ParameterError."""
    parameters = parameters_of(cls)
    values: dict[str, Any] = {}
    for name, text in texts.items():
        if name not in parameters:
            raise ParameterError(_unknown(cls, name, list(parameters)))
        values[name] = _parsed(cls, name, parameters[name][0], text)
    return values


def _unknown(cls: type, name: object, names: list[str]) -> str:
    hint = f"; {suggest(name, names, f'it has: {listed(names)}')}"
    if any(name in inspect.get_annotations(base) for base in cls.__mro__):
        hint = f"; it is annotated, but a parameter has a default: {name}: int = 10"
    return f"{cls.__name__} has no parameter {brief(name)}{hint}"


def _checked(cls: type, name: str, kind: Any, value: Any) -> Any:
    if kind is Timeframe:
        try:
            return Timeframe.of(value)
        except TimeframeError as error:
            raise ParameterError(f"{cls.__name__}.{name}={brief(value)}: {error}") from error
    if kind is float and type(value) in (int, float):
        try:
            number = float(value)
        except OverflowError:  # an int of more than 1,024 bits
            number = math.inf
        if not math.isfinite(number):
            raise ParameterError(f"{cls.__name__}.{name}={brief(value)}: must be a finite number")
        return number
    if type(value) is kind:
        _check_size(cls, name, value)
        return value
    if kind in (int, float, str, bool) and getattr(value, "shape", None) == () and hasattr(value, "item"):
        return _checked(cls, name, kind, value.item())  # a NumPy scalar, as sweeps pass them
    raise ParameterError(f"{cls.__name__}.{name}={brief(value)} is {type(value).__name__}; it must be {_wanted(kind)}")


def _check_size(cls: type, name: str, value: Any) -> None:
    """Refuse a value that no message, report or table can hold: it identifies the run, so it cannot be cut either."""
    if isinstance(value, str) and len(value) > LONGEST_MESSAGE:
        raise ParameterError(
            f"{cls.__name__}.{name}={brief(value)} has {len(value):,} characters, more than {LONGEST_MESSAGE:,}; give the "
            "name of a file instead"
        )
    if isinstance(value, int) and value.bit_length() > _MOST_BITS:
        raise ParameterError(
            f"{cls.__name__}.{name}: the number has {value.bit_length():,} bits, more than {_MOST_BITS:,}"
        )


def _wanted(kind: Any) -> str:
    if issubclass(kind, Enum):
        return f"{kind.__name__}: {', '.join(str(member.name) for member in kind)}"
    return str(kind.__name__)


def _parsed(cls: type, name: str, kind: Any, text: str) -> Any:
    try:
        if kind is bool:
            return _TRUTHS[text.strip().lower()]
        if issubclass(kind, Enum):
            members = {str(member.value).lower(): member for member in kind}
            members |= {alias.lower(): member for alias, member in kind.__members__.items()}
            return members[text.strip().lower()]
        if kind in (int, float):
            return _checked(cls, name, kind, kind(text))
        return _checked(cls, name, kind, text)
    except (ValueError, KeyError) as error:
        raise ParameterError(f"{cls.__name__}.{name}={brief(text)}: must be {_wanted(kind)}") from error
