"""Plain: any value of a run as what JSON can hold. NaN and infinities become null; unknown objects their text."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence, Set
from datetime import date, datetime
from decimal import Decimal
from enum import Enum
from pathlib import PurePath

__all__ = ["plain"]


def plain(value: object) -> object:
    """`value` in dict, list, str, int, float, bool and None. Enums give their value, timeframes and the like their
    text."""
    match value:
        case Enum():
            return plain(value.value)
        case None | bool() | int() | str():
            return value
        case float():
            return float(value) if math.isfinite(value) else None
        case Mapping():
            return {str(plain(key)): plain(item) for key, item in value.items()}
        case datetime() | date():
            return value.isoformat()
        case Decimal() | PurePath() | bytes():
            return str(value)
        case Set():
            return sorted((plain(item) for item in value), key=str)
        case Sequence():
            return [plain(item) for item in value]
        case _ if hasattr(value, "tolist"):  # NumPy scalars and arrays
            return plain(value.tolist())
        case _:
            return str(value)
