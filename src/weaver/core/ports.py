"""Ports of time: what the packages above core may ask of a clock.

A `Clock` reads the time and waits. It knows two times, which differ when the wall clock is set:

- wall time (`now_ns`, `sleep_until`, `call_at`) is for time stamps and bar boundaries only;
- elapsed time (`elapsed_ns`, `call_after`, `sleep_for`, `run_within`) is for every length of time: timeouts, polling,
  back-off, leases. Setting the wall clock does not change it.

A `TickSource` announces complete bars. Clocks and tick sources are passed in; their users never import an implementation.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Iterator
from datetime import datetime
from typing import Protocol, TypeVar, runtime_checkable

from weaver.core.timeframe import Timeframe

__all__ = [
    "Clock",
    "Tick",
    "TickCallback",
    "TickSource",
    "Unschedule",
    "Unsubscribe",
    "run_within",
    "sleep_for",
    "until_called",
]

Unschedule = Callable[[], None]
"""Cancels a scheduled call; does nothing when the call has run or was cancelled before."""

Unsubscribe = Callable[[], None]
"""Ends a subscription; calling it twice does nothing."""

_T = TypeVar("_T")


class Tick(Protocol):
    """One tick of a clock at `ts_ns`: every bar that ends then is complete, and the next one starts."""

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
    """Wall time, elapsed time, and waiting by either. All values are int nanoseconds."""

    def now_ns(self) -> int:
        """Return wall time in nanoseconds since 1970-01-01 UTC. It jumps when the clock is set."""
        ...

    def elapsed_ns(self) -> int:
        """Return nanoseconds since an arbitrary start, for measuring lengths of time.

        It never goes back, ignores changes of the wall clock, and counts the time while the machine was suspended
        (where the system tells).
        """
        ...

    async def sleep_until(self, ts_ns: int) -> None:
        """Return at wall time `ts_ns` or as soon as possible after it, never before; at once when it has passed.

        For bar boundaries. To wait for a length of time use `sleep_for`.
        """
        ...

    def call_at(self, ts_ns: int, callback: Callable[[], None]) -> Unschedule:
        """Call `callback` once on the running event loop, at wall time `ts_ns` or as soon as possible after it.

        It is never called before, and soon when `ts_ns` has passed.
        """
        ...

    def call_after(self, delay_ns: int, callback: Callable[[], None]) -> Unschedule:
        """Call `callback` once on the running event loop after `delay_ns` of elapsed time, never before.

        It is called soon when `delay_ns` is zero or negative.
        """
        ...


@runtime_checkable
class TickSource(Protocol):
    """Bar boundaries in order, each exactly once."""

    @property
    def timeframe(self) -> Timeframe:
        """The length of the bars that end at the boundaries."""
        ...

    def boundaries(self) -> Iterator[int]:
        """Return the boundaries as ints, strictly rising, for use without an event loop."""
        ...

    def on_tick(self, callback: TickCallback) -> Unsubscribe:
        """Call `callback` (a function or a coroutine function) at every tick; return the function that ends this."""
        ...


async def sleep_for(clock: Clock, delay_ns: int) -> None:
    """Return after `delay_ns` of elapsed time on `clock`; soon when it is zero or negative."""
    await until_called(lambda wake: clock.call_after(delay_ns, wake))


async def until_called(schedule: Callable[[Callable[[], None]], Unschedule]) -> None:
    """Return once the function passed to `schedule` is called; unschedule it when this is cancelled."""
    woken = asyncio.get_running_loop().create_future()
    cancel = schedule(lambda: None if woken.done() else woken.set_result(None))
    try:
        await woken
    finally:
        cancel()


async def run_within(clock: Clock, delay_ns: int, awaitable: Awaitable[_T]) -> _T:
    """Return the result of `awaitable`; cancel it and raise `TimeoutError` after `delay_ns` of elapsed time on `clock`."""
    async with asyncio.timeout(None) as scope:  # noqa: TID251 - a scope without a time of its own
        # Zero is in the past of every event loop's own time, so this means "now" without reading a second clock.
        cancel = clock.call_after(delay_ns, lambda: scope.reschedule(0.0))
        try:
            return await awaitable
        finally:
            cancel()
