"""Offsets in PostgreSQL keep the contract of every offset store, and outlive whoever wrote them."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

import pytest

from weaver.testing.contracts import OffsetStoreContract
from weaver.walle.database import Database
from weaver.walle.offset_store import PostgresOffsetStore

pytestmark = pytest.mark.log

RunOn = Callable[..., Any]


@pytest.mark.usefixtures("in_postgres")
class TestPostgresOffsetStore(OffsetStoreContract): ...


def test_offsets_survive_the_instance_and_the_connection(run_on: RunOn) -> None:
    async def write(database: Database) -> None:
        await PostgresOffsetStore(database).set_offset("one", 7)
        assert await PostgresOffsetStore(database).get_offset("one") == 7

    async def read(database: Database) -> None:
        assert await PostgresOffsetStore(database).get_all_offsets() == {"one": 7}

    run_on(write)
    run_on(read)


def test_every_setting_notes_when_it_was(run_on: RunOn) -> None:
    async def main(database: Database) -> None:
        store = PostgresOffsetStore(database)

        async def updated() -> Any:
            async with database.connection() as connection:
                return await connection.fetchval("SELECT updated_at FROM consumer_offsets")

        await store.set_offset("one", 1)
        first = await updated()
        await store.set_offset("one", 1)
        assert await updated() > first

    run_on(main)


def test_two_transactions_on_one_consumer_wait_for_each_other_and_the_larger_offset_stays(run_on: RunOn) -> None:
    async def main(database: Database) -> None:
        store = PostgresOffsetStore(database)

        async def second() -> int:
            async with database.transaction() as transaction:
                return await store.set_offset("one", 5, transaction=transaction)

        async with database.transaction() as transaction:
            await store.set_offset("one", 9, transaction=transaction)
            waiting = asyncio.ensure_future(second())
            async with database.connection() as connection:
                while not await connection.fetchval(
                    "SELECT count(*) FROM pg_stat_activity WHERE wait_event_type = 'Lock' AND datname = current_database()"
                ):
                    pass
            assert not waiting.done()
        assert await waiting == 9
        assert await store.get_offset("one") == 9

    run_on(main)
