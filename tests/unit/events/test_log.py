"""The filter, the bounds, and what the log in memory does beyond the contract."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from weaver.core.errors import BatchTooLarge, ConfigError
from weaver.events.consumer_store import InMemoryConsumerStore
from weaver.events.log import (
    MOST_EVENTS,
    EventFilter,
    InMemoryEventLog,
    InMemoryTransaction,
    check_batch,
    check_limit,
    check_offset,
)
from weaver.testing.contracts.samples import note

pytestmark = pytest.mark.log


@pytest.mark.parametrize(
    ("types", "run_id", "taken"),
    [
        (None, None, True),
        ("*", None, True),
        (["orders.Placed", "*"], None, True),
        ("testing.Noted", None, True),
        ("testing.*", None, True),
        ("testing.Note", None, False),
        ("test.*", None, False),
        ([], None, False),
        (None, "r", True),
        (None, "other", False),
        ("testing.*", "other", False),
        ("orders.*", "r", False),
    ],
)
def test_a_filter_takes_by_type_family_and_run(types: Any, run_id: str | None, taken: bool) -> None:
    wanted = EventFilter(types, run_id)
    assert wanted.takes(note(1, run_id="r")) is taken
    if wanted.takes_all:
        assert taken


def test_only_a_filter_that_leaves_nothing_out_takes_all() -> None:
    assert EventFilter().takes_all
    assert EventFilter("*").takes_all
    assert not EventFilter(run_id="r").takes_all
    assert not EventFilter([]).takes_all


def test_bounds_hold_on_both_sides() -> None:
    for fine in (-1, 0, 2**63 - 1):
        check_offset(fine)
    for limit in (1, MOST_EVENTS):
        check_limit(limit)
    check_batch([note(1)] * MOST_EVENTS)
    for wrong in (-2, 2**63, True, None):
        with pytest.raises(ConfigError):
            check_offset(wrong)  # type: ignore[arg-type]
    for wrong in (0, MOST_EVENTS + 1, True, 1.0):
        with pytest.raises(ConfigError):
            check_limit(wrong)  # type: ignore[arg-type]
    with pytest.raises(BatchTooLarge):
        check_batch([note(1)] * (MOST_EVENTS + 1))


def test_a_transaction_ends_once() -> None:
    told: list[str] = []
    transaction = InMemoryTransaction()
    transaction.add(lambda: told.append("commit"), lambda: told.append("rollback"))
    transaction.end(commit=True)
    transaction.end(commit=False)
    assert told == ["commit"]


def test_a_transaction_that_has_ended_takes_nothing_more() -> None:
    async def main() -> None:
        log, desk = InMemoryEventLog(), InMemoryConsumerStore()
        async with desk.transaction() as transaction:
            pass
        for call in (
            log.append(note(1), transaction=transaction),
            desk.offsets.set_offset("one", 1, transaction=transaction),
            desk.advance("one", -1, 1, transaction),
        ):
            with pytest.raises(ConfigError, match="not an open one"):
                await call

    asyncio.run(main())
