"""Checks of prices and times, all rows at once.

Guarantees that bars without a finding have finite prices above zero with low <= open, close <= high, a volume that is not
negative, and strictly increasing times. `include_open_and_close` is the only function here that changes a bar.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from weaver.core.bars import Floats, Instants
from weaver.core.timeframe import Timeframe

__all__ = [
    "CHUNK",
    "FLOAT32_ROUNDING",
    "LONG_WEEKEND_NS",
    "ROUNDING",
    "ROUNDING_ADVICE",
    "Spacing",
    "commonest_spacing",
    "explain_bar",
    "impossible_bars",
    "include_open_and_close",
    "longer_spacing",
    "off_grid_rows",
    "only_rounding_wrong",
    "only_volume_wrong",
    "rounding_note",
    "swapped_bars",
    "timeframe_of",
    "unordered_rows",
]

Rows = NDArray[np.int64]
Mask = NDArray[np.bool_]
LONG_WEEKEND_NS = 4 * 86_400 * 10**9
"""From bar to bar over a long week-end with a holiday; five days are more than any exchange closes regularly."""

ROUNDING = 1e-12
"""Open and close may breach high and low by this fraction of the price: a few units in the last place of a float64."""

FLOAT32_ROUNDING = 1e-6
"""A breach up to this fraction of the price comes from rounding, of single precision for example, not from a bad price."""

ROUNDING_ADVICE = (
    "high and low seem to be rounded more than open and close: take all four from one source in double precision, or set "
    "high to the largest and low to the smallest of the four"
)

CHUNK = 1 << 14
"""Rows that are checked at once: few enough for the columns of one operation to stay in the processor's second cache."""

_PRICES = ("open", "high", "low", "close")


def impossible_bars(columns: Mapping[str, Floats]) -> Rows:
    """Return the rows with an impossible price or volume (missing, infinite, not above zero, outside high and low)."""
    o, h, lo, c, v = (columns[name] for name in (*_PRICES, "volume"))
    size = min(CHUNK, len(o))
    floats, good, also = np.empty(size), np.empty(size, dtype=np.bool_), np.empty(size, dtype=np.bool_)
    rows: list[Rows] = []
    with np.errstate(invalid="ignore"):
        for first in range(0, len(o), CHUNK):
            part = slice(first, first + CHUNK)
            bar = (o[part], h[part], lo[part], c[part], v[part])
            count = len(bar[0])
            if not _all_possible(*bar, floats[:count], good[:count], also[:count]):
                rows.append(first + _impossible(*bar))
    return np.concatenate(rows) if rows else np.empty(0, dtype=np.int64)


def _all_possible(
    o: Floats, h: Floats, lo: Floats, c: Floats, v: Floats, floats: Floats, good: Mask, also: Mask
) -> bool:
    """Return whether all rows are possible. NaN passes through maximum and minimum, and fails every comparison.

    The last three arguments are buffers: this runs over every bar of every frame.
    """
    np.greater_equal(h, np.maximum(o, c, out=floats), out=good)
    good &= np.less_equal(lo, np.minimum(o, c, out=floats), out=also)
    good &= np.greater(lo, 0.0, out=also)
    good &= np.less(h, np.inf, out=also)
    good &= np.greater_equal(v, 0.0, out=also)
    good &= np.less(v, np.inf, out=also)
    return bool(good.all())


def _impossible(o: Floats, h: Floats, lo: Floats, c: Floats, v: Floats) -> Rows:
    good = (lo > 0) & (lo <= o) & (lo <= c) & (h >= o) & (h >= c) & (h < np.inf) & (v >= 0) & (v < np.inf)
    return np.flatnonzero(~good)


def only_volume_wrong(columns: Mapping[str, Floats], rows: Rows) -> NDArray[np.bool_]:
    """For each of `rows`, impossible bars all: True where the prices are right."""
    part = {name: columns[name][rows] for name in _PRICES} | {"volume": np.zeros(len(rows))}
    mask = np.ones(len(rows), dtype=np.bool_)
    mask[impossible_bars(part)] = False
    return mask


def only_rounding_wrong(columns: Mapping[str, Floats], rows: Rows, limit: float = ROUNDING) -> NDArray[np.bool_]:
    """For each of `rows`, impossible bars all: True where only open or close breaches high or low, by at most `limit`.

    `limit` is a fraction of the price. Adjusted prices are products, whose last digit is rounded for each price alone.
    """
    part = {name: columns[name][rows] for name in (*_PRICES, "volume")}
    high, low = part["high"].copy(), part["low"].copy()
    include_open_and_close(part, np.arange(len(rows), dtype=np.int64))
    with np.errstate(invalid="ignore"):
        mask: NDArray[np.bool_] = (part["high"] - high <= limit * high) & (low - part["low"] <= limit * low)
    mask[impossible_bars(part)] = False
    return mask


