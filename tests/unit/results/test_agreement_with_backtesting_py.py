"""Where backtesting.py defines a number as Weaver does, both give the same number for the same run."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest

from weaver.core.bars import BarSeries
from weaver.results import Result, RunRecord
from weaver.results.frames import TIME


@pytest.mark.filterwarnings("ignore")
def test_shared_statistics_agree_with_backtesting_py(
    series: Callable[..., BarSeries], record: Callable[..., RunRecord]
) -> None:
    pytest.importorskip("backtesting")
    import pandas as pd
    from backtesting._stats import compute_stats

    rng = np.random.default_rng(7)
    bars = series("A", 100 * np.exp(np.cumsum(rng.normal(0, 0.02, 800))))
    at = np.sort(rng.choice(np.arange(1, 799), 120, replace=False))
    trades = [(int(bar), "A", 10 if i % 2 == 0 else -10, float(bars.open[bar]), 0.5) for i, bar in enumerate(at)]
    result = Result(record([bars], trades))
    frame = result.trades
    index = pd.DatetimeIndex(bars.start.astype("datetime64[ns]"))
    theirs = compute_stats(
        trades=pd.DataFrame(
            {
                "EntryBar": at[::2],
                "ExitBar": at[1::2],
                "PnL": frame["pnl"].to_numpy(),
                "ReturnPct": frame["return"].to_numpy(),
                "Duration": pd.to_timedelta(frame["bars_held"].to_numpy(), unit="D"),
            }
        ),
        equity=result.record.equity,
        ohlc_data=pd.DataFrame({"Close": bars.close}, index=index),
        strategy_instance=None,
    )
    ours = result.stats
    assert frame["entry_time"].dtype == TIME
    assert ours["trades"] == theirs["# Trades"] == 60
    assert ours["return"] * 100 == pytest.approx(theirs["Return [%]"])
    assert ours["max_drawdown"] * 100 == pytest.approx(theirs["Max. Drawdown [%]"])
    assert ours["max_drawdown_days"] == theirs["Max. Drawdown Duration"].days
    assert ours["win_rate"] * 100 == pytest.approx(theirs["Win Rate [%]"])
    assert ours["average_trade_return"] * 100 == pytest.approx(theirs["Expectancy [%]"])
    assert ours["final_equity"] == theirs["Equity Final [$]"]
    assert ours["buy_and_hold_return"] * 100 == pytest.approx(theirs["Buy & Hold Return [%]"])
    years = 800 / 365.25  # theirs ends at the start of the last bar, ours at its end
    assert (1 + ours["cagr"]) ** years == pytest.approx((1 + theirs["CAGR [%]"] / 100) ** (799 / 365.25))
