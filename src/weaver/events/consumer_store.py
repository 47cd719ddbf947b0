"""ConsumerStore: what a consumer needs of the store besides the log, and its twin in memory.

One transaction for an effect and the offset that says it was done; a place for events that nobody can deal with; and a
lease, so that of two processes with one consumer's name one works and the other waits.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from typing import Protocol

import msgspec

from weaver.core.errors import LeaseLost
from weaver.events.envelope import StoredEvent
from weaver.events.log import InMemoryTransaction, Transaction, own
from weaver.events.offsets import InMemoryOffsetStore, OffsetStore, check_consumer

__all__ = ["ConsumerStore", "DeadLetter", "InMemoryConsumerStore", "Lease"]


class DeadLetter(msgspec.Struct, frozen=True, kw_only=True):
    """An event that a consumer could not deal with: what it said, and after how many tries."""

    consumer_id: str
    offset: int
    event_type: str
    error: str
    attempts: int


class Lease(Protocol):
    """The right to be the one that works under a name."""

    @property
    def lost(self) -> bool:
        """Whether it is certain that it is no longer held. It may be lost before this process can know."""
        ...


class ConsumerStore(Protocol):
    """What a consumer needs besides the log."""

    @property
    def offsets(self) -> OffsetStore:
        """How far each consumer has come."""
        ...

    def transaction(self) -> AbstractAsyncContextManager[Transaction]:
        """A transaction: committed at the end of the block, rolled back where the block raises."""
        ...

    async def advance(self, consumer_id: str, before: int, after: int, transaction: Transaction) -> None:
        """Move the offset from `before` to `after` within `transaction`.

        Raises LeaseLost where it does not stand at `before`: somebody else works under this name, and the transaction,
        with the effect in it, must not commit.
        """
        ...

    async def park(self, letter: DeadLetter, transaction: Transaction) -> None:
        """Put an event aside within `transaction`."""
        ...

    async def dead_letters(self, consumer_id: str | None = None) -> list[DeadLetter]:
        """What was put aside, oldest first."""
        ...

    def lease(self, consumer_id: str) -> AbstractAsyncContextManager[Lease]:
        """Wait until nobody else holds the name, hold it for the block, and let go of it however the block ends."""
        ...


class _HeldLease:
    lost = False


class InMemoryConsumerStore:
    """A desk for consumers of one event loop; `log` may take part in its transactions."""

    def __init__(self) -> None:
        self.offsets: InMemoryOffsetStore = InMemoryOffsetStore()
        self._letters: list[DeadLetter] = []
        self._names: dict[str, asyncio.Lock] = {}
        self._moving: set[str] = set()

    @asynccontextmanager
    async def transaction(self) -> AsyncIterator[InMemoryTransaction]:
        """A transaction of this desk, of its offsets and of an `InMemoryEventLog`."""
        one = InMemoryTransaction()
        try:
            yield one
        except BaseException:
            one.end(commit=False)
            raise
        one.end(commit=True)

    async def advance(self, consumer_id: str, before: int, after: int, transaction: Transaction) -> None:
        """Move the offset from `before` to `after` within `transaction`; raises LeaseLost where it is elsewhere."""
        inner = own(transaction)
        stands = await self.offsets.get_offset(consumer_id)
        if stands != before or consumer_id in self._moving:
            raise LeaseLost(
                f"consumer {consumer_id!r} stands at {stands}, not at {before}, or is being moved by another"
            )
        await self.offsets.set_offset(consumer_id, after, backwards=True, transaction=transaction)
        self._moving.add(consumer_id)
        inner.add(lambda: self._moving.discard(consumer_id), lambda: self._moving.discard(consumer_id))

    async def park(self, letter: DeadLetter, transaction: Transaction) -> None:
        """Put an event aside within `transaction`."""
        own(transaction).add(lambda: self._letters.append(letter))

    async def dead_letters(self, consumer_id: str | None = None) -> list[DeadLetter]:
        """What was put aside, oldest first."""
        return [one for one in self._letters if consumer_id in (None, one.consumer_id)]

    @asynccontextmanager
    async def lease(self, consumer_id: str) -> AsyncIterator[Lease]:
        """Hold the name for the block."""
        check_consumer(consumer_id)
        async with self._names.setdefault(consumer_id, asyncio.Lock()):
            yield _HeldLease()


def letter_of(stored: StoredEvent, consumer_id: str, error: BaseException, attempts: int) -> DeadLetter:
    """The letter about `stored`, which `error` stopped."""
    return DeadLetter(
        consumer_id=consumer_id,
        offset=stored.offset,
        event_type=stored.envelope.type,
        error=f"{type(error).__name__}: {error}"[:2000].replace("\0", "\\0"),
        attempts=attempts,
    )
