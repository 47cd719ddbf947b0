"""Durations as text: exact, short, and readable back."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from weaver.core.durations import duration_text, parse_duration
from weaver.core.errors import ConfigError

SECOND = 1_000_000_000


@pytest.mark.parametrize(
    ("ns", "text"),
    [
        (0, "0s"),
        (1, "1ns"),
        (17 * SECOND, "17s"),
        (60 * SECOND, "1m"),
        (5400 * SECOND, "1h 30m"),
        (SECOND // 2, "500ms"),
        (SECOND + SECOND // 4, "1s 250ms"),
        (51 * 3600 * SECOND, "2d 3h"),
        (1500 * 86_400 * SECOND, "1,500d"),
        (-90 * SECOND, "-1m 30s"),
    ],
)
def test_a_duration_is_written_in_whole_units(ns: int, text: str) -> None:
    assert duration_text(ns) == text


def test_only_the_largest_units_are_kept_on_request() -> None:
    assert duration_text(93_784 * SECOND, units=2) == "1d 2h"
    assert duration_text(93_784 * SECOND, units=1) == "1d"
    assert duration_text(59 * SECOND + 999, units=1) == "59s"


@pytest.mark.parametrize(
    ("text", "seconds"), [("90d", 7_776_000), ("4w", 2_419_200), ("1h 30m", 5400), (" 12 h ", 43_200), ("1h30m", 5400)]
)
def test_a_duration_is_read(text: str, seconds: int) -> None:
    assert parse_duration(text) == seconds * SECOND


@pytest.mark.parametrize("text", ["", "90", "d", "1.5h", "-1d", "3 months", "1d!", "١d x"])
def test_any_other_text_is_refused_with_an_example(text: str) -> None:
    with pytest.raises(ConfigError, match="such as 90d"):
        parse_duration(text)


@given(st.integers(0, 999 * 86_400 * SECOND))
def test_what_is_written_is_read_back(ns: int) -> None:
    assert parse_duration(duration_text(ns)) == ns
