"""Layers: the import contracts hold, and each of them refuses a forbidden import."""

from __future__ import annotations

import ast
import os
import shutil
import subprocess
import sys
from graphlib import CycleError, TopologicalSorter
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
LAYERS = "A package imports only from layers below its own"
STORE = "Strategies, results and the backtester import neither events nor walle"
SQL = "SQL libraries are imported by walle only"
WEB = "Web libraries are imported by the control plane's API and the console only"


def lint(source: Path) -> str:
    """Return the output of import-linter for the package `weaver` in the folder `source`."""
    code = "from importlinter.cli import lint_imports; import sys; sys.exit(lint_imports(no_cache=True))"
    completed = subprocess.run(
        [sys.executable, "-c", code],
        env=os.environ | {"PYTHONPATH": str(source), "COLUMNS": "200"},
        cwd=ROOT,
        capture_output=True,
        text=True,
    )
    return completed.stdout + completed.stderr


@pytest.fixture
def copy(tmp_path: Path) -> Path:
    """Return the folder of a copy of the source that a test may change."""
    shutil.copytree(
        ROOT / "src" / "weaver", tmp_path / "weaver", ignore=shutil.ignore_patterns("__pycache__", "*.parquet")
    )
    return tmp_path


def test_the_contracts_hold() -> None:
    output = lint(ROOT / "src")
    for contract in (LAYERS, STORE, SQL, WEB):
        assert f"{contract} KEPT" in output, output


@pytest.mark.parametrize(
    ("file", "line", "contract"),
    [
        ("core/errors.py", "import weaver.greta.matching", LAYERS),
        ("greta/matching.py", "import weaver.glados.backtest", LAYERS),
        ("glados/__init__.py", "import weaver.cli.main", LAYERS),
        ("marvin/strategy.py", "import weaver.results.result", LAYERS),
        ("greta/matching.py", "import weaver.walle", STORE),
        ("results/record.py", "import weaver.walle", STORE),
        ("glados/__init__.py", "import sqlalchemy", SQL),
        ("glados/clock/base.py", "import fastapi", WEB),
        ("cli/main.py", "import uvicorn", WEB),
    ],
)
def test_a_contract_notices(copy: Path, file: str, line: str, contract: str) -> None:
    changed = copy / "weaver" / file
    changed.write_text(f"{changed.read_text(encoding='utf-8')}\n{line}\n", encoding="utf-8")
    assert f"{contract} BROKEN" in lint(copy)


def style(code: str, file: str) -> str:
    """Return the output of ruff for `code` in that file of `src/weaver`."""
    completed = subprocess.run(
        [sys.executable, "-m", "ruff", "check", "--select", "TID251,NPY002", "--output-format", "concise", "--no-cache",
         "--stdin-filename", str(ROOT / "src" / "weaver" / file), "-"],
        input=code, cwd=ROOT, capture_output=True, text=True,
    )  # fmt: skip
    return completed.stdout + completed.stderr


@pytest.mark.parametrize(
    "code",
    [
        "import time",
        "from time import monotonic",
        "import datetime\ndatetime.datetime.now(datetime.UTC)",
        "from datetime import UTC, datetime\ndatetime.now(UTC)",
        "from datetime import date\ndate.today()",
        "import asyncio\nasyncio.sleep(1)",
        "from asyncio import wait_for",
        "import asyncio\nasyncio.timeout(1)",
        "import threading\nthreading.Timer(1, print)",
        "import uuid",
        "import random",
        "from secrets import token_hex",
        "import os\nos.urandom(1)",
    ],
)
def test_only_the_clocks_file_reads_time_sleeps_or_draws(code: str) -> None:
    for file in ("marvin/x.py", "cli/x.py", "core/x.py", "glados/x.py", "testing/x.py"):
        assert "TID251" in style(code, file), file
    assert "All checks passed" in style(code, "glados/clock/x.py")


def test_numpys_unseeded_random_functions_are_refused_everywhere() -> None:
    for file in ("greta/x.py", "glados/clock/x.py"):
        assert "NPY002" in style("import numpy as np\nnp.random.rand()", file)


def imports_of(path: Path, modules: set[str]) -> set[str]:
    """Return the modules of Weaver that a file imports at run time, inside functions included."""
    tree = ast.parse(path.read_text(encoding="utf-8"))
    for node in ast.walk(tree):
        if isinstance(node, ast.If) and ast.unparse(node.test) == "TYPE_CHECKING":
            node.body = []
    imported = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.ImportFrom) and node.module:
            names = {node.module, *(f"{node.module}.{alias.name}" for alias in node.names)}
        elif isinstance(node, ast.Import):
            names = {alias.name for alias in node.names}
        else:
            continue
        # A package's own __init__ is passed over where a module of it is named: importing both is no circle.
        found = names & modules
        longer = {name for name in found if any(other.startswith(f"{name}.") for other in found)}
        imported |= found - longer
    return imported


def test_no_module_imports_itself_by_way_of_others() -> None:
    source = ROOT / "src"
    files = {
        ".".join(path.relative_to(source).with_suffix("").parts).removesuffix(".__init__"): path
        for path in (source / "weaver").rglob("*.py")
    }
    graph = {name: imports_of(path, set(files)) for name, path in files.items()}
    graph["weaver"] = set()  # its public names are resolved when they are first used
    with pytest.raises(CycleError):
        TopologicalSorter({"a": {"b"}, "b": {"a"}}).prepare()
    TopologicalSorter(graph).prepare()
