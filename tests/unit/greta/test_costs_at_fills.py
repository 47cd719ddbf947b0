"""Costs and sizes at the fill: who is a maker, commissions with a minimum, slippage by volume, steps, lots, multipliers."""

from __future__ import annotations

from typing import Any

import pytest

from weaver.core.instrument import Instrument
from weaver.greta.costs import (
    CommissionBps,
    CommissionFixed,
    CommissionPerShare,
    SlippageBps,
    SlippageSquareRoot,
    SlippageSteps,
    SlippageVolumeShare,
)

FLAT = (100.0, 100.0, 100.0, 100.0)
MAKER = CommissionBps(10.0, maker=-1.0)


def commissions(made: Any) -> list[float]:
    return [fill.commission for fill in made.engine.broker.fills]


def test_a_limit_reached_inside_a_bar_is_a_maker_and_a_market_order_is_a_taker(
    run: Any, bars: Any, at_bar: Any
) -> None:
    made = run(
        bars(FLAT, (100.0, 104.0, 96.0, 100.0)),
        commission=MAKER,
        on_bar=at_bar({0: lambda self: (self.buy(1), self.buy(1, limit=98), self.buy(1, stop=103))}),
    )
    assert [fill[:1] + fill[3:] for fill in made.fills] == [(1, 100.0), (2, 98.0), (3, 103.0)]
    # 10 bps of 100, -1 bp of 98, 10 bps of 103
    assert commissions(made) == pytest.approx([0.1, -0.0098, 0.103])


def test_a_limit_that_fills_at_its_first_open_never_rested_and_at_a_later_one_it_did(
    run: Any, bars: Any, at_bar: Any
) -> None:
    low = (97.0, 97.0, 97.0, 97.0)
    first = run(bars(FLAT, low), commission=MAKER, on_bar=at_bar({0: lambda self: self.buy(1, limit=98)}))
    later = run(bars(FLAT, FLAT, low), commission=MAKER, on_bar=at_bar({0: lambda self: self.buy(1, limit=98)}))
    assert first.fills == later.fills == [(1, "buy", 1.0, 97.0)]
    assert commissions(first) == pytest.approx([0.097])
    assert commissions(later) == pytest.approx([-0.0097])


def test_a_bracket_leg_born_at_the_open_is_a_taker_there_and_at_the_close_everybody_is(
    run: Any, bars: Any, at_bar: Any
) -> None:
    beyond = (107.0, 107.0, 107.0, 107.0)
    made = run(
        bars(FLAT, beyond, FLAT),
        commission=MAKER,
        on_bar=at_bar(
            {0: lambda self: self.buy(1, take_profit=105), 1: lambda self: self.buy(1, limit=100, tif="at_close")}
        ),
    )
    assert commissions(made) == pytest.approx([0.107, 0.107, 0.1])


def test_a_commission_per_share_has_its_minimum_and_its_cap(run: Any, bars: Any, at_bar: Any) -> None:
    commission = CommissionPerShare(0.01, minimum=1.0, maximum_share=0.005)
    made = run(
        bars(FLAT, FLAT),
        cash=1e6,
        commission=commission,
        on_bar=at_bar({0: lambda self: (self.buy(1), self.buy(3), self.buy(500))}),
    )
    # 0.5 % of 100 caps the minimum; 1.0 is the minimum for 3; 500 * 0.01 = 5.
    assert commissions(made) == pytest.approx([0.5, 1.0, 5.0])


def test_commissions_and_slippages_add_up(run: Any, bars: Any, at_bar: Any) -> None:
    made = run(
        bars(FLAT, FLAT),
        commission=CommissionFixed(2.0) + CommissionBps(10.0),
        slippage=SlippageBps(50.0) + SlippageBps(50.0),
        on_bar=at_bar({0: lambda self: self.buy(1)}),
    )
    assert made.fills[0][3] == pytest.approx(101.0)
    assert commissions(made) == pytest.approx([2.101])
    assert made.engine.account.cash == pytest.approx(10_000 - 101 - 2.101)


def test_slippage_by_volume_share_is_that_of_the_bar_it_fills_in(run: Any, bars: Any, at_bar: Any) -> None:
    made = run(
        bars((*FLAT, 1.0), (*FLAT, 100.0)),
        slippage=SlippageVolumeShare(0.1),
        on_bar=at_bar({0: lambda self: self.buy(50)}),
        cash=1e6,
    )
    # a half of the volume: 100 * 0.1 * 0.25
    assert made.fills[0][3] == pytest.approx(102.5)


def test_square_root_impact_and_a_bar_without_volume(run: Any, bars: Any, at_bar: Any) -> None:
    slippage = SlippageSquareRoot(volatility=0.02)
    for volume, price in [(400.0, 100 - 2 * 0.5), (0.0, 100 - 2.0)]:
        made = run(
            bars(FLAT, (*FLAT, volume)), slippage=slippage, cash=1e6, on_bar=at_bar({0: lambda self: self.sell(100)})
        )
        assert made.fills[0][3] == pytest.approx(price)


