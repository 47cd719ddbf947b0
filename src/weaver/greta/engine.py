"""Engine: drives one strategy over complete bars, tick by tick, in the order of the design's section 4.

It is driven by the boundaries it is handed and goes no further than they do: a bar is seen only once its end was ticked, and
where a boundary that bars need is passed over the run stops with `MissedBoundary`. It reads no clock; a stopwatch for
progress is handed in. A boundary without a bar and without a due timer calls nothing.
"""

from __future__ import annotations

import traceback
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import cycle, islice, repeat
from pathlib import Path

import numpy as np

from weaver.core.account import Account
from weaver.core.bars import PRICE_COLUMNS, Bar, BarSeries
from weaver.core.calendar import SessionCalendar
from weaver.core.errors import MissedBoundary, NoBars, StrategyCrashed
from weaver.core.instants import format_ns
from weaver.core.orders import Fill, OrderRequest, OrderStatus, Side
from weaver.greta.bar_interval import run_interval
from weaver.greta.bar_magnifier import FinerBars
from weaver.greta.broker import SimulatedBroker
from weaver.greta.broker_settings import BrokerSettings
from weaver.greta.gc_threshold import fewer_collections
from weaver.greta.holding_costs import hold
from weaver.greta.hot_loop import MOST_FED, bar_columns, run_chunk
from weaver.marvin.context import Context
from weaver.marvin.order import Order
from weaver.marvin.strategy import Strategy
from weaver.marvin.symbol_state import SymbolState
from weaver.marvin.timers import Timers

__all__ = ["Engine", "Hooks"]

