"""`weaver data`: imports, lists, checks and shows bars. Results go to standard output, errors to standard error."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import click

from weaver.cli.options import TIME_UNITS
from weaver.cli.output import echo, echo_text, sparkline, table
from weaver.cli.sources import FILE
from weaver.core.errors import DataError, WeaverError
from weaver.core.text import visible

if TYPE_CHECKING:
    from weaver.core.calendar import SessionCalendar
    from weaver.data.catalog import Catalog, Entry
    from weaver.data.importer.importer import ImportReport

__all__ = ["data"]

_CATALOG_HELP = "The catalog's folder.  [default: $WEAVER_HOME/catalog, else the user's data folder]"
_GAPS_SHOWN = 5
_ROWS_SHOWN = 3

_catalog_option = click.option("--catalog", "root", metavar="DIR", type=click.Path(file_okay=False), help=_CATALOG_HELP)


@click.group(short_help="Import, list, check and show bars.")
def data() -> None:
    """Import, list, check and show bars. docs/data.md describes the formats, the repairs and the catalog."""


@data.command("import")
@click.argument("files", nargs=-1, required=True, metavar="FILE...", type=FILE)
@click.option("--symbol", "-s", help="Symbol of the bars. Not needed where a column holds it.")
@click.option("--timeframe", "-t", help="Length of a bar, such as 1m, 1h or 1d.  [default: the most common spacing]")
@click.option("--tz", metavar="ZONE", help="Time zone of timestamps without one, such as America/New_York or UTC.")
@click.option("--time-unit", type=click.Choice(TIME_UNITS), metavar="UNIT", help="Unit of times that are numbers: "
              "s, ms, us, ns, excel or matlab.  [default: by their size, where clear]")  # fmt: skip
@click.option("--dry-run", is_flag=True, help="Print the changes without writing them.")
@click.option(
    "--fix",
    "fixes",
    multiple=True,
    metavar="NAME",
    help="Allow this repair. Repeat for several; --list-fixes lists them.",
)
@click.option("--list-fixes", is_flag=True, is_eager=True, expose_value=False, callback=lambda c, _, v: _list_fixes(c, v),
              help="List the repairs and exit.")  # fmt: skip
@click.option("--ambiguous", type=click.Choice(["refuse", "earlier", "later", "infer"]), default="refuse", show_default=True,
              help="Reading of a local hour that occurs twice; infer uses the order of the lines.")  # fmt: skip
@click.option("--dates", type=click.Choice(["day-first", "month-first"]), help="Order of day and month in 01/02/2024.")
@click.option("--decimal", type=click.Choice(["point", "comma"]), help="Decimal sign, where the file is ambiguous.")
@click.option(
    "--columns", metavar="NAMES", help="Names of the columns in order, separated by commas, in place of a header."
)
@click.option("--calendar", metavar="NAME", help="Exchange whose sessions the bars follow, such as XNYS.")
@click.option("--on-conflict", type=click.Choice(["refuse", "keep-old", "take-new"]), default="refuse", show_default=True,
              help="Handling of bars that exist with other values.")  # fmt: skip
@_catalog_option
def import_(
    files: tuple[str, ...],
    symbol: str | None,
    timeframe: str | None,
    tz: str | None,
    time_unit: str | None,
    dry_run: bool,
    fixes: tuple[str, ...],
    ambiguous: str,
    dates: str | None,
    decimal: str | None,
    columns: str | None,
    calendar: str | None,
    on_conflict: str,
    root: str | None,
) -> None:
    """Read CSV or Parquet files and add their bars to the catalog.

    A file is read exactly, repaired only as --fix allows, or refused with line, value and reason. Nothing is written unless
    every file is accepted. Importing the same file again changes nothing.
    """
    from weaver.core.timeframe import Timeframe
    from weaver.data.catalog import Catalog, Conflict
    from weaver.data.importer.findings import FileRefusal
    from weaver.data.importer.importer import ImportOptions, import_files
    from weaver.data.numeric_times import time_unit_of
    from weaver.data.timestamps import Ambiguous

    sessions = None
    if calendar is not None:
        from weaver.glados.clock.calendars import get_calendar

        sessions = get_calendar(calendar)
    options = ImportOptions(
        symbol=symbol,
        timeframe=None if timeframe is None else Timeframe.of(timeframe),
        tz=tz,
        time_unit=time_unit_of(time_unit),
        fixes=frozenset(fixes),
        ambiguous=Ambiguous(ambiguous),
        day_first=None if dates is None else dates == "day-first",
        decimal=None if decimal is None else {"point": ".", "comma": ","}[decimal],
        columns=None if columns is None else tuple(name.strip() for name in columns.split(",")),
        on_conflict=Conflict(on_conflict),
        calendar=sessions,
    )
    paths = [Path(name).expanduser() for name in files]
    catalog = Catalog(root)
    try:
        with _steps(2 * len(paths) + 1) as step:
            report = import_files(paths, catalog, options, dry_run=dry_run, progress=step)
    except FileRefusal as refusal:
        for line in (refusal.summary, *(f"  {text}" for text in refusal.listing)):
            echo(line, err=True)
        raise DataError(f"nothing was imported; {'; or '.join(refusal.ways)}") from None
    _print_report(report, catalog)


@data.command("list")
@_catalog_option
def list_(root: str | None) -> None:
    """List the symbols in the catalog, with their timeframe and first and last bar."""
    from weaver.core.instants import format_ns

    catalog = _open(root)
    entries, broken = catalog.survey()
    if not entries and not broken:
        echo(f"the catalog {catalog.root} is empty; fill it with: weaver data import FILE --symbol S --timeframe 1d")
        return
    rows: list[tuple[str, ...]] = []
    for entry in entries:
        first, last = format_ns(entry.first), format_ns(entry.last)
        rows.append(
            (
                entry.symbol,
                str(entry.timeframe),
                f"{entry.bars:,}",
                first,
                last,
                entry.origin if entry.synthetic else "",
            )
        )
    echo_text(table(rows, ("symbol", "timeframe", "bars", "first", "last", "")))
    _say_broken(broken)


@data.command("check")
@click.argument("symbols", nargs=-1, metavar="[SYMBOL...]")
@_catalog_option
def check(symbols: tuple[str, ...], root: str | None) -> None:
    """Check the bars in the catalog: readable, in order, valid prices, on the grid. Gaps are reported."""
    catalog = _open(root)
    everything, broken = catalog.survey()
    entries = [entry for entry in everything if not symbols or entry.symbol in symbols]
    for symbol in symbols:
        if not any(entry.symbol == symbol for entry in entries):
            catalog.select(symbol)  # raises, with the nearest name
    faults = 0
    with _steps(len(entries)) as step:
        for entry in entries:
            step(f"checking {entry.symbol}")
            wrong = catalog.check(entry, _calendar_of(entry))
            faults += bool(wrong)
            echo(f"{entry.symbol} {entry.timeframe}: {entry.bars:,} bars, " + ("wrong" if wrong else "right"))
            for text in wrong or _oddities(catalog, entry):
                echo(f"  {text}")
    if not symbols:
        _say_broken(broken)
    if faults:
        are = "is" if faults == 1 else "are"
        raise DataError(
            f"{faults} of {len(entries)} files in the catalog {catalog.root} {are} wrong; remove what is wrong, and "
            "import it again"
        )


@data.command("show")
@click.argument("symbol")
@click.option("--timeframe", "-t", help="Timeframe of the bars, where the catalog has several.")
@click.option("--adjusted", is_flag=True, help="Adjust the prices by adj_close.")
@_catalog_option
def show(symbol: str, timeframe: str | None, adjusted: bool, root: str | None) -> None:
    """Show a symbol's first and last bars, its gaps, and a sparkline of its closes.

    demo:AAPL shows included bars.
    """
    from weaver.core.durations import duration_text
    from weaver.core.instants import format_ns
    from weaver.data.gap_notes import find_gaps
    from weaver.data.load_bars import load_bars
    from weaver.data.shipped import shipped_bars

    calendar = None
    if symbol.startswith("demo:"):
        selection = shipped_bars(symbol.removeprefix("demo:"), adjusted=adjusted)
    else:
        catalog = _open(root)
        selection = catalog.select(symbol, timeframe, adjusted=adjusted)
        calendar = _calendar_of(catalog.entry(symbol, selection.timeframe))
    (series,) = load_bars(selection, timeframe=selection.timeframe, calendar=calendar).values()
    echo(f"{series.symbol} {series.timeframe}: {len(series):,} bars from {format_ns(int(series.start[0]))} to "
               f"{format_ns(int(series.start[-1]))} (starts of bars); {series.source}")  # fmt: skip
    echo(sparkline(series.close.tolist()))
    shown = [*range(min(_ROWS_SHOWN, len(series))), *range(max(_ROWS_SHOWN, len(series) - _ROWS_SHOWN), len(series))]
    names = list(series.columns())
    rows: list[tuple[str, ...]] = []
    for place, row in enumerate(shown):
        if place == _ROWS_SHOWN and row > _ROWS_SHOWN:
            rows.append(("...", *("" for _ in names)))
        rows.append(
            (
                format_ns(int(series.start[row])),
                *(f"{float(values[row]):,.10g}" for values in series.columns().values()),
            )
        )
    echo_text(table(rows, ("start", *names)))
    gaps = find_gaps(series.start, series.end, series.timeframe, calendar)
    for gap in sorted(gaps, key=lambda gap: (-gap.length, gap.start))[:_GAPS_SHOWN]:
        echo(f"gap of {duration_text(gap.length)} from {format_ns(gap.start)}")
    if len(gaps) > _GAPS_SHOWN:
        echo(f"and {len(gaps) - _GAPS_SHOWN:,} shorter gaps or as long")
    for note in (*series.notes, *series.warnings):
        echo(f"note: {note}")


@data.command("synth")
@click.option("--symbol", "-s", default="SYNTH", show_default=True, help="Symbol of the bars.")
@click.option("--bars", "count", type=click.IntRange(1, 100_000_000), default=100_000, show_default=True)
@click.option("--timeframe", "-t", default="1m", show_default=True, help="Length of a bar.")
@click.option(
    "--seed", type=click.IntRange(min=0), default=0, show_default=True, help="Seed; the same seed gives the same bars."
)
@click.option("--start", default="2020-01-01", show_default=True, help="First bar: a date, or a time with its offset.")
@click.option("--price", type=float, default=100.0, show_default=True, help="Open of the first bar.")
@click.option("--volatility", type=float, default=0.6, show_default=True, help="Annual volatility; 0.6 is 60 %.")
@click.option(
    "--output", "-o", metavar="FILE", type=click.Path(), help="Write a .parquet or .csv file instead of the catalog."
)
@_catalog_option
def synth(
    symbol: str,
    count: int,
    timeframe: str,
    seed: int,
    start: str,
    price: float,
    volatility: float,
    output: str | None,
    root: str | None,
) -> None:
    """Generate synthetic bars, a seeded random walk, for tests of size and speed.

    They are labelled as synthetic everywhere.
    """
    from weaver.core.instants import to_ns
    from weaver.data.catalog import Catalog, write_parquet
    from weaver.data.synthetic import SYNTHETIC_ORIGIN, synthetic_bars

    bars = synthetic_bars(
        count, symbol=symbol, timeframe=timeframe, seed=seed, start=to_ns(start), price=price, volatility=volatility
    )
    origin = f"{SYNTHETIC_ORIGIN} {seed}"
    if output is None:
        catalog = Catalog(root)
        merge = catalog.write(symbol, timeframe, bars.drop("symbol"), origin=origin)
        where = f"{catalog.path(symbol, timeframe)}" + ("" if merge.changes else " (it was there already)")
    elif Path(output).suffix.lower() == ".csv":
        try:
            bars.write_csv(output)
        except OSError as error:
            raise DataError(f"{output}: cannot be written: {error}") from None
        where = f"{output} (a CSV file cannot say that its bars are synthetic: its name should)"
    else:
        write_parquet(Path(output), bars, {"origin": origin})
        where = output
    echo(f"{count:,} synthetic {timeframe} bars of {symbol} (no market data): {where}")


def _list_fixes(context: click.Context, given: bool) -> None:
    if given:
        from weaver.data.importer.repairs import FIXES

        echo_text(table((name, fix.does) for name, fix in FIXES.items()))
        context.exit()


def _open(root: str | None) -> Catalog:
    from weaver.data.catalog import Catalog

    return Catalog(root)


def _calendar_of(entry: Entry) -> SessionCalendar | None:
    """Return the calendar that the bars were imported with."""
    if entry.calendar is None:
        return None
    from weaver.glados.clock.calendars import get_calendar

    return get_calendar(entry.calendar)


def _say_broken(broken: Sequence[str]) -> None:
    """Raise for files of the catalog that cannot be read, after the others have been printed."""
    for text in broken[1:]:
        echo(text, err=True)
    if broken:
        raise DataError(broken[0])


def _oddities(catalog: Catalog, entry: Entry) -> list[str]:
    from weaver.data.load_bars import load_bars

    bars = catalog.select(entry.symbol, entry.timeframe)
    try:
        (series,) = load_bars(bars, timeframe=entry.timeframe, calendar=_calendar_of(entry)).values()
    except WeaverError as error:
        return [str(error)]
    return [note for note in (*series.notes, *series.warnings) if not note.startswith("timeframe ")]


def _print_report(report: ImportReport, catalog: Catalog) -> None:
    for file in report.files:
        echo(f"{file.file}: {file.rows:,} bars understood")
        for text in (*file.notes, *map(str, file.repairs)):
            echo(f"  {text}")
    for text in report.notes:
        echo(text)
    for part in report.symbols:
        done = "" if report.written else "would be "
        echo(f"{part.symbol} {part.timeframe}: {part.merge.added:,} bars {done}added, {part.merge.overlap}; "
                   f"{part.merge.after:,} bars in {catalog.path(part.symbol, part.timeframe)}")  # fmt: skip
        for text in part.notes:
            echo(f"  {text}")
    if not report.written:
        echo("dry run: nothing was written")


@contextmanager
def _steps(total: int) -> Iterator[Callable[[str], None]]:
    """Yield a function to call before each step; after two seconds it draws a progress bar on a terminal."""
    if sys.stderr is None or not sys.stderr.isatty():  # None in a process without one (2>&-, a service)
        yield lambda _: None
        return
    from tqdm import tqdm

    with tqdm(total=total, delay=2, leave=False, dynamic_ncols=True, file=sys.stderr) as bar:

        def step(what: str) -> None:
            bar.set_description(visible(what))
            bar.update()

        yield step
