"""Reading: a file's lines as columns of text (or a Parquet file's typed columns), each row with its line number.

Guarantees that every line of the file is either a row, the header, a note or a finding. It does not judge values.
"""

from __future__ import annotations

import csv
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import polars as pl

from weaver.core.bars import Instants
from weaver.core.errors import DataError
from weaver.data.importer.findings import FileFinding
from weaver.data.importer.text_format import decode, guess_names, known_header, read_bytes, sniff

__all__ = ["RawTable", "check_file", "is_parquet", "read_table"]

_SEPARATOR_NAMES = {",": "comma", ";": "semicolon", "\t": "tab", "|": "bar"}


@dataclass(frozen=True, slots=True)
class RawTable:
    """The columns of one file as they stand there. `lines` numbers the rows: lines from 1, or Parquet rows from 0."""

    file: str
    unit: str
    names: list[str]
    columns: list[pl.Series]
    lines: Instants
    total: int
    findings: tuple[FileFinding, ...] = ()
    notes: tuple[str, ...] = ()
    separator: str | None = None


def is_parquet(path: Path) -> bool:
    """True where the file begins like Parquet, whatever it is called."""
    try:
        with path.open("rb") as file:
            return file.read(4) == b"PAR1"
    except OSError as error:
        raise DataError(f"{path}: cannot be read: {error.strerror or error}") from None


def check_file(path: Path) -> None:
    """Raises DataError where there is no file at `path`, and says what there is instead."""
    if path.is_dir():
        raise DataError(f"{path}: is a folder; name a file")
    if path.exists() and not path.is_file():  # a shell's <(command), /dev/stdin: they can be read only once
        raise DataError(f"{path}: is a pipe or a device; write its bars to a file first, and name that")
    if not path.is_file():
        raise DataError(f"{path}: there is no such file")


def read_table(path: Path, *, columns: Sequence[str] | None = None) -> RawTable:
    """The columns of a CSV or Parquet file. `columns` names them in order, in place of a header or of guessing.

    Raises DataError where the file cannot be read at all: gone, empty, binary, no five columns, no bars.
    """
    check_file(path)
    return _parquet(path, columns) if is_parquet(path) else _text(path, columns)


def _parquet(path: Path, columns: Sequence[str] | None) -> RawTable:
    try:
        frame = pl.read_parquet(path, glob=False)
    except (pl.exceptions.PolarsError, OSError) as error:
        raise DataError(f"{path}: cannot be read as Parquet: {error}") from None
    if not frame.height:
        raise DataError(f"{path}: holds no bars, only the columns {', '.join(frame.columns)}")
    return RawTable(
        file=str(path),
        unit="row",
        names=_names(columns, frame.columns, path),
        columns=frame.get_columns(),
        lines=np.arange(frame.height, dtype=np.int64),
        total=frame.height,
    )


def _text(path: Path, columns: Sequence[str] | None) -> RawTable:
    text, encoding = decode(read_bytes(path), path)
    text = text.replace("\r\n", "\n")
    if "\n" not in text:
        text = text.replace("\r", "\n")
    cut = not text.endswith("\n")
    all_lines = pl.Series("line", [text.rstrip("\n ")]).str.split("\n").explode()
    head = all_lines.head(200).to_list()
    dialect = sniff(head, path)
    notes = [] if encoding == "utf-8" else [f"encoding {encoding}"]
    if dialect.separator != ",":
        notes.append(f"separated by {_SEPARATOR_NAMES[dialect.separator]}")
    if dialect.comments:
        blank = sum(not line.strip() for line in head[: dialect.comments])
        counts = {"comment": dialect.comments - blank, "empty": blank}
        notes += [f"{n} {what} line{'s' if n > 1 else ''} before the first bar" for what, n in counts.items() if n]
    first = _split(head[dialect.comments], dialect.separator)
    skip = dialect.comments + dialect.header
    names = _names(columns, known_header(first) if dialect.header else None, path, first)
    if not dialect.header:
        notes.append("no header: the columns are taken for " + ", ".join(names))
    if all_lines.len() <= skip:
        raise DataError(f"{path}: line {skip} {head[skip - 1]!r} is the header, and no bars follow it")
    body = all_lines.slice(skip)
    numbers = np.arange(skip + 1, skip + 1 + body.len(), dtype=np.int64)
    if cut:
        notes.append("the last line has no line end; if a download was cut off there, its last value may be short")
    return _rows(path, body, numbers, dialect.separator, names, notes, ends_cut=cut)


