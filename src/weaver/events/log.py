"""EventLog: the port of the event log, and its implementation in memory; weaver.testing has the contract suite of both.

An appended event reaches every subscriber at least once, in offset order. There is no bound on the time until then. A slow
subscriber delays no other.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Iterable, Sequence
from functools import partial
from typing import Any, Protocol, overload

from weaver.core.errors import BatchTooLarge, ConfigError
from weaver.core.text import brief
from weaver.events.envelope import Envelope, StoredEvent, encode, read_stored

__all__ = [
    "BEGINNING",
    "MOST_EVENTS",
    "EventBatch",
    "EventFilter",
    "EventLog",
    "InMemoryEventLog",
    "InMemoryTransaction",
    "Transaction",
    "check_batch",
    "check_limit",
    "check_offset",
    "own",
]

BEGINNING = -1
"""The offset before the first event."""

MOST_EVENTS = 100_000
"""The largest batch of one append or read. Both are held in memory."""


class Transaction(Protocol):
    """A transaction of a store, opaque to everything but that store."""


class EventBatch(list[StoredEvent]):
    """Events in order. Every event up to the offset `upto` is in this batch or an earlier one, or was filtered out."""

    def __init__(self, events: Iterable[StoredEvent], upto: int) -> None:
        super().__init__(events)
        self.upto = upto


class EventLog(Protocol):
    """The event log. An offset is not a count: it only increases, and -1 is before the first event."""

    @overload
    async def append(self, events: Envelope[Any], *, transaction: Transaction | None = None) -> int: ...
    @overload
    async def append(self, events: Sequence[Envelope[Any]], *, transaction: Transaction | None = None) -> list[int]: ...
    async def append(
        self, events: Envelope[Any] | Sequence[Envelope[Any]], *, transaction: Transaction | None = None
    ) -> int | list[int]:
        """Append one event or several, all or none, and return their offsets, which grow in the order given.

        With a `transaction` they exist once that commits; without one they are durable when this returns. Raises
        UnknownEventType, EventNotSerialisable, EventTooLarge or BatchTooLarge before anything is written.
        """
        ...

    async def read_from(self, offset: int, limit: int = 1000) -> list[StoredEvent]:
        """Return up to `limit` events after `offset`, oldest first; an empty list if there are none yet.

        The list ends before the first offset that an open transaction could still fill, so that no event is skipped.
        """
        ...

    def subscribe(
        self,
        *,
        types: Iterable[str] | str | None = None,
        run_id: str | None = None,
        from_offset: int | None = None,
    ) -> AsyncIterator[StoredEvent]:
        """Yield the events after `from_offset`, and then every new one.

        -1 begins with the first event; None begins after the newest one at the time of the first request.
        `types` are names such as "orders.Placed" or families such as "orders.*". Ends with `aclose()`.
        """
        ...

    def batches(
        self,
        *,
        types: Iterable[str] | str | None = None,
        run_id: str | None = None,
        from_offset: int | None = None,
        most: int = 1000,
        empty: bool = False,
        on_error: Callable[[Exception | None], None] | None = None,
    ) -> AsyncIterator[EventBatch]:
        """Yield the events of `subscribe` in lists of up to `most`, as they come.

        With `empty` it also yields lists without an event, whose `upto` is the offset that was read. `on_error` is called
        with each failed read, which is repeated, and with None when reading works again.
        """
        ...

    async def latest_offset(self) -> int:
        """Return the offset of the newest event, -1 in an empty log."""
        ...


class EventFilter:
    """A selection of events by type, family or run. Wrong names raise ConfigError."""

    def __init__(self, types: Iterable[str] | str | None = None, run_id: str | None = None) -> None:
        given = [types] if isinstance(types, str) else list(types or ())
        for name in given:
            family, _, rest = name.partition(".")
            if name != "*" and (not family or not rest or ("*" in name and (rest != "*" or "*" in family))):
                raise ConfigError(
                    f"type {brief(name)}: write a name such as 'orders.Placed' or a family such as 'orders.*'"
                )
        everything = "*" in given or types is None
        self.names = frozenset() if everything else frozenset(name for name in given if not name.endswith("*"))
        self.families = () if everything else tuple(sorted(name[:-1] for name in given if name.endswith(".*")))
        self.run_id = run_id
        self.every_type = everything

    @property
    def takes_all(self) -> bool:
        """Whether every event is selected."""
        return self.every_type and self.run_id is None

    def takes(self, event: Envelope[Any]) -> bool:
        """Return whether `event` is selected."""
        if self.run_id is not None and event.run_id != self.run_id:
            return False
        return self.every_type or event.type in self.names or event.type.startswith(self.families or ("\0",))


def check_batch(events: Sequence[Envelope[Any]]) -> None:
    """Raise BatchTooLarge for more events than one append accepts."""
    if len(events) > MOST_EVENTS:
        raise BatchTooLarge(f"{len(events):,} events in one append; {MOST_EVENTS:,} are the most: append them in parts")


def check_limit(limit: int) -> None:
    """Raise ConfigError unless `limit` is a whole number from 1 to the largest batch."""
    if isinstance(limit, bool) or not isinstance(limit, int) or not 1 <= limit <= MOST_EVENTS:
        raise ConfigError(f"limit={brief(limit)}: a whole number from 1 to {MOST_EVENTS:,}")


def check_offset(offset: int) -> None:
    """Raise ConfigError unless `offset` is a whole number from -1 that fits 64 bits."""
    if isinstance(offset, bool) or not isinstance(offset, int) or not BEGINNING <= offset < 2**63:
        raise ConfigError(f"offset={brief(offset)}: a whole number from -1 (before everything) to 2**63 - 1")


class InMemoryTransaction:
    """Changes in memory that take effect together at `commit`, or not at all.

    `InMemoryConsumerStore.transaction` opens one.
    """

    def __init__(self) -> None:
        self._at_commit: list[Callable[[], None]] = []
        self._at_rollback: list[Callable[[], None]] = []
        self.open = True

    def add(self, commit: Callable[[], None], rollback: Callable[[], None] = lambda: None) -> None:
        """Do `commit` when the transaction commits, `rollback` when it does not."""
        self._at_commit.append(commit)
        self._at_rollback.append(rollback)

    def end(self, *, commit: bool) -> None:
        """Commit or roll back; a second time does nothing."""
        if self.open:
            self.open = False
            for step in self._at_commit if commit else self._at_rollback:
                step()


def own(transaction: Transaction) -> InMemoryTransaction:
    """Return `transaction` if it is open and in memory; else raise ConfigError."""
    if not isinstance(transaction, InMemoryTransaction) or not transaction.open:
        raise ConfigError(
            f"transaction={brief(transaction)} is not an open one: give what InMemoryConsumerStore.transaction() opened"
        )
    return transaction


_PENDING = object()


class InMemoryEventLog:
    """The log in memory, for tests. Offsets count from 1.

    Events are converted to JSON as in the database, so that the same events are refused and an appended event cannot
    change. An open transaction holds readers before its first event, as in the database.
    """

    def __init__(self) -> None:
        self._slots: list[bytes | object | None] = []
        self._more = asyncio.Event()

    @overload
    async def append(self, events: Envelope[Any], *, transaction: Transaction | None = None) -> int: ...
    @overload
    async def append(self, events: Sequence[Envelope[Any]], *, transaction: Transaction | None = None) -> list[int]: ...
    async def append(
        self, events: Envelope[Any] | Sequence[Envelope[Any]], *, transaction: Transaction | None = None
    ) -> int | list[int]:
        """Append one event or several, all or none, and return offsets. `transaction` is one of `InMemoryConsumerStore`."""
        batch = [events] if isinstance(events, Envelope) else list(events)
        check_batch(batch)
        encoded = [encode(one) for one in batch]
        first = len(self._slots)
        places = slice(first, first + len(encoded))
        if transaction is None:
            self._slots += encoded
            self._tell()
        else:
            inner = own(transaction)
            self._slots += [_PENDING] * len(encoded)
            inner.add(partial(self._fill, places, encoded), partial(self._fill, places, [None] * len(encoded)))
        offsets = list(range(first + 1, first + 1 + len(encoded)))
        return offsets[0] if isinstance(events, Envelope) else offsets

    def _fill(self, places: slice, values: Sequence[bytes | None]) -> None:
        self._slots[places] = values
        self._tell()

    def _tell(self) -> None:
        self._more.set()
        self._more = asyncio.Event()

    async def read_from(self, offset: int, limit: int = 1000) -> list[StoredEvent]:
        """Return up to `limit` events after `offset`, up to the first one of an open transaction."""
        check_offset(offset)
        check_limit(limit)
        found: list[StoredEvent] = []
        for number, data in enumerate(self._slots[max(offset, 0) :], start=max(offset, 0) + 1):
            if data is _PENDING or len(found) == limit:
                break
            if isinstance(data, bytes):
                found.append(read_stored(number, data))
        return found

    async def subscribe(
        self,
        *,
        types: Iterable[str] | str | None = None,
        run_id: str | None = None,
        from_offset: int | None = None,
    ) -> AsyncIterator[StoredEvent]:
        """Yield the events after `from_offset`, and then every new one."""
        async for batch in self.batches(types=types, run_id=run_id, from_offset=from_offset):
            for stored in batch:
                yield stored

    async def batches(
        self,
        *,
        types: Iterable[str] | str | None = None,
        run_id: str | None = None,
        from_offset: int | None = None,
        most: int = 1000,
        empty: bool = False,
        on_error: Callable[[Exception | None], None] | None = None,
    ) -> AsyncIterator[EventBatch]:
        """Yield the events after `from_offset`, and then every new one, in lists of up to `most`."""
        wanted = EventFilter(types, run_id)
        check_limit(most)
        at = await self.latest_offset() if from_offset is None else from_offset
        while True:
            more = self._more
            found = await self.read_from(at, most)
            if not found:
                await more.wait()
                continue
            at = found[-1].offset
            taken = EventBatch((stored for stored in found if wanted.takes(stored.envelope)), at)
            if taken or empty:
                yield taken

    async def latest_offset(self) -> int:
        """Return the offset of the newest event, -1 in an empty log."""
        return max(
            (number for number, data in enumerate(self._slots, start=1) if isinstance(data, bytes)), default=BEGINNING
        )
