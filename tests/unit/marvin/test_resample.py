"""Longer bars from shorter ones: they close at their own boundary, before `on_bar` of the bar that ends there."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import builders
from weaver import Strategy, StrategyCrashed, TimeframeError, backtest
from weaver.core.bars import BarSeries
from weaver.core.calendar import SessionCalendar, Sessions
from weaver.core.errors import OffGridError
from weaver.core.instants import from_ns, to_ns
from weaver.core.timeframe import Timeframe
from weaver.marvin.resample import resample

Make = Callable[..., pl.DataFrame]
MINUTE = 60_000_000_000
HOUR = 60 * MINUTE
DAY = 24 * HOUR


def series_of(
    starts: list[int], closes: list[float], step: str = "1m", calendar: SessionCalendar | None = None
) -> BarSeries:
    close = np.array(closes, dtype=np.float64)
    return builders.series(
        close,
        opens=close - 0.5,
        highs=close + 1,
        lows=close - 0.75,
        volumes=np.arange(len(close)) + 1.0,
        starts=starts,
        step=step,
        calendar=calendar,
        extra={"signal": close * 10},
    )


@settings(max_examples=60)
@given(
    rows=st.sets(st.integers(0, 300), min_size=1).map(sorted),
    longer=st.sampled_from(["2m", "5m", "15m", "1h", "4h", "1d"]),
    first=st.integers(0, 5000),
)
def test_the_bars_are_those_of_polars_without_a_partial_first_one(rows: list[int], longer: str, first: int) -> None:
    start = to_ns("2024-01-01") + first * MINUTE
    close = [100 + (row * 7919) % 13 for row in rows]
    series = series_of([start + row * MINUTE for row in rows], close)
    got = resample(series, Timeframe(longer), None)

    frame = pl.DataFrame(
        {"ts": pl.Series(series.start, dtype=pl.Int64).cast(pl.Datetime("ns"))} | dict(series.columns())
    )
    want = frame.group_by_dynamic("ts", every=longer, closed="left", label="left", start_by="window").agg(
        pl.first("open"), pl.max("high"), pl.min("low"), pl.last("close"), pl.sum("volume"), pl.last("signal")
    )
    if series.start[0] % Timeframe(longer).ns:
        want = want[1:]
    assert got.start.tolist() == want["ts"].cast(pl.Int64).to_list()
    assert (got.end - got.start).tolist() == [Timeframe(longer).ns] * len(want)
    assert got.timeframe == Timeframe(longer)
    for name, column in got.columns().items():
        assert column.tolist() == want[name].to_list(), name


def test_weeks_begin_on_monday_as_they_do_in_polars() -> None:
    days = [to_ns("2024-01-01") + day * DAY for day in range(40) if day % 7 < 5]
    series = series_of(days, list(range(len(days))), "1d")
    got = resample(series, Timeframe("1w"), None)
    assert [str(from_ns(ns).date()) for ns in got.start.tolist()[:2]] == ["2024-01-01", "2024-01-08"]
    assert got.close.tolist() == [4, 9, 14, 19, 24, 29]


class Hourly(Strategy):
    """Notes at each bar what the resampled views show."""

    def on_start(self) -> None:
        self.seen: list[Any] = []
        self.hour = self.bars.resample("1h")
        self.hour_close = self.hour.close

    def on_bar(self, bar: Any) -> None:
        last = self.hour_close[-1] if len(self.hour) else None
        self.seen.append((f"{self.now:%H:%M}", len(self.hour), last))

    def on_stop(self) -> None:
        type(self).told = self.seen  # type: ignore[attr-defined]


def told(kind: type[Strategy], bars: Any, **options: Any) -> Any:
    backtest(kind, bars, **options)
    return kind.told  # type: ignore[attr-defined]


def test_a_longer_bar_is_there_at_the_on_bar_of_the_bar_that_ends_it(make_bars: Make) -> None:
    seen = told(Hourly, make_bars(range(1, 10), step="15m"))
    assert seen == [
        ("00:15", 0, None), ("00:30", 0, None), ("00:45", 0, None), ("01:00", 1, 4),
        ("01:15", 1, 4), ("01:30", 1, 4), ("01:45", 1, 4), ("02:00", 2, 8),
        ("02:15", 2, 8),
    ]  # fmt: skip


def test_a_partial_first_one_is_dropped(make_bars: Make) -> None:
    seen = told(Hourly, make_bars(range(1, 9), step="15m", start="2024-01-01T00:15:00Z"))
    assert [length for _, length, _ in seen] == [0, 0, 0, 0, 0, 0, 1, 1]
    assert seen[6] == ("02:00", 1, 7)


def test_a_bar_whose_last_part_is_missing_closes_at_the_next_tick_with_a_bar(make_bars: Make) -> None:
    # The bars of 00:45 and 01:00 are missing, so the hour is shown with the bar that ends at 01:30.
    seen = told(Hourly, make_bars([1, 2, 3, 6, 7, 8], step="15m", rows=[0, 1, 2, 5, 6, 7]))
    assert seen == [
        ("00:15", 0, None),
        ("00:30", 0, None),
        ("00:45", 0, None),
        ("01:30", 1, 3),
        ("01:45", 1, 3),
        ("02:00", 2, 8),
    ]


def test_the_bar_that_the_data_end_in_is_never_seen(make_bars: Make) -> None:
    assert told(Hourly, make_bars([1, 2, 3], step="15m"))[-1] == ("00:45", 0, None)


def test_longer_bars_never_call_on_bar(make_bars: Make) -> None:
    calls = []

    class Count(Strategy):
        def on_start(self) -> None:
            self.bars.resample("1h")

        def on_bar(self, bar: Any) -> None:
            calls.append(bar.ts)

        def on_bars(self, bars: Any) -> None:
            assert list(bars) == ["ASSET"]

    backtest(Count, make_bars(range(1, 10), step="15m"))
    assert len(calls) == len(set(calls)) == 9


def test_resampling_is_for_on_start_only(make_bars: Make) -> None:
    class Late(Strategy):
        def on_bar(self, bar: Any) -> None:
            self.bars.resample("1h")

    with pytest.raises(StrategyCrashed, match=r"ASSET@1h: resample and join are for on_start only"):
        backtest(Late, make_bars([1, 2], step="15m"))


@pytest.mark.parametrize("wanted", ["15m", "5m", "20m"])
def test_only_a_multiple_of_the_bars_is_longer(make_bars: Make, wanted: str) -> None:
    class Wrong(Strategy):
        def on_start(self) -> None:
            with pytest.raises(TimeframeError, match=f"cannot resample 15m bars to {wanted}"):
                self.bars.resample(wanted)

    backtest(Wrong, make_bars([1, 2], step="15m"))


def test_an_indicator_of_longer_bars_is_ready_when_they_are_and_on_bar_waits(make_bars: Make) -> None:
    seen = []

    class Slow(Strategy):
        def on_start(self) -> None:
            self.hour = self.bars.resample("1h")
            self.change = self.indicator(lambda close: np.r_[np.nan, np.diff(close)], self.hour.close)

        def on_bar(self, bar: Any) -> None:
            seen.append((f"{self.now:%H:%M}", self.change[-1], len(self.change)))

    backtest(Slow, make_bars(range(1, 14), step="15m"))
    assert seen[0] == ("02:00", 4, 2)
    assert [at for at, _, _ in seen] == ["02:00", "02:15", "02:30", "02:45", "03:00", "03:15"]
    assert seen[4] == ("03:00", 4, 3)


def test_a_timer_sees_the_longer_bars_that_have_ended_even_where_on_bar_still_waits(make_bars: Make) -> None:
    seen = []

    class Waits(Strategy):
        def on_start(self) -> None:
            self.hour = self.bars.resample("1h")
            self.indicator(lambda close: np.where(np.arange(len(close)) < 11, np.nan, close), self.bars.close)
            self.every("1h", lambda: seen.append((f"{self.now:%H:%M}", len(self.hour))))

        def on_bar(self, bar: Any) -> None:
            pass

    backtest(Waits, make_bars(range(1, 14), step="15m"))
    assert seen == [("01:00", 1), ("02:00", 2), ("03:00", 3)]


def test_a_timer_in_a_gap_sees_the_longer_bars_that_have_ended(make_bars: Make) -> None:
    seen = []

    class Gap(Strategy):
        def on_start(self) -> None:
            self.hour = self.bars.resample("1h")
            self.every("1h", lambda: seen.append((f"{self.now:%H:%M}", len(self.hour))))

    # The last quarter of the first hour is missing, and so is all of the second.
    backtest(Gap, make_bars([1, 2, 3, 9, 10], step="15m", rows=[0, 1, 2, 8, 9]))
    assert seen == [("01:00", 1), ("02:00", 1)]


def test_a_longer_bar_can_be_made_longer_again(make_bars: Make) -> None:
    seen = []

    class Twice(Strategy):
        def on_start(self) -> None:
            self.hours = self.bars.resample("1h").resample("2h")

        def on_bar(self, bar: Any) -> None:
            seen.append((f"{self.now:%H:%M}", [*self.hours.close], str(self.hours.timeframe)))

    backtest(Twice, make_bars(range(1, 18), step="15m"))
    assert seen[7] == ("02:00", [8], "2h")
    assert seen[-1] == ("04:15", [8, 16], "2h")


def test_each_symbol_has_its_own_longer_bars(make_bars: Make) -> None:
    seen = []

    class Both(Strategy):
        def on_start(self) -> None:
            self.hours = {symbol: self.bars[symbol].resample("1h") for symbol in self.symbols}

        def on_bars(self, bars: Any) -> None:
            seen.append((f"{self.now:%H:%M}", [[*hour.close] for hour in self.hours.values()]))

    frames = {
        "A": make_bars(range(1, 9), step="15m"),
        "B": make_bars(range(11, 15), step="15m", start="2024-01-01T01:00:00Z"),
    }
    backtest(Both, frames)
    assert seen[3] == ("01:00", [[4], []])
    assert seen[7] == ("02:00", [[4, 8], [14]])


# With a session calendar.


class NineToFive:
    """Sessions on weekdays from 14:30 to 17:45 UTC, closed from 16:00 to 16:30 for lunch."""

    name = "FAKE"

    def sessions(self, first_ns: int, last_ns: int) -> Sessions:
        days = np.arange(first_ns // DAY - 3, last_ns // DAY + 3, dtype=np.int64)
        days = days[(days + 3) % 7 < 5] * DAY
        opens, closes = days + 14 * HOUR + 30 * MINUTE, days + 17 * HOUR + 45 * MINUTE
        touch = (days <= last_ns) & (closes >= first_ns)
        return Sessions(days[touch], opens[touch], closes[touch])

    def boundaries(self, first_ns: int, last_ns: int, timeframe: Timeframe) -> Any:
        ticks = []
        for date in self.sessions(first_ns, last_ns).date.tolist():
            opened, noon = date + 14 * HOUR + 30 * MINUTE, date + 16 * HOUR
            again, closed = noon + 30 * MINUTE, date + 17 * HOUR + 45 * MINUTE
            if timeframe.is_intraday:
                for low, high in ((opened, noon), (again, closed)):
                    ticks += [*range(low, high, timeframe.ns), high]
            else:
                ticks += [opened, closed]
        return np.array([tick for tick in ticks if first_ns <= tick <= last_ns], dtype=np.int64)

    def bar_ends(self, starts: Any, timeframe: Timeframe) -> Any:
        if not timeframe.is_intraday:
            return starts + 17 * HOUR + 45 * MINUTE
        bounds = self.boundaries(int(starts.min()) - DAY, int(starts.max()) + DAY, timeframe)
        row = np.searchsorted(bounds, starts)
        if (bounds[row] != starts).any():
            raise OffGridError("not a bar")
        return bounds[row + 1]

    def session_ids(self, starts: Any, timeframe: Timeframe) -> Any:
        return starts - starts % DAY


FAKE = NineToFive()


def session_series(step: str, first: str = "2024-01-02", last: str = "2024-01-12") -> BarSeries:
    """Every bar that the calendar has, in [first, last)."""
    bounds = FAKE.boundaries(to_ns(first), to_ns(last), Timeframe(step))
    starts = [ns for ns in bounds.tolist() if ns % DAY not in (16 * HOUR, 17 * HOUR + 45 * MINUTE)]
    return series_of(starts, list(range(1, len(starts) + 1)), step, FAKE)


def test_the_fake_calendar_is_one() -> None:
    assert isinstance(FAKE, SessionCalendar)


def clock(ns: int) -> str:
    return f"{from_ns(ns):%d %H:%M}"


def test_with_a_calendar_longer_bars_are_cut_where_the_calendars_own_are() -> None:
    series = session_series("15m")
    got = resample(series, Timeframe("1h"), FAKE)
    first_day = [(clock(a), clock(b)) for a, b in zip(got.start.tolist(), got.end.tolist(), strict=True)][:4]
    assert first_day == [
        ("02 14:30", "02 15:30"),
        ("02 15:30", "02 16:00"),
        ("02 16:30", "02 17:30"),
        ("02 17:30", "02 17:45"),
    ]
    assert got.close[:4].tolist() == [4, 6, 10, 11]
    assert got.end.tolist() == FAKE.bar_ends(got.start, Timeframe("1h")).tolist()


def test_with_a_calendar_the_first_day_is_whole_when_its_first_bar_is_there() -> None:
    got = resample(session_series("15m"), Timeframe("1d"), FAKE)
    assert [clock(ns) for ns in got.start.tolist()][:2] == ["02 00:00", "03 00:00"]
    assert [clock(ns) for ns in got.end.tolist()][:2] == ["02 17:45", "03 17:45"]
    assert got.close[:2].tolist() == [11, 22]
    partial = session_series("15m").rows(1, 30)
    assert clock(int(resample(partial, Timeframe("1d"), FAKE).start[0])) == "03 00:00"
    assert clock(int(resample(partial, Timeframe("1h"), FAKE).start[0])) == "02 15:30"


def test_with_a_calendar_a_week_ends_with_its_last_session() -> None:
    days = series_of([to_ns(f"2024-01-{day:02d}") for day in (4, 5, 8, 9, 10, 11, 12, 15)], list(range(8)), "1d", FAKE)
    got = resample(days, Timeframe("1w"), FAKE)
    # The week of the 1st lacks its first sessions, the one of the 15th has not ended with the data but is cut off nobody sees.
    assert [clock(ns) for ns in got.start.tolist()] == ["08 00:00", "15 00:00"]
    assert [clock(ns) for ns in got.end.tolist()] == ["12 17:45", "19 17:45"]
    assert got.close.tolist() == [6, 7]


def test_with_a_calendar_a_week_from_intraday_bars_is_that_of_daily_bars() -> None:
    got = resample(session_series("15m", "2024-01-08", "2024-01-20"), Timeframe("1w"), FAKE)
    assert [clock(ns) for ns in got.start.tolist()] == ["08 00:00", "15 00:00"]
    assert [clock(ns) for ns in got.end.tolist()] == ["12 17:45", "19 17:45"]
    assert got.close.tolist() == [55, 110]


def test_with_a_calendar_a_week_whose_monday_is_a_holiday_is_whole() -> None:
    class NewYear(NineToFive):
        def sessions(self, first_ns: int, last_ns: int) -> Sessions:
            found = super().sessions(first_ns, last_ns)
            keep = found.date != to_ns("2024-01-01")
            return Sessions(found.date[keep], found.open[keep], found.close[keep])

    days = series_of([to_ns(f"2024-01-{day:02d}") for day in (2, 3, 4, 5, 8)], list(range(5)), "1d", FAKE)
    assert clock(int(resample(days, Timeframe("1w"), NewYear()).start[0])) == "01 00:00"


def test_with_a_calendar_a_longer_bar_is_seen_at_its_end_and_not_before() -> None:
    seen = []

    class Daily(Strategy):
        def on_start(self) -> None:
            self.day = self.bars.resample("1d")
            self.hour = self.bars.resample("1h")

        def on_bar(self, bar: Any) -> None:
            seen.append((f"{self.now:%d %H:%M}", len(self.day), len(self.hour)))

    backtest(Daily, session_series("15m"), calendar=FAKE)
    assert seen[:6] == [
        ("02 14:45", 0, 0), ("02 15:00", 0, 0), ("02 15:15", 0, 0), ("02 15:30", 0, 1), ("02 15:45", 0, 1), ("02 16:00", 0, 2),
    ]  # fmt: skip
    assert seen[9:12] == [("02 17:30", 0, 3), ("02 17:45", 1, 4), ("03 14:45", 1, 4)]


def test_an_empty_series_gives_an_empty_one_of_the_longer_timeframe() -> None:
    got = resample(series_of([], []), Timeframe("1h"), None)
    assert len(got) == 0
    assert got.timeframe == Timeframe("1h")
    only_partial = resample(series_of([to_ns("2024-01-01") + MINUTE], [5.0]), Timeframe("1h"), None)
    assert len(only_partial) == 0
    assert only_partial.timeframe == Timeframe("1h")
