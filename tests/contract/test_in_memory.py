"""The log, the desk and the consumer in memory keep the contracts that the store's keep."""

from __future__ import annotations

from collections.abc import AsyncIterator, Coroutine
from contextlib import asynccontextmanager
from typing import Any

import pytest

from weaver.events.consumer_store import InMemoryConsumerStore
from weaver.events.log import InMemoryEventLog
from weaver.testing import ControllableClock
from weaver.testing.contracts import (
    ConsumerStoreContract,
    EventConsumerContract,
    EventLogContract,
    OffsetStoreContract,
    RefusalContract,
    Store,
)

pytestmark = pytest.mark.log


class InMemory:
    """On a clock that jumps to whatever is due next once everything waits."""

    def run(self, main: Coroutine[Any, Any, None]) -> None:
        self.clock = ControllableClock()
        self.clock.run(main)

    @asynccontextmanager
    async def opened(self) -> AsyncIterator[Store]:
        yield Store(log=InMemoryEventLog(), desk=InMemoryConsumerStore(), clock=self.clock)


class TestInMemoryEventLog(InMemory, EventLogContract): ...


class TestInMemoryEventLogRefuses(InMemory, RefusalContract): ...


class TestInMemoryOffsetStore(InMemory, OffsetStoreContract): ...


class TestInMemoryDesk(InMemory, ConsumerStoreContract): ...


class TestEventConsumerInMemory(InMemory, EventConsumerContract): ...
