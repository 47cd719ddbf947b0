"""Shipped bars: real, public domain, whole, and adjusted unless told otherwise."""

from __future__ import annotations

import hashlib
from importlib.resources import files

import numpy as np
import pytest

from weaver.core.errors import UnknownSymbol
from weaver.data.load_bars import load_bars
from weaver.data.shipped import SHIPPED_SYMBOLS, shipped_bars


def test_the_file_is_the_one_its_readme_speaks_of_and_is_marked_as_public_domain() -> None:
    folder = files("weaver.data.shipped")
    readme = (folder / "README.md").read_text(encoding="utf-8")
    assert hashlib.sha256((folder / "us_daily_wiki_5.parquet").read_bytes()).hexdigest() in readme
    assert "public domain" in readme
    assert "Quandl WIKI" in readme
    assert {item.name for item in folder.iterdir()} - {"__init__.py", "__pycache__"} == {
        "README.md",
        "us_daily_wiki_5.parquet",
    }


def test_all_symbols_load_in_their_order_and_say_where_they_come_from() -> None:
    loaded = load_bars(shipped_bars())
    assert tuple(loaded) == SHIPPED_SYMBOLS
    assert sum(map(len, loaded.values())) == 12_154
    assert all("public domain" in series.source for series in loaded.values())


def test_adjusted_prices_have_no_split_and_raw_ones_warn_of_it() -> None:
    adjusted = load_bars(shipped_bars("AAPL"))["AAPL"]
    raw = load_bars(shipped_bars("AAPL", adjusted=False))["AAPL"]
    assert np.array_equal(adjusted.close, raw.extra["adj_close"])
    splits = [text for text in raw.warnings if "split in unadjusted data" in text]
    assert len(splits) == 2
    assert "2000-06-21" in splits[0]
    assert "2005-02-28" in splits[1]
    assert not adjusted.warnings
    assert any("adjusted for splits and dividends" in note for note in adjusted.notes)


def test_a_real_crash_is_not_taken_for_a_split() -> None:
    # Apple fell by 47 % on 2000-09-29; nothing was split.
    raw = load_bars(shipped_bars("AAPL", adjusted=False))["AAPL"]
    assert not any("2000-09-29" in note for note in raw.notes)


def test_an_unknown_symbol_is_refused_with_those_that_are_there() -> None:
    with pytest.raises(UnknownSymbol, match="AAPL, FB, GOOG, IBM, MSFT"):
        shipped_bars("TSLA")


@pytest.mark.parametrize("symbol", ["AAPL", "FB", "GOOG", "IBM", "MSFT"])
def test_prices_adjusted_by_hand_as_other_tools_do_are_accepted_whole(symbol: str) -> None:
    raw = shipped_bars(symbol, adjusted=False).frame().drop("symbol")
    factor = raw["adj_close"] / raw["close"]
    adjusted = raw.with_columns(
        open=raw["open"] * factor, high=raw["high"] * factor, low=raw["low"] * factor, close=raw["adj_close"]
    ).drop("adj_close")
    breached = int(((adjusted["close"] > adjusted["high"]) | (adjusted["close"] < adjusted["low"])).sum())
    series = load_bars(adjusted)["ASSET"]
    assert len(series) == raw.height
    assert (series.low <= series.close).all()
    assert (series.close <= series.high).all()
    assert any("breached high or low by rounding" in note for note in series.notes) is (breached > 0)
