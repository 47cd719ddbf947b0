"""Cuts: after which bars the future is taken away, and the bars with their future taken away or made up anew.

Up to `ALL_UP_TO` ticks every one is a cut. Beyond that it is every edge of missing values and a seeded sample. Made-up bars
are a random walk that keeps low <= open, close <= high and positive prices positive; volumes and extra columns are drawn
from the column's own values, so that an honest function is never handed what it could not have met.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from weaver.core.bars import PRICE_COLUMNS, BarSeries, Floats, Instants
from weaver.core.calendar import SessionCalendar
from weaver.core.sessions import session_rows
from weaver.marvin.indicator import IndicatorInfo

__all__ = ["ALL_UP_TO", "EARLY", "MOST_EDGES", "SAMPLE", "Cuts", "choose_cuts", "cut_off", "scrambled"]

ALL_UP_TO = 2_000
"""So many ticks are all cut: about ten seconds for a strategy that takes a microsecond a bar."""
MOST_EDGES = 2_000
"""More edges than this are sampled too; a year of minute bars with a gap every night would take hours otherwise."""
SAMPLE = 200
EARLY = 50
"""The beginning counts as an edge of missing values: there a warm-up ends, and a cheat is named at its first bar."""


@dataclass(frozen=True, slots=True)
class Cuts:
    """`rows` are positions among the run's ticks, rising; the bars that end there are the last that are kept."""

    rows: tuple[int, ...]
    possible: int
    """How many there are in all: every tick but the last, which has no future."""
    edges: int = 0
    """How many of `rows` are edges of missing values, out of `edges_found`."""
    edges_found: int = 0
    sample: int = 0

    @property
    def complete(self) -> bool:
        """Whether every tick was cut."""
        return len(self.rows) == self.possible


