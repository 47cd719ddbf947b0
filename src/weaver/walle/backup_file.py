"""BackupFile: one tar file with the dump of the database and the files of its recorded runs.

    weaver-backup.json          {"format": 1, "weaver": "0.1.0"}
    database.dump               pg_dump's custom format
    runs/ID/...                 equity, fills, orders, plots and facts of a run
    runs/bars/DIGEST.parquet    the bars that these runs share
    complete                    empty; a backup without it was cut off

Backups of Weaver 0.1.0 are the dump alone; `read` accepts both. Guarantees that a run is stored with all its files or not
at all, even while it is being deleted, and that reading writes only below the given folder, and no more than the backup's
size: other names, links and sparse files are refused.
"""

from __future__ import annotations

import contextlib
import io
import json
import os
import re
import shutil
import tarfile
from collections.abc import Collection, Iterator
from pathlib import Path
from typing import IO

from weaver.core.errors import BackupError
from weaver.core.files import make_private_folder
from weaver.core.run_folders import RunFolders, is_digest
from weaver.core.run_id import is_run_id

__all__ = ["install_runs", "read", "write"]

_FACTS = "weaver-backup.json"
_DUMP = "database.dump"
_END = "complete"
_FORMAT = 1
_DUMP_MAGIC = b"PGDMP"
_FILE = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]{0,120}")
_LARGEST_FACTS = 1 << 16


def write(target: Path, *, dump: Path, runs_folder: Path, run_ids: Collection[str], version: str) -> int:
    """Write a backup to `target` and return the number of runs whose files are in it.

    A run of `run_ids` without complete files in `runs_folder` is left out: it was recorded on another machine, or deleted.
    So is an id that is not one of Weaver's, for which no file is read.
    """
    stored = 0
    folders = RunFolders(runs_folder)
    digests: set[str] = set()
    with tarfile.open(target, "w") as archive:
        facts = json.dumps({"format": _FORMAT, "weaver": version}).encode()
        member = tarfile.TarInfo(_FACTS)
        member.size, member.mode = len(facts), 0o600
        archive.addfile(member, io.BytesIO(facts))
        archive.add(dump, _DUMP, filter=_anonymous)
        for run_id in sorted(filter(is_run_id, run_ids)):
            with contextlib.ExitStack() as opened:
                files = _open_files(folders.folder(run_id), opened)
                if "run.json" not in files:
                    continue
                digests |= _digests(files["run.json"])
                for name, file in sorted(files.items()):
                    _add(archive, f"runs/{run_id}/{name}", file)
                stored += 1
        for digest in sorted(digests):
            with (
                contextlib.suppress(FileNotFoundError),
                open(folders.bars(digest), "rb", opener=_no_link) as file,
            ):
                _add(archive, f"runs/bars/{digest}.parquet", file)
        archive.addfile(tarfile.TarInfo(_END))
    return stored


def _open_files(folder: Path, opened: contextlib.ExitStack) -> dict[str, IO[bytes]]:
    """Open every file of a run before the first is read, so that a deletion meanwhile takes none of them away."""
    files: dict[str, IO[bytes]] = {}
    with contextlib.suppress(FileNotFoundError, NotADirectoryError):
        for path in folder.iterdir():
            if path.is_file() and not path.is_symlink() and _FILE.fullmatch(path.name):
                file = open(path, "rb", opener=_no_link)  # noqa: SIM115 - the stack closes it
                files[path.name] = opened.enter_context(file)
        return files
    return {}


def _digests(facts: IO[bytes]) -> set[str]:
    """Return the digests of the bars that a run's facts refer to; none where the facts cannot be read."""
    try:
        series = json.loads(facts.read())["series"]
        return {each["digest"] for each in series if is_digest(each["digest"])}
    except (ValueError, LookupError, TypeError):
        return set()
    finally:
        facts.seek(0)


def _no_link(path: str, flags: int) -> int:
    return os.open(path, flags | getattr(os, "O_NOFOLLOW", 0))


def _add(archive: tarfile.TarFile, name: str, file: IO[bytes]) -> None:
    member = _anonymous(archive.gettarinfo(arcname=name, fileobj=file))
    archive.addfile(member, file)


