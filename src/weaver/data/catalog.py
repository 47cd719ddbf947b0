"""Catalog: bars on disk, a folder for each symbol and timeframe, in it one Parquet file.

Guarantees that a reader, or the next start after a kill, finds either all old bars or all new ones: a new file is
flushed to the disk and replaces the old one in one step. Writers of one symbol wait for each other (on
POSIX systems).

    ROOT/BTC%2FUSD/1m/bars.parquet        timestamp (Datetime microseconds UTC, start of the bar), open, high, low,
    close,
                                          volume, further columns (float64); symbol, timeframe, sources, origin as
                                          metadata
"""

from __future__ import annotations

import contextlib
import json
import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import quote, unquote

import polars as pl

from weaver.core.calendar import SessionCalendar
from weaver.core.errors import DataError, OffGridError, TimeframeError
from weaver.core.files import make_private_folder, replacing
from weaver.core.fork_safety import check_fork
from weaver.core.suggest import unknown_symbol
from weaver.core.text import brief, cut_middle
from weaver.core.timeframe import Timeframe
from weaver.data.bar_checks import explain_bar, impossible_bars, unordered_rows
from weaver.data.merge import Conflict, Merge, merge_bars
from weaver.data.parquet_file import LONGEST_CAUSE, check_footer
from weaver.data.parquet_footer import FooterError, read_footer
from weaver.data.selection import METADATA_KEY, Selection, Stored, about
from weaver.home import data_folder
from weaver.private_home import is_in_home, secure_home

__all__ = [
    "Catalog",
    "Conflict",
    "Entry",
    "Merge",
    "default_root",
    "folder_name",
    "merge_bars",
    "symbol_of",
    "write_parquet",
]

_FILE = "bars.parquet"
_MAX_SOURCES = 50
_RESERVED = {"CON", "PRN", "AUX", "NUL", *(f"{kind}{n}" for kind in ("COM", "LPT") for n in range(1, 10))}


def default_root() -> Path:
    """Return the folder of the catalog in the data folder (WEAVER_HOME)."""
    return data_folder() / "catalog"


def folder_name(symbol: str) -> str:
    """Return a folder name for any symbol that every file system accepts: BTC/USD is BTC%2FUSD. `symbol_of` reverses it."""
    if not symbol or len(symbol.encode()) > 80:
        raise DataError(f"symbol {brief(symbol)}: a symbol has 1 to 80 bytes")
    name = quote(symbol, safe="")
    for char in "~":
        name = name.replace(char, f"%{ord(char):02X}")
    if name.startswith("."):
        name = "%2E" + name[1:]
    if name.endswith("."):
        name = name[:-1] + "%2E"
    if name.split(".")[0].upper() in _RESERVED:
        name = f"%{ord(name[0]):02X}" + name[1:]
    return name


def symbol_of(folder: str) -> str:
    """Return the symbol of a folder name that `folder_name` made."""
    return unquote(folder)


@dataclass(frozen=True, slots=True)
class Entry:
    """One symbol and timeframe in the catalog. `first` and `last` are starts of bars, nanoseconds UTC."""

    symbol: str
    timeframe: Timeframe
    path: Path
    bars: int
    first: int
    last: int
    columns: tuple[str, ...]
    sources: tuple[str, ...]
    origin: str
    calendar: str | None = None
    """The exchange whose sessions the bars follow, by the name that they were imported with."""

    @property
    def synthetic(self) -> bool:
        """Return whether the bars are not market data."""
        return self.origin.startswith("synthetic")


