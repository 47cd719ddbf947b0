"""Results of a run, the same for a backtest and a live run: fills, trades, equity, statistics, the report.

`Result` computes everything from one `RunRecord` on first use. It does not depend on the engine that made the record.
"""

from __future__ import annotations

from weaver.results.record import OrderRecord, PlotSeries, RunRecord
from weaver.results.result import Result

__all__ = ["OrderRecord", "PlotSeries", "Result", "RunRecord"]
