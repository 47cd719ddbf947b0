"""EventConsumer: calls a handler for every event after its offset, in order, and moves the offset with the effect.

Promise: an event is handled at least once, none is passed over, and where the handler keeps its effect in the transaction it
is given, exactly once. An event whose handler keeps raising is put aside with its error, never dropped. Two consumers of
one name take turns: one works, the other waits for its end. What it does not promise: to be quick about another's events.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable
from contextlib import asynccontextmanager
from enum import StrEnum

from weaver.core.errors import ConfigError, DatabaseDiskFull, LeaseLost, OutcomeUnknown, StoreUnavailable
from weaver.core.instants import NS_PER_SECOND
from weaver.core.ports import Clock, sleep_for
from weaver.events.consumer_store import ConsumerStore, Lease, letter_of
from weaver.events.envelope import StoredEvent
from weaver.events.log import MOST_EVENTS, EventBatch, EventFilter, EventLog, Transaction, check_offset
from weaver.events.offsets import check_consumer

__all__ = ["ConsumerState", "EventConsumer", "Handler", "Poison"]

Handler = Callable[[StoredEvent, Transaction], Awaitable[None]]
"""Deals with one event; what it writes within the transaction counts together with the offset, or not at all."""

_LONGEST_PAUSE_NS = 30 * NS_PER_SECOND
_MOST_ATTEMPTS = 1_000_000


class ConsumerState(StrEnum):
    """What a consumer is doing."""

    STOPPED = "stopped"
    WAITING = "waiting"  # for the lease that another holds
    RUNNING = "running"
    PAUSED = "paused"
    RETRYING = "retrying"
    HALTED = "halted"  # on an event that nobody can deal with


class Poison(StrEnum):
    """What becomes of the work once an event has failed for the last time."""

    SKIP = "skip"
    HALT = "halt"


class _Moved(Exception):
    """The offset was moved by hand while a batch was under way."""


# What no handler is to blame for: the work begins anew from the offset that the store has. After an outcome that is unknown
# too, for the offset, which was in the same transaction, then tells it.
_STORE = (LeaseLost, StoreUnavailable, OutcomeUnknown, DatabaseDiskFull)
_NOT_THE_HANDLERS = (*_STORE, _Moved)


class EventConsumer:
    """One consumer. `start()` returns at once; `stop()` returns when the handler has.

    `batch` events at most share a transaction; where one of them fails, they are done again one by one, so that the others
    are not held up by it. `attempts` tries with growing pauses from `pause_ns` on, and then the event is put aside.
    """

    def __init__(
        self,
        name: str,
        handler: Handler,
        *,
        log: EventLog,
        desk: ConsumerStore,
        clock: Clock,
        types: Iterable[str] | str | None = None,
        batch: int = 500,
        attempts: int = 5,
        pause_ns: int = NS_PER_SECOND // 10,
        poison: Poison | str = Poison.SKIP,
    ) -> None:
        check_consumer(name)
        for given, value, most in (("batch", batch, MOST_EVENTS), ("attempts", attempts, _MOST_ATTEMPTS)):
            if isinstance(value, bool) or not isinstance(value, int) or not 1 <= value <= most:
                raise ConfigError(f"{given}={value!r} of consumer {name!r}: a whole number from 1 to {most:,}")
        try:
            self._poison = Poison(poison)
        except ValueError:
            raise ConfigError(f"poison={poison!r} of consumer {name!r}: choose 'skip' or 'halt'") from None
        self.name = name
        self.state = ConsumerState.STOPPED
        self.offset = -1
        self.handled = 0
        self.parked = 0
        self.last_error: str | None = None
        self._handler = handler
        self._log = log
        self._desk = desk
        self._clock = clock
        EventFilter(types)  # a wrong name is told here, not where the first event comes
        self._types = types
        self._batch = batch
        self._attempts = attempts
        self._pause_ns = pause_ns
        self._task: asyncio.Task[None] | None = None
        self._may_run = asyncio.Event()
        self._may_run.set()
        self._again = asyncio.Event()
        self._changing = asyncio.Lock()

    # What a person may do with it.

    def start(self) -> None:
        """Begin, or go on, after the offset that the store has. Starting one that runs raises ConfigError."""
        if self._task is not None and not self._task.done():
            raise ConfigError(f"consumer {self.name!r} is running already")
        self._may_run.set()
        self._task = asyncio.create_task(self._run(), name=f"consumer {self.name}")

    async def stop(self) -> None:
        """End; returns when no handler runs any more. Stopping twice does nothing. Raises what ended it before."""
        task, self._task = self._task, None
        if task is None:
            return
        async with self._changing:  # between two transactions: none is cut in two
            task.cancel()
        try:
            await task
        except asyncio.CancelledError:
            if not task.cancelled():
                raise
        finally:
            if self.state is not ConsumerState.HALTED:
                self.state = ConsumerState.STOPPED

    def pause(self) -> None:
        """Handle nothing more after the batch that is under way, until `resume`; the lease is kept."""
        self._may_run.clear()

    def resume(self) -> None:
        """Go on after `pause`."""
        self._may_run.set()

    async def rewind(self, offset: int = -1) -> None:
        """Go on after `offset`: everything after it is handled again (or passed over, where it lies ahead)."""
        check_offset(offset)
        async with self._changing:
            await self._desk.offsets.set_offset(self.name, offset, backwards=True)
            self.offset = offset
            self._again.set()

    async def wait_ended(self) -> None:
        """Return once it has ended by itself (halted, or on an error, which `stop` raises)."""
        if self._task is not None:
            await asyncio.wait([self._task])

    # How it works.

    async def _run(self) -> None:
        pause_ns = self._pause_ns
        while True:
            try:
                self.state = ConsumerState.WAITING
                async with self._desk.lease(self.name) as lease:
                    self.offset = await self._desk.offsets.get_offset(self.name)
                    pause_ns = self._pause_ns
                    while not lease.lost:
                        self._again.clear()
                        if await self._consume(lease):
                            return
            except _STORE as error:
                self.last_error = f"{type(error).__name__}: {error}"
                self.state = ConsumerState.RETRYING
                await self._pause(pause_ns)
                pause_ns = min(2 * pause_ns, _LONGEST_PAUSE_NS)
            except Exception as error:
                self.last_error = f"{type(error).__name__}: {error}"
                self.state = ConsumerState.STOPPED
                raise

    async def _consume(self, lease: Lease) -> bool:
        """Handle events until the lease is lost or the offset was moved by hand; True where it halted."""
        self.state = ConsumerState.RUNNING
        stream = self._log.batches(types=self._types, from_offset=self.offset, most=self._batch, empty=True)
        batches = _Batches(stream)
        noted_ns = self._clock.elapsed_ns()
        try:
            while True:
                batch = await batches.next(self._again)
                if not self._may_run.is_set():
                    self.state = ConsumerState.PAUSED
                    await self._may_run.wait()
                    self.state = ConsumerState.RUNNING
                if batch is None or self._again.is_set() or lease.lost:
                    return False
                if batch:
                    if not await self._handle(batch):
                        self.state = ConsumerState.HALTED
                        return True
                elif batch.upto - self.offset >= self._batch or self._clock.elapsed_ns() - noted_ns >= NS_PER_SECOND:
                    # Others' events are dealt with by passing over them: it must not look as if this consumer were behind,
                    # nor keep them from being pruned. Noted now and then, for each note is a transaction.
                    await self._pass_over(batch.upto)
                    noted_ns = self._clock.elapsed_ns()
        except _Moved:
            return False
        finally:
            await batches.close()

    async def _handle(self, batch: list[StoredEvent]) -> bool:
        """All of `batch` in one transaction, or one by one where that fails. False: halted."""
        try:
            await self._together(batch)
            return True
        except _NOT_THE_HANDLERS:
            raise
        except Exception as error:  # noqa: BLE001 - the supervisor of a handler
            if len(batch) == 1:
                return await self._insist(batch[0], error)
        for stored in batch:
            try:
                await self._together([stored])
            except _NOT_THE_HANDLERS:
                raise
            except Exception as error:  # noqa: BLE001 - the supervisor of a handler
                if not await self._insist(stored, error):
                    return False
        return True

    async def _together(self, batch: list[StoredEvent]) -> None:
        last = batch[-1].offset
        async with self._one_transaction() as transaction:
            for stored in batch:
                await self._handler(stored, transaction)
            await self._desk.advance(self.name, self.offset, last, transaction)
        self.offset = last
        self.handled += len(batch)

    async def _pass_over(self, upto: int) -> None:
        async with self._one_transaction() as transaction:
            await self._desk.advance(self.name, self.offset, upto, transaction)
        self.offset = upto

    async def _insist(self, stored: StoredEvent, error: Exception) -> bool:
        """Try `stored` again, which raised `error`, and put it aside after the last try. False: halted on it."""
        pause_ns = self._pause_ns
        for _ in range(1, self._attempts):
            self.last_error = f"{type(error).__name__}: {error}"
            self.state = ConsumerState.RETRYING
            await self._pause(pause_ns)
            pause_ns = min(2 * pause_ns, _LONGEST_PAUSE_NS)
            try:
                await self._together([stored])
            except _NOT_THE_HANDLERS:
                raise
            except Exception as again:  # noqa: BLE001 - the supervisor of a handler
                error = again
            else:
                self.state = ConsumerState.RUNNING
                return True
        self.last_error = f"{type(error).__name__}: {error}"
        letter = letter_of(stored, self.name, error, self._attempts)
        async with self._one_transaction() as transaction:
            await self._desk.park(letter, transaction)
            # One that halts stays before it: whoever mends the handler and starts again begins with this very event.
            if self._poison is Poison.SKIP:
                await self._desk.advance(self.name, self.offset, stored.offset, transaction)
        self.parked += 1
        if self._poison is Poison.HALT:
            return False
        self.offset = stored.offset
        self.state = ConsumerState.RUNNING
        return True

    @asynccontextmanager
    async def _one_transaction(self) -> AsyncIterator[Transaction]:
        """A transaction that neither `stop` nor `rewind` cuts; both come between two of them, in a pause too."""
        async with self._changing:
            if self._again.is_set():
                raise _Moved
            async with self._desk.transaction() as transaction:
                yield transaction

    async def _pause(self, ns: int) -> None:
        await sleep_for(self._clock, ns)


class _Batches:
    """The batches of a stream, read one ahead, so that waiting for the next can be given up without losing it."""

    def __init__(self, stream: AsyncIterator[EventBatch]) -> None:
        self._stream = stream
        self._queue: asyncio.Queue[EventBatch | Exception] = asyncio.Queue(1)
        self._task = asyncio.create_task(self._pump())

    async def _pump(self) -> None:
        try:
            async for batch in self._stream:
                await self._queue.put(batch)
        except Exception as error:  # noqa: BLE001 - handed over to whoever reads
            await self._queue.put(error)

    async def next(self, again: asyncio.Event) -> EventBatch | None:
        """The next batch; None where `again` was set meanwhile."""
        coming = asyncio.ensure_future(self._queue.get())
        moved = asyncio.ensure_future(again.wait())
        try:
            await asyncio.wait([coming, moved], return_when=asyncio.FIRST_COMPLETED)
            batch = coming.result() if coming.done() else None
        finally:
            coming.cancel()
            moved.cancel()
        if isinstance(batch, Exception):
            raise batch
        return batch

    async def close(self) -> None:
        """End the stream."""
        self._task.cancel()
        await asyncio.wait([self._task])
        close = getattr(self._stream, "aclose", None)
        if close is not None:
            await close()
