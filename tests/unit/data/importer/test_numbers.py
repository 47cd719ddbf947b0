"""Numbers: read exactly as they stand, or not at all."""

from __future__ import annotations

import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st

from weaver.data.importer.numbers import decimal_sign, parse_numbers


@given(st.lists(st.floats(allow_nan=False, allow_infinity=False, width=64), min_size=1, max_size=20))
def test_a_printed_float_is_read_back_to_the_last_bit(values: list[float]) -> None:
    assert parse_numbers(pl.Series([repr(value) for value in values])).values.tolist() == values


@given(st.lists(st.decimals(min_value=0, max_value=10**9, places=4), min_size=1, max_size=20))
def test_a_decimal_comma_is_read_as_the_point_would_be(values: list) -> None:
    commas = pl.Series([f"{value:f}".replace(".", ",") for value in values])
    assert parse_numbers(commas, ",").values.tolist() == [float(value) for value in values]


def test_every_kind_of_no_number_is_told_apart() -> None:
    texts = ["1.5", "", "NaN", "null", "-", "N/A", "inf", "-Infinity", "1e999", "46,813.0", "$5", "1_000", "0x10", None]
    column = pl.Series(texts)
    numbers = parse_numbers(column)
    assert numbers.values[0] == 1.5
    assert numbers.missing.tolist() == [1, 2, 3, 4, 5, 13]
    assert numbers.infinite.tolist() == [6, 7, 8]
    assert numbers.grouped.tolist() == [9]
    assert numbers.unreadable.tolist() == [10, 11, 12]


def test_thousands_are_stripped_only_on_request() -> None:
    assert parse_numbers(pl.Series(["46,813.0"]), strip_thousands=True).values.tolist() == [46813.0]
    assert parse_numbers(pl.Series(["46.813,5"]), ",", strip_thousands=True).values.tolist() == [46813.5]
    assert parse_numbers(pl.Series(["46.813,5"]), ",").grouped.tolist() == [0]


def test_typed_columns_are_taken_as_they_are() -> None:
    assert parse_numbers(pl.Series([1, 2])).values.tolist() == [1.0, 2.0]
    assert parse_numbers(pl.Series([None, float("inf")])).missing.tolist() == [0]
    assert parse_numbers(pl.Series([b"x"])).unreadable.tolist() == [0]


@pytest.mark.parametrize(
    ("texts", "separator", "sign", "doubtful"),
    [
        (["1.5", "2"], ";", ".", []),
        (["1,5", "2"], ";", ",", []),
        (["46319,0"], ";", ",", []),
        (["1.234,5"], ";", ",", []),
        (["1,234"], ";", ",", [0]),
        (["1,234", "5.5"], ";", ".", []),
        (["1,5", "2.5"], ";", ",", [0, 1]),
        (["1,234"], ",", ".", []),
    ],
)
def test_the_decimal_sign_is_seen_or_left_open(
    texts: list[str], separator: str, sign: str, doubtful: list[int]
) -> None:
    found, rows = decimal_sign([pl.Series(texts)], separator)
    assert (found, rows.tolist()) == (sign, doubtful)
