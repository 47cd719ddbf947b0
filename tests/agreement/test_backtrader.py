"""Weaver and backtrader 1.9.78 fill the same orders alike, fill by fill; where not, a test names the rule and both numbers.

docs/agreement.md lists them. The rules are those of docs/fills.md.
"""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
from peer_plans import (
    PLANS,
    SCALES,
    assert_exits_of_entry_bars,
    better,
    brackets,
    by_episode,
    entry_bar,
    episodes,
    every,
    market_orders,
    opens_beyond_target,
    plan_of,
    shown,
    side_of,
    signed,
    stop_limits,
    stop_orders,
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
    near,
    read,
    run_backtrader,
    run_weaver,
)

COUNTS = {GOOG: None, EURUSD: 2_500}


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
        run_backtrader(bars, plan, cash=cash, commission=commission),
    )


# Where they agree.


@pytest.mark.parametrize("kind", PLANS)
def test_every_fill_its_commission_and_every_equity_are_the_same_for(kind: str, bars: Bars, name: str) -> None:
    ours, theirs = both(bars, PLANS[kind](bars, SCALES[name]), commission=0.001)
    assert all(fill.commission for fill in (*ours.fills, *theirs.fills))
    assert_agree(ours, theirs, at_least=400)
    assert near(ours.cash, theirs.cash, 1e-11)


def test_stop_limits_behind_their_stop_fill_alike_through_gaps_too(bars: Bars, name: str) -> None:
    listed = episodes(bars, 8, stop_limits(0.25, SCALES[name]))
    ours, theirs = both(bars, plan_of(listed), commission=0.001)
    assert_agree(ours, theirs, at_least=300)
    if name == GOOG:
        at_open = [
            each
            for each in by_episode(listed, ours, theirs)
            if each.ours and each.ours[0].price == bars.open[each.ours[0].bar]
        ]
        assert len(at_open) >= 25


@pytest.mark.parametrize("kind", ["market", "limit", "stop"])
def test_brackets_fill_alike_from_the_bar_after_their_entry_on(kind: str, bars: Bars, name: str) -> None:
    """The episodes that differ are those whose legs fill on the entry's bar here, and those of the opens rule; each has
    its test below."""
    listed = episodes(bars, 8, brackets(kind, SCALES[name]))
    ours, theirs = both(bars, plan_of(listed), commission=0.001)
    compared = by_episode(listed, ours, theirs)
    differing = [each for each in compared if not each.agree]
    expected = set()
    for each in compared:
        legs = entry_bar(bars, each)
        if (legs is not None and (legs.loss or legs.profit)) or opens_beyond_target(bars, each):
            expected.add(each.episode.given)
    assert {each.episode.given for each in differing} == expected, shown(bars, differing)
    assert assert_exits_of_entry_bars(bars, compared) >= 20
    assert sum(len(each.ours) for each in compared if each.agree) >= 250


def test_orders_for_the_close_fill_alike(goog: Bars) -> None:
    plan = every(goog, 5, SCALES[GOOG], lambda side, size, close: Ask(side, size, tif="at_close"))
    ours, theirs = both(goog, plan, commission=0.001)
    assert all(fill.price == goog.close[fill.bar] for fill in ours.fills)
    assert_agree(ours, theirs, at_least=400)


def test_orders_good_till_a_bar_fill_alike(goog: Bars) -> None:
    scale = SCALES[GOOG]
    plan: dict[int, list[Ask | Clear]] = {}
    for number, bar in enumerate(range(1, len(goog) - 5, 2)):
        side = side_of(number)
        limit = better(side, goog.close[bar], scale.distance)
        plan[bar] = [Ask(side, scale.unit, limit=limit, tif="gtd", good_till=bar + number % 4 + 1)]
    ours, theirs = both(goog, plan, commission=0.001)
    assert_agree(ours, theirs, at_least=400)
    assert len(ours.fills) < 0.7 * len(plan)  # the others expired


