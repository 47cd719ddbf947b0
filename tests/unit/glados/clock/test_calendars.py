"""Session calendars: bars and ticks follow an exchange's sessions, half days, breaks and closures."""

from __future__ import annotations

import asyncio
import builtins
import pickle
import threading
from collections.abc import Iterable
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from weaver.core.calendar import SessionCalendar
from weaver.core.errors import CalendarError, ConfigError, MissingExtra, OffGridError
from weaver.core.instants import NS_PER_DAY, NS_PER_SECOND, format_ns, to_ns
from weaver.core.timeframe import Timeframe
from weaver.glados.clock import BacktestClock, RealtimeClock, get_calendar
from weaver.glados.clock.calendars import ExchangeCalendar
from weaver.glados.clock.grid import SessionGrid, UtcGrid
from weaver.testing import SimulatedTime

HOUR = Timeframe("1h")
DAY = Timeframe("1d")
WEEK = Timeframe("1w")


def instants(*texts: str) -> NDArray[np.int64]:
    return np.array([to_ns(text) for text in texts], dtype=np.int64)


def texts(values: Iterable[int]) -> list[str]:
    return [format_ns(int(value)).replace(":00Z", "Z") for value in values]


@pytest.fixture(scope="module")
def nyse() -> ExchangeCalendar:
    return get_calendar("XNYS")


class TestGetCalendar:
    def test_codes_and_aliases_in_any_case_give_the_same_calendar(self, nyse: ExchangeCalendar) -> None:
        assert get_calendar("nyse") is get_calendar(" XNYS ") is nyse
        assert nyse.name == "XNYS"
        assert isinstance(nyse, SessionCalendar)
        assert repr(nyse) == "get_calendar('XNYS')"

    def test_an_unknown_name_is_refused_with_the_nearest(self) -> None:
        with pytest.raises(CalendarError, match=r"calendar 'XNYZ' does not exist; did you mean .*'XNYS'"):
            get_calendar("XNYZ")
        with pytest.raises(CalendarError, match="for example 'XNYS'"):
            get_calendar("qqqqqqqq")

    def test_without_the_library_the_extra_is_named(self, monkeypatch: pytest.MonkeyPatch) -> None:
        real = builtins.__import__

        def without(name: str, *args: Any, **named: Any) -> Any:
            if name == "exchange_calendars":
                raise ImportError(name)
            return real(name, *args, **named)

        monkeypatch.setattr(builtins, "__import__", without)
        with pytest.raises(MissingExtra, match=r"weaver-trading\[calendars\]"):
            get_calendar("XNYS")

    def test_a_calendar_pickles_as_its_name(self, nyse: ExchangeCalendar) -> None:
        assert pickle.loads(pickle.dumps(nyse)) is nyse


class TestSessions:
    def test_half_days_close_early_and_holidays_are_none(self, nyse: ExchangeCalendar) -> None:
        date, opens, closes = nyse.sessions(to_ns("2024-11-28"), to_ns("2024-12-02"))
        assert texts(date) == ["2024-11-29T00:00Z", "2024-12-02T00:00Z"]
        assert texts(opens) == ["2024-11-29T14:30Z", "2024-12-02T14:30Z"]
        assert texts(closes) == ["2024-11-29T18:00Z", "2024-12-02T21:00Z"]
        assert date.dtype == opens.dtype == closes.dtype == np.int64

    @pytest.mark.parametrize(
        ("first", "last", "count"),
        [
            ("2024-12-02T20:59:59Z", "2024-12-02T23:00Z", 1),
            ("2024-12-02T21:00Z", "2024-12-02T23:00Z", 0),
            ("2024-12-01", "2024-12-02", 1),
            ("2024-11-30", "2024-12-01T23:59Z", 0),
        ],
    )
    def test_a_session_counts_from_its_date_up_to_before_its_close(
        self, nyse: ExchangeCalendar, first: str, last: str, count: int
    ) -> None:
        assert len(nyse.sessions(to_ns(first), to_ns(last)).date) == count

    def test_a_session_may_open_on_the_day_before_its_date(self) -> None:
        date, opens, _ = get_calendar("XASX").sessions(to_ns("2024-12-02T22:00Z"), to_ns("2024-12-02T23:30Z"))
        assert texts(date) == ["2024-12-03T00:00Z"]
        assert texts(opens) == ["2024-12-02T23:00Z"]

    def test_the_answers_cannot_be_changed_by_who_gets_them(self, nyse: ExchangeCalendar) -> None:
        with pytest.raises(ValueError, match="read-only"):
            nyse.sessions(to_ns("2024-11-28"), to_ns("2024-12-02")).open[0] = 0


