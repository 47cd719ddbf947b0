"""PostgresOffsetStore: the offsets of consumers in PostgreSQL. An offset only increases, unless `backwards` is true."""

from __future__ import annotations

from weaver.core.errors import ConfigError
from weaver.core.text import brief
from weaver.events.log import BEGINNING, Transaction, check_offset
from weaver.events.offsets import check_consumer
from weaver.walle.database import Database, DatabaseTransaction
from weaver.walle.transient import transient_as_unavailable

__all__ = ["PostgresOffsetStore"]

_SET = """
INSERT INTO consumer_offsets AS there (consumer_id, last_offset, updated_at) VALUES ($1, $2, clock_timestamp())
ON CONFLICT (consumer_id) DO UPDATE
SET last_offset = CASE WHEN $3 THEN excluded.last_offset ELSE greatest(there.last_offset, excluded.last_offset) END,
    updated_at = excluded.updated_at
RETURNING last_offset
"""


class PostgresOffsetStore:
    """Offsets in the table `consumer_offsets`."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def get_offset(self, consumer_id: str) -> int:
        """Return the offset of `consumer_id`, -1 if none was stored."""
        check_consumer(consumer_id)
        with transient_as_unavailable(self._database.url):
            async with self._database.connection() as connection:
                offset: int | None = await connection.fetchval(
                    "SELECT last_offset FROM consumer_offsets WHERE consumer_id = $1", consumer_id
                )
        return BEGINNING if offset is None else offset

    async def set_offset(
        self, consumer_id: str, offset: int, *, backwards: bool = False, transaction: Transaction | None = None
    ) -> int:
        """Store the offset of `consumer_id`, and return the stored offset."""
        check_consumer(consumer_id)
        check_offset(offset)
        if transaction is not None:
            if not isinstance(transaction, DatabaseTransaction):
                raise ConfigError(f"transaction={brief(transaction)}: pass one that Database.transaction() opened")
            within: int = await transaction.connection.fetchval(_SET, consumer_id, offset, backwards)
            return within
        async with self._database.connection() as connection:
            alone: int = await connection.fetchval(_SET, consumer_id, offset, backwards)
        return alone

    async def get_all_offsets(self) -> dict[str, int]:
        """Return the offset of every consumer, by name."""
        async with self._database.connection() as connection:
            rows = await connection.fetch("SELECT consumer_id, last_offset FROM consumer_offsets ORDER BY consumer_id")
        return dict(tuple(row) for row in rows)
