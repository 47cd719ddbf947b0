"""SystemClock, the stopwatch and run ids: the `Clock` port on real time, never early, also when the clock is set."""

from __future__ import annotations

import asyncio
import re
from datetime import UTC, datetime
from typing import Any

import pytest

from weaver.core.instants import NS_PER_SECOND
from weaver.core.ports import Clock, run_within
from weaver.glados.clock import SystemClock, SystemTime, new_run_id, stopwatch_ns
from weaver.glados.clock import time_source as source_module
from weaver.glados.clock.system import RunIds
from weaver.testing import SimulatedTime

HOUR = 3600 * NS_PER_SECOND


@pytest.fixture(params=["timerfd", "staged"])
def clock(request: pytest.FixtureRequest, real_time: SimulatedTime) -> SystemClock:
    return SystemClock(real_time, getattr(real_time, request.param))


def test_it_is_a_clock() -> None:
    clock = SystemClock()
    assert isinstance(clock, Clock)
    assert abs(clock.now_ns() - datetime.now(UTC).timestamp() * 1e9) < 3600e9


def test_a_sleep_ends_at_its_instant_and_not_before(clock: SystemClock, real_time: SimulatedTime) -> None:
    async def main() -> int:
        due = clock.now_ns() + HOUR
        await clock.sleep_until(due)
        return real_time.wall_ns() - due

    assert 0 <= real_time.run(main()) < 1_000_000


def test_a_sleep_into_the_past_returns_at_once(clock: SystemClock, real_time: SimulatedTime) -> None:
    async def main() -> int:
        before = clock.now_ns()
        await clock.sleep_until(before - HOUR)
        await clock.sleep_until(before)
        return clock.now_ns() - before

    assert real_time.run(main()) < 1000


def test_callbacks_come_in_the_order_of_their_instants_and_then_of_their_calls(
    clock: SystemClock, real_time: SimulatedTime
) -> None:
    async def main() -> list[str]:
        now, seen = clock.now_ns(), []
        for name, after in (("d", 4), ("b", 2), ("a", 1), ("c", 2)):
            clock.call_at(now + after * NS_PER_SECOND, lambda name=name: seen.append(name))  # type: ignore[misc]
        cancel = clock.call_at(now + 3 * NS_PER_SECOND, lambda: seen.append("cancelled"))
        cancel()
        cancel()
        await clock.sleep_until(now + 5 * NS_PER_SECOND)
        cancel()
        return seen

    assert real_time.run(main()) == ["a", "b", "c", "d"]


def test_what_one_callback_takes_back_does_not_come_though_it_was_due_with_it(
    clock: SystemClock, real_time: SimulatedTime
) -> None:
    async def main() -> list[str]:
        due, seen = clock.now_ns() + NS_PER_SECOND, []
        clock.call_at(due, lambda: (seen.append("answer"), give_up()))  # type: ignore[arg-type,return-value]
        give_up = clock.call_at(due, lambda: seen.append("too late"))
        await clock.sleep_until(due + NS_PER_SECOND)
        return seen

    assert real_time.run(main()) == ["answer"]


def test_a_step_wakes_what_it_passes_over(clock: SystemClock, real_time: SimulatedTime) -> None:
    async def main() -> int:
        began = real_time.read().running
        real_time.after(10 * NS_PER_SECOND, lambda: real_time.step(2 * HOUR))
        await clock.sleep_until(clock.now_ns() + HOUR)
        return real_time.read().running - began

    assert real_time.run(main()) <= 11 * NS_PER_SECOND


def test_a_step_back_makes_nothing_early(clock: SystemClock, real_time: SimulatedTime) -> None:
    async def main() -> int:
        due = clock.now_ns() + HOUR
        real_time.after(10 * NS_PER_SECOND, lambda: real_time.step(-HOUR))
        await clock.sleep_until(due)
        return real_time.wall_ns() - due

    assert 0 <= real_time.run(main()) < 1_000_000


