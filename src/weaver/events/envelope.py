"""Envelope: an event with its origin, and its conversion to JSON and back.

Guarantee: an event that `encode` accepts is read back equal. Refused before anything is written are NaN and infinity (JSON
has no such numbers), NUL characters (PostgreSQL's JSONB has none), values that do not fit the type of their field or that
JSON would return as another value (a tuple, or an int beyond 64 bits, in a field of `Any`), envelopes above the size limit,
and payloads whose class is not registered. Not preserved are the sign of a zero and, in a field of `Any`, whether a number
was an int or a float of the same value.

`read_stored` never refuses a row of the log: a payload that has no class here, or does not match its class, becomes an
`UnknownPayload` that holds the JSON as it was stored.
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
from weaver.core.text import brief, has_nul
from weaver.events.registry import check_type, name_of, payload_class, registered

__all__ = [
    "MOST_BYTES",
    "Envelope",
    "StoredEvent",
    "UnknownPayload",
    "decode",
    "encode",
    "encode_batch",
    "envelope",
    "read_stored",
]

MOST_BYTES = 1_048_576
"""The largest envelope. A reader holds a batch in memory; keep larger content in a file, and its name in the event."""

_MOST_ID = 200
_AT_ONCE = 1000

P = TypeVar("P")


class UnknownPayload(msgspec.Struct, frozen=True):
    """A payload that this process cannot convert, as the JSON that was read.

    `reason` is empty when no class is registered for the type and version; else it says why the JSON does not match.
    """

    json: bytes
    reason: str = ""


class Envelope(msgspec.Struct, Generic[P], frozen=True, kw_only=True, gc=False):
    """One event. Create it with `envelope(payload, ts=...)`, which computes the other fields.

    `corr_id` is the id of the first event in the chain of causes, `causation_id` the id of the direct cause. `ts` is the
    instant of the event, `producer` the part of Weaver that reports it.
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
        """The instant of the event in nanoseconds since 1970-01-01 UTC."""
        return to_ns(self.ts_text)

    @property
    def ts(self) -> datetime:
        """The instant of the event as an aware UTC datetime."""
        return from_ns(self.ts_ns)


class StoredEvent(msgspec.Struct, frozen=True, gc=False):
    """An event and its offset in the log. Offsets increase; some are never used."""

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
    """Return the envelope of `payload` for the instant `ts` (any value that `to_ns` accepts) and the event `cause`.

    Without `id` the id is a hash of all other fields, so that an event that is reported twice can be recognised. Raises
    UnknownEventType for a class that is not registered, ConfigError for a bad producer, run id or id.
    """
    event_type, version = name_of(payload)
    if not producer or not isinstance(producer, str):
        raise ConfigError(f"producer={brief(producer)}: name the part of Weaver that reports {event_type}")
    when = format_ns(to_ns(ts))
    root = cause.corr_id if cause is not None else None
    causation = cause.id if cause is not None else None
    if run_id is not None and (not isinstance(run_id, str) or not 0 < len(run_id) <= _MOST_ID):
        raise ConfigError(f"run_id={brief(run_id)} of {event_type}: a text of 1 to {_MOST_ID} characters, or None")
    if id is None:
        try:
            known = _encoder.encode((event_type, version, run_id, root, causation, when, producer, payload))
        except _NO_JSON as error:
            raise EventNotSerialisable(f"{event_type}: its payload cannot become JSON: {error}") from None
        id = hashlib.sha256(known).hexdigest()[:32]
    elif not isinstance(id, str) or not 0 < len(id) <= _MOST_ID:
        raise ConfigError(f"id={brief(id)} of {event_type}: a text of 1 to {_MOST_ID} characters")
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
    """Return the JSON of `event`. Raises UnknownEventType, EventNotSerialisable or EventTooLarge, which name the event."""
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
    if b"\\u0000" in data and has_nul(msgspec.json.decode(data)):
        raise EventNotSerialisable(
            f"{event.type} {event.id}: a text holds the NUL character \\u0000, which PostgreSQL's JSONB cannot keep"
        )
    return data


