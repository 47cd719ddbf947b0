"""`weaver new strategy`: a file that runs as it stands."""

from __future__ import annotations

from pathlib import Path

import pytest

from weaver.cli.main import ExitCode
from weaver.cli.new import render

ROOT = Path(__file__).parents[3]


@pytest.mark.parametrize(
    ("name", "file", "cls"),
    [
        ("breakout", "breakout.py", "Breakout"),
        ("my-breakOut", "my_break_out.py", "MyBreakOut"),
        ("MyIdea.py", "my_idea.py", "MyIdea"),
        ("ideas/rsi2", "ideas/rsi2.py", "Rsi2"),
        ("Überkauft", "überkauft.py", "Überkauft"),
    ],
)
def test_a_name_becomes_a_file_and_a_class(weaver, tmp_path, monkeypatch, name: str, file: str, cls: str) -> None:
    monkeypatch.chdir(tmp_path)
    ended = weaver("new", "strategy", name)
    assert ended.code == 0
    text = (tmp_path / file).read_text(encoding="utf-8")
    assert f"class {cls}(Strategy):" in text
    assert f"weaver backtest {file} --data demo:AAPL" in text
    assert "SmaCross" not in text
    compile(text, file, "exec")


@pytest.mark.parametrize("name", ["3x", "---", "none", "a b!"])
def test_every_name_ends_in_a_class_or_in_an_error_that_says_why(weaver, tmp_path, monkeypatch, name: str) -> None:
    monkeypatch.chdir(tmp_path)
    ended = weaver("new", "strategy", "--", name)
    written = list(tmp_path.glob("*.py"))
    if ended.code == 0:
        assert len(written) == 1
        compile(written[0].read_text(encoding="utf-8"), "x", "exec")
    else:
        assert ended.code == ExitCode.USAGE
        assert "cannot be a class name" in ended.err
        assert not written


@pytest.mark.parametrize("name", ["weaver", "random", "ideas/numpy.py", "Statistics"])
def test_a_file_that_would_stand_in_for_a_module_is_refused(weaver, tmp_path, monkeypatch, name: str) -> None:
    monkeypatch.chdir(tmp_path)
    ended = weaver("new", "strategy", name)
    assert ended.code == ExitCode.USAGE
    assert "would hide the module" in ended.err
    assert "for example: my_" in ended.err
    assert not list(tmp_path.iterdir())


def test_a_file_that_is_there_is_never_overwritten(weaver, tmp_path, monkeypatch) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "mine.py").write_text("precious", encoding="utf-8")
    ended = weaver("new", "strategy", "mine")
    assert ended.code == ExitCode.USAGE
    assert "mine.py exists already" in ended.err
    assert (tmp_path / "mine.py").read_text(encoding="utf-8") == "precious"


def test_the_example_in_the_repository_is_what_new_writes() -> None:
    assert render("SmaCross", "sma_cross.py") == (ROOT / "examples" / "sma_cross.py").read_text(encoding="utf-8")


def test_the_new_file_runs_as_it_stands(weaver, tmp_path, monkeypatch) -> None:
    monkeypatch.chdir(tmp_path)
    assert weaver("new", "strategy", "mine").code == 0
    ended = weaver("backtest", "mine.py", "--data", "demo:AAPL")
    assert (ended.code, ended.err) == (0, "")
    assert "Mine" in ended.out