def test_a_callback_that_raises_is_reported_by_the_loop_and_hurts_no_other(
    clock: SystemClock, real_time: SimulatedTime
) -> None:
    async def main() -> list[Any]:
        told: list[Any] = []
        asyncio.get_running_loop().set_exception_handler(lambda _, context: told.append(context["exception"]))
        due = clock.now_ns() + NS_PER_SECOND
        clock.call_at(due, lambda: 1 // 0)  # type: ignore[arg-type,return-value]
        await clock.sleep_until(due)
        return told

    assert [type(error) for error in real_time.run(main())] == [ZeroDivisionError]


def test_an_alarm_exists_only_while_something_waits(clock: SystemClock, real_time: SimulatedTime) -> None:
    async def main() -> None:
        cancel = clock.call_at(clock.now_ns() + HOUR, lambda: None)
        deadlines = clock._loops[asyncio.get_running_loop()].wall
        assert deadlines._alarm is not None
        later = clock.call_at(clock.now_ns() + 2 * HOUR, lambda: None)
        cancel()
        later()
        assert deadlines._alarm is None

    real_time.run(main())


def test_a_cancelled_sleep_leaves_nothing_behind(clock: SystemClock, real_time: SimulatedTime) -> None:
    async def main() -> None:
        now = clock.now_ns()
        sleeping = asyncio.ensure_future(clock.sleep_until(now + HOUR))
        await clock.sleep_until(now + NS_PER_SECOND)
        sleeping.cancel()
        with pytest.raises(asyncio.CancelledError):
            await sleeping
        assert clock._loops[asyncio.get_running_loop()].wall._alarm is None

    real_time.run(main())


def test_a_timeout_goes_by_the_clock(clock: SystemClock, real_time: SimulatedTime) -> None:
    async def main() -> int:
        due = clock.elapsed_ns() + HOUR
        with pytest.raises(TimeoutError):
            await run_within(clock, HOUR, asyncio.Event().wait())
        assert await run_within(clock, HOUR, asyncio.sleep(0, "in time")) == "in time"  # noqa: TID251
        return clock.elapsed_ns() - due

    assert 0 <= real_time.run(main()) < 1_000_000


def test_each_event_loop_has_its_own_deadlines() -> None:
    clock = SystemClock()
    for _ in range(2):
        asyncio.run(clock.sleep_until(clock.now_ns() - 1))


def test_the_system_time_sleeps_and_does_not_go_back() -> None:
    time = SystemTime()
    first = time.read()
    time.sleep(0)
    second = time.read()
    assert second.running >= first.running
    assert second.wall > 1_600_000_000 * NS_PER_SECOND
    assert first.slept >= 0


def test_readings_that_lie_apart_are_taken_again(monkeypatch: pytest.MonkeyPatch) -> None:
    looks = [0, 50_000_000, 60_000_000, 60_000_100]

    class Time:
        monotonic_ns = staticmethod(lambda: looks.pop(0))
        time_ns = staticmethod(lambda: 7)

    monkeypatch.setattr(source_module, "time", Time)
    monkeypatch.setattr(source_module, "_boot_ns", lambda: 60_000_003)
    assert SystemTime().read() == (7, 60_000_000, 3)
    assert looks == []


def test_readings_that_always_lie_apart_are_taken_as_they_are(monkeypatch: pytest.MonkeyPatch) -> None:
    looks = iter(range(0, 10**12, 10**7))

    class Time:
        monotonic_ns = staticmethod(lambda: next(looks))
        time_ns = staticmethod(lambda: 7)

    monkeypatch.setattr(source_module, "time", Time)
    reading = SystemTime().read()
    assert (reading.wall, reading.slept > 0) == (7, True)


def test_the_stopwatch_never_goes_back() -> None:
    assert stopwatch_ns() <= stopwatch_ns()


class TestRunIds:
    def test_an_id_says_when_it_was_made(self) -> None:
        made = RunIds(SimulatedTime("2024-03-01T09:30:00.123456Z")).new()
        assert re.fullmatch(r"20240301T093000123456Z-[0-9a-hjkmnp-tv-z]{8}", made)

    def test_ids_are_unique_and_sort_as_they_were_made_even_when_the_clock_is_set_back(self) -> None:
        time = SimulatedTime("2024-03-02")
        ids, made = RunIds(time), []
        for _ in range(200):
            made.append(ids.new())
            time.step(-1_000)
        assert made == sorted(made)
        assert len(set(made)) == 200

    def test_ids_of_this_process_sort_too(self) -> None:
        made = [new_run_id() for _ in range(50)]
        assert made == sorted(made)
        assert len(set(made)) == 50
