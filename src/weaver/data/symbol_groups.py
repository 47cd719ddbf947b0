"""Rows of a table by symbol, in one pass whatever the number of symbols."""

from __future__ import annotations

import numpy as np
import polars as pl

from weaver.core.bars import Instants
from weaver.core.errors import DataError
from weaver.data.limits import LONGEST_SYMBOL, MOST_SYMBOLS, check_symbols

__all__ = ["check_labels", "rows_by_symbol"]


def check_labels(labels: pl.Series, where: object) -> None:
    """Raise DataError where a column of symbols has more than MOST_SYMBOLS, or one of more than LONGEST_SYMBOL letters."""
    count = labels.n_unique()
    if count > MOST_SYMBOLS:
        raise DataError(f"{where}: has {count:,} symbols, more than {MOST_SYMBOLS:,}; divide it")
    long = labels.filter(labels.str.len_chars() > LONGEST_SYMBOL)
    check_symbols(long.head(1).to_list(), where)


def rows_by_symbol(labels: pl.Series) -> dict[str, Instants]:
    """Return the rows of each symbol in rising order, the symbols in the order of their first row."""
    groups = labels.alias("symbol").to_frame().with_row_index("row").group_by("symbol", maintain_order=True).agg("row")
    return {
        symbol: rows.to_numpy().astype(np.int64)
        for symbol, rows in zip(groups["symbol"].to_list(), groups["row"], strict=True)
    }
