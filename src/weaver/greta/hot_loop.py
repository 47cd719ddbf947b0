"""Unrolled: the loop over the bars of a run with one symbol, written out for as many views as it feeds.

This is where a backtest's time goes. A view that is fed holds the value of the bar just closed in a slot of its own, so
that reading `[-1]` costs half; putting it there costs least where each view has its own line in the loop, which is why the
loop is made from a text, once for each number of views (as `dataclasses` makes an `__init__`). The rest of it is plain.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import cache
from typing import TYPE_CHECKING, Any

import numpy as np

from weaver.core.bars import Bar, BarSeries
from weaver.greta.bar_interval import run_interval
from weaver.greta.holding_costs import hold

if TYPE_CHECKING:
    from weaver.greta.engine import Engine
    from weaver.marvin.symbol_state import SymbolState

__all__ = ["MOST_FED", "bar_columns", "run_chunk"]

MOST_FED = 8
"""Views beyond these are read from their columns: a loop that feeds more costs more than it saves."""

# The finite columns come first: zip asks them first, so that a chunk's end takes no boundary from the next chunk.
_TEXT = """
def loop(engine, state, begin, stop, columns, boundaries, handler):
    context, broker, timers = engine.context, engine.broker, engine.context.timers
    lane, fill_alone = broker.lane, broker.lane.fill_alone
    commands, cursor, symbol = context.commands, state.cursor, state.symbol
    {views} = state.fed_views
    row = begin - 1
    for row, start, o, h, l, c, v, end, {values}now in zip(range(begin, stop), *columns, {columns}boundaries):
        if now != end and engine.wait_for(end, now) != end:
            return row
        bar = Bar(symbol, start, o, h, l, c, v)
        if broker.busy and not fill_alone(bar, end):
            # News first, then histories: what happened to the orders is told while the views still end a bar earlier.
            if lane.waiting or broker.by_number:
                run_interval(broker, (bar,), end)
            if broker.watching:
                cursor.last = row
                hold(broker, end, end - context.now_ns)
                cursor.last = row - 1
            context.now_ns = end
            engine.deliver()
        cursor.last = row
        context.now_ns = end
        {feed}
        {begin}
        handler(bar)
        if timers.armed and end >= timers.next_due:
            timers.fire(end)
        if commands:
            broker.send(commands, end)
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
    made: dict[str, Any] = {"Bar": Bar, "hold": hold, "run_interval": run_interval}
    exec(compile(text, f"<{__name__}: {fed} views>", "exec"), made)
    loop: Callable[..., int] = made["loop"]
    return loop


def run_chunk(
    engine: Engine,
    state: SymbolState,
    begin: int,
    stop: int,
    boundaries: Iterator[int],
    handler: Callable[[Bar], object],
) -> int:
    """Run rows `begin` to `stop` (exclusive); gives the row to go on from, which is less than `stop` if the clock ended.

    The symbol's first bar is a chunk of its own.
    """
    columns = bar_columns(state.series, slice(begin, stop))
    return _loop(len(state.fed_views), not begin)(engine, state, begin, stop, columns, boundaries, handler)


def bar_columns(series: BarSeries, rows: slice) -> tuple[list[Any], ...]:
    """Start, open, high, low, close, volume and end of some rows, each as a list of Python numbers."""
    starts, ends = series.start[rows], series.end[rows]
    end_list = ends.tolist()
    # Where no bar is missing each one starts where the one before ended, and the same number serves twice.
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
