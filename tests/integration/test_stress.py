"""64 transactions are open at any time, one in five is rolled back, readers come and go; everything committed is delivered.

Who does what next is drawn from a seed. Four readers follow the same transactions: the right one, the log itself with all that
belongs to it, and the two wrong ones of fixtures/readers.py, which must lose events here, or the stress is none.

WEAVER_STRESS=60 runs it for 60 seconds instead of a fixed number of transactions, WEAVER_STRESS_SEED=7 with another seed.
"""

from __future__ import annotations

import asyncio
import os
from collections.abc import Iterator
from typing import Any

import asyncpg
import msgspec
import numpy as np
import pytest
from postgres import Server
from readers import QUERY, ListsFirstReader, NaiveReader, within

from weaver.core.instants import NS_PER_SECOND
from weaver.events.envelope import encode, envelope
from weaver.events.registry import register
from weaver.glados.clock import SystemClock
from weaver.walle.database import Database
from weaver.walle.log.event_log import PostgresEventLog
from weaver.walle.log.gap_aware_reader import PRUNING_LOCK, GapAwareReader, Row

SLOTS = 64
TRANSACTIONS = 1000
BURST = 100
"""So many transactions begin before there is a lull: a wrong list is most wrong where nobody was writing when it was taken."""
ROLLED_BACK = 0.2
SEED = int(os.environ.get("WEAVER_STRESS_SEED", "20260102"))
SECONDS = float(os.environ.get("WEAVER_STRESS", "0"))

INSERT = (
    "INSERT INTO outbox (type, payload) SELECT event ->> 'type', event FROM jsonb_array_elements($1::jsonb) AS event "
    "RETURNING id"
)


@register("stress.Happened")
class Happened(msgspec.Struct, frozen=True, kw_only=True):
    transaction: int
    number: int


def plan(number: int) -> Iterator[str]:
    """What transaction `number` does after its first insert: a function of the seed and the number alone."""
    draw = np.random.default_rng([SEED, number])
    depth = 0
    yield f"insert {draw.integers(1, 4)}"
    for _ in range(draw.integers(0, 6)):
        what = draw.choice(["insert", "savepoint", "rollback to", "release"], p=[0.5, 0.3, 0.1, 0.1])
        if what == "insert":
            yield f"insert {draw.integers(1, 6)}"
        elif what == "savepoint":
            depth += 1
            yield f"SAVEPOINT s{depth}"
        elif depth:
            yield f"{what.upper()} SAVEPOINT s{depth}"
            depth -= what == "release"
    yield "ROLLBACK" if draw.random() < ROLLED_BACK else "COMMIT"


class Rounds:
    """Counts what has happened, for readers that let a drawn number of things happen between two of their queries."""

    def __init__(self) -> None:
        self.count = 0
        self.busy = 0  # of these, the ones in which somebody wrote
        self.over = False
        self._more = asyncio.Event()

    def advance(self, *, busy: bool = False, over: bool = False) -> None:
        self.count += 1
        self.busy += busy
        self.over = over
        self._more.set()
        self._more = asyncio.Event()

    async def past(self, more: int) -> None:
        last = self.count + more
        while self.count < last and not self.over:
            await self._more.wait()

    async def past_busy(self, more: int) -> None:
        last = self.busy + more
        while self.busy < last and not self.over:
            await self._more.wait()


class Slot:
    """A connection that makes one transaction after another, a step at a time."""

    def __init__(self, connection: Any, run: Run) -> None:
        self._connection = connection
        self._run = run
        self._steps: Iterator[str] | None = None
        self._kept: list[tuple[int, Happened]] = []
        self._marks: list[int] = []
        self._number = 0

    @property
    def busy(self) -> bool:
        return self._steps is not None

    async def step(self) -> None:
        if self._steps is None:
            if (number := self._run.next_number()) is None:
                return
            self._number, self._steps, self._kept, self._marks = number, plan(number), [], []
            await self._connection.execute("BEGIN")
        step = next(self._steps)
        if step.startswith("insert"):
            await self._insert(int(step.split()[1]))
            return
        await self._connection.execute(step)
        if step.startswith("SAVEPOINT"):
            self._marks.append(len(self._kept))
        elif step.startswith("ROLLBACK TO"):
            del self._kept[self._marks[-1] :]
        elif step.startswith("RELEASE"):
            self._marks.pop()
        else:
            self._steps = None
            self._run.ended[step] += 1
            if step == "COMMIT":
                self._run.committed.update(self._kept)

    async def _insert(self, count: int) -> None:
        facts = [Happened(transaction=self._number, number=len(self._kept) + one) for one in range(count)]
        events = [
            encode(envelope(fact, ts=self._number, producer="stress", id=f"{self._number}-{fact.number}"))
            for fact in facts
        ]
        rows = await self._connection.fetch(INSERT, (b"[" + b",".join(events) + b"]").decode())
        self._kept += [(row[0], fact) for row, fact in zip(rows, facts, strict=True)]


