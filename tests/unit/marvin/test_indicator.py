"""self.indicator: any causal array function, over views of bars and of indicators; refused by name where it cannot be."""

from __future__ import annotations

import functools
import math
from collections.abc import Callable
from typing import Any

import numpy as np
import polars as pl
import pytest

from weaver import Strategy, StrategyCrashed, StrategyError, backtest
from weaver.indicators import atr, bollinger, ema, rsi, sma

Make = Callable[..., pl.DataFrame]
CLOSES = [10.0, 11.0, 13.0, 16.0, 20.0, 25.0]


def values_of(bars: Any, make: Callable[[Any], Any]) -> list[Any]:
    """What `[-1]` of the view that `make(strategy)` gives is at each on_bar."""
    seen: list[Any] = []

    class Reads(Strategy):
        def on_start(self) -> None:
            self.view = make(self)

        def on_bar(self, bar: Any) -> None:
            seen.append(tuple(one[-1] for one in self.view) if isinstance(self.view, tuple) else self.view[-1])

    backtest(Reads, bars)
    return seen


def refusal(bars: Any, make: Callable[[Any], Any]) -> str:
    """The message with which `make(strategy)` is refused in on_start."""
    told: list[str] = []

    class Refused(Strategy):
        def on_start(self) -> None:
            with pytest.raises(StrategyError) as caught:
                make(self)
            told.append(str(caught.value))

    backtest(Refused, bars)
    return told[0]


# What may be an indicator.


def test_a_function_of_ours(make_bars: Make) -> None:
    assert values_of(make_bars(CLOSES), lambda self: self.indicator(sma, self.bars.close, 2)) == [
        10.5,
        12,
        14.5,
        18,
        22.5,
    ]


def test_a_function_of_numpy(make_bars: Make) -> None:
    assert values_of(make_bars(CLOSES), lambda self: self.indicator(np.maximum.accumulate, self.bars.close)) == CLOSES
    assert values_of(make_bars(CLOSES), lambda self: self.indicator(np.cumsum, self.bars.volume))[-1] == 6000


def test_a_function_of_talib(make_bars: Make) -> None:
    talib = pytest.importorskip("talib")
    got = values_of(make_bars(CLOSES), lambda self: self.indicator(talib.SMA, self.bars.close, timeperiod=3))
    assert got == pytest.approx([34 / 3, 40 / 3, 49 / 3, 61 / 3])
    three = values_of(make_bars(CLOSES), lambda self: self.indicator(talib.BBANDS, self.bars.close, 3))
    assert len(three) == 4
    assert [len(row) for row in three] == [3] * 4


def test_a_function_that_gives_a_polars_series(make_bars: Make) -> None:
    def mean(close: Any, length: int) -> pl.Series:
        return pl.Series(close).rolling_mean(length)

    assert values_of(make_bars(CLOSES), lambda self: self.indicator(mean, self.bars.close, 2)) == [
        10.5,
        12,
        14.5,
        18,
        22.5,
    ]


def test_a_function_that_gives_a_pandas_series(make_bars: Make) -> None:
    pandas = pytest.importorskip("pandas")
    got = values_of(
        make_bars(CLOSES), lambda self: self.indicator(lambda c: pandas.Series(c).rolling(2).mean(), self.bars.close)
    )
    assert got == [10.5, 12, 14.5, 18, 22.5]


@pytest.mark.parametrize(
    "result",
    [
        lambda close: list(close),
        lambda close: close.astype(np.float32),
        lambda close: close.astype(np.int64),
        lambda close: close[::-1][::-1],
        lambda close: np.column_stack([close, close])[:, 0],
        lambda close: pl.Series(close.astype(np.int64)),
    ],
)
def test_numbers_of_any_shape_of_container(make_bars: Make, result: Any) -> None:
    assert values_of(make_bars(CLOSES), lambda self: self.indicator(result, self.bars.close)) == CLOSES


