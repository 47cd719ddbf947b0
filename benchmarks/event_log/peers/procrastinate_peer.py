"""procrastinate 3.10 through its asynchronous connector: an event is a job that is deferred, a callback a task of a worker.

A job queue does more than a log (a job has a status, and is done once), and cannot be read again: no catching up.
"""

from __future__ import annotations

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

import json

import procrastinate
from measurement import Peer, measure, number_of

CONCURRENCY = 16


class Procrastinate(Peer):
    def app(self):
        size = max(self.writers, 4)
        connector = procrastinate.PsycopgConnector(conninfo=self.url, min_size=size, max_size=size)
        return procrastinate.App(connector=connector)

    async def install(self):
        app = self.app()
        async with app.open_async():
            await app.schema_manager.apply_schema_async()

    async def open(self):
        self.running = self.app()
        self.heard = None

        @self.running.task(name="event", queue="events")
        async def event(event):
            self.heard(number_of(event))

        self.task = event
        await self.stack.enter_async_context(self.running.open_async())

    def make(self, number):
        return {"event": json.loads(super().make(number))}

    async def writer(self, stack):
        return lambda event: self.task.defer_async(**event)

    async def batch_writer(self, stack):
        return lambda events: self.task.batch_defer_async(*events)

    async def listen(self, heard):
        self.heard = heard
        await self.running.run_worker_async(
            queues=["events"], concurrency=CONCURRENCY, install_signal_handlers=False, shutdown_graceful_timeout=1
        )


measure(Procrastinate)
