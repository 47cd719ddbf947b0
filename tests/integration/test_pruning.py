"""Pruning, and what people ask of the log: old events go, nobody who still needs one loses it, and nothing is held up."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any

import pytest

from weaver.events.log import EventFilter
from weaver.testing.contracts.samples import note
from weaver.walle.database import Database
from weaver.walle.log import prune as pruning
from weaver.walle.log.event_log import PostgresEventLog
from weaver.walle.log.event_queries import EventQueries, TypeCount
from weaver.walle.log.prune import Pruned, prune
from weaver.walle.offset_store import PostgresOffsetStore

pytestmark = pytest.mark.log

RunOn = Callable[..., Any]

AGE, SINCE = datetime(2020, 1, 1, tzinfo=UTC), datetime(2021, 1, 1, tzinfo=UTC)


async def filled(database: Database, old: int, new: int = 0) -> list[int]:
    """`old` events of the year 2020, then `new` ones of today; their offsets."""
    log = PostgresEventLog(database)
    offsets = [
        *await log.append([note(number) for number in range(old)]),
        *await log.append([note(n) for n in range(new)]),
    ]
    async with database.connection() as connection:
        await connection.execute("UPDATE outbox SET created_at = $1 WHERE id = ANY($2)", AGE, offsets[:old])
    await log.close()
    return offsets


async def left(database: Database) -> list[int]:
    return [one.offset for one in await PostgresEventLog(database).read_from(-1)]


def test_what_is_old_goes_and_what_is_not_stays(run_on: RunOn, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pruning, "_DELETE", pruning._DELETE.replace("LIMIT 2000", "LIMIT 3"))

    async def main(database: Database) -> None:
        offsets = await filled(database, old=8, new=2)
        heard: list[int] = []
        done = await prune(database, SINCE, progress=heard.append)
        assert done == Pruned(events=8, held_by=None, held_at=None)
        assert heard == [3, 6, 8, 8], "in short transactions"
        assert await left(database) == offsets[8:]
        assert (await prune(database, SINCE)).events == 0

    run_on(main)


def test_the_newest_event_stays_so_that_readers_know_where_the_log_is(run_on: RunOn) -> None:
    async def main(database: Database) -> None:
        offsets = await filled(database, old=3)
        assert (await prune(database, SINCE)).events == 2
        assert await left(database) == offsets[-1:]
        assert await PostgresEventLog(database).latest_offset() == offsets[-1]

    run_on(main)


def test_an_empty_log_is_pruned_of_nothing(run_on: RunOn) -> None:
    async def main(database: Database) -> None:
        assert await prune(database, SINCE) == Pruned(events=0, held_by=None, held_at=None)

    run_on(main)


def test_nothing_goes_that_the_slowest_consumer_has_not_seen_unless_it_is_forced(run_on: RunOn) -> None:
    async def main(database: Database) -> None:
        offsets = await filled(database, old=6, new=1)
        store = PostgresOffsetStore(database)
        await store.set_offset("quick", offsets[-1])
        await store.set_offset("slow", offsets[2])
        assert await prune(database, SINCE) == Pruned(events=3, held_by="slow", held_at=offsets[2])
        assert await left(database) == offsets[3:]
        await store.set_offset("new", -1)
        assert await prune(database, SINCE) == Pruned(events=0, held_by="new", held_at=-1)
        assert await prune(database, SINCE, force=True) == Pruned(events=3, held_by=None, held_at=None)
        assert await left(database) == offsets[6:]

    run_on(main)


def test_a_consumer_that_is_not_behind_holds_nothing_up(run_on: RunOn) -> None:
    async def main(database: Database) -> None:
        offsets = await filled(database, old=3, new=1)
        await PostgresOffsetStore(database).set_offset("up to date", offsets[-1])
        assert await prune(database, SINCE) == Pruned(events=3, held_by=None, held_at=None)

    run_on(main)


def test_a_reader_from_the_beginning_reads_what_is_left(run_on: RunOn) -> None:
    async def main(database: Database) -> None:
        offsets = await filled(database, old=5, new=3)
        await prune(database, SINCE)
        log = PostgresEventLog(database)
        stream = log.subscribe(from_offset=-1)
        assert [(await anext(stream)).offset for _ in range(3)] == offsets[5:]
        await stream.aclose()
        await log.close()

    run_on(main)


def test_the_last_events_that_are_wanted_come_oldest_first(run_on: RunOn) -> None:
    async def main(database: Database) -> None:
        log, inquiry = PostgresEventLog(database), EventQueries(database)
        offsets = await log.append([note(number, run_id="ab"[number % 2]) for number in range(6)])
        await log.close()

        async def last(count: int, *wanted: Any) -> list[int]:
            return [one.offset for one in await inquiry.last(count, EventFilter(*wanted))]

        assert await last(2) == offsets[-2:]
        assert await last(100) == offsets
        assert await last(2, None, "a") == [offsets[2], offsets[4]]
        assert await last(2, "testing.*") == offsets[-2:]
        assert await last(2, "test_ng.*") == []
        assert await last(2, ["testing.Noted"], "c") == []
        assert await inquiry.types() == [
            TypeCount(type="testing.Noted", count=6, first=offsets[0], last=offsets[-1]),
        ]

    run_on(main)


def test_an_event_is_found_by_offset_or_id_and_with_it_its_causes_and_effects(run_on: RunOn) -> None:
    async def main(database: Database) -> None:
        log, inquiry = PostgresEventLog(database), EventQueries(database)
        first = note(1)
        second = note(2, cause=first)
        offsets = await log.append([first, note(9), second, note(3, cause=second)])
        await log.close()
        by_offset = await inquiry.find(str(offsets[2]))
        assert by_offset is not None
        assert by_offset.envelope == second
        assert await inquiry.find(second.id) == by_offset
        for nothing in ("0", "9" * 18, "9" * 30, "no such id"):
            assert await inquiry.find(nothing) is None
        assert [one.offset for one in await inquiry.chain(by_offset)] == [offsets[0], offsets[2], offsets[3]]
        assert [one.offset for one in await inquiry.chain(by_offset, most=1)] == [offsets[0]]

    run_on(main)
