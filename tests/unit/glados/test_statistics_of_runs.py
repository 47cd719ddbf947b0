"""Statistics of whole runs: sessions are the periods, rounding is neither a gain nor a loss, short data have the right year."""

from __future__ import annotations

import json
import math
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest

from weaver import ConfigError, Strategy, backtest
from weaver.core.run_folders import RunFolders
from weaver.results import Result
from weaver.results.run_files import load, save


class Idle(Strategy):
    """Place no order."""

    def on_bar(self, bar: Any) -> None:
        pass


class Steps(Strategy):
    """Trade `quantities[i]` on bar i."""

    quantities: str = ""

    def on_start(self) -> None:
        self.number = -1
        self.steps = [float(text) for text in self.quantities.split()]

    def on_bar(self, bar: Any) -> None:
        self.number += 1
        quantity = self.steps[self.number] if self.number < len(self.steps) else 0.0
        if quantity > 0:
            self.buy(quantity)
        elif quantity < 0:
            self.sell(-quantity)


def frame(starts: np.ndarray, close: np.ndarray) -> pl.DataFrame:
    """Bars that are flat at their close; `starts` in nanoseconds UTC."""
    times = pl.Series("timestamp", starts).cast(pl.Datetime("ns", "UTC"))
    return pl.DataFrame({"timestamp": times} | dict.fromkeys(("open", "high", "low", "close"), close) | {"volume": 1e6})


def daily(close: list[float]) -> pl.DataFrame:
    return frame(1_704_067_200_000_000_000 + np.arange(len(close)) * 86_400_000_000_000, np.array(close))


def walk(count: int, seed: int, step: float) -> np.ndarray:
    return np.asarray(100 * np.exp(np.cumsum(np.random.default_rng(seed).normal(0, step, count))))


def sydney_hours(first: str, last: str) -> tuple[np.ndarray, np.ndarray]:
    """Hourly bars of XASX, whose session begins at 23:00 UTC in summer: their starts and their sessions' dates."""
    pytest.importorskip("exchange_calendars")
    from weaver.core.timeframe import Timeframe
    from weaver.glados.clock.calendars import get_calendar

    calendar = get_calendar("XASX")
    low, high = (int(np.datetime64(day, "ns").astype(np.int64)) for day in (first, last))
    sessions = calendar.sessions(low, high)
    hour = 3_600_000_000_000
    starts = np.concatenate([np.arange(a, b, hour) for a, b in zip(sessions.open, sessions.close, strict=True)])
    return starts, calendar.session_ids(starts, Timeframe("1h"))


@pytest.mark.parametrize(("first", "last"), [("2013-01-02", "2015-12-30"), ("2014-01-02", "2014-03-28")])
def test_returns_follow_sessions_that_cross_midnight_in_utc(first: str, last: str) -> None:
    starts, sessions = sydney_hours(first, last)
    close = walk(len(starts), 4, 0.004)
    result = backtest(Idle, frame(starts, close), calendar="XASX", timeframe="1h")
    closes = close[np.flatnonzero(np.r_[sessions[1:] != sessions[:-1], True])]
    returns = closes[1:] / closes[:-1] - 1
    assert result.stats["periods_per_year"] == 252.0
    assert result.stats["buy_and_hold_volatility"] == pytest.approx(returns.std(ddof=1) * math.sqrt(252), rel=0.01)


def test_sessions_of_several_symbols_are_one_period_each() -> None:
    starts, sessions = sydney_hours("2014-01-02", "2014-06-27")
    bars = {
        "A": frame(starts, walk(len(starts), 4, 0.004)),
        "B": frame(starts[1::2], walk(len(starts[1::2]), 5, 0.004)),
    }
    result = backtest(Idle, bars, calendar="XASX", timeframe="1h")
    dates = result.record.session_dates
    assert dates is not None
    assert len(np.unique(dates)) == len(np.unique(sessions))
    assert np.all(np.diff(dates) >= 0)
    assert result.stats["periods_per_year"] == 252.0


