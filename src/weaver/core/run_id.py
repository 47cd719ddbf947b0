"""Run ids: the form that every id has which becomes a path or a row of the table `runs`.

Ids come back from databases and backups that other programs may write to. Only an id of this form, which has neither a
slash nor a dot in it, may be used as the name of a folder (`weaver.core.run_folders`).
"""

from __future__ import annotations

import re

from weaver.core.errors import InvalidRunId

__all__ = ["RUN_ID_PATTERN", "check_run_id", "is_run_id", "shown_run_id"]

RUN_ID_PATTERN = "[0-9]{8}T[0-9]{12}Z-[0-9a-z]{8}"
"""The whole of a run id, as a regular expression for Python and PostgreSQL: 20240301T093000123456Z-7k2m9q4x."""

_RUN_ID = re.compile(RUN_ID_PATTERN)


def is_run_id(text: object) -> bool:
    """Return whether `text` has the form of an id that `new_run_id` makes."""
    return isinstance(text, str) and _RUN_ID.fullmatch(text) is not None


def check_run_id(text: object) -> str:
    """Return `text` if it is a run id, else raise InvalidRunId, which says how to remove the run."""
    if isinstance(text, str) and is_run_id(text):
        return text
    raise InvalidRunId(
        f"run id {shown_run_id(text)} is not one that Weaver makes (such as 20240301T093000123456Z-7k2m9q4x), so no file is "
        "read, written or removed for it; another program stored it: weaver runs delete removes its rows in the database"
    )


def shown_run_id(text: object) -> str:
    """Return a run id as it is, and any other text quoted, with control characters as escapes, cut to 80 characters."""
    if isinstance(text, str) and is_run_id(text):
        return text
    quoted = repr(text)
    return quoted if len(quoted) <= 80 else quoted[:79] + "…"
