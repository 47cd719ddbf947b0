"""Read Parquet files of bars, within the limits: the footer first, then the columns that have one value for each row."""

from __future__ import annotations

from pathlib import Path

import polars as pl

from weaver.core.errors import DataError
from weaver.core.text import cut_middle
from weaver.data.limits import check_columns, check_memory, check_rows
from weaver.data.parquet_footer import FooterError, ParquetFooter, read_footer

__all__ = ["LONGEST_CAUSE", "check_footer", "check_parquet", "check_strings", "read_parquet"]

LONGEST_CAUSE = 500
"""Characters of an error of Polars in a message, which may repeat the content of a file."""

_COST_OF_A_ROW = 40  # bytes: starts and ends of the bars, and the arrays that checking them needs
_COST_OF_A_VALUE = 8


def check_parquet(path: Path) -> ParquetFooter:
    """Return the footer of a Parquet file. Raises DataError where the file is damaged or exceeds a limit."""
    try:
        footer = read_footer(path)
    except OSError as error:
        raise DataError(f"{path}: cannot be read: {error.strerror or error}") from None
    except FooterError as error:
        raise DataError(f"{path}: cannot be read as Parquet: {error}") from None
    check_footer(footer, path)
    return footer


def check_footer(footer: ParquetFooter, path: Path) -> None:
    """Raise DataError where a Parquet file exceeds a limit, or needs more memory than is free."""
    check_columns(len(footer.columns), path)
    check_rows(footer.rows, path)
    check_memory(_COST_OF_A_VALUE * footer.values + _COST_OF_A_ROW * footer.rows + footer.unpacked, path)


def read_parquet(path: Path) -> pl.DataFrame:
    """Return the columns of a Parquet file. Columns of lists or structs are not read; they have nulls only.

    Raises DataError where the file cannot be read or exceeds a limit.
    """
    footer = check_parquet(path)
    plain = [name for name in footer.columns if name not in footer.nested]
    try:
        frame = pl.read_parquet(path, columns=plain if footer.nested else None, glob=False)
    except (pl.exceptions.PolarsError, pl.exceptions.PanicException, OSError, ValueError) as error:
        raise DataError(f"{path}: cannot be read as Parquet: {cut_middle(str(error), LONGEST_CAUSE)}") from None
    check_strings(frame, path)
    if footer.nested:
        empty = [pl.lit(None).alias(name) for name in footer.columns if name in footer.nested]
        frame = frame.with_columns(empty).select(footer.columns)
    return frame


def check_strings(frame: pl.DataFrame, path: Path) -> None:
    """Raise DataError where the texts of a column do not fit into the memory once each row has its own copy.

    In the file, and as Polars reads it, rows share one copy of a text, however long it is.
    """
    for name, kind in frame.schema.items():
        if kind == pl.Binary:
            sizes = frame[name].bin.size()
        elif kind in (pl.String, pl.Categorical, pl.Enum):
            sizes = frame[name].cast(pl.String).str.len_bytes()
        else:
            continue
        check_memory(int(sizes.cast(pl.Int64).sum() or 0), path)  # 32 bits would overflow
