"""Selection: symbols of stored bars, which are read when a run needs them. `backtest` takes it as `bars`."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import polars as pl

from weaver.core.errors import DataError
from weaver.core.text import cut_middle
from weaver.core.timeframe import Timeframe
from weaver.data.adjust import adjust
from weaver.data.parquet_file import LONGEST_CAUSE, check_parquet

__all__ = ["METADATA_KEY", "Part", "Selection", "Stored", "about"]

METADATA_KEY = "weaver"
"""The key of the metadata in a Parquet file: JSON that says where the bars come from."""


@dataclass(frozen=True, slots=True)
class Stored:
    """The file with one symbol's bars. `column` is True for a file of several symbols with a column `symbol`."""

    symbol: str
    path: Path
    source: str
    column: bool = False
    notes: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Part:
    """The bars of one symbol: timestamp (Datetime UTC), open, high, low, close, volume and further columns."""

    symbol: str
    frame: pl.DataFrame
    source: str
    notes: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Selection:
    """Symbols of one timeframe, in the order of the run, with the prices as they are or adjusted."""

    stored: tuple[Stored, ...]
    timeframe: Timeframe
    adjusted: bool = False

    @property
    def symbols(self) -> tuple[str, ...]:
        """Return the symbols in the order of the run."""
        return tuple(item.symbol for item in self.stored)

    def only(self, symbols: Sequence[str]) -> Selection:
        """Return a selection of these symbols only. Unknown symbols are ignored; the caller reports them."""
        return replace(self, stored=tuple(item for item in self.stored if item.symbol in symbols))

    def load(self, symbols: Sequence[str] | None = None) -> list[Part]:
        """Read the bars of all symbols, or of those in `symbols`. Raises DataError for a missing or broken file."""
        return [self._read(item) for item in self.stored if symbols is None or item.symbol in symbols]

    def frame(self) -> pl.DataFrame:
        """Return all bars in one frame, with a first column `symbol`."""
        frames = [part.frame.select(pl.lit(part.symbol).alias("symbol"), pl.all()) for part in self.load()]
        return pl.concat(frames, how="diagonal_relaxed", rechunk=True)

    def _read(self, item: Stored) -> Part:
        check_parquet(item.path)
        try:
            lazy = pl.scan_parquet(item.path, glob=False)
            if item.column:
                lazy = lazy.filter(pl.col("symbol") == item.symbol).drop("symbol")
            frame = lazy.collect().rechunk()
        except (pl.exceptions.PolarsError, pl.exceptions.PanicException, OSError) as error:
            cause = cut_middle(str(error), LONGEST_CAUSE)
            raise DataError(f"{item.path}: the bars of {item.symbol} cannot be read: {cause}") from None
        notes = item.notes
        source = item.source
        if self.adjusted:
            frame, adjustments = adjust(frame, what=item.symbol)
            notes += tuple(f"{item.symbol}: {note}" for note in adjustments)
            source += ", adjusted"
        elif "adj_close" in frame.columns:
            notes += (f"{item.symbol}: prices as traded, not adjusted for splits and dividends",)
        return Part(symbol=item.symbol, frame=frame, source=source, notes=notes)


def about(path: Path) -> dict[str, Any]:
    """Return the metadata that Weaver wrote into a Parquet file; empty for other files. Raises the errors of reading it."""
    metadata = json.loads(pl.read_parquet_metadata(path).get(METADATA_KEY, "{}"))
    return metadata if isinstance(metadata, dict) else {}
