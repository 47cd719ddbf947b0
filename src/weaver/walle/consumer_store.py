"""PostgresConsumerStore: transactions, leases, attempts and dead letters of consumers in PostgreSQL.

A lease is an advisory lock of a separate connection, so it is released when its process ends, however that happens. A
process that was cut off may believe for a moment that it still holds its lease. Therefore an offset moves only from the
value that its consumer saw, in the transaction of the effect, and of two that work at once the second commit is refused.
"""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
from collections.abc import AsyncIterator
from contextlib import AbstractAsyncContextManager, asynccontextmanager

from weaver.core.errors import ConfigError, LeaseLost
from weaver.core.instants import NS_PER_SECOND
from weaver.core.ports import sleep_for
from weaver.core.text import brief
from weaver.events.consumer_store import Attempt, DeadLetter, TransactionLimit
from weaver.events.log import Transaction
from weaver.events.offsets import check_consumer
from weaver.walle.database import BROKEN, Database, DatabaseTransaction, named_errors
from weaver.walle.offset_store import PostgresOffsetStore
from weaver.walle.transient import transient_as_unavailable

__all__ = ["PostgresConsumerStore"]

_ADVANCE = """
INSERT INTO consumer_offsets AS there (consumer_id, last_offset, updated_at)
SELECT $1::varchar, $3::bigint, clock_timestamp()
WHERE $2::bigint = -1 OR EXISTS (SELECT FROM consumer_offsets WHERE consumer_id = $1)
ON CONFLICT (consumer_id) DO UPDATE SET last_offset = excluded.last_offset, updated_at = excluded.updated_at
WHERE there.last_offset = $2
"""
_PARK = """
INSERT INTO dead_letters (consumer_id, event_offset, event_type, payload, error, attempts)
VALUES ($1, $2, $3, (SELECT payload FROM outbox WHERE id = $2), $4, $5)
"""
_LETTERS = """
SELECT consumer_id, event_offset, event_type, error, attempts FROM dead_letters
WHERE $1::text IS NULL OR consumer_id = $1 ORDER BY id
"""

_GET_ATTEMPT = "SELECT event_offset, attempts FROM consumer_attempts WHERE consumer_id = $1"
_SET_ATTEMPT = """
INSERT INTO consumer_attempts (consumer_id, event_offset, attempts, updated_at) VALUES ($1, $2, $3, clock_timestamp())
ON CONFLICT (consumer_id) DO UPDATE
SET event_offset = excluded.event_offset, attempts = excluded.attempts, updated_at = excluded.updated_at
"""
# transaction_timeout exists since PostgreSQL 17. Both settings are in milliseconds, 0 for no limit.
_LIMITS = """
SELECT name, setting::bigint FROM pg_settings
WHERE name IN ('idle_in_transaction_session_timeout', 'transaction_timeout') AND setting::bigint > 0
ORDER BY setting::bigint LIMIT 1
"""


class _AdvisoryLease:
    """A lease that is held while its connection is open."""

    def __init__(self) -> None:
        self._lost = asyncio.Event()

    @property
    def lost(self) -> bool:
        return self._lost.is_set()

    async def wait_lost(self) -> None:
        await self._lost.wait()

    def connection_lost(self) -> None:
        self._lost.set()


