"""Harness of the store contracts: the store under test, and helpers to write tests as coroutines."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine, Iterator, Sequence
from contextlib import AbstractAsyncContextManager, contextmanager
from dataclasses import dataclass
from typing import Any, TypeVar

from weaver.core.errors import WeaverError
from weaver.core.ports import Clock
from weaver.events.consumer_store import ConsumerStore
from weaver.events.envelope import StoredEvent
from weaver.events.log import EventLog

__all__ = ["Store", "StoreContract", "meanwhile", "offsets_of", "on_store", "refused", "take", "turn"]

_S = TypeVar("_S", bound="StoreContract")


@dataclass(frozen=True, kw_only=True, slots=True)
class Store:
    """An empty log and consumer store with common transactions, and the clock by which they wait."""

    log: EventLog
    desk: ConsumerStore
    clock: Clock


class StoreContract:
    """Base class of the suites."""

    def opened(self) -> AbstractAsyncContextManager[Store]:
        """Return a context manager that opens a new, empty store for one test and closes it when the block ends."""
        raise NotImplementedError("override opened() to open the store")

    def run(self, main: Coroutine[Any, Any, None]) -> None:
        """Run one test. Override it to move a clock that does not move by itself."""
        asyncio.run(main)


def on_store(test: Callable[[_S, Store], Awaitable[None]]) -> Callable[[_S], None]:
    """Return a test that opens the store and runs the coroutine function `test` on it."""

    def run(self: _S) -> None:
        async def main() -> None:
            async with self.opened() as store:
                await test(self, store)

        self.run(main())

    # Not functools.wraps: pytest would look through it and ask for a fixture named `store`.
    run.__name__, run.__qualname__, run.__doc__ = test.__name__, test.__qualname__, test.__doc__
    return run


async def take(stream: AsyncIterator[StoredEvent], count: int) -> list[StoredEvent]:
    """Return the next `count` events of a subscription, which stays open."""
    return [await anext(stream) for _ in range(count)]


@contextmanager
def refused(expected: type[WeaverError], part: str = "", *, what: str = "the input") -> Iterator[None]:
    """Check that the block raises `expected` with `part` in its message; `what` names the input in the failure."""
    try:
        yield
    except expected as error:
        if part not in str(error):
            raise AssertionError(f"{part!r} is not in the message {str(error)!r}") from error
    else:
        raise AssertionError(f"{what} was accepted; it should raise {expected.__name__}")


async def turn() -> None:
    """Let all other code that is ready run once."""
    passed: asyncio.Future[None] = asyncio.get_running_loop().create_future()
    asyncio.get_running_loop().call_soon(passed.set_result, None)
    await passed


async def meanwhile(store: Store) -> None:
    """Let other tasks run as far as they probably can. This makes tests sharper; they are correct without it."""
    for _ in range(20):
        await turn()
    await store.desk.offsets.get_all_offsets()
    await store.desk.dead_letters()
    for _ in range(20):
        await turn()


def offsets_of(events: Sequence[StoredEvent]) -> list[int]:
    """Return the offsets of the events."""
    return [stored.offset for stored in events]
