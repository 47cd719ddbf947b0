"""Timeframe: which lengths there are, and alignment in exact integer arithmetic."""

from __future__ import annotations

import copy
import pickle
import re
from datetime import timedelta

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from weaver.core.errors import TimeframeError
from weaver.core.instants import NS_PER_DAY, NS_PER_SECOND, from_ns, to_ns
from weaver.core.timeframe import Timeframe

ALL = (
    [f"{n}s" for n in (1, 2, 3, 4, 5, 6, 10, 12, 15, 20, 30)]
    + [f"{n}m" for n in (1, 2, 3, 4, 5, 6, 10, 12, 15, 20, 30)]
    + ["1h", "2h", "3h", "4h", "6h", "8h", "12h", "1d", "1w"]
)
timeframes = st.sampled_from(ALL).map(Timeframe)
# The years 1 to 9999: everything that a datetime can name.
instants = st.integers(to_ns("0001-02-01"), to_ns("9999-11-30"))


@pytest.mark.parametrize("text", ALL)
def test_a_count_that_divides_its_parent_is_a_timeframe(text: str) -> None:
    assert str(Timeframe(text)) == Timeframe(text).text == text


@pytest.mark.parametrize(("text", "same"), [("60m", "1h"), ("60s", "1m"), ("24h", "1d"), ("7d", "1w"), (" 5m ", "5m")])
def test_equal_lengths_are_equal_and_print_the_same(text: str, same: str) -> None:
    assert Timeframe(text) == Timeframe(same)
    assert hash(Timeframe(text)) == hash(Timeframe(same))
    assert Timeframe(text).text == same


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("90m", "90 minutes do not divide an hour .60 minutes. evenly.*use '1h' or '2h'"),
        ("45s", "45 seconds do not divide a minute.*use '30s' or '1m'"),
        ("7h", "7 hours do not divide a day.*'6h' or '8h'"),
        ("2d", "2 days do not divide a week.*'1d' or '1w'"),
        ("120m", "write it as '2h'"),
        ("48h", "48 hours do not divide a day.*use '1d' or '1w'"),
        ("14d", "14 days do not divide a week.*use '1w'"),
        ("1H", "write it as '1h'"),
        ("5 min", "write it as '5m'"),
        ("1Day", "write it as '1d'"),
        ("2w", "weeks have no larger unit.*'1w'"),
        ("1M", "months differ in length"),
        ("3 months", "months differ in length"),
        ("100ms", "the shortest bar is '1s'"),
        ("0m", "write a count and a unit"),
        ("01m", "write a count and a unit"),
        ("1.5h", "write a count and a unit"),
        ("", "write a count and a unit"),
        (60, "write a count and a unit"),
        (None, "write a count and a unit"),
    ],
)
def test_anything_else_is_refused_with_the_reason(text: object, reason: str) -> None:
    with pytest.raises(TimeframeError, match=reason):
        Timeframe(text)  # type: ignore[arg-type]


@given(st.integers(1, 200), st.sampled_from("smhdw"))
def test_what_a_refusal_offers_is_a_timeframe(count: int, unit: str) -> None:
    try:
        Timeframe(f"{count}{unit}")
    except TimeframeError as error:
        offered = re.findall(r"'(\w+)'", str(error))[1:]
        assert offered
        for text in offered:
            Timeframe(text)


def test_of_takes_either() -> None:
    hour = Timeframe("1h")
    assert Timeframe.of(hour) is hour
    assert Timeframe.of("1h") == hour


def test_a_timeframe_is_frozen_and_slotted() -> None:
    hour = Timeframe("1h")
    with pytest.raises(AttributeError, match="frozen"):
        hour.ns = 1
    with pytest.raises(AttributeError, match="frozen"):
        del hour.ns
    assert not hasattr(hour, "__dict__")


def test_a_timeframe_copies_and_pickles_and_shows_how_it_is_made() -> None:
    week = Timeframe("1w")
    assert copy.deepcopy(week) == pickle.loads(pickle.dumps(week)) == week
    assert pickle.loads(pickle.dumps(week)).bar_start(0) == week.bar_start(0)
    assert repr(week) == "Timeframe('1w')"