_CLOCK_ENDED = -(2**63)
_FIRE = Timers.fire.__code__
_FIRST_CHUNK = 256
_LONGEST_CHUNK = 2048
_LONGEST_CHUNK_OF_SEVERAL = 32_768
_CHUNK_NS = 50_000_000
"""Chunks grow until one takes this long, so that progress and Ctrl-C are prompt however slow the strategy is."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Hooks:
    """What an engine may be given besides its bars. None of it changes what the run does.

    `stopwatch` gives nanoseconds since any instant; `progress(done, total)` is called about ten times a second;
    `sink(orders, fills)` about once a second with the orders given and the fills since the last time, the orders as the
    handles that the strategy holds, so that what becomes of them is seen there; `should_stop()` between chunks of bars.
    """

    stopwatch: Callable[[], int] = field(default=lambda: 0)
    progress: Callable[[int, int], object] | None = None
    sink: Callable[[Sequence[Order], Sequence[Fill]], object] | None = None
    should_stop: Callable[[], bool] | None = None


class Engine:
    """One backtest. After `run()` its `broker`, `context` and `account` hold all that happened."""

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
        empty = [symbol for symbol, one in series.items() if not len(one)]
        if empty or not series:
            raise NoBars(
                f"no bars to run on{' for ' + ', '.join(empty) if empty else ''}; check symbols, start and end"
            )
        self.series = dict(series)
        self.account = Account(cash, list(series), [one.instrument for one in series.values()])
        self.context = Context(strategy, series, self.account, run_id=run_id, seed=seed, calendar=calendar)
        self.broker = SimulatedBroker(self.context, self.account, settings)
        for index, one in enumerate(series.values()):
            if finer and one.symbol in finer:
                self.broker.drills[index] = FinerBars(finer[one.symbol], one.timeframe)
        self.strategy = strategy
        self.broker.announces = bool({"on_order", "on_fill"} & self.context.overrides)
        self.params = dict(params or {})
        self.bars_total = sum(len(one) for one in series.values())
        self.finished = False
        self.stopped_by = "end of data"
        self.last_tick_ns = 0
        self.first_tick_ns = 0
        self.warnings: list[str] = []
        self._boundaries = boundaries
        self.finalize = finalize
        self._hooks = hooks or Hooks()
        self._callback = "on_start"
        self._next_progress = 0
        self._next_sink = 0
        self._sunk_fills = 0
        self._sunk_orders = 0
        self._report_at_ns = 0

    @property
    def bars_done(self) -> int:
        """How many bars the strategy's views have seen, over all symbols."""
        return sum(state.cursor.last + 1 for state in self.context.states)

    def run(self) -> None:
        """Run to the end of the bars, of the boundaries, or until told to stop. Raises StrategyCrashed, MissedBoundary."""
        try:
            with fewer_collections():
                self._run()
        except Exception as error:
            if isinstance(error, StrategyCrashed | MissedBoundary) or not self._is_the_strategys(error):
                raise
            raise self._crash(error) from error
        finally:
            self._report(force=True)

    def _run(self) -> None:
        context = self.context
        now = next(self._boundaries, _CLOCK_ENDED)
        if now == _CLOCK_ENDED:
            self.stopped_by = "the clock ended before the first tick"
            return
        self.first_tick_ns = self.last_tick_ns = context.now_ns = now
        context.start()
        if context.commands:
            self._send(now)
        completed = self._run_single(context.states[0]) if len(context.states) == 1 else self._run_several()
        self.last_tick_ns = context.now_ns
        if completed:
            if self.finalize:
                self._close_everything()
            self._expire_everything()
            self._warn_of_the_unready()
        self._callback = "on_stop"
        context.stop()
        self.finished = completed

    # One symbol: the hot loop.

    def _run_single(self, state: SymbolState) -> bool:
        series = state.series
        self._callback = "on_bar"
        call = self._handler()
        ready_row = int(np.searchsorted(series.end, state.ready_ns, side="left"))
        first_end = int(series.end[0])
        first_tick = self.wait_for(first_end, next(self._boundaries, _CLOCK_ENDED))
        if first_tick != first_end:
            return False
        state.feed(MOST_FED)
        stopwatch = self._hooks.stopwatch
        began = stopwatch()
        begin, total, size = 0, len(series), 1
        while begin < total:
            stop = min(begin + size, total)
            if begin < ready_row:
                stop = min(stop, ready_row)
            handler = call if begin >= ready_row else _nothing
            boundaries = self._boundaries if begin else iter((first_tick,))
            if run_chunk(self, state, begin, stop, boundaries, handler) < stop:
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
        """What is called for each bar of the only symbol once it is ready, as one function."""
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
            for one in calls:
                one(bar)

        return handle

    # Several symbols.

    def _run_several(self) -> bool:
        context, broker, timers = self.context, self.broker, self.context.timers
        commands, lane = context.commands, broker.lane
        on_bar = self.strategy.on_bar if "on_bar" in context.overrides else None
        on_bars = self.strategy.on_bars if "on_bars" in context.overrides else None
        all_ready_ns = max(state.ready_ns for state in context.states)
        starting: dict[int, list[SymbolState]] = {}
        for state in context.states:
            starting.setdefault(int(state.series.end[0]), []).append(state)
        self._callback = "on_bar"
        for end, states, bars in self._groups():
            now = next(self._boundaries, _CLOCK_ENDED)
            if now != end:
                now = self.wait_for(end, now)
                if now != end:
                    return False
            if broker.busy and not lane.fill_quietly(bars, now):
                if lane.waiting or broker.by_number:
                    run_interval(broker, bars, now)
                # News first, then histories: what happened to the orders is told while the views still end a bar earlier.
                if broker.watching:
                    self._hold_at(states, now)
                context.now_ns = now
                self.deliver()
            context.now_ns = now
            for state in states:
                state.cursor.last += 1
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
                broker.send(commands, now)
                commands.clear()
            if now >= self._report_at_ns and not self._report():
                return False
        return True

    def _hold_at(self, states: Sequence[SymbolState], now: int) -> None:
        """Charge and check what is held at the closes of the bars that end now, which the strategy does not see yet."""
        for state in states:
            state.cursor.last += 1
        hold(self.broker, now, now - self.context.now_ns)
        for state in states:
            state.cursor.last -= 1

    def _groups(self) -> Iterator[tuple[int, Sequence[SymbolState], Sequence[Bar]]]:
        """Tick by tick, the symbols that have a bar which ends then, in the order of the run, and their bars.

        Bars are made a chunk at a time. Where all symbols have the same bars, a chunk is a plain transposition.
        """
        states = self.context.states
        all_series = [state.series for state in states]
        ticks = np.unique(np.concatenate([one.end for one in all_series]))
        step = max(1, _LONGEST_CHUNK_OF_SEVERAL // len(all_series))
        row = [0] * len(all_series)
        for begin in range(0, len(ticks), step):
            chunk = ticks[begin : begin + step]
            ends = chunk.tolist()
            self._report_at_ns = ends[-1]
            rows = []
            for index, one in enumerate(all_series):
                past = int(np.searchsorted(one.end, chunk[-1], side="right"))
                rows.append(slice(row[index], past))
                row[index] = past
            if all(where.stop - where.start == len(ends) for where in rows):
                yield from zip(ends, repeat(states), _in_step(all_series, rows), strict=False)
                continue
            columns = [_bars(one, where) for one, where in zip(all_series, rows, strict=True)]
            found: dict[int, tuple[list[SymbolState], list[Bar]]] = {end: ([], []) for end in ends}
            for state, where, column in zip(states, rows, columns, strict=True):
                for end, bar in zip(state.series.end[where].tolist(), column, strict=True):
                    group = found[end]
                    group[0].append(state)
                    group[1].append(bar)
            for end, (present, bars_now) in found.items():
                yield end, present, bars_now

    # Parts of a tick.

    def wait_for(self, end: int, now: int) -> int:
        """Go on from `now` to the boundary `end`, on which a bar ends; what it returns is not `end` if the clock ended."""
        timers = self.context.timers
        last_end = self.context.now_ns
        while now < end:
            if now == _CLOCK_ENDED:
                self.stopped_by = "the clock ended before the bars did"
                return now
            if timers.armed and now >= timers.next_due:
                self.context.now_ns = now
                if self.broker.busy:
                    self.broker.promote()
                    self.broker.expire_between_bars(now)
                    self.deliver()
                timers.fire(now)
                if self.context.commands:
                    self._send(now)
            now = next(self._boundaries, _CLOCK_ENDED)
        if now != end:
            raise MissedBoundary(
                f"the clock ticked {format_ns(now)} but not {format_ns(end)}, where a bar ends; the run stops here"
            )
        self.context.now_ns = last_end  # the costs of holding count from the last bar's end, whatever timers ran since
        return now

    def _send(self, now: int) -> None:
        self.broker.send(self.context.commands, now)
        self.context.commands.clear()

    def deliver(self) -> None:
        """Tell the strategy the news. A callback may not make more: commands are taken at the end of the tick."""
        broker = self.broker
        updates = broker.updates
        if updates:
            broker.updates = []
            self.context.deliver(updates)
        broker.rest()

    def _report(self, force: bool = False) -> bool:
        """Progress and sink where they are due; False where the run is to stop."""
        hooks = self._hooks
        now = hooks.stopwatch()
        if hooks.progress is not None and (force or now >= self._next_progress):
            self._next_progress = now + 100_000_000
            hooks.progress(self.bars_done, self.bars_total)
        if hooks.sink is not None and (force or now >= self._next_sink):
            self._next_sink = now + 1_000_000_000
            orders = self.context.orders[self._sunk_orders :]
            fills = self.broker.fills[self._sunk_fills :]
            if fills or orders:
                hooks.sink(orders, fills)
            self._sunk_orders += len(orders)
            self._sunk_fills += len(fills)
        if not force and hooks.should_stop is not None and hooks.should_stop():
            self.stopped_by = "interrupted"
            return False
        return True

    # The end.

    def _close_everything(self) -> None:
        """finalize=True: close every position at its last close, costs included."""
        broker, context = self.broker, self.context
        broker.now_ns = context.now_ns
        for index, state in enumerate(context.states):
            held = self.account.lots[index]
            row = state.cursor.last
            if not held:
                continue
            for order in tuple(broker.books[index]):
                broker.end(order, OrderStatus.CANCELLED, "finalize: the position is closed at the last close")
            request = OrderRequest(
                number=broker.next_number(),
                symbol=state.symbol,
                side=Side.SELL if held > 0 else Side.BUY,
                lots=abs(held),
                exit=True,
                tag="finalize",
            )
            close = float(state.series.close[row])
            bar = Bar(
                state.symbol, int(state.series.start[row]), close, close, close, close, float(state.series.volume[row])
            )
            broker.close_at(request, index, bar)
        broker.log_account()
        self._deliver_silently()

    def _expire_everything(self) -> None:
        """Orders that the data end on: nobody hears of it, for no further tick comes."""
        broker = self.broker
        broker.now_ns = self.context.now_ns
        broker.promote()
        for order in sorted(broker.by_number.values(), key=lambda order: order.number):
            broker.end(order, OrderStatus.EXPIRED, "end_of_data")
        self._deliver_silently()

    def _deliver_silently(self) -> None:
        overrides = self.context.overrides
        self.context.overrides = frozenset()
        self.deliver()
        self.context.overrides = overrides

    def _warn_of_the_unready(self) -> None:
        for info in self.context.indicators:
            if info.ready_ns > self.context.now_ns:
                symbols = ", ".join(info.track.symbols)
                self.warnings.append(
                    f"on_bar of {symbols} was never called: indicator {info.name} has no value in {info.length} bars"
                )

    # A strategy that raises.

    def _is_the_strategys(self, error: BaseException) -> bool:
        """Whether the strategy's code is on the way from the engine to where it was raised."""
        modules = {cls.__module__ for cls in type(self.strategy).__mro__ if not cls.__dict__.get("__weaver_base__")}
        modules -= {"builtins"}
        trace = error.__traceback__
        while trace is not None:
            if trace.tb_frame.f_globals.get("__name__") in modules or trace.tb_frame.f_code is _FIRE:
                return True
            trace = trace.tb_next
        return False

    def _at(self, error: BaseException) -> tuple[SymbolState, int]:
        """Which symbol's bar was being handled: the loop that was left by the error still knows its `bar`."""
        states = self.context.states
        trace, bar = error.__traceback__, None
        while trace is not None:
            if trace.tb_frame.f_code.co_name in ("loop", "_run_several"):
                bar = trace.tb_frame.f_locals.get("bar")
            trace = trace.tb_next
        state = next((one for one in states if bar is not None and one.symbol == bar.symbol), states[0])
        return state, state.cursor.last

    def _crash(self, error: Exception) -> StrategyCrashed:
        modules = {cls.__module__ for cls in type(self.strategy).__mro__ if not cls.__dict__.get("__weaver_base__")}
        trace = error.__traceback__
        where, callback = "", self._callback
        first = True
        while trace is not None:
            frame = trace.tb_frame
            if frame.f_globals.get("__name__") in modules:
                if first:
                    callback, first = frame.f_code.co_name, False
                summary = traceback.extract_tb(trace, limit=1)[0]
                where = f"{Path(summary.filename).name}:{summary.lineno}: {summary.line}"
            trace = trace.tb_next
        if not where:  # what a timer called need not be of the strategy's module
            summary = traceback.extract_tb(error.__traceback__)[-1]
            callback, where = "timer", f"{Path(summary.filename).name}:{summary.lineno}: {summary.line}"
        state, row = self._at(error)
        at = (
            f"bar {row} of {state.symbol} at {format_ns(int(state.series.start[row]))}"
            if row >= 0
            else "before any bar"
        )
        params = ", ".join(f"{name}={value!r}" for name, value in self.params.items()) or "none"
        return StrategyCrashed(
            f"{type(self.strategy).__name__}.{callback} raised {type(error).__name__}: {error} "
            f"[{at}; tick {format_ns(self.context.now_ns)}; {where}; parameters: {params}]"
        )


def _nothing(bar: Bar) -> None:
    """Stands in for `on_bar` while indicators have no value yet."""


def _bars(series: BarSeries, rows: slice) -> Iterator[Bar]:
    """The bars of some rows, made one by one in C from whole columns."""
    return map(Bar, repeat(series.symbol), *bar_columns(series, rows)[:-1])


def _in_step(all_series: Sequence[BarSeries], rows: Sequence[slice]) -> Iterator[Sequence[Bar]]:
    """Tick by tick the bars of symbols that all have one at each tick, in the order of the run.

    The columns are turned tick by tick first, so that bars are made from numbers that lie side by side in memory: with a
    hundred symbols that is twice as fast as taking one number from each of their columns in turn.
    """
    starts = np.stack([one.start[where] for one, where in zip(all_series, rows, strict=True)], axis=1)
    prices = [
        np.stack([getattr(one, name)[where] for one, where in zip(all_series, rows, strict=True)], axis=1)
        for name in PRICE_COLUMNS
    ]
    symbols = [one.symbol for one in all_series]
    step = max(1, _LONGEST_CHUNK // len(symbols))
    for begin in range(0, len(starts), step):
        part = slice(begin, begin + step)
        columns = [column[part].ravel().tolist() for column in (starts, *prices)]
        bars = map(Bar, cycle(symbols), *columns)
        for _ in range(len(starts[part])):
            yield tuple(islice(bars, len(symbols)))