def test_slippage_in_steps_is_counted_in_the_instruments_price_steps(run: Any, bars: Any, at_bar: Any) -> None:
    made = run(
        bars(FLAT, FLAT, instrument=Instrument(lot=1, price_step=0.25)),
        slippage=SlippageSteps(2),
        spread=0.01,
        on_bar=at_bar({0: lambda self: self.sell(1)}),
    )
    assert made.fills[0][3] == pytest.approx(100 - 0.5 - 0.5)


def test_slippage_may_leave_the_bar_and_limits_never_slip(run: Any, bars: Any, at_bar: Any) -> None:
    made = run(
        bars(FLAT, FLAT),
        slippage=SlippageBps(100.0),
        on_bar=at_bar({0: lambda self: (self.buy(1), self.buy(1, limit=100), self.buy(1, stop=100, limit=100.5))}),
    )
    assert [price for *_, price in made.fills] == [101.0, 100.0, 100.0]


def test_a_limit_is_rounded_to_the_passive_side_and_a_stop_away_from_the_market(
    run: Any, bars: Any, at_bar: Any
) -> None:
    def ask(self: Any) -> None:
        self.buy(1, limit=98.37)
        self.sell(1, limit=101.12)
        self.buy(1, stop=102.01)
        self.sell(1, stop=97.99)

    made = run(bars(FLAT, FLAT, instrument=Instrument(lot=1, price_step=0.25)), on_bar=at_bar({0: ask}))
    assert [order.limit or order.stop for order in made.orders] == [98.25, 101.25, 102.25, 97.75]


def test_a_quantity_is_cut_to_whole_lots_and_says_so_and_less_than_one_is_rejected(
    run: Any, bars: Any, at_bar: Any
) -> None:
    made = run(
        bars(FLAT, FLAT, instrument=Instrument(lot="0.1")),
        on_bar=at_bar({0: lambda self: (self.buy(1.27), self.buy(0.09), self.buy(0.3))}),
    )
    assert made.fills == [(1, "buy", 1.2, 100.0), (3, "buy", 0.3, 100.0)]
    assert made.statuses == ["filled", "rejected", "filled"]
    assert "1.27 cut to 1.2" in made.orders[0].note
    assert "less than one lot of 0.1" in made.orders[1].reason


def test_what_was_bought_and_sold_again_is_exactly_zero(run: Any, bars: Any, at_bar: Any) -> None:
    made = run(
        bars(*[FLAT] * 5, instrument=Instrument(lot="0.1")),
        on_bar=at_bar({0: lambda self: self.buy(0.1), 1: lambda self: self.buy(0.2), 2: lambda self: self.sell(0.3)}),
    )
    assert made.engine.account.quantity == [0.0]
    assert made.engine.account.cash == pytest.approx(10_000.0)


def test_a_contracts_multiplier_scales_notional_commission_and_margin(run: Any, bars: Any, at_bar: Any) -> None:
    instrument = Instrument(lot=1, multiplier=50.0)
    up = (102.0, 102.0, 102.0, 102.0)
    made = run(
        bars(FLAT, FLAT, up, instrument=instrument),
        commission=CommissionBps(10.0),
        cash=12_000.0,
        on_bar=at_bar({0: lambda self: self.buy(2), 1: lambda self: self.buy(1)}),
    )
    # 2 * 100 * 50 = 10,000, commission 10; a third contract costs 5,100 more.
    assert made.fills == [(1, "buy", 2.0, 100.0)]
    assert made.statuses == ["filled", "rejected"]
    assert made.engine.account.cash == pytest.approx(1_990.0)
    assert made.engine.account.equity([102.0]) == pytest.approx(12_190.0)


def test_the_worse_of_two_exits_is_so_after_its_costs(run: Any, bars: Any, at_bar: Any) -> None:
    # Long 10 at 100 and C = 100. Stop at 99 for 3 lots is worth -3, limit at 101 for 10 lots +10 before costs;
    # a fixed cost of 20 for each makes no difference, a commission of 50 % of the limit's larger notional does.
    def exits(self: Any) -> None:
        self.close(10, limit=101)
        self.close(3, stop=99)

    def first(commission: Any) -> int:
        made = run(
            bars(FLAT, FLAT, (100.0, 101.0, 99.0, 100.0)),
            cash=1e6,
            commission=commission,
            on_bar=at_bar({0: lambda self: self.buy(10), 1: exits}),
        )
        return int(made.fills[1][0])

    assert first(None) == 3
    assert first(CommissionFixed(20.0)) == 3
    assert first(CommissionBps(5_000.0)) == 2