def test_timeframes_are_ordered_by_length_and_compare_with_nothing_else() -> None:
    assert sorted(map(Timeframe, ("1w", "1s", "1d", "30m"))) == [Timeframe(t) for t in ("1s", "30m", "1d", "1w")]
    assert Timeframe("1m") != "1m"
    with pytest.raises(TypeError):
        assert Timeframe("1m") < "1h"  # type: ignore[operator]


@pytest.mark.parametrize("text", ALL)
def test_intraday_and_daily_are_opposites(text: str) -> None:
    timeframe = Timeframe(text)
    assert timeframe.is_daily_or_longer == (text in ("1d", "1w")) == (not timeframe.is_intraday)


@pytest.mark.parametrize(
    ("text", "ts", "start", "after"),
    [
        ("4h", "2024-03-05T05:59:59.999999999Z", "2024-03-05T04:00Z", "2024-03-05T08:00Z"),
        ("1d", "2024-03-05T23:00Z", "2024-03-05", "2024-03-06"),
        ("1w", "2024-03-10T23:59Z", "2024-03-04", "2024-03-11"),
        ("1w", "2024-03-11", "2024-03-11", "2024-03-18"),
        ("1w", "1969-12-30", "1969-12-29", "1970-01-05"),
        ("15m", "1969-12-31T23:59Z", "1969-12-31T23:45Z", "1970-01-01"),
    ],
)
def test_bars_align_to_utc(text: str, ts: str, start: str, after: str) -> None:
    assert Timeframe(text).bar_start(to_ns(ts)) == to_ns(start)
    assert Timeframe(text).next_bar_start(to_ns(ts)) == to_ns(after)


@given(timeframes, instants)
def test_an_instant_lies_in_exactly_one_bar(timeframe: Timeframe, ts: int) -> None:
    start, after = timeframe.bar_start(ts), timeframe.next_bar_start(ts)
    assert start <= ts < after == start + timeframe.ns
    assert timeframe.bar_start(start) == start
    assert timeframe.bar_start(after - 1) == start
    assert timeframe.bar_start(after) == after


@given(timeframes, instants)
def test_a_bar_starts_where_the_calendar_says(timeframe: Timeframe, ts: int) -> None:
    start = from_ns(timeframe.bar_start(ts))
    midnight = start.replace(hour=0, minute=0, second=0, microsecond=0)
    assert (start - midnight) % timedelta(microseconds=min(timeframe.ns, NS_PER_DAY) // 1000) == timedelta(0)
    if timeframe.text == "1w":
        assert start.weekday() == 0


@given(timeframes, instants, st.integers(-50, 50), st.integers(-50, 50), st.integers(0, NS_PER_SECOND))
def test_count_is_the_number_of_boundaries_from_start_up_to_end(
    timeframe: Timeframe, ts: int, low: int, high: int, off: int
) -> None:
    base = timeframe.bar_start(ts)
    start, end = base + low * timeframe.ns - off, base + high * timeframe.ns + off
    boundaries = [b for n in range(-60, 61) if start <= (b := base + n * timeframe.ns) < end]
    assert timeframe.count(start, end) == len(boundaries)


@given(timeframes, st.lists(instants, max_size=20))
def test_the_array_forms_agree_with_the_scalar_ones(timeframe: Timeframe, values: list[int]) -> None:
    # int64 nanoseconds reach from 1678 to 2261.
    ts = np.array([v % (2 * 10**18) - 10**18 for v in values], dtype=np.int64)
    starts, offsets = timeframe.bar_starts(ts), timeframe.offsets(ts)
    assert starts.dtype == offsets.dtype == np.int64
    assert starts.tolist() == [timeframe.bar_start(v) for v in ts.tolist()]
    assert offsets.tolist() == [v - timeframe.bar_start(v) for v in ts.tolist()]
