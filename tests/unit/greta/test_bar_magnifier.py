"""Drilling: where one bar could have filled either leg, the smaller bars tell which was first."""

from __future__ import annotations

import polars as pl
import pytest

import builders
from weaver import ConfigError, Strategy, backtest


def bars(rows: list[tuple[float, float, float, float]], step: str) -> pl.DataFrame:
    return builders.frame_of_rows(*rows, step=step, symbol="X")


class Bracketed(Strategy):
    def on_bar(self, bar):
        if not self.position:
            self.buy(1, stop_loss=95.0, take_profit=105.0)


# The second hour opens at 100, and reaches both 94 and 106.
HOURS = bars([(100.0, 101.0, 99.0, 100.0), (100.0, 106.0, 94.0, 100.0)], "1h")
QUIET = [(100.0, 101.0, 99.0, 100.0)] * 2


def exit_price(second_hour: list[tuple[float, float, float, float]]) -> float:
    result = backtest(Bracketed, HOURS, finer=bars(QUIET + second_hour, "30m"))
    return float(result.fills["price"][1])


def test_the_leg_that_the_smaller_bars_reach_first_fills() -> None:
    rises_first = [(100.0, 106.0, 99.0, 105.0), (105.0, 105.0, 94.0, 100.0)]
    falls_first = [(100.0, 101.0, 94.0, 95.0), (95.0, 106.0, 95.0, 100.0)]
    assert exit_price(rises_first) == 105.0
    assert exit_price(falls_first) == 95.0


def test_the_worse_leg_fills_where_the_smaller_bars_do_not_tell() -> None:
    both_at_once = [(100.0, 106.0, 94.0, 100.0), (100.0, 101.0, 99.0, 100.0)]
    assert exit_price(both_at_once) == 95.0
    missing = backtest(Bracketed, HOURS, finer=bars(QUIET, "30m"))
    assert missing.fills["price"][1] == 95.0


def test_the_rule_in_force_stands_in_the_result() -> None:
    result = backtest(Bracketed, HOURS, finer=bars(QUIET, "30m"))
    assert result.settings["intrabar"] == "drill into 30m bars, worst where they do not tell"


def test_bars_that_are_not_smaller_are_refused_and_so_is_drilling_without_any() -> None:
    with pytest.raises(ConfigError, match="smaller timeframe"):
        backtest(Bracketed, HOURS, finer=HOURS)
    with pytest.raises(ConfigError, match="finer="):
        backtest(Bracketed, HOURS, intrabar="drill")


def test_a_rule_that_smaller_bars_would_overrule_is_refused() -> None:
    finer = bars(QUIET, "30m")
    with pytest.raises(ConfigError, match='intrabar="best" and finer= contradict each other'):
        backtest(Bracketed, HOURS, finer=finer, intrabar="best")
    with pytest.raises(ConfigError, match="intrabar='middle': must be one of worst, best, drill"):
        backtest(Bracketed, HOURS, finer=finer, intrabar="middle")
    assert backtest(Bracketed, HOURS, finer=finer, intrabar="drill").settings["intrabar"].startswith("drill")
