"""RunStore: reads and writes the tables of runs: orders, fills and results.

The process that writes a run holds its advisory lock. A run whose status is running while no process holds the lock is
returned as interrupted, with the orders and fills that were stored.
"""

from __future__ import annotations

import hashlib
from collections.abc import AsyncIterator, Iterable, Mapping, Sequence
from contextlib import asynccontextmanager, suppress
from datetime import datetime
from typing import Any

import msgspec

from weaver.core.errors import ConfigError, StoreError
from weaver.core.instants import from_ns
from weaver.walle.connection import BROKEN
from weaver.walle.copy_rows import copy_csv, copy_records
from weaver.walle.database import Database, DatabaseTransaction

__all__ = ["FILL_COLUMNS", "ORDER_COLUMNS", "RunRow", "RunStore", "StoredPart", "StoredResult"]

_COLUMNS = """
SELECT r.id, r.mode, r.strategy, CASE WHEN r.status IN ('created', 'running') AND NOT EXISTS (
         SELECT FROM pg_locks l WHERE l.locktype = 'advisory' AND l.granted AND l.objsubid = 1
         AND l.database = (SELECT oid FROM pg_database WHERE datname = current_database())
         AND (l.classid::bigint << 32) + l.objid::bigint = r.lock_key
       ) THEN 'interrupted' ELSE r.status END AS status,
       r.config::text, r.bars_total, r.bars_done, r.error, r.created_at, r.ended_at,
       (SELECT count(*) FROM orders o WHERE o.run_id = r.id), (SELECT count(*) FROM fills f WHERE f.run_id = r.id),
       s.stats::text
FROM runs r LEFT JOIN results s ON s.run_id = r.id
"""
_CREATE = """
INSERT INTO runs (id, mode, strategy, status, config, bars_total, lock_key, created_at)
VALUES ($1, $2, $3, 'running', $4::jsonb, $5, $6, $7)
"""
ORDER_COLUMNS = ("run_id", "number", "symbol", "side", "kind", "quantity", "status", "reason", "tag", "submitted_ns",
                  "done_ns", "filled_quantity", "average_price")  # fmt: skip
_GOODBYE_S = 0.25  # how long a server may take to answer the end of a connection
FILL_COLUMNS = ("run_id", "seq", "number", "symbol", "side", "ts_ns", "quantity", "price", "commission", "tag")


class RunRow(msgspec.Struct, frozen=True, kw_only=True):
    """A stored run. `status` is running, completed, stopped, failed or interrupted."""

    id: str
    mode: str
    strategy: str
    status: str
    config: dict[str, Any]
    bars_total: int | None
    bars_done: int
    error: str | None
    created_at: datetime
    ended_at: datetime | None
    orders: int
    fills: int
    stats: dict[str, Any] | None


class StoredPart(msgspec.Struct, frozen=True, kw_only=True):
    """How much of a run is stored: its status, the number of its fills, and the numbers of its orders."""

    status: str
    fills: int
    orders: list[int]

    @property
    def is_complete(self) -> bool:
        """Whether the end of the run is stored."""
        return self.status not in ("created", "running")


class StoredResult(msgspec.Struct, frozen=True, kw_only=True):
    """The result of a run. `equity` is downsampled: [end of the bar in ns, equity]."""

    stats: dict[str, Any]
    equity: list[tuple[int, float]]
    warnings: list[str]
    folder: str | None
    elapsed_s: float


