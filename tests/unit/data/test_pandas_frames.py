"""Pandas frames: an index or a column of times, in every unit and zone that pandas has."""

from __future__ import annotations

import numpy as np
import pytest

from weaver.core.errors import DataError, NaiveDatetimeError
from weaver.core.instants import to_ns
from weaver.data.load_bars import load_bars

pd = pytest.importorskip("pandas")


def _frame(index: object = None, count: int = 3):
    columns = {"Open": 10.0, "High": 12.0, "Low": 9.0, "Close": 11.0, "Volume": 5}
    return pd.DataFrame({name: [value] * count for name, value in columns.items()}, index=index)


@pytest.mark.parametrize("unit", ["s", "ms", "us", "ns"])
@pytest.mark.parametrize("zone", ["UTC", "Europe/Berlin", "UTC-05:00"])
def test_an_aware_index_of_any_unit_and_zone_is_understood(unit: str, zone: str) -> None:
    index = pd.date_range("2024-01-31 12:00", periods=3, freq="1min", tz="UTC", unit=unit).tz_convert(zone)
    series = load_bars(_frame(index))["ASSET"]
    assert series.start.tolist() == [to_ns(f"2024-01-31T12:0{k}:00Z") for k in range(3)]
    assert series.volume.tolist() == [5.0] * 3


def test_days_in_a_naive_or_local_index_are_sessions() -> None:
    for zone in (None, "America/New_York"):
        index = pd.date_range("2024-03-08", periods=4, freq="D", tz=zone)
        series = load_bars(_frame(index, 4))["ASSET"]
        assert str(series.timeframe) == "1d"
        assert series.start[0] == to_ns("2024-03-08")


def test_a_naive_intraday_index_needs_a_zone() -> None:
    frame = _frame(pd.date_range("2024-01-31 12:00", periods=3, freq="1h"))
    with pytest.raises(NaiveDatetimeError, match="tz="):
        load_bars(frame)
    assert load_bars(frame, tz="America/New_York")["ASSET"].start[0] == to_ns("2024-01-31T17:00:00Z")


def test_times_may_stand_in_a_column_of_any_type() -> None:
    stamps = pd.date_range("2024-01-31 12:00", periods=3, freq="1min", tz="UTC")
    for values in (stamps, stamps.astype(str), [int(stamp.timestamp()) for stamp in stamps]):
        frame = _frame()
        frame.insert(0, "Date", values)
        assert load_bars(frame)["ASSET"].start[0] == to_ns("2024-01-31T12:00:00Z")


def test_periods_are_their_starts() -> None:
    series = load_bars(_frame(pd.period_range("2024-01-29", periods=3, freq="D")))["ASSET"]
    assert series.start[0] == to_ns("2024-01-29")


def test_prices_share_memory_with_the_frame() -> None:
    index = pd.date_range("2024-01-31", periods=1_000, freq="1min", tz="UTC")
    frame = _frame(index, 1_000)
    assert np.shares_memory(load_bars(frame)["ASSET"].close, frame["Close"].to_numpy())


def test_an_index_of_time_and_symbol_holds_several_symbols() -> None:
    stamps = pd.date_range("2024-01-31", periods=3, freq="D")
    index = pd.MultiIndex.from_product([["B", "A"], stamps], names=["symbol", "date"])
    loaded = load_bars(_frame(index, 6))
    assert list(loaded) == ["B", "A"]
    assert len(loaded["A"]) == 3


def test_nullable_and_object_columns_are_understood() -> None:
    frame = _frame(pd.date_range("2024-01-31", periods=3, freq="D"))
    frame["Volume"] = pd.array([1, 2, 3], dtype="Int64")
    frame["Note"] = ["a", None, "b"]
    series = load_bars(frame)["ASSET"]
    assert series.volume.tolist() == [1.0, 2.0, 3.0]
    assert any("'Note' holds no numbers" in note for note in series.notes)


def test_a_missing_time_is_refused_by_row() -> None:
    index = pd.DatetimeIndex(["2024-01-29", None, "2024-01-31"])
    with pytest.raises(DataError, match=r"row 1 .* is not a time"):
        load_bars(_frame(index))


@pytest.mark.parametrize("by_ticker", [False, True])
def test_columns_of_several_levels_are_refused_with_a_call_that_can_be_used(by_ticker: bool) -> None:
    frame = _frame(pd.date_range("2024-01-31", periods=3, freq="D"))
    names = [["AAPL"], frame.columns] if by_ticker else [frame.columns, ["AAPL"]]
    frame.columns = pd.MultiIndex.from_product(names)
    with pytest.raises(DataError, match="columns of several levels") as caught:
        load_bars(frame)
    call = str(caught.value).split("for example ")[1].split(", or a column")[0]
    assert call == f"{{'AAPL': bars.xs('AAPL', axis=1, level={0 if by_ticker else 1})}}"
    assert load_bars(eval(call, {"bars": frame}))["AAPL"].close.tolist() == [11.0] * 3


def test_a_series_and_a_doubled_name_are_refused() -> None:
    frame = _frame(pd.date_range("2024-01-31", periods=3, freq="D"))
    with pytest.raises(DataError, match="pandas Series"):
        load_bars(frame["Open"])
    frame["timestamp"] = 1
    with pytest.raises(DataError, match="both as its index and as a column"):
        load_bars(frame)
