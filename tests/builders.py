"""Bars for tests, built from the few numbers that a test is about.

`frame` builds a Polars frame and `series` a `BarSeries` from closes; `frame_of_rows` and `series_of_rows` build the same
from (open, high, low, close, volume). `random_walk` draws the columns of a seeded random walk for either of the first
two: `frame(**random_walk(300, seed=7), step="1h")`. Nothing is random without a seed, and nothing reads a clock.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import date, datetime
from typing import Any

import numpy as np
import polars as pl
from numpy.typing import ArrayLike

from weaver.core.bars import BarSeries
from weaver.core.calendar import SessionCalendar
from weaver.core.instants import NS_PER_DAY, to_ns
from weaver.core.instrument import Instrument
from weaver.core.timeframe import Timeframe

__all__ = [
    "DAY",
    "HOUR",
    "MINUTE",
    "MONDAY",
    "frame",
    "frame_of_rows",
    "random_walk",
    "series",
    "series_of_rows",
]

MINUTE = 60 * 10**9
HOUR = 60 * MINUTE
DAY = NS_PER_DAY
MONDAY = to_ns("2024-01-01T00:00:00Z")
"""The start of the first bar, unless a test says otherwise: a Monday, in nanoseconds UTC."""

NAMES = ("open", "high", "low", "close", "volume")
Start = str | int | date | datetime
Row = Sequence[float] | None
"""(open, high, low, close) with or without a volume; None is a bar that is missing."""


def frame(
    closes: ArrayLike,
    *,
    opens: ArrayLike | None = None,
    highs: ArrayLike | None = None,
    lows: ArrayLike | None = None,
    volumes: ArrayLike = 1000.0,
    start: Start = MONDAY,
    step: str = "1d",
    rows: Sequence[int] | None = None,
    time: str = "timestamp",
    symbol: str | None = None,
    **extra: Any,
) -> pl.DataFrame:
    """Return a frame with one bar per close, `step` apart from `start` on.

    A bar opens at its own close, and its high and low are the larger and the smaller of open and close, unless given.
    `rows` names the places on the grid that have a bar, so that the others are missing. `time` names the column of the
    starts (aware, UTC, nanoseconds); `symbol` adds a first column `symbol`; `extra` adds columns by name.
    """
    columns = _columns(closes, opens, highs, lows, volumes)
    starts = _starts(len(columns["close"]), start, step, rows)
    stamps = pl.Series(time, starts).cast(pl.Datetime("ns", "UTC"))
    named = {} if symbol is None else {"symbol": pl.Series([symbol] * len(starts), dtype=pl.String)}
    return pl.DataFrame({**named, time: stamps, **columns, **extra})


def series(
    closes: ArrayLike,
    *,
    opens: ArrayLike | None = None,
    highs: ArrayLike | None = None,
    lows: ArrayLike | None = None,
    volumes: ArrayLike = 1000.0,
    symbol: str = "A",
    start: Start = MONDAY,
    step: str = "1d",
    rows: Sequence[int] | None = None,
    starts: Sequence[int] | None = None,
    ends: Sequence[int] | None = None,
    calendar: SessionCalendar | None = None,
    instrument: Instrument | None = None,
    extra: Mapping[str, ArrayLike] | None = None,
) -> BarSeries:
    """Return a series with one bar per close: as `frame`, or with the given `starts` and `ends` (nanoseconds UTC).

    Bars end `step` after their start, or as the sessions of `calendar` say. The lot is 1 unless `instrument` says
    otherwise.
    """
    columns = _columns(closes, opens, highs, lows, volumes)
    timeframe = Timeframe(step)
    if starts is None:
        starts_ns = _starts(len(columns["close"]), start, step, rows)
    else:
        starts_ns = np.array(starts, dtype=np.int64)
    if ends is not None:
        ends_ns = np.array(ends, dtype=np.int64)
    elif calendar is not None:
        ends_ns = calendar.bar_ends(starts_ns, timeframe)
    else:
        ends_ns = starts_ns + timeframe.ns
    return BarSeries(
        symbol=symbol,
        timeframe=timeframe,
        start=starts_ns,
        end=ends_ns,
        instrument=instrument or Instrument(lot=1),
        extra={name: np.array(values, dtype=np.float64) for name, values in (extra or {}).items()},
        **columns,
    )


def frame_of_rows(*rows: Row, volume: float = 1000.0, **options: Any) -> pl.DataFrame:
    """Return the frame of (open, high, low, close[, volume]) rows; `options` are those of `frame`."""
    return frame(**_of_rows(rows, volume), **options)


def series_of_rows(*rows: Row, volume: float = 1000.0, **options: Any) -> BarSeries:
    """Return the series of (open, high, low, close[, volume]) rows; `options` are those of `series`."""
    columns = _of_rows(rows, volume)
    if options.get("starts") is not None:
        del columns["rows"]
    return series(**columns, **options)


def random_walk(
    count: int, seed: int, *, price: float = 100.0, volatility: float = 0.01, gap: float = 0.002, reach: float = 0.01
) -> dict[str, Any]:
    """Return closes, opens, highs, lows and volumes of `count` bars of a geometric random walk, to pass on by name.

    `volatility` is the standard deviation of one bar's logarithmic return and `gap` that of an open against the close
    before. Highs and lows are up to the fraction `reach` beyond open and close.
    """
    rng = np.random.default_rng(seed)
    closes = price * np.exp(np.cumsum(rng.normal(0, volatility, count)))
    opens = np.r_[price, closes[:-1]][:count] * np.exp(rng.normal(0, gap, count))
    return {
        "closes": closes,
        "opens": opens,
        "highs": np.maximum(opens, closes) * (1 + rng.uniform(0, reach, count)),
        "lows": np.minimum(opens, closes) * (1 - rng.uniform(0, reach, count)),
        "volumes": rng.uniform(1e3, 1e5, count),
    }


def _columns(
    closes: ArrayLike, opens: ArrayLike | None, highs: ArrayLike | None, lows: ArrayLike | None, volumes: ArrayLike
) -> dict[str, Any]:
    close = np.array(closes, dtype=np.float64)
    opened = close.copy() if opens is None else np.array(opens, dtype=np.float64)
    columns = {
        "open": opened,
        "high": np.maximum(opened, close) if highs is None else np.array(highs, dtype=np.float64),
        "low": np.minimum(opened, close) if lows is None else np.array(lows, dtype=np.float64),
        "close": close,
        "volume": np.array(volumes, dtype=np.float64),
    }
    return {name: np.full(len(close), values) if values.ndim == 0 else values for name, values in columns.items()}


def _starts(count: int, start: Start, step: str, rows: Sequence[int] | None) -> np.ndarray:
    first = start if isinstance(start, int) else to_ns(start)
    places = np.arange(count, dtype=np.int64) if rows is None else np.array(rows, dtype=np.int64)
    return first + places * Timeframe(step).ns


def _of_rows(rows: Sequence[Row], volume: float) -> dict[str, Any]:
    places = [place for place, row in enumerate(rows) if row is not None]
    values = np.array([[*row, volume][:5] for row in rows if row is not None], dtype=np.float64).reshape(-1, 5)
    columns = dict(zip(("opens", "highs", "lows", "closes", "volumes"), values.T.copy(), strict=True))
    return {**columns, "rows": places}
