"""Registry of event types: maps (type, version) to the class of the payload.

A type is named `namespace.PascalCase` and its versions count from 1. When a payload changes, register a new class under the
next version and keep the old one: the log still holds events of it. Every module in `weaver.events.types` is imported when
a type is looked up, so a new event type is one new file there.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from importlib import import_module
from pkgutil import iter_modules
from typing import TypeVar

import msgspec

from weaver.core.errors import ConfigError, UnknownEventType
from weaver.core.text import brief

__all__ = ["MOST_TYPE_CHARACTERS", "check_type", "name_of", "payload_class", "register", "registered"]

MOST_TYPE_CHARACTERS = 100
"""The length of the column `type` in the table."""

_TYPE = re.compile(r"[a-z][a-z0-9_]*\.[A-Z][A-Za-z0-9]*")

_P = TypeVar("_P", bound=type[msgspec.Struct])

_classes: dict[tuple[str, int], type[msgspec.Struct]] = {}
_names: dict[type[msgspec.Struct], tuple[str, int]] = {}
_types_imported = False


def register(event_type: str, version: int = 1) -> Callable[[_P], _P]:
    """Return a class decorator that registers the payload class of `event_type` in this `version`.

    The class must be a frozen msgspec.Struct. Raises ConfigError for a bad name or version, or when another class is
    registered under them.
    """
    check_type(event_type)
    if isinstance(version, bool) or not isinstance(version, int) or version < 1:
        raise ConfigError(f"version={brief(version)} of {event_type}: versions are whole numbers from 1")

    def enter(cls: _P) -> _P:
        known = _classes.get((event_type, version))
        if known is not None and (known.__module__, known.__qualname__) != (cls.__module__, cls.__qualname__):
            raise ConfigError(
                f"{event_type} version {version} is {known.__module__}.{known.__qualname__} already; "
                f"register {cls.__qualname__} under version {version + 1} or another name"
            )
        if not (isinstance(cls, type) and issubclass(cls, msgspec.Struct) and cls.__struct_config__.frozen):
            raise ConfigError(f"{brief(cls)} cannot be a payload; make it a frozen msgspec.Struct")
        _classes[event_type, version] = cls
        _names[cls] = (event_type, version)
        return cls

    return enter


def check_type(event_type: str) -> None:
    """Raise ConfigError unless `event_type` has the form `namespace.PascalCase` and at most 100 characters."""
    if not isinstance(event_type, str) or not _TYPE.fullmatch(event_type):
        raise ConfigError(
            f"{brief(event_type)} is not an event type; write namespace.PascalCase, such as 'orders.Placed'"
        )
    if len(event_type) > MOST_TYPE_CHARACTERS:
        raise ConfigError(
            f"event type {brief(event_type)} has {len(event_type)} characters; {MOST_TYPE_CHARACTERS} are the most"
        )


def name_of(payload: msgspec.Struct) -> tuple[str, int]:
    """Return the type and version of the payload's class. Raises UnknownEventType for a class that is not registered."""
    try:
        return _names[type(payload)]
    except KeyError:
        name = f"{type(payload).__module__}.{type(payload).__qualname__}"
        raise UnknownEventType(
            f"{name} is not registered as a payload; decorate it with @register('namespace.Name', version=1)"
        ) from None


def payload_class(event_type: str, version: int) -> type[msgspec.Struct] | None:
    """Return the class of this event's payload, or None when this process has none."""
    cls = _classes.get((event_type, version))
    if cls is None and not _types_imported:
        cls = registered().get((event_type, version))
    return cls


def registered() -> dict[tuple[str, int], type[msgspec.Struct]]:
    """Return all payload classes by (type, version), those of every module in `weaver.events.types` included."""
    global _types_imported
    if not _types_imported:
        package = import_module("weaver.events.types")
        for module in iter_modules(package.__path__, f"{package.__name__}."):
            import_module(module.name)
        _types_imported = True
    return dict(_classes)
