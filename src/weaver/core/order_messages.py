"""Order messages: the commands and updates of a tick as MessagePack bytes, and back to equal values.

The same command has the same bytes. It carries its kind in the field `type`; a field that has its default is left out, so
that an older version reads a newer message unless it uses a new field. A field or kind that this version does not know is
refused by name, because an order without one of its terms is another order.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from numbers import Integral, Real
from typing import TypeVar

import msgspec

from weaver.core.errors import MessageError
from weaver.core.orders import Command, OrderUpdate

__all__ = ["decode_commands", "decode_updates", "encode_commands", "encode_updates"]

_T = TypeVar("_T")


def _plain(value: object) -> object:
    """Return a value of a class derived from str, or of NumPy's numbers, as the plain value that it equals."""
    if isinstance(value, str):
        return str.__str__(value)
    if isinstance(value, Integral):
        return int(value)
    if isinstance(value, Real):
        return float(value)
    raise TypeError(f"{type(value).__name__} is not part of a message")


_ENCODE = msgspec.msgpack.Encoder(enc_hook=_plain).encode
_DECODE_COMMANDS = msgspec.msgpack.Decoder(list[Command]).decode
_DECODE_UPDATES = msgspec.msgpack.Decoder(list[OrderUpdate]).decode


def encode_commands(commands: Sequence[Command]) -> bytes:
    """Return the commands as bytes, in their order. Raises MessageError for a value that has no such form."""
    return _encoded(commands)


def decode_commands(data: bytes) -> list[Command]:
    """Return the commands that `encode_commands` was given. Raises MessageError."""
    return _decoded(data, _DECODE_COMMANDS, "commands")


def encode_updates(updates: Sequence[OrderUpdate]) -> bytes:
    """Return the updates as bytes, in their order. Raises MessageError for a value that has no such form."""
    return _encoded(updates)


def decode_updates(data: bytes) -> list[OrderUpdate]:
    """Return the updates that `encode_updates` was given. Raises MessageError."""
    return _decoded(data, _DECODE_UPDATES, "updates")


def _encoded(messages: Sequence[Command] | Sequence[OrderUpdate]) -> bytes:
    try:
        return _ENCODE(messages)
    except (TypeError, ValueError, OverflowError):
        for message in messages:
            try:
                _ENCODE(message)
            except (TypeError, ValueError, OverflowError) as error:  # a lone surrogate in a tag, 2**64 lots
                number = getattr(message, "number", None)
                raise MessageError(
                    f"{type(message).__name__} of order {number} cannot be encoded: {error}; "
                    "its numbers must be below 2**63 and its texts valid Unicode"
                ) from None
        raise


def _decoded(data: bytes, decode: Callable[[bytes], _T], kind: str) -> _T:
    try:
        return decode(data)
    except (msgspec.DecodeError, ValueError) as error:
        raise MessageError(
            f"these {len(data):,} bytes are not {kind} that this version of Weaver can read: {error}; "
            "read them with the version that wrote them, or a newer one"
        ) from error
