"""Lines of the report: the indicators of a run, each over the prices or in a panel of its own.

A strategy decides with `plot=`. Without it, an output is drawn over the prices only if it has their unit and their level:
it doubles when the prices double, and it is near the close. An oscillator (RSI, Stochastic) keeps its values when prices
double, so it is never drawn over prices of 30 to 70; a range or a difference of prices (ATR, MACD) is not near the close.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import cached_property
from typing import Any, overload

import numpy as np

from weaver.core.bars import BarSeries, Floats
from weaver.marvin.indicator import IndicatorInfo
from weaver.results.record import PlotSeries

__all__ = ["LazyPlots", "plots_of"]

SAMPLE_BARS = 200
"""Bars with a value on which a doubled price is tried."""

FAR_FROM_CLOSE = 0.5
"""Median distance from the close, as a fraction of it, beyond which a line would press the candles flat."""


class LazyPlots(Sequence[PlotSeries]):
    """The lines to draw, decided on first access: functions of indicators are called again, and most runs are not drawn."""

    def __init__(self, indicators: Sequence[IndicatorInfo], series: Mapping[str, BarSeries]) -> None:
        self._indicators = indicators
        self._series = series

    @cached_property
    def _plots(self) -> tuple[PlotSeries, ...]:
        return plots_of(self._indicators, self._series)

    @overload
    def __getitem__(self, index: int) -> PlotSeries: ...
    @overload
    def __getitem__(self, index: slice) -> Sequence[PlotSeries]: ...
    def __getitem__(self, index: int | slice) -> PlotSeries | Sequence[PlotSeries]:
        return self._plots[index]

    def __len__(self) -> int:
        return len(self._plots)

    def __reduce__(self) -> tuple[Any, ...]:
        return tuple, (self._plots,)  # the functions of indicators cannot be pickled in general


def plots_of(indicators: Sequence[IndicatorInfo], series: Mapping[str, BarSeries]) -> tuple[PlotSeries, ...]:
    """Return the lines to draw, in the order in which the indicators were created."""
    plots = []
    priced: set[int] = (
        set()
    )  # identities of outputs that have the unit of a price, which later indicators may be made of
    for info in indicators:
        if not info.length:
            continue
        doubles = _doubles_with_prices(info, priced)
        priced |= {id(output) for output, double in zip(info.outputs, doubles, strict=True) if double}
        if info.plot is False:
            continue
        for symbol in info.track.symbols:
            bars = series[symbol]
            # The bars before the first one of the run are history, which the report does not draw.
            first = int(np.searchsorted(info.track.end, bars.end[0]))
            starts = info.track.start[first:]
            own = np.array_equal(starts, bars.start)
            for number, output in enumerate(info.outputs):
                overlay = info.plot in ("overlay", True)
                if info.plot is None and doubles[number]:
                    overlay = _near_the_close(info, output, bars)
                name = info.name if len(info.outputs) == 1 or not overlay else f"{info.name}[{number}]"
                plots.append(
                    PlotSeries(
                        symbol=symbol,
                        name=name,
                        values=output[first:],
                        ts=None if own else starts,
                        overlay=overlay,
                    )
                )
    return tuple(plots)


def _doubles_with_prices(info: IndicatorInfo, priced: set[int]) -> tuple[bool, ...]:
    """Whether each output doubles when the prices among the inputs double, tried on the first bars that have a value."""
    none = (False,) * len(info.outputs)
    ready = int(np.searchsorted(info.track.end, info.ready_ns))
    rows = min(info.length, ready + SAMPLE_BARS)
    prices = info.price_columns | priced

    def doubled(value: Any) -> Any:
        if not isinstance(value, np.ndarray):
            return value
        part: Floats = value[:rows] * 2.0 if id(value) in prices else value[:rows]
        part.flags.writeable = False  # as the columns that the function was first called with
        return part

    if not any(id(value) in prices for value in (*info.inputs, *info.keywords.values())):
        return none
    try:
        result = info.function(
            *map(doubled, info.inputs), **{key: doubled(value) for key, value in info.keywords.items()}
        )
        several = isinstance(result, tuple | list) and len(info.outputs) > 1
        outputs = [np.asarray(output, dtype=np.float64) for output in (result if several else (result,))]
    except Exception:  # noqa: BLE001 - a function that fails on fewer bars is drawn in a panel; the run is over
        return none
    if len(outputs) != len(info.outputs) or any(output.shape != (rows,) for output in outputs):
        return none
    return tuple(
        bool(np.isfinite(before[:rows]).any()) and np.allclose(after, 2.0 * before[:rows], rtol=1e-6, equal_nan=True)
        for before, after in zip(info.outputs, outputs, strict=True)
    )


def _near_the_close(info: IndicatorInfo, output: Floats, series: BarSeries) -> bool:
    """Whether the values are at the level of the closes known at their time, looked up at a hundred places."""
    rows = np.linspace(0, len(output) - 1, 100).astype(np.int64)
    at = np.searchsorted(series.end, info.track.end[rows], side="right") - 1
    rows, at = rows[at >= 0], at[at >= 0]
    values, close = output[rows], series.close[at]
    finite = np.isfinite(values) & (close > 0)
    if not finite.any():
        return False
    return bool(np.median(np.abs(values[finite] / close[finite] - 1.0)) <= FAR_FROM_CLOSE)
