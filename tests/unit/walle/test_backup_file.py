"""Backup files: runs whole or not at all, older dumps, and nothing written outside of the staging folder."""

from __future__ import annotations

import io
import json
import tarfile
from pathlib import Path

import pytest

from weaver.core.errors import BackupError
from weaver.walle import backup_file

pytestmark = pytest.mark.log

DUMP = b"PGDMP and the rest"
FIRST, SECOND, KILLED, GONE = (f"20240101T00000000000{number}Z-abcdefgh" for number in range(4))
DIGEST, UNUSED = "ab" * 16, "cd" * 16


@pytest.fixture
def runs(tmp_path: Path) -> Path:
    """Two runs over shared bars, one run whose recording was killed, and one that only the database knows."""
    folder = tmp_path / "runs"
    for name in (FIRST, SECOND):
        (folder / name).mkdir(parents=True)
        (folder / name / "run.json").write_text(json.dumps({"series": [{"digest": DIGEST}]}))
        (folder / name / "equity.parquet").write_bytes(name.encode())
    (folder / KILLED).mkdir()
    (folder / KILLED / "equity.parquet").write_bytes(b"half")
    (folder / "bars").mkdir()
    (folder / "bars" / f"{DIGEST}.parquet").write_bytes(b"bars")
    (folder / "bars" / f"{UNUSED}.parquet").write_bytes(b"unused")
    return folder


def write(tmp_path: Path, runs: Path) -> Path:
    dump = tmp_path / "dump"
    dump.write_bytes(DUMP)
    file = tmp_path / "file"
    stored = backup_file.write(file, dump=dump, runs_folder=runs, run_ids=[FIRST, SECOND, KILLED, GONE], version="1")
    assert stored == 2
    return file


def test_runs_come_back_with_all_their_files_and_their_bars(tmp_path: Path, runs: Path) -> None:
    file, new, staging = write(tmp_path, runs), tmp_path / "new" / "runs", tmp_path / "new" / ".staging"
    with backup_file.read(file, staging) as dump:
        assert dump.read_bytes() == DUMP
        assert backup_file.install_runs(staging, new) == 2
    names = {str(path.relative_to(new)) for path in new.rglob("*") if path.is_file()}
    kept = {f"{run}/{file}" for run in (FIRST, SECOND) for file in ("run.json", "equity.parquet")}
    assert names == kept | {f"bars/{DIGEST}.parquet"}
    assert not staging.exists()


def test_a_run_that_is_there_already_is_replaced(tmp_path: Path, runs: Path) -> None:
    file = write(tmp_path, runs)
    (runs / FIRST / "equity.parquet").write_bytes(b"damaged")
    with backup_file.read(file, tmp_path / ".staging"):
        backup_file.install_runs(tmp_path / ".staging", runs)
    assert (runs / FIRST / "equity.parquet").read_bytes() == FIRST.encode()


def test_a_plain_dump_of_an_older_version_is_taken_as_it_is(tmp_path: Path) -> None:
    file = tmp_path / "old.dump"
    file.write_bytes(DUMP)
    with backup_file.read(file, tmp_path / "home" / ".staging") as dump:
        assert dump == file
    assert not (tmp_path / "home").exists()


@pytest.mark.parametrize(
    "name",
    [
        "runs/abc/run.json",
        "runs/Bars/run.json",
        "runs/bars/run.json",
        "runs/BARS/" + DIGEST + ".parquet",
        "runs/bars/" + DIGEST.upper() + ".parquet",
        "runs/bars/" + DIGEST,
        f"runs/{FIRST}.part/run.json",
        f"runs/{FIRST}x/run.json",
        f"runs/{FIRST}/..",
        f"runs/{FIRST}/run.json/x",
        f"runs//{FIRST}/run.json",
        f"./runs/{FIRST}/run.json",
        f"runs/{FIRST}\n/run.json",
        f"run/{FIRST}/run.json",
        "../evil",
        "/tmp/evil",
        "runs/../../evil",
        "runs/a/../../b",
        "runs/.a/b",
        "runs/a/.b",
        "runs/a/b/c",
        "evil",
        "runs/a",
    ],
)
def test_a_member_with_another_name_is_refused_and_written_nowhere(tmp_path: Path, name: str) -> None:
    file = tmp_path / "forged"
    with tarfile.open(file, "w") as archive:
        for member, content in (
            ("weaver-backup.json", b'{"format": 1}'),
            ("database.dump", DUMP),
            (name, b"x"),
            ("complete", b""),
        ):
            info = tarfile.TarInfo(member)
            info.size = len(content)
            archive.addfile(info, io.BytesIO(content))
    before = set(tmp_path.rglob("*"))
    with pytest.raises(BackupError, match="unexpected member"), backup_file.read(file, tmp_path / "home" / ".staging"):
        pass
    assert set(tmp_path.rglob("*")) == before


