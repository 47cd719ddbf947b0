"""Times: what every form of time means, and that nothing is guessed."""

from __future__ import annotations

from datetime import UTC, date, datetime, timedelta
from zoneinfo import ZoneInfo

import numpy as np
import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st

from weaver.core.errors import ConfigError
from weaver.core.instants import to_ns
from weaver.data.numeric_times import epoch_ns
from weaver.data.timestamps import Ambiguous, Kind, check_zone, from_series, from_text, localise

NOON = to_ns("2024-01-31T12:00:00Z")
MIDNIGHT = to_ns("2024-01-31")


@pytest.mark.parametrize(
    ("text", "ns", "kind"),
    [
        ("2024-01-31T12:00:00Z", NOON, Kind.INSTANT),
        ("2024-01-31 12:00:00 UTC", NOON, Kind.INSTANT),
        ("2024-01-31T07:00:00-05:00", NOON, Kind.INSTANT),
        ("2024-01-31T21:00+0900", NOON, Kind.INSTANT),
        ("2024-01-31T12:00:00.25Z", NOON + 250_000_000, Kind.INSTANT),
        ("2024-01-31T12:00:00", NOON, Kind.WALL),
        ("2024/01/31 12:00", NOON, Kind.WALL),
        ("2024.01.31 12:00", NOON, Kind.WALL),
        ("31.01.2024 12:00", NOON, Kind.WALL),
        ("31/01/2024 12:00", NOON, Kind.WALL),
        ("01/31/2024 12:00 PM", NOON, Kind.WALL),
        ("01/31/2024 12:00 am", MIDNIGHT, Kind.WALL),
        ("20240131 120000", NOON, Kind.WALL),
        ("202401311200", NOON, Kind.WALL),
        ("2024-01-31", MIDNIGHT, Kind.DATE),
        ("20240131", MIDNIGHT, Kind.DATE),
        ("31.1.2024", MIDNIGHT, Kind.DATE),
        ("31 Jan 2024", MIDNIGHT, Kind.DATE),
        ("1706702400", NOON, Kind.INSTANT),
        ("1706702400.5", NOON + 500_000_000, Kind.INSTANT),
        ("1706702400000", NOON, Kind.INSTANT),
        ("1706702400000000", NOON, Kind.INSTANT),
        ("1706702400000000000", NOON, Kind.INSTANT),
        ("2024-02-30", None, Kind.BAD),
        ("2023-02-29", None, Kind.BAD),
        ("2024-01-31T24:00", None, Kind.BAD),
        ("2024-01-31T12:60", None, Kind.BAD),
        ("2024-01-31T11:59:60Z", None, Kind.BAD),
        ("2024-01-31T11:59:60", None, Kind.BAD),
        ("2024-01-31 11:59:60", None, Kind.BAD),
        ("31.01.2024 11:59:60", None, Kind.BAD),
        ("2262-04-12T00:00:00Z", None, Kind.BAD),
        ("9999-12-31 00:00:00", None, Kind.BAD),
        ("9999999999999999999", None, Kind.NUMBER),
        ("2024-01-31T12:00:00+99:00", None, Kind.BAD),
        ("2024-01-31T12:00:00+05:60", None, Kind.BAD),
        ("01/31/2024 13:00 PM", None, Kind.BAD),
        ("yesterday", None, Kind.BAD),
        ("", None, Kind.BAD),
        ("46319.0", None, Kind.NUMBER),
        ("99999999999", None, Kind.NUMBER),
        (None, None, Kind.BAD),
    ],
)
def test_a_text_means_one_time_or_none(text: str | None, ns: int | None, kind: Kind) -> None:
    times = from_text(pl.Series([text], dtype=pl.String))
    assert Kind(int(times.kind[0])) is kind
    assert ns is None or int(times.ns[0]) == ns


def test_the_values_of_a_column_decide_whether_the_day_comes_first() -> None:
    assert from_text(pl.Series(["01/02/2024", "13/02/2024"])).ns[0] == to_ns("2024-02-01")
    assert from_text(pl.Series(["01/02/2024", "02/13/2024"])).ns[0] == to_ns("2024-01-02")


