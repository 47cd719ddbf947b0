"""GapAwareReader: reads events in the order of their offsets and skips none, in whatever order transactions commit.

The hazard. An id is assigned when a row is inserted and becomes visible when its transaction commits. A reader that asks for
`id > 7` may see 9 while 8 is not committed yet; if it continues after 9, it never sees 8. Under load this loses hundreds of
events.

The solution. Rows are read in the order of their ids. If ids are missing below the largest row that was read (H), the reader
lists the transactions that hold RowExclusiveLock on the table, *after* that read, waits until exactly these have ended, and
reads again. An id that is still missing below H was rolled back and will never appear.

Why it is correct. Let k be a missing id below H. Its writer locked the table before it took k (INSERT locks first), and ids
are assigned one by one in order (CACHE 1, checked at the start), so k was assigned before H, and the transaction of H had
committed before the read. So at the time of the read the writer of k held the lock. If it still holds it when the list is
taken, it is in the list and is waited for; if not, it ended before the list was taken. In both cases the second read comes
after its end, and a transaction becomes visible before it releases its locks. Taking the list before the read breaks the
first step: a writer may lock, take k and stay open in between, and is in no list.

The end of the server's run. A prepared transaction survives a restart or crash of the server under another virtual id, so
a list from before says nothing afterwards. The list therefore carries the start time of the server, and the time at which it
was taken. If the server was started since, or if the connection that looks again was opened since (a crash of one backend
restarts all of them, but not the server's start time), the read begins anew. A connection that the pool happens to open in
the meantime costs one more read.

On a standby the locks of the primary's transactions are not visible, so a standby is refused.

Alternatives considered: a lock in each writer (writers wait for each other: a fifth to a third of the throughput), and
reading below the oldest open transaction of the cluster (any open transaction anywhere stalls every reader, and offsets do
not survive a restore). This costs one short query, and only while there is a gap.

A transaction that only deletes (pruning) can fill no gap; it holds an advisory lock that says so, and is not waited for.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import AbstractAsyncContextManager, nullcontext
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from weaver.core.errors import ConfigError
from weaver.core.ports import Clock, sleep_for

__all__ = ["PRUNING_LOCK", "GapAwareReader", "OpenWriters", "check_primary"]

PRUNING_LOCK = 0x5EA7E5
"""The key of the advisory lock that a pruning transaction holds."""

_WRITERS = f"""
SELECT pg_is_in_recovery(), pg_postmaster_start_time(), clock_timestamp(),
  (SELECT backend_start FROM pg_stat_get_activity(pg_backend_pid())),
  ARRAY(
    SELECT virtualtransaction FROM pg_locks
    WHERE locktype = 'relation' AND relation = 'outbox'::regclass AND mode = 'RowExclusiveLock' AND granted
      AND database = (SELECT oid FROM pg_database WHERE datname = current_database())
      AND pid IS DISTINCT FROM pg_backend_pid()
      AND virtualtransaction NOT IN (
        SELECT virtualtransaction FROM pg_locks
        WHERE locktype = 'advisory' AND granted AND classid = 0 AND objid = {PRUNING_LOCK} AND objsubid = 1
      )
  )
