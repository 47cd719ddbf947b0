"""Read values of Thrift's compact protocol, in which the footer of a Parquet file is written.

Only the fields of a layout are kept. Guarantees that the work is bounded by the size of the content, whatever counts it
states, and the depth by DEEPEST.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

__all__ = ["DEEPEST", "Layout", "ThriftError", "ThriftReader"]

DEEPEST = 32
"""Structs in structs. The format of Parquet needs six."""

Layout = dict[int, Any]
"""The numbers of the fields to keep, each with the layout of the structs in it, or None for a plain value."""

_TRUE, _FALSE, _BYTE, _DOUBLE, _BINARY, _LIST, _SET, _MAP, _STRUCT = 1, 2, 3, 7, 8, 9, 10, 11, 12


class ThriftError(ValueError):
    """The content is not of this protocol; the message completes "its footer ..."."""


class ThriftReader:
    """Reads values one after the other. Raises IndexError at the end of the content, and ThriftError."""

    def __init__(self, content: bytes) -> None:
        self.content = content
        self.at = 0
        self.depth = 0

    def struct(self, layout: Layout | None) -> dict[int, Any]:
        """Return the fields of a struct that `layout` names, by number; all are skipped without one."""
        self.depth += 1
        if self.depth > DEEPEST:
            raise ThriftError("is nested too deeply")
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

    def value(self, kind: int, layout: Layout | None) -> Any:
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
        raise ThriftError(f"has a value of the unknown kind {kind}")

    def _items(self, count: int, kind: int, layout: Layout | None) -> Any:
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
                raise ThriftError("has a number of more than 64 bits")

    def integer(self) -> int:
        """Return a signed number (zigzag)."""
        number = self.varint()
        return (number >> 1) ^ -(number & 1)
