"""backtest(): its arguments, its data, and that the same run gives the same bytes whatever comes later."""

from __future__ import annotations

import json
import pickle
from collections.abc import Sequence
from datetime import UTC, date, datetime, timedelta
from enum import Enum
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import polars as pl
import pytest

import builders
from weaver import (
    BarSeries,
    ConfigError,
    DataError,
    Instrument,
    NaiveDatetimeError,
    ParameterError,
    Strategy,
    StrategyCrashed,
    StrategyError,
    UnknownSymbol,
    backtest,
)
from weaver.core.errors import CalendarError, NoBars, OffGridError
from weaver.costs import Borrow, CommissionFixed, SlippageBps
from weaver.indicators import ema, sma

DAY = timedelta(days=1)


def daily(
    closes: Sequence[float], start: date = date(2024, 1, 1), rows: Sequence[int] | None = None, **extra: Any
) -> pl.DataFrame:
    """Daily bars that open at their own close; `rows` are the days from `start` on that have one."""
    return builders.frame(closes, start=start, rows=rows, time="date", **extra)


def walk(seed: int, count: int, step: str = "1h") -> pl.DataFrame:
    """A seeded random walk with honest highs and lows."""
    return builders.frame(**builders.random_walk(count, seed), step=step, time="ts")


class Hold(Strategy):
    """Buys one unit at the first chance and keeps it."""

    size: float = 1.0

    def on_bar(self, bar: Any) -> None:
        if not self.position and not self.orders:
            self.buy(self.size)


class Busy(Strategy):
    """Uses orders of every kind, by chance and by what it has seen."""

    fast: int = 5

    def on_start(self) -> None:
        self.mean = {symbol: self.indicator(ema, self.bars[symbol].close, self.fast) for symbol in self.symbols}
        self.slow = {symbol: self.indicator(sma, self.bars[symbol].resample("4h").close, 3) for symbol in self.symbols}
        self.every("day", lambda: self.target_weights({self.symbols[0]: 0.2}, tag="daily"))

    def on_bar(self, bar: Any) -> None:
        dice, symbol = self.random.random(), bar.symbol
        up = self.mean[symbol][-1] > self.slow[symbol][-1]
        if dice < 0.1:
            act = self.buy if up else self.sell
            sign = 1 if up else -1
            act(float(self.random.integers(1, 20)), symbol=symbol, limit=bar.close * (1 - 0.004 * sign),
                stop_loss=bar.close * (1 - 0.03 * sign), take_profit=bar.close * (1 + 0.02 * sign), tif="day")  # fmt: skip
        elif dice < 0.15:
            self.oco(self.buy(2, symbol=symbol, stop=bar.high), self.sell(2, symbol=symbol, stop=bar.low))
        elif dice < 0.2:
            self.close(symbol=symbol)
        elif dice < 0.25:
            self.target(weight=0.3 if up else -0.3, symbol=symbol)
        elif dice < 0.3 and self.orders:
            self.orders[0].cancel()


# What may be passed as strategy and settings.


@pytest.mark.parametrize(
    ("what", "hint"),
    [(Hold(), "pass the class itself, not an instance"), (object, "derive it from weaver.Strategy"),
     ("hold.py", "derive it from weaver.Strategy"), (lambda bar: None, "derive it from weaver.Strategy")],
)  # fmt: skip
def test_a_strategy_is_a_class(what: Any, hint: str) -> None:
    with pytest.raises(StrategyError, match=hint):
        backtest(what, daily([1, 2]))


def test_a_strategy_that_cannot_be_made_without_arguments_says_so() -> None:
    class Needs(Strategy):
        def __init__(self, size: int) -> None:
            self.size = size

    with pytest.raises(
        StrategyError, match=r"Needs\(\) raised TypeError: .*'size'; a strategy is created without arguments"
    ):
        backtest(Needs, daily([1, 2]))


def test_a_strategy_that_does_nothing_runs() -> None:
    result = backtest(type("Idle", (Strategy,), {}), daily([1, 2, 3]))
    assert (result.bars, result.final_equity, result.fills.height) == (3, 100_000.0, 0)


