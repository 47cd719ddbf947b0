"""Deadlines: in the order of their instants and of their registration, and no memory of what was taken back."""

from __future__ import annotations

from weaver.glados.clock.deadlines import Deadlines


def taken(deadlines: Deadlines, now_ns: int) -> None:
    while (callback := deadlines.take(now_ns)) is not None:
        callback()


def test_timeouts_that_were_taken_back_do_not_pile_up() -> None:
    deadlines, seen = Deadlines(), []
    for ts in range(100, 0, -1):
        deadlines.add(ts, lambda ts=ts: seen.append(ts))  # type: ignore[misc]
    for ts in range(10_000):
        deadlines.add(1_000_000 + ts, lambda: seen.append(-1))()
    assert len(deadlines) <= 2 * 100 + 1
    taken(deadlines, 2_000_000)
    assert seen == list(range(1, 101))
    assert len(deadlines) == 0


def test_taking_back_twice_or_after_it_ran_does_nothing() -> None:
    deadlines, seen = Deadlines(), []
    first = deadlines.add(1, lambda: seen.append("first"))
    second = deadlines.add(1, lambda: seen.append("second"))
    second()
    second()
    taken(deadlines, 1)
    first()
    assert seen == ["first"]
    assert deadlines.next_ns() is None