@pytest.mark.parametrize("texts", [["01/02/2024", "03/04/2024"], ["13/02/2024", "02/13/2024"]])
def test_a_day_and_month_that_cannot_be_told_apart_are_left_open(texts: list[str]) -> None:
    times = from_text(pl.Series(texts))
    assert times.undecided
    assert (times.kind == Kind.BAD).all()
    assert from_text(pl.Series(["01/02/2024"]), day_first=True).ns[0] == to_ns("2024-02-01")
    assert from_text(pl.Series(["01/02/2024"]), day_first=False).ns[0] == to_ns("2024-01-02")


def test_midnights_in_changing_offsets_are_dates() -> None:
    times = from_text(pl.Series(["2024-03-08 00:00:00-05:00", "2024-03-11 00:00:00-04:00"]))
    assert times.all_of(Kind.DATE)
    assert times.ns.tolist() == [to_ns("2024-03-08"), to_ns("2024-03-11")]


def test_midnights_in_utc_stay_instants() -> None:
    assert from_text(pl.Series(["2024-03-08T00:00:00Z", "2024-03-09T00:00:00Z"])).all_of(Kind.INSTANT)


@pytest.mark.parametrize(
    ("column", "kind"),
    [
        (pl.Series([datetime(2024, 1, 31, 12, tzinfo=UTC)]), Kind.INSTANT),
        (pl.Series([datetime(2024, 1, 31, 12)]).cast(pl.Datetime("ms")), Kind.WALL),
        (pl.Series([datetime(2024, 1, 31, 7, tzinfo=ZoneInfo("America/New_York"))]), Kind.INSTANT),
        (pl.Series([1706702400]), Kind.INSTANT),
        (pl.Series([1706702400000.0]), Kind.INSTANT),
        (pl.Series([1706702400.0]), Kind.INSTANT),
        (pl.Series([datetime(2024, 1, 31, 12)], dtype=pl.Object), Kind.WALL),
    ],
)
def test_a_typed_column_needs_no_parsing(column: pl.Series, kind: Kind) -> None:
    times = from_series(column)
    assert times.ns.tolist() == [NOON]
    assert times.all_of(kind)


def test_fractions_of_seconds_in_a_float_column_are_kept() -> None:
    assert from_series(pl.Series([1706702400.5])).ns.tolist() == [NOON + 500_000_000]


def test_dates_and_local_midnights_name_sessions() -> None:
    assert from_series(pl.Series([date(2024, 1, 31)])).all_of(Kind.DATE)
    local = pl.Series([datetime(2024, 1, 31), datetime(2024, 7, 1)]).dt.replace_time_zone("America/New_York")
    times = from_series(local)
    assert times.all_of(Kind.DATE)
    assert times.ns.tolist() == [to_ns("2024-01-31"), to_ns("2024-07-01")]


def test_missing_times_are_bad() -> None:
    for column in (pl.Series([None, date(2024, 1, 1)]), pl.Series([None, 1706702400]), pl.Series([None, 1.5e9])):
        assert from_series(column).kind[0] == Kind.BAD


@pytest.mark.parametrize(
    "column",
    [
        pl.Series([date(2024, 1, 31), date(9999, 12, 31)]),
        pl.Series([datetime(2024, 1, 31), datetime(9999, 12, 31)]),
        pl.Series([datetime(2024, 1, 31), datetime(1, 1, 1)], dtype=pl.Datetime("ms", "UTC")),
        pl.Series(["2024-01-31T00:00:00Z", "2262-04-12T00:00:00Z"]),
    ],
)
def test_a_year_that_nanoseconds_cannot_hold_is_bad_instead_of_another_year(column: pl.Series) -> None:
    times = from_series(column)
    assert (times.kind == Kind.BAD).tolist() == [False, True]
    assert times.ns[0] == MIDNIGHT


def test_epoch_units_are_told_apart_by_size() -> None:
    values = np.array([1706702400, 1706702400_000, 1706702400_000_000, 1706702400_000_000_000], dtype=np.int64)
    assert epoch_ns(values).tolist() == [NOON] * 4


def test_an_unknown_zone_is_refused_with_an_example() -> None:
    assert check_zone("Europe/Berlin") == "Europe/Berlin"
    with pytest.raises(ConfigError, match=r"tz='Mars/Olympus'.*America/New_York"):
        check_zone("Mars/Olympus")


