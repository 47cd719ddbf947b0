"""Greta's loops give what the tick procedure gives over columns that grow, byte for byte: fills, orders, commands, equity.

The procedures of CONTROLS are deliberately wrong in the order of one step, and must differ on the same seeds.
"""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from random import Random
from typing import Any

import pytest
from bar_by_bar import BarByBar
from comparing import Planned, ran_bytes, run_engine
from random_strategies import draw, first_difference, run
from scenarios import build
from test_engine_against_reference import Listening
from test_mutations import in_place_of, module_of

from weaver.core.errors import StrategyCrashed, WeaverError
from weaver.core.orders import Command
from weaver.greta.engine import Engine, Hooks
from weaver.marvin import history
from weaver.marvin.tick import TickInputs, TickProcedure

SCENARIOS = range(int(os.environ.get("AGREEMENT_SEEDS", "100")))
"""`AGREEMENT_SEEDS=400` runs as many scenarios and random strategies."""
STRATEGIES = range(int(os.environ.get("AGREEMENT_SEEDS", "40")))


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
    assert min(reached["fills"], reached["orders"], reached["commands"], reached["heard"]) > 50, reached


def test_the_random_strategies_reach_what_they_are_for() -> None:
    drawn = [draw(seed) for seed in STRATEGIES]
    reached = {
        "several symbols": sum(len(each.series) > 1 for each in drawn),
        "gaps": sum(len({len(bars) for bars in each.series.values()}) > 1 for each in drawn),
        "history": sum(any(bars.history for bars in each.series.values()) for each in drawn),
        "a calendar": sum(each.calendar is not None for each in drawn),
        "smaller bars": sum(each.finer is not None for each in drawn),
        "a volume cap": sum(each.settings.volume_cap is not None for each in drawn),
        "leverage": sum(each.settings.leverage > 1 for each in drawn),
        "borrow": sum(each.settings.borrow_rate > 0 for each in drawn),
        "finalize": sum(each.finalize for each in drawn),
        "on_order and on_fill": sum(each.listens for each in drawn),
    }
    assert min(reached.values()) >= 3, reached
    heard: Counter[str] = Counter()
    for each in drawn[:20]:
        facts: dict[str, Any] = dict(run(each, Engine))
        heard.update(fact.split("'")[1] for fact in facts["heard"])
        heard.update(type(command).__name__ for _, given in facts["commands"] for command in given)
    kinds = ("bar", "bars", "timer", "order", "fill", "stop", "OrderRequest", "Cancel", "Modify", "Link")
    assert min(heard[kind] for kind in kinds) >= 5, heard


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


HISTORY = Path(str(history.__file__)).read_text(encoding="utf-8")
WRONG_HISTORIES = {
    "a long bar is shown before it has ended": (
        'complete = int(np.searchsorted(long_bars.end, now_ns, side="right"))',
        "complete = len(long_bars)",
    ),
    "a long bar is shown a tick late": (
        'complete = int(np.searchsorted(long_bars.end, now_ns, side="right"))',
        'complete = int(np.searchsorted(long_bars.end, now_ns, side="left"))',
    ),
    "a first long bar is kept though its beginning is missing": ("keep_first=self._continues", "keep_first=True"),
    "a long bar whose first short bar is missing is left out": ("keep_first=self._continues", "keep_first=False"),
    "indicators are not computed again": ("            self._repeat(changed)\n", "            pass\n"),
    "indicators do not delay on_bar": (
        "state.ready_ns = max(state.ready_ns, indicator.ready_ns)",
        "state.ready_ns = 0",
    ),
    "resampled and joined bars do not grow": ("if derived.advance(now_ns)}", "if False}"),
}


def seeds_until_history_differs(source: str) -> int | None:
    """Return how many seeds it takes until a history made from `source` gives another run; None if none does."""
    module = module_of(source, history)
    for seed in STRATEGIES[:40]:
        drawn = draw(seed)
        expected = run(drawn, Engine)
        try:
            with in_place_of(history, module):
                actual = run(drawn, BarByBar)
        except (LookupError, ValueError, WeaverError):
            return seed + 1
        if first_difference(expected, actual) is not None:
            return seed + 1
    return None


@pytest.mark.parametrize("wrong", WRONG_HISTORIES)
def test_a_wrong_history_differs_on_the_same_seeds(wrong: str) -> None:
    right_text, wrong_text = WRONG_HISTORIES[wrong]
    assert HISTORY.count(right_text) == 1, f"{right_text!r} must occur in history.py exactly once"
    assert seeds_until_history_differs(HISTORY.replace(right_text, wrong_text)) is not None


def test_the_right_history_passes_through_the_same_machinery() -> None:
    module = module_of(HISTORY, history)
    for seed in STRATEGIES[:8]:
        drawn = draw(seed)
        with in_place_of(history, module):
            actual = run(drawn, BarByBar)
        assert first_difference(run(drawn, Engine), actual) is None
