"""The increasing orders of one target_weights call share one factor where they cannot all be paid for."""

from __future__ import annotations

from random import Random
from typing import Any

import pytest

import builders
from weaver import Instrument, Strategy, backtest
from weaver.costs import CommissionPerShare


class Equal(Strategy):
    """Gives equal weights, or `_weights`, on the bars with these places."""

    _weights: Any = ()
    _places: Any = (1,)

    def on_start(self) -> None:
        self.tick = 0

    def on_bars(self, bars: Any) -> None:
        self.tick += 1
        if self.tick in self._places:
            self.target_weights(dict(self._weights) or dict.fromkeys(self.symbols, 1 / len(self.symbols)))


def gap_up(count: int, gap: float = 1.05) -> dict[str, Any]:
    closes = [100.0, 100.0 * gap, 100.0 * gap]
    return {f"S{place:02}": builders.frame(closes, opens=closes) for place in range(count)}


def test_a_common_gap_up_cuts_all_orders_of_the_call_by_the_same_factor_and_says_so() -> None:
    result = backtest(Equal, gap_up(20))
    assert result.fills["quantity"].to_list() == pytest.approx([100_000 / 20 / 105] * 20, abs=1e-7)
    assert len(set(result.fills["quantity"].to_list())) == 1
    assert result.equity["cash"].min() >= 0.0
    (warning,) = [text for text in result.warnings if "target_weights" in text]
    assert "of 1 call were cut by a common factor" in warning
    assert "to 95.24%" in warning


def test_a_call_that_can_be_paid_for_is_not_cut_and_nothing_is_said() -> None:
    result = backtest(Equal, gap_up(20, gap=0.99))
    assert set(result.fills["quantity"].to_list()) == {50.0}
    assert not [text for text in result.warnings if "target_weights" in text]


def test_at_acceptance_weights_above_the_cash_share_a_factor_by_their_expected_prices() -> None:
    class Uneven(Equal):
        _weights = (("S00", 0.9), ("S01", 0.6), ("S02", 0.3))

    result = backtest(Uneven, gap_up(3, gap=1.0), commission=0.01)
    quantities = dict(zip(result.fills["symbol"], result.fills["quantity"], strict=True))
    assert quantities["S00"] == pytest.approx(900 / 1.8 / 1.01, abs=1e-6)
    assert quantities["S01"] / quantities["S00"] == pytest.approx(2 / 3, abs=1e-9)
    assert quantities["S02"] / quantities["S00"] == pytest.approx(1 / 3, abs=1e-9)


def test_what_the_reducing_orders_of_a_call_bring_is_spent_by_the_increasing_ones() -> None:
    class Rotates(Equal):
        def on_bars(self, bars: Any) -> None:
            self.tick += 1
            if self.tick == 1:
                self.target_weights({"S02": 1.0})
            elif self.tick == 2:
                self.target_weights({"S00": 0.6, "S01": 0.4, "S02": 0.0})

    frames = {symbol: builders.frame([100.0] * 5) for symbol in ("S00", "S01", "S02")}
    result = backtest(Rotates, frames)
    assert result.fills["quantity"].to_list() == [1000.0, 600.0, 400.0, 1000.0]


def test_at_the_open_only_the_symbols_with_a_bar_there_share_the_factor() -> None:
    """S01 has no bar on the second day: it is cut on the third, to what the others have left."""
    frames = gap_up(3)
    closes = [100.0, 105.0, 105.0]
    frames["S01"] = builders.frame(closes, opens=closes, rows=[0, 2, 3])
    result = backtest(Equal, frames)
    quantities = dict(zip(result.fills["symbol"], result.fills["quantity"], strict=True))
    assert quantities["S00"] == quantities["S02"] == pytest.approx(333.33333333)
    assert quantities["S01"] == pytest.approx((100_000 - 2 * 333.33333333 * 105) / 105, abs=1e-7)
    assert len([text for text in result.warnings if "of 1 call" in text]) == 1