class TestBarEnds:
    def test_hourly_bars_start_at_the_open_and_the_last_is_cut_at_the_close(self, nyse: ExchangeCalendar) -> None:
        starts = instants("2024-12-02T14:30Z", "2024-12-02T15:30Z", "2024-12-02T20:30Z", "2024-11-29T17:30Z")
        assert texts(nyse.bar_ends(starts, HOUR)) == [
            "2024-12-02T15:30Z",
            "2024-12-02T16:30Z",
            "2024-12-02T21:00Z",
            "2024-11-29T18:00Z",
        ]

    def test_a_daily_bar_is_named_by_its_date_and_ends_at_the_close(self, nyse: ExchangeCalendar) -> None:
        assert texts(nyse.bar_ends(instants("2024-11-29", "2024-12-02"), DAY)) == [
            "2024-11-29T18:00Z",
            "2024-12-02T21:00Z",
        ]

    def test_a_weekly_bar_is_named_by_its_monday_and_ends_with_its_last_session(self, nyse: ExchangeCalendar) -> None:
        # Monday 27 May 2024 was Memorial Day, and is the name of its week all the same.
        assert texts(nyse.bar_ends(instants("2024-05-27", "2024-11-25"), WEEK)) == [
            "2024-05-31T20:00Z",
            "2024-11-29T18:00Z",
        ]

    def test_a_lunch_break_ends_a_bar_and_the_reopening_starts_one(self) -> None:
        tokyo = get_calendar("XTKS")
        starts = instants("2024-03-05T02:00Z", "2024-03-05T03:30Z")
        assert texts(tokyo.bar_ends(starts, HOUR)) == ["2024-03-05T02:30Z", "2024-03-05T04:30Z"]
        assert texts(tokyo.session_ids(starts, HOUR)) == ["2024-03-05T00:00Z"] * 2

    def test_session_ids_are_the_dates_even_when_the_session_opens_the_day_before(self) -> None:
        sydney = get_calendar("XASX")
        assert texts(sydney.session_ids(instants("2024-12-02T23:00Z"), HOUR)) == ["2024-12-03T00:00Z"]
        assert texts(sydney.session_ids(instants("2024-12-03"), DAY)) == ["2024-12-03T00:00Z"]
        assert texts(sydney.session_ids(instants("2024-12-02"), WEEK)) == ["2024-12-02T00:00Z"]

    def test_no_bars_have_no_ends(self, nyse: ExchangeCalendar) -> None:
        assert len(nyse.bar_ends(instants(), HOUR)) == len(nyse.session_ids(instants(), HOUR)) == 0

    @pytest.mark.parametrize(
        ("start", "timeframe", "message"),
        [
            ("2024-12-02T15:00Z", HOUR, "30m after the bar start 2024-12-02T14:30:00Z; bars are aligned to the open"),
            ("2024-12-02T14:31:30Z", HOUR, "it is 1m 30s after the bar start"),
            ("2024-12-02T14:30:00.5Z", HOUR, "it is 500ms after the bar start"),
            (
                "2024-12-02T14:00Z",
                HOUR,
                "2d 20h after the last close and 30m before trading opens at 2024-12-02T14:30",
            ),
            (
                "2024-12-02T21:00Z",
                HOUR,
                "is closed then; it is 0s after the last close and 17h 30m before",
            ),
            ("2024-11-30T19:00Z", HOUR, "it is 1d 1h after the last close"),
            ("2024-11-28", DAY, r"there is no session on that day \(Thursday\)"),
            ("2024-12-02T05:00Z", DAY, "named by its session date at 00:00 UTC, and this is 5h after it"),
            ("2024-12-03", WEEK, "named by its Monday at 00:00 UTC, and this is 1d after it"),
        ],
    )
    def test_what_is_no_bar_start_is_refused_with_value_and_offset(
        self, nyse: ExchangeCalendar, start: str, timeframe: Timeframe, message: str
    ) -> None:
        named = f"{format_ns(to_ns(start))} is not the start of a {timeframe} bar of calendar 'XNYS'"
        with pytest.raises(OffGridError, match=message) as caught:
            nyse.bar_ends(instants(start), timeframe)
        assert str(caught.value).startswith(named)
        with pytest.raises(OffGridError):
            nyse.session_ids(instants(start), timeframe)

    def test_a_week_without_a_session_is_refused(self) -> None:
        with pytest.raises(OffGridError, match="no session on that week"):
            get_calendar("XSHG").bar_ends(instants("2023-01-23"), WEEK)

    def test_the_first_of_many_is_named_and_the_others_counted(self, nyse: ExchangeCalendar) -> None:
        with pytest.raises(OffGridError, match=r"2024-12-02T15:00:00Z is not .*\(1 more like it\)"):
            nyse.bar_ends(instants("2024-12-02T14:30Z", "2024-12-02T15:00Z", "2024-12-02T16:00Z"), HOUR)

    def test_before_all_sessions_only_the_next_open_is_named(self) -> None:
        with pytest.raises(OffGridError, match="it is 30m before trading opens at 1990-12-03T01:30:00Z"):
            get_calendar("XSHG").bar_ends(instants("1990-12-03T01:00Z"), HOUR)