def test_one_cancels_the_other_alike_where_no_bar_reaches_both(bars: Bars, name: str) -> None:
    """A buy limit below and a buy stop above, until one of them fills; cleared and given anew every ten bars."""
    distance, unit = 2 * SCALES[name].distance, SCALES[name].unit
    plan: dict[int, list[Ask | Clear]] = {}
    for bar in range(5, len(bars) - 10, 10):
        below, above = bars.close[bar] * (1 - distance), bars.close[bar] * (1 + distance)
        reached = [(bars.low[i] <= below, bars.high[i] >= above) for i in range(bar + 1, bar + 9)]
        assert next((any(each) and not all(each) for each in reached if any(each)), True)
        plan[bar] = [Ask("buy", unit, limit=below), Ask("buy", unit, stop=above, oco=True)]
        plan[bar + 8] = [Clear()]
    ours, theirs = both(bars, plan, commission=0.001)
    assert_agree(ours, theirs, at_least=200)


def test_slippage_is_the_same_where_theirs_may_leave_the_bar(bars: Bars, name: str) -> None:
    scale = SCALES[name]
    slippage = {"perc": 0.0005, "slip_open": True, "slip_match": True, "slip_out": True}
    for plan in (market_orders(bars, scale), stop_orders(bars, scale)):
        ours = run_weaver(bars, plan, cash=CASH, commission=0.001, slippage=0.0005)
        theirs = run_backtrader(bars, plan, cash=CASH, commission=0.001, slippage=slippage)
        assert_agree(ours, theirs, at_least=400)


# Where they differ on purpose.


def test_brackets_rule_entry_at_the_open_both_legs_live_in_that_bar(goog: Bars) -> None:
    """Theirs come alive in the next bar, so that the position stands unprotected in the bar that opened it."""
    few = goog.cut(0, 12)
    ours, theirs = both(few, {5: [Ask("buy", 10, stop_loss=105.75, take_profit=115.0)]})
    assert ours.fills == [Filled(6, "buy", 10, 108.1, 0.0), Filled(6, "sell", 10, 105.75, 0.0)]
    assert theirs.fills == [Filled(6, "buy", 10, 108.1, 0.0), Filled(7, "sell", 10, 105.28, 0.0)]


def test_opens_rule_a_bar_that_opens_beyond_the_target_fills_the_target_whatever_its_low(goog: Bars) -> None:
    """2007-02-01: opens at 506.00, above the target, and falls to 481.53, below the stop. They judge the stop first."""
    ours, theirs = both(goog.cut(608, 12), {5: [Ask("buy", 10, stop_loss=485.92, take_profit=505.75)]})
    assert [fill.price for fill in ours.fills] == [498.0, 506.0]
    assert [fill.price for fill in theirs.fills] == [498.0, 485.92]


def test_stop_limit_rule_a_limit_before_the_stop_fills_where_the_close_proves_it(bars: Bars, name: str) -> None:
    """They take that proof only from a bar that closes against its open; from others not before the next bar."""
    listed = episodes(bars, 8, stop_limits(-0.25, SCALES[name]))
    ours, theirs = both(bars, plan_of(listed))
    compared = by_episode(listed, ours, theirs)
    expected = set()
    for each in compared:
        bar = trigger_bar(bars, each.episode)
        if bar is not None:
            asked = each.episode.asked
            o, _, _, c = bars.mirrored(bar, asked.side)
            if o < signed(asked.stop, asked) and c <= signed(asked.limit, asked) and o <= c:
                expected.add(each.episode.given)
                assert (each.ours[0].bar, each.ours[0].price) == (bar, asked.limit)
    differing = [each for each in compared if not each.agree]
    assert {each.episode.given for each in differing} == expected, shown(bars, differing)
    assert len(differing) >= 10


def test_trailing_stop_rule_it_follows_the_extremes_and_not_the_closes(goog: Bars) -> None:
    """Ten below: the high so far is 152.40, the highest close 149.16, and bar 43 falls to 139.60, between
    the two levels."""
    few = goog.cut(0, 60)
    ours, theirs = both(few, {2: [Ask("buy", 10)], 5: [Ask("sell", 10, trail=10.0)]})
    assert max(few.high[6:43]) == 152.4
    assert max(few.close[6:43]) == 149.16
    assert few.low[43] == 139.6
    assert ours.fills[1] == Filled(43, "sell", 10, 142.4, 0.0)
    assert theirs.fills[1] == Filled(54, "sell", 10, 186.03, 0.0)


