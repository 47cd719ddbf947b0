"""Detect encoding, separator and header of a text file from its content.

It decides only where the file leaves no doubt; the caller reports the decision. Options decide everything else.
"""

from __future__ import annotations

import codecs
import csv
import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import polars as pl

from weaver.core.errors import DataError
from weaver.core.text import brief, cut
from weaver.data.columns import simplify
from weaver.data.timestamps import Kind, from_text

__all__ = [
    "TextFormat",
    "check_is_text",
    "decode",
    "detect_format",
    "guess_names",
    "known_header",
    "looks_like_header",
    "split_line",
    "stacked_header",
]

_SAMPLE = 60
_SEPARATORS = (";", "\t", "|", ",")
_NUMBER = re.compile(r"[+-]?[\d.,'  ]*\d[\d.,]*(?:[eE][+-]?\d+)?")
_BINANCE = (
    "open_time", "open", "high", "low", "close", "volume", "close_time", "quote_volume", "count", "taker_buy_volume",
    "taker_buy_quote_volume", "ignore",
)  # fmt: skip
_PLAIN = ("timestamp", "open", "high", "low", "close", "volume")
_MARKS = (
    (codecs.BOM_UTF8, "utf-8"),
    (codecs.BOM_UTF32_LE, "utf-32-le"),  # before UTF-16, whose mark is its beginning
    (codecs.BOM_UTF32_BE, "utf-32-be"),
    (codecs.BOM_UTF16_LE, "utf-16-le"),
    (codecs.BOM_UTF16_BE, "utf-16-be"),
)


@dataclass(frozen=True, slots=True)
class TextFormat:
    """The format of a file's lines. `comments` counts the lines before the first real one: blank, or beginning with #."""

    separator: str
    header: bool
    comments: int


def check_is_text(data: bytes, path: Path) -> None:
    """Raise DataError for a file whose beginning, `data`, is not text: it has NULs and no byte order mark."""
    if b"\0" in data[:4096] and not any(data.startswith(mark) for mark, _ in _MARKS):
        raise DataError(f"{path}: is a binary file, neither Parquet nor text; give a CSV or Parquet file")


def decode(data: bytes, path: Path) -> tuple[str, str]:
    """Return the text without its byte order mark, and the encoding: its mark's, UTF-8, else Windows-1252 or Latin-1."""
    for mark, encoding in _MARKS:
        if data.startswith(mark):
            try:
                return data[len(mark) :].decode(encoding), encoding + " with a byte order mark"
            except UnicodeDecodeError as error:
                raise DataError(
                    f"{path}: begins with a byte order mark of {encoding}, but is not valid {encoding} at byte {error.start}"
                ) from None
    check_is_text(data, path)
    for encoding in ("utf-8", "cp1252"):
        try:
            return data.decode(encoding), encoding
        except UnicodeDecodeError:
            continue
    return data.decode("latin-1"), "latin-1"


def detect_format(lines: Sequence[str], path: Path) -> TextFormat:
    """Return the format of a file from its first lines. Raises DataError where no separator makes five columns of them."""
    comments = 0
    while comments < len(lines) and (not lines[comments].strip() or lines[comments].lstrip().startswith("#")):
        comments += 1
    sample = [
        line for line in lines[comments : comments + _SAMPLE] if line.strip() and not line.lstrip().startswith("#")
    ]
    if not sample:
        raise DataError(f"{path}: line 1: there is nothing but blank lines and comments, and so no bars")
    best: tuple[float, str] | None = None
    for separator in _SEPARATORS:
        counts = [_outside_quotes(line).count(separator) for line in sample]
        usual = max(set(counts), key=lambda count: (counts.count(count), count))
        # In 1,5;2,5;3,5 both are as regular; the comma is listed last since it is the one with a second meaning.
        if usual >= 4 and (best is None or counts.count(usual) / len(counts) > best[0]):
            best = (counts.count(usual) / len(counts), separator)
    if best is None:
        raise DataError(
            f"{path}: line {comments + 1}: {brief(sample[0])} has no five columns, whether by comma, semicolon, tab or bar; "
            "a bar needs a time, open, high, low and close"
        )
    first = split_line(sample[0], best[1])
    return TextFormat(separator=best[1], header=looks_like_header(first), comments=comments)


def looks_like_header(fields: Sequence[str]) -> bool:
    """Return whether no field is a number or a time."""
    texts = [field.strip() for field in fields if field.strip()]
    if any(_NUMBER.fullmatch(text) for text in texts):
        return False
    return not (from_text(pl.Series(texts, dtype=pl.String)).kind != Kind.BAD).any()


def guess_names(fields: Sequence[str], path: Path) -> list[str]:
    """Return names for the columns of a file without a header, by their number. Raises DataError for other numbers."""
    count = len(fields)
    if count == len(_BINANCE):
        return list(_BINANCE)
    if count in (5, 6):
        return list(_PLAIN[:count])
    if count == 7 and re.fullmatch(r"\d{1,2}:\d{2}(:\d{2})?", fields[1].strip()):
        return ["date", "time", *_PLAIN[1:]]
    raise DataError(
        f"{path}: line 1 is not a header, and the meaning of its {count} columns is not known; name them: "
        "--columns timestamp,open,high,low,close,volume,... (one name for each, also for those that do not matter)"
    )


def known_header(fields: Sequence[str]) -> list[str]:
    """Return the fields of a header line as column names; an empty one gets its number."""
    return [field.strip() if simplify(field) else f"column_{index + 1}" for index, field in enumerate(fields)]


@dataclass(frozen=True, slots=True)
class StackedHeader:
    """A header of three lines, with the names of the columns and the one symbol that they belong to."""

    names: list[str]
    symbol: str


def stacked_header(lines: Sequence[Sequence[str]], path: Path) -> StackedHeader | None:
    """Return the header that pandas writes for a frame of yfinance, from the fields of the first three lines; else None.

    Its lines are "Price,Close,High,...", "Ticker,AAPL,AAPL,..." and "Date,,,...", the first two in either order. Raises
    DataError where it names several symbols.
    """
    if len(lines) < 3 or len({len(line) for line in lines[:3]}) != 1:
        return None
    labels = [line[0].strip().lower() for line in lines[:3]]
    rows = dict(zip(labels, lines, strict=False))
    if {"price", "ticker"} != set(labels[:2]) or any(field.strip() for field in lines[2][1:]):
        return None
    symbols = list(dict.fromkeys(field.strip() for field in rows["ticker"][1:] if field.strip()))
    if len(symbols) != 1:
        raise DataError(
            f"{path}: lines 1 to 3 are a header of several symbols ({', '.join(map(cut, symbols[:5]))}), as "
            "yfinance writes it; save "
            f"one file for each: frame.xs({brief(symbols[0])}, axis=1, level='Ticker').to_csv({brief(symbols[0] + '.csv')})"
        )
    return StackedHeader([lines[2][0].strip() or "Date", *(field.strip() for field in rows["price"][1:])], symbols[0])


def split_line(line: str, separator: str) -> list[str]:
    """Return the fields of one line, quoted or not; the whole line as one field where Python's csv refuses it."""
    try:
        return next(csv.reader([line], delimiter=separator), [])
    except csv.Error:  # a field of more than 131,072 characters
        return [line]


def _outside_quotes(line: str) -> str:
    return re.sub(r'"[^"]*"', "", line) if '"' in line else line