def test_sessions_are_kept_with_the_files_of_a_run_and_older_files_are_read(tmp_path: Path) -> None:
    starts, _ = sydney_hours("2014-01-02", "2014-03-28")
    result = backtest(Idle, frame(starts, walk(len(starts), 4, 0.004)), calendar="XASX", timeframe="1h")
    folders = RunFolders(tmp_path)
    folder = save(result.record, folders)
    assert dict(Result(load(folders, result.run_id)).stats) == pytest.approx(dict(result.stats), nan_ok=True)
    facts = json.loads((folder / "run.json").read_text())
    del facts["periods_per_year"]
    (folder / "run.json").write_text(json.dumps(facts))
    pl.read_parquet(folder / "equity.parquet").drop("session_dates").write_parquet(folder / "equity.parquet")
    older = Result(load(folders, result.run_id))
    assert older.stats["periods_per_year"] == 312.0  # by UTC days, as that version counted
    assert older.stats["final_equity"] == result.stats["final_equity"]


@pytest.mark.parametrize("days", [1, 3, 5])
def test_minute_bars_around_the_clock_are_annualised_with_365(days: int) -> None:
    starts = np.datetime64("2024-01-01", "ns").astype(np.int64) + np.arange(days * 1440) * 60_000_000_000
    result = backtest(Idle, frame(starts, walk(len(starts), 0, 5e-4)))
    assert result.start == datetime(2024, 1, 1, tzinfo=UTC)
    assert result.stats["periods_per_year"] == 365.0


def test_the_periods_of_a_year_can_be_stated(tmp_path: Path) -> None:
    bars = daily([100.0, 101.0, 103.0, 102.0])
    usual, stated = backtest(Idle, bars), backtest(Idle, bars, periods_per_year=260)
    assert (usual.stats["periods_per_year"], stated.stats["periods_per_year"]) == (252.0, 260.0)
    ratio = stated.stats["buy_and_hold_sharpe"] / usual.stats["buy_and_hold_sharpe"]
    assert ratio == pytest.approx(math.sqrt(260 / 252))
    assert stated.settings["periods_per_year"] == 260.0
    save(stated.record, RunFolders(tmp_path))
    kept = Result(load(RunFolders(tmp_path), stated.run_id))
    assert kept.stats["periods_per_year"] == 260.0


@pytest.mark.parametrize("number", [0, -1, math.nan, math.inf, "252", True])
def test_periods_per_year_that_are_no_positive_number_are_refused(number: Any) -> None:
    with pytest.raises(
        ConfigError, match=r"periods_per_year=.*: must be a number greater than zero, such as 252 or 365"
    ):
        backtest(Idle, daily([100.0, 101.0]), periods_per_year=number)


def test_a_rounding_error_of_equity_is_no_loss() -> None:
    result = backtest(Steps, daily([196.18] * 4 + [196.55, 196.92]), params={"quantities": "34.3 32.6"})
    assert result.equity["equity"].min() < 100_000  # by one unit in the last place
    assert math.isnan(result.stats["sortino"])
    assert math.isnan(result.stats["calmar"])
    assert (result.stats["max_drawdown"], result.stats["max_drawdown_days"]) == (0.0, 0.0)
    assert not result.equity["drawdown"].to_numpy().any()


def test_a_flat_price_has_no_returns_no_drawdown_and_no_winners() -> None:
    result = backtest(Steps, daily([196.18] * 40), params={"quantities": " ".join(["34.3 32.6 -60.2", "-6.7"] * 9)})
    stats = result.stats
    assert stats["fills"] == 36
    assert (stats["return"], stats["cagr"], stats["volatility"]) == (0.0, 0.0, 0.0)
    assert (stats["max_drawdown"], stats["max_drawdown_days"], stats["win_rate"]) == (0.0, 0.0, 0.0)
    assert all(math.isnan(stats[name]) for name in ("sharpe", "sortino", "calmar", "profit_factor"))
    assert "-0.00" not in repr(result)