@pytest.mark.parametrize("cash", [0, -1, float("nan"), float("inf"), "100", None, True])
def test_cash_is_a_number_above_zero(cash: Any) -> None:
    with pytest.raises(ConfigError, match=r"cash=.*: must be a number greater than zero"):
        backtest(Hold, daily([1, 2]), cash=cash)


@pytest.mark.parametrize("seed", [-1, 1.5, "x", None, True])
def test_a_seed_is_a_whole_number(seed: Any) -> None:
    with pytest.raises(ConfigError, match=r"seed=.*: must be a whole number, zero or greater"):
        backtest(Hold, daily([1, 2]), seed=seed)


@pytest.mark.parametrize(
    "wrong",
    [{"intrabar": "middle"}, {"limit_fill": "maybe"}, {"leverage": 0}, {"leverage": float("nan")}, {"spread": -0.1},
     {"volume_cap": 0}, {"volume_cap": 2}, {"maintenance": 1.5}, {"borrow": -1}, {"financing": float("nan")},
     {"leverage": "2"}, {"leverage": None}, {"leverage": True}, {"spread": "x"}, {"volume_cap": "x"}, {"volume_cap": True},
     {"maintenance": "x"}, {"borrow": "0.03"}, {"financing": None}, {"cash_only": "no"}, {"finalize": "no"},
     {"progress": "yes"}, {"should_stop": 5}, {"params": [("size", 1)]}, {"calendar": 5}, {"instrument": 5}, {"symbols": 5},
     {"symbols": [5]}, {"symbols": {"ASSET"}}],
)  # fmt: skip
def test_a_setting_that_cannot_be_is_refused_by_name(wrong: dict[str, Any]) -> None:
    (name,) = wrong
    with pytest.raises(ConfigError, match=rf"^{name}="):
        backtest(Hold, daily([1, 2]), **wrong)


def test_an_unknown_calendar_names_the_nearest() -> None:
    pytest.importorskip("exchange_calendars")
    with pytest.raises(CalendarError, match="'XNYSE' does not exist; did you mean"):
        backtest(Hold, daily([1, 2]), calendar="XNYSE")


def test_parameters_are_checked_and_stand_in_the_result() -> None:
    assert backtest(Hold, daily([1, 2]), params={"size": 3}).params == {"size": 3.0}
    assert backtest(Hold, daily([1, 2])).params == {"size": 1.0}
    with pytest.raises(ParameterError, match=r"Hold has no parameter 'sise'; did you mean 'size'\?"):
        backtest(Hold, daily([1, 2]), params={"sise": 3})
    with pytest.raises(ParameterError, match=r"Hold\.size='3' is str; it must be float"):
        backtest(Hold, daily([1, 2]), params={"size": "3"})


def test_costs_are_numbers_for_the_common_case_and_objects_for_the_rest() -> None:
    bars = daily([100, 100, 100])
    assert backtest(Hold, bars, commission=0.01).fills["commission"].to_list() == [1.0]
    assert backtest(Hold, bars, commission=CommissionFixed(2.5)).fills["commission"].to_list() == [2.5]
    assert backtest(Hold, bars, commission=lambda price, quantity, notional, maker: 7.0).fills[
        "commission"
    ].to_list() == [7.0]
    assert backtest(Hold, bars, slippage=0.001).fills["price"].to_list() == pytest.approx([100.1])
    assert backtest(Hold, bars, slippage=SlippageBps(10)).fills["price"].to_list() == pytest.approx([100.1])
    assert backtest(Hold, bars, spread=0.002).fills["price"].to_list() == pytest.approx([100.1])


