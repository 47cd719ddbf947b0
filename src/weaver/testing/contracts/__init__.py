"""Contracts: one suite of tests per port, which every implementation of it passes, the one in memory included.

Whoever writes an adapter subclasses the suite in a test module and says how the thing is opened; pytest finds the tests:

    class TestMyLog(EventLogContract):
        @asynccontextmanager
        async def opened(self):
            yield Store(log=..., desk=..., clock=...)

A suite promises that what passes it may stand wherever the port does. Speed and what a crash leaves are not in it.
"""

from __future__ import annotations

import warnings
from typing import Any

from weaver.testing.contracts.consumer_stores import ConsumerStoreContract
from weaver.testing.contracts.consumers import EventConsumerContract
from weaver.testing.contracts.harness import Store, StoreContract, on_store
from weaver.testing.contracts.logs import EventLogContract
from weaver.testing.contracts.offsets import OffsetStoreContract
from weaver.testing.contracts.refusals import RefusalContract

__all__ = [
    "ConsumerStoreContract",
    "EventConsumerContract",
    "EventLogContract",
    "OffsetStoreContract",
    "RefusalContract",
    "Store",
    "StoreContract",
    "on_store",
]


def __getattr__(name: str) -> Any:
    """Return a renamed suite under its old name, with a DeprecationWarning."""
    if name == "ConsumerDeskContract":
        warnings.warn("ConsumerDeskContract is now ConsumerStoreContract", DeprecationWarning, stacklevel=2)
        return ConsumerStoreContract
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
