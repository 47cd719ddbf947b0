"""Read a column of times in any form as nanoseconds since 1970-01-01 UTC, and mark the rows that are not times.

Guarantees that a wall-clock time is never taken for UTC, and that an hour that occurs twice is never guessed: options
say which zone, and which of the two. It does not check whether the times fit a timeframe.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from enum import IntEnum, StrEnum
from typing import Any
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

import numpy as np
import polars as pl
from numpy.typing import NDArray

from weaver.core.errors import ConfigError
from weaver.core.fork_safety import polars_is_lost
from weaver.core.instants import NS_PER_DAY, NS_PER_SECOND
from weaver.data.numeric_times import TimeUnit, epoch_ns, has_other_reading, plausible_times, read_numbers

__all__ = ["Ambiguous", "Kind", "Times", "check_zone", "from_series", "from_text", "in_january_1970", "localise"]

Instants = NDArray[np.int64]


class Kind(IntEnum):
    """The kind of one time: unreadable, an instant, a wall-clock time without a zone, a date, a number of unclear unit."""

    BAD = 0
    INSTANT = 1
    WALL = 2
    DATE = 3
    NUMBER = 4


class Ambiguous(StrEnum):
    """The meaning of a local time that occurs twice, when the clocks go back."""

    REFUSE = "refuse"
    EARLIER = "earlier"
    LATER = "later"
    INFER = "infer"


@dataclass(frozen=True, slots=True)
class Times:
    """One entry per row. `ns` is in UTC where the kind is INSTANT, else the wall clock read as if it were UTC."""

    ns: Instants
    kind: NDArray[np.uint8]
    undecided: bool = False
    """True where day and month cannot be told apart; the rows that say so are BAD."""
    only_instants: bool = False
    """True only if every row is an INSTANT. False says nothing: `kind` does."""

    def all_of(self, kind: Kind) -> bool:
        """Return whether every row is of this kind."""
        return bool((self.kind == kind).all())


_DATE = (
    r"(?:(?P<y>\d{4})[-/.](?P<m>\d{1,2})[-/.](?P<d>\d{1,2})|(?P<a>\d{1,2})(?P<s>[-/.])(?P<b>\d{1,2})[-/.](?P<z>\d{4})|"
)
_DATE += (
    r"(?P<cy>(?:19|20)\d{2})(?P<cm>\d{2})(?P<cd>\d{2})|(?P<nd>\d{1,2})[- ](?P<nm>[A-Za-z]{3})[a-z]*[- ,]+(?P<ny>\d{4}))"
)
_CLOCK = (
    r"(?:(?P<H>\d{1,2}):(?P<M>\d{2})(?::(?P<S>\d{2})(?:[.,](?P<f>\d{1,9}))?)?|(?P<cH>\d{2})(?P<cM>\d{2})(?P<cS>\d{2})?)"
)
_ZONE = r"(?P<zone>Z|z|UTC|GMT|(?P<sign>[+-])(?P<oh>\d{2}):?(?P<om>\d{2})?)"
_TIME = rf"^{_DATE}(?:(?:T|t|,? +)?{_CLOCK} ?(?P<half>[AaPp][Mm])? ?{_ZONE}?)?$"
_EPOCH = r"^-?\d{9,11}(?:\.\d+)?$|^\d{12,13}(?:\.0*)?$|^\d{15,16}(?:\.0*)?$|^(?:\d{18}|[1-8]\d{18})(?:\.0*)?$"
_NUMBER = r"^[+-]?\d+(?:\.\d*)?(?:[eE][+-]?\d+)?$"
# Twelve digits may be 202401311200 as well as milliseconds; what is a date is taken for one.
_COMPACT = r"^(?:19|20)\d{10}$"
# Numbers in these ranges throughout, such as 20240131 and 20240131120000, are dates: as seconds or milliseconds they
# would be in 1970, 1976 or beyond 2262.
_COMPACT_RANGES = ((19000101, 21001231), (190001010000, 210012312359), (19000101000000, 21001231235959))
_JANUARY = 31 * NS_PER_DAY
_FIRST_DAY, _END_DAY = (int(np.datetime64(f"{year}-01-01", "D").astype(np.int64)) for year in (1678, 2262))
_MONTHS = ("jan", "feb", "mar", "apr", "may", "jun", "jul", "aug", "sep", "oct", "nov", "dec")
_MONTH_DAYS = np.array([0, 31, 28, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31], dtype=np.int64)
# Whole years in which every instant fits into 64 bits of nanoseconds, whatever its offset.
_FIRST_YEAR, _LAST_YEAR = 1678, 2261


def check_zone(zone: str) -> str:
    """Return `zone` if it names a time zone such as "America/New_York"; raise ConfigError otherwise."""
    try:
        if polars_is_lost():
            ZoneInfo(zone)
        else:  # Polars has its own database of zones, which is what the times are read with
            pl.Series([0]).cast(pl.Datetime("us")).dt.replace_time_zone(zone)
    except (pl.exceptions.PolarsError, TypeError, ValueError, OSError, ZoneInfoNotFoundError):
        raise ConfigError(f'tz={zone!r} is not a time zone; write it like tz="America/New_York" or tz="UTC"') from None
    return zone


def from_series(times: pl.Series, *, day_first: bool | None = None, unit: TimeUnit | None = None) -> Times:
    """Return the times of a column of any type: datetimes, dates, numbers or text. Nulls are BAD.

    `unit` says what numbers count, also those in text; None: their size has to leave one unit (`numeric_times`). It does
    not matter for datetimes, dates and other text.
    """
    if isinstance(times.dtype, pl.Datetime):
        return _from_datetimes(times)
    if times.dtype == pl.Date:
        times = _within_years(times)
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
    quick = _plain_iso(times)
    if quick is not None:
        return quick
    text = times.str.strip_chars()
    if unit is not None and text.str.contains(_NUMBER).fill_null(False).any():
        return _with_unit(text, day_first, unit)
    numbers = _all_numbers(text)
    return _from_written(text, day_first) if numbers is None else numbers


def _from_written(text: pl.Series, day_first: bool | None) -> Times:
    """Return the times of a column of text, row by row."""
    ns = np.zeros(len(text), dtype=np.int64)
    kind = np.zeros(len(text), dtype=np.uint8)
    undecided = False
    epoch = (text.str.contains(_EPOCH) & ~text.str.contains(_COMPACT)).fill_null(False).to_numpy()
    others = np.flatnonzero(~epoch)
    if len(others):
        rest = text if len(others) == len(text) else text.gather(others)
        groups = rest.str.extract_groups(_TIME).struct.unnest()
        parsed = _fields(_numbers(groups), groups, day_first)
        undecided = parsed.undecided
        ns[others[parsed.ok]] = parsed.ns[parsed.ok]
        kind[others[parsed.ok]] = parsed.kind[parsed.ok]
        left = others[~parsed.ok]
        epoch[left] = text.gather(left).str.contains(_EPOCH).fill_null(False).to_numpy()
    if epoch.any():
        rows = text.filter(pl.Series(epoch))
        whole = rows.str.extract(r"^(-?\d+)").cast(pl.Int64, strict=False).fill_null(0).to_numpy()
        digits = rows.str.extract(r"\.(\d{1,9})").fill_null("0").str.pad_end(9, "0").cast(pl.Int64).to_numpy()
        ns[epoch] = epoch_ns(whole) + np.where(whole < 0, -digits, digits)
        plausible = plausible_times(ns[epoch]) & (not has_other_reading(whole))
        kind[epoch] = np.where(plausible, Kind.INSTANT, Kind.BAD)
        ns[kind == Kind.BAD] = 0
    if 2 * int((kind != Kind.BAD).sum()) <= len(text):
        filled = text.fill_null("")
        numbers, blank = filled.str.contains(_NUMBER).to_numpy(), (filled == "").to_numpy()
        if (numbers | blank).all() and numbers.any():
            return Times(ns=np.zeros_like(ns), kind=np.where(blank, Kind.BAD, Kind.NUMBER).astype(np.uint8))
    return Times(ns=ns, kind=kind, undecided=undecided)


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


def _within_years(times: pl.Series) -> pl.Series:
    """Return dates or datetimes, null in years beyond 64 bits of nanoseconds: 9999-12-31 would become a day of 1816."""
    physical = times.to_physical()
    if physical.null_count() == len(physical):
        return times
    known = (physical.drop_nulls() if physical.null_count() else physical).to_numpy()
    first, last = int(known.min()), int(known.max())
    per_day = {"ns": NS_PER_DAY, "us": NS_PER_DAY // 10**3, "ms": NS_PER_DAY // 10**6}
    days = per_day[times.dtype.time_unit] if isinstance(times.dtype, pl.Datetime) else 1
    if _FIRST_DAY * days <= first and last < _END_DAY * days:
        return times
    beyond = ~times.dt.year().is_between(_FIRST_YEAR, _LAST_YEAR)
    return times.set(beyond.fill_null(False), None) if beyond.any() else times


def _from_datetimes(times: pl.Series) -> Times:
    times = _within_years(times)
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
    dates = _from_written(times.cast(pl.String), None)
    return dates if 2 * int((dates.kind != Kind.BAD).sum()) > len(times) else None


def _all_numbers(text: pl.Series) -> Times | None:
    """Return the times of a column in which every row is a number of one unit; None for any other column."""
    if not len(text) or not re.match(_NUMBER, text[0] or "") or not text.str.contains(_NUMBER).fill_null(False).all():
        return None
    times = _from_numbers(_numbers_of(text), None)
    return None if (times.kind == Kind.BAD).any() or (times.kind == Kind.NUMBER).any() else times


def _numbers_of(text: pl.Series) -> pl.Series:
    whole = text.cast(pl.Int64, strict=False)
    return text.cast(pl.Float64) if whole.null_count() else whole


def _with_unit(text: pl.Series, day_first: bool | None, unit: TimeUnit) -> Times:
    """Return the times of text whose numbers count `unit`; rows that are not numbers are read as without it."""
    is_number = text.str.contains(_NUMBER).fill_null(False)
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


def _plain_iso(times: pl.Series) -> Times | None:
    """Return the times where every row is like 2024-01-31T12:00:00Z, with a blank for T or without Z; else None. Fast."""
    if not len(times) or times.null_count():
        return None
    first = times[0]
    for pattern, kind in (
        ("%Y-%m-%dT%H:%M:%SZ", Kind.INSTANT),
        ("%Y-%m-%dT%H:%M:%S", Kind.WALL),
        ("%Y-%m-%d %H:%M:%S", Kind.WALL),
    ):
        length = 20 if kind is Kind.INSTANT else 19
        if len(first) != length or not (times.str.len_bytes() == length).all():
            continue
        parsed = times.str.to_datetime(pattern, time_unit="us", time_zone=None, strict=False, exact=True)
        # Polars reads the second 60 as the next minute's 0; the slow way refuses that, and years that run over.
        odd = times.str.ends_with("60Z" if kind is Kind.INSTANT else "60")
        if not (parsed.null_count() or odd.any() or _within_years(parsed).null_count()):
            return Times(ns=parsed.to_physical().to_numpy() * 1_000, kind=np.full(len(times), kind, dtype=np.uint8))
    return None


def _numbers(groups: pl.DataFrame) -> dict[str, Instants]:
    names = [name for name in groups.columns if name not in ("s", "zone", "sign", "half", "nm", "f")]
    parts = {name: groups[name].cast(pl.Int64).fill_null(-1).to_numpy() for name in names}
    parts["f"] = groups["f"].fill_null("0").str.pad_end(9, "0").cast(pl.Int64).to_numpy()
    parts["nm"] = groups["nm"].str.to_lowercase().replace_strict(
        {name: index + 1 for index, name in enumerate(_MONTHS)}, default=-1, return_dtype=pl.Int64
    ).fill_null(-1).to_numpy()  # fmt: skip
    return parts


@dataclass(frozen=True, slots=True)
class _Parsed:
    ok: NDArray[np.bool_]
    ns: Instants
    kind: NDArray[np.uint8]
    undecided: bool


def _fields(parts: dict[str, Instants], groups: pl.DataFrame, day_first: bool | None) -> _Parsed:
    either = parts["a"] > 0
    dotted = either & (groups["s"] == ".").fill_null(False).to_numpy()
    open_rows = either & ~dotted
    undecided = False
    if day_first is None and open_rows.any():
        days, months = bool((parts["a"][open_rows] > 12).any()), bool((parts["b"][open_rows] > 12).any())
        undecided = days == months
        day_first = days
    front = dotted | (open_rows & bool(day_first))
    day = _first_of(parts["d"], np.where(either, np.where(front, parts["a"], parts["b"]), -1), parts["cd"], parts["nd"])
    month = _first_of(
        parts["m"], np.where(either, np.where(front, parts["b"], parts["a"]), -1), parts["cm"], parts["nm"]
    )
    year = _first_of(parts["y"], parts["z"], parts["cy"], parts["ny"])
    hour, minute = _first_of(parts["H"], parts["cH"]), _first_of(parts["M"], parts["cM"])
    second = np.maximum(_first_of(parts["S"], parts["cS"]), 0)
    half = groups["half"].str.to_lowercase()
    morning, evening = (half == "am").fill_null(False).to_numpy(), (half == "pm").fill_null(False).to_numpy()
    twelve = (morning | evening) & ((hour < 1) | (hour > 12))
    hour = np.where(morning & (hour == 12), 0, np.where(evening & (hour < 12), hour + 12, hour))
    no_clock = hour < 0
    leap = (year % 4 == 0) & ((year % 100 != 0) | (year % 400 == 0))
    ok = (year >= _FIRST_YEAR) & (year <= _LAST_YEAR) & (month >= 1) & (month <= 12)
    length = _MONTH_DAYS[np.where(ok, month, 0)] + (leap & (month == 2))
    ok &= (day >= 1) & (day <= length) & (hour < 24) & (minute < 60) & (second < 60) & ~twelve
    ok &= (parts["oh"] < 24) & (parts["om"] < 60)
    if undecided:
        ok &= ~open_rows
    since = np.where(ok, (year - 1970) * 12 + month - 1, 0).astype("datetime64[M]")
    days_ns = (since.astype("datetime64[D]").astype(np.int64) + day - 1) * NS_PER_DAY
    clock = (np.maximum(hour, 0) * 3600 + np.maximum(minute, 0) * 60 + second) * NS_PER_SECOND + parts["f"]
    zoned = groups["zone"].is_not_null().to_numpy()
    offset = (np.maximum(parts["oh"], 0) * 3600 + np.maximum(parts["om"], 0) * 60) * NS_PER_SECOND
    offset = np.where((groups["sign"] == "-").fill_null(False).to_numpy(), -offset, offset)
    ns = np.where(ok, days_ns + clock - offset, 0)
    kind = np.where(zoned, Kind.INSTANT, np.where(no_clock, Kind.DATE, Kind.WALL)).astype(np.uint8)
    every = bool(zoned.all() and ok.all())
    if every and bool(np.any(offset)) and not bool(np.any(clock)):
        # Midnight in the offset of every single day is how daily bars are written: the local date names the session.
        return _Parsed(ok=ok, ns=days_ns, kind=np.full(len(ns), Kind.DATE, dtype=np.uint8), undecided=undecided)
    return _Parsed(ok=ok, ns=ns, kind=kind, undecided=undecided)


def _first_of(*columns: Instants) -> Instants:
    result = columns[0]
    for column in columns[1:]:
        result = np.where(result >= 0, result, column)
    return result