def test_leverage_and_cash_only_decide_what_can_be_paid_for() -> None:
    bars = daily([100, 100, 100])

    def filled(size: float, **settings: Any) -> int:
        return int(backtest(Hold, bars, cash=1000, params={"size": size}, **settings).fills.height)

    assert filled(10) == 1
    assert filled(11) == 0
    assert filled(20, leverage=2) == 1
    assert filled(21, leverage=2) == 0

    class Short(Strategy):
        def on_bar(self, bar: Any) -> None:
            if not self.position:
                self.sell(5)

    assert backtest(Short, bars, cash=1000).fills.height == 1
    result = backtest(Short, bars, cash=1000, cash_only=True)
    assert result.fills.height == 0
    assert "cash_only allows no short positions" in result.orders["reason"][0]


def test_borrowing_costs_what_it_says() -> None:
    class Short(Strategy):
        def on_bar(self, bar: Any) -> None:
            if not self.position:
                self.sell(5)

    bars = daily([100] * 4)
    for borrow in (0.365, Borrow(0.365)):
        # Two of the three days after the fill's own: 500 * 0.365 / 365 a day, from the bar that it filled in.
        assert backtest(Short, bars, borrow=borrow).record.holding_costs == pytest.approx(1.5)


def test_finalize_closes_at_the_last_close_and_otherwise_positions_stay_open() -> None:
    bars = daily([100, 100, 120])
    assert backtest(Hold, bars).fills["side"].to_list() == ["buy"]
    result = backtest(Hold, bars, finalize=True, commission=0.01)
    assert result.fills.select("side", "price", "tag").rows() == [("buy", 100.0, None), ("sell", 120.0, "finalize")]
    assert result.final_equity == pytest.approx(100_000 - 1 + 20 - 1.2)
    assert result.equity["equity"][-1] == result.final_equity


def test_intrabar_is_named_in_the_result_and_decides_between_rivals() -> None:
    bars = daily([100, 100, 100]).with_columns(high=pl.lit(110.0), low=pl.lit(90.0))

    class Bracket(Strategy):
        def on_bar(self, bar: Any) -> None:
            if not self.position and not self.orders:
                self.buy(1, stop_loss=95, take_profit=105)

    prices = {}
    for rule in ("worst", "best"):
        result = backtest(Bracket, bars, intrabar=rule)
        assert result.settings["intrabar"] == rule
        prices[rule] = result.fills["price"].to_list()[:2]
    assert prices == {"worst": [100, 95], "best": [100, 105]}


def test_every_setting_in_force_stands_in_the_result_and_in_its_json() -> None:
    result = backtest(Hold, daily([1, 2]), cash=500, commission=0.001, seed=7, finalize=True, leverage=2)
    settings = json.loads(result.to_json())["settings"]
    assert settings["cash"] == 500
    assert settings["seed"] == 7
    assert settings["finalize"] is True
    assert settings["leverage"] == 2
    assert settings["calendar"] is None
    assert {"commission", "slippage", "spread", "cash_only", "maintenance", "borrow", "financing", "volume_cap", "intrabar",
            "limit_fill"} <= set(settings)  # fmt: skip


def test_instruments_are_for_all_or_by_symbol() -> None:
    frames = {"A": daily([100, 100, 100]), "B": daily([100, 100, 100])}

    class Buys(Strategy):
        def on_bar(self, bar: Any) -> None:
            if not self.positions[bar.symbol]:
                self.buy(1.26, symbol=bar.symbol)

    assert backtest(Buys, frames).fills["quantity"].to_list() == [1.26, 1.26]
    assert backtest(Buys, frames, instrument=Instrument(lot="0.1")).fills["quantity"].to_list() == [1.2, 1.2]
    assert backtest(Buys, frames, instrument={"B": Instrument(lot=1)}).fills["quantity"].to_list() == [1.26, 1.0]
    with pytest.raises(UnknownSymbol, match="'C'"):
        backtest(Buys, frames, instrument={"C": Instrument()})


def test_progress_is_a_function_of_bars_done_and_bars_in_all() -> None:
    told: list[tuple[int, int]] = []
    backtest(Hold, walk(1, 3000), progress=lambda done, total: told.append((done, total)))
    assert told[-1] == (3000, 3000)
    assert told == sorted(told)


