"""Greta's loops give what the tick procedure gives over columns that grow, byte for byte: fills, orders, commands, equity.

The procedures of CONTROLS are deliberately wrong in the order of one step, and must differ on the same seeds.
"""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Sequence
from random import Random

import pytest
from bar_by_bar import BarByBar
from comparing import Planned, ran_bytes, run_engine
from random_strategies import draw, first_difference, run
from scenarios import build
from test_engine_against_reference import Listening

from weaver.core.errors import StrategyCrashed
from weaver.core.orders import Command
from weaver.greta.engine import Engine, Hooks
from weaver.marvin.tick import TickInputs, TickProcedure

SCENARIOS = range(int(os.environ.get("WEAVER_SEEDS", 100)))
"""`WEAVER_SEEDS=400` runs as many scenarios and random strategies."""
STRATEGIES = range(int(os.environ.get("WEAVER_SEEDS", 40)))


@pytest.mark.parametrize("chunk", range(4))
def test_the_tick_procedure_gives_what_the_engine_gives_on_scenarios_of_orders(chunk: int) -> None:
    for seed in SCENARIOS[chunk::4]:
        scenario = build(Random(seed))
        for kind in (Planned, Listening):
            given: dict[type[Engine], list[object]] = {Engine: [], BarByBar: []}
            ran = {
                engine_class: ran_bytes(
                    run_engine(
                        scenario,
                        kind=kind,
                        by_rates=seed % 2 == 0,
                        engine_class=engine_class,
                        hooks=Hooks(on_commands=lambda commands, tick_ns, to=to: to.append((tick_ns, tuple(commands)))),
                    )
                )
                for engine_class, to in given.items()
            }
            assert given[Engine] == given[BarByBar], f"commands of scenario {seed}"
            assert ran[Engine] == ran[BarByBar], f"scenario {seed}"


@pytest.mark.parametrize("chunk", range(4))
def test_the_tick_procedure_gives_what_the_engine_gives_to_strategies_that_do_everything(chunk: int) -> None:
    reached: Counter[str] = Counter()
    for seed in STRATEGIES[chunk::4]:
        drawn = draw(seed)
        expected = run(drawn, Engine)
        assert first_difference(expected, run(drawn, BarByBar)) is None, f"seed {seed}"
        reached.update({name: len(value) for name, value in expected if isinstance(value, list)})
    assert min(reached["fills"], reached["orders"], reached["commands"], reached["heard"]) > 100, reached


class HistoriesBeforeNews(TickProcedure):
    """Advances the histories before the news is delivered."""

    def tick(self, inputs: TickInputs) -> list[Command]:
        self.context.now_ns = inputs.tick_ns
        states = [self.context.run.state(each.bar.symbol, "tick") for each in inputs.bars]
        assert self.history is not None
        for state, each in zip(states, inputs.bars, strict=True):
            self.history.show(state, each.bar, each.end_ns, each.extra)
        self.history.advance(states, inputs.tick_ns)
        self._deliver(inputs)
        self._call_bars(states, [each.bar for each in inputs.bars], inputs.tick_ns)
        self._fire_timers(inputs.tick_ns)
        return self._take_commands()


class TimersBeforeBars(TickProcedure):
    """Fires the timers that are due before the bars."""

    def _show(self, inputs: TickInputs) -> None:
        self._fire_timers(inputs.tick_ns)
        super()._show(inputs)


class CommandsLate(TickProcedure):
    """Gives the commands of each tick at the next one."""

    held: Sequence[Command] = ()

    def tick(self, inputs: TickInputs) -> list[Command]:
        commands, self.held = list(self.held), super().tick(inputs)
        return commands


class NewsAfterBars(TickProcedure):
    """Delivers the news after the bars."""

    def _deliver(self, inputs: TickInputs) -> None:
        pass

    def _fire_timers(self, tick_ns: int) -> None:
        super()._deliver(self.inputs)
        super()._fire_timers(tick_ns)

    def tick(self, inputs: TickInputs) -> list[Command]:
        self.inputs = inputs
        return super().tick(inputs)


class WithoutTheAccount(TickProcedure):
    """Leaves the account as it was when the run began."""

    def tick(self, inputs: TickInputs) -> list[Command]:
        return super().tick(TickInputs(tick_ns=inputs.tick_ns, bars=inputs.bars, updates=inputs.updates))


CONTROLS = (HistoriesBeforeNews, TimersBeforeBars, CommandsLate, NewsAfterBars, WithoutTheAccount)


@pytest.mark.parametrize("wrong", CONTROLS, ids=lambda wrong: wrong.__name__)
def test_a_tick_in_another_order_differs_on_the_same_seeds(wrong: type[TickProcedure]) -> None:
    class WrongOrder(BarByBar):
        procedure = wrong

    for seed in STRATEGIES[:40]:
        drawn = draw(seed)
        expected = run(drawn, Engine)
        try:
            if first_difference(expected, run(drawn, WrongOrder)) is not None:
                return
        except StrategyCrashed:  # a wrong order may also break what the strategy relies on
            return
    pytest.fail(f"{wrong.__name__} made no difference on {len(STRATEGIES[:40])} seeds")
