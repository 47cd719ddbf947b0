"""What happens at a tick, in which order, and what a strategy hears when."""

from __future__ import annotations

from typing import Any

import pytest

import builders
from weaver import Strategy, backtest
from weaver.core.errors import OrderError, StrategyError
from weaver.core.instants import from_ns, to_ns

FLAT = (100.0, 101.0, 99.0, 100.0)
DAY = 86_400 * 1_000_000_000
MONDAY = to_ns("2024-01-01T00:00:00Z")


def test_at_a_tick_news_comes_first_then_each_bar_then_all_bars_then_timers(run: Any, bars: Any) -> None:
    said: list[str] = []

    def on_start(self: Any) -> None:
        said.append("start")
        self.every("day", lambda: said.append("timer"))

    def on_bar(self: Any, bar: Any) -> None:
        said.append(f"bar {bar.symbol}")
        if bar.symbol == "B" and not self.orders and not self.positions["B"]:
            self.buy(1, symbol="B")

    run(
        [bars(FLAT, FLAT, FLAT, symbol="B"), bars(FLAT, FLAT, FLAT, symbol="A")],
        on_start=on_start,
        on_bar=on_bar,
        on_bars=lambda self, now: said.append(f"bars {','.join(now)}"),
        on_order=lambda self, order: said.append(f"order {order.status.value}"),
        on_fill=lambda self, fill: said.append("fill"),
        on_stop=lambda self: said.append("stop"),
    )
    each = ["bar B", "bar A", "bars B,A", "timer"]
    assert said == ["start", *each, "order accepted", "order filled", "fill", *each, *each, "stop"]


def test_histories_and_indicators_of_all_symbols_advance_before_the_first_on_bar(run: Any, bars: Any) -> None:
    seen = []

    def on_bar(self: Any, bar: Any) -> None:
        seen.append([self.bars[symbol].close[-1] for symbol in self.symbols])

    rising = [(price, price, price, price) for price in (1.0, 2.0)]
    run([bars(*rising, symbol="B"), bars(*rising, symbol="A")], on_bar=on_bar)
    assert seen == [[1.0, 1.0], [1.0, 1.0], [2.0, 2.0], [2.0, 2.0]]


def test_a_symbol_without_a_bar_is_absent_and_its_view_is_old(run: Any, bars: Any) -> None:
    seen = []

    def on_bars(self: Any, now: Any) -> None:
        seen.append((sorted(now), len(self.bars["A"])))

    run([bars(FLAT, FLAT, FLAT, symbol="B"), bars(FLAT, None, FLAT, symbol="A")], on_bars=on_bars)
    assert seen == [(["A", "B"], 1), (["B"], 1), (["A", "B"], 2)]


def test_at_the_first_tick_only_on_start_is_called(run: Any, bars: Any) -> None:
    said = []

    def on_start(self: Any) -> None:
        said.append(("start", self.now, len(self.bars)))

    run(bars(FLAT), on_start=on_start, on_bar=lambda self, bar: said.append(("bar", self.now, len(self.bars))))
    assert said == [("start", from_ns(MONDAY), 0), ("bar", from_ns(MONDAY + DAY), 1)]


def test_a_rejection_is_heard_at_the_next_tick_and_not_inside_the_call(run: Any, bars: Any, at_bar: Any) -> None:
    heard = []

    def on_order(self: Any, order: Any) -> None:
        heard.append((self.now, order.status.value, order.reason))

    asked = []
    made = run(
        bars(FLAT, FLAT, FLAT),
        cash=1_000.0,
        on_order=on_order,
        on_bar=at_bar({0: lambda self: asked.append(self.buy(11).status.value)}),
    )
    assert asked == ["submitted"]
    assert [(when, status) for when, status, _ in heard] == [(from_ns(MONDAY + 2 * DAY), "rejected")]
    assert "cannot be paid for" in heard[0][2]
    assert "1000.00" in heard[0][2]
    assert made.fills == []


