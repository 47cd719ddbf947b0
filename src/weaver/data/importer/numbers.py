"""ParsedNumbers: a column of text as floats, or a reason row by row why not; and which sign is the decimal one.

Guarantees that a value is read exactly as it is written or not at all: thousands separators, currency signs and words
are findings, never guesses.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import polars as pl

from weaver.core.bars import Floats, Instants

__all__ = ["ParsedNumbers", "decimal_sign", "parse_numbers"]

_MISSING = ("", "nan", "null", "none", "na", "n/a", "#n/a", "nil", "-", "--", "?")
_PLAIN = r"^[+-]?(?:\d+\.?\d*|\.\d+)(?:[eE][+-]?\d+)?$"
_INFINITE = r"^[+-]?(?i:inf|infinity)$"
_GROUPED = {
    ".": r"^[+-]?\d{1,3}(?:[, ' ]\d{3})+(?:\.\d+)?$",
    ",": r"^[+-]?\d{1,3}(?:[. ' ]\d{3})+(?:,\d+)?$",
}


@dataclass(frozen=True, slots=True)
class ParsedNumbers:
    """The values (NaN where missing), and the rows that are missing, infinite, grouped by thousands, or not numbers."""

    values: Floats
    missing: Instants
    infinite: Instants
    grouped: Instants
    unreadable: Instants


def decimal_sign(columns: Sequence[pl.Series], separator: str | None) -> tuple[str, Instants]:
    """Return "." or ",", and the rows that leave it open: commas that could group thousands (1,234), points and commas.

    `columns` are those that should hold numbers. Where the separator is a comma, or no comma is there, it is the point.
    """
    none = np.empty(0, dtype=np.int64)
    text = [column for column in columns if column.dtype == pl.String]
    if separator in (None, ",") or not any(column.str.contains(",", literal=True).any() for column in text):
        return ".", none
    commas = np.zeros(len(text[0]), dtype=np.bool_)
    sure = False
    points = np.zeros(len(text[0]), dtype=np.bool_)
    for column in text:
        one_comma = column.str.contains(r"^[+-]?\d*,\d+$")
        three = column.str.contains(r"^[+-]?[1-9]\d{0,2},\d{3}$")
        commas |= column.str.contains(",", literal=True).fill_null(False).to_numpy()
        points |= column.str.contains(r"^[+-]?\d+\.\d+$").fill_null(False).to_numpy()
        # 1,234 may be either; a comma with another number of digits behind it, or many before it, is a decimal one.
        sure = (
            sure or bool((one_comma & ~three).any()) or bool(column.str.contains(r"^[+-]?\d{1,3}(\.\d{3})+,\d+$").any())
        )
    if sure and not points.any():
        return ",", none
    if points.any() and not sure:
        return ".", none
    return ",", np.flatnonzero(commas | points)


def parse_numbers(column: pl.Series, decimal: str = ".", *, strip_thousands: bool = False) -> ParsedNumbers:
    """Return the numbers of a column of text or of numbers. `decimal` is the decimal sign of text."""
    none = np.empty(0, dtype=np.int64)
    if column.dtype != pl.String:
        if not (column.dtype.is_numeric() or column.dtype == pl.Boolean):
            return ParsedNumbers(np.full(len(column), np.nan), none, none, none, np.arange(len(column), dtype=np.int64))
        floats = column.cast(pl.Float64).fill_null(float("nan")).to_numpy()
        return ParsedNumbers(floats, np.flatnonzero(np.isnan(floats)), np.flatnonzero(np.isinf(floats)), none, none)
    if decimal == ".":
        quick = column.cast(pl.Float64, strict=False)
        if not quick.null_count() and bool(quick.is_finite().all()) and bool(column.str.contains(_PLAIN).all()):
            return ParsedNumbers(quick.to_numpy(), none, none, none, none)
    text = column.fill_null("").str.strip_chars()
    grouped = text.str.contains(_GROUPED[decimal])
    if strip_thousands:
        other = "[, ' ]" if decimal == "." else "[. ' ]"
        stripped = pl.select(pl.when(grouped).then(text.str.replace_all(other, "")).otherwise(text)).to_series()
        text = stripped
    if decimal == ",":
        # A point would be read as the decimal sign, which here it is not.
        has_point = text.str.contains(".", literal=True)
        swapped = text.str.replace(",", ".", literal=True)
        text = pl.select(pl.when(has_point).then(pl.lit("not a number")).otherwise(swapped)).to_series()
    plain = text.str.contains(_PLAIN)
    values = pl.select(pl.when(plain).then(text).otherwise(None)).to_series().cast(pl.Float64, strict=False)
    missing = column.fill_null("").str.strip_chars().str.to_lowercase().is_in(list(_MISSING))
    infinite = text.str.contains(_INFINITE) | values.is_infinite().fill_null(False)
    counted = grouped & values.is_null()
    rest = values.is_null() & ~missing & ~infinite & ~counted
    floats = values.fill_null(float("nan")).to_numpy()
    return ParsedNumbers(floats, *(np.flatnonzero(mask.to_numpy()) for mask in (missing, infinite, counted, rest)))
