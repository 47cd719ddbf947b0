"""Ids that are functions of their cause, so that a retry after a crash finds the first attempt. None is random."""

from __future__ import annotations

import hashlib

__all__ = ["derive_client_order_id"]

_ALPHABET = "0123456789abcdefghjkmnpqrstvwxyz"


def derive_client_order_id(run_id: str, tick_ns: int, number: int) -> str:
    """Return the client order id of command number `number` of run `run_id` at the tick `tick_ns` (UTC nanoseconds).

    It has 24 characters of a-z and 0-9 (120 bits of SHA-256), which every venue accepts.
    """
    digest = hashlib.sha256(f"{run_id}\x1f{tick_ns}\x1f{number}".encode()).digest()
    value = int.from_bytes(digest[:15], "big")
    return "".join(_ALPHABET[(value >> shift) & 31] for shift in range(115, -1, -5))
