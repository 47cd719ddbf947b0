"""Broker: the port that takes a strategy's commands. The backtester and the live engine implement it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

from weaver.core.orders import Command

__all__ = ["Broker"]


class Broker(Protocol):
    """Takes the commands of one tick, in call order.

    It answers with `OrderUpdate`s, which are delivered at the next tick.
    """

    def send(self, commands: Sequence[Command], tick_ns: int) -> None:
        """Accept or reject the commands given at the tick `tick_ns` (UTC nanoseconds)."""
