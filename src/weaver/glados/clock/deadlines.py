"""Deadlines: callbacks in the order of their instants, and of their registration where instants are equal.

A heap that does not know what time it is; the clocks that hold one say when to take what is due.
"""

from __future__ import annotations

import heapq
from collections.abc import Callable

from weaver.core.ports import Unschedule

__all__ = ["Deadlines"]

# A timeout is nearly always taken back, long before its instant. From so many on, and once they are the most, what was
# taken back is thrown out of the heap, so that it holds at most twice what anybody waits for.
_TAKEN_BACK_KEPT = 64


class _Deadline:
    __slots__ = ("callback", "number", "ts_ns")

    def __init__(self, ts_ns: int, number: int, callback: Callable[[], None]) -> None:
        self.ts_ns = ts_ns
        self.number = number
        self.callback: Callable[[], None] | None = callback

    def run(self) -> None:
        """Call the callback, once, unless it was taken back: also between the moment when it was due and this one."""
        callback, self.callback = self.callback, None
        if callback is not None:
            callback()

    def __lt__(self, other: _Deadline) -> bool:
        return (self.ts_ns, self.number) < (other.ts_ns, other.number)


class Deadlines:
    """A heap of callbacks by instant (int nanoseconds since 1970-01-01 UTC)."""

    def __init__(self) -> None:
        self._heap: list[_Deadline] = []
        self._count = 0
        self._taken_back = 0

    def __len__(self) -> int:
        return len(self._heap)

    def add(self, ts_ns: int, callback: Callable[[], None]) -> Unschedule:
        """Have `callback` at `ts_ns`; the returned function takes it back."""
        deadline = _Deadline(ts_ns, self._count, callback)
        self._count += 1
        heapq.heappush(self._heap, deadline)

        def cancel() -> None:
            if deadline.callback is not None:
                deadline.callback = None
                self._taken_back += 1
                self._tidy()

        return cancel

    def _tidy(self) -> None:
        if self._taken_back > max(_TAKEN_BACK_KEPT, len(self._heap) // 2):
            self._heap = [deadline for deadline in self._heap if deadline.callback is not None]
            heapq.heapify(self._heap)
            self._taken_back = 0

    def next_ns(self) -> int | None:
        """The earliest instant that anything waits for, or None."""
        while self._heap and self._heap[0].callback is None:
            heapq.heappop(self._heap)
        return self._heap[0].ts_ns if self._heap else None

    def take(self, now_ns: int) -> Callable[[], None] | None:
        """The first callback that is due at `now_ns`, removed; None when there is none.

        Whoever calls it later than now need not look whether it was taken back meanwhile: then it does nothing.
        """
        next_ns = self.next_ns()
        if next_ns is None or next_ns > now_ns:
            return None
        return heapq.heappop(self._heap).run
