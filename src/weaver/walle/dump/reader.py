"""Reader: the text that `pg_restore --data-only -f -` makes of a dump, read strictly. Nothing of it is executed.

A dump is a program: its author chooses every statement in it, also the COPY statement before the rows of a table. So this
reader accepts only what pg_dump writes around data: the fixed settings at the beginning, `COPY TABLE (COLUMNS) FROM stdin;`
with the rows of a known table, and `setval` of a known sequence. Guarantees that any other line raises BackupError, and that
memory stays constant, however large a row is. Does not check the rows themselves: the server does, when they are loaded.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import IO

from weaver.core.errors import BackupError

__all__ = ["DumpReader", "SequenceValue", "TableData"]

_BLOCK = 1 << 18  # bytes read at a time
_LONGEST_STATEMENT = 1 << 16  # bytes; the names of a table's columns are far shorter
_LARGEST_NUMBER = (1 << 63) - 1  # of a sequence
_SHOWN = 80  # characters of a statement that an error shows
_END_OF_DATA = b"\\.\n"
_NAME = rb'(?:[a-z_][a-z0-9_]*|"[a-zA-Z_][a-zA-Z0-9_ ]*")'  # a name with other characters is not one of Weaver's
_COPY = re.compile(rb"COPY (%b)\.(%b) \((%b(?:, %b)*)\) FROM stdin;\n" % (_NAME, _NAME, _NAME, _NAME))
_SETVAL = re.compile(rb"SELECT pg_catalog\.setval\('(%b)\.(%b)', (\d{1,19}), (true|false)\);\n" % (_NAME, _NAME))
_ENCODING = re.compile(rb"SET client_encoding = '([A-Za-z0-9_]+)';\n")
_PREAMBLE = re.compile(
    rb"(?:SET (?:statement_timeout|lock_timeout|idle_in_transaction_session_timeout|transaction_timeout) = 0;"
    rb"|SET standard_conforming_strings = (?:on|off);|SET escape_string_warning = off;"
    rb"|SELECT pg_catalog\.set_config\('search_path', '', false\);|SET check_function_bodies = false;"
    rb"|SET xmloption = content;|SET client_min_messages = warning;|SET row_security = off;"
    rb"|SET default_tablespace = '';|SET default_table_access_method = heap;"
    rb"|\\(?:un)?restrict [A-Za-z0-9]+)\n"
)


@dataclass(frozen=True, slots=True)
class SequenceValue:
    """The last number that the sequence `name` gave, or will give first where `is_called` is false."""

    schema: str
    name: str
    value: int
    is_called: bool


@dataclass(frozen=True, slots=True)
class TableData:
    """The rows of one table in the text format of COPY, in the encoding `encoding`.

    `rows` yields them in parts that may begin and end anywhere. It must be exhausted before the next section is read.
    """

    schema: str
    table: str
    columns: tuple[str, ...]
    encoding: str
    rows: Iterator[bytes]


class DumpReader:
    """The sections of a dump's data, in their order in the text that `source` gives."""

    def __init__(self, source: IO[bytes]) -> None:
        self._source = source
        self._ahead = b""  # read, but not used yet
        self._is_in_rows = False
        self._encoding = "UTF8"

    def __iter__(self) -> Iterator[TableData | SequenceValue]:
        """Yield the sections. Raises BackupError for a line that is none of those above, or data without an end."""
        while line := self._line():
            assert not self._is_in_rows, "the rows of a section were not read to their end"
            if line == b"\n" or line.startswith(b"--") or _PREAMBLE.fullmatch(line):
                continue
            if setting := _ENCODING.fullmatch(line):
                self._encoding = setting[1].decode()
            elif copy := _COPY.fullmatch(line):
                columns = tuple(_plain(name) for name in copy[3].split(b", "))
                self._is_in_rows = True
                yield TableData(_plain(copy[1]), _plain(copy[2]), columns, self._encoding, self._rows())
            elif (value := _SETVAL.fullmatch(line)) and int(value[3]) <= _LARGEST_NUMBER:
                yield SequenceValue(_plain(value[1]), _plain(value[2]), int(value[3]), value[4] == b"true")
            else:
                raise BackupError(f"it has a statement that is not data of a table: {_shown(line)}")

    def _line(self) -> bytes:
        """Return the next line with its end; an empty one at the end of the text."""
        while (end := self._ahead.find(b"\n")) < 0 and len(self._ahead) <= _LONGEST_STATEMENT:
            if not self._read():
                break
        length = len(self._ahead) if end < 0 else end + 1
        line, self._ahead = self._ahead[:length], self._ahead[length:]
        if line and (end < 0 or length > _LONGEST_STATEMENT):
            raise BackupError(f"it has a statement without an end: {_shown(line)}")
        return line

    def _rows(self) -> Iterator[bytes]:
        while len(self._ahead) < len(_END_OF_DATA) and self._read():
            pass
        if self._ahead.startswith(_END_OF_DATA):  # no rows
            self._ahead = self._ahead[len(_END_OF_DATA) :]
            self._is_in_rows = False
            return
        end = b"\n" + _END_OF_DATA
        while (position := self._ahead.find(end)) < 0:
            kept = len(self._ahead) - len(end)  # the end may have begun in these last bytes
            if kept > 0:
                part, self._ahead = self._ahead[:kept], self._ahead[kept:]
                yield part
            if not self._read():
                raise BackupError("the end of its data is missing")
        part, self._ahead = self._ahead[: position + 1], self._ahead[position + len(end) :]
        self._is_in_rows = False
        yield part

    def _read(self) -> bool:
        block = self._source.read(_BLOCK)
        self._ahead += block
        return bool(block)


def _plain(name: bytes) -> str:
    return name.decode("ascii").strip('"')


def _shown(line: bytes) -> str:
    text = line[: _SHOWN + 1].decode(errors="replace").rstrip("\n")
    return repr(text if len(text) <= _SHOWN else f"{text[:_SHOWN]}...")
