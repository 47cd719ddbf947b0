"""run.*: creation, start and end of a run, backtest or live."""

from __future__ import annotations

from typing import Any

import msgspec

from weaver.events.registry import register

__all__ = ["RunCompleted", "RunCreated", "RunError", "RunStarted", "RunStopped"]


@register("run.Created")
class RunCreated(msgspec.Struct, frozen=True, kw_only=True):
    """A run was requested. `config` is everything that identifies it, as the JSON of its RunConfig."""

    config: dict[str, Any]
    weaver: str


@register("run.Started")
class RunStarted(msgspec.Struct, frozen=True, kw_only=True):
    """The run is about to tick. `bars` is the number of bars over all symbols, None if it is not known."""

    bars: int | None = None


@register("run.Completed")
class RunCompleted(msgspec.Struct, frozen=True, kw_only=True):
    """The run reached its end. `stats` are the statistics of its result; one without a value is null."""

    bars: int
    orders: int
    fills: int
    elapsed_s: float
    stats: dict[str, Any]


@register("run.Stopped")
class RunStopped(msgspec.Struct, frozen=True, kw_only=True):
    """The run was stopped before its end."""

    reason: str
    bars: int
    orders: int
    fills: int


@register("run.Error")
class RunError(msgspec.Struct, frozen=True, kw_only=True):
    """The run ended on an error: its name, message and traceback."""

    error: str
    message: str
    traceback: str = ""
    bars: int = 0
