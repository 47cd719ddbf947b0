"""OffsetStoreContract: tests for implementations of OffsetStore. Whether offsets outlive the process is not tested."""

from __future__ import annotations

import asyncio

from weaver.core.errors import ConfigError
from weaver.testing.contracts.harness import Store, StoreContract, on_store, refused

__all__ = ["OffsetStoreContract"]

ODD = (
    "a",
    "x" * 100,
    "株" * 100,
    "with space",
    "quote'\"; DROP TABLE outbox; --",
    "a\nb",
    "%_*",
    "-1",
    " a",
    "ä",
    "a\u0308",
)


class OffsetStoreContract(StoreContract):
    """Subclass it and open the store in `opened`."""

    @on_store
    async def test_a_consumer_that_nobody_knows_stands_at_minus_one(self, store: Store) -> None:
        assert await store.desk.offsets.get_offset("nobody") == -1
        assert await store.desk.offsets.get_all_offsets() == {}

    @on_store
    async def test_what_was_set_is_got(self, store: Store) -> None:
        assert await store.desk.offsets.set_offset("one", 41) == 41
        assert await store.desk.offsets.get_offset("one") == 41
        assert await store.desk.offsets.set_offset("one", 42) == 42
        assert await store.desk.offsets.get_offset("one") == 42

    @on_store
    async def test_zero_and_minus_one_are_offsets_too(self, store: Store) -> None:
        assert await store.desk.offsets.set_offset("one", -1) == -1
        assert await store.desk.offsets.get_all_offsets() == {"one": -1}
        assert await store.desk.offsets.set_offset("one", 0) == 0
        assert await store.desk.offsets.get_offset("one") == 0

    @on_store
    async def test_an_offset_goes_back_only_where_that_is_asked_for(self, store: Store) -> None:
        offsets = store.desk.offsets
        await offsets.set_offset("one", 10)
        assert await offsets.set_offset("one", 3) == 10
        assert await offsets.get_offset("one") == 10
        assert await offsets.set_offset("one", 3, backwards=True) == 3
        assert await offsets.get_offset("one") == 3
        assert await offsets.set_offset("one", -1, backwards=True) == -1
        assert await offsets.get_offset("one") == -1

    @on_store
    async def test_consumers_do_not_touch_each_other(self, store: Store) -> None:
        offsets = store.desk.offsets
        for number, name in enumerate(ODD):
            await offsets.set_offset(name, number)
        assert await offsets.get_all_offsets() == {name: number for number, name in enumerate(ODD)}
        assert [await offsets.get_offset(name) for name in ODD] == list(range(len(ODD)))

    @on_store
    async def test_the_largest_offset_is_kept(self, store: Store) -> None:
        assert await store.desk.offsets.set_offset("one", 2**63 - 1) == 2**63 - 1
        assert await store.desk.offsets.get_offset("one") == 2**63 - 1

    @on_store
    async def test_what_is_no_offset_or_no_name_is_refused_and_nothing_changes(self, store: Store) -> None:
        offsets = store.desk.offsets
        await offsets.set_offset("one", 5)
        for wrong in (-2, 2**63, 1.0, True, "7", None):
            with refused(ConfigError, repr(wrong)):
                await offsets.set_offset("one", wrong)  # type: ignore[arg-type]
        for name in ("", "a\0b", "x" * 101, "lone \ud800", None, 7):
            for call in (offsets.get_offset, lambda name: offsets.set_offset(name, 1)):
                with refused(ConfigError, "consumer"):
                    await call(name)  # type: ignore[arg-type]
        assert await offsets.get_all_offsets() == {"one": 5}

    @on_store
    async def test_concurrent_settings_of_one_consumer_end_at_the_largest(self, store: Store) -> None:
        offsets = store.desk.offsets
        answers = await asyncio.gather(*(offsets.set_offset("one", number) for number in (5, 1, 9, 3, 9, 7) * 5))
        assert await offsets.get_offset("one") == 9
        assert all(answer >= asked for answer, asked in zip(answers, (5, 1, 9, 3, 9, 7) * 5, strict=True))

    @on_store
    async def test_concurrent_settings_of_many_consumers_are_all_kept(self, store: Store) -> None:
        offsets = store.desk.offsets
        await asyncio.gather(*(offsets.set_offset(f"consumer {number}", number) for number in range(40)))
        assert await offsets.get_all_offsets() == {f"consumer {number}": number for number in range(40)}

    @on_store
    async def test_within_a_transaction_nobody_else_sees_it_and_a_larger_one_from_elsewhere_stays(
        self, store: Store
    ) -> None:
        async with store.desk.transaction() as transaction:
            await store.desk.offsets.set_offset("one", 3, transaction=transaction)
            await store.desk.offsets.set_offset("two", 9)
            assert await store.desk.offsets.get_offset("one") == -1
        assert await store.desk.offsets.get_all_offsets() == {"one": 3, "two": 9}
