"""Pruning: removes old events in short transactions that delay no reader and no writer.

Events after the offset of the slowest consumer stay, unless `force` is given, and so does the newest event, which tells
readers the end of the log. Dropping partitions would be faster, but waits for every open writer, and new writers queue
behind it.
"""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime

import msgspec

from weaver.walle.database import Database
from weaver.walle.log.gap_aware_reader import PRUNING_LOCK

__all__ = ["Pruned", "prune"]

_ROWS = 2_000
_BOUND = """
SELECT (SELECT max(id) FROM outbox), (SELECT min(last_offset) FROM consumer_offsets),
       (SELECT consumer_id FROM consumer_offsets ORDER BY last_offset, consumer_id LIMIT 1)
"""
_DELETE = f"""
WITH old AS (
  SELECT id FROM outbox WHERE id <= $2 AND created_at < $1 ORDER BY id LIMIT {_ROWS}
)
DELETE FROM outbox USING old WHERE outbox.id = old.id
"""


class Pruned(msgspec.Struct, frozen=True, kw_only=True):
    """The number of removed events, and the consumer whose offset kept others (None: no consumer)."""

    events: int
    held_by: str | None
    held_at: int | None


async def prune(
    database: Database, before: datetime, *, force: bool = False, progress: Callable[[int], object] | None = None
) -> Pruned:
    """Remove the events that were appended before `before` (aware). `progress` is called with the number removed so far."""
    removed = 0
    async with database.connection() as connection:
        newest, slowest, who = await connection.fetchrow(_BOUND)
        if newest is None:
            return Pruned(events=0, held_by=None, held_at=None)
        bound = newest - 1
        held = None if force or slowest is None or slowest >= bound else who
        if held is not None:
            bound = slowest
        while True:
            async with connection.transaction():
                # A deletion fills no gap, so readers need not wait for it: GapAwareReader looks for this lock.
                await connection.execute(f"SELECT pg_advisory_xact_lock_shared({PRUNING_LOCK})")
                status = await connection.execute(_DELETE, before, bound)
            removed += int(status.split()[-1])
            if progress is not None:
                progress(removed)
            if status == "DELETE 0":
                return Pruned(events=removed, held_by=held, held_at=None if held is None else slowest)
