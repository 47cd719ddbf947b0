"""Ports of time: what everything above core may ask of a clock, and nothing more.

A `Clock` tells the time and waits; a `TickSource` says when bars are complete. Both are handed in by wiring; who needs one
never imports the clock that implements it. `run_until` builds a timeout from a `Clock`, so that a test clock drives it.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Iterator
from datetime import datetime
from typing import Protocol, TypeVar, runtime_checkable

from weaver.core.timeframe import Timeframe

__all__ = ["Clock", "Tick", "TickCallback", "TickSource", "Unschedule", "Unsubscribe", "run_until"]

Unschedule = Callable[[], None]
"""Takes back what was scheduled; does nothing when it has already run or was taken back before."""

Unsubscribe = Callable[[], None]
"""Ends a subscription; doing it twice does nothing."""

_T = TypeVar("_T")


class Tick(Protocol):
    """One tick of a clock at `ts_ns`: every bar that ends there is complete, and the next one starts now."""

    @property
    def run_id(self) -> str: ...
    @property
    def ts_ns(self) -> int: ...
    @property
    def ts(self) -> datetime: ...
    @property
    def timeframe(self) -> str: ...
    @property
    def bar_index(self) -> int: ...
    @property
    def is_backtest(self) -> bool: ...


TickCallback = Callable[[Tick], Awaitable[None] | None]


@runtime_checkable
class Clock(Protocol):
    """The time, and waiting for it. Instants are int nanoseconds since 1970-01-01 UTC."""

    def now_ns(self) -> int:
        """What time it is."""
        ...

    async def sleep_until(self, ts_ns: int) -> None:
        """Return at `ts_ns` or as soon after it as can be, never before; at once when it has passed."""
        ...

    def call_at(self, ts_ns: int, callback: Callable[[], None]) -> Unschedule:
        """Call `callback` once on the running event loop, at `ts_ns` or as soon after it as can be, never before."""
        ...


@runtime_checkable
class TickSource(Protocol):
    """Bar boundaries in order, each exactly once."""

    @property
    def timeframe(self) -> Timeframe:
        """The length of the bars that end at the boundaries."""
        ...

    def boundaries(self) -> Iterator[int]:
        """The boundaries as plain ints, strictly rising, for use without an event loop."""
        ...

    def on_tick(self, callback: TickCallback) -> Unsubscribe:
        """Call `callback` (a function or a coroutine function) at every tick until the returned function is called."""
        ...


async def run_until(clock: Clock, ts_ns: int, awaitable: Awaitable[_T]) -> _T:
    """The result of `awaitable`, or `TimeoutError` (and `awaitable` cancelled) once `clock` reaches `ts_ns`."""
    async with asyncio.timeout(None) as scope:  # noqa: TID251 - without a time of its own
        # Zero lies in the past of every event loop's own time, so this means "now" without reading a second clock.
        cancel = clock.call_at(ts_ns, lambda: scope.reschedule(0.0))
        try:
            return await awaitable
        finally:
            cancel()
