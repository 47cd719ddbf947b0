"""Limits of one file of bars, so that a small file cannot exhaust the memory. Each is named in the error that reports it.

The limits of rows, bytes and memory can be raised by an environment variable, since a legitimate file may be larger. The
others bound the shape of a file, and no file of bars comes near them.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path

from weaver.core.errors import ConfigError, DataError
from weaver.core.text import brief, cut

__all__ = [
    "LONGEST_LINE",
    "LONGEST_SYMBOL",
    "MOST_COLUMNS",
    "MOST_ROWS",
    "MOST_SYMBOLS",
    "MOST_TEXT_BYTES",
    "check_columns",
    "check_memory",
    "check_rows",
    "check_symbols",
    "check_text_bytes",
    "free_memory",
]

MOST_ROWS = 200_000_000
"""Rows of a Parquet file: 380 years of minutes. A few hundred bytes of Parquet can state any number of rows.
WEAVER_MAX_ROWS replaces it."""

MOST_TEXT_BYTES = 4 * 1024**3
"""Bytes of a text file once it is unpacked, about 60 million rows: gzip packs a thousand bytes into one.
WEAVER_MAX_TEXT_BYTES replaces it."""

LONGEST_LINE = 1024**2
"""Bytes of one line of a text file. A file without line ends would be one value of gigabytes."""

MOST_COLUMNS = 10_000
"""Columns of a file or a frame. Each costs about a kilobyte and is searched for among the known names."""

MOST_SYMBOLS = 100_000
"""Symbols of a file, a frame or a mapping. Each becomes a series with its own arrays, notes and account."""

LONGEST_SYMBOL = 200
"""Characters of a symbol. It is repeated in every order, fill and message."""

_TEXT_COST = 12  # bytes of memory for each byte of text at the peak, measured with a CSV file of minutes
_ALWAYS_THERE = 100_000_000  # bytes that are not compared with the free memory, so that many small files are read fast
_USABLE = 0.9  # of the free memory, since a run needs some as well


def check_columns(count: int, where: object) -> None:
    """Raise DataError where a file or frame has more than MOST_COLUMNS columns; `where` names it."""
    if count > MOST_COLUMNS:
        raise DataError(f"{where}: has {count:,} columns, more than {MOST_COLUMNS:,}; keep only those of the bars")


def check_symbols(symbols: Sequence[str], where: object) -> None:
    """Raise DataError for too many symbols, and for a symbol of more than LONGEST_SYMBOL characters."""
    if len(symbols) > MOST_SYMBOLS:
        raise DataError(f"{where}: has {len(symbols):,} symbols, more than {MOST_SYMBOLS:,}; divide it")
    for symbol in symbols:
        if len(symbol) > LONGEST_SYMBOL:
            raise DataError(
                f"{where}: symbol {brief(symbol)} has {len(symbol):,} characters, more than {LONGEST_SYMBOL}; "
                "give it a shorter name"
            )


def check_rows(rows: int, path: Path) -> None:
    """Raise DataError where a Parquet file states more rows than MOST_ROWS or WEAVER_MAX_ROWS."""
    most = _limit("WEAVER_MAX_ROWS", MOST_ROWS)
    if rows > most:
        raise DataError(
            f"{path}: states {rows:,} rows, more than {most:,}; if that is right, raise the limit: WEAVER_MAX_ROWS={rows}"
        )


def check_text_bytes(size: int, path: Path, *, packed: int | None = None) -> None:
    """Raise DataError where a text file is larger than the limit, or needs more memory than is free.

    `size` counts the bytes after unpacking, `packed` those of a gzip file.
    """
    most = _limit("WEAVER_MAX_TEXT_BYTES", MOST_TEXT_BYTES)
    if size > most:
        unpacked = "has" if packed is None else f"unpacks from {packed:,} bytes to"
        raise DataError(
            f"{path}: {unpacked} more than {most:,} bytes of text; divide it, or raise the limit: "
            f"WEAVER_MAX_TEXT_BYTES={2 * most}"
        )
    needed = _TEXT_COST * size
    # A gzip file is refused while it is unpacked, so that its full size is not known yet.
    check_memory(needed, path, suggested=needed if packed is None else 2 * needed)


def check_memory(needed: int, where: object, *, suggested: int | None = None) -> None:
    """Raise DataError where reading a file or frame needs more bytes than are free, or than WEAVER_MAX_MEMORY.

    `suggested` is the value of WEAVER_MAX_MEMORY in the message (default: `needed`).
    """
    if needed <= _ALWAYS_THERE:
        return
    free = free_memory()
    most = _limit("WEAVER_MAX_MEMORY", needed if free is None else int(_USABLE * free))
    if needed > most:
        raise DataError(
            f"{where}: reading it needs about {_amount(needed)} of memory, more than the {_amount(most)} that it may take; "
            f"divide it, or raise the limit: WEAVER_MAX_MEMORY={suggested or needed} (bytes)"
        )


def free_memory() -> int | None:
    """Return the bytes of memory that this process can still get; None where the system does not report it.

    Inside a container the limit of its control group counts as well.
    """
    amounts = [_available(Path("/proc/meminfo")), _left_in_group(Path("/sys/fs/cgroup"))]
    known = [amount for amount in amounts if amount is not None]
    if known:
        return min(known)
    try:
        return os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    except (AttributeError, OSError, ValueError):  # Windows has no sysconf
        return None


def _available(file: Path) -> int | None:
    try:
        lines = file.read_text(encoding="ascii").splitlines()
        return next((int(line.split()[1]) * 1024 for line in lines if line.startswith("MemAvailable:")), None)
    except (OSError, ValueError, IndexError):
        return None


def _left_in_group(folder: Path) -> int | None:
    for limit, usage, stat in (
        ("memory.max", "memory.current", "memory.stat"),
        ("memory/memory.limit_in_bytes", "memory/memory.usage_in_bytes", "memory/memory.stat"),
    ):
        try:
            most, used = int((folder / limit).read_text()), int((folder / usage).read_text())
            fields = dict(line.split() for line in (folder / stat).read_text().splitlines())
            cached = int(fields.get("inactive_file", 0)) + int(fields.get("active_file", 0))
        except (OSError, ValueError):  # not there, or "max": no limit
            continue
        return max(0, most - used + cached)  # the cache of files gives way
    return None


def _limit(name: str, default: int) -> int:
    """Return the limit that an environment variable sets, otherwise `default`. An empty variable counts as not set."""
    text = os.environ.get(name)
    if not text:
        return default
    if not (text.isascii() and text.isdigit()) or len(text) > 18:
        raise ConfigError(f"{name}={cut(text)}: must be a whole number")
    return int(text)


def _amount(size: int) -> str:
    return f"{size / 1e9:,.1f} GB" if size >= 100_000_000 else f"{size / 1e6:,.1f} MB"
