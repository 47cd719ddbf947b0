"""scripts/setup: what a machine lacks is said in one line, with the way to get it. scripts/lock: its tool is pinned by hash."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
pytestmark = pytest.mark.skipif(os.name == "nt", reason="a POSIX shell script")


@pytest.fixture
def checkout(tmp_path: Path) -> Path:
    """What setup needs of the checkout, in a folder with a space in its name."""
    folder = tmp_path / "my checkout"
    folder.mkdir()
    for name in ("scripts", "src"):
        shutil.copytree(ROOT / name, folder / name, ignore=shutil.ignore_patterns("__pycache__"))
    for name in (
        "pyproject.toml",
        "requirements.lock",
        "requirements-dev.lock",
        "requirements-uv.lock",
        "README.md",
        "LICENSE",
    ):
        shutil.copy(ROOT / name, folder)
    return folder


@pytest.fixture
def tools(tmp_path: Path) -> Path:
    """A folder with the few programs that setup calls, and no Python."""
    folder = tmp_path / "tools"
    folder.mkdir()
    for name in (
        "sh",
        "awk",
        "cat",
        "cksum",
        "df",
        "dirname",
        "flock",
        "grep",
        "ln",
        "mkdir",
        "mktemp",
        "mv",
        "rm",
        "tail",
        "tr",
    ):
        found = shutil.which(name)
        if found:
            (folder / name).symlink_to(found)
    return folder


def program(folder: Path, name: str, script: str) -> None:
    path = folder / name
    path.unlink(missing_ok=True)
    path.write_text(f"#!/bin/sh\n{script}\n", encoding="utf-8")
    path.chmod(0o755)


def setup(checkout: Path, tools: Path, **environment: str) -> subprocess.CompletedProcess[str]:
    """`scripts/setup demo` with nothing in its environment but what is named here."""
    return subprocess.run(
        ["/bin/sh", str(checkout / "scripts" / "setup"), "demo"],
        env={"PATH": str(tools)} | environment,
        capture_output=True,
        text=True,
    )


def error(ended: subprocess.CompletedProcess[str]) -> str:
    assert ended.returncode == 1, ended
    lines = [line for line in ended.stderr.splitlines() if line.startswith("error: ")]
    assert len(lines) == 1, ended
    return lines[0]


def test_no_python_at_all(checkout: Path, tools: Path) -> None:
    ended = setup(checkout, tools)
    assert error(ended) == "error: Weaver needs Python 3.11 or newer, and there is none on PATH."
    assert "apt install python3" in ended.stderr
    assert "PYTHON=" in ended.stderr


def test_an_older_python_is_none(checkout: Path, tools: Path) -> None:
    program(tools, "python3", "exit 1")  # what `sys.exit(sys.version_info < (3, 11))` makes of it
    assert "Python 3.11 or newer" in error(setup(checkout, tools))
    assert "is older than Python 3.11" in error(setup(checkout, tools, PYTHON=str(tools / "python3")))


def test_a_python_that_is_named_and_is_not_there(checkout: Path, tools: Path) -> None:
    assert error(setup(checkout, tools, PYTHON="/nowhere/python")) == "error: PYTHON=/nowhere/python is not a program"


def test_a_python_without_the_venv_module(checkout: Path, tools: Path) -> None:
    script = 'case "$2" in *ensurepip*) exit 1 ;; *print*) echo 3.12 ;; esac'
    program(tools, "python3", script)
    ended = setup(checkout, tools)
    assert "has no venv module" in error(ended)
    assert "apt install python3.12-venv" in ended.stderr


def test_a_disk_without_room(checkout: Path, tools: Path) -> None:
    program(tools, "df", "echo header; echo disk 1000 900 102400 90% /")
    ended = setup(checkout, tools, PYTHON=sys.executable)
    assert "the disk is full" in error(ended)
    assert "Free: 100 MB" in ended.stderr
    assert "VENV=" in ended.stderr


def test_an_index_that_cannot_be_reached_and_then_a_second_try(checkout: Path, tools: Path) -> None:
    nowhere = {"PIP_INDEX_URL": "http://127.0.0.1:9/simple", "PIP_RETRIES": "0", "PIP_CONFIG_FILE": os.devnull}
    for _ in range(2):  # the half-made environment of the first try does not mislead the second
        ended = setup(checkout, tools, PYTHON=sys.executable, PIP_NO_CACHE_DIR="1", **nowhere)
        assert "pip cannot reach its package index" in error(ended)
        assert "PIP_INDEX_URL" in ended.stderr
        assert not (checkout / ".venv" / ".stamp").exists()


def test_what_is_right_already_is_left_alone(checkout: Path, tools: Path) -> None:
    environment = checkout / ".venv"
    (environment / "bin").mkdir(parents=True)
    program(environment / "bin", "python", "echo must not be called >&2; exit 1")
    inner = subprocess.run(
        ["/bin/sh", "-c", "cat requirements.lock pyproject.toml scripts/setup | cksum | tr ' ' -"],
        cwd=checkout, capture_output=True, text=True, check=True,
    )  # fmt: skip
    stamp = f"demo {inner.stdout.strip()} {checkout.resolve()}"
    (environment / ".stamp").write_text(stamp + "\n", encoding="utf-8")
    ended = setup(checkout, tools)
    assert (ended.returncode, ended.stdout, ended.stderr) == (0, "", "")
    (checkout / "requirements.lock").write_text("changed\n", encoding="utf-8")
    assert setup(checkout, tools).returncode == 1


# scripts/lock.


@pytest.mark.parametrize("lock", sorted(path.name for path in ROOT.glob("requirements*.lock")))
def test_every_package_of_a_lock_has_hashes_and_no_host_is_named(lock: str) -> None:
    text = (ROOT / lock).read_text(encoding="utf-8")
    assert not re.search(r"://|--index-url|--extra-index-url|--find-links|--trusted-host", text)
    packages = re.split(r"^(?=\S+==)", re.sub(r"^\s*#.*\n", "", text, flags=re.MULTILINE), flags=re.MULTILINE)[1:]
    assert packages
    assert [each for each in packages if not re.search(r"--hash=sha256:[0-9a-f]{64}", each)] == []


def test_lock_installs_uv_by_its_hash_and_runs_no_other(checkout: Path, tools: Path, tmp_path: Path) -> None:
    log, environment = tmp_path / "log", tmp_path / "environment" / "bin"
    environment.mkdir(parents=True)
    program(environment, "python", f'echo "python $*" >>{log}')
    program(environment, "uv", f'echo "uv $*" >>{log}')
    program(tools, "uv", f'echo "the uv of PATH" >>{log}')
    program(tools, "python3", f'ln -s {environment.parent} "$3"')  # python3 -m venv FOLDER
    ended = subprocess.run(
        ["/bin/sh", str(checkout / "scripts" / "lock")],
        env={"PATH": str(tools), "TMPDIR": str(tmp_path)},
        capture_output=True,
        text=True,
    )
    assert (ended.returncode, ended.stderr) == (0, "")
    install, *compiled = log.read_text(encoding="utf-8").splitlines()
    assert install.startswith("python -m pip install ")
    assert " --require-hashes " in install
    assert install.endswith(" -r requirements-uv.lock")
    assert [line.split()[-1] for line in compiled] == [
        "requirements.lock",
        "requirements-dev.lock",
        "requirements-uv.lock",
    ]
    assert all(line.startswith("uv pip compile ") and " --generate-hashes " in line for line in compiled)
    assert "\nuv==" in (checkout / "requirements-uv.lock").read_text(encoding="utf-8")
