"""finalize=True closes what is open; the sink hears everything exactly once."""

from __future__ import annotations

from typing import Any

import pytest

import builders
from weaver import Strategy, backtest
from weaver.core.orders import OrderStatus
from weaver.greta.costs import CommissionBps, SlippageBps
from weaver.greta.engine import Hooks
from weaver.results.equity import equity_columns

FLAT = (100.0, 100.0, 100.0, 100.0)
UP = (104.0, 108.0, 103.0, 106.0)


def test_finalize_closes_every_position_at_its_last_close_costs_included(run: Any, bars: Any) -> None:
    def start(self: Any, now: Any) -> None:
        if len(self.bars["B"]) == 1:
            self.buy(10, symbol="B")
            self.sell(5, symbol="A")

    heard: list[int] = []
    made = run(
        [bars(FLAT, FLAT, UP, symbol="B"), bars(FLAT, FLAT, symbol="A")],
        finalize=True,
        commission=CommissionBps(100.0),
        slippage=SlippageBps(100.0),
        on_bars=start,
        on_fill=lambda self, fill: heard.append(fill.order_id),
    )
    assert [fill[:3] for fill in made.fills] == [(1, "buy", 10.0), (2, "sell", 5.0), (3, "sell", 10.0), (4, "buy", 5.0)]
    # B at 106 less 1 %, A, whose data ended a bar earlier, at its last close plus 1 %.
    assert [price for *_, price in made.fills[2:]] == pytest.approx([104.94, 101.0])
    assert [fill.tag for fill in made.engine.broker.fills[2:]] == ["finalize", "finalize"]
    assert [order.status for order in made.orders] == [OrderStatus.FILLED] * 4
    assert made.engine.account.lots == [0, 0]
    spent = 10 * 101 * 1.01 - 5 * 99 * 0.99 - 10 * 104.94 * 0.99 + 5 * 101 * 1.01
    assert made.engine.account.cash == pytest.approx(10_000 - spent)
    assert heard == [1, 2], "no tick comes after the last one, so nobody hears of what the run does at its end"


def test_finalize_closes_a_symbol_that_ended_early_in_the_runs_last_bar(run: Any, bars: Any) -> None:
    """A ends on its second day, B on its fourth; whatever the order of the run, no fill is before its order."""

    def start(self: Any, now: Any) -> None:
        if len(self.bars["B"]) == 1:
            self.buy(10, symbol="A")
            self.sell(5, symbol="B")

    falls = (60.0, 60.0, 30.0, 30.0)
    for symbols in (("A", "B"), ("B", "A")):
        rows = {"A": (FLAT, falls), "B": (FLAT, FLAT, FLAT, FLAT)}
        made = run([bars(*rows[each], symbol=each) for each in symbols], finalize=True, on_bars=start)
        fills = made.engine.broker.fills
        closed = {fill.symbol: (fill.ts_ns, fill.price) for fill in fills[2:]}
        last = int(made.engine.series["B"].start[-1])
        assert closed == {"A": (last, 30.0), "B": (last, 100.0)}
        assert [fill.ts_ns for fill in fills] == sorted(fill.ts_ns for fill in fills)
        ends = {order.id: order.submitted_ns for order in made.orders}
        day = 86_400 * 1_000_000_000
        assert all(fill.ts_ns + day >= ends[fill.number] for fill in fills), "no bar ends before its fill's order"


def test_trades_of_a_finalized_run_are_ordered_by_exit_and_equity_shows_them_held_until_then() -> None:
    class Half(Strategy):
        def on_bars(self, bars: Any) -> None:
            if len(self.bars["A"]) == 1:
                self.target_weights({"A": 0.5, "B": 0.5})

    frames = {"A": builders.frame([100.0] * 10), "B": builders.frame([100.0, 100.0, 60.0, 30.0])}
    result = backtest(Half, frames, finalize=True)
    exits = result.trades.select("symbol", "exit_time", "exit_price", "bars_held")
    last = result.equity["timestamp"][-1]
    assert sorted(exits["symbol"].to_list()) == ["A", "B"]
    assert exits["exit_time"].to_list() == [last, last]
    assert exits.filter(exits["symbol"] == "B")["exit_price"].to_list() == [30.0]
    assert result.fills["timestamp"].is_sorted()
    assert result.equity["gross_exposure"][-2] > result.equity["gross_exposure"][-1] == 0.0


def test_the_last_row_of_equity_is_that_after_finalizing(run: Any, bars: Any, at_bar: Any) -> None:
    made = run(
        bars(FLAT, FLAT, UP),
        finalize=True,
        commission=CommissionBps(100.0),
        on_bar=at_bar({0: lambda self: self.buy(10)}),
    )
    broker, engine = made.engine.broker, made.engine
    columns = equity_columns(engine.series, 10_000.0, broker.account_log, engine.context.now_ns)
    assert columns.equity[-1] == engine.account.cash == pytest.approx(10_000 - 1_010 + 1_060 * 0.99)


def test_finalize_cancels_the_orders_of_a_position_and_ignores_the_volume_cap(run: Any, bars: Any, at_bar: Any) -> None:
    made = run(
        bars(FLAT, (*FLAT, 100.0), (*FLAT, 2.0)),
        finalize=True,
        volume_cap=0.5,
        on_bar=at_bar({0: lambda self: self.buy(10, stop_loss=90), 1: lambda self: self.sell(1, limit=200)}),
    )
    assert made.statuses == ["filled", "cancelled", "cancelled", "filled"]
    assert made.fills == [(1, "buy", 10.0, 100.0), (4, "sell", 10.0, 100.0)]


