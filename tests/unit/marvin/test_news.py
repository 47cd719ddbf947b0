"""News of orders as a venue sends it: late, twice, out of order. A fill is a fact: it counts once, whatever the order's status."""

from __future__ import annotations

from collections.abc import Sequence
from random import Random
from typing import Any

import msgspec
import pytest

import builders
from weaver import Fill, OrderStatus, Side, Strategy, UnknownSymbol
from weaver.core.account import Account
from weaver.core.fill_book import FillBook
from weaver.core.orders import OrderUpdate
from weaver.marvin.context import Context
from weaver.marvin.order import Order
from weaver.marvin.unexpected_update import UnexpectedUpdate

S = OrderStatus
SEEDS = 150


class Listener(Strategy):
    """Records what it hears, with the position at that moment."""

    def on_start(self) -> None:
        self.heard: list[tuple[str, int, Any, float]] = []

    def on_order(self, order: Order) -> None:
        self.heard.append(("order", order.id, (order.status.value, order.filled_quantity), self.positions["A"]))

    def on_fill(self, fill: Fill) -> None:
        self.heard.append(("fill", fill.order_id, fill.trade_id, self.positions["A"]))


class Deaf(Strategy):
    """Overrides no callback of news: its positions are those of the account."""

    def on_start(self) -> None:
        self.heard: list[Any] = []


class Venue:
    """A strategy with open orders of 5 lots each, and an account that books the news as a live engine does."""

    def __init__(self, kind: type[Strategy] = Listener, orders: Sequence[tuple[str, str]] = (("A", "buy"),)) -> None:
        series = {symbol: builders.series([10.0] * 3, symbol=symbol) for symbol in ("A", "B")}
        self.account = Account(1000.0, tuple(series), [bars.instrument for bars in series.values()])
        self.strategy: Any = kind()
        self.context = Context(self.strategy, series, self.account, run_id="r", seed=0)
        self.context.start()
        for state in self.context.states:
            state.cursor.last = 0
        self.lot = self.context.states[0].instrument.to_lots(1)
        self.orders = [getattr(self.strategy, side)(5, symbol=symbol) for symbol, side in orders]
        self.context.commands.clear()
        self._book = FillBook(self.account)

    def fill(self, number: int, lots: int, trade: str | None, price: float = 10.0, symbol: str | None = None) -> Fill:
        known = number <= len(self.orders)
        side = self.orders[number - 1].side if known else Side.BUY
        of = symbol or (self.orders[number - 1].symbol if known else "A")
        return Fill(number, of, 7, side, lots * self.lot, float(lots), price, 0.0, None, trade)

    def deliver(self, *updates: OrderUpdate) -> list[str]:
        """Book and deliver news, and return the reasons of what was unexpected."""
        for update in updates:
            if update.fill is not None and update.fill.symbol in self.account.symbols:
                self._book.book(update.fill)
        unexpected: Sequence[UnexpectedUpdate] = self.context.deliver(updates)
        return [reason for _, reason in unexpected]


def test_news_is_heard_update_by_update_first_the_order_then_its_fill() -> None:
    venue = Venue()
    first, last = venue.fill(1, 2, "t1"), venue.fill(1, 3, "t2", price=20.0)
    assert not venue.deliver(
        OrderUpdate(1, 5, S.ACCEPTED),
        OrderUpdate(1, 6, S.PARTIALLY_FILLED, None, first),
        OrderUpdate(1, 7, S.FILLED, None, last),
    )
    assert venue.strategy.heard == [
        ("order", 1, ("accepted", 0.0), 0),
        ("order", 1, ("partially_filled", 2.0), 2),
        ("fill", 1, "t1", 2),
        ("order", 1, ("filled", 5.0), 5),
        ("fill", 1, "t2", 5),
    ]
    order = venue.orders[0]
    assert (order.filled_quantity, order.average_price, order.updated_ns) == (5.0, 16.0, 7)