def test_progress_true_draws_on_standard_error_and_not_in_the_result(capsys: pytest.CaptureFixture[str]) -> None:
    assert backtest(Hold, daily([1, 2, 3]), progress=True).bars == 3
    assert capsys.readouterr().out == ""


def test_a_run_that_is_told_to_stop_keeps_what_was_done() -> None:
    asked: list[int] = []

    class Buys(Strategy):
        stopped = False

        def on_bar(self, bar: Any) -> None:
            self.buy(1)

    result = backtest(Buys, walk(1, 20_000), should_stop=lambda: bool(asked.append(1)) or len(asked) >= 2)
    assert 0 < result.bars < 20_000
    assert result.equity.height == result.bars
    assert result.fills.height == result.bars - 1
    assert not result.record.finished
    assert any("the run stopped before its end (interrupted)" in text for text in result.warnings)


# The bars.


def test_bars_may_be_frames_paths_series_or_a_mapping_of_them(tmp_path: Path) -> None:
    frame = daily([100, 101, 102])
    frame.write_parquet(tmp_path / "AAPL.parquet")
    frame.write_csv(tmp_path / "AAPL.csv")
    pandas = pytest.importorskip("pandas")
    indexed = pandas.DataFrame(frame.to_dict(as_series=False)).set_index("date")
    indexed.index = pandas.DatetimeIndex(indexed.index)
    upper = frame.rename({name: name.upper() for name in frame.columns})
    base = backtest(Hold, frame)
    for bars in (indexed, upper, frame.lazy(), tmp_path / "AAPL.parquet", str(tmp_path / "AAPL.csv"), {"AAPL": frame},
                 {"AAPL": tmp_path / "AAPL.csv"}, base.record.series["ASSET"], dict(base.record.series)):  # fmt: skip
        result = backtest(Hold, bars)
        assert result.equity.equals(base.equity)
        assert result.fills.drop("symbol").equals(base.fills.drop("symbol"))
    assert backtest(Hold, tmp_path / "AAPL.parquet").symbols == ("AAPL",)


def test_a_frame_with_a_symbol_column_is_a_run_with_several() -> None:
    frame = pl.concat([daily([1, 2]).with_columns(symbol=pl.lit(name)) for name in ("B", "A")])
    assert backtest(type("Idle", (Strategy,), {}), frame).symbols == ("B", "A")
    assert backtest(type("Idle", (Strategy,), {}), frame, symbols="A").symbols == ("A",)
    with pytest.raises(UnknownSymbol, match=r"'C'"):
        backtest(type("Idle", (Strategy,), {}), frame, symbols=["C"])


def test_start_and_end_select_bars_by_their_start() -> None:
    def days(**given: Any) -> list[int]:
        return [ts.day for ts in backtest(Hold, daily(range(1, 11)), **given).equity["timestamp"].to_list()]

    assert days(start="2024-01-03", end="2024-01-05") == [3, 4]
    assert days(start=date(2024, 1, 9)) == [9, 10]
    assert days(end=datetime(2024, 1, 2, 0, 0, 1, tzinfo=UTC)) == [1, 2]
    with pytest.raises(NoBars, match="no bars in the time asked for"):
        days(start="2025-01-01")
    with pytest.raises(ConfigError, match="is not before end"):
        days(start="2024-01-05", end="2024-01-05")
    with pytest.raises(NaiveDatetimeError):
        days(start=datetime(2024, 1, 2))


def test_naive_intraday_times_need_their_zone_and_the_error_says_how() -> None:
    times = [datetime(2024, 1, 2, 9, 30) + timedelta(minutes=30) * n for n in range(4)]
    frame = pl.DataFrame({"time": times, "open": 1.0, "high": 1.0, "low": 1.0, "close": 1.0})
    with pytest.raises(NaiveDatetimeError, match=r'backtest\(\.\.\., tz="America/New_York"\)'):
        backtest(Hold, frame)
    result = backtest(Hold, frame, tz="America/New_York")
    assert result.start == datetime(2024, 1, 2, 14, 30, tzinfo=UTC)
    assert str(result.timeframe) == "30m"


