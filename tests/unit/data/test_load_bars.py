"""Frames: what may be passed as bars, in which order it comes back, and what is refused with which way out."""

from __future__ import annotations

from datetime import UTC, date, datetime, timedelta
from pathlib import Path

import numpy as np
import polars as pl
import pytest

import builders
from weaver.core.errors import ConfigError, DataError, NaiveDatetimeError, NoBars, OffGridError, UnknownSymbol
from weaver.core.instants import to_ns
from weaver.core.instrument import Instrument
from weaver.data.load_bars import load_bars
from weaver.data.shipped import shipped_bars
from weaver.data.synthetic import synthetic_bars

NOON = datetime(2024, 1, 31, 12, tzinfo=UTC)


def bars_of(times: list, **columns: list) -> pl.DataFrame:
    count = len(times)
    plain = {"open": [10.0] * count, "high": [12.0] * count, "low": [9.0] * count, "close": [11.0] * count}
    return pl.DataFrame({"timestamp": times, **plain, "volume": [5.0] * count, **columns})


def minutes(count: int, start: datetime = NOON, step: int = 1) -> list[datetime]:
    return [start + timedelta(minutes=step * k) for k in range(count)]


def test_a_polars_frame_is_shared_and_not_copied() -> None:
    frame = synthetic_bars(1_000)
    series = load_bars(frame)["SYNTH"]
    for name in ("open", "high", "low", "close", "volume"):
        assert np.shares_memory(getattr(series, name), frame[name].to_numpy())
    assert series.start.tolist() == frame["timestamp"].dt.timestamp("ns").to_list()
    assert (series.end - series.start == series.timeframe.ns).all()


def test_the_timeframe_is_the_commonest_spacing_and_says_so() -> None:
    series = load_bars(bars_of(minutes(10) + minutes(5, NOON + timedelta(minutes=20))))["ASSET"]
    assert str(series.timeframe) == "1m"
    assert "timeframe 1m: the commonest spacing of the bars" in series.notes


def test_a_given_timeframe_is_not_said_to_be_found() -> None:
    series = load_bars(bars_of(minutes(2)), timeframe="1m")["ASSET"]
    assert not any(note.startswith("timeframe") for note in series.notes)


def test_dates_without_a_time_are_sessions_and_need_no_zone() -> None:
    days = [date(2024, 1, day) for day in (29, 30, 31)]
    for times in (days, [datetime(day.year, day.month, day.day) for day in days], [str(day) for day in days]):
        series = load_bars(bars_of(times))["ASSET"]
        assert str(series.timeframe) == "1d"
        assert series.start.tolist() == [to_ns(day) for day in days]


def test_local_midnights_of_a_zone_are_sessions() -> None:
    days = pl.Series([datetime(2024, 3, 8), datetime(2024, 3, 11)]).dt.replace_time_zone("America/New_York")
    series = load_bars(bars_of(days.to_list()).with_columns(timestamp=days), timeframe="1d")["ASSET"]
    assert series.start.tolist() == [to_ns("2024-03-08"), to_ns("2024-03-11")]


def test_a_naive_intraday_time_prints_the_corrected_call() -> None:
    frame = bars_of([time.replace(tzinfo=None) for time in minutes(3)])
    with pytest.raises(NaiveDatetimeError, match=r'backtest\(\.\.\., tz="America/New_York"\)'):
        load_bars(frame)
    assert load_bars(frame, tz="America/New_York")["ASSET"].start[0] == to_ns("2024-01-31T17:00:00Z")


@pytest.mark.parametrize(
    ("text", "why"), [("2023-11-05 01:30:00", "occurs twice"), ("2023-03-12 02:30:00", "does not exist")]
)
def test_a_local_time_that_is_none_or_two_is_refused_by_row(text: str, why: str) -> None:
    frame = bars_of(["2023-01-02 00:01:00", text]).sort("timestamp")
    with pytest.raises(DataError, match=f"row 1: {text.replace(' ', 'T')} in America/New_York {why}"):
        load_bars(frame, tz="America/New_York", timeframe="1m")


