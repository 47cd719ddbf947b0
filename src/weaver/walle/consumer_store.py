"""PostgresConsumerStore: transactions, leases and dead letters of consumers.

A lease is an advisory lock of a connection of its own, so it falls with the process that holds it, however that ends. A
process that was cut off may believe for a moment that it still holds one; so an offset moves only from where its consumer
saw it, in the transaction of the effect, and of two that work at once the second to commit is refused.
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
from weaver.events.consumer_store import DeadLetter
from weaver.events.log import Transaction
from weaver.events.offsets import check_consumer
from weaver.walle.database import BROKEN, Database, DatabaseTransaction, named_errors
from weaver.walle.offset_store import PostgresOffsetStore

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


class _AdvisoryLease:
    """Held while the connection stands."""

    def __init__(self) -> None:
        self.lost = False


class PostgresConsumerStore:
    """The desk of consumers whose effects are in the database. A lease that another holds is asked for every `retry_s`."""

    def __init__(self, database: Database, *, retry_s: float = 1.0) -> None:
        if not retry_s > 0:
            raise ConfigError(f"retry_s={retry_s!r}: must be greater than zero")
        self._database = database
        self._retry_ns = int(retry_s * NS_PER_SECOND)
        self.offsets = PostgresOffsetStore(database)

    def transaction(self) -> AbstractAsyncContextManager[DatabaseTransaction]:
        """A transaction: committed at the end of the block, rolled back where the block raises."""
        return self._database.transaction()

    async def advance(self, consumer_id: str, before: int, after: int, transaction: Transaction) -> None:
        """Move the offset from `before` to `after` within `transaction`; raises LeaseLost where it is elsewhere."""
        connection = _own(transaction).connection
        told: str = await connection.execute(_ADVANCE, consumer_id, before, after)
        if told != "INSERT 0 1":
            stands = await connection.fetchval(
                "SELECT last_offset FROM consumer_offsets WHERE consumer_id = $1", consumer_id
            )
            raise LeaseLost(
                f"consumer {consumer_id!r} stands at {stands}, not at {before}: another process works under this name, "
                "or somebody moved it; this batch was taken back"
            )

    async def park(self, letter: DeadLetter, transaction: Transaction) -> None:
        """Put an event aside within `transaction`, with a copy of it, which outlives its pruning from the log."""
        await _own(transaction).connection.execute(
            _PARK, letter.consumer_id, letter.offset, letter.event_type, letter.error, letter.attempts
        )

    async def dead_letters(self, consumer_id: str | None = None) -> list[DeadLetter]:
        """What was put aside, oldest first."""
        async with self._database.connection() as connection:
            rows = await connection.fetch(_LETTERS, consumer_id)
        return [
            DeadLetter(consumer_id=name, offset=offset, event_type=kind, error=error, attempts=attempts)
            for name, offset, kind, error, attempts in rows
        ]

    @asynccontextmanager
    async def lease(self, consumer_id: str) -> AsyncIterator[_AdvisoryLease]:
        """Wait until nobody else holds the name, and hold it for the block. Raises StoreUnavailable."""
        check_consumer(consumer_id)
        connection = await self._database.connect(application_name=f"weaver consumer {consumer_id}"[:63])
        lease = _AdvisoryLease()
        try:
            with named_errors(self._database.url):
                while not await connection.fetchval("SELECT pg_try_advisory_lock($1)", _key(consumer_id)):
                    await sleep_for(self._database.clock, self._retry_ns)
            connection.add_termination_listener(lambda _: setattr(lease, "lost", True))
            yield lease
        finally:
            with contextlib.suppress(TimeoutError, *BROKEN):  # it is gone, and the lock with it
                await asyncio.shield(connection.close(timeout=5))


def _own(transaction: Transaction) -> DatabaseTransaction:
    if not isinstance(transaction, DatabaseTransaction):
        raise ConfigError(f"transaction={transaction!r}: give what Database.transaction() opened")
    return transaction


def _key(consumer_id: str) -> int:
    """The advisory lock of a name: 63 bits of its hash."""
    return int.from_bytes(hashlib.sha256(f"weaver consumer {consumer_id}".encode()).digest()[:8], "big") >> 1
