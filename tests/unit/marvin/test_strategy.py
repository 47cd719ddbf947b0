"""What a strategy knows and hears: the account, its orders, the time, its callbacks; and that runs share nothing."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any

import numpy as np
import polars as pl
import pytest

import builders
from weaver import Bar, Fill, Strategy, StrategyCrashed, StrategyError, UnknownSymbol, backtest
from weaver.costs import Borrow
from weaver.marvin.positions import Position

Make = Callable[..., pl.DataFrame]
Play = Callable[..., Any]


def test_a_strategy_that_does_not_run_says_so() -> None:
    strategy = Strategy()
    for look in (lambda: strategy.cash, lambda: strategy.position, lambda: strategy.now, lambda: strategy.buy(1),
                 lambda: strategy.orders, lambda: strategy.indicator(len)):  # fmt: skip
        with pytest.raises(StrategyError, match=r"strategy is not running; pass the class itself to backtest"):
            look()


# The account.


def test_position_is_a_number_that_knows_more(play: Play, make_bars: Make) -> None:
    seen = []

    def look(self: Any) -> None:
        p = self.position
        seen.append((p, p.quantity, bool(p), p.is_long, p.is_short, p.average_price, p.symbol, type(p.quantity)))

    script = {0: lambda self: (look(self), self.buy(3)), 1: lambda self: (look(self), self.sell(5)), 2: look}
    play(make_bars([100, 110, 120, 130], step="1d"), script)
    assert seen == [
        (0.0, 0.0, False, False, False, 0.0, "ASSET", float),
        (3.0, 3.0, True, True, False, 110.0, "ASSET", float),
        (-2.0, -2.0, True, False, True, 120.0, "ASSET", float),
    ]
    assert isinstance(Position.of(1.0, "A", 2.0), float)


def test_the_average_price_weighs_entries_and_ignores_exits(play: Play, make_bars: Make) -> None:
    seen = []
    script = {n: lambda self: (seen.append(self.position.average_price), self.buy(1)) for n in range(3)}
    script |= {3: lambda self: (seen.append(self.position.average_price), self.sell(2))}
    script |= {4: lambda self: seen.append(self.position.average_price)}
    play(make_bars([100, 100, 110, 120, 130], step="1d"), script)
    assert seen == [0, 100, 105, 110, 110]


def test_positions_always_work(play: Play, make_bars: Make) -> None:
    seen = []
    _, strategy = play({"A": make_bars([1, 2, 3]), "B": make_bars([1, 2, 3])}, {0: lambda self: self.buy(2, symbol="B"),
                       1: lambda self: seen.append((self.positions["A"], self.positions["B"], list(self.positions),
                                                    len(self.positions)))})  # fmt: skip
    assert seen == [(0, 2, ["A", "B"], 2)]
    _, strategy = play(make_bars([1, 2, 3]), {0: lambda self: self.buy(2)})
    assert dict(strategy.positions) == {"ASSET": 2}
    assert strategy.positions["ASSET"] is strategy.position
    with pytest.raises(UnknownSymbol, match=r"'ASET' is not in this run; did you mean 'ASSET'\?"):
        strategy.positions["ASET"]


def test_cash_and_equity_follow_fills_costs_and_closes(play: Play, make_bars: Make) -> None:
    seen = []
    script = {n: lambda self: seen.append((self.cash, self.equity)) for n in (0, 1, 2)}
    script[0] = lambda self: (seen.append((self.cash, self.equity)), self.buy(5))
    play(make_bars([100, 110, 120], opens=[100, 100, 110], step="1d"), script, cash=1000, commission=0.01)
    assert seen == [(1000, 1000), (495, 495 + 550), (495, 495 + 600)]


@pytest.mark.parametrize("listens", [False, True])
def test_equity_in_on_bar_is_the_row_of_the_result_to_the_last_bit(make_bars: Make, listens: bool) -> None:
    frames = {name: make_bars(**builders.random_walk(200, seed), step="1h") for seed, name in enumerate("AB")}
    seen: list[Any] = []

    class Trades(Strategy):
        def on_bars(self, bars: Any) -> None:
            seen.append((self.equity, self.cash))
            for symbol in bars:
                if self.random.random() < 0.3:
                    self.target(weight=float(self.random.uniform(-0.6, 0.6)), symbol=symbol)

    class Listens(Trades):
        def on_fill(self, fill: Any) -> None:
            pass

    # Shorts cost every hour, also when nothing is filled.
    result = backtest(Listens if listens else Trades, frames, commission=0.001, borrow=0.2, financing=0.1)
    assert result.record.holding_costs > 0
    assert result.fills.height > 50
    assert [equity for equity, _ in seen] == result.equity["equity"].to_list()
    assert [cash for _, cash in seen] == result.equity["cash"].to_list()


def test_listening_to_fills_changes_no_fill(make_bars: Make) -> None:
    bars = make_bars(**builders.random_walk(300, seed=7), step="1h")

    class Trades(Strategy):
        def on_bar(self, bar: Any) -> None:
            if self.random.random() < 0.3:
                self.target(weight=float(self.random.uniform(-1, 1)))

    class Listens(Trades):
        def on_fill(self, fill: Any) -> None:
            pass

        def on_order(self, order: Any) -> None:
            pass

    results = [backtest(kind, bars, commission=0.001, borrow=Borrow(0.2)) for kind in (Trades, Listens)]
    assert results[0].fills.equals(results[1].fills)
    assert results[0].equity.equals(results[1].equity)
    assert results[0].orders.equals(results[1].orders)


def test_in_on_fill_position_and_cash_include_the_fills_up_to_this_one(make_bars: Make) -> None:
    seen: list[Any] = []

    class Several(Strategy):
        def on_bars(self, bars: Any) -> None:
            if len(self.bars["A"].close) == 1:
                self.buy(1, symbol="A")
                self.buy(2, symbol="A")
                self.sell(3, symbol="B")
                self.buy(4, symbol="A", limit=100)

        def on_fill(self, fill: Any) -> None:
            seen.append((fill.symbol, fill.quantity, self.positions["A"], self.positions["B"], self.cash))

    backtest(Several, {"A": make_bars([100.0] * 3), "B": make_bars([10.0] * 3)}, cash=1000)
    assert seen == [
        ("A", 1, 1, 0, 900), ("A", 2, 3, 0, 700), ("A", 4, 7, 0, 300), ("B", 3, 7, -3, 330),
    ]  # fmt: skip


def test_after_on_fill_the_account_is_the_whole_one_again(make_bars: Make) -> None:
    seen: list[Any] = []

    class Turns(Strategy):
        def on_bar(self, bar: Any) -> None:
            seen.append((self.position, self.position.average_price, self.cash))
            if len(self.bars.close) == 1:
                self.buy(10)
            if len(self.bars.close) == 2:
                # The reducing one fills first, though it is told second.
                self.buy(5)
                self.sell(10)

    class Hears(Turns):
        def on_fill(self, fill: Any) -> None:
            pass

    for kind in (Turns, Hears):
        seen.clear()
        backtest(kind, make_bars([100, 100, 110, 110], step="1d"), cash=10_000)
        assert seen == [(0, 0, 10_000), (10, 100, 9_000), (5, 110, 9_550), (5, 110, 9_550)]


def test_with_finalize_on_stop_sees_the_account_without_positions(make_bars: Make) -> None:
    seen: list[Any] = []

    class Ends(Strategy):
        def on_bar(self, bar: Any) -> None:
            if not self.position:
                self.buy(2)

        def on_stop(self) -> None:
            seen.append((self.position, self.cash, self.equity, self.orders))

    class Hears(Ends):
        def on_fill(self, fill: Any) -> None:
            pass

    for kind in (Ends, Hears):
        result = backtest(kind, make_bars([100, 100, 120], step="1d"), cash=1000, finalize=True)
        assert result.final_equity == 1040
    assert seen == [(0, 1040, 1040, ())] * 2


def test_short_proceeds_are_in_the_cash(play: Play, make_bars: Make) -> None:
    seen = []
    play(
        make_bars([100.0] * 3),
        {0: lambda self: self.sell(5), 1: lambda self: seen.append((self.cash, self.equity))},
        cash=1000,
    )
    assert seen == [(1500, 1000)]


# Orders, time, symbols, chance.


def test_orders_are_the_open_ones_oldest_first(play: Play, make_bars: Make) -> None:
    seen = []

    def ids(self: Any) -> None:
        seen.append([order.id for order in self.orders])

    script = {0: lambda self: (self.buy(1, limit=50), self.buy(1), self.buy(1, limit=60), ids(self)), 1: ids,
              2: lambda self: (self.orders[0].cancel(), ids(self)), 3: ids}  # fmt: skip
    _, strategy = play(make_bars([100.0] * 5), script)
    assert seen == [[1, 2, 3], [1, 3], [1, 3], [3]]
    assert isinstance(strategy.orders, tuple)


def test_now_is_the_tick_and_bar_ts_the_start(make_bars: Make) -> None:
    seen = []

    class Times(Strategy):
        def on_start(self) -> None:
            seen.append((self.now, None))

        def on_bar(self, bar: Bar) -> None:
            seen.append((self.now, bar.ts))

    backtest(Times, make_bars([1, 2], step="1d"))
    day = datetime(2024, 1, 1, tzinfo=UTC)
    one = timedelta(days=1)
    assert seen == [(day, None), (day + one, day), (day + 2 * one, day + one)]


def test_with_a_calendar_now_is_the_close(make_bars: Make) -> None:
    pytest.importorskip("exchange_calendars")
    seen = []

    class Times(Strategy):
        def on_start(self) -> None:
            seen.append(f"{self.now:%d %H:%M}")

        def on_bar(self, bar: Bar) -> None:
            seen.append(f"{self.now:%d %H:%M}")
            assert bar.ts.hour == 0

    # The 3rd was a half day: 13:00 in New York.
    backtest(Times, make_bars([1, 2, 3], step="1d", start="2024-07-01", rows=[0, 1, 2]), calendar="XNYS")
    assert seen == ["01 13:30", "01 20:00", "02 20:00", "03 17:00"]


def test_symbols_are_in_the_order_of_the_run(play: Play, make_bars: Make) -> None:
    frames = {name: make_bars([1, 2, 3]) for name in ("B", "C", "A")}
    assert play(frames, {})[1].symbols == ("B", "C", "A")
    assert play(frames, {}, symbols=["A", "B"])[1].symbols == ("A", "B")
    order = []

    class Calls(Strategy):
        def on_bar(self, bar: Any) -> None:
            order.append(bar.symbol)

    backtest(Calls, frames)
    assert order == ["B", "C", "A"] * 3


def test_random_is_seeded_by_the_run(make_bars: Make) -> None:
    drawn: list[float] = []

    class Draws(Strategy):
        def on_bar(self, bar: Any) -> None:
            drawn.append(float(self.random.random()))

    bars = make_bars([1, 2, 3])
    runs = []
    for seed in (0, 0, 1):
        drawn.clear()
        backtest(Draws, bars, seed=seed)
        runs.append(list(drawn))
    assert runs[0] == runs[1] != runs[2]
    assert len(set(runs[0])) == 3
    assert runs[0] == np.random.default_rng(0).random(3).tolist()


# What it hears.


def test_on_order_hears_each_status_once_and_in_order(make_bars: Make) -> None:
    heard: list[Any] = []

    class Hears(Strategy):
        def on_bar(self, bar: Any) -> None:
            if len(self.bars.close) == 1:
                self.buy(1)
                self.buy(1, limit=50, tif="day")
                self.buy(1e9)
                self.gone = self.buy(1, limit=40)
            if len(self.bars.close) == 2:
                self.gone.cancel()

        def on_order(self, order: Any) -> None:
            heard.append((len(self.bars.close), order.id, order.status.value, order.is_open))

    backtest(Hears, make_bars([100.0] * 4, step="1d"))
    assert heard == [
        (1, 1, "accepted", True), (1, 2, "accepted", True), (1, 3, "rejected", False), (1, 4, "accepted", True),
        (1, 1, "filled", False), (1, 2, "expired", False),
        (2, 4, "cancelled", False),
    ]  # fmt: skip


def test_on_order_comes_before_on_fill_of_the_same_news(make_bars: Make) -> None:
    heard: list[str] = []

    class Hears(Strategy):
        def on_bar(self, bar: Any) -> None:
            heard.append("bar")
            if len(self.bars.close) == 1:
                self.buy(1)

        def on_order(self, order: Any) -> None:
            heard.append(order.status.value)

        def on_fill(self, fill: Any) -> None:
            heard.append("fill")

    backtest(Hears, make_bars([100.0] * 3))
    assert heard == ["bar", "accepted", "filled", "fill", "bar", "bar"]


def test_a_fill_says_what_happened(make_bars: Make) -> None:
    heard: list[Fill] = []

    class Hears(Strategy):
        def on_bar(self, bar: Any) -> None:
            if len(self.bars.close) == 1:
                self.sell(2, tag="try")

        def on_fill(self, fill: Fill) -> None:
            heard.append(fill)

    backtest(Hears, make_bars([100, 101, 102], opens=[100, 100.5, 101], step="1d"), commission=0.01)
    (fill,) = heard
    assert fill.side == "sell"
    assert (fill.symbol, fill.quantity, fill.price, fill.commission, fill.order_id, fill.tag) == (
        "ASSET", 2.0, 100.5, pytest.approx(2.01), 1, "try",
    )  # fmt: skip
    assert fill.ts == datetime(2024, 1, 2, tzinfo=UTC)


def test_an_order_from_on_fill_fills_from_the_next_bar(make_bars: Make) -> None:
    class Follows(Strategy):
        def on_bar(self, bar: Any) -> None:
            if len(self.bars.close) == 1:
                self.buy(1)

        def on_fill(self, fill: Any) -> None:
            if fill.side == "buy":
                self.close()

    result = backtest(Follows, make_bars([100, 101, 102, 103], step="1d"))
    assert result.fills.select("side", "price").rows() == [("buy", 101), ("sell", 102)]


def test_the_callbacks_of_a_run_come_in_their_order(make_bars: Make) -> None:
    calls: list[str] = []

    class All(Strategy):
        def on_start(self) -> None:
            calls.append("start")
            self.every("1m", lambda: calls.append("timer"))

        def on_bar(self, bar: Any) -> None:
            calls.append(f"bar {bar.symbol}")
            self.buy(1, symbol=bar.symbol)

        def on_bars(self, bars: Any) -> None:
            calls.append("bars")

        def on_fill(self, fill: Any) -> None:
            calls.append(f"fill {fill.symbol}")

        def on_stop(self) -> None:
            calls.append("stop")

    backtest(All, {"A": make_bars([1, 2]), "B": make_bars([1, 2])})
    assert calls == [
        "start",
        "bar A", "bar B", "bars", "timer",
        "fill A", "fill B", "bar A", "bar B", "bars", "timer",
        "stop",
    ]  # fmt: skip


def test_on_bars_lists_the_bars_that_ended_now(make_bars: Make) -> None:
    seen: list[Any] = []

    class Lists(Strategy):
        def on_bars(self, bars: Any) -> None:
            seen.append({symbol: bar.close for symbol, bar in bars.items()})

    backtest(Lists, {"A": make_bars([1, 2, 3], rows=[0, 1, 3]), "B": make_bars([7, 8], rows=[1, 2])})
    assert seen == [{"A": 1}, {"A": 2, "B": 7}, {"B": 8}, {"A": 3}]


def test_orders_that_the_data_end_on_expire_and_nobody_hears_of_it(make_bars: Make) -> None:
    heard: list[Any] = []

    class Last(Strategy):
        def on_bar(self, bar: Any) -> None:
            self.order = self.buy(1)

        def on_order(self, order: Any) -> None:
            heard.append((order.id, order.status.value))

        def on_stop(self) -> None:
            heard.append((self.order.id, self.order.status.value, self.order.reason))

    backtest(Last, make_bars([1, 2]))
    assert heard == [(1, "accepted"), (1, "filled"), (2, "expired", "end_of_data")]


# Runs share nothing.


def test_the_same_class_run_twice_starts_afresh(make_bars: Make) -> None:
    class Counts(Strategy):
        size: int = 1

        def on_start(self) -> None:
            assert not hasattr(self, "calls")
            assert self.position == 0
            self.calls = 0

        def on_bar(self, bar: Any) -> None:
            self.calls += 1
            self.size += 1  # its own from here on
            if not self.position:
                self.buy(self.size)

    bars = make_bars([100.0] * 4)
    first, second = backtest(Counts, bars), backtest(Counts, bars)
    assert first.fills.equals(second.fills)
    assert first.params == second.params == {"size": 1}
    assert Counts.size == 1
    assert "position" not in vars(Counts)
    assert "_context" not in vars(Counts)


def test_a_run_inside_a_run_is_independent(make_bars: Make) -> None:
    bars = make_bars([100, 101, 102, 103])

    class Inner(Strategy):
        def on_bar(self, bar: Any) -> None:
            self.buy(1)

    class Outer(Strategy):
        def on_bar(self, bar: Any) -> None:
            known = make_bars(list(self.bars.close) * 2)
            self.found = backtest(Inner, known).fills.height
            if not self.position:
                self.buy(self.found)

    result = backtest(Outer, bars)
    assert result.fills.select("quantity", "price").rows() == [(1, 101)]


def test_a_strategy_that_raises_tells_bar_time_line_and_parameters(make_bars: Make) -> None:
    class Fails(Strategy):
        limit: float = 2.5

        def on_bar(self, bar: Any) -> None:
            if bar.close > self.limit:
                raise ValueError(f"{bar.close} is too much")

    with pytest.raises(StrategyCrashed) as caught:
        backtest(Fails, make_bars([1, 2, 3, 4], step="1d"), params={"limit": 2})
    text = str(caught.value)
    assert text.startswith("Fails.on_bar raised ValueError: 3.0 is too much [bar 2 of ASSET at 2024-01-03T00:00:00Z; ")
    assert "tick 2024-01-04T00:00:00Z; test_strategy.py:" in text
    assert 'raise ValueError(f"{bar.close} is too much"); parameters: limit=2.0]' in text
    assert isinstance(caught.value.__cause__, ValueError)
    assert caught.value.result.bars == 3


@pytest.mark.parametrize("name", ["on_start", "on_bar", "on_bars", "on_order", "on_fill", "on_stop"])
def test_each_callback_that_raises_is_named(make_bars: Make, name: str) -> None:
    def fails(self: Any, *args: Any) -> None:
        raise KeyError("missing")

    fails.__code__ = fails.__code__.replace(co_name=name)
    body: dict[str, Any] = {"on_bar": lambda self, bar: self.buy(1), "__module__": __name__}
    kind = type("Fails", (Strategy,), body | {name: fails})
    with pytest.raises(StrategyCrashed, match=rf"Fails\.{name} raised KeyError: 'missing'") as caught:
        backtest(kind, make_bars([1, 2, 3]))
    assert caught.value.result is not None


def test_what_is_not_the_strategys_fault_is_not_put_on_it(make_bars: Make) -> None:
    class Interrupted(Strategy):
        def on_bar(self, bar: Any) -> None:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        backtest(Interrupted, make_bars([1, 2, 3]))


def test_fills_before_a_crash_are_not_lost(make_bars: Make) -> None:
    class Late(Strategy):
        def on_bar(self, bar: Any) -> None:
            self.buy(1)

        def on_fill(self, fill: Any) -> None:
            if fill.order_id == 2:
                raise RuntimeError("enough")

    with pytest.raises(StrategyCrashed) as caught:
        backtest(Late, make_bars([1, 2, 3, 4]))
    result = caught.value.result
    assert result.fills.height == 2
    assert result.orders["status"].to_list() == ["filled", "filled"]
    assert any("the run stopped before its end" in text for text in result.warnings)
