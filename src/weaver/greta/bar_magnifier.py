"""FinerBars: the bars of a smaller timeframe inside a run's bar, on which orders reached inside it are judged.

They only say in which order prices came. Where they are missing, or go beyond the run's bar, the run's bar decides.
"""

from __future__ import annotations

import numpy as np

from weaver.core.bars import Bar, BarSeries
from weaver.core.errors import ConfigError
from weaver.core.timeframe import Timeframe

__all__ = ["FinerBars"]


class FinerBars:
    """The smaller bars of one symbol. Raises ConfigError if they are not smaller than the run's."""

    __slots__ = ("_series",)

    def __init__(self, series: BarSeries, timeframe: Timeframe) -> None:
        if series.timeframe.ns >= timeframe.ns:
            raise ConfigError(
                f"finer= holds {series.timeframe} bars of {series.symbol}, and the run's are {timeframe}: "
                "give bars of a smaller timeframe"
            )
        self._series = series

    def within(self, bar: Bar, end_ns: int) -> list[Bar]:
        """Return the smaller bars that start within `bar`, which ends at `end_ns`, in order of time.

        Their prices are clipped to those of `bar`, so that nothing fills outside it.
        """
        series = self._series
        first, past = np.searchsorted(series.start, (bar.ts_ns, end_ns))
        rows = slice(int(first), int(past))
        prices = [
            np.clip(column[rows], bar.low, bar.high).tolist()
            for column in (series.open, series.high, series.low, series.close)
        ]
        return [
            Bar(bar.symbol, start, open_, high, low, close, volume)
            for start, open_, high, low, close, volume in zip(
                series.start[rows].tolist(), *prices, series.volume[rows].tolist(), strict=True
            )
        ]
