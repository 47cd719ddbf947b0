"""RunEnding: everything that must be stored at the end of a run, and the one function that stores it.

The ending is kept in a file of the run's folder, `pending.json`, from the end of the run until it is stored. So a store that
fails at the end loses nothing: the ending is stored by the next recording or command that reaches the same database
(`store_pending`). Storing adds only what is missing, so it may be repeated, and its last transaction ends the run.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from typing import TYPE_CHECKING, Any

import msgspec

from weaver.core.errors import ConfigError, DataError, StoreError, WeaverError
from weaver.core.files import make_private_folder, write_whole
from weaver.core.orders import LONGEST_TAG
from weaver.core.run_folders import RunFolders
from weaver.core.run_id import shown_run_id
from weaver.core.text import describe_error
from weaver.events.envelope import Envelope, envelope
from weaver.events.types.bulk_orders import OrdersRecordedInBulk
from weaver.events.types.orders import OrdersRecorded
from weaver.events.types.run import RunCompleted, RunCreated, RunError, RunStarted, RunStopped
from weaver.glados.wiring import PENDING_FILE, pending_run_ids
from weaver.walle.runs import FILL_COLUMNS, ORDER_COLUMNS, StoredPart, StoredResult

if TYPE_CHECKING:
    import polars as pl

    from weaver.glados.wiring import OpenStore

__all__ = [
    "LONGEST_TEXT",
    "ROWS_OF_AN_EVENT",
    "RunDeleted",
    "RunEnding",
    "forget_pending",
    "pending_of",
    "store_ending",
    "store_pending",
]

PRODUCER = "backtest"
LONGEST_TEXT = LONGEST_TAG
"""Characters of a tag or reason that are stored, so that thousands of them fit into one event."""

ROWS_OF_AN_EVENT = 2_000
"""Orders or fills in one event, so that it stays well below the size limit of the log."""

ROWS_IN_BULK = 20_000
"""More orders or fills than this are stored as CSV text, in the tables (COPY) and in the log (orders.RecordedInBulk)."""

_ROWS_OF_A_COPY = 50_000
"""Rows that are read, converted and copied at once: a row group of the files (run_files.ROWS_AT_ONCE)."""


class RunDeleted(StoreError):
    """The run was deleted while it was being recorded."""


class RunEnding(msgspec.Struct, frozen=True, kw_only=True):
    """The facts of a run at its end. Orders and fills are in the Parquet files of the run's folder.

    `database` describes where the run began to be stored, or is None. `problem` says why storing failed, for people.
    """

    run_id: str
    mode: str
    strategy: str
    config: str
    weaver: str
    bars_total: int
    began_ns: int
    ended_ns: int
    status: str
    bars_done: int
    with_rows: bool
    orders: int
    fills: int
    error: str | None = None
    reason: str = ""
    crash: RunError | None = None
    result: StoredResult | None = None
    database: str | None = None
    problem: str = ""

    def keep(self, folders: RunFolders) -> None:
        """Write the ending to the run's folder, readable by its owner only. Raises OSError."""
        make_private_folder(folders.folder(self.run_id))
        write_whole(folders.file(self.run_id, PENDING_FILE), msgspec.json.encode(self), mode=0o600)

    def event(self, payload: msgspec.Struct, ts_ns: int) -> Envelope[Any]:
        """Return an event of this run, caused by its run.Created."""
        cause = self.created_event()
        return envelope(payload, ts=ts_ns, producer=PRODUCER, run_id=self.run_id, cause=cause)

    def created_event(self) -> Envelope[Any]:
        """Return run.Created; the same call gives the same event, id included."""
        payload = RunCreated(config=msgspec.json.decode(self.config), weaver=self.weaver)
        return envelope(payload, ts=self.began_ns, producer=PRODUCER, run_id=self.run_id)

    def last_payload(self) -> msgspec.Struct:
        """Return the payload of the run's last event."""
        if self.crash is not None:
            return self.crash
        if self.status == "stopped":
            return RunStopped(reason=self.reason, bars=self.bars_done, orders=self.orders, fills=self.fills)
        assert self.result is not None, "a completed run has a result"
        return RunCompleted(
            bars=self.bars_done,
            orders=self.orders,
            fills=self.fills,
            elapsed_s=self.result.elapsed_s,
            stats=self.result.stats,
        )


def pending_of(folders: RunFolders, run_id: str) -> RunEnding | None:
    """Return the ending in a run's folder that is not stored yet; None if there is none.

    Raises DataError for an ending of another run, which someone has put there: it would be stored under that run's id.
    """
    path = folders.file(run_id, PENDING_FILE)
    try:
        ending = msgspec.json.decode(path.read_bytes(), type=RunEnding)
    except (FileNotFoundError, NotADirectoryError, msgspec.DecodeError):
        return None
    if ending.run_id != run_id:
        raise DataError(
            f"{path} is about run {shown_run_id(ending.run_id)}, not {run_id}, so it is not stored; remove the file"
        )
    return ending