def test_columns_may_have_any_case_and_further_ones_become_extra() -> None:
    more = {"My Signal": [1, None], "Adj Close": [1.0, 2.0], "flag": [True, False], "name": ["a", "b"]}
    frame = bars_of(minutes(2), **more)
    series = load_bars(frame.rename(str.upper))["ASSET"]
    assert set(series.extra) == {"my_signal", "adj_close", "flag"}
    assert np.array_equal(series.extra["my_signal"], [1.0, np.nan], equal_nan=True)
    assert series.extra["flag"].tolist() == [1.0, 0.0]
    assert any("'NAME' holds no numbers and is left out" in note for note in series.notes)


def test_a_missing_volume_is_zero_and_said() -> None:
    series = load_bars(bars_of(minutes(2)).drop("volume"))["ASSET"]
    assert series.volume.tolist() == [0.0, 0.0]
    assert any("no volume column" in note for note in series.notes)


def test_integer_and_float32_prices_are_taken() -> None:
    frame = bars_of(minutes(2)).with_columns(pl.col("open").cast(pl.Int64), pl.col("close").cast(pl.Float32))
    assert load_bars(frame)["ASSET"].open.tolist() == [10.0, 10.0]


def test_a_missing_column_is_named_with_those_that_are_there() -> None:
    with pytest.raises(DataError, match="no column for low; there are 'timestamp', 'open'"):
        load_bars(bars_of(minutes(2)).drop("low"))


def test_prices_as_text_are_refused() -> None:
    with pytest.raises(DataError, match="column 'open' holds '10', not numbers"):
        load_bars(bars_of(minutes(2)).with_columns(open=pl.lit("10")))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"high": 8.0}, r"row 2 \(2024-01-31T12:02:00Z\): high 8.0 is below low 9.0"),
        ({"low": 10.5}, "row 2 .*: open 10.0 is below low 10.5"),
        ({"open": float("nan")}, r"row 2 .*: open is missing \(NaN\)"),
        ({"close": None}, r"row 2 .*: close is missing \(NaN\)"),
        ({"high": float("inf")}, "row 2 .*: high is inf"),
        ({"low": 0.0}, "row 2 .*: low 0.0 is not above zero"),
        ({"low": -1.0}, "row 2 .*: low -1.0 is not above zero"),
        ({"volume": -3.0}, "row 2 .*: volume -3.0 is below zero"),
        ({"volume": None}, "row 2 .*: volume is missing"),
    ],
)
def test_an_impossible_bar_is_refused_by_row_value_and_repair(change: dict, message: str) -> None:
    name, value = next(iter(change.items()))
    column = bars_of(minutes(4))[name].to_list()
    column[2] = value
    with pytest.raises(DataError, match=message + r".*--fix drop-invalid"):
        load_bars(bars_of(minutes(4), **{name: column}))


def test_several_impossible_bars_are_counted() -> None:
    with pytest.raises(DataError, match=r"\(and 3 further rows\)"):
        load_bars(bars_of(minutes(4), low=[0.0] * 4))


def test_rows_out_of_order_and_repeated_times_are_refused_by_row_and_repair() -> None:
    with pytest.raises(DataError, match=r"row 1: .* is before .*; sort the rows by 'timestamp'"):
        load_bars(bars_of(minutes(3)[::-1]))
    with pytest.raises(DataError, match=r"row 1: .* is the same time as .*; keep one row for each"):
        load_bars(bars_of([NOON, NOON, NOON + timedelta(minutes=1)]))


def test_a_time_that_is_none_is_refused_by_row() -> None:
    with pytest.raises(DataError, match="'timestamp' in row 1 is 'noon': is not a time"):
        load_bars(bars_of(["2024-01-31T12:00:00Z", "noon"]))
    with pytest.raises(DataError, match="day and month cannot be told apart"):
        load_bars(bars_of(["01/02/2024", "02/02/2024"]))


