"""run.*: the life of a run, a backtest's or a live one's."""

from __future__ import annotations

from typing import Any

import msgspec

from weaver.events.registry import register

__all__ = ["RunCompleted", "RunCreated", "RunError", "RunStarted", "RunStopped"]


@register("run.Created")
class RunCreated(msgspec.Struct, frozen=True, kw_only=True):
    """A run was asked for. `config` is everything that identifies it, as the JSON of its RunConfig."""

    config: dict[str, Any]
    weaver: str


@register("run.Started")
class RunStarted(msgspec.Struct, frozen=True, kw_only=True):
    """Its first tick is next. `bars` is how many bars there are to see over all symbols, None where nobody can know."""

    bars: int | None = None


@register("run.Completed")
class RunCompleted(msgspec.Struct, frozen=True, kw_only=True):
    """It came to its end. `stats` are the figures of its result; one that has no value is null."""

    bars: int
    orders: int
    fills: int
    elapsed_s: float
    stats: dict[str, Any]


@register("run.Stopped")
class RunStopped(msgspec.Struct, frozen=True, kw_only=True):
    """Somebody ended it before its end."""

    reason: str
    bars: int
    orders: int
    fills: int


@register("run.Error")
class RunError(msgspec.Struct, frozen=True, kw_only=True):
    """It ended on an error: its name, what it said, and where, as a traceback a person can read."""

    error: str
    message: str
    traceback: str = ""
    bars: int = 0