async def store_ending(
    store: OpenStore,
    ending: RunEnding,
    folders: RunFolders,
    *,
    create: bool,
    progress: Callable[[], None] = lambda: None,
) -> None:
    """Store what the database does not have of the run, and remove the pending file.

    Few rows are stored with the end of the run, all or nothing. Many are stored before it in parts, each with its event; if
    that is cut short, the next call stores the parts that are missing.

    The caller holds the run's lock. `create` allows a run that the database does not have; else it was deleted meanwhile
    (RunDeleted). `progress` is called after every step.
    """
    missing: _MissingRows | None = None
    async with store.database.transaction() as transaction:
        stored = await _stored_part(store, ending, transaction, create=create)
    progress()
    if ending.with_rows and not stored.is_complete:
        missing = await asyncio.to_thread(_MissingRows, folders, ending.run_id, stored)
        if missing.count > ROWS_IN_BULK:
            await _store_in_bulk(store, ending, missing, progress)
            missing = None
    if not stored.is_complete:
        async with store.database.transaction() as transaction:
            if await store.runs.locked_status(ending.run_id, transaction) is None:
                raise _deleted(ending)
            if missing is not None:
                await _store_rows(store, ending, missing, transaction)
            await store.runs.end(
                ending.run_id,
                ending.status,
                bars_done=ending.bars_done,
                error=ending.error,
                result=ending.result,
                transaction=transaction,
            )
            await store.log.append(ending.event(ending.last_payload(), ending.ended_ns), transaction=transaction)
            progress()
    folders.file(ending.run_id, PENDING_FILE).unlink(missing_ok=True)


def forget_pending(folders: RunFolders, run_id: str) -> None:
    """Remove the ending from a run's folder, if it is there. A file that cannot be removed stays."""
    with suppress(OSError, DataError):
        folders.file(run_id, PENDING_FILE).unlink(missing_ok=True)


async def store_pending(
    store: OpenStore, folders: RunFolders, *, progress: Callable[[], None] = lambda: None
) -> list[str]:
    """Store the endings that an earlier process could not store in this database. Return a line for each that fails."""
    problems = []
    for run_id in pending_run_ids(folders):
        try:
            ending = pending_of(folders, run_id)
            if ending is None or ending.database not in (None, store.database.description):
                continue
            async with store.runs.writing(run_id):
                await store_ending(store, ending, folders, create=True, progress=progress)
        except ConfigError:
            continue  # another process is storing it
        except (WeaverError, OSError) as error:
            problems.append(f"run {run_id} is not recorded yet: {describe_error(error)}")
    return problems


async def _stored_part(store: OpenStore, ending: RunEnding, transaction: Any, *, create: bool) -> StoredPart:
    """Return what the database has of the run, and lock the run; make it first if there is none and `create`."""
    stored = await store.runs.stored_part(ending.run_id, transaction)
    if stored is not None:
        return stored
    if not create:
        raise _deleted(ending)
    await store.runs.create(
        ending.run_id,
        mode=ending.mode,
        strategy=ending.strategy,
        config=ending.config.encode(),
        bars_total=ending.bars_total,
        began_ns=ending.began_ns,
        transaction=transaction,
    )
    started = ending.event(RunStarted(bars=ending.bars_total), ending.began_ns)
    await store.log.append([ending.created_event(), started], transaction=transaction)
    return StoredPart(status="running", fills=0, orders=[])


def _deleted(ending: RunEnding) -> RunDeleted:
    return RunDeleted(f"run {ending.run_id} was deleted while it was being recorded")


class _MissingRows:
    """The orders and fills in the run's files that the database does not have. `count` is the larger of their numbers."""

    def __init__(self, folders: RunFolders, run_id: str, stored: StoredPart) -> None:
        import polars as pl

        self._stored_orders = pl.Series("number", stored.orders, dtype=pl.Int64)
        self._orders = pl.scan_parquet(folders.file(run_id, "orders.parquet")).select(ORDER_COLUMNS[1:])
        self._fills = (
            pl.scan_parquet(folders.file(run_id, "fills.parquet"))
            .with_row_index("seq", offset=1)
            .with_columns(pl.col("seq").cast(pl.Int64))
            .select(FILL_COLUMNS[1:])
            .slice(stored.fills)
        )
        orders, fills = (frame.select(pl.len()).collect().item() for frame in (self._orders, self._fills))
        self.count: int = max(orders - len(stored.orders), fills)

    def orders(self) -> Iterator[pl.DataFrame]:
        """Yield the missing orders in parts of at most _ROWS_OF_A_COPY."""
        return _slices(self._orders, without=self._stored_orders)

    def fills(self) -> Iterator[pl.DataFrame]:
        """Yield the missing fills in parts of at most _ROWS_OF_A_COPY, in the order of `seq`."""
        return _slices(self._fills)


