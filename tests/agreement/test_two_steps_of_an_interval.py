"""What is certain at the open is certain: an interval in two steps, the first with bars that have only begun, gives the same run."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from random import Random
from typing import Any

import pytest
from comparing import Planned, ran_bytes, run_engine
from scenarios import build
from test_engine_against_reference import Listening

from weaver.core.bars import Bar
from weaver.greta.bar_interval import BarInterval
from weaver.marvin.context import Context

SEEDS = 100
NAN = float("nan")

Run = Callable[[BarInterval, Sequence[Bar], int], None]


def begun(bar: Bar) -> Bar:
    """All that is known of a bar when it begins; the volume is for caps and costs that depend on it."""
    return Bar(bar.symbol, bar.ts_ns, bar.open, NAN, NAN, NAN, bar.volume)


def in_two_steps(interval: BarInterval, bars: Sequence[Bar], now_ns: int) -> None:
    interval.open([begun(bar) for bar in bars], now_ns)
    interval.end(bars, now_ns)


def opens_at_the_close(interval: BarInterval, bars: Sequence[Bar], now_ns: int) -> None:
    interval.open([begun(Bar(bar.symbol, bar.ts_ns, *[bar.close] * 4, bar.volume)) for bar in bars], now_ns)
    interval.end(bars, now_ns)


def each_symbol_opens_alone(interval: BarInterval, bars: Sequence[Bar], now_ns: int) -> None:
    for bar in bars:
        interval.open([begun(bar)], now_ns)
    interval.end(bars, now_ns)


def never_ends(interval: BarInterval, bars: Sequence[Bar], now_ns: int) -> None:
    interval.open([begun(bar) for bar in bars], now_ns)


def opens_twice(interval: BarInterval, bars: Sequence[Bar], now_ns: int) -> None:
    interval.open([begun(bar) for bar in bars], now_ns)
    in_two_steps(interval, bars, now_ns)


def differing(run: Run, monkeypatch: pytest.MonkeyPatch, seeds: range, *, until_one: bool = False) -> list[int]:
    """The seeds at which a run with `run` is not, byte for byte, the one that the engine makes."""
    different = []
    for seed in seeds:
        scenario, kind = build(Random(seed)), (Planned, Listening)[seed % 2]
        expected = ran_bytes(run_engine(scenario, kind=kind))
        with monkeypatch.context() as patch:
            patch.setattr(BarInterval, "run", run)
            try:
                same = ran_bytes(run_engine(scenario, kind=kind)) == expected
            except (AssertionError, ValueError):
                same = False
        if not same:
            different.append(seed)
            if until_one:
                break
    return different


def test_an_interval_in_two_steps_gives_the_same_run_byte_for_byte(monkeypatch: pytest.MonkeyPatch) -> None:
    assert not differing(in_two_steps, monkeypatch, range(SEEDS))


@pytest.mark.parametrize("run", [opens_at_the_close, each_symbol_opens_alone, never_ends, opens_twice])
def test_wrong_steps_fail_on_the_same_seeds(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    assert differing(run, monkeypatch, range(SEEDS), until_one=True)


def test_news_of_the_opens_is_there_before_the_bar_ends(monkeypatch: pytest.MonkeyPatch) -> None:
    """The paper broker delivers fills at the open when they happen, not when the bar has ended."""
    early = 0

    def run(interval: BarInterval, bars: Sequence[Bar], now_ns: int) -> None:
        nonlocal early
        before = len(interval._order_book.updates)
        interval.open([begun(bar) for bar in bars], now_ns)
        early += sum(update.fill is not None for update in interval._order_book.updates[before:])
        interval.end(bars, now_ns)

    monkeypatch.setattr(BarInterval, "run", run)
    fills = sum(len(run_engine(build(Random(seed))).fills) for seed in range(10))
    assert 0 < early < fills


def test_the_engine_takes_its_updates_through_the_port(monkeypatch: pytest.MonkeyPatch) -> None:
    delivered: list[Any] = []
    deliver = Context.deliver
    monkeypatch.setattr(Context, "deliver", lambda self, updates: delivered.append(updates) or deliver(self, updates))
    for seed in range(30):
        delivered.clear()
        ran = run_engine(build(Random(seed)), kind=Listening)
        fills = [update.fill for updates in delivered for update in updates if update.fill is not None]
        assert fills == ran.fills
