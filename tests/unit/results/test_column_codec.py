"""What is packed for the page comes back: exactly on a decimal grid, to nine digits otherwise."""

from __future__ import annotations

import base64
import gzip
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from weaver.results.downsampling import Candles
from weaver.results.report.column_codec import Block, pack, pack_bars


def unpack(block: Block) -> dict[str, np.ndarray[Any, Any]]:
    """The reading half of page/report.js, once more in Python."""
    data = np.frombuffer(gzip.decompress(base64.b64decode(block["data"])), dtype=np.uint8)
    rows, offset, columns, bars = block["rows"], 0, {}, {}
    for spec in block["columns"]:
        planes = data[offset : offset + spec["planes"] * rows].reshape(spec["planes"], rows)
        offset += spec["planes"] * rows
        if spec["kind"] == "f64":
            columns[spec["name"]] = np.ascontiguousarray(planes.T).view("<f8").reshape(-1)
            continue
        zigzag = sum(planes[i].astype(np.int64) << (8 * i) for i in range(spec["planes"]))
        values = (zigzag >> 1) ^ -(zigzag & 1)
        if spec["kind"] == "bar":
            bars[spec["name"]] = values
            continue
        column = (np.cumsum(values) + spec["base"]) / 10.0 ** spec["decimals"]
        for first, count in spec.get("nan", []):
            column[first : first + count] = np.nan
        columns[spec["name"]] = column
    assert offset == len(data)
    if bars:
        specs = {spec["name"]: spec for spec in block["columns"]}
        factor, before = 10.0 ** specs["open"]["decimals"], specs["open"]["base"]
        out: dict[str, list[float]] = {name: [] for name in bars}
        for up, high, low, body in zip(bars["open"], bars["high"], bars["low"], bars["close"], strict=True):
            opened = before + up
            closed = opened + body
            out["open"].append(opened / factor)
            out["close"].append(closed / factor)
            out["high"].append((max(opened, closed) + high) / factor)
            out["low"].append((min(opened, closed) - low) / factor)
            before = closed
        columns |= {name: np.array(values) for name, values in out.items()}
    return columns


CENTS = st.lists(st.integers(1, 10**7), min_size=1, max_size=60)


@given(CENTS, st.integers(0, 6))
def test_values_on_a_decimal_grid_come_back_exactly(units: list[int], decimals: int) -> None:
    values = np.array(units) / 10.0**decimals
    block = pack({"x": values})
    assert block["columns"][0]["exact"] is True
    assert unpack(block)["x"].tolist() == values.tolist()


@given(st.lists(st.one_of(st.floats(1.0, 1e4), st.just(float("nan"))), min_size=1, max_size=60))
def test_other_values_come_back_to_nine_digits_with_their_gaps(numbers: list[float]) -> None:
    values = np.array(numbers)
    back = unpack(pack({"x": values}))["x"]
    assert np.array_equal(np.isnan(back), np.isnan(values))
    known = ~np.isnan(values)
    if known.any():
        assert np.abs(back[known] - values[known]).max() <= 1e-8 * np.max(values[known])


@given(st.lists(st.integers(-(2**40), 2**40), max_size=40))
def test_whole_numbers_come_back_exactly(numbers: list[int]) -> None:
    assert unpack(pack({"x": np.array(numbers, dtype=np.int64)}))["x"].tolist() == numbers


def test_several_columns_share_one_block() -> None:
    block = pack({"a": np.array([1, 2, 3]), "b": np.array([True, False, True]), "c": np.array([0.5, np.inf, -0.25])})
    back = unpack(block)
    assert back["a"].tolist() == [1, 2, 3]
    assert back["b"].tolist() == [1, 0, 1]
    assert np.array_equal(back["c"], [0.5, np.nan, -0.25], equal_nan=True)


def make_candles(opens: np.ndarray[Any, Any], closes: np.ndarray[Any, Any], reach: float) -> Candles:
    start = np.arange(len(opens), dtype=np.int64) * 60_000_000_000
    highs = np.round(np.maximum(opens, closes) + reach, 8)
    lows = np.round(np.minimum(opens, closes) - reach, 8)
    return Candles(1, start, start + 60_000_000_000, opens, highs, lows, closes)


@given(st.lists(st.tuples(st.integers(100, 10**6), st.integers(100, 10**6)), min_size=1, max_size=50))
def test_bars_in_cents_come_back_exactly(pairs: list[tuple[int, int]]) -> None:
    opens, closes = (np.array(column) / 100.0 for column in zip(*pairs, strict=True))
    bars = make_candles(opens, closes, 0.5)
    back = unpack(pack_bars(bars))
    for name in ("open", "high", "low", "close"):
        assert back[name].tolist() == getattr(bars, name).tolist(), name
    assert back["start"].tolist() == (bars.start // 10**9).tolist()


@pytest.mark.parametrize("scale", [1e-7, 1.0, 1e5, 1e12])
def test_bars_of_any_size_come_back_closely(scale: float) -> None:
    rng = np.random.default_rng(3)
    opens, closes = rng.uniform(1, 2, 50) * scale, rng.uniform(1, 2, 50) * scale
    start = np.arange(50, dtype=np.int64) * 10**9
    bars = Candles(
        1, start, start + 10**9, opens, np.maximum(opens, closes) * 1.1, np.minimum(opens, closes) * 0.9, closes
    )
    back = unpack(pack_bars(bars))
    for name in ("open", "high", "low", "close"):
        assert back[name] == pytest.approx(getattr(bars, name), rel=2e-8)


def test_no_bars_pack_to_nothing() -> None:
    none = np.empty(0)
    empty = np.empty(0, dtype=np.int64)
    assert unpack(pack_bars(Candles(1, empty, empty, none, none, none, none)))["open"].tolist() == []


def test_equal_columns_give_equal_text() -> None:
    values = np.linspace(0, 1, 100)
    assert pack({"x": values}) == pack({"x": values.copy()})


def test_steps_of_a_million_minutes_cost_almost_nothing() -> None:
    assert len(pack({"start": np.arange(1_000_000, dtype=np.int64) * 60})["data"]) < 10_000
