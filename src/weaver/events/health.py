"""LogHealth: distinguishes a log without new events from a listener that would not notice new events."""

from __future__ import annotations

from enum import StrEnum

import msgspec

__all__ = ["ListenerState", "LogHealth"]


class ListenerState(StrEnum):
    """State of the notifications from the database. Without them readers poll, so no event is lost, only time."""

    OFF = "off"  # no subscription
    CONNECTING = "connecting"
    QUIET = "quiet"  # the last canary came back; nothing was appended since
    LIVE = "live"  # something was appended since the last canary
    DEAD = "dead"  # the canary did not come back; reconnecting


class LogHealth(msgspec.Struct, frozen=True, kw_only=True):
    """The state of the log at one moment. `age_s` is the age of the newest event by the database's clock (None: no event).

    `lag` is the number of offsets between each consumer and the newest event. `gap_waits` is how often readers of this
    process waited for a gap, `gap_wait_s` the total time.
    """

    listener: ListenerState
    latest_offset: int
    events: int
    age_s: float | None
    lag: dict[str, int]
    gap_waits: int = 0
    gap_wait_s: float = 0.0
    reconnects: int = 0
