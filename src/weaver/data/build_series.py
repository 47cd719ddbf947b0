"""Build a `BarSeries` from the columns of one symbol: check them, or refuse them by row, value and way out.

Guarantees the promises of `BarSeries`. Float64 columns share memory with their frame; high and low are copied where rounding
was clipped.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import polars as pl
from numpy.typing import NDArray

from weaver.core.bars import BarSeries, Floats, Instants
from weaver.core.calendar import SessionCalendar
from weaver.core.durations import duration_text
from weaver.core.errors import DataError, NaiveDatetimeError, NoBars, OffGridError, TimeframeError
from weaver.core.instants import NS_PER_DAY, format_ns
from weaver.core.instrument import Instrument
from weaver.core.suggest import listed
from weaver.core.text import brief
from weaver.core.timeframe import Timeframe
from weaver.data.bar_checks import (
    FLOAT32_ROUNDING,
    ROUNDING_ADVICE,
    Spacing,
    commonest_spacing,
    explain_bar,
    impossible_bars,
    include_open_and_close,
    longer_spacing,
    off_grid_rows,
    only_rounding_wrong,
    rounding_note,
    timeframe_of,
    unordered_rows,
)
from weaver.data.columns import map_columns
from weaver.data.gap_notes import find_gaps, notes_about, split_warnings, unexpected_gaps
from weaver.data.grid_advice import off_grid_advice, resample_advice
from weaver.data.numeric_times import TimeUnit, explain_number
from weaver.data.timestamps import Kind, Times, from_series, in_january_1970, localise

__all__ = ["Column", "Table", "check_series", "infer_timeframe", "timeframe_of_tables", "to_series", "with_instants"]

Column = pl.Series | NDArray[Any]


@dataclass(frozen=True, slots=True)
class Table:
    """One symbol's columns by their original names."""

    symbol: str
    columns: Mapping[str, Column]
    source: str
    notes: tuple[str, ...] = ()
    timeframe: Timeframe | None = None
    """The timeframe under which the bars are stored; None: it follows from their spacing."""
    checked: Timeframe | None = None
    """The timeframe for which the importer has checked all rows, under the names of the catalog; None: not checked."""


@dataclass(frozen=True, slots=True)
class Timed:
    """A table with the starts of its bars: nanoseconds UTC, strictly increasing."""

    table: Table
    starts: Instants
    spacing: Spacing


def with_instants(table: Table, *, tz: str | None, intraday: bool | None, time_unit: TimeUnit | None = None) -> Timed:
    """Return the table with its times as UTC nanoseconds, strictly increasing.

    `intraday` is True or False where the caller's timeframe says so; `time_unit` is the unit of times that are numbers.
    """
    where = table.symbol
    if table.checked is not None:
        stamps = table.columns["timestamp"]
        assert isinstance(stamps, pl.Series)
        checked = stamps.to_physical().to_numpy() * 1_000
        return Timed(table=table, starts=checked, spacing=Spacing.of(checked))
    column_map = map_columns(table.columns, where=where)
    if column_map.missing:
        raise DataError(
            f"{where}: no column for {' and '.join(column_map.missing)}; there are {_listed(table.columns)}; "
            "rename the columns to timestamp, open, high, low, close, volume (any case)"
        )
    assert column_map.time is not None
    name = list(table.columns)[column_map.time]
    column = table.columns[name]
    times = from_series(column if isinstance(column, pl.Series) else pl.Series(name, column), unit=time_unit)
    if not times.only_instants:
        _check_readable(where, name, column, times)
    if time_unit is None and in_january_1970(times):
        raise DataError(
            f"{where}: the times in {brief(name)} begin at {format_ns(int(times.ns[0]))} and all are in "
            "January 1970, so they "
            "were converted from numbers with the wrong unit; convert them with theirs (pandas: pd.to_datetime(values, "
            'unit="s")), or pass the numbers and say it: time_unit="s", on the command line --time-unit s'
        )
    ns = times.ns if times.only_instants else _instants(where, times, tz=tz, intraday=intraday)
    spacing = Spacing.of(ns)
    _check_order(where, name, ns, spacing)
    return Timed(table=table, starts=ns, spacing=spacing)