class Catalog:
    """The bars under one folder. Reading takes no lock; nothing is cached.

    In WEAVER_HOME, folders and files are private to their owner. Elsewhere they have the modes of the umask, so that several
    users may share a catalog.
    """

    def __init__(self, root: Path | str | None = None, *, at_step: Callable[[str], None] = lambda _: None) -> None:
        """`root` defaults to `default_root()` and need not exist. `at_step` is called with the name of each step of a write
        (locked, merged, written, flushed, replaced), so that a test can stop there."""
        self.root = default_root() if root is None else Path(root).expanduser()
        self._at_step = at_step
        self._is_private = is_in_home(self.root)

    def path(self, symbol: str, timeframe: str | Timeframe) -> Path:
        """Return the path of the bars, whether or not there is a file."""
        return self.root / folder_name(symbol) / str(Timeframe.of(timeframe)) / _FILE

    def list(self) -> Sequence[Entry]:
        """Return all entries, by symbol and length of the timeframe. Raises DataError for a broken file."""
        entries, broken = self.survey()
        if broken:
            raise DataError(broken[0])
        return entries

    def survey(self) -> tuple[Sequence[Entry], Sequence[str]]:
        """Return the entries of all readable files, and a sentence for each broken one."""
        entries, broken = [], []
        for path in self._files():
            try:
                entries.append(self._entry(path))
            except (DataError, TimeframeError) as error:
                broken.append(str(error) if isinstance(error, DataError) else f"{path}: {error}")
        return sorted(entries, key=lambda entry: (entry.symbol, entry.timeframe.ns)), broken

    def _files(self) -> Sequence[Path]:
        self._secure()
        if self.root.is_dir() and not os.access(self.root, os.R_OK | os.X_OK):  # which globbing takes for an empty one
            raise DataError(f"the catalog {self.root} cannot be read: no permission")
        return sorted(self.root.glob(f"*/*/{_FILE}"))

    def _secure(self) -> None:
        if self._is_private:
            secure_home(data_folder())

    def read(self, symbol: str, timeframe: str | Timeframe) -> pl.DataFrame:
        """Return the bars of one symbol. Raises UnknownSymbol."""
        self._known(symbol, timeframe)
        return _read(self.path(symbol, timeframe))

    def entry(self, symbol: str, timeframe: str | Timeframe) -> Entry:
        """Return the entry of one symbol. Raises UnknownSymbol."""
        self._known(symbol, timeframe)
        return self._entry(self.path(symbol, timeframe))

    def timeframes(self, symbol: str) -> Sequence[Timeframe]:
        """Return the timeframes of a symbol's bars, the shortest first."""
        folder = self.root / folder_name(symbol)
        return sorted(Timeframe.of(path.parent.name) for path in folder.glob(f"*/{_FILE}"))

    def select(
        self,
        symbols: str | Sequence[str] | None = None,
        timeframe: str | Timeframe | None = None,
        *,
        adjusted: bool = False,
    ) -> Selection:
        """Return bars for a backtest: of these symbols (all there are, alphabetically), as they are or adjusted.

        The timeframe may be left out where the symbols have one in common and no other. Raises UnknownSymbol,
        DataError.
        """
        known = sorted({symbol_of(path.parent.parent.name) for path in self._files()})
        wanted = [symbols] if isinstance(symbols, str) else known if symbols is None else list(symbols)
        if not known or not wanted:
            raise DataError(
                f"the catalog {self.root} is empty; fill it with: weaver data import FILE --symbol S --timeframe 1d"
            )
        for symbol in wanted:
            if symbol not in known:
                raise unknown_symbol(symbol, known, f"the catalog {self.root}")
        frame = self._common(wanted) if timeframe is None else Timeframe.of(timeframe)
        if timeframe is not None and symbols is None:
            wanted = [symbol for symbol in wanted if frame in self.timeframes(symbol)]
        stored = []
        for symbol in wanted:
            entry = self.entry(symbol, frame)
            note = (f"{symbol}: {entry.origin}, no market data",) if entry.synthetic else ()
            source = f"catalog: {symbol} {frame}" + (f", {entry.origin}" if entry.synthetic else "")
            stored.append(Stored(symbol=symbol, path=entry.path, source=source, notes=note))
        if not stored:
            raise DataError(f"the catalog {self.root} has no {frame} bars")
        return Selection(stored=tuple(stored), timeframe=frame, adjusted=adjusted)

    def try_write(
        self,
        symbol: str,
        timeframe: str | Timeframe,
        bars: pl.DataFrame,
        *,
        origin: str = "imported",
        on_conflict: Conflict = Conflict.REFUSE,
    ) -> Merge:
        """Return the merge that `write` would do, and write nothing. Raises the errors of `write`."""
        check_fork("writing to the catalog")
        path = self.path(symbol, timeframe)
        _check(symbol, bars)
        return self._merged(symbol, path, bars, on_conflict, origin)[1]

    def write(
        self,
        symbol: str,
        timeframe: str | Timeframe,
        bars: pl.DataFrame,
        *,
        sources: Sequence[str] = (),
        origin: str = "imported",
        calendar: str | None = None,
        on_conflict: Conflict = Conflict.REFUSE,
    ) -> Merge:
        """Add bars: timestamp (Datetime UTC), open, high, low, close, volume, further columns. Repeating it changes nothing.

        `calendar` names the exchange whose sessions they follow; without it the calendar of older bars stays.
        Raises DataError for impossible bars, and for values that differ from stored ones.
        """
        check_fork("writing to the catalog")
        frame = Timeframe.of(timeframe)
        path = self.path(symbol, frame)
        _check(symbol, bars)
        try:
            self._secure()
            if self._is_private:
                make_private_folder(path.parent)
            path.parent.mkdir(parents=True, exist_ok=True)
            with _locked(path.parent / ".lock", 0o600 if self._is_private else 0o666):
                self._at_step("locked")
                merged, merge = self._merged(symbol, path, bars, on_conflict, origin)
                self._at_step("merged")
                if merge.changes:
                    known = _metadata(path) if path.is_file() else {}
                    names = tuple(dict.fromkeys([*known.get("sources", []), *sources]))[-_MAX_SOURCES:]
                    about = {
                        "symbol": symbol,
                        "timeframe": str(frame),
                        "sources": names,
                        "origin": origin,
                        "calendar": calendar or known.get("calendar"),
                        "version": 1,
                    }
                    _replace(path, merged, about, self._at_step, 0o600 if self._is_private else None)
        except OSError as error:
            raise _unwritable(path, error) from None
        return merge

    def check(self, entry: Entry, calendar: SessionCalendar | None = None) -> Sequence[str]:
        """Return the faults of one entry's stored bars, in sentences; empty where there are none.

        `calendar` is the one that the entry names: its sessions are the grid, and not UTC.
        """
        try:
            bars = _read(entry.path)
        except DataError as error:
            return [str(error)]
        try:
            _check(entry.symbol, bars)
        except DataError as error:
            return [str(error)]
        starts = bars["timestamp"].to_physical().to_numpy() * 1_000
        if calendar is not None:
            try:
                calendar.bar_ends(starts, entry.timeframe)
            except OffGridError as error:
                return [f"{entry.symbol}: {error}"]
            return []
        off = int((entry.timeframe.offsets(starts) != 0).sum())
        if not off:
            return []
        way = "if they follow the sessions of an exchange, remove them and import them with its --calendar"
        return [f"{entry.symbol}: {off:,} bars are off the {entry.timeframe} grid of UTC; {way}"]

    def _merged(
        self, symbol: str, path: Path, bars: pl.DataFrame, on_conflict: Conflict, origin: str
    ) -> tuple[pl.DataFrame, Merge]:
        if not path.is_file():
            clash = _other_case(path.parent.parent)
            if clash:
                raise DataError(
                    f"symbol {brief(symbol)}: the catalog has {brief(symbol_of(clash))} in the same folder on "
                    "this file system"
                )
            return bars, Merge(before=0, added=bars.height, identical=0, replaced=0, kept=0)
        known = _metadata(path).get("origin", origin)
        if known != origin:
            raise DataError(
                f"{symbol}: the catalog has bars that are {known}, these are {origin}, and the two are not mixed; use "
                f"another symbol, or remove {path.parent}"
            )
        return merge_bars(_read(path), bars, on_conflict, what=f"{symbol} in the catalog")

    def _known(self, symbol: str, timeframe: str | Timeframe) -> None:
        if self.path(symbol, timeframe).is_file():
            return
        others = ", ".join(map(str, self.timeframes(symbol)))
        if others:
            raise DataError(
                f"{symbol} has no {Timeframe.of(timeframe)} bars in the catalog {self.root}; there are {others}"
            )
        known = sorted({symbol_of(path.parent.parent.name) for path in self._files()})
        raise unknown_symbol(symbol, known, f"the catalog {self.root}")

    def _common(self, symbols: Sequence[str]) -> Timeframe:
        common: set[Timeframe] = set.intersection(*(set(self.timeframes(symbol)) for symbol in symbols))
        if len(common) == 1:
            return common.pop()
        listed = "; ".join(f"{symbol}: {', '.join(map(str, self.timeframes(symbol)))}" for symbol in list(symbols)[:5])
        raise DataError(
            f"which timeframe? There are {listed}; say it: timeframe={brief(str(min(common)) if common else '1d')}"
        )

    def _entry(self, path: Path) -> Entry:
        check_fork("reading the catalog")
        about = _metadata(path)
        _check_limits(path)
        try:
            lazy = pl.scan_parquet(path, glob=False)
            names = lazy.collect_schema().names()
            stamp = pl.col("timestamp")
            row = lazy.select(pl.len().alias("n"), stamp.min().alias("first"), stamp.max().alias("last")).collect()
        except (pl.exceptions.PolarsError, pl.exceptions.PanicException, OSError) as error:
            raise _unreadable(path, error) from None
        first, last = (int(row[name].to_physical()[0] or 0) * 1_000 for name in ("first", "last"))
        return Entry(
            symbol=str(about.get("symbol", symbol_of(path.parent.parent.name))),
            timeframe=Timeframe.of(path.parent.name),
            path=path,
            bars=int(row["n"][0]),
            first=first,
            last=last,
            columns=tuple(name for name in names if name != "timestamp"),
            sources=tuple(about.get("sources", ())),
            origin=str(about.get("origin", "imported")),
            calendar=str(about["calendar"]) if about.get("calendar") else None,
        )


