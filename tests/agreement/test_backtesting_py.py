"""Weaver and backtesting.py 0.6.6 fill the same orders alike, fill by fill; where not, a test names the rule and both numbers.

docs/agreement.md lists them. The rules are those of docs/fills.md.
"""

from __future__ import annotations

from pathlib import Path
from types import MappingProxyType
from typing import Any

import numpy as np
import pytest
from peer_plans import (
    PLANS,
    SCALES,
    assert_exits_of_entry_bars,
    brackets,
    by_episode,
    entry_bar,
    episodes,
    opens_beyond_target,
    plan_of,
    shown,
    signed,
    stop_limits,
    trigger_bar,
)
from peers import (
    CASH,
    EURUSD,
    GOOG,
    Ask,
    Bars,
    Clear,
    Filled,
    Plan,
    Run,
    assert_agree,
    merged,
    near,
    read,
    run_backtesting_py,
    run_weaver,
)

from weaver import Instrument, Strategy

COUNTS = {GOOG: None, EURUSD: 5_000}


@pytest.fixture(scope="module", params=[GOOG, EURUSD], ids=["GOOG daily", "EURUSD hourly"])
def name(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture(scope="module")
def bars(test_data: Path, name: str) -> Bars:
    return read(test_data, name, COUNTS[name])


@pytest.fixture(scope="module")
def goog(test_data: Path) -> Bars:
    return read(test_data, GOOG)


def both(bars: Bars, plan: Plan, cash: float = CASH, commission: float = 0.0) -> tuple[Run, Run]:
    return (
        run_weaver(bars, plan, cash=cash, commission=commission),
        run_backtesting_py(bars, plan, cash=cash, commission=commission),
    )


# Where they agree.


@pytest.mark.parametrize("kind", PLANS)
def test_every_fill_and_every_equity_is_the_same_for(kind: str, bars: Bars, name: str) -> None:
    ours, theirs = both(bars, PLANS[kind](bars, SCALES[name]), commission=0.001)
    assert_agree(ours, theirs, at_least=400)


def test_overlapping_brackets_of_one_side_fill_alike(test_data: Path) -> None:
    bars, scale = read(test_data, EURUSD, 3_000), SCALES[EURUSD]
    plan = {
        bar: [
            Ask(
                "buy",
                scale.unit * (number % 5 + 1),
                stop_loss=bars.close[bar] * (1 - 1.5 * scale.distance),
                take_profit=bars.close[bar] * (1 + 1.5 * scale.distance),
            )
        ]
        for number, bar in enumerate(range(1, len(bars) - 1, 3))
    }
    ours, theirs = both(bars, plan, commission=0.001)
    assert_agree(ours, theirs, at_least=1_500)


def test_brackets_around_a_market_order_fill_alike_on_the_entry_bar_too(bars: Bars, name: str) -> None:
    listed = episodes(bars, 8, brackets("market", SCALES[name]))
    ours, theirs = both(bars, plan_of(listed), commission=0.001)
    compared = by_episode(listed, ours, theirs)
    differing = [each for each in compared if not each.agree]
    assert {each.episode.given for each in differing} == {
        each.episode.given for each in compared if opens_beyond_target(bars, each)
    }, shown(bars, differing)
    assert len(differing) <= 2  # its own test is below
    agreed = [each for each in compared if each.agree]
    assert sum(len(each.ours) for each in agreed) >= 500
    assert assert_exits_of_entry_bars(bars, compared) >= 100
    assert all(fill.commission for each in agreed for fill in each.ours)


def test_stop_limits_that_no_gap_triggers_fill_alike(bars: Bars, name: str) -> None:
    listed = episodes(bars, 8, stop_limits(0.25, SCALES[name]))
    ours, theirs = both(bars, plan_of(listed))
    agreed = [each for each in by_episode(listed, ours, theirs) if each.agree]
    assert sum(len(each.ours) for each in agreed) >= 300


# The number of its README.


def sma_cross() -> Any:
    from backtesting import Strategy as Base
    from backtesting.lib import crossover
    from backtesting.test import SMA

    class SmaCross(Base):  # type: ignore[misc]
        """The strategy of its README."""

        def init(self) -> None:
            price = self.data.Close
            self.ma1 = self.I(SMA, price, 10)
            self.ma2 = self.I(SMA, price, 20)

        def next(self) -> None:
            if crossover(self.ma1, self.ma2):
                self.buy()
            elif crossover(self.ma2, self.ma1):
                self.sell()

    return SmaCross


@pytest.fixture(scope="module")
def readme(goog: Bars) -> Run:
    return run_backtesting_py(goog, {}, strategy=sma_cross(), cash=10_000, commission=0.002, exclusive_orders=True)


class Reversals(Strategy):
    """Closes, and enters the other way round at the same open, in the quantities that it is given by bar."""

    _entries: Any = MappingProxyType({})

    def on_start(self) -> None:
        self.bar = -1

    def on_bar(self, bar: Any) -> None:
        self.bar += 1
        size = self._entries.get(self.bar, 0)
        if size:
            self.close()
            (self.buy if size > 0 else self.sell)(abs(size))


def with_the_orders_of(peer: Run) -> type[Strategy]:
    trades = peer.raw["_trades"]
    entries = dict(zip((trades["EntryBar"] - 1).tolist(), trades["Size"].tolist(), strict=True))
    entries |= {trade.entry_bar - 1: trade.size for trade in peer.raw["_strategy"].trades}
    return type("Reversals", (Reversals,), {"_entries": MappingProxyType(entries)})


def test_its_readme_ends_with_56263_51934_after_93_trades_and_so_do_we(goog: Bars, readme: Run) -> None:
    # leverage: their sizes are made at the open at which they fill, and cost more than all there is at the last close,
    # where Weaver judges an explicit quantity first. See the test of the money below.
    ours = run_weaver(goog, {}, strategy=with_the_orders_of(readme), cash=10_000, commission=0.002, leverage=1.05)
    assert readme.raw["# Trades"] == 93
    assert round(readme.raw["Equity Final [$]"], 5) == 56263.51934
    assert round(ours.raw.final_equity, 5) == 56263.51934
    assert ours.raw.trades.height == 93
    assert assert_agree(ours, readme, at_least=94) == 94  # 93 reversals and the first entry


def test_its_93_trades_are_ours_one_by_one(goog: Bars, readme: Run) -> None:
    ours = run_weaver(
        goog, {}, strategy=with_the_orders_of(readme), cash=10_000, commission=0.002, leverage=1.05
    ).raw.trades
    theirs = readme.raw["_trades"].sort_values("EntryBar")
    size = ours["quantity"].to_numpy() * np.where(ours["side"].to_numpy() == "long", 1, -1)
    assert size.tolist() == theirs["Size"].tolist()
    number = {stamp: bar for bar, stamp in enumerate(goog.frame["timestamp"].to_list())}
    for mine, their in (("entry_time", "EntryBar"), ("exit_time", "ExitBar")):
        assert [number[stamp] for stamp in ours[mine].to_list()] == theirs[their].tolist()
    columns = (
        ("entry_price", "EntryPrice"),
        ("exit_price", "ExitPrice"),
        ("commission", "Commission"),
        ("pnl", "PnL"),
    )
    for mine, their in columns:
        np.testing.assert_allclose(ours[mine].to_numpy(), theirs[their].to_numpy(), rtol=1e-9, err_msg=mine)


# Where they differ on purpose.


@pytest.mark.parametrize("kind", ["limit", "stop"])
def test_brackets_rule_entry_inside_a_leg_that_was_surely_reached_fills_on_the_entry_bar(
    kind: str, bars: Bars, name: str
) -> None:
    """They leave the legs of a limit or stop entry to the next bar (and warn), except a take-profit behind a stop entry
    whose stop-loss lies outside the bar. Everything else is the same."""
    listed = episodes(bars, 8, brackets(kind, SCALES[name]))
    ours, theirs = both(bars, plan_of(listed))
    compared = by_episode(listed, ours, theirs)
    expected = set()
    for each in compared:
        legs = entry_bar(bars, each)
        theirs_too = kind == "stop" and legs is not None and legs.profit and not legs.low_reached
        if (legs is not None and (legs.loss or legs.profit) and not theirs_too) or opens_beyond_target(bars, each):
            expected.add(each.episode.given)
    differing = [each for each in compared if not each.agree]
    assert {each.episode.given for each in differing} == expected, shown(bars, differing)
    assert len(differing) >= 10
    assert assert_exits_of_entry_bars(bars, compared) >= len(differing)
    assert sum(len(each.ours) for each in compared if each.agree) >= 200


def test_brackets_rule_entry_inside_in_numbers(goog: Bars) -> None:
    """A sell stop at 277.497 fills at the open, 276.09, and the price then goes through its stop-loss to 287.67."""
    few = goog.cut(205, 8)
    plan = {4: [Ask("sell", 10, stop=277.497, stop_loss=283.05, take_profit=271.0)]}
    ours, theirs = both(few, plan)
    assert ours.fills == [Filled(5, "sell", 10, 276.09, 0.0), Filled(5, "buy", 10, 283.05, 0.0)]
    assert theirs.fills == [Filled(5, "sell", 10, 276.09), Filled(6, "buy", 10, 288.07)]


def test_opens_rule_a_bar_that_opens_beyond_the_target_fills_the_target_whatever_its_low(goog: Bars) -> None:
    """2007-02-01: opens at 506.00, above the target, and falls to 481.53, below the stop. They judge stops first."""
    few = goog.cut(608, 12)
    plan = {5: [Ask("buy", 10, stop_loss=485.92, take_profit=505.75)]}
    ours, theirs = both(few, plan)
    assert [fill.price for fill in ours.fills] == [498.0, 506.0]
    assert [fill.price for fill in theirs.fills] == [498.0, 485.92]


def test_opens_rule_what_is_due_at_the_open_fills_before_what_the_inside_reaches(goog: Bars) -> None:
    """A long position is sold at the open, 189.15. They fill its resting take-profit, higher inside that bar, before the
    market order that is due at the open, which so opens a short position that nobody asked for."""
    few = goog.cut(80, 12)
    plan = {5: [Ask("buy", 10, stop_loss=179.0, take_profit=190.57)], 8: [Ask("sell", 10)]}
    ours, theirs = both(few, plan)
    assert merged(ours.fills) == [Filled(6, "buy", 10, 186.31, 0.0), Filled(9, "sell", 10, 189.15, 0.0)]
    assert merged(theirs.fills) == [
        Filled(6, "buy", 10, 186.31),
        Filled(9, "sell", 10, 189.15),
        Filled(9, "sell", 10, 190.57),
    ]


def test_stop_limit_rule_one_that_a_gap_triggers_fills_at_what_the_bar_has(goog: Bars) -> None:
    """At the open, or at its limit where the open lies beyond it. They fill it at its stop, which no longer was to be had
    for that; where the bar never came back to it, outside the bar. Other stop-limits behind a stop are the same."""
    listed = episodes(goog, 8, stop_limits(0.5, SCALES[GOOG]))
    ours, theirs = both(goog, plan_of(listed))
    compared = by_episode(listed, ours, theirs)
    expected, outside = set(), 0
    for each in compared:
        asked = each.episode.asked
        stop, limit = signed(asked.stop, asked), signed(asked.limit, asked)
        bar = trigger_bar(goog, each.episode)
        if bar is not None:
            o, _, low, _ = goog.mirrored(bar, asked.side)
            if o > stop and low <= limit:
                expected.add(each.episode.given)
                assert signed(each.ours[0].price, asked) == min(o, limit)
                assert each.theirs[0].price == asked.stop
                outside += stop < low
    differing = [each for each in compared if not each.agree]
    assert {each.episode.given for each in differing} == expected, shown(goog, differing)
    assert len(differing) >= 30
    assert outside >= 5
    assert sum(len(each.ours) for each in compared if each.agree) >= 250


def test_stop_limit_rule_gap_in_numbers(goog: Bars) -> None:
    """Opens at 143.32 and never goes below 140.08: a fill at 138.774 is none that anybody could have had."""
    ours, theirs = both(goog.cut(36, 5), {1: [Ask("buy", 10, stop=138.774, limit=140.148)]})
    assert ours.fills == [Filled(2, "buy", 10, 140.148, 0.0)]
    assert theirs.fills == [Filled(2, "buy", 10, 138.774)]


def test_stop_limit_rule_a_limit_before_the_stop_fills_in_the_bar_that_proves_it(bars: Bars, name: str) -> None:
    """Triggered at the open, it is a plain limit at once; inside, the close proves that the price came back to it. They
    always leave it to the next bar, as a plain limit."""
    listed = episodes(bars, 8, stop_limits(-0.25, SCALES[name]))
    ours, theirs = both(bars, plan_of(listed))
    compared = by_episode(listed, ours, theirs)
    expected = set()
    for each in compared:
        asked = each.episode.asked
        stop, limit = signed(asked.stop, asked), signed(asked.limit, asked)
        bar = trigger_bar(bars, each.episode)
        if bar is not None:
            o, _, low, c = bars.mirrored(bar, asked.side)
            if low <= limit if o >= stop else c <= limit:
                expected.add(each.episode.given)
                assert (each.ours[0].bar, signed(each.ours[0].price, asked)) == (bar, limit)
    differing = [each for each in compared if not each.agree]
    assert {each.episode.given for each in differing} == expected, shown(bars, differing)
    assert len(differing) >= 50
    assert sum(len(each.ours) for each in compared if each.agree) >= 150


def test_stop_limit_rule_before_the_stop_in_numbers(goog: Bars) -> None:
    """Rises through 186.8702 and closes at 183.75, so it came back to 185.9451. They take the next open, 183.90."""
    ours, theirs = both(goog.cut(84, 6), {1: [Ask("buy", 10, stop=186.8702, limit=185.9451)]})
    assert ours.fills == [Filled(2, "buy", 10, 185.9451, 0.0)]
    assert theirs.fills == [Filled(3, "buy", 10, 183.9)]


def test_market_rule_an_order_never_fills_at_the_close_it_was_decided_on(goog: Bars) -> None:
    """Theirs does with trade_on_close=True, in the bar that had to be over for the decision."""
    few = goog.cut(36, 5)
    plan = {1: [Ask("buy", 10)]}
    ours, theirs = run_weaver(few, plan), run_backtesting_py(few, plan, cash=CASH, trade_on_close=True)
    assert ours.fills == [Filled(2, "buy", 10, 143.32, 0.0)]
    assert theirs.fills == [Filled(1, "buy", 10, 137.4)]


def test_spread_rule_each_market_fill_pays_half_and_a_limit_never_more_than_its_limit(goog: Bars) -> None:
    """Theirs is paid in whole by entries, by those at a limit too, and not by exits."""
    few = goog.cut(36, 8)
    market: Plan = {1: [Ask("buy", 10)], 3: [Clear()]}
    limit: Plan = {1: [Ask("buy", 10, limit=141.0)]}
    ours, theirs = run_weaver(few, market, spread=0.01), run_backtesting_py(few, market, cash=CASH, spread=0.01)
    assert [fill.price for fill in ours.fills] == pytest.approx([143.32 * 1.005, 144.93 * 0.995], rel=1e-12)
    assert [fill.price for fill in theirs.fills] == pytest.approx([143.32 * 1.01, 144.93], rel=1e-12)
    ours, theirs = run_weaver(few, limit, spread=0.01), run_backtesting_py(few, limit, cash=CASH, spread=0.01)
    assert [fill.price for fill in ours.fills] == [141.0]
    assert [fill.price for fill in theirs.fills] == pytest.approx([142.41], rel=1e-12)


def test_money_rule_a_quantity_is_judged_at_acceptance_too_with_the_last_close(goog: Bars, readme: Run) -> None:
    """Theirs is judged at the fill only, and its README's sizes are all that the open can buy. Of the same 94 entries, five
    cost more at the close before than the account holds; without leverage Weaver rejects them, and says so."""
    ours = run_weaver(goog, {}, strategy=with_the_orders_of(readme), cash=10_000, commission=0.002)
    assert len(merged(readme.fills)) == 94
    assert len(ours.rejected) == 5
    assert all(reason.startswith("cannot be paid for") for reason in ours.rejected)
    assert ours.rejected[0].startswith("cannot be paid for: 59 ASSET at 172.54 is 10179.86")
    assert round(ours.raw.final_equity, 2) == 59_454.04
    assert round(readme.equity[-1], 2) == 56_263.52


def test_money_rule_an_order_that_cannot_be_paid_for_is_rejected_whole(goog: Bars) -> None:
    """Long 50, then 200 sold with 10,000 in the account. They close the 50 and drop the other 150; Weaver drops all."""
    few = goog.cut(0, 10)
    ours, theirs = both(few, {2: [Ask("buy", 50)], 5: [Ask("sell", 200)]}, cash=10_000)
    assert ours.fills == [Filled(3, "buy", 50, few.open[3], 0.0)]
    assert len(ours.rejected) == 1
    assert theirs.fills == [Filled(3, "buy", 50, few.open[3]), Filled(6, "sell", 50, few.open[6])]


def test_maintenance_rule_a_short_position_is_closed_before_it_has_eaten_the_account(goog: Bars) -> None:
    """85 shares sold short with 10,000. Once the equity is below half of the position's value Weaver closes it at the next
    open, and 4,461.40 are left. They wait until nothing is left, close it at the close that they have just seen, and forgive
    the debt. With maintenance=0 Weaver waits as long, closes at the open that follows, and the debt stands."""
    plan = {2: [Ask("sell", 85)]}
    ours, theirs = both(goog, plan, cash=10_000)
    assert ours.fills == [Filled(3, "sell", 85, 111.24, 0.0), Filled(46, "buy", 85, 176.4, 0.0)]
    assert ours.raw.orders["reason"][-1].startswith("liquidation: equity 4798.85 is below 0.5 of the gross position")
    assert round(ours.raw.final_equity, 2) == 4_461.40

    assert theirs.fills == [Filled(3, "sell", 85, 111.24), Filled(183, "buy", 85, 231.29)]
    assert theirs.equity[-1] == 0  # and not 10,000 - 85 * (231.29 - 111.24) = -204.25
    trusting = run_weaver(goog, plan, cash=10_000, maintenance=0.0)
    assert trusting.fills[1:] == [Filled(184, "buy", 85, 230.81, 0.0)]
    assert all(map(near, trusting.equity[:183], theirs.equity[:183]))
    assert trusting.equity[-1] == pytest.approx(-163.45)


def test_finalize_rule_open_positions_close_at_the_last_close(goog: Bars, readme: Run) -> None:
    """Theirs close at the last bar's open, 797.80, at which nobody had asked for it yet. Weaver's at its close, 806.19."""
    theirs = run_backtesting_py(
        goog, {}, strategy=sma_cross(), cash=10_000, commission=0.002, exclusive_orders=True, finalize_trades=True
    )
    ours = run_weaver(
        goog, {}, strategy=with_the_orders_of(readme), cash=10_000, commission=0.002, leverage=1.05, finalize=True
    )
    assert (theirs.fills[-1].price, ours.fills[-1].price) == (797.8, 806.19)
    assert round(theirs.equity[-1], 2) == 55_574.51
    assert round(ours.raw.final_equity, 2) == 56_152.27
    assert near(ours.raw.final_equity, readme.equity[-1] - 0.002 * 69 * 806.19)


class Half(Strategy):
    """Half of the equity, once."""

    def on_start(self) -> None:
        self.bar = -1

    def on_bar(self, bar: Any) -> None:
        self.bar += 1
        if self.bar == 1:
            self.target(weight=0.5)


def test_target_rule_a_weight_is_of_the_last_close_and_not_of_the_open_to_come(goog: Bars) -> None:
    """Half of 10,000 at a close of 137.40 are 36 shares, and they cost 143.32 each. Theirs knows the open: 34."""
    few = goog.cut(36, 5)
    ours = run_weaver(few, {}, strategy=Half, cash=10_000, instrument=Instrument(lot=1))
    theirs = run_backtesting_py(few, {1: [Ask("buy", 0.5)]}, cash=10_000)
    assert ours.fills == [Filled(2, "buy", 36, 143.32, 0.0)]
    assert theirs.fills == [Filled(2, "buy", 34, 143.32)]
