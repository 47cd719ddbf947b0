"""Envelope: one fact with where it came from, and its only way into JSON and back.

What goes in comes out equal, or is refused by name before anything is written: NaN and infinity (JSON has no such number),
NUL characters (PostgreSQL's JSONB has none), a value that its field's type does not allow, or that JSON would give back as
another (a tuple or an int beyond 64 bits in a field of `Any`), an envelope beyond a bound, a payload whose class is not
registered. Not kept are the sign of a zero and, in a field of `Any`, whether a number was an int or a float of its value.
A payload of a type or version that this process does not know is kept as it is, as `UnknownPayload`.
"""

from __future__ import annotations

import hashlib
import math
import re
from collections.abc import Callable, Mapping, Sequence
from datetime import date, datetime
from typing import Any, Generic, TypeVar

import msgspec

from weaver.core.errors import ConfigError, EventNotSerialisable, EventTooLarge, UnknownEventType
from weaver.core.instants import format_ns, from_ns, to_ns
from weaver.events.registry import check_type, name_of, payload_class, registered

__all__ = ["MOST_BYTES", "Envelope", "StoredEvent", "UnknownPayload", "decode", "encode", "encode_batch", "envelope"]

MOST_BYTES = 1_048_576
"""The largest envelope: a reader holds a batch of them in memory, and one beyond this belongs into a file."""

_MOST_ID = 200
_AT_ONCE = 1000

P = TypeVar("P")


class UnknownPayload(msgspec.Struct, frozen=True):
    """The payload of an event that this process has no class for, as the JSON that was read."""

    json: bytes


class Envelope(msgspec.Struct, Generic[P], frozen=True, kw_only=True, gc=False):
    """One event. Make it with `envelope(payload, ts=...)`, which fills in what follows from the rest.

    `corr_id` is the event that a chain of causes began with, `causation_id` the one that led to this directly. `ts` is when
    it happened, `producer` which part of Weaver says so.
    """

    id: str
    type: str
    version: int
    run_id: str | None
    corr_id: str
    causation_id: str | None
    ts_text: str = msgspec.field(name="ts")
    producer: str
    payload: P

    @property
    def ts_ns(self) -> int:
        """When it happened, in nanoseconds since 1970-01-01 UTC."""
        return to_ns(self.ts_text)

    @property
    def ts(self) -> datetime:
        """When it happened, an aware UTC datetime."""
        return from_ns(self.ts_ns)


class StoredEvent(msgspec.Struct, frozen=True, gc=False):
    """An event and its place in the log. Offsets grow; some are never taken."""

    offset: int
    envelope: Envelope[Any]


class _Wire(msgspec.Struct, gc=False):
    """An envelope whose payload is still text."""

    id: str
    type: str
    version: int
    ts: str
    payload: msgspec.Raw
    corr_id: str
    producer: str
    run_id: str | None = None
    causation_id: str | None = None


def envelope(
    payload: msgspec.Struct,
    *,
    ts: datetime | date | str | int,
    producer: str,
    run_id: str | None = None,
    cause: Envelope[Any] | None = None,
    id: str | None = None,
) -> Envelope[Any]:
    """The envelope of `payload`, which happened at `ts` (anything that `to_ns` takes) and was caused by `cause`.

    Without `id` it gets one that follows from all the rest: two facts that are equal in everything are the same fact, and
    one that is told twice can be recognised. Raises UnknownEventType for a class that is not registered.
    """
    event_type, version = name_of(payload)
    if not producer or not isinstance(producer, str):
        raise ConfigError(f"producer={producer!r}: say which part of Weaver tells of {event_type}")
    when = format_ns(to_ns(ts))
    root = cause.corr_id if cause is not None else None
    causation = cause.id if cause is not None else None
    if run_id is not None and (not isinstance(run_id, str) or not 0 < len(run_id) <= _MOST_ID):
        raise ConfigError(f"run_id={run_id!r} of {event_type}: a text of 1 to {_MOST_ID} characters, or None")
    if id is None:
        try:
            known = _encoder.encode((event_type, version, run_id, root, causation, when, producer, payload))
        except _NO_JSON as error:
            raise EventNotSerialisable(f"{event_type}: its payload cannot become JSON: {error}") from None
        id = hashlib.sha256(known).hexdigest()[:32]
    elif not isinstance(id, str) or not 0 < len(id) <= _MOST_ID:
        raise ConfigError(f"id={id!r} of {event_type}: a text of 1 to {_MOST_ID} characters")
    return Envelope(
        id=id,
        type=event_type,
        version=version,
        run_id=run_id,
        corr_id=root or id,
        causation_id=causation,
        ts_text=when,
        producer=producer,
        payload=payload,
    )


