"""A strategy that gives orders, tags or texts without end is stopped by name, and its messages stay short."""

from __future__ import annotations

from collections.abc import Callable
from enum import StrEnum
from typing import Any

import pytest

from builders import frame
from weaver import Strategy, backtest
from weaver.core.errors import ConfigError, OrderError, ParameterError, StrategyCrashed, StrategyError
from weaver.glados.backtest.run_recorder import _crash_of
from weaver.indicators import sma
from weaver.marvin import command_queue, timers
from weaver.marvin.command_queue import CommandQueue
from weaver.results.result import Result

MEGABYTE = 1024**2
BARS = frame([100.0, 101.0, 102.0, 103.0, 104.0])


def crash(strategy: type[Strategy], bars: Any = BARS, **options: Any) -> StrategyCrashed:
    with pytest.raises(StrategyCrashed) as caught:
        backtest(strategy, bars, **options)
    return caught.value


def class_of(**members: Any) -> type[Strategy]:
    return type("Loop", (Strategy,), members)


# Commands.


def test_endless_orders_in_one_callback_are_stopped_at_100_000() -> None:
    class Endless(Strategy):
        def on_bar(self, bar: Any) -> None:
            for _ in range(100_001):
                self.buy(1)

    error = crash(Endless)
    assert "Endless.on_bar raised StrategyError: buy: 100,000 orders, cancels and changes in one tick" in str(error)
    assert "bar 0 of ASSET at 2024-01-01T00:00:00Z" in str(error)
    assert len(error.result.record.orders) == 100_000


Act = Callable[[Any], object]
ACTS: dict[str, Act] = {
    "buy": lambda self: self.buy(1),
    "sell": lambda self: self.sell(1, limit=110.0),
    "bracket": lambda self: self.buy(1, stop_loss=90.0, take_profit=120.0),
    "target": lambda self: (self.target(quantity=1), self.target(quantity=2)),
    "target_weights": lambda self: self.target_weights({"ASSET": 0.5}),
    "cancel": lambda self: self.order.cancel(),
    "modify": lambda self: self.order.modify(limit=51.0),
    "oco": lambda self: self.oco(self.order, self.other),
    "at": lambda self: self.at("2030-01-01", self.nothing),
    "every": lambda self: self.every("day", self.nothing),
}


