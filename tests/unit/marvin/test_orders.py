"""Orders as a strategy gives them: every argument of buy, sell, close, target, oco, modify and cancel, and what is refused."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime
from decimal import Decimal
from typing import Any

import numpy as np
import polars as pl
import pytest

from weaver import (
    Instrument,
    NaiveDatetimeError,
    Order,
    OrderError,
    OrderStatus,
    Side,
    Strategy,
    StrategyCrashed,
    SymbolRequired,
    TimeInForce,
    Trail,
    UnknownSymbol,
)  # fmt: skip
from weaver.core.orders import OrderUpdate

Make = Callable[..., pl.DataFrame]
Play = Callable[..., Any]
FLAT = [100.0] * 8


@pytest.fixture
def flat(make_bars: Make) -> pl.DataFrame:
    """Eight daily bars at 100 that swing between 90 and 110."""
    return make_bars(FLAT, step="1d", highs=[110.0] * 8, lows=[90.0] * 8)


def fills(result: Any) -> list[tuple[str, float, float]]:
    return [(row["side"], row["quantity"], row["price"]) for row in result.fills.iter_rows(named=True)]


def refused(play: Play, bars: Any, act: Callable[[Any], Any], **options: Any) -> str:
    """The OrderError's message with which `act` is refused at the second bar, where one unit is held."""

    def try_it(self: Any) -> str:
        with pytest.raises(OrderError) as caught:
            act(self)
        return str(caught.value)

    result, strategy = play(bars, {0: lambda self: self.buy(1), 1: try_it}, **options)
    assert result.fills.height == 1
    assert result.orders.height == 1
    return str(strategy.out[1])


# The order in the hand.


def test_an_order_has_all_its_attributes_from_the_start(play: Play, flat: pl.DataFrame) -> None:
    def look(self: Any) -> Any:
        order = self.buy(2, limit=95, tag="dip")
        return (
            order,
            order.id,
            order.symbol,
            order.side,
            order.quantity,
            order.status,
            order.is_open,
            order.filled_quantity,
            order.average_price,
            order.tag,
            order.limit,
            order.stop,
            order.tif,
            order.reason,
            order.note,
            repr(order),
        )

    _, strategy = play(flat, {0: look})
    order, *values = strategy.out[0]
    assert values == [1, "ASSET", "buy", 2.0, "submitted", True, 0.0, None, "dip", 95.0, None, "gtc", None, None,
                      "<Order 1 buy 2 ASSET limit=95 submitted>"]  # fmt: skip
    assert (order.status, order.is_open, order.filled_quantity, order.average_price) == ("filled", False, 2.0, 95.0)
    assert isinstance(order, Order)


def test_a_decimal_that_is_whole_lots_is_cut_by_nothing(play: Play, flat: pl.DataFrame) -> None:
    _, strategy = play(flat, {0: lambda self: self.buy(Decimal("0.3"))})
    assert (strategy.out[0].quantity, strategy.out[0].note) == (0.3, None)


@pytest.mark.parametrize("tag", [5, ["a"], 1.5, b"a"])
def test_a_tag_is_text(play: Play, flat: pl.DataFrame, tag: Any) -> None:
    for act in (
        lambda self: self.buy(1, tag=tag),
        lambda self: self.sell(1, limit=5, stop_loss=9, tag=tag),
        lambda self: self.target(weight=0.5, tag=tag),
        lambda self: self.close(tag=tag),
    ):
        assert f"tag={tag!r} is not a string" in refused(play, flat, act)


def test_the_side_compares_equal_to_its_word(play: Play, flat: pl.DataFrame) -> None:
    _, strategy = play(flat, {0: lambda self: (self.buy(1), self.sell(1))})
    bought, sold = strategy.out[0]
    assert (bought.side, sold.side) == ("buy", "sell") == (Side.BUY, Side.SELL)
    assert bought.side != "sell"


def test_ids_count_from_one_in_call_order(play: Play, flat: pl.DataFrame) -> None:
    _, strategy = play(flat, {0: lambda self: [self.buy(1).id, self.buy(1, stop_loss=80).id, self.buy(1).id], 1: lambda self:
                              self.sell(1).id})  # fmt: skip
    assert strategy.out[0] == [1, 2, 4]
    assert strategy.out[1] == 5


def test_a_partial_fill_shows_in_the_order(play: Play, make_bars: Make) -> None:
    seen = []

    class Hears(Strategy):
        def on_order(self, order: Any) -> None:
            seen.append((order.status.value, order.filled_quantity, order.average_price, order.is_open))

    bars = make_bars([100.0] * 5, opens=[100, 100, 102, 104, 104], step="1d")  # volume 1000, so 100 a bar
    play(bars, {0: lambda self: self.buy(250)}, base=Hears, volume_cap=0.1, cash=1_000_000)
    assert seen == [
        ("accepted", 0.0, None, True),
        ("partially_filled", 100.0, 100.0, True),
        ("partially_filled", 200.0, 101.0, True),
        ("filled", 250.0, 101.6, False),
    ]


# What each argument does.


def test_a_market_order_fills_at_the_next_open(play: Play, make_bars: Make) -> None:
    bars = make_bars([100, 101, 102], opens=[100, 100.5, 101.5], step="1d")
    result, _ = play(bars, {0: lambda self: self.buy(3), 1: lambda self: self.sell(1)})
    assert fills(result) == [("buy", 3, 100.5), ("sell", 1, 101.5)]


