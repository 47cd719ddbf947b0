"""vectorbt 1.2: no Python per bar at all, so no W2. Timed: averages, `from_signals`, `stats()`; with `pass` no stats."""

from __future__ import annotations

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

import warnings

import pandas as pd
import vectorbt as vbt
from measure import Outcome, Run, measure
from workloads import CASH, COMMISSION, FAST, SLOW, Bars


def prepare(workload: str, bars: Bars) -> Run:
    index = pd.to_datetime(bars.start_ns)  # an index with a time zone costs it 40 us per bar
    frames = {
        name: pd.DataFrame(bars.columns[name].T.copy(), index=index, columns=bars.symbols) for name in ("open", "close")
    }
    if len(bars.symbols) == 1:
        frames = {name: frame.iloc[:, 0] for name, frame in frames.items()}
    several = {"group_by": True, "cash_sharing": True} if len(bars.symbols) > 1 else {}

    def run() -> Outcome:
        close = frames["close"]
        fast, slow = (vbt.MA.run(close, period, short_name="ma").ma.to_numpy() for period in (FAST, SLOW))
        above = pd.DataFrame(fast > slow, index=index) if several else pd.Series((fast > slow).ravel(), index=index)
        below = pd.DataFrame(fast < slow, index=index) if several else pd.Series((fast < slow).ravel(), index=index)
        if several:
            above.columns = below.columns = close.columns
        portfolio = vbt.Portfolio.from_signals(
            close,
            above.vbt.signals.fshift(1),  # decided on one bar, filled at the open of the next
            below.vbt.signals.fshift(1),
            price=frames["open"],
            size=1.0,
            fees=COMMISSION,
            init_cash=CASH,
            freq="1min",
            **several,
        )
        if "pass" in sys.argv:
            return Outcome(len(portfolio.orders.records_arr), float(portfolio.final_value()))
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            assert len(portfolio.stats())
        return Outcome(len(portfolio.orders.records_arr), float(portfolio.final_value()))

    return run


measure(prepare)