def test_truth_values_are_ones_and_zeros(make_bars: Make) -> None:
    assert values_of(make_bars(CLOSES), lambda self: self.indicator(lambda c: c > 12, self.bars.close)) == [
        0,
        0,
        1,
        1,
        1,
        1,
    ]


def test_masked_values_are_no_values(make_bars: Make) -> None:
    got = values_of(make_bars(CLOSES), lambda self: self.indicator(lambda c: np.ma.masked_less(c, 13), self.bars.close))
    assert got == [13, 16, 20, 25]


def test_a_method_a_partial_and_a_lambda_are_functions_too(make_bars: Make) -> None:
    class Doubler:
        def __call__(self, close: Any) -> Any:
            return close * 2

    for function in (Doubler(), functools.partial(np.multiply, 2.0), lambda close: close + close):
        assert values_of(make_bars([1, 2]), lambda self, f=function: self.indicator(f, self.bars.close)) == [2, 4]


# Inputs.


def test_inputs_are_whole_read_only_float64_columns(make_bars: Make) -> None:
    seen: list[Any] = []

    def spy(close: Any, period: int, *, volume: Any, factor: float) -> Any:
        seen.append((close, period, volume, factor))
        for column in (close, volume):
            with pytest.raises(ValueError, match="read-only"):
                column[0] = 1
        return close * factor

    got = values_of(
        make_bars(CLOSES), lambda self: self.indicator(spy, self.bars.close, 7, volume=self.bars.volume, factor=0.5)
    )
    assert got == [value / 2 for value in CLOSES]
    (close, period, volume, factor) = seen[0]
    assert len(seen) == 1
    assert (close.tolist(), period, volume.tolist(), factor) == (CLOSES, 7, [1000.0] * 6, 0.5)
    assert close.dtype == volume.dtype == np.float64


def test_views_of_indicators_may_be_inputs(make_bars: Make) -> None:
    def make(self: Any) -> Any:
        fast = self.indicator(sma, self.bars.close, 2)
        return self.indicator(sma, fast, 2)

    assert values_of(make_bars(CLOSES), make) == [11.25, 13.25, 16.25, 20.25]


def test_further_columns_may_be_inputs(make_bars: Make) -> None:
    bars = make_bars([1, 2, 3], signal=[5.0, 6.0, 7.0])
    assert values_of(bars, lambda self: self.indicator(np.add, self.bars.close, self.bars.signal)) == [6, 8, 10]


def test_a_tuple_gives_a_tuple_of_views_and_so_does_a_list_of_columns(make_bars: Make) -> None:
    class Two(Strategy):
        def on_start(self) -> None:
            upper, middle, lower = self.indicator(bollinger, self.bars.close, 3)
            assert "bollinger(3)[0]" in repr(upper)
            pair = self.indicator(lambda c: [c, c + 1], self.bars.close)
            assert isinstance(pair, tuple)
            one = self.indicator(lambda c: (c,), self.bars.close)
            assert isinstance(one, tuple)
            assert len(one) == 1
            self.views = (upper, middle, lower, *pair)

        def on_bar(self, bar: Any) -> None:
            upper, middle, lower, same, more = (view[-1] for view in self.views)
            assert upper > middle > lower
            assert (same, more) == (bar.close, bar.close + 1)

    assert backtest(Two, make_bars(CLOSES)).bars == 6


def test_changing_what_was_returned_changes_no_view(make_bars: Make) -> None:
    class Holds(Strategy):
        def on_start(self) -> None:
            self.view = self.indicator(lambda c: c * 1, self.bars.close)

        def on_bar(self, bar: Any) -> None:
            with pytest.raises(ValueError, match="read-only"):
                np.asarray(self.view)[0] = 5

    backtest(Holds, make_bars(CLOSES))


# Refused by name.


