"""Plain asyncpg on a table that is Weaver's own in another database: INSERT, COPY, SELECT. No promises: the floor.

Each writer has a connection and a prepared statement of its own. Catching up reads pages by id and decodes their JSON.
"""

from __future__ import annotations

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

import asyncpg
import msgspec
from measurement import TYPE, Peer, measure, number_of

PAGE = 2000


class Plain(Peer):
    async def connect(self, stack):
        connection = await asyncpg.connect(self.url)
        stack.push_async_callback(connection.close)
        return connection

    async def writer(self, stack):
        connection = await self.connect(stack)
        insert = await connection.prepare("INSERT INTO outbox (type, payload) VALUES ($1, $2) RETURNING id")
        return lambda event: insert.fetchval(TYPE, event)

    async def batch_writer(self, stack):
        connection = await self.connect(stack)
        return lambda events: connection.copy_records_to_table(
            "outbox", columns=["type", "payload"], records=[(TYPE, event) for event in events]
        )

    async def catch_up(self, count):
        connection = await self.connect(self.stack)
        select = await connection.prepare("SELECT id, payload::text FROM outbox WHERE id > $1 ORDER BY id LIMIT $2")
        decode = msgspec.json.Decoder().decode
        at, total = -1, 0
        while rows := await select.fetch(at, PAGE):
            at = rows[-1][0]
            for row in rows:
                total += number_of(decode(row[1]))
        return total


measure(Plain)
