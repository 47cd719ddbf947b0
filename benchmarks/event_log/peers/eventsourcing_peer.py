"""eventsourcing 9.5, the application recorder of its PostgreSQL factory. It blocks, so its writers are threads.

Stored events are handed over ready (their state is the event's JSON), which leaves out what its mapper would cost. Each
begins an aggregate of its own, as events of independent orders do. Its subscription listens and selects in two threads.
"""

from __future__ import annotations

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

import asyncio
import json
import threading
from uuid import uuid4

from eventsourcing.persistence import StoredEvent
from eventsourcing.postgres import PostgresFactory
from eventsourcing.utils import Environment
from measurement import Peer, measure, number_of, parts

PAGE = 2000


def stored(state):
    return StoredEvent(originator_id=uuid4(), originator_version=1, topic="orders:Placed", state=state)


class Eventsourcing(Peer):
    threaded = True

    async def open(self):
        split = parts(self.url)
        settings = {f"POSTGRES_{name.upper()}": value for name, value in split.items()}
        settings |= {"POSTGRES_POOL_SIZE": str(max(self.writers, 4))}
        self.factory = PostgresFactory(Environment("bench", settings))
        self.recorder = self.factory.application_recorder()
        self.stack.callback(self.factory.close)

    def make(self, number):
        return super().make(number).encode()

    async def writer(self, stack):
        return lambda state: self.recorder.insert_events([stored(state)])

    async def batch_writer(self, stack):
        return lambda states: self.recorder.insert_events([stored(state) for state in states])

    async def catch_up(self, count):
        at, total = 0, 0
        while found := self.recorder.select_notifications(at, PAGE, inclusive_of_start=False):
            at = found[-1].id
            for notification in found:
                total += number_of(json.loads(notification.state))
        return total

    async def listen(self, heard):
        with self.recorder.subscribe(gt=0) as subscription:

            def read():
                for notification in subscription:
                    heard(number_of(json.loads(notification.state)))

            reading = threading.Thread(target=read)
            reading.start()
            try:
                await asyncio.get_running_loop().create_future()
            finally:
                subscription.stop()
                reading.join()


measure(Eventsourcing)
