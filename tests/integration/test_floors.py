"""The floors: the import contracts hold, and each of them notices an import that must not be."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
LAYERS = "A room imports only from floors below its own"
STORE = "Strategies, results and the backtester know neither events nor the store"
SQL = "SQL is spoken in the store alone"


def lint(source: Path) -> str:
    """What import-linter says about the package `weaver` in the folder `source`."""
    code = "from importlinter.cli import lint_imports; import sys; sys.exit(lint_imports(no_cache=True))"
    found = subprocess.run(
        [sys.executable, "-c", code],
        env=os.environ | {"PYTHONPATH": str(source), "COLUMNS": "200"},
        cwd=ROOT,
        capture_output=True,
        text=True,
    )
    return found.stdout + found.stderr


@pytest.fixture
def copy(tmp_path: Path) -> Path:
    """A copy of the source that a test may spoil."""
    shutil.copytree(ROOT / "src" / "weaver", tmp_path / "weaver", ignore=shutil.ignore_patterns("__pycache__", "data"))
    return tmp_path


def test_the_contracts_hold() -> None:
    said = lint(ROOT / "src")
    for contract in (LAYERS, STORE, SQL):
        assert f"{contract} KEPT" in said, said


@pytest.mark.parametrize(
    ("room", "line", "contract"),
    [
        ("core/errors.py", "import weaver.greta.matching", LAYERS),
        ("greta/matching.py", "import weaver.glados.backtest", LAYERS),
        ("glados/__init__.py", "import weaver.cli.main", LAYERS),
        ("marvin/strategy.py", "import weaver.results.result", LAYERS),
        ("greta/matching.py", "import weaver.walle", STORE),
        ("results/record.py", "import weaver.walle", STORE),
        ("glados/__init__.py", "import sqlalchemy", SQL),
    ],
)
def test_a_contract_notices(copy: Path, room: str, line: str, contract: str) -> None:
    spoiled = copy / "weaver" / room
    spoiled.write_text(f"{spoiled.read_text(encoding='utf-8')}\n{line}\n", encoding="utf-8")
    assert f"{contract} BROKEN" in lint(copy)
