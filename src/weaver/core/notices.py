"""Notices: lines on standard error about what Weaver did, or left out, without being asked, in commands and in Python."""

from __future__ import annotations

import sys

from weaver.core.text import visible

__all__ = ["notice"]

_MOST = 1_000
_shown: set[str] = set()


def notice(line: str) -> None:
    """Print `line` to standard error as one line, the same one once in a process."""
    if line in _shown or sys.stderr is None:
        return
    if len(_shown) < _MOST:
        _shown.add(line)
    print(visible(line), file=sys.stderr, flush=True)  # noqa: T201 - not a result, so not on standard output