def test_bars_off_the_grid_are_refused_with_the_offset_and_the_way_out() -> None:
    times = minutes(9)
    times[2] += timedelta(seconds=17)
    with pytest.raises(
        OffGridError, match=r"1 of 9 bars .* 1m grid; the first is row 2, 2024-01-31T12:02:17Z, 17s after"
    ):
        load_bars(bars_of(times))
    with pytest.raises(OffGridError, match=r'calendar="XNYS"'):
        load_bars(bars_of(minutes(4, NOON + timedelta(minutes=30), step=60)))
    with pytest.raises(OffGridError, match=r"16h after a boundary.*named by the date in which it ends"):
        load_bars(bars_of([datetime(2024, 1, day, 16, tzinfo=UTC) for day in (1, 2, 3)]))
    with pytest.raises(OffGridError, match="Monday"):
        load_bars(bars_of([date(2024, 1, day) for day in (5, 12, 19)]))


def test_a_timeframe_shorter_than_the_bars_would_show_them_too_early_and_is_refused() -> None:
    with pytest.raises(DataError, match="1h apart or more, so they are not 1m bars"):
        load_bars(bars_of(minutes(4, step=60)), timeframe="1m")


def test_monthly_bars_are_no_timeframe() -> None:
    with pytest.raises(DataError, match="31d, which is not a timeframe"):
        load_bars(bars_of([date(2024, month, 1) for month in range(1, 13)]))


def test_one_bar_needs_its_timeframe() -> None:
    with pytest.raises(DataError, match='timeframe="1d"'):
        load_bars(bars_of([date(2024, 1, 1)]))
    assert len(load_bars(bars_of([date(2024, 1, 1)]), timeframe="1d")["ASSET"]) == 1


def test_start_and_end_select_by_the_start_of_the_bar() -> None:
    frame = bars_of(minutes(10))
    loaded = load_bars(frame, start="2024-01-31T12:02:00Z", end=NOON + timedelta(minutes=5))["ASSET"]
    assert loaded.start.tolist() == [to_ns(time) for time in minutes(10)[2:5]]
    local = load_bars(frame, start="2024-01-31 07:02:00", tz="America/New_York")["ASSET"]
    assert local.start[0] == to_ns("2024-01-31T12:02:00Z")
    with pytest.raises(NaiveDatetimeError, match="start:"):
        load_bars(frame, start="2024-01-31 07:02:00")
    with pytest.raises(NoBars, match="its bars start from 2024-01-31T12:00:00Z to 2024-01-31T12:09:00Z"):
        load_bars(frame, start="2025-01-01")
    with pytest.raises(ConfigError, match="is not before"):
        load_bars(frame, start="2025-01-01", end="2024-01-01")


def test_faults_outside_the_time_asked_for_do_not_matter() -> None:
    frame = bars_of(minutes(4), low=[0.0, 9.0, 9.0, 9.0])
    assert len(load_bars(frame, start=NOON + timedelta(minutes=1))["ASSET"]) == 3


def test_a_symbol_column_holds_several_symbols_in_order_of_appearance() -> None:
    both = [bars_of(minutes(3)).with_columns(symbol=pl.lit(name)) for name in ("B", "A")]
    for frame in (pl.concat(both), pl.concat(both).sort("timestamp"), pl.concat(both).lazy()):
        assert list(load_bars(frame)) == ["B", "A"]
    assert list(load_bars(pl.concat(both), symbols=["A"])) == ["A"]
    assert list(load_bars(pl.concat(both), symbols=["A", "B"])) == ["A", "B"]


def test_an_unknown_symbol_names_the_nearest() -> None:
    with pytest.raises(UnknownSymbol, match="symbol 'APPL' is not in the data; did you mean 'AAPL'"):
        load_bars(shipped_bars(), symbols=["APPL"])


