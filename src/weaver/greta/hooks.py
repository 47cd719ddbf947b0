"""Hooks: the optional callbacks of an engine, and when each is called. They do not change the run."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

from weaver.core.orders import Command, Fill
from weaver.marvin.order import Order

__all__ = ["HookCalls", "Hooks"]

_PROGRESS_NS = 100_000_000
_SINK_NS = 1_000_000_000


@dataclass(frozen=True, slots=True, kw_only=True)
class Hooks:
    """Optional callbacks of an engine. They do not change the run.

    `stopwatch` returns nanoseconds since any instant. `progress(done, total)` is called about ten times a second,
    `sink(orders, fills)` about once a second with the new orders (as the strategy's handles, whose status changes later)
    and the new fills, `should_stop()` between chunks of bars, `on_commands(commands, tick_ns)` with each tick's commands
    before the broker gets them.
    """

    stopwatch: Callable[[], int] = field(default=lambda: 0)
    progress: Callable[[int, int], object] | None = None
    sink: Callable[[Sequence[Order], Sequence[Fill]], object] | None = None
    should_stop: Callable[[], bool] | None = None
    on_commands: Callable[[Sequence[Command], int], object] | None = None


class HookCalls:
    """Calls the hooks of one run between chunks of bars, each when it is due."""

    def __init__(self, hooks: Hooks, bars_total: int) -> None:
        self._hooks = hooks
        self._bars_total = bars_total
        self._next_progress = 0
        self._next_sink = 0
        self._orders_passed = 0
        self._fills_passed = 0

    def make(self, bars_done: int, orders: Sequence[Order], fills: Sequence[Fill], *, force: bool) -> bool:
        """Call the hooks that are due, with `force` all; return False if the run is to stop."""
        hooks = self._hooks
        now = hooks.stopwatch()
        if hooks.progress is not None and (force or now >= self._next_progress):
            self._next_progress = now + _PROGRESS_NS
            hooks.progress(bars_done, self._bars_total)
        if hooks.sink is not None and (force or now >= self._next_sink):
            self._next_sink = now + _SINK_NS
            new_orders, new_fills = orders[self._orders_passed :], fills[self._fills_passed :]
            if new_fills or new_orders:
                hooks.sink(new_orders, new_fills)
            self._orders_passed += len(new_orders)
            self._fills_passed += len(new_fills)
        return force or hooks.should_stop is None or not hooks.should_stop()