def encode_batch(events: Sequence[Envelope[Any]]) -> list[bytes]:
    """Return the JSON of `events` in order, in pieces that form the elements of an array when joined with commas.

    Raises the errors of `encode`. Events of one class are encoded, read back and compared in groups, in a third of the
    time; if a group fails its events are encoded one by one, so that the error names the event.
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
    """Return the envelope that `encode` wrote, with an `UnknownPayload` if its class is not registered.

    Passing `event_type` halves the time: most types have one version, which is then read in one pass. Raises
    EventNotSerialisable for JSON that is not an envelope, or whose payload does not match its class.
    """
    if event_type is not None:
        version, read_whole = _whole.get(event_type) or _whole_of(event_type)
        if read_whole is not None:
            try:
                event = read_whole(data)
                if event.version == version and event.type == event_type:
                    return event
            except _UNREADABLE:
                pass  # another version, or not an event: read in two passes, which names the fault
    try:
        wire = _decode_wire(data)
        return _envelope_of(wire, _decoder_of((wire.type, wire.version))(wire.payload))
    except _UNREADABLE as error:
        start = bytes(data[:120], "utf-8") if isinstance(data, str) else bytes(data[:120])
        raise EventNotSerialisable(f"not an event of the log: {error}; it begins with {brief(start)}") from None


def read_stored(offset: int, data: bytes | str, event_type: str = "") -> StoredEvent:
    """Return the event of a row of the log, whatever the row holds.

    A payload that does not match its class becomes an `UnknownPayload` with the reason. JSON that is not an envelope, such
    as a row that was inserted by hand, becomes an envelope of version 0 without id whose `UnknownPayload` holds all of it.
    """
    try:
        return StoredEvent(offset, decode(data, event_type or None))
    except EventNotSerialisable as error:
        reason = str(error)
    try:
        wire = _decode_wire(data)
        return StoredEvent(offset, _envelope_of(wire, UnknownPayload(bytes(wire.payload), reason)))
    except _UNREADABLE:
        raw = data.encode("utf-8", "surrogatepass") if isinstance(data, str) else bytes(data)
    blank = {"run_id": None, "causation_id": None, "id": "", "corr_id": "", "ts_text": _NO_INSTANT, "producer": ""}
    payload = UnknownPayload(raw, reason)
    return StoredEvent(offset, Envelope(type=event_type, version=0, payload=payload, **blank))  # type: ignore[arg-type]


_NO_INSTANT = "1970-01-01T00:00:00Z"
_NO_JSON = (TypeError, ValueError, RecursionError, OverflowError)
# Errors of a decoder, including those of a payload class's __post_init__.
_UNREADABLE = (msgspec.DecodeError, ValueError, TypeError, RecursionError, ArithmeticError, LookupError, AttributeError)
_encoder = msgspec.json.Encoder()
_decode_wire = msgspec.json.Decoder(_Wire).decode
_alike: dict[type, Callable[[Any], list[Envelope[Any]]]] = {}
_whole: dict[str, tuple[int, Callable[[Any], Envelope[Any]] | None]] = {}
_decoders: dict[tuple[str, int], Callable[[Any], Any]] = {}


def _check_return(event: Envelope[Any], data: bytes) -> None:
    """Raise EventNotSerialisable if `data` would be read back as another event, or not at all."""
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
                    f"{event.type} {event.id}: {name}={before!r:.200} would come back as {after!r:.200}; use numbers, "
                    "strings, lists and dicts with string keys"
                )
        raise EventNotSerialisable(f"{event.type} {event.id}: it would come back as {back!r:.400}")


def _envelope_of(wire: _Wire, payload: Any) -> Envelope[Any]:
    return Envelope(
        id=wire.id,
        type=wire.type,
        version=wire.version,
        run_id=wire.run_id,
        corr_id=wire.corr_id,
        causation_id=wire.causation_id,
        ts_text=wire.ts,
        producer=wire.producer,
        payload=payload,
    )


def _decoder_of(kind: tuple[str, int]) -> Callable[[Any], Any]:
    read = _decoders.get(kind)
    if read is not None:
        return read
    cls = payload_class(*kind)
    if cls is None:  # not cached: a class may be registered later
        return lambda raw: UnknownPayload(bytes(raw))
    plain = msgspec.json.Decoder(cls).decode
    of_any = _fields_of_any(cls)
    read = _decoders[kind] = _with_large_numbers(plain, of_any) if of_any else plain
    return read


_LONG_NUMBER = re.compile(rb"[0-9]{20}")


def _with_large_numbers(plain: Callable[[Any], Any], names: tuple[str, ...]) -> Callable[[Any], Any]:
    """Return a decoder that restores large floats: JSONB writes 1e23 as a whole number.

    `encode` accepts no int of that size in a field of `Any`, so the value was a float.
    """

    def restored(value: Any) -> Any:
        if type(value) is int:
            return value if -(2**63) <= value < 2**64 else float(value)
        if isinstance(value, dict):
            return {key: restored(each) for key, each in value.items()}
        return list(map(restored, value)) if isinstance(value, list) else value

    def read(raw: Any) -> Any:
        payload = plain(raw)
        if _LONG_NUMBER.search(raw) is None:
            return payload
        return msgspec.structs.replace(payload, **{name: restored(getattr(payload, name)) for name in names})

    return read


def _whole_of(event_type: str) -> tuple[int, Callable[[Any], Envelope[Any]] | None]:
    """Return the newest version of a type and the decoder that reads its events in one pass (None if there is none)."""
    versions = [version for name, version in registered() if name == event_type]
    if not versions:
        return 0, None
    version = max(versions)
    cls = payload_class(event_type, version)
    assert cls is not None
    read = None if _fields_of_any(cls) else msgspec.json.Decoder(Envelope[cls]).decode  # type: ignore[valid-type]
    _whole[event_type] = (version, read)
    return version, read


def _fields_of_any(cls: type[msgspec.Struct]) -> tuple[str, ...]:
    """Return the names of the fields that are decoded without a type."""
    return tuple(field.name for field in msgspec.structs.fields(cls) if "Any" in repr(field.type))


def _refuse_the_infinite(event: Envelope[Any]) -> None:
    """Raise EventNotSerialisable for the first number that is not finite; it was written as null."""
    where = _not_finite("payload", event.payload)
    if where is not None:
        raise EventNotSerialisable(
            f"{event.type} {event.id}: {where} is not finite, and JSON has no such number; leave it out or use None"
        )


def _not_finite(where: str, value: Any) -> str | None:
    if isinstance(value, float):
        return None if math.isfinite(value) else f"{where}={brief(value)}"
    if isinstance(value, Mapping):
        parts = [(f"{where}[{brief(key)}]", each) for key, each in value.items()]
    elif isinstance(value, list | tuple | set | frozenset):
        parts = [(where, each) for each in value]
    elif isinstance(value, msgspec.Struct):
        parts = [(f"{where}.{name}", getattr(value, name)) for name in value.__struct_fields__]
    else:
        return None
    return next((place for name, each in parts if (place := _not_finite(name, each)) is not None), None)
