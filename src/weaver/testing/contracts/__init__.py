"""Contracts: one test suite per port, which every implementation of the port passes, including the one in memory.

To test an adapter, subclass the suite in a test module and provide the adapter; pytest finds the tests:

    class TestMyLog(EventLogContract):
        @asynccontextmanager
        async def opened(self):
            yield Store(log=..., desk=..., clock=...)

An implementation that passes can be used wherever the port is. Speed and recovery after a crash are not tested.
"""

from __future__ import annotations

import warnings
from typing import Any

from weaver.testing.contracts.clocks import ClockContract
from weaver.testing.contracts.consumer_stores import ConsumerStoreContract
from weaver.testing.contracts.consumers import EventConsumerContract
from weaver.testing.contracts.harness import Store, StoreContract, on_store
from weaver.testing.contracts.logs import EventLogContract
from weaver.testing.contracts.offsets import OffsetStoreContract
from weaver.testing.contracts.refusals import RefusalContract
from weaver.testing.contracts.tick_clocks import TickClockContract

__all__ = [
    "ClockContract",
    "ConsumerStoreContract",
    "EventConsumerContract",
    "EventLogContract",
    "OffsetStoreContract",
    "RefusalContract",
    "Store",
    "StoreContract",
    "TickClockContract",
    "on_store",
]


def __getattr__(name: str) -> Any:
    """Return a renamed suite under its old name, with a DeprecationWarning."""
    if name == "ConsumerDeskContract":
        warnings.warn("ConsumerDeskContract is now ConsumerStoreContract", DeprecationWarning, stacklevel=2)
        return ConsumerStoreContract
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