@pytest.mark.parametrize("symbols", [[], ["A", "A"]])
def test_an_empty_or_repeated_choice_of_symbols_is_refused(symbols: list[str]) -> None:
    with pytest.raises(ConfigError):
        load_bars(bars_of(minutes(2)), symbols=symbols)


def test_one_named_symbol_names_a_frame_without_a_column() -> None:
    assert list(load_bars(bars_of(minutes(2)), symbols=["BTC"])) == ["BTC"]
    assert list(load_bars(bars_of(minutes(2)), symbols="BTC")) == ["BTC"]


def test_a_mapping_may_mix_everything(tmp_path: Path) -> None:
    frame = bars_of([date(2005, 1, day) for day in range(3, 8)])
    frame.write_parquet(tmp_path / "p.parquet")
    frame.write_csv(tmp_path / "c.csv")
    series = load_bars(frame, symbols=["X"])["X"]
    files = {"P": tmp_path / "p.parquet", "C": str(tmp_path / "c.csv")}
    loaded = load_bars({**files, "S": series, "F": frame.lazy(), "MSFT": shipped_bars("MSFT")})
    assert list(loaded) == ["P", "C", "S", "F", "MSFT"]
    assert loaded["P"].source == str(tmp_path / "p.parquet")
    assert np.array_equal(loaded["C"].start, loaded["S"].start)
    assert all(series.symbol == symbol for symbol, series in loaded.items())


def test_a_path_is_called_by_its_file_and_may_be_missing_or_broken(tmp_path: Path) -> None:
    bars_of(minutes(3)).write_parquet(tmp_path / "eth.parquet")
    assert list(load_bars(tmp_path / "eth.parquet")) == ["eth"]
    with pytest.raises(DataError, match="there is no such file"):
        load_bars(tmp_path / "none.csv")
    with pytest.raises(DataError, match="is a folder"):
        load_bars(tmp_path)
    (tmp_path / "broken.parquet").write_bytes(b"PAR1 and nothing more")
    with pytest.raises(DataError, match="cannot be read as Parquet"):
        load_bars(tmp_path / "broken.parquet")


def test_a_csv_file_goes_through_the_importers_reader(tmp_path: Path) -> None:
    path = tmp_path / "btc.csv"
    first, second = "31.12.2021 23:01;46319,5;46385,0;46319,0;46377,0", "31.12.2021 23:02;1,5;2,5;1,5;2,5"
    path.write_text(f"Datum;Open;High;Low;Close\n{first}\n{second}\n")
    with pytest.raises(NaiveDatetimeError, match=r"line 2.*backtest\(\.\.\., tz="):
        load_bars(path)
    series = load_bars(path, tz="UTC")["btc"]
    assert series.open.tolist() == [46319.5, 1.5]
    assert series.start[0] == to_ns("2021-12-31T23:01:00Z")
    path.write_text("time,open,high,low,close\n2024-01-31T12:00:00Z,1,2,1,1\n2024-01-31T12:01:00Z,1,2,3,1\n")
    with pytest.raises(DataError, match=r"line 3: high 2\.0 is below low 3\.0"):
        load_bars(path)


def test_a_symbol_without_bars_in_the_time_asked_for_is_left_out_and_said_unless_it_was_named() -> None:
    late = bars_of(minutes(3, NOON + timedelta(days=1))).with_columns(symbol=pl.lit("LATE"))
    both = pl.concat([bars_of(minutes(3)).with_columns(symbol=pl.lit("A")), late])
    loaded = load_bars(both, end=NOON + timedelta(hours=1))
    assert list(loaded) == ["A"]
    assert any("left out" in note and "LATE" in note for note in loaded["A"].notes)
    with pytest.raises(NoBars, match="LATE"):
        load_bars(both, symbols=["A", "LATE"], end=NOON + timedelta(hours=1))


