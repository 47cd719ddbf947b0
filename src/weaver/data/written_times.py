"""Parse times that are written as text, row by row: ISO 8601, dd.mm.yyyy, day/month/year, compact digits, numbers.

Guarantees that a row is a valid time of the calendar from 1678 to 2261 or marked BAD, and that a date whose day and month
could be exchanged is not guessed.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import polars as pl
from numpy.typing import NDArray

from weaver.core.instants import NS_PER_DAY, NS_PER_SECOND
from weaver.data.numeric_times import epoch_ns, has_other_reading, plausible_times
from weaver.data.time_kinds import Instants, Kind, Times

__all__ = ["NUMBER", "parse_iso", "parse_written", "within_years"]

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
NUMBER = r"^[+-]?\d+(?:\.\d*)?(?:[eE][+-]?\d+)?$"
# Twelve digits may be 202401311200 as well as milliseconds; what is a date is taken for one.
_COMPACT = r"^(?:19|20)\d{10}$"
_MONTHS = ("jan", "feb", "mar", "apr", "may", "jun", "jul", "aug", "sep", "oct", "nov", "dec")
_MONTH_DAYS = np.array([0, 31, 28, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31], dtype=np.int64)
# Whole years in which every instant fits into 64 bits of nanoseconds, whatever its offset.
_FIRST_YEAR, _LAST_YEAR = 1678, 2261
_FIRST_DAY, _END_DAY = (int(np.datetime64(f"{year}-01-01", "D").astype(np.int64)) for year in (1678, 2262))


def parse_written(text: pl.Series, *, day_first: bool | None) -> Times:
    """Return the times of a column of text, row by row."""
    ns = np.zeros(len(text), dtype=np.int64)
    kind = np.zeros(len(text), dtype=np.uint8)
    undecided = False
    epoch = (text.str.contains(_EPOCH) & ~text.str.contains(_COMPACT)).fill_null(False).to_numpy()
    others = np.flatnonzero(~epoch)
    if len(others):
        rest = text if len(others) == len(text) else text.gather(others)
        groups = rest.str.extract_groups(_TIME).struct.unnest()
        parsed = _fields(_numbers(groups), groups, day_first=day_first)
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
        numbers, blank = filled.str.contains(NUMBER).to_numpy(), (filled == "").to_numpy()
        if (numbers | blank).all() and numbers.any():
            return Times(ns=np.zeros_like(ns), kind=np.where(blank, Kind.BAD, Kind.NUMBER).astype(np.uint8))
    return Times(ns=ns, kind=kind, undecided=undecided)


def within_years(times: pl.Series) -> pl.Series:
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


def parse_iso(times: pl.Series) -> Times | None:
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
        if not (parsed.null_count() or odd.any() or within_years(parsed).null_count()):
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


def _fields(parts: dict[str, Instants], groups: pl.DataFrame, *, day_first: bool | None) -> _Parsed:
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
