"""Notifications: tell readers of the log that events were appended, by this process or another.

They carry no events and are only hints: readers also poll. A NOTIFY inside the writing transaction
would hold a lock of the whole cluster across its flush, and cut sixteen writers to a third; so it is sent after the commit,
from a connection of its own that waits for no flush, and never more than one at a time.

A listener whose connection is half open receives nothing and cannot be distinguished from a quiet log. So it notifies itself
every few seconds (the canary), and reconnects if the canary does not come back.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

import asyncpg

from weaver.core.errors import StoreError
from weaver.core.instants import NS_PER_SECOND
from weaver.core.ports import run_within, sleep_for
from weaver.events.health import ListenerState
from weaver.walle.database import BROKEN, Database
from weaver.walle.schema import CHANNEL

__all__ = ["Listener", "Notifier"]

_CANARY_NS = 10 * NS_PER_SECOND
_ANSWER_NS = 5 * NS_PER_SECOND
_FIRST_PAUSE_NS = NS_PER_SECOND // 20
_LONGEST_PAUSE_NS = 5 * NS_PER_SECOND


class Notifier:
    """Notifies other processes that events were appended, with at most one message in flight."""

    def __init__(self, database: Database) -> None:
        self._database = database
        self._connection: Any = None
        self._wanted = False
        self._task: asyncio.Task[None] | None = None
        self.sent = 0

    def poke(self) -> None:
        """Send a notification soon, after events were committed. Return at once; a failure only costs readers time."""
        self._wanted = True
        if self._task is None or self._task.done():
            self._task = asyncio.create_task(self._send(), name="weaver notifier")

    async def _send(self) -> None:
        while self._wanted:
            self._wanted = False
            try:
                if self._connection is None or self._connection.is_closed():
                    self._connection = await self._database.connect(
                        application_name="weaver notifier", synchronous_commit="off"
                    )
                # Over a connection that swallows everything this does not end before the system gives it up. What is lost
                # by it is time; a bound for each message would cost every append as much as its own query.
                await self._connection.execute(f"NOTIFY {CHANNEL}")
                self.sent += 1
            except (StoreError, *BROKEN):
                connection, self._connection = self._connection, None
                if connection is not None:
                    connection.terminate()
                return

    async def close(self) -> None:
        """Send a pending notification, within a bound, and disconnect."""
        if self._task is not None and not self._task.done():
            try:
                await run_within(self._database.clock, _ANSWER_NS, asyncio.wait([self._task]))
            except TimeoutError:
                self._task.cancel()
        connection, self._connection = self._connection, None
        if connection is not None:
            connection.terminate()


class Listener:
    """Calls every subscriber's function when events were appended, and when it cannot know whether any were."""

    def __init__(self, database: Database, *, canary_ns: int = _CANARY_NS, answer_ns: int = _ANSWER_NS) -> None:
        self._database = database
        self._clock = database.clock
        self._canary_ns = canary_ns
        self._answer_ns = answer_ns
        self._calls: dict[int, Callable[[], None]] = {}
        self._next_key = 0
        self._task: asyncio.Task[None] | None = None
        self._answered = asyncio.Event()
        self._broken = asyncio.Event()
        self.state = ListenerState.OFF
        self.reconnects = 0

    def subscribe(self, call: Callable[[], None]) -> Callable[[], None]:
        """Call `call` from now on until the returned function is called."""
        key, self._next_key = self._next_key, self._next_key + 1
        self._calls[key] = call
        if self._task is None or self._task.done():
            self._task = asyncio.create_task(self._run(), name="weaver listener")
        return lambda: self._calls.pop(key, None) and None

    def wake(self) -> None:
        """Call all subscribers."""
        for call in tuple(self._calls.values()):
            call()

    async def close(self) -> None:
        """Disconnect and call no subscriber any more."""
        self._calls.clear()
        task, self._task = self._task, None
        if task is not None:
            task.cancel()
            await asyncio.wait([task])
        self.state = ListenerState.OFF

    async def _run(self) -> None:
        pause = _FIRST_PAUSE_NS
        while True:
            connection = None
            try:
                self.state = ListenerState.CONNECTING
                connection = await self._database.connect(application_name="weaver listener")
                pause = _FIRST_PAUSE_NS
                await self._listen(connection)
            except (StoreError, TimeoutError, asyncpg.PostgresError, *BROKEN):
                pass
            finally:
                if connection is not None:
                    connection.terminate()
            self.state = ListenerState.DEAD
            self.reconnects += 1
            await sleep_for(self._clock, pause)
            pause = min(2 * pause, _LONGEST_PAUSE_NS)

    async def _listen(self, connection: Any) -> None:
        """Hear until the connection breaks, or gives no answer."""
        self._broken.clear()
        connection.add_termination_listener(lambda _: self._broken.set())
        canary = f"weaver_canary_{connection.get_server_pid()}"
        await run_within(self._clock, self._answer_ns, self._start_listening(connection, canary))
        self.wake()  # for events that were appended before it listened
        self.state = ListenerState.QUIET
        while True:
            try:
                await run_within(self._clock, self._canary_ns, self._broken.wait())
                return
            except TimeoutError:
                pass
            self._answered.clear()
            await run_within(self._clock, self._answer_ns, self._notify_itself(connection, canary))
            self.state = ListenerState.QUIET

    async def _start_listening(self, connection: Any, canary: str) -> None:
        await connection.add_listener(CHANNEL, self._heard)
        await connection.add_listener(canary, self._came_back)

    async def _notify_itself(self, connection: Any, canary: str) -> None:
        """Send the canary and return once it has come back."""
        await connection.execute(f"NOTIFY {canary}")
        await self._answered.wait()

    def _heard(self, *_: object) -> None:
        self.state = ListenerState.LIVE
        self.wake()

    def _came_back(self, *_: object) -> None:
        self._answered.set()
