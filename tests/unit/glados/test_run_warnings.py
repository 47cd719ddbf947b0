"""Rejected orders, liquidations, gaps and open positions are named in the table, the warnings, the statistics and the report."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest

from weaver import Strategy, backtest
from weaver.core.run_folders import RunFolders
from weaver.results import Result
from weaver.results.report.writer import render
from weaver.results.run_files import load, save

DAY = 86_400_000_000_000
MONDAY = 1_704_067_200_000_000_000  # 2024-01-01


def frame(starts: np.ndarray, close: Any) -> pl.DataFrame:
    times = pl.Series("timestamp", starts).cast(pl.Datetime("ns", "UTC"))
    columns = dict.fromkeys(("open", "high", "low", "close"), np.asarray(close, dtype=float))
    return pl.DataFrame({"timestamp": times} | columns | {"volume": np.full(len(starts), 1e6)})


def daily(close: Any, days: Any = None) -> pl.DataFrame:
    return frame(MONDAY + np.asarray(range(len(close)) if days is None else days) * DAY, close)


def scripted(act: Callable[[Strategy, int], None]) -> type[Strategy]:
    """A strategy that calls `act(self, row)` on each bar."""

    class Scripted(Strategy):
        def on_start(self) -> None:
            self.row = -1

        def on_bar(self, bar: Any) -> None:
            self.row += 1
            act(self, self.row)

    return Scripted


class Idle(Strategy):
    """Place no order."""

    def on_bar(self, bar: Any) -> None:
        pass


def shown(result: Result, folder: Path) -> list[str]:
    """Every text in which a person meets the result: printed, in a notebook, in the report, and of the stored run."""
    folders = RunFolders(folder)
    save(result.record, folders)
    kept = Result(load(folders, result.run_id))
    assert kept.warnings == result.warnings
    assert dict(kept.stats) == pytest.approx(dict(result.stats), nan_ok=True)
    return [repr(result), result._repr_html_(), render(result.analysis), repr(kept)]


def test_rejected_orders_are_named_although_others_filled(tmp_path: Path) -> None:
    def act(self: Strategy, row: int) -> None:
        if row == 0:
            self.buy(10)
        elif row < 4:
            self.buy(10_000 + row)  # three reasons that differ in their numbers only

    result = backtest(scripted(act), daily([100.0] * 12))
    assert result.stats["orders"] == 4
    assert result.stats["rejected_orders"] == 3
    (text,) = (text for text in result.warnings if text.startswith("rejected orders"))
    assert text.startswith("rejected orders: 3 of 4, the first at 2024-01-03T00:00:00Z; ")
    assert "cannot be paid for: 10001 " in text
    assert "10002" not in text
    for where in shown(result, tmp_path):
        assert "rejected orders: 3 of 4" in where


def test_the_most_common_reasons_come_first() -> None:
    from weaver.core.orders import OrderStatus, Side
    from weaver.results import OrderRecord
    from weaver.results.run_warnings import rejections_text

    reasons = ["A: less than 1", *["B is 5 of 7"] * 2, "B is 6 of 8", *["odd"] * 2, "rare"]
    orders = [
        OrderRecord(
            number=number, symbol="B", side=Side.BUY, quantity=1.0, status=OrderStatus.REJECTED, reason=reason,
            submitted_ns=MONDAY, done_ns=MONDAY + (9 - number) * DAY,
        )
        for number, reason in enumerate(reasons)
    ]  # fmt: skip
    record = backtest(Idle, daily([1.0] * 3)).record
    assert rejections_text(record, orders) == (
        "rejected orders: 7 of 0, the first at 2024-01-04T00:00:00Z; 3 for: B is 5 of 7; 2 for: odd; 1 for: A: less than 1; "
        "and one more reason"
    )


def test_a_liquidation_is_counted_once_and_named_with_its_reason(tmp_path: Path) -> None:
    def act(self: Strategy, row: int) -> None:
        if row == 0:
            self.buy(4_000, tag="liquidation")  # a user's own tag does not count
            self.sell(1, limit=500.0)  # cancelled by the margin call

    prices = [100.0, 100.0, 80.0, 70.0, 70.0, 70.0]
    result = backtest(scripted(act), daily(prices), leverage=5, maintenance=0.19)
    assert result.stats["liquidations"] == 1
    (text,) = (text for text in result.warnings if "liquidated" in text)
    assert text.startswith("the account was liquidated once at 2024-01-04T00:00:00Z: equity ")
    for where in shown(result, tmp_path):
        assert "the account was liquidated once" in where


def weekdays(count: int) -> np.ndarray:
    days = np.arange(count * 2)
    return days[days % 7 < 5][:count]


def test_a_gap_in_the_bars_is_named_although_orders_filled(tmp_path: Path) -> None:
    def act(self: Strategy, row: int) -> None:
        if row == 0:
            self.buy(1)

    days = weekdays(200)
    days = days[(days < 60) | (days > 181)]
    result = backtest(scripted(act), daily([100.0] * len(days), days), symbols="AAPL")
    text = "1 gap in the bars of AAPL: 122d from 2024-03-01T00:00:00Z"
    assert text in result.warnings
    for where in shown(result, tmp_path):
        assert text in where


def test_the_gaps_of_many_symbols_are_one_sentence() -> None:
    days = weekdays(60)
    bars = {f"S{number}": daily([10.0] * 60, days) for number in range(4)}
    bars["S1"] = daily([10.0] * 40, np.delete(days, range(20, 40)))
    bars["S2"] = daily([10.0] * 45, np.delete(days, range(5, 20)))
    (text,) = backtest(Idle, bars).warnings
    assert text == (
        "2 gaps in the bars of 2 of 4 symbols: the largest is 30d from 2024-01-27T00:00:00Z (S1), the first 23d from "
        "2024-01-06T00:00:00Z (S2)"
    )


@pytest.mark.parametrize(
    "starts",
    [
        MONDAY + weekdays(60) * DAY,
        np.concatenate([MONDAY + day * DAY + np.arange(14, 21) * (DAY // 24) for day in weekdays(60)]),
        MONDAY + np.arange(24 * 30) * (DAY // 24),
        np.concatenate([MONDAY + (week * 7 - 1) * DAY + np.arange(22, 142) * (DAY // 24) for week in range(8)]),
    ],
    ids=["weekdays", "hours of a stock", "round the clock", "hours of currencies"],
)
def test_nights_weekends_and_holidays_are_no_gaps(starts: np.ndarray) -> None:
    holiday = starts[(starts < MONDAY + 21 * DAY) | (starts >= MONDAY + 22 * DAY)]
    assert backtest(Idle, frame(starts, np.full(len(starts), 10.0))).warnings == ()
    if len(starts) != 720:  # a missing day of a market that is always open is a gap
        assert backtest(Idle, frame(holiday, np.full(len(holiday), 10.0))).warnings == ()
    else:
        (text,) = backtest(Idle, frame(holiday, np.full(len(holiday), 10.0))).warnings
        assert text.startswith("1 gap in the bars of ")


def test_open_positions_have_a_line_with_their_unrealised_profit(tmp_path: Path) -> None:
    def act(self: Strategy, row: int) -> None:
        if row == 0:
            self.buy(10)

    result = backtest(scripted(act), daily([100.0, 100.0, 112.5]))
    line = next(line for line in repr(result).splitlines() if line.startswith("Open positions"))
    assert line.endswith(" 1, unrealised profit 125.00")
    assert result.warnings == ("1 position still open at the end, with an unrealised profit of 125.00",)
    assert result.stats["unrealised_profit"] == 125.0
    assert "Warning" not in repr(result)
    assert "1 still open (unrealised 125.00)" in shown(result, tmp_path)[2]
    assert "Open positions" not in repr(backtest(Idle, daily([100.0] * 3)))
