"""pgqueuer 1.6 through asyncpg: an event is a job that is enqueued, a callback an entry point of its manager.

A job queue does more than a log (a job is locked, done once and gone), and cannot be read again: no catching up.
"""

from __future__ import annotations

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

import json

import asyncpg
from measurement import Peer, measure, number_of
from pgqueuer import PgQueuer
from pgqueuer.db import AsyncpgDriver, AsyncpgPoolDriver
from pgqueuer.queries import Queries


class Pgqueuer(Peer):
    async def install(self):
        connection = await asyncpg.connect(self.url)
        await Queries(AsyncpgDriver(connection)).install()
        await connection.close()

    async def open(self):
        size = max(self.writers, 4)
        pool = await self.stack.enter_async_context(asyncpg.create_pool(self.url, min_size=size, max_size=size))
        self.driver = AsyncpgPoolDriver(pool)
        self.queries = Queries(self.driver)

    def make(self, number):
        return super().make(number).encode()

    async def writer(self, stack):
        return lambda event: self.queries.enqueue("event", event)

    async def batch_writer(self, stack):
        return lambda events: self.queries.enqueue(["event"] * len(events), events, [0] * len(events))

    async def listen(self, heard):
        manager = PgQueuer(self.driver)

        @manager.entrypoint("event")
        async def event(job):
            heard(number_of(json.loads(job.payload)))

        await manager.run()


measure(Pgqueuer)
