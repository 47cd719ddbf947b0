"""Encodes long columns as short text for the report: scaled integers, their steps, byte planes, gzip, base64.

Prices on a decimal grid are exact; others are rounded to about nine digits, and the block says so. The decoder is `unpack`
in page/report.js; both must change together.
"""

from __future__ import annotations

import base64
import gzip
from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from weaver.core.bars import Floats
from weaver.results.downsampling import Candles

__all__ = ["Block", "pack", "pack_bars"]

Block = dict[str, Any]
"""JSON-able: rows, columns (name, kind, planes, base, decimals, exact, nan) and data, the base64 of the gzip."""

MAX_DECIMALS = 10
MAX_NAN_RUNS = 20_000
SAMPLE = 2_000


def pack(columns: Mapping[str, NDArray[Any]]) -> Block:
    """Encode columns of one length, integers or floats (NaN allowed), as one block."""
    rows = len(next(iter(columns.values()))) if columns else 0
    packed = [_column(name, np.asarray(values)) for name, values in columns.items()]
    return _block(rows, packed)


def pack_bars(candles: Candles) -> Block:
    """Encode `start` in seconds, and open, high, low, close as small integers relative to each other: open to the close
    before, high and low to the higher and the lower of open and close. Prices that do not fit become plain columns."""
    prices = np.concatenate((candles.open, candles.high, candles.low, candles.close))
    start = candles.start // 1_000_000_000
    decimals, exact = _decimals(prices)
    largest = float(np.abs(prices).max()) if len(prices) else 0.0
    while decimals and largest * 10.0**decimals >= 2**30:
        decimals, exact = decimals - 1, False
    if len(prices) and largest * 10.0**decimals < 2**30:
        opens, highs, lows, closes = np.rint(prices * 10.0**decimals).astype(np.int64).reshape(4, -1)
        before = np.concatenate((opens[:1], closes[:-1]))
        parts = {
            "open": opens - before,
            "high": highs - np.maximum(opens, closes),
            "low": np.minimum(opens, closes) - lows,
            "close": closes - opens,
        }
        packed = [_column("start", start)]
        for name, values in parts.items():
            spec, data = _integers(name, values, "bar")
            packed.append((spec | {"decimals": decimals, "exact": exact}, data))
        packed[1][0]["base"] = int(opens[0])
        return _block(len(start), packed)
    plain = {"open": candles.open, "high": candles.high, "low": candles.low, "close": candles.close}
    return pack({"start": start} | plain)


def _block(rows: int, packed: list[tuple[Block, bytes]]) -> Block:
    data = gzip.compress(b"".join(part for _, part in packed), compresslevel=6, mtime=0)
    return {"rows": rows, "columns": [spec for spec, _ in packed], "data": base64.b64encode(data).decode("ascii")}


def _column(name: str, values: NDArray[Any]) -> tuple[Block, bytes]:
    if values.dtype.kind in "bui":
        steps = _steps(values.astype(np.int64))
        if steps is not None:
            spec, data = _integers(name, steps, "steps")
            return spec | {"base": int(values[0]) if len(values) else 0, "decimals": 0, "exact": True}, data
        values = values.astype(np.float64)
    missing = ~np.isfinite(values)
    runs = _runs(missing)
    filled = _fill(values, missing)
    decimals, exact = _decimals(filled)
    scaled = np.rint(filled * 10.0**decimals)
    fits = not len(scaled) or np.abs(scaled).max() < 2**52
    steps = _steps(scaled.astype(np.int64)) if fits and len(runs) <= MAX_NAN_RUNS else None
    if steps is None:
        return {"name": name, "kind": "f64", "planes": 8, "exact": True}, _planes(
            values.astype("<f8").view(np.uint8), 8
        )
    spec, data = _integers(name, steps, "steps")
    base = int(scaled[0]) if len(scaled) else 0
    return spec | {"base": base, "decimals": decimals, "exact": exact, "nan": runs}, data


def _steps(values: NDArray[np.int64]) -> NDArray[np.int64] | None:
    """Return the difference of each value from the one before; None where one does not fit 32 bits."""
    steps = np.diff(values, prepend=values[:1])
    return steps if not len(steps) or np.abs(steps).max() < 2**31 else None


def _integers(name: str, values: NDArray[np.int64], kind: str) -> tuple[Block, bytes]:
    zigzag = ((values << 1) ^ (values >> 63)).astype("<u4")
    top = int(zigzag.max()) if len(zigzag) else 0
    planes = max(1, (top.bit_length() + 7) // 8)
    return {"name": name, "kind": kind, "planes": planes}, _planes(zigzag.view(np.uint8), 4)[: planes * len(values)]


def _planes(data: NDArray[np.uint8], width: int) -> bytes:
    """All first bytes, then all second bytes and so on: bytes that seldom change are adjacent, and compress well."""
    return np.ascontiguousarray(data.reshape(-1, width).T).tobytes()


def _decimals(values: Floats) -> tuple[int, bool]:
    """Return the decimals that hold every value exactly, and True; else those that keep about nine digits, and
    False."""
    if not len(values):
        return 0, True
    sample = values[:: max(1, len(values) // SAMPLE)]
    for decimals in range(MAX_DECIMALS + 1):
        if _on_grid(sample, decimals) and _on_grid(values, decimals):
            return decimals, True
    size = float(np.median(np.abs(sample)))
    digits = 8 - int(np.floor(np.log10(size))) if size > 0 else 8
    return min(max(digits, 0), 15), False


def _on_grid(values: Floats, decimals: int) -> bool:
    factor = 10.0**decimals
    return np.array_equal(np.rint(values * factor) / factor, values)


def _runs(missing: NDArray[np.bool_]) -> list[list[int]]:
    """Return the runs of missing values, as [first row, count]."""
    edges = np.flatnonzero(np.diff(np.concatenate(([False], missing, [False])).astype(np.int8)))
    return [[int(first), int(last - first)] for first, last in zip(edges[::2], edges[1::2], strict=True)]


def _fill(values: Floats, missing: NDArray[np.bool_]) -> Floats:
    """Missing values replaced by the one before (at the start: by the first value), which costs almost no bytes."""
    if not missing.any():
        return values
    if missing.all():
        return np.zeros(len(values))
    at = np.maximum.accumulate(np.where(missing, 0, np.arange(len(values))))
    at[: int(np.argmin(missing))] = int(np.argmin(missing))
    return values[at]
