"""`weaver runs show` of a run whose files are damaged names the file, and prints what the database has."""

from __future__ import annotations

import errno
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from weaver import Strategy, backtest, shipped_bars
from weaver.cli.main import main
from weaver.glados.wiring import run_folders

pytestmark = pytest.mark.log


class Flips(Strategy):
    def on_bar(self, bar: object) -> None:
        self.close() if self.position else self.buy(1)


def test_a_run_with_missing_or_damaged_files_is_shown_as_far_as_possible(
    database_url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("DB_URL", database_url)
    monkeypatch.setenv("WEAVER_HOME", str(tmp_path / "home"))
    monkeypatch.chdir(tmp_path)
    result = backtest(Flips, shipped_bars("AAPL"), record=True)
    assert result.recording.wait(60)
    folders = run_folders()
    folder = folders.folder(result.run_id)
    (bars,) = folders.bars_folder.iterdir()
    for file in (bars, *(folder / name for name in ("equity.parquet", "orders.parquet", "fills.parquet", "run.json"))):
        whole = file.read_bytes()
        for content in (None, whole[: len(whole) // 2]):
            file.unlink()
            if content is not None:
                file.write_bytes(content)
            assert main(["runs", "show", result.run_id]) == 4
            printed = capsys.readouterr()
            assert f"final_equity {result.final_equity:,.2f}" in " ".join(printed.out.split())
            assert "status  completed" in printed.out
            assert f"run     {result.run_id}" in printed.out
            reason = "is missing: the files of run" if content is None else "cannot be read: "
            assert printed.err.startswith(f"error: {file} {reason}")
            assert printed.err.count("\n") == 1
            assert main(["runs", "report", result.run_id]) == 4
            assert capsys.readouterr().err == printed.err
            file.write_bytes(whole)
    assert not (tmp_path / "reports").exists()
    assert main(["runs", "show", result.run_id]) == 0


def test_runs_whose_files_belong_to_another_user_are_listed_and_shown(
    database_url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """As for two users of one database with one WEAVER_HOME."""
    monkeypatch.setenv("DB_URL", database_url)
    monkeypatch.setenv("WEAVER_HOME", str(tmp_path / "home"))
    monkeypatch.chdir(tmp_path)
    result = backtest(Flips, shipped_bars("AAPL"), record=True)
    assert result.recording.wait(60)
    runs = str(tmp_path / "home" / "runs")
    scandir, lstat, stat = os.scandir, os.lstat, os.stat

    def refuse(call: Callable[..., Any]) -> Callable[..., Any]:
        def refusing(path: Any, *arguments: Any, **named: Any) -> Any:
            if str(path).startswith(runs) and (call is scandir or str(path) != runs):
                raise PermissionError(errno.EACCES, os.strerror(errno.EACCES), str(path))
            return call(path, *arguments, **named)

        return refusing

    for name, call in (("scandir", scandir), ("lstat", lstat), ("stat", stat)):
        monkeypatch.setattr(os, name, refuse(call))
    assert main(["runs", "list"]) == 0
    assert "Flips" in capsys.readouterr().out
    assert main(["runs", "show", result.run_id]) == 1
    printed = capsys.readouterr()
    assert f"run     {result.run_id}" in printed.out
    assert "Permission denied" in printed.err
