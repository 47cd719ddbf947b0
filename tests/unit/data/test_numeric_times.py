"""Times written as numbers: read where their unit is clear and the dates are plausible, else refused with the way out."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import polars as pl
import pytest

import builders
from weaver import ConfigError, DataError, Strategy, backtest, check
from weaver.core.errors import BarsRefused
from weaver.core.instants import from_ns, to_ns
from weaver.data.load_bars import load_bars
from weaver.data.numeric_times import TimeUnit, read_numbers

DAY_S = 86_400
MINUTES = [1_704_067_200 + 60 * n for n in range(5)]  # from 2024-01-01, in seconds


def frame_of(times: Any, name: str = "Date") -> pl.DataFrame:
    """Bars at 10 with these times."""
    column = pl.Series(name, times)
    return builders.frame([10.0] * len(column)).drop("timestamp").insert_column(0, column)


class Nothing(Strategy):
    pass


NOT_TIMES = {
    "row numbers": ([0, 1, 2], "0, a number.*1970-01-01T00:00:00Z, it looks like a row number"),
    "row numbers of a slice": ([5000, 5001, 5002], "5000, a number.*1970-01-01T01:23:20Z, it looks like a row number"),
    "years": ([2001, 2002, 2003], "2001, a number.*it looks like a year"),
    "Excel serials": ([45292, 45293, 45294], "45292, a number.*1970-01-01T12:34:52Z, as an Excel serial 2024-01-01"),
    "Excel serials with a time": ([45292.0, 45292.5, 45293.0], 'as an Excel serial 2024-01-01.*time_unit="excel"'),
    "MATLAB datenums": ([739252, 739253], 'as a MATLAB datenum 2024-01-01.*time_unit="matlab"'),
    "days since 1970": ([19723, 19724], "19723, a number"),
    "hours since 1970": ([473352, 473353], "473352, a number"),
    "minutes since 1970": ([28401120, 28401121], "28401120, a number"),
    "Julian days": ([2460310.5, 2460311.5], "2460310.5, a number"),
    "milliseconds of a day": ([34_200_000, 34_260_000], "34200000, a number"),
    "YYMMDD": ([240131, 240201], "240131, a number"),
    "YYMMDDhhmm": ([2401311200, 2401311201], "2401311200, a number.*2046-02-03"),
    ".NET ticks": ([638_396_640_000_000_000, 638_396_640_600_000_000], "a number.*1990-03-25T20:24:00Z"),
    "Windows file times": ([133_485_408_000_000_000, 133_485_408_600_000_000], "a number.*1974-03-25"),
    "microseconds since 1601": ([13_348_540_800_000_000, 13_348_540_860_000_000], "a number.*a year beyond 2261"),
    "a history that ends before 1980": ([DAY_S * n for n in range(3000, 3010)], "259200000, a number"),
}


@pytest.mark.parametrize("as_text", [False, True])
@pytest.mark.parametrize("kind", NOT_TIMES)
def test_numbers_that_are_no_clear_times_are_refused_with_value_meaning_and_option(kind: str, as_text: bool) -> None:
    numbers, told = NOT_TIMES[kind]
    column = [repr(number) for number in numbers] if as_text else numbers
    with pytest.raises(DataError, match=told) as caught:
        load_bars(frame_of(column), tz="UTC")
    assert "on the command line --time-unit" in str(caught.value)


def test_a_frame_or_parquet_file_of_excel_serials_is_refused_by_backtest(tmp_path: Path) -> None:
    frame = frame_of([45292, 45293, 45294])
    path = tmp_path / "bars.parquet"
    frame.write_parquet(path)
    for bars in (frame, path):
        with pytest.raises(DataError, match="'Date' in row 0 is 45292, a number: its unit is not clear"):
            backtest(Nothing, bars)
    frame.write_csv(tmp_path / "bars.csv")
    with pytest.raises(BarsRefused, match="line 2: Date '45292' is a number: its unit is not clear"):
        backtest(Nothing, tmp_path / "bars.csv")


@pytest.mark.parametrize("factor", [1, 1_000, 1_000_000, 1_000_000_000])
@pytest.mark.parametrize("as_text", [False, True])
def test_seconds_to_nanoseconds_of_plausible_dates_need_no_unit(factor: int, as_text: bool) -> None:
    numbers = [second * factor for second in MINUTES]
    column = [str(number) for number in numbers] if as_text else numbers
    series = load_bars(frame_of(column))["ASSET"]
    assert series.start.tolist() == [second * 10**9 for second in MINUTES]


def test_a_history_through_1970_is_read_and_a_zero_in_place_of_a_time_is_not() -> None:
    days = [DAY_S * n for n in range(-3000, 5000)]
    assert load_bars(frame_of(days))["ASSET"].start[3000] == 0
    with pytest.raises(DataError, match="'Date' in row 0 is 0: is not a time"):
        load_bars(frame_of([0, *MINUTES]))


def test_a_number_that_is_no_date_among_dates_is_named() -> None:
    with pytest.raises(DataError, match="'Date' in row 1 is 20241301: is not a time"):
        load_bars(frame_of([20240131, 20241301, 20240202]))


@pytest.mark.parametrize("numbers", [[2000, 2001, 2002], [1_704_067_200, 1_704_067_260]])
def test_datetimes_made_from_numbers_with_the_wrong_unit_are_refused(numbers: list[int]) -> None:
    wrong = pl.Series("Date", numbers).cast(pl.Datetime("ns"))  # as pandas.to_datetime(numbers) does
    with pytest.raises(
        DataError, match="all are in January 1970, so they were converted from numbers with the wrong unit"
    ):
        load_bars(frame_of(wrong), tz="UTC")


@pytest.mark.parametrize(
    ("unit", "numbers", "first", "second"),
    [
        ("s", [60, 120], "1970-01-01T00:01", "1970-01-01T00:02"),
        ("ms", [1_704_067_200_000, 1_704_067_260_000], "2024-01-01T00:00", "2024-01-01T00:01"),
        ("us", [1_704_067_200_000_000, 1_704_067_260_000_000], "2024-01-01T00:00", "2024-01-01T00:01"),
        ("ns", [638_396_640_000_000_000, 638_396_700_000_000_000], "1990-03-25T20:24", "1990-03-25T20:25"),
        ("excel", [45292, 45293], "2024-01-01", "2024-01-02"),
        ("excel", [45292 + 1 / 24, 45292 + 2 / 24], "2024-01-01T01:00", "2024-01-01T02:00"),
        ("excel", [45292.0 + 1 / 1440, 45292.0 + 2 / 1440], "2024-01-01T00:01", "2024-01-01T00:02"),
        ("matlab", [739252, 739253], "2024-01-01", "2024-01-02"),
        ("matlab", [739252.25, 739252.5], "2024-01-01T06:00", "2024-01-01T12:00"),
    ],
)
@pytest.mark.parametrize("as_text", [False, True])
def test_time_unit_says_what_the_numbers_count(
    unit: str, numbers: list[Any], first: str, second: str, as_text: bool
) -> None:
    column = [repr(number) for number in numbers] if as_text else numbers
    series = load_bars(frame_of(column), time_unit=unit, tz="UTC")["ASSET"]
    assert [f"{from_ns(ns):%Y-%m-%dT%H:%M}"[: len(first)] for ns in series.start.tolist()] == [first, second]


def test_days_of_excel_and_matlab_have_no_zone() -> None:
    with pytest.raises(ConfigError, match="the times have no time zone"):
        load_bars(frame_of([45292.25, 45292.5]), time_unit="excel")
    series = load_bars(frame_of([0.25 + 45292 + n / 24 for n in range(2)]), time_unit="excel", tz="America/New_York")[
        "ASSET"
    ]
    assert series.start[0] == to_ns(datetime(2024, 1, 1, 11, tzinfo=UTC))


def test_excel_days_before_march_1900_are_no_times() -> None:
    times = read_numbers(pl.Series([60, 61]).to_numpy(), None, TimeUnit.EXCEL)
    assert times.readable.tolist() == [False, True]
    assert times.ns[1] == to_ns("1900-03-01")


def test_an_unknown_unit_is_refused_with_the_list() -> None:
    with pytest.raises(ConfigError, match="time_unit='days': must be one of 's', 'ms', 'us', 'ns', 'excel', 'matlab'"):
        load_bars(frame_of([45292]), time_unit="days")


def test_backtest_and_check_take_the_unit() -> None:
    frame = frame_of([45292, 45293, 45294])
    result = backtest(Nothing, frame, time_unit="excel", finer=None)
    assert result.start == datetime(2024, 1, 1, tzinfo=UTC)
    assert check(Nothing, frame, time_unit="excel") is not None


@pytest.mark.parametrize("value", [float("inf"), float("-inf"), float("nan")])
def test_a_number_that_is_not_finite_is_refused_by_its_row(value: float) -> None:
    with pytest.raises(DataError, match=r"'Date' in row 0 is .*is not a time"):
        load_bars(frame_of([value, value]))
