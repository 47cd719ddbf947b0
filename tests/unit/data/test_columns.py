"""Columns: names in any case and several languages, and no silent choice between two."""

from __future__ import annotations

import pytest

from weaver.core.errors import DataError
from weaver.data.columns import map_columns, simplify


@pytest.mark.parametrize(
    ("name", "simple"),
    [("low ", "low"), ("close*", "close"), ("Vol.", "vol"), ("Open Price", "open_price"), ("OpenPrice", "open_price"),
     ("HIGH", "high"), ("Eröffnung", "eroffnung"), ("Schluß", "schluss"), ("<CLOSE>", "close"), ("Adj Close", "adj_close")],
)  # fmt: skip
def test_a_name_is_simplified(name: str, simple: str) -> None:
    assert simplify(name) == simple


def test_odd_headers_are_understood() -> None:
    found = map_columns(["time", "Open Price", "HIGH", "low ", "close*", "Vol."], where="x")
    assert (found.time, found.prices, found.volume) == (0, {"open": 1, "high": 2, "low": 3, "close": 4}, 5)
    assert not found.missing


def test_a_time_stamp_in_two_words_is_the_time() -> None:
    assert map_columns(["Time Stamp", "Open", "High", "Low", "Close"], where="x").time == 0


def test_a_german_header_is_understood() -> None:
    assert not map_columns(["Zeit", "Eröffnung", "Höchst", "Tiefst", "Schluß", "Volumen"], where="x").missing


def test_the_open_time_of_a_kline_is_the_time_and_its_close_time_is_not() -> None:
    found = map_columns(["open_time", "open", "high", "low", "close", "volume", "close_time", "count"], where="x")
    assert found.time == 0
    assert found.extra == {"close_time": 6, "count": 7}


def test_a_date_and_a_time_of_day_belong_together() -> None:
    found = map_columns(["Date", "Time", "Open", "High", "Low", "Close"], where="x")
    assert (found.time, found.clock) == (0, 1)


def test_adjusted_close_is_kept_and_is_not_the_close() -> None:
    found = map_columns(["Date", "Open", "High", "Low", "Close", "Adj Close", "Volume"], where="x")
    assert found.prices["close"] == 4
    assert found.extra == {"adj_close": 5}


def test_the_plain_name_wins_over_another_one() -> None:
    found = map_columns(["timestamp", "open", "high", "low", "close", "last", "volume", "Vol"], where="x")
    assert (found.prices["close"], found.volume) == (4, 6)
    assert found.extra == {"last": 5, "vol": 7}


def test_two_names_for_one_thing_are_refused() -> None:
    with pytest.raises(DataError, match="'Close' and 'CLOSE' could both be 'close'"):
        map_columns(["timestamp", "open", "high", "low", "Close", "CLOSE"], where="x")


@pytest.mark.parametrize("names", [("Signal", "signal"), ("RSI 14", "rsi-14")])
def test_two_further_columns_of_one_name_are_refused_instead_of_one_being_dropped(names: tuple[str, str]) -> None:
    with pytest.raises(DataError, match=f"'{names[0]}' and '{names[1]}' would both be"):
        map_columns(["timestamp", "open", "high", "low", "close", *names], where="x")


def test_what_is_missing_is_named() -> None:
    assert map_columns(["open", "high", "price"], where="x").missing == ("timestamp", "low", "close")
