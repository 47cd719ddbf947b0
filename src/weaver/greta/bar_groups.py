"""Bar groups: the bars of several symbols, grouped by the tick at which they end."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from itertools import cycle, islice, repeat

import numpy as np

from weaver.core.bars import PRICE_COLUMNS, Bar, BarSeries
from weaver.greta.hot_loop import bar_columns
from weaver.marvin.symbol_state import SymbolState

__all__ = ["bar_groups"]

_CHUNK_BARS = 32_768
"""Bars of all symbols together that are turned into Python numbers at a time."""
_SLICE_BARS = 2_048
"""The same where the symbols have the same bars; smaller, so that the numbers stay in the processor's cache."""


def bar_groups(
    states: Sequence[SymbolState], begin_chunk: Callable[[int], None]
) -> Iterator[tuple[int, Sequence[SymbolState], Sequence[Bar]]]:
    """Yield, tick by tick, the tick (ns), the symbols with a bar that ends then in the order of the run, and their bars.

    Bars are made in chunks; `begin_chunk` receives the last tick of each before its first group. If all symbols have a
    bar at each tick, a chunk is a plain transposition.
    """
    all_series = [state.series for state in states]
    ticks = np.unique(np.concatenate([state.series.end[state.first_row :] for state in states]))
    step = max(1, _CHUNK_BARS // len(all_series))
    row = [state.first_row for state in states]
    for begin in range(0, len(ticks), step):
        chunk = ticks[begin : begin + step]
        ends = chunk.tolist()
        begin_chunk(ends[-1])
        rows = []
        for index, series in enumerate(all_series):
            past = int(np.searchsorted(series.end, chunk[-1], side="right"))
            rows.append(slice(row[index], past))
            row[index] = past
        if all(part.stop - part.start == len(ends) for part in rows):
            yield from zip(ends, repeat(states), _in_step(all_series, rows), strict=False)
            continue
        groups: dict[int, tuple[list[SymbolState], list[Bar]]] = {end: ([], []) for end in ends}
        for state, part in zip(states, rows, strict=True):
            for end, bar in zip(state.series.end[part].tolist(), _bars(state.series, part), strict=True):
                present, bars = groups[end]
                present.append(state)
                bars.append(bar)
        for end, (present, bars) in groups.items():
            yield end, present, bars


def _bars(series: BarSeries, rows: slice) -> Iterator[Bar]:
    """Return the bars of some rows, made in C from whole columns."""
    return map(Bar, repeat(series.symbol), *bar_columns(series, rows)[:-1])


def _in_step(all_series: Sequence[BarSeries], rows: Sequence[slice]) -> Iterator[Sequence[Bar]]:
    """Yield, tick by tick, the bars of symbols that all have one at each tick, in the order of the run.

    The columns are interleaved tick by tick first, so that bars are made from adjacent numbers in memory: with a hundred
    symbols that is twice as fast as taking one number from each of their columns in turn.
    """
    starts = np.stack([series.start[part] for series, part in zip(all_series, rows, strict=True)], axis=1)
    prices = [
        np.stack([getattr(series, name)[part] for series, part in zip(all_series, rows, strict=True)], axis=1)
        for name in PRICE_COLUMNS
    ]
    symbols = [series.symbol for series in all_series]
    step = max(1, _SLICE_BARS // len(symbols))
    for begin in range(0, len(starts), step):
        part = slice(begin, begin + step)
        columns = [column[part].ravel().tolist() for column in (starts, *prices)]
        bars = map(Bar, cycle(symbols), *columns)
        for _ in range(len(starts[part])):
            yield tuple(islice(bars, len(symbols)))