def test_bars_off_the_grid_are_refused_with_the_offset() -> None:
    frame = walk(1, 10).with_columns(pl.col("ts") + timedelta(minutes=17))
    with pytest.raises(OffGridError, match="17m"):
        backtest(Hold, frame)


@pytest.mark.parametrize("bars", [None, 5, "no_such_file.csv", {}, [], {"A": None}])
def test_what_is_no_bars_is_refused(bars: Any) -> None:
    with pytest.raises((DataError, NoBars)):
        backtest(Hold, bars)


@pytest.mark.parametrize(
    ("starts", "ends", "closes", "told"),
    [
        ([0, 2, 1], [1, 3, 2], [1, 2, 3], "row 2: .* is before 2024-01-03T00:00:00Z of the row before"),
        ([0, 1, 1], [1, 2, 2], [1, 2, 3], "row 2: .* is the same time as that of the row before"),
        ([0, 1, 2], [1, 1, 3], [1, 2, 3], "row 1: the bar from 2024-01-02T00:00:00Z ends at 2024-01-02T00:00:00Z"),
        ([0, 1, 2], [1, 4, 3], [1, 2, 3], "row 2: .* a bar ends after its start and after the one before"),
        ([0, 1, 2], [1, 2, 3], [1, float("nan"), 3], "row 1 .*NaN"),
        ([0, 1, 2], [1, 2, 3], [1, 2, -3], "row 2 "),
    ],
)
def test_a_series_made_by_hand_is_held_to_what_a_series_promises(
    starts: list[int], ends: list[int], closes: list[float], told: str
) -> None:
    first, day = builders.MONDAY, builders.DAY
    series = builders.series(
        closes, volumes=0.0, starts=[first + n * day for n in starts], ends=[first + n * day for n in ends]
    )
    for bars in (series, {"A": series}):
        with pytest.raises(DataError, match=told):
            backtest(Hold, bars)


def test_an_empty_frame_is_refused() -> None:
    with pytest.raises(NoBars):
        backtest(Hold, daily([]))


# Missing, flat, late, early, split: what happens is defined.


class Notes(Strategy):
    """Keeps what it saw in `seen` of its class."""

    def on_bar(self, bar: Any) -> None:
        self.note(bar.symbol)

    def note(self, what: str) -> None:
        type(self).seen = (*type(self).seen, (self.now.day, what))  # type: ignore[attr-defined]


def notes() -> Any:
    return type("Notes", (Notes,), {"seen": ()})


def test_a_missing_bar_is_no_call_and_an_order_waits_for_the_next_one() -> None:
    frame = daily([100, 101, 105, 106], rows=[0, 1, 5, 6])

    class Waits(Strategy):
        def on_bar(self, bar: Any) -> None:
            if bar.close == 101:
                self.buy(1)

    result = backtest(Waits, frame)
    assert result.fills.select(pl.col("timestamp").dt.day(), "price").rows() == [(6, 105.0)]
    assert result.equity["timestamp"].dt.day().to_list() == [1, 2, 6, 7]
    kind = notes()
    backtest(kind, frame)
    assert kind.seen == ((2, "ASSET"), (3, "ASSET"), (7, "ASSET"), (8, "ASSET"))


def test_a_gap_is_told_with_the_data() -> None:
    result = backtest(Hold, daily([1] * 10, rows=[0, 1, 2, 3, 4, 30, 31, 32, 33, 34]))
    assert any("1 gap in the 1d bars" in note for note in result.record.notes)


def test_orders_rest_through_a_gap_or_end_with_their_day() -> None:
    frame = daily([100, 100, 90, 90], rows=[0, 1, 9, 10])

    class Rests(Strategy):
        def on_bar(self, bar: Any) -> None:
            if len(self.bars.close) == 2:
                self.buy(1, limit=95, tag="gtc")
                self.buy(2, limit=95, tif="day", tag="day")
                self.buy(4, limit=95, good_till="2024-01-05", tag="gtd")

    result = backtest(Rests, frame)
    ended = {row["tag"]: row["status"] for row in result.orders.iter_rows(named=True)}
    # The day order's session is the first one with a bar, which is the one after the gap.
    assert ended == {"gtc": "filled", "day": "filled", "gtd": "expired"}


