"""Test tools for users and for Weaver itself: a controllable clock, simulated real time, the event log in memory.

`weaver.testing.contracts` has the test suites for implementations of the clock, log, offset store and consumer store ports.
"""

from __future__ import annotations

import warnings
from typing import Any

from weaver.events.consumer_store import InMemoryConsumerStore
from weaver.events.log import InMemoryEventLog
from weaver.events.offsets import InMemoryOffsetStore
from weaver.testing.clock import ControllableClock
from weaver.testing.simulated import SimulatedTime

__all__ = ["ControllableClock", "InMemoryConsumerStore", "InMemoryEventLog", "InMemoryOffsetStore", "SimulatedTime"]


def __getattr__(name: str) -> Any:
    """Return a renamed class under its old name, with a DeprecationWarning."""
    if name == "InMemoryDesk":
        warnings.warn("InMemoryDesk is now InMemoryConsumerStore", DeprecationWarning, stacklevel=2)
        return InMemoryConsumerStore
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
