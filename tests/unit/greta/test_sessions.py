"""Sessions: day, at-open and at-close orders on intraday bars that follow an exchange's hours."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import pytest

from weaver.core.calendar import SessionCalendar, Sessions
from weaver.core.instants import to_ns
from weaver.core.sessions import session_rows
from weaver.core.timeframe import Timeframe

HOUR = 3_600 * 1_000_000_000
DAY = 24 * HOUR
FLAT = (100.0, 100.0, 100.0, 100.0)


@dataclass(frozen=True)
class Hours:
    """A calendar of a few sessions, each (date, open, close) in text."""

    listed: Sequence[tuple[str, str, str]]
    name: str = "HOURS"

    def _sessions(self) -> list[tuple[int, int, int]]:
        return [(to_ns(f"{d}T00:00Z"), to_ns(f"{d}T{o}Z"), to_ns(f"{d}T{c}Z")) for d, o, c in self.listed]

    def sessions(self, first_ns: int, last_ns: int) -> Sessions:
        rows = [each for each in self._sessions() if each[0] <= last_ns and each[2] >= first_ns]
        return Sessions(*(np.array([each[at] for each in rows], dtype=np.int64) for at in range(3)))

    def bar_ends(self, starts: Any, timeframe: Timeframe) -> Any:
        closes = {date: close for date, _, close in self._sessions()}
        if not timeframe.is_intraday:
            return np.array([closes[int(start)] for start in starts], dtype=np.int64)
        ids = self.session_ids(starts, timeframe)
        ends = [min(int(s) + timeframe.ns, closes[int(i)]) for s, i in zip(starts, ids, strict=True)]
        return np.array(ends, dtype=np.int64)

    def boundaries(self, first_ns: int, last_ns: int, timeframe: Timeframe) -> Any:
        ticks = {tick for _, o, c in self._sessions() for tick in (*range(o, c, timeframe.ns), c)}
        return np.array(sorted(tick for tick in ticks if first_ns <= tick <= last_ns), dtype=np.int64)

    def session_ids(self, starts: Any, timeframe: Timeframe) -> Any:
        if not timeframe.is_intraday:
            return np.asarray(starts)
        found = [next(d for d, o, c in self._sessions() if o <= int(start) < c) for start in starts]
        return np.array(found, dtype=np.int64)


# The second session is a half day. In UTC dates, the third one begins on the evening before.
CALENDAR = Hours([("2024-01-02", "14:30", "17:00"), ("2024-01-03", "14:30", "16:00"), ("2024-01-04", "14:30", "17:00")])
STARTS = [to_ns(f"2024-01-{day}Z") for day in (
    "02T14:30", "02T15:30", "02T16:30", "03T14:30", "03T15:30", "04T14:30", "04T15:30", "04T16:30",
)]  # fmt: skip


@pytest.fixture
def hourly(bars: Any) -> Any:
    def make(*rows: Any, without: Sequence[int] = ()) -> Any:
        starts = np.array(STARTS[: len(rows)])
        ends = CALENDAR.bar_ends(starts, Timeframe("1h"))
        keep = [at for at in range(len(rows)) if at not in without]
        return bars(
            *(rows[at] for at in keep),
            timeframe="1h",
            starts=[int(starts[at]) for at in keep],
            ends=[int(ends[at]) for at in keep],
        )

    return make


def prices(*opens: float) -> list[tuple[float, float, float, float]]:
    return [(price, price + 0.5, price - 0.5, price + 0.25) for price in opens]


def test_the_calendar_of_these_tests_is_one() -> None:
    assert isinstance(CALENDAR, SessionCalendar)


def test_rows_know_their_session_its_first_and_its_last_bar(hourly: Any) -> None:
    rows = session_rows(hourly(*prices(*range(100, 108))), CALENDAR)
    assert rows.first.tolist() == [True, False, False, True, False, True, False, False]
    assert rows.last.tolist() == [False, False, True, False, True, False, False, True]


def test_the_last_bar_of_the_data_ends_its_session_only_where_it_reaches_its_close(hourly: Any) -> None:
    assert session_rows(hourly(*prices(100, 101)), CALENDAR).last.tolist() == [False, False]
    assert session_rows(hourly(*prices(100, 101, 102)), CALENDAR).last.tolist() == [False, False, True]


def test_without_a_calendar_a_session_is_a_utc_date(bars: Any) -> None:
    rows = session_rows(bars(*[FLAT] * 7, timeframe="8h"), None)
    assert rows.first.tolist() == [True, False, False, True, False, False, True]
    assert rows.last.tolist() == [False, False, True, False, False, True, False]


def test_every_daily_bar_is_a_session(bars: Any) -> None:
    rows = session_rows(bars(FLAT, None, FLAT), None)
    assert rows.first.tolist() == rows.last.tolist() == [True, True]


def test_at_open_fills_at_the_first_open_of_the_next_session_and_only_there(run: Any, hourly: Any, at_bar: Any) -> None:
    series = hourly(*prices(*range(100, 108)))
    made = run(series, calendar=CALENDAR, on_bar=at_bar({0: lambda self: self.buy(1, tif="at_open")}))
    assert made.fills == [(1, "buy", 1.0, 103.0)]
    assert made.engine.broker.fills[0].ts_ns == STARTS[3]


def test_at_open_with_a_limit_that_the_open_misses_expires(run: Any, hourly: Any, at_bar: Any) -> None:
    series = hourly(*prices(*range(100, 108)))
    made = run(series, calendar=CALENDAR, on_bar=at_bar({0: lambda self: self.buy(1, tif="at_open", limit=102.9)}))
    assert (made.statuses, made.fills) == (["expired"], [])
    assert made.orders[0].updated_ns == STARTS[4]


def test_at_close_fills_at_the_close_of_the_last_bar_also_on_a_half_day(run: Any, hourly: Any, at_bar: Any) -> None:
    series = hourly(*prices(*range(100, 108)))
    made = run(series, calendar=CALENDAR, on_bar=at_bar({2: lambda self: self.buy(1, tif="at_close")}))
    assert made.fills == [(1, "buy", 1.0, 104.25)]
    assert made.engine.broker.fills[0].ts_ns == STARTS[4]


@pytest.mark.parametrize("terms", [{}, {"limit": 200}])
def test_at_close_without_a_bar_that_ends_at_the_close_expires_at_the_close(
    run: Any, hourly: Any, at_bar: Any, terms: Any
) -> None:
    series = hourly(*prices(*range(100, 108)), without=[4])
    made = run(series, calendar=CALENDAR, on_bar=at_bar({2: lambda self: self.buy(1, tif="at_close", **terms)}))
    assert (made.statuses, made.fills) == (["expired"], [])
    assert made.orders[0].reason == "at_close: no bar ended at the close of its session"
    assert made.orders[0].updated_ns == to_ns("2024-01-03T16:00Z")


def test_a_session_whose_last_bars_are_missing_has_no_last_bar_with_or_without_later_bars(hourly: Any) -> None:
    whole = session_rows(hourly(*prices(*range(100, 108)), without=[1, 2, 7]), CALENDAR)
    assert whole.last.tolist() == [False, False, True, False, False]
    assert whole.close.tolist() == [
        to_ns(f"2024-01-{close}Z") for close in ("02T17:00", "03T16:00", "03T16:00", "04T17:00", "04T17:00")
    ]
    for rows in range(1, 6):
        cut = session_rows(hourly(*prices(*range(100, 108)), without=[1, 2, 7]).rows(0, rows), CALENDAR)
        for name in ("ids", "close", "first", "last"):
            assert getattr(cut, name).tolist() == getattr(whole, name).tolist()[:rows]


def test_at_close_in_one_symbol_expires_though_only_another_one_has_a_bar_there(run: Any, hourly: Any) -> None:
    def both(self: Any, bars: Any) -> None:
        if len(self.bars["A"]) == 1:
            for symbol in ("A", "B"):
                self.buy(1, symbol=symbol, tif="at_close")

    complete, short = hourly(*prices(*range(100, 108))), hourly(*prices(*range(100, 108)), without=[2])
    made = run([complete, replace(short, symbol="B")], calendar=CALENDAR, on_bars=both)
    assert made.statuses == ["filled", "expired"]
    assert made.orders[1].updated_ns == to_ns("2024-01-02T17:00Z")


def test_a_day_order_ends_at_the_close_though_its_session_has_no_bar_there(run: Any, hourly: Any, at_bar: Any) -> None:
    ended: list[tuple[int, Any]] = []
    open_after_the_first_bar: list[int] = []

    def act(self: Any) -> None:
        self.buy(1, limit=95, tif="day")

    made = run(
        hourly(*prices(*[100.0] * 8), without=[2]),
        calendar=CALENDAR,
        on_bar=at_bar({0: act, 1: lambda self: open_after_the_first_bar.append(len(self.orders))}),
        on_order=lambda self, order: ended.append((self.now, order.status)),
    )
    assert open_after_the_first_bar == [1], "the bar that ends at 16:30 is not the last of its session"
    assert made.statuses == ["expired"]
    assert made.orders[0].updated_ns == to_ns("2024-01-02T17:00Z")


def test_a_day_order_is_over_for_a_timer_at_the_tick_that_closes_its_session(run: Any, hourly: Any) -> None:
    seen: list[int] = []

    def start(self: Any) -> None:
        self.buy(1, limit=95, tif="day")
        for when in ("2024-01-02T16:30Z", "2024-01-02T17:00Z"):
            self.at(when, lambda: seen.append(len(self.orders)))

    series = hourly(*prices(*[100.0] * 8), without=[2])
    ticks = CALENDAR.boundaries(STARTS[0], int(series.end[-1]), Timeframe("1h"))
    run(series, calendar=CALENDAR, on_start=start, boundaries=iter(ticks.tolist()))
    assert seen == [1, 0]


def test_without_a_calendar_a_day_order_ends_at_the_next_midnight_in_utc(run: Any, bars: Any, at_bar: Any) -> None:
    # The data of the first date end at 16:00; what comes next must not matter to it.
    series = bars(FLAT, FLAT, None, (100.0, 100.0, 90.0, 100.0), timeframe="8h")
    held: list[int] = []
    made = run(
        series,
        on_bar=at_bar(
            {0: lambda self: self.buy(1, limit=95, tif="day"), 1: lambda self: held.append(len(self.orders))}
        ),
    )
    assert held == [1]
    assert made.statuses == ["expired"]
    assert made.orders[0].updated_ns == to_ns("2024-01-02T00:00Z")


def test_at_close_waits_where_the_data_end_inside_a_session(run: Any, hourly: Any, at_bar: Any) -> None:
    series = hourly(*prices(100, 101))
    made = run(series, calendar=CALENDAR, on_bar=at_bar({0: lambda self: self.buy(1, tif="at_close")}))
    assert (made.fills, made.orders[0].reason) == ([], "end_of_data")


def test_a_day_order_lasts_for_the_rest_of_its_session_or_for_the_next_one(run: Any, hourly: Any, at_bar: Any) -> None:
    for place, reached, filled in [(0, 2, True), (0, 3, False), (2, 3, True), (2, 4, True), (2, 5, False)]:
        rows = prices(*[100.0] * 8)
        rows[reached] = (100.0, 100.0, 90.0, 100.0)
        made = run(
            hourly(*rows),
            calendar=CALENDAR,
            on_bar=at_bar({place: lambda self: self.buy(1, limit=95, tif="day")}),
        )
        assert made.statuses == ["filled" if filled else "expired"], (place, reached)


def test_a_day_order_ends_with_the_half_day_and_not_with_the_utc_date(run: Any, hourly: Any, at_bar: Any) -> None:
    made = run(
        hourly(*prices(*[100.0] * 8)),
        calendar=CALENDAR,
        on_bar=at_bar({2: lambda self: self.buy(1, limit=95, tif="day")}),
    )
    assert made.orders[0].updated_ns == to_ns("2024-01-03T16:00Z")


def test_at_open_and_at_close_on_intraday_bars_need_a_calendar(run: Any, bars: Any, at_bar: Any) -> None:
    made = run(
        bars(FLAT, FLAT, timeframe="1h"),
        on_bar=at_bar({0: lambda self: (self.buy(1, tif="at_open"), self.buy(1, tif="at_close"))}),
    )
    assert made.statuses == ["rejected", "rejected"]
    assert "backtest(calendar=...)" in made.orders[0].reason


def test_at_the_close_reducing_orders_fill_first_and_what_they_bring_can_be_spent(
    run: Any, bars: Any, at_bar: Any
) -> None:
    def swap(self: Any) -> None:
        if len(self.bars["B"]) == 2:
            self.buy(10, symbol="B", tif="at_close")
            self.sell(10, symbol="A", tif="at_close")
        elif len(self.bars["B"]) == 1:
            self.buy(10, symbol="A")

    several = [bars(*[FLAT] * 3, symbol="B"), bars(*[FLAT] * 3, symbol="A")]
    made = run(several, cash=1_000.0, on_bars=lambda self, now: swap(self))
    assert made.statuses == ["filled", "filled", "filled"]


def test_what_was_freed_inside_the_bars_cannot_be_spent_at_their_close(run: Any, bars: Any) -> None:
    def swap(self: Any, now: Any) -> None:
        if len(self.bars["B"]) == 2:
            self.buy(10, symbol="B", tif="at_close", limit=99)
            self.sell(10, symbol="A", limit=101)
        elif len(self.bars["B"]) == 1:
            self.buy(10, symbol="A")

    moving = (100.0, 101.0, 99.0, 99.0)
    for cash_only in (False, True):
        several = [bars(FLAT, FLAT, moving, symbol="B"), bars(FLAT, FLAT, moving, symbol="A")]
        made = run(several, cash=1_000.0, cash_only=cash_only, on_bars=swap)
        assert made.statuses == ["filled", "rejected", "filled"]
