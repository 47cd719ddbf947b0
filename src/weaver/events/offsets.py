"""OffsetStore: the port that stores the offset of each consumer, and its implementation in memory."""

from __future__ import annotations

from typing import Protocol

from weaver.core.errors import ConfigError
from weaver.core.text import brief, is_storable
from weaver.events.log import BEGINNING, Transaction, check_offset, own

__all__ = ["MOST_CONSUMER_CHARACTERS", "InMemoryOffsetStore", "OffsetStore", "check_consumer"]

MOST_CONSUMER_CHARACTERS = 100
"""The length of the column `consumer_id` in the tables."""


class OffsetStore(Protocol):
    """Stores the offset of the last event that each consumer has processed."""

    async def get_offset(self, consumer_id: str) -> int:
        """Return the offset of `consumer_id`, -1 if none was stored."""
        ...

    async def set_offset(
        self, consumer_id: str, offset: int, *, backwards: bool = False, transaction: Transaction | None = None
    ) -> int:
        """Store that `consumer_id` has processed all events up to `offset`, and return the stored offset.

        A smaller offset than the stored one changes nothing, unless `backwards` is true.
        """
        ...

    async def get_all_offsets(self) -> dict[str, int]:
        """Return the offset of every consumer, by name."""
        ...


def check_consumer(consumer_id: str) -> None:
    """Raise ConfigError for a name that the store cannot hold."""
    if not isinstance(consumer_id, str) or not consumer_id or not is_storable(consumer_id):
        raise ConfigError(f"consumer_id={brief(consumer_id)}: give the consumer a name")
    if len(consumer_id) > MOST_CONSUMER_CHARACTERS:
        raise ConfigError(
            f"consumer_id {brief(consumer_id)} has {len(consumer_id)} characters; "
            f"{MOST_CONSUMER_CHARACTERS} are the most"
        )


class InMemoryOffsetStore:
    """Offsets in a dict."""

    def __init__(self) -> None:
        self._offsets: dict[str, int] = {}

    async def get_offset(self, consumer_id: str) -> int:
        """Return the offset of `consumer_id`, -1 if none was stored."""
        check_consumer(consumer_id)
        return self._offsets.get(consumer_id, BEGINNING)

    async def set_offset(
        self, consumer_id: str, offset: int, *, backwards: bool = False, transaction: Transaction | None = None
    ) -> int:
        """Store the offset of `consumer_id`, and return the stored offset."""
        check_consumer(consumer_id)
        check_offset(offset)

        def stored() -> int:
            before = self._offsets.get(consumer_id)
            return offset if backwards or before is None else max(offset, before)

        if transaction is None:
            self._offsets[consumer_id] = stored()
        else:
            own(transaction).add(lambda: self._offsets.__setitem__(consumer_id, stored()))
        return stored()

    async def get_all_offsets(self) -> dict[str, int]:
        """Return the offset of every consumer, by name."""
        return dict(sorted(self._offsets.items()))
