"""The port between strategy and broker is message-shaped: a run whose commands and updates travel as bytes is the same run."""

from __future__ import annotations

import ast
from collections.abc import Sequence
from pathlib import Path
from random import Random
from typing import Any

import msgspec
import pytest
from comparing import ran_bytes, run_engine
from scenarios import build
from test_engine_against_reference import Listening, plain

import weaver.greta
from weaver.core.order_messages import decode_commands, decode_updates, encode_commands, encode_updates
from weaver.core.orders import Command, OrderUpdate
from weaver.greta.broker import SimulatedBroker

SEEDS = 150
SEND, TAKE = SimulatedBroker.send, SimulatedBroker.take_updates


def send_bytes(broker: SimulatedBroker, commands: Sequence[Command], tick_ns: int) -> None:
    SEND(broker, decode_commands(encode_commands(commands)), tick_ns)


def take_bytes(broker: SimulatedBroker) -> list[OrderUpdate]:
    return decode_updates(encode_updates(TAKE(broker)))


def without_exits(broker: SimulatedBroker, commands: Sequence[Command], tick_ns: int) -> None:
    send_bytes(broker, [msgspec.structs.replace(c, exit=False) if hasattr(c, "exit") else c for c in commands], tick_ns)


def the_other_way_round(broker: SimulatedBroker) -> list[OrderUpdate]:
    return take_bytes(broker)[::-1]


def test_commands_and_updates_that_travel_as_bytes_change_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    for seed in range(SEEDS):
        scenario = build(Random(seed))
        expected = ran_bytes(run_engine(scenario, kind=Listening))
        with monkeypatch.context() as patch:
            patch.setattr(SimulatedBroker, "send", send_bytes)
            patch.setattr(SimulatedBroker, "take_updates", take_bytes)
            assert ran_bytes(run_engine(scenario, kind=Listening)) == expected, seed


@pytest.mark.parametrize(("name", "wrong"), [("send", without_exits), ("take_updates", the_other_way_round)])
def test_a_port_that_loses_something_is_noticed_on_the_same_seeds(
    name: str, wrong: object, monkeypatch: pytest.MonkeyPatch
) -> None:
    for seed in range(SEEDS):
        scenario = build(Random(seed))
        expected = ran_bytes(run_engine(scenario, kind=Listening))
        with monkeypatch.context() as patch:
            patch.setattr(SimulatedBroker, name, wrong)
            if ran_bytes(run_engine(scenario, kind=Listening)) != expected:
                return
    pytest.fail("no seed has noticed it")


def test_a_broker_that_only_has_the_port_gives_the_same_run(monkeypatch: pytest.MonkeyPatch) -> None:
    """Without the backtest's shortcut, every fill is an update; a run that would need the shortcut is refused."""
    make = SimulatedBroker.__init__

    def without_shortcut(broker: SimulatedBroker, *parts: Any) -> None:
        make(broker, *parts[:4])

    refused = 0
    for seed in range(40):
        scenario = plain(seed)
        expected = ran_bytes(run_engine(scenario, kind=Listening))
        with monkeypatch.context() as patch:
            patch.setattr(SimulatedBroker, "__init__", without_shortcut)
            assert ran_bytes(run_engine(scenario, kind=Listening)) == expected, seed
            try:
                run_engine(scenario)
            except AssertionError as error:
                refused += "announces everything" in str(error)
    assert refused


def test_the_broker_and_its_parts_know_nothing_of_the_strategy() -> None:
    # The engine joins strategy and broker, its loops move the strategy's views, and its hooks show orders.
    joins = {"engine.py", "hot_loop.py", "bar_groups.py", "hooks.py"}
    strategy_side = {"context", "strategy", "order", "order_entry", "positions", "run_state", "timers", "views"}
    for path in Path(weaver.greta.__file__).parent.glob("*.py"):
        if path.name in joins:
            continue
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.ImportFrom) and (node.module or "").startswith("weaver.marvin."):
                assert (node.module or "").split(".")[2] not in strategy_side, path.name
