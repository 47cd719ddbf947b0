"""Broker: the port between a strategy and its venue, in both directions. The backtester implements it.

Commands and updates are plain values (`core.orders`) that can travel as bytes (`core.order_messages`), so a broker may be in
another process.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

from weaver.core.orders import Command, OrderUpdate

__all__ = ["Broker"]


class Broker(Protocol):
    """Takes the commands of one tick, and answers with updates.

    The updates are delivered at the next tick, before the strategy sees its bars.
    """

    def send(self, commands: Sequence[Command], tick_ns: int) -> None:
        """Accept or reject the commands given at the tick `tick_ns` (UTC nanoseconds), which are in call order."""

    def take_updates(self) -> Sequence[OrderUpdate]:
        """Return the updates since the last call, oldest first, and forget them.

        A broker that may report a fill again after a restart must give it a trade id.
        """
