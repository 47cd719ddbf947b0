"""PostgresEventLog: the event log in the table `outbox`. Committed events reach every reader in offset order.

Each is delivered at least once and none is skipped (gap_aware_reader.py). No writer waits for a reader or for another
writer. Appends that several tasks of one process make at the same time share a transaction and its flush.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Iterable, Sequence
from typing import Any, overload

import asyncpg

from weaver.core.errors import ConfigError, DatabaseDiskFull, OutcomeUnknown, StoreUnavailable
from weaver.core.instants import NS_PER_SECOND
from weaver.core.ports import Clock, Unschedule, sleep_for
from weaver.core.text import brief
from weaver.events.envelope import Envelope, StoredEvent, encode_batch, read_stored
from weaver.events.health import LogHealth
from weaver.events.log import BEGINNING, EventBatch, EventFilter, Transaction, check_batch, check_limit, check_offset
from weaver.walle.database import BROKEN, Database, DatabaseTransaction, describe_url, named_errors
from weaver.walle.log.gap_aware_reader import GapAwareReader, Row, check_primary
from weaver.walle.log.notifications import Listener, Notifier
from weaver.walle.schema import check_sequence
from weaver.walle.transient import transient_as_unavailable

__all__ = ["PostgresEventLog"]

# One parameter for a whole batch, and the offsets come back in its order: as fast as COPY, which gives none.
_INSERT = (
    "INSERT INTO outbox (type, payload) SELECT event ->> 'type', event FROM jsonb_array_elements($1::jsonb) AS event "
    "RETURNING id"
)
_READ = "SELECT id, payload::text, type FROM outbox WHERE id > $1 ORDER BY id LIMIT $2"
_READ_SOME = """
SELECT id, CASE WHEN ($3::text[] IS NULL OR type = ANY ($3) OR type LIKE ANY ($4::text[]))
                 AND ($5::text IS NULL OR payload ->> 'run_id' = $5) THEN payload::text END,
       type
FROM outbox WHERE id > $1 ORDER BY id LIMIT $2
"""
_LATEST = "SELECT coalesce(max(id), -1) FROM outbox"
_HEALTH = """
SELECT coalesce(max(id), -1), (SELECT greatest(reltuples, 0)::bigint FROM pg_class WHERE oid = 'outbox'::regclass),
       extract(epoch FROM clock_timestamp() - (SELECT created_at FROM outbox ORDER BY id DESC LIMIT 1))::float8
