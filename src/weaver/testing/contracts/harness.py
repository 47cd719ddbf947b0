"""Store: what the suites are run on, and how a test that is a coroutine becomes one that pytest runs."""

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
    """A log and a desk whose transactions it takes part in, both empty; `clock` is what they wait by."""

    log: EventLog
    desk: ConsumerStore
    clock: Clock


class StoreContract:
    """What the suites have in common."""

    def opened(self) -> AbstractAsyncContextManager[Store]:
        """A new, empty store for one test, closed when the block ends."""
        raise NotImplementedError("say how the store is opened")

    def run(self, main: Coroutine[Any, Any, None]) -> None:
        """Run one test. With a clock that is moved by hand, this is where it is moved."""
        asyncio.run(main)


def on_store(test: Callable[[_S, Store], Awaitable[None]]) -> Callable[[_S], None]:
    """Make a test of a coroutine: opens the store, runs it there."""

    def run(self: _S) -> None:
        async def main() -> None:
            async with self.opened() as store:
                await test(self, store)

        self.run(main())

    # Not functools.wraps: pytest would look through it and ask for a fixture named `store`.
    run.__name__, run.__qualname__, run.__doc__ = test.__name__, test.__qualname__, test.__doc__
    return run


async def take(stream: AsyncIterator[StoredEvent], count: int) -> list[StoredEvent]:
    """The next `count` events of a subscription, which stays open."""
    return [await anext(stream) for _ in range(count)]


@contextmanager
def refused(expected: type[WeaverError], part: str = "", *, what: str = "what must be refused") -> Iterator[None]:
    """The block must raise `expected`, whose message holds `part`."""
    try:
        yield
    except expected as error:
        if part not in str(error):
            raise AssertionError(f"{part!r} is not in the message {str(error)!r}") from error
    else:
        raise AssertionError(f"{what} was taken; {expected.__name__} is what it should raise")


async def turn() -> None:
    """Let everything else that is ready run once."""
    passed: asyncio.Future[None] = asyncio.get_running_loop().create_future()
    asyncio.get_running_loop().call_soon(passed.set_result, None)
    await passed


async def meanwhile(store: Store) -> None:
    """Let others come as far as they probably can. Tests get sharper by it, and stay right without."""
    for _ in range(20):
        await turn()
    await store.desk.offsets.get_all_offsets()
    await store.desk.dead_letters()
    for _ in range(20):
        await turn()


def offsets_of(events: Sequence[StoredEvent]) -> list[int]:
    """The offsets alone."""
    return [stored.offset for stored in events]
