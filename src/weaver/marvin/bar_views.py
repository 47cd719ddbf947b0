"""Bars as a strategy sees them: columns as views, by symbol, resampled to a longer timeframe, or joined."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, NoReturn

import numpy as np

from weaver.core.bars import BarSeries, Instants
from weaver.core.calendar import SessionCalendar
from weaver.core.errors import DataError, StrategyError, SymbolRequired
from weaver.core.suggest import listed, suggest, unknown_symbol
from weaver.core.text import brief
from weaver.core.timeframe import Timeframe
from weaver.marvin.resample import resample
from weaver.marvin.views import Cursor, FedView, TimeView, View

__all__ = ["Joined", "JoinedBars", "Resampled", "RunBars", "SymbolBars", "Track"]

_VIEWS = (View, FedView)


@dataclass(slots=True, kw_only=True)
class Track:
    """A set of columns that advance together: one symbol's bars, a resampling of them, or a join.

    `end` holds the instant each row becomes visible. `symbols` are those whose `on_bar` waits for indicators made here.
    """

    symbols: tuple[str, ...]
    label: str
    start: Instants
    end: Instants
    cursor: Cursor = field(default_factory=Cursor)
    views: list[View] = field(default_factory=list)
    indicators: list[View] = field(default_factory=list)
    """The views that `self.indicator` created."""
    origin: Resampled | Joined | None = None
    """How resampled or joined bars were made, so that the same can be done with more bars."""

    def view(self, array: Any, name: str) -> View:
        """Return a new view on this track; its length must be the track's."""
        view = View(array, self.cursor, name)
        self.views.append(view)
        return view

    def begin(self) -> None:
        """Prepare the views, as the first row is about to be seen."""
        for view in self.views:
            view._begin()

    def advance_to(self, now_ns: int) -> None:
        """Show every row that has ended at `now_ns`; for tracks that do not move bar by bar."""
        row = int(np.searchsorted(self.end, now_ns, side="right")) - 1
        if row > self.cursor.last:
            first = self.cursor.last < 0
            self.cursor.last = row
            if first:
                self.begin()


@dataclass(frozen=True, slots=True, kw_only=True)
class Resampled:
    """`bars` were made from `source` by `resample`."""

    source: SymbolBars
    bars: SymbolBars
    timeframe: Timeframe
    calendar: SessionCalendar | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Joined:
    """`parts` hold the rows that `sources` have in common, in the same order; `ts` are their starts."""

    sources: tuple[SymbolBars, ...]
    parts: tuple[SymbolBars, ...]
    ts: TimeView


class SymbolBars:
    """The bars of one symbol: `.open .high .low .close .volume`, extra columns by name, and `.ts`."""

    def __init__(
        self, series: BarSeries, track: Track, derive: Callable[[Track], None], calendar: SessionCalendar | None
    ) -> None:
        self._series = series
        self._track = track
        self._derive = derive
        self._calendar = calendar
        self.symbol = series.symbol
        self.timeframe = series.timeframe
        self.ts = TimeView(track.start, track.cursor)
        for name in series.extra:
            if name in self.__dict__ or hasattr(type(self), name):
                raise DataError(f"{series.symbol}: self.bars.{name} is something else; rename the column {brief(name)}")

    def __setattr__(self, name: str, value: object) -> None:
        if "ts" in self.__dict__:  # the last attribute that __init__ sets
            raise StrategyError(f"self.bars.{name} cannot be assigned; keep values of your own on self")
        super().__setattr__(name, value)

    def __getattr__(self, name: str) -> View:
        # Called for the first read of a column only: the view is kept as an attribute afterwards.
        if name.startswith("_"):
            raise AttributeError(name)
        columns = self._series.columns()
        if name not in columns:
            hint = suggest(name, columns, f"they have: {listed(columns)}")
            raise AttributeError(f"the bars of {self.symbol} have no column {brief(name)}; {hint}")
        view = self._track.view(columns[name], f"{self._track.label}.{name}")
        self.__dict__[name] = view
        return view

    def _rebind(self, series: BarSeries) -> None:
        """Read from `series`, the same bars and later ones, from now on; the views stay the same objects."""
        attributes = self.__dict__
        attributes["_series"] = series
        attributes["ts"]._array = series.start
        columns = None
        for name, value in attributes.items():
            if value.__class__ in _VIEWS:
                columns = columns or series.columns()
                value._rebind(columns[name])

    def __len__(self) -> int:
        return len(self.ts)

    def __getitem__(self, symbol: str) -> SymbolBars:
        if isinstance(symbol, int | slice):
            raise StrategyError("self.bars has columns, not rows: the newest close is self.bars.close[-1]")
        if symbol != self.symbol:
            raise unknown_symbol(symbol, {self.symbol: self})
        return self

    def join(self, *symbols: str) -> JoinedBars:
        """Raise StrategyError: only a run with several symbols has bars to join."""
        raise StrategyError(
            f"bars.join{brief(symbols)}: there is nothing to join, these are the bars of {brief(self.symbol)} alone"
        )

    def resample(self, timeframe: str | Timeframe) -> SymbolBars:
        """Return closed bars of a longer timeframe, from `on_start` only.

        They close at their own boundary, before `on_bar` of the bar that ends there; a first one whose beginning is missing
        is dropped. They never call `on_bar` themselves.
        """
        series = resample(self._series, Timeframe.of(timeframe), self._calendar)
        track = Track(
            symbols=(self.symbol,),
            label=f"{self._track.label}@{series.timeframe}",
            start=series.start,
            end=series.end,
        )
        self._derive(track)
        bars = SymbolBars(series, track, self._derive, self._calendar)
        track.origin = Resampled(source=self, bars=bars, timeframe=series.timeframe, calendar=self._calendar)
        return bars