@pytest.fixture
def few(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(command_queue, "MOST_COMMANDS", 50)
    monkeypatch.setattr(timers, "MOST_COMMANDS", 50)


@pytest.mark.usefixtures("few")
@pytest.mark.parametrize("act", ACTS)
def test_every_kind_of_command_counts(act: str) -> None:
    def on_start(self: Any) -> None:
        self.order, self.other = self.buy(1, limit=50.0), self.buy(1, limit=50.0)

    def on_bar(self: Any, bar: Any) -> None:
        for _ in range(60):
            ACTS[act](self)

    error = crash(class_of(on_start=on_start, on_bar=on_bar, nothing=lambda self: None))
    assert "Loop.on_bar raised StrategyError" in str(error)
    assert "in one tick are the most" in str(error)


@pytest.mark.usefixtures("few")
@pytest.mark.parametrize("callback", ["on_start", "on_bar", "on_bars", "on_order", "on_fill", "timer"])
@pytest.mark.parametrize("symbols", [1, 2])
def test_commands_of_every_callback_count(callback: str, symbols: int) -> None:
    def many(self: Any, *arguments: Any) -> None:
        for _ in range(51):
            self.buy(1, symbol="A")

    many.__code__ = many.__code__.replace(co_name=callback)

    def on_start(self: Any) -> None:
        self.every("day", self.timer if callback == "timer" else self.one)

    members: dict[str, Any] = {"on_start": on_start, "one": lambda self: self.buy(1, symbol="A")}
    error = crash(class_of(**members | {callback: many}), dict.fromkeys("AB"[:symbols], BARS))
    assert f"Loop.{callback} raised StrategyError: buy: 50 orders" in str(error)


@pytest.mark.usefixtures("few")
def test_the_most_commands_are_allowed_at_every_tick_and_in_on_stop_none_is_counted() -> None:
    class Busy(Strategy):
        def on_bar(self, bar: Any) -> None:
            for order in self.orders[:25]:
                order.cancel()
            for _ in range(25):
                self.buy(1, limit=1.0)
            self.count = self.count + 1 if hasattr(self, "count") else 1

        def on_stop(self) -> None:
            for _ in range(60):
                for order in self.orders:
                    order.cancel()
            with pytest.raises(OrderError, match="orders from on_stop are refused"):
                self.buy(1)

    assert len(backtest(Busy, BARS).record.orders) == 125


def test_a_run_of_very_many_symbols_may_give_ten_commands_for_each() -> None:
    assert CommandQueue(20_000).most == 200_000
    assert CommandQueue(10_000).most == CommandQueue(1).most == 100_000


@pytest.mark.usefixtures("few")
def test_repeated_timers_and_one_a_day_are_not_too_many() -> None:
    class Daily(Strategy):
        def on_bar(self, bar: Any) -> None:
            for _ in range(20):
                self.at("2024-01-02", self.nothing)

        def nothing(self) -> None: ...

    assert backtest(Daily, frame([100.0] * 20)).record.finished


def test_linked_orders_and_indicators_have_a_bound(monkeypatch: pytest.MonkeyPatch) -> None:
    def on_start(self: Any) -> None:
        self.oco(*[self.buy(1, limit=50.0) for _ in range(1_001)])

    assert "oco: 1,001 orders; 1,000 are the most" in str(crash(class_of(on_start=on_start)))
    monkeypatch.setattr("weaver.marvin.context.MOST_INDICATORS", 5)

    def many_indicators(self: Any) -> None:
        for _ in range(6):
            self.indicator(sma, self.bars.close, 2)

    assert "indicator: 5 indicators are the most" in str(crash(class_of(on_start=many_indicators)))

    def many_resampled(self: Any) -> None:
        for _ in range(6):
            self.bars.resample("1w")

    assert "5 resampled or joined bars are the most" in str(crash(class_of(on_start=many_resampled)))


# Tags.


@pytest.mark.parametrize("place", ["buy", "close", "target", "target_weights"])
def test_a_long_tag_is_cut_when_the_order_is_placed(place: str) -> None:
    tags: list[str | None] = []

    class Tagged(Strategy):
        def on_bar(self, bar: Any) -> None:
            long = "T" * MEGABYTE
            if not self.position:
                order = self.buy(1, tag=long, stop_loss=50.0) if place == "buy" else self.buy(1)
            elif place == "close":
                order = self.close(tag=long)
            elif place == "target":
                order = self.target(weight=0.5, tag=long)
            else:
                order = self.target_weights({"ASSET": 0.3}, tag=long)[0]
            tags.extend(each.tag for each in (order, order.stop_loss) if each is not None)

    result = backtest(Tagged, BARS)
    cut = "T" * 119 + "…"
    assert {tag for tag in tags if tag} >= {cut}
    assert all(len(tag or "") <= 120 for tag in tags)
    assert {fill.tag for fill in result.record.fills} & {cut}
    assert all(len(order.tag or "") <= 120 for order in result.record.orders)
    assert len([warning for warning in result.warnings if "cut to 120 characters" in warning]) == 1


def test_a_tag_of_120_characters_is_kept_and_a_member_of_an_enum_stays_one() -> None:
    class Name(StrEnum):
        ENTRY = "entry"

    class Tagged(Strategy):
        def on_bar(self, bar: Any) -> None:
            self.buy(1, tag="T" * 120)
            assert self.buy(1, tag=Name.ENTRY).tag is Name.ENTRY

    result = backtest(Tagged, BARS)
    assert result.record.orders[0].tag == "T" * 120
    assert not [warning for warning in result.warnings if "cut" in warning]


def test_a_crash_keeps_the_warning_about_tags() -> None:
    class Crashing(Strategy):
        def on_bar(self, bar: Any) -> None:
            self.buy(1, tag="T" * 121)
            raise KeyError("x")

    assert "the tag of 1 order was cut" in " ".join(crash(Crashing).result.warnings)


# Messages.


def raised(error: Exception) -> StrategyCrashed:
    def on_bar(self: Any, bar: Any) -> None:
        raise error

    return crash(class_of(on_bar=on_bar))


def test_the_text_of_an_exception_is_cut() -> None:
    error = raised(ValueError("Z" * 50 * MEGABYTE))
    assert len(str(error)) < 2_500
    assert "Loop.on_bar raised ValueError: ZZZ" in str(error)
    assert "bar 0 of ASSET" in str(error)
    assert "parameters: none" in str(error)
    stored = _crash_of(error, 1)
    assert max(len(stored.message), len(stored.traceback), len(stored.error)) <= 10_000
    assert "in on_bar" in stored.traceback
    assert max(map(len, error.result.warnings)) <= 10_000


def test_an_exception_whose_text_or_name_cannot_be_shown_is_named() -> None:
    class Broken(Exception):
        def __str__(self) -> str:
            raise RuntimeError("no")

    assert "raised Broken: (its message cannot be read: RuntimeError)" in str(raised(Broken()))
    named = type("N" * MEGABYTE, (Exception,), {})
    error = raised(named("x"))
    assert len(str(error)) < 2_500
    assert len(_crash_of(error, 1).error) <= 120


@pytest.mark.parametrize(
    "act",
    [
        lambda self: self.buy("Z" * MEGABYTE),
        lambda self: self.buy(10**5000),
        lambda self: self.buy(1, tif="Z" * MEGABYTE),
        lambda self: self.buy(1, limit="Z" * MEGABYTE),
        lambda self: self.buy(1, good_till="Z" * MEGABYTE),
        lambda self: self.buy(1, tag=["Z" * MEGABYTE]),
        lambda self: self.buy(1, symbol="Z" * MEGABYTE),
        lambda self: self.buy(1, **{"Z" * MEGABYTE: 1}),
        lambda self: self.close(symbol="Z" * MEGABYTE),
        lambda self: self.target(weight="Z" * MEGABYTE),
        lambda self: self.target_weights({"Z" * MEGABYTE: 1.0}),
        lambda self: self.target_weights("Z" * MEGABYTE),
        lambda self: self.oco("Z" * MEGABYTE),
        lambda self: self.at("Z" * MEGABYTE, self.on_stop),
        lambda self: self.every("Z" * MEGABYTE, self.on_stop),
        lambda self: self.bars.close < "Z" * MEGABYTE,
        lambda self: getattr(self.bars, "Z" * MEGABYTE),
        lambda self: setattr(self, "positions", "Z" * MEGABYTE),
        lambda self: self.indicator(sma, self.bars.close, "Z" * MEGABYTE),
        lambda self: self.indicator(sma, self.bars.close, 2, plot="Z" * MEGABYTE),
        lambda self: self.indicator(sma, self.bars.close, 2, name="Z" * MEGABYTE, plot="x"),
        lambda self: self.bars.resample("Z" * MEGABYTE),
    ],
    ids=range(22),
)  # fmt: skip
def test_values_in_messages_are_cut(act: Act) -> None:
    class Acting(Strategy):
        def on_start(self) -> None:
            act(self)
            if self.positions == "Z" * MEGABYTE:
                self._context.check_positions()

    text = str(crash(Acting))
    assert len(text) < 1_500, text[:300]
    assert "Z" * 121 not in text


def test_the_name_of_an_indicator_is_cut() -> None:
    class Named(Strategy):
        def on_start(self) -> None:
            self.view = self.indicator(sma, self.bars.close, 2, name="Z" * MEGABYTE)
            assert len(self.view.name) == 120

    result: Result = backtest(Named, BARS)
    assert {len(plot.name) for plot in result.record.plots} == {120}


@pytest.mark.parametrize(
    ("params", "reason"),
    [({"text": "Z" * 10 * MEGABYTE}, r"text='Z+…' has 10,485,760 characters, more than 10,000"),
     ({"whole": 1 << 5_000}, "whole: the number has 5,001 bits, more than 4,096"),
     ({"whole": "Z" * MEGABYTE}, r"whole='Z+…' is str"), ({"real": 10**400}, "real=1000.*must be a finite number"),
     ({"Z" * MEGABYTE: 1}, r"no parameter 'Z+…'"), ("Z" * MEGABYTE, r"params='Z+…'"),
     ([{"Z" * MEGABYTE: 1}], r"params=\[\{'Z+…")],
    ids=range(7),
)  # fmt: skip
def test_a_parameter_that_is_too_long_is_refused(params: Any, reason: str) -> None:
    class Parameters(Strategy):
        text: str = ""
        whole: int = 1
        real: float = 1.0

        def on_bar(self, bar: Any) -> None: ...

    with pytest.raises((ParameterError, ConfigError), match=reason) as caught:
        backtest(Parameters, BARS, params=params)
    assert len(str(caught.value)) < 500


def test_long_names_of_strategies_and_parameters_are_refused() -> None:
    with pytest.raises(StrategyError, match=r"has at most 200 characters; this one has 1,048,576"):
        backtest(type("N" * MEGABYTE, (Strategy,), {"on_bar": lambda self, bar: None}), BARS)
    with pytest.raises(ParameterError, match="the name of a parameter has at most 120 characters"):
        class_of(**{"n" * 121: 1, "__annotations__": {"n" * 121: int}})


def test_a_parameter_of_10_000_characters_runs_and_is_shown_cut() -> None:
    class Texts(Strategy):
        text: str = ""

        def on_bar(self, bar: Any) -> None:
            raise KeyError(self.text)

    error = crash(Texts, params={"text": "Z" * 10_000})
    assert "parameters: text='" + "Z" * 77 + "…'" in str(error)
    assert len(str(error)) < 2_500
