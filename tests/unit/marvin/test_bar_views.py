"""The bars of a run: columns by name, symbols by name, joins; and what is said where a name is missing."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import polars as pl
import pytest

from weaver import DataError, Strategy, StrategyError, SymbolRequired, UnknownSymbol, backtest
from weaver.core.errors import StrategyCrashed

Make = Callable[..., pl.DataFrame]


def on_first_bar(body: Callable[[Any], object]) -> type[Strategy]:
    """A strategy that runs `body(self)` at its first tick with bars."""

    class Once(Strategy):
        done = False

        def on_bars(self, bars: Any) -> None:
            if not self.done:
                self.done = True
                body(self)

    return Once


def on_start(body: Callable[[Any], object]) -> type[Strategy]:
    """A strategy that runs `body(self)` in on_start."""

    class Starts(Strategy):
        def on_start(self) -> None:
            body(self)

    return Starts


@pytest.fixture
def two(make_bars: Make) -> dict[str, pl.DataFrame]:
    return {"AAPL": make_bars([1, 2, 3]), "MSFT": make_bars([10, 20, 30])}


@pytest.mark.parametrize("name", ["close", "open", "ts", "volume", "timeframe", "resample", "symbol", "signal"])
def test_a_column_needs_its_symbol_where_the_run_has_several(two: dict[str, pl.DataFrame], name: str) -> None:
    def body(self: Any) -> None:
        with pytest.raises(
            SymbolRequired, match=rf"bars\.{name}: this run has 2 symbols; .* self\.bars\['AAPL'\]\.{name}"
        ):
            getattr(self.bars, name)

    backtest(on_first_bar(body), two)


def test_each_symbol_has_its_own_columns(two: dict[str, pl.DataFrame]) -> None:
    rows = []

    class Read(Strategy):
        def on_bars(self, bars: Any) -> None:
            rows.append((self.bars["AAPL"].close[-1], self.bars["MSFT"].close[-1], list(bars)))

    backtest(Read, two)
    assert rows == [(1, 10, ["AAPL", "MSFT"]), (2, 20, ["AAPL", "MSFT"]), (3, 30, ["AAPL", "MSFT"])]


def test_an_unknown_symbol_names_the_nearest(two: dict[str, pl.DataFrame], make_bars: Make) -> None:
    def body(self: Any) -> None:
        with pytest.raises(UnknownSymbol, match=r"'APPL' is not in this run; did you mean 'AAPL'\?"):
            self.bars["APPL"]

    backtest(on_first_bar(body), two)
    backtest(on_first_bar(body), {"AAPL": make_bars([1, 2])})


def test_an_unknown_symbol_with_nothing_near_lists_what_there_is(two: dict[str, pl.DataFrame]) -> None:
    def body(self: Any) -> None:
        with pytest.raises(UnknownSymbol, match=r"'XYZ' is not in this run; it has: AAPL, MSFT"):
            self.bars["XYZ"]

    backtest(on_first_bar(body), two)


def test_the_only_symbol_may_be_named(make_bars: Make) -> None:
    def body(self: Any) -> None:
        assert self.bars["AAPL"].close[-1] == self.bars.close[-1] == 5.0
        assert self.bars.symbol == "AAPL"
        assert str(self.bars.timeframe) == "1m"

    backtest(on_first_bar(body), {"AAPL": make_bars([5, 6])})


def test_the_symbols_can_be_listed(two: dict[str, pl.DataFrame]) -> None:
    def body(self: Any) -> None:
        assert list(self.bars) == list(self.symbols) == ["AAPL", "MSFT"]
        assert len(self.bars) == 2
        assert "MSFT" in self.bars

    backtest(on_first_bar(body), two)


def test_further_numeric_columns_are_views_by_their_lower_case_name(make_bars: Make) -> None:
    seen = []

    class Signal(Strategy):
        def on_bar(self, bar: Any) -> None:
            seen.append((self.bars.signal[-1], self.bars.big_one[-1]))

    backtest(Signal, make_bars([1, 2, 3], Signal=[7, 8, None], **{"Big One": [True, False, True]}))
    assert seen[:2] == [(7.0, 1.0), (8.0, 0.0)]
    assert np.isnan(seen[2][0])


@pytest.mark.parametrize("name", ["ts", "timeframe", "resample", "join"])
def test_a_column_that_no_view_could_have_the_name_of_is_refused(make_bars: Make, name: str) -> None:
    with pytest.raises(DataError, match=rf"^ASSET: self\.bars\.{name} is something else; rename the column '{name}'$"):
        backtest(type("Idle", (Strategy,), {}), make_bars([1, 2], **{name: [3.0, 4.0]}))


def test_an_unknown_column_names_the_nearest(make_bars: Make) -> None:
    def body(self: Any) -> None:
        with pytest.raises(AttributeError, match=r"the bars of ASSET have no column 'clos'; did you mean 'close'\?"):
            self.bars.clos  # noqa: B018
        with pytest.raises(AttributeError, match=r"no column 'rsi'; they have: open, high, low, close, volume, signal"):
            self.bars.rsi  # noqa: B018

    backtest(on_first_bar(body), make_bars([1, 2], signal=[1, 2]))


def test_a_view_is_made_once_and_is_the_same_ever_after(make_bars: Make) -> None:
    seen = set()

    class Same(Strategy):
        def on_bar(self, bar: Any) -> None:
            seen.add(id(self.bars.close))

    backtest(Same, make_bars([1, 2, 3]))
    assert len(seen) == 1


# Joins.


def test_a_join_has_the_bars_that_all_have(make_bars: Make) -> None:
    rows = []

    class Pair(Strategy):
        def on_start(self) -> None:
            self.both = self.bars.join("A", "B")
            self.spread = self.indicator(lambda a, b: a - b, self.both["A"].close, self.both["B"].close)

        def on_bar(self, bar: Any) -> None:
            rows.append((bar.symbol, bar.close, len(self.both), self.both["A"].close[-1], self.spread[-1]))

    frames = {"A": make_bars([10, 11, 12, 13], rows=[0, 1, 3, 4]), "B": make_bars([1, 2, 3, 4], rows=[1, 2, 3, 4])}
    backtest(Pair, frames)
    # Nobody's on_bar is called before the spread, which is an indicator of both, has a value.
    assert rows == [
        ("A", 11, 1, 11, 10), ("B", 1, 1, 11, 10),
        ("B", 2, 1, 11, 10),
        ("A", 12, 2, 12, 9), ("B", 3, 2, 12, 9),
        ("A", 13, 3, 13, 9), ("B", 4, 3, 13, 9),
    ]  # fmt: skip


def test_a_join_of_what_never_trades_together_is_empty(make_bars: Make) -> None:
    lengths = []

    class Pair(Strategy):
        def on_start(self) -> None:
            self.both = self.bars.join("A", "B")
            self.indicator(lambda a, b: a - b, self.both["A"].close, self.both["B"].close, name="spread")

        def on_stop(self) -> None:
            lengths.append((len(self.both), len(self.both["A"].close)))

    result = backtest(Pair, {"A": make_bars([1, 2], rows=[0, 1]), "B": make_bars([1, 2], rows=[4, 5])})
    assert lengths == [(0, 0)]
    assert any("A, B was never called: indicator spread has no value in 0 bars" in text for text in result.warnings)


@pytest.mark.parametrize("symbols", [("AAPL",), (), ("AAPL", "AAPL")])
def test_a_join_needs_two_different_symbols(two: dict[str, pl.DataFrame], symbols: tuple[str, ...]) -> None:
    def body(self: Any) -> None:
        with pytest.raises(StrategyError, match="at least two different symbols"):
            self.bars.join(*symbols)

    backtest(on_start(body), two)


def test_a_join_names_what_is_not_in_it(two: dict[str, pl.DataFrame]) -> None:
    def body(self: Any) -> None:
        with pytest.raises(UnknownSymbol, match=r"'MFST' is not in this run; did you mean 'MSFT'\?"):
            self.bars.join("AAPL", "MFST")
        both = self.bars.join("AAPL", "MSFT")
        with pytest.raises(UnknownSymbol, match=r"'APPL' is not in this join; did you mean 'AAPL'\?"):
            both["APPL"]
        assert both.symbols == ("AAPL", "MSFT")

    backtest(on_start(body), two)


def test_a_run_with_one_symbol_has_nothing_to_join(make_bars: Make) -> None:
    def body(self: Any) -> None:
        with pytest.raises(StrategyError, match="there is nothing to join"):
            self.bars.join("A", "B")

    backtest(on_start(body), {"A": make_bars([1, 2])})


def test_a_join_is_made_in_on_start_only(two: dict[str, pl.DataFrame]) -> None:
    with pytest.raises(StrategyCrashed, match="resample and join are for on_start only"):
        backtest(on_first_bar(lambda self: self.bars.join("AAPL", "MSFT")), two)


def test_a_symbol_or_column_is_not_looked_for_under_a_private_name(two: dict[str, pl.DataFrame]) -> None:
    def body(self: Any) -> None:
        for bars in (self.bars, self.bars["AAPL"]):
            with pytest.raises(AttributeError):
                bars._repr_mimebundle_  # noqa: B018 - what a notebook asks every object for

    backtest(on_first_bar(body), two)
