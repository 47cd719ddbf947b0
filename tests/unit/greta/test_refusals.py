"""The reason of an order that cannot be paid for shows the numbers that were compared, and they differ as they should."""

from __future__ import annotations

import re
from typing import Any

import pytest

import builders
from weaver import Strategy, backtest

NUMBER = r"(-?\d+(?:\.\d+)?(?:e-?\d+)?)"


def reason_of(act: Any, *, closes: Any = (100.0, 100.0, 100.0, 100.0), at: int = 1, **settings: Any) -> str:
    class Acts(Strategy):
        def on_bar(self, bar: Any) -> None:
            place = len(self.bars.close)
            if place == 1 and at > 1:
                self.buy(100)
            if place == at:
                act(self)

    result = backtest(Acts, builders.frame(closes, opens=closes), **settings)
    (reason,) = [text for text in result.orders["reason"].to_list() if text]
    return str(reason)


def test_a_leveraged_limit_is_rejected_with_the_equity_and_positions_that_it_would_lead_to() -> None:
    """Before it, 10,000 bear 20,000 and 10,000 are held: at 90 each the limit looks payable, and is not."""
    reason = reason_of(lambda self: self.buy(100, limit=90), at=2, cash=10_000.0, leverage=2.0, commission=0.001)
    held, borne = re.search(
        rf"positions of {NUMBER} would be held.* would bear {NUMBER} at leverage 2", reason
    ).groups()  # type: ignore[union-attr]
    assert float(held) == pytest.approx(18_000)
    assert float(held) > float(borne)


def test_numbers_that_differ_by_less_than_a_cent_are_shown_with_more_decimals() -> None:
    reason = reason_of(lambda self: self.buy(100), cash=10_000.0 - 0.0004)
    held, borne = re.search(
        rf"positions of {NUMBER} would be held.* would bear {NUMBER} at leverage 1", reason
    ).groups()  # type: ignore[union-attr]
    assert float(held) > float(borne)
    only = reason_of(lambda self: self.buy(100), cash=10_000.0 - 1e-7, cash_only=True)
    needed, available = re.search(rf"together {NUMBER}; {NUMBER} in cash is available", only).groups()  # type: ignore[union-attr]
    assert float(needed) > float(available)


def test_orders_given_before_it_in_the_tick_are_said_to_count() -> None:
    reason = reason_of(lambda self: (self.buy(60), self.buy(50)), cash=10_000.0)
    held, borne = re.search(rf"positions of {NUMBER} would be held.* would bear {NUMBER}", reason).groups()  # type: ignore[union-attr]
    assert float(held) > float(borne)
    assert reason.endswith("the orders given before it counted")


def test_a_short_under_cash_only_is_refused_as_a_short() -> None:
    reason = reason_of(lambda self: self.sell(5), cash_only=True)
    assert reason == "cannot be sold short: 5 ASSET, and 0 are held; cash_only allows no short positions"
