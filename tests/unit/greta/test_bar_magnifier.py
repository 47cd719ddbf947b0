"""Bar magnifier: with finer=, orders reached inside a bar are judged on the smaller bars, by the same table."""

from __future__ import annotations

import polars as pl
import pytest

import builders
from weaver import ConfigError, Strategy, Trail, backtest


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


def filled(order, hour, halves, **settings):
    """The price of an order given on the first hour, where the second hour and its two halves are these bars."""

    class Gives(Strategy):
        def on_bar(self, bar):
            if not self.position and not self.orders:
                order(self)

    coarse = bars([(100.0, 101.0, 99.0, 100.0), hour], "1h")
    return backtest(Gives, coarse, finer=bars(QUIET + halves, "30m"), **settings).fills["price"].to_list()


GAP_UP = [(100.0, 101.0, 99.0, 100.0), (107.0, 110.0, 106.0, 108.0)]
GAP_DOWN = [(100.0, 101.0, 99.0, 100.0), (93.0, 94.0, 90.0, 92.0)]
UP, DOWN = (100.0, 110.0, 99.0, 108.0), (100.0, 101.0, 90.0, 92.0)


@pytest.mark.parametrize(
    ("order", "hour", "halves", "price"),
    [
        (lambda self: self.buy(1, stop=105), UP, GAP_UP, 107.0),
        (lambda self: self.sell(1, stop=95), DOWN, GAP_DOWN, 93.0),
        (lambda self: self.buy(1, limit=95), DOWN, GAP_DOWN, 93.0),
        (lambda self: self.sell(1, limit=105), UP, GAP_UP, 107.0),
        (lambda self: self.buy(1, stop=105, limit=108), UP, GAP_UP, 107.0),
        (
            lambda self: self.buy(1, stop=105, limit=106),
            UP,
            GAP_UP,
            106.0,
        ),  # beyond its limit: rests, and is reached at L
        (lambda self: self.sell(1, stop=Trail(amount=6)), DOWN, GAP_DOWN, 93.0),
        (lambda self: self.buy(1, stop=107), UP, GAP_UP, 107.0),
        (lambda self: self.buy(1, stop=109), UP, GAP_UP, 109.0),  # within the second half: at its level
    ],
)
def test_an_order_that_a_smaller_bar_opens_beyond_fills_at_that_open(order, hour, halves, price) -> None:
    assert filled(order, hour, halves) == [price]


def test_a_stop_loss_that_a_smaller_bar_opens_beyond_fills_at_that_open() -> None:
    def bracket(self):
        self.buy(1, stop_loss=95, take_profit=120)

    assert filled(bracket, DOWN, GAP_DOWN) == [100.0, 93.0]


def test_the_legs_of_an_entry_inside_are_judged_on_what_came_after_it() -> None:
    """Bought at 98 in the first half; 105 came before it in the hour, and 104 after it."""

    def bracket(self):
        self.buy(1, limit=98, stop_loss=90, take_profit=104)

    first_high = [(100.0, 105.0, 99.0, 99.0), (99.0, 99.0, 97.0, 98.5)]
    assert filled(bracket, (100.0, 105.0, 97.0, 98.5), first_high) == [98.0]
    then_high = [(100.0, 101.0, 97.0, 98.0), (98.0, 105.0, 98.0, 105.0)]
    assert filled(bracket, (100.0, 105.0, 97.0, 105.0), then_high) == [98.0, 104.0]


def test_nothing_fills_outside_the_bar_whatever_the_smaller_bars_say() -> None:
    wild = [(100.0, 101.0, 99.0, 100.0), (150.0, 160.0, 140.0, 150.0)]
    assert filled(lambda self: self.buy(1, stop=105), UP, wild) == [110.0]


def test_where_the_smaller_bars_do_not_reach_an_order_the_bar_decides() -> None:
    assert filled(lambda self: self.buy(1, stop=105), UP, GAP_UP[:1]) == [105.0]
