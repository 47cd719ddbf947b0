"""A result keeps its promises: documented columns, exact JSON keys, defined answers where there is nothing to say."""

from __future__ import annotations

import json
import math
import pickle
import re
from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime
from enum import Enum
from pathlib import Path

import numpy as np
import polars as pl
import pytest

from weaver import results
from weaver.core.bars import BarSeries
from weaver.core.errors import DataError
from weaver.core.instrument import Instrument
from weaver.core.orders import OrderStatus, Side
from weaver.core.timeframe import Timeframe
from weaver.results import OrderRecord, PlotSeries, Result, RunRecord
from weaver.results.formats import money
from weaver.results.result import JSON_KEYS
from weaver.results.stats import buy_and_hold_curve

MakeSeries = Callable[..., BarSeries]
MakeRecord = Callable[..., RunRecord]

CLOSES = [100.0, 102.0, 101.0, 105.0, 104.0, 108.0, 103.0, 107.0]
TRADES = [
    (1, "A", 10, 100.0, 1.0),
    (3, "A", -10, 101.0, 1.0),  # + 10 - 2
    (4, "A", -5, 105.0, 0.5),
    (6, "A", 8, 108.0, 0.8),  # turns: 5 closed at a loss, 3 opened
]


@pytest.fixture
def result(series: MakeSeries, record: MakeRecord) -> Result:
    return Result(record([series("A", CLOSES)], TRADES))


def test_fills_have_the_documented_columns(result: Result) -> None:
    assert result.fills.schema == pl.Schema(
        {
            "timestamp": pl.Datetime("us", "UTC"),
            "symbol": pl.String(),
            "side": pl.String(),
            "quantity": pl.Float64(),
            "price": pl.Float64(),
            "commission": pl.Float64(),
            "order_id": pl.Int64(),
            "tag": pl.String(),
        }
    )
    assert result.fills.row(2) == (datetime(2024, 1, 5, tzinfo=UTC), "A", "sell", 5.0, 105.0, 0.5, 3, "tag 3")


def test_trades_are_round_trips_after_commissions(result: Result) -> None:
    assert result.trades.columns == [
        "symbol", "side", "quantity", "entry_time", "entry_price", "exit_time", "exit_price", "pnl", "return",
        "commission", "bars_held", "entry_order_id", "exit_order_id", "entry_tag", "exit_tag",
    ]  # fmt: skip
    assert result.trades["side"].to_list() == ["long", "short"]
    assert result.trades["pnl"].to_list() == pytest.approx([10 - 2, -15 - 0.5 - 0.5])
    assert result.trades["return"].to_list() == pytest.approx([8 / 1000, -16 / 525])
    assert result.trades["bars_held"].to_list() == [2, 2]
    assert result.trades.row(1, named=True)["exit_tag"] == "tag 4"


def test_what_is_still_open_is_marked_at_the_last_close_and_is_no_trade(result: Result) -> None:
    row = result.open_trades.row(0, named=True)
    assert (row["side"], row["quantity"], row["exit_price"], row["exit_time"]) == ("long", 3.0, 107.0, None)
    assert row["pnl"] == pytest.approx(3 * (107 - 108) - 0.3)
    assert (result.stats["trades"], result.stats["open_trades"]) == (2, 1)


def test_trades_and_open_trades_together_are_the_whole_change_of_equity(result: Result) -> None:
    total = result.trades["pnl"].sum() + result.open_trades["pnl"].sum()
    assert total == pytest.approx(result.final_equity - 10_000)


def test_equity_has_a_row_per_bar_named_by_its_start(result: Result) -> None:
    frame = result.equity
    assert frame.columns == ["timestamp", "equity", "cash", "gross_exposure", "net_exposure", "drawdown"]
    assert frame["timestamp"][0] == datetime(2024, 1, 1, tzinfo=UTC)
    assert frame["drawdown"].min() == pytest.approx(result.stats["max_drawdown"])
    assert frame["equity"][-1] == result.final_equity


def test_the_equity_column_shares_the_records_memory(result: Result) -> None:
    column = result.equity["equity"].to_numpy()
    assert np.shares_memory(column, result.record.equity)


def test_orders_have_the_documented_columns(result: Result) -> None:
    order = OrderRecord(number=1, symbol="A", side=Side.SELL, quantity=2.0, submitted_ns=10**9, reason="no money",
                        status=OrderStatus.REJECTED, stop=99.0, kind="stop", tag="exit")  # fmt: skip
    frame = Result(replace(result.record, orders=[order])).orders
    row = frame.row(0, named=True)
    assert row["submitted"] == datetime(1970, 1, 1, 0, 0, 1, tzinfo=UTC)
    assert (row["side"], row["status"], row["stop"], row["done"], row["tif"]) == ("sell", "rejected", 99.0, None, "gtc")
    assert Result(replace(result.record, orders=[])).orders.schema == frame.schema