def forged(file: Path, *members: tarfile.TarInfo) -> Path:
    """A backup with these empty members."""
    with tarfile.open(file, "w") as archive:
        info = tarfile.TarInfo("weaver-backup.json")
        info.size = 13
        archive.addfile(info, io.BytesIO(b'{"format": 1}'))
        for member in (*members, tarfile.TarInfo("database.dump"), tarfile.TarInfo("complete")):
            archive.addfile(member)
    return file


@pytest.mark.parametrize(
    "kind", [tarfile.SYMTYPE, tarfile.LNKTYPE, tarfile.FIFOTYPE, tarfile.DIRTYPE, tarfile.CHRTYPE, tarfile.CONTTYPE]
)
def test_a_link_and_every_other_kind_of_member_is_refused(tmp_path: Path, kind: bytes) -> None:
    member = tarfile.TarInfo(f"runs/{FIRST}/run.json")
    member.type, member.linkname = kind, "/etc/passwd"
    file = forged(tmp_path / "forged", member)
    with pytest.raises(BackupError, match="unexpected member"), backup_file.read(file, tmp_path / ".staging"):
        pass


def test_a_sparse_file_that_would_fill_the_disk_is_refused(tmp_path: Path) -> None:
    member = tarfile.TarInfo(f"runs/{FIRST}/run.json")
    member.pax_headers = {
        "GNU.sparse.major": "0",
        "GNU.sparse.minor": "1",
        "GNU.sparse.size": str(1 << 27),
        "GNU.sparse.map": f"0,0,{1 << 27},0",
    }
    file = forged(tmp_path / "forged", member)
    with pytest.raises(BackupError, match="unexpected member"), backup_file.read(file, tmp_path / ".staging"):
        pass


def test_a_member_that_appears_twice_is_refused(tmp_path: Path) -> None:
    name = f"runs/{FIRST}/run.json"
    file = forged(tmp_path / "forged", tarfile.TarInfo(name), tarfile.TarInfo(name))
    with pytest.raises(BackupError, match="twice"), backup_file.read(file, tmp_path / ".staging"):
        pass


def test_bars_that_are_there_already_stay_as_they_are(tmp_path: Path, runs: Path) -> None:
    """Other runs use them, so a backup from other people must not replace them."""
    file = write(tmp_path, runs)
    bars = runs / "bars" / f"{DIGEST}.parquet"
    bars.write_bytes(b"mine")
    with backup_file.read(file, tmp_path / ".staging"):
        backup_file.install_runs(tmp_path / ".staging", runs)
    assert bars.read_bytes() == b"mine"


def test_restored_runs_are_for_their_owner_only(tmp_path: Path, runs: Path) -> None:
    file, new = write(tmp_path, runs), tmp_path / "new" / "runs"
    with backup_file.read(file, tmp_path / "new" / ".staging"):
        backup_file.install_runs(tmp_path / "new" / ".staging", new)
    assert {path.stat().st_mode & 0o077 for path in (new, *new.rglob("*"))} == {0}


@pytest.mark.parametrize("share", [0, 0.2, 0.5, 0.8])
def test_a_file_that_was_cut_off_is_refused(tmp_path: Path, runs: Path, share: float) -> None:
    file = write(tmp_path, runs)
    content = file.read_bytes()
    file.write_bytes(content[: int(content.rindex(b"complete") * share)])
    with pytest.raises(BackupError, match="is not a backup"), backup_file.read(file, tmp_path / ".staging"):
        pass


def test_a_newer_format_is_refused_with_the_version_that_wrote_it(tmp_path: Path) -> None:
    file = tmp_path / "newer"
    with tarfile.open(file, "w") as archive:
        facts = b'{"format": 2, "weaver": "9.9"}'
        info = tarfile.TarInfo("weaver-backup.json")
        info.size = len(facts)
        archive.addfile(info, io.BytesIO(facts))
    with pytest.raises(BackupError, match=r"Weaver 9\.9"), backup_file.read(file, tmp_path / ".staging"):
        pass
