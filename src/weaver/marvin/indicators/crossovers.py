"""Crossovers: whether one series passed another on the newest bar, from the last two values of each."""

from __future__ import annotations

from typing import Any, Protocol, TypeAlias

import numpy as np

from weaver.core.errors import IndicatorError
from weaver.core.text import brief

__all__ = ["Series", "crossover", "crossunder"]


class Series(Protocol):
    """A series of values: a view of a strategy, an array or a list."""

    def __len__(self) -> int: ...

    def __getitem__(self, index: int, /) -> Any: ...


Level: TypeAlias = "Series | float"

_NUMBERS: tuple[type[Any], ...] = (int, float, np.integer, np.floating)
_NOTHING = (float("nan"),) * 4


def crossover(a: Level, b: Level) -> bool:
    """Return whether `a` was at or below `b` on the previous bar and is above it on this one; either may be a number.

    False while a series has fewer than two values, and where one of the four values is NaN.
    """
    a_before, a_now, b_before, b_now = _last_two(a, b, "crossover")
    return bool(a_before <= b_before and a_now > b_now)


def crossunder(a: Level, b: Level) -> bool:
    """Return whether `a` was at or above `b` on the previous bar and is below it on this one; either may be a number.

    False while a series has fewer than two values, and where one of the four values is NaN.
    """
    a_before, a_now, b_before, b_now = _last_two(a, b, "crossunder")
    return bool(a_before >= b_before and a_now < b_now)


def _last_two(a: Any, b: Any, name: str) -> tuple[float, float, float, float]:
    if isinstance(a, _NUMBERS):
        if isinstance(b, _NUMBERS):
            raise IndicatorError(
                f"{name}({brief(a)}, {brief(b)}): two numbers never cross; pass the series itself, "
                f"as in {name}(self.fast_ma, self.slow_ma), not its last value"
            )
        return (a, a, b[-2], b[-1]) if len(b) >= 2 else _NOTHING
    if len(a) < 2:
        return _NOTHING
    if isinstance(b, _NUMBERS):
        return a[-2], a[-1], b, b
    return (a[-2], a[-1], b[-2], b[-1]) if len(b) >= 2 else _NOTHING