@pytest.mark.parametrize(
    ("commission", "whole"),
    [
        (CommissionPerShare(0.005, minimum=1.0), 1.0),
        (CommissionPerShare(0.02, minimum=1.0), 2.0),
        (CommissionPerShare(0.005, minimum=1.0, maximum_share=0.00005), 0.5),
        (CommissionFixed(3.0), 3.0),
        (CommissionFixed(3.0) + CommissionPerShare(0.005, minimum=1.0) + CommissionBps(1.0), 5.0),
    ],
)
@pytest.mark.parametrize("side", ["buy", "sell"])
def test_an_order_filled_in_parts_pays_what_it_would_pay_at_once(
    run: Any, bars: Any, at_bar: Any, commission: Any, whole: float, side: str
) -> None:
    small = (100.0, 100.0, 100.0, 100.0, 100.0)
    made = run(
        bars(*[small] * 14),
        cash=1e6,
        volume_cap=0.1,
        commission=commission,
        on_bar=at_bar({0: lambda self: getattr(self, side)(100)}),
    )
    assert len(made.fills) == 10
    assert sum(commissions(made)) == pytest.approx(whole, rel=1e-12)
    assert commissions(made)[0] > 0


def test_two_orders_pay_two_minimums_and_each_leg_of_a_bracket_its_own(run: Any, bars: Any, at_bar: Any) -> None:
    made = run(
        bars(FLAT, FLAT, (100.0, 106.0, 100.0, 100.0), FLAT),
        cash=1e6,
        commission=CommissionPerShare(0.005, minimum=1.0),
        on_bar=at_bar({0: lambda self: (self.buy(10), self.buy(10, take_profit=105))}),
    )
    assert commissions(made) == [1.0, 1.0, 1.0]


def test_the_parts_of_an_order_pay_what_its_average_price_would(run: Any, bars: Any, at_bar: Any) -> None:
    """At prices that move, with a contract size, and with a cap by the notional that the first part is below."""
    rows = [(price, price, price, price, 40.0) for price in (10.0, 10.0, 14.0, 9.0, 11.0, 12.0)]
    commission = CommissionPerShare(1.0, minimum=2.0, maximum_share=0.01)
    made = run(
        bars(*rows, instrument=Instrument(lot=1, multiplier=5.0)),
        cash=1e6,
        volume_cap=0.1,
        commission=commission,
        on_bar=at_bar({0: lambda self: self.buy(15)}),
    )
    fills = made.engine.broker.fills
    notional = sum(fill.quantity * fill.price for fill in fills) * 5.0
    assert [fill.quantity for fill in fills] == [4.0, 4.0, 4.0, 3.0]
    assert sum(commissions(made)) == pytest.approx(commission.cost(notional / 75.0, 15.0, notional, False), rel=1e-12)


@pytest.mark.parametrize("by_rate", [True, False])
@pytest.mark.parametrize(
    ("price", "step", "slippage", "spread", "sold"),
    [
        (0.03, "0.01", 0.9, 0.0, 0.01),
        (0.01, "0.01", 0.0005, 0.0, 0.01),
        (0.0125, "0.01", 0.0, 0.9, 0.01),
        (0.004, "0.01", 0.5, 0.0, 0.004),  # below one step already: at the price, never above it
        (100.0, None, 0.999, 0.0, 1.0),
        (100.0, None, 0.9, 0.8, 1.0),
        (100.0, None, 0.98, 0.0, 2.0),
    ],
)
def test_a_sale_is_never_below_one_price_step_or_one_percent_of_its_price(
    run: Any,
    bars: Any,
    at_bar: Any,
    by_rate: bool,
    price: float,
    step: Any,
    slippage: float,
    spread: float,
    sold: float,
) -> None:
    rate = SlippageBps(slippage * 10_000)
    made = run(
        bars(*[(price,) * 4] * 5, instrument=Instrument(lot=1, price_step=step)),
        slippage=rate if by_rate else rate + SlippageBps(0),
        spread=spread,
        on_bar=at_bar({0: lambda self: self.buy(1), 2: lambda self: self.close()}),
    )
    assert made.fills[1][1:] == ("sell", 1.0, pytest.approx(sold, rel=1e-12))
    assert made.fills[0][3] == pytest.approx(price * (1 + slippage + spread / 2), rel=1e-12)


def test_a_stop_is_sold_at_one_price_step_where_five_steps_of_slippage_are_more_than_the_price(
    run: Any, bars: Any, at_bar: Any
) -> None:
    low = (0.03,) * 4
    made = run(
        bars(low, low, (0.03, 0.03, 0.02, 0.02), low, instrument=Instrument(lot=1, price_step="0.01")),
        slippage=SlippageSteps(5),
        on_bar=at_bar({0: lambda self: self.buy(1_000, stop_loss=0.02)}),
    )
    assert [fill[3] for fill in made.fills] == pytest.approx([0.08, 0.01])