def test_news_of_one_instant_is_told_by_symbol_and_order_number(run: Any, bars: Any) -> None:
    heard = []

    def on_bars(self: Any, now: Any) -> None:
        if len(self.bars["B"]) == 1:
            self.sell(1, symbol="A")
            self.buy(1, symbol="B")
            self.buy(1, symbol="A", limit=100)

    def on_order(self: Any, order: Any) -> None:
        heard.append((order.symbol, order.id, order.status.value))

    run([bars(FLAT, FLAT, symbol="B"), bars(FLAT, FLAT, symbol="A")], on_bars=on_bars, on_order=on_order)
    assert heard == [
        ("B", 2, "accepted"), ("A", 1, "accepted"), ("A", 3, "accepted"),
        ("B", 2, "filled"), ("A", 1, "filled"), ("A", 3, "filled"),
    ]  # fmt: skip


def test_in_on_fill_position_and_cash_include_the_fills_up_to_this_one(run: Any, bars: Any, at_bar: Any) -> None:
    seen = []

    def two(self: Any) -> None:
        self.buy(1)
        self.buy(2)

    run(
        bars(FLAT, FLAT, FLAT),
        on_bar=at_bar({0: two}),
        on_fill=lambda self, fill: seen.append((fill.order_id, float(self.position), self.cash)),
    )
    assert seen == [(1, 1.0, 9_900.0), (2, 3.0, 9_700.0)]


def test_cancelling_takes_effect_before_the_new_orders_of_the_same_tick(run: Any, bars: Any, at_bar: Any) -> None:
    def change_of_mind(self: Any) -> None:
        first = self.buy(1, limit=100)
        self.buy(2, limit=100)
        first.cancel()

    made = run(bars(FLAT, FLAT), on_bar=at_bar({0: change_of_mind}))
    assert made.statuses == ["cancelled", "filled"]


def test_cancelling_or_changing_what_is_done_does_nothing(run: Any, bars: Any, at_bar: Any) -> None:
    def late(self: Any) -> None:
        self.done.cancel()
        self.done.modify(quantity=5)

    made = run(
        bars(FLAT, FLAT, FLAT, FLAT),
        on_bar=at_bar({0: lambda self: setattr(self, "done", self.buy(1)), 1: late, 2: late}),
    )
    assert made.statuses == ["filled"]
    assert made.fills == [(1, "buy", 1.0, 100.0)]


def test_an_order_cut_to_nothing_at_the_tick_it_was_given_is_cancelled(run: Any, bars: Any, at_bar: Any) -> None:
    def nothing_left(self: Any) -> None:
        self.buy(1).modify(quantity=0.5)

    made = run(bars(FLAT, FLAT), on_bar=at_bar({0: nothing_left}))
    assert made.statuses == ["cancelled"]
    assert made.fills == []


def test_orders_from_on_stop_are_refused(run: Any, bars: Any) -> None:
    refused = []

    def on_stop(self: Any) -> None:
        for call in (lambda: self.buy(1), lambda: self.sell(1, limit=1), lambda: self.target(quantity=1)):
            with pytest.raises(OrderError, match="on_stop") as caught:
                call()
            refused.append(caught)

    assert run(bars(FLAT), on_stop=on_stop).orders == []
    assert len(refused) == 3


def test_orders_that_the_data_end_on_expire_and_no_callback_hears_of_it(run: Any, bars: Any, at_bar: Any) -> None:
    heard = []
    made = run(
        bars(FLAT, FLAT),
        on_bar=at_bar({1: lambda self: (self.buy(1), self.sell(1, limit=200, stop_loss=250))}),
        on_order=lambda self, order: heard.append(order.id),
    )
    assert made.statuses == ["expired", "expired", "cancelled"]
    assert [order.reason for order in made.orders] == ["end_of_data", "end_of_data", "its entry has ended"]
    assert heard == []


def test_open_positions_stay_open_at_the_end(run: Any, bars: Any, at_bar: Any) -> None:
    made = run(bars(FLAT, FLAT, FLAT), on_bar=at_bar({0: lambda self: self.buy(3)}))
    assert made.engine.account.lots == [3]


# ---------------------------------------------------------------- timers


def hourly(first: int, count: int) -> Any:
    return iter(range(first, first + (count + 1) * 3_600_000_000_000, 3_600_000_000_000))


