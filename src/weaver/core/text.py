"""Text that PostgreSQL, Parquet and UTF-8 files can store.

A Python string may hold characters that they refuse: NUL (U+0000) and lone surrogates (U+D800 to U+DFFF), which come from
undecodable file names and error messages. The functions here write them as escapes and do not change other text.
"""

from __future__ import annotations

import re
from typing import Any, overload

__all__ = ["describe_error", "has_nul", "is_storable", "storable", "storable_values"]

_FORBIDDEN = re.compile("[\0\ud800-\udfff]")


def is_storable(text: str) -> bool:
    """Return whether `text` contains neither NUL nor a lone surrogate."""
    return (text.isascii() and "\0" not in text) or _FORBIDDEN.search(text) is None


@overload
def storable(text: str, limit: int | None = None) -> str: ...
@overload
def storable(text: str | None, limit: int | None = None) -> str | None: ...
def storable(text: str | None, limit: int | None = None) -> str | None:
    """Return `text` with NUL and lone surrogates written as escapes, cut to `limit` characters with an ellipsis.

    None stays None.
    """
    if text is None:
        return None
    if not is_storable(text):
        text = text.encode("utf-8", "backslashreplace").decode().replace("\0", "\\0")
    if limit is not None and len(text) > limit:
        text = text[: limit - 1] + "…"
    return text


def storable_values(value: Any, limit: int | None = None, *, key_limit: int | None = None) -> Any:
    """Return JSON values (dict, list, text, numbers) with each text in them storable.

    `limit` cuts each text, `key_limit` each key of a dict.
    """
    if isinstance(value, str):
        return storable(value, limit)
    if isinstance(value, dict):
        return {
            storable(key, key_limit): storable_values(item, limit, key_limit=key_limit) for key, item in value.items()
        }
    if isinstance(value, list):
        return [storable_values(item, limit, key_limit=key_limit) for item in value]
    return value


def has_nul(value: object) -> bool:
    """Return whether a text in JSON values (dict, list, text, numbers) holds NUL, in keys too."""
    if isinstance(value, str):
        return "\0" in value
    if isinstance(value, dict):
        return any("\0" in key or has_nul(item) for key, item in value.items())
    return isinstance(value, list) and any(map(has_nul, value))


def describe_error(error: BaseException, limit: int = 2000) -> str:
    """Return `Name: message` of `error` as storable text; an error whose own `__str__` raises is named alone."""
    name = type(error).__name__
    try:
        message = str(error)
    except Exception as second:  # noqa: BLE001 - a supervisor must be able to report any error
        message = f"(its message cannot be read: {type(second).__name__})"
    return storable(f"{name}: {message}" if message else name, limit)
