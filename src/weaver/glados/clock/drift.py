"""Drift: the lateness of a real-time clock's ticks, which is always measured.

Recording costs an addition and an index. The percentiles are those of the last 1,024 ticks and are computed on request. The
maximum and the counts are of the whole run.
"""

from __future__ import annotations

import msgspec

__all__ = ["Drift", "DriftMeter"]

# About a quarter of an hour of one-second ticks: enough for a p99, small enough to sort on demand.
_WINDOW = 1024


class Drift(msgspec.Struct, frozen=True, kw_only=True):
    """Lateness of ticks in nanoseconds (never negative, as a clock is never early), and the number of missed boundaries.

    `p50_ns` and `p99_ns` are nearest-rank percentiles of the last 1,024 ticks; `ticks`, `gaps` (reports), `missed`
    (boundaries in them) and `max_ns` are of the whole run. All are 0 before the first tick.
    """

    ticks: int
    gaps: int
    missed: int
    last_ns: int
    p50_ns: int
    p99_ns: int
    max_ns: int

    def __str__(self) -> str:
        parts = (("last", self.last_ns), ("p50", self.p50_ns), ("p99", self.p99_ns), ("max", self.max_ns))
        late = " ".join(f"{name} {ns / 1e6:.3f} ms" for name, ns in parts)
        return f"{self.ticks} ticks, late by {late}; {self.gaps} gaps ({self.missed} boundaries missed)"


class DriftMeter:
    """Collects lateness, tick by tick, in constant memory."""

    def __init__(self) -> None:
        self._recent: list[int] = []
        self._ticks = self._gaps = self._missed = self._last = self._max = 0

    def record(self, late_ns: int) -> None:
        """Record a tick that came `late_ns` nanoseconds after its boundary."""
        if len(self._recent) < _WINDOW:
            self._recent.append(late_ns)
        else:
            self._recent[self._ticks % _WINDOW] = late_ns
        self._ticks += 1
        self._last = late_ns
        if late_ns > self._max:
            self._max = late_ns

    def record_gap(self, count: int) -> None:
        """Record a report of `count` missed boundaries."""
        self._gaps += 1
        self._missed += count

    def snapshot(self) -> Drift:
        """Return the measurements so far."""
        ordered = sorted(self._recent)
        return Drift(
            ticks=self._ticks,
            gaps=self._gaps,
            missed=self._missed,
            last_ns=self._last,
            p50_ns=_percentile(ordered, 50),
            p99_ns=_percentile(ordered, 99),
            max_ns=self._max,
        )


def _percentile(ordered: list[int], percent: int) -> int:
    """Return the nearest rank: the smallest value that at least `percent` of all do not exceed; 0 for an empty list."""
    if not ordered:
        return 0
    return ordered[-(-len(ordered) * percent // 100) - 1]
