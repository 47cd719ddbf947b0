"""Sources: the forms of `--data`, converted to the `bars` argument of `weaver.backtest`.

    FILE                 a CSV or Parquet file
    SYMBOL=FILE          the same, with the name of its symbol; may be repeated
    FOLDER               the folder of a catalog
    catalog              the default catalog
    demo:AAPL,MSFT       included daily prices, adjusted; demo alone means all five symbols

It reads only the list of symbols of a catalog.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import click

from weaver.core.text import brief

__all__ = ["DATA_HELP", "FILE", "bars_of", "pairs_of"]

FILE = click.Path(readable=False)
"""A path, for completion. Reading it is checked later, since bars and strategies have exit codes of their own."""

DATA_HELP = (
    "Bars: a CSV or Parquet file, SYMBOL=FILE (repeat for several), the folder of a catalog, "
    "'catalog' (the default catalog), or demo:AAPL (included prices: AAPL, FB, GOOG, IBM, MSFT)."
)


def bars_of(sources: Sequence[str], symbols: Sequence[str], timeframe: str | None) -> Any:
    """Return the `bars` argument for `weaver.backtest`. Raises `click.UsageError` where sources cannot be combined."""
    if not all(sources):
        raise click.UsageError("--data is empty; give a file, SYMBOL=FILE, a catalog's folder, 'catalog' or demo:AAPL")
    if len(sources) == 1:
        symbol, path = _named(sources[0])
        return {symbol: Path(path).expanduser()} if symbol else _one(sources[0], symbols, timeframe)
    found: dict[str, Any] = {}
    for source in sources:
        symbol, path = _named(source)
        if not symbol and not _is_demo(source):
            raise click.UsageError(f"--data {source}: with several sources each file needs a name: SYMBOL={source}")
        more: Mapping[str, Any] = {symbol: Path(path).expanduser()} if symbol else _demo(source)
        for name, bars in more.items():
            if name in found:
                raise click.UsageError(f"--data names {name} twice")
            found[name] = bars
    return found


def _named(source: str) -> tuple[str, str]:
    """Return (symbol, path) for SYMBOL=FILE, otherwise ("", source); an existing file may have = in its name."""
    symbol, equals, path = source.partition("=")
    return (symbol, path) if equals and not Path(source).exists() else ("", source)


def _one(source: str, symbols: Sequence[str], timeframe: str | None) -> Any:
    if _is_demo(source):
        return _demo(source)
    folder = Path(source).expanduser()
    if folder.is_dir() or source == "catalog":
        from weaver.data.catalog import Catalog

        catalog = Catalog(folder) if folder.is_dir() else Catalog()
        return catalog.select(list(symbols) or None, timeframe=timeframe)
    return folder


def _is_demo(source: str) -> bool:
    return source == "demo" or source.startswith("demo:")


def _demo(source: str) -> Mapping[str, Any]:
    from weaver.data.shipped import SHIPPED_SYMBOLS, shipped_bars

    names = [name for name in source.removeprefix("demo").removeprefix(":").split(",") if name]
    return {name: shipped_bars(name) for name in names or SHIPPED_SYMBOLS}


def pairs_of(texts: Sequence[str]) -> dict[str, str]:
    """Return `name=value` texts as a mapping. Raises `click.BadParameter` for other text and for a repeated name."""
    pairs: dict[str, str] = {}
    for text in texts:
        name, equals, value = text.partition("=")
        if not equals or not name.strip():
            raise click.BadParameter(
                f"{brief(text)} is not NAME=VALUE, for example --param fast=10", param_hint="--param"
            )
        if name.strip() in pairs:
            raise click.BadParameter(f"{brief(name.strip())} is given twice", param_hint="--param")
        pairs[name.strip()] = value.strip()
    return pairs
