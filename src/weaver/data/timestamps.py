"""Read a column of times in any form as nanoseconds since 1970-01-01 UTC, and mark the rows that are not times.

Guarantees that a wall-clock time is never taken for UTC, and that an hour that occurs twice is never guessed: options
say which zone, and which of the two. It does not check whether the times fit a timeframe.
"""

from __future__ import annotations

import re
from typing import Any
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

import numpy as np
import polars as pl
from numpy.typing import NDArray

from weaver.core.errors import ConfigError
from weaver.core.fork_safety import polars_is_lost
from weaver.core.instants import NS_PER_DAY
from weaver.core.text import brief
from weaver.data.numeric_times import TimeUnit, read_numbers
from weaver.data.time_kinds import Ambiguous, Instants, Kind, Times
from weaver.data.written_times import NUMBER, parse_iso, parse_written, within_years

__all__ = ["Ambiguous", "Kind", "Times", "check_zone", "from_series", "from_text", "in_january_1970", "localise"]


# Numbers in these ranges throughout, such as 20240131 and 20240131120000, are dates: as seconds or milliseconds they
# would be in 1970, 1976 or beyond 2262.
_COMPACT_RANGES = ((19000101, 21001231), (190001010000, 210012312359), (19000101000000, 21001231235959))
_JANUARY = 31 * NS_PER_DAY
_LONGEST_ZONE = 100  # characters: Polars needs a minute to refuse a name of a megabyte


def check_zone(zone: str) -> str:
    """Return `zone` if it names a time zone such as "America/New_York"; raise ConfigError otherwise."""
    try:
        if isinstance(zone, str) and len(zone) > _LONGEST_ZONE:
            raise ValueError(zone)
        if polars_is_lost():
            ZoneInfo(zone)
        else:  # Polars has its own database of zones, which is what the times are read with
            pl.Series([0]).cast(pl.Datetime("us")).dt.replace_time_zone(zone)
    except (pl.exceptions.PolarsError, TypeError, ValueError, OSError, ZoneInfoNotFoundError):
        raise ConfigError(
            f'tz={brief(zone)} is not a time zone; write it like tz="America/New_York" or tz="UTC"'
        ) from None
    return zone


def from_series(times: pl.Series, *, day_first: bool | None = None, unit: TimeUnit | None = None) -> Times:
    """Return the times of a column of any type: datetimes, dates, numbers or text. Nulls are BAD.

    `unit` says what numbers count, also those in text; None: their size has to leave one unit (`numeric_times`). It does
    not matter for datetimes, dates and other text.
    """
    if isinstance(times.dtype, pl.Datetime):
        return _from_datetimes(times)
    if times.dtype == pl.Date:
        times = within_years(times)
        days = times.to_physical().cast(pl.Int64)
        return _with_nulls(days.fill_null(0).to_numpy() * NS_PER_DAY, Kind.DATE, times)
    if times.dtype.is_integer() or times.dtype.is_float() or times.dtype.is_decimal():
        return _from_numbers(times, unit)
    if times.dtype == pl.Object:
        times = pl.Series(
            times.name, [None if value is None else str(value) for value in times.to_list()], dtype=pl.String
        )
    if times.dtype not in (
        pl.String,
        pl.Categorical,
        pl.Enum,
        pl.Null,
    ):  # a duration, a list: nothing that names a time
        return Times(ns=np.zeros(len(times), dtype=np.int64), kind=np.zeros(len(times), dtype=np.uint8))
    return from_text(times.cast(pl.String), day_first=day_first, unit=unit)


def from_text(times: pl.Series, *, day_first: bool | None = None, unit: TimeUnit | None = None) -> Times:
    """Return the times of a column of text: ISO 8601, dd.mm.yyyy, day/month/year, compact digits, numbers, also mixed.

    Points mean day first; for slashes and dashes the values decide (a part above 12 is a day), and where they do not,
    the rows are BAD and `undecided` is set, unless `day_first` says it.
    """
    quick = parse_iso(times)
    if quick is not None:
        return quick
    text = times.str.strip_chars()
    if unit is not None and text.str.contains(NUMBER).fill_null(False).any():
        return _with_unit(text, unit, day_first=day_first)
    numbers = _all_numbers(text)
    return parse_written(text, day_first=day_first) if numbers is None else numbers


def localise(wall: Instants, zone: str, ambiguous: Ambiguous = Ambiguous.REFUSE) -> tuple[Instants, Instants, Instants]:
    """Return wall-clock times of `zone` as UTC, the rows that occur twice and stay open, and the rows that never occurred.

    `infer` takes the first pass of a repeated hour for the earlier one and the second for the later one, where the rows
    show both: a run of ambiguous rows in which the time goes back exactly once. Everything else stays open.
    """
    local = pl.Series(wall).cast(pl.Datetime("ns"))
    first = local.dt.replace_time_zone(check_zone(zone), ambiguous="earliest", non_existent="null").dt.timestamp("ns")
    last = local.dt.replace_time_zone(zone, ambiguous="latest", non_existent="null").dt.timestamp("ns")
    never = np.flatnonzero(first.is_null().to_numpy())
    early, late = first.fill_null(0).to_numpy().copy(), last.fill_null(0).to_numpy()
    twice = np.flatnonzero(early != late)
    if ambiguous is Ambiguous.EARLIER or not len(twice):
        return early, twice[:0], never
    if ambiguous is Ambiguous.LATER:
        return late.copy(), twice[:0], never
    if ambiguous is Ambiguous.REFUSE:
        return early, twice, never
    still = []
    for run in np.split(twice, np.flatnonzero(np.diff(twice) != 1) + 1):
        back = np.flatnonzero(np.diff(wall[run]) <= 0)
        if len(back) == 1:
            second = run[back[0] + 1 :]
            early[second] = late[second]
        else:
            still.append(run)
    return early, np.concatenate(still) if still else twice[:0], never