def test_a_halted_market_calls_on_bar_with_flat_bars_and_fills_at_their_price() -> None:
    frame = daily([100, 101] + [101] * 6 + [102]).with_columns(
        volume=pl.Series([1000.0, 1000.0] + [0.0] * 6 + [1000.0])
    )
    result = backtest(Hold, frame)
    assert result.fills["price"].to_list() == [101.0]
    assert any("flat bars without volume" in note for note in result.record.notes)

    # With a volume cap nothing trades where there is no volume.
    class Late(Strategy):
        def on_bar(self, bar: Any) -> None:
            if len(self.bars.close) == 3:
                self.buy(1)

    capped = backtest(Late, frame, volume_cap=0.1)
    assert capped.fills.select(pl.col("timestamp").dt.day(), "price").rows() == [(9, 102.0)]


def test_a_symbol_that_starts_late_is_called_from_its_first_bar_and_its_views_are_empty_until_then() -> None:
    frames = {"A": daily([100] * 6), "B": daily([50] * 3, rows=[3, 4, 5])}
    lengths = []

    class Late(Strategy):
        def on_bar(self, bar: Any) -> None:
            lengths.append((bar.symbol, len(self.bars["B"].close), len(self.bars["B"].ts)))
            if bar.symbol == "A" and len(self.bars["A"].close) == 1:
                self.buy(1, symbol="B")

    result = backtest(Late, frames)
    assert lengths == [("A", 0, 0)] * 3 + [("A", 1, 1), ("B", 1, 1), ("A", 2, 2), ("B", 2, 2), ("A", 3, 3), ("B", 3, 3)]
    # An order for it waits for its first bar.
    assert result.fills.select("symbol", pl.col("timestamp").dt.day(), "price").rows() == [("B", 4, 50.0)]
    assert result.equity["equity"].to_list() == [100_000] * 6


def test_a_symbol_that_ends_early_is_marked_at_its_last_close_and_its_orders_expire_with_the_data() -> None:
    frames = {"A": daily([100] * 6), "B": daily([50, 50, 60], rows=[0, 1, 2])}

    class Early(Strategy):
        def on_bar(self, bar: Any) -> None:
            if bar.symbol == "B" and len(self.bars["B"].close) == 1:
                self.buy(10, symbol="B")
            if bar.symbol == "A" and len(self.bars["A"].close) == 4:
                self.close(symbol="B")

    result = backtest(Early, frames)
    assert result.equity["equity"].to_list() == [100_000, 100_000, 100_100, 100_100, 100_100, 100_100]
    assert result.orders.select("status", "reason").rows()[-1] == ("expired", "end_of_data")
    finalized = backtest(Early, frames, finalize=True)
    assert finalized.fills.select("symbol", "price").rows() == [("B", 50.0), ("B", 60.0)]


def test_a_symbol_with_one_bar_takes_part() -> None:
    kind = notes()
    result = backtest(kind, {"A": daily([1, 2, 3]), "B": daily([5], rows=[1])})
    assert kind.seen == ((2, "A"), (3, "A"), (3, "B"), (4, "A"))
    assert result.bars == 4


def test_one_bar_is_a_run() -> None:
    with pytest.raises(DataError, match="the timeframe of a single bar is not known"):
        backtest(Hold, daily([100]))
    result = backtest(Hold, daily([100]), timeframe="1d")
    assert result.bars == 1
    assert result.orders["reason"].to_list() == ["end_of_data"]


@pytest.mark.parametrize(("after", "ratio"), [(50, "2:1"), (20, "5:1"), (200, "1:2")])
def test_a_split_in_unadjusted_data_is_warned_of(after: float, ratio: str) -> None:
    result = backtest(Hold, daily([100, 100, 101, 100, 100, after, after * 1.01, after, after, after]))
    told = [text for text in result.warnings if "looks like a" in text]
    assert len(told) == 1
    assert f"looks like a {ratio} split in unadjusted data at 2024-01-06T00:00:00Z" in told[0]