def test_limit_stop_and_both(play: Play, flat: pl.DataFrame) -> None:
    script = {
        0: lambda self: (self.buy(1, limit=95), self.buy(1, stop=105), self.buy(1, stop=104, limit=106)),
        1: lambda self: (self.sell(1, limit=107), self.sell(1, stop=93), self.sell(1, stop=94, limit=92)),
    }
    result, _ = play(flat, script)
    assert sorted(fills(result)) == [("buy", 1, 95), ("buy", 1, 104), ("buy", 1, 105), ("sell", 1, 93), ("sell", 1, 94),
                                     ("sell", 1, 107)]  # fmt: skip
    assert result.orders["kind"].to_list() == ["limit", "stop", "stop-limit"] * 2


def test_a_bracket_lives_from_its_entrys_fill_and_its_legs_are_in_the_hand(play: Play, flat: pl.DataFrame) -> None:
    result, strategy = play(flat, {0: lambda self: self.buy(2, stop_loss=80, take_profit=108)})
    entry = strategy.out[0]
    assert fills(result) == [("buy", 2, 100), ("sell", 2, 108)]
    assert (entry.stop_loss.status, entry.stop_loss.tag, entry.stop_loss.id) == ("cancelled", "stop_loss", 2)
    assert (entry.take_profit.status, entry.take_profit.tag, entry.take_profit.id) == ("filled", "take_profit", 3)
    assert entry.take_profit.side == "sell"


def test_a_leg_carries_the_tag_of_its_entry_where_that_has_one(play: Play, flat: pl.DataFrame) -> None:
    result, strategy = play(flat, {0: lambda self: self.buy(1, stop_loss=95, tag="dip")})
    assert result.fills["tag"].to_list() == ["dip", "dip"]
    assert strategy.out[0].take_profit is None


def test_a_trailing_stop_by_percent_and_by_amount(play: Play, make_bars: Make) -> None:
    bars = make_bars([100, 100, 110, 120, 100], step="1d")
    result, strategy = play(bars, {0: lambda self: self.buy(1, stop_loss=Trail(percent=10)), 1: lambda self:
                                   self.sell(1, stop=Trail(amount=15))})  # fmt: skip
    loss = strategy.out[0].stop_loss
    assert loss.stop == Trail(percent=10)
    assert strategy.out[1].stop == Trail(amount=15)
    # Best 120, so the stops stood at 108 and 105, and the last bar opened at 100. The second is no exit and goes short.
    assert fills(result) == [("buy", 1, 100), ("sell", 1, 100), ("sell", 1, 100)]
    assert result.orders["kind"].to_list() == ["market", "trailing stop", "trailing stop"]


@pytest.mark.parametrize(
    ("tif", "shown"),
    [(None, "gtc"), ("gtc", "gtc"), ("day", "day"), ("DAY", "day"), (TimeInForce.DAY, "day"), ("ioc", "ioc"), ("fok", "fok"),
     ("at_open", "at_open"), ("at-close", "at_close")],
)  # fmt: skip
def test_time_in_force_by_word_or_member(play: Play, flat: pl.DataFrame, tif: Any, shown: str) -> None:
    result, strategy = play(flat, {0: lambda self: self.buy(1, limit=85, tif=tif)})
    assert strategy.out[0].tif == shown
    assert result.orders["tif"].to_list() == [shown]
    ended = {"gtc": "end_of_data", "day": "day: its session is over"}.get(shown)
    assert ended is None or strategy.out[0].reason == ended


@pytest.mark.parametrize("till", ["2024-01-04", datetime(2024, 1, 4, tzinfo=UTC)])
def test_good_till_an_instant(play: Play, flat: pl.DataFrame, till: Any) -> None:
    result, strategy = play(flat, {0: lambda self: self.buy(1, limit=85, good_till=till), 1: lambda self:
                                   self.buy(1, limit=85, tif="gtd", good_till=till)})  # fmt: skip
    assert [order.status for order in strategy.out.values()] == ["expired"] * 2
    assert result.orders["done"].dt.date().cast(pl.String).to_list() == ["2024-01-04"] * 2


def test_in_a_run_with_several_symbols_orders_need_theirs(play: Play, make_bars: Make) -> None:
    def look(self: Any) -> None:
        for act in (lambda: self.buy(1), lambda: self.sell(1), lambda: self.close(), lambda: self.target(weight=1),
                    lambda: self.target(quantity=1), lambda: self.buy(1, limit=5)):  # fmt: skip
            with pytest.raises(
                SymbolRequired, match=r"this run has 2 symbols; say which one, for example symbol='AAPL'"
            ):
                act()
        with pytest.raises(
            SymbolRequired, match=r"self\.position: this run has 2 symbols; .* self\.positions\['AAPL'\]"
        ):
            _ = self.position
        with pytest.raises(UnknownSymbol, match=r"'APPL' is not in this run; did you mean 'AAPL'\?"):
            self.buy(1, symbol="APPL")
        with pytest.raises(UnknownSymbol, match=r"'MFST' is not in this run; did you mean 'MSFT'\?"):
            self.target_weights({"MFST": 1})
        with pytest.raises(UnknownSymbol, match=r"\['MSFT'\] is not in this run"):
            self.buy(1, symbol=["MSFT"])
        with pytest.raises(UnknownSymbol, match=r"'MFST' is not in this run"):
            _ = self.positions["MFST"]
        self.buy(2, symbol="MSFT")

    result, strategy = play({"AAPL": make_bars([1, 2, 3]), "MSFT": make_bars([10, 20, 30])}, {0: look})
    assert result.fills.select("symbol", "quantity").rows() == [("MSFT", 2)]
    assert dict(strategy.positions) == {"AAPL": 0, "MSFT": 2}