class JoinedBars:
    """The bars that several symbols have in common, row by row.

    `joined["A"].close` and `joined["B"].close` are of one length.
    """

    def __init__(self, parts: Mapping[str, SymbolBars], ts: TimeView) -> None:
        self._parts = dict(parts)
        self.symbols = tuple(parts)
        self.ts = ts

    def __getitem__(self, symbol: str) -> SymbolBars:
        try:
            return self._parts[symbol]
        except KeyError:
            raise unknown_symbol(symbol, self._parts, "this join") from None

    def __len__(self) -> int:
        return len(self.ts)


class RunBars:
    """The bars of a run with several symbols: `bars["AAPL"].close`."""

    def __init__(
        self, parts: Mapping[str, SymbolBars], derive: Callable[[Track], None], calendar: SessionCalendar | None
    ) -> None:
        self._parts = dict(parts)
        self._derive = derive
        self._calendar = calendar

    def __getitem__(self, symbol: str) -> SymbolBars:
        try:
            return self._parts[symbol]
        except KeyError:
            raise unknown_symbol(symbol, self._parts) from None

    def __getattr__(self, name: str) -> NoReturn:
        if name.startswith("_"):
            raise AttributeError(name)
        names = list(self._parts)
        raise SymbolRequired(
            f"bars.{name}: this run has {len(names)} symbols; say which one, for example self.bars[{brief(names[0])}].{name}"
        )

    def __iter__(self) -> Iterator[str]:
        return iter(self._parts)

    def __len__(self) -> int:
        return len(self._parts)

    def join(self, *symbols: str) -> JoinedBars:
        """Return the bars that all of `symbols` have at the same instants, from `on_start` only."""
        if len(symbols) < 2 or len(set(symbols)) < len(symbols):
            raise StrategyError(f"bars.join{brief(symbols)}: give at least two different symbols")
        series = [self[symbol]._series for symbol in symbols]
        common = series[0].start
        for other in series[1:]:
            common = np.intersect1d(common, other.start, assume_unique=True)
        rows = [np.searchsorted(one.start, common) for one in series]
        ends = np.max([one.end[row] for one, row in zip(series, rows, strict=True)], axis=0) if len(common) else common
        track = Track(symbols=tuple(symbols), label="join", start=common, end=np.asarray(ends, dtype=np.int64))
        self._derive(track)
        parts = {}
        for one, row in zip(series, rows, strict=True):
            picked = BarSeries(
                symbol=one.symbol,
                timeframe=one.timeframe,
                start=common,
                end=track.end,
                open=one.open[row],
                high=one.high[row],
                low=one.low[row],
                close=one.close[row],
                volume=one.volume[row],
                extra={name: column[row] for name, column in one.extra.items()},
            )
            parts[one.symbol] = SymbolBars(picked, track, self._derive, self._calendar)
        ts = TimeView(common, track.cursor)
        track.origin = Joined(sources=tuple(map(self.__getitem__, symbols)), parts=tuple(parts.values()), ts=ts)
        return JoinedBars(parts, ts)