def test_instruments_are_one_for_all_or_by_symbol() -> None:
    frame = pl.concat([bars_of(minutes(3)).with_columns(symbol=pl.lit(name)) for name in ("A", "B")])
    whole = Instrument(lot=1)
    assert load_bars(frame, instrument=whole)["B"].instrument == whole
    loaded = load_bars(frame, instrument={"B": whole})
    assert (loaded["A"].instrument, loaded["B"].instrument) == (Instrument(), whole)
    with pytest.raises(UnknownSymbol, match="instrument: symbol 'C'"):
        load_bars(frame, instrument={"C": whole})


def test_all_symbols_of_a_run_share_one_timeframe() -> None:
    minute, hour = bars_of(minutes(120)), bars_of(minutes(3, step=60))
    with pytest.raises(DataError, match="H: the bars are 1h apart or more, so they are not 1m bars"):
        load_bars({"M": minute, "H": hour})
    series = {name: load_bars(frame, symbols=[name])[name] for name, frame in (("M", minute), ("H", hour))}
    with pytest.raises(DataError, match=r"different timeframes \(M 1m, H 1h\)"):
        load_bars(series)


def test_a_sparse_symbol_takes_the_timeframe_of_the_dense_one() -> None:
    sparse = [NOON, NOON + timedelta(minutes=2), NOON + timedelta(minutes=4), NOON + timedelta(minutes=5)]
    loaded = load_bars({"DENSE": bars_of(minutes(6)), "SPARSE": bars_of(sparse)})
    assert str(loaded["SPARSE"].timeframe) == "1m"


@pytest.mark.parametrize("bars", [42, [1, 2], np.zeros(3), None])
def test_anything_else_is_refused_with_what_may_be_given(bars: object) -> None:
    with pytest.raises(DataError, match="Polars or pandas frame"):
        load_bars(bars)


def test_empty_bars_are_refused() -> None:
    with pytest.raises(NoBars):
        load_bars({})
    with pytest.raises(NoBars):
        load_bars(bars_of(minutes(1)).clear(), timeframe="1m")
    with pytest.raises(DataError, match="is not a symbol"):
        load_bars({1: bars_of(minutes(2))})


def test_an_empty_symbol_is_refused_by_row() -> None:
    frame = bars_of(minutes(2), symbol=["A", None])
    with pytest.raises(DataError, match="column 'symbol' is empty in row 1"):
        load_bars(frame)


@pytest.mark.filterwarnings("ignore::DeprecationWarning")  # exchange_calendars 4 on pandas 3.1
def test_with_a_calendar_bars_end_with_their_session() -> None:
    pytest.importorskip("exchange_calendars")
    from weaver.glados.clock.calendars import get_calendar

    calendar = get_calendar("XNYS")
    # The day after Thanksgiving 2023 closed at 13:00 New York, 18:00 UTC.
    days = [date(2023, 11, 22), date(2023, 11, 24), date(2023, 11, 27)]
    daily = load_bars(bars_of(days), calendar=calendar, timeframe="1d")["ASSET"]
    assert daily.end.tolist() == [to_ns(f"{day}T{hour}:00:00Z") for day, hour in zip(days, (21, 18, 21), strict=True)]
    assert not any("gap" in note for note in daily.notes)
    hours = [datetime(2023, 11, 24, 14, 30, tzinfo=UTC) + timedelta(hours=k) for k in range(4)]
    hourly = load_bars(bars_of(hours), calendar=calendar)["ASSET"]
    assert hourly.end[-1] == to_ns("2023-11-24T18:00:00Z")
    with pytest.raises(OffGridError):
        load_bars(bars_of([time + timedelta(minutes=5) for time in hours]), calendar=calendar)


def rounded_bars(extra: float) -> pl.DataFrame:
    """Two days; the close of the first one is above its high by `extra`."""
    return pl.DataFrame(
        {"Date": [date(2024, 1, 1), date(2024, 1, 2)], "open": [9.0, 9.0], "high": [10.0, 11.0], "low": [9.0, 9.0],
         "close": [10.0 + extra, 10.0], "volume": [1.0, 1.0]}
    )  # fmt: skip


