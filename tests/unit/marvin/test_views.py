"""Views: whatever is read from one, at every moment of a run, is NumPy's answer on what is known then."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import builders
from weaver import Strategy, StrategyCrashed, backtest
from weaver.core.bars import BarSeries
from weaver.core.instants import to_ns
from weaver.core.timeframe import Timeframe
from weaver.marvin.resample import resample

MINUTE = 60_000_000_000
START = to_ns("2024-01-01")


def series_of(symbol: str, rows: list[int]) -> BarSeries:
    close = 100.0 + np.arange(len(rows)) * 1.5
    return builders.series(
        close,
        opens=close - 0.25,
        highs=close + 1.0,
        lows=close - 1.0,
        volumes=np.arange(len(rows)) + 1.0,
        symbol=symbol,
        step="1m",
        rows=rows,
        extra={"signal": np.array([np.nan if row % 3 == 0 else float(row) for row in rows])},
    )


def same(left: Any, right: Any) -> bool:
    return left == right or (math.isnan(left) and math.isnan(right))


def assert_is_prefix(view: Any, known: Any, slices: list[slice]) -> None:
    """Every way to read `view` gives what NumPy gives on the column `known`."""
    count = len(known)
    assert len(view) == count
    whole = np.asarray(view)
    assert whole.dtype == np.float64
    assert not whole.flags.writeable
    np.testing.assert_array_equal(whole, known)
    assert bool(view) == bool(count)
    for index in range(-count, count):
        value = view[index]
        assert type(value) is float
        assert same(value, float(known[index]))
    for index in (-count - 2, -count - 1, count, count + 1):
        assert_is_out_of_range(view, index)
    for part in slices:
        got = view[part]
        np.testing.assert_array_equal(got, known[part])
        assert not got.flags.writeable
        if len(got):
            assert np.shares_memory(got, whole)
    assert all(map(same, view, known))


def assert_is_out_of_range(view: Any, index: int) -> None:
    try:
        view[index]
    except IndexError:
        return
    raise AssertionError(f"{view!r}[{index}] exists")


ROWS = st.sets(st.integers(0, 11), min_size=1).map(sorted)
BOUNDS = st.none() | st.integers(-14, 14)
SLICES = st.lists(st.builds(slice, BOUNDS, BOUNDS, st.none() | st.integers(-4, 4).filter(bool)), min_size=1, max_size=6)


class Watcher(Strategy):
    """Compares every view it can get hold of with the columns, at every callback of the run."""

    _series: Any = None
    _slices: Any = None
    _late: int = 0

    def on_start(self) -> None:
        self.early = {symbol: self.bars[symbol].close for symbol in self.symbols}
        self.smooth = {
            symbol: self.indicator(lambda close: np.where(np.arange(len(close)) < 1, np.nan, close * 2), view)
            for symbol, view in self.early.items()
        }
        self.slow = {symbol: self.bars[symbol].resample("4m") for symbol in self.symbols}
        self.doubled = {
            symbol: self.indicator(lambda close: close * 2, self.slow[symbol].close) for symbol in self.symbols
        }
        self.joined = self.bars.join(*self.symbols) if len(self.symbols) > 1 else None
        self.checks = 0
        self.check(derived=False)
        self.every("1m", self.timer_fired)

    def timer_fired(self) -> None:
        self.check(derived=any(self.tick == int(end) for one in self._series.values() for end in one.end))

    def on_bar(self, bar: Any) -> None:
        self.check()

    def on_bars(self, bars: Any) -> None:
        self.check()

    @property
    def tick(self) -> int:
        return to_ns(self.now)

    def check(self, derived: bool = True) -> None:
        self.checks += 1
        starts = []
        for symbol, one in self._series.items():
            seen = int(np.searchsorted(one.end, self.tick, side="right"))
            starts.append(one.start)
            views = {"close": self.early[symbol]}
            # Some views are first touched in the middle of the run.
            names = ("open", "high", "low", "volume", "signal") if self.checks > self._late else ()
            views |= {name: getattr(self.bars[symbol], name) for name in names}
            for name, view in views.items():
                assert_is_prefix(view, one.columns()[name][:seen], self._slices)
            assert_is_prefix(
                self.smooth[symbol], np.where(np.arange(seen) < 1, np.nan, one.close[:seen] * 2), self._slices
            )
            self.check_times(self.bars[symbol].ts, one.start[:seen])
            if derived:
                slow = resample(one, Timeframe("4m"), None)
                shown = int(np.searchsorted(slow.end, self.tick, side="right"))
                for name, column in slow.columns().items():
                    assert_is_prefix(getattr(self.slow[symbol], name), column[:shown], self._slices)
                assert_is_prefix(self.doubled[symbol], slow.close[:shown] * 2, self._slices)
                self.check_times(self.slow[symbol].ts, slow.start[:shown])
        if derived and self.joined is not None:
            common = np.intersect1d(*starts)
            for symbol, one in self._series.items():
                rows = np.searchsorted(one.start, common)
                rows = rows[one.end[rows] <= self.tick]
                assert_is_prefix(self.joined[symbol].close, one.close[rows], self._slices)
                assert len(self.joined) == len(rows)

    def check_times(self, ts: Any, known: Any) -> None:
        assert [to_ns(value) for value in ts] == known.tolist()
        for index in range(-len(known), len(known)):
            assert to_ns(ts[index]) == known[index]
        for index in (-len(known) - 1, len(known)):
            assert_is_out_of_range(ts, index)
        for part in self._slices:
            assert ts[part].astype(np.int64).tolist() == known[part].tolist()


@settings(max_examples=50)
@given(rows_a=ROWS, rows_b=ROWS | st.none(), slices=SLICES, late=st.integers(0, 12))
def test_every_index_and_slice_of_every_view_at_every_moment_is_the_prefix_of_numpy(
    rows_a: list[int], rows_b: list[int] | None, slices: list[slice], late: int
) -> None:
    series = {"A": series_of("A", rows_a)}
    if rows_b is not None:
        series["B"] = series_of("B", rows_b)
    kind = type("Seen", (Watcher,), {})
    kind._series, kind._slices, kind._late = series, slices, late
    result = backtest(kind, series)
    assert result.bars == len(rows_a) + len(rows_b or ())


# By hand, what the property test cannot say as plainly.


def test_before_the_first_bar_a_view_is_empty_and_never_shows_the_future() -> None:
    # A starts at minute 0, B at minute 5; the timers fire at each minute, one of them touches B's close first then.
    seen = []

    class Early(Strategy):
        def on_start(self) -> None:
            self.look(self.bars["B"].open)
            self.every("1m", lambda: self.look(self.bars["B"].open if len(seen) < 3 else self.bars["B"].close))

        def look(self, view: Any) -> None:
            try:
                last = view[-1]
            except IndexError:
                last = None
            seen.append((len(view), view[:].tolist(), np.asarray(view).tolist(), last))

    backtest(Early, {"A": series_of("A", list(range(8))), "B": series_of("B", [5, 6, 7])})
    assert seen[:6] == [(0, [], [], None)] * 6
    assert seen[6] == (1, [100.0], [100.0], 100.0)
    assert seen[-1][0] == 3


def test_reading_the_last_value_before_the_first_bar_says_what_to_do() -> None:
    class TooEarly(Strategy):
        def on_start(self) -> None:
            self.bars.close[-1]

    with pytest.raises(StrategyCrashed, match=r"in on_start only self\.indicator\(\) sees the columns"):
        backtest(TooEarly, series_of("A", [0, 1]))


def test_ts_says_how_old_the_last_bar_is() -> None:
    ages = []

    class Age(Strategy):
        def on_start(self) -> None:
            self.every("1m", lambda: ages.append((self.now - self.bars.ts[-1]).total_seconds() / 60))

    backtest(Age, series_of("A", [0, 1, 5]))
    assert ages == [1, 1, 2, 3, 4, 1]


def test_arrays_and_slices_cannot_be_written_but_a_copy_can() -> None:
    class Writer(Strategy):
        def on_bar(self, bar: Any) -> None:
            close = self.bars.close
            for array in (np.asarray(close), close[:], close[-1:], np.asarray(close)[:], np.asarray(self.bars.ts)):
                with pytest.raises(ValueError, match="read-only"):
                    array[0] = 0
            mine = np.array(close)
            mine[0] = 7.0
            times = np.array(self.bars.ts)
            times[0] = times[-1]
            assert close[0] == 100.0
            assert to_ns(self.bars.ts[0]) == START

    backtest(Writer, series_of("A", [0, 1]))


def test_numpy_functions_take_a_view_as_an_array() -> None:
    means = []

    class Mean(Strategy):
        def on_bar(self, bar: Any) -> None:
            means.append((float(np.mean(self.bars.close)), float(np.mean(self.bars.close[-2:])), sum(self.bars.close)))

    backtest(Mean, series_of("A", [0, 1, 2]))
    assert means == [(100.0, 100.0, 100.0), (100.75, 100.75, 201.5), (101.5, 102.25, 304.5)]


def test_conversion_to_another_type_copies_or_is_refused() -> None:
    class Convert(Strategy):
        def on_bar(self, bar: Any) -> None:
            for view in (self.bars.close, self.bars.ts):
                with pytest.raises(ValueError, match="needs a copy"):
                    np.asarray(view, dtype=np.int64, copy=False)
            assert np.asarray(self.bars.close, dtype=np.float32).dtype == np.float32
            assert np.asarray(self.bars.ts, dtype="datetime64[s]").dtype == "datetime64[s]"

    backtest(Convert, series_of("A", [0, 1]))


def test_a_view_and_the_times_show_what_they_are() -> None:
    shown = []

    class Show(Strategy):
        def on_bar(self, bar: Any) -> None:
            shown.append((repr(self.bars.close), repr(self.bars.ts)))

    backtest(Show, series_of("A", [0]))
    assert shown == [("<View A.close: 1 values, last 100.0>", "<TimeView: 1 bars, last 2024-01-01T00:00:00+00:00>")]


def test_an_index_that_is_no_number_is_a_type_error() -> None:
    class Wrong(Strategy):
        def on_bar(self, bar: Any) -> None:
            for index in ("close", None, 1.5):
                with pytest.raises(TypeError):
                    self.bars.close[index]
                with pytest.raises(TypeError):
                    self.bars.ts[index]

    backtest(Wrong, series_of("A", [0]))