@pytest.mark.parametrize("kind", [Listener, Deaf])
@pytest.mark.parametrize("end", [S.CANCELLED, S.EXPIRED, S.REJECTED])
def test_a_fill_after_the_order_has_ended_is_booked_and_reported(kind: type[Strategy], end: OrderStatus) -> None:
    venue = Venue(kind)
    venue.deliver(OrderUpdate(1, 5, end, "away"))
    (reason,) = venue.deliver(OrderUpdate(1, 4, S.PARTIALLY_FILLED, None, venue.fill(1, 2, "t1")))
    assert reason == f"order 1 was {end.value} before its fill of 2 arrived; the fill is booked"
    order = venue.orders[0]
    assert (order.status, order.reason, order.filled_quantity, order.average_price) == (end, "away", 2.0, 10.0)
    assert order.updated_ns == 5, "the fill is older than the end"
    assert (venue.strategy.positions["A"], venue.account.quantity[0], venue.account.cash) == (2, 2.0, 980.0)
    assert not venue.context.open_orders()
    if kind is Listener:
        assert venue.strategy.heard[1:] == [("order", 1, (end.value, 2.0), 2), ("fill", 1, "t1", 2)]


@pytest.mark.parametrize("kind", [Listener, Deaf])
def test_one_trade_reported_twice_is_one_trade(kind: type[Strategy]) -> None:
    venue = Venue(kind)
    venue.deliver(OrderUpdate(1, 5, S.PARTIALLY_FILLED, None, venue.fill(1, 3, "t1")))
    heard = list(venue.strategy.heard)
    again = OrderUpdate(1, 6, S.PARTIALLY_FILLED, "again", venue.fill(1, 3, "t1"))
    assert not venue.deliver(again, again)
    assert venue.strategy.heard == heard, "nothing has changed"
    assert (venue.strategy.positions["A"], venue.orders[0].filled_quantity, venue.orders[0].updated_ns) == (3, 3.0, 5)
    # Another report of the trade may be the first to say that the order is complete.
    venue.deliver(OrderUpdate(1, 7, S.FILLED, None, venue.fill(1, 3, "t1")))
    assert venue.orders[0].status is S.FILLED
    assert (venue.strategy.positions["A"], venue.orders[0].filled_quantity) == (3, 3.0)


def test_the_same_id_at_another_symbol_is_another_trade() -> None:
    venue = Venue(orders=[("A", "buy"), ("B", "sell")])
    venue.deliver(
        OrderUpdate(1, 5, S.PARTIALLY_FILLED, None, venue.fill(1, 3, "1")),
        OrderUpdate(2, 5, S.PARTIALLY_FILLED, None, venue.fill(2, 4, "1")),
    )
    assert dict(venue.strategy.positions) == {"A": 3, "B": -4}


def test_fills_without_a_trade_id_are_all_trades() -> None:
    venue = Venue()
    fill = OrderUpdate(1, 5, S.PARTIALLY_FILLED, None, venue.fill(1, 2, None))
    venue.deliver(fill, fill)
    assert (venue.strategy.positions["A"], venue.orders[0].filled_quantity) == (4, 4.0)


def test_more_than_was_ordered_is_booked_and_reported() -> None:
    venue = Venue()
    venue.deliver(OrderUpdate(1, 5, S.FILLED, None, venue.fill(1, 5, "t1")))
    (reason,) = venue.deliver(OrderUpdate(1, 6, S.FILLED, None, venue.fill(1, 1, "t2")))
    assert reason == "order 1 has filled 6 of 5; the fill is booked"
    order = venue.orders[0]
    assert (venue.strategy.positions["A"], order.filled_quantity, order.quantity, order.status) == (
        6,
        6.0,
        6.0,
        "filled",
    )