class PostgresConsumerStore:
    """The store of consumers whose effects are in the database.

    A lease that another process holds is requested every `retry_s` seconds.
    """

    def __init__(self, database: Database, *, retry_s: float = 1.0) -> None:
        if not retry_s > 0:
            raise ConfigError(f"retry_s={brief(retry_s)}: must be greater than zero")
        self._database = database
        self._retry_ns = int(retry_s * NS_PER_SECOND)
        self.offsets = PostgresOffsetStore(database)

    def transaction(self) -> AbstractAsyncContextManager[DatabaseTransaction]:
        """Open a transaction: committed at the end of the block, rolled back if the block raises."""
        return self._database.transaction()

    async def transaction_limit(self) -> TransactionLimit | None:
        """Return the shorter of idle_in_transaction_session_timeout and transaction_timeout; None if neither is set."""
        with transient_as_unavailable(self._database.url):
            async with self._database.connection() as connection:
                row = await connection.fetchrow(_LIMITS)
        return None if row is None else TransactionLimit(setting=row[0], ns=row[1] * NS_PER_SECOND // 1000)

    async def advance(self, consumer_id: str, before: int, after: int, transaction: Transaction) -> None:
        """Move the offset from `before` to `after` within `transaction`; raise LeaseLost if it is not `before`."""
        connection = _own(transaction).connection
        with transient_as_unavailable(self._database.url):
            status: str = await connection.execute(_ADVANCE, consumer_id, before, after)
            if status == "INSERT 0 1":
                return
            offset = await connection.fetchval(
                "SELECT last_offset FROM consumer_offsets WHERE consumer_id = $1", consumer_id
            )
        raise LeaseLost(
            f"consumer {brief(consumer_id)} is at offset {offset}, not at {before}: another process works "
            "under this name, or "
            "the offset was moved by hand; this batch was rolled back"
        )

    async def park(self, letter: DeadLetter, transaction: Transaction) -> None:
        """Store a dead letter within `transaction`, with a copy of the event that is kept when the log is pruned."""
        with transient_as_unavailable(self._database.url):
            await _own(transaction).connection.execute(
                _PARK, letter.consumer_id, letter.offset, letter.event_type, letter.error, letter.attempts
            )

    async def dead_letters(self, consumer_id: str | None = None) -> list[DeadLetter]:
        """Return the dead letters, oldest first."""
        async with self._database.connection() as connection:
            rows = await connection.fetch(_LETTERS, consumer_id)
        return [
            DeadLetter(consumer_id=name, offset=offset, event_type=kind, error=error, attempts=attempts)
            for name, offset, kind, error, attempts in rows
        ]

    async def get_attempt(self, consumer_id: str) -> Attempt | None:
        """Return the attempt that was stored and not cleared."""
        with transient_as_unavailable(self._database.url):
            async with self._database.connection() as connection:
                row = await connection.fetchrow(_GET_ATTEMPT, consumer_id)
        return None if row is None else Attempt(offset=row[0], attempts=row[1])

    async def set_attempt(self, consumer_id: str, attempt: Attempt) -> None:
        """Store the attempt durably, in a transaction of its own."""
        check_consumer(consumer_id)
        with transient_as_unavailable(self._database.url):
            async with self._database.connection() as connection:
                await connection.execute(_SET_ATTEMPT, consumer_id, attempt.offset, attempt.attempts)

    async def clear_attempt(self, consumer_id: str, transaction: Transaction) -> None:
        """Remove the stored attempt within `transaction`."""
        with transient_as_unavailable(self._database.url):
            await _own(transaction).connection.execute(
                "DELETE FROM consumer_attempts WHERE consumer_id = $1", consumer_id
            )

    @asynccontextmanager
    async def lease(self, consumer_id: str) -> AsyncIterator[_AdvisoryLease]:
        """Wait until no other process holds the name, and hold it for the block. Raises StoreUnavailable."""
        check_consumer(consumer_id)
        connection = await self._database.connect(application_name=f"weaver consumer {consumer_id}"[:63])
        lease = _AdvisoryLease()
        try:
            with named_errors(self._database.url), transient_as_unavailable(self._database.url):
                while not await connection.fetchval("SELECT pg_try_advisory_lock($1)", _key(consumer_id)):
                    await sleep_for(self._database.clock, self._retry_ns)
            connection.add_termination_listener(lambda _: lease.connection_lost())
            yield lease
        finally:
            with contextlib.suppress(TimeoutError, *BROKEN):  # a broken connection has released its lock
                await asyncio.shield(connection.close(timeout=5))


def _own(transaction: Transaction) -> DatabaseTransaction:
    if not isinstance(transaction, DatabaseTransaction):
        raise ConfigError(f"transaction={brief(transaction)}: pass one that Database.transaction() opened")
    return transaction


def _key(consumer_id: str) -> int:
    """Return the key of the advisory lock of a name: 63 bits of its hash."""
    return int.from_bytes(hashlib.sha256(f"weaver consumer {consumer_id}".encode()).digest()[:8], "big") >> 1
