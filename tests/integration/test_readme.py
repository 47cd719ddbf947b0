"""README, CONTRIBUTING and docs: every console and Python block of every page runs and prints the output that is shown.

A `python` block whose first line is a comment with a file name is that file, for later commands; any other one runs as a
program (`await` and all). A `console` block is commands behind `$ ` and their output. The blocks of a page run in order, in
a new folder with the repository's examples. A line before a block may be a marker with a reason:

    <!-- not run: REASON -->        the block cannot run here
    <!-- output not shown -->       the commands run, and their output is not compared
    <!-- page not run: REASON -->   anywhere: no block of the page runs

An `sh` block is not run here; the first one of the README holds the make commands that .ci/run runs.
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
    assert ended.returncode in (0, 5) or "error:" in ended.stderr, ended  # 5: a look-ahead finding
    # A slow machine sees lines of progress; the end of a run's id is another each time.
    lines = [line for line in ended.stderr.splitlines(keepends=True) if not line.endswith(" ...\n")]
    told = re.sub(r"runs show [0-9a-z]{8}$", "runs show 7k2m9q4x", "".join(lines), flags=re.MULTILINE)
    return (ended.stdout + told).replace(f"{folder.resolve()}{os.sep}", "")


PAGES = ["README.md", "CONTRIBUTING.md", *sorted(str(page.relative_to(ROOT)) for page in (ROOT / "docs").rglob("*.md"))]
MARKED = re.compile(r"(?:^<!-- ([^\n]*?) -->\n\n?)?^```(\w+)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
MOST_NOT_RUN = 4
"""Blocks, on all pages together, that may be marked as not run; a page that is not run counts once."""


def blocks(page: str) -> list[tuple[str, str, str]]:
    """(marker, language, text) of the console and Python blocks of a page; none where the page is marked as not run."""
    text = (ROOT / page).read_text(encoding="utf-8")
    if "<!-- page not run: " in text:
        return []
    return [block for block in MARKED.findall(text) if block[1] in ("python", "console")]


RUNNABLE = [page for page in PAGES if any(not marker.startswith("not run:") for marker, _, _ in blocks(page))]


@pytest.mark.parametrize("page", RUNNABLE)
def test_every_example_runs_and_prints_what_the_page_shows(page: str, tmp_path: Path) -> None:
    for name in ("examples", "tests"):
        (tmp_path / name).symlink_to(ROOT / name)
    if "recorded: weaver runs show" in (ROOT / page).read_text(encoding="utf-8"):
        run("weaver runs list", tmp_path)  # creates the database, which may take longer than a recording waits for it
    shown: list[tuple[str, str]] = []
    real: list[tuple[str, str]] = []
    programs = 0
    for marker, language, text in blocks(page):
        if marker.startswith("not run:"):
            continue
        if language == "console":
            for command, output in commands(text):
                printed = run(command, tmp_path)
                if marker != "output not shown":
                    shown.append((command, output))
                    real.append((command, printed))
        elif name := re.match(r"# (\S+\.py)\n", text):
            (tmp_path / name[1]).write_text(text, encoding="utf-8")
        else:
            programs += 1
            program = tmp_path / f"block_{programs}.py"
            program.write_text(as_program(text), encoding="utf-8")
            run(f"python {program.name}", tmp_path)
    assert real == shown


def as_program(text: str) -> str:
    """A Python block as a program: one with `await` outside a function runs in an event loop."""
    if not re.search(r"^(?:\S.*)?\bawait\b", text, re.MULTILINE):
        return text
    lines = text.splitlines()
    imports = [line for line in lines if re.match(r"(import|from) ", line)]
    body = [f"    {line}" for line in lines if line not in imports]
    return "\n".join(["import asyncio", *imports, "async def main():", *body, "asyncio.run(main())", ""])


def test_few_blocks_are_not_run_and_each_says_why() -> None:
    reasons = []
    for page in PAGES:
        text = (ROOT / page).read_text(encoding="utf-8")
        reasons += re.findall(r"<!-- (?:page )?not run: (.*?) -->", text)
        known = r"(page )?not run: \S.*|output not shown"
        assert all(re.fullmatch(known, marker) for marker, _, _ in MARKED.findall(text) if marker), page
    assert all(len(reason) > 10 for reason in reasons)
    assert len(reasons) <= MOST_NOT_RUN, reasons


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