@pytest.mark.parametrize("number", [0, -1, 2, 99])
def test_a_fill_of_an_unknown_order_is_booked_and_reported(number: int) -> None:
    venue = Venue()
    fill = Fill(number, "A", 7, Side.SELL, 2 * venue.lot, 2.0, 10.0, 0.0, None, "t1")
    (reason,) = venue.deliver(OrderUpdate(number, 5, S.FILLED, None, fill))
    assert reason == f"order {number} is not an order of this run for 'A'; its fill of 2 is booked"
    assert venue.strategy.heard == [("fill", number, "t1", -2)]
    assert (venue.strategy.positions["A"], venue.account.quantity[0]) == (-2, -2.0)
    assert (venue.orders[0].status, venue.orders[0].filled_quantity) == (S.SUBMITTED, 0.0)
    (reason,) = venue.deliver(OrderUpdate(number, 5, S.CANCELLED))
    assert reason == f"order {number} is not an order of this run"
    assert not venue.deliver(OrderUpdate(number, 5, S.FILLED, None, fill)), "a repeated trade is no news"


def test_a_fill_of_another_symbol_is_not_the_orders() -> None:
    venue = Venue()
    (reason,) = venue.deliver(OrderUpdate(1, 5, S.FILLED, None, venue.fill(1, 5, "t1", symbol="B")))
    assert reason == "order 1 is not an order of this run for 'B'; its fill of 5 is booked"
    assert (dict(venue.strategy.positions), venue.orders[0].filled_quantity) == ({"A": 0, "B": 5}, 0.0)


def test_a_fill_of_a_symbol_outside_the_run_cannot_be_booked() -> None:
    venue = Venue()
    fill = venue.fill(1, 5, "t1", symbol="C")
    (reason,) = venue.deliver(OrderUpdate(1, 5, S.FILLED, None, fill))
    assert reason == "symbol 'C' is not in this run; its fill of 5 is not booked"
    assert not venue.strategy.heard
    with pytest.raises(UnknownSymbol, match="'C'"):
        FillBook(venue.account).book(fill)


def test_late_news_moves_no_status_backwards_and_is_not_heard() -> None:
    venue = Venue()
    venue.deliver(OrderUpdate(1, 5, S.FILLED, None, venue.fill(1, 5, "t1")))
    heard = list(venue.strategy.heard)
    for status in OrderStatus:
        venue.deliver(OrderUpdate(1, 9, status, "late"))
    order = venue.orders[0]
    assert venue.strategy.heard == heard
    assert (order.status, order.reason, order.note, order.updated_ns) == (S.FILLED, None, None, 5)


def test_terms_that_were_confirmed_earlier_do_not_replace_later_ones() -> None:
    venue = Venue()
    old, new = (msgspec.structs.replace(venue.orders[0].request, lots=lots * venue.lot) for lots in (8, 9))
    venue.deliver(
        OrderUpdate(1, 7, S.PARTIALLY_FILLED, None, venue.fill(1, 1, "t1")),
        OrderUpdate(1, 6, S.ACCEPTED, "modified", None, new),
        OrderUpdate(1, 5, S.ACCEPTED, "modified", None, old),
    )
    order = venue.orders[0]
    assert (order.quantity, order.status) == (9.0, S.PARTIALLY_FILLED)


# Any order, any repetition.


def story(seed: int) -> tuple[Random, Venue, list[OrderUpdate]]:
    """News of several orders in the order in which it happened."""
    draw = Random(seed)
    kind = draw.choice((Listener, Deaf))
    venue = Venue(kind, [(draw.choice("AB"), draw.choice(("buy", "sell"))) for _ in range(draw.randint(1, 4))])
    news = []
    for number in range(1, len(venue.orders) + 1):
        news.append(OrderUpdate(number, number, S.ACCEPTED))
        left = 5
        for trade in range(draw.randint(0, 3)):
            lots = draw.randint(1, left)
            left -= lots
            status = S.PARTIALLY_FILLED if left else S.FILLED
            fill = venue.fill(number, lots, f"{number}-{trade}", price=draw.uniform(5, 50))
            news.append(OrderUpdate(number, number + 10 * trade, status, None, fill))
            if not left:
                break
        if left and draw.random() < 0.7:
            news.append(OrderUpdate(number, 90, draw.choice((S.CANCELLED, S.EXPIRED)), "ended"))
    return draw, venue, news