class RunStore:
    """Reads and writes the tables of runs."""

    def __init__(self, database: Database) -> None:
        self._database = database

    @asynccontextmanager
    async def writing(self, run_id: str) -> AsyncIterator[None]:
        """Hold the lock of this run for the block. Raises ConfigError if another process holds it."""
        connection = await self._database.connect(application_name="weaver recording")
        try:
            if not await connection.fetchval("SELECT pg_try_advisory_lock($1)", _key(run_id)):
                raise ConfigError(f"run {run_id} is being written by another process")
            yield
        finally:
            # The server lets go of the lock before it answers the goodbye, so the run is not shown as running afterwards.
            with suppress(*BROKEN, TimeoutError):
                await connection.close(timeout=_GOODBYE_S)

    async def create(
        self,
        run_id: str,
        *,
        mode: str,
        strategy: str,
        config: bytes,
        bars_total: int | None,
        began_ns: int,
        transaction: DatabaseTransaction,
    ) -> None:
        """Store a run that starts, or has started, at `began_ns`."""
        await transaction.connection.execute(
            _CREATE, run_id, mode, strategy, config.decode(), bars_total, _key(run_id), from_ns(began_ns)
        )

    async def add(
        self,
        run_id: str,
        *,
        orders: Sequence[Sequence[Any]],
        fills: Sequence[Sequence[Any]],
        bars_done: int,
        transaction: DatabaseTransaction,
    ) -> None:
        """Store orders that have ended, fills, and the number of bars that the run has seen.

        A row of `orders` is (number, symbol, side, kind, quantity, status, reason, tag, submitted_ns, done_ns,
        filled_quantity, average_price), of `fills` (seq, number, symbol, side, ts_ns, quantity, price, commission, tag).
        """
        connection = transaction.connection
        # Instead of a foreign key, which would cost a trigger for each row: the run cannot be deleted meanwhile.
        if await connection.fetchval("SELECT 1 FROM runs WHERE id = $1 FOR KEY SHARE", run_id) is None:
            raise StoreError(f"run {run_id} is not in the store (any more): it was deleted while it was being recorded")
        if orders:
            await copy_records(connection, "orders", ORDER_COLUMNS, [(run_id, *row) for row in orders])
        if fills:
            await copy_records(connection, "fills", FILL_COLUMNS, [(run_id, *row) for row in fills])
        await connection.execute("UPDATE runs SET bars_done = $2 WHERE id = $1", run_id, bars_done)

    async def add_csv(
        self, table: str, columns: Sequence[str], parts: Iterable[bytes], transaction: DatabaseTransaction
    ) -> None:
        """Add rows to `orders` or `fills` from CSV text whose first column is the run's id.

        The caller has locked the run with `stored_part` or `keep_from_deletion`.
        """
        await copy_csv(transaction.connection, table, columns, parts)

    async def stored_part(self, run_id: str, transaction: DatabaseTransaction) -> StoredPart | None:
        """Return what is stored of a run so far, and lock it until the transaction ends; None if there is no such run."""
        status = await self.locked_status(run_id, transaction)
        if status is None:
            return None
        connection = transaction.connection
        fills = await connection.fetchval("SELECT coalesce(max(seq), 0) FROM fills WHERE run_id = $1", run_id)
        orders = await connection.fetch("SELECT number FROM orders WHERE run_id = $1", run_id)
        return StoredPart(status=status, fills=fills, orders=[row[0] for row in orders])

    async def locked_status(self, run_id: str, transaction: DatabaseTransaction) -> str | None:
        """Return the stored status of a run, and lock it until the transaction ends; None if there is no such run."""
        status: str | None = await transaction.connection.fetchval(
            "SELECT status FROM runs WHERE id = $1 FOR UPDATE", run_id
        )
        return status

    async def keep_from_deletion(self, run_id: str, transaction: DatabaseTransaction) -> bool:
        """Return whether there is such a run; it cannot be deleted until the transaction ends."""
        found = await transaction.connection.fetchval("SELECT 1 FROM runs WHERE id = $1 FOR KEY SHARE", run_id)
        return found is not None

    async def end(
        self,
        run_id: str,
        status: str,
        *,
        bars_done: int,
        error: str | None = None,
        result: StoredResult | None = None,
        transaction: DatabaseTransaction,
    ) -> None:
        """Store the end of the run as `status`, with its result if it has one."""
        connection = transaction.connection
        await connection.execute(
            "UPDATE runs SET status = $2, bars_done = $3, error = $4, ended_at = clock_timestamp() WHERE id = $1",
            run_id, status, bars_done, error,
        )  # fmt: skip
        if result is not None:
            await connection.execute(
                "INSERT INTO results (run_id, stats, equity, warnings, folder, elapsed_s) "
                "VALUES ($1, $2::jsonb, $3::jsonb, $4::jsonb, $5, $6)",
                run_id, _json(result.stats), _json(result.equity), _json(result.warnings), result.folder, result.elapsed_s,
            )  # fmt: skip

    async def newest(self, *, limit: int = 20, strategy: str | None = None) -> list[RunRow]:
        """Return the newest runs, the newest first."""
        async with self._database.connection() as connection:
            rows = await connection.fetch(
                f"{_COLUMNS} WHERE $2::text IS NULL OR r.strategy = $2 ORDER BY r.created_at DESC, r.id DESC LIMIT $1",
                limit, strategy,
            )  # fmt: skip
        return [_row(row) for row in rows]

    async def find(self, start: str) -> list[RunRow]:
        """Return the runs whose id begins or ends with `start`: the one whose id it is first, then the newest first."""
        async with self._database.connection() as connection:
            rows = await connection.fetch(
                f"{_COLUMNS} WHERE starts_with(r.id, $1) OR right(r.id, length($1)) = $1 "
                "ORDER BY r.id = $1 DESC, r.created_at DESC LIMIT 20",
                start,
            )
        return [_row(row) for row in rows]

    async def result(self, run_id: str) -> StoredResult | None:
        """Return the result of the run; None if it has none."""
        async with self._database.connection() as connection:
            row = await connection.fetchrow(
                "SELECT stats::text, equity::text, warnings::text, folder, elapsed_s FROM results WHERE run_id = $1",
                run_id,
            )
        if row is None:
            return None
        stats, equity, warnings, folder, elapsed_s = row
        return msgspec.convert(
            {
                "stats": msgspec.json.decode(stats),
                "equity": msgspec.json.decode(equity),
                "warnings": msgspec.json.decode(warnings),
                "folder": folder,
                "elapsed_s": elapsed_s,
            },
            StoredResult,
        )

    async def delete(self, run_id: str) -> bool:
        """Remove the run with its orders, fills and result; its events stay in the log. False if there is no such run."""
        async with self._database.transaction() as transaction:
            connection = transaction.connection
            deleted: str = await connection.execute("DELETE FROM runs WHERE id = $1", run_id)
            await connection.execute("DELETE FROM orders WHERE run_id = $1", run_id)
            await connection.execute("DELETE FROM fills WHERE run_id = $1", run_id)
        return deleted == "DELETE 1"


def _row(row: Sequence[Any]) -> RunRow:
    named: Mapping[str, Any] = dict(zip(RunRow.__struct_fields__, row, strict=True))
    stats = named["stats"]
    return RunRow(
        **(
            dict(named)
            | {"config": msgspec.json.decode(named["config"]), "stats": stats and msgspec.json.decode(stats)}
        )
    )


def _json(value: Any) -> str:
    return msgspec.json.encode(value).decode()


def _key(run_id: str) -> int:
    """Return the advisory lock of a run: 63 bits of its hash."""
    return int.from_bytes(hashlib.sha256(f"weaver run {run_id}".encode()).digest()[:8], "big") >> 1