FROM outbox
"""

_STATEMENT_BYTES = 8_388_608
"""A batch is sent in statements of about this size, within one transaction."""

_GROUP = 1000
_FIRST_PAUSE_NS = NS_PER_SECOND // 20
_LONGEST_PAUSE_NS = 5 * NS_PER_SECOND


class PostgresEventLog:
    """The log in PostgreSQL. Without a notification a reader polls every `poll_s` seconds."""

    def __init__(self, database: Database, *, poll_s: float = 2.0, listener: Listener | None = None) -> None:
        if not poll_s > 0:
            raise ConfigError(f"poll_s={brief(poll_s)}: must be greater than zero")
        self._database = database
        self._clock = database.clock
        self._poll_ns = int(poll_s * NS_PER_SECOND)
        self._notifier = Notifier(database)
        self._listener = listener or Listener(database)
        self._group: list[tuple[bytes, asyncio.Future[int]]] = []
        self._flushing: asyncio.Task[None] | None = None
        self._readers: list[GapAwareReader] = []
        self._appending: Any = None
        self._sequence_checked = False
        self._gap_waits = 0
        self._gap_wait_ns = 0

    # Writing.

    @overload
    async def append(self, events: Envelope[Any], *, transaction: Transaction | None = None) -> int: ...
    @overload
    async def append(self, events: Sequence[Envelope[Any]], *, transaction: Transaction | None = None) -> list[int]: ...
    async def append(
        self, events: Envelope[Any] | Sequence[Envelope[Any]], *, transaction: Transaction | None = None
    ) -> int | list[int]:
        """Append one event or several, all or none; return their offsets, which increase in the order given.

        `transaction` is one of the same database: `transaction()` or `session()`. Raises the errors of the port before
        anything is written, StoreUnavailable if nothing was written, and OutcomeUnknown if the connection broke meanwhile.
        """
        single = isinstance(events, Envelope)
        batch = [events] if isinstance(events, Envelope) else list(events)
        check_batch(batch)
        encoded = encode_batch(batch)
        if not encoded:
            return []
        if transaction is not None:
            offsets = await self._append_within(transaction, encoded)
        elif single:
            return await self._append_together(encoded[0])
        else:
            offsets = await self._append_batch(encoded)
        return offsets[0] if single else offsets

    async def _append_within(self, transaction: Transaction, encoded: Sequence[bytes]) -> list[int]:
        if isinstance(transaction, DatabaseTransaction):
            with named_errors(self._database.url):
                offsets = await _insert(transaction.connection, encoded)
            transaction.after_commit.append(self._appended)
            return offsets
        from sqlalchemy import event
        from sqlalchemy.ext.asyncio import AsyncSession

        if not isinstance(transaction, AsyncSession):
            raise ConfigError(f"transaction={brief(transaction)}: give what Database.transaction() or session() opened")
        connection = await transaction.connection()
        await connection.exec_driver_sql("SELECT 1")  # SQLAlchemy begins with its first statement, and no sooner
        raw = await connection.get_raw_connection()
        with named_errors(self._database.url):
            offsets = await _insert(raw.driver_connection, encoded)
        event.listen(transaction.sync_session, "after_commit", lambda _: self._appended(), once=True)
        return offsets

    async def _append_batch(self, encoded: Sequence[bytes]) -> list[int]:
        async with self._database.connection() as connection:
            try:
                offsets = await _insert(connection, encoded)
            except BROKEN as error:
                raise self._unknown(error) from error
        self._appended()
        return offsets

    async def _append_together(self, encoded: bytes) -> int:
        done: asyncio.Future[int] = asyncio.get_running_loop().create_future()
        self._group.append((encoded, done))
        if self._flushing is None or self._flushing.done():
            self._flushing = asyncio.create_task(self._flush(), name="weaver append")
        return await done

    async def _flush(self) -> None:
        """Write the waiting events together, then those that arrived meanwhile."""
        while self._group:
            part, self._group = self._group[:_GROUP], self._group[_GROUP:]
            part = [one for one in part if not one[1].cancelled()]
            if part:
                await self._flush_part(part)

    async def _flush_part(self, part: Sequence[tuple[bytes, asyncio.Future[int]]]) -> None:
        try:
            offsets = await self._append_alone([encoded for encoded, _ in part])
        except asyncpg.PostgresError as error:
            if len(part) > 1:
                for one in part:  # one that the server refuses takes no other down with it
                    await self._flush_part([one])
                return
            _fail(part, error)
        except asyncio.CancelledError:
            _fail(part, OutcomeUnknown("the append was cancelled while it was under way"))
            raise
        except Exception as error:  # noqa: BLE001 - raised by every append of this part
            _fail(part, error)
        else:
            for (_, done), offset in zip(part, offsets, strict=True):
                if not done.done():
                    done.set_result(offset)

    async def _append_alone(self, encoded: Sequence[bytes]) -> list[int]:
        """Append over a connection that is kept for it: only one flush runs at a time, so a pool would only cost."""
        try:
            offsets = await _insert(await self._own_connection(), encoded)
        except (asyncpg.InterfaceError, asyncpg.InternalClientError):
            # The driver's own refusal of a connection that was cut: nothing was sent, so it may be done over another one.
            self._appending.terminate()
            offsets = await self._append_batch(encoded)
            return offsets
        except BROKEN as error:
            raise self._unknown(error) from error
        except asyncpg.PostgresError:
            with named_errors(self._database.url):
                raise
        self._appended()
        return offsets

    async def _own_connection(self) -> Any:
        self._database.check_open()
        if self._appending is None or self._appending.is_closed():
            # None of the pool's, not even to ask whether the tables are right: a handler that appends within its
            # transaction may hold the last of them, and would wait for itself.
            self._appending = await self._database.connect_checked()
        return self._appending

    def _appended(self) -> None:
        self._listener.wake()
        self._notifier.poke()

    def _unknown(self, error: BaseException) -> OutcomeUnknown:
        return OutcomeUnknown(
            f"the connection to {describe_url(self._database.url)} broke while events were being appended ({error}); "
            "look whether they are there before appending them again (their ids tell)"
        )

    # Reading.

    async def read_from(self, offset: int, limit: int = 1000) -> list[StoredEvent]:
        """Return up to `limit` events after `offset`, up to the first offset that an open transaction could fill."""
        check_offset(offset)
        check_limit(limit)
        reader = GapAwareReader(_READ, self._clock)
        async with self._database.connection() as connection:
            await self._check_sequence(connection)
            return _decoded(await reader.read(connection, offset, limit, wait=False))

    async def subscribe(
        self,
        *,
        types: Iterable[str] | str | None = None,
        run_id: str | None = None,
        from_offset: int | None = None,
    ) -> AsyncIterator[StoredEvent]:
        """Yield the events after `from_offset`, and then every new one; wait for a server that is away."""
        stream = self.batches(types=types, run_id=run_id, from_offset=from_offset)
        try:
            async for batch in stream:
                for stored in batch:
                    yield stored
        finally:
            await stream.aclose()

    async def batches(
        self,
        *,
        types: Iterable[str] | str | None = None,
        run_id: str | None = None,
        from_offset: int | None = None,
        most: int = 2000,
        empty: bool = False,
        on_error: Callable[[Exception | None], None] | None = None,
    ) -> AsyncGenerator[EventBatch, None]:
        """Yield what `subscribe` yields in lists of up to `most`; with `empty` also lists without an event.

        A failed read is repeated until it works: the server is away, a statement was cancelled, a resource is short.
        `on_error` is called with each failure, and with None when reading works again.
        """
        wanted = EventFilter(types, run_id)
        check_limit(most)
        if from_offset is None:
            from_offset = await self.latest_offset()
        check_offset(from_offset)
        reader = self._reader(wanted)
        woken = asyncio.Event()
        poll = _Poll(self._clock, self._poll_ns, woken)
        unsubscribe = self._listener.subscribe(woken.set)
        at, pause, failing = from_offset, _FIRST_PAUSE_NS, False
        ahead: asyncio.Task[list[Row]] | None = None
        try:
            while True:
                woken.clear()
                try:
                    rows = await (ahead or self._read(reader, at, most))
                except (StoreUnavailable, DatabaseDiskFull) as error:
                    # Reading twice does no harm. `at` is the id of a row that was read, never of a gap: a server that
                    # crashed may use ids again that were never committed.
                    ahead = None
                    failing = True
                    if on_error is not None:
                        on_error(error)
                    await sleep_for(self._clock, pause)
                    pause = min(2 * pause, _LONGEST_PAUSE_NS)
                    continue
                ahead, pause = None, _FIRST_PAUSE_NS
                if failing and on_error is not None:
                    on_error(None)
                failing = False
                if not rows:
                    poll.arm()
                    await woken.wait()
                    continue
                at = rows[-1][0]
                if len(rows) == most:  # catching up: the server reads on while these are decoded and dealt with
                    ahead = asyncio.create_task(self._read(reader, at, most))
                    await _let_start()
                batch = EventBatch(_decoded(rows), at)
                if batch or empty:
                    yield batch
        finally:
            unsubscribe()
            poll.cancel()
            self._forget(reader)
            if ahead is not None:
                ahead.cancel()
                await asyncio.wait([ahead])
                if not ahead.cancelled():
                    ahead.exception()  # its result is not needed any more

    async def latest_offset(self) -> int:
        """Return the offset of the newest event, -1 in an empty log."""
        async with self._database.connection() as connection:
            found: int = await connection.fetchval(_LATEST)
        return found

    async def _read(self, reader: GapAwareReader, at: int, most: int) -> list[Row]:
        with transient_as_unavailable(self._database.url):
            if not self._sequence_checked:
                async with self._database.connection() as connection:
                    await self._check_sequence(connection)
            return await reader.read_by(self._database.connection, at, most)

    async def _check_sequence(self, connection: Any) -> None:
        if not self._sequence_checked:
            await check_primary(connection)
            await check_sequence(connection)
            self._sequence_checked = True

    def _reader(self, wanted: EventFilter) -> GapAwareReader:
        if wanted.takes_all:
            reader = GapAwareReader(_READ, self._clock)
        else:
            names = None if wanted.every_type else sorted(wanted.names)
            families = [family.replace("_", "\\_") + "%" for family in wanted.families]
            reader = GapAwareReader(_READ_SOME, self._clock, names, families, wanted.run_id)
        self._readers.append(reader)
        return reader

    def _forget(self, reader: GapAwareReader) -> None:
        self._readers.remove(reader)
        self._gap_waits += reader.gap_waits
        self._gap_wait_ns += reader.gap_wait_ns

    # How it is.

    async def health(self) -> LogHealth:
        """Return the state of the log; `lag` has every consumer that stored an offset."""
        async with self._database.connection() as connection:
            latest, events, age = await connection.fetchrow(_HEALTH)
            offsets = await connection.fetch("SELECT consumer_id, last_offset FROM consumer_offsets ORDER BY 1")
        return LogHealth(
            listener=self._listener.state,
            latest_offset=latest,
            events=events,
            age_s=age,
            lag={name: max(0, latest - max(offset, BEGINNING)) for name, offset in offsets},
            gap_waits=self._gap_waits + sum(one.gap_waits for one in self._readers),
            gap_wait_s=(self._gap_wait_ns + sum(one.gap_wait_ns for one in self._readers)) / NS_PER_SECOND,
            reconnects=self._listener.reconnects,
        )

    async def close(self) -> None:
        """Finish pending appends and close the connections of the log. The database stays open; its owner closes it."""
        if self._flushing is not None:
            await asyncio.wait([self._flushing])
        appending, self._appending = self._appending, None
        if appending is not None:
            appending.terminate()
        await self._listener.close()
        await self._notifier.close()


class _Poll:
    """Wakes a reader periodically. One deadline serves many waits, because setting one is expensive."""

    def __init__(self, clock: Clock, every_ns: int, woken: asyncio.Event) -> None:
        self._clock = clock
        self._every_ns = every_ns
        self._woken = woken
        self._cancel: Unschedule | None = None

    def arm(self) -> None:
        """Wake the reader within the period from now."""
        if self._cancel is None:
            self._cancel = self._clock.call_after(self._every_ns, self._wake)

    def _wake(self) -> None:
        self._cancel = None
        self._woken.set()

    def cancel(self) -> None:
        """Stop waking the reader."""
        if self._cancel is not None:
            self._cancel()
            self._cancel = None


async def _insert(connection: Any, encoded: Sequence[bytes]) -> list[int]:
    """Insert all events in one transaction: that of the connection, or a new one."""
    size = sum(map(len, encoded))
    if size <= _STATEMENT_BYTES:
        return [row[0] for row in await connection.fetch(_INSERT, _array(encoded))]
    offsets: list[int] = []
    async with connection.transaction():
        part: list[bytes] = []
        room = _STATEMENT_BYTES
        for one in encoded:
            if part and len(one) > room:
                offsets += [row[0] for row in await connection.fetch(_INSERT, _array(part))]
                part, room = [], _STATEMENT_BYTES
            part.append(one)
            room -= len(one)
        offsets += [row[0] for row in await connection.fetch(_INSERT, _array(part))]
    return offsets


def _array(encoded: Sequence[bytes]) -> str:
    return (b"[" + b",".join(encoded) + b"]").decode()


def _decoded(rows: Iterable[Row]) -> list[StoredEvent]:
    return [read_stored(offset, data, kind) for offset, data, kind in rows if data is not None]


def _fail(part: Sequence[tuple[bytes, asyncio.Future[int]]], error: BaseException) -> None:
    for _, done in part:
        if not done.done():
            done.set_exception(error)


async def _let_start() -> None:
    """Let a new task send its query."""
    turn: asyncio.Future[None] = asyncio.get_running_loop().create_future()

    def start() -> None:
        if not turn.done():  # it is where this was cancelled
            turn.set_result(None)

    asyncio.get_running_loop().call_soon(start)
    await turn