def test_json_has_exactly_the_promised_keys(result: Result) -> None:
    values = json.loads(result.to_json())
    assert tuple(values) == JSON_KEYS
    assert (values["fills"], values["bars"], values["symbols"], values["timeframe"]) == (4, 8, ["A"], "1d")
    assert (values["start"], values["end"]) == ("2024-01-01T00:00:00Z", "2024-01-09T00:00:00Z")
    assert values["bars_per_s"] == 16.0
    assert list(values["stats"]) == list(result.stats)


class Kind(Enum):
    FAST = "fast"


def test_json_takes_enums_timeframes_and_numbers_that_are_none(result: Result) -> None:
    params = {"kind": Kind.FAST, "frame": Timeframe("4h"), "x": float("nan"), "n": np.int64(3), "y": np.float64(2.5)}
    changed = replace(result.record, params=params, settings={"cap": float("inf"), "legs": (1, 2)}, elapsed_s=0.0)
    values = json.loads(Result(changed).to_json())
    assert values["params"] == {"kind": "fast", "frame": "4h", "x": None, "n": 3, "y": 2.5}
    assert values["settings"] == {"cap": None, "legs": [1, 2]}
    assert values["bars_per_s"] is None


def test_two_equal_runs_give_the_same_bytes(series: MakeSeries, record: MakeRecord) -> None:
    first, second = (Result(record([series("A", CLOSES)], TRADES)) for _ in range(2))
    assert first.to_json() == second.to_json()
    assert repr(first) == repr(second)
    assert first.fills.equals(second.fills)
    assert first.trades.equals(second.trades)


def test_a_result_survives_the_way_back_from_a_worker_process(result: Result) -> None:
    back = pickle.loads(pickle.dumps(result))
    assert back.to_json() == result.to_json()
    assert back.trades.equals(result.trades)


def test_a_run_without_trades_is_all_defined_or_nan(series: MakeSeries, record: MakeRecord) -> None:
    idle = Result(record([series("A", CLOSES)]))
    assert (idle.stats["return"], idle.stats["max_drawdown"], idle.stats["exposure"]) == (0.0, 0.0, 0.0)
    for key in ("sharpe", "sortino", "calmar", "win_rate", "profit_factor", "expectancy"):
        assert math.isnan(idle.stats[key]), key
    assert idle.trades.schema == Result(record([series("A", CLOSES)], TRADES)).trades.schema
    assert json.loads(idle.to_json())["stats"]["sharpe"] is None


@pytest.mark.parametrize("closes", [[100.0], [100.0, 0.0], [100.0, -37.0], [0.0, 1.0]])
def test_short_and_strange_series_give_valid_json(series: MakeSeries, record: MakeRecord, closes: list[float]) -> None:
    result = Result(record([series("A", closes)]))
    values = json.loads(result.to_json())["stats"]
    assert values["return"] == 0.0
    assert (values["buy_and_hold_return"] is None) == (len(closes) > 1)
    assert repr(result)


def test_a_ruined_account_gives_valid_json(series: MakeSeries, record: MakeRecord) -> None:
    ruined = Result(record([series("A", [100.0, 50.0, 10.0])], [(1, "A", 200, 100.0, 0.0)]))
    assert ruined.final_equity == -8000.0
    assert ruined.stats["return"] == pytest.approx(-1.8)
    assert ruined.stats["max_drawdown"] == pytest.approx(-1.8)
    assert math.isnan(ruined.stats["cagr"])
    json.loads(ruined.to_json())


def test_a_run_without_bars_gives_valid_json(series: MakeSeries, record: MakeRecord) -> None:
    empty = Result(record([series("A", [])]))
    values = json.loads(empty.to_json())
    assert (values["start"], values["final_equity"], values["bars"]) == (None, 10_000.0, 0)
    assert "no bars" in repr(empty)
    assert empty._repr_html_()


def test_buy_and_hold_splits_the_cash_and_waits_for_a_late_symbol(series: MakeSeries, record: MakeRecord) -> None:
    early = series("A", [100.0, 110.0, 120.0])
    late = series("B", [50.0, 100.0], first=int(early.start[1]))
    curve = buy_and_hold_curve(record([early, late], cash=1000.0))
    assert curve is not None
    assert curve.tolist() == pytest.approx([500 + 500, 550 + 500, 600 + 1000])


def test_buy_and_hold_of_one_symbol_is_its_price(series: MakeSeries, record: MakeRecord) -> None:
    result = Result(record([series("A", CLOSES)]))
    curve = buy_and_hold_curve(result.record)
    assert curve is not None
    assert result.stats["buy_and_hold_return"] == pytest.approx(0.07)
    assert result.stats["buy_and_hold_final_equity"] == pytest.approx(curve[-1])
    assert result.stats["buy_and_hold_max_drawdown"] == pytest.approx(103 / 108 - 1)


