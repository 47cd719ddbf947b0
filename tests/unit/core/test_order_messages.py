"""Commands and updates survive MessagePack: equal values come back, equal values have equal bytes, unknown parts are named."""

from __future__ import annotations

from enum import StrEnum

import msgspec
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from weaver import Fill, OrderStatus, Side, TimeInForce, Trail
from weaver.core.errors import MessageError
from weaver.core.order_messages import decode_commands, decode_updates, encode_commands, encode_updates
from weaver.core.orders import Cancel, Command, Link, Modify, OrderRequest, OrderUpdate

NUMBERS = st.integers(1, 2**63 - 1)
NS = st.integers(-(2**63), 2**63 - 1)
PRICES = st.floats(allow_nan=False)
TEXTS = st.none() | st.text(max_size=20)
TRAILS = st.builds(Trail, percent=st.floats(1e-300, 99)) | st.builds(Trail, amount=st.floats(1e-300, 1e300))
REQUESTS = st.builds(
    OrderRequest,
    number=NUMBERS,
    symbol=st.text(max_size=8),
    side=st.sampled_from(Side),
    lots=NUMBERS,
    plain=st.booleans(),
    limit=st.none() | PRICES,
    stop=st.none() | PRICES,
    trail=st.none() | TRAILS,
    tif=st.sampled_from(TimeInForce),
    good_till_ns=st.none() | NS,
    exit=st.booleans(),
    parent=st.none() | NUMBERS,
    shrink=st.booleans(),
    basket=st.none() | NUMBERS,
    tag=TEXTS,
)
MODIFIES = st.builds(
    Modify, number=NUMBERS, limit=st.none() | PRICES, stop=st.none() | PRICES, lots=st.none() | NUMBERS
)
COMMANDS: st.SearchStrategy[Command] = st.one_of(
    REQUESTS,
    st.builds(Cancel, NUMBERS),
    MODIFIES,
    st.builds(Link, st.lists(NUMBERS, max_size=5).map(tuple)),
)
FILLS = st.builds(
    Fill, NUMBERS, st.text("AB", max_size=3), NS, st.sampled_from(Side), NUMBERS, PRICES, PRICES, PRICES, TEXTS, TEXTS
)
UPDATES = st.builds(
    OrderUpdate, NUMBERS, NS, st.sampled_from(OrderStatus), TEXTS, st.none() | FILLS, st.none() | REQUESTS
)


@settings(max_examples=60)
@given(st.lists(COMMANDS, max_size=5))
def test_commands_come_back_equal_and_of_their_kind(commands: list[Command]) -> None:
    data = encode_commands(commands)
    decoded = decode_commands(data)
    assert decoded == commands
    assert [type(command) for command in decoded] == [type(command) for command in commands]
    assert encode_commands(decoded) == data
    for before, after in zip(commands, decoded, strict=True):
        for name in before.__struct_fields__:
            assert type(getattr(after, name)) is type(getattr(before, name)), name


@settings(max_examples=60)
@given(st.lists(UPDATES, max_size=3))
def test_updates_come_back_equal(updates: list[OrderUpdate]) -> None:
    data = encode_updates(updates)
    decoded = decode_updates(data)
    assert decoded == updates
    assert encode_updates(decoded) == data


REQUEST = OrderRequest(number=1, symbol="A", side=Side.BUY, lots=5)


def test_the_bytes_of_a_command_are_those_that_were_recorded() -> None:
    # Recorded runs hold such bytes. A change of these needs a version that reads both.
    golden = {
        b"\xde\x00\x05\xa4type\xa5order\xa6number\x01\xa6symbol\xa1A\xa4side\xa3buy\xa4lots\x05": REQUEST,
        b"\x82\xa4type\xa6cancel\xa6number\x01": Cancel(1),
        b"\x83\xa4type\xa6modify\xa6number\x01\xa4lots\x03": Modify(number=1, lots=3),
        b"\x82\xa4type\xa4link\xa7numbers\x92\x01\x02": Link((1, 2)),
    }
    assert {encode_commands([value])[1:]: value for value in golden.values()} == golden


def test_a_link_is_not_mistaken_for_a_cancel_of_the_same_order() -> None:
    assert decode_commands(encode_commands([Modify(number=1), Cancel(1)])) == [Modify(number=1), Cancel(1)]


def test_equal_trails_have_equal_bytes() -> None:
    whole, same = (OrderRequest(number=1, symbol="A", side=Side.BUY, lots=1, trail=Trail(percent=p)) for p in (5, 5.0))
    assert whole == same
    assert encode_commands([whole]) == encode_commands([same])


def test_texts_and_numbers_of_derived_classes_become_plain_ones() -> None:
    class Tag(StrEnum):
        ENTRY = "entry"

    class Text(str):
        __slots__ = ()

    for tag in (Tag.ENTRY, Text("entry")):
        request = OrderRequest(number=1, symbol="A", side=Side.BUY, lots=5, tag=tag, limit=np.float64(2.5))
        plain = OrderRequest(number=1, symbol="A", side=Side.BUY, lots=5, tag="entry", limit=2.5)
        assert encode_commands([request]) == encode_commands([plain])


def changed(message: msgspec.Struct, **fields: object) -> bytes:
    """One message with further fields, as a newer version may write it."""
    return msgspec.msgpack.encode([msgspec.to_builtins(message) | fields])


def test_what_a_newer_version_added_is_refused_by_name() -> None:
    with pytest.raises(MessageError, match=r"not commands .*unknown field `hidden_lots`.*the version that wrote them"):
        decode_commands(changed(REQUEST, hidden_lots=3))
    with pytest.raises(MessageError, match=r"Invalid value 'replace'"):
        decode_commands(changed(REQUEST, type="replace"))
    with pytest.raises(MessageError, match=r"Invalid enum value 'gtx'"):
        decode_commands(changed(REQUEST, tif="gtx"))
    with pytest.raises(MessageError, match=r"not updates .*unknown field `venue`"):
        decode_updates(changed(OrderUpdate(1, 0, OrderStatus.ACCEPTED), venue="X"))
    fill = Fill(1, "A", 0, Side.BUY, 1, 1.0, 1.0, 0.0)
    with pytest.raises(MessageError, match="unknown field `fee`"):
        decode_updates(
            changed(OrderUpdate(1, 0, OrderStatus.FILLED), fill=msgspec.to_builtins(fill) | {"fee": 1.0}),
        )
    trail = OrderRequest(number=1, symbol="A", side=Side.BUY, lots=5, trail=Trail(percent=5))
    with pytest.raises(MessageError, match="unknown field `activation`"):
        decode_commands(changed(trail, trail={"percent": 5.0, "activation": 2.0}))


@pytest.mark.parametrize("data", [b"", b"\xff", encode_commands([REQUEST])[:-1], encode_commands([REQUEST]) + b"\x00"])
def test_damaged_bytes_are_refused(data: bytes) -> None:
    with pytest.raises(MessageError, match=f"these {len(data)} bytes are not commands"):
        decode_commands(data)


@pytest.mark.parametrize(
    "fields", [{"lots": 2**64}, {"tag": "\ud800"}, {"limit": [object()]}], ids=["lots", "tag", "object"]
)
def test_what_has_no_bytes_is_refused_with_the_order_that_has_it(fields: dict[str, object]) -> None:
    request = msgspec.structs.replace(msgspec.structs.replace(REQUEST, number=7), **fields)
    with pytest.raises(MessageError, match="OrderRequest of order 7 cannot be encoded"):
        encode_commands([Cancel(1), request])
