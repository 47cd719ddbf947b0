"""Session calendar: the port through which bars and ticks follow an exchange's trading sessions.

It knows opens, closes, half days and breaks in UTC, whatever the local clocks do. The adapter over a real calendar library
lives with the clocks (`weaver.glados.clock.calendars`); nothing here imports one.
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
    """The session's date at 00:00 UTC: its name, and the name of its daily bar."""
    open: Instants
    """When it opens."""
    close: Instants
    """When it closes; on a half day that is early."""


@runtime_checkable
class SessionCalendar(Protocol):
    """The sessions of one exchange.

    Intraday bars start at the open of a session (after a lunch break: at the reopening) and then every `timeframe`; the
    last one is cut at the close, so a half day ends early. A daily bar is named by its session date at 00:00 UTC and ends
    at that session's close; a weekly bar is named by its Monday at 00:00 UTC and ends at the close of the week's last
    session. All arrays are int64 nanoseconds since 1970-01-01 UTC.
    """

    @property
    def name(self) -> str:
        """The name that the calendar is asked for by, such as `XNYS`."""
        ...

    def sessions(self, first_ns: int, last_ns: int) -> Sessions:
        """The sessions that overlap [first_ns, last_ns], each from its date (00:00 UTC) or open up to before its close."""
        ...

    def bar_ends(self, starts: Instants, timeframe: Timeframe) -> Instants:
        """The end of each bar by its start. Raises `OffGridError` that names the first start which is none here."""
        ...

    def boundaries(self, first_ns: int, last_ns: int, timeframe: Timeframe) -> Instants:
        """Every tick in [first_ns, last_ns], strictly rising: where trading opens (a bar starts) and where bars end."""
        ...

    def session_ids(self, starts: Instants, timeframe: Timeframe) -> Instants:
        """The session date (00:00 UTC) that each bar belongs to. Raises `OffGridError` like `bar_ends`."""
        ...