def _check_readable(where: str, name: str, column: Column, times: Times) -> None:
    unclear = np.flatnonzero(times.kind == Kind.NUMBER)
    if len(unclear):
        row = int(unclear[0])
        raise DataError(
            f"{where}: {brief(name)} in row {row} is {column[row]}, a number: {explain_number(float(column[row]))}"
        )
    bad = np.flatnonzero(times.kind == Kind.BAD)
    if len(bad):
        way = "write them as 2024-03-01" if times.undecided else "remove or correct these rows"
        reason = "day and month cannot be told apart" if times.undecided else "is not a time"
        raise DataError(
            f"{where}: {brief(name)} in row {bad[0]} is {_value(column, int(bad[0]))}: {reason} ({len(bad)} "
            f"such rows); {way}"
        )


def _instants(where: str, times: Times, *, tz: str | None, intraday: bool | None) -> Instants:
    """Return the times in UTC. Dates, and midnights without a zone, name sessions unless the timeframe is intraday."""
    wall = times.kind != Kind.INSTANT
    if not wall.any() or (not intraday and bool(wall.all()) and not (times.ns % NS_PER_DAY).any()):
        return times.ns
    if tz is None:
        row = int(np.flatnonzero(wall)[0])
        raise NaiveDatetimeError(
            f"{where}: the times have no time zone (row {row}: {format_ns(int(times.ns[row])).rstrip('Z')}); say which one "
            'they are in: backtest(..., tz="America/New_York"), or tz="UTC" (on the command line --tz UTC)'
        )
    return _in_utc(where, times.ns, np.flatnonzero(wall), tz)


def _in_utc(symbol: str, wall: Instants, rows: Instants, tz: str) -> Instants:
    ns = wall.copy()
    ns[rows], twice, never = localise(wall[rows], tz)
    for which, why in ((twice, "occurs twice there, when the clocks go back"), (never, "does not exist there")):
        if len(which):
            row = int(rows[which[0]])
            raise DataError(
                f"{symbol}: row {row}: {format_ns(int(wall[row])).rstrip('Z')} in {tz} {why}{_further(len(which))}; "
                'convert them yourself with .dt.replace_time_zone(tz, ambiguous="earliest" or "latest"), or import '
                "the file with: weaver data import FILE --tz ZONE --ambiguous earlier|later|infer"
            )
    return ns


def infer_timeframe(all_starts: Sequence[Instants]) -> Timeframe:
    """Return the commonest spacing of the bars; of several symbols the smallest one."""
    return _smallest_timeframe(commonest_spacing(starts, Spacing.of(starts)) for starts in all_starts)


def timeframe_of_tables(tables: Iterable[Timed]) -> Timeframe:
    """Return `infer_timeframe` of tables whose spacing is known."""
    return _smallest_timeframe(commonest_spacing(table.starts, table.spacing) for table in tables)


def _smallest_timeframe(commonest: Iterable[int | None]) -> Timeframe:
    spacings = [spacing for spacing in commonest if spacing is not None]
    if not spacings:
        raise DataError('the timeframe of a single bar is not known; say it: timeframe="1d" (or --timeframe 1d)')
    try:
        return timeframe_of(min(spacings))
    except TimeframeError as error:
        raise DataError(
            f"the commonest spacing of the bars is {duration_text(min(spacings))}, which is not a timeframe ({error}); "
            "give bars of another length"
        ) from None


