"""Wrong lines in the modules that hold fill rules, one at a time: the comparison with the reference must catch each one.

Each mutation replaces a text that occurs exactly once in the module's source. The changed source runs as a module of its own
that takes the place of the real one where the engine calls it; the file is never touched. The right source goes through the
same machinery as the control, and passes.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from functools import cache
from pathlib import Path
from random import Random
from types import ModuleType

import pytest
from comparing import Ran, differences, run_engine, run_reference
from reference import Result
from scenarios import Scenario, build

from weaver.core import sessions
from weaver.core.errors import WeaverError
from weaver.greta import (
    acceptance,
    bar_interval,
    buying_power,
    costs,
    engine,
    hot_loop,
    matching,
    pricing,
    working_order,
)

SOURCE = Path(matching.__file__).read_text(encoding="utf-8")
SEEDS = range(1_500)
CONTROL = range(60)

MUTATIONS = {
    "a limit buy misses an open at its limit": (
        "return o <= limit if buy else o >= limit",
        "return o < limit if buy else o >= limit",
    ),
    "a limit sell misses an open at its limit": (
        "return o <= limit if buy else o >= limit",
        "return o <= limit if buy else o > limit",
    ),
    "through is content with a touch at the open": (
        "return o < limit if buy else o > limit",
        "return o <= limit if buy else o >= limit",
    ),
    "through is ignored at the open": (
        "    if through:\n        return o < limit",
        "    if False:\n        return o < limit",
    ),
    "a limit buy misses a low at its limit": (
        "return l <= limit if buy else h >= limit",
        "return l < limit if buy else h >= limit",
    ),
    "a limit sell misses a high at its limit": (
        "return l <= limit if buy else h >= limit",
        "return l <= limit if buy else h > limit",
    ),
    "through is content with a touch inside": (
        "return l < limit if buy else h > limit",
        "return l <= limit if buy else h >= limit",
    ),
    "limit sides swapped inside": (
        "return l <= limit if buy else h >= limit",
        "return h >= limit if buy else l <= limit",
    ),
    "a stop buy misses an open at its stop": (
        "return o >= stop if buy else o <= stop",
        "return o > stop if buy else o <= stop",
    ),
    "a stop sell misses an open at its stop": (
        "return o >= stop if buy else o <= stop",
        "return o >= stop if buy else o < stop",
    ),
    "a stop buy misses a high at its stop": (
        "return h >= stop if buy else l <= stop",
        "return h > stop if buy else l <= stop",
    ),
    "a stop sell misses a low at its stop": (
        "return h >= stop if buy else l <= stop",
        "return h >= stop if buy else l < stop",
    ),
    "a stop-limit is not triggered by an open at its stop": (
        "if not (o >= stop if buy else o <= stop)",
        "if not (o > stop if buy else o < stop)",
    ),
    "a stop-limit misses an open at its limit": (
        "if o <= limit if buy else o >= limit",
        "if o < limit if buy else o > limit",
    ),
    "a gapped stop-limit fills outside its limit": (
        "        return AT_OPEN\n    return RESTS_AS_LIMIT",
        "        return AT_OPEN\n    return AT_OPEN",
    ),
    "a gapped stop-limit forgets that it was triggered": (
        "        return AT_OPEN\n    return RESTS_AS_LIMIT",
        "        return AT_OPEN\n    return NOTHING",
    ),
    "a stop-limit is not triggered by a high at its stop": (
        "if not (h >= stop if buy else l <= stop)",
        "if not (h > stop if buy else l < stop)",
    ),
    "a stop-limit whose limit is its stop needs the close": (
        "if stop <= limit if buy else stop >= limit",
        "if stop < limit if buy else stop > limit",
    ),
    "a stop-limit is filled at its limit by the low": (
        "if c <= limit if buy else c >= limit",
        "if l <= limit if buy else h >= limit",
    ),
    "a stop-limit misses a close at its limit": (
        "if c <= limit if buy else c >= limit",
        "if c < limit if buy else c > limit",
    ),
    "an unproved stop-limit forgets that it was triggered": (
        "        return AT_LIMIT\n    return RESTS_AS_LIMIT",
        "        return AT_LIMIT\n    return NOTHING",
    ),
    "a trail stands on the wrong side": (
        "return best + distance if buy else best - distance",
        "return best - distance if buy else best + distance",
    ),
    "a trail takes percent for a fraction": (
        "best * percent / 100.0",
        "best * percent",
    ),
    "a buying trail follows highs": (
        "return l if l < best else best",
        "return h if h > best else best",
    ),
    "a selling trail follows every high, also lower ones": (
        "return h if h > best else best",
        "return h",
    ),
    "a trail takes in what came before an entry by a limit": (
        "return best_after_bar(buy, best, c, c)",
        "return best_after_bar(buy, best, l, h)",
    ),
    "a trail takes in only the close after an entry by a stop": (
        "if how == ROSE:\n        return best",
        "if how == FELL:\n        return best",
    ),
    "a loss needs the close after an entry by a limit": (
        "last = (l if long else h) if how == FELL else c",
        "last = c",
    ),
    "a loss fills where it merely could": (
        "last = (l if long else h) if how == FELL else c",
        "last = l if long else h",
    ),
    "a profit fills where it merely could": (
        "last = (h if long else l) if how == ROSE else c",
        "last = h if long else l",
    ),
    "a profit needs the close after an entry by a stop": (
        "last = (h if long else l) if how == ROSE else c",
        "last = c",
    ),
    "where the loss could have come first, the profit fills": (
        "if loss_must or (profit_must and loss_could):",
        "if loss_must:",
    ),
    "the better leg fills in spite of the rule": (
        "if profit_must and not worst:",
        "if profit_must:",
    ),
    "the worse leg fills in spite of the rule": (
        "if profit_must and not worst:",
        "if False:",
    ),
    "a loss could not have come first at its own price": (
        "loss_could = l <= loss if long else h >= loss",
        "loss_could = l < loss if long else h > loss",
    ),
    "a profit touched on the entry's bar counts as through": (
        "max(last, entry), through)",
        "max(last, entry), False)",
    ),
    "a leg moved beyond its entry fills outside": (
        "return max(level, entry)",
        "return level",
    ),
    "the worth at the close has the wrong sign": (
        "return (c - price) * quantity if buy else (price - c) * quantity",
        "return (price - c) * quantity if buy else (c - price) * quantity",
    ),
    "the worth at the close forgets the quantity": (
        "return (c - price) * quantity if buy else (price - c) * quantity",
        "return (c - price) if buy else (price - c)",
    ),
}


ELSEWHERE = {
    "a session closes with the last bar that it has": (
        sessions,
        "SessionRows(ids, close, first,",
        'SessionRows(ids, np.minimum(close, series.end[np.searchsorted(ids, ids, side="right") - 1]), first,',
    ),
    "a session closes a day late": (
        sessions,
        "close = ids + NS_PER_DAY",
        "close = ids + 2 * NS_PER_DAY",
    ),
    "an at-close order fills at the close of any bar of its session": (
        bar_interval,
        "order.until_ns == order_book.now_ns",
        "order.until_ns is not None",
    ),
    "a size that is cut to what can be paid for may cost a thousandth more": (
        buying_power,
        "        if over >= 0.0:",
        "        if over >= -0.001 * account.cash:",
    ),
    "cash may fall below zero with cash_only": (
        buying_power,
        "return after >= 0 and cash - freed >= 0.0",
        "return after >= 0 and cash - freed >= -SLACK * abs(account.cash)",
    ),
    "the orders of one call are cut one after the other at acceptance": (
        acceptance,
        "        if basket is None:",
        "        if True:",
    ),
    "the orders of one call are cut one after the other at the open": (
        bar_interval,
        "if basket is not None and other",
        "if False and other",
    ),
    "a stop fills at its level though a smaller bar opens beyond it": (
        bar_interval,
        "if part.ts_ns != bar.ts_ns:",
        "if False:",
    ),
    "smaller bars are ignored": (
        bar_interval,
        "        if parts:\n",
        "        if False:\n",
    ),
    "what the run closes at its end is dated in its symbol's own last bar": (
        engine,
        "bar = Bar(state.symbol, last_start,",
        "bar = Bar(state.symbol, int(state.series.start[row]),",
    ),
    "slippage takes a sale below one price step": (
        pricing,
        "return price * LEAST_SALE if step is None else min(step, price)",
        "return price * LEAST_SALE if step is None else 0.0",
    ),
    "slippage takes a sale below 1 % of its price": (
        pricing,
        "LEAST_SALE = 0.01\n",
        "LEAST_SALE = 0.0\n",
    ),
    "a minimum is charged for each fill of an order": (
        costs,
        "        return whole - self._whole(before, notional_before)",
        "        return self._whole(quantity, notional)",
    ),
}
"""Rules outside `matching`: the module, the right text and the wrong one."""


def module_of(source: str, original: ModuleType = matching) -> ModuleType:
    module = ModuleType(original.__name__)
    exec(compile(source, f"{original.__name__}, mutated", "exec"), module.__dict__)
    return module


@contextmanager
def in_place_of(original: ModuleType, mutated: ModuleType) -> Iterator[None]:
    """Let every module of the product use the functions and classes of `mutated` instead of those of `original`."""
    replaced: list[tuple[ModuleType, str, object]] = []
    for name, value in list(vars(original).items()):
        if getattr(value, "__module__", None) != original.__name__:
            continue
        for user in [module for key, module in list(sys.modules.items()) if key.startswith(("weaver.", "comparing"))]:
            if vars(user).get(name) is value:
                replaced.append((user, name, value))
                setattr(user, name, vars(mutated)[name])
    assert replaced, f"nothing of {original.__name__} was replaced"
    hot_loop._loop.cache_clear()  # it has bound the functions that it calls
    try:
        yield
    finally:
        for user, name, value in replaced:
            setattr(user, name, value)
        hot_loop._loop.cache_clear()


@contextmanager
def in_place_of_matching(module: ModuleType) -> Iterator[None]:
    users = [user for user in (pricing, bar_interval, working_order) if user.matching is matching]
    assert len(users) == 3, "the modules that ask matching have changed: name them here, or no mutation reaches them"
    for user in users:
        user.matching = module
    try:
        yield
    finally:
        for user in users:
            user.matching = matching


@cache
def right(seed: int) -> tuple[Scenario, Ran, Result]:
    """What the right rules make of a scenario: most wrong ones give the same orders, and need no second reference."""
    scenario = build(Random(seed))
    ran = run_engine(scenario)
    return scenario, ran, run_reference(scenario, ran)


def seeds_until_caught(in_place: Callable[[], AbstractContextManager[None]]) -> int | None:
    """Return how many scenarios it takes until the engine differs from the reference within `in_place`; None if none does."""
    for seed in SEEDS:
        scenario, rightly, expected = right(seed)
        try:
            with in_place():
                ran = run_engine(scenario)
        except (AssertionError, ArithmeticError, LookupError, TypeError, WeaverError):
            return seed + 1
        if ran.strategy.given != rightly.strategy.given:
            expected = run_reference(scenario, ran)
        if differences(scenario, ran, expected):
            return seed + 1
    return None


@pytest.mark.parametrize("wrong", MUTATIONS)
def test_the_comparison_catches_a_wrong_rule(wrong: str) -> None:
    old, new = MUTATIONS[wrong]
    assert SOURCE.count(old) == 1, f"{old!r} must stand in matching.py exactly once"
    module = module_of(SOURCE.replace(old, new))
    assert seeds_until_caught(lambda: in_place_of_matching(module)) is not None


@pytest.mark.parametrize("wrong", ELSEWHERE)
def test_the_comparison_catches_a_wrong_rule_outside_matching(wrong: str) -> None:
    original, old, new = ELSEWHERE[wrong]
    source = Path(str(original.__file__)).read_text(encoding="utf-8")
    assert source.count(old) == 1, f"{old!r} must occur in {original.__name__} exactly once"
    module = module_of(source.replace(old, new), original)
    assert seeds_until_caught(lambda: in_place_of(original, module)) is not None


@pytest.mark.parametrize("original", sorted({module for module, _, _ in ELSEWHERE.values()}, key=lambda m: m.__name__))
def test_the_right_rules_outside_matching_pass_through_the_same_machinery(original: ModuleType) -> None:
    module = module_of(Path(str(original.__file__)).read_text(encoding="utf-8"), original)
    for seed in CONTROL:
        scenario, rightly, expected = right(seed)
        with in_place_of(original, module):
            ran = run_engine(scenario)
        assert ran.strategy.given == rightly.strategy.given
        assert not differences(scenario, ran, expected)


def test_the_right_rules_pass_through_the_same_machinery() -> None:
    module = module_of(SOURCE)
    for seed in CONTROL:
        scenario, rightly, expected = right(seed)
        with in_place_of_matching(module):
            ran = run_engine(scenario)
        assert ran.strategy.given == rightly.strategy.given
        assert not differences(scenario, ran, expected)


def test_the_mutations_are_all_different() -> None:
    assert len({SOURCE.replace(*pair) for pair in MUTATIONS.values()}) == len(MUTATIONS)
