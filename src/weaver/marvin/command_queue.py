"""CommandQueue: the commands of the current tick, of which there is a largest number.

A loop in a callback that never stops giving orders would otherwise fill the memory. Nothing is counted per bar: the engine
empties the queue at each tick, and its length is the count.
"""

from __future__ import annotations

from weaver.core.errors import StrategyError
from weaver.core.orders import Command

__all__ = ["MOST_COMMANDS", "CommandQueue", "too_many"]

MOST_COMMANDS = 100_000
"""Orders, cancels, changes and links in one tick, and timers that one tick sets. They take about 100 MB."""

COMMANDS_OF_A_SYMBOL = 10
"""A run with more than 10,000 symbols may give this many commands for each of them, since one tick calls all callbacks."""


class CommandQueue:
    """The commands of one tick, `commands`, and the largest number of them, `most`.

    The engine reads and empties the list itself, which costs less at each bar than a class of our own.
    """

    __slots__ = ("commands", "most")

    def __init__(self, symbols: int = 1) -> None:
        self.commands: list[Command] = []
        self.most = max(MOST_COMMANDS, COMMANDS_OF_A_SYMBOL * symbols)

    def add(self, command: Command, call: str) -> None:
        """Queue a cancel, a change or a link. Raises StrategyError; `call` names the call."""
        if len(self.commands) >= self.most:
            raise too_many(call, self.most)
        self.commands.append(command)


def too_many(call: str, most: int, things: str = "orders, cancels and changes") -> StrategyError:
    """Return the error for one more command than `most`; the crash of the strategy names the callback and the bar."""
    return StrategyError(f"{call}: {most:,} {things} in one tick are the most; is it in a loop that does not end?")
