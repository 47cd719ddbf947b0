"""Timeframe: the length of a bar and the grid that bars align to, in exact integer arithmetic.

The grid is UTC: `4h` bars start at 00, 04, ...; `1d` at 00:00; `1w` on Monday 00:00. For bars that follow an exchange's
sessions see `SessionCalendar`. Lengths below a second and calendar months are not timeframes.
"""

from __future__ import annotations

import re
from functools import total_ordering
from typing import Any

import numpy as np
from numpy.typing import NDArray

from weaver.core.errors import TimeframeError
from weaver.core.instants import NS_PER_DAY, NS_PER_SECOND
from weaver.core.text import brief

__all__ = ["Timeframe"]

_NS = {
    "s": NS_PER_SECOND,
    "m": 60 * NS_PER_SECOND,
    "h": 3600 * NS_PER_SECOND,
    "d": NS_PER_DAY,
    "w": 7 * NS_PER_DAY,
}
_WORDS = {"s": "seconds", "m": "minutes", "h": "hours", "d": "days", "w": "weeks"}
_SPELLINGS = {
    "s": ("s", "sec", "secs", "second", "seconds"),
    "m": ("min", "mins", "minute", "minutes", "m"),
    "h": ("h", "hr", "hrs", "hour", "hours"),
    "d": ("d", "day", "days"),
    "w": ("w", "wk", "week", "weeks"),
}
_PARENTS = {"s": ("a minute", 60), "m": ("an hour", 60), "h": ("a day", 24), "d": ("a week", 7), "w": ("", 1)}
# All allowed lengths with their shortest text, for the suggestions of error messages.
_ALLOWED = {
    count * _NS[unit]: f"{count}{unit}"
    for unit, (_, size) in _PARENTS.items()
    for count in range(1, size + 1)
    if size % count == 0
}
_TEXT = re.compile(r"([1-9]\d{0,5})([smhdw])")
# 1970-01-01 was a Thursday, so the first Monday after it is 1970-01-05.
_FIRST_MONDAY = 4 * NS_PER_DAY


@total_ordering
class Timeframe:
    """A bar length such as `Timeframe("1m")`: frozen, hashable, ordered by length.

    Any count of a unit (s, m, h, d, w) that divides the next larger unit evenly is allowed; `"90m"` is refused with the
    reason. Equal lengths are equal and print the same: `Timeframe("60m") == Timeframe("1h")`, both with the text `1h`.
    """

    __slots__ = ("_origin", "ns", "text")

    ns: int
    text: str
    _origin: int

    def __init__(self, text: str) -> None:
        count, unit = _parse(text)
        ns = count * _NS[unit]
        unit = next(larger for larger in "wdhms" if ns % _NS[larger] == 0)
        object.__setattr__(self, "ns", ns)
        object.__setattr__(self, "text", f"{ns // _NS[unit]}{unit}")
        object.__setattr__(self, "_origin", _FIRST_MONDAY if unit == "w" else 0)

    @classmethod
    def of(cls, value: str | Timeframe) -> Timeframe:
        """Return `value` if it is a Timeframe, else the timeframe that the text names."""
        return value if isinstance(value, Timeframe) else cls(value)

    @property
    def is_daily_or_longer(self) -> bool:
        """Whether the length is `1d` or more; with a session calendar such a bar is named by its date."""
        return self.ns >= NS_PER_DAY

    @property
    def is_intraday(self) -> bool:
        """Whether the length is below `1d`."""
        return self.ns < NS_PER_DAY

    def bar_start(self, ts_ns: int) -> int:
        """Return the start of the bar that contains `ts_ns`: the last boundary at or before it."""
        return ts_ns - (ts_ns - self._origin) % self.ns

    def next_bar_start(self, ts_ns: int) -> int:
        """Return the first boundary strictly after `ts_ns`."""
        return self.bar_start(ts_ns) + self.ns

    def count(self, start_ns: int, end_ns: int) -> int:
        """Return the number of boundaries b with start_ns <= b < end_ns; 0 when the end is before the start."""
        first = -((self._origin - start_ns) // self.ns)
        past = -((self._origin - end_ns) // self.ns)
        return max(0, past - first)

    def bar_starts(self, ts: NDArray[np.int64]) -> NDArray[np.int64]:
        """Return `bar_start` of each element: int64 nanoseconds, a new array of the same shape."""
        return ts - self.offsets(ts)

    def offsets(self, ts: NDArray[np.int64]) -> NDArray[np.int64]:
        """Return the distance of each element from its bar's start in nanoseconds: 0 is on the grid."""
        return np.asarray((ts - self._origin) % self.ns, dtype=np.int64)

    def __setattr__(self, name: str, value: object) -> None:
        raise AttributeError(f"a Timeframe is frozen; {brief(name)} cannot be set")

    def __delattr__(self, name: str) -> None:
        raise AttributeError(f"a Timeframe is frozen; {brief(name)} cannot be deleted")

    def __eq__(self, other: object) -> bool:
        return self.ns == other.ns if isinstance(other, Timeframe) else NotImplemented

    def __lt__(self, other: object) -> bool:
        return self.ns < other.ns if isinstance(other, Timeframe) else NotImplemented

    def __hash__(self) -> int:
        return hash(self.ns)

    def __str__(self) -> str:
        return self.text

    def __repr__(self) -> str:
        return f"Timeframe({self.text!r})"

    def __reduce__(self) -> tuple[Any, ...]:
        return Timeframe, (self.text,)


def _parse(text: object) -> tuple[int, str]:
    found = _TEXT.fullmatch(text.strip()) if isinstance(text, str) else None
    if found is None:
        raise TimeframeError(f"{brief(text)} is not a timeframe; {_hint(text)}")
    count, unit = int(found[1]), found[2]
    parent, size = _PARENTS[unit]
    if size % count == 0:
        return count, unit
    length = count * _NS[unit]
    if length in _ALLOWED:
        raise TimeframeError(f"timeframe {brief(text)} is refused: write it as '{_ALLOWED[length]}'")
    near = [max(ns for ns in _ALLOWED if ns < length), *sorted(ns for ns in _ALLOWED if ns > length)[:1]]
    ways = " or ".join(f"'{_ALLOWED[ns]}'" for ns in near)
    if unit == "w":
        raise TimeframeError(
            f"timeframe {brief(text)} is refused: weeks have no larger unit to divide evenly; use {ways}"
        )
    raise TimeframeError(
        f"timeframe {brief(text)} is refused: {count} {_WORDS[unit]} do not divide {parent} ({size} {_WORDS[unit]}) evenly, "
        f"so its bars would start elsewhere in every {parent.split()[1]}; use {ways}"
    )


def _hint(text: object) -> str:
    if isinstance(text, str) and re.fullmatch(r"\d+\s*(M|mo|mon|month|months)", text.strip()):
        return "months differ in length, so a month is no bar; use '1d' and self.every('month')"
    if isinstance(text, str) and re.fullmatch(r"[\d.]+\s*(ms|us|ns)", text.strip()):
        return "the shortest bar is '1s'"
    if isinstance(text, str) and (found := re.fullmatch(r"([1-9]\d{0,5})\s*([A-Za-z]+)", text.strip())):
        for unit, spellings in _SPELLINGS.items():
            if found[2].lower() in spellings:
                return f"write it as '{found[1]}{unit}'"
    return "write a count and a unit: '1s' '5s' '1m' '5m' '15m' '30m' '1h' '4h' '1d' '1w'"
