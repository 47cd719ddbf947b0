"""The tick procedure over columns that grow: its order, late bars, its errors, and what History does with indicators."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

import builders
from builders import HOUR, MONDAY
from weaver import Strategy, backtest
from weaver.core.account import Account
from weaver.core.bars import Bar, BarSeries
from weaver.core.errors import StrategyCrashed, StrategyError
from weaver.core.orders import OrderRequest
from weaver.indicators import atr, ema, sma
from weaver.marvin.context import Context
from weaver.marvin.growing_bars import GrowingBars
from weaver.marvin.indicators.continuation import continued
from weaver.marvin.tick import ShownBar, TickInputs, TickProcedure


def walk(count: int, seed: int = 1) -> BarSeries:
    return builders.series(**builders.random_walk(count, seed), step="1h")


def shown(bars: BarSeries, row: int) -> ShownBar:
    values = [float(column[row]) for column in (bars.open, bars.high, bars.low, bars.close, bars.volume)]
    return ShownBar(Bar(bars.symbol, int(bars.start[row]), *values), int(bars.end[row]))


def begun(strategy: Strategy, bars: BarSeries) -> TickProcedure:
    known = bars.rows(0, 0)
    account = Account(10_000.0, [bars.symbol], [bars.instrument])
    ticks = TickProcedure(Context(strategy, {bars.symbol: known}, account, run_id="ticks", seed=0, grows=True))
    ticks.start(int(bars.start[0]))
    return ticks


def run(strategy: Strategy, bars: BarSeries) -> TickProcedure:
    ticks = begun(strategy, bars)
    for row in range(len(bars)):
        each = shown(bars, row)
        ticks.tick(TickInputs(tick_ns=each.end_ns, bars=(each,)))
    return ticks


# ---------------------------------------------------------------- the order of a tick


class Noting(Strategy):
    """Notes its calls, and buys at the first bar."""

    def on_start(self) -> None:
        self.calls: list[Any] = []
        self.every("1h", self.on_timer)

    def on_bar(self, bar: Bar) -> None:
        self.calls.append(("on_bar", bar.close, self.bars.close[-1], len(self.bars)))
        if len(self.bars) == 1:
            self.buy(1)
            self.sell(2, limit=1_000.0)

    def on_bars(self, bars: Any) -> None:
        self.calls.append(("on_bars", tuple(bars)))

    def on_timer(self) -> None:
        self.calls.append(("timer", self.now))


def test_commands_are_returned_in_call_order_and_taken_once() -> None:
    bars = walk(2)
    ticks = begun(Noting(), bars)
    first = ticks.tick(TickInputs(tick_ns=int(bars.end[0]), bars=(shown(bars, 0),)))
    assert [(type(command), command.lots) for command in first] == [(OrderRequest, 1), (OrderRequest, 2)]
    assert ticks.tick(TickInputs(tick_ns=int(bars.end[1]), bars=(shown(bars, 1),))) == []


def test_bars_that_come_late_are_each_shown_oldest_first_and_timers_fire_once() -> None:
    bars = walk(4)
    strategy = Noting()
    ticks = begun(strategy, bars)
    ticks.tick(TickInputs(tick_ns=int(bars.end[3]), bars=tuple(shown(bars, row) for row in range(4))))
    calls = strategy.calls
    closes = bars.close.tolist()
    assert [call[1:] for call in calls if call[0] == "on_bar"] == [
        (close, close, row + 1) for row, close in enumerate(closes)
    ]
    assert [call[0] for call in calls] == ["on_bar", "on_bars"] * 4 + ["timer"]


def test_a_bar_that_was_shown_before_is_refused_by_name() -> None:
    bars = walk(2)
    ticks = begun(Noting(), bars)
    ticks.tick(TickInputs(tick_ns=int(bars.end[0]), bars=(shown(bars, 0),)))
    with pytest.raises(StrategyError, match=r"bar of A at 2024-01-01.* is not after the last one"):
        ticks.tick(TickInputs(tick_ns=int(bars.end[1]), bars=(shown(bars, 0),)))


class Crashing(Strategy):
    """Raises at its third bar."""

    def on_bar(self, bar: Bar) -> None:
        if len(self.bars) == 3:
            raise ValueError("enough")


def test_an_error_of_the_strategy_is_named_as_in_a_backtest() -> None:
    bars = walk(5)
    with pytest.raises(StrategyCrashed) as in_backtest:
        backtest(Crashing, {"A": bars})
    with pytest.raises(StrategyCrashed) as in_tick:
        run(Crashing(), bars)
    assert "on_bar raised ValueError: enough [bar 2 of A" in str(in_tick.value)
    assert str(in_tick.value) == str(in_backtest.value)


# ---------------------------------------------------------------- indicators over growing columns


def centred(values: Any) -> Any:
    """Subtract the mean of the whole column, which later bars change."""
    return values - values.mean() if len(values) else values


class Repainting(Strategy):
    """Uses an indicator that repaints, and one that does not."""

    def on_start(self) -> None:
        self.line = self.indicator(centred, self.bars.close, name="centred close")
        self.good = self.indicator(sma, self.bars.close, 2)


def test_a_past_value_that_changes_is_reported_once_by_name_with_its_first_bar() -> None:
    bars = walk(30)
    ticks = run(Repainting(), bars)
    assert ticks.history is not None
    (repaint,) = ticks.history.repaints
    assert (repaint.indicator, repaint.bar_ns, repaint.tick_ns) == ("centred close", MONDAY, MONDAY + 2 * HOUR)
    assert repaint.before == 0.0
    assert repaint.after == pytest.approx((bars.close[0] - bars.close[1]) / 2)
    assert "indicator centred close changes past values" in str(repaint)


def test_rounding_of_a_longer_column_is_no_repaint() -> None:
    class Rounding(Strategy):
        def on_start(self) -> None:
            self.line = self.indicator(lambda values: values * (1 + 1e-15 * (len(values) % 3)), self.bars.close)

    ticks = run(Rounding(), walk(30))
    assert ticks.history is not None
    assert ticks.history.repaints == []


def needs(values: Any, length: int) -> tuple[Any, Any]:
    if len(values) < length:
        raise ValueError(f"needs {length} values")
    return values, -values


def test_an_indicator_that_cannot_use_few_bars_has_no_value_until_it_can() -> None:
    class Waiting(Strategy):
        def on_start(self) -> None:
            self.up, self.down = self.indicator(needs, self.bars.close, 3)
            self.first: list[int] = []

        def on_bar(self, bar: Bar) -> None:
            self.first.append(len(self.bars))

    bars = walk(5)
    strategy = Waiting()
    ticks = begun(strategy, bars)
    for row in range(5):
        ticks.tick(TickInputs(tick_ns=int(bars.end[row]), bars=(shown(bars, row),)))
        assert ticks.history is not None
        waits = ["indicator needs(3) has no value in"] if row < 2 else []
        assert [text[:34] for text in ticks.history.failures] == waits
    assert strategy.first == [3, 4, 5]
    assert strategy.down[-1] == -bars.close[-1]


def test_an_indicator_that_fails_after_it_had_values_stops_the_run_by_name() -> None:
    def fails_at_four(values: Any) -> Any:
        if len(values) == 4:
            raise ValueError("four")
        return values

    class Failing(Strategy):
        def on_start(self) -> None:
            self.line = self.indicator(fails_at_four, self.bars.close, name="fragile")

    with pytest.raises((StrategyError, StrategyCrashed), match="indicator fragile raised ValueError: four for 4 bars"):
        run(Failing(), walk(5))


def test_a_long_bar_is_not_changed_by_a_bar_that_is_shown_after_it() -> None:
    class Resampling(Strategy):
        def on_start(self) -> None:
            self.long = self.bars.resample("4h")

    bars = walk(12)
    strategy = Resampling()
    ticks = begun(strategy, bars)
    for row in (0, 1, 2):
        ticks.tick(TickInputs(tick_ns=int(bars.end[row]), bars=(shown(bars, row),)))
    ticks.tick(TickInputs(tick_ns=MONDAY + 4 * HOUR))  # the fourth bar has not come
    assert strategy.long.close[:].tolist() == [bars.close[2]]
    ticks.tick(TickInputs(tick_ns=MONDAY + 5 * HOUR, bars=(shown(bars, 3), shown(bars, 4))))
    assert strategy.long.close[:].tolist() == [bars.close[2]]
    for row in range(5, 12):
        ticks.tick(TickInputs(tick_ns=int(bars.end[row]), bars=(shown(bars, row),)))
    assert strategy.long.close[:].tolist() == [bars.close[2], bars.close[7], bars.close[11]]


def test_a_joined_row_appears_when_the_last_of_its_symbols_is_shown_also_late() -> None:
    class Joining(Strategy):
        def on_start(self) -> None:
            self.pair = self.bars.join("A", "B")

    both = {symbol: builders.series(**builders.random_walk(4, 3), symbol=symbol, step="1h") for symbol in ("A", "B")}
    account = Account(10_000.0, list(both), [bars.instrument for bars in both.values()])
    known = {symbol: bars.rows(0, 0) for symbol, bars in both.items()}
    strategy = Joining()
    ticks = TickProcedure(Context(strategy, known, account, run_id="ticks", seed=0, grows=True))
    ticks.start(MONDAY)
    lengths = []
    shown_then: tuple[tuple[tuple[str, int], ...], ...] = (
        (("A", 0), ("B", 0)),
        (("A", 1),),
        (("B", 1), ("A", 2)),  # a late bar of B, and no bar of B in this hour
        (("A", 3), ("B", 3)),
    )
    for hour, rows in enumerate(shown_then, start=1):
        bars = tuple(shown(both[symbol], row) for symbol, row in rows)
        ticks.tick(TickInputs(tick_ns=MONDAY + hour * HOUR, bars=bars))
        lengths.append(len(strategy.pair))
    assert lengths == [1, 1, 2, 3]
    assert strategy.pair["B"].close[:].tolist() == both["B"].close[[0, 1, 3]].tolist()


def test_resampled_bars_are_shown_to_a_strategy_whose_indicators_never_have_a_value() -> None:
    class NeverReady(Strategy):
        def on_start(self) -> None:
            self.long = self.bars.resample("4h")
            self.slow = self.indicator(sma, self.bars.close, 100)
            self.counts: list[int] = []
            self.every("4h", lambda: None)

        def on_stop(self) -> None:
            lengths.append(len(self.long))

    lengths: list[int] = []
    backtest(NeverReady, {"A": walk(9)})
    assert lengths == [2]


# ---------------------------------------------------------------- columns


def test_a_bar_costs_no_copy_of_the_earlier_ones_and_changes_no_row() -> None:
    bars = walk(1_000)
    growing = GrowingBars(bars.rows(0, 0))
    kept, rooms = [], set()
    for row in range(len(bars)):
        each = shown(bars, row)
        growing.append(each.bar, each.end_ns)
        rooms.add(growing.series.close.base.ctypes.data if growing.series.close.base is not None else 0)
        if row in (0, 63, 64, 500):
            kept.append((growing.series, row + 1))
    for series, length in [*kept, (growing.series, len(bars))]:
        assert len(series) == length
        for name, column in series.columns().items():
            assert column.tobytes() == bars.columns()[name][:length].tobytes()
            assert not column.flags.writeable
        assert series.end.tobytes() == bars.end[:length].tobytes()
    assert len(rooms) <= 6, "the room doubles"


@pytest.mark.parametrize("function", [sma, ema, atr])
def test_continued_values_are_those_of_the_whole_computation_to_the_last_bit(function: Any) -> None:
    taken = 0
    for seed in range(18):
        source = np.random.default_rng(seed)
        close = 100 * np.exp(np.cumsum(source.normal(0, 0.02, 150)))
        holes = source.random(150) < (0.03 if seed % 3 == 0 else 0.0)
        close[holes] = source.choice([np.nan, np.inf])
        columns = (close + 1, close - source.random(150), close) if function is atr else (close,)
        period = int(source.integers(1, 20))
        length = 1
        while length < 150:
            longer = min(150, length + int(source.integers(1, 4)))
            earlier = function(*(column[:length] for column in columns), period)
            inputs = [column[:longer] for column in columns]
            values = continued(function, (*inputs, period), {}, earlier, longer)
            if values is not None:
                taken += 1
                whole = function(*inputs, period)
                assert np.r_[earlier, values].tobytes() == whole.tobytes(), f"seed {seed}, row {length}"
            length = longer
    assert taken > 300