def _check(symbol: str, bars: pl.DataFrame) -> None:
    if symbol != symbol.strip() or not symbol.isprintable():
        raise DataError(
            f"symbol {brief(symbol)}: a symbol is a name, without spaces around it, tabs or line ends in it"
        )
    if not bars.height:
        raise DataError(f"{symbol}: there are no bars")
    if bars.schema.get("timestamp") != pl.Datetime("us", "UTC"):
        raise DataError(f"{symbol}: column 'timestamp' must be Datetime in microseconds UTC")
    for name, dtype in bars.schema.items():
        if name != "timestamp" and dtype != pl.Float64:
            raise DataError(f"{symbol}: column {brief(name)} must be Float64, not {dtype}")
    columns = {name: bars[name].to_numpy() for name in ("open", "high", "low", "close", "volume")}
    stamps = bars["timestamp"].to_physical().to_numpy()
    back = unordered_rows(stamps)
    if len(back):
        raise DataError(f"{symbol}: row {back[0]}: the times do not rise")
    wrong = impossible_bars(columns)
    if len(wrong):
        raise DataError(
            f"{symbol}: row {wrong[0]} ({bars['timestamp'][int(wrong[0])]}): {explain_bar(columns, int(wrong[0]))}"
        )


def _read(path: Path) -> pl.DataFrame:
    check_fork("reading the catalog")
    _check_limits(path)
    try:
        return pl.read_parquet(path, glob=False)
    except (pl.exceptions.PolarsError, pl.exceptions.PanicException, OSError) as error:
        raise _unreadable(path, error) from None


