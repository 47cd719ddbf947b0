"""Under a volume cap a bracket's entry fills bar by bar: what it opens is protected at every step, or it opens no more."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

FLAT = (100.0, 100.0, 100.0, 100.0, 100.0)
FALL = (100.0, 100.0, 85.0, 88.0, 10_000.0)


def entry(self: Any) -> None:
    self.buy(100, limit=100, stop_loss=90, take_profit=120)


@pytest.mark.parametrize("leave", [lambda self: self.close(), lambda self: self.sell(20)])
def test_an_entry_whose_position_was_closed_opens_no_further_one_without_its_legs(
    run: Any, bars: Any, at_bar: Any, leave: Callable[[Any], object]
) -> None:
    made = run(
        bars(*[FLAT] * 3, (*FLAT[:4], 1000.0), *[FLAT] * 3, FALL),
        volume_cap=0.1,
        cash=100_000.0,
        on_bar=at_bar({0: entry, 2: leave}),
    )
    assert [fill[:3] for fill in made.fills] == [(1, "buy", 10.0), (1, "buy", 10.0), (4, "sell", 20.0)]
    assert made.statuses == ["cancelled", "cancelled", "cancelled", "filled"]


def test_an_entry_that_has_not_filled_yet_keeps_its_legs_when_a_position_is_closed(
    run: Any, bars: Any, at_bar: Any
) -> None:
    def second(self: Any) -> None:
        self.buy(1, limit=95, stop_loss=90)

    made = run(
        bars(*[FLAT] * 4, FALL), on_bar=at_bar({0: lambda self: self.buy(5), 1: second, 2: lambda self: self.close()})
    )
    assert [fill[:3] for fill in made.fills] == [(1, "buy", 5.0), (4, "sell", 5.0), (2, "buy", 1.0), (3, "sell", 1.0)]


def test_a_bracket_that_turns_a_position_bar_by_bar_protects_what_it_opens(run: Any, bars: Any, at_bar: Any) -> None:
    made = run(
        bars(FLAT, (*FLAT[:4], 1000.0), *[FLAT] * 4, FALL),
        volume_cap=0.1,
        cash=100_000.0,
        on_bar=at_bar({0: lambda self: self.sell(15), 1: lambda self: self.buy(40, stop_loss=90)}),
    )
    # 10, 5 of which close the short and 5 open a long, then 10 and 10: three bars later the stop closes what was opened.
    assert made.fills[-1] == (3, "sell", 25.0, 90.0)
    assert made.engine.account.lots == [0]


def test_the_legs_of_an_entry_that_only_reduced_end_with_it(run: Any, bars: Any, at_bar: Any) -> None:
    def cover(self: Any) -> None:
        self.buy(15, stop_loss=90, tif="gtd", good_till="2024-01-04")

    made = run(
        bars(FLAT, (*FLAT[:4], 1000.0), *[FLAT] * 4),
        volume_cap=0.1,
        cash=100_000.0,
        on_bar=at_bar({0: lambda self: self.sell(50), 1: cover}),
    )
    assert made.statuses == ["filled", "expired", "cancelled"]
    assert made.orders[2].reason == "its entry has ended"
    assert made.orders[2].updated_ns == made.orders[1].updated_ns
