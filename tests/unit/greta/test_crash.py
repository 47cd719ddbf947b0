"""A strategy that raises stops its run, says where, and loses nothing of what was done."""

from __future__ import annotations

from functools import partial
from typing import Any

import pytest

import builders
from weaver import Strategy, backtest
from weaver.core.errors import ConfigError, StrategyCrashed
from weaver.greta.costs import SlippageSteps

FLAT = (100.0, 100.0, 100.0, 100.0)


def crash(run: Any, series: Any, **callbacks: Any) -> str:
    with pytest.raises(StrategyCrashed) as caught:
        run(series, **callbacks)
    assert isinstance(caught.value.__cause__, ZeroDivisionError | KeyError)
    return str(caught.value)


def test_the_message_names_callback_error_bar_time_line_and_parameters(run: Any, bars: Any) -> None:
    def on_bar(self: Any, bar: Any) -> None:
        if len(self.bars) == 3:
            raise KeyError("it")  # the line that raises

    message = crash(run, bars(*[FLAT] * 4), on_bar=on_bar, params={"fast": 10, "name": "x"})
    assert "on_bar raised KeyError: 'it'" in message
    assert "bar 2 of A at 2024-01-03" in message
    assert "tick 2024-01-04" in message
    assert "test_crash.py:" in message
    assert "the line that raises" in message
    assert "fast=10, name='x'" in message


def test_with_several_symbols_it_names_the_one_whose_bar_it_was(run: Any, bars: Any) -> None:
    def on_bar(self: Any, bar: Any) -> None:
        if bar.symbol == "A" and len(self.bars["A"]) == 2:
            raise KeyError("what")

    message = crash(run, [bars(*[FLAT] * 4, symbol="B"), bars(None, *[FLAT] * 3, symbol="A")], on_bar=on_bar)
    assert "bar 1 of A at 2024-01-03" in message


@pytest.mark.parametrize("callback", ["on_start", "on_order", "on_fill", "on_stop", "timer"])
def test_every_callback_is_named(run: Any, bars: Any, at_bar: Any, callback: str) -> None:
    def fail(self: Any, *rest: Any) -> None:
        raise KeyError

    given: dict[str, Any] = {"on_bar": at_bar({0: lambda self: self.buy(1)})}
    if callback == "timer":
        given["on_start"] = lambda self: self.every("day", lambda: 1 / 0)
    else:
        fail.__code__ = fail.__code__.replace(co_name=callback)
        given[callback] = fail
    message = crash(run, bars(*[FLAT] * 3), **given)
    assert ("before any bar" in message) == (callback == "on_start")
    if callback != "timer":
        assert f"Small.{callback} raised" in message


def test_a_mistake_in_the_settings_is_not_blamed_on_the_strategy(run: Any, bars: Any, at_bar: Any) -> None:
    with pytest.raises(ConfigError, match="price step"):
        run(bars(*[FLAT] * 3), slippage=SlippageSteps(1), on_bar=at_bar({0: lambda self: self.buy(1)}))


class Crashes(Strategy):
    after: int = 3

    def on_bar(self, bar: Any) -> None:
        if len(self.bars) == 1:
            self.buy(1)
        if len(self.bars) == self.after:
            raise RuntimeError("enough")


def test_what_was_done_by_then_is_the_errors_result() -> None:
    bars = builders.frame([100.0] * 8, time="date")
    with pytest.raises(StrategyCrashed) as caught:
        backtest(Crashes, bars, params={"after": 5})
    result = caught.value.result
    assert result.fills["order_id"].to_list() == [1]
    assert len(result.equity) == 5
    assert result.params == {"after": 5}
    assert "after=5" in str(caught.value)
    assert "Crashes.on_bar raised RuntimeError: enough" in str(caught.value)


def test_what_a_timer_calls_is_the_strategys_also_where_it_is_of_another_module(run: Any, bars: Any) -> None:
    def start(self: Any) -> None:
        self.every("day", partial(int, "x"))

    with pytest.raises(
        StrategyCrashed, match=r"Small\.timer raised ValueError: invalid literal .*bar 0 of A at 2024-01-01"
    ):
        run(bars(FLAT, FLAT), on_start=start)