class Run:
    """All of one stress: the transactions, and whoever follows them."""

    def __init__(self, server: Server, name: str) -> None:
        self.server, self.name = server, name
        self.clock = SystemClock()
        self.rounds = Rounds()
        self.committed: dict[int, Happened] = {}
        self.ended = {"COMMIT": 0, "ROLLBACK": 0}
        self.bursts = 0
        self._started = self._lull = 0
        self._last_ns = self.clock.elapsed_ns() + int(SECONDS * NS_PER_SECOND)

    def _more(self) -> bool:
        return self.clock.elapsed_ns() < self._last_ns if SECONDS else self._started < TRANSACTIONS

    def next_number(self) -> int | None:
        if not self._more() or self._started >= self._lull:
            return None
        self._started += 1
        return self._started

    async def drive(self, connections: list[Any], reader: ReaderFollower) -> None:
        """Bursts of transactions; between two of them nobody writes until `reader` has come to the end and looked again."""
        draw = np.random.default_rng([SEED, 0, 1])
        slots = [Slot(connection, self) for connection in connections]
        while self._more():
            self._lull = self._started + BURST
            await self._burst(slots, draw)
            self.bursts += 1
            while reader.at < max(self.committed):
                await self._idle(connections[0])
            looks = reader.looks + 1
            while reader.looks < looks:
                await self._idle(connections[0])
        self.rounds.advance(over=True)

    async def _idle(self, connection: Any) -> None:
        await connection.execute("SELECT 1")
        self.rounds.advance()

    async def _burst(self, slots: list[Slot], draw: np.random.Generator) -> None:
        """A few drawn transactions take a step at the same time, again and again, until all have ended."""
        await asyncio.gather(*(slot.step() for slot in slots))
        while busy := [slot for slot in slots if slot.busy]:
            chosen = draw.choice(len(busy), size=min(len(busy), int(draw.integers(1, 9))), replace=False)
            await asyncio.gather(*(busy[one].step() for one in chosen))
            for slot in slots:
                if not slot.busy:
                    await slot.step()
            self.rounds.advance(busy=True)


class Follower:
    """A reader that is restarted at drawn moments, after the last event that it delivered."""

    def __init__(self, run: Run, number: int) -> None:
        self._run = run
        self.draw = np.random.default_rng([SEED, 0, 2, number])
        self.delivered: list[tuple[int, Happened]] = []
        self.restarts = 0

    @property
    def at(self) -> int:
        return self.delivered[-1][0] if self.delivered else -1

    async def follow(self) -> None:
        while True:
            life = asyncio.ensure_future(self.live())
            stop = asyncio.ensure_future(self._run.rounds.past_busy(int(self.draw.integers(20, 150))))
            await asyncio.wait([life, stop], return_when=asyncio.FIRST_COMPLETED)
            stop.cancel()
            if life.done():
                return await life
            self.restarts += 1
            life.cancel()
            await asyncio.wait([life])
            if self._run.rounds.over:
                return await self.live()

    async def live(self) -> None:
        """Deliver until the transactions have ended and nothing more comes."""
        raise NotImplementedError


