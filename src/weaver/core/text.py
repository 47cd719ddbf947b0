"""Text that files can store, that a terminal shows as it is, and that fits into a message.

PostgreSQL, Parquet and UTF-8 files refuse NUL (U+0000) and lone surrogates (U+D800 to U+DFFF), which come from undecodable
file names and error messages. Other characters change what a terminal shows: escape sequences move the cursor or set the
clipboard, bidirectional marks reorder a line, invisible characters make two names look the same. `storable` and `visible`
write such characters as escapes. `cut`, `cut_middle` and `brief` bound the length of a text that comes from a file, a
strategy or a caller; cut before you escape. No function changes other text, or its own result.
"""

from __future__ import annotations

import re
from typing import Any, overload

__all__ = [
    "LONGEST_MESSAGE",
    "LONGEST_VALUE",
    "brief",
    "cut",
    "cut_middle",
    "describe_error",
    "has_nul",
    "is_storable",
    "storable",
    "storable_values",
    "visible",
    "visible_json",
]

LONGEST_VALUE = 80
"""Characters of one value in a message. A cell of a file may have megabytes, and its first characters identify it."""

LONGEST_MESSAGE = 10_000
"""Characters of a whole message, of an error or a warning. Terminals, logs and the database hold messages in memory."""

_TAIL = 1_500  # characters of a cut message that are kept from its end, where the way out is

_FORBIDDEN = re.compile("[\0\ud800-\udfff]")
_BREAKS = "\t\n"
_DECEPTIVE = (
    "\0-\x08\x0b-\x1f\x7f-\x9f"  # control characters except tab and line feed
    "\u061c\u200b-\u200f\u2028-\u202e\u2060-\u206f\ufeff\ufff9-\ufffb"  # line separators, bidirectional, zero width
    "\u00ad\u034f\u115f\u1160\u17b4\u17b5\u180b-\u180f\u3164\uffa0"  # invisible in other ways
    "\ud800-\udfff\U000e0000-\U000e0fff"  # lone surrogates, invisible tags
)
_IN_TEXT = re.compile(f"[{_DECEPTIVE}]")
_IN_LINE = re.compile(f"[{_BREAKS}{_DECEPTIVE}]")


def cut(text: str, limit: int = LONGEST_VALUE) -> str:
    """Return `text`, cut to `limit` characters with an ellipsis at its end."""
    return text if len(text) <= limit else text[: limit - 1] + "…"


def cut_middle(text: str, limit: int = LONGEST_MESSAGE) -> str:
    """Return `text`, cut to `limit` characters (at least 200) in its middle, where it states how many are left out."""
    if len(text) <= limit:
        return text
    tail = min(_TAIL, limit // 4)
    note = f" … ({len(text):,} characters, cut) … "
    return text[: limit - tail - len(note)] + note + text[-tail:]


def brief(value: object, limit: int = LONGEST_VALUE) -> str:
    """Return `repr(value)`, cut to `limit` characters. A value whose `repr` fails is named by its class."""
    if isinstance(value, str | bytes) and len(value) > limit:
        value = value[:limit]  # a repr of the whole may be four times as long as a value of megabytes
        text = repr(value)
        return text[: limit - 2] + "…" + text[-1]
    try:
        text = repr(value)
    except Exception:  # noqa: BLE001 - the code of a user's class; an int of more than 4,300 digits raises ValueError
        text = f"<{type(value).__name__}>"
    return cut(text, limit)


def is_storable(text: str) -> bool:
    """Return whether `text` contains neither NUL nor a lone surrogate."""
    return (text.isascii() and "\0" not in text) or _FORBIDDEN.search(text) is None


def visible(text: str, *, multiline: bool = False) -> str:
    """Return `text` with the characters that change or hide what a terminal shows as escapes, such as \\x1b and \\u202e.

    Line feed and tab are escaped too, so that a value cannot forge a line, unless `multiline`.
    """
    if text.isascii() and text.isprintable():
        return text
    return (_IN_TEXT if multiline else _IN_LINE).sub(_escape, text)


def visible_json(text: str) -> str:
    """Return a JSON text with the same characters as escapes of JSON. The value that it encodes stays the same."""
    if text.isascii() and "\x7f" not in text:
        return text
    return _IN_TEXT.sub(_escape_json, text)


def _escape(match: re.Match[str]) -> str:
    return match[0].encode("unicode_escape").decode()


def _escape_json(match: re.Match[str]) -> str:
    units = match[0].encode("utf-16-be", "surrogatepass").hex()  # JSON writes a character beyond U+FFFF as two
    return "".join(f"\\u{units[place : place + 4]}" for place in range(0, len(units), 4))


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
    return text if limit is None else cut(text, limit)


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
