"""Files of recorded runs: what is removed with a run."""

from __future__ import annotations

from pathlib import Path

from weaver.core.run_folders import RunFolders
from weaver.results import run_files


def test_deleting_a_run_removes_what_a_killed_recording_left_of_it(tmp_path: Path) -> None:
    runs = tmp_path / "runs"
    left = runs / "20240101T000000000000Z-abcdefgh.part"
    other = runs / "20240101T000000000000Z-othersid.part"
    for folder in (left, other):
        folder.mkdir(parents=True)
        (folder / "equity.parquet").write_bytes(b"half")
    run_files.forget(RunFolders(runs), "20240101T000000000000Z-abcdefgh")
    assert not left.exists()
    assert other.exists()
