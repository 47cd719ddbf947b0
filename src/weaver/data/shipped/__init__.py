"""Shipped bars: five real US stocks that come with the package, for the demo and for a first try. Public domain."""

from __future__ import annotations

from collections.abc import Sequence
from importlib.resources import files
from pathlib import Path

from weaver.core.errors import DataError
from weaver.core.suggest import unknown_symbol
from weaver.core.timeframe import Timeframe
from weaver.data.selection import Selection, Stored

__all__ = ["SHIPPED_SOURCE", "SHIPPED_SYMBOLS", "shipped_bars"]

SHIPPED_SYMBOLS = ("AAPL", "FB", "GOOG", "IBM", "MSFT")
SHIPPED_SOURCE = "Quandl WIKI Prices (public domain), shipped with Weaver"

_FILE = "us_daily_wiki_5.parquet"


def shipped_bars(symbols: str | Sequence[str] | None = None, *, adjusted: bool = True) -> Selection:
    """Daily bars of AAPL, FB, GOOG, IBM and MSFT from 2000-03-01 to 2013-03-01, as a selection usable as `bars`.

    Named by the session's date at 00:00 UTC. `adjusted=False` serves the prices as traded, with the splits as jumps.
    Raises UnknownSymbol for another symbol.
    """
    wanted = SHIPPED_SYMBOLS if symbols is None else (symbols,) if isinstance(symbols, str) else tuple(symbols)
    for symbol in wanted:
        if symbol not in SHIPPED_SYMBOLS:
            raise unknown_symbol(symbol, SHIPPED_SYMBOLS, "the bars that come with Weaver")
    path = Path(str(files("weaver.data.shipped") / _FILE))
    if not path.is_file():
        raise DataError(f"{path}: the shipped bars are missing from this installation; install weaver-trading again")
    stored = tuple(Stored(symbol=symbol, path=path, source=SHIPPED_SOURCE, column=True) for symbol in wanted)
    return Selection(stored=stored, timeframe=Timeframe.of("1d"), adjusted=adjusted)