def test_a_result_of_another_length_is_refused(make_bars: Make) -> None:
    text = refusal(make_bars(CLOSES), lambda self: self.indicator(np.diff, self.bars.close))
    assert text.startswith("indicator diff: it returned shape (5,) for 6 bars; an indicator has one value per bar")
    text = refusal(make_bars(CLOSES), lambda self: self.indicator(lambda c: (c, c[1:]), self.bars.close, name="pair"))
    assert text.startswith("indicator pair: it returned shape (5,) for 6 bars")
    text = refusal(make_bars(CLOSES), lambda self: self.indicator(np.mean, self.bars.close))
    assert text.startswith("indicator mean: it returned shape () for 6 bars")
    text = refusal(
        make_bars(CLOSES), lambda self: self.indicator(lambda c: np.ones((6, 2)), self.bars.close, name="table")
    )
    assert text.startswith("indicator table: it returned shape (6, 2) for 6 bars")


@pytest.mark.parametrize(
    "result",
    [None, "text", ["a"] * 6, [1 + 2j] * 6, np.zeros(6, dtype="datetime64[ns]"), object(), ()],
    ids=lambda value: type(value).__name__,
)
def test_a_result_that_is_no_numbers_is_refused(make_bars: Make, result: Any) -> None:
    text = refusal(make_bars(CLOSES), lambda self: self.indicator(lambda close: result, self.bars.close, name="odd"))
    assert text.startswith("indicator odd: ")
    assert "not numbers" in text or "shape ()" in text or "returned nothing" in text


def test_views_that_do_not_advance_together_are_refused_by_their_names(make_bars: Make) -> None:
    frames = {"A": make_bars(CLOSES), "B": make_bars(CLOSES[:4])}
    text = refusal(frames, lambda self: self.indicator(np.subtract, self.bars["A"].close, self.bars["B"].close))
    assert text == (
        "indicator subtract: its inputs do not advance together (A.close has 6 bars, B.close has 4 bars); "
        "use self.bars.join(...) for the bars that symbols have in common"
    )
    same = {"A": make_bars(CLOSES), "B": make_bars(CLOSES, rows=[0, 1, 2, 3, 4, 9])}
    assert "do not advance together" in refusal(
        same, lambda self: self.indicator(np.subtract, self.bars["A"].close, b=self.bars["B"].close)
    )


def test_bars_and_their_resampling_do_not_advance_together(make_bars: Make) -> None:
    def make(self: Any) -> Any:
        return self.indicator(np.subtract, self.bars.close, self.bars.resample("5m").close)

    assert "(ASSET.close has 6 bars, ASSET@5m.close has 2 bars)" in refusal(make_bars(CLOSES), make)


def test_a_view_of_another_run_is_refused(make_bars: Make) -> None:
    kept: list[Any] = []

    class Keeps(Strategy):
        def on_start(self) -> None:
            kept.append(self.bars.close)

    backtest(Keeps, make_bars(CLOSES))
    text = refusal(make_bars(CLOSES), lambda self: self.indicator(sma, kept[0], 2))
    assert text == "indicator sma(2): ASSET.close is a view of another run; make it anew in on_start"


def test_what_is_no_column_is_refused(make_bars: Make) -> None:
    bars = make_bars(CLOSES)
    assert refusal(bars, lambda self: self.indicator(sma, 5)) == (
        "indicator sma(5): give at least one view, for example self.bars.close"
    )
    assert "give at least one view" in refusal(bars, lambda self: self.indicator(sma, np.array(CLOSES), 5))
    assert "`.ts` cannot be an input" in refusal(bars, lambda self: self.indicator(sma, self.bars.ts, 5))
    assert "bars are no input, their columns are" in refusal(bars, lambda self: self.indicator(sma, self.bars, 5))
    assert "ASSET.close stands inside a list; give each view as an argument of its own" in refusal(
        bars, lambda self: self.indicator(sma, [self.bars.close], 5)
    )
    several = {"A": bars, "B": bars}
    assert "bars are no input" in refusal(several, lambda self: self.indicator(sma, self.bars, 5))
    assert "bars are no input" in refusal(several, lambda self: self.indicator(sma, self.bars.join("A", "B"), 5))
    assert "stands inside a dict" in refusal(bars, lambda self: self.indicator(sma, {"c": self.bars.close}))