def test_with_one_symbol_it_may_be_named(play: Play, flat: pl.DataFrame) -> None:
    result, strategy = play(
        flat, {0: lambda self: self.buy(1, symbol="ASSET"), 1: lambda self: self.close(symbol="ASSET")}
    )
    assert fills(result) == [("buy", 1, 100), ("sell", 1, 100)]
    assert strategy.positions["ASSET"] == 0


# What can never be an order.


@pytest.mark.parametrize(
    ("quantity", "told"),
    [(0, "must be greater than zero"), (-1, "must be greater than zero"), (0.0, "must be greater than zero"),
     (float("nan"), "is not a number"), (float("inf"), "is not a number"), (None, "is not a number"), ("5", "is not a number"),
     (True, "is not a number"), (np.True_, "is not a number"), ([1], "is not a number"), (10**400, "is not a number"),
     (1e305, "is beyond all numbers of lots")],
)  # fmt: skip
def test_a_quantity_that_is_none_is_refused_by_name(play: Play, flat: pl.DataFrame, quantity: Any, told: str) -> None:
    for what in ("buy", "sell", "close") if quantity is not None else ("buy", "sell"):  # close(None) closes all
        text = refused(play, flat, lambda self, what=what: getattr(self, what)(quantity))
        assert text.startswith(f"{what}: quantity=")
        assert told in text
    assert told in refused(play, flat, lambda self: self.buy(quantity, limit=95))


@pytest.mark.parametrize("quantity", [2, 2.0, np.float64(2), np.int64(2), np.float32(2), Decimal(2)])
def test_a_quantity_may_be_any_kind_of_number(play: Play, flat: pl.DataFrame, quantity: Any) -> None:
    result, strategy = play(flat, {0: lambda self: self.buy(quantity)})
    assert fills(result) == [("buy", 2, 100)]
    assert type(strategy.out[0].quantity) is float
    assert strategy.out[0].note is None


@pytest.mark.parametrize("price", [0, -5, float("nan"), float("inf"), "95", True, [95]])
@pytest.mark.parametrize("name", ["limit", "stop", "stop_loss", "take_profit"])
def test_a_price_that_is_none_is_refused_by_name(play: Play, flat: pl.DataFrame, name: str, price: Any) -> None:
    assert refused(play, flat, lambda self: self.buy(1, **{name: price})).startswith(f"{name}={price!r}")
    if name in ("limit", "stop"):
        assert refused(play, flat, lambda self: self.close(**{name: price})).startswith(f"{name}={price!r}")


@pytest.mark.parametrize(
    ("side", "terms", "told"),
    [
        (
            "buy",
            {"limit": 100, "stop_loss": 101},
            "stop_loss=101 is on the wrong side of the entry at 100; it must be below it",
        ),
        ("buy", {"limit": 100, "stop_loss": 100}, "stop_loss=100 is on the wrong side"),
        (
            "buy",
            {"stop": 100, "take_profit": 99},
            "take_profit=99 is on the wrong side of the entry at 100; it must be above it",
        ),
        (
            "sell",
            {"limit": 100, "stop_loss": 99},
            "stop_loss=99 is on the wrong side of the entry at 100; it must be above it",
        ),
        (
            "sell",
            {"stop": 100, "take_profit": 101},
            "take_profit=101 is on the wrong side of the entry at 100; it must be below",
        ),
        ("buy", {"stop_loss": 105, "take_profit": 95}, "stop_loss=105 and take_profit=95 are the wrong way round"),
        ("buy", {"stop_loss": 95, "take_profit": 95}, "stop_loss=95 and take_profit=95 are the wrong way round"),
        ("sell", {"stop_loss": 95, "take_profit": 105}, "stop_loss=95 and take_profit=105 are the wrong way round"),
        ("buy", {"stop": Trail(percent=5), "limit": 99}, "a trailing stop takes no limit"),
        ("buy", {"tif": "soon"}, "tif='soon': must be one of gtc, day, gtd, ioc, fok, at_open, at_close"),
        ("buy", {"tif": "gtd"}, "tif='gtd' needs good_till="),
        ("buy", {"tif": "day", "good_till": "2024-01-04"}, "contradict each other"),
        ("buy", {"tif": "at_open", "stop": 105}, "tif='at_open' goes with a market or a limit order"),
        ("sell", {"tif": "at_close", "stop": Trail(amount=5)}, "tif='at_close' goes with a market or a limit order"),
    ],
)
def test_terms_that_contradict_each_other_are_refused(
    play: Play, flat: pl.DataFrame, side: str, terms: dict[str, Any], told: str
) -> None:
    assert told in refused(play, flat, lambda self: getattr(self, side)(1, **terms))


