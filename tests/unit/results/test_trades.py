"""Trades run from flat to flat: partial fills are one trade, a turn is two, prices are averages, lots are exact."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from weaver.core.bars import BarSeries
from weaver.core.instrument import Instrument
from weaver.results import Result, RunRecord
from weaver.results.trades import RoundTrips, round_trips

MakeSeries = Callable[..., BarSeries]
MakeRecord = Callable[..., RunRecord]
Fills = list[tuple[int, int]]


def grouped(fills: Fills, dtype: type = np.int64) -> RoundTrips:
    return round_trips(
        np.array([symbol for symbol, _ in fills], dtype=np.int64), np.array([lots for _, lots in fills], dtype=dtype)
    )


Row = tuple[int, int, int, int, list[tuple[int, int, bool]]]


def as_rows(trips: RoundTrips) -> list[Row]:
    """(entry, exit, largest, held, parts) per trade, with parts as (fill, lots, entering)."""
    parts: list[list[tuple[int, int, bool]]] = [[] for _ in trips.entry]
    for fill, trade, lots, entering in zip(trips.fill, trips.trade, trips.lots, trips.entering, strict=True):
        parts[trade].append((int(fill), int(lots), bool(entering)))
    columns = (trips.entry, trips.exit, trips.largest, trips.held)
    rows = zip(*(map(int, column) for column in columns), map(sorted, parts), strict=True)
    return sorted(rows)


def one_fill_after_another(fills: Fills) -> list[Row]:
    """The same by a loop that follows the position of each symbol."""
    position: dict[int, int] = {}
    current: dict[int, dict[str, object]] = {}
    rows: list[Row] = []

    def finish(symbol: int, leave: int) -> None:
        trade = current.pop(symbol)
        rows.append((trade["entry"], leave, trade["largest"], abs(position[symbol]), sorted(trade["parts"])))  # type: ignore[arg-type,call-overload]

    for index, (symbol, lots) in enumerate(fills):
        held = position.get(symbol, 0)
        closing = min(abs(held), abs(lots)) if held * lots < 0 else 0
        opening = abs(lots) - closing
        if closing:
            current[symbol]["parts"].append((index, closing, False))  # type: ignore[attr-defined]
            position[symbol] = held - closing if held > 0 else held + closing
            if position[symbol] == 0:
                finish(symbol, index)
        if opening:
            trade = current.setdefault(symbol, {"entry": index, "largest": 0, "parts": []})
            position[symbol] = position.get(symbol, 0) + (opening if lots > 0 else -opening)
            trade["parts"].append((index, opening, True))  # type: ignore[attr-defined]
            trade["largest"] = max(trade["largest"], abs(position[symbol]))  # type: ignore[call-overload]
    for symbol in list(current):
        finish(symbol, -1)
    return sorted(rows)


LOTS = st.integers(-5, 5).filter(bool)


@given(st.lists(st.tuples(st.integers(0, 3), LOTS), max_size=60))
def test_the_grouping_without_a_loop_equals_following_each_position(fills: Fills) -> None:
    assert as_rows(grouped(fills)) == one_fill_after_another(fills)


@given(st.lists(st.tuples(st.integers(0, 1), st.integers(-(2**70), 2**70).filter(bool)), max_size=20))
def test_quantities_beyond_64_bits_stay_exact(fills: Fills) -> None:
    assert as_rows(grouped(fills, dtype=object)) == one_fill_after_another(fills)


CLOSES = [100.0, 102.0, 101.0, 105.0, 104.0, 108.0, 103.0, 107.0]


def test_the_partial_fills_of_two_orders_are_one_trade(series: MakeSeries, record: MakeRecord) -> None:
    bars = series("A", CLOSES)
    fills = [(row, "A", 5, 100.0 + row, 0.0) for row in (0, 1, 2)] + [
        (row, "A", -5, 110.0 - row, 1.0) for row in (3, 4, 5)
    ]
    result = Result(record([bars], fills))
    assert (result.stats["trades"], result.stats["win_rate"], len(result.fifo_trades)) == (1, 1.0, 3)
    trade = result.trades.row(0, named=True)
    assert (trade["quantity"], trade["entry_price"], trade["exit_price"], trade["bars_held"]) == (15.0, 101.0, 106.0, 5)
    assert (trade["pnl"], trade["commission"]) == (15 * 5.0 - 3.0, 3.0)
    assert trade["return"] == pytest.approx(72 / 1515)
    assert (trade["entry_order_id"], trade["exit_order_id"], trade["entry_tag"], trade["exit_tag"]) == (
        1,
        6,
        "tag 1",
        "tag 6",
    )


def test_a_fill_that_turns_a_position_ends_a_trade_and_begins_one_with_its_commission_divided(
    series: MakeSeries, record: MakeRecord
) -> None:
    fills = [(0, "A", 10, 100.0, 1.0), (2, "A", -30, 104.0, 3.0), (4, "A", 20, 101.0, 2.0)]
    trades = Result(record([series("A", CLOSES)], fills)).trades
    assert trades["side"].to_list() == ["long", "short"]
    assert trades["quantity"].to_list() == [10.0, 20.0]
    assert trades["commission"].to_list() == [2.0, 4.0]
    assert trades["pnl"].to_list() == [10 * 4.0 - 2.0, 20 * 3.0 - 4.0]
    assert trades["entry_order_id"].to_list() == [1, 2]
    assert trades["exit_order_id"].to_list() == [2, 3]


def test_quantity_is_the_largest_held_and_prices_are_averages(series: MakeSeries, record: MakeRecord) -> None:
    fills = [(0, "A", 10, 100.0, 0.0), (1, "A", -5, 110.0, 0.0), (2, "A", 8, 104.0, 0.0), (3, "A", -13, 108.0, 0.0)]
    trade = Result(record([series("A", CLOSES)], fills)).trades.row(0, named=True)
    assert trade["quantity"] == 13.0
    assert trade["entry_price"] == pytest.approx((1000 + 832) / 18)
    assert trade["exit_price"] == pytest.approx((550 + 13 * 108) / 18)
    assert trade["pnl"] == pytest.approx(550 + 13 * 108 - 1000 - 832)
    assert trade["return"] == pytest.approx(trade["pnl"] / (trade["entry_price"] * 13))


def test_an_open_position_has_its_unrealised_profit_over_the_average_price_of_the_account(
    series: MakeSeries, record: MakeRecord
) -> None:
    fills = [(0, "A", 10, 100.0, 1.0), (1, "A", -5, 120.0, 1.0), (2, "A", 5, 130.0, 1.0), (3, "B", -4, 50.0, 0.0)]
    other = series("B", [50.0] * 4 + [40.0] * 4, instrument=Instrument(lot=1, multiplier=10))
    result = Result(record([series("A", CLOSES), other], fills))
    trades = result.open_trades
    assert trades["open_quantity"].to_list() == [10.0, 4.0]
    assert trades["unrealised"].to_list() == [10 * (107 - 115), 10 * 4 * 10.0]
    assert result.stats["unrealised_profit"] == -80 + 400
    assert trades["exit_time"].null_count() == 2
    assert result.stats["trades"] == 0
    # All profit, realised and not, is what equity has gained.
    assert trades["pnl"].sum() == pytest.approx(result.final_equity - 10_000)


def test_open_positions_of_a_run_that_was_stopped_have_the_value_of_its_last_bar(
    series: MakeSeries, record: MakeRecord
) -> None:
    whole = record([series("A", CLOSES)], [(0, "A", 10, 100.0, 0.0)])
    columns = ("equity_start", "equity_end", "equity", "cash", "gross_exposure", "net_exposure")
    stopped = Result(replace(whole, **{name: getattr(whole, name)[:4] for name in columns}, finished=False))
    assert stopped.open_trades["unrealised"].to_list() == [10 * (105.0 - 100.0)]
    assert stopped.open_trades["exit_price"].to_list() == [105.0]
    assert stopped.open_trades["bars_held"].to_list() == [3]
    assert stopped.final_equity == 10_000 + 50


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])  # the fixtures are functions without a state
@given(st.lists(st.tuples(st.sampled_from("AB"), LOTS, st.sampled_from([99.5, 100.25, 101.0])), max_size=30))
def test_profits_from_flat_to_flat_and_of_pairs_have_the_same_sum(
    series: MakeSeries, record: MakeRecord, fills: list[tuple[str, int, float]]
) -> None:
    left = {symbol: -sum(lots for name, lots, _ in fills if name == symbol) for symbol in "AB"}
    fills = fills + [(symbol, lots, 100.0) for symbol, lots in left.items() if lots]
    rows = [(0, symbol, lots, price, 0.25) for symbol, lots, price in fills]
    result = Result(record([series("A", CLOSES), series("B", CLOSES)], rows))
    assert len(result.open_trades) == 0
    assert result.trades["pnl"].sum() == pytest.approx(result.fifo_trades["pnl"].sum(), abs=1e-6)
    assert result.trades["pnl"].sum() == pytest.approx(result.final_equity - 10_000, abs=1e-6)
    assert result.trades["commission"].sum() == pytest.approx(0.25 * len(rows))
    assert result.trades["exit_order_id"].is_sorted()


def test_a_profit_that_is_only_rounding_is_neither_won_nor_lost(series: MakeSeries, record: MakeRecord) -> None:
    prices = [(0, "A", 3, 100.1, 0.0), (1, "A", 7, 100.3, 0.0), (2, "A", -7, 100.3, 0.0), (3, "A", -3, 100.1, 0.0)]
    stats = Result(record([series("A", CLOSES)], prices)).stats
    assert (stats["trades"], stats["win_rate"], stats["worst_trade"], stats["expectancy"]) == (1, 0.0, 0.0, 0.0)
    noise = Result(record([series("A", CLOSES)], [(0, "A", 3, 0.1 + 0.2, 0.0), (1, "A", -3, 0.3, 0.0)]))
    assert noise.trades["pnl"].item() != 0.0
    assert (noise.stats["worst_trade"], noise.stats["average_loss"]) == pytest.approx((0.0, float("nan")), nan_ok=True)
