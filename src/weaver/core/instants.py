"""Instants: an int of nanoseconds since 1970-01-01 00:00 UTC inside, an aware UTC datetime at the public edge.

Converting to nanoseconds is exact. Converting back is exact to the microsecond, the resolution of `datetime`. This module
does not read a clock.
"""

from __future__ import annotations

import operator
import re
from datetime import UTC, date, datetime, timedelta

from weaver.core.errors import ConfigError, NaiveDatetimeError
from weaver.core.text import brief

__all__ = ["NS_PER_DAY", "NS_PER_SECOND", "format_ns", "from_ns", "to_ns"]

NS_PER_SECOND = 1_000_000_000
NS_PER_DAY = 86_400 * NS_PER_SECOND

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_DATE_ONLY = re.compile(r"\d{4}-\d{2}-\d{2}")
_BEYOND_MICROSECONDS = re.compile(r"(.*[.,]\d{6})(\d+)(.*)", re.DOTALL)


def to_ns(value: datetime | date | str | int) -> int:
    """Return an instant as nanoseconds since 1970-01-01 UTC, exactly.

    A datetime must be aware. A date, or a string with only a date (`"2024-03-01"`), means 00:00 UTC of that day. Any other
    string must be ISO 8601 with an offset or `Z`. An int is nanoseconds. Raises `NaiveDatetimeError` for a missing time
    zone and `ConfigError` for any other value.
    """
    if isinstance(value, datetime):
        return _from_datetime(value)
    if isinstance(value, date):
        return (value.toordinal() - _EPOCH.toordinal()) * NS_PER_DAY
    if isinstance(value, str):
        return _from_text(value)
    if not isinstance(value, bool):
        try:
            return operator.index(value)
        except TypeError:
            pass
    raise ConfigError(
        f"{brief(value)} is not an instant; give an aware datetime, a date, an ISO string with an offset or 'Z', "
        "or an int of nanoseconds since 1970-01-01 UTC"
    )


def from_ns(ns: int) -> datetime:
    """Return the aware UTC datetime of an instant, rounded down to a microsecond."""
    try:
        return _EPOCH + timedelta(microseconds=ns // 1000)
    except OverflowError:
        raise ConfigError(
            f"{ns} nanoseconds since 1970 are outside the years 1 to 9999; were seconds or milliseconds scaled twice?"
        ) from None


def format_ns(ns: int) -> str:
    """Return ISO 8601 text in UTC with as few digits as possible: `2024-03-01T09:30:00Z`, `2024-03-01T09:30:00.5Z`."""
    seconds, fraction = divmod(ns, NS_PER_SECOND)
    text = from_ns(seconds * NS_PER_SECOND).strftime("%Y-%m-%dT%H:%M:%S").rjust(19, "0")
    if not fraction:
        return text + "Z"
    return f"{text}.{f'{fraction:09d}'.rstrip('0')}Z"


def _from_datetime(value: datetime) -> int:
    if value.utcoffset() is None:
        corrected = "datetime(" + ", ".join(map(str, _parts(value))) + ", tzinfo=UTC)"
        raise NaiveDatetimeError(
            f"{value.isoformat(sep=' ')} has no time zone; if it is UTC write {corrected}, "
            "otherwise tzinfo=ZoneInfo('America/New_York') or the zone it was written in"
        )
    since = value - _EPOCH
    # A pandas Timestamp is a datetime too, and its difference holds up to 999 nanoseconds more than a timedelta can.
    finer = int(getattr(since, "nanoseconds", 0))
    return (since.days * 86_400 + since.seconds) * NS_PER_SECOND + since.microseconds * 1000 + finer


def _parts(value: datetime) -> list[int]:
    parts = [value.year, value.month, value.day, value.hour, value.minute, value.second, value.microsecond]
    while len(parts) > 3 and not parts[-1]:
        parts.pop()
    return parts


def _from_text(text: str) -> int:
    stripped = text.strip()
    head, finer, tail = stripped, 0, ""
    if found := _BEYOND_MICROSECONDS.fullmatch(stripped):
        head, digits, tail = found.groups()
        if digits[3:].strip("0"):
            raise ConfigError(f"{brief(text)} is finer than a nanosecond; use at most nine digits after the point")
        finer = int(digits[:3].ljust(3, "0"))
    try:
        if _DATE_ONLY.fullmatch(stripped):
            return to_ns(date.fromisoformat(stripped))
        parsed = datetime.fromisoformat(head + tail)
    except ValueError:
        raise ConfigError(
            f"{brief(text)} is not an instant; write a date like '2024-03-01' (00:00 UTC) or a time like "
            "'2024-03-01T09:30:00Z'"
        ) from None
    if parsed.utcoffset() is None:
        raise NaiveDatetimeError(
            f"{brief(text)} has no time zone; if it is UTC write '{stripped}Z', otherwise its offset, like "
            f"'{stripped}-05:00'"
        )
    return _from_datetime(parsed) + finer
