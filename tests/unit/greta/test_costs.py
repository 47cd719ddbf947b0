"""Costs are refused where they are made, by class, field and value, and those of the user's own where they give no money."""

from __future__ import annotations

from typing import Any

import numpy as np
import polars as pl
import pytest

import builders
from weaver import Strategy, backtest
from weaver.core.errors import ConfigError
from weaver.costs import (
    Borrow,
    CommissionBps,
    CommissionFixed,
    CommissionPerShare,
    Financing,
    SlippageBps,
    SlippageSquareRoot,
    SlippageSteps,
)


@pytest.mark.parametrize(
    ("cost", "field"),
    [
        (CommissionBps, "bps"),
        (CommissionPerShare, "amount"),
        (CommissionFixed, "amount"),
        (SlippageBps, "bps"),
        (SlippageSteps, "steps"),
        (SlippageSquareRoot, "volatility"),
        (Borrow, "annual_rate"),
        (Financing, "annual_rate"),
    ],
)
@pytest.mark.parametrize("value", [-1, float("nan"), float("inf"), "5", None, True])
def test_what_is_no_cost_is_refused_by_name(cost: Any, field: str, value: Any) -> None:
    with pytest.raises(ConfigError, match=rf"^{cost.__name__}\({field}=.*\): must be a number, zero or greater"):
        cost(value)


def test_a_rebate_may_be_negative_and_what_may_be_none_may_be() -> None:
    assert CommissionBps(10, maker=-1).cost(1, 1, 10_000, True) == -1
    assert CommissionBps(np.float32(10)).cost(1, 1, 10_000, True) == 10
    with pytest.raises(ConfigError, match=r"^CommissionBps\(maker='x'\): must be a number$"):
        CommissionBps(10, maker="x")  # type: ignore[arg-type]


class Own:
    """A cost of the user's own that comes to `value`."""

    def __init__(self, value: Any) -> None:
        self.value = value

    def cost(self, *_: Any) -> Any:
        return self.value

    distance = cost

    def describe(self) -> str:
        return "mine"


class Buys(Strategy):
    def on_bar(self, bar: Any) -> None:
        if not self.position and not self.orders:
            self.buy(1)


def flat() -> pl.DataFrame:
    return builders.frame([100.0] * 3)


@pytest.mark.parametrize("value", [float("nan"), float("inf"), "x", None])
def test_a_commission_of_ones_own_that_gives_no_money_stops_the_run(value: Any) -> None:
    with pytest.raises(ConfigError, match=r"^commission \(mine\) of 1 at 100 is .*: it must be a finite number"):
        backtest(Buys, flat(), commission=Own(value))
    with pytest.raises(ConfigError, match=r"^commission \(function .*\) of 1 at 100 is .*: it must be a finite number"):
        backtest(Buys, flat(), commission=lambda *_: value)


@pytest.mark.parametrize("value", [-5.0, float("nan"), float("inf"), "x", None])
def test_a_slippage_of_ones_own_never_favours_the_trader(value: Any) -> None:
    with pytest.raises(ConfigError, match=r"^slippage \(mine\) of 1 at 100 is .*: it must be a finite distance"):
        backtest(Buys, flat(), slippage=Own(value))


def test_a_rebate_of_ones_own_is_money_too() -> None:
    assert backtest(Buys, flat(), commission=Own(np.float64(-2))).final_equity == 100_002.0
    assert backtest(Buys, flat(), slippage=Own(2)).fills["price"].to_list() == [102.0]


class Unnamed:
    def cost(self, *_: Any) -> float:
        return 1.0

    distance = cost


@pytest.mark.parametrize("name", ["commission", "slippage"])
@pytest.mark.parametrize("given", [Unnamed(), Own])
def test_a_cost_of_ones_own_says_what_it_is(name: str, given: Any) -> None:
    with pytest.raises(ConfigError, match=rf"^{name}=.*: give an object, not a class, with a method describe\(\)"):
        backtest(Buys, flat(), **{name: given})


class Nothing(Strategy):
    """Gives no order, so that only what is refused at once is refused."""

    def on_bar(self, bar: Any) -> None:
        pass


def only_named(price: float, quantity: float, notional: float, *, maker: bool) -> float:
    return 0.0


@pytest.mark.parametrize(
    "function",
    [
        lambda: 0.0,
        lambda price: 0.0,
        lambda price, quantity, notional: 0.0,
        lambda price, quantity, notional, maker, earlier, more: 0.0,
        only_named,
    ],
)
def test_a_commission_function_of_another_count_is_refused_before_the_first_bar(function: Any) -> None:
    class OfAnObject:
        cost = staticmethod(function)

        def describe(self) -> str:
            return "mine"

    message = r"it must take \(price, quantity, notional, maker\), and may take \(.*earlier\)"
    for given in (function, OfAnObject()):
        with pytest.raises(ConfigError, match=rf"^commission \(.*\) takes \(.*\); {message}"):
            backtest(Nothing, flat(), commission=given)
        with pytest.raises(ConfigError, match=message):
            backtest(Nothing, flat(), commission=CommissionBps(1) + given)


class InParts(Strategy):
    def on_start(self) -> None:
        self.buy(30)


def test_a_commission_function_with_a_fifth_argument_receives_the_orders_earlier_fills() -> None:
    heard: list[list[tuple[float, float]]] = []

    def of_the_order(price: float, quantity: float, notional: float, maker: bool, fills: Any) -> float:
        heard.append([(fill.quantity, fill.price) for fill in fills])
        return 0.0 if fills else 5.0

    class OfAnObject:
        def cost(self, price: float, quantity: float, notional: float, maker: bool, earlier: Any = ()) -> float:
            return 1.0 if earlier else 5.0

        def describe(self) -> str:
            return "mine"

    result = backtest(InParts, flat(), volume_cap=0.01, commission=of_the_order)
    assert result.fills["commission"].to_list() == [5.0, 0.0, 0.0]
    assert heard[-1] == [(10.0, 100.0), (10.0, 100.0)]
    assert backtest(InParts, flat(), volume_cap=0.01, commission=OfAnObject()).stats["commissions"] == 7.0
    summed = CommissionFixed(1.0) + of_the_order + OfAnObject()
    assert backtest(InParts, flat(), volume_cap=0.01, commission=summed).stats["commissions"] == 13.0


def test_a_function_of_four_arguments_is_asked_for_each_fill_also_where_a_fifth_has_a_default() -> None:
    def scaled(price: float, quantity: float, notional: float, maker: bool, scale: float = 2.0) -> float:
        return scale

    def wants_them(price: float, quantity: float, notional: float, maker: bool, earlier: Any = ()) -> float:
        return float(len(earlier))

    assert backtest(InParts, flat(), volume_cap=0.01, commission=scaled).stats["commissions"] == 6.0
    assert backtest(InParts, flat(), volume_cap=0.01, commission=wants_them).stats["commissions"] == 3.0
