"""README, CONTRIBUTING and docs: every command exists, every example runs, every output shown is what comes out.

A `python` block whose first line is a comment with a file's name is that file. A `console` block is commands behind `$ ` and
what they print. Both happen in the order of the page, in an empty folder. An `sh` block holds make's commands, which .ci/run
runs for real.
"""

from __future__ import annotations

import os
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
README = (ROOT / "README.md").read_text(encoding="utf-8")
BLOCK = re.compile(r"^```(\w+)\n(.*?)^```$", re.MULTILINE | re.DOTALL)


def commands(text: str) -> Iterator[tuple[str, str]]:
    """(command, output) of a console block."""
    for part in re.split(r"^\$ ", text, flags=re.MULTILINE)[1:]:
        command, _, output = part.partition("\n")
        yield command, output


def run(command: str, folder: Path) -> str:
    """What `command` prints in `folder`, with this environment's programs first on the path."""
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    environment = {"PATH": path, "HOME": str(folder), "LANG": "C.UTF-8", "PYTHONWARNINGS": "error"}
    ended = subprocess.run(command, shell=True, cwd=folder, env=environment, capture_output=True, text=True)
    assert ended.returncode == 0 or "error:" in ended.stderr, ended
    # A slow machine sees lines of progress; the end of a run's id is another each time.
    lines = [line for line in ended.stderr.splitlines(keepends=True) if not line.endswith(" ...\n")]
    told = re.sub(r"runs show [0-9a-z]{8}$", "runs show 7k2m9q4x", "".join(lines), flags=re.MULTILINE)
    return (ended.stdout + told).replace(f"{folder.resolve()}{os.sep}", "")


@pytest.mark.parametrize("page", ["README.md", "docs/strategies.md", "docs/event-log.md"])
def test_every_example_runs_and_prints_what_the_page_shows(page: str, tmp_path: Path) -> None:
    shown: list[tuple[str, str]] = []
    real: list[tuple[str, str]] = []
    for language, text in BLOCK.findall((ROOT / page).read_text(encoding="utf-8")):
        if language == "python":
            name = re.match(r"# (\S+\.py)\n", text)
            assert name, f"a python block starts with its file's name:\n{text}"
            (tmp_path / name[1]).write_text(text, encoding="utf-8")
        elif language == "console":
            for command, output in commands(text):
                shown.append((command, output))
                real.append((command, run(command, tmp_path)))
    assert len(shown) >= 2
    assert real == shown


def test_every_block_is_of_a_kind_that_is_checked() -> None:
    assert {language for language, _ in BLOCK.findall(README)} <= {"python", "console", "sh"}
    assert README.count("```") == 2 * len(BLOCK.findall(README))


@pytest.mark.parametrize("page", ["README.md", "CONTRIBUTING.md"])
def test_every_make_target_that_is_named_exists(page: str) -> None:
    makefile = (ROOT / "Makefile").read_text(encoding="utf-8")
    named = set(re.findall(r"\bmake ([a-z]+)(?=[`\s]|$)", (ROOT / page).read_text(encoding="utf-8"), re.MULTILINE))
    for target in named & {"demo", "test", "check", "bench", "format", "lock", "clean"} | {"demo", "test"}:
        assert re.search(rf"^{target}:", makefile, re.MULTILINE), target


def test_ci_runs_the_two_commands_of_the_readme() -> None:
    first = next(text for language, text in BLOCK.findall(README) if language == "sh")
    ci = (ROOT / ".ci" / "run").read_text(encoding="utf-8")
    for line in first.splitlines():
        command, target = line.split()[:2]
        assert command == "make"
        assert re.search(rf"^make --no-print-directory {target}\b", ci, re.MULTILINE), target


def test_nobody_is_told_to_install_somebody_elses_package() -> None:
    for page in ROOT.glob("*.md"):
        assert not re.search(r"pip install weaver\b(?!-)", page.read_text(encoding="utf-8")), page
    for page in (ROOT / "docs").rglob("*.md"):
        assert not re.search(r"pip install weaver\b(?!-)", page.read_text(encoding="utf-8")), page


@pytest.mark.parametrize("page", ["README.md", "CONTRIBUTING.md", "CHANGELOG.md", *sorted(
    str(page.relative_to(ROOT)) for page in (ROOT / "docs").rglob("*.md"))])  # fmt: skip
def test_every_link_to_a_file_leads_somewhere(page: str) -> None:
    text = (ROOT / page).read_text(encoding="utf-8")
    for target in re.findall(r"\]\(([^)#\s]+)[^)]*\)", text):
        if "://" not in target:
            assert ((ROOT / page).parent / target).exists(), f"{page}: {target}"