@pytest.mark.parametrize(
    ("terms", "told"),
    [
        ({"stop": Trail(percent=5), "limit": 99}, "close: a trailing stop takes no limit"),
        ({"stop": 95, "tif": "at_open"}, "close: tif='at_open' goes with a market or a limit order"),
        ({"tif": "soon"}, "tif='soon': must be one of"),
    ],
)
def test_a_close_is_held_to_the_same_terms(play: Play, flat: pl.DataFrame, terms: dict[str, Any], told: str) -> None:
    assert told in refused(play, flat, lambda self: self.close(**terms))


@pytest.mark.parametrize("terms", [{}, {"percent": 5, "amount": 1}, {"percent": 0}, {"percent": 100}, {"amount": -1},
                                   {"amount": float("nan")}, {"amount": float("inf")}, {"percent": "5"},
                                   {"percent": True}, {"amount": [1]}])  # fmt: skip
def test_a_trail_is_one_distance(terms: dict[str, float]) -> None:
    with pytest.raises(OrderError, match=r"give exactly one, greater than zero"):
        Trail(**terms)


def test_good_till_needs_a_time_zone(play: Play, flat: pl.DataFrame) -> None:
    def look(self: Any) -> None:
        with pytest.raises(NaiveDatetimeError):
            self.buy(1, good_till=datetime(2024, 1, 4))

    play(flat, {0: look})


def test_orders_from_on_stop_are_refused(make_bars: Make) -> None:
    from weaver import backtest

    told = []

    class Late(Strategy):
        def on_bar(self, bar: Any) -> None:
            if not self.position:
                self.buy(1)

        def on_stop(self) -> None:
            for act in (lambda: self.buy(1), lambda: self.sell(1, limit=5), lambda: self.close(), lambda: self.target(weight=0),
                        lambda: self.target(quantity=5), lambda: self.target_weights({"ASSET": 0.5})):  # fmt: skip
                with pytest.raises(OrderError, match="orders from on_stop are refused; the run is over"):
                    act()
                told.append(1)

    result = backtest(Late, make_bars([1, 2, 3]))
    assert len(told) == 6
    assert result.orders.height == 1


def test_orders_may_be_given_in_on_start_and_fill_in_the_first_bar(play: Play, make_bars: Make) -> None:
    result, _ = play(make_bars([100, 101], opens=[99, 100], step="1d"), {-1: lambda self: self.buy(1)})
    assert fills(result) == [("buy", 1, 99)]


def test_a_weight_has_no_price_before_the_first_close(play: Play, make_bars: Make) -> None:
    def look(self: Any) -> None:
        with pytest.raises(
            OrderError, match="target: ASSET has no close yet, so a weight has no price; wait for on_bar"
        ):
            self.target(weight=0.5)
        assert self.target(weight=0.0) is None
        self.target(quantity=3)

    result, _ = play(make_bars([100, 101], step="1d"), {-1: look})
    assert fills(result) == [("buy", 3, 100)]


# Lots and price steps.


def test_a_quantity_is_cut_to_the_lot_and_that_is_reported(play: Play, flat: pl.DataFrame) -> None:
    result, strategy = play(flat, {0: lambda self: self.buy(10.57)}, instrument=Instrument(lot="0.1"))
    order = strategy.out[0]
    assert (order.quantity, order.note) == (10.5, "quantity 10.57 cut to 10.5: whole lots of 0.1")
    assert fills(result) == [("buy", 10.5, 100)]


@pytest.mark.parametrize(
    ("lot", "asked", "got"), [(10, 25, 20), (10, 25.0, 20), (0.3, 10, 9.9), (3, 10, 9), (0.25, 10, 10)]
)
def test_whole_numbers_of_units_are_cut_to_any_lot(
    play: Play, flat: pl.DataFrame, lot: float, asked: float, got: float
) -> None:
    result, strategy = play(flat, {0: lambda self: self.buy(asked)}, instrument=Instrument(lot=lot))
    assert strategy.out[0].quantity == got
    assert (strategy.out[0].note is None) == (asked == got)
    assert fills(result) == [("buy", got, 100)]


@pytest.mark.parametrize("quantity", [0.04, 5e-9])
def test_less_than_a_lot_is_rejected_with_the_reason(play: Play, flat: pl.DataFrame, quantity: float) -> None:
    result, strategy = play(flat, {0: lambda self: self.buy(quantity)}, instrument=Instrument(lot="0.1"))
    assert strategy.out[0].status is OrderStatus.REJECTED
    assert strategy.out[0].reason == "the quantity is less than one lot of 0.1"
    assert result.orders["status"].to_list() == ["rejected"]


def test_a_limit_is_rounded_to_the_passive_side_and_a_stop_away_from_the_market(play: Play, flat: pl.DataFrame) -> None:
    def look(self: Any) -> Any:
        return (
            self.buy(1, limit=95.37), self.sell(1, limit=104.31), self.buy(1, stop=104.31), self.sell(1, stop=95.37),
            self.buy(1, limit=95.5, stop_loss=80.37, take_profit=120.31),
            self.sell(1, limit=104.5, stop_loss=120.31, take_profit=80.37),
        )  # fmt: skip

    _, strategy = play(flat, {0: look}, instrument=Instrument(price_step=0.25))
    buy, sell, up, down, long, short = strategy.out[0]
    assert (buy.limit, sell.limit, up.stop, down.stop) == (95.25, 104.5, 104.5, 95.25)
    assert (long.stop_loss.stop, long.take_profit.limit) == (80.25, 120.5)
    assert (short.stop_loss.stop, short.take_profit.limit) == (120.5, 80.25)


