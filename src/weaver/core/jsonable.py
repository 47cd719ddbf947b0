"""Conversion of values to those that JSON can hold: dict, list, str, int, float, bool and None.

`jsonable` accepts every value. `check_json` accepts only values that can be read back equal.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence, Set
from datetime import UTC, date, datetime
from decimal import Decimal
from enum import Enum, StrEnum
from pathlib import PurePath
from typing import Any

from weaver.core.errors import ConfigError
from weaver.core.text import brief
from weaver.core.timeframe import Timeframe

__all__ = ["check_json", "jsonable"]


def jsonable(value: object) -> Any:
    """Return `value` as JSON can hold it.

    NaN and infinities become None. Enums give their value, aware datetimes ISO 8601 text in UTC, sets sorted lists, and
    NumPy arrays lists. Any other object gives its text.
    """
    match value:
        case Enum():
            return jsonable(value.value)
        case None | bool() | int() | str():
            return value
        case float():
            return float(value) if math.isfinite(value) else None
        case Mapping():
            return {str(jsonable(key)): jsonable(item) for key, item in value.items()}
        case datetime() if value.tzinfo is not None:
            return value.astimezone(UTC).isoformat().replace("+00:00", "Z")
        case datetime() | date():
            return value.isoformat()
        case Decimal() | PurePath() | bytes():
            return str(value)
        case Set():
            return sorted((jsonable(item) for item in value), key=str)
        case Sequence():
            return [jsonable(item) for item in value]
        case _ if hasattr(value, "tolist"):  # NumPy scalars and arrays
            return jsonable(value.tolist())
        case _:
            return str(value)


def check_json(name: str, value: object) -> Any:
    """Return a deep copy of `value` in JSON values; timeframes and text enums become text.

    Raises ConfigError, which calls the value `name`, for values that JSON cannot give back: other types, keys that are not
    text, numbers that are not finite or do not fit into 64 bits.
    """
    if isinstance(value, Mapping):
        for key in value:
            if not isinstance(key, str):
                raise ConfigError(f"{name} has the key {brief(key)}; keys must be text")
        return {key: check_json(f"{name}[{brief(key)}]", item) for key, item in value.items()}
    if isinstance(value, Timeframe | StrEnum):
        return str(value)
    if value is None or isinstance(value, bool | str):
        return value
    if isinstance(value, list | tuple):
        return [check_json(f"{name}[{index}]", item) for index, item in enumerate(value)]
    if isinstance(value, float):
        if not math.isfinite(value):
            raise ConfigError(f"{name}={brief(value)}: must be finite; JSON has no such number")
        return value
    if isinstance(value, int):
        if not -(2**63) <= value < 2**63:
            raise ConfigError(f"{name}={brief(value)}: whole numbers must fit into 64 bits")
        return value
    raise ConfigError(
        f"{name}={brief(value)}: {type(value).__name__} cannot be stored as JSON; use number, text, true/false, list or map"
    )
