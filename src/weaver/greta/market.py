"""Market: the instruments, prices and sessions that the simulated broker may know. It knows nothing of the strategy.

Rows count each symbol's bars from 0. A symbol's cursor points at its last complete bar; while the broker handles a tick,
before the strategy sees it, the bar that ends at the tick is the one after the cursor. The engine moves the cursors.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

from weaver.core.bars import BarSeries
from weaver.core.calendar import SessionCalendar
from weaver.core.sessions import SessionRows, session_rows
from weaver.marvin.symbol_state import SymbolState

__all__ = ["GrowingMarket", "Market"]


class _SessionTable(dict[int, SessionRows]):
    """The sessions of each symbol's rows, by the symbol's index; computed when first read."""

    def __init__(self, series: Sequence[BarSeries], calendar: SessionCalendar | None) -> None:
        super().__init__()
        self._series = series
        self._calendar = calendar

    def __missing__(self, index: int) -> SessionRows:
        rows = self[index] = session_rows(self._series[index], self._calendar)
        return rows


class Market:
    """The symbols of a run, by index in the order of the run.

    `symbols` and `index_of` translate between names and indices; `closes()` returns every symbol's last close, 0.0 before
    its first bar, as a list that must not be changed; `sessions` holds the session of every row.
    """

    def __init__(
        self,
        states: Sequence[SymbolState],
        closes: Callable[[], Sequence[float]],
        calendar: SessionCalendar | None,
    ) -> None:
        self.states = states
        self.symbols = tuple(state.symbol for state in states)
        self.index_of = {state.symbol: state.index for state in states}
        self.closes = closes
        self.calendar = calendar
        self._not_begun = list(states)
        self.sessions = _SessionTable([state.series for state in states], calendar)

    def last_close(self, index: int) -> float | None:
        """Return the close of the last complete bar, None before the first."""
        return self.states[index].last_close

    def last_volume(self, index: int) -> float:
        """Return the volume of the last complete bar; there must be one."""
        state = self.states[index]
        return float(state.series.volume[state.cursor.last])

    def marks(self, entry_prices: Sequence[float]) -> Sequence[float]:
        """Return every symbol's last close; during its first bar, a symbol's average entry price."""
        marks = self.closes()
        if self._not_begun:
            self._not_begun = [state for state in self._not_begun if state.cursor.last < 0]
        if not self._not_begun:
            return marks
        return [
            mark if state.cursor.last >= 0 else entry_prices[state.index]
            for state, mark in zip(self.states, marks, strict=True)
        ]

    def sessions_are_known(self, index: int) -> bool:
        """Return whether the opens and closes of sessions are known.

        Those of daily bars always are; those of shorter bars with a calendar.
        """
        return self.calendar is not None or not self.states[index].series.timeframe.is_intraday

    def opens_session(self, index: int) -> bool:
        """Return whether the bar that ends at this tick is the first of its session."""
        return bool(self.sessions[index].first[self.states[index].cursor.last + 1])

    def session_close(self, index: int) -> int:
        """Return the tick (ns) that closes the session of the bar that ends at this tick."""
        return int(self.sessions[index].close[self.states[index].cursor.last + 1])


class GrowingMarket(Market):
    """The same over columns that grow: the session of a bar is computed from the calendar, the bar and the one before."""

    def opens_session(self, index: int) -> bool:
        """Return whether the bar that ends at this tick is the first of its session."""
        return bool(self._newest_session(index).first[-1])

    def session_close(self, index: int) -> int:
        """Return the tick (ns) that closes the session of the bar that ends at this tick."""
        return int(self._newest_session(index).close[-1])

    def _newest_session(self, index: int) -> SessionRows:
        row = self.states[index].cursor.last + 1
        return session_rows(self.states[index].series.rows(max(row - 1, 0), row + 1), self.calendar)
