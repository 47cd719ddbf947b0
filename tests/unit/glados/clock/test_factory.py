"""Factory: the clock that a configuration asks for, and no configuration that contradicts itself."""

from __future__ import annotations

import subprocess
import sys
from datetime import UTC, datetime
from typing import Any

import pytest

from weaver.core.errors import ConfigError, NoBars
from weaver.core.instants import format_ns
from weaver.core.run_config import RunConfig, RunMode
from weaver.core.timeframe import Timeframe
from weaver.glados.clock import BacktestClock, ClockConfig, RealtimeClock, create_clock


def run_config(**changes: Any) -> RunConfig:
    values: dict[str, Any] = {"mode": "backtest", "strategy": "a:B", "symbols": ["A"], "timeframe": "1h"}
    return RunConfig(**(values | changes))


def ends(config: RunConfig) -> tuple[str, str]:
    boundaries = list(create_clock(config).boundaries())
    return format_ns(boundaries[0]), format_ns(boundaries[-1])


def test_a_backtest_gets_a_backtest_clock() -> None:
    clock = create_clock(
        ClockConfig(mode="backtest", timeframe="1h", start_time="2024-01-01", end_time="2024-01-02", backpressure=True)
    )
    assert isinstance(clock, BacktestClock)
    assert clock.start_time == datetime(2024, 1, 1, tzinfo=UTC)
    assert len(list(clock.boundaries())) == 25
    assert clock._backpressure


@pytest.mark.parametrize("mode", ["paper", "live", RunMode.LIVE])
def test_paper_and_live_get_a_realtime_clock(mode: str) -> None:
    clock = create_clock(ClockConfig(mode=mode, timeframe="5m", spin=0.0003, calendar="XNYS"))
    assert isinstance(clock, RealtimeClock)
    assert clock.timeframe == Timeframe("5m")
    assert clock.calendar is not None
    assert clock.calendar.name == "XNYS"
    assert isinstance(create_clock(run_config(mode=mode)), RealtimeClock)


