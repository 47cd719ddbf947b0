"""Durations as text, such as "1h 30m", and back."""

from __future__ import annotations

import re

from weaver.core.errors import ConfigError
from weaver.core.instants import NS_PER_DAY, NS_PER_SECOND
from weaver.core.text import brief

__all__ = ["duration_text", "parse_duration"]

_UNITS = (
    ("d", NS_PER_DAY),
    ("h", 3600 * NS_PER_SECOND),
    ("m", 60 * NS_PER_SECOND),
    ("s", NS_PER_SECOND),
    ("ms", 1_000_000),
    ("us", 1_000),
    ("ns", 1),
)
_SIZES = dict(_UNITS) | {"w": 7 * NS_PER_DAY}
_PART = r"(\d+)\s*(w|d|h|ms|m|s|us|ns)"
_TEXT = re.compile(rf"\s*(?:{_PART}\s*)+")


def duration_text(ns: int, *, units: int | None = None) -> str:
    """Return a duration in nanoseconds as text: "1m", "17s", "2d 3h", "500ms", "0s".

    The text is exact. With `units` it has at most that many units, the largest ones, and the rest is cut off.
    """
    parts = []
    rest = abs(ns)
    for unit, size in _UNITS:
        count, rest = divmod(rest, size)
        if count:
            parts.append(f"{count:,}{unit}")
    return ("-" if ns < 0 else "") + (" ".join(parts[:units]) or "0s")


def parse_duration(text: str) -> int:
    """Return the nanoseconds of "90d", "4w" or "1h 30m". Raises ConfigError for any other text."""
    if not _TEXT.fullmatch(text):
        raise ConfigError(f"{brief(text)} is not a duration; write a number and s, m, h, d or w, such as 90d or 1h 30m")
    return sum(int(count) * _SIZES[unit] for count, unit in re.findall(_PART, text))
