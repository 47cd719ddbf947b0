"""Envelope: what follows from what, what is refused by name, and that everything else comes back equal."""

from __future__ import annotations

import math
from datetime import UTC, datetime
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from weaver.core.errors import (
    ConfigError,
    EventNotSerialisable,
    NaiveDatetimeError,
    UnknownEventType,
)
from weaver.core.text import brief
from weaver.events.envelope import Envelope, StoredEvent, UnknownPayload, decode, encode, envelope, read_stored
from weaver.events.registry import register
from weaver.testing.contracts.samples import Leg, Noted, Strange, Tree, note

pytestmark = pytest.mark.log


def made(payload: Any = None, **changes: Any) -> Envelope:
    given: dict[str, Any] = {"ts": 0, "producer": "test"} | changes
    return envelope(Noted(1) if payload is None else payload, **given)


def test_type_version_and_chain_follow_from_payload_and_cause() -> None:
    first = made(run_id="r")
    assert (first.type, first.version, first.run_id, first.producer) == ("testing.Noted", 1, "r", "test")
    assert (first.corr_id, first.causation_id) == (first.id, None)
    second = made(cause=first)
    third = made(cause=second)
    assert (second.corr_id, second.causation_id) == (first.id, first.id)
    assert (third.corr_id, third.causation_id) == (first.id, second.id)


def test_the_id_is_a_function_of_everything_else() -> None:
    base = made(run_id="r")
    assert made(run_id="r").id == base.id
    assert len(base.id) == 32
    others = [
        made(Noted(2), run_id="r"),
        made(Noted(1, "x"), run_id="r"),
        made(run_id="s"),
        made(),
        made(run_id="r", ts=1),
        made(run_id="r", producer="else"),
        made(run_id="r", cause=base),
    ]
    assert len({base.id, *(one.id for one in others)}) == 8
    assert made(id="my own").id == "my own"


def test_an_instant_is_kept_to_the_nanosecond() -> None:
    event = made(ts=1_704_153_600_000_000_001)
    assert event.ts_ns == 1_704_153_600_000_000_001
    assert event.ts == datetime(2024, 1, 2, tzinfo=UTC)
    assert made(ts="2024-01-02").ts_ns == 1_704_153_600_000_000_000
    assert decode(encode(event)) == event
    with pytest.raises(NaiveDatetimeError):
        made(ts=datetime(2024, 1, 2))


def test_an_envelope_cannot_be_changed() -> None:
    for value, name in ((made(), "type"), (StoredEvent(1, made()), "offset"), (made().payload, "number")):
        with pytest.raises(AttributeError):
            setattr(value, name, "x")


@pytest.mark.parametrize(
    "changes",
    [{"producer": ""}, {"producer": None}, {"id": ""}, {"id": "x" * 201}, {"id": 7}, {"run_id": ""}, {"run_id": 1}],
)
def test_what_makes_no_envelope_is_refused(changes: dict[str, Any]) -> None:
    with pytest.raises(ConfigError) as refused:
        made(**changes)
    assert f"{next(iter(changes))}={brief(next(iter(changes.values())))}" in str(refused.value)


def test_a_payload_that_cannot_become_json_is_refused_by_name_when_the_envelope_is_made() -> None:
    for value in ("\ud800", object()):
        with pytest.raises(EventNotSerialisable, match=r"testing\.Strange"):
            made(Strange(value))


def test_a_class_that_is_not_registered_is_refused_with_what_to_write() -> None:
    class Unknown(msgspec.Struct, frozen=True): ...

    with pytest.raises(UnknownEventType, match="@register"):
        made(Unknown())


@pytest.mark.parametrize(
    ("payload", "where"),
    [
        (Strange(math.nan), "value=nan"),
        (Strange({"a": [1, {"b": -math.inf}]}), "value['a']['b']=-inf"),
        (Tree([Leg(1.0), Leg(math.inf)]), "legs.price=inf"),
        (Tree([], by_name={"x": Leg(math.nan)}), "by_name['x'].price=nan"),
        (Strange((1, 2)), "value=(1, 2) would come back as [1, 2]"),
        (Strange({1: 2}), "would come back as {'1': 2}"),
        (Strange(2**64 + 1), "value=18446744073709551617"),
        (Noted("7"), "could not be read again"),  # type: ignore[arg-type]
        (Noted(1, "\0"), "NUL"),
    ],
)
def test_a_refusal_names_the_event_and_the_place(payload: Any, where: str) -> None:
    with pytest.raises(EventNotSerialisable) as refused:
        encode(made(payload, id="the-event"))
    assert where in str(refused.value)
    assert "the-event" in str(refused.value)


