"""BarByBar: the engine with its loops replaced by the tick procedure over columns that grow.

The broker is the same. It has columns and an account of its own, as a paper broker has; the strategy receives the bars, the
news and the account as the inputs of a tick, and nothing else. Each bar becomes known when it ends.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

import msgspec
import numpy as np

from weaver.core.bars import PRICE_COLUMNS, Bar, BarSeries
from weaver.core.calendar import SessionCalendar
from weaver.core.errors import MissedBoundary
from weaver.greta.engine import Engine
from weaver.greta.market import GrowingMarket, Market
from weaver.marvin.bar_views import SymbolBars, Track
from weaver.marvin.context import Context
from weaver.marvin.growing_bars import GrowingBars
from weaver.marvin.run_state import RunState
from weaver.marvin.symbol_state import SymbolState
from weaver.marvin.tick import ShownBar, TickInputs, TickProcedure

CLOCK_ENDED = -(2**63)
ENCODE, DECODE = msgspec.msgpack.Encoder().encode, msgspec.msgpack.Decoder(TickInputs).decode


class BarByBar(Engine):
    """An engine that knows a bar only when it ends. `procedure` is the class that handles a tick."""

    procedure: type[TickProcedure] = TickProcedure

    def _new_context(
        self, strategy: Any, series: Mapping[str, BarSeries], run_id: str, seed: int, calendar: SessionCalendar | None
    ) -> Context:
        self._all_bars = list(series.values())
        known = {symbol: bars.rows(0, bars.history) for symbol, bars in series.items()}
        context = Context(strategy, known, self.account.copy(), run_id=run_id, seed=seed, calendar=calendar, grows=True)
        self.ticks = self.procedure(context, {})
        context.start = self._start  # type: ignore[method-assign]
        return context

    def _start(self) -> None:
        del self.context.start
        commands = self.ticks.start(self.context.now_ns)
        self.context.commands.extend(commands)

    def _new_market(self, calendar: SessionCalendar | None) -> Market:
        states = []
        for index, bars in enumerate(self._all_bars):
            known = bars.rows(0, bars.history)
            track = Track(symbols=(bars.symbol,), label=bars.symbol, start=known.start, end=known.end)
            track.cursor.last = bars.history - 1
            states.append(SymbolState(index, known, SymbolBars(known, track, lambda track: None, calendar), track))
        self._prices = RunState(states, self.account)
        self._columns = [GrowingBars(state.series) for state in states]
        return GrowingMarket(states, self._prices.marks, calendar)

    def deliver(self) -> None:
        self.context.show_account(self.account.snapshot())
        super().deliver()

    def _run_bars(self) -> bool:
        last_end = self.context.now_ns
        for end, shown in self._groups():
            now = next(self._boundaries, CLOCK_ENDED)
            while now < end:
                if now == CLOCK_ENDED:
                    self.stopped_by = "the clock ended before the bars did"
                    return False
                if self.ticks.timers_are_due(now):
                    if self._order_book.busy:
                        self._order_book.promote()
                        self._order_book.expire_between_bars(now)
                    self._tick(now, ())
                now = next(self._boundaries, CLOCK_ENDED)
            if now != end:
                raise MissedBoundary(f"the clock ticked {now} but not {end}")
            self._meet(shown, end, last_end)
            self._tick(end, shown)
            last_end = end
        self._end_of_bars()
        return True

    def _end_of_bars(self) -> None:
        assert self.ticks.history is not None
        self.context.indicators = self.ticks.history.indicators

    def _groups(self) -> Iterator[tuple[int, list[ShownBar]]]:
        rows = [bars.history for bars in self._all_bars]
        ticks = np.unique(np.concatenate([bars.end[bars.history :] for bars in self._all_bars]))
        for end in ticks.tolist():
            shown = []
            for index, bars in enumerate(self._all_bars):
                row = rows[index]
                if row < len(bars) and bars.end[row] == end:
                    values = [float(getattr(bars, name)[row]) for name in PRICE_COLUMNS]
                    extra = tuple(float(column[row]) for column in bars.extra.values())
                    shown.append(ShownBar(Bar(bars.symbol, int(bars.start[row]), *values), end, extra))
                    rows[index] += 1
            yield end, shown

    def _meet(self, shown: list[ShownBar], now: int, last_end: int) -> None:
        """Let the bars of this tick meet the orders, in the broker's own columns."""
        states = []
        for each in shown:
            state = self.market.states[self.market.index_of[each.bar.symbol]]
            columns = self._columns[state.index]
            columns.append(each.bar, each.end_ns, each.extra)
            state.show(columns.series)
            states.append(state)
        order_book = self._order_book
        if order_book.busy and (order_book.waiting or order_book.by_number):
            self._interval.run([each.bar for each in shown], now)
        for state in states:
            state.cursor.last += 1
        self._prices.moved()
        if order_book.busy and order_book.watching:
            self.broker.hold(now, now - last_end)

    def _tick(self, now: int, shown: Any) -> None:
        order_book = self._order_book
        inputs = TickInputs(
            tick_ns=now, bars=tuple(shown), updates=tuple(self.broker.take_updates()), account=self.account.snapshot()
        )
        inputs = DECODE(ENCODE(inputs))  # a worker process and the journal have nothing but these bytes
        order_book.rest()
        commands = self.ticks.tick(inputs)
        assert not self.ticks.unexpected
        if commands:
            self._send(commands, now)