def test_a_config_is_frozen_and_keeps_instants_as_numbers() -> None:
    config = ClockConfig(mode="backtest", timeframe="60m", start_time="1970-01-01", end_time="1970-01-02")
    assert (config.start_time, config.timeframe, config.mode) == (0, Timeframe("1h"), RunMode.BACKTEST)
    with pytest.raises(AttributeError):
        config.mode = RunMode.LIVE  # type: ignore[misc]


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"mode": "dream"}, "mode='dream'.*'backtest', 'paper', 'live'"),
        ({"mode": "backtest"}, "start_time is missing"),
        ({"mode": "backtest", "start_time": "2024-01-01"}, "end_time is missing"),
        ({"mode": "live", "start_time": "2024-01-01"}, "start_time=.*does not apply to a live clock"),
        ({"mode": "paper", "end_time": 0}, "end_time=0 does not apply to a paper clock"),
        ({"mode": "paper", "backpressure": True}, "backpressure=True does not apply to a paper clock"),
        ({"mode": "backtest", "start_time": 0, "end_time": 0, "spin": 0.1}, "spin=0.1 does not apply"),
        ({"mode": "backtest", "start_time": 1, "end_time": 0}, "start_time=.*01Z is after end_time=.*swap them"),
        ({"mode": "live", "spin": 1.0}, "spin=1.0: must be between 0 and 0.005"),
        ({"mode": "live", "spin": "fast"}, "spin='fast': must be between"),
        (
            {"mode": "backtest", "start_time": 0, "end_time": 0, "backpressure": "on"},
            "backpressure='on': must be True or",
        ),
        ({"mode": "live", "calendar": " "}, "calendar=' ': must be the name of an exchange"),
        ({"mode": "live", "calendar": 7}, "calendar=7: must be the name of an exchange"),
        ({"mode": "live", "timeframe": "90m"}, "90 minutes"),
        ({"mode": "backtest", "start_time": "soon", "end_time": 0}, "'soon' is not an instant"),
    ],
)
def test_a_contradiction_is_refused_by_name(values: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        ClockConfig(**({"timeframe": "1h"} | values))


class TestRunConfigs:
    def test_a_run_is_ticked_from_its_first_bars_start_to_its_last_bars_end(self) -> None:
        assert ends(run_config(start="2024-01-01", end="2024-01-02")) == (
            "2024-01-01T00:00:00Z",
            "2024-01-02T00:00:00Z",
        )
        # [00:30, 02:30) holds the bars that start at 01:00 and 02:00.
        config = run_config(start="2024-01-01T00:30Z", end="2024-01-01T02:30Z")
        assert ends(config) == ("2024-01-01T01:00:00Z", "2024-01-01T03:00:00Z")

    def test_daily_bars_of_a_calendar_are_chosen_by_their_dates(self) -> None:
        config = run_config(start="2024-11-28", end="2024-12-03", timeframe="1d", calendar="XNYS")
        assert ends(config) == ("2024-11-29T14:30:00Z", "2024-12-02T21:00:00Z")
        # Sydney opens on the evening before, in UTC.
        config = run_config(start="2024-12-03", end="2024-12-04", timeframe="1d", calendar="XASX")
        assert ends(config) == ("2024-12-02T23:00:00Z", "2024-12-03T05:00:00Z")

    def test_weekly_bars_of_a_calendar_are_chosen_by_their_mondays(self) -> None:
        config = run_config(start="2024-11-25", end="2024-11-26", timeframe="1w", calendar="XNYS")
        assert ends(config) == ("2024-11-25T14:30:00Z", "2024-11-29T18:00:00Z")

    def test_intraday_bars_of_a_calendar_are_chosen_by_their_starts(self) -> None:
        config = run_config(start="2024-11-29T15:00Z", end="2024-11-30", calendar="XNYS")
        assert ends(config) == ("2024-11-29T15:30:00Z", "2024-11-29T18:00:00Z")
        config = run_config(start="2024-11-29T18:00Z", end="2024-12-02T14:31Z", calendar="XNYS")
        assert ends(config) == ("2024-12-02T14:30:00Z", "2024-12-02T15:30:00Z")
        config = run_config(start="2024-11-29T14:30Z", end="2024-11-29T18:00:01Z", calendar="XNYS")
        assert ends(config) == ("2024-11-29T14:30:00Z", "2024-11-29T18:00:00Z")

    @pytest.mark.parametrize(
        "changes",
        [
            {"start": "2024-01-01T00:01Z", "end": "2024-01-01T00:59Z"},
            {"start": "2024-01-01", "end": "2024-01-01"},
            {"start": "2024-11-30", "end": "2024-12-02", "timeframe": "1d", "calendar": "XNYS"},
            {"start": "2024-11-29T18:00Z", "end": "2024-12-02T14:30Z", "calendar": "XNYS"},
        ],
    )
    def test_a_stretch_without_a_bar_is_refused(self, changes: dict[str, Any]) -> None:
        with pytest.raises(NoBars, match=r"no 1. bar starts in \[2024-"):
            create_clock(run_config(**changes))

    @pytest.mark.parametrize(("changes", "name"), [({"end": "2024-01-01"}, "start"), ({"start": "2024-01-01"}, "end")])
    def test_a_backtest_without_both_ends_is_refused(self, changes: dict[str, Any], name: str) -> None:
        with pytest.raises(ConfigError, match=f"{name} is None"):
            create_clock(run_config(**changes))


def test_a_clock_costs_no_web_framework_and_no_heavy_library() -> None:
    code = (
        "import sys; import weaver.glados.clock as clock;"
        "clock.create_clock(clock.ClockConfig(mode='live', timeframe='1m'));"
        "heavy = {'pandas', 'exchange_calendars', 'polars', 'plotly', 'fastapi', 'starlette', 'sqlalchemy'};"
        "print(sorted(heavy & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_the_public_names_are_there_and_listed() -> None:
    import weaver.glados.clock as clock

    assert sorted(clock.__all__) == clock.__all__
    assert all(hasattr(clock, name) for name in clock.__all__)
