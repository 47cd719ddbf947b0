"""COPY into a table that returns when the connection is lost.

asyncpg's own COPY waits for ever when a connection breaks while the driver waits for room to write: the event that it waits
for never comes. Here the loss of the connection ends the COPY. A connection that breaks without a sign, because the machine
of the server vanished, is noticed by the TCP keepalives of `Database` only; a caller that needs a bound sets one.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Coroutine, Iterable, Sequence
from typing import Any, TypeVar

from asyncpg import ConnectionDoesNotExistError

from weaver.walle.database import BROKEN

__all__ = ["copy_csv", "copy_records", "copy_text"]

_T = TypeVar("_T")


async def copy_records(connection: Any, table: str, columns: Sequence[str], records: Sequence[Sequence[Any]]) -> None:
    """Copy rows of Python values. Raises asyncpg.ConnectionDoesNotExistError when the connection is lost."""
    copying = connection.copy_records_to_table(table, records=records, columns=columns)
    await _until_lost(connection, copying)


async def copy_csv(connection: Any, table: str, columns: Sequence[str], parts: Iterable[bytes]) -> None:
    """Copy rows that are CSV text in UTF-8, without a header. Raises ConnectionDoesNotExistError as above."""
    copying = connection.copy_to_table(table, source=_source(parts), format="csv", columns=columns)
    await _until_lost(connection, copying)


async def copy_text(
    connection: Any, table: str, columns: Sequence[str], parts: Iterable[bytes], *, encoding: str
) -> None:
    """Copy rows in PostgreSQL's own text format. Raises ConnectionDoesNotExistError as above.

    `parts` may begin and end anywhere in a row. `encoding` is PostgreSQL's name, such as UTF8.
    """
    source = _source(parts)
    copying = connection.copy_to_table(table, source=source, format="text", columns=columns, encoding=encoding)
    await _until_lost(connection, copying)


async def _source(parts: Iterable[bytes]) -> AsyncIterator[bytes]:
    for part in parts:
        yield part


async def _until_lost(connection: Any, copying: Coroutine[Any, Any, _T]) -> _T:
    lost = asyncio.Event()

    def connection_lost(_: object) -> None:
        lost.set()

    connection.add_termination_listener(connection_lost)
    task = asyncio.ensure_future(copying)
    watch = asyncio.ensure_future(lost.wait())
    try:
        await asyncio.wait([task, watch], return_when=asyncio.FIRST_COMPLETED)
        if not task.done():
            raise ConnectionDoesNotExistError("the connection was closed in the middle of a COPY")
        return task.result()
    except (*BROKEN, asyncio.CancelledError):
        # The driver may still believe that the COPY is under way, and would refuse the rollback.
        if not lost.is_set():
            connection.remove_termination_listener(connection_lost)
            lost.set()
            connection.terminate()
        raise
    finally:
        watch.cancel()
        if not task.done():
            task.cancel()
            await asyncio.wait([task])
        if not task.cancelled():
            task.exception()  # read, so that it is not reported as unhandled
        if not lost.is_set():
            connection.remove_termination_listener(connection_lost)