def encode(event: Envelope[Any]) -> bytes:
    """The JSON of `event`. Raises UnknownEventType, EventNotSerialisable or EventTooLarge, which name it."""
    payload = event.payload
    if type(payload) is UnknownPayload:
        raise UnknownEventType(f"{event.type} version {event.version} is not known here, so it cannot be appended")
    if name_of(payload) != (event.type, event.version):
        name, version = name_of(payload)
        raise EventNotSerialisable(
            f"{event.type} version {event.version} holds a payload of {name} version {version}; make it with envelope()"
        )
    check_type(event.type)
    # The index by run cannot hold a key of kilobytes: the server would refuse the whole transaction.
    if event.run_id is not None and len(event.run_id) > _MOST_ID:
        raise EventNotSerialisable(f"{event.type}: run_id has {len(event.run_id)} characters; {_MOST_ID} are the most")
    try:
        data = _encoder.encode(event)
    except _NO_JSON as error:
        raise EventNotSerialisable(f"{event.type} {event.id}: its payload cannot become JSON: {error}") from None
    if len(data) > MOST_BYTES:
        raise EventTooLarge(
            f"{event.type} {event.id} has {len(data):,} bytes; {MOST_BYTES:,} are the most: split it, or keep the bulk in a "
            "file and its name in the event"
        )
    _check_return(event, data)
    if b"\\u0000" in data and _has_nul(data):
        raise EventNotSerialisable(
            f"{event.type} {event.id}: a text holds the NUL character \\u0000, which PostgreSQL's JSONB cannot keep"
        )
    return data


def encode_batch(events: Sequence[Envelope[Any]]) -> list[bytes]:
    """The JSON of `events` in pieces, in order: put together with commas they are the elements of an array.

    Raises what `encode` raises. Events of one kind are written, read back and compared many at a time, in a third of the
    time; where anything is odd they are looked at one by one, so that the one is named.
    """
    pieces: list[bytes] = []
    for at in range(0, len(events), _AT_ONCE):
        part = list(events[at : at + _AT_ONCE])
        data = _encode_alike(part)
        if data is None:
            pieces += map(encode, part)
        else:
            pieces.append(data)
    return pieces


def _encode_alike(events: list[Envelope[Any]]) -> bytes | None:
    kinds = {(type(event.payload), event.type, event.version) for event in events}
    if len(events) < 2 or len(kinds) != 1:
        return None
    cls, event_type, version = kinds.pop()
    read = _alike.get(cls)
    if read is None:
        if cls is UnknownPayload or _fields_of_any(cls):
            return None
        read = _alike[cls] = msgspec.json.Decoder(list[Envelope[cls]]).decode  # type: ignore[valid-type]
    try:
        data = _encoder.encode(events)
        bounded = len(data) <= MOST_BYTES and all(len(event.run_id or "") <= _MOST_ID for event in events)
        plain = bounded and b"\\u0000" not in data and name_of(events[0].payload) == (event_type, version)
        if plain and read(data) == events:
            return data[1:-1]
    except (msgspec.DecodeError, *_NO_JSON):
        pass
    return None


def decode(data: bytes | str, event_type: str | None = None) -> Envelope[Any]:
    """The envelope that `encode` wrote, its payload typed where this process knows the class.

    `event_type`, where the caller knows it, halves the time: most types have one version, which is then read in one pass.
    Raises EventNotSerialisable for what is no envelope, or a payload that does not fit its class.
    """
    if event_type is not None:
        version, read_whole = _whole.get(event_type) or _whole_of(event_type)
        if read_whole is not None:
            try:
                found = read_whole(data)
                if found.version == version and found.type == event_type:
                    return found
            except msgspec.DecodeError:
                pass  # another version, or no event at all: the long way tells
    try:
        wire = _decode_wire(data)
        kind = (wire.type, wire.version)
        read = _decoders.get(kind)
        if read is None:
            read = _decoder_of(kind)
        return Envelope(
            id=wire.id,
            type=wire.type,
            version=wire.version,
            run_id=wire.run_id,
            corr_id=wire.corr_id,
            causation_id=wire.causation_id,
            ts_text=wire.ts,
            producer=wire.producer,
            payload=read(wire.payload),
        )
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        start = bytes(data[:120], "utf-8") if isinstance(data, str) else bytes(data[:120])
        raise EventNotSerialisable(f"not an event of the log: {error}; it begins with {start!r}") from None


