"""Lookback: the number of bars that each indicator's value depends on. The report states it; it is not a finding."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from weaver.core.bars import BarSeries, Floats
from weaver.glados.lookahead.report import Lookback
from weaver.glados.lookahead.traced_run import TracedRunner
from weaver.marvin.indicator import IndicatorInfo
from weaver.marvin.rounding import values_agree

__all__ = ["measure_lookbacks"]

_PLACES = (1.0, 0.8)
"""Positions at which values are compared, as fractions of all bars."""
_VALUES = 50
"""Values compared at each position. A single value may agree by chance, for example in a signal that is mostly 0."""


def measure_lookbacks(
    runner: TracedRunner, indicators: list[IndicatorInfo], lookback: int | None
) -> tuple[Lookback, ...]:
    """Return the lookback of each indicator: the fewest bars of the run that give the same values as all bars.

    The number is found by doubling and then by bisection. It is the smallest one for a function that keeps its value once
    it has enough bars, as indicators do. `lookback` is the number of bars that a live run will have; indicators that need
    more are marked `short`.
    """
    several = len(runner.series) > 1
    # An indicator without any value needs more bars than there are.
    fewest = [
        bars if any(bool(np.isfinite(values).any()) for values in info.outputs) else None
        for info, bars in zip(indicators, _fewest_bars(runner, indicators), strict=True)
    ]
    return tuple(
        Lookback(
            indicator=info.name,
            bars=bars,
            short=bars is None or (lookback is not None and bars > lookback),
            symbol=" and ".join(info.track.symbols) if several else None,
        )
        for info, bars in zip(indicators, fewest, strict=True)
    )


def _fewest_bars(runner: TracedRunner, indicators: list[IndicatorInfo]) -> list[int | None]:
    total = max(len(series) for series in runner.series.values())
    ends = sorted({max(1, round(total * place)) for place in _PLACES})
    expected_at = [_values(runner, end, end) for end in ends]
    results: dict[int, list[bool]] = {}

    def enough(bars: int) -> list[bool]:
        """Return for each indicator whether `bars` bars up to each value give the same values as all bars."""
        if bars not in results:
            same = [True] * len(indicators)
            for end, expected in zip(ends, expected_at, strict=True):
                values = _values(runner, end, bars)
                for number in range(len(indicators)):
                    same[number] &= (
                        expected is not None and values is not None and _same(expected[number], values[number])
                    )
            results[bars] = same
        return results[bars]

    fewest = []
    for number, info in enumerate(indicators):
        # With this many bars nothing of the shortest of its symbols is left out.
        own = [runner.series[symbol] for symbol in info.track.symbols]
        most = min(min(ends[0], len(series)) - _compared(series) + 1 for series in own)
        fewest.append(_first_enough(most, lambda bars, number=number: enough(bars)[number]))  # type: ignore[misc]
    return fewest


def _compared(series: BarSeries) -> int:
    return max(1, min(_VALUES, len(series) // 4))


def _first_enough(most: int, enough: Callable[[int], bool]) -> int | None:
    """Return the smallest number below `most` from which on `enough` holds; None where only all bars are enough."""
    low, high = 0, most
    for bars in reversed([1 << power for power in range(most.bit_length()) if 1 << power < most]):
        if not enough(bars):
            low = bars
            break
        high = bars
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (low, middle) if enough(middle) else (middle, high)
    return high if high < most else None


def _values(runner: TracedRunner, end: int, bars: int) -> list[tuple[Floats, ...]] | None:
    """Return each indicator's last values before row `end` of its symbols, each computed from `bars` bars."""
    part, since = {}, {}
    for symbol, series in runner.series.items():
        stop = min(end, len(series))
        first = max(0, stop - _compared(series))
        part[symbol] = series.rows(max(0, first + 1 - bars), stop)
        since[symbol] = int(series.end[first])
    indicators = runner.indicators(part)
    if indicators is None:
        return None
    values = []
    for info in indicators:
        now = max(int(part[symbol].end[-1]) for symbol in info.track.symbols)
        first = int(np.searchsorted(info.track.end, max(since[symbol] for symbol in info.track.symbols), side="left"))
        last = int(np.searchsorted(info.track.end, now, side="right"))
        values.append(tuple(output[first:last] for output in info.outputs))
    return values


def _same(expected: tuple[Floats, ...], values: tuple[Floats, ...]) -> bool:
    if [len(column) for column in expected] != [len(column) for column in values] or not expected[0].size:
        return False  # no values in this part (symbols of a join that no longer overlap) prove nothing
    return all(bool(values_agree(a, b).all()) for a, b in zip(expected, values, strict=True))
