"""What tests need, ours and our users': a clock that a test moves by hand, real time in a simulation, the log in memory.

`weaver.testing.contracts` has the suites that whoever writes a log, an offset store or a desk of their own runs over it.
"""

from __future__ import annotations

from weaver.events.consumer_store import InMemoryDesk
from weaver.events.log import InMemoryEventLog
from weaver.events.offsets import InMemoryOffsetStore
from weaver.testing.clock import ControllableClock
from weaver.testing.simulated import SimulatedTime

__all__ = ["ControllableClock", "InMemoryDesk", "InMemoryEventLog", "InMemoryOffsetStore", "SimulatedTime"]
