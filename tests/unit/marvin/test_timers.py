"""Timers fire at the first tick at or after their instant, whether or not a bar ends there."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any

import polars as pl
import pytest

from weaver import NaiveDatetimeError, Strategy, StrategyCrashed, StrategyError, Timeframe, backtest
from weaver.core.instants import to_ns
from weaver.marvin.timers import NEVER, Timers

Make = Callable[..., pl.DataFrame]


def nothing() -> None:
    """A callback."""


def fired(bars: Any, *set_up: Callable[[Any, Callable[[], None]], object], **options: Any) -> list[str]:
    """When the timers that `set_up(strategy, note)` set in on_start were called."""
    seen: list[str] = []

    class Notes(Strategy):
        def on_start(self) -> None:
            for one in set_up:
                one(self, lambda: seen.append(f"{self.now:%Y-%m-%d %H:%M}"))

    backtest(Notes, bars, **options)
    return seen


def test_at_fires_once_at_its_tick(make_bars: Make) -> None:
    bars = make_bars(range(1, 9), step="15m")
    assert fired(bars, lambda self, note: self.at("2024-01-01T01:00:00Z", note)) == ["2024-01-01 01:00"]
    assert fired(bars, lambda self, note: self.at(datetime(2024, 1, 1, 1, tzinfo=UTC), note)) == ["2024-01-01 01:00"]


def test_at_an_instant_between_ticks_fires_at_the_tick_after_it(make_bars: Make) -> None:
    bars = make_bars(range(1, 9), step="15m")
    assert fired(bars, lambda self, note: self.at("2024-01-01T00:46:01Z", note)) == ["2024-01-01 01:00"]


def test_at_an_instant_in_a_gap_fires_at_a_boundary_where_no_bar_ends(make_bars: Make) -> None:
    bars = make_bars([1, 2, 3, 4], step="15m", rows=[0, 1, 6, 7])
    assert fired(bars, lambda self, note: self.at("2024-01-01T00:40:00Z", note)) == ["2024-01-01 00:45"]


def test_at_an_instant_that_has_passed_fires_at_the_next_tick(make_bars: Make) -> None:
    bars = make_bars([1, 2, 3], step="15m")
    assert fired(bars, lambda self, note: self.at("2020-01-01", note)) == ["2024-01-01 00:15"]
    assert fired(bars, lambda self, note: self.at(self.now, note)) == ["2024-01-01 00:15"]


def test_at_an_instant_after_the_last_tick_never_fires(make_bars: Make) -> None:
    assert fired(make_bars([1, 2, 3], step="15m"), lambda self, note: self.at("2025-01-01", note)) == []


@pytest.mark.parametrize("period", ["1h", "hour", Timeframe("1h")])
def test_every_hour_fires_at_each_hour(make_bars: Make, period: Any) -> None:
    bars = make_bars(range(1, 11), step="15m")
    assert fired(bars, lambda self, note: self.every(period, note)) == ["2024-01-01 01:00", "2024-01-01 02:00"]


def test_boundaries_between_two_ticks_count_once(make_bars: Make) -> None:
    # Hourly bars, minutely timer: one call per tick.
    bars = make_bars([1, 2, 3], step="1h")
    assert fired(bars, lambda self, note: self.every("1m", note)) == [
        "2024-01-01 01:00",
        "2024-01-01 02:00",
        "2024-01-01 03:00",
    ]


def test_a_timer_goes_on_through_a_gap(make_bars: Make) -> None:
    bars = make_bars([1, 2], step="1h", rows=[0, 5])
    assert [at[-5:] for at in fired(bars, lambda self, note: self.every("1h", note), timeframe="1h")] == [
        "01:00", "02:00", "03:00", "04:00", "05:00", "06:00",
    ]  # fmt: skip


def test_every_week_month_quarter_and_year_fire_at_midnight_utc_of_their_first_day(make_bars: Make) -> None:
    bars = make_bars([1.0] * 500, step="1d", start="2023-06-15")

    def days(period: str) -> list[str]:
        return fired(bars, lambda self, note: self.every(period, note))

    assert days("month")[:8] == [f"{day} 00:00" for day in (
        "2023-07-01", "2023-08-01", "2023-09-01", "2023-10-01", "2023-11-01", "2023-12-01", "2024-01-01", "2024-02-01",
    )]  # fmt: skip
    assert days("quarter") == [f"{day} 00:00" for day in ("2023-07-01", "2023-10-01", "2024-01-01", "2024-04-01", "2024-07-01",
                                                          "2024-10-01")]  # fmt: skip
    assert days("year") == ["2024-01-01 00:00"]
    assert days("week")[:3] == ["2023-06-19 00:00", "2023-06-26 00:00", "2023-07-03 00:00"]
    assert days("1w") == days("week")
    assert len(days("day")) == 500


def test_a_month_that_begins_on_a_day_without_bars_fires_all_the_same(make_bars: Make) -> None:
    # Weekdays only: 2024-06-01 was a Saturday, 2024-09-01 a Sunday.
    rows = [day for day in range(130) if day % 7 < 5]
    bars = make_bars([1.0] * len(rows), step="1d", start="2024-05-27", rows=rows)
    assert fired(bars, lambda self, note: self.every("month", note)) == [
        "2024-06-01 00:00", "2024-07-01 00:00", "2024-08-01 00:00", "2024-09-01 00:00", "2024-10-01 00:00",
    ]  # fmt: skip


def test_what_a_timer_in_a_gap_orders_fills_in_the_first_bar_after_it(make_bars: Make) -> None:
    class Monthly(Strategy):
        def on_start(self) -> None:
            self.every("month", lambda: self.buy(1))

    rows = [day for day in range(10) if day % 7 < 5]
    result = backtest(Monthly, make_bars(range(1, 9), step="1d", start="2024-05-27", rows=rows))
    assert result.fills["timestamp"].dt.strftime("%Y-%m-%d").to_list() == ["2024-06-03"]
    assert result.orders["submitted"].dt.strftime("%Y-%m-%d").to_list() == ["2024-06-01"]


def test_timers_fire_after_on_bar_and_on_bars_of_their_tick(make_bars: Make) -> None:
    seen = []

    class Order(Strategy):
        def on_start(self) -> None:
            self.every("15m", lambda: seen.append("timer"))

        def on_bar(self, bar: Any) -> None:
            seen.append("on_bar")

        def on_bars(self, bars: Any) -> None:
            seen.append("on_bars")

    backtest(Order, make_bars([1, 2], step="15m"))
    assert seen == ["on_bar", "on_bars", "timer"] * 2


def test_timers_of_one_tick_fire_by_their_instant_then_in_the_order_of_setting(make_bars: Make) -> None:
    seen = []

    class Several(Strategy):
        def on_start(self) -> None:
            self.at("2024-01-01T00:14:00Z", lambda: seen.append("second"))
            self.at("2024-01-01T00:15:00Z", lambda: seen.append("third"))
            self.at("2024-01-01T00:13:00Z", lambda: seen.append("first"))
            self.at("2024-01-01T00:15:00Z", lambda: seen.append("fourth"))

    backtest(Several, make_bars([1, 2], step="15m"))
    assert seen == ["first", "second", "third", "fourth"]


def test_a_timer_that_sets_itself_again_for_now_fires_at_the_next_tick_and_does_not_hang(make_bars: Make) -> None:
    seen = []

    class Again(Strategy):
        def on_start(self) -> None:
            self.again()

        def again(self) -> None:
            seen.append(f"{self.now:%H:%M}")
            self.at(self.now, self.again)

    backtest(Again, make_bars([1, 2, 3], step="15m"))
    assert seen == ["00:00", "00:15", "00:30", "00:45"]


def test_timers_can_be_set_at_any_time(make_bars: Make) -> None:
    seen = []

    class Later(Strategy):
        def on_bar(self, bar: Any) -> None:
            if len(self.bars.close) == 2:
                self.every("hour", lambda: seen.append(f"{self.now:%H:%M}"))

    backtest(Later, make_bars(range(1, 12), step="15m"))
    assert seen == ["01:00", "02:00"]


def test_with_a_calendar_a_month_begins_at_the_first_tick_of_its_sessions(make_bars: Make) -> None:
    pytest.importorskip("exchange_calendars")
    rows = [day for day in range(12) if day % 7 < 5]
    bars = make_bars([1.0] * len(rows), step="1d", start="2024-05-27", rows=rows)[1:]  # Monday was Memorial Day
    # June 1st was a Saturday; the session of the 3rd opened at 13:30 UTC.
    assert fired(bars, lambda self, note: self.every("month", note), calendar="XNYS") == ["2024-06-03 13:30"]


@pytest.mark.parametrize("period", ["fortnight", "90m", "", 5, None])
def test_an_unknown_period_lists_what_there_is(make_bars: Make, period: Any) -> None:
    class Wrong(Strategy):
        def on_start(self) -> None:
            with pytest.raises(
                StrategyError, match=r"every\(.*or one of: minute, hour, day, week, month, quarter, year"
            ):
                self.every(period, nothing)

    backtest(Wrong, make_bars([1, 2]))


@pytest.mark.parametrize("callback", [None, 5, "on_month"])
def test_a_timer_needs_a_function(make_bars: Make, callback: Any) -> None:
    class Wrong(Strategy):
        def on_start(self) -> None:
            with pytest.raises(StrategyError, match=r"every\('month', .*the second argument is the function to call"):
                self.every("month", callback)
            with pytest.raises(StrategyError, match=r"at\('2024-01-02', .*the second argument is the function to call"):
                self.at("2024-01-02", callback)

    backtest(Wrong, make_bars([1, 2]))


def test_a_timers_function_takes_no_arguments(make_bars: Make) -> None:
    class Wrong(Strategy):
        def on_start(self) -> None:
            with pytest.raises(
                StrategyError, match=r"is called without arguments, and missing a required argument: 'now'"
            ):
                self.every("month", self.rebalance)  # type: ignore[arg-type]
            self.every("month", lambda now=None: None)
            self.at("2024-01-02", dict)

        def rebalance(self, now: Any) -> None:
            """Not called."""

    backtest(Wrong, make_bars([1, 2]))


def test_an_instant_needs_its_time_zone(make_bars: Make) -> None:
    class Naive(Strategy):
        def on_start(self) -> None:
            with pytest.raises(NaiveDatetimeError):
                self.at(datetime(2024, 1, 1, 1), nothing)
            with pytest.raises(NaiveDatetimeError):
                self.at("2024-01-01T01:00:00", nothing)

    backtest(Naive, make_bars([1, 2]))


def test_a_timer_that_raises_stops_the_run_by_its_name(make_bars: Make) -> None:
    class Fails(Strategy):
        def on_start(self) -> None:
            self.at("2024-01-01T00:30:00Z", self.rebalance)

        def rebalance(self) -> None:
            raise ValueError("no weights")

    with pytest.raises(
        StrategyCrashed, match=r"Fails\.rebalance raised ValueError: no weights .*tick 2024-01-01T00:30:00Z"
    ):
        backtest(Fails, make_bars([1, 2, 3], step="15m"))


def test_news_is_told_before_a_timer_in_a_gap(make_bars: Make) -> None:
    seen = []

    class Hears(Strategy):
        def on_start(self) -> None:
            self.every("15m", self.look)
            self.order: Any = None

        def look(self) -> None:
            if f"{self.now:%H:%M}" == "00:45":
                self.order = self.buy(1e9)
            elif self.order is not None:
                seen.append((f"{self.now:%H:%M}", self.order.status.value))

    backtest(Hears, make_bars([1, 2, 3, 4], step="15m", rows=[0, 1, 6, 7]))
    assert seen[0] == ("01:00", "rejected")


# The heap itself.


def test_next_due_is_never_where_nothing_is_set() -> None:
    timers = Timers()
    assert timers.next_due == NEVER
    timers.at(10, nothing)
    timers.every("1m", nothing, 0)
    assert timers.next_due == 10
    timers.fire(10)
    assert timers.next_due == 60_000_000_000


def test_a_timer_is_due_at_its_nanosecond_and_not_before() -> None:
    calls: list[int] = []
    timers = Timers()
    due = to_ns("2024-01-01")
    timers.at(due, lambda: calls.append(1))
    timers.fire(due - 1)
    assert calls == []
    timers.fire(due)
    timers.fire(due)
    assert calls == [1]