def shuffled(draw: Random, news: Sequence[OrderUpdate]) -> list[list[OrderUpdate]]:
    """The same news in any order, some of it repeated, in deliveries of any size."""
    mixed = [update for update in news for _ in range(draw.choice((1, 1, 2, 3)))]
    draw.shuffle(mixed)
    parts = []
    while mixed:
        size = draw.randint(1, 4)
        parts.append(mixed[:size])
        del mixed[:size]
    return parts


def outcome(venue: Venue, news: Sequence[OrderUpdate]) -> list[str]:
    """The differences between the state after some news and the sum of its distinct trades."""
    faults = []
    trades = {(update.fill.symbol, update.fill.trade_id): update.fill for update in news if update.fill is not None}
    signed = {"buy": 1, "sell": -1}
    for index, symbol in enumerate(("A", "B")):
        held = sum(signed[fill.side] * fill.quantity for fill in trades.values() if fill.symbol == symbol)
        if not venue.strategy.positions[symbol] == venue.account.quantity[index] == held:
            faults.append(f"position of {symbol}")
    cash = 1000.0 - sum(signed[fill.side] * fill.quantity * fill.price for fill in trades.values())
    if venue.account.cash != pytest.approx(cash):
        faults.append("cash")
    for order in venue.orders:
        own = [fill for fill in trades.values() if fill.number == order.id]
        filled = sum(fill.quantity for fill in own)
        if order.filled_quantity != filled:
            faults.append(f"filled quantity of {order.id}")
        if own and order.average_price != pytest.approx(sum(f.quantity * f.price for f in own) / filled):
            faults.append(f"average price of {order.id}")
        ends = {update.status for update in news if update.number == order.id and not update.status.is_open}
        if order.is_open is bool(ends) or (ends and order.status not in ends):
            faults.append(f"status of {order.id}")
        if order.quantity != 5.0:
            faults.append(f"quantity of {order.id}")
    if isinstance(venue.strategy, Listener):
        heard = sorted(entry[2] or "" for entry in venue.strategy.heard if entry[0] == "fill")
        if heard != sorted(fill.trade_id or "" for fill in trades.values()):
            faults.append("fills heard")
    return faults


def test_in_any_order_and_repetition_the_position_is_the_sum_of_the_distinct_trades() -> None:
    for seed in range(SEEDS):
        draw, venue, news = story(seed)
        for part in shuffled(draw, news):
            assert not [reason for reason in venue.deliver(*part) if " of 5" in reason], seed
        assert not outcome(venue, news), seed


def test_all_news_delivered_a_second_time_changes_nothing() -> None:
    for seed in range(SEEDS):
        _, venue, news = story(seed)
        assert not venue.deliver(*news), "in order, nothing is unexpected"
        assert not outcome(venue, news), seed
        heard, before = list(venue.strategy.heard), [msgspec.structs.astuple(order)[2:] for order in venue.orders]
        account = venue.account.snapshot()
        assert not venue.deliver(*news)
        assert (venue.strategy.heard, venue.account.snapshot()) == (heard, account), seed
        assert [msgspec.structs.astuple(order)[2:] for order in venue.orders] == before, seed


def test_an_account_that_ignores_trade_ids_fails_on_the_same_seeds() -> None:
    wrong = []
    for seed in range(SEEDS):
        draw, venue, news = story(seed)
        for part in shuffled(draw, news):
            venue.deliver(
                *(
                    update
                    if update.fill is None
                    else msgspec.structs.replace(update, fill=msgspec.structs.replace(update.fill, trade_id=None))
                    for update in part
                )
            )
        if any(fault.startswith("position") for fault in outcome(venue, news)):
            wrong.append(seed)
    assert len(wrong) > SEEDS // 2