def _check_limits(path: Path) -> None:
    try:
        footer = read_footer(path)
    except (FooterError, OSError) as error:
        raise _unreadable(path, error) from None
    check_footer(footer, path)


def _metadata(path: Path) -> Mapping[str, list[str] | str]:
    try:
        return about(path)
    except (pl.exceptions.PolarsError, OSError, ValueError) as error:
        raise _unreadable(path, error) from None


def _unreadable(path: Path, error: BaseException) -> DataError:
    cause = cut_middle(str(error), LONGEST_CAUSE)
    return DataError(f"{path}: the bars cannot be read: {cause}; remove this file, and import its bars again")


def _replace(
    path: Path,
    bars: pl.DataFrame,
    about: Mapping[str, object],
    at_step: Callable[[str], None],
    mode: int | None = None,
) -> None:
    """Replace the bars in `path`, on the disk when it returns. The catalog's lock admits one writer."""
    try:
        with replacing(path, mode=mode, durable=True, locked=True, at_step=at_step) as temporary:
            bars.write_parquet(temporary, compression="zstd", metadata={METADATA_KEY: json.dumps(about)})
    except pl.exceptions.PolarsError as error:
        raise OSError(str(error)) from None  # Polars wraps the system's error, such as a full disk


def write_parquet(path: Path, bars: pl.DataFrame, about: Mapping[str, object]) -> None:
    """Write bars to a Parquet file outside a catalog, with `about` in it. Raises DataError where it cannot be written."""
    try:
        _replace(path, bars, about, lambda _: None)
    except OSError as error:
        raise _unwritable(path, error) from None


def _unwritable(path: Path, error: OSError) -> DataError:
    return DataError(f"{path}: cannot be written: {error.strerror or error}")


@contextlib.contextmanager
def _locked(path: Path, mode: int) -> Iterator[None]:
    try:
        import fcntl
    except (
        ImportError
    ):  # Windows: os.replace refuses while another process holds the file, which is safe if less polite
        yield
        return
    with open(os.open(path, os.O_WRONLY | os.O_CREAT, mode), "w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)  # the system drops it when the process dies
        yield


def _other_case(folder: Path) -> str | None:
    """Return the name on disk of another symbol's folder, for which a file system that ignores case takes `folder`."""
    if not folder.is_dir():
        return None
    names = [path.name for path in folder.parent.iterdir()]
    return None if folder.name in names else next((name for name in names if name.lower() == folder.name.lower()), None)
