"""Session calendar: the port through which bars and ticks follow an exchange's trading sessions.

It has opens, closes, half days and breaks in UTC, daylight saving included. The adapter for the library exchange-calendars
is `weaver.glados.clock.calendars`; this module imports no calendar library.
"""

from __future__ import annotations

from typing import NamedTuple, Protocol, runtime_checkable

import numpy as np
from numpy.typing import NDArray

from weaver.core.timeframe import Timeframe

__all__ = ["SessionCalendar", "Sessions"]

Instants = NDArray[np.int64]


class Sessions(NamedTuple):
    """Sessions in order, as three int64 arrays of equal length, in nanoseconds since 1970-01-01 UTC."""

    date: Instants
    """The session's date at 00:00 UTC, which names the session and its daily bar."""
    open: Instants
    """The open."""
    close: Instants
    """The close, early on a half day."""


@runtime_checkable
class SessionCalendar(Protocol):
    """The sessions of one exchange.

    Intraday bars start at the open of a session (after a lunch break: at the reopening) and then every `timeframe`; the
    last one ends at the close, early on a half day. A daily bar is named by its session date at 00:00 UTC and ends
    at that session's close; a weekly bar is named by its Monday at 00:00 UTC and ends at the close of the week's last
    session. All arrays are int64 nanoseconds since 1970-01-01 UTC.
    """

    @property
    def name(self) -> str:
        """The code of the exchange, such as `XNYS`."""
        ...

    def sessions(self, first_ns: int, last_ns: int) -> Sessions:
        """Return the sessions that overlap [first_ns, last_ns]; each is from its date (00:00 UTC) or open to its close."""
        ...

    def bar_ends(self, starts: Instants, timeframe: Timeframe) -> Instants:
        """Return the end of each bar by its start. Raises `OffGridError` that names the first start off the grid."""
        ...

    def boundaries(self, first_ns: int, last_ns: int, timeframe: Timeframe) -> Instants:
        """Return all ticks in [first_ns, last_ns], strictly rising: the opens of trading and the ends of bars."""
        ...

    def session_ids(self, starts: Instants, timeframe: Timeframe) -> Instants:
        """Return the session date (00:00 UTC) of each bar. Raises `OffGridError` like `bar_ends`."""
        ...
