"""Transient errors of the server: the statement failed, and the same statement may succeed later.

Used for Weaver's own statements, which are safe to repeat. Never wrap a handler's statements in it: a timeout of those is
the handler's failure.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import asyncpg

from weaver.core.errors import StoreUnavailable
from weaver.walle.database import describe_url

__all__ = ["transient_as_unavailable"]

# Classes and codes of SQLSTATE (PostgreSQL manual, appendix A).
_TRANSIENT = (
    "08",  # connection
    "40",  # serialisation failure, deadlock
    "53",  # too few resources: disk, memory, connections
    "55P03",  # lock_timeout
    "57",  # statement_timeout, pg_cancel_backend, shutdown
    "58",  # input or output of the server's machine
)


@contextmanager
def transient_as_unavailable(url: str) -> Iterator[None]:
    """Raise StoreUnavailable for a transient error of the server within the block."""
    try:
        yield
    except asyncpg.PostgresError as error:
        if (error.sqlstate or "").startswith(_TRANSIENT):
            raise StoreUnavailable(f"{describe_url(url)} did not complete a statement: {error}; try again") from error
        raise
