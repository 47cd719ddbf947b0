"""Expiry.

Which open orders end at an instant or with a session. Finding those that are due costs nothing for the others.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from heapq import heappop, heappush

from weaver.greta.working_order import WorkingOrder

__all__ = ["NEVER", "Expiry"]

NEVER = 2**63 - 1


class Expiry:
    """The open orders with a `good_till`, and those that end with a session (DAY, AT_CLOSE).

    `next_ns` is the earliest instant at which one may be due, `NEVER` without one.
    """

    __slots__ = ("_accepted", "_heap", "_without_session", "next_ns")

    def __init__(self) -> None:
        self.next_ns = NEVER
        self._heap: list[tuple[int, int, WorkingOrder]] = []
        self._without_session: dict[int, list[tuple[int, WorkingOrder]]] = {}
        self._accepted = 0

    def __bool__(self) -> bool:
        return bool(self._heap or self._without_session)

    def add(self, order: WorkingOrder) -> None:
        """Add an order that was just accepted."""
        self._accepted += 1
        if order.until_ns is None:
            self._without_session.setdefault(order.index, []).append((self._accepted, order))
        else:
            self._push(self._accepted, order, order.until_ns)

    def join_sessions(self, indices: Iterable[int], session_close: Callable[[int], int]) -> None:
        """Set when orders that end with a session expire, for symbols (by index) that have a bar at this tick.

        It is the first session that has a bar after acceptance.
        """
        if not self._without_session:
            return
        for index in indices:
            for accepted, order in self._without_session.pop(index, ()):
                order.until_ns = session_close(index)
                self._push(accepted, order, order.until_ns)

    def take_due(self, now_ns: int) -> list[WorkingOrder]:
        """Remove and return the open orders that are due at `now_ns`, in the order of their acceptance."""
        due = []
        while self._heap and self._heap[0][0] <= now_ns:
            _, accepted, order = heappop(self._heap)
            if not order.done:
                due.append((accepted, order))
        self.next_ns = self._heap[0][0] if self._heap else NEVER
        due.sort(key=lambda item: item[0])
        return [order for _, order in due]

    def _push(self, accepted: int, order: WorkingOrder, until_ns: int) -> None:
        heappush(self._heap, (until_ns, accepted, order))
        self.next_ns = self._heap[0][0]
