"""Bars: one as a value, many as read-only columns."""

from __future__ import annotations

import pickle
from dataclasses import replace
from datetime import UTC, datetime
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import builders
from weaver import Bar, BarSeries, DataError, Instrument, Timeframe

MINUTE = 60_000_000_000
START = 1_704_067_200_000_000_000


def series(count: int = 5, **changes: Any) -> BarSeries:
    close = np.arange(count) + 100.0
    return replace(
        builders.series(
            close, opens=close - 0.5, highs=close + 1, lows=close - 1, step="1m", extra={"signal": close * 2}
        ),
        **changes,
    )


def test_a_bar_is_a_frozen_value_with_an_aware_start() -> None:
    bar = Bar("A", START, 1.0, 2.0, 0.5, 1.5, 10.0)
    assert bar.ts == datetime(2024, 1, 1, tzinfo=UTC)
    assert (bar.symbol, bar.open, bar.high, bar.low, bar.close, bar.volume) == ("A", 1.0, 2.0, 0.5, 1.5, 10.0)
    assert bar == Bar("A", START, 1.0, 2.0, 0.5, 1.5, 10.0)
    assert pickle.loads(pickle.dumps(bar)) == bar
    with pytest.raises(AttributeError):
        bar.close = 5.0  # type: ignore[misc]


def test_the_columns_are_read_only() -> None:
    one = series()
    assert len(one) == 5
    assert list(one.columns()) == ["open", "high", "low", "close", "volume", "signal"]
    for column in (one.start, one.end, *one.columns().values()):
        with pytest.raises(ValueError, match="read-only"):
            column[0] = 1


@pytest.mark.parametrize(
    ("changes", "told"),
    [
        ({"close": np.zeros(5, dtype=np.float32)}, "A: column 'close' must be float64, one value per bar"),
        ({"close": np.zeros(4)}, "A: column 'close' must be float64"),
        ({"extra": {"signal": np.zeros(6)}}, "A: column 'signal' must be float64"),
        ({"end": np.zeros(4, dtype=np.int64)}, "A: column 'end' must be int64 nanoseconds, one per bar"),
        ({"start": np.zeros(5)}, "A: column 'start' must be int64 nanoseconds"),
    ],
)
def test_a_column_of_another_kind_or_length_is_refused_by_name(changes: dict[str, Any], told: str) -> None:
    with pytest.raises(DataError) as caught:
        series(**changes)
    assert str(caught.value).startswith(told)


@given(st.integers(0, 6), st.none() | st.integers(-2, 8), st.none() | st.integers(-2, 8), st.integers(0, 1))
def test_between_takes_the_bars_whose_start_lies_in_the_half_open_range(
    count: int, low: int | None, high: int | None, off: int
) -> None:
    one = series(count)
    bounds = [None if edge is None else START + edge * MINUTE + off for edge in (low, high)]
    got = one.between(*bounds)
    want = [
        ns
        for ns in one.start.tolist()
        if (bounds[0] is None or ns >= bounds[0]) and (bounds[1] is None or ns < bounds[1])
    ]
    assert got.start.tolist() == want
    assert len(got.close) == len(got.extra["signal"]) == len(want)


def test_rows_share_memory_and_keep_what_is_known() -> None:
    one = series(instrument=Instrument(lot=1), source="file", notes=("note",))
    part = one.rows(1, 3)
    assert part.close.tolist() == [101.0, 102.0]
    assert part.extra["signal"].tolist() == [202.0, 204.0]
    assert all(np.shares_memory(a, b) for a, b in zip(part.columns().values(), one.columns().values(), strict=True))
    assert (part.symbol, part.timeframe, part.instrument, part.source, part.notes) == (
        "A", Timeframe("1m"), Instrument(lot=1), "file", ("note",),
    )  # fmt: skip


def test_a_series_travels_between_processes() -> None:
    copy = pickle.loads(pickle.dumps(series()))
    assert copy.close.tolist() == series().close.tolist()
    assert (copy.symbol, copy.timeframe, copy.instrument) == ("A", Timeframe("1m"), Instrument(lot=1))
