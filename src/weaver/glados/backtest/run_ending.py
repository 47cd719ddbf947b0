"""RunEnding: everything that must be stored at the end of a run, and the one function that stores it.

The ending is kept in a file of the run's folder, `pending.json`, from the end of the run until it is stored. So a store that
fails at the end loses nothing: the ending is stored by the next recording or command that reaches the same database
(`store_pending`). Storing is one transaction and adds only what is missing, so it may be repeated.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from typing import TYPE_CHECKING, Any

import msgspec

from weaver.core.errors import ConfigError, DataError, StoreError, WeaverError
from weaver.core.files import make_private_folder, write_whole
from weaver.core.run_folders import RunFolders
from weaver.core.run_id import shown_run_id
from weaver.core.text import describe_error
from weaver.events.envelope import Envelope, envelope
from weaver.events.types.bulk_orders import OrdersRecordedInBulk
from weaver.events.types.orders import OrdersRecorded
from weaver.events.types.run import RunCompleted, RunCreated, RunError, RunStarted, RunStopped
from weaver.glados.wiring import PENDING_FILE, pending_run_ids
from weaver.walle.database import describe_url
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
LONGEST_TEXT = 120
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
    """Store what the database does not have of the run, all or nothing, and remove the pending file.

    The caller holds the run's lock. `create` allows a run that the database does not have; else it was deleted meanwhile
    (RunDeleted). `progress` is called after every step.
    """
    async with store.database.transaction() as transaction:
        stored = await store.runs.stored_part(ending.run_id, transaction)
        if stored is None:
            if not create:
                raise RunDeleted(f"run {ending.run_id} was deleted while it was being recorded")
            await _create(store, ending, transaction)
            stored = StoredPart(status="running", fills=0, orders=[])
        progress()
        if not stored.is_complete:
            if ending.with_rows:
                await _store_rows(store, ending, folders, stored, transaction, progress)
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
            if ending is None or ending.database not in (None, describe_url(store.database.url)):
                continue
            async with store.runs.writing(run_id):
                await store_ending(store, ending, folders, create=True, progress=progress)
        except ConfigError:
            continue  # another process is storing it
        except (WeaverError, OSError) as error:
            problems.append(f"run {run_id} is not recorded yet: {describe_error(error)}")
    return problems


async def _create(store: OpenStore, ending: RunEnding, transaction: Any) -> None:
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


async def _store_rows(
    store: OpenStore,
    ending: RunEnding,
    folders: RunFolders,
    stored: StoredPart,
    transaction: Any,
    progress: Callable[[], None],
) -> None:
    """Store the orders and fills that are missing, in the tables and in the log."""
    import polars as pl

    orders = pl.scan_parquet(folders.file(ending.run_id, "orders.parquet")).select(ORDER_COLUMNS[1:])
    fills = (
        pl.scan_parquet(folders.file(ending.run_id, "fills.parquet"))
        .with_row_index("seq", offset=1)
        .with_columns(pl.col("seq").cast(pl.Int64))
        .select(FILL_COLUMNS[1:])
        .slice(stored.fills)
    )
    known = pl.Series("number", stored.orders, dtype=pl.Int64)
    count = pl.len().alias("count")
    missing = (orders.select(count).collect().item() - len(known), fills.select(count).collect().item())
    if max(missing) <= ROWS_IN_BULK:
        order_rows = _clean(orders.filter(~pl.col("number").is_in(known.implode()))).collect().rows()
        fill_rows = _clean(fills).collect().rows()
        await store.runs.add(
            ending.run_id, orders=order_rows, fills=fill_rows, bars_done=ending.bars_done, transaction=transaction
        )
        events = [
            ending.event(
                OrdersRecorded(
                    orders=order_rows[at : at + ROWS_OF_AN_EVENT],
                    fills=[row[1:] for row in fill_rows[at : at + ROWS_OF_AN_EVENT]],
                ),
                ending.ended_ns,
            )
            for at in range(0, max(missing), ROWS_OF_AN_EVENT)
        ]
        if events:
            await store.log.append(events, transaction=transaction)
        return
    await _store_in_bulk(store, ending, "orders", ORDER_COLUMNS, _slices(orders, known), transaction, progress)
    await _store_in_bulk(store, ending, "fills", FILL_COLUMNS, _slices(fills), transaction, progress)


async def _store_in_bulk(
    store: OpenStore,
    ending: RunEnding,
    table: str,
    columns: Sequence[str],
    slices: Iterator[pl.DataFrame],
    transaction: Any,
    progress: Callable[[], None],
) -> None:
    import polars as pl

    for frame in slices:
        with_id = frame.select(pl.lit(ending.run_id).alias("run_id"), pl.all())
        await store.runs.add_csv(table, columns, [_csv(with_id, header=False).encode()], transaction)
        progress()
        events = [
            ending.event(OrdersRecordedInBulk(**{table: _csv(part)}), ending.ended_ns)
            for part in frame.iter_slices(ROWS_OF_AN_EVENT)
        ]
        await store.log.append(events, transaction=transaction)
        progress()


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
