"""What tests need, ours and our users': a clock that a test moves by hand, and real time in a simulation."""

from __future__ import annotations

from weaver.testing.clock import ControllableClock
from weaver.testing.simulated import SimulatedTime

__all__ = ["ControllableClock", "SimulatedTime"]
