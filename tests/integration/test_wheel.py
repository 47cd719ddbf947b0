"""The built wheel: whoever installs it, in an empty folder and away from this checkout, can run the demo."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Built by hatchling as it is installed here: no network, no second environment."""
    folder = tmp_path_factory.mktemp("dist")
    code = f"from hatchling.build import build_wheel; print(build_wheel({str(folder)!r}))"
    built = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True)
    return folder / built.stdout.split()[-1]


@pytest.fixture(scope="module")
def installed(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the wheel's content, put where a script's environment finds it before anything else."""
    folder = tmp_path_factory.mktemp("site")
    subprocess.run(
        [sys.executable, "-m", "pip", "install", "--quiet", "--no-deps", "--no-index", "--target", folder, wheel],
        check=True,
        capture_output=True,
    )
    return folder


def run(installed: Path, where: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    environment = {
        "PATH": os.environ["PATH"],
        "PYTHONPATH": str(installed),
        "HOME": str(where),
        "PYTHONWARNINGS": "error",
    }
    return subprocess.run(
        [sys.executable, *arguments], cwd=where, env=environment, capture_output=True, text=True, check=False
    )


def told(stderr: str) -> str:
    """What a command said, without the lines of progress, which a slow machine sees and a fast one does not."""
    lines = [line for line in stderr.splitlines() if not line.endswith(" ...")]
    return re.sub(r"runs show [0-9a-z]{8}$", "runs show ID", "\n".join(lines))


def test_the_wheel_is_named_weaver_trading_and_carries_what_it_needs(wheel: Path) -> None:
    assert wheel.name.startswith("weaver_trading-")
    names = zipfile.ZipFile(wheel).namelist()
    tops = {name.split("/")[0] for name in names}
    assert {name for name in tops if not name.endswith(".dist-info")} == {"weaver"}
    assert "weaver/py.typed" in names
    assert "weaver/data/shipped/us_daily_wiki_5.parquet" in names
    assert "weaver/data/shipped/README.md" in names
    assert any(name.endswith(".dist-info/licenses/LICENSE") for name in names)
    assert not [name for name in names if "__pycache__" in name or name.endswith(".pyc")]


def test_its_metadata_names_the_licence_and_the_python_it_needs(wheel: Path) -> None:
    archive = zipfile.ZipFile(wheel)
    name = next(name for name in archive.namelist() if name.endswith(".dist-info/METADATA"))
    lines = archive.read(name).decode().splitlines()
    assert "Name: weaver-trading" in lines
    assert "License-Expression: MIT" in lines
    assert "Requires-Python: >=3.11" in lines


def test_it_runs_the_demo_from_an_empty_folder_away_from_the_checkout(installed: Path, tmp_path: Path) -> None:
    where = run(installed, tmp_path, "-c", "import weaver; print(weaver.__file__)")
    assert Path(where.stdout.strip()).is_relative_to(installed), where
    ended = run(installed, tmp_path, "-m", "weaver", "demo", "--json", "demo.json")
    assert (ended.returncode, told(ended.stderr)) == (0, "recorded: weaver runs show ID")
    assert json.loads((tmp_path / "demo.json").read_text(encoding="utf-8"))["symbols"] == ["AAPL"]
    assert "<html" in (tmp_path / "demo.html").read_text(encoding="utf-8")[:2000]


def test_a_newly_written_strategy_runs_there_too(installed: Path, tmp_path: Path) -> None:
    assert run(installed, tmp_path, "-m", "weaver", "new", "strategy", "mine").returncode == 0
    ended = run(installed, tmp_path, "-m", "weaver", "backtest", "mine.py", "--data", "demo:MSFT")
    assert (ended.returncode, told(ended.stderr)) == (0, "recorded: weaver runs show ID")