def test_turnover_exposure_and_commissions_follow_their_definitions(result: Result) -> None:
    stats = result.stats
    traded = 10 * 100 + 10 * 101 + 5 * 105 + 8 * 108
    assert stats["traded_value"] == pytest.approx(traded)
    assert stats["turnover"] == pytest.approx(traded / result.equity["equity"].mean())
    assert stats["commissions"] == pytest.approx(3.3)
    assert stats["exposure"] == 6 / 8
    assert (stats["win_rate"], stats["profit_factor"], stats["expectancy"]) == pytest.approx((0.5, 0.5, -4.0))


def test_a_multiplier_counts_in_profits_and_turnover(series: MakeSeries, record: MakeRecord) -> None:
    future = series("ES", [100.0, 101.0, 102.0], instrument=Instrument(lot=1, multiplier=50.0))
    result = Result(record([future], [(1, "ES", 2, 100.0, 4.0), (2, "ES", -2, 101.0, 4.0)]))
    assert result.trades["pnl"].to_list() == [100.0 - 8.0]
    assert result.stats["traded_value"] == 2 * 50 * (100 + 101)
    assert result.final_equity == 10_092.0


def test_parts_of_a_fill_have_quantities_that_read_like_the_order(series: MakeSeries, record: MakeRecord) -> None:
    bars = series("A", CLOSES, instrument=Instrument(lot="0.1"))
    result = Result(record([bars], [(1, "A", 3, 100.0, 0.3), (2, "A", -1, 101.0, 0.0), (3, "A", -2, 101.0, 0.0)]))
    assert result.fifo_trades["quantity"].to_list() == [0.1, 0.2]
    assert result.fifo_trades["commission"].sum() == pytest.approx(0.3)
    assert result.trades["quantity"].to_list() == [0.3]
    assert result.trades["commission"].to_list() == [0.3]


def test_a_result_says_what_ran(series: MakeSeries, record: MakeRecord) -> None:
    settings = {"intrabar": "worst"}
    result = Result(record([series("A", CLOSES)], params={"fast": 3}, settings=settings, warnings=("adjusted",)))
    assert (result.run_id, result.strategy, result.symbols) == ("run-1", "SmaCross", ("A",))
    assert (result.params, result.settings, result.warnings) == ({"fast": 3}, settings, ("adjusted",))
    assert (result.timeframe, result.bars, result.elapsed_s) == (Timeframe("1d"), 8, 0.5)
    assert (result.start, result.end) == (datetime(2024, 1, 1, tzinfo=UTC), datetime(2024, 1, 9, tzinfo=UTC))


@pytest.mark.parametrize(
    ("value", "text"),
    [(1234.5, "1,234.50"), (12_345_678.9, "12,345,679"), (-0.00188, "-0.00188"), (3e-6, "3.00e-06"), (0.0, "0.00")],
)
def test_amounts_are_written_as_large_as_they_are(value: float, text: str) -> None:
    assert money(value) == text


def test_the_statistics_are_read_only_and_name_what_there_is(result: Result) -> None:
    with pytest.raises(TypeError):
        result.stats["sharpe"] = 3.0  # type: ignore[index]
    with pytest.raises(KeyError, match=r"'Alpha_x' is not a statistic; there are: initial_equity"):
        result.stats["Alpha_x"]
    with pytest.raises(KeyError, match=r"'Sharpe' is not a statistic; did you mean 'sharpe'\?"):
        result.stats["Sharpe"]


def test_a_result_prints_as_a_table(result: Result) -> None:
    text = repr(Result(replace(result.record, warnings=("prices are adjusted",), finished=False)))
    assert text.startswith("SmaCross on A, 1d, 2024-01-01 to 2024-01-09 (8 bars)")
    assert "buy and hold" in text
    assert "Warning: prices are adjusted" in text
    assert "stopped before the end" in text


def test_a_notebook_shows_statistics_and_a_chart_with_text_escaped(result: Result) -> None:
    html = Result(replace(result.record, strategy="<script>alert(1)</script>", warnings=("<b>",)))._repr_html_()
    assert "<svg" in html
    assert "Sharpe" in html
    assert "<script" not in html
    assert "Warning: &lt;b&gt;" in html


def test_a_record_refuses_columns_of_another_length(result: Result) -> None:
    with pytest.raises(DataError, match="'cash' must be float64, one per bar end"):
        replace(result.record, cash=np.zeros(3))
    with pytest.raises(DataError, match="no bars for B"):
        replace(result.record, symbols=("A", "B"))
    with pytest.raises(DataError, match="plot 'sma'"):
        PlotSeries(symbol="A", name="sma", values=np.zeros(3), ts=np.zeros(2, dtype=np.int64))


@pytest.mark.parametrize(
    "module", ["figure.py", "text.py", "report/writer.py", "report/datasets.py", "report/sections.py"]
)
def test_what_shows_a_run_reads_the_analysis_and_not_the_result(module: str) -> None:
    source = (Path(results.__file__).parent / module).read_text(encoding="utf-8")
    assert "weaver.results.analysis import RunAnalysis" in source
    assert "weaver.results.result" not in source
    assert not re.search(r"\b(result|analysis)\._", source)