def _from_datetimes(times: pl.Series) -> Times:
    times = within_years(times)
    dtype = times.dtype
    assert isinstance(dtype, pl.Datetime)
    scale = {"ns": 1, "us": 1_000, "ms": 1_000_000}[dtype.time_unit]
    stamps = times.to_physical()
    ns = (stamps.fill_null(0) if stamps.null_count() else stamps).to_numpy()
    ns = ns if scale == 1 else ns * scale
    if dtype.time_zone is None:
        return _with_nulls(ns, Kind.WALL, times)
    if dtype.time_zone != "UTC" and len(times):
        wall = times.dt.replace_time_zone(None).to_physical().fill_null(0).to_numpy() * scale
        if not (wall % NS_PER_DAY).any():
            # Midnight of every local day is how daily bars are written: the local date names the session.
            return _with_nulls(wall, Kind.DATE, times)
    return _with_nulls(ns, Kind.INSTANT, times)


def _from_numbers(times: pl.Series, unit: TimeUnit | None) -> Times:
    if not times.dtype.is_integer():
        floats = times.cast(pl.Float64).fill_nan(None)
        whole = floats.cast(pl.Int64, strict=False)
        exact = whole.null_count() == floats.null_count() and (whole.cast(pl.Float64) == floats).all()
        times = whole if exact else floats
    else:
        nulls = times.null_count()
        times = times.cast(pl.Int64, strict=False)
        if times.null_count() > nulls:  # beyond 64 bits
            times = times.cast(pl.Int64)
    if unit is None and times.dtype == pl.Int64 and (dates := _compact_dates(times)) is not None:
        return dates
    present = times.is_not_null().to_numpy() if times.null_count() else None
    numbers = read_numbers(times.fill_null(0).to_numpy(), present, unit)
    if numbers.unclear:
        unclear: NDArray[Any] = np.full(len(times), Kind.NUMBER, dtype=np.uint8)
        if present is not None:
            unclear[~present] = Kind.BAD
        return Times(ns=numbers.ns, kind=unclear)
    kind = Kind.WALL if numbers.wall_clock else Kind.INSTANT
    return Times(ns=numbers.ns, kind=np.where(numbers.readable, kind, Kind.BAD).astype(np.uint8))


def _compact_dates(times: pl.Series) -> Times | None:
    """Return the dates of a column such as 20240131; None where most numbers are not dates."""
    lowest, highest = times.min(), times.max()
    if not any(low <= lowest and highest <= high for low, high in _COMPACT_RANGES if lowest is not None):  # type: ignore[operator]
        return None
    dates = parse_written(times.cast(pl.String), day_first=None)
    return dates if 2 * int((dates.kind != Kind.BAD).sum()) > len(times) else None


def _all_numbers(text: pl.Series) -> Times | None:
    """Return the times of a column in which every row is a number of one unit; None for any other column."""
    if not len(text) or not re.match(NUMBER, text[0] or "") or not text.str.contains(NUMBER).fill_null(False).all():
        return None
    times = _from_numbers(_numbers_of(text), None)
    return None if (times.kind == Kind.BAD).any() or (times.kind == Kind.NUMBER).any() else times


def _numbers_of(text: pl.Series) -> pl.Series:
    whole = text.cast(pl.Int64, strict=False)
    return text.cast(pl.Float64) if whole.null_count() else whole


def _with_unit(text: pl.Series, unit: TimeUnit, *, day_first: bool | None) -> Times:
    """Return the times of text whose numbers count `unit`; rows that are not numbers are read as without it."""
    is_number = text.str.contains(NUMBER).fill_null(False)
    rows, others = np.flatnonzero(is_number.to_numpy()), np.flatnonzero(~is_number.to_numpy())
    numbers = _from_numbers(_numbers_of(text.gather(rows)), unit)
    ns, kind = np.zeros(len(text), dtype=np.int64), np.zeros(len(text), dtype=np.uint8)
    ns[rows], kind[rows] = numbers.ns, numbers.kind
    rest = from_text(text.gather(others), day_first=day_first)
    ns[others], kind[others] = rest.ns, rest.kind
    return Times(ns=ns, kind=kind, undecided=rest.undecided)


def in_january_1970(times: Times) -> bool:
    """Return whether every time is in January 1970: numbers that were converted with the wrong unit before."""
    if not len(times.ns) or not 0 <= int(times.ns[0]) < _JANUARY:
        return False
    known = times.ns[(times.kind != Kind.BAD) & (times.kind != Kind.NUMBER)]
    return bool(len(known)) and int(known.min()) >= 0 and int(known.max()) < _JANUARY


def _with_nulls(ns: Instants, kind: Kind, times: pl.Series) -> Times:
    kinds = np.full(len(times), kind, dtype=np.uint8)
    nulls = bool(times.null_count())
    if nulls:
        kinds[times.is_null().to_numpy()] = Kind.BAD
    return Times(ns=np.asarray(ns, dtype=np.int64), kind=kinds, only_instants=kind is Kind.INSTANT and not nulls)
