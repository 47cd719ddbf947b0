"""Import CSV and Parquet files: read them, check their bars and add these to the catalog.

Guarantees that a file is read exactly, repaired only as named, or refused by line, value and reason; that nothing is
written unless every file was accepted; and that importing the same files again changes nothing. Bars from here are checked;
`load_bars` does not check them again.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import polars as pl

from weaver.core.calendar import SessionCalendar
from weaver.core.errors import BarsRefused, DataError, NaiveDatetimeError
from weaver.core.fork_safety import check_fork
from weaver.core.text import brief, cut
from weaver.core.timeframe import Timeframe
from weaver.data.catalog import Catalog, Conflict, Merge, merge_bars
from weaver.data.gap_notes import notes_about, split_warnings
from weaver.data.importer.findings import FileRefusal, FindingCode
from weaver.data.importer.parser import ParseOptions, parse
from weaver.data.importer.repairs import Repair, check_fixes
from weaver.data.importer.table_reader import read_table
from weaver.data.importer.validator import ValidatedBars, validate
from weaver.data.numeric_times import TimeUnit
from weaver.data.timestamps import Ambiguous, check_zone

__all__ = ["FileReport", "ImportOptions", "ImportReport", "SymbolReport", "bars_for_run", "import_files", "read_bars"]


_SHOWN_FOR_RUN = 3


@dataclass(frozen=True, slots=True, kw_only=True)
class ImportOptions:
    """Options of an import. `symbol` may be left out where the file names it; `timeframe` may always be left out."""

    symbol: str | None = None
    timeframe: Timeframe | None = None
    tz: str | None = None
    fixes: frozenset[str] = frozenset()
    ambiguous: Ambiguous = Ambiguous.REFUSE
    day_first: bool | None = None
    decimal: str | None = None
    columns: tuple[str, ...] | None = None
    on_conflict: Conflict = Conflict.REFUSE
    calendar: SessionCalendar | None = None
    time_unit: TimeUnit | None = None

    def __post_init__(self) -> None:
        check_fixes(self.fixes)
        if self.tz is not None:
            check_zone(self.tz)


@dataclass(frozen=True, slots=True)
class FileReport:
    """One file: how many bars it has, how it was read, and its repairs.

    `symbol` is the symbol that a header of several lines names (yfinance), not that of a column.
    """

    file: str
    rows: int
    notes: tuple[str, ...]
    repairs: tuple[Repair, ...]
    symbol: str | None = None


@dataclass(frozen=True, slots=True)
class SymbolReport:
    """One symbol: `merge` compares with the bars in the catalog, `notes` name gaps and odd bars."""

    symbol: str
    timeframe: Timeframe
    merge: Merge
    notes: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class ImportReport:
    """The result of an import; `written` is False for a dry run."""

    files: tuple[FileReport, ...]
    symbols: tuple[SymbolReport, ...]
    written: bool
    notes: tuple[str, ...] = field(default=())


def read_bars(path: Path, options: ImportOptions) -> tuple[FileReport, list[ValidatedBars]]:
    """Return the checked bars of one file, by symbol.

    Raises FileRefusal (a DataError) with lines, values, reasons and ways out, and DataError for an unreadable file.
    """
    raw = read_table(path, columns=options.columns)
    parse_options = ParseOptions(
        tz=options.tz,
        timeframe=options.timeframe,
        ambiguous=options.ambiguous,
        day_first=options.day_first,
        decimal=options.decimal,
        fixes=options.fixes,
        time_unit=options.time_unit,
    )
    rows = parse(raw, parse_options)
    parts = validate(rows, options.fixes, options.timeframe, options.calendar)
    notes = list(rows.notes)
    if options.timeframe is None:
        notes.append(f"timeframe {parts[0].timeframe}: the commonest spacing of the bars")
    count = sum(part.frame.height for part in parts)
    return FileReport(str(path), count, tuple(notes), parts[0].repairs, raw.symbol), parts


def import_files(
    paths: Sequence[Path],
    catalog: Catalog,
    options: ImportOptions,
    *,
    dry_run: bool = False,
    progress: Callable[[str], None] = lambda _: None,
) -> ImportReport:
    """Read all files and add their bars to the catalog; with `dry_run` report only, and write nothing.

    `progress` is called before each step with its name. Nothing is written unless every file is accepted.
    """
    check_fork("importing files")
    files: list[FileReport] = []
    gathered: dict[tuple[str, str], pl.DataFrame] = {}
    notes: list[str] = []
    for path in paths:
        progress(f"reading {path.name}")
        report, parts = read_bars(path, options)
        files.append(report)
        chosen, left = _for_symbol(path, parts, options.symbol, report.symbol)
        notes += left
        for symbol, part in chosen:
            key = (symbol, str(part.timeframe))
            if key in gathered:
                what = f"{path} and the files before it"
                gathered[key], merge = merge_bars(gathered[key], part.frame, options.on_conflict, what=what)
                if merge.identical or merge.replaced or merge.kept:
                    notes.append(f"{path}: {symbol}: {merge.overlap}")
            else:
                gathered[key] = part.frame
    # All of the merging against the catalog is tried before the first file is replaced.
    reports = []
    sources = tuple(path.name for path in paths)
    for (symbol, text), frame in gathered.items():
        progress(f"checking {symbol}")
        timeframe = Timeframe.of(text)
        merge = catalog.try_write(symbol, timeframe, frame, on_conflict=options.on_conflict)
        reports.append(
            SymbolReport(symbol, timeframe, merge, tuple(_oddities(symbol, timeframe, frame, options.calendar)))
        )
    if not dry_run:
        for (symbol, text), frame in gathered.items():
            progress(f"writing {symbol}")
            calendar = None if options.calendar is None else options.calendar.name
            catalog.write(
                symbol,
                Timeframe.of(text),
                frame,
                sources=sources,
                calendar=calendar,
                on_conflict=options.on_conflict,
            )
    return ImportReport(tuple(files), tuple(reports), written=not dry_run, notes=tuple(notes))


def bars_for_run(
    path: Path,
    *,
    tz: str | None,
    timeframe: Timeframe | None,
    calendar: SessionCalendar | None,
    time_unit: TimeUnit | None = None,
) -> tuple[FileReport, list[ValidatedBars]]:
    """Return `read_bars` of a CSV file that is passed to a backtest.

    Raises BarsRefused in one line, and NaiveDatetimeError with the corrected call for times without a zone.
    """
    try:
        return read_bars(path, ImportOptions(tz=tz, timeframe=timeframe, calendar=calendar, time_unit=time_unit))
    except FileRefusal as error:
        if error.codes == (FindingCode.NAIVE,):
            raise NaiveDatetimeError(
                f"{path}: the times have no time zone ({error.listing[0]}); say which one they are in: "
                'backtest(..., tz="America/New_York"), or tz="UTC" (on the command line --tz UTC)'
            ) from None
        listing = "; ".join(error.listing[:_SHOWN_FOR_RUN])
        raise BarsRefused(
            f"{error.summary}: {listing}{'; ...' if len(error.listing) > _SHOWN_FOR_RUN else ''}; "
            f"import it with: weaver data import {path.name}; {'; or '.join(error.ways)}"
        ) from error


def _for_symbol(
    path: Path, parts: list[ValidatedBars], symbol: str | None, header_symbol: str | None
) -> tuple[list[tuple[str, ValidatedBars]], list[str]]:
    if len(parts) == 1 and parts[0].symbol is None:
        symbol = symbol or header_symbol
        if symbol is None:
            raise DataError(f"{path}: no column names the symbol; say it: --symbol AAPL")
        return [(symbol, parts[0])], []
    named = [(part.symbol or "", part) for part in parts]
    if symbol is None:
        return named, []
    chosen = [(name, part) for name, part in named if name == symbol]
    if not chosen:
        listed = ", ".join(cut(name) for name, _ in named[:8])
        raise DataError(
            f"{path}: its column of symbols has {listed}, but not {brief(symbol)}; leave --symbol out to import them all"
        )
    left = sum(part.frame.height for name, part in named if name != symbol)
    return chosen, [
        f"{path}: {left:,} rows of other symbols are not imported, since --symbol says {symbol}"
    ] if left else []


def _oddities(symbol: str, timeframe: Timeframe, frame: pl.DataFrame, calendar: SessionCalendar | None) -> list[str]:
    starts = frame["timestamp"].to_physical().to_numpy() * 1_000
    ends = starts + timeframe.ns if calendar is None else calendar.bar_ends(starts, timeframe)
    columns = {name: frame[name].to_numpy() for name in ("open", "high", "low", "close", "volume")}
    notes = notes_about(symbol, timeframe, starts, ends, columns, calendar)
    adjusted = frame["adj_close"].cast(pl.Float64).to_numpy() if "adj_close" in frame.columns else None
    return notes + split_warnings(symbol, starts, columns["open"], columns["close"], adjusted)