@pytest.mark.parametrize("kind", ["polars", "pandas", "parquet", "csv", "series"])
def test_a_close_that_rounding_puts_above_the_high_is_clipped_and_reported(kind: str, tmp_path: Path) -> None:
    frame = rounded_bars(2e-15 * 2)
    close = frame["close"][0]
    assert close > 10.0
    bars: object = frame
    if kind == "pandas":
        bars = frame.to_pandas()
    elif kind == "parquet":
        bars = tmp_path / "bars.parquet"
        frame.write_parquet(bars)
    elif kind == "csv":
        bars = tmp_path / "bars.csv"
        frame.write_csv(bars)
    elif kind == "series":
        bars = builders.series([close, 10.0], opens=[9.0, 9.0], highs=[10.0, 11.0], lows=[9.0, 9.0])
    (series,) = load_bars(bars).values()
    assert series.high.tolist() == [close, 11.0]
    assert series.close.tolist() == [close, 10.0]
    assert any("1 bar whose open or close breached high or low by rounding" in note for note in series.notes)
    assert frame["high"].to_list() == [10.0, 11.0]


def test_adjusted_prices_of_a_flat_day_are_clipped_on_both_sides() -> None:
    frame = rounded_bars(0.0).with_columns(low=pl.Series([9.0 + 1e-14, 9.0]), high=pl.Series([10.0 - 1e-14, 11.0]))
    series = load_bars(frame)["ASSET"]
    assert (series.low[0], series.high[0]) == (9.0, 10.0)


@pytest.mark.parametrize("extra", [2e-11, 1e-6, 0.01])
def test_a_larger_breach_is_refused_and_a_small_one_without_advice_that_deletes_the_day(extra: float) -> None:
    with pytest.raises(DataError, match=r"row 0 .*: close 10\.\d+ is above high 10.0") as caught:
        load_bars(rounded_bars(extra))
    assert ("drop-invalid" in str(caught.value)) is (extra == 0.01)


def test_a_timeframe_longer_than_the_bars_is_refused_with_resample() -> None:
    days = [date(2024, 1, day) for day in range(1, 20)]
    for timeframe, frame in (("1w", bars_of(days)), ("5m", bars_of(minutes(200)))):
        with pytest.raises(OffGridError, match=rf'apart, so they are not {timeframe} bars.*resample\("{timeframe}"\)'):
            load_bars(frame, timeframe=timeframe)


def test_no_advice_for_bars_off_the_grid_shows_them_early() -> None:
    half_past = bars_of(minutes(8, NOON + timedelta(minutes=30), step=60))
    with pytest.raises(
        OffGridError, match="Do not move a stamp to an earlier boundary: the bar would be seen before it ends"
    ):
        load_bars(half_past)
    last_instants = bars_of(minutes(8, NOON + timedelta(seconds=59, milliseconds=999)))
    with pytest.raises(OffGridError, match="are the last instants of their bars; stamp each bar with its start"):
        load_bars(last_instants)
    forex_days = bars_of([datetime(2024, 1, day, 22, tzinfo=UTC) for day in range(1, 9)])
    with pytest.raises(OffGridError, match="named by the date in which it ends"):
        load_bars(forex_days)


def test_bars_of_a_csv_are_not_checked_a_second_time(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from weaver.data import build_series

    def fails(*_: object, **__: object) -> None:
        raise AssertionError("checked again")

    path = tmp_path / "bars.csv"
    builders.frame([1.0, 2.0, 3.0]).write_csv(path)
    for name in ("from_series", "_check_bars", "_check_grid", "_check_spacing", "_check_order"):
        monkeypatch.setattr(build_series, name, fails)
    assert load_bars(path)["bars"].close.tolist() == [1.0, 2.0, 3.0]
    with pytest.raises(AssertionError, match="checked again"):
        load_bars(builders.frame([1.0, 2.0, 3.0]))
