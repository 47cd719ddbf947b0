"""Instants: exact in, exact to the microsecond out, and never without a time zone."""

from __future__ import annotations

from datetime import UTC, date, datetime, timedelta, timezone
from zoneinfo import ZoneInfo

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from weaver.core.errors import ConfigError, NaiveDatetimeError
from weaver.core.instants import NS_PER_DAY, NS_PER_SECOND, format_ns, from_ns, to_ns

LOWEST, HIGHEST = to_ns("0001-01-01"), to_ns("9999-12-31T23:59:59.999999999Z")
instants = st.integers(LOWEST, HIGHEST)


def test_every_way_to_write_an_instant_gives_the_same_number() -> None:
    expected = 1_709_285_400 * NS_PER_SECOND
    new_york = datetime(2024, 3, 1, 4, 30, tzinfo=ZoneInfo("America/New_York"))
    for value in (
        datetime(2024, 3, 1, 9, 30, tzinfo=UTC),
        new_york,
        "2024-03-01T09:30:00Z",
        " 2024-03-01 09:30+00:00 ",
        "2024-03-01T04:30:00-05:00",
        pd.Timestamp("2024-03-01T04:30", tz="America/New_York"),
        expected,
        np.int64(expected),
    ):
        assert to_ns(value) == expected


def test_a_date_means_midnight_utc() -> None:
    assert to_ns(date(1970, 1, 2)) == to_ns("1970-01-02") == NS_PER_DAY


def test_the_hour_that_repeats_is_told_apart_by_its_fold() -> None:
    zone = ZoneInfo("America/New_York")
    first, second = (to_ns(datetime(2024, 11, 3, 1, 30, tzinfo=zone, fold=fold)) for fold in (0, 1))
    assert second - first == 3600 * NS_PER_SECOND


def test_nine_digits_after_the_point_are_exact() -> None:
    assert to_ns("1970-01-01T00:00:00.123456789Z") == 123_456_789
    assert to_ns("1970-01-01T00:00:00,1234567Z") == 123_456_700
    assert to_ns("1970-01-01T00:00:00.123456789000Z") == 123_456_789
    assert to_ns("1969-12-31T23:59:59.999999999+00:00") == -1


@pytest.mark.parametrize("unit", ["s", "ms", "us", "ns"])
def test_a_pandas_timestamp_keeps_its_nanoseconds_in_every_unit(unit: str) -> None:
    stamp = pd.Timestamp("2024-01-01T00:00:00.123456789", tz="UTC").as_unit(unit)
    digits = {"s": 0, "ms": 123_000_000, "us": 123_456_000, "ns": 123_456_789}
    assert to_ns(stamp) == to_ns("2024-01-01") + digits[unit]


@pytest.mark.parametrize(
    ("value", "corrected"),
    [
        (datetime(2024, 1, 1), "datetime(2024, 1, 1, tzinfo=UTC)"),
        (datetime(2024, 1, 1, 9, 30), "datetime(2024, 1, 1, 9, 30, tzinfo=UTC)"),
        (datetime(2024, 1, 1, 0, 0, 0, 5), "datetime(2024, 1, 1, 0, 0, 0, 5, tzinfo=UTC)"),
        ("2024-01-01T09:30", "'2024-01-01T09:30Z'"),
    ],
)
def test_a_naive_datetime_is_refused_with_the_corrected_call(value: datetime | str, corrected: str) -> None:
    with pytest.raises(NaiveDatetimeError) as caught:
        to_ns(value)
    assert corrected in str(caught.value)


@pytest.mark.parametrize("value", [True, 1.5, None, [], "", "yesterday", "2024-13-01", "20:15"])
def test_what_is_no_instant_is_refused_by_value(value: object) -> None:
    with pytest.raises(ConfigError, match="is not an instant"):
        to_ns(value)  # type: ignore[arg-type]


def test_more_than_nine_digits_are_refused_rather_than_cut() -> None:
    with pytest.raises(ConfigError, match="finer than a nanosecond"):
        to_ns("2024-01-01T00:00:00.1234567891Z")


def test_from_ns_cuts_towards_the_past() -> None:
    assert from_ns(-1) == datetime(1969, 12, 31, 23, 59, 59, 999_999, tzinfo=UTC)
    assert from_ns(1_999) == datetime(1970, 1, 1, 0, 0, 0, 1, tzinfo=UTC)
    assert from_ns(0).tzinfo is UTC


@pytest.mark.parametrize("ns", [HIGHEST + 1, LOWEST - 1, 10**40])
def test_years_that_a_datetime_cannot_hold_are_refused(ns: int) -> None:
    with pytest.raises(ConfigError, match="outside the years 1 to 9999"):
        from_ns(ns)


@pytest.mark.parametrize(
    ("ns", "text"),
    [
        (0, "1970-01-01T00:00:00Z"),
        (1, "1970-01-01T00:00:00.000000001Z"),
        (-500_000_000, "1969-12-31T23:59:59.5Z"),
        (LOWEST, "0001-01-01T00:00:00Z"),
    ],
)
def test_format_uses_no_more_digits_than_needed(ns: int, text: str) -> None:
    assert format_ns(ns) == text


@given(instants)
def test_an_instant_survives_its_text(ns: int) -> None:
    assert to_ns(format_ns(ns)) == ns


@given(st.datetimes(timezones=st.timezones() | st.just(timezone(timedelta(hours=-3, seconds=7)))))
def test_a_datetime_survives_its_number(moment: datetime) -> None:
    if LOWEST <= (ns := to_ns(moment)) <= HIGHEST:
        back = from_ns(ns)
        assert back - moment.astimezone(UTC) == timedelta(0)
        assert back.utcoffset() == timedelta(0)
