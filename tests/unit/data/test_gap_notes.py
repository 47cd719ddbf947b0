"""Gaps, halts and splits: what is said about a series, and what is not."""

from __future__ import annotations

from datetime import date, timedelta

import numpy as np
import polars as pl
import pytest

from weaver.core.instants import NS_PER_DAY, to_ns
from weaver.core.timeframe import Timeframe
from weaver.data.gap_notes import find_gaps, find_halts, find_splits, notes_about, split_warnings
from weaver.data.load_bars import load_bars

MINUTE = 60 * 10**9


def grid(*places: int, step: int = MINUTE) -> np.ndarray:
    return np.array(places, dtype=np.int64) * step


def test_a_gap_lies_between_the_end_of_one_bar_and_the_start_of_the_next() -> None:
    starts = grid(0, 1, 5, 6, 8)
    gaps = find_gaps(starts, starts + MINUTE, Timeframe.of("1m"))
    assert [(gap.start // MINUTE, gap.end // MINUTE) for gap in gaps] == [(2, 5), (7, 8)]
    assert gaps[0].length == 3 * MINUTE
    assert not find_gaps(starts[:1], starts[:1] + MINUTE, Timeframe.of("1m"))


def test_a_week_end_is_no_gap_in_daily_bars_unless_others_have_bars_there() -> None:
    days = [
        date(2024, 1, 4) + timedelta(days=k) for k in (0, 1, 4, 5, 12)
    ]  # Thursday, Friday, Monday, Tuesday, Tuesday
    starts = np.array([to_ns(day) for day in days], dtype=np.int64)
    gaps = find_gaps(starts, starts + NS_PER_DAY, Timeframe.of("1d"))
    assert [gap.length // NS_PER_DAY for gap in gaps] == [6]
    with_saturday = np.sort(np.append(starts, to_ns("2024-01-06")))
    assert len(find_gaps(with_saturday, with_saturday + NS_PER_DAY, Timeframe.of("1d"))) == 2


@pytest.mark.filterwarnings("ignore::DeprecationWarning")  # exchange_calendars 4 on pandas 3.1
def test_with_a_calendar_only_its_sessions_have_gaps() -> None:
    pytest.importorskip("exchange_calendars")
    from weaver.glados.clock.calendars import get_calendar

    calendar = get_calendar("XNYS")
    bounds = calendar.boundaries(to_ns("2024-01-04"), to_ns("2024-01-10"), Timeframe.of("1h"))
    closes = calendar.sessions(to_ns("2024-01-04"), to_ns("2024-01-10")).close
    starts = bounds[~np.isin(bounds, closes)]
    ends = calendar.bar_ends(starts, Timeframe.of("1h"))
    assert not find_gaps(starts, ends, Timeframe.of("1h"), calendar)
    less = np.delete(starts, [2, 3, 10])
    gaps = find_gaps(less, calendar.bar_ends(less, Timeframe.of("1h")), Timeframe.of("1h"), calendar)
    assert [gap.start for gap in gaps] == [starts[2], starts[10]]
    whole_session = np.delete(starts, range(7, 14))
    assert (
        len(
            find_gaps(whole_session, calendar.bar_ends(whole_session, Timeframe.of("1h")), Timeframe.of("1h"), calendar)
        )
        == 1
    )
    days = np.array([to_ns(day) for day in ("2024-01-04", "2024-01-05", "2024-01-09")], dtype=np.int64)
    day_gaps = find_gaps(days, calendar.bar_ends(days, Timeframe.of("1d")), Timeframe.of("1d"), calendar)
    assert [gap.end for gap in day_gaps] == [to_ns("2024-01-09")]


@pytest.mark.filterwarnings("ignore::DeprecationWarning")  # exchange_calendars 4 on pandas 3.1
def test_a_lunch_break_is_no_gap() -> None:
    pytest.importorskip("exchange_calendars")
    from weaver.glados.clock.calendars import get_calendar

    calendar, hour = get_calendar("XTKS"), Timeframe.of("30m")
    bounds = calendar.boundaries(to_ns("2024-01-04"), to_ns("2024-01-06"), hour)
    starts = []
    for bound in bounds:
        try:
            calendar.bar_ends(bound[None], hour)
            starts.append(int(bound))
        except Exception:
            continue
    series = np.array(starts, dtype=np.int64)
    assert not find_gaps(series, calendar.bar_ends(series, hour), hour, calendar)
    less = np.delete(series, 4)
    assert len(find_gaps(less, calendar.bar_ends(less, hour), hour, calendar)) == 1


def _flat(count: int, volume: float = 1.0) -> tuple[np.ndarray, ...]:
    starts = grid(*range(count))
    price = np.linspace(100.0, 110.0, count)
    return starts, price, price + 1, price - 1, price + 0.5, np.full(count, volume)


def test_a_run_of_flat_bars_without_volume_is_a_halt() -> None:
    starts, o, h, low, c, v = _flat(20)
    o[5:12] = h[5:12] = low[5:12] = c[5:12] = c[4]
    v[5:12] = 0.0
    assert find_halts(starts, o, h, low, c, v) == [(5, 11)]
    v[8] = 1.0
    assert find_halts(starts, o, h, low, c, v) == []


def test_quotes_without_any_volume_are_not_halted() -> None:
    starts, o, *_ = _flat(20)
    o[:] = 5.0
    assert find_halts(starts, o, o, o, o, np.zeros(20)) == []


@pytest.mark.parametrize(
    ("factor", "ratio"), [(1 / 2, "2:1"), (1 / 3, "3:1"), (2 / 3, "3:2"), (1 / 4, "4:1"), (10.0, "1:10"), (2.0, "1:2")]
)
def test_a_round_jump_that_lasts_looks_like_a_split(factor: float, ratio: str) -> None:
    close = np.full(20, 100.0)
    close[10:] *= factor
    assert find_splits(grid(*range(20), step=NS_PER_DAY), close * 1.005, close) == [(10, ratio)]


def test_a_jump_that_is_not_round_small_short_or_after_a_long_gap_does_not() -> None:
    days = grid(*range(20), step=NS_PER_DAY)
    for factor in (0.55, 0.62, 1.3):
        close = np.full(20, 100.0)
        close[10:] *= factor
        assert find_splits(days, close, close) == []
    bad_tick = np.full(20, 100.0)
    bad_tick[10] = 50.0
    assert find_splits(days, bad_tick, bad_tick) == []
    close = np.full(20, 100.0)
    close[10:] /= 2
    late = days.copy()
    late[10:] += 60 * NS_PER_DAY
    assert find_splits(late, close, close) == []


def test_notes_count_gaps_with_the_largest_and_the_first() -> None:
    starts = grid(0, 1, 3, 4, 10)
    flat = np.full(5, 100.0)
    columns = dict.fromkeys(("open", "high", "low", "close", "volume"), flat)
    (note,) = notes_about("X", Timeframe.of("1m"), starts, starts + MINUTE, columns)
    assert note == (
        "X: 2 gaps in the 1m bars; the largest is 5m from 1970-01-01T00:05:00Z, the first 1m from 1970-01-01T00:02:00Z"
    )


def test_more_than_five_splits_are_counted() -> None:
    close = np.concatenate([np.full(10, 100.0 / 2**k) for k in range(8)])
    days = grid(*range(80), step=NS_PER_DAY)
    notes = split_warnings("X", days, close, close)
    assert sum("looks like" in note for note in notes) == 5
    assert "X: 2 further bars look like splits in unadjusted data" in notes


def test_a_split_is_named_with_its_ratio_and_the_distance_from_it() -> None:
    close = np.full(20, 100.0)
    close[10:] = 51.0
    (text,) = split_warnings("X", grid(*range(20), step=NS_PER_DAY), close, close)
    assert "looks like a 2:1 split in unadjusted data at 1970-01-11T00:00:00Z" in text
    assert "the close before is 100, the open 51, 2.0 % from that ratio; use adjusted prices" in text


@pytest.mark.parametrize("fall", [0.31, 0.32, 0.345, 0.36, 0.47])
def test_a_real_fall_that_is_not_close_to_a_ratio_is_no_split(fall: float) -> None:
    close = np.full(20, 100.0)
    close[10:] *= 1 - fall
    assert find_splits(grid(*range(20), step=NS_PER_DAY), close, close) == []


def test_adjusted_closes_tell_a_real_fall_from_a_split() -> None:
    days = grid(*range(20), step=NS_PER_DAY)
    close = np.full(20, 100.0)
    close[10:] = 50.0
    real, split, unknown = close * 0.9, np.full(20, 45.0), np.full(20, np.nan)
    assert find_splits(days, close, close, close) == []  # adjusted already
    assert find_splits(days, close, close, real) == []
    assert find_splits(days, close, close, split) == [(10, "2:1")]
    assert find_splits(days, close, close, unknown) == [(10, "2:1")]
    frame = pl.DataFrame({"date": [date(2024, 1, 1) + timedelta(days=day) for day in range(20)],
                          **dict.fromkeys(("open", "high", "low", "close"), close), "volume": 1.0})  # fmt: skip
    assert len(load_bars(frame)["ASSET"].warnings) == 1
    assert load_bars(frame.with_columns(adj_close=pl.Series(real)))["ASSET"].warnings == ()
