"""Load bars: turn the argument `bars` of a run into one checked `BarSeries` for each symbol, in the order of the run.

Accepts Polars and pandas frames, Parquet and CSV paths, catalog selections, `BarSeries`, and a mapping of symbols to any
of these. It guarantees that nothing is repaired or dropped silently: the notes of each series say what was done or is odd.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping, Sequence, Set
from dataclasses import dataclass, replace
from datetime import date, datetime
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

import numpy as np
import polars as pl

from weaver.core.bars import BarSeries
from weaver.core.calendar import SessionCalendar
from weaver.core.currencies import quote_of
from weaver.core.errors import ConfigError, DataError, NoBars, UnknownSymbol
from weaver.core.instants import format_ns, to_ns
from weaver.core.instrument import Instrument
from weaver.core.suggest import listed, unknown_symbol
from weaver.core.text import brief, cut_middle
from weaver.core.timeframe import Timeframe
from weaver.data.build_series import Column, Table, check_series, timeframe_of_tables, to_series, with_instants
from weaver.data.columns import map_columns
from weaver.data.limits import check_columns, check_symbols
from weaver.data.loader_process import load_in_new_process, needs_new_process
from weaver.data.numeric_times import TimeUnit, time_unit_of
from weaver.data.parquet_file import LONGEST_CAUSE, read_parquet
from weaver.data.selection import Selection, about
from weaver.data.symbol_groups import check_labels, rows_by_symbol
from weaver.data.timestamps import check_zone

__all__ = ["DEFAULT_SYMBOL", "load_bars"]

DEFAULT_SYMBOL = "ASSET"
"""The symbol of a frame without a symbol column, unless `symbols` names one."""


def load_bars(
    bars: object,
    *,
    symbols: Sequence[str] | None = None,
    timeframe: str | Timeframe | None = None,
    start: datetime | date | str | int | None = None,
    end: datetime | date | str | int | None = None,
    calendar: SessionCalendar | None = None,
    tz: str | None = None,
    time_unit: str | None = None,
    instrument: Instrument | Mapping[str, Instrument] | None = None,
    history: int | datetime | date | str | None = None,
) -> dict[str, BarSeries]:
    """Return the bars by symbol, in the order of `symbols`, else of the mapping, else of first appearance.

    `start` and `end` select bars whose start is in [start, end). `tz` is the zone of times that have none. The
    timeframe is the commonest spacing unless given, the same for all symbols. `history` adds bars before `start`: a number
    of bars of each symbol, or the instant of the first one; `BarSeries.history` counts them.

    Raises DataError (with row, value and way out), OffGridError, UnknownSymbol, NoBars, NaiveDatetimeError, ConfigError.
    """
    arguments = {name: value for name, value in locals().items() if name != "bars"}
    if needs_new_process(bars):
        return load_in_new_process(bars, arguments)
    if tz is not None:
        check_zone(tz)
    unit = time_unit_of(time_unit)
    wanted = _wanted(symbols)
    explicit = None if timeframe is None else Timeframe.of(timeframe)
    start_ns, end_ns = _bound(start, tz, "start"), _bound(end, tz, "end")
    if start_ns is not None and end_ns is not None and start_ns >= end_ns:
        raise ConfigError(f"start={format_ns(start_ns)} is not before end={format_ns(end_ns)}: there is no bar between")
    history_bars, history_ns = _history(history, start_ns, tz)
    tables = _tables(bars, wanted, _TextOptions(tz, explicit, calendar, unit))
    if wanted is not None:
        tables = [_pick(tables, symbol) for symbol in wanted]
    check_symbols([table.symbol for table in tables], "bars")
    if not tables:
        raise NoBars("there are no bars: the mapping or frame is empty")
    instruments = _instruments(instrument, [table.symbol for table in tables])
    intraday = None if explicit is None else explicit.is_intraday
    timed = {
        table.symbol: with_instants(table, tz=tz, intraday=intraday, time_unit=unit)
        for table in tables
        if not isinstance(table, BarSeries)
    }
    empty = [symbol for symbol, rows in timed.items() if not len(rows.starts)]
    if empty and len(empty) == len(tables):
        raise NoBars(f"{listed(empty)}: there are no bars")
    frame = explicit or _known_timeframe(tables) or timeframe_of_tables(timed.values())
    inferred = explicit is None and all(table.timeframe is None for table in tables)
    terms = {table.symbol: _with_quote(table, instruments) for table in tables}
    _check_quotes(terms)
    result: dict[str, BarSeries] = {}
    outside: list[str] = []
    for table in tables:
        starts = table.start if isinstance(table, BarSeries) else timed[table.symbol].starts
        low = 0 if start_ns is None else int(np.searchsorted(starts, start_ns))
        high = len(starts) if end_ns is None else int(np.searchsorted(starts, end_ns))
        if low >= high:
            span = f"from {format_ns(int(starts[0]))} to {format_ns(int(starts[-1]))}" if len(starts) else "nowhere"
            outside.append(f"{table.symbol} (its bars start {span})")
            continue
        begin = max(0, low - history_bars)
        if history_ns is not None:
            begin = min(low, int(np.searchsorted(starts, history_ns)))
        if isinstance(table, BarSeries):
            series = _again(table, frame, terms[table.symbol]).rows(begin, high)
        else:
            series = to_series(
                timed[table.symbol],
                timeframe=frame,
                inferred=inferred,
                low=begin,
                high=high,
                calendar=calendar,
                instrument=terms[table.symbol],
            )
        result[table.symbol] = series if begin == low else _replace(series, history=low - begin)
    if outside and (wanted is not None or not result):
        raise NoBars(f"no bars in the time asked for: {listed(outside)}")
    if outside:
        first = next(iter(result))
        note = f"left out, having no bars in the time asked for: {listed(outside)}"
        result[first] = _replace(result[first], notes=(*result[first].notes, note))
    return result


@dataclass(frozen=True, slots=True)
class _TextOptions:
    """Options for reading a text file."""

    tz: str | None
    timeframe: Timeframe | None
    calendar: SessionCalendar | None
    time_unit: TimeUnit | None


def _wanted(symbols: Sequence[str] | None) -> list[str] | None:
    if symbols is None:
        return None
    if not isinstance(symbols, Iterable) or isinstance(symbols, Set):  # a set has no order, and the run's needs one
        raise ConfigError(f"symbols={brief(symbols)}: give a list, whose order is the run's, such as ['AAPL', 'IBM']")
    wanted = [symbols] if isinstance(symbols, str) else list(symbols)
    for symbol in wanted:
        if not isinstance(symbol, str):
            raise ConfigError(f"symbols={brief(wanted)}: {brief(symbol)} is not a string")
    if not wanted:
        raise ConfigError("symbols is empty; leave it out to take all symbols")
    twice = {symbol for symbol in wanted if wanted.count(symbol) > 1}
    if twice:
        raise ConfigError(f"symbols names {', '.join(sorted(twice))} twice")
    return wanted


def _known_timeframe(tables: Sequence[Table | BarSeries]) -> Timeframe | None:
    known = {table.timeframe: table.symbol for table in tables if table.timeframe is not None}
    if len(known) > 1:
        listed = ", ".join(f"{symbol} {timeframe}" for timeframe, symbol in known.items())
        raise DataError(f"the symbols have bars of different timeframes ({listed}); all symbols of a run share one")
    return next(iter(known), None)


def _bound(value: datetime | date | str | int | None, tz: str | None, name: str) -> int | None:
    if value is None:
        return None
    if tz is not None and isinstance(value, str):
        try:
            parsed = datetime.fromisoformat(value.strip())
        except ValueError:
            return to_ns(value)
        # A bare date names a day of bars, as it does without tz; only a time of day needs the zone.
        value = parsed if len(value.strip()) > 10 else value
    if tz is not None and isinstance(value, datetime) and value.tzinfo is None:
        value = value.replace(tzinfo=ZoneInfo(tz))
    try:
        return to_ns(value)
    except ConfigError as error:
        raise type(error)(f"{name}: {error}") from None


def _history(
    history: int | datetime | date | str | None, start_ns: int | None, tz: str | None
) -> tuple[int, int | None]:
    """Return (bars, instant in ns) that `history` means; (0, None) without any. Raises ConfigError."""
    if history is None:
        return 0, None
    if start_ns is None:
        raise ConfigError(f"history={brief(history)} is the bars before start=, which is missing; give start= as well")
    if isinstance(history, int | np.integer):
        if isinstance(history, bool) or history < 0:
            raise ConfigError(
                f"history={brief(history)}: give a number of bars (zero or more) or the instant of the first one"
            )
        return int(history), None
    history_ns = _bound(history, tz, "history")
    if history_ns is not None and history_ns > start_ns:
        raise ConfigError(
            f"history={format_ns(history_ns)} is after start={format_ns(start_ns)}; it is the first bar of the history, "
            "before the start"
        )
    return 0, history_ns


def _tables(bars: object, wanted: list[str] | None, how: _TextOptions) -> list[Table | BarSeries]:
    if isinstance(bars, BarSeries):
        return [check_series(bars)]
    if isinstance(bars, Selection):
        for symbol in wanted or ():
            if symbol not in bars.symbols:
                raise unknown_symbol(symbol, bars.symbols, "the data")
        return [
            Table(
                symbol=part.symbol,
                columns=_of_polars(part.frame),
                source=part.source,
                notes=part.notes,
                timeframe=bars.timeframe,
            )
            for part in bars.load(wanted)
        ]
    if isinstance(bars, Mapping):
        tables = []
        for symbol, value in bars.items():
            if not isinstance(symbol, str):
                raise DataError(
                    f"bars: the key {brief(symbol)} is not a symbol; give a mapping such as {{'AAPL': frame}}"
                )
            tables.append(_named(_tables(value, None, how), symbol))
        return tables
    if isinstance(bars, str | os.PathLike):
        return _of_path(Path(bars), wanted, how)
    only = wanted[0] if wanted and len(wanted) == 1 else DEFAULT_SYMBOL
    if isinstance(bars, pl.LazyFrame):
        check_columns(len(bars.collect_schema()), "the Polars frame")
        bars = bars.collect()
    if isinstance(bars, pl.DataFrame):
        return _split(_of_polars(bars), "Polars frame", only)
    if type(bars).__module__.split(".")[0] == "pandas":
        from weaver.data.pandas_frames import columns_of

        return _split(columns_of(bars), "pandas frame", only)
    raise DataError(
        f"bars is a {type(bars).__name__}; give a Polars or pandas frame, a path to a Parquet or CSV file, a catalog "
        "selection, or a mapping of symbols to any of these"
    )


def _of_path(path: Path, wanted: list[str] | None, how: _TextOptions) -> list[Table | BarSeries]:
    from weaver.data.importer.table_reader import check_file, is_parquet

    check_file(path)
    only = wanted[0] if wanted and len(wanted) == 1 else path.name.split(".")[0]
    if is_parquet(path):
        frame = read_parquet(path)
        try:
            origin = str(about(path).get("origin", ""))
        except (pl.exceptions.PolarsError, OSError, ValueError) as error:
            raise DataError(f"{path}: cannot be read as Parquet: {cut_middle(str(error), LONGEST_CAUSE)}") from None
        tables = _split(_of_polars(frame), str(path), only)
        if origin.startswith("synthetic"):
            source = f"{path}, {origin}"
            tables = [
                _replace(table, source=source, notes=(f"{table.symbol}: {origin}, no market data",)) for table in tables
            ]
        return tables
    from weaver.data.importer.importer import bars_for_run

    report, parts = bars_for_run(
        path, tz=how.tz, timeframe=how.timeframe, calendar=how.calendar, time_unit=how.time_unit
    )
    if not (wanted and len(wanted) == 1):
        only = report.symbol or only
    return [
        Table(
            symbol=part.symbol or only,
            columns=_of_polars(part.frame),
            source=str(path),
            notes=report.notes,
            checked=part.timeframe,
        )
        for part in parts
    ]


def _of_polars(frame: pl.DataFrame) -> dict[str, Column]:
    check_columns(frame.width, "the Polars frame")
    return {name: frame[name] for name in frame.columns}


def _split(columns: Mapping[str, Column], source: str, only: str) -> list[Table | BarSeries]:
    """Return one table for each symbol of the symbol column, or one called `only`."""
    index = map_columns(columns, where=source).symbol
    if index is None:
        return [Table(symbol=only, columns=columns, source=source)]
    name = list(columns)[index]
    column = columns[name]
    labels = (column if isinstance(column, pl.Series) else pl.Series(name, [str(value) for value in column])).cast(
        pl.String
    )
    if labels.null_count():
        row = int(np.flatnonzero(labels.is_null().to_numpy())[0])
        raise DataError(f"{source}: column {brief(name)} is empty in row {row}; every bar needs its symbol")
    others = {key: value for key, value in columns.items() if key != name}
    check_labels(labels, source)
    runs = labels.rle().struct.unnest()
    tables: list[Table | BarSeries] = []
    if len(runs) == labels.n_unique():  # sorted by symbol: slices share the frame's memory
        offsets = np.concatenate(([0], np.cumsum(runs["len"].to_numpy().astype(np.int64))))
        for number, symbol in enumerate(runs["value"].to_list()):
            low, high = int(offsets[number]), int(offsets[number + 1])
            part = {key: value[low:high] for key, value in others.items()}
            tables.append(Table(symbol=symbol, columns=part, source=source))
        return tables
    for symbol, rows in rows_by_symbol(labels).items():
        part = {
            key: value.gather(rows) if isinstance(value, pl.Series) else value[rows] for key, value in others.items()
        }
        tables.append(Table(symbol=symbol, columns=part, source=source))
    return tables


def _named(tables: list[Table | BarSeries], symbol: str) -> Table | BarSeries:
    if len(tables) > 1:
        return _pick(tables, symbol)
    renamed: Table | BarSeries = _replace(tables[0], symbol=symbol)
    return renamed


def _pick(tables: list[Table | BarSeries], symbol: str) -> Table | BarSeries:
    for table in tables:
        if table.symbol == symbol:
            return table
    raise unknown_symbol(symbol, [table.symbol for table in tables], "the data")


def _instruments(
    instruments: Instrument | Mapping[str, Instrument] | None, symbols: list[str]
) -> dict[str, Instrument]:
    if instruments is None:
        return {}
    if isinstance(instruments, Instrument):
        return dict.fromkeys(symbols, instruments)
    if not isinstance(instruments, Mapping):
        raise ConfigError(
            f"instrument={brief(instruments)}: give an Instrument for all symbols, or a mapping of symbols to theirs"
        )
    for symbol, instrument in instruments.items():
        if symbol not in symbols:
            raise UnknownSymbol(f"instrument: {unknown_symbol(symbol, symbols, 'the data')}")
        if not isinstance(instrument, Instrument):
            raise ConfigError(f"instrument: the value for {brief(symbol)} is not an Instrument: {brief(instrument)}")
    return dict(instruments)


def _with_quote(table: Table | BarSeries, instruments: Mapping[str, Instrument]) -> Instrument:
    """Return the instrument of instrument symbol; without a quote it gets the instrument that the symbol's name says."""
    known = table.instrument if isinstance(table, BarSeries) else Instrument()
    instrument = instruments.get(table.symbol, known)
    quote = instrument.quote or known.quote or quote_of(table.symbol)
    return instrument if quote == instrument.quote else replace(instrument, quote=quote)


def _check_quotes(instruments: Mapping[str, Instrument]) -> None:
    """Refuse symbols whose prices are in different currencies: the account would add them up as one."""
    first: dict[str, str] = {}
    for symbol, instrument in instruments.items():
        if instrument.quote is not None:
            first.setdefault(instrument.quote, symbol)
    if len(first) > 1:
        (ours, symbol), (theirs, other) = list(first.items())[:2]
        raise DataError(
            f"{symbol} is quoted in {ours} and {other} in {theirs}: one account has one currency, and amounts are not "
            f"converted; run them apart, or, where the prices of {other} are in {ours} in truth, say so: "
            f"instrument={{{brief(other)}: Instrument(quote={brief(ours)})}} (on the command line --quote {ours})"
        )


def _again(series: BarSeries, timeframe: Timeframe, instrument: Instrument) -> BarSeries:
    if series.timeframe != timeframe:
        raise DataError(
            f"{series.symbol} has {series.timeframe} bars, the run {timeframe}; all symbols share one timeframe"
        )
    return series if instrument == series.instrument else _replace(series, instrument=instrument)


def _replace(table: Any, **changes: object) -> Any:
    return replace(table, **changes)