def test_an_indicator_is_made_in_on_start_only(make_bars: Make) -> None:
    class Late(Strategy):
        def on_bar(self, bar: Any) -> None:
            self.indicator(sma, self.bars.close, 2)

    with pytest.raises(StrategyCrashed, match=r"indicator\(sma\) is for on_start only"):
        backtest(Late, make_bars(CLOSES))


def test_a_function_that_raises_stops_the_run_in_on_start_by_its_name(make_bars: Make) -> None:
    class Fails(Strategy):
        def on_start(self) -> None:
            self.indicator(lambda c: 1 / 0, self.bars.close)

    with pytest.raises(
        StrategyCrashed, match=r"Fails\.on_start raised ZeroDivisionError: division by zero .*before any bar"
    ):
        backtest(Fails, make_bars(CLOSES))


def test_in_on_start_the_views_of_indicators_are_empty_too(make_bars: Make) -> None:
    class Peeks(Strategy):
        def on_start(self) -> None:
            view = self.indicator(sma, self.bars.close, 2)
            assert len(view) == 0
            assert view[:].tolist() == []
            with pytest.raises(IndexError):
                view[-1]

    backtest(Peeks, make_bars(CLOSES))


# Readiness.


def from_bar(first: int) -> Callable[[Any], Any]:
    """An indicator whose first value is at row `first`."""
    return lambda close: np.where(np.arange(len(close)) < first, np.nan, close)


def test_on_bar_waits_for_the_slowest_indicator(make_bars: Make) -> None:
    seen = []

    class Waits(Strategy):
        def on_start(self) -> None:
            self.indicator(from_bar(1), self.bars.close)
            self.indicator(lambda c: (from_bar(0)(c), from_bar(3)(c)), self.bars.close)

        def on_bar(self, bar: Any) -> None:
            seen.append(bar.close)

    backtest(Waits, make_bars(CLOSES))
    assert seen == CLOSES[3:]


def test_a_gap_in_an_indicator_later_on_holds_nothing_up(make_bars: Make) -> None:
    seen = []

    class Goes(Strategy):
        def on_start(self) -> None:
            self.view = self.indicator(lambda c: np.where(c == 13, np.nan, c), self.bars.close)

        def on_bar(self, bar: Any) -> None:
            seen.append(self.view[-1])

    backtest(Goes, make_bars(CLOSES))
    assert np.isnan(seen[2])
    assert len(seen) == 6


def test_each_symbol_waits_for_its_own_indicators_and_on_bars_lists_the_ready_ones(make_bars: Make) -> None:
    calls: list[Any] = []

    class Several(Strategy):
        def on_start(self) -> None:
            self.indicator(from_bar(1), self.bars["A"].close)
            self.indicator(from_bar(3), self.bars["B"].close)

        def on_bar(self, bar: Any) -> None:
            calls.append((len(self.bars["A"].close), bar.symbol))

        def on_bars(self, bars: Any) -> None:
            calls.append((len(self.bars["A"].close), "+".join(bars)))

    backtest(Several, {"A": make_bars(CLOSES[:5]), "B": make_bars(CLOSES[:5])})
    assert calls == [
        (2, "A"), (2, "A"),
        (3, "A"), (3, "A"),
        (4, "A"), (4, "B"), (4, "A+B"),
        (5, "A"), (5, "B"), (5, "A+B"),
    ]  # fmt: skip


