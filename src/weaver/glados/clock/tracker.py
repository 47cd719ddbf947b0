"""Tracker: decides at each wake-up of a real-time clock which boundary to tick or report. It never waits.

A boundary is ticked once its time has come, and at most once. A boundary that was jumped over, by a step of the wall clock
or a suspend, or whose next boundary has passed as well, is reported as missed instead. After a step backwards the clock
holds until wall time has passed the last ticked boundary. A run that resumes reports the boundaries since its last tick as
missed, except one at the very instant of the start, which is ticked.
"""

from __future__ import annotations

from typing import NamedTuple

from weaver.core.instants import NS_PER_SECOND
from weaver.glados.clock.grid import Grid
from weaver.glados.clock.ticks import ClockGap, GapReason, LastTick, gap_while_down
from weaver.glados.clock.time_source import Reading

__all__ = ["Tracker", "Wake"]


class Wake(NamedTuple):
    """The result of a wake-up: missed boundaries to report, a boundary to tick with its index and lateness, or neither."""

    gap: ClockGap | None
    boundary: int | None
    bar_index: int
    late_ns: int


class Tracker:
    """The state of a real-time clock between wake-ups.

    `due` is the next boundary. `missed` are the boundaries since the last tick of a run that resumes, to be reported once. A
    jump of wall time by `step_ns` or more is a step.
    """

    def __init__(
        self, grid: Grid, reading: Reading, after: LastTick | None = None, *, step_ns: int = NS_PER_SECOND
    ) -> None:
        self._grid = grid
        # A jump below a second is a correction (time daemons step from about 0.1 s on): the boundary in it is ticked, a
        # little late or on time, which is better than a missed bar. After a longer one, skipped boundaries are reported.
        self._step_ns = step_ns
        self._last = reading
        self._settled: int | None = None
        self._index = 0
        self.missed: ClockGap | None = None
        if after is None:
            self.due = grid.next_after(reading.wall)
            return
        self._settled, self._index = after.ts_ns, after.bar_index + 1
        self.missed = gap_while_down(grid, after.ts_ns, reading.wall)
        if self.missed is not None:
            self._settled = self.missed.last_ns
            self._index += self.missed.count
        self.due = grid.next_after(self._settled)

    @property
    def settled(self) -> int | None:
        """The last boundary that was ticked or reported; none up to it is ticked again."""
        return self._settled

    @property
    def holding_until(self) -> int | None:
        """The next boundary, while wall time is before the last ticked one; otherwise None."""
        return self.due if self._settled is not None and self._last.wall < self._settled else None

    def wake(self, now: Reading) -> Wake:
        """Judge a wake-up at `now`, which may come early, on time or late."""
        before, self._last = self._last, now
        jump = (now.wall - before.wall) - (now.running - before.running)
        if now.wall < self.due:
            if self._settled is None and jump < 0:
                # Set back before the first tick: boundaries that were not ticked are ahead again.
                self.due = self._grid.next_after(now.wall)
            return Wake(None, None, self._index, 0)
        passed = self._grid.count(self.due, now.wall)
        last = self.due if passed == 1 else self._last_boundary(now.wall)
        stepped = jump >= self._step_ns
        missed = passed if stepped else passed - 1
        gap, boundary = None, None
        if missed:
            reason = GapReason.BLOCKED
            if stepped:
                reason = GapReason.SUSPEND if (now.slept - before.slept) * 2 >= jump else GapReason.STEP
            last_missed = last if stepped else self._last_boundary(last - 1)
            gap = ClockGap(self.due, last_missed, missed, reason)
            self._index += missed
        index = self._index
        if not stepped:
            boundary = last
            self._index += 1
        self._settled = last
        self.due = self._grid.next_after(last)
        return Wake(gap, boundary, index, now.wall - last)

    def _last_boundary(self, ts_ns: int) -> int:
        ends = self._grid.ends(self.due, ts_ns)
        assert ends is not None, "the boundary that is due has passed, so there is at least one"
        return ends[1]
