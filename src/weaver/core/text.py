"""Text that every store can hold: PostgreSQL takes neither NUL nor lone surrogates, Parquet and UTF-8 no surrogates."""

from __future__ import annotations

import re

__all__ = ["describe_error", "is_storable", "storable"]

_FORBIDDEN = re.compile("[\0\ud800-\udfff]")


def is_storable(text: str) -> bool:
    """Return whether `text` contains neither NUL nor a lone surrogate."""
    return (text.isascii() and "\0" not in text) or _FORBIDDEN.search(text) is None


def storable(text: str, limit: int | None = None) -> str:
    """Return `text` with NUL and lone surrogates written as escapes, cut to `limit` characters with an ellipsis."""
    if not is_storable(text):
        text = text.encode("utf-8", "backslashreplace").decode().replace("\0", "\\0")
    if limit is not None and len(text) > limit:
        text = text[: limit - 1] + "…"
    return text


def describe_error(error: BaseException, limit: int = 2000) -> str:
    """Return `Name: message` of `error` as storable text; an error whose own `__str__` raises is named alone."""
    name = type(error).__name__
    try:
        message = str(error)
    except Exception as second:  # noqa: BLE001 - a supervisor must be able to report any error
        message = f"(its message cannot be read: {type(second).__name__})"
    return storable(f"{name}: {message}" if message else name, limit)
