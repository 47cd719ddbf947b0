"""Text that can be stored or shown: what a file or a terminal must not get is written out, and nothing else changes."""

from __future__ import annotations

import json
import unicodedata

import pytest
from hypothesis import given
from hypothesis import strategies as st

from weaver.core.errors import DataError
from weaver.core.text import (
    brief,
    cut_middle,
    describe_error,
    has_nul,
    is_storable,
    storable,
    storable_values,
    visible,
    visible_json,
)


@pytest.mark.parametrize(
    ("text", "stored"),
    [
        ("", ""),
        ("plain", "plain"),
        ("ü € 😀", "ü € 😀"),
        ("a\0b", "a\\0b"),
        ("\ud800", "\\ud800"),
        ("x\udfff\0", "x\\udfff\\0"),
        ("\\ud800", "\\ud800"),
    ],
)
def test_characters_that_cannot_be_stored_are_written_out(text: str, stored: str) -> None:
    assert storable(text) == stored
    assert is_storable(text) == (text == stored)


def test_long_text_is_cut_and_marked() -> None:
    assert storable("abcdef", 6) == "abcdef"
    assert storable("abcdefg", 6) == "abcde…"
    assert storable("\0" * 4, 6) == "\\0\\0\\…"


def test_every_text_in_json_values_is_covered() -> None:
    value = {"a\0": ["\ud800", 1, None, {"deep": "x" * 20}], "n": 1.5}
    assert storable_values(value, 10, key_limit=3) == {"a\\0": ["\\ud800", 1, None, {"de…": "xxxxxxxxx…"}], "n": 1.5}
    assert has_nul(value)
    assert not has_nul(storable_values(value))
    assert has_nul(["x", {"k": ["\0"]}])
    assert not has_nul(["\\u0000", 0, None])


# Characters of every category, lone surrogates ("Cs") included.
@given(st.text(st.characters(exclude_categories=[])), st.one_of(st.none(), st.integers(1, 20)))
def test_any_text_becomes_storable(text: str, most: int | None) -> None:
    stored = storable(text, most)
    stored.encode("utf-8")
    assert "\0" not in stored
    assert most is None or len(stored) <= most


class Unprintable(Exception):
    def __str__(self) -> str:
        raise KeyError("x")

    __repr__ = __str__


def test_any_error_can_be_described() -> None:
    assert describe_error(ValueError("a\0\ud800")) == "ValueError: a\\0\\ud800"
    assert describe_error(ValueError()) == "ValueError"
    assert describe_error(Unprintable()) == "Unprintable: (its message cannot be read: KeyError)"
    assert describe_error(ValueError("x" * 100), 20) == "ValueError: " + "x" * 7 + "…"
    assert storable(None) is None


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("", ""),
        ("ü € 😀 日本 | \\x1b", "ü € 😀 日本 | \\x1b"),
        ("\x1b[31mred\x1b[0m", "\\x1b[31mred\\x1b[0m"),
        ("\x9b31m\x07\x7f", "\\x9b31m\\x07\\x7f"),
        ("AAPL\u202egpj", "AAPL\\u202egpj"),
        ("AA\u200bPL", "AA\\u200bPL"),
        ("a\r\nb\tc", "a\\r\\nb\\tc"),
        ("a\u2028b\u2029c\x85d", "a\\u2028b\\u2029c\\x85d"),
        ("\udcff", "\\udcff"),
        ("\U000e0041", "\\U000e0041"),
    ],
)
def test_characters_that_a_terminal_acts_on_or_hides_are_written_out(text: str, shown: str) -> None:
    assert visible(text) == visible(shown) == shown


def test_a_text_of_several_lines_keeps_its_lines_and_nothing_else() -> None:
    assert visible("a\n\tb\r\x1b", multiline=True) == "a\n\tb\\r\\x1b"


def test_no_control_bidirectional_or_separating_character_is_left_out() -> None:
    every = [chr(point) for point in range(0x110000)]
    hidden = [mark for mark in every if unicodedata.category(mark) in ("Cc", "Cs", "Zl", "Zp")]
    hidden += [
        mark
        for mark in every
        if unicodedata.bidirectional(mark) in ("LRE", "RLE", "LRO", "RLO", "PDF", "LRI", "RLI", "FSI", "PDI")
    ]
    assert [mark for mark in hidden if visible(mark) == mark] == []


@given(st.text(alphabet=st.characters(exclude_categories=())))
def test_json_keeps_its_value_and_is_visible(text: str) -> None:
    for ensure_ascii in (True, False):
        shown = visible_json(json.dumps({text: [text]}, ensure_ascii=ensure_ascii, indent=2))
        assert json.loads(shown) == {text: [text]}
        assert visible(shown, multiline=True) == shown


def test_a_value_in_a_message_is_cut_to_80_characters() -> None:
    for value in ("Z" * 10**6, b"Z" * 10**6, "\x1b" * 10**6, list(range(10**5)), "'" * 81, "é" * 81):
        assert len(brief(value)) == 80
    assert brief("Z" * 81) == "'" + "Z" * 77 + "…'"
    assert brief("Z" * 78) == repr("Z" * 78)
    assert brief(1.5) == "1.5"


def test_a_value_without_a_readable_repr_is_named_by_its_class() -> None:
    assert brief(Unprintable()) == "<Unprintable>"
    assert brief(10**5000) == "<int>"


def test_a_long_message_keeps_its_beginning_and_its_end() -> None:
    message = "file.csv: " + "Z" * 10**6 + "; rename it"
    text = str(DataError(message))
    assert len(text) == 10_000
    assert text.startswith("file.csv: ZZZ")
    assert "(1,000,021 characters, cut)" in text
    assert text.endswith("ZZZ; rename it")
    assert cut_middle(text) == text
    assert len(str(DataError("\x1b" * 10**6))) == 10_000
