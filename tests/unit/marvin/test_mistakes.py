"""Common mistakes in a strategy are errors that name the corrected code: misspelt callbacks, wrong calls, assignments."""

from __future__ import annotations

import numpy as np
import polars as pl
import pytest

from weaver import OrderError, Strategy, StrategyCrashed, StrategyError, Trail, backtest, check, synthetic_bars
from weaver.indicators import sma

BARS = pl.DataFrame(
    {
        "timestamp": pl.datetime_range(pl.datetime(2024, 1, 1), pl.datetime(2024, 1, 30), "1d", time_zone="UTC", eager=True),
        "open": 100.0, "high": 101.0, "low": 99.0, "close": 100.0, "volume": 1000.0,
    }
)  # fmt: skip


def run(action, *, start=None) -> None:
    """A backtest whose on_bar (or on_start) is `action(self)`."""

    class Acts(Strategy):
        def on_start(self):
            self.average = self.indicator(sma, self.bars.close, 3)
            if start is not None:
                start(self)

        def on_bar(self, bar):
            action(self)

    backtest(Acts, BARS)


def error_of(action, **options) -> BaseException:
    with pytest.raises(StrategyCrashed) as raised:
        run(action, **options)
    assert raised.value.__cause__ is not None
    return raised.value.__cause__


# Callbacks.


@pytest.mark.parametrize(
    ("names", "hint"),
    [
        (["next"], "rename its method 'next' to 'on_bar'"),
        (["init", "next"], "rename its method 'init' to 'on_start'"),
        (["handle_data"], "'on_bar'"),
        (["on_Bar"], "did you mean 'on_bar'?"),
        (["onBar"], "did you mean 'on_bar'?"),
        (["on_bar", "on_filled"], "on_filled is not a callback, so it would never be called; did you mean 'on_fill'?"),
        (["on_bar", "on_trade"], "did you mean 'on_fill'?"),
        (["on_start", "On_Bar"], "did you mean 'on_bar'?"),
    ],
)
def test_a_method_that_would_never_be_called_is_an_error_with_the_nearest_callback(names, hint):
    methods = {name: (lambda self, *arguments: None) for name in names}
    wrong = type("Wrong", (Strategy,), methods)
    for run_it in (backtest, check):
        with pytest.raises(StrategyError) as raised:
            run_it(wrong, BARS)
        assert hint in str(raised.value)


@pytest.mark.parametrize("value", [5, "next", None, property(lambda self: None)])
def test_a_callback_that_is_not_a_method_is_an_error_with_its_signature(value):
    with pytest.raises(StrategyError, match=r"not a method; write def on_bar\(self, bar\)"):
        type("Wrong", (Strategy,), {"on_bar": value})


def test_a_base_class_with_helpers_may_leave_the_callbacks_to_a_derived_class():
    class Base(Strategy):
        on_level: float = 5.0  # a parameter, not a method

        def size(self):
            return 2

    class Derived(Base):
        def on_bar(self, bar):
            if not self.position:
                self.buy(self.size())

    assert len(backtest(Derived, BARS).fills) == 1
    with pytest.raises(StrategyError, match="Base overrides no callback"):
        backtest(Base, BARS)


def test_a_class_without_methods_runs_with_a_warning_and_leaves_nothing_to_judge():
    class Empty(Strategy):
        days: int = 5

    result = backtest(Empty, BARS)
    assert "Empty has no callback such as on_bar, so it gives no orders" in result.warnings
    report = check(Empty, BARS)
    assert (report.ok, report.proved) == (True, False)
    assert "nothing to judge" in report.verdict


def test_next_beside_on_start_is_a_warning():
    class Ported(Strategy):
        def on_start(self):
            self.average = self.indicator(sma, self.bars.close, 3)

        def next(self):
            self.buy(1)

    assert "Ported.next is not called by Weaver; the callback for each bar is on_bar" in backtest(Ported, BARS).warnings


def test_a_callback_that_is_assigned_in_a_method_is_an_error():
    class Assigns(Strategy):
        def on_start(self):
            self.on_bar = lambda bar: self.buy(1)

    with pytest.raises(
        StrategyError, match=r"Assigns.on_start assigns self.on_bar \(line \d+\).* as a method of the class"
    ):
        backtest(Assigns, BARS)


# Order calls.


