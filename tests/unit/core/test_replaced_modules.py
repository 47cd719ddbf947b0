"""An error that follows from a file in place of a module names the file."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from weaver.core.replaced_modules import noting_replaced_modules, replaced_module_note


@pytest.fixture(autouse=True)
def as_it_was(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[None]:
    """The folder of the test is searched first, as that of a script is."""
    modules = dict(sys.modules)
    monkeypatch.setattr(sys, "path", [str(tmp_path), *sys.path])
    yield
    for name in set(sys.modules) - set(modules):
        del sys.modules[name]
    sys.modules.update(modules)


def error_of(code: str, *names: str) -> BaseException:
    """The error of `code`, in which `names` are imported anew."""
    for name in names:
        sys.modules.pop(name, None)
    with pytest.raises((AttributeError, ImportError, ValueError)) as caught:
        exec(code, {})
    return caught.value


@pytest.mark.parametrize("code", ["import html; html.escape", "from html import escape", "import html.parser"])
def test_a_file_in_place_of_a_module_of_python_is_named(tmp_path: Path, code: str) -> None:
    (tmp_path / "html.py").write_text("")
    note = replaced_module_note(error_of(code, "html", "html.parser"))
    assert note == f"{tmp_path / 'html.py'} is imported in place of Python's own module 'html'; rename it"


@pytest.mark.parametrize("code", ["import tqdm; tqdm.tqdm", "from tqdm import tqdm", "import tqdm.std"])
def test_a_file_in_place_of_an_installed_module_is_named(tmp_path: Path, code: str) -> None:
    (tmp_path / "tqdm.py").write_text("")
    note = replaced_module_note(error_of(code, *[name for name in sys.modules if name.startswith("tqdm")]))
    assert note == f"{tmp_path / 'tqdm.py'} is imported in place of the installed module 'tqdm'; rename it"


@pytest.mark.parametrize(
    "code",
    [
        "import html; html.nothing",
        "from html import nothing",
        "import msgspec; msgspec.nothing",
        "import mine_for_test; mine_for_test.nothing",
        "import no_such_module",
        "(1).nothing",
        "raise AttributeError('x')",
        "raise ValueError('x')",
    ],
)
def test_other_errors_get_no_note(tmp_path: Path, code: str) -> None:
    (tmp_path / "mine_for_test.py").write_text("")
    assert replaced_module_note(error_of(code)) is None


def test_the_note_is_below_the_traceback_of_the_error(tmp_path: Path) -> None:
    (tmp_path / "html.py").write_text("")
    sys.modules.pop("html", None)
    with pytest.raises(ImportError) as caught, noting_replaced_modules():
        exec("from html import escape", {})
    assert caught.value.__notes__ == [
        f"{tmp_path / 'html.py'} is imported in place of Python's own module 'html'; rename it"
    ]
    with pytest.raises(AttributeError) as other, noting_replaced_modules():
        _ = tmp_path.nothing  # type: ignore[attr-defined]
    assert not hasattr(other.value, "__notes__")
