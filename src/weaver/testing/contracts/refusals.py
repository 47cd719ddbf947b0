"""RefusalContract: tests that an EventLog refuses invalid events with the right error and writes nothing."""

from __future__ import annotations

import math
from typing import Any

from msgspec import Struct
from msgspec.structs import replace

from weaver.core.errors import (
    BatchTooLarge,
    EventError,
    EventNotSerialisable,
    EventTooLarge,
    UnknownEventType,
)
from weaver.events.envelope import MOST_BYTES, Envelope, UnknownPayload, envelope
from weaver.events.log import MOST_EVENTS
from weaver.testing.contracts.harness import Store, StoreContract, offsets_of, on_store, refused
from weaver.testing.contracts.samples import Leg, Noted, Strange, Tree, note

__all__ = ["RefusalContract"]


class _Unregistered(Struct, frozen=True):
    number: int


def _with(payload: Any) -> Envelope[Any]:
    """Return an envelope around `payload` that bypasses the checks of `envelope()`, so that the log must check."""
    known: dict[type, str] = {Noted: "testing.Noted", Strange: "testing.Strange", Tree: "testing_tree.Grown"}
    return replace(note(0), type=known.get(type(payload), "testing.Noted"), payload=payload)


def _nested(depth: int) -> list[Any]:
    value: list[Any] = []
    for _ in range(depth):
        value = [value]
    return value


_CASES: tuple[tuple[str, Envelope[Any], type[EventError]], ...] = (
    ("NaN", _with(Strange(math.nan)), EventNotSerialisable),
    ("infinity", _with(Strange({"a": [1.0, {"b": math.inf}]})), EventNotSerialisable),
    ("-infinity in a typed field", _with(Tree([Leg(-math.inf)])), EventNotSerialisable),
    ("NUL", _with(Noted(1, "a\0b")), EventNotSerialisable),
    ("NUL in a key", _with(Strange({"a\0": 1})), EventNotSerialisable),
    ("lone surrogate", _with(Noted(1, "\ud800")), EventNotSerialisable),
    ("int beyond 64 bits", _with(Strange(2**64 + 1)), EventNotSerialisable),
    ("negative int beyond 64 bits", _with(Strange([-(2**64) - 1])), EventNotSerialisable),
    ("field of a wrong type", _with(Noted("one")), EventNotSerialisable),  # type: ignore[arg-type]
    ("tuple where it would come back as a list", _with(Strange((1, 2))), EventNotSerialisable),
    ("object that JSON does not know", _with(Strange(object())), EventNotSerialisable),
    ("too deep", _with(Strange(_nested(5000))), EventNotSerialisable),
    ("run id that is too long", replace(note(1), run_id="r" * 201), EventNotSerialisable),
    ("NUL in the producer", replace(note(1), producer="a\0"), EventNotSerialisable),
    ("lone surrogate in the run id", replace(note(1), run_id="\udfff"), EventNotSerialisable),
    ("class that is not registered", _with(_Unregistered(1)), UnknownEventType),
    ("payload of an unknown type", _with(UnknownPayload(b"{}")), UnknownEventType),
    ("payload of another type", replace(note(1), type="testing.Answered"), EventNotSerialisable),
    ("payload of another version", replace(note(1), version=2), EventNotSerialisable),
    ("too large", _with(Noted(1, "x" * MOST_BYTES)), EventTooLarge),
)


class RefusalContract(StoreContract):
    """Subclass it and open the log in `opened`."""

    @on_store
    async def test_what_cannot_be_kept_is_refused_by_name_and_nothing_is_written(self, store: Store) -> None:
        first = await store.log.append(note(1))
        for what, event, expected in _CASES:
            for events in (event, [note(2), event, note(3)]):
                with refused(expected, what=what):
                    await store.log.append(events)
        assert offsets_of(await store.log.read_from(-1)) == [first]

    @on_store
    async def test_a_refusal_leaves_the_transaction_usable(self, store: Store) -> None:
        async with store.desk.transaction() as transaction:
            await store.log.append(note(1), transaction=transaction)
            for what, event, expected in _CASES:
                with refused(expected, what=what):
                    await store.log.append([note(2), event], transaction=transaction)
            await store.log.append(note(3), transaction=transaction)
        assert [one.envelope.payload.number for one in await store.log.read_from(-1)] == [1, 3]

    @on_store
    async def test_a_batch_that_is_too_large_is_refused_with_the_bound(self, store: Store) -> None:
        with refused(BatchTooLarge, f"{MOST_EVENTS:,}"):
            await store.log.append([note(1)] * (MOST_EVENTS + 1))
        assert await store.log.latest_offset() == -1

    @on_store
    async def test_the_largest_event_is_taken(self, store: Store) -> None:
        room = MOST_BYTES - len(note(1).ts_text) - 400
        event = envelope(Noted(1, "x" * room), ts=0, producer="test")
        await store.log.append([event, event])
        assert [one.envelope for one in await store.log.read_from(-1)] == [event, event]
