"""Synthetic bars: a seeded random walk, to test size and speed. All output says that these are not market data."""

from __future__ import annotations

import math
from datetime import datetime

import numpy as np
import polars as pl

from weaver.core.errors import ConfigError
from weaver.core.fork_safety import check_fork
from weaver.core.instants import format_ns, to_ns
from weaver.core.text import brief
from weaver.core.timeframe import Timeframe

__all__ = ["SYNTHETIC_ORIGIN", "synthetic_bars"]

SYNTHETIC_ORIGIN = "synthetic random walk, seed"

_YEAR_NS = 365 * 86_400 * 10**9
_CHUNK = 1 << 16
_FIRST_NS, _LAST_NS = to_ns("1678-01-01"), to_ns("2262-01-01")


@np.errstate(over="ignore", invalid="ignore", divide="ignore")  # a walk that leaves the numbers is refused at its end
def synthetic_bars(
    n: int,
    *,
    symbol: str = "SYNTH",
    timeframe: str | Timeframe = "1m",
    seed: int = 0,
    start: datetime | int | None = None,
    price: float = 100.0,
    volatility: float = 0.6,
) -> pl.DataFrame:
    """Return `n` bars of a geometric random walk, the same for the same arguments on every machine of one NumPy version.

    Columns: symbol, timestamp (microseconds UTC, start of the bar), open, high, low, close, volume. `start` (aware, or
    nanoseconds; default 2020-01-01 UTC) is moved up to the grid of `timeframe`; all bars lie in the years 1678 to 2261.
    `volatility` is annual (365 days), `price` the first open. Prices are on a step of a hundredth, or of `price`'s fifth
    digit where that is finer.

    Within a bar the walk from open to close is a Brownian bridge; its highest point given both ends has the
    distribution function 1 - exp(-2 m (m - d) / s^2), which is inverted to draw highs and, independently, lows
    (Karatzas and Shreve, "Brownian Motion and Stochastic Calculus", section 4.3). Each extreme alone is exact, their
    dependence is not modelled.
    """
    check_fork("synthetic_bars()")
    if n < 1:
        raise ConfigError(f"n={n}: a synthetic series needs at least one bar")
    if not 0 < price < math.inf or not 0 <= volatility < math.inf:
        raise ConfigError(
            f"price={brief(price)}, volatility={brief(volatility)}: the price must be above zero, the "
            "volatility not below it"
        )
    if seed < 0:
        raise ConfigError(f"seed={brief(seed)}: must be a whole number, zero or greater")
    frame = Timeframe.of(timeframe)
    first_ns = 1_577_836_800 * 10**9 if start is None else start if isinstance(start, int) else to_ns(start)
    first_ns = frame.bar_start(first_ns - 1) + frame.ns if frame.bar_start(first_ns) != first_ns else first_ns
    if not _FIRST_NS <= first_ns <= _LAST_NS - n * frame.ns:
        raise ConfigError(
            f"{n:,} bars of {frame} from {format_ns(first_ns)} do not lie between 1678 and 2262, which is all that "
            "64 bits of nanoseconds hold; take fewer bars, shorter ones or an earlier start"
        )
    sigma = volatility * (frame.ns / _YEAR_NS) ** 0.5
    decimals = max(2, 4 - math.floor(math.log10(price)))
    step = 10.0**-decimals
    generator = np.random.Generator(np.random.PCG64(seed))
    columns = {name: np.empty(n) for name in ("open", "high", "low", "close", "volume")}
    level = math.log(price)
    for low in range(0, n, _CHUNK):  # in chunks: a million bars need no more than their columns
        size = min(_CHUNK, n - low)
        # Whole chunks are drawn whatever is needed, so that a shorter series is the beginning of a longer one.
        move = (generator.standard_normal(_CHUNK) * sigma - 0.5 * sigma * sigma)[:size]
        above, below = -2.0 * sigma * sigma * np.log1p(-generator.random((2, _CHUNK)))[:, :size]
        activity = generator.standard_normal(_CHUNK)[:size]
        path = level + np.cumsum(move)
        begin = path - move
        level = float(path[-1])
        top = begin + 0.5 * (move + np.sqrt(move * move + above))
        bottom = begin + 0.5 * (move - np.sqrt(move * move + below))
        rows = slice(low, low + size)
        columns["open"][rows] = np.round(np.exp(begin) / step) * step
        columns["close"][rows] = np.round(np.exp(path) / step) * step
        columns["high"][rows] = np.round(np.exp(top) / step) * step
        columns["low"][rows] = np.round(np.exp(bottom) / step) * step
        # Volume follows the size of the move, as it does in markets.
        columns["volume"][rows] = np.round(100.0 * np.exp(0.5 * activity) * (1.0 + np.abs(move) / max(sigma, 1e-12)), 3)
    for name in ("open", "high", "low", "close"):
        # Decimal prices, not their binary neighbours: 101.37 prints as 101.37.
        np.round(np.maximum(columns[name], step), decimals=decimals, out=columns[name])
    if not all(np.isfinite(column).all() for column in columns.values()):
        raise ConfigError(
            f"volatility={brief(volatility)}, price={brief(price)}: the walk leaves what a number can hold; take less"
        )
    np.maximum.reduce([columns["high"], columns["open"], columns["close"]], out=columns["high"])
    np.minimum.reduce([columns["low"], columns["open"], columns["close"]], out=columns["low"])
    stamps = (first_ns + np.arange(n, dtype=np.int64) * frame.ns) // 1_000
    return pl.DataFrame(
        {
            "symbol": pl.repeat(symbol, n, eager=True),
            "timestamp": pl.Series(stamps).cast(pl.Datetime("us", "UTC")),
            **columns,
        }
    )
