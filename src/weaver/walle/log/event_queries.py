"""EventQueries: the newest events, one event with its causes and effects, counts per type; for commands."""

from __future__ import annotations

from typing import Any

import msgspec

from weaver.events.envelope import StoredEvent, read_stored
from weaver.events.log import EventFilter
from weaver.walle.database import Database

__all__ = ["EventQueries", "TypeCount"]

_FILTER = """
($1::text[] IS NULL OR type = ANY ($1) OR type LIKE ANY ($2::text[])) AND ($3::text IS NULL OR payload ->> 'run_id' = $3)
"""
_LAST = f"SELECT id, payload::text, type FROM outbox WHERE {_FILTER} ORDER BY id DESC LIMIT $4"
_CHAIN = """
SELECT id, payload::text, type FROM outbox
WHERE payload ->> 'corr_id' = $1 AND ($2::text IS NULL OR payload ->> 'run_id' = $2) ORDER BY id LIMIT $3
"""
_TYPES = "SELECT type, count(*), min(id), max(id) FROM outbox GROUP BY type ORDER BY type"


class TypeCount(msgspec.Struct, frozen=True, kw_only=True):
    """The number of events of a type, and the offsets of the first and the last."""

    type: str
    count: int
    first: int
    last: int


class EventQueries:
    """Queries the committed events. It never waits for open transactions."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def last(self, count: int, wanted: EventFilter) -> list[StoredEvent]:
        """Return the newest `count` events of the filter, oldest first."""
        names = None if wanted.every_type else sorted(wanted.names)
        families = [family.replace("_", "\\_") + "%" for family in wanted.families]
        async with self._database.connection() as connection:
            rows = await connection.fetch(_LAST, names, families, wanted.run_id, count)
        return _decoded(reversed(rows))

    async def find(self, name: str) -> StoredEvent | None:
        """Return the event with this offset or id, or None; an id is searched in the whole log, which takes a while."""
        async with self._database.connection() as connection:
            if name.isdecimal() and len(name) < 19:
                query, given = "SELECT id, payload::text, type FROM outbox WHERE id = $1", int(name)
                rows = await connection.fetch(query, given)
            else:
                rows = await connection.fetch(
                    "SELECT id, payload::text, type FROM outbox WHERE payload ->> 'id' = $1 ORDER BY id DESC LIMIT 1",
                    name,
                )
        found = _decoded(rows)
        return found[0] if found else None

    async def chain(self, stored: StoredEvent, most: int = 1000) -> list[StoredEvent]:
        """Return the events of its chain of causes and effects, oldest first, at most `most`."""
        async with self._database.connection() as connection:
            return _decoded(await connection.fetch(_CHAIN, stored.envelope.corr_id, stored.envelope.run_id, most))

    async def types(self) -> list[TypeCount]:
        """Return the number of events of each type."""
        async with self._database.connection() as connection:
            rows = await connection.fetch(_TYPES)
        return [TypeCount(type=kind, count=count, first=first, last=last) for kind, count, first, last in rows]


def _decoded(rows: Any) -> list[StoredEvent]:
    return [read_stored(offset, data, kind) for offset, data, kind in rows]
