"""Loading a strategy: by file, by file and class, by module and class; and what is said where that fails."""

from __future__ import annotations

import os
import pickle
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from weaver import Strategy, StrategyError
from weaver.core.errors import StrategyLoadError
from weaver.marvin.loader import load_strategy, parse_params
from weaver.marvin.parameters import resolve_values

ONE = """\
from weaver import Strategy


class One(Strategy):
    fast: int = 10
"""


@pytest.fixture(autouse=True)
def as_it_was() -> Iterator[None]:
    """Loading a file puts its folder on the path and its neighbours among the modules."""
    path, modules = list(sys.path), set(sys.modules)
    yield
    sys.path[:] = path
    for name in set(sys.modules) - modules:
        del sys.modules[name]


def write(path: Path, text: str = ONE) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text, encoding="utf-8")
    return path


def failure(text: str | Path) -> str:
    with pytest.raises(StrategyLoadError) as caught:
        load_strategy(text)
    return str(caught.value)


def test_a_file_with_one_strategy_needs_no_class(tmp_path: Path) -> None:
    file = write(tmp_path / "one.py")
    for text in (str(file), f"{file}:One", file):
        kind = load_strategy(text)
        assert issubclass(kind, Strategy)
        assert kind.__name__ == "One"


def test_a_class_is_chosen_by_name_among_several(tmp_path: Path) -> None:
    file = write(tmp_path / "two.py", ONE + "\nclass Two(One):\n    pass\n")
    assert load_strategy(f"{file}:Two").__name__ == "Two"
    assert failure(file) == f"{file} has 2 strategies; say which one: {file}:One, {file}:Two"


def test_a_base_with_an_underscore_and_a_second_name_do_not_count(tmp_path: Path) -> None:
    file = write(tmp_path / "base.py", ONE.replace("One", "_Base") + "\nclass Real(_Base):\n    pass\n\nMain = Real\n")
    assert load_strategy(file).__name__ == "Real"
    assert load_strategy(f"{file}:Main").__name__ == "Real"
    assert load_strategy(f"{file}:_Base").__name__ == "_Base"


def test_a_strategy_that_was_imported_counts_only_by_name(tmp_path: Path) -> None:
    write(tmp_path / "one.py")
    file = write(tmp_path / "uses.py", "from one import One\n\nclass Mine(One):\n    pass\n")
    assert load_strategy(file).__name__ == "Mine"
    assert load_strategy(f"{file}:One").__name__ == "One"


def test_a_module_is_loaded_by_its_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write(tmp_path / "room" / "__init__.py", "")
    write(tmp_path / "room" / "mine_for_test.py")
    monkeypatch.syspath_prepend(str(tmp_path))
    assert load_strategy("room.mine_for_test:One").__module__ == "room.mine_for_test"
    assert load_strategy("room.mine_for_test").__name__ == "One"
    assert "has no strategy 'Two'; it has: One" in failure("room.mine_for_test:Two")


