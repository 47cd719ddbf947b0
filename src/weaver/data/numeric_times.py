"""Times written as numbers: seconds to nanoseconds since 1970, Excel serials and MATLAB datenums.

Guarantees that a number is read as a time only where the caller names its unit, or where its size leaves one unit and
every time is plausible: between 1900 and 2100, the latest in 1980 or after. Row numbers, years and serials are refused.
It cannot tell a count since another epoch (2000, 2001) from one since 1970 where both give plausible dates.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from enum import StrEnum
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

from weaver.core.errors import ConfigError
from weaver.core.instants import NS_PER_DAY, NS_PER_SECOND, format_ns, to_ns
from weaver.core.text import brief

__all__ = [
    "NumericTimes",
    "TimeUnit",
    "epoch_ns",
    "explain_number",
    "has_other_reading",
    "plausible_times",
    "read_numbers",
    "time_unit_of",
    "units_by_size",
]

Instants = NDArray[np.int64]
Numbers = NDArray[np.int64] | NDArray[np.float64]
Mask = NDArray[np.bool_]


class TimeUnit(StrEnum):
    """The unit of numbers in a column of times."""

    SECONDS = "s"
    MILLISECONDS = "ms"
    MICROSECONDS = "us"
    NANOSECONDS = "ns"
    EXCEL = "excel"
    """Days since 1899-12-30, without a time zone; from 61 (1900-03-01) on, as 60 is a day that does not exist."""
    MATLAB = "matlab"
    """Days since the year 0, without a time zone; 719529 is 1970-01-01."""

    @property
    def is_wall_clock(self) -> bool:
        """Return whether the unit counts days without a time zone."""
        return self in (TimeUnit.EXCEL, TimeUnit.MATLAB)


@dataclass(frozen=True, slots=True)
class NumericTimes:
    """One entry per row: `ns` since 1970, and `readable`, False for a row that is no time (its `ns` is 0).

    `unclear` says that nothing was read since the unit of the column is not clear; then no row is readable.
    """

    ns: Instants
    readable: Mask
    wall_clock: bool = False
    unclear: bool = False


_INT64_MAX = 2**63 - 1
_FIRST, _END = to_ns("1678-01-01"), to_ns("2262-01-01")  # whole years that 64 bits of nanoseconds hold
_PLAUSIBLE_FIRST, _PLAUSIBLE_END = to_ns("1900-01-01"), to_ns("2100-01-01")
_LATEST_FROM = to_ns("1980-01-01")
_FIRST_WEEK = 7 * NS_PER_DAY
# The magnitudes of seconds, milliseconds, microseconds and nanoseconds between 1973 and 2286 do not overlap.
_EPOCH_UNITS = ((10**11, NS_PER_SECOND), (10**14, 10**6), (10**17, 10**3), (2**63 - 1, 1))
_SCALES = {
    TimeUnit.SECONDS: NS_PER_SECOND,
    TimeUnit.MILLISECONDS: 10**6,
    TimeUnit.MICROSECONDS: 10**3,
    TimeUnit.NANOSECONDS: 1,
}
_UNIT_OF_SCALE = {scale: unit for unit, scale in _SCALES.items()}
_WORDS = {
    TimeUnit.SECONDS: "seconds",
    TimeUnit.MILLISECONDS: "milliseconds",
    TimeUnit.MICROSECONDS: "microseconds",
    TimeUnit.NANOSECONDS: "nanoseconds",
}
_DAY_ZERO = {TimeUnit.EXCEL: 25_569, TimeUnit.MATLAB: 719_529}
_EXCEL_FIRST = 61
# .NET counts units of 100 ns since the year 1: its 1970 to 2050 would be four years up to 1990 as nanoseconds.
_DOTNET_FIRST, _DOTNET_END = 621_355_968 * 10**9, 646_602_048 * 10**9


def time_unit_of(value: object) -> TimeUnit | None:
    """Return the unit called `value` (None stays None). Raises ConfigError for any other value."""
    if value is None:
        return None
    try:
        return TimeUnit(value)  # type: ignore[arg-type]
    except ValueError:
        names = ", ".join(repr(unit.value) for unit in TimeUnit)
        raise ConfigError(
            f"time_unit={brief(value)}: must be one of {names} (on the command line --time-unit)"
        ) from None


def epoch_ns(values: Instants) -> Instants:
    """Return seconds to nanoseconds since 1970, distinguished one by one by their size, as nanoseconds; 0 beyond 64 bits."""
    return _scaled(values, units_by_size(values))[0]


def units_by_size(values: Instants) -> Instants:
    """Return the nanoseconds in one unit of each value: 10**9 for the size of seconds, down to 1 for nanoseconds."""
    scale = np.full(values.shape, NS_PER_SECOND, dtype=np.int64)
    size = np.abs(values)
    for (low, _), (_, smaller) in pairwise(_EPOCH_UNITS):
        scale[size >= low] = smaller
    return scale


def read_numbers(values: Numbers, present: Mask | None, unit: TimeUnit | None) -> NumericTimes:
    """Read a column of numbers as times. `present` is False for rows without a number (None: every row has one).

    With `unit`, every number that 64 bits of nanoseconds can hold is read. Without it the unit follows from the largest
    number; rows that are not plausible are unreadable, and where most of them are not, the unit counts as unclear.
    """
    if values.dtype == np.float64:
        finite = np.isfinite(values)
        present = finite if present is None else present & finite
        values = _whole(np.where(present, values, 0.0))
    if unit is not None:
        return _read_as(values, present, unit)
    scale = _scale_of(values)
    ns, readable = _scaled(values, scale)
    if present is not None:
        readable = readable & present
    if readable.any() and not has_other_reading(values if present is None else values[present]):
        lowest, highest = (int(ns.min()), int(ns.max())) if readable.all() else (-1, -1)
        if lowest >= _FIRST_WEEK and _LATEST_FROM <= highest < _PLAUSIBLE_END:
            return NumericTimes(ns, readable)
        plausible = readable & plausible_times(np.where(readable, ns, _END))
        if 2 * int(plausible.sum()) > (len(ns) if present is None else int(present.sum())):
            return NumericTimes(np.where(plausible, ns, 0), plausible)
    nothing = np.zeros(len(values), dtype=np.int64)
    return NumericTimes(nothing, np.zeros(len(values), dtype=np.bool_), unclear=True)


def plausible_times(ns: Instants) -> Mask:
    """Return which times can be market data: 1900 to 2100, and not in the first week of 1970 unless earlier ones exist.

    A zero in place of a missing time would be the start of 1970. Where the latest such time is before 1980, none is
    plausible: row numbers, years and serials are all earlier.
    """
    plausible: Mask = (ns >= _PLAUSIBLE_FIRST) & (ns < _PLAUSIBLE_END)
    if not (plausible & (ns < 0)).any():
        plausible &= ns >= _FIRST_WEEK
    if not (plausible & (ns >= _LATEST_FROM)).any():
        plausible[:] = False
    return plausible


def has_other_reading(values: Numbers) -> bool:
    """Return whether the numbers are as likely .NET ticks, or dates written as YYMMDDhhmm, as counts since 1970."""
    scale, lowest, highest = _scale_of(values), int(values.min()), int(values.max())
    if scale == 1:
        return lowest >= _DOTNET_FIRST and highest < _DOTNET_END
    if scale == NS_PER_SECOND and lowest >= 10**8 and highest < 10**10 and len(values) > 1:
        return all(_all_dates(part) for part in (values[:100], values))  # the first rows decide almost always
    return False


def explain_number(value: float) -> str:
    """Return what a number whose unit is not clear could mean, and the option that says it."""
    if not math.isfinite(value):
        return "it is not a time; remove or correct these rows"
    whole = round(value)
    scale = int(units_by_size(np.array([min(abs(whole), _INT64_MAX)], dtype=np.int64))[0])
    unit = _UNIT_OF_SCALE[scale]
    guess = unit
    meanings = [f"as {_WORDS[unit]} since 1970 it would be {_shown(whole * scale)}"]
    if 29_221 <= value < 73_051:  # 1980 to 2099
        guess = TimeUnit.EXCEL
        meanings.append(f"as an Excel serial {_day(value, TimeUnit.EXCEL)}")
    elif 723_181 <= value < 767_011:
        guess = TimeUnit.MATLAB
        meanings.append(f"as a MATLAB datenum {_day(value, TimeUnit.MATLAB)}")
    elif value == whole and 1900 <= value < 2100:
        meanings.append("it looks like a year, which names no bar")
    elif value == whole and 0 <= value < 10_000:
        meanings.append("it looks like a row number; give the column that holds the times")
    return (
        f"its unit is not clear: {', '.join(meanings)}; if the numbers are times, say their unit: "
        f'time_unit="{guess}", on the command line --time-unit {guess} (s, ms, us, ns, excel or matlab)'
    )


def _read_as(values: Numbers, present: Mask | None, unit: TimeUnit) -> NumericTimes:
    if unit.is_wall_clock:
        days = values.astype(np.float64) - _DAY_ZERO[unit]
        readable = (days >= _FIRST / NS_PER_DAY) & (days < _END / NS_PER_DAY)
        if unit is TimeUnit.EXCEL:
            readable &= values >= _EXCEL_FIRST
        # A day number holds no more than about a hundredth of a millisecond, so that is where its time of day ends.
        ns = np.round(np.where(readable, days, 0.0) * 86_400_000).astype(np.int64) * 10**6
    else:
        ns, readable = _scaled(values, _SCALES[unit])
        readable = readable & (ns >= _FIRST) & (ns < _END)
    if present is not None:
        readable = readable & present
    return NumericTimes(np.where(readable, ns, 0), readable, wall_clock=unit.is_wall_clock)


def _whole(values: NDArray[np.float64]) -> Numbers:
    """Return the values as int64 where all of them are whole and fit; else unchanged."""
    if (np.abs(values) < 2.0**63).all():
        whole = values.astype(np.int64)
        if (whole == values).all():
            return whole
    return values


def _scale_of(values: Numbers) -> int:
    """Return one unit for the column, by its largest number: the first bars of a series do not decide it alone."""
    if not len(values):
        return NS_PER_SECOND
    largest = max(abs(int(values.max())), abs(int(values.min())))
    return int(units_by_size(np.array([min(largest, _INT64_MAX)], dtype=np.int64))[0])


def _scaled(values: Numbers, scale: Instants | int) -> tuple[Instants, Mask]:
    """Return the product in ns, and which rows 64 bits hold (the others are 0). Fractions are kept to 1 microsecond."""
    most = _INT64_MAX // scale
    if isinstance(scale, int) and len(values) and int(values.max()) <= most and int(values.min()) >= -most:
        fits = np.ones(len(values), dtype=np.bool_)
    else:
        fits = (values <= most) & (values >= -most)
        values = np.where(fits, values, 0)
    if values.dtype == np.float64:
        return np.round(values * (scale / 1_000)).astype(np.int64) * 1_000, fits
    return np.asarray(values * scale, dtype=np.int64), fits


def _all_dates(values: Numbers) -> bool:
    """Return whether every number reads as YYMMDDhhmm."""
    month, day, hour, minute = (values // 10**digits % 100 for digits in (6, 4, 2, 0))
    return bool(((month >= 1) & (month <= 12) & (day >= 1) & (day <= 31) & (hour < 24) & (minute < 60)).all())


def _shown(ns: int) -> str:
    if not _FIRST <= ns < _END:
        return f"a year beyond {'2261' if ns > 0 else '1678'}"
    return format_ns(ns)


def _day(value: float, unit: TimeUnit) -> str:
    ns = round((value - _DAY_ZERO[unit]) * 86_400_000) * 10**6
    return format_ns(ns)[:10] if ns % NS_PER_DAY == 0 else format_ns(ns).rstrip("Z")
