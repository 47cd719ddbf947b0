"""EventConsumer: calls a handler for every event after its offset, in order, and stores the offset with the effect.

Guarantees. Every event is handled at least once, and exactly once if the handler writes its effect within the transaction
that it receives. No event is skipped: one whose handler keeps failing is stored as a dead letter with the error. A handler
fails if it raises (CancelledError included), if it takes longer than the server allows a transaction, or if the process
ends while it runs; the last is counted in the store, so it holds across restarts. An event that has no class in this
process, or does not match it, becomes a dead letter at once. Of two consumers with one name, one works and the other waits.

Not guaranteed. Events of different consumers are not coordinated. A process that is killed can cause two calls more than
`attempts` for the events of a batch, because a batch is only split once a process is known to have ended in it.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Iterable
from enum import StrEnum

from weaver.core.errors import (
    ConfigError,
    DatabaseDiskFull,
    EventNotSerialisable,
    LeaseLost,
    OutcomeUnknown,
    StoreUnavailable,
    UnknownEventType,
)
from weaver.core.instants import NS_PER_SECOND
from weaver.core.ports import Clock, sleep_for
from weaver.core.text import brief, describe_error
from weaver.events.consumer_store import Attempt, ConsumerStore, Lease, TransactionLimit, letter_of
from weaver.events.envelope import StoredEvent, UnknownPayload
from weaver.events.handler_failures import HandlerCancelled, HandlerTooSlow, ProcessEnded
from weaver.events.log import MOST_EVENTS, EventFilter, EventLog, Transaction, check_offset
from weaver.events.offsets import check_consumer
from weaver.events.read_ahead import ReadAhead

__all__ = ["ConsumerState", "EventConsumer", "Handler", "Poison"]

Handler = Callable[[StoredEvent, Transaction], Awaitable[None]]
"""Processes one event. Its writes within the transaction are committed together with the offset, or not at all."""

_LONGEST_PAUSE_NS = 30 * NS_PER_SECOND
_SLICE_NS = 5 * NS_PER_SECOND
_MOST_ATTEMPTS = 1_000_000


class ConsumerState(StrEnum):
    """State of a consumer."""

    STOPPED = "stopped"
    WAITING = "waiting"  # for the lease that another process holds
    RUNNING = "running"
    PAUSED = "paused"
    RETRYING = "retrying"  # after a failure of the handler or the store; `last_error` says which
    HALTED = "halted"  # at an event that the handler cannot process


class Poison(StrEnum):
    """Action after the last failed attempt at an event."""

    SKIP = "skip"
    HALT = "halt"


class _Interrupted(Exception):
    """The offset was moved by hand, or the lease was lost, during a batch."""


# Failures that are not the handler's: the work begins again from the stored offset. That is right after an unknown outcome
# too, because the offset is part of the same transaction.
_STORE = (LeaseLost, StoreUnavailable, OutcomeUnknown, DatabaseDiskFull)
_NOT_THE_HANDLERS = (*_STORE, _Interrupted)


class EventConsumer:
    """One consumer. `start()` returns at once; `stop()` returns when the handler has returned.

    Up to `batch` events share a transaction, which commits at the end of an event once `slice_ns` of elapsed time have
    passed, or half of the server's limit on a transaction. If an event in it fails, its events are handled again one by
    one, so that the others are not delayed. An event is attempted `attempts` times with growing pauses from `pause_ns` on,
    then it becomes a dead letter. `desk` is an earlier name of `consumer_store`.

    Attributes to read: `state`, `offset`, `handled` and `parked` (numbers of events since this object was made) and
    `last_error` (text of the newest failure; it stays when the work goes on).
    """

    def __init__(
        self,
        name: str,
        handler: Handler,
        *,
        log: EventLog,
        consumer_store: ConsumerStore | None = None,
        clock: Clock,
        types: Iterable[str] | str | None = None,
        batch: int = 500,
        attempts: int = 5,
        pause_ns: int = NS_PER_SECOND // 10,
        slice_ns: int = _SLICE_NS,
        poison: Poison | str = Poison.SKIP,
        desk: ConsumerStore | None = None,
    ) -> None:
        check_consumer(name)
        for setting, value, most in (("batch", batch, MOST_EVENTS), ("attempts", attempts, _MOST_ATTEMPTS)):
            if isinstance(value, bool) or not isinstance(value, int) or not 1 <= value <= most:
                raise ConfigError(
                    f"{setting}={brief(value)} of consumer {brief(name)}: must be a whole number from 1 to {most:,}"
                )
        for setting, value in (("pause_ns", pause_ns), ("slice_ns", slice_ns)):
            if isinstance(value, bool) or not isinstance(value, int) or value < 1:
                raise ConfigError(
                    f"{setting}={brief(value)} of consumer {brief(name)}: must be a whole number of ns above zero"
                )
        try:
            self._poison = Poison(poison)
        except ValueError:
            raise ConfigError(f"poison={brief(poison)} of consumer {brief(name)}: choose 'skip' or 'halt'") from None
        store = consumer_store or desk
        if store is None:
            raise ConfigError(f"consumer {brief(name)} has no consumer_store; pass the one of open_store()")
        self.name = name
        self.state = ConsumerState.STOPPED
        self.offset = -1
        self.handled = 0
        self.parked = 0
        self.last_error: str | None = None
        self._handler = handler
        self._log = log
        self._desk = store
        self._clock = clock
        EventFilter(types)  # refuses a wrong name now, not at the first event
        self._types = types
        self._batch = batch
        self._attempts = attempts
        self._pause_ns = pause_ns
        self._slice_ns = slice_ns
        self._task: asyncio.Task[None] | None = None
        self._stopping = False
        self._may_run = asyncio.Event()
        self._may_run.set()
        self._interrupt = asyncio.Event()
        self._changing = asyncio.Lock()
        self._lease: Lease | None = None
        self._limit: TransactionLimit | None = None
        self._mark: Attempt | None = None  # the attempt in the store that this object wrote
        self._mark_next = False  # whether the next transaction is the first under this lease
        self._alone = 0  # the next so many events get a transaction each, their attempts counted in the store
        self._attempts_before: Attempt | None = None

    # Control.

    def start(self) -> None:
        """Begin or continue after the stored offset. Raises ConfigError if the consumer is running."""
        if self._task is not None and not self._task.done():
            raise ConfigError(f"consumer {brief(self.name)} is running already")
        self._may_run.set()
        self._stopping = False
        self._task = asyncio.create_task(self._run(), name=f"consumer {self.name}")

    async def stop(self) -> None:
        """End; return when no handler is running. Raises the error that ended the consumer. A second call does nothing."""
        task, self._task = self._task, None
        if task is None:
            return
        async with self._changing:  # between two transactions, so that none is interrupted
            self._stopping = True
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
        """Handle no more events after the current batch, until `resume`; the lease is kept."""
        self._may_run.clear()

    def resume(self) -> None:
        """Continue after `pause`."""
        self._may_run.set()

    async def rewind(self, offset: int = -1) -> None:
        """Continue after `offset`: later events are handled again, or skipped if `offset` is ahead."""
        check_offset(offset)
        async with self._changing:
            await self._desk.offsets.set_offset(self.name, offset, backwards=True)
            self.offset = offset
            self._interrupt.set()

    async def wait_ended(self) -> None:
        """Return when the consumer has ended by itself: halted, or on an error that `stop` raises."""
        if self._task is not None:
            await asyncio.wait([self._task])

    # The work.

    async def _run(self) -> None:
        try:
            await self._work_until_halted()
        except BaseException as error:  # cancelled, or ended by an error: either is visible
            self.state = ConsumerState.STOPPED
            if not self._stopping:
                self.last_error = describe_error(error)
            raise

    async def _work_until_halted(self) -> None:
        pause_ns = self._pause_ns
        self.state = ConsumerState.WAITING
        while True:
            try:
                async with self._desk.lease(self.name) as lease:
                    self._lease = lease
                    self.offset = await self._desk.offsets.get_offset(self.name)
                    self._limit = await self._desk.transaction_limit()
                    await self._check_attempt()
                    pause_ns = self._pause_ns
                    watch = asyncio.create_task(lease.wait_lost())
                    watch.add_done_callback(lambda task: None if task.cancelled() else self._interrupt.set())
                    try:
                        while not lease.lost:
                            self._interrupt.clear()
                            if await self._consume(lease):
                                return
                    finally:
                        watch.cancel()
                self.last_error = "StoreUnavailable: the connection that held the consumer's lease was closed"
                self.state = ConsumerState.WAITING
            except _STORE as error:
                self._report(error)
                await sleep_for(self._clock, pause_ns)
                pause_ns = min(2 * pause_ns, _LONGEST_PAUSE_NS)

    def _report(self, error: BaseException | None) -> None:
        """Show a failure in `state` and `last_error`; None ends it."""
        if error is not None:
            self.last_error = describe_error(error)
            self.state = ConsumerState.RETRYING
        elif self.state is ConsumerState.RETRYING:
            self.state = ConsumerState.RUNNING

    async def _check_attempt(self) -> None:
        """Read the attempt in the store. One that this object did not write was left by a process that ended in it."""
        attempt = await self._desk.get_attempt(self.name)
        self._mark_next = attempt is None
        if attempt is None:
            self._mark = None
        elif attempt == self._mark:  # the store failed, not this process: the attempt does not count
            if attempt.attempts:
                self._mark = Attempt(offset=attempt.offset, attempts=attempt.attempts - 1)
                await self._desk.set_attempt(self.name, self._mark)
            self._attempts_before = self._mark
        else:
            self._mark = self._attempts_before = attempt
            self._alone = self._batch

    async def _consume(self, lease: Lease) -> bool:
        """Handle events until the lease is lost or the offset is moved by hand. Return whether the consumer halted."""
        self.state = ConsumerState.RUNNING
        stream = self._log.batches(
            types=self._types, from_offset=self.offset, most=self._batch, empty=True, on_error=self._report
        )
        batches = ReadAhead(stream)
        noted_ns = self._clock.elapsed_ns()
        try:
            while True:
                batch = await batches.next(self._interrupt)
                if not self._may_run.is_set():
                    self.state = ConsumerState.PAUSED
                    await self._may_run.wait()
                    self.state = ConsumerState.RUNNING
                if batch is None or self._interrupt.is_set() or lease.lost:
                    return False
                if batch:
                    if not await self._handle(batch):
                        self.state = ConsumerState.HALTED
                        return True
                elif batch.upto - self.offset >= self._batch or self._clock.elapsed_ns() - noted_ns >= NS_PER_SECOND:
                    # Events of other types are passed by moving the offset, so that this consumer does not seem to be
                    # behind and does not prevent pruning. Not for every batch, because each move is a transaction.
                    await self._pass_over(batch.upto)
                    noted_ns = self._clock.elapsed_ns()
        except _Interrupted:
            return False
        finally:
            await batches.close()

    async def _handle(self, batch: list[StoredEvent]) -> bool:
        """Handle `batch`: together if possible, else one by one. Return False if the consumer halted."""
        rest = list(batch)
        while rest:
            group = self._next_group(rest)
            if isinstance(group[0].envelope.payload, UnknownPayload):
                if not await self._park(group[0], _unreadable(group[0]), 0):
                    return False
                done = 1
            elif self._alone:
                if not await self._handle_alone(group[0]):
                    return False
                self._alone -= 1
                done = 1
            else:
                try:
                    done = await self._together(group)
                except _NOT_THE_HANDLERS:
                    raise
                except Exception as error:  # noqa: BLE001 - the supervisor of a handler
                    if len(group) == 1:
                        if not await self._retry(group[0], error, 1):
                            return False
                        done = 1
                    else:
                        if not await self._one_by_one(group):
                            return False
                        done = len(group)
            del rest[:done]
        return True

    def _next_group(self, rest: list[StoredEvent]) -> list[StoredEvent]:
        """Return the events at the beginning of `rest` that may share a transaction."""
        if self._alone:
            return rest[:1]
        for index, stored in enumerate(rest):
            if isinstance(stored.envelope.payload, UnknownPayload):
                return rest[: max(index, 1)]
        return rest

    async def _one_by_one(self, group: list[StoredEvent]) -> bool:
        for stored in group:
            try:
                await self._together([stored])
            except _NOT_THE_HANDLERS:
                raise
            except Exception as error:  # noqa: BLE001 - the supervisor of a handler
                if not await self._retry(stored, error, 1):
                    return False
        return True

    async def _handle_alone(self, stored: StoredEvent) -> bool:
        """Handle an event after a process ended in this region: its attempts are counted in the store beforehand."""
        before = self._attempts_before
        attempts = before.attempts if before is not None and before.offset == stored.offset else 0
        if attempts >= self._attempts:
            error = ProcessEnded(
                f"the process ended while the handler was running, {attempts} times in a row (killed, out of memory, a "
                "crash in native code or an exit() in the handler)"
            )
            return await self._park(stored, error, attempts)
        try:
            await self._together([stored], attempt=attempts + 1)
        except _NOT_THE_HANDLERS:
            raise
        except Exception as error:  # noqa: BLE001 - the supervisor of a handler
            return await self._retry(stored, error, attempts + 1)
        return True

    async def _together(self, events: list[StoredEvent], attempt: int = 0) -> int:
        """Handle `events` in one transaction and return how many were handled until the time slice ended.

        With an `attempt` above 0 its number is stored before the handler is called.
        """
        async with self._changing:
            self._check_interrupt()
            if attempt or self._mark_next:
                self._mark = Attempt(offset=events[0].offset, attempts=attempt)
                await self._desk.set_attempt(self.name, self._mark)
                self._mark_next = False
            began_ns = self._clock.elapsed_ns()
            slice_ns = self._slice_ns if self._limit is None else min(self._slice_ns, self._limit.ns // 2)
            done = 0
            try:
                async with self._desk.transaction() as transaction:
                    for stored in events:
                        await self._call(stored, transaction)
                        done += 1
                        if self._clock.elapsed_ns() - began_ns >= slice_ns:
                            break
                    last = events[done - 1].offset
                    await self._desk.advance(self.name, self.offset, last, transaction)
                    if self._mark is not None:
                        await self._desk.clear_attempt(self.name, transaction)
            except (StoreUnavailable, OutcomeUnknown) as error:
                self._check_limit(self._clock.elapsed_ns() - began_ns, error)
                raise
            self._mark = self._attempts_before = None
        self.offset = last
        self.handled += done
        return done

    async def _call(self, stored: StoredEvent, transaction: Transaction) -> None:
        try:
            await self._handler(stored, transaction)
        except asyncio.CancelledError as error:
            task = asyncio.current_task()
            if task is not None and task.cancelling():  # this task was cancelled, by its event loop for example
                raise
            raise HandlerCancelled(
                "the handler raised CancelledError; it must handle a cancelled task of its own"
            ) from error

    def _check_limit(self, took_ns: int, error: Exception) -> None:
        """Raise HandlerTooSlow if the server's limit ended the transaction: the reason does not reach the driver."""
        limit = self._limit
        if limit is not None and took_ns >= limit.ns and not (self._lease is not None and self._lease.lost):
            raise HandlerTooSlow(
                f"the transaction took {took_ns / NS_PER_SECOND:.3g} s, and the server ends one after "
                f"{limit.ns / NS_PER_SECOND:g} s ({limit.setting}); make the handler faster, or raise that setting"
            ) from error

    def _check_interrupt(self) -> None:
        if self._interrupt.is_set():
            raise _Interrupted

    async def _pass_over(self, upto: int) -> None:
        async with self._changing:
            self._check_interrupt()
            async with self._desk.transaction() as transaction:
                await self._desk.advance(self.name, self.offset, upto, transaction)
        self.offset = upto

    async def _retry(self, stored: StoredEvent, error: Exception, attempts: int) -> bool:
        """Attempt `stored` again, which failed `attempts` times, and park it in the end. Return False if halted."""
        pause_ns = self._pause_ns
        while attempts < self._attempts:
            self._report(error)
            await sleep_for(self._clock, pause_ns)
            pause_ns = min(2 * pause_ns, _LONGEST_PAUSE_NS)
            attempts += 1
            try:
                await self._together([stored], attempt=attempts if self._alone else 0)
            except _NOT_THE_HANDLERS:
                raise
            except Exception as again:  # noqa: BLE001 - the supervisor of a handler
                error = again
            else:
                self.state = ConsumerState.RUNNING
                return True
        return await self._park(stored, error, attempts)

    async def _park(self, stored: StoredEvent, error: Exception, attempts: int) -> bool:
        """Store a dead letter for `stored`. Return False if the consumer halts before it."""
        self.last_error = describe_error(error)
        letter = letter_of(stored, self.name, error, attempts)
        async with self._changing:
            self._check_interrupt()
            async with self._desk.transaction() as transaction:
                await self._desk.park(letter, transaction)
                # A halted consumer stays before the event: after a repair and a start it begins with this event.
                if self._poison is Poison.SKIP:
                    await self._desk.advance(self.name, self.offset, stored.offset, transaction)
                await self._desk.clear_attempt(self.name, transaction)
            self._mark = self._attempts_before = None
        self.parked += 1
        if self._poison is Poison.HALT:
            return False
        self.offset = stored.offset
        self.state = ConsumerState.RUNNING
        return True


def _unreadable(stored: StoredEvent) -> Exception:
    """Return the reason why the handler cannot be called with this event; None without one."""
    event = stored.envelope
    payload: UnknownPayload = event.payload
    if payload.reason:
        return EventNotSerialisable(payload.reason)
    return UnknownEventType(
        f"no class is registered for {event.type} version {event.version} in this process; import the module that registers "
        "it, or update Weaver"
    )
