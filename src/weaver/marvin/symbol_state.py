"""State: what the strategy's side keeps of each symbol, and every symbol's position as a strategy reads it."""

from __future__ import annotations

from collections.abc import Sequence
from fractions import Fraction
from typing import Any, NoReturn

from numpy import ascontiguousarray

from weaver.core.bars import BarSeries
from weaver.core.errors import StrategyError
from weaver.core.suggest import unknown_symbol
from weaver.marvin.bar_views import SymbolBars, Track
from weaver.marvin.order import Position
from weaver.marvin.views import View

__all__ = ["Positions", "SymbolState"]


class SymbolState:
    """One symbol of the run as the strategy's side keeps it."""

    __slots__ = (
        "bars",
        "closes",
        "cursor",
        "fed_views",
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
        self.series = series
        self.instrument = series.instrument
        lot = Fraction(str(series.instrument.lot))
        self.unit_lots = lot.denominator if lot.numerator == 1 else 0
        """Lots in one unit, 0 where that is no whole number."""
        self.bars = bars
        self.track = track
        self.cursor = track.cursor
        self.closes: memoryview[float] = memoryview(ascontiguousarray(series.close).data).cast("B").cast("d")
        self.ready_ns = 0
        """`on_bar` is called from this tick on; raised by indicators that need longer."""
        self.fed_views: list[View] = []
        """Indicators whose newest value the engine puts into the view itself, bar by bar."""

    def feed(self, most: int) -> None:
        """Choose the views to feed: up to `most` indicators, since those are what a strategy reads at every bar."""
        self.fed_views = self.track.indicators[:most]

    @property
    def last_close(self) -> float | None:
        """The close of the bar that closed last, None before the first."""
        row = self.cursor.last
        return self.closes[row] if row >= 0 else None


class Positions(dict[str, Position]):
    """Every symbol's position, read at the cost of a dict; an unknown symbol is named, and only fills change it."""

    __slots__ = ()

    def __init__(self, symbols: Sequence[str]) -> None:
        super().__init__((symbol, Position.of(0.0, symbol, 0.0)) for symbol in symbols)

    def __missing__(self, symbol: str) -> Position:
        raise unknown_symbol(symbol, self)

    def _refuse(self, *args: Any, **kwargs: Any) -> NoReturn:
        raise StrategyError("positions change by fills only; use self.buy, self.sell, self.close or self.target")

    __setitem__ = __delitem__ = __ior__ = _refuse
    clear = pop = popitem = setdefault = update = _refuse
