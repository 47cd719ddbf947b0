"""Read pandas frames: index and columns as plain columns. Only this module uses pandas, and it imports it lazily."""

from __future__ import annotations

from typing import Any

import numpy as np
import polars as pl

from weaver.core.errors import ConfigError, DataError
from weaver.core.text import brief
from weaver.data.build_series import Column
from weaver.data.columns import meaning_of
from weaver.data.limits import check_columns, check_memory
from weaver.data.timestamps import check_zone

__all__ = ["columns_of"]

_NAT = np.iinfo(np.int64).min


def columns_of(frame: Any) -> dict[str, Column]:
    """Return the columns of a pandas frame, its index (unless it numbers the rows) first. Numbers share memory."""
    import pandas as pd

    if not isinstance(frame, pd.DataFrame):
        raise DataError(f"bars is a pandas {type(frame).__name__}; give a DataFrame with open, high, low, close")
    if isinstance(frame.columns, pd.MultiIndex):
        raise DataError(_several_levels(frame.columns))
    check_columns(len(frame.columns), "the pandas frame")
    columns: dict[str, Column] = {}
    if not isinstance(frame.index, pd.RangeIndex):
        for level in range(frame.index.nlevels):
            values = frame.index.get_level_values(level)
            is_time = isinstance(values, pd.DatetimeIndex)
            if not is_time and frame.index.nlevels == 1 and values.dtype.kind in "iu" and values.name is None:
                continue  # row numbers that survived a filter
            columns["timestamp" if is_time else str(values.name or "timestamp")] = _column(pd, values)
    for position, name in enumerate(frame.columns):
        if str(name) in columns:
            raise DataError(f"the frame has {brief(str(name))} both as its index and as a column; drop one of them")
        columns[str(name)] = _column(pd, frame.iloc[:, position])
    return columns


def _several_levels(columns: Any) -> str:
    """Return the error for columns such as ("Close", "AAPL"), with the call that selects one symbol."""
    example = columns[0]
    # yfinance has the symbol in the second level, and in the first with group_by="ticker".
    level = next((level for level, label in enumerate(example) if meaning_of(str(label)) is None), 1)
    symbol = example[level]
    return (
        f"the frame has columns of several levels, such as {brief(example)}; give one level, for example "
        f"{{{brief(symbol)}: bars.xs({brief(symbol)}, axis=1, level={level})}}, or a column 'symbol'"
    )


def _column(pd: Any, values: Any) -> Column:
    dtype = values.dtype
    if isinstance(dtype, pd.DatetimeTZDtype) or getattr(dtype, "kind", "") == "M":
        return _times(pd.DatetimeIndex(values.array))
    if isinstance(dtype, np.dtype) and dtype.kind in "fiub":
        array: np.ndarray[Any, Any] = values.to_numpy()
        return array
    if getattr(dtype, "_is_numeric", False) or pd.api.types.is_bool_dtype(dtype):
        nullable: np.ndarray[Any, Any] = values.to_numpy(dtype=np.float64, na_value=np.nan)
        return nullable
    if isinstance(values, pd.PeriodIndex) or isinstance(dtype, pd.PeriodDtype):
        index = values if isinstance(values, pd.PeriodIndex) else pd.PeriodIndex(values.array)
        return _times(index.to_timestamp())
    texts = [None if missing else str(value) for value, missing in zip(values, pd.isna(values), strict=True)]
    check_memory(sum(len(text) for text in texts if text is not None), "the pandas frame")  # rows may share one text
    return pl.Series(texts, dtype=pl.String)


def _times(index: Any) -> pl.Series:
    unit, ns = index.unit, index.asi8
    if unit == "s":
        ns, unit = np.where(ns == _NAT, _NAT, ns * 1_000), "ms"
    zone = None if index.tz is None else str(index.tz)
    stamps = pl.Series("timestamp", ns)
    if index.hasnans:
        stamps = stamps.set(pl.Series(ns == _NAT), None)
    if zone is None:
        return stamps.cast(pl.Datetime(unit))
    try:
        check_zone(zone)
    except ConfigError:  # a fixed offset such as UTC-05:00: the instants are in UTC all the same
        zone = "UTC"
    return stamps.cast(pl.Datetime(unit, zone))
