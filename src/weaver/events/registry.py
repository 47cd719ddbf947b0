"""Registry: which class holds the payload of which event. A class that was registered once stays registered for ever.

An event's type is `namespace.PascalCase` and its version counts from 1. A payload that changes gets a new class under the
next version, and the old one stays, for the log still holds events of it.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from importlib import import_module
from typing import TypeVar

import msgspec

from weaver.core.errors import ConfigError, UnknownEventType

__all__ = ["MOST_TYPE_CHARACTERS", "check_type", "name_of", "payload_class", "register", "registered"]

MOST_TYPE_CHARACTERS = 100
"""What the column `type` of the table holds."""

_TYPE = re.compile(r"[a-z][a-z0-9_]*\.[A-Z][A-Za-z0-9]*")
_FAMILIES = ("weaver.events.types.orders", "weaver.events.types.run")

_P = TypeVar("_P", bound=type[msgspec.Struct])

_classes: dict[tuple[str, int], type[msgspec.Struct]] = {}
_names: dict[type[msgspec.Struct], tuple[str, int]] = {}
_families_known = False


def register(event_type: str, version: int = 1) -> Callable[[_P], _P]:
    """Class decorator: the payload of `event_type` in this `version`. A bad name or a second class raises ConfigError."""
    check_type(event_type)
    if isinstance(version, bool) or not isinstance(version, int) or version < 1:
        raise ConfigError(f"version={version!r} of {event_type}: versions are whole numbers from 1")

    def enter(cls: _P) -> _P:
        known = _classes.get((event_type, version))
        if known is not None and (known.__module__, known.__qualname__) != (cls.__module__, cls.__qualname__):
            raise ConfigError(
                f"{event_type} version {version} is {known.__module__}.{known.__qualname__} already; "
                f"register {cls.__qualname__} under version {version + 1} or another name"
            )
        if not (isinstance(cls, type) and issubclass(cls, msgspec.Struct) and cls.__struct_config__.frozen):
            raise ConfigError(f"{cls!r} cannot be a payload; make it a frozen msgspec.Struct")
        _classes[event_type, version] = cls
        _names[cls] = (event_type, version)
        return cls

    return enter


def check_type(event_type: str) -> None:
    """Raise ConfigError where `event_type` is no `namespace.PascalCase` of at most 100 characters."""
    if not isinstance(event_type, str) or not _TYPE.fullmatch(event_type):
        raise ConfigError(f"{event_type!r} is no event type; write namespace.PascalCase, such as 'orders.Placed'")
    if len(event_type) > MOST_TYPE_CHARACTERS:
        raise ConfigError(
            f"event type {event_type!r} has {len(event_type)} characters; {MOST_TYPE_CHARACTERS} are the most"
        )


def name_of(payload: msgspec.Struct) -> tuple[str, int]:
    """Type and version that the payload's class is registered under; raises UnknownEventType."""
    try:
        return _names[type(payload)]
    except KeyError:
        name = f"{type(payload).__module__}.{type(payload).__qualname__}"
        raise UnknownEventType(
            f"{name} is not registered as a payload; decorate it with @register('namespace.Name', version=1)"
        ) from None


def payload_class(event_type: str, version: int) -> type[msgspec.Struct] | None:
    """The class that holds this event's payload; None where this process knows of none."""
    found = _classes.get((event_type, version))
    if found is None and not _families_known:
        registered()
        found = _classes.get((event_type, version))
    return found


def registered() -> dict[tuple[str, int], type[msgspec.Struct]]:
    """All classes by (type, version), Weaver's own families included."""
    global _families_known
    for module in _FAMILIES:
        import_module(module)
    _families_known = True
    return dict(_classes)