def test_the_six_characters_of_an_escaped_nul_are_a_text_like_any_other() -> None:
    event = made(Noted(1, "\\u0000"))
    assert decode(encode(event)) == event


def test_a_whole_number_that_was_a_large_float_comes_back_as_one() -> None:
    """PostgreSQL writes 1e23 as a one and 23 zeros, which is another number than the float."""
    data = encode(made(Strange({"large": [1e23, {"x": 1e300}], "int": 2**64 - 1})))
    stored = data.replace(b"1e23", b"1" + b"0" * 23).replace(b"1e300", b"1" + b"0" * 300)
    value = decode(stored).payload.value
    assert value == {"large": [1e23, {"x": 1e300}], "int": 2**64 - 1}
    assert isinstance(value["large"][0], float)
    assert isinstance(value["int"], int)


JSON = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(2**63), 2**64 - 1)
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(st.characters(exclude_characters="\0", exclude_categories=("Cs",))),
    lambda inner: (
        st.lists(inner)
        | st.dictionaries(st.text(st.characters(exclude_characters="\0", exclude_categories=("Cs",))), inner)
    ),
    max_leaves=20,
)


@given(JSON)
def test_whatever_json_can_say_comes_back_equal(value: Any) -> None:
    event = made(Strange(value))
    assert decode(encode(event)) == event


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"{}",
        b"[]",
        b"not json",
        b"\xff\xfe",
        "text",
        b'{"id":"x"}',
        encode(note(1)).replace(b'"number":1', b'"number":"1"'),
    ],
)
def test_what_is_no_event_is_told_with_its_beginning(data: bytes | str) -> None:
    with pytest.raises(EventNotSerialisable, match="it begins with"):
        decode(data)


def test_a_type_or_version_that_nobody_knows_is_kept_as_it_is_and_not_appended_again() -> None:
    for old, new in ((b'"testing.Noted"', b'"later.Thing"'), (b'"version":1', b'"version":99')):
        found = decode(encode(note(1)).replace(old, new))
        assert found.payload == UnknownPayload(b'{"number":1,"text":""}')
        with pytest.raises(UnknownEventType, match="not known here"):
            encode(found)


def test_a_stored_payload_that_does_not_match_its_class_is_read_raw_with_the_reason() -> None:
    event = note(1)
    stored = read_stored(7, encode(event).replace(b'"number":1', b'"number":"1"'), "testing.Noted")
    assert (stored.offset, stored.envelope.id, stored.envelope.type) == (7, event.id, "testing.Noted")
    assert stored.envelope.payload.json == b'{"number":"1","text":""}'
    assert "Expected `int`, got `str`" in stored.envelope.payload.reason
    assert read_stored(7, encode(event), "testing.Noted") == StoredEvent(7, event)
    assert read_stored(7, encode(event)) == StoredEvent(7, event)


def test_a_payload_that_its_class_refuses_by_an_error_of_its_own_is_read_raw() -> None:
    @register("testing.Picky")
    class Picky(msgspec.Struct, frozen=True):
        name: str

        def __post_init__(self) -> None:
            {"known": 1}[self.name]

    data = encode(made(Picky("known")))
    assert decode(data, "testing.Picky").payload == Picky("known")
    stored = read_stored(1, data.replace(b'"name":"known"', b'"name":"other"'), "testing.Picky")
    assert stored.envelope.payload.json == b'{"name":"other"}'


@pytest.mark.parametrize(
    "data", ["{}", "[]", "7", '"text"', "null", '{"id": 1, "type": "testing.Noted"}', "[" * 5000 + "]" * 5000]
)
def test_a_row_that_is_not_an_envelope_is_read_raw(data: str) -> None:
    stored = read_stored(7, data, "by.Hand")
    assert (stored.offset, stored.envelope.type, stored.envelope.version, stored.envelope.id) == (7, "by.Hand", 0, "")
    assert stored.envelope.payload.json == data.encode()
    assert stored.envelope.payload.reason
    assert stored.envelope.ts_ns == 0


def test_a_number_beyond_every_float_in_a_stored_payload_does_not_stop_the_reader() -> None:
    data = encode(made(Strange(1))).replace(b'"value":1', b'"value":1' + b"0" * 400)
    assert read_stored(1, data, "testing.Strange").envelope.payload.reason
