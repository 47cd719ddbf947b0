"""Idle loop: an event loop that detects that all code on it is blocked, so that simulated time can move on.

It sees only code that waits on the loop. Work in another thread is invisible to it until the thread reports its result.
"""

from __future__ import annotations

import asyncio
import selectors
from collections.abc import Callable, Coroutine
from typing import Any, TypeVar

__all__ = ["run_until_idle"]

_T = TypeVar("_T")

Idle = Callable[[float | None], bool]
"""Called with the seconds that the loop would wait (None: for ever); returns whether it made some code ready."""


class _IdleSelector(selectors.DefaultSelector):
    idle: Idle | None = None

    def select(self, timeout: float | None = None) -> list[tuple[selectors.SelectorKey, int]]:
        if self.idle is not None and (timeout is None or timeout > 0):
            ready = super().select(0)
            if ready or self.idle(timeout):
                return ready
        return super().select(timeout)


class _IdleLoop(asyncio.SelectorEventLoop):
    def __init__(self, selector: _IdleSelector, now: Callable[[], float] | None) -> None:
        self._now = now
        super().__init__(selector)

    def time(self) -> float:
        return self._now() if self._now is not None else super().time()


def run_until_idle(main: Coroutine[Any, Any, _T], idle: Idle, now: Callable[[], float] | None = None) -> _T:
    """Run `main` on a new event loop and return its result; call `idle` whenever all code waits.

    `now` (seconds) replaces the loop's own time, which `call_later` and `asyncio.timeout` use.
    """
    selector = _IdleSelector()

    async def supervised() -> _T:
        selector.idle = idle
        try:
            return await main
        finally:
            selector.idle = None

    with asyncio.Runner(loop_factory=lambda: _IdleLoop(selector, now)) as runner:
        return runner.run(supervised())