class TestBoundaries:
    def test_intraday_ticks_are_opens_and_bar_ends(self, nyse: ExchangeCalendar) -> None:
        ticks = nyse.boundaries(to_ns("2024-11-28"), to_ns("2024-12-02T15:30Z"), HOUR)
        assert texts(ticks) == [
            *(f"2024-11-29T{time}Z" for time in ("14:30", "15:30", "16:30", "17:30", "18:00")),
            *(f"2024-12-02T{time}Z" for time in ("14:30", "15:30")),
        ]

    def test_daily_ticks_are_opens_and_closes(self, nyse: ExchangeCalendar) -> None:
        ticks = nyse.boundaries(to_ns("2024-11-29"), to_ns("2024-12-03"), DAY)
        assert texts(ticks) == ["2024-11-29T14:30Z", "2024-11-29T18:00Z", "2024-12-02T14:30Z", "2024-12-02T21:00Z"]

    def test_weekly_ticks_are_the_first_open_and_the_last_close_of_a_week(self, nyse: ExchangeCalendar) -> None:
        ticks = nyse.boundaries(to_ns("2024-05-25"), to_ns("2024-06-02"), WEEK)
        assert texts(ticks) == ["2024-05-28T13:30Z", "2024-05-31T20:00Z"]

    def test_where_sessions_touch_the_close_and_the_open_are_one_tick(self) -> None:
        ticks = get_calendar("24/7").boundaries(to_ns("2024-01-01"), to_ns("2024-01-02"), HOUR)
        assert ticks.tolist() == list(UtcGrid(HOUR).between(to_ns("2024-01-01"), to_ns("2024-01-02")))

    def test_an_empty_range_has_none(self, nyse: ExchangeCalendar) -> None:
        assert len(nyse.boundaries(5, 4, HOUR)) == 0

    @given(
        st.sampled_from(["XNYS", "XTKS", "XASX", "24/5", "CMES"]),
        st.sampled_from(["1m", "30m", "1h", "4h", "1d", "1w"]).map(Timeframe),
        st.integers(0, 700 * 24 * 60),
        st.integers(0, 5 * 24 * 60),
        st.integers(0, 5 * 24 * 60),
    )
    def test_any_range_is_the_cut_of_a_larger_one_and_every_bar_ends_on_a_tick(
        self, name: str, timeframe: Timeframe, start: int, before: int, length: int
    ) -> None:
        calendar, minute = get_calendar(name), 60 * NS_PER_SECOND
        first = to_ns("2023-01-01") + start * minute
        last = first + length * minute
        wide = calendar.boundaries(first - before * minute, last + before * minute, timeframe)
        ticks = calendar.boundaries(first, last, timeframe)
        assert ticks.tolist() == [ts for ts in wide.tolist() if first <= ts <= last]
        assert (np.diff(ticks) > 0).all()
        if timeframe.is_intraday:
            for ts in ticks[:50]:
                try:
                    end = int(calendar.bar_ends(np.array([ts]), timeframe)[0])
                except OffGridError:
                    continue  # only a bar ends there, none starts
                assert ts < end <= ts + timeframe.ns
                assert calendar.boundaries(int(ts) + 1, end, timeframe).tolist() == [end]