async def _store_rows(store: OpenStore, ending: RunEnding, missing: _MissingRows, transaction: Any) -> None:
    """Store the missing rows, in the tables and in the log, within the transaction."""
    orders = [row for part in missing.orders() for row in part.rows()]
    fills = [row for part in missing.fills() for row in part.rows()]
    await store.runs.add(ending.run_id, orders=orders, fills=fills, bars_done=ending.bars_done, transaction=transaction)
    events = [
        ending.event(
            OrdersRecorded(
                orders=orders[at : at + ROWS_OF_AN_EVENT],
                fills=[row[1:] for row in fills[at : at + ROWS_OF_AN_EVENT]],
            ),
            ending.ended_ns,
        )
        for at in range(0, max(len(orders), len(fills)), ROWS_OF_AN_EVENT)
    ]
    if events:
        await store.log.append(events, transaction=transaction)


async def _store_in_bulk(
    store: OpenStore, ending: RunEnding, missing: _MissingRows, progress: Callable[[], None]
) -> None:
    """Store the missing orders and, at the same time over another connection, the missing fills."""
    tasks = [
        asyncio.create_task(_store_parts(store, ending, table, columns, parts, progress), name=f"recording {table}")
        for table, columns, parts in (
            ("orders", ORDER_COLUMNS, missing.orders()),
            ("fills", FILL_COLUMNS, missing.fills()),
        )
    ]
    try:
        await asyncio.gather(*tasks)
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.wait(tasks)


async def _store_parts(
    store: OpenStore,
    ending: RunEnding,
    table: str,
    columns: Sequence[str],
    parts: Iterator[pl.DataFrame],
    progress: Callable[[], None],
) -> None:
    """Store rows of one table part by part; each part is one transaction with its events."""
    while (part := await asyncio.to_thread(_next_part, parts, ending, table)) is not None:
        rows, events = part
        async with store.database.transaction() as transaction:
            if not await store.runs.keep_from_deletion(ending.run_id, transaction):
                raise _deleted(ending)
            await store.runs.add_csv(table, columns, [rows], transaction)
            progress()
            await store.log.append(events, transaction=transaction)
        progress()


def _next_part(
    parts: Iterator[pl.DataFrame], ending: RunEnding, table: str
) -> tuple[bytes, list[Envelope[Any]]] | None:
    """Return the next rows as CSV with the run's id, and the events that hold the same rows; None at the end."""
    import polars as pl

    frame = next(parts, None)
    if frame is None:
        return None
    with_id = frame.select(pl.lit(ending.run_id).alias("run_id"), pl.all())
    events = [
        ending.event(OrdersRecordedInBulk(**{table: _csv(part)}), ending.ended_ns)
        for part in frame.iter_slices(ROWS_OF_AN_EVENT)
    ]
    return _csv(with_id, header=False).encode(), events


def _slices(frame: pl.LazyFrame, without: pl.Series | None = None) -> Iterator[pl.DataFrame]:
    """Yield the rows in parts, except those whose number is in `without`."""
    import polars as pl

    at = 0
    while True:
        part = _clean(frame.slice(at, _ROWS_OF_A_COPY)).collect()
        if part.is_empty():
            return
        at += len(part)
        if without is not None and len(without):
            part = part.filter(~pl.col("number").is_in(without.implode()))
        if len(part):
            yield part


def _clean(frame: pl.LazyFrame) -> pl.LazyFrame:
    """Cut texts to LONGEST_TEXT and write NUL as an escape; the files have no other character that PostgreSQL refuses."""
    import polars as pl

    texts = [name for name in ("reason", "tag") if name in frame.collect_schema().names()]
    columns = [pl.col(name).str.replace_all("\0", "\\0", literal=True) for name in texts]
    cut = [
        pl.when(pl.col(name).str.len_chars() > LONGEST_TEXT)
        .then(pl.col(name).str.slice(0, LONGEST_TEXT - 1) + "…")
        .otherwise(pl.col(name))
        .alias(name)
        for name in texts
    ]
    return frame.with_columns(columns).with_columns(cut)


def _csv(frame: pl.DataFrame, *, header: bool = True) -> str:
    return frame.write_csv(include_header=header)
