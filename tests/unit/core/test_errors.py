"""The errors: the tree in the docstring is the real one, and every message says what to do."""

from __future__ import annotations

import pickle
import re

import pytest

from weaver.core import errors
from weaver.core.errors import MissingExtra, WeaverError

REAL = {
    name: value for name, value in vars(errors).items() if isinstance(value, type) and issubclass(value, WeaverError)
}


def drawn() -> dict[str, str | None]:
    """name -> parent, as the docstring draws it."""
    tree: dict[str, str | None] = {}
    stack: list[tuple[int, str]] = []
    for line in (errors.__doc__ or "").splitlines():
        found = re.match(r"([ │├└─]*)([A-Z]\w+)(?:\s{2,}|$)", line)
        if found and (found[1].strip() or found[2] == "WeaverError"):
            depth = len(found[1])
            while stack and stack[-1][0] >= depth:
                stack.pop()
            tree[found[2]] = stack[-1][1] if stack else None
            stack.append((depth, found[2]))
    return tree


def test_the_tree_in_the_docstring_is_the_real_one() -> None:
    real = {
        name: next((base.__name__ for base in kind.__bases__ if issubclass(base, WeaverError)), None)
        for name, kind in REAL.items()
    }
    assert drawn() == real


def test_all_lists_every_error_in_order() -> None:
    assert errors.__all__ == sorted(REAL)


@pytest.mark.parametrize("name", sorted(set(REAL) - {"MissingExtra"}))
def test_the_default_message_is_the_docstrings_first_line(name: str) -> None:
    kind = REAL[name]
    assert str(kind()) == (kind.__doc__ or "").strip().splitlines()[0]
    assert str(kind("bar 5 is missing")) == "bar 5 is missing"


def test_a_missing_extra_says_how_to_install_it() -> None:
    assert str(MissingExtra("talib", "talib", "RSI")) == (
        "RSI needs 'talib', which is not installed; install it with: pip install 'weaver-trading[talib]' (or: pip install talib)"
    )


def test_errors_that_are_values_gone_wrong_are_value_errors_too() -> None:
    assert issubclass(errors.OrderError, ValueError)
    assert issubclass(errors.IndicatorError, ValueError)


@pytest.mark.parametrize("name", sorted(REAL))
def test_every_error_travels_between_processes(name: str) -> None:
    error = MissingExtra("a", "b", "c") if name == "MissingExtra" else REAL[name]("bar 5 is missing")
    twin = pickle.loads(pickle.dumps(error))
    assert (type(twin), str(twin)) == (REAL[name], str(error))