@pytest.mark.parametrize(
    ("action", "hint"),
    [
        (lambda self: self.buy("ASSET", 10), "self.buy(10, symbol='ASSET')"),
        (lambda self: self.buy(10, "ASSET"), "self.buy(10, symbol='ASSET')"),
        (lambda self: self.buy("ASSET"), "self.buy(10, symbol='ASSET')"),
        (lambda self: self.sell("ASSET", 5), "self.sell(5, symbol='ASSET')"),
        (lambda self: self.buy(10, 95.0), "prices are keywords: self.buy(10, limit=95.0) or self.buy(10, stop=95.0)"),
        (lambda self: self.buy(), "the quantity is missing: self.buy(10)"),
        (lambda self: self.buy(size=10), "buy has no argument 'size'; did you mean quantity=?"),
        (lambda self: self.buy(1, price=95), "did you mean limit=?"),
        (lambda self: self.buy(1, stoploss=95), "did you mean stop_loss=?"),
        (lambda self: self.buy(1, stop_los=95), "did you mean stop_loss=?"),
        (lambda self: self.close("ASSET"), "self.close(symbol='ASSET')"),
        (lambda self: self.close(1, "ASSET"), "self.close(1, symbol='ASSET')"),
        (lambda self: self.target(0.5), "self.target(weight=0.5) or self.target(quantity=0.5)"),
        (lambda self: self.target("ASSET", 0.5), "self.target(weight=0.5, symbol='ASSET')"),
        (lambda self: self.target(percent=0.5), "did you mean weight=?"),
        (lambda self: self.target_weights("ASSET", 0.5), "self.target_weights({'ASSET': 0.5})"),
        (lambda self: self.target_weights(), "self.target_weights({'AAPL': 0.5})"),
    ],
)
def test_a_wrong_order_call_is_an_order_error_with_the_corrected_call(action, hint):
    error = error_of(action)
    assert isinstance(error, OrderError)
    assert hint in str(error)


@pytest.mark.parametrize(
    ("action", "hint"),
    [
        (
            lambda self: self.buy("ASSET", quantity=10),
            "the call is self.buy(quantity, symbol=..., limit=..., stop=..., ",
        ),
        (lambda self: self.buy(1, limit=90.0).modify(5), "the call is order.modify(limit=..., stop=..., quantity=...)"),
    ],
)
def test_a_call_that_python_refuses_is_reported_with_its_arguments(action, hint):
    with pytest.raises(StrategyCrashed) as raised:
        run(action)
    assert hint in str(raised.value)


# Series instead of values.


@pytest.mark.parametrize(
    ("action", "hint"),
    [
        (lambda self: self.bars.close > self.average, "sma(3)[-1] < ASSET.close[-1]"),
        (lambda self: self.bars.close <= 5, "ASSET.close[-1] <= 5"),
        (lambda self: self.bars.close[-1] > self.average, "sma(3)[-1] < 100.0"),
        (lambda self: self.bars.close - self.average, "ASSET.close[-1] - sma(3)[-1]"),
        (lambda self: 2 * self.average, "2 * sma(3)[-1]"),
        (lambda self: self.average == 100.0, "sma(3)[-1] == 100.0"),
        (lambda self: self.average != self.bars.close, "sma(3)[-1] != ASSET.close[-1]"),
        (lambda self: -self.average, "-sma(3)[-1]"),
        (lambda self: abs(self.average), "abs(sma(3)[-1])"),
        (lambda self: round(self.average), "round(sma(3)[-1])"),
        (lambda self: f"{self.average:.2f}", "{sma(3)[-1]:.2f}"),
        (lambda self: self.average & self.average, "sma(3)[-1] & sma(3)[-1]"),
        (lambda self: float(self.average), "sma(3)[-1]"),
        (lambda self: self.buy(self.average), "sma(3)[-1]"),
        (lambda self: self.buy(1, limit=self.average), "sma(3)[-1]"),
    ],
)
def test_a_view_in_place_of_a_value_is_a_strategy_error_with_the_corrected_expression(action, hint):
    error = error_of(action)
    assert isinstance(error, StrategyError)
    assert hint in str(error)


def test_views_still_work_as_arrays_and_keys():
    def action(self):
        view = self.average
        assert view == view
        assert {view: 1}[view] == 1
        assert view in [self.average]
        assert np.nanmean(view) == 100.0
        assert (np.asarray(view)[-1:] * 2).tolist() == [200.0]
        assert bool(view)

    run(action)


def test_rows_and_assignments_of_bars_are_refused():
    def row(self):
        return self.bars[-1]

    def assign(self):
        self.bars.close = 1

    assert "the newest close is self.bars.close[-1]" in str(error_of(row))
    assert "self.bars.close cannot be assigned" in str(error_of(assign))


def test_an_indicator_without_a_function_is_named():
    def start(self):
        self.indicator(self.bars.close, sma, 20)

    error = error_of(lambda self: None, start=start)
    assert isinstance(error, StrategyError)
    assert "self.indicator(sma, self.bars.close, 20)" in str(error)


# Assignments to what Weaver sets.


def assigns_position(self):
    self.position = 5


