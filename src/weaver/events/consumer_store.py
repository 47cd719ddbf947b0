"""ConsumerStore: the port through which a consumer stores its progress, and its implementation in memory.

It offers a transaction that joins a handler's effect with the consumer's offset, dead letters for events that a handler
cannot process, a durable count of attempts that outlives the process, and a lease, so that of two processes with the same
consumer name one works and the other waits.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from typing import Protocol

import msgspec

from weaver.core.errors import LeaseLost
from weaver.core.text import brief, describe_error
from weaver.events.envelope import StoredEvent
from weaver.events.log import InMemoryTransaction, Transaction, own
from weaver.events.offsets import InMemoryOffsetStore, OffsetStore, check_consumer

__all__ = ["Attempt", "ConsumerStore", "DeadLetter", "InMemoryConsumerStore", "Lease", "TransactionLimit", "letter_of"]


class DeadLetter(msgspec.Struct, frozen=True, kw_only=True):
    """An event that a consumer failed to process, with the error and the number of attempts (0: it was not attempted)."""

    consumer_id: str
    offset: int
    event_type: str
    error: str
    attempts: int


class Attempt(msgspec.Struct, frozen=True, kw_only=True):
    """The event that a consumer began with, stored before its handler is called, so that a killed process is noticed.

    `attempts` counts how often the handler was called with this event alone; 0 marks a batch that begins with it.
    """

    offset: int
    attempts: int


class TransactionLimit(msgspec.Struct, frozen=True, kw_only=True):
    """The shortest time after which the server ends a handler's transaction, and the name of the setting."""

    setting: str
    ns: int


class Lease(Protocol):
    """The exclusive right to work under a consumer name."""

    @property
    def lost(self) -> bool:
        """Whether the lease is known to be lost. It may be lost before this process can know."""
        ...

    async def wait_lost(self) -> None:
        """Return when the lease is known to be lost."""
        ...


class ConsumerStore(Protocol):
    """Everything that a consumer stores in addition to the log: offsets, leases, attempts and dead letters."""

    @property
    def offsets(self) -> OffsetStore:
        """The offsets of all consumers."""
        ...

    def transaction(self) -> AbstractAsyncContextManager[Transaction]:
        """Open a transaction: committed at the end of the block, rolled back if the block raises."""
        ...

    async def transaction_limit(self) -> TransactionLimit | None:
        """Return the shortest limit of the server on a transaction in which a handler works; None without a limit."""
        ...

    async def advance(self, consumer_id: str, before: int, after: int, transaction: Transaction) -> None:
        """Move the offset from `before` to `after` within `transaction`.

        Raises LeaseLost if the offset is not `before`: another process works under this name, and the transaction, which
        contains the effect, must not commit.
        """
        ...

    async def park(self, letter: DeadLetter, transaction: Transaction) -> None:
        """Store a dead letter within `transaction`."""
        ...

    async def dead_letters(self, consumer_id: str | None = None) -> list[DeadLetter]:
        """Return the dead letters, oldest first."""
        ...

    async def get_attempt(self, consumer_id: str) -> Attempt | None:
        """Return the attempt that was stored and not cleared: the process that stored it ended before its commit."""
        ...

    async def set_attempt(self, consumer_id: str, attempt: Attempt) -> None:
        """Store the attempt durably, in a transaction of its own."""
        ...

    async def clear_attempt(self, consumer_id: str, transaction: Transaction) -> None:
        """Remove the stored attempt within `transaction`."""
        ...

    def lease(self, consumer_id: str) -> AbstractAsyncContextManager[Lease]:
        """Wait until no other process holds the name, hold it for the block, and release it however the block ends."""
        ...


class _HeldLease:
    lost = False

    async def wait_lost(self) -> None:
        await asyncio.get_running_loop().create_future()


class InMemoryConsumerStore:
    """A consumer store for consumers of one event loop; an `InMemoryEventLog` can take part in its transactions."""

    def __init__(self) -> None:
        self.offsets: InMemoryOffsetStore = InMemoryOffsetStore()
        self._letters: list[DeadLetter] = []
        self._attempts: dict[str, Attempt] = {}
        self._names: dict[str, asyncio.Lock] = {}
        self._moving: set[str] = set()

    @asynccontextmanager
    async def transaction(self) -> AsyncIterator[InMemoryTransaction]:
        """Open a transaction of this store, of its offsets and of an `InMemoryEventLog`."""
        transaction = InMemoryTransaction()
        try:
            yield transaction
        except BaseException:
            transaction.end(commit=False)
            raise
        transaction.end(commit=True)

    async def transaction_limit(self) -> TransactionLimit | None:
        """Return None: a transaction in memory may take any time."""
        return None

    async def advance(self, consumer_id: str, before: int, after: int, transaction: Transaction) -> None:
        """Move the offset from `before` to `after` within `transaction`; raise LeaseLost if it is not `before`."""
        inner = own(transaction)
        offset = await self.offsets.get_offset(consumer_id)
        if offset != before or consumer_id in self._moving:
            raise LeaseLost(
                f"consumer {brief(consumer_id)} is at offset {offset}, not at {before}, or another transaction is moving it"
            )
        await self.offsets.set_offset(consumer_id, after, backwards=True, transaction=transaction)
        self._moving.add(consumer_id)
        inner.add(lambda: self._moving.discard(consumer_id), lambda: self._moving.discard(consumer_id))

    async def park(self, letter: DeadLetter, transaction: Transaction) -> None:
        """Store a dead letter within `transaction`."""
        own(transaction).add(lambda: self._letters.append(letter))

    async def dead_letters(self, consumer_id: str | None = None) -> list[DeadLetter]:
        """Return the dead letters, oldest first."""
        return [letter for letter in self._letters if consumer_id in (None, letter.consumer_id)]

    async def get_attempt(self, consumer_id: str) -> Attempt | None:
        """Return the attempt that was stored and not cleared."""
        return self._attempts.get(consumer_id)

    async def set_attempt(self, consumer_id: str, attempt: Attempt) -> None:
        """Store the attempt."""
        check_consumer(consumer_id)
        self._attempts[consumer_id] = attempt

    async def clear_attempt(self, consumer_id: str, transaction: Transaction) -> None:
        """Remove the stored attempt within `transaction`."""
        own(transaction).add(lambda: self._forget_attempt(consumer_id))

    def _forget_attempt(self, consumer_id: str) -> None:
        self._attempts.pop(consumer_id, None)

    @asynccontextmanager
    async def lease(self, consumer_id: str) -> AsyncIterator[Lease]:
        """Hold the name for the block."""
        check_consumer(consumer_id)
        async with self._names.setdefault(consumer_id, asyncio.Lock()):
            yield _HeldLease()


def letter_of(stored: StoredEvent, consumer_id: str, error: BaseException, attempts: int) -> DeadLetter:
    """Return the dead letter of `stored`, whose last attempt raised `error`."""
    return DeadLetter(
        consumer_id=consumer_id,
        offset=stored.offset,
        event_type=stored.envelope.type,
        error=describe_error(error),
        attempts=attempts,
    )
