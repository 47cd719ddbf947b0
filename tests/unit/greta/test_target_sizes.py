"""Sizes from weights: what is cut to what can be paid for leaves cash of zero or more, and a target that is met gives no order."""

from __future__ import annotations

from random import Random
from typing import Any

import pytest

import builders
from weaver import Instrument, Strategy, backtest
from weaver.costs import CommissionPerShare


class Full(Strategy):
    """Holds all equity in the asset, asked for on each of the first bars, and closes on the last."""

    weight = 1.0
    _until = 3

    def on_start(self) -> None:
        self.made: list[Any] = []

    def on_bar(self, bar: Any) -> None:
        if len(self.bars.close) <= self._until:
            self.made.append(self.target(weight=self.weight))
        elif len(self.bars.close) == self._until + 1:
            self.close()


PRICES = [100.0, 103.0, 103.0, 110.0, 110.0, 110.0]


@pytest.mark.parametrize("settings", [{}, {"cash_only": True}, {"commission": CommissionPerShare(0.005, minimum=1)}])
def test_holding_everything_again_and_again_is_one_trade_and_leaves_no_debt(settings: Any) -> None:
    result = backtest(Full, builders.frame(PRICES, opens=PRICES), **settings)
    assert len(result.fills) == 2
    assert result.stats["trades"] == 1
    assert result.stats["win_rate"] == 1.0
    assert result.equity["cash"].min() >= 0.0


@pytest.mark.parametrize("seed", range(60))
def test_a_size_that_is_cut_leaves_cash_of_zero_or_more_to_the_last_bit(seed: int) -> None:
    source = Random(seed)
    price = source.choice([0.0137, 3.1, 33.37, 97.013, 4_321.7])
    closes = [price]
    for _ in range(40):
        closes.append(closes[-1] * source.uniform(0.93, 1.08))
    leverage = source.choice([1.0, 1.0, 2.0, 3.5])
    settings: dict[str, Any] = {
        "cash": source.choice([1_000.0, 100_000.0, 12_345_678.9]),
        "commission": source.choice([0.0, 0.001, 0.0037]),
        "slippage": source.choice([0.0, 0.0005]),
        "instrument": Instrument(lot=source.choice(["0.00000001", "0.001", "1"])),
    }
    if leverage == 1.0:
        settings["cash_only"] = source.choice([True, False])
    else:
        settings["leverage"] = leverage
    least: list[float] = []

    class Buys(Strategy):
        def on_bar(self, bar: Any) -> None:
            place = len(self.bars.close)
            if place % 4 == 1:
                self.target(weight=leverage * source.choice([1.0, 1.5]))
            elif place % 4 == 3:
                self.close()

        def on_fill(self, fill: Any) -> None:
            if fill.side == "buy":
                equity = self.cash + float(self.position) * fill.price
                least.append(self.cash if leverage == 1.0 else leverage * equity - float(self.position) * fill.price)

    backtest(Buys, builders.frame(closes), **settings)
    assert len(least) == 10 or float(settings["instrument"].lot) * max(closes) > settings["cash"] / 4
    assert min(least, default=0.0) >= 0.0


def test_an_explicit_quantity_may_miss_by_a_billionth_but_never_with_cash_only() -> None:
    """1,000 less 4e-7 in cash, and ten units at 100: 4e-10 of it are missing."""

    class Explicit(Strategy):
        def on_start(self) -> None:
            self.order: Any = None

        def on_bar(self, bar: Any) -> None:
            self.order = self.order or self.buy(10)

    bars = builders.frame([100.0] * 3)
    cash = 1_000.0 - 4e-7
    assert backtest(Explicit, bars, cash=cash).orders["status"].to_list() == ["filled"]
    refused = backtest(Explicit, bars, cash=cash, cash_only=True)
    assert refused.orders["status"].to_list() == ["rejected"]
    assert backtest(Explicit, bars, cash=1_000.0, cash_only=True).orders["status"].to_list() == ["filled"]


@pytest.mark.parametrize(
    ("lot", "held", "terms", "traded"),
    [
        ("1", 10, {"quantity": 10.9}, None),
        ("1", 10, {"quantity": 9.1}, None),  # cut to 9 lots, and yet nearer to 10 than a lot
        ("1", 10, {"quantity": 9}, 1.0),
        ("1", 10, {"quantity": 8.5}, 2.0),
        ("1", -10, {"quantity": -9.1}, None),
        ("1", -10, {"quantity": -9.0}, 1.0),
        ("0.1", 10, {"quantity": 10.1}, 0.1),
        ("0.00000001", 10, {"quantity": 10 + 9e-7}, None),  # 9e-5 in money, and the equity is 100,000
        ("0.00000001", 10, {"quantity": 10 + 2e-6}, 2e-6),
        ("0.00000001", 10, {"weight": 0.01 + 9e-10}, None),
        ("0.00000001", 10, {"weight": 0.01 + 2e-9}, 2e-6),
    ],
)
def test_a_target_within_a_lot_or_a_billionth_of_the_equity_gives_no_order(
    lot: str, held: float, terms: Any, traded: Any
) -> None:
    made: list[Any] = []

    class Targets(Strategy):
        def on_bar(self, bar: Any) -> None:
            if len(self.bars.close) == 1:
                self.target(quantity=held)
            elif len(self.bars.close) == 2:
                made.append(self.target(**terms))

    backtest(Targets, builders.frame([100.0] * 4), instrument=Instrument(lot=lot), leverage=2)
    assert (made[0] is None) if traded is None else made[0].quantity == pytest.approx(traded)
