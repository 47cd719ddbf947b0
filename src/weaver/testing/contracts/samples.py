"""Samples: small and unusual payloads for the suites."""

from __future__ import annotations

from typing import Any

import msgspec

from weaver.events.envelope import Envelope, envelope
from weaver.events.registry import register

__all__ = ["STRANGE", "Answered", "Leg", "Noted", "Strange", "Tree", "note"]


@register("testing.Noted")
class Noted(msgspec.Struct, frozen=True):
    """A number and a text."""

    number: int
    text: str = ""


@register("testing.Answered")
class Answered(msgspec.Struct, frozen=True):
    """The effect of a handler; `to` is the number that it answers."""

    to: int


class Leg(msgspec.Struct, frozen=True):
    """A part of a tree."""

    price: float
    tags: tuple[str, ...] = ()


@register("testing_tree.Grown")
class Tree(msgspec.Struct, frozen=True):
    """Structs in structs."""

    legs: list[Leg]
    main: Leg | None = None
    by_name: dict[str, Leg] = {}


@register("testing.Strange")
class Strange(msgspec.Struct, frozen=True):
    """Any JSON value."""

    value: Any


STRANGE: dict[str, Any] = {
    "unicode": "Zürich 株式 🦜 \u2028 \x7f \x1f",
    "quotes": 'a "quoted" \\ back\\slash, and \\u0000 as six characters',
    "key that is odd": {"": 1, "ключ": 2, "with space": 3},
    "largest int": 2**64 - 1,
    "smallest int": -(2**63),
    "nanoseconds": 1_704_153_600_000_000_001,
    "tiny": 1e-7,
    "tiniest": 5e-324,
    "large": 1e22,
    "larger": 1e23,
    "largest": 1.7976931348623157e308,
    "negative zero": -0.0,
    "a third": 1 / 3,
    "sum": 0.1 + 0.2,
    "nothing": None,
    "no text": "",
    "no list": [],
    "no dict": {},
    "truth": [True, False, 0, 1],
    "deep": [[[[[{"a": [{"b": [1.5, "x", None]}]}]]]]],
    "long": "x" * 100_000,
}


def note(
    number: int, *, run_id: str | None = None, text: str = "", cause: Envelope[Any] | None = None
) -> Envelope[Any]:
    """Return an event with `number`, stamped that many seconds after 2024-01-01 UTC."""
    ts = 1_704_067_200_000_000_000 + number * 1_000_000_000
    return envelope(Noted(number, text), ts=ts, producer="test", run_id=run_id, cause=cause)
