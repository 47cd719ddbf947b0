"""Read the footer of a Parquet file and the headers of its pages: how many rows, values and bytes it gives when unpacked.

Polars allocates memory for what these state and ends the process where it gets none, so they are checked first. Only a few
fields of `FileMetaData` and `PageHeader` are read (https://github.com/apache/parquet-format). Guarantees that the work is
bounded by LARGEST_FOOTER and MOST_PAGES.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

from weaver.data.thrift_reader import Layout, ThriftError, ThriftReader

__all__ = ["LARGEST_FOOTER", "MOST_PAGES", "FooterError", "ParquetFooter", "read_footer"]

LARGEST_FOOTER = 64 * 1024**2
"""Bytes of a footer: 6 columns in 100,000 row groups need about as many."""

MOST_PAGES = 10_000_000
"""Pages of a file, each of which has a header: 10^8 rows of six columns have about 5,000."""

_LONGEST_HEADER = 1024**2  # bytes of the header of a page, which may hold its smallest and largest text
_MAGIC = b"PAR1"
_I64_MOST = 2**63 - 1


class FooterError(ValueError):
    """A footer or the header of a page is damaged, or too large."""


@dataclass(frozen=True, slots=True)
class ParquetFooter:
    """The numbers in a footer.

    `columns` are the names at the top level, `nested` those among them that hold lists, maps or structs. `rows` counts the
    rows of all row groups, `values` the values of all columns that are not nested, and `unpacked` the bytes of their pages,
    by the footer or by the headers of the pages, whichever is more.
    """

    columns: tuple[str, ...]
    nested: frozenset[str]
    rows: int
    values: int
    unpacked: int


def read_footer(path: Path) -> ParquetFooter:
    """Return the footer of a Parquet file. Raises FooterError for a damaged one, and OSError."""
    with path.open("rb") as file:
        size = file.seek(0, 2)
        if size < 12:
            raise FooterError("the file is too short")
        file.seek(size - 8)
        tail = file.read(8)
        length = struct.unpack("<I", tail[:4])[0]
        if tail[4:] != _MAGIC or length > size - 12:
            raise FooterError("its end is missing, as after a download that was cut off")
        if length > LARGEST_FOOTER:
            raise FooterError(f"its footer has {length:,} bytes, more than {LARGEST_FOOTER:,}")
        file.seek(size - 8 - length)
        content = file.read(length)
        try:
            return _footer_of(ThriftReader(content).struct(_FILE), _Pages(file, size - 8 - length))
        except (
            LookupError,
            RecursionError,
            AttributeError,
            TypeError,
        ):  # it ends early, or has other fields
            raise FooterError("its footer is damaged") from None
        except ThriftError as error:
            raise FooterError(f"its footer {error}") from None


class _Pages:
    """The pages of an open file, before its footer at `end`."""

    def __init__(self, file: IO[bytes], end: int) -> None:
        self._file = file
        self._end = end
        self._count = 0
        self._measured: dict[tuple[int, int], int] = {}  # row groups may share their pages

    def unpacked(self, facts: dict[int, Any]) -> int:
        """Return the bytes to which the pages of a column of a row group unpack."""
        first = min((offset for offset in (facts.get(11, 0), facts.get(9, 0)) if offset > 0), default=0)
        place = (first, first + _count(facts.get(7, 0)))
        if place not in self._measured:
            self._measured[place] = self._measure(*place)
        return self._measured[place]

    def _measure(self, at: int, end: int) -> int:
        if end > self._end:
            raise FooterError("a column ends after the file")
        total = 0
        while at < end:
            self._count += 1
            if self._count > MOST_PAGES:
                raise FooterError(f"it has more than {MOST_PAGES:,} pages")
            header, length = self._header(at)
            total += _count(header[2])
            at += length + _count(header[3])
        return total

    def _header(self, at: int) -> tuple[dict[int, Any], int]:
        for size in (256, _LONGEST_HEADER):
            self._file.seek(at)
            reader = ThriftReader(self._file.read(size))
            try:
                return reader.struct(_PAGE), reader.at
            except IndexError:  # the header is longer than what was read
                continue
            except ThriftError:
                break
        raise FooterError("the header of a page is damaged")


def _footer_of(metadata: dict[int, Any], pages: _Pages) -> ParquetFooter:
    elements = metadata.get(2) or []
    columns, nested = [], set()
    at = 1  # the first element is the root
    while at < len(elements):
        name = _name(elements[at].get(4, b""))
        columns.append(name)
        after = _after_subtree(elements, at)
        if after > at + 1 or elements[at].get(3) == 2:  # children, or repeated values
            nested.add(name)
        at = after
    rows = values = unpacked = 0
    for group in metadata.get(4) or []:
        group_rows = _count(group.get(3, 0))
        rows += group_rows
        for chunk in group.get(1) or []:
            facts = chunk.get(3) or {}
            if _name(facts.get(3) or b"") in nested:
                continue
            chunk_values = _count(facts.get(5, 0))
            if chunk_values != group_rows:
                raise FooterError(f"a column has {chunk_values:,} values in a row group of {group_rows:,} rows")
            values += chunk_values
            unpacked += max(_count(facts.get(6, 0)), pages.unpacked(facts))
    stated = _count(metadata.get(3, 0))
    if rows != stated:
        raise FooterError(f"its footer states {stated:,} rows, and its row groups {rows:,}")
    return ParquetFooter(tuple(columns), frozenset(nested), rows, values, unpacked)


def _after_subtree(elements: list[dict[int, Any]], at: int) -> int:
    """Return the place after the element at `at` and all its children."""
    left = 1
    while left:
        if at >= len(elements):
            raise FooterError("its schema is damaged")
        children = elements[at].get(5) or 0
        if not 0 <= children <= len(elements):
            raise FooterError("its schema is damaged")
        left += children - 1
        at += 1
    return at


def _name(content: bytes) -> str:
    return content.decode("utf-8", "replace")


def _count(number: Any) -> int:
    if not isinstance(number, int) or not 0 <= number <= _I64_MOST:
        raise FooterError(f"its footer states {number} rows or bytes")
    return number


# The fields that are read, by number.
_CHUNK: Layout = {3: {3: None, 5: None, 6: None, 7: None, 9: None, 11: None}}
_FILE: Layout = {2: {3: None, 4: None, 5: None}, 3: None, 4: {1: _CHUNK, 3: None}}
_PAGE: Layout = {2: None, 3: None}
