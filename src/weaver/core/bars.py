"""Bars: one as a value (`Bar`), many as columns (`BarSeries`). A bar is named by its start and covers [start, end).

A `BarSeries` is checked once, on creation, and is read-only afterwards. Its users can rely on strictly increasing starts,
finite prices and low <= open, close <= high.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

import msgspec
import numpy as np
from numpy.typing import NDArray

from weaver.core.errors import DataError
from weaver.core.instants import from_ns
from weaver.core.instrument import Instrument
from weaver.core.text import brief
from weaver.core.timeframe import Timeframe

__all__ = ["PRICE_COLUMNS", "Bar", "BarSeries", "Floats", "Instants"]

Floats = NDArray[np.float64]
Instants = NDArray[np.int64]

PRICE_COLUMNS = ("open", "high", "low", "close", "volume")


class Bar(msgspec.Struct, frozen=True, gc=False):
    """One complete bar. `ts` is its start (UTC); prices are in the quote currency, volume in units of the instrument."""

    symbol: str
    ts_ns: int
    open: float
    high: float
    low: float
    close: float
    volume: float

    @property
    def ts(self) -> datetime:
        """Start of the bar, an aware UTC datetime."""
        return from_ns(self.ts_ns)


@dataclass(frozen=True, slots=True, kw_only=True)
class GapSummary:
    """Gaps in a series: how many, the first and the largest, each as [start, end) in nanoseconds UTC."""

    count: int
    first: tuple[int, int]
    largest: tuple[int, int]


@dataclass(frozen=True, slots=True, kw_only=True)
class BarSeries:
    """The bars of one symbol in columns, all of length n and read-only.

    `start` and `end` are int64 nanoseconds since 1970-01-01 UTC, strictly increasing; the others are float64. `extra`
    holds further numeric columns by name (lower case). For people, in the report: `source` is where the bars came from,
    `notes` are changes made to them and oddities, `warnings` are reasons to doubt a result. The first `history` bars are
    shown to a strategy's indicators before the run; the run itself begins after them.
    """

    symbol: str
    timeframe: Timeframe
    start: Instants
    end: Instants
    open: Floats
    high: Floats
    low: Floats
    close: Floats
    volume: Floats
    extra: Mapping[str, Floats] = field(default_factory=dict)
    instrument: Instrument = field(default_factory=Instrument)
    source: str = "data frame"
    notes: tuple[str, ...] = ()
    warnings: tuple[str, ...] = ()
    gaps: GapSummary | None = None
    history: int = 0

    def __post_init__(self) -> None:
        for name, column in (("start", self.start), ("end", self.end)):
            if column.dtype != np.int64 or column.shape != self.start.shape:
                raise DataError(f"{self.symbol}: column {brief(name)} must be int64 nanoseconds, one per bar")
        for name, values in self.columns().items():
            if values.dtype != np.float64 or values.shape != self.start.shape:
                raise DataError(f"{self.symbol}: column {brief(name)} must be float64, one value per bar")
            values.flags.writeable = False
        self.start.flags.writeable = False
        self.end.flags.writeable = False

    def __len__(self) -> int:
        return len(self.start)

    def columns(self) -> dict[str, Floats]:
        """Return open, high, low, close, volume and the extra columns, by name."""
        return {name: getattr(self, name) for name in PRICE_COLUMNS} | dict(self.extra)

    def between(self, start_ns: int | None, end_ns: int | None) -> BarSeries:
        """Return the bars whose start is in [start_ns, end_ns); None leaves that side open. Shares memory."""
        low = 0 if start_ns is None else int(np.searchsorted(self.start, start_ns, side="left"))
        high = len(self) if end_ns is None else int(np.searchsorted(self.start, end_ns, side="left"))
        return self.rows(low, max(low, high))

    def rows(self, low: int, high: int) -> BarSeries:
        """Return rows low to high (exclusive). Shares memory."""
        changed: dict[str, Any] = {name: getattr(self, name)[low:high] for name in PRICE_COLUMNS}
        return BarSeries(
            symbol=self.symbol,
            timeframe=self.timeframe,
            start=self.start[low:high],
            end=self.end[low:high],
            extra={name: column[low:high] for name, column in self.extra.items()},
            instrument=self.instrument,
            source=self.source,
            notes=self.notes,
            warnings=self.warnings,
            gaps=self.gaps if low <= 0 and high >= len(self) else None,
            history=min(max(self.history - low, 0), max(high - low, 0)),
            **changed,
        )

    def without_history(self) -> BarSeries:
        """Return the bars of the run itself. Shares memory."""
        return self.rows(self.history, len(self)) if self.history else self