def include_open_and_close(columns: dict[str, Floats], rows: Rows) -> None:
    """Raise high and lower low in `rows` to include open and close. The two columns in `columns` are replaced by copies."""
    part = {name: columns[name][rows] for name in _PRICES}
    high, low = columns["high"].copy(), columns["low"].copy()
    high[rows] = np.maximum(np.maximum(part["open"], part["close"]), part["high"])
    low[rows] = np.minimum(np.minimum(part["open"], part["close"]), part["low"])
    columns["high"], columns["low"] = high, low


def rounding_note(count: int) -> str:
    """Return the note about `count` bars whose high and low were widened to include open and close."""
    bars = "1 bar whose" if count == 1 else f"{count:,} bars whose"
    return f"{bars} open or close breached high or low by rounding (at most {ROUNDING:g} of the price): high and low clipped"


def swapped_bars(columns: Mapping[str, Floats], rows: Rows) -> NDArray[np.bool_]:
    """For each of `rows`: True where high is below low and exchanging the two makes a possible bar."""
    part = {name: columns[name][rows] for name in (*_PRICES, "volume")}
    mask: NDArray[np.bool_] = part["high"] < part["low"]
    part["high"], part["low"] = part["low"], part["high"]
    mask[impossible_bars(part)] = False
    return mask


def explain_bar(columns: Mapping[str, Floats], row: int) -> str:
    """Return every fault of one impossible bar: "high 1.0 is below low 2.0, volume -10.0 is below zero"."""
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


@dataclass(frozen=True, slots=True)
class Spacing:
    """The smallest and the largest distance of neighbouring starts in ns; 0 and 0 below two rows."""

    smallest: int
    largest: int

    @classmethod
    def of(cls, starts: Instants) -> Spacing:
        """Measure them in one pass."""
        if len(starts) < 2:
            return cls(0, 0)
        buffer = np.empty(min(CHUNK, len(starts) - 1), dtype=np.int64)
        smallest, largest = np.iinfo(np.int64).max, np.iinfo(np.int64).min
        for first in range(0, len(starts) - 1, CHUNK):
            part = starts[first : first + CHUNK + 1]
            apart = np.subtract(part[1:], part[:-1], out=buffer[: len(part) - 1])
            smallest, largest = min(smallest, int(apart.min())), max(largest, int(apart.max()))
        return cls(int(smallest), int(largest))

    @property
    def is_regular(self) -> bool:
        """Return whether all distances are the same."""
        return self.smallest == self.largest != 0


def unordered_rows(starts: Instants, spacing: Spacing | None = None) -> Rows:
    """Return the rows whose time is not after that of the row before."""
    if spacing is not None and spacing.smallest > 0:
        return np.empty(0, dtype=np.int64)
    return np.flatnonzero(starts[1:] <= starts[:-1]) + 1


def off_grid_rows(starts: Instants, timeframe: Timeframe, spacing: Spacing | None = None) -> Rows:
    """Return the rows of `starts` that are not on the grid of `timeframe`."""
    if spacing is not None and spacing.is_regular and len(starts):
        # Without a division for each row: a neighbour on the grid is a multiple of the timeframe away.
        if spacing.smallest % timeframe.ns == 0 and int(timeframe.offsets(starts[:1])[0]) == 0:
            return np.empty(0, dtype=np.int64)
    return np.flatnonzero(timeframe.offsets(starts))


def commonest_spacing(starts: Instants, spacing: Spacing | None = None) -> int | None:
    """Return the most frequent distance of neighbours in ns (of equally frequent ones the smallest); None below two rows."""
    if len(starts) < 2:
        return None
    if spacing is not None and spacing.is_regular:
        return spacing.smallest
    apart: NDArray[np.int64] = np.diff(starts)
    values, counts = np.unique(apart[:1_000], return_counts=True)
    likely = int(values[counts.argmax()])
    if 2 * int(np.count_nonzero(apart == likely)) > len(apart):
        return likely
    values, counts = np.unique(apart, return_counts=True)
    return int(values[counts.argmax()])


def longer_spacing(starts: Instants, timeframe: Timeframe, spacing: Spacing | None = None) -> int | None:
    """Return the length that the bars seem to have, where three or more show that it is longer than `timeframe`.

    Intraday that is the greatest common divisor of their distances (sparse bars of a minute still have one of a minute);
    for days and weeks the smallest distance, unless a long weekend explains it.
    """
    if len(starts) < 3:
        return None
    smallest = (spacing or Spacing.of(starts)).smallest
    if timeframe.is_intraday:
        common = int(np.gcd.reduce(np.diff(starts))) if smallest > timeframe.ns else timeframe.ns
        return common if common > timeframe.ns else None
    return smallest if smallest > max(timeframe.ns, LONG_WEEKEND_NS) else None


def timeframe_of(ns: int) -> Timeframe:
    """Return the timeframe of that length. Raises TimeframeError for a length that is not a timeframe."""
    for unit, size in (("w", 604_800), ("d", 86_400), ("h", 3_600), ("m", 60)):
        if ns % (size * 10**9) == 0:
            return Timeframe.of(f"{ns // (size * 10**9)}{unit}")
    return Timeframe.of(f"{ns / 10**9:g}s")
