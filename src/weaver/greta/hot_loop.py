"""Hot loop: the loop over the bars of a run with one symbol, generated for the number of views that it feeds.

A backtest spends its time here. A view that is fed holds the value of the newest bar in a slot of its own, so that
reading `[-1]` costs half. Writing it there costs least if each view has its own line in the loop, so the loop is compiled
from a text, once for each number of views (as `dataclasses` makes an `__init__`).
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import cache
from typing import Any

import numpy as np

from weaver.core.bars import Bar, BarSeries
from weaver.core.orders import Command
from weaver.greta.order_book import OrderBook
from weaver.marvin.context import Context
from weaver.marvin.symbol_state import SymbolState

__all__ = ["MOST_FED", "LoopParts", "bar_columns", "run_chunk"]

MOST_FED = 8
"""The most views that are fed; a loop that feeds more costs more than it saves. The others are read from their columns."""


@dataclass(frozen=True, slots=True, kw_only=True)
class LoopParts:
    """The parts of an engine that its loop calls; see Engine, FastPath, BarInterval and SimulatedBroker for each."""

    context: Context
    order_book: OrderBook
    fill_alone: Callable[[Bar, int], bool]
    run_interval: Callable[[Sequence[Bar], int], None]
    hold: Callable[[int, int], None]
    deliver: Callable[[], None]
    send: Callable[[Sequence[Command], int], None]
    wait_for: Callable[[int, int], int]


# The finite columns come first: zip reads them first, so that a chunk's end takes no boundary from the next chunk.
_TEXT = """
def loop(parts, state, begin, stop, columns, boundaries, handler):
    context, order_book, fill_alone, run_interval = parts.context, parts.order_book, parts.fill_alone, parts.run_interval
    run, timers, commands = context.run, context.timers, context.commands
    hold, deliver, send, wait_for = parts.hold, parts.deliver, parts.send, parts.wait_for
    cursor, symbol, expiry = state.cursor, state.symbol, order_book.expiry
    {views} = state.fed_views
    row = begin - 1
    for row, start, o, h, l, c, v, end, {values}now in zip(range(begin, stop), *columns, {columns}boundaries):
        if now != end and wait_for(end, now) != end:
            return row
        bar = Bar(symbol, start, o, h, l, c, v)
        if (
            order_book.busy
            and (l <= order_book.quiet_low or h >= order_book.quiet_high or end >= expiry.next_ns)
            and not fill_alone(bar, end)
        ):
            # News first, then histories: updates are delivered while the views still end a bar earlier.
            if order_book.waiting or order_book.by_number:
                run_interval((bar,), end)
            if order_book.watching:
                cursor.last = row
                hold(end, end - run.now_ns)
                cursor.last = row - 1
            run.now_ns = end
            deliver()
        cursor.last = row
        run.now_ns = end
        {feed}
        {begin}
        handler(bar)
        if timers.armed and end >= timers.next_due:
            timers.fire(end)
        if commands:
            send(commands, end)
            commands.clear()
    return row + 1
"""


@cache
def _loop(fed: int, first: bool) -> Callable[..., int]:
    numbers = range(fed)
    text = _TEXT.format(
        views="[" + ", ".join(f"view{i}" for i in numbers) + "]",
        values="".join(f"value{i}, " for i in numbers),
        columns="".join(f"view{i}._array[begin:stop].tolist(), " for i in numbers),
        feed="; ".join(f"view{i}._last = value{i}" for i in numbers) or "pass",
        begin="context.begin(state)" if first else "pass",
    )
    namespace: dict[str, Any] = {"Bar": Bar}
    exec(compile(text, f"<{__name__}: {fed} views>", "exec"), namespace)
    loop: Callable[..., int] = namespace["loop"]
    return loop


def run_chunk(
    parts: LoopParts,
    state: SymbolState,
    begin: int,
    stop: int,
    boundaries: Iterator[int],
    handler: Callable[[Bar], object],
) -> int:
    """Run rows `begin` to `stop` (exclusive) and return the row to continue from.

    It is less than `stop` if the clock ended.

    The symbol's first bar is a chunk of its own.
    """
    columns = bar_columns(state.series, slice(begin, stop))
    return _loop(len(state.fed_views), begin == state.first_row)(
        parts, state, begin, stop, columns, boundaries, handler
    )


def bar_columns(series: BarSeries, rows: slice) -> tuple[list[Any], ...]:
    """Return start, open, high, low, close, volume and end of some rows, each as a list of Python numbers."""
    starts, ends = series.start[rows], series.end[rows]
    end_list = ends.tolist()
    # If no bar is missing, each starts where the one before ended, and the same number object serves twice.
    follows = len(ends) > 0 and bool(np.array_equal(starts[1:], ends[:-1]))
    return (
        [int(starts[0]), *end_list[:-1]] if follows else starts.tolist(),
        series.open[rows].tolist(),
        series.high[rows].tolist(),
        series.low[rows].tolist(),
        series.close[rows].tolist(),
        series.volume[rows].tolist(),
        end_list,
    )
