"""The gap-aware reader: events in the order of their offsets, none passed over, whatever order transactions commit in.

The hazard. An id is taken when a row is inserted and seen when its transaction commits. A reader that asks for `id > 7` may
see 9 while 8 is still on its way; if it goes on after 9, it never sees 8. Under load that loses events by the hundred.

What is done. Rows are read in the order of their ids. Where ids are missing below the largest row that was read (H), the
reader takes the list of transactions that hold RowExclusiveLock on the table, *after* that read, waits until exactly those
have ended, and reads again. What is still missing below H then was rolled back and will never come.

Why that is right. Let k be a missing id below H. Its writer locked the table before it took k (INSERT locks first), and ids
are handed out one by one in order (CACHE 1, checked at the start), so k was taken before H was, and H's transaction had
committed before the read. So at the time of the read the writer of k had the lock already. If it holds it still when the
list is taken, it is in the list and is waited for; if not, it has ended before the list was taken. Either way the second
read comes after its end, and a transaction becomes visible before it drops its locks. Taking the list before the read breaks
the first half: a writer may lock, take k and stay open in between, and is in no list.

What else was considered: a lock in each writer (writers wait for each other: a fifth to a third of the throughput), and
reading below the oldest open transaction of the cluster (any open transaction anywhere stalls every reader, and offsets do
not survive a restore). This costs one short query, and only while there is a gap.

A transaction that only deletes (pruning) can fill no gap; it says so by an advisory lock and is not waited for.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import AbstractAsyncContextManager, nullcontext
from typing import Any

from weaver.core.ports import Clock, sleep_for

__all__ = ["PRUNING_LOCK", "GapAwareReader"]

PRUNING_LOCK = 0x5EA7E5
"""The advisory lock of a transaction that deletes from the log."""

_WRITERS = f"""
SELECT virtualtransaction FROM pg_locks
WHERE locktype = 'relation' AND relation = 'outbox'::regclass AND mode = 'RowExclusiveLock' AND granted
  AND database = (SELECT oid FROM pg_database WHERE datname = current_database())
  AND pid IS DISTINCT FROM pg_backend_pid()
  AND virtualtransaction NOT IN (
    SELECT virtualtransaction FROM pg_locks
    WHERE locktype = 'advisory' AND granted AND classid = 0 AND objid = {PRUNING_LOCK} AND objsubid = 1
  )
"""
_FIRST_PAUSE_NS = 500_000
_LONGEST_PAUSE_NS = 50_000_000

Row = Sequence[Any]
Lend = Callable[[], AbstractAsyncContextManager[Any]]


class GapAwareReader:
    """Reads rows (id, ...) of the log by `query`, whose parameters are $1 the offset, $2 the limit, then `arguments`.

    The query returns every id after the offset up to the limit, in order; what else it returns is the caller's.
    """

    def __init__(self, query: str, clock: Clock, *arguments: Any) -> None:
        self._query = query
        self._clock = clock
        self._arguments = arguments
        self.gap_waits = 0
        self.gap_wait_ns = 0

    async def read(self, connection: Any, after: int, limit: int, *, wait: bool = True) -> list[Row]:
        """Up to `limit` rows after `after`, none of which has a gap before it that could still be filled.

        Where the very next id is such a gap, it is waited for. With `wait=False` there is no waiting, and no gap that was
        rolled back ends what is returned: it goes up to the limit, or to the first place that could still be filled.
        """
        return await self.read_by(lambda: nullcontext(connection), after, limit, wait=wait)

    async def read_by(self, lend: Lend, after: int, limit: int, *, wait: bool = True) -> list[Row]:
        """The same, over connections that `lend` lends: while it waits for a gap it keeps none from the others."""
        async with lend() as connection:
            rows = await self._fetch(connection, after, limit)
            whole = _contiguous(rows, after)
            if whole == len(rows):
                return rows
            if whole and wait:
                return rows[:whole]
            horizon = rows[-1][0]
            open_then = await self._open_then(connection)
            if not open_then:
                return await self._up_to(connection, after, limit, horizon)
        if not wait:
            return rows[:whole]
        await self._wait_for(lend, open_then)
        async with lend() as connection:
            return await self._up_to(connection, after, limit, horizon)

    async def _open_then(self, connection: Any) -> set[str]:
        """Who could fill a gap that the read has shown. A step of its own, so that a test can take it in the wrong order."""
        return await self._writers(connection)

    async def _up_to(self, connection: Any, after: int, limit: int, horizon: int) -> list[Row]:
        """The rows up to `horizon`, when every transaction that could fill a gap before it has ended."""
        return [row for row in await self._fetch(connection, after, limit) if row[0] <= horizon]

    async def _wait_for(self, lend: Lend, open_then: set[str]) -> None:
        began, pause = self._clock.elapsed_ns(), _FIRST_PAUSE_NS
        self.gap_waits += 1
        try:
            while open_then:
                await sleep_for(self._clock, pause)
                pause = min(2 * pause, _LONGEST_PAUSE_NS)
                async with lend() as connection:
                    open_then &= await self._writers(connection)
        finally:
            self.gap_wait_ns += self._clock.elapsed_ns() - began

    async def _fetch(self, connection: Any, after: int, limit: int) -> list[Row]:
        rows: list[Row] = await connection.fetch(self._query, after, limit, *self._arguments)
        return rows

    async def _writers(self, connection: Any) -> set[str]:
        """The transactions that have written to the log, or are about to, and have not ended."""
        return {row[0] for row in await connection.fetch(_WRITERS)}


def _contiguous(rows: Sequence[Row], after: int) -> int:
    """How many rows from the first on follow `after` without a gap."""
    if not rows or rows[-1][0] - max(after, 0) == len(rows):
        return len(rows)
    expected = max(after, 0) + 1
    for count, row in enumerate(rows):
        if row[0] != expected + count:
            return count
    return len(rows)
