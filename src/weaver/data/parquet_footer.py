"""Read the footer of a Parquet file: its columns, and how many rows and values its pages are to give.

Polars allocates memory for what a footer states and ends the process where it gets none, so the footer is checked first.
Only this part of the format is read: Thrift's compact protocol, and a few fields of `FileMetaData`
(https://github.com/apache/parquet-format). Guarantees that the work is bounded by the footer's size, which is bounded.
"""

from __future__ import annotations

import struct
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

__all__ = ["LARGEST_FOOTER", "FooterError", "ParquetFooter", "read_footer"]

LARGEST_FOOTER = 64 * 1024**2
"""Bytes of a footer: 6 columns in 100,000 row groups need about as many."""

_DEEPEST = 32  # structs in structs; the format itself needs six
_MAGIC = b"PAR1"
_I64_MOST = 2**63 - 1


class FooterError(ValueError):
    """A footer that is damaged, or too large."""


@dataclass(frozen=True, slots=True)
class ParquetFooter:
    """What a footer states.

    `columns` are the names at the top level, `nested` those among them that hold lists, maps or structs. `rows` counts the
    rows of all row groups, `values` the values of all columns that are not nested, and `unpacked` their bytes.
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
        return _footer_of(_Reader(content).struct(_FILE))
    except (IndexError, RecursionError, AttributeError, TypeError):  # it ends too early, or a field has another type
        raise FooterError("its footer is damaged") from None


def _footer_of(metadata: dict[int, Any]) -> ParquetFooter:
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
            unpacked += _count(facts.get(6, 0))
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


# Thrift's compact protocol. A layout names the fields to keep, with the layout of the structs in them; others are skipped.

_Layout = dict[int, Any]
_CHUNK: _Layout = {3: {3: None, 5: None, 6: None}}
_FILE: _Layout = {2: {3: None, 4: None, 5: None}, 3: None, 4: {1: _CHUNK, 3: None}}
_TRUE, _FALSE, _BYTE, _DOUBLE, _BINARY, _LIST, _SET, _MAP, _STRUCT = 1, 2, 3, 7, 8, 9, 10, 11, 12


class _Reader:
    """Reads values one after the other. Raises IndexError at the end of the content, and FooterError."""

    def __init__(self, content: bytes) -> None:
        self.content = content
        self.at = 0
        self.depth = 0

    def struct(self, layout: _Layout | None) -> dict[int, Any]:
        """Return the fields of a struct that `layout` names, by number; all are skipped without one."""
        self.depth += 1
        if self.depth > _DEEPEST:
            raise FooterError("its footer is nested too deeply")
        fields: dict[int, Any] = {}
        number = 0
        content = self.content
        while True:
            head = content[self.at]
            self.at += 1
            if not head:
                break
            number = number + (head >> 4) if head >> 4 else self.integer()
            kind = head & 0x0F
            if layout is not None and number in layout:
                fields[number] = kind == _TRUE if kind in (_TRUE, _FALSE) else self.value(kind, layout[number])
            elif kind not in (_TRUE, _FALSE):  # a boolean field has its value in its head
                self.value(kind, None)
        self.depth -= 1
        return fields

    def value(self, kind: int, layout: _Layout | None) -> Any:
        """Return a value of a field or a list."""
        if 4 <= kind <= 6:
            return self.integer()
        if kind == _BINARY:
            length = self.varint()
            start, self.at = self.at, self.at + length
            if self.at > len(self.content):
                raise IndexError
            return self.content[start : self.at]
        if kind == _STRUCT:
            return self.struct(layout)
        if kind in (_LIST, _SET):
            head = self.byte()
            count = head >> 4 if head >> 4 < 15 else self.varint()
            return self._items(count, head & 0x0F, layout)
        if kind == _MAP:
            count = self.varint()
            kinds = self.byte() if count else 0
            self._skip(count, lambda: (self.value(kinds >> 4, None), self.value(kinds & 0x0F, None)))
            return None
        if kind in (_TRUE, _FALSE, _BYTE):  # in a list a boolean is a byte
            return self.byte()
        if kind == _DOUBLE:
            self.at += 8
            return None
        raise FooterError(f"its footer has a value of the unknown kind {kind}")

    def _items(self, count: int, kind: int, layout: _Layout | None) -> Any:
        """Return the structs of a list; of other items, which are the parts of a column's path, the first one."""
        self._check(count)
        if layout is not None:
            return [self.value(kind, layout) for _ in range(count)]
        first = self.value(kind, None) if count else None
        self._skip(count - 1, lambda: self.value(kind, None))
        return first

    def _skip(self, count: int, read: Callable[[], object]) -> None:
        self._check(count)
        for _ in range(count):
            read()

    def _check(self, count: int) -> None:
        if count > len(self.content) - self.at:  # every item has a byte at least
            raise IndexError

    def byte(self) -> int:
        """Return the next byte."""
        self.at += 1
        return self.content[self.at - 1]

    def varint(self) -> int:
        """Return a whole number of seven bits a byte, the lowest first."""
        number = shift = 0
        while True:
            byte = self.byte()
            number |= (byte & 0x7F) << shift
            if byte < 0x80:
                return number
            shift += 7
            if shift > 63:
                raise FooterError("its footer has a number of more than 64 bits")

    def integer(self) -> int:
        """Return a signed number (zigzag)."""
        number = self.varint()
        return (number >> 1) ^ -(number & 1)
