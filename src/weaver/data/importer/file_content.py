"""Read the bytes of a text file, unpacked where it is gzip, within the limits of a text file.

Guarantees that a file which exceeds a limit is refused before more than KEPT bytes of it are in memory, however small it is
on the disk. A larger file within the limits is therefore unpacked twice: once to be measured.
"""

from __future__ import annotations

import gzip
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO

from weaver.core.errors import DataError
from weaver.data.importer.text_format import check_is_text
from weaver.data.limits import LONGEST_LINE, check_text_bytes

__all__ = ["KEPT", "read_bytes"]

KEPT = 64 * 1024**2
"""Bytes that are kept while a file is measured."""

_CHUNK = 1024**2
_GZIP = b"\x1f\x8b"


def read_bytes(path: Path) -> bytes:
    """Return the bytes of a text file, decompressed where it is gzip.

    Raises DataError where it cannot be read, is empty, or exceeds MOST_TEXT_BYTES, LONGEST_LINE or the free memory.
    """
    try:
        data = _measure(path)
        if data is None:
            with _opened(path) as file:
                data = file.read()
    except (OSError, EOFError, zlib.error) as error:
        raise DataError(f"{path}: cannot be read: {error}") from None
    if not data:
        raise DataError(f"{path}: the file is empty (0 bytes), line 1 is missing: there are no bars in it")
    return data


def _measure(path: Path) -> bytes | None:
    """Return the bytes of a file of at most KEPT bytes, and None for a larger one. Raises DataError for its limits."""
    kept: list[bytes] = []
    size = checked = 0
    feeds, returns = _LineLength(b"\n"), _LineLength(b"\r")
    with _opened(path) as file:
        packed = path.stat().st_size if isinstance(file, gzip.GzipFile) else None
        if packed is None:
            check_text_bytes(path.stat().st_size, path)
        while chunk := file.read(_CHUNK):
            if not size:
                check_is_text(chunk, path)
            size += len(chunk)
            if packed is not None and size - checked > KEPT:
                check_text_bytes(size, path, packed=packed)
                checked = size
            feeds.add(chunk)
            returns.add(chunk)
            if min(feeds.longest, returns.longest) > LONGEST_LINE:
                raise _too_long(path)
            if size <= KEPT:
                kept.append(chunk)
            else:
                kept.clear()
    # A line ends with a carriage return only where the file has no line feed at all.
    if (feeds if feeds.count else returns).longest > LONGEST_LINE:
        raise _too_long(path)
    check_text_bytes(size, path, packed=packed)
    return b"".join(kept) if size <= KEPT else None


class _LineLength:
    """The length of the longest line of a file that is read in chunks of at most LONGEST_LINE bytes."""

    def __init__(self, end: bytes) -> None:
        self.end = end
        self.count = 0
        self.longest = 0
        self._open = 0  # bytes of the line that the last chunk did not end

    def add(self, chunk: bytes) -> None:
        """Count the next chunk. A line within one chunk is not longer than the limit, so only its first end matters."""
        first = chunk.find(self.end)
        if first < 0:
            self._open += len(chunk)
        else:
            self.count += 1
            self.longest = max(self.longest, self._open + first)
            self._open = len(chunk) - chunk.rfind(self.end) - 1
        self.longest = max(self.longest, self._open)


def _too_long(path: Path) -> DataError:
    return DataError(
        f"{path}: has a line of more than {LONGEST_LINE:,} bytes, so it is not a file with a bar on each line"
    )


@contextmanager
def _opened(path: Path) -> Iterator[IO[bytes]]:
    with path.open("rb") as file:
        is_packed = file.read(2) == _GZIP
        file.seek(0)
        if not is_packed:
            yield file
            return
        with gzip.GzipFile(fileobj=file) as unpacked:
            yield unpacked  # type: ignore[misc]
