"""Files of recorded runs: what is removed with a run."""

from __future__ import annotations

from pathlib import Path

from weaver.results import run_files


def test_deleting_a_run_removes_what_a_killed_recording_left_of_it(tmp_path: Path) -> None:
    runs, bars = tmp_path / "runs", tmp_path / "runs" / "bars"
    left = runs / "20240101T000000000000Z-abcdefgh.part"
    other = runs / "20240101T000000000000Z-other.part"
    for folder in (left, other):
        folder.mkdir(parents=True)
        (folder / "equity.parquet").write_bytes(b"half")
    run_files.forget(runs / "20240101T000000000000Z-abcdefgh", bars)
    assert not left.exists()
    assert other.exists()
