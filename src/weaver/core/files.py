"""Files that are written whole or not at all.

New content goes to a hidden temporary file in the same folder, which then replaces the target in one step. A reader sees the
old file or the new one, never a part. After an error, including a full disk, the old file is unchanged and the temporary
file is removed. A killed process may leave a temporary file behind. What is not promised: that the content survives a power
failure, unless `durable`.
"""

from __future__ import annotations

import itertools
import os
import stat
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

__all__ = ["make_private_folder", "new_private_file", "replacing", "sync_folder", "write_whole"]

_numbers = itertools.count()
# The name of a file may have 255 bytes; the temporary one repeats the first characters to be recognised.
_NAME_KEPT = 40


@contextmanager
def replacing(
    path: Path,
    *,
    mode: int | None = None,
    durable: bool = False,
    locked: bool = False,
    at_step: Callable[[str], None] = lambda _: None,
) -> Iterator[Path]:
    """Yield the path of an empty temporary file for the block to fill; at its end that file replaces `path`.

    A link at `path` stays a link. `mode` is the permissions of the new file, where the file system has permissions; the
    default is those of the old file, if any. `durable` returns once the content is on the disk. `locked` states that the
    caller excludes other writers: then a temporary file left by a killed process is reused. `at_step` is called after
    "written", "flushed" and "replaced", for tests. Raises OSError with `path` as its file name; what the block raises passes
    through.
    """
    target = path.resolve()
    name = f".{target.name}.new" if locked else f".{target.name[:_NAME_KEPT]}.{os.getpid()}.{next(_numbers)}.part"
    temporary = target.with_name(name)
    try:
        _create(temporary, mode if mode is not None else _mode_of(target))
        yield temporary
        at_step("written")
        if durable:
            _sync(temporary)
        at_step("flushed")
        temporary.replace(target)
    except OSError as error:
        temporary.unlink(missing_ok=True)
        if error.filename in (str(temporary), None) and error.errno is not None:
            raise OSError(error.errno, error.strerror, str(path)) from None
        raise
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise
    at_step("replaced")
    if durable:
        sync_folder(target.parent)


def write_whole(
    path: Path, content: str | bytes, *, mode: int | None = None, durable: bool = False, locked: bool = False
) -> None:
    """Write `content` (text as UTF-8) to `path`, whole or not at all; see `replacing` for the options.

    A target that cannot be replaced is written to directly: a device, a pipe, or a file in a folder without permission.
    """
    data = content.encode() if isinstance(content, str) else content
    target = path.resolve()
    if target.exists() and not (target.is_file() and os.access(target.parent, os.W_OK)):
        target.write_bytes(data)
        return
    with replacing(path, mode=mode, durable=durable, locked=locked) as temporary:
        temporary.write_bytes(data)


def make_private_folder(folder: Path) -> None:
    """Make `folder` and its missing parents, all with mode 0700 whatever the umask. Existing ones stay as they are."""
    missing = []
    while not folder.exists():
        missing.append(folder)
        folder = folder.parent
    for each in reversed(missing):
        each.mkdir(mode=0o700, exist_ok=True)


def new_private_file(path: Path) -> Path:
    """Create an empty file with mode 0600 whatever the umask, and return `path`. Raises FileExistsError, also for a link."""
    os.close(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600))
    return path


def sync_folder(folder: Path) -> None:
    """Return once the names in `folder` are on the disk. Does nothing where the system cannot open a folder."""
    if os.name != "posix":
        return
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _create(temporary: Path, mode: int | None) -> None:
    temporary.unlink(missing_ok=True)
    descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o666 if mode is None else 0o600)
    try:
        if mode is not None and hasattr(os, "fchmod") and stat.S_IMODE(os.fstat(descriptor).st_mode) != mode:
            with suppress(PermissionError):  # a file system without permissions, such as FAT
                os.fchmod(descriptor, mode)
    finally:
        os.close(descriptor)


def _sync(temporary: Path) -> None:
    with temporary.open("rb+") as file:
        os.fsync(file.fileno())


def _mode_of(target: Path) -> int | None:
    try:
        status = target.stat()
    except OSError:
        return None
    return stat.S_IMODE(status.st_mode) if stat.S_ISREG(status.st_mode) else None
