"""Health: whether the log is quiet because nothing happens, or because nobody would notice if it did."""

from __future__ import annotations

from enum import StrEnum

import msgspec

__all__ = ["ListenerState", "LogHealth"]


class ListenerState(StrEnum):
    """The wake-up call from the database. Without it nothing is lost: readers look by themselves, but later."""

    OFF = "off"  # nobody has subscribed
    CONNECTING = "connecting"
    QUIET = "quiet"  # its last test call came through; nothing was appended since
    LIVE = "live"  # something was appended since its last test call
    DEAD = "dead"  # it gave no answer; reconnecting


class LogHealth(msgspec.Struct, frozen=True, kw_only=True):
    """A moment of the log. `age_s` is the age of the newest event (None: there is none), by the database's clock.

    `lag` is by consumer how many offsets lie between it and the newest event; `gap_waits` how often a reader of this process
    met a gap, and `gap_wait_s` how long it waited for the transactions that could fill one.
    """

    listener: ListenerState
    latest_offset: int
    events: int
    age_s: float | None
    lag: dict[str, int]
    gap_waits: int = 0
    gap_wait_s: float = 0.0
    reconnects: int = 0