def test_a_price_that_rounds_to_nothing_is_refused(play: Play, flat: pl.DataFrame) -> None:
    for terms in ({"limit": 0.1}, {"limit": 95, "stop_loss": 0.2}):
        text = refused(
            play, flat, lambda self, terms=terms: self.buy(1, **terms), instrument=Instrument(price_step=0.25)
        )
        assert "must be a price greater than zero, or None; its price step is 0.25" in text


# Changing and cancelling.


def test_modify_changes_what_is_given_and_rounds_it(play: Play, flat: pl.DataFrame) -> None:
    seen = []

    def change(self: Any) -> None:
        self.out[0].modify(limit=85.37)
        self.out[0].modify(quantity=3)
        self.out[1].modify(stop=115.31, limit=116)

    def look(self: Any) -> None:
        first, second = self.out[0], self.out[1]
        seen.append((first.limit, first.quantity, first.note, second.stop, second.limit, second.quantity))

    script = {
        0: lambda self: self.buy(1, limit=89),
        1: lambda self: self.buy(2, stop=111, limit=112),
        2: change,
        3: look,
    }
    result, strategy = play(flat, script, instrument=Instrument(price_step=0.25))
    assert seen == [(85.25, 3.0, "modified", 115.5, 116.0, 2.0)]
    assert [strategy.out[n].id for n in (0, 1)] == [1, 2]
    assert result.orders["limit"].to_list() == [85.25, 116.0]


def test_modify_brings_an_order_to_its_fill(play: Play, flat: pl.DataFrame) -> None:
    result, strategy = play(flat, {0: lambda self: self.buy(1, limit=80), 1: lambda self: self.out[0].modify(limit=95)})
    assert fills(result) == [("buy", 1, 95)]
    assert strategy.out[0].status == "filled"


def test_modify_in_the_same_tick_counts(play: Play, flat: pl.DataFrame) -> None:
    result, _ = play(flat, {0: lambda self: self.buy(1, limit=80).modify(limit=95, quantity=2)})
    assert fills(result) == [("buy", 2, 95)]


@pytest.mark.parametrize(
    ("give", "change", "told"),
    [
        ({}, {"limit": 95}, "modify: order 2 has no limit to change"),
        ({"limit": 80}, {"stop": 95}, "modify: order 2 has no stop price to change"),
        ({"stop": Trail(amount=5)}, {"stop": 95}, "modify: order 2 has no stop price to change"),
        ({"stop": 120}, {"stop": Trail(amount=5)}, "the stop of order 2 is a price; it cannot become a trail"),
        ({"limit": 80}, {}, "modify: say what to change of order 2: limit=, stop= or quantity="),
        ({"limit": 80}, {"quantity": 0}, "modify: quantity=0 must be greater than zero"),
        ({"limit": 80}, {"limit": -1}, "limit=-1: must be a price greater than zero"),
    ],
)
def test_what_cannot_be_modified_is_refused_by_name(
    play: Play, flat: pl.DataFrame, give: dict[str, Any], change: dict[str, Any], told: str
) -> None:
    def try_it(self: Any) -> None:
        order = self.buy(1, **give)
        with pytest.raises(OrderError) as caught:
            order.modify(**change)
        assert told in str(caught.value)

    play(flat, {0: lambda self: self.buy(1), 1: try_it})


def test_a_legs_quantity_is_its_entrys(play: Play, flat: pl.DataFrame) -> None:
    def try_it(self: Any) -> None:
        with pytest.raises(OrderError, match="order 2 is a bracket's leg; its quantity is what its entry has filled"):
            self.out[0].stop_loss.modify(quantity=5)
        self.out[0].stop_loss.modify(stop=95)

    result, _ = play(flat, {0: lambda self: self.buy(1, stop_loss=80), 1: try_it})
    assert fills(result) == [("buy", 1, 100), ("sell", 1, 95)]


def test_what_is_done_is_neither_modified_nor_cancelled(play: Play, flat: pl.DataFrame) -> None:
    def late(self: Any) -> None:
        self.out[0].modify(limit=5)
        self.out[0].cancel()

    result, strategy = play(flat, {0: lambda self: self.buy(1, limit=95), 2: late})
    assert strategy.out[0].status == "filled"
    assert result.orders["limit"].to_list() == [95]


def test_cancel_ends_an_order_before_this_ticks_new_ones(play: Play, flat: pl.DataFrame) -> None:
    seen = []
    script = {
        0: lambda self: self.buy(1, limit=80),
        1: lambda self: (self.out[0].cancel(), seen.append(self.out[0].status)),
        2: lambda self: seen.append(self.out[0].status),
    }
    result, strategy = play(flat, script)
    assert seen == ["accepted", "cancelled"]  # it hears of it at the next tick
    assert strategy.out[0].reason == "cancelled by the strategy"
    assert fills(result) == []


def test_cancel_in_the_same_tick_leaves_nothing(play: Play, flat: pl.DataFrame) -> None:
    result, strategy = play(flat, {0: lambda self: self.buy(1, stop_loss=80).cancel() or self.orders})
    assert fills(result) == []
    assert result.orders["status"].to_list() == ["cancelled", "cancelled"]
    assert strategy.orders == ()


