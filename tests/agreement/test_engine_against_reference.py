"""The engine and the independent reference agree on random bar paths and order mixes: fills, prices, cash, equity, statuses.

That the comparison can fail is proved in test_mutations.py.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import replace
from decimal import Decimal
from random import Random
from typing import Any

import pytest
from comparing import Planned, compare, ran_bytes, run_engine, run_through_backtest
from hypothesis import HealthCheck, given, settings
from reference import ZERO, At, Order
from scenarios import Scenario, build, scenarios

CHUNKS = 10
SEEDS_A_CHUNK = 550


@given(scenarios())
@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large])
def test_the_engine_agrees_with_the_reference(scenario: Scenario) -> None:
    compare(scenario)


@pytest.mark.parametrize("chunk", range(CHUNKS))
def test_the_engine_agrees_with_the_reference_on_thousands_of_seeded_scenarios(chunk: int) -> None:
    for seed in range(chunk * SEEDS_A_CHUNK, (chunk + 1) * SEEDS_A_CHUNK):
        # Costs that are plain fractions take a shorter way through the broker; every other run takes the long one.
        compare(build(Random(seed)), by_rates=seed % 2 == 0)


def test_what_a_strategy_sees_as_its_equity_and_cash_is_the_row_of_that_bar_to_the_last_bit() -> None:
    for seed in range(300):
        scenario = build(Random(seed))
        ran = run_engine(scenario)
        rows = list(zip(ran.columns.equity.tolist(), ran.columns.cash.tolist(), strict=True))
        # Where the run closes what is open, the last row is that after it, which the strategy no longer sees.
        seen, until = ran.strategy.seen, -1 if scenario.settings.finalize else None
        assert seen[:until] == rows[:until]


def test_two_runs_give_the_same_bytes() -> None:
    for seed in range(200):
        scenario = build(Random(seed))
        assert ran_bytes(run_engine(scenario)) == ran_bytes(run_engine(scenario))


def test_a_run_through_backtest_gives_what_the_engine_gives() -> None:
    for seed in range(25):
        scenario = build(Random(seed))
        ran, result = run_engine(scenario), run_through_backtest(scenario)
        assert result.fills["order_id"].to_list() == [fill.number for fill in ran.fills]
        assert result.fills["price"].to_list() == [fill.price for fill in ran.fills]
        assert result.equity["equity"].to_list() == ran.columns.equity.tolist()
        assert result.final_equity == ran.columns.equity[-1]


# ---------------------------------------------------------------- the fast lane of plain market orders


class Listening(Planned):
    """Also keeps all that it is told, and what position and cash it is shown at that moment."""

    def on_start(self) -> None:
        self.heard: list[Any] = []
        super().on_start()

    def on_order(self, order: Any) -> None:
        self.heard.append((self._tick(), order.id, order.status, order.reason, order.note, order.quantity))

    def on_fill(self, fill: Any) -> None:
        self.heard.append((self._tick(), fill, float(self.positions[fill.symbol]), self.cash, self.equity))


def plain(seed: int) -> Scenario:
    """Market orders of one size class, closes and targets, and nothing else."""
    source = Random(seed)
    scenario = build(source)
    roomy = source.randint(0, 2) > 0
    plan = []
    for at in scenario.plan:
        if isinstance(at.command, Order) and source.randint(0, 1):
            order = Order(at.command.symbol, at.command.side, at.command.lots, exit=source.randint(0, 2) == 0)
            plan.append(At(at.tick, order))
    settings = scenario.settings
    slippage = min(settings.slippage, Decimal("0.01"))  # the fast path takes rates only, none near the whole price
    cash = settings.cash * (20 if roomy else 1)
    changed = replace(settings, volume_cap=None, per_lot=ZERO, least=ZERO, slippage=slippage, cash=cash)
    return replace(scenario, plan=plan, settings=changed)


def test_the_fast_lane_gives_what_the_general_way_gives_to_the_last_bit() -> None:
    taken: Counter[str] = Counter()
    for seed in range(400):
        for scenario in (plain(seed), build(Random(seed))):
            for kind in (Planned, Listening):
                fast, general = (run_engine(scenario, kind=kind, takes_plain=yes) for yes in (True, False))
                assert ran_bytes(fast) == ran_bytes(general), scenario
                taken["fast"] += fast.took_the_fast_lane
                taken["general"] += general.took_the_fast_lane
                taken["fills"] += len(fast.fills)
    assert taken["general"] == 0
    assert taken["fast"] > taken["fills"] / 20, "otherwise this compares the general way with itself"


def test_the_fast_lane_agrees_with_the_reference() -> None:
    for seed in range(400):
        compare(plain(seed))


def test_listening_changes_nothing_of_what_happens() -> None:
    for seed in range(200):
        scenario = build(Random(seed))
        assert ran_bytes(run_engine(scenario), heard=False) == ran_bytes(
            run_engine(scenario, kind=Listening), heard=False
        )


def test_news_of_one_instant_comes_by_symbol_and_order_and_fills_add_up_to_the_position_shown() -> None:
    for seed in range(200):
        scenario = build(Random(seed))
        ran = run_engine(scenario, kind=Listening)
        positions = dict.fromkeys(scenario.bars, 0.0)
        fills = [item for item in ran.strategy.heard if len(item) == 5]
        assert [item[1] for item in fills] == ran.fills[: len(fills)]
        for _, fill, position, _, _ in fills:
            positions[fill.symbol] += fill.quantity if fill.side == "buy" else -fill.quantity
            assert position == positions[fill.symbol]