def _anonymous(member: tarfile.TarInfo) -> tarfile.TarInfo:
    member.uid = member.gid = 0
    member.uname = member.gname = ""
    member.mode = 0o600
    return member


@contextlib.contextmanager
def read(file: Path, staging: Path) -> Iterator[Path]:
    """Yield the path of the dump in the backup `file`, and put the files of its runs below `staging`, which is new.

    A plain dump is yielded as it is, and `staging` is not created. Raises BackupError where the file is no backup.
    """
    try:
        with file.open("rb") as opened:
            plain = opened.read(len(_DUMP_MAGIC)) == _DUMP_MAGIC
    except OSError as error:
        raise BackupError(f"{file}: {error.strerror or error}") from None
    if plain:
        yield file
        return
    home_is_new = not staging.parent.exists()
    try:
        make_private_folder(staging.parent)
        staging.mkdir(mode=0o700)
        try:
            _extract(file, staging)
        except (tarfile.TarError, EOFError, ValueError) as error:
            raise BackupError(
                f"{file} is not a backup that `weaver db backup` wrote, or a part of it is missing: {error}"
            ) from None
        yield staging / _DUMP
    finally:
        shutil.rmtree(staging, ignore_errors=True)
        if home_is_new:
            with contextlib.suppress(OSError):  # it has the files of runs now
                staging.parent.rmdir()


def _extract(file: Path, staging: Path) -> None:
    with tarfile.open(file, "r:") as archive:
        first = archive.next()
        content = archive.extractfile(first) if first is not None and first.isreg() and first.name == _FACTS else None
        if content is None:
            raise ValueError(f"it does not begin with {_FACTS}")
        facts = json.loads(content.read(_LARGEST_FACTS))
        if not isinstance(facts, dict) or facts.get("format") != _FORMAT:
            raise BackupError(f"{file} was written by Weaver {facts.get('weaver', '?')}, a newer version; use that one")
        last = ""
        for member in archive:
            last = member.name
            if last in (_FACTS, _END):
                continue
            source = archive.extractfile(member) if _is_plain(member) and _is_expected(member.name) else None
            if source is None:
                raise ValueError(f"it has an unexpected member {member.name[:200]!r}")
            target = staging / member.name
            make_private_folder(target.parent)
            try:
                with open(target, "xb", opener=_private) as copy:
                    shutil.copyfileobj(source, copy)
            except FileExistsError:
                raise ValueError(f"it has the member {member.name} twice") from None
            if target.stat().st_size != member.size:
                raise ValueError(f"the end of {member.name} is missing")
    if last != _END or not (staging / _DUMP).exists():
        raise ValueError("its end is missing")


def _is_plain(member: tarfile.TarInfo) -> bool:
    """Return whether the member is a file whose bytes are all in the backup: a sparse one could fill the disk."""
    return member.type in (tarfile.REGTYPE, tarfile.AREGTYPE) and not member.issparse()


def _is_expected(name: str) -> bool:
    """Return whether `name` is the dump, a file of a run with an id that Weaver makes, or bars with their digest."""
    match name.split("/"):
        case [only]:
            return only == _DUMP
        case ["runs", "bars", file]:
            return file.endswith(".parquet") and is_digest(file.removesuffix(".parquet"))
        case ["runs", run_id, file]:
            return is_run_id(run_id) and _FILE.fullmatch(file) is not None
    return False


def _private(path: str, flags: int) -> int:
    return os.open(path, flags, 0o600)


def install_runs(staging: Path, runs_folder: Path) -> int:
    """Move the runs that `read` put below `staging` to `runs_folder`, and return their number. Existing ones are replaced.

    A run is there whole or not at all; its bars come first. Existing bars stay: the name is a digest of their content, and
    other runs use them. Raises DataError where the folder of a run, or of the bars, is a link.
    """
    source, target = RunFolders(staging / "runs"), RunFolders(runs_folder)
    if not source.root.is_dir():
        return 0
    make_private_folder(target.bars_folder)
    for bars in sorted(source.bars_folder.glob("*.parquet")):
        if not target.bars(bars.stem).exists():
            bars.replace(target.bars(bars.stem))
    run_ids = list(source.run_ids())
    for run_id in run_ids:
        folder = target.folder(run_id)
        shutil.rmtree(folder, ignore_errors=True)
        source.folder(run_id).replace(folder)
    return len(run_ids)