def test_finalize_has_nothing_to_do_without_a_position(run: Any, bars: Any) -> None:
    assert run(bars(FLAT, FLAT), finalize=True).fills == []


def test_a_run_that_was_stopped_early_is_not_finalized(run: Any, bars: Any, at_bar: Any) -> None:
    series = bars(FLAT, FLAT, UP)
    ticks = [int(series.start[0]), *map(int, series.end)][:-1]
    made = run(series, finalize=True, boundaries=iter(ticks), on_bar=at_bar({0: lambda self: self.buy(10)}))
    assert made.engine.finished is False
    assert made.fills == [(1, "buy", 10.0, 100.0)]


# ---------------------------------------------------------------- the sink, progress, stopping


def listening(step_ns: int) -> tuple[Hooks, list[Any], list[Any]]:
    """Hooks whose stopwatch moves by `step_ns` each time it is read."""
    orders: list[Any] = []
    fills: list[Any] = []
    calls = iter(range(10**9))

    def sink(new_orders: Any, new_fills: Any) -> None:
        assert new_orders or new_fills, "it is not called with nothing"
        orders.append(list(new_orders))
        fills.append(list(new_fills))

    return Hooks(stopwatch=lambda: next(calls) * step_ns, sink=sink), orders, fills


@pytest.mark.parametrize("step_ns", [0, 300_000_000, 2_000_000_000])
@pytest.mark.parametrize("symbols", ["A", "BA"])
def test_the_sink_is_given_every_order_and_every_fill_exactly_once(
    run: Any, bars: Any, step_ns: int, symbols: str
) -> None:
    def trade(self: Any, now: Any) -> None:
        for symbol in now:
            held = self.positions[symbol]
            self.close(symbol=symbol) if held else self.buy(1, symbol=symbol)

    count = 5_000  # several chunks
    several = [bars(*[FLAT] * count, symbol=symbol, timeframe="1m") for symbol in symbols]
    hooks, orders, fills = listening(step_ns)
    made = run(several, hooks=hooks, on_bars=trade, cash=1e6)
    assert [fill for some in fills for fill in some] == made.engine.broker.fills
    assert len(made.engine.broker.fills) == (count - 1) * len(symbols)
    given = [order for some in orders for order in some]
    assert [order.id for order in given] == [order.id for order in made.orders]
    last = set(range(len(made.orders) - len(symbols) + 1, len(made.orders) + 1))
    for order in given:
        assert order.status == ("expired" if order.id in last else "filled"), "a handle shows what became of it"
    if not step_ns:
        assert len(orders) <= 2, "about once a second, and at the end"
    elif symbols == "A":
        assert len(orders) > 2


def test_the_sink_is_given_the_rest_also_when_the_strategy_raises(run: Any, bars: Any, at_bar: Any) -> None:
    from weaver.core.errors import StrategyCrashed

    hooks, orders, fills = listening(0)
    with pytest.raises(StrategyCrashed):
        run(bars(*[FLAT] * 4), hooks=hooks, on_bar=at_bar({0: lambda self: self.buy(1), 2: lambda self: 1 / 0}))
    assert [fill.number for some in fills for fill in some] == [1]
    assert [(order.id, order.status.value) for some in orders for order in some] == [(1, "filled")]


def test_the_sink_hears_of_the_last_ticks_orders_also_where_the_clock_ends_early(
    run: Any, bars: Any, at_bar: Any
) -> None:
    series = bars(*[FLAT] * 4)
    ticks = [int(series.start[0]), *map(int, series.end)][:-1]
    hooks, orders, _ = listening(0)
    run(series, hooks=hooks, boundaries=iter(ticks), on_bar=at_bar({2: lambda self: self.buy(1, limit=90)}))
    assert [order.id for some in orders for order in some] == [1]


def test_a_sink_changes_nothing_of_the_run(run: Any, bars: Any, at_bar: Any) -> None:
    acts = {0: lambda self: self.buy(3), 1: lambda self: self.sell(1), 2: lambda self: self.close()}
    hooks, _, _ = listening(10**9)
    with_sink, without = (run(bars(*[FLAT] * 5), hooks=each, on_bar=at_bar(acts)) for each in (hooks, None))
    assert with_sink.engine.broker.fills == without.engine.broker.fills
    assert with_sink.statuses == without.statuses


def test_progress_ends_at_the_number_of_bars(run: Any, bars: Any) -> None:
    seen: list[tuple[int, int]] = []
    calls = iter(range(10**9))
    hooks = Hooks(stopwatch=lambda: next(calls) * 60_000_000, progress=lambda done, total: seen.append((done, total)))
    run(bars(*[FLAT] * 3_000, timeframe="1m"), hooks=hooks, on_bar=lambda self, bar: None)
    assert len(seen) > 3
    assert seen == sorted(seen)
    assert seen[-1] == (3_000, 3_000)


def test_a_run_that_is_told_to_stop_stops_between_chunks_and_says_so(run: Any, bars: Any) -> None:
    hooks = Hooks(should_stop=lambda: True)
    made = run(bars(*[FLAT] * 3_000, timeframe="1m"), hooks=hooks, on_bar=lambda self, bar: None)
    assert made.engine.finished is False
    assert made.engine.stopped_by == "interrupted"
    assert 0 < made.engine.bars_done < 3_000
