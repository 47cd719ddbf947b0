"""Deadlines: callbacks in the order of their instants, and of their registration where instants are equal.

A heap that does not read a clock: the clocks that hold one pass the time to `take`.
"""

from __future__ import annotations

import heapq
import itertools
from collections.abc import Callable, Iterator

from weaver.core.ports import Unschedule

__all__ = ["Deadlines"]

# A timeout is nearly always cancelled, long before its instant. Cancelled entries are removed once there are more than this
# many and they are the majority, so that the heap holds at most twice the pending deadlines.
_CANCELLED_KEPT = 64


class _Deadline:
    __slots__ = ("callback", "number", "ts_ns")

    def __init__(self, ts_ns: int, number: int, callback: Callable[[], None]) -> None:
        self.ts_ns = ts_ns
        self.number = number
        self.callback: Callable[[], None] | None = callback

    def run(self) -> None:
        """Call the callback, once, unless it was cancelled, also after it was taken from the heap."""
        callback, self.callback = self.callback, None
        if callback is not None:
            callback()

    def __lt__(self, other: _Deadline) -> bool:
        return (self.ts_ns, self.number) < (other.ts_ns, other.number)


class Deadlines:
    """A heap of callbacks by instant (int nanoseconds of one kind of time).

    Two heaps that take their numbers from one `numbers` can be merged in the order of registration.
    """

    def __init__(self, numbers: Iterator[int] | None = None) -> None:
        self._heap: list[_Deadline] = []
        self._numbers = itertools.count() if numbers is None else numbers
        self._cancelled = 0

    def __len__(self) -> int:
        return len(self._heap)

    def add(self, ts_ns: int, callback: Callable[[], None]) -> Unschedule:
        """Register `callback` for `ts_ns`; return the function that cancels it."""
        deadline = _Deadline(ts_ns, next(self._numbers), callback)
        heapq.heappush(self._heap, deadline)

        def cancel() -> None:
            if deadline.callback is not None:
                deadline.callback = None
                self._cancelled += 1
                self._tidy()

        return cancel

    def _tidy(self) -> None:
        if self._cancelled > max(_CANCELLED_KEPT, len(self._heap) // 2):
            self._heap = [deadline for deadline in self._heap if deadline.callback is not None]
            heapq.heapify(self._heap)
            self._cancelled = 0

    def next_ns(self) -> int | None:
        """Return the earliest pending instant, or None."""
        while self._heap and self._heap[0].callback is None:
            heapq.heappop(self._heap)
        return self._heap[0].ts_ns if self._heap else None

    def due_number(self, now_ns: int) -> int | None:
        """Return the registration number of the callback that `take` would return; None where none is due."""
        next_ns = self.next_ns()
        return None if next_ns is None or next_ns > now_ns else self._heap[0].number

    def take(self, now_ns: int) -> Callable[[], None] | None:
        """Remove and return the first callback that is due at `now_ns`; None where none is due.

        The returned function does nothing if the deadline is cancelled before it is called.
        """
        next_ns = self.next_ns()
        if next_ns is None or next_ns > now_ns:
            return None
        return heapq.heappop(self._heap).run