@pytest.mark.parametrize("after", [72, 58, 105])
def test_a_move_that_is_no_round_ratio_is_no_split(after: float) -> None:
    result = backtest(Hold, daily([100] * 5 + [after] * 5))
    assert not any("looks like a" in text for text in (*result.warnings, *result.record.notes))


def test_extra_columns_reach_the_strategy() -> None:
    seen = []

    class Signal(Strategy):
        def on_bar(self, bar: Any) -> None:
            seen.append(self.bars.signal[-1])

    backtest(Signal, daily([1, 2, 3], Signal=[7, 8, 9]))
    assert seen == [7.0, 8.0, 9.0]


# The same run, the same bytes.


FRAMES = {"A": walk(1, 600), "B": walk(2, 600)[100:], "C": walk(3, 600)[:400]}
COSTS: dict[str, Any] = {"commission": 0.0005, "slippage": 0.0002, "borrow": 0.05, "financing": 0.05, "leverage": 2.0}


def facts(result: Any) -> tuple[bytes, ...]:
    """Everything that a run came to, as bytes."""
    record = result.record
    return (
        pickle.dumps([msgspec.structs.astuple(fill) for fill in record.fills]),
        result.orders.write_csv().encode(),
        result.trades.write_csv().encode(),
        result.open_trades.write_csv().encode(),
        record.equity.tobytes()
        + record.cash.tobytes()
        + record.gross_exposure.tobytes()
        + record.net_exposure.tobytes(),
        np.array(list(result.stats.values()), dtype=np.float64).tobytes(),
        repr(sorted(result.settings.items())).encode(),
    )


def test_two_runs_are_equal_byte_for_byte() -> None:
    first, second = (backtest(Busy, FRAMES, seed=3, **COSTS) for _ in range(2))
    assert first.fills.height > 100
    assert set(first.orders["status"].unique()) >= {"filled", "cancelled", "expired"}
    assert facts(first) == facts(second)
    assert first.run_id != second.run_id
    different = backtest(Busy, FRAMES, seed=4, **COSTS)
    assert facts(different) != facts(first)


def test_the_order_in_which_runs_come_changes_nothing() -> None:
    one = [facts(backtest(Busy, FRAMES, seed=seed, **COSTS)) for seed in (1, 2)]
    other = [facts(backtest(Busy, FRAMES, seed=seed, **COSTS)) for seed in (2, 1)]
    assert one == other[::-1]


def scrambled(frame: pl.DataFrame, at: datetime, seed: int) -> pl.DataFrame:
    """The same bars before `at`, and the others in another order at another level."""
    past, future = frame.filter(pl.col("ts") < at), frame.filter(pl.col("ts") >= at)
    level = float(np.random.default_rng(seed).uniform(0.5, 2))
    return pl.concat(
        [past, future.select("ts").hstack(future.drop("ts").sample(fraction=1, shuffle=True, seed=seed) * level)]
    )


def decisions(kind: type[Strategy], frames: dict[str, pl.DataFrame], at: datetime) -> tuple[Any, Any, Any]:
    """The orders given up to the tick `at`, and the fills and the equity before it."""
    result = backtest(kind, frames, seed=3, timeframe="1h", **COSTS)
    orders = result.orders.filter(pl.col("submitted") <= at)
    given = orders.select("order_id", "submitted", "symbol", "side", "kind", "quantity", "tif", "tag", "parent")
    before = pl.col("timestamp") < at
    return given.rows(), result.fills.filter(before).rows(), result.equity.filter(before).rows()