_NO_JSON = (TypeError, ValueError, RecursionError, OverflowError)
_encoder = msgspec.json.Encoder()
_decode_wire = msgspec.json.Decoder(_Wire).decode
_alike: dict[type, Callable[[Any], list[Envelope[Any]]]] = {}
_whole: dict[str, tuple[int, Callable[[Any], Envelope[Any]] | None]] = {}
_decoders: dict[tuple[str, int], Callable[[Any], Any]] = {}


def _check_return(event: Envelope[Any], data: bytes) -> None:
    """Raise EventNotSerialisable where what was written would be read as something else, or not at all."""
    try:
        back = decode(data, event.type)
    except EventNotSerialisable as error:
        _refuse_the_infinite(event)
        raise EventNotSerialisable(f"{event.type} {event.id}: it could not be read again: {error}") from None
    if back != event:
        _refuse_the_infinite(event)
        for name in event.payload.__struct_fields__:
            before, after = getattr(event.payload, name), getattr(back.payload, name)
            if before != after:
                raise EventNotSerialisable(
                    f"{event.type} {event.id}: {name}={before!r:.200} would come back as {after!r:.200}; say it in numbers, "
                    "texts, lists and dicts with texts as keys"
                )
        raise EventNotSerialisable(f"{event.type} {event.id}: it would come back as {back!r:.400}")


def _decoder_of(kind: tuple[str, int]) -> Callable[[Any], Any]:
    cls = payload_class(*kind)
    if cls is None:  # not remembered: whoever registers it later is understood from then on
        return lambda raw: UnknownPayload(bytes(raw))
    plain = msgspec.json.Decoder(cls).decode
    of_any = _fields_of_any(cls)
    read = _decoders[kind] = _with_large_numbers(plain, of_any) if of_any else plain
    return read


_LONG_NUMBER = re.compile(rb"[0-9]{20}")


def _with_large_numbers(plain: Callable[[Any], Any], names: tuple[str, ...]) -> Callable[[Any], Any]:
    """JSONB writes 1e23 as a whole number. No int of that size gets into a field of `Any`, so it was a float."""

    def mended(value: Any) -> Any:
        if type(value) is int:
            return value if -(2**63) <= value < 2**64 else float(value)
        if isinstance(value, dict):
            return {key: mended(each) for key, each in value.items()}
        return list(map(mended, value)) if isinstance(value, list) else value

    def read(raw: Any) -> Any:
        payload = plain(raw)
        if _LONG_NUMBER.search(raw) is None:
            return payload
        return msgspec.structs.replace(payload, **{name: mended(getattr(payload, name)) for name in names})

    return read


def _whole_of(event_type: str) -> tuple[int, Callable[[Any], Envelope[Any]] | None]:
    """How events of a type are read in one pass: by its newest version, where this process knows one."""
    versions = [version for name, version in registered() if name == event_type]
    if not versions:
        return 0, None
    version = max(versions)
    cls = payload_class(event_type, version)
    assert cls is not None
    read = None if _fields_of_any(cls) else msgspec.json.Decoder(Envelope[cls]).decode  # type: ignore[valid-type]
    found = _whole[event_type] = (version, read)
    return found


def _fields_of_any(cls: type[msgspec.Struct]) -> tuple[str, ...]:
    """The fields whose values are read as what JSON says they are."""
    return tuple(one.name for one in msgspec.structs.fields(cls) if "Any" in repr(one.type))


def _refuse_the_infinite(event: Envelope[Any]) -> None:
    """Raise EventNotSerialisable for the first number that JSON has no word for; it was written as null."""
    where = _not_finite("payload", event.payload)
    if where is not None:
        raise EventNotSerialisable(
            f"{event.type} {event.id}: {where} is not finite, and JSON has no such number; leave it out or use None"
        )


def _not_finite(where: str, value: Any) -> str | None:
    if isinstance(value, float):
        return None if math.isfinite(value) else f"{where}={value!r}"
    if isinstance(value, Mapping):
        parts = [(f"{where}[{key!r}]", each) for key, each in value.items()]
    elif isinstance(value, list | tuple | set | frozenset):
        parts = [(where, each) for each in value]
    elif isinstance(value, msgspec.Struct):
        parts = [(f"{where}.{name}", getattr(value, name)) for name in value.__struct_fields__]
    else:
        return None
    for name, each in parts:
        found = _not_finite(name, each)
        if found is not None:
            return found
    return None


def _has_nul(data: bytes) -> bool:
    """Whether a NUL is in one of the texts; the six characters backslash u0000 themselves may be."""

    def walk(value: Any) -> bool:
        if isinstance(value, str):
            return "\x00" in value
        if isinstance(value, dict):
            return any("\x00" in key or walk(each) for key, each in value.items())
        return isinstance(value, list) and any(map(walk, value))

    return walk(msgspec.json.decode(data))
