"""Engine: runs one strategy over complete bars, tick by tick.

The order of a tick is the same in a backtest and live: first the news since the last tick (fills, order updates), then
the histories and indicators advance and `on_bar` and `on_bars` are called, then timers that are due, then the commands. A
bar is visible only once its end was ticked; if the clock passes over a boundary that bars need, the run stops with
`MissedBoundary`. The engine reads no clock: it receives the boundaries and a stopwatch. A boundary without a bar and
without a due timer calls nothing.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence

import numpy as np

from weaver.core.account import Account
from weaver.core.bars import Bar, BarSeries
from weaver.core.calendar import SessionCalendar
from weaver.core.errors import MissedBoundary, NoBars, StrategyCrashed
from weaver.core.instants import format_ns
from weaver.core.orders import LONGEST_TAG, Command, OrderRequest, OrderStatus, Side
from weaver.core.suggest import listed
from weaver.greta.bar_groups import bar_groups
from weaver.greta.bar_interval import BarInterval
from weaver.greta.bar_magnifier import FinerBars
from weaver.greta.broker import SimulatedBroker
from weaver.greta.broker_settings import BrokerSettings
from weaver.greta.gc_threshold import fewer_collections
from weaver.greta.hooks import HookCalls, Hooks
from weaver.greta.hot_loop import MOST_FED, LoopParts, run_chunk
from weaver.greta.market import Market
from weaver.marvin.context import Context
from weaver.marvin.crash_report import is_from_strategy, strategy_crashed
from weaver.marvin.strategy import Strategy
from weaver.marvin.symbol_state import SymbolState

__all__ = ["Engine", "Hooks"]

_CLOCK_ENDED = -(2**63)
_FIRST_CHUNK = 256
_LONGEST_CHUNK = 2048
_CHUNK_NS = 50_000_000
"""Chunks grow until one takes this long, so that progress and Ctrl-C are prompt even with a slow strategy."""


class Engine:
    """One backtest. `series` may begin with history (`BarSeries.history`), which is visible from `on_start` on.

    After `run()` its `broker`, `context` and `account` hold the outcome.

    `finished` says whether it reached the end of the bars; if not, `stopped_by` says why. `last_tick_ns` is the last tick.
    """

    def __init__(
        self,
        strategy: Strategy,
        series: Mapping[str, BarSeries],
        boundaries: Iterator[int],
        *,
        run_id: str,
        cash: float,
        settings: BrokerSettings,
        seed: int = 0,
        calendar: SessionCalendar | None = None,
        params: Mapping[str, object] | None = None,
        finalize: bool = False,
        hooks: Hooks | None = None,
        finer: Mapping[str, BarSeries] | None = None,
    ) -> None:
        empty = [symbol for symbol, bars in series.items() if len(bars) <= bars.history]
        if empty or not series:
            raise NoBars(
                f"no bars to run on{' for ' + ', '.join(empty) if empty else ''}; check symbols, start and end"
            )
        self.series = {symbol: bars.without_history() for symbol, bars in series.items()}
        self.account = Account(cash, list(series), [bars.instrument for bars in series.values()])
        self.context = self._new_context(strategy, series, run_id, seed, calendar)
        self.market = self._new_market(calendar)
        self.broker = SimulatedBroker(self.market, self.account, settings, self._adopt, self.context.report_filled)
        finer_bars = {
            index: FinerBars(finer[bars.symbol], bars.timeframe)
            for index, bars in enumerate(series.values())
            if finer and bars.symbol in finer
        }
        self._order_book = self.broker.order_book
        self._order_book.announces = bool({"on_order", "on_fill"} & self.context.overrides)
        self._interval = BarInterval(self._order_book, self.market, self.broker, finer_bars)
        self.strategy = strategy
        self.params = dict(params or {})
        self.bars_total = sum(len(bars) for bars in self.series.values())
        self.finished = False
        self.stopped_by = "end of data"
        self.last_tick_ns = 0
        self.warnings: list[str] = []
        self._boundaries = boundaries
        self.finalize = finalize
        self._hooks = hooks or Hooks()
        self._hook_calls = HookCalls(self._hooks, self.bars_total)
        self._send = self.broker.send if self._hooks.on_commands is None else self._send_reported
        self._callback = "on_start"
        self._report_at_ns = 0

    @property
    def bars_done(self) -> int:
        """The number of bars, of all symbols, that have closed in the run; history is not counted."""
        return sum(state.cursor.last + 1 - state.first_row for state in self.context.states)

    def run(self) -> None:
        """Run to the end of the bars or of the boundaries, or until a hook stops it.

        Raises StrategyCrashed, MissedBoundary.
        """
        try:
            with fewer_collections():
                self._run()
        except Exception as error:
            if isinstance(error, StrategyCrashed | MissedBoundary) or not is_from_strategy(error, self.strategy):
                raise
            raise strategy_crashed(error, self.context, self.params, self._callback) from error
        finally:
            self._warn_of_tags()
            self._report(force=True)

    def _run(self) -> None:
        context = self.context
        now = next(self._boundaries, _CLOCK_ENDED)
        if now == _CLOCK_ENDED:
            self.stopped_by = "the clock ended before the first tick"
            return
        self.last_tick_ns = context.now_ns = now
        context.start()
        if context.commands:
            self._send_commands(now)
        completed = self._run_bars()
        context.check_positions()
        self.last_tick_ns = context.now_ns
        if completed:
            if self.finalize:
                self._close_everything()
            self._expire_everything()
            self._warn_of_the_unready()
            self._warn_of_targets()
        self._callback = "on_stop"
        context.stop()
        self.finished = completed

    # What a run over columns that grow does differently (tests/agreement/bar_by_bar.py).

    def _new_context(
        self,
        strategy: Strategy,
        series: Mapping[str, BarSeries],
        run_id: str,
        seed: int,
        calendar: SessionCalendar | None,
    ) -> Context:
        return Context(strategy, series, self.account, run_id=run_id, seed=seed, calendar=calendar)

    def _new_market(self, calendar: SessionCalendar | None) -> Market:
        return Market(self.context.states, self.context.run.marks, calendar)

    def _run_bars(self) -> bool:
        """Run every tick after the first; return whether the bars have ended, and not the clock or a hook."""
        states = self.context.states
        return self._run_single(states[0]) if len(states) == 1 else self._run_several()

    # One symbol: the hot loop.

    def _run_single(self, state: SymbolState) -> bool:
        series = state.series
        self._callback = "on_bar"
        call = self._handler()
        before = self._show_derived if self.context.derived else _nothing
        ready_row = int(np.searchsorted(series.end, state.ready_ns, side="left"))
        first_end = int(series.end[state.first_row])
        first_tick = self.wait_for(first_end, next(self._boundaries, _CLOCK_ENDED))
        if first_tick != first_end:
            return False
        state.feed(MOST_FED)
        parts = LoopParts(
            context=self.context,
            order_book=self._order_book,
            fill_alone=self.broker.lane.fill_alone,
            run_interval=self._interval.run,
            hold=self.broker.hold,
            deliver=self.deliver,
            send=self._send,
            wait_for=self.wait_for,
        )
        stopwatch = self._hooks.stopwatch
        began = stopwatch()
        begin, total, size = state.first_row, len(series), 1
        while begin < total:
            stop = min(begin + size, total)
            if begin < ready_row:
                stop = min(stop, ready_row)
            handler = call if begin >= ready_row else before
            boundaries = self._boundaries if begin > state.first_row else iter((first_tick,))
            if run_chunk(parts, state, begin, stop, boundaries, handler) < stop:
                self.stopped_by = "the clock ended before the bars did"
                return False
            begin = stop
            took = stopwatch()
            if took - began < _CHUNK_NS and size < _LONGEST_CHUNK:
                size = max(_FIRST_CHUNK, 2 * size)
            began = took
            if not self._report():
                return False
        return True

    def _handler(self) -> Callable[[Bar], object]:
        """Return one function that makes all calls for a bar of the only symbol, once it is ready."""
        context, strategy = self.context, self.strategy
        calls: list[Callable[[Bar], object]] = []
        if "on_bar" in context.overrides:
            calls.append(strategy.on_bar)
        if "on_bars" in context.overrides:
            calls.append(lambda bar: strategy.on_bars({bar.symbol: bar}))
        if not context.derived and len(calls) == 1:
            return calls[0]

        def handle(bar: Bar) -> None:
            context.show_derived()
            for call in calls:
                call(bar)

        return handle

    def _show_derived(self, bar: Bar) -> None:
        """Show the resampled bars at a bar whose `on_bar` waits for indicators: timers and news read them as well."""
        self.context.show_derived()

    # Several symbols.

    def _run_several(self) -> bool:
        context, run, timers = self.context, self.context.run, self.context.timers
        commands, order_book, send = context.commands, self._order_book, self._send
        fill_quietly = self.broker.lane.fill_quietly
        on_bar = self.strategy.on_bar if "on_bar" in context.overrides else None
        on_bars = self.strategy.on_bars if "on_bars" in context.overrides else None
        all_ready_ns = max(state.ready_ns for state in context.states)
        starting: dict[int, list[SymbolState]] = {}
        for state in context.states:
            starting.setdefault(int(state.series.end[state.first_row]), []).append(state)
        self._callback = "on_bar"
        for end, states, bars in bar_groups(context.states, self._begin_chunk):
            now = next(self._boundaries, _CLOCK_ENDED)
            if now != end:
                now = self.wait_for(end, now)
                if now != end:
                    return False
            if order_book.busy and not fill_quietly(bars, now):
                if order_book.waiting or order_book.by_number:
                    self._interval.run(bars, now)
                # News first, then histories: updates are delivered while the views still end a bar earlier.
                if order_book.watching:
                    self._hold_at(states, now)
                run.now_ns = now
                self.deliver()
            run.now_ns = now
            for state in states:
                state.cursor.last += 1
            run.moved()
            if now in starting:
                for state in starting.pop(now):
                    context.begin(state)
            if context.derived:
                context.show_derived()
            if now >= all_ready_ns:
                if on_bar is not None:
                    for bar in bars:
                        on_bar(bar)
                if on_bars is not None:
                    on_bars({bar.symbol: bar for bar in bars})
            else:
                ready = [bar for state, bar in zip(states, bars, strict=True) if now >= state.ready_ns]
                if on_bar is not None:
                    for bar in ready:
                        on_bar(bar)
                if on_bars is not None and ready:
                    on_bars({bar.symbol: bar for bar in ready})
            if timers.armed and now >= timers.next_due:
                timers.fire(now)
            if commands:
                send(commands, now)
                commands.clear()
            if now >= self._report_at_ns and not self._report():
                return False
        return True

    def _hold_at(self, states: Sequence[SymbolState], now: int) -> None:
        """Charge and check the positions at the closes of the bars that end now, which the strategy does not see yet."""
        run = self.context.run
        for state in states:
            state.cursor.last += 1
        run.moved()
        self.broker.hold(now, now - run.now_ns)
        for state in states:
            state.cursor.last -= 1
        run.moved()

    def _begin_chunk(self, last_tick_ns: int) -> None:
        self._report_at_ns = last_tick_ns

    # Parts of a tick.

    def wait_for(self, end: int, now: int) -> int:
        """Advance the clock from `now` to the boundary `end`, at which a bar ends, and return `end`.

        Return another value if the clock ended before it.
        """
        timers = self.context.timers
        last_end = self.context.now_ns
        while now < end:
            if now == _CLOCK_ENDED:
                self.stopped_by = "the clock ended before the bars did"
                return now
            if timers.armed and now >= timers.next_due:
                self.context.now_ns = now
                if self._order_book.busy:
                    self._order_book.promote()
                    self._order_book.expire_between_bars(now)
                    self.deliver()
                timers.fire(now)
                if self.context.commands:
                    self._send_commands(now)
            now = next(self._boundaries, _CLOCK_ENDED)
        if now != end:
            raise MissedBoundary(
                f"the clock ticked {format_ns(now)} but not {format_ns(end)}, where a bar ends; the run stops here"
            )
        self.context.now_ns = last_end  # holding costs count from the last bar's end, not from a timer
        return now

    def _send_commands(self, now: int) -> None:
        self._send(self.context.commands, now)
        self.context.commands.clear()

    def _send_reported(self, commands: Sequence[Command], tick_ns: int) -> None:
        """Send commands to the broker after showing them to the hook."""
        assert self._hooks.on_commands is not None
        self._hooks.on_commands(commands, tick_ns)
        self.broker.send(commands, tick_ns)

    def deliver(self) -> None:
        """Deliver the updates to the strategy.

        Its callbacks cannot cause more updates: commands are taken at the end of the tick.
        """
        order_book = self._order_book
        if order_book.updates:
            unexpected = self.context.deliver(self.broker.take_updates())
            if unexpected:  # a fault of the broker
                self.warnings.extend(reason for _, reason in unexpected)
        order_book.rest()

    def _report(self, *, force: bool = False) -> bool:
        """Call the hooks that are due; return False if the run is to stop."""
        if not force:
            self.context.check_positions()
        if self._hook_calls.make(self.bars_done, self.context.orders, self.broker.fills, force=force):
            return True
        self.stopped_by = "interrupted"
        return False

    # The end.

    def _close_everything(self) -> None:
        """Close every position at its symbol's last close, costs included (finalize=True).

        A symbol whose bars ended earlier is closed now as well, in the run's last bar: no fill is before its order.
        """
        broker, order_book, now_ns = self.broker, self._order_book, self.context.now_ns
        order_book.now_ns = now_ns
        order_book.promote()
        last_start = max(int(state.series.start[state.cursor.last]) for state in self.context.states)
        for index, state in enumerate(self.context.states):
            held = self.account.lots[index]
            row = state.cursor.last
            if not held:
                continue
            for order in tuple(order_book.books[index].orders.values()):
                order_book.end(order, OrderStatus.CANCELLED, "finalize: the position is closed at the last close")
            side = Side.SELL if held > 0 else Side.BUY
            request = self._adopt(index, side, abs(held), "finalize", now_ns)
            close = float(state.series.close[row])
            bar = Bar(state.symbol, last_start, close, close, close, close, float(state.series.volume[row]))
            broker.close_at(request, bar)
        broker.log_account()
        self._deliver_silently()

    def _adopt(self, index: int, side: Side, lots: int, tag: str, tick_ns: int) -> OrderRequest:
        """Assign a number to an order that the strategy has not given, and keep its handle."""
        return self.context.order_entry.adopt(self.context.states[index], side, lots, tag, tick_ns)

    def _expire_everything(self) -> None:
        """Expire the orders that are open when the bars end, without calling the strategy: no further tick comes."""
        order_book = self._order_book
        order_book.now_ns = self.context.now_ns
        order_book.promote()
        for order in sorted(order_book.by_number.values(), key=lambda order: order.number):
            order_book.end(order, OrderStatus.EXPIRED, "end_of_data")
        self._deliver_silently()

    def _deliver_silently(self) -> None:
        overrides = self.context.overrides
        self.context.overrides = frozenset()
        self.deliver()
        self.context.overrides = overrides

    def _warn_of_tags(self) -> None:
        if count := self.context.order_entry.cut_tags:
            tags = "the tag of 1 order was" if count == 1 else f"the tags of {count:,} orders were"
            self.warnings.append(f"{tags} cut to {LONGEST_TAG} characters; keep longer texts in the strategy")

    def _warn_of_targets(self) -> None:
        """Say which target_weights calls could not do all that they asked for."""
        cut = self._order_book.cut_baskets
        if cut:
            first_ns = min(tick for tick, _ in cut.values())
            smallest = min(factor for _, factor in cut.values())
            calls = "1 call" if len(cut) == 1 else f"{len(cut):,} calls"
            self.warnings.append(
                f"target_weights: the increasing orders of {calls} were cut by a common factor to what could be paid for, "
                f"first at {format_ns(first_ns)}, to {smallest:.2%} at the least"
            )
        missing = self.context.order_entry.without_price
        if missing:
            symbols = listed(f"{symbol} ({format_ns(tick)})" for symbol, tick in missing.items())
            self.warnings.append(f"target_weights left out symbols that had no close yet, first at: {symbols}")

    def _warn_of_the_unready(self) -> None:
        for info in self.context.indicators:
            if info.ready_ns > self.context.now_ns:
                symbols = listed(info.track.symbols)
                ended = int(np.searchsorted(info.track.end, self.context.now_ns, side="right"))
                bars = "1 bar" if ended == 1 else f"{ended} bars"
                self.warnings.append(
                    f"on_bar of {symbols} was never called: indicator {info.name} has no value in {bars}"
                )


def _nothing(bar: Bar) -> None:
    """Do nothing, in place of `on_bar` while indicators have no value yet."""