def to_series(
    timed: Timed,
    *,
    timeframe: Timeframe,
    inferred: bool,
    low: int,
    high: int,
    calendar: SessionCalendar | None,
    instrument: Instrument,
) -> BarSeries:
    """Return rows low to high (exclusive) as a `BarSeries`. Raises OffGridError and DataError by row, value and way out."""
    table, starts = timed.table, timed.starts[low:high]
    if not len(starts):
        raise NoBars(f"{table.symbol} has no bars")
    is_checked = table.checked == timeframe
    if not is_checked:
        _check_spacing(table.symbol, timed, timeframe)
    if calendar is not None:
        ends = _ends_in_sessions(table.symbol, starts, timeframe, calendar)
    else:
        if not is_checked:
            _check_grid(table.symbol, starts, timeframe, timed.spacing, first_row=low)
        ends = starts + timeframe.ns
    column_map = map_columns(table.columns, where=table.symbol)
    names = list(table.columns)
    notes = [f"timeframe {timeframe}: the commonest spacing of the bars"] if inferred else []
    notes += table.notes
    columns = {price: _floats(table, names[index], low, high) for price, index in column_map.prices.items()}
    if column_map.volume is None:
        columns["volume"] = np.zeros(len(starts))
        notes.append(f"{table.symbol}: no volume column, so volume is 0")
    else:
        columns["volume"] = _floats(table, names[column_map.volume], low, high)
    extra: dict[str, Floats] = {}
    for name, index in column_map.extra.items():
        values = _optional_floats(table.columns[names[index]], low, high)
        if values is None:
            notes.append(f"{table.symbol}: column {brief(names[index])} holds no numbers and is left out")
        else:
            extra[name] = values
    if not is_checked:
        notes += _check_bars(table.symbol, columns, starts, first_row=low)
    # Bars that are nowhere further apart than their length have no gap.
    regular = calendar is None and timed.spacing.largest <= timeframe.ns
    gaps = [] if regular else find_gaps(starts, ends, timeframe, calendar)
    notes += notes_about(table.symbol, timeframe, starts, ends, columns, calendar, gaps)
    return BarSeries(
        symbol=table.symbol,
        timeframe=timeframe,
        start=starts,
        end=ends,
        open=columns["open"],
        high=columns["high"],
        low=columns["low"],
        close=columns["close"],
        volume=columns["volume"],
        extra=extra,
        instrument=instrument,
        source=table.source,
        notes=tuple(notes),
        warnings=tuple(split_warnings(table.symbol, starts, columns["open"], columns["close"], extra.get("adj_close"))),
        gaps=unexpected_gaps(gaps, starts, calendar),
    )


def check_series(series: BarSeries) -> BarSeries:
    """Return the series, with rounded highs and lows clipped. Raises DataError where it breaks what `BarSeries` promises."""
    _check_order(series.symbol, "start", series.start, Spacing.of(series.start))
    wrong = np.flatnonzero((series.end <= series.start) | np.r_[False, series.end[1:] <= series.end[:-1]])
    if len(wrong):
        row = int(wrong[0])
        raise DataError(
            f"{series.symbol}: row {row}: the bar from {format_ns(int(series.start[row]))} ends at "
            f"{format_ns(int(series.end[row]))}{_further(len(wrong))}; a bar ends after its start and after the one before"
        )
    columns = series.columns()
    notes = _check_bars(series.symbol, columns, series.start, first_row=0)
    if not notes:
        return series
    return replace(series, high=columns["high"], low=columns["low"], notes=(*series.notes, *notes))


def _check_spacing(symbol: str, timed: Timed, timeframe: Timeframe) -> None:
    """Refuse a timeframe that is too short: longer bars would be seen before they are complete."""
    longer = longer_spacing(timed.starts, timeframe, timed.spacing)
    if longer is not None:
        raise DataError(
            f"{symbol}: the bars are {duration_text(longer)} apart or more, so they are not {timeframe} bars, and would be "
            f"seen before they are complete; leave the timeframe out, or give this symbol in {timeframe} bars"
        )