@pytest.mark.parametrize("cut", [30, 150, 333, 500])
def test_decisions_up_to_an_instant_do_not_change_when_the_future_is_scrambled_or_cut_off(cut: int) -> None:
    at = FRAMES["A"]["ts"][cut]
    frames = {name: frame for name, frame in FRAMES.items() if frame["ts"][0] < at}
    base = decisions(Busy, frames, at)
    assert len(base[0]) > 5
    assert decisions(Busy, {name: scrambled(frame, at, cut) for name, frame in frames.items()}, at) == base
    assert decisions(Busy, {name: frame.filter(pl.col("ts") < at) for name, frame in frames.items()}, at) == base


def test_a_strategy_that_looks_ahead_is_caught_by_the_same_comparison() -> None:
    # The control: without it the test above could pass because it compares nothing.
    class Cheats(Strategy):
        def on_start(self) -> None:
            self.next = self.indicator(lambda close: np.roll(close, -1), self.bars.close)

        def on_bar(self, bar: Any) -> None:
            self.target(weight=1.0 if self.next[-1] > bar.close else 0.0)

    at = FRAMES["A"]["ts"][100]
    caught = [
        decisions(Cheats, {"A": FRAMES["A"]}, at) != decisions(Cheats, {"A": scrambled(FRAMES["A"], at, seed)}, at)
        for seed in range(5)
    ]
    assert any(caught)


# What travels.


class Side(Enum):
    UP = "up"


class WithEnum(Hold):
    side: Side = Side.UP


def test_a_result_travels_between_processes_whole() -> None:
    result = backtest(WithEnum, FRAMES["A"], commission=0.001)
    twin = pickle.loads(pickle.dumps(result))
    assert facts(twin) == facts(result)
    assert twin.to_json() == result.to_json()
    assert repr(twin) == repr(result)
    assert twin.run_id == result.run_id


def test_a_result_carries_no_strategy_with_it() -> None:
    class Local(Strategy):
        def on_start(self) -> None:
            self.cannot_travel = lambda: None
            self.mean = self.indicator(sma, self.bars.close, 3)

        def on_bar(self, bar: Any) -> None:
            self.buy(1, stop_loss=bar.close * 0.9)

    result = backtest(Local, FRAMES["A"])
    twin = pickle.loads(pickle.dumps(result))
    assert twin.orders.equals(result.orders)
    assert [plot.name for plot in twin.record.plots] == ["sma(3)"]


def test_what_was_done_before_a_crash_travels_with_the_error() -> None:
    class Fails(Hold):
        def on_bar(self, bar: Any) -> None:
            super().on_bar(bar)
            if len(self.bars.close) == 50:
                raise RuntimeError("enough")

    with pytest.raises(StrategyCrashed, match=r"Fails\.on_bar raised RuntimeError: enough \[bar 49 of ASSET") as caught:
        backtest(Fails, FRAMES["A"])
    result = caught.value.result
    assert (result.bars, result.fills.height, result.equity.height) == (50, 1, 50)
    assert facts(pickle.loads(pickle.dumps(result))) == facts(result)


def test_a_bar_series_that_was_used_is_unchanged_and_can_be_used_again() -> None:
    series = backtest(Hold, FRAMES["A"]).record.series["ASSET"]
    assert isinstance(series, BarSeries)
    before = series.close.tobytes()
    assert facts(backtest(Busy, series, seed=1)) == facts(backtest(Busy, series, seed=1))
    assert series.close.tobytes() == before


def test_a_run_whose_orders_all_failed_says_so() -> None:
    class TooMuch(Strategy):
        def on_bar(self, bar: Any) -> None:
            self.buy(10**9)

    class TooLow(Strategy):
        def on_bar(self, bar: Any) -> None:
            if not self.orders:
                self.buy(1, limit=1)

    class Never(Strategy):
        def on_bar(self, bar: Any) -> None:
            pass

    warning, rejected = backtest(TooMuch, daily([100] * 5)).warnings
    assert warning == "no order has filled; there were 5"
    assert "rejected orders: 5 of 5, the first at 2024-01-02T00:00:00Z; reason: cannot be paid for" in rejected
    assert backtest(TooLow, daily([100] * 5)).warnings == ("no order has filled; there were 1",)
    assert backtest(Never, daily([100] * 5)).warnings == ()
