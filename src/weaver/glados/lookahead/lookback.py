"""Lookback: how many bars an indicator's value needs, with all that came before left out. Informational, and no finding."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from weaver.core.bars import BarSeries, Floats
from weaver.glados.lookahead.differences import values_agree
from weaver.glados.lookahead.report import Lookback
from weaver.glados.lookahead.traced_run import Runner
from weaver.marvin.indicator import IndicatorInfo

__all__ = ["measure_memory"]

_PLACES = (1.0, 0.8)
"""Where in the bars values are looked at."""
_VALUES = 50
"""So many values at each: one alone may agree by chance, as a signal does that is mostly 0."""


def measure_memory(runner: Runner, made: list[IndicatorInfo], history: int | None) -> tuple[Lookback, ...]:
    """For every indicator the least history, in bars of the run, that gives the values it has with all of the history.

    Found by doubling, then by halving what lies between; so it is the least only of a function that needs no more
    once it has enough, which is what indicators are like.
    """
    several = len(runner.series) > 1
    # What never had a value agrees with every history, and needs one that is longer than these bars.
    least = [
        bars if any(bool(np.isfinite(values).any()) for values in info.outputs) else None
        for info, bars in zip(made, _least(runner, made), strict=True)
    ]
    return tuple(
        Lookback(
            indicator=info.name,
            bars=bars,
            short=bars is None or (history is not None and bars > history),
            symbol=" and ".join(info.track.symbols) if several else None,
        )
        for info, bars in zip(made, least, strict=True)
    )


def _least(runner: Runner, made: list[IndicatorInfo]) -> list[int | None]:
    total = max(len(one) for one in runner.series.values())
    ends = sorted({max(1, round(total * place)) for place in _PLACES})
    full = [_values(runner, end, end) for end in ends]
    seen: dict[int, list[bool]] = {}

    def enough(bars: int) -> list[bool]:
        """By indicator: whether `bars` bars before each value, itself included, give what all of them do."""
        if bars not in seen:
            found = [True] * len(made)
            for end, expected in zip(ends, full, strict=True):
                given = _values(runner, end, bars)
                for at in range(len(made)):
                    found[at] &= expected is not None and given is not None and _same(expected[at], given[at])
            seen[bars] = found
        return seen[bars]

    least = []
    for at, info in enumerate(made):
        # From here on nothing would be left out of the shortest of its symbols.
        own = [runner.series[symbol] for symbol in info.track.symbols]
        most = min(min(ends[0], len(one)) - _looked_at(one) + 1 for one in own)
        least.append(_first_enough(most, lambda bars, at=at: enough(bars)[at]))  # type: ignore[misc]
    return least


def _looked_at(one: BarSeries) -> int:
    return max(1, min(_VALUES, len(one) // 4))


def _first_enough(most: int, enough: Callable[[int], bool]) -> int | None:
    """The least number below `most` from which on it is enough; None where only all bars are."""
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


def _values(runner: Runner, end: int, bars: int) -> list[tuple[Floats, ...]] | None:
    """Every indicator's last values before row `end` of its symbols, each made from `bars` bars."""
    part, since = {}, {}
    for symbol, one in runner.series.items():
        stop = min(end, len(one))
        first = max(0, stop - _looked_at(one))
        part[symbol] = one.rows(max(0, first + 1 - bars), stop)
        since[symbol] = int(one.end[first])
    made = runner.indicators(part)
    if made is None:
        return None
    found = []
    for info in made:
        now = max(int(part[symbol].end[-1]) for symbol in info.track.symbols)
        first = int(np.searchsorted(info.track.end, max(since[symbol] for symbol in info.track.symbols), side="left"))
        last = int(np.searchsorted(info.track.end, now, side="right"))
        found.append(tuple(output[first:last] for output in info.outputs))
    return found


def _same(one: tuple[Floats, ...], two: tuple[Floats, ...]) -> bool:
    if [len(values) for values in one] != [len(values) for values in two] or not one[0].size:
        return False  # what has no values there (a join of symbols that no longer meet) shows nothing
    return all(bool(values_agree(a, b).all()) for a, b in zip(one, two, strict=True))
