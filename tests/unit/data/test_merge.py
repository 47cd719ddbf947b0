"""Merging: the same twice is once, other values are never taken in silence."""

from __future__ import annotations

from datetime import UTC, datetime

import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st

import builders
from weaver.core.errors import DataError
from weaver.data.merge import Conflict, merge_bars

START = datetime(2024, 1, 1, tzinfo=UTC)


def bars(closes: dict[int, float], **extra: float) -> pl.DataFrame:
    minutes = sorted(closes)
    frame = builders.frame([closes[minute] for minute in minutes], volumes=1.0, step="1m", rows=minutes, **extra)
    return frame.cast({"timestamp": pl.Datetime("us", "UTC")})


closes = st.dictionaries(st.integers(0, 30), st.sampled_from([1.0, 2.0]), min_size=1)


@given(closes, closes)
def test_merging_agrees_with_a_dictionary(old: dict[int, float], new: dict[int, float]) -> None:
    conflicts = {k for k in old.keys() & new.keys() if old[k] != new[k]}
    for choice, expected in ((Conflict.KEEP_OLD, new | old), (Conflict.TAKE_NEW, old | new)):
        result, merge = merge_bars(bars(old), bars(new), choice, what="x")
        assert result.equals(bars(expected))
        assert (merge.before, merge.added, merge.after) == (len(old), len(new.keys() - old.keys()), len(expected))
        assert merge.replaced + merge.kept == len(conflicts)
        assert merge.identical == len(old.keys() & new.keys()) - len(conflicts)
        again, second = merge_bars(result, bars(new), choice, what="x")
        assert again.equals(result)
        assert not second.changes
    if conflicts:
        with pytest.raises(DataError, match="--on-conflict keep-old or take-new"):
            merge_bars(bars(old), bars(new), Conflict.REFUSE, what="x")
    else:
        assert merge_bars(bars(old), bars(new), Conflict.REFUSE, what="x")[0].equals(bars(old | new))


def test_a_conflict_names_the_bar_and_both_values() -> None:
    with pytest.raises(DataError, match=r"2024-01-01T00:01:00Z: open 2\.0, there 1\.0"):
        merge_bars(bars({0: 1.0, 1: 1.0}), bars({1: 2.0}), Conflict.REFUSE, what="x")


def test_many_conflicts_are_counted_and_five_are_shown() -> None:
    with pytest.raises(DataError, match="9 bars are there") as caught:
        merge_bars(bars(dict.fromkeys(range(9), 1.0)), bars(dict.fromkeys(range(9), 2.0)), Conflict.REFUSE, what="x")
    assert "and 4 further bars" in str(caught.value)


def test_a_new_column_is_added_to_old_bars_and_missing_where_nobody_knows_it() -> None:
    result, merge = merge_bars(bars({0: 1.0, 1: 1.0}), bars({1: 1.0, 2: 1.0}, signal=7.0), Conflict.REFUSE, what="x")
    assert result["signal"].fill_nan(None).to_list() == [None, 7.0, 7.0]
    assert (merge.added, merge.replaced, merge.identical) == (1, 1, 0)
    assert merge.changes


def test_an_old_column_survives_new_bars_without_it() -> None:
    result, merge = merge_bars(bars({0: 1.0}, signal=7.0), bars({0: 1.0, 1: 1.0}), Conflict.TAKE_NEW, what="x")
    assert result["signal"].fill_nan(None).to_list() == [7.0, None]
    assert (merge.added, merge.identical) == (1, 1)


def test_what_overlapped_is_said() -> None:
    assert merge_bars(bars({0: 1.0}), bars({1: 1.0}), Conflict.REFUSE, what="x")[1].overlap == "no bar was there before"
    assert "1 kept against" in merge_bars(bars({0: 1.0}), bars({0: 2.0}), Conflict.KEEP_OLD, what="x")[1].overlap
    assert "1 replaced" in merge_bars(bars({0: 1.0}), bars({0: 2.0}), Conflict.TAKE_NEW, what="x")[1].overlap
