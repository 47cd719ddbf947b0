"""Parse the columns of a file into times and prices, with a finding for every value that is not one.

Guarantees that each row keeps its line number, and that a value with two possible meanings is a finding until an option
decides. It does not check whether the bars are possible or in order; `validator` does.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

import numpy as np
import polars as pl
from numpy.typing import NDArray

from weaver.core.bars import Floats, Instants
from weaver.core.errors import DataError
from weaver.core.instants import NS_PER_DAY, format_ns
from weaver.core.suggest import listed
from weaver.core.text import brief, cut
from weaver.core.timeframe import Timeframe
from weaver.data.columns import PRICES, ColumnMap, map_columns
from weaver.data.importer.findings import FileFinding, FindingCode
from weaver.data.importer.numbers import ParsedNumbers, decimal_sign, parse_numbers
from weaver.data.importer.table_reader import RawTable, columns_option
from weaver.data.numeric_times import TimeUnit, explain_number
from weaver.data.timestamps import Ambiguous, Kind, Times, from_series, in_january_1970, localise

__all__ = ["ParseOptions", "ParsedRows", "parse"]


@dataclass(frozen=True, slots=True, kw_only=True)
class ParseOptions:
    """Options that say how to read a file. With None and the defaults the file has to be clear by itself."""

    tz: str | None = None
    timeframe: Timeframe | None = None
    ambiguous: Ambiguous = Ambiguous.REFUSE
    day_first: bool | None = None
    decimal: str | None = None
    fixes: frozenset[str] = frozenset()
    time_unit: TimeUnit | None = None


@dataclass(slots=True)
class ParsedRows:
    """The rows of one file. `bad` marks rows with a finding; `findings` also has lines that are no rows, `timeless` marks
    rows without a readable time, `fixed` has the lines changed by each repair."""

    file: str
    unit: str
    total: int
    lines: Instants
    starts: Instants
    columns: dict[str, Floats]
    extra: dict[str, Floats]
    symbols: pl.Series | None
    bad: NDArray[np.bool_]
    timeless: NDArray[np.bool_]
    findings: list[FileFinding] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    fixed: dict[str, Instants] = field(default_factory=dict)

    def find(self, code: FindingCode, rows: Instants, describe: Callable[[int], str]) -> None:
        """Add a finding for `rows`; `describe` words the one of a row."""
        if len(rows):
            self.findings.append(FileFinding(code, self.lines[rows], lambda k: describe(int(rows[k]))))
            self.bad[rows] = True


def parse(raw: RawTable, how: ParseOptions) -> ParsedRows:
    """Return the rows of a file. Raises DataError where a column that a bar needs is missing."""
    column_map = map_columns(raw.names, where=raw.file)
    if column_map.missing:
        raise DataError(
            f"{raw.file}: no column for {' and '.join(column_map.missing)} among "
            f"{listed(map(brief, raw.names))}; name the columns in order: "
            f"{columns_option(raw.names)}"
        )
    count = len(raw.lines)
    rows = ParsedRows(
        file=raw.file,
        unit=raw.unit,
        total=raw.total,
        lines=raw.lines,
        starts=np.zeros(count, dtype=np.int64),
        columns={},
        extra={},
        symbols=None if column_map.symbol is None else raw.columns[column_map.symbol].cast(pl.String),
        bad=np.zeros(count, dtype=np.bool_),
        timeless=np.zeros(count, dtype=np.bool_),
        findings=list(raw.findings),
        notes=list(raw.notes),
    )
    if rows.symbols is not None:
        unnamed = np.flatnonzero((rows.symbols.fill_null("").str.strip_chars() == "").to_numpy())
        rows.find(FindingCode.VALUE, unnamed, lambda row: "the symbol is missing")
    _times(rows, raw, column_map, how)
    _numbers(rows, raw, column_map, how)
    return rows


def _times(rows: ParsedRows, raw: RawTable, column_map: ColumnMap, how: ParseOptions) -> None:
    assert column_map.time is not None
    column = raw.columns[column_map.time]
    if column_map.clock is not None:
        clock = raw.columns[column_map.clock].cast(pl.String)
        column = (column.cast(pl.String) + " " + clock).alias(column.name)
    name = cut(raw.names[column_map.time])
    times = from_series(column, day_first=how.day_first, unit=how.time_unit)
    unclear = np.flatnonzero(times.kind == Kind.NUMBER)
    rows.find(
        FindingCode.UNIT,
        unclear,
        lambda row: f"{name} {brief(column[row])} is a number: {explain_number(float(column[row]))}",
    )
    rows.timeless[unclear] = True
    unread = np.flatnonzero(times.kind == Kind.BAD)
    if times.undecided:
        rows.find(
            FindingCode.UNDECIDED,
            unread,
            lambda row: f"{name} {brief(column[row])}: day and month cannot be told apart",
        )
    else:
        rows.find(FindingCode.TIME, unread, lambda row: f"{name} {brief(column[row])} is not a time")
    rows.timeless[unread] = True
    if how.time_unit is None and in_january_1970(times):
        raise DataError(
            f"{rows.file}: the times in {brief(name)} begin at {format_ns(int(times.ns[0]))} and all are in "
            "January 1970, so "
            "they were converted from numbers with the wrong unit; write the numbers and name it: --time-unit s"
        )
    _say_kinds(rows, times)
    rows.starts = times.ns.copy()
    wall = np.flatnonzero((times.kind == Kind.WALL) | (times.kind == Kind.DATE))
    if not len(wall):
        return
    only_wall = len(wall) + len(unread) == len(times.kind)
    if only_wall and not (times.ns[wall] % NS_PER_DAY).any() and not (how.timeframe and how.timeframe.is_intraday):
        rows.notes.append("dates name the sessions: 00:00 UTC")
        return
    if how.tz is None:
        rows.find(FindingCode.NAIVE, wall, lambda row: f"{name} {brief(column[row])} has no time zone")
        rows.timeless[wall] = True
        return
    rows.starts[wall], twice, never = localise(times.ns[wall], how.tz, how.ambiguous)
    rows.notes.append(f"times without a zone are in {how.tz}")
    rows.find(
        FindingCode.AMBIGUOUS,
        wall[twice],
        lambda row: f"{name} {brief(column[row])} occurs twice in {how.tz}, when the clocks go back",
    )
    rows.find(
        FindingCode.TIME,
        wall[never],
        lambda row: f"{name} {brief(column[row])} does not exist in {how.tz}, the clocks go forward over it",
    )
    rows.timeless[wall[twice]] = rows.timeless[wall[never]] = True


def _say_kinds(rows: ParsedRows, times: Times) -> None:
    counts = {kind: int((times.kind == kind).sum()) for kind in (Kind.INSTANT, Kind.WALL, Kind.DATE)}
    present = {kind: count for kind, count in counts.items() if count}
    if len(present) > 1:
        words = {Kind.INSTANT: "with a zone or as an epoch number", Kind.WALL: "without a zone", Kind.DATE: "as a date"}
        rows.notes.append(
            "times are mixed: " + ", ".join(f"{count:,} {words[kind]}" for kind, count in present.items())
        )


def _numbers(rows: ParsedRows, raw: RawTable, column_map: ColumnMap, how: ParseOptions) -> None:
    places = dict(column_map.prices) | ({} if column_map.volume is None else {"volume": column_map.volume})
    decimal = how.decimal
    if decimal is None:
        decimal, open_rows = decimal_sign([raw.columns[index] for index in places.values()], raw.separator)
        if len(open_rows):
            names = list(places.items())
            rows.find(FindingCode.DECIMAL, open_rows, lambda row: _doubtful(raw, names, row))
            return _fill(rows)
        if decimal == ",":
            rows.notes.append("decimal comma")
    strip = "strip-thousands" in how.fixes
    stripped = np.empty(0, dtype=np.int64)
    for name in (*PRICES, "volume"):
        if name not in places:
            rows.columns[name] = np.zeros(len(rows.lines))
            rows.notes.append("no volume column, so volume is 0")
            continue
        column = raw.columns[places[name]]
        numbers = parse_numbers(column, decimal, strip_thousands=strip)
        if strip:
            stripped = np.union1d(stripped, parse_numbers(column, decimal).grouped)
        rows.columns[name] = numbers.values
        if name == "volume" and len(numbers.missing) == len(rows.lines):
            rows.columns[name] = np.zeros(len(rows.lines))
            rows.notes.append("the volume column is empty, so volume is 0")
            continue
        _find(
            rows,
            cut(raw.names[places[name]]),
            column,
            numbers,
            missing=FindingCode.VOLUME if name == "volume" else FindingCode.VALUE,
        )
    if strip:
        rows.fixed["strip-thousands"] = rows.lines[stripped]
    for name, index in column_map.extra.items():
        numbers = parse_numbers(raw.columns[index], decimal, strip_thousands=strip)
        if len(numbers.unreadable) or len(numbers.missing) == len(rows.lines):
            if index != column_map.time:
                rows.notes.append(
                    f"column {brief(raw.names[index])} holds no numbers (or text among them) and is left out"
                )
        else:
            rows.extra[name] = numbers.values


def _find(rows: ParsedRows, name: str, column: pl.Series, numbers: ParsedNumbers, *, missing: FindingCode) -> None:
    rows.find(missing, numbers.missing, lambda row: f"{name} {_shown(column, row)} is missing")
    rows.find(FindingCode.VALUE, numbers.infinite, lambda row: f"{name} {_shown(column, row)} is not finite")
    rows.find(
        FindingCode.THOUSANDS, numbers.grouped, lambda row: f"{name} {_shown(column, row)} has a thousands separator"
    )
    rows.find(FindingCode.VALUE, numbers.unreadable, lambda row: f"{name} {_shown(column, row)} is not a number")


def _fill(rows: ParsedRows) -> None:
    rows.columns = {name: np.full(len(rows.lines), np.nan) for name in (*PRICES, "volume")}


def _doubtful(raw: RawTable, names: list[tuple[str, int]], row: int) -> str:
    for name, index in names:
        value = raw.columns[index][row]
        if isinstance(value, str) and ("," in value or "." in value):
            return f"{name} {brief(value)}: the comma may be decimal or group thousands"
    return "the decimal sign is not clear"


def _shown(column: pl.Series, row: int) -> str:
    value = column[row]
    return "''" if value is None else brief(value)
