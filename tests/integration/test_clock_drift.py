"""Real drift on this machine, measured and printed, never judged: `pytest -s tests/integration/test_clock_drift.py`."""

from __future__ import annotations

import asyncio
import time

import pytest

from weaver.glados.clock import ClockTick, RealtimeClock
from weaver.glados.clock.alarm import AlarmFactory, StagedAlarm, default_alarm

TICKS = 3


@pytest.mark.parametrize(
    ("name", "alarm", "spin"),
    [
        ("the kernel's timer", default_alarm, 0.0),
        ("spinning", default_alarm, 0.0003),
        ("staged timers", StagedAlarm, 0.0),
    ],
)
def test_the_real_clock_is_never_early_and_says_how_late_it_is(
    name: str, alarm: AlarmFactory, spin: float, capsys: pytest.CaptureFixture[str]
) -> None:
    clock = RealtimeClock("1s", alarm=alarm, spin=spin)
    seen: list[tuple[int, int]] = []

    async def main() -> None:
        async def callback(tick: ClockTick) -> None:
            seen.append((tick.ts_ns, time.time_ns()))
            if len(seen) == TICKS:
                await clock.stop()

        clock.on_tick(callback)
        await clock.start("drift")
        began = time.process_time_ns()
        await clock.wait()
        used = (time.process_time_ns() - began) / 1e6
        with capsys.disabled():
            print(f"\n{name}: {clock.drift}; {used:.2f} ms of processor time")

    asyncio.run(main())
    assert all(at >= ts for ts, at in seen), "a tick came early"
    assert all(ts % 1_000_000_000 == 0 for ts, _ in seen)
    missed = sum(gap.count for gap in clock.gaps)
    assert seen[-1][0] - seen[0][0] == (TICKS - 1 + missed) * 1_000_000_000, "a boundary was lost without a word"
    assert clock.drift.ticks == TICKS
    assert clock.drift.max_ns >= clock.drift.p99_ns >= clock.drift.p50_ns >= 0


def test_the_blocking_iterator_is_never_early_either() -> None:
    clock = RealtimeClock("1s")
    boundaries = clock.boundaries()
    boundary = next(boundaries)
    assert time.time_ns() >= boundary
    del boundaries
    assert not clock.is_running