def test_of_two_linked_orders_the_first_to_fill_cancels_the_other(play: Play, flat: pl.DataFrame) -> None:
    def both(self: Any) -> Any:
        orders = self.buy(1, limit=80), self.buy(1, stop=105)
        self.oco(*orders)
        return orders

    result, strategy = play(flat, {0: both})
    limit, stop = strategy.out[0]
    assert fills(result) == [("buy", 1, 105)]
    assert (limit.status, limit.reason) == ("cancelled", "the order it was linked to has filled")
    assert stop.status == "filled"


def test_three_orders_can_be_linked(play: Play, flat: pl.DataFrame) -> None:
    result, strategy = play(flat, {0: lambda self: self.oco(*[self.buy(1, limit=price) for price in (80, 95, 70)])})
    assert fills(result) == [("buy", 1, 95)]
    assert result.orders["status"].to_list() == ["cancelled", "filled", "cancelled"]


def test_oco_needs_two_different_orders(play: Play, flat: pl.DataFrame) -> None:
    def try_it(self: Any) -> None:
        order = self.buy(1, limit=80)
        for orders in ((), (order,), (order, order)):
            with pytest.raises(OrderError, match="oco: give at least two different orders"):
                self.oco(*orders)
        with pytest.raises(OrderError, match=r"oco: None is not an order; give what buy, sell or close returned"):
            self.oco(order, self.close())

    play(flat, {0: try_it})


# close(): only ever reduces.


def test_close_without_a_position_is_none(play: Play, flat: pl.DataFrame) -> None:
    result, strategy = play(flat, {0: lambda self: (self.close(), self.close(5), self.close(limit=5))})
    assert strategy.out[0] == (None, None, None)
    assert result.orders.height == 0


@pytest.mark.parametrize("side", ["buy", "sell"])
def test_close_ends_a_long_and_a_short_position(play: Play, flat: pl.DataFrame, side: str) -> None:
    result, strategy = play(flat, {0: lambda self: getattr(self, side)(3), 1: lambda self: self.close(tag="out")})
    other = {"buy": "sell", "sell": "buy"}[side]
    assert fills(result) == [(side, 3, 100), (other, 3, 100)]
    assert strategy.position == 0
    assert strategy.out[1].tag == "out"


def test_close_a_part_and_never_more_than_there_is(play: Play, flat: pl.DataFrame) -> None:
    result, strategy = play(
        flat, {0: lambda self: self.buy(5), 1: lambda self: self.close(2), 2: lambda self: self.close(10)}
    )
    assert fills(result) == [("buy", 5, 100), ("sell", 2, 100), ("sell", 3, 100)]
    assert (strategy.out[2].quantity, strategy.out[2].note) == (3.0, "quantity 10 cut to 3: the position")
    assert strategy.out[1].note is None


def test_a_plain_close_cancels_the_exits_first(play: Play, flat: pl.DataFrame) -> None:
    script = {
        0: lambda self: self.buy(5, stop_loss=80, take_profit=120),
        1: lambda self: self.close(limit=115),
        2: lambda self: self.close(),
    }
    result, strategy = play(flat, script)
    assert fills(result) == [("buy", 5, 100), ("sell", 5, 100)]
    assert result.orders["status"].to_list() == ["filled", "cancelled", "cancelled", "cancelled", "filled"]
    assert strategy.out[1].reason == "cancelled by the strategy"


@pytest.mark.parametrize("act", [
    lambda self: self.close(2), lambda self: self.close(limit=150), lambda self: self.close(stop=50),
    lambda self: self.close(tif="fok", limit=150),
])  # fmt: skip
def test_any_other_close_leaves_the_exits_at_work(play: Play, flat: pl.DataFrame, act: Any) -> None:
    _, strategy = play(flat, {0: lambda self: self.buy(5, stop_loss=80), 1: act})
    assert strategy.out[0].stop_loss.reason == "end_of_data"


def test_a_second_plain_close_replaces_the_first_and_nothing_is_sold_twice(play: Play, flat: pl.DataFrame) -> None:
    result, strategy = play(flat, {0: lambda self: self.buy(5), 1: lambda self: (self.close(), self.close())})
    assert fills(result) == [("buy", 5, 100), ("sell", 5, 100)]
    assert [order.status for order in strategy.out[1]] == ["cancelled", "filled"]


def test_a_plain_close_spares_the_legs_of_an_entry_that_has_not_filled(play: Play, flat: pl.DataFrame) -> None:
    script = {0: lambda self: self.buy(1), 1: lambda self: (self.buy(2, limit=85, stop_loss=70), self.close()),
              3: lambda self: self.out[1][0].modify(limit=95)}  # fmt: skip
    result, strategy = play(flat, script)
    assert fills(result) == [("buy", 1, 100), ("sell", 1, 100), ("buy", 2, 95)]
    assert strategy.out[1][0].stop_loss.reason == "end_of_data"


def test_exits_share_one_allowance(play: Play, flat: pl.DataFrame) -> None:
    # Two exits of 3 each on a position of 4, at 105 and 107: the second takes what is left.
    script = {0: lambda self: self.buy(4), 1: lambda self: (self.close(3, limit=105), self.close(3, limit=107))}
    result, strategy = play(flat, script)
    assert fills(result) == [("buy", 4, 100), ("sell", 3, 105), ("sell", 1, 107)]
    assert strategy.position == 0


