"""What holds for the reference on any path and any mix of orders, and that the random mixes reach what they are for."""

from __future__ import annotations

from collections import Counter
from decimal import Decimal
from random import Random

import pytest
from hypothesis import HealthCheck, given, settings
from reference import Bar, Basket, Order, Result, simulate
from scenarios import Scenario, build, scenarios

SEEDS = range(400)


def run(scenario: Scenario) -> Result:
    return simulate(scenario.bars, scenario.plan, scenario.settings)


def calls(scenario: Scenario) -> dict[int, tuple[str, Order]]:
    """What each number is: ("entry" | "loss" | "profit", the call)."""
    found: dict[int, tuple[str, Order]] = {}
    for at in scenario.plan:
        for order in at.command.orders if isinstance(at.command, Basket) else ():
            found[len(found) + 1] = ("entry", order)
        if isinstance(order := at.command, Order):
            found[len(found) + 1] = ("entry", order)
            for leg, price in (("loss", order.stop_loss), ("profit", order.take_profit)):
                if price is not None:
                    found[len(found) + 1] = (leg, order)
    return found


def check(scenario: Scenario) -> None:
    result = run(scenario)
    asked = calls(scenario)
    bars = {(symbol, bar.start): bar for symbol, series in scenario.bars.items() for bar in series}
    cash, positions = scenario.settings.cash, dict.fromkeys(scenario.bars, 0)
    taken: Counter[tuple[str, int]] = Counter()
    filled: Counter[int] = Counter()
    for fill in result.fills:
        if fill.phase == "end":
            last = scenario.bars[fill.symbol][-1]
            assert fill.before == last.close
            assert fill.start == max(start for _, start in bars)
        else:
            bar = bars[fill.symbol, fill.start]
            assert bar.low <= fill.before <= bar.high
            taken[fill.symbol, fill.start] += fill.lots
        sign = 1 if fill.side == "buy" else -1
        assert sign * fill.price >= sign * fill.before
        role, order = asked.get(fill.number, ("liquidation", None))
        if role != "entry" or order.exit:
            held = positions[fill.symbol]
            assert held * sign < 0, "an exit only reduces"
            assert fill.lots <= abs(held), "and never turns the position"
        positions[fill.symbol] += sign * fill.lots
        cash -= sign * fill.lots * fill.price + fill.commission
        filled[fill.number] += fill.lots
    assert positions == result.positions
    rates = (scenario.settings.borrow, scenario.settings.financing)
    assert cash >= result.cash if any(rates) else abs(cash - result.cash) < Decimal("1e-20")
    if (cap := scenario.settings.volume_cap) is not None:
        assert all(lots <= cap * bars[key].volume for key, lots in taken.items())
    assert sorted(result.orders) == sorted(asked)
    for number, (role, _) in asked.items():
        outcome = result.orders[number]
        assert outcome.status in ("filled", "cancelled", "expired", "rejected")
        assert outcome.filled == filled[number]
        if outcome.status == "filled" and role == "entry":
            assert outcome.filled == outcome.lots
    for number, (role, _) in asked.items():
        if role == "entry":
            legs = sum(filled[n] for n in (number + 1, number + 2) if asked.get(n, ("entry", None))[0] != "entry"
                       and (n == number + 1 or asked[number + 1][0] == "loss"))  # fmt: skip
            assert legs <= filled[number], "legs cover what was filled"


@given(scenarios())
@settings(max_examples=60, suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large])
def test_every_fill_of_the_reference_keeps_the_promises_that_hold_for_all_orders(scenario: Scenario) -> None:
    check(scenario)


@pytest.mark.parametrize("chunk", range(4))
def test_the_same_on_many_seeded_scenarios(chunk: int) -> None:
    for seed in SEEDS[chunk::4]:
        check(build(Random(seed)))


def test_what_the_reference_did_does_not_depend_on_later_bars() -> None:
    for seed in SEEDS[:150]:
        scenario = build(Random(seed))
        starts = sorted({bar.start for series in scenario.bars.values() for bar in series})
        cut = starts[len(starts) // 2]

        def later(bar: Bar, cut: int = cut) -> Bar:
            """The same bar up to the cut, beyond it one of other prices."""
            if bar.start <= cut:
                return bar
            return Bar(bar.start, bar.open + 1, bar.high + 3, bar.low, bar.close + 2, bar.volume)

        changed = {symbol: [later(bar) for bar in series] for symbol, series in scenario.bars.items()}
        before = [f for f in run(scenario).fills if f.start <= cut]
        after = [f for f in simulate(changed, scenario.plan, scenario.settings).fills if f.start <= cut]
        assert before == after


def test_the_random_mixes_reach_every_way_in_which_an_order_can_end() -> None:
    ends: Counter[tuple[str, str]] = Counter()
    ways: Counter[str] = Counter()
    for seed in SEEDS:
        scenario = build(Random(seed))
        result = run(scenario)
        asked = calls(scenario)
        ends.update((outcome.status, outcome.reason) for outcome in result.orders.values())
        bars_of = {fill.number: fill.start for fill in result.fills if asked.get(fill.number, ("", None))[0] == "entry"}
        for fill in result.fills:
            role = asked.get(fill.number, ("liquidation", None))[0]
            ways[role] += 1
            entry = fill.number - (1 if role == "loss" or asked.get(fill.number - 1, ("",))[0] == "entry" else 2)
            if role in ("loss", "profit") and bars_of.get(entry) == fill.start:
                ways[f"{role} on the entry's bar"] += 1
    assert {reason for _, reason in ends} == {
        "", "asked", "entry", "exit", "leg", "liquidation", "oco", "money",
        "at_open", "at_close", "day", "gtd", "ioc", "fok", "end_of_data", "no_price", "calendar", "finalize",
    }  # fmt: skip
    assert min(ends.values()) >= 5, ends
    assert set(ways) == {
        "entry",
        "loss",
        "profit",
        "liquidation",
        "loss on the entry's bar",
        "profit on the entry's bar",
    }
    assert min(ways.values()) >= 10, ways