@given(
    st.datetimes(min_value=datetime(2007, 1, 1), max_value=datetime(2025, 1, 1), timezones=st.just(UTC)),
    st.sampled_from(["America/New_York", "Europe/Berlin", "Asia/Tokyo", "Australia/Lord_Howe", "Africa/Casablanca"]),
)
def test_a_local_time_comes_back_as_its_instant_unless_it_is_ambiguous(instant: datetime, zone: str) -> None:
    local = instant.astimezone(ZoneInfo(zone))
    wall = np.array([to_ns(local.replace(tzinfo=UTC))], dtype=np.int64)
    utc, twice, never = localise(wall, zone)
    assert not len(never)
    other = local.replace(fold=1 - local.fold)
    if other.utcoffset() == local.utcoffset():
        assert not len(twice)
        assert int(utc[0]) == to_ns(instant)
    else:
        assert twice.tolist() == [0]
        choice = Ambiguous.LATER if local.fold else Ambiguous.EARLIER
        assert int(localise(wall, zone, choice)[0][0]) == to_ns(instant)


def _walls(*texts: str) -> np.ndarray:
    return np.array([to_ns(text + "Z") for text in texts], dtype=np.int64)


def test_an_hour_that_the_clocks_skip_never_occurred() -> None:
    _, twice, never = localise(_walls("2023-03-12T01:59", "2023-03-12T02:30", "2023-03-12T03:00"), "America/New_York")
    assert never.tolist() == [1]
    assert not len(twice)


def test_infer_takes_the_two_passes_of_a_repeated_hour_in_their_order() -> None:
    walls = _walls("2023-11-05T00:30", "2023-11-05T01:00", "2023-11-05T01:30", "2023-11-05T01:00", "2023-11-05T01:30")
    utc, still, _ = localise(walls, "America/New_York", Ambiguous.INFER)
    assert not len(still)
    assert np.diff(utc).tolist() == [timedelta(minutes=30) // timedelta(microseconds=1) * 1000] * 4


def test_infer_takes_a_repeated_hourly_stamp_as_two_hours() -> None:
    utc, still, _ = localise(_walls("2023-11-05T01:00", "2023-11-05T01:00"), "America/New_York", Ambiguous.INFER)
    assert not len(still)
    assert int(utc[1] - utc[0]) == 3_600 * 10**9


def test_infer_leaves_a_single_pass_open() -> None:
    walls = _walls("2023-11-05T00:59", "2023-11-05T01:00", "2023-11-05T01:01")
    _, still, _ = localise(walls, "America/New_York", Ambiguous.INFER)
    assert still.tolist() == [1, 2]


@pytest.mark.parametrize("dtype", [pl.Int32, pl.Int64, pl.UInt32, pl.Float64])
def test_dates_written_as_numbers_are_dates_and_not_seconds_of_1970(dtype: type[pl.DataType]) -> None:
    times = from_series(pl.Series([20240131, 20240201]).cast(dtype))
    assert times.all_of(Kind.DATE)
    assert times.ns.tolist() == [MIDNIGHT, to_ns("2024-02-01")]


def test_compact_times_written_as_numbers_are_wall_times() -> None:
    for noon in (202401311200, 20240131120000):
        times = from_series(pl.Series([noon]))
        assert times.all_of(Kind.WALL)
        assert times.ns.tolist() == [NOON]


def test_a_number_that_is_no_date_is_bad_among_dates() -> None:
    times = from_series(pl.Series([20240131, 20240132, 20240201]))
    assert times.kind.tolist() == [Kind.DATE, Kind.BAD, Kind.DATE]
    assert from_series(pl.Series([20240132, 20240133])).all_of(Kind.NUMBER)


def test_a_number_beyond_64_bits_of_nanoseconds_is_no_time() -> None:
    times = from_series(pl.Series([99_999_999_999, 10**9, 10**9 + 60], dtype=pl.Int64))
    assert times.kind.tolist() == [Kind.BAD, Kind.INSTANT, Kind.INSTANT]
    assert times.ns[0] == 0
    assert from_series(pl.Series([-(2**63), 10**9], dtype=pl.Int64)).all_of(Kind.NUMBER)
    assert from_series(pl.Series([2**64 - 1], dtype=pl.UInt64)).kind.tolist() == [Kind.BAD]


def test_a_column_that_names_no_time_is_bad_throughout() -> None:
    for column in (pl.Series([timedelta(minutes=1)]), pl.Series([[1, 2]]), pl.Series([b"2024-01-31"])):
        assert from_series(column).all_of(Kind.BAD)
