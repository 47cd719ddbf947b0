"""OffsetStore: how far each consumer has come, and its twin in memory."""

from __future__ import annotations

import re
from typing import Protocol

from weaver.core.errors import ConfigError
from weaver.events.log import BEGINNING, Transaction, check_offset, own

__all__ = ["MOST_CONSUMER_CHARACTERS", "InMemoryOffsetStore", "OffsetStore", "check_consumer"]

MOST_CONSUMER_CHARACTERS = 100
"""What the column `consumer_id` of the table holds."""


class OffsetStore(Protocol):
    """The offset of the last event that each consumer has dealt with."""

    async def get_offset(self, consumer_id: str) -> int:
        """How far `consumer_id` has come; -1 where nobody of that name ever did."""
        ...

    async def set_offset(
        self, consumer_id: str, offset: int, *, backwards: bool = False, transaction: Transaction | None = None
    ) -> int:
        """Note that `consumer_id` has dealt with everything up to `offset`, and return what holds now.

        An offset smaller than the one that is there changes nothing, unless `backwards` asks for it.
        """
        ...

    async def get_all_offsets(self) -> dict[str, int]:
        """How far every consumer has come, by name."""
        ...


def check_consumer(consumer_id: str) -> None:
    """Raise ConfigError for a name that the store cannot keep."""
    if not isinstance(consumer_id, str) or not consumer_id or _NO_TEXT.search(consumer_id):
        raise ConfigError(f"consumer_id={consumer_id!r}: give the consumer a name")
    if len(consumer_id) > MOST_CONSUMER_CHARACTERS:
        raise ConfigError(
            f"consumer_id {consumer_id[:40]!r}... has {len(consumer_id)} characters; {MOST_CONSUMER_CHARACTERS} are the most"
        )


_NO_TEXT = re.compile("[\\0\\ud800-\\udfff]")  # NUL and halves of characters, which no table can keep


class InMemoryOffsetStore:
    """Offsets in a dict."""

    def __init__(self) -> None:
        self._offsets: dict[str, int] = {}

    async def get_offset(self, consumer_id: str) -> int:
        """How far `consumer_id` has come; -1 where nobody of that name ever did."""
        check_consumer(consumer_id)
        return self._offsets.get(consumer_id, BEGINNING)

    async def set_offset(
        self, consumer_id: str, offset: int, *, backwards: bool = False, transaction: Transaction | None = None
    ) -> int:
        """Note how far `consumer_id` has come, and return what holds now."""
        check_consumer(consumer_id)
        check_offset(offset)

        def holds() -> int:
            before = self._offsets.get(consumer_id)
            return offset if backwards or before is None else max(offset, before)

        if transaction is None:
            self._offsets[consumer_id] = holds()
        else:
            own(transaction).add(lambda: self._offsets.__setitem__(consumer_id, holds()))
        return holds()

    async def get_all_offsets(self) -> dict[str, int]:
        """How far every consumer has come, by name."""
        return dict(sorted(self._offsets.items()))
