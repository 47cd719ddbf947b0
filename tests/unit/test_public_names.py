"""The public names of `weaver`: each resolves, each is where its type checker thinks it is, and importing costs nothing."""

from __future__ import annotations

import ast
import subprocess
import sys
from importlib import import_module
from pathlib import Path

import pytest

import weaver


@pytest.mark.parametrize("name", weaver.__all__)
def test_every_public_name_resolves_and_says_where_it_lives(name: str) -> None:
    value = getattr(weaver, name)
    assert getattr(import_module(weaver._MODULE_OF[name]), name) is value


def test_all_lists_exactly_what_resolves_lazily() -> None:
    assert sorted(weaver.__all__) == sorted(weaver._MODULE_OF)
    assert sorted(weaver.__all__) == sorted(set(weaver.__all__))
    assert set(weaver.__all__) <= set(dir(weaver))


def test_the_type_checker_is_told_the_same_modules() -> None:
    tree = ast.parse(Path(weaver.__file__).read_text(encoding="utf-8"))
    guarded = next(node for node in tree.body if isinstance(node, ast.If))
    declared = {
        alias.name: node.module for node in guarded.body if isinstance(node, ast.ImportFrom) for alias in node.names
    }
    assert declared == weaver._MODULE_OF | {"costs": "weaver", "indicators": "weaver"}


def test_an_unknown_name_is_an_attribute_error_that_names_it() -> None:
    with pytest.raises(AttributeError, match="'weaver' has no attribute 'backtset'"):
        weaver.backtset  # noqa: B018


@pytest.mark.parametrize("module", weaver._MODULES)
def test_public_modules_need_no_import_of_their_own(module: str) -> None:
    assert getattr(weaver, module) is import_module(f"weaver.{module}")


def test_importing_weaver_imports_nothing_heavy() -> None:
    code = (
        "import sys, weaver; print([m for m in sys.modules if m.startswith(('numpy', 'polars', 'typing', 'weaver.'))])"
    )
    found = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert found.stdout.strip() == "[]"


def test_the_package_says_that_it_is_typed() -> None:
    assert Path(weaver.__file__).with_name("py.typed").exists()
