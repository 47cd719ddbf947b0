"""RunFolders: the only code that makes a path from a run id, or from a digest of bars.

    ROOT/20240301T093000123456Z-7k2m9q4x/         the files of one run
    ROOT/20240301T093000123456Z-7k2m9q4x.part/    the same while they are being written
    ROOT/bars/DIGEST.parquet                      bars that runs share

Guarantees that every path is directly below ROOT and that no link there is followed, for ids and digests from any source: a
shared database, a backup, a file. ROOT itself may be a link, for a folder on another disk.
"""

from __future__ import annotations

import os
import re
import stat
from collections.abc import Iterator
from pathlib import Path

from weaver.core.errors import DataError
from weaver.core.run_id import check_run_id, is_run_id

__all__ = ["RunFolders", "is_digest"]

_BARS = "bars"
_DIGEST = re.compile("[0-9a-f]{32}")
_FILE = re.compile(r"[a-z]+(-[0-9]{1,9})?\.(json|parquet)")


def is_digest(text: object) -> bool:
    """Return whether `text` is a digest of bars, as `run_files.digest_of` makes them."""
    return isinstance(text, str) and _DIGEST.fullmatch(text) is not None


class RunFolders:
    """The folders of recorded runs below `root`, which need not exist."""

    def __init__(self, root: Path) -> None:
        self.root = root

    def folder(self, run_id: str) -> Path:
        """Return the folder of a run, whether or not it exists. Raises InvalidRunId, or DataError where it is a link."""
        return self._below(self.root, check_run_id(run_id))

    def part(self, run_id: str) -> Path:
        """Return the folder in which the files of a run are written before they are complete."""
        return self._below(self.root, f"{check_run_id(run_id)}.part")

    def file(self, run_id: str, name: object) -> Path:
        """Return the path of a run's file, such as equity.parquet. Raises DataError for any other name, and for a link."""
        if not isinstance(name, str) or not _FILE.fullmatch(name):
            raise DataError(f"{str(name)[:80]!r} is not the name of a file of run {check_run_id(run_id)}")
        return self._below(self.folder(run_id), name)

    @property
    def bars_folder(self) -> Path:
        """The folder of the bars. Raises DataError where it is a link."""
        return self._below(self.root, _BARS)

    def bars(self, digest: object) -> Path:
        """Return the file of the bars with this digest. Raises DataError where it is not a digest, or the file is a link."""
        if not is_digest(digest):
            raise DataError(f"{str(digest)[:80]!r} is not a digest of bars (32 hex digits), so no file is read for it")
        return self._below(self.bars_folder, f"{digest}.parquet")

    def refuse_links(self, run_id: str) -> None:
        """Raise DataError where a folder that the files of this run are in, or its bars, is a link."""
        for name in (check_run_id(run_id), f"{run_id}.part", _BARS):
            self._below(self.root, name)

    def run_ids(self, having: str = "") -> Iterator[str]:
        """Yield the ids of the runs that have a folder, in order; entries with other names and links are left out.

        With `having`, only those that have a file of this name.
        """
        try:
            with os.scandir(self.root) as entries:
                run_ids = sorted(
                    each.name for each in entries if is_run_id(each.name) and each.is_dir(follow_symlinks=False)
                )
        except (FileNotFoundError, NotADirectoryError):
            return
        for run_id in run_ids:
            if not having or os.path.isfile(f"{self.root}/{run_id}/{having}"):  # thousands of them: no Path for each
                yield run_id

    @staticmethod
    def _below(folder: Path, name: str) -> Path:
        path = folder / name
        if path.parent != folder or name == "..":  # a fault in this file: the callers have checked the name
            raise DataError(f"{name!r} is not the name of one entry of {folder}")
        try:  # not Path.is_symlink, which Python 3.13 lets return False where the folder cannot be entered
            mode = os.lstat(path).st_mode
        except (FileNotFoundError, NotADirectoryError):
            return path
        if stat.S_ISLNK(mode):
            raise DataError(f"{path} is a link, which is not followed for the files of runs; replace it by its target")
        return path