def test_assigning_what_weaver_sets_is_an_error_that_names_the_line():
    class Sets(Strategy):
        def on_bar(self, bar):
            self.position = 5

    class Adds(Strategy):
        def on_bar(self, bar):
            self.position += 5

    class Nested(Strategy):
        def on_bar(self, bar):
            def inner():
                self.cash = 0

            inner()

    class Unpacks(Strategy):
        def on_bar(self, bar):
            self.bars, self.other = None, 1

    class Deletes(Strategy):
        def on_bar(self, bar):
            del self.positions

    for cls, name in (
        (Sets, "position"),
        (Adds, "position"),
        (Nested, "cash"),
        (Unpacks, "bars"),
        (Deletes, "positions"),
    ):
        with pytest.raises(
            StrategyError, match=rf"{cls.__name__}.on_bar assigns self.{name} \(line \d+\), which Weaver sets"
        ):
            backtest(cls, BARS)


def test_an_assignment_that_bytecode_does_not_show_is_noticed_too():
    class Hides(Strategy):
        def on_bar(self, bar):
            assigns_position(self)

    class ByName(Strategy):
        def on_bar(self, bar):
            setattr(self, "position", 5)  # noqa: B010

    for cls in (Hides, ByName):
        with pytest.raises(StrategyError, match=r"self\.position was set to 5 by the strategy"):
            backtest(cls, BARS)


def test_attributes_and_parameters_of_a_strategy_keep_working():
    class Own(Strategy):
        days: int = 3
        _levels: tuple[int, ...] = ()

        def __init__(self):
            self.position_size = 2

        def on_start(self):
            self.days = self.days + 1
            self._levels = (1, 2)
            self.previous_position = 0.0

        def on_bar(self, bar):
            other = Holder()
            other.position = 5
            self.previous_position = self.position
            if not self.position:
                self.buy(self.position_size)

    class Holder:
        position = 0

    result = backtest(Own, BARS, params={"days": 7})
    assert [fill.quantity for fill in result.record.fills] == [2.0]


@pytest.mark.parametrize(
    ("name", "value", "hint"),
    [
        ("quantity", 99, "order.modify(quantity=...)"),
        ("limit", 95.0, "order.modify(limit=...)"),
        ("stop", 95.0, "order.modify(stop=...)"),
        ("status", "cancelled", "order.cancel()"),
        ("stop_loss", 95.0, "order.stop_loss.modify(stop=...)"),
        ("filled_quantity", 1.0, "place a new order"),
        ("tag", "x", "place a new order"),
    ],
)
def test_assigning_to_an_order_is_an_order_error_with_the_way_to_change_it(name, value, hint):
    error = error_of(lambda self: setattr(self.buy(1, limit=90.0), name, value))
    assert isinstance(error, OrderError)
    assert f"order.{name} = {value!r} has no effect" in str(error)
    assert hint in str(error)


# Fractions in place of prices.


@pytest.mark.parametrize(
    ("action", "hint"),
    [
        (lambda self: self.buy(1, stop_loss=0.05), "for 5 % write stop_loss=95 or use Trail(percent=5)"),
        (lambda self: self.buy(1, stop_loss=5), "for 5 below 100 write stop_loss=95 or use Trail(amount=5)"),
        (lambda self: self.buy(1, take_profit=0.1), "the current price is 100; for 10 % write take_profit=110"),
        (lambda self: self.buy(1, take_profit=5), "for 5 above 100 write take_profit=105"),
        (lambda self: self.buy(1, stop=0.05), "for 5 % write stop=105 or use Trail(percent=5)"),
        (lambda self: self.sell(1, take_profit=0.1), "for 10 % write take_profit=90"),
        (
            lambda self: self.buy(1, limit=98.0, stop_loss=0.02),
            "stop_loss=0.02 is a price, and the current price is 98",
        ),
        (lambda self: self.sell(1, stop_loss=0.05), "for 5 % write stop_loss=105 or use Trail(percent=5)"),
        (lambda self: self.sell(1, stop=0.05), "for 5 % write stop=95 or use Trail(percent=5)"),
        (lambda self: self.close(stop=0.05) if self.position else self.buy(1), "close: stop=0.05 is a price"),
    ],
)
def test_a_fraction_or_distance_in_place_of_a_price_is_an_order_error(action, hint):
    error = error_of(action)
    assert isinstance(error, OrderError)
    assert hint in str(error)
    assert not ("take_profit" in hint and "Trail" in str(error)), "a profit exit cannot trail"


def test_a_stop_cannot_be_modified_to_a_fraction_either():
    def action(self):
        if not self.orders:
            self.buy(1, limit=90.0, stop_loss=85.0).stop_loss.modify(stop=0.05)

    assert "modify: stop=0.05 is a price" in str(error_of(action))


def test_far_but_possible_prices_pass():
    def action(self):
        if not self.position and not self.orders:
            self.buy(1, stop_loss=10.0, take_profit=100_000.0)
            self.buy(1, limit=0.05)
            self.buy(1, stop_loss=Trail(percent=5))

    run(action)


def test_prices_below_one_are_prices_where_the_instrument_trades_there():
    class Cheap(Strategy):
        def on_bar(self, bar):
            if not self.position and not self.orders:
                self.buy(10, stop_loss=bar.close * 0.95)

    assert len(backtest(Cheap, synthetic_bars(30, price=0.05)).fills) >= 1