def test_a_close_shrinks_with_the_position_and_ends_with_it(play: Play, flat: pl.DataFrame) -> None:
    script = {0: lambda self: self.buy(4), 1: lambda self: self.close(limit=150), 2: lambda self: self.sell(3),
              3: lambda self: self.sell(1)}  # fmt: skip
    result, strategy = play(flat, script)
    assert strategy.position == 0
    assert (strategy.out[1].status, strategy.out[1].reason) == ("cancelled", "the position it would reduce is gone")
    assert [side for side, _, _ in fills(result)] == ["buy", "sell", "sell"]


def test_a_close_never_turns_the_position(play: Play, flat: pl.DataFrame) -> None:
    result, strategy = play(
        flat, {0: lambda self: self.buy(4), 1: lambda self: (self.sell(3), self.close(4, limit=100))}
    )
    assert strategy.position == 0
    assert fills(result) == [("buy", 4, 100), ("sell", 3, 100), ("sell", 1, 100)]


def test_close_takes_a_stop_a_trail_a_time_in_force_and_good_till(play: Play, flat: pl.DataFrame) -> None:
    def look(self: Any) -> Any:
        return (self.close(1, stop=50), self.close(1, stop=Trail(percent=50)), self.close(1, limit=150, tif="day"),
                self.close(1, limit=150, good_till="2024-01-05"))  # fmt: skip

    result, strategy = play(flat, {0: lambda self: self.buy(4), 1: look})
    stop, trail, day, gtd = strategy.out[1]
    assert (stop.stop, trail.stop, day.tif, gtd.tif) == (50, Trail(percent=50), "day", "gtd")
    assert [order.status for order in strategy.out[1]] == ["expired"] * 4
    assert result.orders["exit"].to_list() == [False, True, True, True, True]


# target(): towards a position.


def test_a_weight_is_a_share_of_the_equity_at_the_last_closes(play: Play, make_bars: Make) -> None:
    bars = make_bars([100, 100, 110, 110, 110], step="1d")
    script = {0: lambda self: self.target(weight=0.5), 2: lambda self: (self.target(weight=0.25), self.equity)}
    result, strategy = play(bars, script, cash=1000)
    order, equity = strategy.out[2]
    # 5 units at 100; then 500 + 5 * 110 = 1050, of which a quarter is 2.38636363 units.
    assert equity == 1050
    assert [(side, pytest.approx(quantity)) for side, quantity, _ in fills(result)] == [
        ("buy", 5),
        ("sell", 5 - 262.5 / 110),
    ]
    assert order.side == "sell"


def test_a_weight_may_be_negative_and_a_target_may_turn_the_position(play: Play, flat: pl.DataFrame) -> None:
    result, strategy = play(
        flat, {0: lambda self: self.target(weight=0.5), 1: lambda self: self.target(weight=-0.5)}, cash=1000
    )
    assert fills(result) == [("buy", 5, 100), ("sell", 10, 100)]
    assert strategy.position == -5


def test_a_target_that_is_reached_is_none(play: Play, flat: pl.DataFrame) -> None:
    script = {
        0: lambda self: self.target(quantity=5),
        1: lambda self: (self.target(quantity=5), self.target(quantity=5.0)),
    }
    result, strategy = play(flat, script)
    assert strategy.out[1] == (None, None)
    assert result.orders.height == 1


def test_a_target_replaces_its_own_earlier_open_order_and_no_other(play: Play, make_bars: Make) -> None:
    # Volume 1000, cap 0.001: one unit a bar, so that targets stay open.
    script = {0: lambda self: (self.target(quantity=5), self.buy(1, limit=50)), 2: lambda self: self.target(quantity=3)}
    result, strategy = play(make_bars([100.0] * 8, step="1d"), script, volume_cap=0.001)
    first, other = strategy.out[0]
    assert (first.status, first.filled_quantity) == ("cancelled", 2)
    assert other.reason == "end_of_data"
    assert (strategy.out[2].quantity, strategy.out[2].status) == (1, "filled")
    assert strategy.position == 3


def test_of_two_targets_in_one_tick_the_last_counts(play: Play, flat: pl.DataFrame) -> None:
    result, strategy = play(flat, {0: lambda self: (self.target(quantity=5), self.target(quantity=2))})
    assert fills(result) == [("buy", 2, 100)]
    assert [order.status for order in strategy.out[0]] == ["cancelled", "filled"]


def test_a_weight_shrinks_to_what_can_be_paid_and_says_so(play: Play, make_bars: Make) -> None:
    # All equity at a close of 100, but the next open is 125 and costs 1 %.
    bars = make_bars([100, 125, 125], opens=[100, 125, 125], step="1d")
    result, strategy = play(bars, {0: lambda self: self.target(weight=1.0)}, cash=1000, commission=0.01, cash_only=True,
                            instrument=Instrument(lot="0.01"))  # fmt: skip
    order = strategy.out[0]
    assert (order.status, order.filled_quantity, order.quantity) == ("filled", 7.92, 7.92)
    assert order.note is not None
    assert "cut to 7.92: what can be paid for" in order.note
    assert fills(result) == [("buy", 7.92, 125)]
    assert "what can be paid for" in result.orders["reason"][0]


def test_an_explicit_quantity_that_cannot_be_paid_for_is_rejected_with_the_reason(
    play: Play, flat: pl.DataFrame
) -> None:
    for act in (lambda self: self.buy(11), lambda self: self.target(quantity=11)):
        result, strategy = play(flat, {0: act}, cash=1000)
        assert strategy.out[0].status == "rejected"
        assert strategy.out[0].reason.startswith("cannot be paid for: 11 ASSET at 100 is 1100.00")
        assert fills(result) == []


