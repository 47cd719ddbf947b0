"""Drift: nearest-rank percentiles of the latest ticks, counts and the maximum of all of them."""

from __future__ import annotations

import math

from hypothesis import given
from hypothesis import strategies as st

from weaver.glados.clock.drift import Drift, DriftMeter


def test_before_the_first_tick_everything_is_zero() -> None:
    assert DriftMeter().snapshot() == Drift(ticks=0, gaps=0, missed=0, last_ns=0, p50_ns=0, p99_ns=0, max_ns=0)


@given(st.lists(st.integers(0, 10**10), min_size=1, max_size=60))
def test_percentiles_are_the_smallest_value_that_so_many_do_not_exceed(values: list[int]) -> None:
    meter = DriftMeter()
    for value in values:
        meter.record(value)
    drift = meter.snapshot()
    ordered = sorted(values)
    assert drift.p50_ns == ordered[math.ceil(len(values) * 0.5) - 1]
    assert drift.p99_ns == ordered[math.ceil(len(values) * 99 / 100) - 1]
    assert (drift.ticks, drift.last_ns, drift.max_ns) == (len(values), values[-1], max(values))


def test_percentiles_are_of_the_latest_ticks_and_the_maximum_of_all() -> None:
    meter = DriftMeter()
    for value in [10**9] + [5] * 1500 + [7] * 600:
        meter.record(value)
    drift = meter.snapshot()
    assert (drift.p50_ns, drift.p99_ns, drift.max_ns, drift.ticks) == (7, 7, 10**9, 2101)
    assert len(meter._recent) == 1024


def test_gaps_are_counted_with_what_was_missed_and_all_is_said_in_one_line() -> None:
    meter = DriftMeter()
    meter.record(1_234_567)
    meter.record_gap(60)
    meter.record_gap(1)
    assert str(meter.snapshot()) == (
        "1 ticks, late by last 1.235 ms p50 1.235 ms p99 1.235 ms max 1.235 ms; 2 gaps (61 boundaries missed)"
    )
