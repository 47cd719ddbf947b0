"""Values that clocks exchange with their subscribers: ticks, gaps, failures of callbacks, subscriptions."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from datetime import datetime
from enum import StrEnum
from typing import Any, NamedTuple

import msgspec

from weaver.core.errors import ConfigError
from weaver.core.instants import format_ns, from_ns
from weaver.core.text import brief
from weaver.glados.clock.grid import Grid

__all__ = [
    "CallbackFailure",
    "ClockGap",
    "ClockTick",
    "GapCallback",
    "GapReason",
    "LastTick",
    "Subscription",
    "TickCallback",
    "check_callback",
    "gap_while_down",
]


class ClockTick(msgspec.Struct, frozen=True, gc=False):
    """A tick: every bar that ends at `ts_ns` is complete, and the next one starts.

    `ts_ns` is the boundary (nanoseconds since 1970-01-01 UTC), not the moment of emission. `bar_index` counts the
    boundaries of the run from 0, missed ones included.
    """

    run_id: str
    ts_ns: int
    timeframe: str
    bar_index: int
    is_backtest: bool

    @property
    def ts(self) -> datetime:
        """The boundary as an aware UTC datetime, computed at each access."""
        return from_ns(self.ts_ns)


class GapReason(StrEnum):
    """Why boundaries were not ticked."""

    STEP = "the wall clock was set forward"
    SUSPEND = "the machine was suspended"
    BLOCKED = "the event loop was blocked"
    SLOW_CALLBACK = "a callback was too slow"
    STOPPED = "the clock was stopped before a slow callback got to them"
    DOWN = "the program was not running"


class ClockGap(msgspec.Struct, frozen=True, gc=False):
    """The boundaries from `first_ns` to `last_ns`, both included and `count` in number, were missed."""

    first_ns: int
    last_ns: int
    count: int
    reason: GapReason

    @property
    def first(self) -> datetime:
        """The first missed boundary, an aware UTC datetime."""
        return from_ns(self.first_ns)

    @property
    def last(self) -> datetime:
        """The last missed boundary, an aware UTC datetime."""
        return from_ns(self.last_ns)

    def __str__(self) -> str:
        return f"{self.count} missed, {format_ns(self.first_ns)} to {format_ns(self.last_ns)}: {self.reason}"


class LastTick(NamedTuple):
    """The last tick before a run was interrupted; the clock that resumes the run continues after it."""

    ts_ns: int
    bar_index: int


def gap_while_down(grid: Grid, after_ns: int, until_ns: int) -> ClockGap | None:
    """Return the boundaries of `grid` between the two instants, both excluded, as one gap; None where there is none."""
    ends = grid.ends(after_ns + 1, until_ns - 1)
    return None if ends is None else ClockGap(*ends, grid.count(*ends), GapReason.DOWN)


class CallbackFailure(msgspec.Struct, frozen=True, kw_only=True):
    """A callback raised `error` and was unsubscribed. `ts_ns` is the boundary of its tick, or the first one of its gap."""

    callback: Callable[..., object]
    error: BaseException
    ts_ns: int

    @property
    def ts(self) -> datetime:
        """The boundary as an aware UTC datetime."""
        return from_ns(self.ts_ns)

    def __str__(self) -> str:
        name = getattr(self.callback, "__qualname__", None) or brief(self.callback)
        return f"callback {name} was unsubscribed at {format_ns(self.ts_ns)}: it raised {brief(self.error)}"


TickCallback = Callable[[ClockTick], Awaitable[None] | None]
GapCallback = Callable[[ClockGap], Awaitable[None] | None]


def check_callback(method: str, callback: object) -> None:
    """Raise `ConfigError` unless `callback` can be called; the error comes at the subscription, not at the first tick."""
    if not callable(callback):
        raise ConfigError(f"{method}({brief(callback)}): give a function or a coroutine function (without calling it)")


class Subscription:
    """One callback. `active` becomes False when it is unsubscribed, which takes effect within the same tick."""

    __slots__ = ("active", "callback")

    def __init__(self, callback: Callable[[Any], Awaitable[None] | None]) -> None:
        self.callback = callback
        self.active = True
