"""The server after a crash and after `weaver db stop`: long-lived users start it again after the first, never after the second."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest
from using import User, ask, kill, lives, on, wait_until_stopped

from weaver.config import DatabaseConfig, Settings
from weaver.core.errors import DatabaseInUse, DatabaseStartError, OutcomeUnknown, StoreUnavailable
from weaver.events.consumer import EventConsumer
from weaver.events.envelope import StoredEvent, envelope
from weaver.events.types.run import RunStarted
from weaver.glados.clock.system import SystemClock
from weaver.glados.wiring import OpenStore, open_store
from weaver.walle.embedded import attach, attachment
from weaver.walle.embedded.paths import DatabasePaths
from weaver.walle.embedded.startup import read_server_facts


def settings_of(home: Path) -> Settings:
    return Settings(home=home, database=DatabaseConfig(), linger=0.0)


def crash(home: Path) -> int:
    """Kill the server with -9, and return its process id once its keeper has ended."""
    facts = read_server_facts(DatabasePaths(home))
    assert facts is not None
    kill(str(facts["pid"]))
    wait_until_stopped(home)
    return int(facts["pid"])


async def count_runs(store: OpenStore) -> int:
    async with store.database.connection() as connection:
        number: int = await connection.fetchval("SELECT count(*) FROM runs")
        return number


def test_a_user_that_stays_gets_its_server_back_after_a_crash(home: Path) -> None:
    async def main() -> None:
        async with open_store(settings_of(home)) as store:
            assert await count_runs(store) == 0
            killed = crash(home)
            try:
                await count_runs(store)
            except StoreUnavailable:  # the connection in the pool was cut: this use fails, the next one connects anew
                assert await count_runs(store) == 0
            facts = read_server_facts(DatabasePaths(home))
            assert facts is not None
            assert facts["pid"] != killed

    asyncio.run(main())
    wait_until_stopped(home)
    assert on(home) == []


def test_a_subscription_and_a_consumer_go_on_after_a_crash(home: Path) -> None:
    async def main() -> None:
        async with open_store(settings_of(home)) as store:
            arrived: asyncio.Queue[int] = asyncio.Queue()
            handled: asyncio.Queue[int] = asyncio.Queue()

            async def follow() -> None:
                async for stored in store.log.subscribe(from_offset=-1):
                    arrived.put_nowait(stored.offset)

            async def handle(stored: StoredEvent, transaction: object) -> None:
                handled.put_nowait(stored.offset)

            consumer = EventConsumer(
                "after a crash", handle, log=store.log, consumer_store=store.desk, clock=SystemClock()
            )
            following = asyncio.ensure_future(follow())
            consumer.start()
            first = await append(store)
            assert (await arrived.get(), await handled.get()) == (first, first)
            crash(home)
            second = await append(store)
            assert await arrived.get() == second
            while await handled.get() != second:  # the crash may have cut the commit of the first: it is handled again
                pass
            await consumer.stop()
            following.cancel()
            await asyncio.gather(following, return_exceptions=True)
            async with store.database.connection() as connection:
                await connection.execute("TRUNCATE outbox, consumer_offsets RESTART IDENTITY")

    asyncio.run(main())


async def append(store: OpenStore) -> int:
    """Append an event, again where the crash cut the connection: the server was dead, so nothing was written."""
    for _ in range(5):
        try:
            return await store.log.append(envelope(RunStarted(bars=1), ts=1, producer="test"))
        except (StoreUnavailable, OutcomeUnknown):
            continue
    raise AssertionError("the log cannot be appended to")


def test_a_stop_by_force_stays_in_force_until_the_next_command(home: Path) -> None:
    with attach(home) as holding:
        assert attachment.stop(holding.place, force=True)
        for _ in range(3):
            with pytest.raises(StoreUnavailable, match="was stopped with `weaver db stop`"):
                holding.restart()
        assert on(home) == []
        command = User(home)  # the next command starts it for both
        assert holding.restart() == holding.guarded_url
        assert ask(holding.url, "SELECT 1") == "1"
        command.leave()
        crash(home)  # after that command, a crash is a crash again
        assert ask(holding.restart(), "SELECT 1") == "1"


def test_a_program_that_opens_the_store_again_to_go_on_respects_a_stop(home: Path) -> None:
    async def open_again(**options: bool) -> int:
        async with open_store(settings_of(home), **options) as store:
            return await count_runs(store)

    with attach(home) as holding:
        attachment.stop(holding.place, force=True)
        with pytest.raises(StoreUnavailable, match="was stopped with `weaver db stop`"):
            asyncio.run(open_again(resume=True))
        assert on(home) == []
        assert asyncio.run(open_again()) == 0
        assert asyncio.run(open_again(resume=True)) == 0


def test_a_stop_that_was_refused_keeps_users_from_starting_it_again(home: Path) -> None:
    with attach(home) as holding:
        with pytest.raises(DatabaseInUse):
            attachment.stop(holding.place)
        assert ask(holding.restart(), "SELECT 1") == "1", "it runs on for its users"
        crash(home)
        with pytest.raises(StoreUnavailable, match="was stopped with `weaver db stop`"):
            holding.restart()
        assert on(home) == []


def test_a_stop_holds_also_where_the_server_had_crashed_before(home: Path) -> None:
    with attach(home) as holding:
        crash(home)
        assert not attachment.stop(holding.place)
        with pytest.raises(StoreUnavailable, match="was stopped with `weaver db stop`"):
            holding.restart()


def test_of_several_users_that_notice_a_crash_one_starts_the_server(home: Path) -> None:
    with attach(home) as first, attach(home) as second:
        crash(home)
        urls = [first.restart(), second.restart(), first.restart()]
        assert len(set(urls)) == 1
        assert first.server["pid"] == second.server["pid"]
        assert lives(first.server["pid"])


def test_a_server_that_another_command_started_on_another_port_is_found(home: Path) -> None:
    from debian_server import free_port

    async def main() -> None:
        async with open_store(settings_of(home)) as store:
            before = store.database.url
            await count_runs(store)
            attachment.stop(DatabasePaths(home), force=True)
            with attach(home, tcp=free_port()):
                try:
                    await count_runs(store)
                except StoreUnavailable:
                    await count_runs(store)
                assert store.database.url != before

    asyncio.run(main())


def test_a_running_server_whose_socket_was_removed_is_named_and_the_next_start_after_a_stop_works(
    home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(attachment, "_MOST_SILENT_LOOKS", 3)
    with attach(home) as holding:
        socket = Path(holding.server["socket"]) / f".s.PGSQL.{holding.server['port']}"
        socket.unlink()
        with pytest.raises(
            DatabaseStartError, match=r"has not answered for .*: its socket .* is missing.*db stop --force"
        ):
            attach(home)
        attachment.keep(holding)  # as `weaver db start` does
    assert attachment.stop(DatabasePaths(home), force=True)
    with attach(home) as holding:
        assert ask(holding.url, "SELECT 1") == "1"
