"""Exits that other engines are reported to get wrong: trails, gaps, an exit and a stop on one bar, half days."""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import Any

import polars as pl
import pytest

from builders import frame_of_rows
from weaver import Result, Strategy, Trail, backtest

CALM = (100.0, 100.0, 100.0, 100.0)


def play(rows: list[tuple[float, float, float, float]], act: Any) -> Result:
    """Backtest daily bars from 2024-01-01, calling `act(strategy, row)` at each bar."""

    class Plays(Strategy):
        def on_start(self) -> None:
            self.row = -1

        def on_bar(self, bar: Any) -> None:
            self.row += 1
            act(self, self.row)

    return backtest(Plays, frame_of_rows(*rows))


def test_a_trailing_stop_follows_the_high_of_the_bar_that_is_complete() -> None:
    def act(strategy: Any, row: int) -> None:
        if row == 0:
            strategy.buy(1, stop_loss=Trail(amount=10))

    result = play([CALM, (100, 108, 95, 105), (105, 106, 97, 99), (99, 99, 90, 91)], act)
    assert result.fills["price"].to_list() == [100.0, 98.0]  # 108 - 10; not 95 in the bar that made the high


def test_the_trailing_stop_of_a_short_that_gaps_fills_at_the_open() -> None:
    def act(strategy: Any, row: int) -> None:
        if row == 0:
            strategy.sell(1, stop_loss=Trail(amount=5))

    result = play([CALM, CALM, (200, 200, 200, 200), (200, 200, 200, 200)], act)
    assert result.fills["price"].to_list() == [100.0, 200.0]


def test_an_exit_and_a_stop_on_one_bar_sell_once() -> None:
    def act(strategy: Any, row: int) -> None:
        if row == 0:
            strategy.buy(100, stop_loss=Trail(percent=5))
        if row == 1:
            strategy.sell(100)

    result = play([CALM, (100, 105, 100, 105), (105, 106, 90, 95), (95, 96, 94, 95)], act)
    assert result.fills.filter(pl.col("side") == "sell")["price"].to_list() == [105.0]
    assert result.open_trades.is_empty()


def new_york(minutes: int) -> pl.DataFrame:
    """Return flat bars of New York's sessions from 2024-07-01 to 07-05; the 3rd is a half day, the 4th a holiday."""
    closes = {1: 20, 2: 20, 3: 17, 5: 20}
    stamps = [
        datetime(2024, 7, day, 13, 30) + timedelta(minutes=minute)
        for day, hour in closes.items()
        for minute in range(0, hour * 60 - 13 * 60 - 30, minutes)
    ]
    return pl.DataFrame({"timestamp": stamps, **dict.fromkeys(("open", "high", "low", "close", "volume"), 1.0)})


def test_an_at_close_order_fills_at_the_early_close_of_a_half_day() -> None:
    pytest.importorskip("exchange_calendars", reason="weaver-trading[calendars] is not installed")

    class AtClose(Strategy):
        def on_bar(self, bar: Any) -> None:
            if not self.orders:
                if self.position:
                    self.close(tif="at_open")
                else:
                    self.buy(1, tif="at_close")

    result = backtest(AtClose, new_york(30), tz="UTC", calendar="XNYS")
    bought = result.fills.filter(pl.col("side") == "buy")["timestamp"].dt.strftime("%m-%d %H:%M").to_list()
    assert "07-03 16:30" in bought
    assert not [stamp for stamp in bought if stamp.startswith("07-03") and stamp != "07-03 16:30"]


def test_resampled_bars_of_an_odd_length_begin_at_the_open_of_the_session() -> None:
    pytest.importorskip("exchange_calendars", reason="weaver-trading[calendars] is not installed")
    starts: list[str] = []

    class FourMinutes(Strategy):
        def on_start(self) -> None:
            self.four = self.bars.resample("4m")

        def on_bar(self, bar: Any) -> None:
            if len(self.four.close) > len(starts):
                starts.append(f"{self.four.ts[-1]:%H:%M}")

    backtest(FourMinutes, new_york(1), tz="UTC", calendar="XNYS")
    assert starts[:2] == ["13:30", "13:34"]
