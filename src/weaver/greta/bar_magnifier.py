"""Drilling: which of two prices a bar reached first, looked up in the bars of a smaller timeframe. Guesses nothing."""

from __future__ import annotations

import numpy as np

from weaver.core.bars import BarSeries
from weaver.core.errors import ConfigError
from weaver.core.timeframe import Timeframe

__all__ = ["FinerBars"]


class FinerBars:
    """The smaller bars of one symbol. Raises ConfigError where they are not smaller than the run's."""

    __slots__ = ("_series",)

    def __init__(self, series: BarSeries, timeframe: Timeframe) -> None:
        if series.timeframe.ns >= timeframe.ns:
            raise ConfigError(
                f"finer= holds {series.timeframe} bars of {series.symbol}, and the run's are {timeframe}: "
                "give bars of a smaller timeframe"
            )
        self._series = series

    def falls_first(self, start_ns: int, end_ns: int, below: float, above: float) -> bool | None:
        """Whether `below` was reached before `above` within [start_ns, end_ns); None where the bars do not tell.

        They do not where they are missing, or where one smaller bar reached both.
        """
        series = self._series
        first, past = np.searchsorted(series.start, (start_ns, end_ns))
        for row in range(int(first), int(past)):
            fell, rose = series.low[row] <= below, series.high[row] >= above
            if fell and rose:
                return None
            if fell or rose:
                return bool(fell)
        return None