def test_a_module_beside_the_user_is_found(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write(tmp_path / "here_for_test.py")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", [entry for entry in sys.path if entry not in ("", ".")])
    assert load_strategy("here_for_test:One").__name__ == "One"


# Neighbours.


@pytest.mark.parametrize(
    "line", ["import helpers", "from helpers import VALUE", "from . import helpers", "from .helpers import *"]
)
def test_a_strategy_may_import_its_neighbours(tmp_path: Path, line: str) -> None:
    write(tmp_path / "helpers.py", "VALUE = 5\n")
    value = "helpers.VALUE" if line.endswith("helpers") else "VALUE"
    file = write(tmp_path / "uses.py", f"{line}\n" + ONE.replace("10", value))
    assert resolve_values(load_strategy(file), None) == {"fast": 5}


@pytest.mark.parametrize("line", ["import helpers", "from . import helpers"])
def test_files_of_one_name_in_two_folders_do_not_meet(tmp_path: Path, line: str) -> None:
    kinds = []
    for folder, value in (("a", 1), ("b", 2)):
        write(tmp_path / folder / "helpers.py", f"VALUE = {value}\n")
        text = (
            f"{line}\n" + ONE.replace("10", "helpers.VALUE") + "\n    def value(self):\n        return helpers.VALUE\n"
        )
        kinds.append(load_strategy(write(tmp_path / folder / "mine.py", text)))
    first, second = kinds
    assert first is not second
    assert first.__module__ != second.__module__
    assert [resolve_values(kind, None) for kind in kinds] == [{"fast": 1}, {"fast": 2}]
    assert [kind().value() for kind in kinds] == [1, 2]  # type: ignore[attr-defined]
    assert [sys.modules[kind.__module__].__file__ for kind in kinds] == [str(tmp_path / x / "mine.py") for x in "ab"]
    assert [pickle.loads(pickle.dumps(kind)) for kind in kinds] == kinds


def test_a_changed_file_is_read_anew_also_within_the_same_second_and_with_its_neighbours(tmp_path: Path) -> None:
    file = write(tmp_path / "mine.py", "import helpers\n" + ONE.replace("10", "helpers.VALUE"))
    stamp = 1_700_000_000
    for value in (1, 2):
        write(tmp_path / "helpers.py", f"VALUE = {value}\n")
        write(file, file.read_text().replace("One", f"One{value}") if value == 2 else file.read_text())
        os.utime(file, (stamp, stamp))
        os.utime(tmp_path / "helpers.py", (stamp + value, stamp + value))
        kind = load_strategy(file)
    assert kind.__name__ == "One2"
    assert resolve_values(kind, None) == {"fast": 2}
    # The same size and the same second: bytecode beside the file would still say 10.
    for value in ("10", "20"):
        write(file, ONE.replace("10", value))
        os.utime(file, (stamp, stamp))
        assert resolve_values(load_strategy(file), None) == {"fast": int(value)}
    assert not list((tmp_path / "__pycache__").glob("mine*"))


def test_a_module_that_the_program_had_already_imported_stays_the_same(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write(tmp_path / "settings_for_test.py", "STATE = []\n")
    monkeypatch.syspath_prepend(str(tmp_path))
    settings = __import__("settings_for_test")
    file = write(tmp_path / "uses.py", "import settings_for_test\nsettings_for_test.STATE.append(1)\n" + ONE)
    load_strategy(file)
    load_strategy(file)
    assert settings.STATE == [1, 1]
    assert sys.modules["settings_for_test"] is settings


def test_annotations_that_are_text_and_enums_of_the_file_are_understood(tmp_path: Path) -> None:
    text = (
        "from __future__ import annotations\nfrom enum import Enum\nfrom typing import TYPE_CHECKING\n"
        "from weaver import Strategy\nif TYPE_CHECKING:\n    from weaver import Order\n\n"
        "class Mode(Enum):\n    UP = 1\n\n"
        "class One(Strategy):\n    mode: Mode = Mode.UP\n    fast: int = 3\n    _order: Order | None = None\n"
    )
    kind = load_strategy(write(tmp_path / "future.py", text))
    assert list(resolve_values(kind, None)) == ["mode", "fast"]
    assert str(parse_params(kind, {"mode": "up", "fast": "4"})) == "{'mode': <Mode.UP: 1>, 'fast': 4}"


# What can go wrong.


def test_a_missing_file_names_the_nearest(tmp_path: Path) -> None:
    write(tmp_path / "sma_cross.py")
    assert failure(tmp_path / "sma_corss.py") == (
        f"strategy file {tmp_path / 'sma_corss.py'} does not exist; did you mean {tmp_path / 'sma_cross.py'}?"
    )
    assert failure(tmp_path / "zzz.py").endswith("zzz.py does not exist")


def test_a_missing_class_names_the_nearest(tmp_path: Path) -> None:
    file = write(tmp_path / "one.py")
    assert failure(f"{file}:Onee") == f"{file} has no strategy 'Onee'; did you mean 'One'?"
    assert failure(f"{file}:Strategy") == f"{file} has no strategy 'Strategy'; it has: One"


def test_a_file_without_a_strategy_says_so(tmp_path: Path) -> None:
    file = write(tmp_path / "none.py", "from weaver import Strategy\nclass Other:\n    pass\n")
    assert failure(file) == f"{file} has no strategy: no class in it derives from weaver.Strategy"
    assert "has no strategy 'Other'; it has: no strategy" in failure(f"{file}:Other")


def test_a_syntax_error_comes_with_its_line(tmp_path: Path) -> None:
    file = write(tmp_path / "wrong.py", "from weaver import Strategy\n\nclass One(Strategy)\n    pass\n")
    assert failure(file) == f"strategy file {file} failed to load: expected ':' (line 3: class One(Strategy))"


def test_a_syntax_error_in_a_neighbour_comes_with_its_file(tmp_path: Path) -> None:
    write(tmp_path / "helpers.py", "x = (\n")
    file = write(tmp_path / "one.py", "import helpers\n" + ONE)
    assert "'(' was never closed (helpers.py, line 1: x = ()" in failure(file)


def test_an_error_while_loading_comes_with_its_line(tmp_path: Path) -> None:
    file = write(tmp_path / "wrong.py", ONE + "\nraise ValueError('no')\n")
    assert failure(file) == f"strategy file {file} failed to load: ValueError: no (line 7)"
    assert not [name for name in sys.modules if name.endswith(".wrong")]
    missing = write(tmp_path / "missing.py", "import no_such_module\n")
    assert "ModuleNotFoundError: No module named 'no_such_module' (line 1)" in failure(missing)


def test_a_file_that_ends_the_program_says_so(tmp_path: Path) -> None:
    file = write(tmp_path / "exits.py", "import sys\nsys.exit(3)\n")
    assert failure(file) == f"strategy file {file} ends the program when loaded: SystemExit: 3 (line 2)"


def test_a_bad_parameter_is_named_with_its_line(tmp_path: Path) -> None:
    file = write(tmp_path / "bad.py", ONE.replace("fast: int = 10", "levels: list = []"))
    assert "ParameterError: One.levels is a list, which all runs would share" in failure(file)
    assert "(line 4)" in failure(file)


def test_a_strategy_error_while_loading_is_itself(tmp_path: Path) -> None:
    file = write(tmp_path / "async_one.py", ONE + "\n    async def on_bar(self, bar):\n        pass\n")
    with pytest.raises(StrategyError, match=r"One\.on_bar is async or a generator"):
        load_strategy(file)


def test_a_missing_module_says_how_a_file_is_written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    assert failure("no_such_room:One").endswith(
        "there is no module 'no_such_room'; a file is written with its ending, as path/to/no_such_room.py"
    )
    write(tmp_path / "deep" / "mine.py")
    assert failure("deep/mine").endswith(f"there is no module 'deep/mine'; did you mean {Path('deep/mine.py')}?")


def test_a_module_that_fails_says_why(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write(tmp_path / "fails_for_test.py", "1 / 0\n")
    write(tmp_path / "misses_for_test.py", "import no_such_module\n")
    monkeypatch.syspath_prepend(str(tmp_path))
    assert (
        failure("fails_for_test:One")
        == "strategy 'fails_for_test:One' failed to load: ZeroDivisionError: division by zero"
    )
    assert "failed to load: No module named 'no_such_module'" in failure("misses_for_test:One")


@pytest.mark.parametrize("text", ["", ".", "..", " ", "./"])
def test_what_names_nothing_is_refused_with_the_forms_there_are(text: str) -> None:
    with pytest.raises(StrategyLoadError, match=r"names no strategy; give file.py, file.py:Class or module:Class"):
        load_strategy(text)
