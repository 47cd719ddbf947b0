"""The engine goes where the clock goes and no further."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

from weaver.core.errors import MissedBoundary, NoBars

DAY = 86_400 * 1_000_000_000
ROWS = [(100.0 + i, 101.0 + i, 99.0 + i, 100.0 + i) for i in range(6)]


def ticks(series: Any) -> list[int]:
    return [int(series.start[0]), *map(int, series.end)]


def two(bars: Any) -> list[Any]:
    return [bars(*ROWS, symbol="B"), bars(*ROWS, symbol="A")]


@pytest.mark.parametrize("several", [False, True])
def test_where_the_clock_withholds_a_boundary_the_engine_stops_and_has_seen_nothing_of_the_bar(
    run: Any, bars: Any, several: bool
) -> None:
    series = two(bars) if several else [bars(*ROWS)]
    seen: list[float] = []
    stopped = []
    handed = []

    def boundaries() -> Iterator[int]:
        for tick in ticks(series[0])[:4]:  # the start and three bar ends
            handed.append(tick)
            yield tick

    def on_bars(self: Any, now: Any) -> None:
        seen.append(next(iter(now.values())).close)
        if len(seen) == 3:
            self.buy(1, symbol=series[0].symbol)

    made = run(series, boundaries=boundaries(), on_bars=on_bars, on_stop=lambda self: stopped.append(self.now))
    assert seen == [100.0, 101.0, 102.0]
    assert made.engine.finished is False
    assert made.engine.stopped_by == "the clock ended before the bars did"
    assert made.engine.bars_done == 3 * len(series)
    assert made.fills == []
    assert len(stopped) == 1
    assert made.engine.last_tick_ns == handed[-1]
    # The order waits; nothing has ended, so nothing has expired.
    assert made.statuses == ["submitted"]


@pytest.mark.parametrize("several", [False, True])
def test_a_clock_that_skips_a_boundary_where_a_bar_ends_stops_the_run(run: Any, bars: Any, several: bool) -> None:
    series = two(bars) if several else [bars(*ROWS)]
    some = ticks(series[0])
    del some[3]
    seen: list[float] = []
    with pytest.raises(MissedBoundary, match="2024-01-04"):
        run(series, boundaries=iter(some), on_bars=lambda self, now: seen.append(next(iter(now.values())).close))
    assert seen == [100.0, 101.0]


def test_a_clock_that_never_ticks_starts_nothing(run: Any, bars: Any) -> None:
    said = []
    made = run(bars(*ROWS), boundaries=iter(()), on_start=lambda self: said.append("start"))
    assert said == []
    assert made.engine.finished is False


def test_a_clock_that_ends_after_its_first_tick_has_shown_no_bar(run: Any, bars: Any) -> None:
    series = bars(*ROWS)
    said: list[str] = []
    made = run(
        series,
        boundaries=iter(ticks(series)[:1]),
        on_start=lambda self: said.append("start"),
        on_bar=lambda self, bar: said.append("bar"),
        on_stop=lambda self: said.append("stop"),
    )
    assert said == ["start", "stop"]
    assert made.engine.bars_done == 0


def test_boundaries_without_a_bar_are_passed_over_and_call_nothing(run: Any, bars: Any) -> None:
    series = bars(ROWS[0], None, None, ROWS[3])
    first = int(series.start[0])
    calls: list[int] = []
    made = run(
        series, boundaries=iter(range(first, first + 5 * DAY, DAY)), on_bar=lambda self, bar: calls.append(bar.ts_ns)
    )
    assert calls == [first, first + 3 * DAY]
    assert made.engine.finished is True


def test_no_more_boundaries_are_asked_for_than_bars_need(run: Any, bars: Any) -> None:
    series = bars(*ROWS)
    asked: list[int] = []

    def boundaries() -> Iterator[int]:
        for tick in [*ticks(series), 10**19, 10**19 + 1]:
            asked.append(tick)
            yield tick

    assert run(series, boundaries=boundaries(), on_bar=lambda self, bar: None).engine.finished
    assert asked == ticks(series)


def test_a_run_without_bars_is_refused(run: Any, bars: Any) -> None:
    with pytest.raises(NoBars):
        run(bars(*ROWS).rows(0, 0), boundaries=iter(()))


def test_chunks_of_bars_do_not_show_in_a_run_of_many(run: Any, bars: Any) -> None:
    count = 700  # more than the first chunk, and no multiple of it
    rows = [(100.0 + i % 7, 108.0, 90.0, 100.0 + i % 5) for i in range(count)]
    series = bars(*rows, timeframe="1m")
    seen: list[tuple[int, float, int]] = []

    def on_bar(self: Any, bar: Any) -> None:
        seen.append((bar.ts_ns, bar.close, len(self.bars.close)))
        self.buy(1) if not self.position else self.close()

    made = run(series, on_bar=on_bar)
    assert seen == [(int(series.start[i]), float(series.close[i]), i + 1) for i in range(count)]
    assert [price for *_, price in made.fills] == [float(price) for price in series.open[1:]]