def _check_grid(symbol: str, starts: Instants, timeframe: Timeframe, spacing: Spacing, *, first_row: int) -> None:
    off = off_grid_rows(starts, timeframe, spacing)
    if not len(off):
        return
    offsets = timeframe.offsets(starts)
    resample = resample_advice(starts, timeframe)
    if resample is not None:
        raise OffGridError(f"{symbol}: {resample}")
    row = int(off[0])
    raise OffGridError(
        f"{symbol}: {len(off):,} of {len(starts):,} bars do not start on the {timeframe} grid; the first is row "
        f"{row + first_row}, {format_ns(int(starts[row]))}, {duration_text(int(offsets[row]))} after a boundary; "
        f"{off_grid_advice(offsets, timeframe)}"
    )


def _ends_in_sessions(symbol: str, starts: Instants, timeframe: Timeframe, calendar: SessionCalendar) -> Instants:
    try:
        return calendar.bar_ends(starts, timeframe)
    except OffGridError:
        resample = resample_advice(starts, timeframe)
        if resample is None:
            raise
        raise OffGridError(f"{symbol}: {resample}") from None


def _check_order(symbol: str, name: str, starts: Instants, spacing: Spacing) -> None:
    bad = unordered_rows(starts, spacing)
    if not len(bad):
        return
    row = int(bad[0])
    here, before = int(starts[row]), int(starts[row - 1])
    if here == before:
        fault, way = "is the same time as that of the row before", f"keep one row for each {brief(name)}"
    else:
        fault, way = f"is before {format_ns(before)} of the row before", f"sort the rows by {brief(name)}"
    raise DataError(f"{symbol}: row {row}: {format_ns(here)} {fault}{_further(len(bad))}; {way}")


def _check_bars(symbol: str, columns: dict[str, Floats], starts: Instants, *, first_row: int) -> list[str]:
    """Refuse impossible bars. Where rounding alone is wrong, high and low in `columns` are replaced; returns the notes."""
    bad = impossible_bars(columns)
    if not len(bad):
        return []
    rounded = only_rounding_wrong(columns, bad)
    notes = []
    if rounded.any():
        include_open_and_close(columns, bad[rounded])
        notes.append(f"{symbol}: {rounding_note(int(rounded.sum()))}")
        bad = bad[~rounded]
    if len(bad):
        row = int(bad[0])
        if only_rounding_wrong(columns, bad[:1], FLOAT32_ROUNDING)[0]:
            way = ROUNDING_ADVICE
        else:
            way = "correct these rows, or import the file without them: weaver data import FILE --fix drop-invalid"
        raise DataError(
            f"{symbol}: row {row + first_row} ({format_ns(int(starts[row]))}): {explain_bar(columns, row)}"
            f"{_further(len(bad))}; {way}"
        )
    return notes


def _further(count: int) -> str:
    return "" if count == 1 else f" (and {count - 1:,} further row{'' if count == 2 else 's'})"


def _floats(table: Table, name: str, low: int, high: int) -> Floats:
    values = _optional_floats(table.columns[name], low, high)
    if values is None:
        raise DataError(
            f"{table.symbol}: column {brief(name)} holds {_value(table.columns[name], low)}, not numbers; "
            "convert it, or import "
            "the file with: weaver data import"
        )
    return values


def _optional_floats(column: Column, low: int, high: int) -> Floats | None:
    """Return rows low to high as float64, shared where possible; nulls are NaN. None where the column holds no numbers."""
    if isinstance(column, pl.Series):
        part = column.slice(low, high - low)
        if not (part.dtype.is_numeric() or part.dtype == pl.Boolean):
            return None
        values = part.cast(pl.Float64)
        return values.to_numpy() if not values.null_count() else values.fill_null(float("nan")).to_numpy()
    array = column[low:high]
    if array.dtype.kind not in "fiub":
        return None
    return np.ascontiguousarray(array, dtype=np.float64).view()


def _value(column: Column, row: int) -> str:
    return brief(column[row]) if len(column) > row else "nothing"


def _listed(names: Mapping[str, Column]) -> str:
    return listed(map(brief, names)) if names else "no columns"
