"""Trades are exact FIFO round trips, whatever the order of buys, sells, turns and symbols."""

from __future__ import annotations

from collections import deque

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from weaver.results.fifo_pairs import Pairs, pair_fifo

Fills = list[tuple[int, int]]


def queue_by_queue(fills: Fills) -> tuple[list[tuple[int, int, int]], list[tuple[int, int]]]:
    """The same by a queue per symbol, one lot-parcel at a time: (entry, exit, lots) and (entry, lots) left open."""
    queues: dict[int, deque[list[int]]] = {}
    trades = []
    for index, (symbol, lots) in enumerate(fills):
        queue = queues.setdefault(symbol, deque())
        left = lots
        while left and queue and (queue[0][1] > 0) != (left > 0):
            entry, held = queue[0]
            piece = min(abs(held), abs(left))
            trades.append((entry, index, piece))
            queue[0][1] -= piece if held > 0 else -piece
            left += piece if held > 0 else -piece
            if queue[0][1] == 0:
                queue.popleft()
        if left:
            queue.append([index, left])
    still = sorted((entry, abs(held)) for queue in queues.values() for entry, held in queue)
    return sorted(trades, key=lambda trade: (trade[1], trade[0])), still


def pair(fills: Fills, dtype: type = np.int64) -> Pairs:
    return pair_fifo(
        np.array([symbol for symbol, _ in fills], dtype=np.int64), np.array([lots for _, lots in fills], dtype=dtype)
    )


def as_lists(pairs: Pairs) -> tuple[list[tuple[int, int, int]], list[tuple[int, int]]]:
    closed = list(zip(pairs.entry.tolist(), pairs.exit.tolist(), pairs.lots.tolist(), strict=True))
    return closed, list(zip(pairs.open_entry.tolist(), pairs.open_lots.tolist(), strict=True))


LOTS = st.integers(-5, 5).filter(bool)


@given(st.lists(st.tuples(st.integers(0, 3), LOTS), max_size=60))
def test_the_vectorised_pairing_equals_a_queue_per_symbol(fills: Fills) -> None:
    assert as_lists(pair(fills)) == queue_by_queue(fills)


@given(st.lists(st.integers(1, 10**12), min_size=1, max_size=40))
def test_a_strategy_that_is_flat_or_long_gives_one_trade_per_buy_and_sell(sizes: list[int]) -> None:
    fills = [(0, sign * size) for size in sizes for sign in (1, -1)]
    assert as_lists(pair(fills)) == ([(2 * i, 2 * i + 1, size) for i, size in enumerate(sizes)], [])


@given(st.lists(st.tuples(st.integers(0, 1), st.integers(-(2**70), 2**70).filter(bool)), max_size=20))
def test_quantities_beyond_64_bits_stay_exact(fills: Fills) -> None:
    assert as_lists(pair(fills, dtype=object)) == queue_by_queue(fills)


def test_running_sums_beyond_64_bits_stay_exact() -> None:
    fills = [(0, 2**62), (0, 2**62), (0, 2**62), (0, -(2**62)), (0, -(2**62)), (0, -(2**62))]
    assert as_lists(pair(fills)) == ([(0, 3, 2**62), (1, 4, 2**62), (2, 5, 2**62)], [])


def test_a_fill_that_turns_a_position_closes_with_one_part_and_opens_with_the_other() -> None:
    assert as_lists(pair([(0, 3), (0, -5), (0, 2)])) == ([(0, 1, 3), (1, 2, 2)], [])


def test_no_fills_give_no_trades() -> None:
    assert as_lists(pair([])) == ([], [])


def test_what_is_never_closed_stays_open() -> None:
    assert as_lists(pair([(1, 3), (0, -2), (1, -1)])) == ([(0, 2, 1)], [(0, 2), (1, 2)])