def _rows(
    path: Path,
    body: pl.Series,
    numbers: Instants,
    separator: str,
    names: list[str],
    notes: list[str],
    *,
    ends_cut: bool,
) -> RawTable:
    count = len(names)
    found = (body.str.count_matches(separator, literal=True) + 1).to_numpy().astype(np.int64)
    quoted = body.str.contains('"', literal=True).to_numpy()
    stripped = body.str.strip_chars()
    blank = (stripped == "").to_numpy()
    comment = stripped.str.starts_with("#").to_numpy()
    plain = (found == count) & ~quoted & ~blank & ~comment
    rescued: dict[int, list[str]] = {}
    ragged = np.flatnonzero(~plain & ~blank & ~comment)
    if quoted.any():
        for row in np.flatnonzero(quoted & ~blank & ~comment):
            fields = _split(body[int(row)], separator)
            found[row] = len(fields)
            if len(fields) == count:
                rescued[int(row)] = fields
        ragged = np.array([row for row in ragged if int(row) not in rescued], dtype=np.int64)
    good = np.sort(np.concatenate([np.flatnonzero(plain), np.array(list(rescued), dtype=np.int64)]))
    columns = _columns(body, good, rescued, separator, count)
    last = body.len() - 1

    def describe_ragged(k: int) -> str:
        row = int(ragged[k])
        hint = ", and the file ends there: a download that was cut off?" if row == last and ends_cut else ""
        return f"{body[row][:80]!r} has {found[row]} fields instead of {count}{hint}"

    blanks, comments = np.flatnonzero(blank), np.flatnonzero(comment)
    findings = (
        FileFinding("line", numbers[ragged], describe_ragged),
        FileFinding("line", numbers[blanks], lambda k: "'' is an empty line in place of a bar"),
        FileFinding(
            "line", numbers[comments], lambda k: f"{body[int(comments[k])][:80]!r} is a comment in place of a bar"
        ),
    )
    return RawTable(
        file=str(path),
        unit="line",
        names=names,
        columns=columns,
        lines=numbers[good],
        total=int(numbers[-1]),
        findings=tuple(finding for finding in findings if len(finding.lines)),
        notes=tuple(notes),
        separator=separator,
    )


def _columns(
    body: pl.Series, good: Instants, rescued: dict[int, list[str]], separator: str, count: int
) -> list[pl.Series]:
    kept = body if len(good) == body.len() else body.gather(good)
    split = kept.str.split_exact(separator, count - 1).struct.unnest()
    columns = [split.to_series(index).str.strip_chars() for index in range(count)]
    if rescued:
        places = [int(place) for place in np.searchsorted(good, list(rescued))]
        columns = [
            column.scatter(places, [fields[index].strip() for fields in rescued.values()])
            for index, column in enumerate(columns)
        ]
    return columns


def _names(given: Sequence[str] | None, header: list[str] | None, path: Path, first: Sequence[str] = ()) -> list[str]:
    if given is not None:
        count = len(header) if header is not None else len(first)
        if len(given) != count:
            raise DataError(f"{path}: --columns names {len(given)} columns ({', '.join(given)}), the file has {count}")
        return list(given)
    return header if header is not None else guess_names(first, path)


def _split(line: str, separator: str) -> list[str]:
    return next(csv.reader([line], delimiter=separator), [])
