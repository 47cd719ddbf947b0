"""Checking: what is wrong with columns of prices and times, row by row, all at once.

Guarantees that whatever passes has finite prices above zero with low <= open, close <= high, a volume that is not
negative, and strictly increasing times. It finds and names faults; it repairs nothing.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
from numpy.typing import NDArray

from weaver.core.bars import Floats, Instants
from weaver.core.timeframe import Timeframe

__all__ = [
    "LONG_WEEKEND_NS",
    "commonest_spacing",
    "explain_bar",
    "impossible_bars",
    "longer_spacing",
    "only_volume_wrong",
    "swapped_bars",
    "timeframe_of",
    "unordered_rows",
]

Rows = NDArray[np.int64]
LONG_WEEKEND_NS = 4 * 86_400 * 10**9
"""From bar to bar over a long week-end with a holiday; five days are more than any exchange closes regularly."""

_PRICES = ("open", "high", "low", "close")


def impossible_bars(columns: Mapping[str, Floats]) -> Rows:
    """The rows whose prices or volume cannot be (missing, infinite, not above zero, outside high and low), in order."""
    o, h, lo, c, v = (columns[name] for name in (*_PRICES, "volume"))
    with np.errstate(invalid="ignore"):
        # NaN and infinity fail these comparisons too, so one pass finds every suspect.
        good = (lo > 0) & (lo <= o) & (lo <= c) & (h >= o) & (h >= c) & (h < np.inf) & (v >= 0) & (v < np.inf)
    return np.flatnonzero(~good)


def only_volume_wrong(columns: Mapping[str, Floats], rows: Rows) -> NDArray[np.bool_]:
    """For each of `rows`, impossible bars all: True where the prices are right."""
    part = {name: columns[name][rows] for name in _PRICES} | {"volume": np.zeros(len(rows))}
    mask = np.ones(len(rows), dtype=np.bool_)
    mask[impossible_bars(part)] = False
    return mask


def swapped_bars(columns: Mapping[str, Floats], rows: Rows) -> NDArray[np.bool_]:
    """For each of `rows`: True where high is below low and exchanging the two makes a possible bar."""
    part = {name: columns[name][rows] for name in (*_PRICES, "volume")}
    mask: NDArray[np.bool_] = part["high"] < part["low"]
    part["high"], part["low"] = part["low"], part["high"]
    mask[impossible_bars(part)] = False
    return mask


def explain_bar(columns: Mapping[str, Floats], row: int) -> str:
    """All that is wrong with one impossible bar: "high 1.0 is below low 2.0, volume -10.0 is below zero"."""
    bar = {name: float(columns[name][row]) for name in (*_PRICES, "volume")}
    reasons = []
    for name, value in bar.items():
        if np.isnan(value):
            reasons.append(f"{name} is missing (NaN)")
        elif np.isinf(value):
            reasons.append(f"{name} is {value}")
        elif name == "volume" and value < 0:
            reasons.append(f"volume {value!r} is below zero")
        elif name != "volume" and value <= 0:
            reasons.append(f"{name} {value!r} is not above zero")
    o, h, lo, c = (bar[name] for name in _PRICES)
    if h < lo:
        reasons.append(f"high {h!r} is below low {lo!r}")
    else:
        for name, value in (("open", o), ("close", c)):
            if value > h:
                reasons.append(f"{name} {value!r} is above high {h!r}")
            if value < lo:
                reasons.append(f"{name} {value!r} is below low {lo!r}")
    return ", ".join(reasons)


def unordered_rows(starts: Instants) -> Rows:
    """The rows whose time is not after that of the row before."""
    return np.flatnonzero(starts[1:] <= starts[:-1]) + 1


def commonest_spacing(starts: Instants) -> int | None:
    """The most frequent distance of neighbours in ns (of equally frequent ones the smallest); None below two rows."""
    if len(starts) < 2:
        return None
    spacing: NDArray[np.int64] = np.diff(starts)
    values, counts = np.unique(spacing[:1_000], return_counts=True)
    likely = int(values[counts.argmax()])
    if 2 * int((spacing == likely).sum()) > len(spacing):
        return likely
    values, counts = np.unique(spacing, return_counts=True)
    return int(values[counts.argmax()])


def longer_spacing(starts: Instants, timeframe: Timeframe) -> int | None:
    """The length that the bars seem to have in truth, where three or more say that it is longer than `timeframe`.

    Intraday that is the greatest common divisor of their distances (sparse bars of a minute still have one of a minute);
    for days and weeks the smallest distance, unless a long week-end explains it.
    """
    if len(starts) < 3:
        return None
    apart: NDArray[np.int64] = np.diff(starts)
    if timeframe.is_intraday:
        common = int(np.gcd.reduce(apart)) if int(apart.min()) > timeframe.ns else timeframe.ns
        return common if common > timeframe.ns else None
    smallest = int(apart.min())
    return smallest if smallest > max(timeframe.ns, LONG_WEEKEND_NS) else None


def timeframe_of(ns: int) -> Timeframe:
    """The timeframe of that length; TimeframeError where there is none."""
    for unit, size in (("w", 604_800), ("d", 86_400), ("h", 3_600), ("m", 60)):
        if ns % (size * 10**9) == 0:
            return Timeframe.of(f"{ns // (size * 10**9)}{unit}")
    return Timeframe.of(f"{ns / 10**9:g}s")