def choose_cuts(
    series: Mapping[str, BarSeries],
    ticks: Instants,
    indicators: Sequence[IndicatorInfo],
    calendar: SessionCalendar | None,
    limit: int | None,
    seed: int,
) -> Cuts:
    """The cuts to try; `limit` is the most of them, None leaves it to the module's bounds."""
    possible = len(ticks) - 1
    if possible <= (ALL_UP_TO if limit is None else limit):
        return Cuts(tuple(range(possible)), possible)
    generator = np.random.default_rng(seed)
    early = EARLY if limit is None else min(EARLY, limit // 4)
    edges = _edges(series, ticks, indicators, calendar, early)
    found = len(edges)
    most = MOST_EDGES if limit is None else limit - limit // 4  # a sample there must be
    if found > most:
        edges = np.sort(generator.choice(edges, most, replace=False))
    rest = np.setdiff1d(np.arange(possible), edges, assume_unique=True)
    size = min(SAMPLE if limit is None else limit - len(edges), len(rest))
    sample = generator.choice(rest, size, replace=False)
    rows = np.sort(np.concatenate([edges, sample]))
    return Cuts(tuple(rows.tolist()), possible, len(edges), found, size)


def _edges(
    series: Mapping[str, BarSeries],
    ticks: Instants,
    indicators: Sequence[IndicatorInfo],
    calendar: SessionCalendar | None,
    early: int,
) -> Instants:
    """Where values begin or cease to be missing: the last tick before and the first after, as positions among `ticks`."""
    marked = np.zeros(len(ticks), dtype=bool)
    marked[:early] = True
    for one in series.values():
        at = np.searchsorted(ticks, one.end)
        present = np.zeros(len(ticks), dtype=bool)
        present[at] = True
        _mark(marked, present)
        apart = np.flatnonzero(one.start[1:] > one.end[:-1])
        if one.timeframe.is_daily_or_longer:
            # A night or a week-end is where a daily bar ends, so only what is longer than usual is missing.
            steps = np.diff(one.start)
            apart = apart[steps[apart] > 4 * one.timeframe.ns]
        marked[at[apart]] = marked[at[apart + 1]] = True
        if one.timeframe.is_intraday and calendar is not None:
            sessions = session_rows(one, calendar)
            marked[at[sessions.first | sessions.last]] = True
        for column in one.extra.values():
            _mark_at(marked, at, np.isnan(column))
    for info in indicators:
        at = np.searchsorted(ticks, info.track.end)
        for output in info.outputs:
            _mark_at(marked, at, np.isnan(output))
    return np.flatnonzero(marked[:-1])


def _mark(marked: NDArray[np.bool_], present: NDArray[np.bool_]) -> None:
    edges = np.flatnonzero(present[1:] != present[:-1])
    marked[edges] = marked[edges + 1] = True


def _mark_at(marked: NDArray[np.bool_], at: NDArray[np.intp], missing: NDArray[np.bool_]) -> None:
    edges = np.flatnonzero(missing[1:] != missing[:-1])
    for rows in (at[edges], at[edges + 1]):
        marked[rows[rows < len(marked)]] = True


def cut_off(series: Mapping[str, BarSeries], tick: int, generator: np.random.Generator) -> dict[str, BarSeries]:
    """The bars that have ended by `tick` (ns). A symbol without any keeps one bar of another price, still to come."""
    kept = {}
    for symbol, one in series.items():
        rows = int(np.searchsorted(one.end, tick, side="right"))
        kept[symbol] = _owned(one.rows(0, rows)) if rows else scrambled_rows(_owned(one.rows(0, 1)), 0, generator)
    return kept


def _owned(series: BarSeries) -> BarSeries:
    """The same bars in memory of their own: what a slice is a part of (`slice.base`) is as cut as the slice."""
    columns = {name: getattr(series, name).copy() for name in ("start", "end", *PRICE_COLUMNS)}
    return replace(series, extra={name: column.copy() for name, column in series.extra.items()}, **columns)


def scrambled(series: Mapping[str, BarSeries], tick: int, generator: np.random.Generator) -> dict[str, BarSeries]:
    """The same bars up to `tick` (ns), and other prices, volumes and extra values at the same times after it."""
    return {
        symbol: scrambled_rows(one, int(np.searchsorted(one.end, tick, side="right")), generator)
        for symbol, one in series.items()
    }


def scrambled_rows(series: BarSeries, keep: int, generator: np.random.Generator) -> BarSeries:
    """The first `keep` bars of `series`, then a random walk of the same size of steps from the last close on."""
    count = len(series) - keep
    if count <= 0:
        return series
    positive = bool(series.low.min() > 0)
    size = _step_size(np.log(series.close) if positive else series.close)
    # However long the walk is, it stays within a few times the price where it began.
    steps = generator.standard_normal((4, count)) * (min(size, 3.0 / count**0.5) if positive else size)
    level = float(series.close[keep - 1]) if keep else float(series.open[0])
    if not keep:
        level = level * float(np.exp(generator.standard_normal() * 0.3)) if positive else level + float(steps[0, 0])
    path = np.cumsum(steps[0])
    before = np.r_[0.0, path[:-1]]
    opens = before + 0.3 * steps[1]
    highs = np.maximum(opens, path) + 0.5 * np.abs(steps[2])
    lows = np.minimum(opens, path) - 0.5 * np.abs(steps[3])
    prices = [level * np.exp(one) if positive else level + one for one in (opens, highs, lows, path)]
    made: dict[str, Floats] = dict(zip(PRICE_COLUMNS, prices, strict=False))
    made["volume"] = series.volume[generator.integers(0, len(series), count)]
    extra = {
        name: np.r_[column[:keep], column[generator.integers(0, len(series), count)]]
        for name, column in series.extra.items()
    }
    return BarSeries(
        symbol=series.symbol,
        timeframe=series.timeframe,
        start=series.start,
        end=series.end,
        extra=extra,
        instrument=series.instrument,
        source=series.source,
        **{name: np.r_[getattr(series, name)[:keep], made[name]] for name in PRICE_COLUMNS},
    )


def _step_size(values: Floats) -> float:
    size = float(np.std(np.diff(values))) if len(values) > 2 else 0.0
    return size if size > 0 else 0.01
