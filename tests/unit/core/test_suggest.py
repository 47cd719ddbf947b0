"""Suggestions: the nearest known name, whatever its case; a list of what there is where no name is near."""

from __future__ import annotations

import ast
from pathlib import Path

import pytest

import weaver
from weaver.core.errors import UnknownSymbol
from weaver.core.suggest import listed, nearest, suggest, unknown_symbol

NAMES = ("on_bar", "on_fill", "on_order", "on_start")


@pytest.mark.parametrize(
    ("name", "expected"),
    [("on_barr", "on_bar"), ("on_Bar", "on_bar"), ("ON_BAR", "on_bar"), ("onbar", "on_bar"), ("On_Ordr", "on_order")],
)
def test_the_nearest_name_is_suggested_whatever_the_case(name: str, expected: str) -> None:
    assert suggest(name, NAMES) == f"did you mean {expected!r}?"


def test_where_no_name_is_near_the_alternative_is_given() -> None:
    assert suggest("zzz", NAMES) == ""
    assert suggest("zzz", NAMES, "it has none") == "it has none"
    assert suggest("zzz", ()) == ""
    assert suggest(17, NAMES, "no number") == "no number"


def test_a_name_that_differs_in_case_alone_is_nearer_than_any_other() -> None:
    assert nearest("aapl", ["aapx", "AAPL"]) == ["AAPL"]
    assert nearest("spy", ["SPYG", "SPY", "spx"], most=2) == ["SPY", "spx"]


def test_several_names_are_given_once_each_and_the_best_first() -> None:
    assert nearest("XNYZ", ["XNYS", "XNAS", "XLON", "XNYS"], most=3)[0] == "XNYS"
    assert len(nearest("XNYZ", ["XNYS", "XNYS"], most=3)) == 1


def test_a_long_list_is_cut_short() -> None:
    assert listed([]) == "none"
    assert listed(["a", "b"]) == "a, b"
    assert listed(map(str, range(1212)), 3) == "0, 1, 2 and 1,209 more"


def test_an_unknown_symbol_names_the_nearest_or_what_there_is() -> None:
    error = unknown_symbol("APPL", ["AAPL", "IBM"], "the data")
    assert isinstance(error, UnknownSymbol)
    assert str(error) == "symbol 'APPL' is not in the data; did you mean 'AAPL'?"
    assert str(unknown_symbol("X", ["AAPL", "IBM"])) == "symbol 'X' is not in this run; it has: AAPL, IBM"
    assert str(unknown_symbol("X", [], "the catalog")) == "symbol 'X' is not in the catalog; it is empty"


def test_there_is_one_copy() -> None:
    source = Path(weaver.__file__).parent
    users = [
        str(path.relative_to(source))
        for path in source.rglob("*.py")
        if any(
            isinstance(node, ast.Import) and any(alias.name == "difflib" for alias in node.names)
            for node in ast.walk(ast.parse(path.read_text()))
        )
    ]
    assert users == ["core/suggest.py"], "use weaver.core.suggest"
