"""Daylight saving: every change of ten years in six zones. UTC clocks do not care; session clocks do."""

from __future__ import annotations

from datetime import UTC, datetime, time, timedelta
from functools import cache
from itertools import pairwise
from zoneinfo import ZoneInfo

import pytest

from weaver.core.instants import NS_PER_DAY, from_ns, to_ns
from weaver.core.timeframe import Timeframe
from weaver.glados.clock import BacktestClock, get_calendar

FIRST, LAST = datetime(2015, 1, 1, tzinfo=UTC), datetime(2025, 1, 1, tzinfo=UTC)

# Zone, its exchange, when it opens by the clock on its wall, and how often those clocks changed in the ten years.
ZONES = [
    ("America/New_York", "XNYS", time(9, 30), 20),
    ("Europe/London", "XLON", time(8, 0), 20),
    ("Europe/Berlin", "XETR", time(9, 0), 20),
    ("Australia/Sydney", "XASX", time(10, 0), 20),
    ("Pacific/Auckland", "XNZE", time(10, 0), 20),
    ("America/Santiago", "XSGO", time(9, 30), 18),
]
zones = pytest.mark.parametrize(("zone", "exchange", "opens", "count"), ZONES, ids=[zone for zone, *_ in ZONES])


@cache
def changes(zone: str) -> list[datetime]:
    """The hours (UTC) of the ten years at which the zone's offset changes."""
    local, found, hour = ZoneInfo(zone), [], timedelta(hours=1)
    day = FIRST
    while day < LAST:
        if (day + 24 * hour).astimezone(local).utcoffset() != (moment := day).astimezone(local).utcoffset():
            while (moment + hour).astimezone(local).utcoffset() == moment.astimezone(local).utcoffset():
                moment += hour
            found.append(moment + hour)
        day += 24 * hour
    return found


@zones
def test_the_changes_are_all_there(zone: str, exchange: str, opens: time, count: int) -> None:
    assert len(changes(zone)) == count


@zones
def test_a_utc_clock_does_not_care(zone: str, exchange: str, opens: time, count: int) -> None:
    local = ZoneInfo(zone)
    for change in changes(zone):
        # The stretch is given in local time, across the change.
        first, last = ((change + timedelta(hours=n)).astimezone(local) for n in (-24, 24))
        for timeframe, ticks in (("1h", 49), ("15m", 193), ("1d", None)):
            stretch = [tick.ts for tick in BacktestClock(first, last, timeframe).ticks()]
            assert len({b - a for a, b in pairwise(stretch)}) == 1
            if ticks is not None:
                assert len(stretch) == ticks
                assert (stretch[0], stretch[-1]) == (change - timedelta(hours=24), change + timedelta(hours=24))


@zones
def test_a_session_clock_keeps_the_hours_on_the_exchanges_wall(
    zone: str, exchange: str, opens: time, count: int
) -> None:
    calendar, local = get_calendar(exchange), ZoneInfo(zone)
    for change in changes(zone):
        middle = to_ns(change)
        sessions = calendar.sessions(middle - 8 * NS_PER_DAY, middle + 8 * NS_PER_DAY)
        walls = [(from_ns(int(each)).astimezone(local), from_ns(int(each))) for each in sessions.open]
        before = [(wall, utc) for wall, utc in walls if utc < change]
        after = [(wall, utc) for wall, utc in walls if utc >= change]
        assert before
        assert after
        assert {wall.time() for wall, _ in walls} == {opens}
        assert before[-1][0].utcoffset() != after[0][0].utcoffset()
        assert {utc.time() for _, utc in before[-3:]}.isdisjoint({utc.time() for _, utc in after[:3]})
        # The clock's ticks of a day: from the open to the close, every hour, the last bar cut.
        for open_ns, close_ns in zip(sessions.open.tolist(), sessions.close.tolist(), strict=True):
            ticks = list(BacktestClock(open_ns - 1, close_ns + 1, "1h", calendar=calendar).boundaries())
            assert (ticks[0], ticks[-1]) == (open_ns, close_ns)
            steps = {b - a for a, b in pairwise(ticks[:-1])}
            assert steps <= {NS_PER_DAY // 24}
            assert 0 < ticks[-1] - ticks[-2] <= NS_PER_DAY // 24


@zones
def test_a_daily_bar_across_a_change_ends_at_the_close_on_the_exchanges_wall(
    zone: str, exchange: str, opens: time, count: int
) -> None:
    calendar, local = get_calendar(exchange), ZoneInfo(zone)
    for change in changes(zone):
        middle = to_ns(change)
        dates, _, closes = calendar.sessions(middle - 4 * NS_PER_DAY, middle + 4 * NS_PER_DAY)
        assert calendar.bar_ends(dates, Timeframe("1d")).tolist() == closes.tolist()
        for date, close in zip(dates.tolist(), closes.tolist(), strict=True):
            assert from_ns(close).astimezone(local).date() == from_ns(date).date()