def test_a_symbol_that_never_gets_ready_ends_in_a_warning_with_indicator_length_and_bars(make_bars: Make) -> None:
    calls = []

    class Never(Strategy):
        def on_start(self) -> None:
            self.indicator(sma, self.bars["B"].close, 50)

        def on_bar(self, bar: Any) -> None:
            calls.append(bar.symbol)

    result = backtest(Never, {"A": make_bars(CLOSES), "B": make_bars(CLOSES)})
    assert calls == ["A"] * 6
    assert "on_bar of B was never called: indicator sma(50) has no value in 6 bars" in result.warnings
    alone = backtest(type("Alone", (Never,), {"on_start": lambda self: self.indicator(sma, self.bars.close, 7)}),
                     make_bars(CLOSES))  # fmt: skip
    assert "on_bar of ASSET was never called: indicator sma(7) has no value in 6 bars" in alone.warnings


def test_a_value_in_the_last_bar_is_in_time(make_bars: Make) -> None:
    calls = []

    class Last(Strategy):
        def on_start(self) -> None:
            self.indicator(sma, self.bars.close, 6)

        def on_bar(self, bar: Any) -> None:
            calls.append(bar.close)

    result = backtest(Last, make_bars(CLOSES))
    assert calls == [25.0]
    assert not any("never called" in text for text in result.warnings)


def test_a_long_warm_up_is_found_too(make_bars: Make) -> None:
    calls = []

    class Long(Strategy):
        def on_start(self) -> None:
            self.indicator(from_bar(2500), self.bars.close)

        def on_bar(self, bar: Any) -> None:
            calls.append(len(self.bars.close))

    backtest(Long, make_bars([1.0] * 3000))
    assert calls == list(range(2501, 3001))


# The report.


def test_plot_says_how_the_report_draws_it(make_bars: Make) -> None:
    class Plots(Strategy):
        def on_start(self) -> None:
            self.indicator(sma, self.bars.close, 2)
            self.indicator(lambda c: c * 0, self.bars.close, name="flat")
            self.indicator(lambda c: c * 0, self.bars.close, name="on prices", plot=True)
            self.indicator(sma, self.bars.close, 3, plot="panel")
            self.indicator(sma, self.bars.close, 4, plot=False)

    plots = backtest(Plots, make_bars(CLOSES)).record.plots
    assert [(plot.name, plot.overlay) for plot in plots] == [
        ("sma(2)", True), ("flat", False), ("on prices", True), ("sma(3)", False),
    ]  # fmt: skip


def test_an_unknown_way_to_draw_is_refused(make_bars: Make) -> None:
    text = refusal(make_bars(CLOSES), lambda self: self.indicator(sma, self.bars.close, 2, plot="below"))
    assert text == "indicator sma(2): plot='below'; give True or 'overlay', 'panel', or False"


def test_an_oscillator_is_never_drawn_over_prices_of_its_own_size(make_bars: Make) -> None:
    def stochastic(high: Any, low: Any, close: Any) -> Any:
        return 100 * (close - low) / np.where(high > low, high - low, 1.0)

    def middle_and_share(close: Any) -> Any:
        return close * 1.01, close / close.max() * 50

    class Plots(Strategy):
        def on_start(self) -> None:
            bars = self.bars
            swings = self.indicator(rsi, bars.close, 5)
            self.indicator(sma, swings, 3, name="mean of rsi")  # no price, although a mean
            self.indicator(stochastic, bars.high, bars.low, bars.close)
            self.indicator(sma, bars.volume, 3, name="volume")
            self.indicator(lambda close: close * 0 + 50, bars.close, name="level")
            self.indicator(middle_and_share, bars.close)
            means = self.indicator(ema, bars.close, 3)
            self.indicator(sma, means, 3, name="mean of ema")
            self.indicator(lambda *, price: price * 0.98, price=bars.close, name="below")
            self.indicator(rsi, bars.close, 5, plot=True, name="asked")
            self.indicator(atr, bars.high, bars.low, bars.close, 3)

    closes = [50 + 10 * math.sin(row / 3) for row in range(60)]
    plots = backtest(Plots, make_bars(closes)).record.plots
    over = [plot.name for plot in plots if plot.overlay]
    assert over == ["middle_and_share[0]", "ema(3)", "mean of ema", "below", "asked"]
    assert len(plots) == 12
