"""The tick procedure: what a strategy is shown and called with at one tick, in which order.

This is the definition of the order of a tick. Paper trading, recovery and replay call it; Greta's loops are optimised forms
of it, and tests/agreement/test_bar_by_bar.py compares them with it byte for byte. The commands follow from the inputs
alone: no clock is read, no bar is known before it is shown, and the account is one of the inputs, because adding fills up
again in another order changes the last bits of the cash.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from itertools import groupby
from operator import attrgetter

import msgspec

from weaver.core.account import AccountSnapshot
from weaver.core.bars import Bar
from weaver.core.errors import StrategyCrashed
from weaver.core.orders import Command, OrderUpdate
from weaver.marvin.context import Context
from weaver.marvin.crash_report import is_from_strategy, strategy_crashed
from weaver.marvin.history import History
from weaver.marvin.symbol_state import SymbolState
from weaver.marvin.unexpected_update import UnexpectedUpdate

__all__ = ["ShownBar", "TickInputs", "TickProcedure"]

_by_end = attrgetter("end_ns")


class ShownBar(msgspec.Struct, frozen=True):
    """A bar that is shown to the strategy. It ended at `end_ns`; `extra` holds its extra columns, in the series' order."""

    bar: Bar
    end_ns: int
    extra: tuple[float, ...] = ()


class TickInputs(msgspec.Struct, frozen=True, kw_only=True):
    """Everything that a tick's commands follow from, apart from the ticks before it.

    `tick_ns` is the tick (UTC nanoseconds). `bars` are in the order of their ends, those of one end in the order of the
    run; bars that come late are before the others. `updates` is the news since the last tick, and `account` the account
    after that news. The inputs survive MessagePack to the last bit.
    """

    tick_ns: int
    bars: tuple[ShownBar, ...] = ()
    updates: tuple[OrderUpdate, ...] = ()
    account: AccountSnapshot | None = None


class TickProcedure:
    """Runs one strategy tick by tick. `context` must be one that `grows`.

    Call `start` once, `tick` for each tick with bars, news or timers that are due, then `stop`. `history` is None before
    `start`. Each returns the commands that the strategy gave, in call order. They raise StrategyCrashed, which names the
    callback, the bar and the tick.
    """

    def __init__(self, context: Context, params: Mapping[str, object] | None = None) -> None:
        self.context = context
        self.history: History | None = None
        self.unexpected: Sequence[UnexpectedUpdate] = ()
        """The updates of the last tick that contradict what was known; their fills are booked all the same."""
        self._params = dict(params or {})
        overrides, strategy = context.overrides, context.strategy
        self._on_bar = strategy.on_bar if "on_bar" in overrides else None
        self._on_bars = strategy.on_bars if "on_bars" in overrides else None

    def start(self, tick_ns: int) -> list[Command]:
        """Run `on_start`, at the run's first tick."""
        with self._naming_errors("on_start"):
            self.context.now_ns = tick_ns
            self.context.start()
            self.history = History(self.context)
        return self._take_commands()

    def timers_are_due(self, tick_ns: int) -> bool:
        """Return whether a timer is due at `tick_ns`, so that the tick is one even without bars and news."""
        timers = self.context.timers
        return timers.armed and tick_ns >= timers.next_due

    def tick(self, inputs: TickInputs) -> list[Command]:
        """Run one tick: the news, the histories, the bars, the timers; return the commands."""
        with self._naming_errors("on_bar"):
            self.context.now_ns = inputs.tick_ns
            self._deliver(inputs)
            self._show(inputs)
            self._fire_timers(inputs.tick_ns)
            self.context.check_positions()
        return self._take_commands()

    def stop(self, tick_ns: int) -> None:
        """Run `on_stop`, which gives no commands."""
        with self._naming_errors("on_stop"):
            self.context.now_ns = tick_ns
            self.context.stop()

    # The steps of a tick, in their order.

    def _deliver(self, inputs: TickInputs) -> None:
        """Deliver the news, while the views still end a bar earlier."""
        if inputs.account is not None:
            self.context.show_account(inputs.account)
        self.unexpected = self.context.deliver(inputs.updates) if inputs.updates else ()

    def _show(self, inputs: TickInputs) -> None:
        """Advance all histories, then call the strategy with the bars; bars that come late are shown first, end by end."""
        assert self.history is not None, "start() comes before tick()"
        for end_ns, shown in groupby(inputs.bars, _by_end):
            states, bars = self._advance(shown, end_ns)
            self._call_bars(states, bars, end_ns)
        if not inputs.bars or inputs.bars[-1].end_ns < inputs.tick_ns:
            self.history.advance((), inputs.tick_ns)

    def _advance(self, shown: Iterable[ShownBar], end_ns: int) -> tuple[list[SymbolState], list[Bar]]:
        """Show the bars that ended at `end_ns`; return the states of their symbols, and the bars."""
        assert self.history is not None
        states, bars = [], []
        for each in shown:
            state = self.context.run.state(each.bar.symbol, "tick")
            self.history.show(state, each.bar, end_ns, each.extra)
            states.append(state)
            bars.append(each.bar)
        self.history.advance(states, end_ns)
        return states, bars

    def _call_bars(self, states: Sequence[SymbolState], bars: Sequence[Bar], end_ns: int) -> None:
        """Call `on_bar` for each symbol whose indicators have values, then `on_bars` with all of these."""
        ready = [bar for state, bar in zip(states, bars, strict=True) if end_ns >= state.ready_ns]
        if self._on_bar is not None:
            for bar in ready:
                self._on_bar(bar)
        if self._on_bars is not None and ready:
            self._on_bars({bar.symbol: bar for bar in ready})

    def _fire_timers(self, tick_ns: int) -> None:
        if self.timers_are_due(tick_ns):
            self.context.timers.fire(tick_ns)

    def _take_commands(self) -> list[Command]:
        commands = list(self.context.commands)
        self.context.commands.clear()
        return commands

    @contextmanager
    def _naming_errors(self, callback: str) -> Iterator[None]:
        """Turn an exception of the strategy's code into StrategyCrashed; others are Weaver's own and pass."""
        try:
            yield
        except StrategyCrashed:
            raise
        except Exception as error:  # the strategy's code is the user's, and may raise anything
            if not is_from_strategy(error, self.context.strategy):
                raise
            raise strategy_crashed(error, self.context, self._params, callback) from error
