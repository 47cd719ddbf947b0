"""`weaver runs show` of a run whose files are damaged names the file, and prints what the database has."""

from __future__ import annotations

from pathlib import Path

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
