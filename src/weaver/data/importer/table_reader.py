"""Read a file's lines as columns of text (or a Parquet file's typed columns), each row with its line number.

Guarantees that every line of the file is a row, part of the header, a note or a finding. It does not check values.
"""

from __future__ import annotations

import shlex
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import polars as pl

from weaver.core.bars import Instants
from weaver.core.errors import DataError
from weaver.core.suggest import listed
from weaver.core.text import brief, cut, cut_middle
from weaver.data.columns import PRICES, meaning_of
from weaver.data.importer.file_content import read_bytes
from weaver.data.importer.findings import FileFinding, FindingCode
from weaver.data.importer.text_format import (
    decode,
    detect_format,
    guess_names,
    known_header,
    split_line,
    stacked_header,
)
from weaver.data.limits import check_columns
from weaver.data.parquet_file import read_parquet

__all__ = ["RawTable", "check_file", "columns_option", "is_parquet", "read_table"]

_LONGEST_OPTION = 2_000  # characters of the option --columns in a message
_SEPARATOR_NAMES = {",": "comma", ";": "semicolon", "\t": "tab", "|": "bar"}


@dataclass(frozen=True, slots=True)
class RawTable:
    """The columns of one file, unchanged. `lines` numbers the rows: lines from 1, or Parquet rows from 0.

    `symbol` is the one that a header of several lines names.
    """

    file: str
    unit: str
    names: list[str]
    columns: list[pl.Series]
    lines: Instants
    total: int
    findings: tuple[FileFinding, ...] = ()
    notes: tuple[str, ...] = ()
    separator: str | None = None
    symbol: str | None = None


def is_parquet(path: Path) -> bool:
    """Return whether the file begins like Parquet, whatever its name."""
    try:
        with path.open("rb") as file:
            return file.read(4) == b"PAR1"
    except OSError as error:
        raise DataError(f"{path}: cannot be read: {error.strerror or error}") from None


def check_file(path: Path) -> None:
    """Raise DataError where there is no file at `path`, and say what there is instead."""
    if path.is_dir():
        raise DataError(f"{path}: is a folder; name a file")
    if path.exists() and not path.is_file():  # a shell's <(command), /dev/stdin: they can be read only once
        raise DataError(f"{path}: is a pipe or a device; write its bars to a file first, and name that")
    if not path.is_file():
        raise DataError(f"{path}: there is no such file")


def read_table(path: Path, *, columns: Sequence[str] | None = None) -> RawTable:
    """Return the columns of a CSV or Parquet file. `columns` names them in order, in place of a header or of guessing.

    Raises DataError where the file cannot be read at all: gone, empty, binary, no five columns, no bars.
    """
    check_file(path)
    return _parquet(path, columns) if is_parquet(path) else _text(path, columns)