def test_slippage_rule_it_is_never_cut_to_the_bar(goog: Bars) -> None:
    """1 % above an open of 143.32. Theirs stops at the bar's high unless it is told otherwise (`slip_out`)."""
    few, plan = goog.cut(36, 5), {1: [Ask("buy", 10)]}
    ours, theirs = run_weaver(few, plan, slippage=0.01), run_backtrader(few, plan, slippage={"perc": 0.01})
    assert [fill.price for fill in ours.fills] == pytest.approx([144.7532], rel=1e-12)
    assert [fill.price for fill in theirs.fills] == [few.high[2]] == [143.55]


def test_slippage_rule_a_limit_is_not_worsened(goog: Bars) -> None:
    """An open better than the limit fills a limit at that open. Theirs slips it, as far as the bar and the limit allow."""
    few, plan = goog.cut(36, 5), {1: [Ask("buy", 10, limit=143.5)]}
    ours, theirs = run_weaver(few, plan, slippage=0.01), run_backtrader(few, plan, slippage={"perc": 0.01})
    assert [fill.price for fill in ours.fills] == [143.32]
    assert [fill.price for fill in theirs.fills] == [143.5]


def test_money_rule_a_short_position_may_be_as_large_as_the_equity(goog: Bars) -> None:
    """Theirs knows no bound: what a sale brings in pays for more of them."""
    ours, theirs = both(goog.cut(0, 10), {2: [Ask("sell", 1_000)]}, cash=10_000)
    assert not ours.fills
    assert ours.rejected[0].startswith("cannot be paid for")
    assert theirs.fills == [Filled(3, "sell", 1_000, 111.24, 0.0)]


def test_money_rule_what_the_open_made_too_dear_is_rejected_whole(goog: Bars) -> None:
    """Short 20, then 90 bought after a close of 137.40; the open of 143.32 is more than the account can pay for 70. They
    buy back the 20 and drop the rest; Weaver drops all of it."""
    few = goog.cut(30, 12)
    ours, theirs = both(few, {2: [Ask("sell", 20)], 7: [Ask("buy", 90)]}, cash=10_000)
    assert few.close[7] == 137.4
    assert [fill.quantity for fill in ours.fills] == [20]
    assert [(fill.side, fill.quantity) for fill in theirs.fills] == [("sell", 20), ("buy", 20)]
    assert len(ours.rejected) == len(theirs.rejected) == 1


def test_day_rule_on_daily_bars_a_day_order_lives_for_the_next_bar(goog: Bars) -> None:
    """Theirs is good for the day of the bar that has just closed, so on daily bars it can never fill."""
    ours, theirs = both(goog.cut(0, 10), {2: [Ask("buy", 10, limit=111.0, tif="day")]})
    assert ours.fills == [Filled(3, "buy", 10, 111.0, 0.0)]
    assert theirs.fills == []


def test_exits_rule_legs_end_with_their_position(goog: Bars) -> None:
    """Closed by hand, the position is gone. Its take-profit stays at work in theirs, and opens a short position 22 bars
    later, unless the strategy cancels it."""
    few = goog.cut(0, 60)
    plan: Plan = {2: [Ask("buy", 10, stop_loss=95, take_profit=130.0)], 5: [Clear()]}
    ours, theirs = run_weaver(few, plan), run_backtrader(few, plan, cancel_legs=False)
    entry_and_exit = [Filled(3, "buy", 10, 111.24, 0.0), Filled(6, "sell", 10, 108.1, 0.0)]
    assert ours.fills == entry_and_exit
    assert theirs.fills == [*entry_and_exit, Filled(28, "sell", 10, 130.0, 0.0)]


def test_oco_rule_where_a_bar_reaches_both_the_one_that_is_worse_at_the_close_fills(goog: Bars) -> None:
    """Opens at 104.95 and closes at 107.91: the sale at 107.06 is the worse one. Theirs takes what was given first."""
    few = goog.cut(0, 10)
    buy, sell = Ask("buy", 10, limit=104.94), Ask("sell", 10, limit=107.06)
    ours, theirs = both(few, {4: [buy, replace(sell, oco=True)]})
    assert ours.fills == [Filled(5, "sell", 10, 107.06, 0.0)]
    assert theirs.fills == [Filled(5, "buy", 10, 104.94, 0.0)]
    ours, theirs = both(few, {4: [sell, replace(buy, oco=True)]})
    assert ours.fills == theirs.fills == [Filled(5, "sell", 10, 107.06, 0.0)]