def test_a_timer_fires_at_a_boundary_that_has_no_bar(run: Any, bars: Any) -> None:
    fired = []

    def on_start(self: Any) -> None:
        self.at("2024-01-01T02:00:00Z", lambda: fired.append((self.now, len(self.bars))))

    run(bars(FLAT, None, None, FLAT, timeframe="1h"), boundaries=hourly(MONDAY, 4), on_start=on_start)
    assert fired == [(from_ns(to_ns("2024-01-01T02:00:00Z")), 1)]


def test_an_order_from_a_timer_between_two_bars_fills_in_the_next_bar(run: Any, bars: Any) -> None:
    def on_start(self: Any) -> None:
        self.at("2024-01-01T02:00:00Z", lambda: self.buy(1))

    made = run(
        bars(FLAT, None, None, (103.0, 104.0, 102.0, 103.0), timeframe="1h"),
        boundaries=hourly(MONDAY, 4),
        on_start=on_start,
    )
    assert made.fills == [(1, "buy", 1.0, 103.0)]
    assert made.orders[0].submitted_ns == to_ns("2024-01-01T02:00:00Z")


def test_an_order_whose_time_was_up_between_two_bars_cannot_be_cancelled_by_a_timer_any_more(
    run: Any, bars: Any
) -> None:
    def on_start(self: Any) -> None:
        order = self.buy(1, limit=90, good_till="2024-01-01T02:00:00Z")
        self.at("2024-01-01T03:00:00Z", order.cancel)

    made = run(bars(FLAT, None, None, FLAT, timeframe="1h"), boundaries=hourly(MONDAY, 4), on_start=on_start)
    assert made.statuses == ["expired"]


def test_an_order_that_is_good_till_a_past_instant_expires_at_once(run: Any, bars: Any, at_bar: Any) -> None:
    made = run(
        bars(FLAT, FLAT), on_bar=at_bar({0: lambda self: self.buy(1, limit=200, good_till="2024-01-01T12:00:00Z")})
    )
    assert made.statuses == ["expired"]
    assert made.fills == []


def test_costs_of_holding_count_from_the_last_bars_end_whatever_timers_ran_between(run: Any, bars: Any) -> None:
    def on_start(self: Any) -> None:
        self.sell(10)
        self.every("hour", lambda: None)

    flat = (100.0, 100.0, 100.0, 100.0)
    rows = bars(flat, None, None, flat, timeframe="1h")
    made = run(rows, boundaries=hourly(MONDAY, 4), on_start=on_start, borrow_rate=0.876)
    # 1000 short, 0.876 / 8760 an hour: 0.1 for the first bar, 0.3 for the three hours until the second one's end.
    assert made.engine.account.cash == pytest.approx(11_000 - 0.4)


def test_indicators_and_resampled_bars_are_for_on_start_only(run: Any, bars: Any, at_bar: Any) -> None:
    from weaver.indicators import sma

    refused = []

    def late(self: Any) -> None:
        with pytest.raises(StrategyError, match="on_start") as caught:
            self.indicator(sma, self.bars.close, 2)
        refused.append(caught)

    run(bars(FLAT, FLAT), on_bar=at_bar({0: late}))
    assert refused


def test_news_comes_before_the_histories_of_the_same_tick_even_at_the_first_bar() -> None:
    """Nothing is seen through a view while fills are told, that has not been seen before; least of all the future."""
    seen: list[tuple[str, int]] = []

    class Listens(Strategy):
        def on_start(self):
            self.average = self.indicator(lambda close: close + 0.0, self.bars.close)
            self.buy(1)

        def on_fill(self, fill):
            seen.append(("fill", len(self.bars.close)))
            for view in (self.bars.close, self.average):
                with pytest.raises(IndexError):
                    view[-1]

        def on_bar(self, bar):
            seen.append(("bar", len(self.bars.close)))
            assert self.average[-1] == self.bars.close[-1] == bar.close

    closes = [100.0, 101.0, 102.0]
    backtest(Listens, builders.frame(closes))
    assert seen == [("fill", 0), ("bar", 1), ("bar", 2), ("bar", 3)]