def _parquet(path: Path, columns: Sequence[str] | None) -> RawTable:
    frame = read_parquet(path)
    if not frame.height:
        raise DataError(f"{path}: holds no bars, only the columns {listed(map(cut, frame.columns))}")
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
    dialect = detect_format(head, path)
    notes = [] if encoding == "utf-8" else [f"encoding {encoding}"]
    if dialect.separator != ",":
        notes.append(f"separated by {_SEPARATOR_NAMES[dialect.separator]}")
    if dialect.comments:
        blank = sum(not line.strip() for line in head[: dialect.comments])
        counts = {"comment": dialect.comments - blank, "empty": blank}
        notes += [f"{n} {what} line{'s' if n > 1 else ''} before the first bar" for what, n in counts.items() if n]
    first = split_line(head[dialect.comments], dialect.separator)
    skip = dialect.comments + dialect.header
    header = known_header(first) if dialect.header else None
    stacked = stacked_header([split_line(line, dialect.separator) for line in head[dialect.comments : skip + 2]], path)
    if stacked is not None:
        header, skip = stacked.names, dialect.comments + 3
        notes.append(f"three header lines, as yfinance writes them; the symbol is {stacked.symbol}")
    names = _names(columns, header, path, first)
    check_columns(len(names), path)
    if not dialect.header:
        notes.append("no header: the columns are taken for " + ", ".join(names))
    if all_lines.len() <= skip:
        raise DataError(f"{path}: line {skip} {brief(head[skip - 1])} is the header, and no bars follow it")
    body = all_lines.slice(skip)
    numbers = np.arange(skip + 1, skip + 1 + body.len(), dtype=np.int64)
    if cut:
        notes.append("the last line has no line end; if a download was cut off there, its last value may be short")
    table = _rows(path, body, numbers, dialect.separator, names, notes, ends_cut=cut)
    return table if stacked is None else replace(table, symbol=stacked.symbol)


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
    field_counts = (body.str.count_matches(separator, literal=True) + 1).to_numpy().astype(np.int64)
    quoted = body.str.contains('"', literal=True).to_numpy()
    stripped = body.str.strip_chars()
    blank = (stripped == "").to_numpy()
    comment = stripped.str.starts_with("#").to_numpy()
    plain = (field_counts == count) & ~quoted & ~blank & ~comment
    rescued: dict[int, list[str]] = {}
    ragged = np.flatnonzero(~plain & ~blank & ~comment)
    if quoted.any():
        for row in np.flatnonzero(quoted & ~blank & ~comment):
            fields = split_line(body[int(row)], separator)
            field_counts[row] = len(fields)
            if len(fields) == count:
                rescued[int(row)] = fields
        ragged = np.array([row for row in ragged if int(row) not in rescued], dtype=np.int64)
    good = np.sort(np.concatenate([np.flatnonzero(plain), np.array(list(rescued), dtype=np.int64)]))
    columns = _columns(body, good, rescued, separator, count)
    last = body.len() - 1

    def describe_ragged(k: int) -> str:
        row = int(ragged[k])
        hint = ", and the file ends there: a download that was cut off?" if row == last and ends_cut else ""
        return f"{brief(body[row])} has {field_counts[row]} fields instead of {count}{hint}"

    blanks, comments = np.flatnonzero(blank), np.flatnonzero(comment)
    findings = (
        FileFinding(FindingCode.LINE, numbers[ragged], describe_ragged),
        FileFinding(FindingCode.LINE, numbers[blanks], lambda k: "'' is an empty line in place of a bar"),
        FileFinding(
            FindingCode.LINE,
            numbers[comments],
            lambda k: f"{brief(body[int(comments[k])])} is a comment in place of a bar",
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


def _names(names: Sequence[str] | None, header: list[str] | None, path: Path, first: Sequence[str] = ()) -> list[str]:
    if names is not None:
        count = len(header) if header is not None else len(first)
        if len(names) != count:
            raise DataError(
                f"{path}: --columns names {len(names)} columns ({listed(map(cut, names))}), the file has {count}"
            )
        if header is not None:
            _check_names(names, header, path)
        return list(names)
    return header if header is not None else guess_names(first, path)


def _check_names(names: Sequence[str], header: list[str], path: Path) -> None:
    """Refuse names that exchange prices: a header that says Close over a column that is to be the open."""
    for index, (name, written) in enumerate(zip(names, header, strict=True)):
        wanted, meant = meaning_of(name), meaning_of(written)
        if wanted != meant and wanted in PRICES and meant in PRICES:
            raise DataError(
                f"{path}: --columns calls column {index + 1} {brief(name)}, but the header calls it {brief(written)}; "
                f"name the columns in the order of the file: {columns_option(header)}"
            )


def columns_option(names: Sequence[str]) -> str:
    """Return the option --columns for a file with these column names, in their order, with the known ones translated."""
    meanings = [meaning_of(name) for name in names]
    unknown = [index for index, meaning in enumerate(meanings) if meaning is None]
    if "timestamp" not in meanings and len(unknown) == 1:
        meanings[unknown[0]] = "timestamp"
    names_text = ",".join(meaning or name.replace(",", " ") for meaning, name in zip(meanings, names, strict=True))
    option = f"--columns {cut_middle(shlex.quote(names_text), _LONGEST_OPTION)}"
    missing = [meaning for meaning in ("timestamp", *PRICES) if meaning not in meanings]
    if not missing:
        return option
    return f"{option}, with {' and '.join(missing)} in place of the name of the column that holds it"
