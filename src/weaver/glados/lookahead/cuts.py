"""Cuts: the bars after which the future is removed or scrambled, and the bars changed in that way.

Up to `ALL_UP_TO` ticks the bars are cut after each tick. With more ticks they are cut at each edge of missing values and
after a seeded sample of the others. Scrambled bars are a random walk that keeps low <= open, close <= high and positive
prices positive. Volumes and extra columns are drawn from the column's own values, so that an indicator never receives a
value that it could not receive in a backtest.
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
"""Largest number of ticks that are all cut: about ten seconds for a strategy that needs a microsecond per bar."""
MOST_EDGES = 2_000
"""Largest number of edges that are all cut; of more, a sample. A year of minute bars with nightly gaps would take hours."""
SAMPLE = 200
EARLY = 50
"""The first ticks count as edges: warm-ups end there, and look-ahead is reported at its first bar."""


@dataclass(frozen=True, slots=True)
class Cuts:
    """The chosen cuts. `rows` are rising positions among the run's ticks; the bars that end there are the last ones kept."""

    rows: tuple[int, ...]
    possible: int
    """Number of possible cuts: every tick except the last, which has no future."""
    edges: int = 0
    """Number of `rows` that are edges of missing values, out of `edges_found`."""
    edges_found: int = 0
    sample: int = 0

    @property
    def complete(self) -> bool:
        """Whether the bars are cut after every tick."""
        return len(self.rows) == self.possible


def choose_cuts(
    series: Mapping[str, BarSeries],
    ticks: Instants,
    indicators: Sequence[IndicatorInfo],
    calendar: SessionCalendar | None,
    limit: int | None,
    seed: int,
) -> Cuts:
    """Choose the cuts; `limit` is the largest number of them (None: the bounds of this module)."""
    possible = len(ticks) - 1
    if possible <= (ALL_UP_TO if limit is None else limit):
        return Cuts(tuple(range(possible)), possible)
    generator = np.random.default_rng(seed)
    early = EARLY if limit is None else min(EARLY, limit // 4)
    edges = _edges(series, ticks, indicators, calendar, early)
    edges_found = len(edges)
    most = MOST_EDGES if limit is None else limit - limit // 4  # at least a quarter is a sample
    if edges_found > most:
        edges = np.sort(generator.choice(edges, most, replace=False))
    rest = np.setdiff1d(np.arange(possible), edges, assume_unique=True)
    size = min(SAMPLE if limit is None else limit - len(edges), len(rest))
    sample = generator.choice(rest, size, replace=False)
    rows = np.sort(np.concatenate([edges, sample]))
    return Cuts(tuple(rows.tolist()), possible, len(edges), edges_found, size)


def _edges(
    series: Mapping[str, BarSeries],
    ticks: Instants,
    indicators: Sequence[IndicatorInfo],
    calendar: SessionCalendar | None,
    early: int,
) -> Instants:
    """Return the ticks around each change between missing and present values, as positions in `ticks`."""
    marked = np.zeros(len(ticks), dtype=bool)
    marked[:early] = True
    for bars in series.values():
        at = np.searchsorted(ticks, bars.end)
        present = np.zeros(len(ticks), dtype=bool)
        present[at] = True
        _mark(marked, present)
        apart = np.flatnonzero(bars.start[1:] > bars.end[:-1])
        if bars.timeframe.is_daily_or_longer:
            # Nights and weekends follow every daily bar, so only longer gaps are missing bars.
            steps = np.diff(bars.start)
            apart = apart[steps[apart] > 4 * bars.timeframe.ns]
        marked[at[apart]] = marked[at[apart + 1]] = True
        if bars.timeframe.is_intraday and calendar is not None:
            sessions = session_rows(bars, calendar)
            marked[at[sessions.first | sessions.last]] = True
        for column in bars.extra.values():
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
    """Return the bars that have ended by `tick` (ns). A symbol without any gets one later bar of another price."""
    kept = {}
    for symbol, bars in series.items():
        rows = int(np.searchsorted(bars.end, tick, side="right"))
        if rows > bars.history:
            kept[symbol] = _owned(bars.rows(0, rows))
        else:
            kept[symbol] = scrambled_rows(_owned(bars.rows(0, bars.history + 1)), bars.history, generator)
    return kept


def _owned(series: BarSeries) -> BarSeries:
    """Return a copy of the bars, so that `slice.base` leads to no later bars."""
    columns = {name: getattr(series, name).copy() for name in ("start", "end", *PRICE_COLUMNS)}
    return replace(series, extra={name: column.copy() for name, column in series.extra.items()}, **columns)


def scrambled(series: Mapping[str, BarSeries], tick: int, generator: np.random.Generator) -> dict[str, BarSeries]:
    """Return the same bars up to `tick` (ns), and other prices, volumes and extra values at the same times after it."""
    return {
        symbol: scrambled_rows(bars, int(np.searchsorted(bars.end, tick, side="right")), generator)
        for symbol, bars in series.items()
    }


def scrambled_rows(series: BarSeries, keep: int, generator: np.random.Generator) -> BarSeries:
    """Return the first `keep` bars of `series`, followed by a random walk from the last close in steps of similar size."""
    count = len(series) - keep
    if count <= 0:
        return series
    positive = bool(series.low.min() > 0)
    size = _step_size(np.log(series.close) if positive else series.close)
    # The walk stays within a few times its first price, however long it is.
    steps = generator.standard_normal((4, count)) * (min(size, 3.0 / count**0.5) if positive else size)
    level = float(series.close[keep - 1]) if keep else float(series.open[0])
    if not keep:
        level = level * float(np.exp(generator.standard_normal() * 0.3)) if positive else level + float(steps[0, 0])
    path = np.cumsum(steps[0])
    before = np.r_[0.0, path[:-1]]
    opens = before + 0.3 * steps[1]
    highs = np.maximum(opens, path) + 0.5 * np.abs(steps[2])
    lows = np.minimum(opens, path) - 0.5 * np.abs(steps[3])
    prices = [level * np.exp(values) if positive else level + values for values in (opens, highs, lows, path)]
    columns: dict[str, Floats] = dict(zip(PRICE_COLUMNS, prices, strict=False))
    columns["volume"] = series.volume[generator.integers(0, len(series), count)]
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
        history=series.history,
        **{name: np.r_[getattr(series, name)[:keep], columns[name]] for name in PRICE_COLUMNS},
    )


def _step_size(values: Floats) -> float:
    size = float(np.std(np.diff(values))) if len(values) > 2 else 0.0
    return size if size > 0 else 0.01
