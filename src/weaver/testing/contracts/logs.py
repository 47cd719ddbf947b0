"""EventLogContract: tests of order, completeness and transactions for implementations of EventLog.

Several tests hold a transaction open. That a reader waits for it is asserted by what `read_from` gives in the meantime and
by the order of what a subscription gives afterwards, never by waiting for nothing to happen.
"""

from __future__ import annotations

import asyncio

from weaver.core.errors import ConfigError
from weaver.events.envelope import UnknownPayload, envelope
from weaver.testing.contracts.harness import Store, StoreContract, offsets_of, on_store, refused, take, turn
from weaver.testing.contracts.samples import STRANGE, Answered, Leg, Noted, Strange, Tree, note

__all__ = ["EventLogContract"]


class _Refused(Exception):
    """Ends a transaction in a test."""


class EventLogContract(StoreContract):
    """Subclass it and open the log in `opened`."""

    # --- appending ---------------------------------------------------------------------------------------------------

    @on_store
    async def test_an_empty_log_has_no_events_and_the_latest_offset_minus_one(self, store: Store) -> None:
        assert await store.log.latest_offset() == -1
        assert await store.log.read_from(-1) == []
        assert await store.log.append([]) == []
        assert await store.log.latest_offset() == -1

    @on_store
    async def test_one_event_that_was_appended_is_read_back_equal(self, store: Store) -> None:
        sent = note(1, run_id="run-1")
        offset = await store.log.append(sent)
        (found,) = await store.log.read_from(-1)
        assert (found.offset, found.envelope) == (offset, sent)
        assert offset > 0
        assert await store.log.latest_offset() == offset

    @on_store
    async def test_many_events_get_offsets_that_grow_in_the_order_given(self, store: Store) -> None:
        sent = [note(number) for number in range(250)]
        offsets = await store.log.append(sent)
        assert offsets == sorted(set(offsets))
        found = await store.log.read_from(-1)
        assert offsets_of(found) == offsets
        assert [one.envelope for one in found] == sent

    @on_store
    async def test_a_list_of_one_gives_a_list_of_one(self, store: Store) -> None:
        assert len(await store.log.append([note(1)])) == 1
        assert isinstance(await store.log.append(note(2)), int)

    @on_store
    async def test_appends_one_after_the_other_grow(self, store: Store) -> None:
        offsets = [await store.log.append(note(number)) for number in range(5)]
        assert offsets == sorted(set(offsets))

    @on_store
    async def test_the_same_event_twice_is_kept_twice_under_one_id(self, store: Store) -> None:
        await store.log.append([note(1), note(1)])
        first, second = await store.log.read_from(-1)
        assert first.offset < second.offset
        assert first.envelope.id == second.envelope.id

    @on_store
    async def test_complex_payloads_come_back_equal(self, store: Store) -> None:
        leg = Leg(1e-7, ("a", "ß"))
        sent = [
            envelope(Strange(STRANGE), ts=0, producer="test"),
            *(envelope(Strange(value), ts=0, producer="test") for value in STRANGE.values()),
            envelope(Tree([leg, Leg(-0.0)], leg, {"": leg, "株": Leg(1e300)}), ts=0, producer="test"),
            envelope(Noted(-(2**70)), ts=0, producer="test"),
            envelope(Tree([]), ts=2**62, producer="test"),
        ]
        await store.log.append(sent)
        for one, found in zip(sent, await store.log.read_from(-1), strict=True):
            assert found.envelope == one, one.payload

    @on_store
    async def test_the_chain_of_causes_is_kept(self, store: Store) -> None:
        first = note(1)
        second = note(2, cause=first)
        third = note(3, cause=second)
        await store.log.append([first, second, third])
        found = [one.envelope for one in await store.log.read_from(-1)]
        assert [one.causation_id for one in found] == [None, first.id, second.id]
        assert {one.corr_id for one in found} == {first.id}

    # --- reading -----------------------------------------------------------------------------------------------------

    @on_store
    async def test_reading_begins_after_the_offset_and_ends_at_the_limit(self, store: Store) -> None:
        offsets = await store.log.append([note(number) for number in range(10)])
        assert offsets_of(await store.log.read_from(-1)) == offsets
        assert offsets_of(await store.log.read_from(0)) == offsets
        assert offsets_of(await store.log.read_from(offsets[3])) == offsets[4:]
        assert offsets_of(await store.log.read_from(offsets[3], limit=2)) == offsets[4:6]
        assert offsets_of(await store.log.read_from(-1, limit=1)) == offsets[:1]
        assert await store.log.read_from(offsets[-1]) == []

    @on_store
    async def test_the_future_is_empty_until_it_comes(self, store: Store) -> None:
        last = await store.log.append(note(1))
        assert await store.log.read_from(last + 1000) == []
        assert await store.log.read_from(2**63 - 1) == []

    @on_store
    async def test_an_offset_or_limit_that_is_none_is_refused(self, store: Store) -> None:
        for offset in (-2, 2**63, True, 1.5):
            with refused(ConfigError, repr(offset)):
                await store.log.read_from(offset)  # type: ignore[arg-type]
        for limit in (0, -1, 10**9, True):
            with refused(ConfigError, repr(limit)):
                await store.log.read_from(-1, limit=limit)

    # --- at the same time --------------------------------------------------------------------------------------------

    @on_store
    async def test_concurrent_appends_are_all_kept_each_once(self, store: Store) -> None:
        offsets = await asyncio.gather(*(store.log.append(note(number)) for number in range(200)))
        assert len(set(offsets)) == 200
        found = await store.log.read_from(-1)
        assert offsets_of(found) == sorted(offsets)
        by_offset = {one.offset: one.envelope.payload.number for one in found}
        assert [by_offset[offset] for offset in offsets] == list(range(200)), "each got the offset of its own event"

    @on_store
    async def test_concurrent_lists_each_keep_their_order(self, store: Store) -> None:
        lists = [[note(100 * part + number) for number in range(20)] for part in range(10)]
        answers = await asyncio.gather(*(store.log.append(part) for part in lists))
        assert all(part == sorted(part) for part in answers)
        assert len(await store.log.read_from(-1)) == 200

    @on_store
    async def test_who_reads_while_others_write_misses_nothing(self, store: Store) -> None:
        async def write(part: int) -> None:
            for number in range(20):
                await store.log.append(note(100 * part + number))

        stream = store.log.subscribe(from_offset=-1)
        reading = asyncio.ensure_future(take(stream, 80))
        await asyncio.gather(*(write(part) for part in range(4)))
        found = await reading
        assert offsets_of(found) == sorted({one.offset for one in found})
        assert {one.envelope.payload.number for one in found} == {100 * p + n for p in range(4) for n in range(20)}
        await stream.aclose()  # type: ignore[attr-defined]

    @on_store
    async def test_an_append_that_is_cancelled_is_there_whole_or_not_at_all_and_holds_nobody_up(
        self, store: Store
    ) -> None:
        given_up = asyncio.ensure_future(store.log.append([note(1), note(2)]))
        others = [asyncio.ensure_future(store.log.append(note(number))) for number in (3, 4)]
        alone = asyncio.ensure_future(store.log.append(note(5)))
        await turn()
        given_up.cancel()
        alone.cancel()
        await asyncio.gather(given_up, alone, return_exceptions=True)
        await asyncio.gather(*others)
        last = await store.log.append(note(6))
        stream = store.log.subscribe(from_offset=-1)
        seen: list[int] = []
        async for one in stream:
            seen.append(one.envelope.payload.number)
            if one.offset == last:
                break
        assert sorted(set(seen)) == sorted(seen)
        assert {3, 4, 6} <= set(seen)
        assert (1 in seen) == (2 in seen)
        await stream.aclose()  # type: ignore[attr-defined]

    # --- transactions ------------------------------------------------------------------------------------------------

    @on_store
    async def test_an_event_and_an_offset_of_one_transaction_come_together(self, store: Store) -> None:
        async with store.desk.transaction() as transaction:
            await store.log.append(note(1), transaction=transaction)
            await store.desk.offsets.set_offset("copier", 7, transaction=transaction)
            assert await store.log.read_from(-1) == []
            assert await store.desk.offsets.get_offset("copier") == -1
        assert len(await store.log.read_from(-1)) == 1
        assert await store.desk.offsets.get_offset("copier") == 7

    @on_store
    async def test_an_event_and_an_offset_of_a_transaction_that_fails_are_both_gone(self, store: Store) -> None:
        try:
            async with store.desk.transaction() as transaction:
                await store.log.append([note(1), note(2)], transaction=transaction)
                await store.desk.offsets.set_offset("copier", 7, transaction=transaction)
                raise _Refused
        except _Refused:
            pass
        assert await store.log.read_from(-1) == []
        assert await store.log.latest_offset() == -1
        assert await store.desk.offsets.get_offset("copier") == -1

    @on_store
    async def test_what_is_no_transaction_is_refused(self, store: Store) -> None:
        for wrong in ("transaction", object()):
            for call in (
                store.log.append(note(1), transaction=wrong),
                store.desk.offsets.set_offset("copier", 1, transaction=wrong),
            ):
                with refused(ConfigError, repr(wrong)):
                    await call
        assert await store.log.read_from(-1) == []
        assert await store.desk.offsets.get_offset("copier") == -1

    @on_store
    async def test_an_open_transaction_holds_readers_before_its_first_event(self, store: Store) -> None:
        before = await store.log.append(note(0))
        stream = store.log.subscribe(from_offset=-1)
        async with store.desk.transaction() as transaction:
            held = await store.log.append([note(1), note(2)], transaction=transaction)
            after = await store.log.append(note(3))
            assert held[-1] < after
            assert offsets_of(await store.log.read_from(-1)) == [before]
            assert await store.log.read_from(before) == []
            assert offsets_of(await take(stream, 1)) == [before]
            waiting = asyncio.ensure_future(take(stream, 3))
        assert offsets_of(await waiting) == [*held, after]
        await stream.aclose()  # type: ignore[attr-defined]

    @on_store
    async def test_transactions_that_commit_in_the_other_order_are_read_in_that_of_their_offsets(
        self, store: Store
    ) -> None:
        stream = store.log.subscribe(from_offset=-1)
        async with store.desk.transaction() as first:
            one = await store.log.append(note(1), transaction=first)
            async with store.desk.transaction() as second:
                two = await store.log.append(note(2), transaction=second)
            assert await store.log.read_from(-1) == []
        assert offsets_of(await take(stream, 2)) == [one, two]
        await stream.aclose()  # type: ignore[attr-defined]

    @on_store
    async def test_a_place_that_was_rolled_back_stalls_nobody(self, store: Store) -> None:
        first = await store.log.append(note(1))
        stream = store.log.subscribe(from_offset=-1)
        try:
            async with store.desk.transaction() as transaction:
                await store.log.append([note(2), note(3)], transaction=transaction)
                later = await store.log.append(note(4))
                raise _Refused
        except _Refused:
            pass
        assert offsets_of(await take(stream, 2)) == [first, later]
        assert offsets_of(await store.log.read_from(first)) == [later]
        assert offsets_of(await store.log.read_from(-1)) == [first, later], "nor does it cut what is read"
        await stream.aclose()  # type: ignore[attr-defined]

    # --- subscriptions -----------------------------------------------------------------------------------------------

    @on_store
    async def test_a_subscription_gives_what_is_there_and_then_what_comes(self, store: Store) -> None:
        there = await store.log.append([note(1), note(2)])
        stream = store.log.subscribe(from_offset=-1)
        assert offsets_of(await take(stream, 2)) == there
        waiting = asyncio.ensure_future(take(stream, 1))
        new = await store.log.append(note(3))
        assert offsets_of(await waiting) == [new]
        await stream.aclose()  # type: ignore[attr-defined]

    @on_store
    async def test_a_subscription_begins_after_its_offset(self, store: Store) -> None:
        offsets = await store.log.append([note(number) for number in range(6)])
        stream = store.log.subscribe(from_offset=offsets[2])
        assert offsets_of(await take(stream, 3)) == offsets[3:]
        await stream.aclose()  # type: ignore[attr-defined]

    @on_store
    async def test_without_an_offset_a_subscription_gives_only_new_ones(self, store: Store) -> None:
        await store.log.append([note(1), note(2)])
        stream = store.log.subscribe()
        seen: list[int] = []

        async def read() -> None:
            async for one in stream:
                seen.append(one.envelope.payload.number)
                if seen[-1] == 0:
                    return

        reading = asyncio.ensure_future(read())
        number = 10
        while not seen:  # from which one on is decided when it first looks; from there on none is missing
            await store.log.append(note(number))
            number += 1
            await turn()
        await store.log.append(note(0))
        await reading
        assert seen[0] >= 10
        assert seen == [*range(seen[0], number), 0]
        await stream.aclose()  # type: ignore[attr-defined]

    @on_store
    async def test_a_subscription_by_type_family_or_run_leaves_the_others_out(self, store: Store) -> None:
        tree = envelope(Tree([]), ts=0, producer="test", run_id="b")
        answer = envelope(Answered(1), ts=0, producer="test")
        a1, b1, t1, w1, a2 = await store.log.append(
            [note(1, run_id="a"), note(2, run_id="b"), tree, answer, note(3, run_id="a")]
        )
        for wanted, expected in (
            ({"types": "testing.Noted"}, [a1, b1, a2]),
            ({"types": ["testing.Noted", "testing.Answered"]}, [a1, b1, w1, a2]),
            ({"types": "testing.*"}, [a1, b1, w1, a2]),
            ({"types": ["testing_tree.*", "testing.Answered"]}, [t1, w1]),
            ({"types": "*"}, [a1, b1, t1, w1, a2]),
            ({"types": None}, [a1, b1, t1, w1, a2]),
            ({"run_id": "a"}, [a1, a2]),
            ({"run_id": "b", "types": "testing.*"}, [b1]),
        ):
            stream = store.log.subscribe(from_offset=-1, **wanted)
            assert offsets_of(await take(stream, len(expected))) == expected, wanted
            await stream.aclose()  # type: ignore[attr-defined]

    @on_store
    async def test_a_filter_that_nothing_matches_for_long_still_gives_what_comes(self, store: Store) -> None:
        await store.log.append([note(number) for number in range(50)])
        stream = store.log.batches(types="testing.Answered", from_offset=-1, most=10)
        waiting = asyncio.ensure_future(anext(stream))
        wanted = await store.log.append(envelope(Answered(1), ts=0, producer="test"))
        assert offsets_of(await waiting) == [wanted]
        await stream.aclose()  # type: ignore[attr-defined]

    @on_store
    async def test_batches_are_whole_and_no_larger_than_asked(self, store: Store) -> None:
        offsets = await store.log.append([note(number) for number in range(25)])
        stream = store.log.batches(from_offset=-1, most=10)
        found: list[int] = []
        while len(found) < 25:
            batch = await anext(stream)
            assert 0 < len(batch) <= 10
            found += offsets_of(batch)
        assert found == offsets
        await stream.aclose()  # type: ignore[attr-defined]

    @on_store
    async def test_a_subscriber_that_raises_or_is_slow_disturbs_no_other(self, store: Store) -> None:
        slow = store.log.subscribe(from_offset=-1)
        well = store.log.subscribe(from_offset=-1)
        broken = store.log.subscribe(from_offset=-1)
        first = await store.log.append(note(1))
        assert offsets_of(await take(slow, 1)) == [first]  # and then it does not come back for long
        try:
            async for _ in broken:
                raise _Refused
        except _Refused:
            await broken.aclose()  # type: ignore[attr-defined]
        more = await store.log.append([note(number) for number in range(2, 60)])
        assert offsets_of(await take(well, 59)) == [first, *more]
        assert offsets_of(await take(slow, 58)) == more
        await slow.aclose()  # type: ignore[attr-defined]
        await well.aclose()  # type: ignore[attr-defined]

    @on_store
    async def test_a_subscription_that_was_given_up_while_waiting_is_closed(self, store: Store) -> None:
        stream = store.log.subscribe(from_offset=-1)
        waiting = asyncio.ensure_future(anext(stream))
        await store.log.append(note(1))
        assert (await waiting).envelope.payload == Noted(1)
        waiting = asyncio.ensure_future(anext(stream))
        waiting.cancel()
        await asyncio.gather(waiting, return_exceptions=True)
        await stream.aclose()  # type: ignore[attr-defined]
        await store.log.append(note(2))
        assert len(await store.log.read_from(-1)) == 2

    @on_store
    async def test_a_name_that_is_none_is_refused_by_the_subscription(self, store: Store) -> None:
        for wrong in ("orders", "orders.", ".Placed", "orders.P*", "*.Placed"):
            stream = store.log.subscribe(types=wrong, from_offset=-1)
            with refused(ConfigError, repr(wrong)):
                await anext(stream)

    # --- what nobody knows any more ----------------------------------------------------------------------------------

    async def _forgotten(self, store: Store) -> int:
        """Append an event of a type that this process does not know afterwards."""
        from msgspec import Struct

        from weaver.events import envelope as envelopes
        from weaver.events import registry

        class Gone(Struct, frozen=True):
            word: str

        registry.register("testing.Gone", 3)(Gone)
        try:
            return await store.log.append(envelope(Gone("bye"), ts=0, producer="test"))
        finally:
            registry._classes.pop(("testing.Gone", 3))
            registry._names.pop(Gone)
            envelopes._decoders.pop(("testing.Gone", 3), None)
            envelopes._whole.pop("testing.Gone", None)

    @on_store
    async def test_an_event_of_an_unknown_type_or_version_is_read_as_what_it_says(self, store: Store) -> None:
        offset = await self._forgotten(store)
        (found,) = await store.log.read_from(-1)
        assert (found.offset, found.envelope.type, found.envelope.version) == (offset, "testing.Gone", 3)
        assert isinstance(found.envelope.payload, UnknownPayload)
        assert found.envelope.payload.json.replace(b" ", b"") == b'{"word":"bye"}'
