"""SymbolState: one symbol of a run with its bars, its cursor and its indicators, on the strategy's side."""

from __future__ import annotations

from fractions import Fraction

from numpy import ascontiguousarray

from weaver.core.bars import BarSeries
from weaver.marvin.bar_views import SymbolBars, Track
from weaver.marvin.views import View

__all__ = ["SymbolState"]


class SymbolState:
    """One symbol of the run: its series, the views on it, and the cursor that the engine moves."""

    __slots__ = (
        "bars",
        "closes",
        "cursor",
        "fed_views",
        "first_row",
        "index",
        "instrument",
        "ready_ns",
        "series",
        "symbol",
        "track",
        "unit_lots",
    )

    def __init__(self, index: int, series: BarSeries, bars: SymbolBars, track: Track) -> None:
        self.index = index
        self.symbol = series.symbol
        self.show(series)
        self.instrument = series.instrument
        lot = Fraction(str(series.instrument.lot))
        self.unit_lots = lot.denominator if lot.numerator == 1 else 0
        """Lots in one unit; 0 where that is not a whole number."""
        self.bars = bars
        self.track = track
        self.cursor = track.cursor
        self.first_row = series.history
        """The row of the run's first bar; the rows before it are history."""
        self.ready_ns = 0
        """The first tick at which `on_bar` is called, in nanoseconds; indicators that need longer raise it."""
        self.fed_views: list[View] = []
        """Indicators whose newest value the engine writes into the view at each bar."""

    def show(self, series: BarSeries) -> None:
        """Take `series` as the symbol's bars: at first, and again when they have grown."""
        self.series = series
        self.closes: memoryview[float] = memoryview(ascontiguousarray(series.close).data).cast("B").cast("d")

    def feed(self, most: int) -> None:
        """Choose the views to feed: the first `most` indicators, which strategies read at every bar."""
        self.fed_views = self.track.indicators[:most]

    @property
    def last_close(self) -> float | None:
        """The close of the newest bar, None before the first."""
        row = self.cursor.last
        return self.closes[row] if row >= 0 else None
