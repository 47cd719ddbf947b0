"""A liquidation is the broker's own: its orders and the strategy's, given while it hears of one, never share a number."""

from __future__ import annotations

from typing import Any

import pytest

FLAT = (100.0, 100.0, 100.0, 100.0)
UP = (170.0, 170.0, 170.0, 170.0)


@pytest.mark.parametrize("hears", ["on_order", "on_fill"])
def test_an_order_given_while_hearing_of_a_liquidation_is_an_order_of_its_own(
    run: Any, bars: Any, at_bar: Any, hears: str
) -> None:
    mine: list[Any] = []

    def answer(self: Any, news: Any) -> None:
        if self.now.day == 5 and not mine:
            mine.append(self.buy(2, limit=50, tag="mine"))

    def short(self: Any) -> None:
        self.sell(9)

    def rest(self: Any) -> None:
        # One is cancelled by the liquidation, the other fills in the bar that leads to it.
        self.buy(1, limit=10)
        self.sell(1, stop=200) if hears == "on_order" else self.buy(1, stop=150)

    made = run(
        bars(FLAT, FLAT, FLAT, UP, UP, UP),
        cash=1_000.0,
        on_bar=at_bar({0: short, 1: rest}),
        **{hears: answer},
    )
    assert [order.id for order in made.orders] == [1, 2, 3, 4, 5]
    assert mine[0].tag == "mine"
    assert (mine[0].id, mine[0].quantity, mine[0].limit, mine[0].status) == (5, 2.0, 50.0, "expired")
    liquidation = made.orders[3]
    assert (liquidation.tag, liquidation.status) == ("liquidation", "filled")
    assert liquidation.submitted_ns == made.orders[1].updated_ns
    assert made.engine.account.lots == [0]
