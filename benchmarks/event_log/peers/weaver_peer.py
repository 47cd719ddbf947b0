"""Weaver: `PostgresEventLog`, one for all writers of a process. Envelopes are made before; encoding them is measured.

Catching up is typed: every event becomes an envelope with its payload's class. It reads lists (`batches`), which is
what a consumer does; with `subscribe` as the last argument it reads one by one.
"""

from __future__ import annotations

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from measurement import FIRST, Peer, event_json, measure

from weaver.events.envelope import decode, encode
from weaver.glados.clock.system import SystemClock
from weaver.walle.database import Database
from weaver.walle.log.event_log import PostgresEventLog


class Weaver(Peer):
    async def open(self):
        assert encode(decode(event_json(7))) == event_json(7).encode()
        database = Database(self.url, clock=SystemClock())
        self.stack.push_async_callback(database.close)
        self.log = PostgresEventLog(database)
        self.stack.push_async_callback(self.log.close)

    def make(self, number):
        return decode(event_json(number))

    async def writer(self, stack):
        return self.log.append

    async def batch_writer(self, stack):
        return self.log.append

    async def catch_up(self, count):
        total = left = 0
        if "subscribe" in sys.argv:
            async for stored in self.log.subscribe(from_offset=-1):
                total += stored.envelope.payload.number - FIRST
                left += 1
                if left == count:
                    return total
        async for batch in self.log.batches(from_offset=-1):
            for stored in batch:
                total += stored.envelope.payload.number - FIRST
            left += len(batch)
            if left >= count:
                break
        return total

    async def listen(self, heard):
        async for stored in self.log.subscribe(from_offset=-1):
            heard(stored.envelope.payload.number - FIRST)


measure(Weaver)
