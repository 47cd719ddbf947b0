"""GrowingBars: columns of bars that grow at their end.

The room for rows doubles when it is full, so that a further bar costs no copy of the earlier ones. Rows never change.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import fields

import numpy as np
from numpy.typing import NDArray

from weaver.core.bars import PRICE_COLUMNS, Bar, BarSeries

__all__ = ["GrowingBars"]

_FIRST_ROOM = 64
_COLUMNS = ("start", "end", *PRICE_COLUMNS)
_SHARED = tuple(field.name for field in fields(BarSeries) if field.name not in (*_COLUMNS, "extra"))


class GrowingBars:
    """The bars of one symbol and one timeframe. It begins with a copy of `series`; `series` is then all bars so far."""

    __slots__ = ("_extra_names", "_instants", "_length", "_numbers", "_shown_instants", "_shown_numbers", "series")

    def __init__(self, series: BarSeries) -> None:
        self._extra_names = tuple(series.extra)
        self._length = 0
        self._instants: NDArray[np.int64]
        self._numbers: NDArray[np.float64]
        self._make_room(len(series), 5 + len(self._extra_names))
        self.series = series
        if len(series):
            self.extend(series, len(series))

    def append(self, bar: Bar, end_ns: int, extra: Sequence[float] = ()) -> None:
        """Add one bar; `extra` holds the values of the extra columns, in the order of the series."""
        row = self._length
        if row == self._numbers.shape[1]:
            self._make_room(row + 1, len(self._numbers))
        self._instants[:, row] = (bar.ts_ns, end_ns)
        self._numbers[:, row] = (bar.open, bar.high, bar.low, bar.close, bar.volume, *extra)
        self._show(row + 1)

    def extend(self, series: BarSeries, rows: int) -> None:
        """Add the first `rows` bars of `series`, which has the same columns."""
        first, past = self._length, self._length + rows
        if past > self._numbers.shape[1]:
            self._make_room(past, len(self._numbers))
        self._instants[:, first:past] = (series.start[:rows], series.end[:rows])
        for place, column in enumerate(series.columns().values()):
            self._numbers[place, first:past] = column[:rows]
        self._show(past)

    def _make_room(self, rows: int, columns: int) -> None:
        room = max(_FIRST_ROOM, 2 * rows)
        instants, numbers = np.empty((2, room), dtype=np.int64), np.empty((columns, room), dtype=np.float64)
        length = self._length
        if length:
            instants[:, :length] = self._instants[:, :length]
            numbers[:, :length] = self._numbers[:, :length]
        self._instants, self._numbers = instants, numbers
        self._shown_instants, self._shown_numbers = instants.view(), numbers.view()
        self._shown_instants.flags.writeable = self._shown_numbers.flags.writeable = False

    def _show(self, length: int) -> None:
        """Let `series` have `length` rows. The arrays of an earlier `series` keep theirs."""
        self._length = length
        start, end = self._shown_instants[:, :length]
        columns = self._shown_numbers[:, :length]
        # Made without the checks of BarSeries, which cost more than the rest of a bar: columns of this class are right.
        series = object.__new__(BarSeries)
        for name in _SHARED:
            object.__setattr__(series, name, getattr(self.series, name))
        for name, column in zip(_COLUMNS, (start, end, *columns), strict=False):
            object.__setattr__(series, name, column)
        extra = dict(zip(self._extra_names, columns[len(PRICE_COLUMNS) :], strict=True)) if self._extra_names else {}
        object.__setattr__(series, "extra", extra)
        self.series = series
