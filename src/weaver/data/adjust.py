"""Adjust prices for splits and reinvested dividends, from an `adj_close` column.

Guarantees that the order of open, high, low and close stays and that the close is `adj_close` to the last bit. It does
not guess: values that cannot be derived from the data are unchanged, and a note says so.
"""

from __future__ import annotations

import numpy as np
import polars as pl

from weaver.core.errors import DataError
from weaver.core.text import brief

__all__ = ["adjust", "split_steps"]

# A dividend moves close / adj_close by a few percent, a split by a small whole ratio at once.
_SPLITS = np.array(sorted({*range(2, 11), 15.0, 20.0, 25.0, 30.0, 50.0, 100.0, 1.5, 2.5, 1.25, 4 / 3, 5 / 3}))
_EXACT = 0.002


def split_steps(factor: np.ndarray) -> np.ndarray:
    """Return the ratio of new to old shares at each bar (1.0 where nothing was split), from `factor` = close / adj_close.

    Only a step that is a round ratio to within 0.2 % counts as a split, in either direction; every other one is a
    dividend.
    """
    factor = np.asarray(factor, dtype=np.float64)
    steps = np.ones(len(factor))
    if len(factor) < 2:
        return steps
    ratio = factor[:-1] / factor[1:]
    for direction in (ratio, 1.0 / ratio):
        nearest = _SPLITS[np.abs(direction[:, None] - _SPLITS[None, :]).argmin(axis=1)]
        hit = np.abs(direction / nearest - 1.0) < _EXACT
        steps[1:][hit] = nearest[hit] if direction is ratio else 1.0 / nearest[hit]
    return steps


def adjust(bars: pl.DataFrame, *, what: str = "bars") -> tuple[pl.DataFrame, tuple[str, ...]]:
    """Return the bars of one symbol, in order of time, adjusted by `adj_close`, and notes on the adjustment.

    open, high and low are multiplied by adj_close / close, and close is adj_close. Volume is multiplied by the splits
    that the data show (steps of a round ratio in close / adj_close), so that it counts the shares of the last bar;
    dividends do not touch it, nor do splits after the last bar. Raises DataError without a usable `adj_close` column.
    """
    if "adj_close" not in bars.columns:
        raise DataError(
            f"{what}: adjusted prices need a column adj_close; ask for the prices as they are: adjusted=False, or no "
            "--adjusted"
        )
    close, adjusted = (bars[name].cast(pl.Float64).to_numpy() for name in ("close", "adj_close"))
    bad = np.flatnonzero(~(np.isfinite(adjusted) & (adjusted > 0)))
    if len(bad):
        raise DataError(
            f"{what}: adj_close is {brief(adjusted[bad[0]])} in row {bad[0]} (and in {len(bad) - 1} further rows); "
            "it must be above zero, or ask for the prices as they are: adjusted=False, or no --adjusted"
        )
    ratio = adjusted / close
    steps = split_steps(close / adjusted)
    # The shares of one old share at the last bar: all the splits that were still to come.
    later = np.append(np.cumprod(steps[::-1])[::-1][1:], 1.0) if len(steps) else steps
    high = np.maximum(bars["high"].cast(pl.Float64).to_numpy() * ratio, adjusted)
    low = np.minimum(bars["low"].cast(pl.Float64).to_numpy() * ratio, adjusted)
    changed = {
        "open": bars["open"].cast(pl.Float64).to_numpy() * ratio,
        "high": high,
        "low": low,
        "close": adjusted,
    }
    splits = int((steps != 1.0).sum())
    note = f"prices adjusted for splits and dividends by adj_close ({splits} split{'' if splits == 1 else 's'} in the data)"
    if "volume" in bars.columns and splits:
        changed["volume"] = bars["volume"].cast(pl.Float64).to_numpy() * later
        note += "; volume counts the shares of the last bar"
    elif "volume" in bars.columns:
        note += "; volume is as it was traded"
    return bars.with_columns(pl.Series(name, values) for name, values in changed.items()), (note,)