def test_other_orders_keep_their_call_order_and_the_call_has_the_place_of_its_first() -> None:
    class Both(Equal):
        def on_bars(self, bars: Any) -> None:
            self.tick += 1
            if self.tick == 1:
                self.buy(400, symbol="S02")
                self.target_weights({"S00": 0.5, "S01": 0.5})
                self.buy(400, symbol="S02", tag="late")

    frames = {symbol: builders.frame([100.0] * 4) for symbol in ("S00", "S01", "S02")}
    result = backtest(Both, frames)
    quantities = {(s, t): q for s, t, q in result.fills.select("symbol", "tag", "quantity").rows()}
    assert quantities == {("S00", None): 300.0, ("S01", None): 300.0, ("S02", None): 400.0}
    assert result.orders["status"].to_list().count("rejected") == 1


def test_an_order_that_is_cut_to_less_than_a_lot_is_rejected_and_says_of_how_much() -> None:
    frames = {"BIG": builders.frame([60_000.0] * 4), "SMALL": builders.frame([100.0] * 4)}

    class Over(Equal):
        _weights = (("BIG", 0.6), ("SMALL", 0.6))

    result = backtest(Over, frames, instrument=Instrument(lot=1))
    rows = dict(result.orders.select("symbol", "status").rows())
    assert rows["BIG"] == "rejected"
    (reason,) = [text for text in result.orders["reason"].to_list() if text and "lot" in text]
    assert reason.startswith("cannot be paid for: ")
    assert "of 1 BIG can, which is less than one lot of 1" in reason


def test_a_short_that_cash_only_forbids_does_not_hold_up_the_other_orders_of_the_call() -> None:
    class LongShort(Equal):
        _weights = (("S00", 0.5), ("S01", -0.5))

    result = backtest(LongShort, gap_up(2, gap=1.0), cash_only=True)
    assert result.fills.select("symbol", "quantity").rows() == [("S00", 500.0)]
    assert "cash_only allows no short positions" in result.orders["reason"].to_list()[1]


def test_target_weights_leaves_out_a_symbol_that_has_not_started_and_says_so() -> None:
    class Always(Equal):
        _places = range(1, 100)

    frames = {"A": builders.frame([100.0] * 6), "LATE": builders.frame([50.0] * 2, rows=[3, 4])}
    result = backtest(Always, frames)
    assert set(result.fills["symbol"].to_list()) == {"A", "LATE"}
    (warning,) = [text for text in result.warnings if "left out" in text]
    assert "no close yet, first at: LATE (" in warning


@pytest.mark.parametrize("seed", range(25))
def test_permuting_the_symbols_changes_no_quantity_by_more_than_a_lot(seed: int) -> None:
    source = Random(seed)
    symbols = [f"S{place:02}" for place in range(source.randint(2, 12))]
    lot = source.choice(["1", "0.01", "0.00000001"])
    frames, weights = {}, {}
    for symbol in symbols:
        price = source.choice([12.5, 48.0, 103.7, 950.0])
        closes = [price * source.uniform(0.9, 1.1) for _ in range(3)]
        opens = [closes[0], *[close * source.uniform(0.98, 1.1) for close in closes[:2]]]
        frames[symbol] = builders.frame(closes, opens=opens)
        weights[symbol] = source.uniform(0.2, 1.0)
    scale = source.choice([1.0, 1.0, 1.4, 2.5]) / sum(weights.values())
    short = source.randint(0, 2) == 0
    settings: dict[str, Any] = {
        "commission": source.choice([0.0, 0.002, CommissionPerShare(0.01, minimum=1.0)]),
        "leverage": source.choice([1.0, 2.0]),
        "slippage": source.choice([0.0, 0.001]),
        "instrument": Instrument(lot=lot),
    }

    signed = {s: w * scale * (-1 if short and place % 3 == 0 else 1) for place, (s, w) in enumerate(weights.items())}

    class Weighted(Equal):
        _weights = tuple(signed.items())

    def quantities(order: list[str]) -> dict[str, float]:
        result = backtest(Weighted, {symbol: frames[symbol] for symbol in order}, **settings)
        signs = {"buy": 1, "sell": -1}
        return {s: signs[side] * q for s, side, q in result.fills.select("symbol", "side", "quantity").rows()}

    first = quantities(symbols)
    for _ in range(3):
        permuted = quantities(source.sample(symbols, len(symbols)))
        for symbol in symbols:
            assert abs(first.get(symbol, 0.0) - permuted.get(symbol, 0.0)) <= float(lot) * (1 + 1e-9)
