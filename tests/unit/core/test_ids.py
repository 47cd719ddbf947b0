"""Ids: the same cause gives the same id, for ever, and different causes different ones."""

from __future__ import annotations

import re

from hypothesis import given
from hypothesis import strategies as st

from weaver.core.ids import derive_client_order_id

CAUSE = st.tuples(st.text(max_size=20), st.integers(-(2**63), 2**63 - 1), st.integers(0, 10**6))


def test_an_id_is_what_it_always_was() -> None:
    # A change here would make every running order unknown after a restart.
    assert derive_client_order_id("run-1", 1_704_067_200_000_000_000, 1) == derive_client_order_id(
        run_id="run-1", tick_ns=1_704_067_200_000_000_000, number=1
    )
    assert derive_client_order_id("run-1", 1_704_067_200_000_000_000, 1) == GOLDEN


@given(CAUSE)
def test_an_id_is_24_characters_that_every_venue_can_carry(cause: tuple[str, int, int]) -> None:
    assert re.fullmatch(r"[0-9a-z]{24}", derive_client_order_id(*cause))
    assert derive_client_order_id(*cause) == derive_client_order_id(*cause)


@given(CAUSE, CAUSE)
def test_different_causes_have_different_ids(one: tuple[str, int, int], other: tuple[str, int, int]) -> None:
    assert (derive_client_order_id(*one) == derive_client_order_id(*other)) == (one == other)


def test_the_parts_do_not_run_together() -> None:
    assert derive_client_order_id("a", 11, 1) != derive_client_order_id("a", 1, 11)
    assert derive_client_order_id("a1", 1, 1) != derive_client_order_id("a", 11, 1)


GOLDEN = "053ms60w3tpprda9brybaatp"
