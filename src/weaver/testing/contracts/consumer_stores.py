"""ConsumerStoreContract: tests of transactions, leases, attempts and dead letters for implementations of ConsumerStore."""

from __future__ import annotations

import asyncio

from weaver.core.errors import ConfigError, LeaseLost
from weaver.events.consumer_store import Attempt, DeadLetter
from weaver.testing.contracts.harness import Store, StoreContract, meanwhile, on_store, refused
from weaver.testing.contracts.samples import note

__all__ = ["ConsumerStoreContract"]


def _letter(consumer: str, offset: int, error: str = "KeyError: 'x'") -> DeadLetter:
    return DeadLetter(consumer_id=consumer, offset=offset, event_type="testing.Noted", error=error, attempts=3)


class ConsumerStoreContract(StoreContract):
    """Subclass it and open the store in `opened`."""

    @on_store
    async def test_advance_moves_the_offset_with_the_transaction(self, store: Store) -> None:
        async with store.desk.transaction() as transaction:
            await store.desk.advance("one", -1, 4, transaction)
            assert await store.desk.offsets.get_offset("one") == -1
        assert await store.desk.offsets.get_offset("one") == 4
        async with store.desk.transaction() as transaction:
            await store.desk.advance("one", 4, 9, transaction)
        assert await store.desk.offsets.get_offset("one") == 9

    @on_store
    async def test_advance_from_where_the_consumer_does_not_stand_loses_the_lease_and_the_effect(
        self, store: Store
    ) -> None:
        await store.desk.offsets.set_offset("one", 4)
        for name, before in (("one", -1), ("one", 3), ("one", 5), ("nobody", 4)):
            with refused(LeaseLost, repr(name)):
                async with store.desk.transaction() as transaction:
                    await store.log.append(note(1), transaction=transaction)
                    await store.desk.advance(name, before, 9, transaction)
        assert await store.desk.offsets.get_all_offsets() == {"one": 4}
        assert await store.log.read_from(-1) == []

    @on_store
    async def test_of_two_that_advance_at_once_the_second_is_refused(self, store: Store) -> None:
        async def second() -> None:
            async with store.desk.transaction() as transaction:
                await store.log.append(note(2), transaction=transaction)
                await store.desk.advance("one", -1, 7, transaction)

        async with store.desk.transaction() as transaction:
            await store.log.append(note(1), transaction=transaction)
            await store.desk.advance("one", -1, 6, transaction)
            waiting = asyncio.ensure_future(second())
            await meanwhile(store)
        with refused(LeaseLost):
            await waiting
        assert await store.desk.offsets.get_offset("one") == 6
        assert [one.envelope.payload.number for one in await store.log.read_from(-1)] == [1]

    @on_store
    async def test_letters_are_kept_in_order_and_by_consumer(self, store: Store) -> None:
        offset = await store.log.append(note(1))
        letters = [_letter("one", offset), _letter("two", offset), _letter("one", offset + 7, "ünïcode 🦜\nline two")]
        for letter in letters:
            async with store.desk.transaction() as transaction:
                await store.desk.park(letter, transaction)
        assert await store.desk.dead_letters() == letters
        assert await store.desk.dead_letters("one") == [letters[0], letters[2]]
        assert await store.desk.dead_letters("three") == []

    @on_store
    async def test_a_letter_of_a_transaction_that_fails_is_not_kept(self, store: Store) -> None:
        try:
            async with store.desk.transaction() as transaction:
                await store.desk.park(_letter("one", 1), transaction)
                raise KeyError("x")
        except KeyError:
            pass
        assert await store.desk.dead_letters() == []

    @on_store
    async def test_an_attempt_stays_until_it_is_cleared_in_a_transaction_that_commits(self, store: Store) -> None:
        assert await store.desk.get_attempt("one") is None
        for attempt in (Attempt(offset=7, attempts=0), Attempt(offset=7, attempts=1), Attempt(offset=2, attempts=5)):
            await store.desk.set_attempt("one", attempt)
            assert await store.desk.get_attempt("one") == attempt
        assert await store.desk.get_attempt("two") is None
        try:
            async with store.desk.transaction() as transaction:
                await store.desk.clear_attempt("one", transaction)
                raise KeyError("x")
        except KeyError:
            pass
        assert await store.desk.get_attempt("one") == Attempt(offset=2, attempts=5)
        async with store.desk.transaction() as transaction:
            await store.desk.clear_attempt("one", transaction)
        assert await store.desk.get_attempt("one") is None

    @on_store
    async def test_what_is_no_transaction_is_refused(self, store: Store) -> None:
        for call in (store.desk.advance("one", -1, 1, "nonsense"), store.desk.park(_letter("one", 1), "nonsense")):
            with refused(ConfigError, "nonsense"):
                await call

    @on_store
    async def test_a_lease_is_held_by_one_at_a_time_and_free_after_an_error(self, store: Store) -> None:
        told: list[str] = []
        both_wait = asyncio.Event()

        async def hold(who: str) -> None:
            both_wait.set()
            async with store.desk.lease("one") as lease:
                assert not lease.lost
                told.append(who)

        try:
            async with store.desk.lease("one"), store.desk.lease("another name"):
                waiting = asyncio.ensure_future(hold("second"))
                await both_wait.wait()
                await meanwhile(store)
                told.append("first")
                raise KeyError("x")
        except KeyError:
            pass
        await waiting
        assert told == ["first", "second"]

    @on_store
    async def test_waiting_for_a_lease_can_be_given_up(self, store: Store) -> None:
        async def hold() -> None:
            async with store.desk.lease("one"):
                raise AssertionError("it is held already")

        async with store.desk.lease("one"):
            waiting = asyncio.ensure_future(hold())
            await meanwhile(store)
            waiting.cancel()
            (ended,) = await asyncio.gather(waiting, return_exceptions=True)
            assert isinstance(ended, asyncio.CancelledError)
        async with store.desk.lease("one") as lease:
            assert not lease.lost
