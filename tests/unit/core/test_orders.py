"""What was asked and what happened, as values; and the one table of what an order may become."""

from __future__ import annotations

import pickle
from datetime import UTC, datetime

import msgspec
import pytest

from weaver import Fill, OrderError, OrderStatus, Side, TimeInForce, Trail
from weaver.core.orders import ALLOWED, Cancel, Link, Modify, OrderRequest, OrderUpdate

OPEN = {OrderStatus.SUBMITTED, OrderStatus.ACCEPTED, OrderStatus.PARTIALLY_FILLED}


def test_sides_and_times_in_force_compare_equal_to_their_words() -> None:
    assert (Side.BUY, Side.SELL) == ("buy", "sell")
    assert [str(tif) for tif in TimeInForce] == ["gtc", "day", "gtd", "ioc", "fok", "at_open", "at_close"]


def test_every_status_is_in_the_table_and_what_is_done_stays_done() -> None:
    assert set(ALLOWED) == set(OrderStatus)
    assert {status for status, after in ALLOWED.items() if after} == OPEN
    assert all(OrderStatus.SUBMITTED not in after for after in ALLOWED.values())


def test_an_order_is_accepted_once() -> None:
    assert [status for status, after in ALLOWED.items() if OrderStatus.ACCEPTED in after] == [OrderStatus.SUBMITTED]


def test_an_open_order_may_always_end() -> None:
    for status in OPEN:
        assert ALLOWED[status] >= {OrderStatus.FILLED, OrderStatus.CANCELLED, OrderStatus.EXPIRED, OrderStatus.REJECTED}


def test_the_table_cannot_be_changed() -> None:
    with pytest.raises(TypeError):
        ALLOWED[OrderStatus.FILLED] = frozenset(OPEN)  # type: ignore[index]


VALUES = [
    Trail(percent=5),
    OrderRequest(number=1, symbol="A", side=Side.BUY, lots=5),
    Cancel(1),
    Modify(number=1, limit=5.0),
    Link((1, 2)),
    Fill(1, "A", 1_704_067_200_000_000_000, Side.SELL, 5, 5.0, 10.0, 0.1, "tag"),
    OrderUpdate(1, 0, OrderStatus.ACCEPTED),
]


@pytest.mark.parametrize("value", VALUES, ids=lambda value: type(value).__name__)
def test_values_are_frozen_equal_by_content_and_travel(value: msgspec.Struct) -> None:
    name = value.__struct_fields__[0]
    with pytest.raises(AttributeError):
        setattr(value, name, None)
    assert pickle.loads(pickle.dumps(value)) == value
    assert msgspec.json.decode(msgspec.json.encode(value), type=type(value)) == value


def test_a_fill_says_when_and_of_which_order() -> None:
    fill = Fill(7, "A", 1_704_067_200_000_000_000, Side.SELL, 5, 5.0, 10.0, 0.1)
    assert fill.order_id == 7
    assert fill.ts == datetime(2024, 1, 1, tzinfo=UTC)
    assert fill.side == "sell"
    assert fill.tag is None


def test_a_trail_has_exactly_one_distance() -> None:
    assert (Trail(amount=2.5).amount, Trail(percent=99.9).percent) == (2.5, 99.9)
    with pytest.raises(OrderError, match=r"Trail\(percent=None, amount=None\): give exactly one"):
        Trail()
    with pytest.raises(OrderError, match=r"Trail\(percent=5, amount=1\)"):
        Trail(percent=5, amount=1)
    with pytest.raises(OrderError, match="percent below 100"):
        Trail(percent=100)