class TestYears:
    def test_years_far_from_today_are_loaded_when_they_are_asked_for(self) -> None:
        calendar = ExchangeCalendar("XNYS")
        for year in (2024, 1950, 2100, 1975):
            sessions = calendar.sessions(to_ns(f"{year}-01-01"), to_ns(f"{year}-12-31"))
            assert 245 <= len(sessions.date) <= 305  # until 1952 New York traded on Saturdays

    def test_years_that_the_library_does_not_know_are_an_error_with_what_it_knows(self) -> None:
        for name, start in (
            ("XTKS", "1990-01-01"),
            ("XSHG", "1980-01-01"),
            ("XNYS", "1500-01-01"),
            ("XNYS", "2300-01-01"),
        ):
            with pytest.raises(CalendarError, match=f"calendar '{name}' knows .* to .*, not {start} to {start}"):
                get_calendar(name).sessions(to_ns(start), to_ns(start))

    def test_the_last_known_year_is_usable_to_its_end(self) -> None:
        calendar = ExchangeCalendar("XHKG")
        assert texts(calendar.sessions(to_ns("2049-12-31"), to_ns("2049-12-31T12:00Z")).date) == ["2049-12-31T00:00Z"]
        assert len(calendar.sessions(to_ns("2048-01-01"), to_ns("2048-12-31")).date) > 200
        with pytest.raises(CalendarError, match="to 2049-12-31"):
            calendar.sessions(to_ns("2049-12-31"), to_ns("2050-01-01"))

    def test_a_calendar_that_the_library_cannot_make_is_an_error_that_says_why(
        self, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        import exchange_calendars

        def broken(*_: object, **__: object) -> None:
            raise ValueError("Special dates " + "[...] " * 100)

        calendar = ExchangeCalendar("XNYS")
        monkeypatch.setattr(exchange_calendars, "get_calendar", broken)
        with pytest.raises(CalendarError, match=r"cannot create calendar 'XNYS': Special dates .* \.\.\.$") as caught:
            calendar.sessions(0, 1)
        assert len(str(caught.value)) < 400

    def test_several_threads_may_ask_at_once(self) -> None:
        calendar, answers = ExchangeCalendar("XNYS"), []

        def ask(year: int) -> None:
            answers.append(len(calendar.sessions(to_ns(f"{year}-01-01"), to_ns(f"{year}-12-31")).date))

        threads = [threading.Thread(target=ask, args=(year,)) for year in (1995, 2005, 2015, 2025)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert sorted(answers) == [250, 252, 252, 252]


class TestGrid:
    def test_a_session_grid_answers_like_the_boundaries_it_is_made_of(self, nyse: ExchangeCalendar) -> None:
        grid = SessionGrid(Timeframe("1m"), nyse)
        first, last = to_ns("2024-11-27"), to_ns("2024-12-10")
        expected = nyse.boundaries(first, last, Timeframe("1m")).tolist()
        assert list(grid.between(first, last)) == expected
        assert grid.count(first, last) == len(expected)
        assert grid.ends(first, last) == (expected[0], expected[-1])
        walked = [expected[0]]
        while walked[-1] < expected[-1]:
            walked.append(grid.next_after(walked[-1]))
        assert walked == expected
        assert grid.next_after(first) == expected[0]
        assert grid.ends(to_ns("2024-11-30"), to_ns("2024-12-01")) is None

    def test_the_last_boundary_is_found_however_long_ago_it_was(self, nyse: ExchangeCalendar) -> None:
        first, last = to_ns("2001-09-10T20:00Z"), to_ns("2001-09-17T10:00Z")
        assert SessionGrid(HOUR, nyse).ends(first, last) == (first, first)

    def test_a_long_closure_is_waited_out(self, nyse: ExchangeCalendar) -> None:
        after = SessionGrid(HOUR, nyse).next_after(to_ns("2001-09-10T20:00Z"))
        assert format_ns(after) == "2001-09-17T13:30:00Z"

    def test_a_calendar_that_never_opens_again_is_an_error(self) -> None:
        class Closed:
            name = "SHUT"

            def boundaries(self, *_: object) -> NDArray[np.int64]:
                return np.empty(0, dtype=np.int64)

        with pytest.raises(CalendarError, match="'SHUT' has no session in the 400 days after 2024-01-01"):
            SessionGrid(HOUR, Closed()).next_after(to_ns("2024-01-01"))  # type: ignore[arg-type]


class TestClocks:
    def test_a_backtest_clock_ticks_in_sessions_only(self) -> None:
        clock = BacktestClock("2024-11-27", "2024-12-03", "1h", calendar="XNYS")
        assert len(list(clock.ticks())) == 8 + 5 + 8
        assert clock.progress == 1.0

    def test_a_backtest_clock_over_a_weekend_is_refused(self) -> None:
        with pytest.raises(ConfigError, match=r"no 1h boundary of calendar 'XNYS' .*the next is 2024-12-02T14:30:00Z"):
            BacktestClock("2024-11-30", "2024-12-01", "1h", calendar="XNYS")

    def test_a_realtime_clock_sleeps_over_the_weekend(self) -> None:
        time = SimulatedTime("2024-11-29T17:00Z")
        clock = RealtimeClock("1h", calendar="XNYS", source=time, alarm=time.timerfd)
        seen: list[str] = []
        clock.on_tick(lambda tick: seen.append(format_ns(tick.ts_ns)))

        async def main() -> None:
            done = asyncio.get_running_loop().create_future()
            time.after(3 * NS_PER_DAY, lambda: done.set_result(None))
            await clock.start("run")
            await done
            await clock.stop()

        time.run(main())
        assert [text[8:16] for text in seen] == ["29T17:30", "29T18:00", "02T14:30", "02T15:30", "02T16:30"]