class ReaderFollower(Follower):
    """Follows by a reader of `kind`, and lets things happen between the first two queries of every read."""

    def __init__(self, run: Run, number: int, kind: type[GapAwareReader]) -> None:
        super().__init__(run, number)
        self.gap_waits = 0
        self.looks = 0  # reads whose first query was answered
        follower = self

        class Stretched(kind):  # type: ignore[misc, valid-type]
            async def read(self, *arguments: Any, **options: Any) -> list[Row]:
                self.queries = 0
                return await super().read(*arguments, **options)

            async def _between(self) -> None:
                self.queries += 1
                if self.queries == 2:
                    follower.looks += 1
                    await run.rounds.past(int(follower.draw.choice([0, 10, 30, 60])))

            async def _fetch(self, *arguments: Any) -> list[Row]:
                await self._between()
                return await super()._fetch(*arguments)

            async def _writers(self, *arguments: Any) -> set[str]:
                await self._between()
                return await super()._writers(*arguments)

        self._kind = Stretched

    async def live(self) -> None:
        connection = await asyncpg.connect(self._run.server.dsn(self._run.name))
        reader = self._kind(QUERY, self._run.clock)
        try:
            while True:
                over = self._run.rounds.over
                rows = await reader.read(connection, self.at, int(self.draw.integers(1, 200)))
                self.delivered += [(row[0], msgspec.json.decode(row[1], type=_Stored).payload) for row in rows]
                if not rows:
                    if over:
                        return
                    await self._run.rounds.past(1)
        finally:
            self.gap_waits += reader.gap_waits
            connection.terminate()


class _Stored(msgspec.Struct):
    payload: Happened


class LogFollower(Follower):
    """Follows by what the log offers everybody."""

    def __init__(self, run: Run, number: int, log: PostgresEventLog) -> None:
        super().__init__(run, number)
        self._log = log

    async def live(self) -> None:
        stream = self._log.batches(from_offset=self.at, most=int(self.draw.integers(1, 200)))
        try:
            while not (self._run.rounds.over and self.at == max(self._run.committed)):
                self.delivered += [(one.offset, one.envelope.payload) for one in await anext(stream)]
        finally:
            await stream.aclose()


@pytest.fixture
def name(server: Server) -> str:
    return server.new_database()


def test_under_stress_everything_committed_is_delivered_in_order_and_the_wrong_readers_lose(
    server: Server, name: str
) -> None:
    async def main() -> None:
        async with Database(server.url(name), clock=SystemClock()) as database:
            log = PostgresEventLog(database, poll_s=0.05)
            try:
                await stress(log)
            finally:
                await log.close()

    async def stress(log: PostgresEventLog) -> None:
        run = Run(server, name)
        right, wrong = ReaderFollower(run, 1, GapAwareReader), ReaderFollower(run, 2, ListsFirstReader)
        naive, itself = ReaderFollower(run, 3, NaiveReader), LogFollower(run, 4, log)
        followers = [right, wrong, naive, itself]
        connections = [await asyncpg.connect(server.dsn(name)) for _ in range(SLOTS)]
        pruner = await asyncpg.connect(server.dsn(name))
        try:
            # A pruning transaction that never ends: whoever waited for it would deliver nothing.
            await pruner.execute(
                f"BEGIN; SELECT pg_advisory_xact_lock({PRUNING_LOCK}); DELETE FROM outbox WHERE id < 0"
            )
            following = [asyncio.ensure_future(one.follow()) for one in followers]
            driving = asyncio.ensure_future(within(30 + 2 * SECONDS, run.drive(connections, wrong)))
            await asyncio.wait([driving, *following], return_when=asyncio.FIRST_COMPLETED)
            for one in following:
                if one.done():
                    one.result()  # a follower that ends before the end has raised
            await driving
            await within(60, asyncio.gather(*following))
        finally:
            for one in (*connections, pruner):
                one.terminate()

        committed = sorted(run.committed.items())
        lost = {kind: len(committed) - len(one.delivered) for kind, one in (("lists first", wrong), ("naive", naive))}
        print(
            f"\nseed {SEED}: {sum(run.ended.values())} transactions, {run.ended['ROLLBACK']} rolled back, {len(committed)} "
            f"events; {right.gap_waits} gaps waited for, {sum(one.restarts for one in followers)} restarts; "
            f"lost by the control: {', '.join(f'{count} ({kind})' for kind, count in lost.items())}"
        )
        assert right.delivered == committed
        assert itself.delivered == committed
        assert run.ended["ROLLBACK"] > 0.1 * sum(run.ended.values())
        assert right.gap_waits > 0
        assert right.restarts > 0
        assert itself.restarts > 0
        for one in (wrong, naive):
            assert len(one.delivered) < len(committed), (
                "the control lost nothing: the stress is too mild to prove anything"
            )
            assert set(one.delivered) < set(committed)

    asyncio.run(main())
