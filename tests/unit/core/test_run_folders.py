"""Paths of runs: an id or digest that another program stored never becomes a path outside of the folder of runs."""

from __future__ import annotations

from pathlib import Path

import pytest

from weaver.core.errors import DataError, InvalidRunId
from weaver.core.run_folders import RunFolders, is_digest
from weaver.core.run_id import check_run_id, is_run_id, shown_run_id
from weaver.glados.clock.system import new_run_id

RUN_ID = "20240301T093000123456Z-7k2m9q4x"
HOSTILE = ["", ".", "..", "bars", "../../x", "/etc", "a/b", "a\nb", f"{RUN_ID}\n", f"{RUN_ID}/..", f"../{RUN_ID}",
           f"{RUN_ID}.part", RUN_ID.upper(), RUN_ID.replace("2", "\u0662"), "x" * 300, "\0", "~", "C:\\x", "*"]  # fmt: skip


def test_ids_that_weaver_makes_are_run_ids() -> None:
    assert is_run_id(RUN_ID)
    assert all(is_run_id(new_run_id()) for _ in range(100))


@pytest.mark.parametrize("text", HOSTILE, ids=range(len(HOSTILE)))
def test_no_other_text_becomes_a_path(tmp_path: Path, text: str) -> None:
    folders = RunFolders(tmp_path)
    assert not is_run_id(text)
    for path_of in (folders.folder, folders.part, lambda text: folders.file(text, "run.json"), check_run_id):
        with pytest.raises(InvalidRunId, match="weaver runs delete removes its rows") as caught:
            path_of(text)
        assert str(caught.value).isprintable(), "the id is shown with escapes"
        assert len(str(caught.value)) < 400
    assert len(shown_run_id(text)) <= 80


@pytest.mark.parametrize("text", [*HOSTILE, "../" + "a" * 29, "A" * 32, 7, None, ["a" * 32]], ids=str)
def test_a_digest_is_32_hex_digits(tmp_path: Path, text: object) -> None:
    assert not is_digest(text)
    with pytest.raises(DataError, match="is not a digest"):
        RunFolders(tmp_path).bars(text)


@pytest.mark.parametrize("name", ["", "..", "../run.json", "/etc/passwd", "run.json\n", "x/run.json", "run", None, 3])
def test_a_file_of_a_run_has_a_plain_name(tmp_path: Path, name: object) -> None:
    with pytest.raises(DataError, match="is not the name of a file"):
        RunFolders(tmp_path).file(RUN_ID, name)


def test_the_paths_are_directly_below_the_folder_of_runs(tmp_path: Path) -> None:
    folders = RunFolders(tmp_path / "runs")
    assert folders.folder(RUN_ID) == tmp_path / "runs" / RUN_ID
    assert folders.part(RUN_ID) == tmp_path / "runs" / f"{RUN_ID}.part"
    assert folders.file(RUN_ID, "plot-12.parquet") == tmp_path / "runs" / RUN_ID / "plot-12.parquet"
    assert folders.bars("ab" * 16) == tmp_path / "runs" / "bars" / f"{'ab' * 16}.parquet"
    assert list(folders.run_ids()) == []


def test_no_link_below_the_folder_of_runs_is_followed(tmp_path: Path) -> None:
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    (elsewhere / "file").write_text("x")
    root = tmp_path / "runs"
    (root / RUN_ID).mkdir(parents=True)
    other = RUN_ID[:-1] + "y"
    (root / other).symlink_to(elsewhere)
    (root / f"{RUN_ID}.part").symlink_to(elsewhere)
    (root / RUN_ID / "run.json").symlink_to(elsewhere / "file")
    (root / "bars").symlink_to(elsewhere)
    folders = RunFolders(root)
    for attempt in (
        lambda: folders.folder(other),
        lambda: folders.part(RUN_ID),
        lambda: folders.file(RUN_ID, "run.json"),
        lambda: folders.bars_folder,
        lambda: folders.bars("ab" * 16),
    ):
        with pytest.raises(DataError, match="is a link, which is not followed"):
            attempt()
    assert list(folders.run_ids()) == [RUN_ID]


def test_the_folder_of_runs_itself_may_be_a_link_to_another_disk(tmp_path: Path) -> None:
    (tmp_path / "disk" / RUN_ID).mkdir(parents=True)
    (tmp_path / "runs").symlink_to(tmp_path / "disk")
    assert list(RunFolders(tmp_path / "runs").run_ids()) == [RUN_ID]
    assert RunFolders(tmp_path / "runs").folder(RUN_ID).is_dir()