@pytest.mark.parametrize("terms", [{}, {"weight": 1, "quantity": 1}])
def test_a_target_is_a_weight_or_a_quantity(play: Play, flat: pl.DataFrame, terms: dict[str, Any]) -> None:
    assert refused(play, flat, lambda self: self.target(**terms)) == "target: give exactly one of weight= and quantity="


@pytest.mark.parametrize("value", [float("nan"), float("inf"), "1", True])
@pytest.mark.parametrize("name", ["weight", "quantity"])
def test_a_target_is_a_number(play: Play, flat: pl.DataFrame, name: str, value: Any) -> None:
    assert refused(play, flat, lambda self: self.target(**{name: value})) == f"target: {name}={value!r} is not a number"


def test_target_weights_sends_the_others_to_zero(play: Play, make_bars: Make) -> None:
    frames = {name: make_bars([100.0] * 4, step="1d") for name in "ABC"}
    script = {
        0: lambda self: self.target_weights({"A": 0.5, "B": 0.5}),
        1: lambda self: self.target_weights({"B": 0.25, "C": 0.5}, tag="rebalance"),
    }
    result, strategy = play(frames, script, cash=1000)
    assert dict(strategy.positions) == {"A": 0, "B": 2.5, "C": 5}
    assert [(order.symbol, order.side, order.quantity) for order in strategy.out[1]] == [
        ("A", "sell", 5), ("B", "sell", 2.5), ("C", "buy", 5),
    ]  # fmt: skip
    assert result.fills["tag"].to_list() == [None, None, "rebalance", "rebalance", "rebalance"]


@pytest.mark.parametrize("weights", [None, [("A", 1)], 5])
def test_target_weights_takes_a_mapping(play: Play, flat: pl.DataFrame, weights: Any) -> None:
    assert "is no mapping of symbols to weights, such as {'ASSET': 0.5}" in refused(
        play, flat, lambda self: self.target_weights(weights)
    )


def test_target_weights_that_are_refused_leave_nothing_half_done(play: Play, make_bars: Make) -> None:
    def rest(self: Any) -> None:
        self.target(symbol="B", quantity=5)
        self.target(symbol="LATE", quantity=1)

    def wrong(self: Any) -> Any:
        for symbol in ("B", "LATE"):
            with pytest.raises(OrderError, match="nan is not a number"):
                self.target_weights({"A": 0.5, symbol: float("nan")})
        with pytest.raises(OrderError, match="LATE has no close yet"):
            self.target(symbol="LATE", weight=0.4)
        with pytest.raises(OrderError, match="target: weight=nan is not a number"):
            self.target(symbol="LATE", weight=float("nan"))
        return self.orders

    bars = {
        "A": make_bars([100] * 6),
        "B": make_bars([100] * 6, rows=[0, 1, 4, 5, 6, 7]),
        "LATE": make_bars([50] * 2, rows=[4, 5]),
    }
    result, strategy = play(bars, {1: rest, 2: wrong})
    assert [(order.symbol, order.quantity) for order in strategy.out[2]] == [("B", 5.0), ("LATE", 1.0)]
    assert sorted(result.fills["symbol"].to_list()) == ["B", "LATE"]


def test_target_weights_replaces_what_it_left_open(play: Play, make_bars: Make) -> None:
    frames = {name: make_bars([100.0] * 6, step="1d") for name in "AB"}
    script = {0: lambda self: self.target_weights({"A": 0.5}), 2: lambda self: self.target_weights({"B": 0.1})}
    result, strategy = play(frames, script, cash=10_000, volume_cap=0.005)  # five a bar
    assert strategy.out[0][0].status == "cancelled"
    assert dict(strategy.positions) == {"A": 0, "B": 10}


def test_reducing_orders_of_a_tick_pay_for_increasing_ones(play: Play, make_bars: Make) -> None:
    frames = {name: make_bars([100.0] * 4, step="1d") for name in "AB"}
    script = {
        0: lambda self: self.buy(10, symbol="B"),
        1: lambda self: (self.buy(10, symbol="A"), self.close(symbol="B")),
    }
    _, strategy = play(frames, script, cash=1000)
    assert dict(strategy.positions) == {"A": 10, "B": 0}


def test_what_is_refused_stops_the_run_unless_it_is_caught(play: Play, flat: pl.DataFrame) -> None:
    with pytest.raises(
        StrategyCrashed, match=r"raised OrderError: buy: quantity=0 must be greater than zero"
    ) as caught:
        play(flat, {0: lambda self: self.buy(1), 3: lambda self: self.buy(0)})
    assert isinstance(caught.value.__cause__, OrderError)
    assert caught.value.result.fills.height == 1


def test_an_order_never_leaves_the_state_machine(play: Play, flat: pl.DataFrame) -> None:
    _, strategy = play(flat, {0: lambda self: self.buy(1)})
    order = strategy.out[0]
    for status in (OrderStatus.ACCEPTED, OrderStatus.CANCELLED, OrderStatus.SUBMITTED):
        assert not order._move(OrderUpdate(1, 0, status, "late"), None)
    assert (order.status, order.reason, order.note) == (OrderStatus.FILLED, None, None)