"""
_FIRST_PAUSE_NS = 500_000
_LONGEST_PAUSE_NS = 50_000_000

Row = Sequence[Any]
Lend = Callable[[], AbstractAsyncContextManager[Any]]


@dataclass(frozen=True, slots=True)
class OpenWriters:
    """The transactions that have written to the log, or are about to, and have not ended; and when this was so."""

    transactions: frozenset[str]
    server_start: datetime
    listed_at: datetime
    backend_start: datetime

    def comparable_with(self, earlier: OpenWriters) -> bool:
        """Return whether the ids of both lists are certainly of the same run of the server."""
        return self.server_start == earlier.server_start and self.backend_start <= earlier.listed_at


class GapAwareReader:
    """Reads rows (id, ...) of the log by `query`, whose parameters are $1 the offset, $2 the limit, then `arguments`.

    The query must return every id after the offset up to the limit, in order; its other columns are the caller's.
    `gap_waits` and `gap_wait_ns` count the waits for gaps and their elapsed time.
    """

    def __init__(self, query: str, clock: Clock, *arguments: Any) -> None:
        self._query = query
        self._clock = clock
        self._arguments = arguments
        self.gap_waits = 0
        self.gap_wait_ns = 0

    async def read(self, connection: Any, after: int, limit: int, *, wait: bool = True) -> list[Row]:
        """Return up to `limit` rows after `after`, none of which has a gap before it that could still be filled.

        If the next id is such a gap, wait for it. With `wait=False` there is no waiting: the rows end before the first gap
        that could still be filled. Raises ConfigError on a standby.
        """
        return await self.read_by(lambda: nullcontext(connection), after, limit, wait=wait)

    async def read_by(self, lend: Lend, after: int, limit: int, *, wait: bool = True) -> list[Row]:
        """Read as `read` does, over connections that `lend` opens; none is kept while waiting for a gap."""
        while True:
            async with lend() as connection:
                rows = await self._fetch(connection, after, limit)
                whole = _contiguous(rows, after)
                if whole == len(rows):
                    return rows
                if whole and wait:
                    return rows[:whole]
                horizon = rows[-1][0]
                writers = await self._open_then(connection)
                if not writers.transactions:
                    return await self._up_to(connection, after, limit, horizon)
            if not wait:
                return rows[:whole]
            if await self._wait_for(lend, writers):
                async with lend() as connection:
                    return await self._up_to(connection, after, limit, horizon)

    async def _open_then(self, connection: Any) -> OpenWriters:
        """List the writers after a read showed a gap. A separate step, so that a test can take it in the wrong order."""
        return await self._writers(connection)

    async def _up_to(self, connection: Any, after: int, limit: int, horizon: int) -> list[Row]:
        """Return the rows up to `horizon`, once every transaction that could fill a gap before it has ended."""
        return [row for row in await self._fetch(connection, after, limit) if row[0] <= horizon]

    async def _wait_for(self, lend: Lend, writers: OpenWriters) -> bool:
        """Wait until all `writers` have ended. Return False if that cannot be known: the read must begin anew."""
        began, pause = self._clock.elapsed_ns(), _FIRST_PAUSE_NS
        self.gap_waits += 1
        waited_for = writers.transactions
        try:
            while waited_for:
                await sleep_for(self._clock, pause)
                pause = min(2 * pause, _LONGEST_PAUSE_NS)
                async with lend() as connection:
                    now = await self._writers(connection)
                if not now.comparable_with(writers):
                    return False
                waited_for &= now.transactions
            return True
        finally:
            self.gap_wait_ns += self._clock.elapsed_ns() - began

    async def _fetch(self, connection: Any, after: int, limit: int) -> list[Row]:
        rows: list[Row] = await connection.fetch(self._query, after, limit, *self._arguments)
        return rows

    async def _writers(self, connection: Any) -> OpenWriters:
        standby, server_start, listed_at, backend_start, transactions = await connection.fetchrow(_WRITERS)
        if standby:
            raise standby_error()
        return OpenWriters(frozenset(transactions), server_start, listed_at, backend_start)


async def check_primary(connection: Any) -> None:
    """Raise ConfigError if the connection leads to a standby."""
    if await connection.fetchval("SELECT pg_is_in_recovery()"):
        raise standby_error()


def standby_error() -> ConfigError:
    """Return the error that refuses a standby."""
    return ConfigError(
        "the database server is a standby (in recovery): a reader of the log would skip events there, because it cannot see "
        "the transactions of the primary; name the primary server in DB_URL"
    )


def _contiguous(rows: Sequence[Row], after: int) -> int:
    """Return how many rows from the first on follow `after` without a gap."""
    if not rows or rows[-1][0] - max(after, 0) == len(rows):
        return len(rows)
    expected = max(after, 0) + 1
    for count, row in enumerate(rows):
        if row[0] != expected + count:
            return count
    return len(rows)
