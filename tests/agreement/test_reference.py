"""The reference against numbers worked out by hand: every row of the tables in docs/fills.md, one promise a test.

Every table is checked for a buy as written and for a sell in the mirror at 100 (a price p becomes 200 - p). Every case that
the public API can express also runs through the engine, which must give the same.
"""

from __future__ import annotations

import ast
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest
import reference
from comparing import compare
from reference import At, Bar, Cancel, Modify, Oco, Order, Result, Settings, Trail, simulate
from scenarios import Scenario

from weaver.core.errors import OrderError, StrategyCrashed

D = Decimal
FLAT = (100, 100, 100, 100)


@pytest.fixture(autouse=True)
def the_engine_agrees(monkeypatch: pytest.MonkeyPatch) -> None:
    """Each call of `simulate` in a test also goes through the engine."""

    def both(series: Any, plan: Any, settings: Settings | None = None) -> Result:
        settings = settings or Settings()
        result = reference.simulate(series, plan, settings)
        if settings.maintenance is None or settings.maintenance >= 0:
            try:
                compare(Scenario(D(1), series, list(plan), settings))
            except StrategyCrashed as crash:  # what is refused by name when it is placed, only the reference can run
                if not isinstance(crash.__cause__, OrderError):
                    raise
        return result

    monkeypatch.setitem(globals(), "simulate", both)


def bars(*rows: tuple[Any, ...] | None) -> list[Bar]:
    """Rows of (O, H, L, C) or (O, H, L, C, V), from bar 0; None is a bar that is missing."""
    return [Bar(i, *(D(str(value)) for value in row)) for i, row in enumerate(rows) if row is not None]


def mirror(rows: Any) -> list[tuple[Any, ...] | None]:
    return [row and (200 - row[0], 200 - row[2], 200 - row[1], 200 - row[3], *row[4:]) for row in rows]


def order(side: str, lots: int = 1, symbol: str = "A", **given: Any) -> Order:
    for name in ("limit", "stop", "stop_loss", "take_profit"):
        if name in given and not isinstance(given[name], Trail):
            given[name] = D(str(given[name]))
    return Order(symbol, side, lots, **given)


def mirrored(asked: Order) -> Order:
    given = {
        name: 200 - value
        for name in ("limit", "stop", "stop_loss", "take_profit")
        if isinstance(value := getattr(asked, name), Decimal)
    }
    side = "sell" if asked.side == "buy" else "buy"
    return Order(**{**asked.__dict__, "side": side, **given})


def run(rows: Any, *commands: Any, tick: int = 1, **settings: Any) -> Result:
    """Commands are given at `tick`, or (tick, command). One symbol A."""
    plan = [At(*c) if isinstance(c, tuple) else At(tick, c) for c in commands]
    settings = {
        n: D(str(v)) if isinstance(v, (int, float)) and n not in ("cash_only", "through", "seconds") else v
        for n, v in settings.items()
    }
    return simulate({"A": bars(*rows)}, sorted(plan, key=lambda at: at.tick), Settings(**settings))


def fills(result: Result) -> list[tuple[int, int, Decimal]]:
    """(bar, order number, price before slippage) of every fill."""
    return [(fill.start, fill.number, fill.before) for fill in result.fills]


def both(rows: Any, asked: Order, expected: list[tuple[int, int, Any]], **settings: Any) -> None:
    """Given at tick 1: as written, and in the mirror."""
    expected = [(start, number, D(str(price))) for start, number, price in expected]
    assert fills(run(rows, asked, **settings)) == expected
    assert fills(run(mirror(rows), mirrored(asked), **settings)) == [(s, n, 200 - p) for s, n, p in expected]


# ---------------------------------------------------------------- independence


def test_the_reference_imports_nothing_but_the_standard_library() -> None:
    tree = ast.parse(Path(reference.__file__).read_text(encoding="utf-8"))
    modules = {n.module for n in ast.walk(tree) if isinstance(n, ast.ImportFrom)}
    modules |= {a.name for n in ast.walk(tree) if isinstance(n, ast.Import) for a in n.names}
    assert modules == {"__future__", "collections.abc", "dataclasses", "decimal", "math"}


# ---------------------------------------------------------------- order types

UP_GAP = (105, 106, 104, 105)
RISE = (100, 105, 99, 102)
DIP = (100, 101, 95, 97)


@pytest.mark.parametrize(
    ("row", "given", "settings", "price"),
    [
        ((102, 103, 101, 102), {}, {}, 102),  # market: O
        ((97, 99, 96, 98), {"limit": 98}, {}, 97),  # limit, O better: O
        ((98, 99, 98, 99), {"limit": 98}, {}, 98),  # O == limit: O
        (DIP, {"limit": 98}, {}, 98),  # L beyond
        (DIP, {"limit": 95}, {}, 95),  # L == limit: touched
        (DIP, {"limit": 94}, {}, None),
        ((97, 99, 96, 98), {"limit": 98}, {"through": True}, 97),
        ((98, 99, 98, 99), {"limit": 98}, {"through": True}, None),  # O == L == limit: only touched
        ((98, 99, 97, 99), {"limit": 98}, {"through": True}, 98),  # O == limit, then through it
        (DIP, {"limit": 95}, {"through": True}, None),
        (DIP, {"limit": 96}, {"through": True}, 96),
        (UP_GAP, {"stop": 103}, {}, 105),  # a gap through the stop fills at O, not at the stop
        ((103, 104, 102, 103), {"stop": 103}, {}, 103),
        (RISE, {"stop": 105}, {}, 105),
        (RISE, {"stop": 103}, {}, 103),
        (RISE, {"stop": 106}, {}, None),
        (UP_GAP, {"stop": 103, "limit": 105}, {}, 105),  # O >= stop, O <= limit
        (UP_GAP, {"stop": 103, "limit": 104}, {}, 104),  # O beyond the limit, L comes back to it
        (UP_GAP, {"stop": 103, "limit": 103}, {}, None),  # gapped away: never outside the bar
        (RISE, {"stop": 103, "limit": 104}, {}, 103),  # O < stop <= limit
        (RISE, {"stop": 103, "limit": 103}, {}, 103),
        (RISE, {"stop": 104, "limit": 102}, {}, 102),  # stop > limit, C <= limit proves it
        (RISE, {"stop": 104, "limit": 101}, {}, None),  # C > limit proves nothing
        (RISE, {"stop": 106, "limit": 103}, {}, None),  # not triggered
        ((104, 104.5, 103, 104), {"trail": Trail(amount=D(4))}, {}, 104),  # level 104 at O
        (RISE, {"trail": Trail(amount=D(4))}, {}, 104),
        (RISE, {"trail": Trail(amount=D(6))}, {}, None),
    ],
)
def test_an_order_fills_as_its_row_in_the_table_says(row: Any, given: Any, settings: Any, price: Any) -> None:
    both([FLAT, row], order("buy", **given), [] if price is None else [(1, 1, price)], **settings)


def test_a_market_order_fills_at_the_next_open_and_never_at_the_close_it_was_decided_on() -> None:
    both([FLAT, (101, 102, 99, 101), FLAT], order("buy"), [(1, 1, 101)])


def test_an_order_waits_for_the_next_bar_that_exists() -> None:
    both([FLAT, None, None, (103, 103, 103, 103)], order("buy"), [(3, 1, 103)])


def test_a_stop_limit_that_gapped_beyond_its_limit_rests_as_a_plain_limit() -> None:
    # Bar 1 opens at 105 beyond 103; bar 2 never sees the stop at 104 again, and still fills at 103.
    both([FLAT, UP_GAP, (103.5, 103.5, 102, 103)], order("buy", stop=104, limit=103), [(2, 1, 103)])


def test_a_stop_limit_without_proof_becomes_a_plain_limit_from_the_next_bar() -> None:
    both([FLAT, RISE, (100.5, 101, 100, 101)], order("buy", stop=104, limit=101), [(2, 1, 100.5)])


def test_a_stop_limit_that_was_not_triggered_is_no_limit() -> None:
    both([FLAT, RISE, (100.5, 101, 100, 101)], order("buy", stop=106, limit=101), [])


def test_market_and_stop_orders_are_worsened_by_slippage_and_half_the_spread_and_limits_are_not() -> None:
    # 0.01 + 0.02 / 2 = 0.02: 100 * 1.02 and 100 * 0.98; 103 * 1.02 = 105.06, 97 * 0.98 = 95.06.
    costs = {"slippage": 0.01, "spread": 0.02}
    row = (100, 104, 96, 100)
    for asked, price in [
        (order("buy"), "102"),
        (order("sell"), "98"),
        (order("buy", stop=103), "105.06"),
        (order("sell", stop=97), "95.06"),
        (order("buy", trail=Trail(amount=D(3))), "105.06"),
        (order("buy", limit=97), "97"),
        (order("sell", limit=103), "103"),
        (order("buy", stop=103, limit=104), "103"),
    ]:
        assert [fill.price for fill in run([FLAT, row], asked, **costs).fills] == [D(price)]


def test_commission_is_a_share_of_the_notional_after_slippage() -> None:
    # 10 * 101 = 1010 notional, 0.1 % of it 1.01; cash 5000 - 1010 - 1.01.
    result = run([FLAT, FLAT], order("buy", 10), cash=5000, slippage=0.01, commission=0.001)
    assert result.fills[0].commission == D("1.01")
    assert result.cash == D("3988.99")
    assert result.positions == {"A": 10}
    assert result.equity == [(0, D(5000)), (1, D("4988.99"))]


# ---------------------------------------------------------------- trailing stops


def test_a_trailing_stop_follows_completed_bars_only() -> None:
    # From the close 100 a sell trail of 5 stands at 95. Bar 1 reaches 110 and falls to 104: its own high does not
    # count in it. In bar 2 the level is 105, and the open 104 is beyond it.
    rows = [FLAT, (100, 110, 96, 106), (104, 106, 103, 104)]
    both(rows, order("sell", trail=Trail(amount=D(5))), [(2, 1, 104)])


def test_a_trailing_stop_by_percent_never_moves_back() -> None:
    # best 100 -> 110 -> 110 (bar 2's high 108 is lower): 10 % below is 90, 99, 99; bar 3 falls through 99.
    rows = [FLAT, (100, 110, 100, 108), (108, 108, 100, 101), (101, 101, 98, 98)]
    assert fills(run(rows, order("sell", trail=Trail(percent=D(10))))) == [(3, 1, D(99))]


@pytest.mark.parametrize(
    ("entry", "row", "best"),
    [
        ({}, (100, 108, 97, 102), 108),  # entry at the open: the whole bar came after it
        ({"limit": 98}, (100, 108, 97, 102), 102),  # fell inside: only C surely came after
        ({"stop": 103}, (100, 108, 99, 106), 108),  # rose inside: H came after
        ({"stop": 103, "limit": 102}, (100, 108, 99, 102), 102),  # rose, then fell to its limit: C
        ({"tif": "at_close"}, (100, 108, 97, 102), 102),  # at the close: its own price
    ],
)
def test_an_attached_trail_takes_in_only_what_was_surely_reached_after_its_entry(
    entry: Any, row: Any, best: int
) -> None:
    # The trail is 10, so its level in bar 2 is best - 10: bar 2 stays above it by a half, bar 3 touches it.
    level = best - 10
    above = (row[3], row[3], level + 0.5, row[3])
    both([FLAT, row, above], order("buy", stop_loss=Trail(amount=D(10)), **entry), [(1, 1, price_of(entry, row))])
    touch = (row[3], row[3], level, row[3])
    asked = order("buy", stop_loss=Trail(amount=D(10)), **entry)
    both([FLAT, row, touch], asked, [(1, 1, price_of(entry, row)), (2, 2, level)])


def price_of(entry: Any, row: Any) -> Any:
    if "tif" in entry:
        return row[3]
    return entry.get("limit", entry.get("stop", row[0]))


def test_an_attached_trail_starts_from_the_price_before_slippage() -> None:
    # Entry at 100 (paid 101); the trail of 5 stands at 95 and sells there, at 94.05 after slippage.
    rows = [FLAT, (100, 100, 100, 100), (99, 99, 95, 96)]
    result = run(rows, order("buy", stop_loss=Trail(amount=D(5))), slippage=0.01)
    assert [fill.price for fill in result.fills] == [D(101), D("94.05")]


# ---------------------------------------------------------------- brackets


@pytest.mark.parametrize(
    ("row", "expected"),
    [
        ((100, 104, 96, 100), []),
        ((100, 104, 95, 100), [(1, 2, 95)]),
        ((100, 105, 96, 100), [(1, 3, 105)]),
        ((100, 105, 95, 100), [(1, 2, 95)]),  # both could: the worse
    ],
)
def test_after_an_entry_at_the_open_both_legs_live_in_that_bar(row: Any, expected: Any) -> None:
    both([FLAT, row], order("buy", stop_loss=95, take_profit=105), [(1, 1, 100), *expected])


def test_with_intrabar_best_the_better_leg_fills() -> None:
    both(
        [FLAT, (100, 105, 95, 100)],
        order("buy", stop_loss=95, take_profit=105),
        [(1, 1, 100), (1, 3, 105)],
        intrabar="best",
    )


def test_a_bar_that_opens_beyond_the_target_fills_the_target_whatever_its_low() -> None:
    both([FLAT, FLAT, (107, 108, 90, 100)], order("buy", stop_loss=95, take_profit=105), [(1, 1, 100), (2, 3, 107)])


def test_a_bracket_whose_entry_opens_beyond_a_leg_is_judged_at_the_same_open() -> None:
    # The entry gaps down to 94: the stop-loss at 95 is beyond at once and fills there too. Never unprotected.
    both([FLAT, (94, 99, 90, 95)], order("buy", stop_loss=95, take_profit=105), [(1, 1, 94), (1, 2, 94)])
    both([FLAT, (106, 107, 90, 95)], order("buy", stop_loss=95, take_profit=105), [(1, 1, 106), (1, 3, 106)])


FELL, ROSE, BACK = {"limit": 98}, {"stop": 102}, {"stop": 104, "limit": 102}
INSIDE = [
    # entry, bar, worst, best; the stop-loss is 95, the take-profit 106 unless given
    (FELL, (100, 101, 95, 97), 2, 2),  # L <= s: must
    (FELL, (100, 101, 95.5, 97), None, None),
    (FELL, (100, 106, 97, 105), None, None),  # H >= t: merely could
    (FELL, (100, 107, 97, 106), 3, 3),  # C >= t: must
    (FELL, (100, 107, 95, 106), 2, 3),  # both must: the loss; best: the profit
    (ROSE, (100, 103, 95, 96), None, None),  # L <= s, but C > s: merely could
    (ROSE, (100, 103, 94, 95), 2, 2),  # C <= s: must
    (ROSE, (100, 106, 96, 103), 3, 3),  # H >= t: must, and the loss could not
    (ROSE, (100, 106, 95, 103), 2, 3),  # profit must, loss could have come first
    (ROSE, (100, 105, 95, 103), None, None),  # loss merely could
    (BACK, (100, 107, 96, 102), None, None),  # H >= t came before the entry perhaps
    (BACK, (100, 105, 95, 101), None, None),
    (BACK, (100, 105, 94, 95), 2, 2),  # C <= s
]


@pytest.mark.parametrize(("entry", "row", "worst", "best"), INSIDE)
def test_after_an_entry_inside_a_leg_fills_only_where_it_must(entry: Any, row: Any, worst: Any, best: Any) -> None:
    price = entry.get("limit", entry.get("stop"))
    for intrabar, leg in (("worst", worst), ("best", best)):
        expected = [(1, 1, price)]
        if leg:
            expected.append((1, leg, {2: 95, 3: 106}[leg]))
        both([FLAT, row], order("buy", stop_loss=95, take_profit=106, **entry), expected, intrabar=intrabar)


def test_a_stop_limit_as_a_limit_from_the_open_counts_as_fallen_to() -> None:
    # Opens at 105 beyond its limit 103, falls to 103 and on to 95: the loss must have come after.
    row = (105, 106, 95, 100)
    both([FLAT, row], order("buy", stop=104, limit=103, stop_loss=95, take_profit=106), [(1, 1, 103), (1, 2, 95)])


def test_an_attached_trail_takes_the_place_of_the_stop_loss_on_the_entry_bar() -> None:
    # Fell to 98; 3 below is 95, which L reaches after it.
    both([FLAT, (100, 101, 95, 97)], order("buy", limit=98, stop_loss=Trail(amount=D(3))), [(1, 1, 98), (1, 2, 95)])


def test_a_leg_on_the_wrong_side_of_an_entry_inside_fills_at_the_entry_price() -> None:
    both([FLAT, (100, 101, 97, 99)], order("buy", limit=98, stop_loss=99), [(1, 1, 98), (1, 2, 98)])
    both([FLAT, (100, 104, 99, 103)], order("buy", stop=103, take_profit=102), [(1, 1, 103), (1, 2, 103)])


def test_legs_of_an_entry_at_the_close_live_from_the_next_bar() -> None:
    asked = order("buy", tif="at_close", stop_loss=95, take_profit=105)
    both([FLAT, (100, 110, 90, 100), (100, 101, 95, 99)], asked, [(1, 1, 100), (2, 2, 95)])


def test_when_a_leg_fills_the_other_is_cancelled() -> None:
    result = run([FLAT, FLAT, (100, 101, 94, 95), (100, 120, 80, 100)], order("buy", stop_loss=95, take_profit=105))
    assert fills(result) == [(1, 1, 100), (2, 2, 95)]
    assert [result.orders[n].status for n in (1, 2, 3)] == ["filled", "filled", "cancelled"]
    assert result.positions == {"A": 0}


def test_when_a_leg_fills_the_rest_of_the_entry_is_cancelled() -> None:
    # Volume 10, cap a half: 5 of 8 are bought; the stop-loss sells the 5 and the other 3 are never bought.
    rows = [FLAT, (100, 100, 100, 100, 10), (94, 96, 93, 95, 100), FLAT]
    result = run(rows, order("buy", 8, stop_loss=95), volume_cap=0.5)
    assert [(f.start, f.number, f.lots) for f in result.fills] == [(1, 1, 5), (2, 2, 5)]
    assert result.orders[1].status == "cancelled"


def test_when_another_order_closes_the_position_the_rest_of_the_entry_is_cancelled_with_the_legs() -> None:
    rows = [FLAT, (100, 100, 100, 100, 10), (100, 100, 100, 100, 10), FLAT]
    result = run(rows, order("buy", 8, limit=100, stop_loss=95), (2, order("sell", 5)), volume_cap=0.5)
    assert [(f.start, f.number, f.lots) for f in result.fills] == [(1, 1, 5), (2, 3, 5)]
    assert [result.orders[n].reason for n in (1, 2)] == ["leg", "exit"]


def test_an_entry_that_turns_a_position_wakes_its_legs_once_it_has_opened_one() -> None:
    rows = [FLAT, FLAT, (100, 100, 100, 100, 8), (100, 100, 100, 100, 8), (100, 100, 94, 100, 100)]
    result = run(rows, order("sell", 5), (2, order("buy", 8, stop_loss=95)), volume_cap=0.5)
    assert [(f.start, f.number, f.lots) for f in result.fills] == [(1, 1, 5), (2, 2, 4), (3, 2, 4), (4, 3, 3)]


def test_the_legs_of_an_entry_that_never_filled_are_cancelled_with_it() -> None:
    result = run([FLAT, FLAT], order("buy", limit=90, tif="day", stop_loss=85, take_profit=99))
    assert [result.orders[n].status for n in (1, 2, 3)] == ["expired", "cancelled", "cancelled"]


# ---------------------------------------------------------------- one bar interval


def test_opens_fill_reducing_orders_first_and_then_in_call_order() -> None:
    rows = [FLAT] * 4
    result = run(rows, order("buy", 5), (2, order("buy", 1)), (2, order("buy", 2)), (2, order("sell", 3)))
    assert [fill.number for fill in result.fills] == [1, 4, 2, 3]


def test_candidates_below_fall_and_candidates_above_rise_and_equal_prices_keep_call_order() -> None:
    row = (100, 105, 95, 100)
    asked = [order("buy", limit=96), order("buy", limit=98), order("buy", limit=96)]
    assert [fill.number for fill in run([FLAT, row], *asked).fills] == [2, 1, 3]
    asked = [order("sell", limit=104), order("sell", limit=102), order("sell", limit=104)]
    assert [fill.number for fill in run([FLAT, row], *asked).fills] == [2, 1, 3]


def test_candidates_on_both_sides_that_do_not_compete_go_in_call_order() -> None:
    row = (100, 105, 95, 100)
    asked = [order("sell", limit=104), order("buy", limit=98), order("sell", limit=101)]
    # Next below is 2, next above 3: 2 first. Then 3, then 1.
    assert [fill.number for fill in run([FLAT, row], *asked).fills] == [2, 3, 1]


def test_of_an_oco_pair_the_one_that_is_worse_at_the_close_fills() -> None:
    row = (100, 105, 95, 104)
    pair = [order("buy", limit=96), order("sell", limit=104), Oco(1, 2)]
    # At C 104: the buy at 96 would be worth +8, the sell at 104 exactly 0: worst takes the sell.
    assert fills(run([FLAT, row], *pair)) == [(1, 2, D(104))]
    result = run([FLAT, row], *pair, intrabar="best")
    assert fills(result) == [(1, 1, D(96))]
    assert (result.orders[2].status, result.orders[2].reason) == ("cancelled", "oco")
    # At C 100 both would be worth 4: call order.
    assert fills(run([FLAT, (100, 105, 95, 100)], *pair)) == [(1, 1, D(96))]


def test_of_two_exits_the_one_that_is_worse_at_the_close_fills_first() -> None:
    rows = [FLAT, FLAT, (100, 105, 95, 100)]
    exits = [(2, order("sell", 3, limit=104, exit=True)), (2, order("sell", 2, stop=96, exit=True))]
    result = run(rows, order("buy", 3), *exits)
    # Stop: 2 * (96 - 100) = -8; limit: 3 * (104 - 100) = +12. The stop takes 2, the limit is left with 1.
    assert [(f.number, f.lots) for f in result.fills] == [(1, 3), (3, 2), (2, 1)]
    assert result.positions == {"A": 0}
    assert result.orders[2].filled == 1


def test_the_inside_of_bars_goes_in_the_order_of_the_symbols() -> None:
    series = {"B": bars(FLAT, (100, 105, 95, 100)), "A": bars(FLAT, (100, 105, 95, 100))}
    plan = [At(1, order("buy", symbol="A", limit=98)), At(1, order("buy", symbol="B", limit=96))]
    assert [fill.symbol for fill in simulate(series, plan).fills] == ["B", "A"]


# ---------------------------------------------------------------- exits


def test_an_exit_shrinks_with_its_position_and_never_turns_it() -> None:
    result = run([FLAT] * 4, order("buy", 5), (2, order("sell", 3)), (2, order("sell", 5, exit=True)))
    assert [(f.number, f.lots) for f in result.fills] == [(1, 5), (2, 3), (3, 2)]
    assert result.orders[3].status == "cancelled"
    assert result.positions == {"A": 0}


def test_exits_share_one_allowance() -> None:
    exits = [(2, order("sell", 5, stop=95, exit=True)), (2, order("sell", 5, stop=94, exit=True))]
    result = run([FLAT, FLAT, (93, 93, 93, 93)], order("buy", 5), *exits)
    assert [(f.number, f.lots) for f in result.fills] == [(1, 5), (2, 5)]
    assert result.orders[3].status == "cancelled"


def test_an_exit_ends_when_the_position_turns() -> None:
    stop = (2, order("sell", 5, stop=90, exit=True))
    result = run([FLAT, FLAT, FLAT, (80, 80, 80, 80)], order("buy", 5), stop, (2, order("sell", 8)))
    assert [f.number for f in result.fills] == [1, 3]
    assert (result.orders[2].status, result.orders[2].reason) == ("cancelled", "exit")


def test_an_exit_without_a_position_is_cancelled_at_once() -> None:
    result = run([FLAT, FLAT], order("sell", 5, exit=True))
    assert result.fills == []
    assert result.orders[1].status == "cancelled"


# ---------------------------------------------------------------- time in force


def test_gtc_rests_through_gaps_and_expires_at_the_end_of_the_data() -> None:
    result = run([FLAT, None, FLAT, (98, 98, 98, 98)], order("buy", limit=98), order("buy", limit=90))
    assert fills(result) == [(3, 1, D(98))]
    assert (result.orders[2].status, result.orders[2].reason) == ("expired", "end_of_data")


def test_day_on_daily_bars_is_exactly_the_next_bar() -> None:
    result = run([FLAT, None, FLAT, (98, 98, 98, 98)], order("buy", limit=98, tif="day"))
    assert fills(result) == []
    assert (result.orders[1].status, result.orders[1].reason) == ("expired", "day")
    assert fills(run([FLAT, None, (98, 98, 98, 98)], order("buy", limit=98, tif="day"))) == [(2, 1, D(98))]


def test_day_on_intraday_bars_lasts_for_the_first_utc_date_with_a_bar() -> None:
    # 8-hour bars: starts 0, 1, 2 are the first date, 3, 4, 5 the second. Given at tick 3 = 00:00 of the second date.
    low = (98, 98, 98, 98)
    for at, expected in [(4, [(4, 1, D(98))]), (5, [(5, 1, D(98))]), (6, [])]:
        rows = [FLAT] * 7
        rows[at] = low
        assert fills(run(rows, order("buy", limit=98, tif="day"), tick=3, seconds=28_800)) == expected


def test_gtd_cannot_fill_in_a_bar_that_starts_at_its_end_or_later() -> None:
    low = (98, 98, 98, 98)
    assert fills(run([FLAT, FLAT, low], order("buy", limit=98, tif="gtd", good_till=3))) == [(2, 1, D(98))]
    result = run([FLAT, FLAT, low], order("buy", limit=98, tif="gtd", good_till=2))
    assert fills(result) == []
    assert result.orders[1].reason == "gtd"
    # A gap jumps over the instant: no tick at 2 or 3, and still no fill at 3.
    assert fills(run([FLAT, None, None, low], order("buy", limit=98, tif="gtd", good_till=2))) == []


def test_ioc_and_fok_are_judged_once_at_the_next_open_against_the_volume_cap() -> None:
    thin = (100, 100, 90, 100, 10)
    cases = [("ioc", {}, 5), ("fok", {}, 0), ("ioc", {"limit": 95}, 0), ("ioc", {"limit": 100}, 5)]
    for tif, given, lots in cases:
        result = run([FLAT, thin, FLAT], order("buy", 8, tif=tif, **given), volume_cap=0.5)
        assert [f.lots for f in result.fills] == ([lots] if lots else [])
        assert (result.orders[1].status, result.orders[1].reason) == ("expired", tif)
    assert [f.lots for f in run([FLAT, thin], order("buy", 5, tif="fok"), volume_cap=0.5).fills] == [5]


def test_at_open_and_at_close_fill_at_the_first_open_and_the_last_close_of_a_session() -> None:
    row = (101, 110, 90, 104)
    both([FLAT, row], order("buy", tif="at_open"), [(1, 1, 101)])
    both([FLAT, row], order("buy", tif="at_close"), [(1, 1, 104)])
    both([FLAT, row], order("buy", tif="at_close", limit=104), [(1, 1, 104)])
    both([FLAT, row, (99, 99, 99, 99)], order("buy", tif="at_close", limit=103), [])
    both([FLAT, row, (99, 99, 99, 99)], order("buy", tif="at_open", limit=100), [])
    assert run([FLAT, row], order("buy", tif="at_close", limit=103)).orders[1].reason == "at_close"


def test_at_open_and_at_close_need_a_calendar_on_intraday_bars() -> None:
    for tif in ("at_open", "at_close"):
        result = run([FLAT, FLAT], order("buy", tif=tif), seconds=3600)
        assert (result.orders[1].status, result.orders[1].reason) == ("rejected", "calendar")


# ---------------------------------------------------------------- volume cap


def test_all_fills_of_a_symbol_in_a_bar_share_the_cap_and_the_rest_waits() -> None:
    # floor(0.25 * 15) = 3 a bar: order 1 takes 3, then 2; order 2 gets the third of bar 2 and the rest in bar 3.
    rows = [FLAT, (100, 100, 100, 100, 15), (101, 101, 101, 101, 15), (102, 102, 102, 102, 15)]
    result = run(rows, order("buy", 5), order("buy", 2), volume_cap=0.25)
    assert [(f.start, f.number, f.lots, f.before) for f in result.fills] == [
        (1, 1, 3, 100), (2, 1, 2, 101), (2, 2, 1, 101), (3, 2, 1, 102),
    ]  # fmt: skip


def test_the_rest_of_a_triggered_stop_is_a_market_order() -> None:
    rows = [FLAT, (100, 104, 100, 101, 4), (99, 99, 99, 99, 100)]
    both(rows, order("buy", 5, stop=103), [(1, 1, 103), (2, 1, 99)], volume_cap=0.5)
    # So is a stop that was triggered where no volume was left at all.
    rows = [FLAT, (100, 104, 100, 101, 1), (99, 99, 99, 99, 100)]
    both(rows, order("buy", 5, stop=103), [(2, 1, 99)], volume_cap=0.5)


def test_the_rest_of_a_limit_filled_at_the_open_waits_for_the_next_bar() -> None:
    rows = [FLAT, (97, 99, 90, 95, 4), (96, 96, 96, 96, 100)]
    both(rows, order("buy", 5, limit=98), [(1, 1, 97), (2, 1, 96)], volume_cap=0.5)


# ---------------------------------------------------------------- money


def test_an_explicit_quantity_that_cannot_be_paid_for_is_rejected_whole() -> None:
    result = run([FLAT, FLAT], order("buy", 11), cash=1000)
    assert (result.fills, result.orders[1].status, result.orders[1].reason) == ([], "rejected", "money")
    assert [f.lots for f in run([FLAT, FLAT], order("buy", 10), cash=1000).fills] == [10]
    # 10 lots and 0.1 % commission are 1001.
    assert run([FLAT, FLAT], order("buy", 10), cash=1000, commission=0.001).fills == []


def test_money_is_checked_again_at_the_fill() -> None:
    result = run([FLAT, (101, 101, 101, 101)], order("buy", 10), cash=1000)
    assert (result.fills, result.orders[1].reason) == ([], "money")


def test_a_size_from_a_weight_shrinks_to_what_can_be_paid_for() -> None:
    # At acceptance 12 -> 10 at 100; at the fill 10 -> 8 at 120 (960 of 1000).
    result = run([FLAT, (120, 120, 120, 120)], order("buy", 12, shrink=True), cash=1000)
    assert [(f.lots, f.price) for f in result.fills] == [(8, 120)]
    assert (result.orders[1].status, result.orders[1].lots) == ("filled", 8)
    assert run([FLAT, FLAT], order("buy", 12, shrink=True), cash=99).orders[1].status == "rejected"


def test_expected_prices_at_acceptance() -> None:
    # cash 1000, close 100: what is the largest order that passes? One lot more is refused.
    for given, lots in [
        ({"limit": 50}, 20),  # min(50, 100)
        ({"limit": 125}, 10),  # min(125, 100)
        ({"stop": 125}, 8),  # max(125, 100)
        ({"stop": 80}, 10),
        ({"stop": 125, "limit": 200}, 8),  # min(max(125, 100), 200)
        ({"stop": 125, "limit": 50}, 20),
        ({"trail": Trail(amount=D(25))}, 8),
    ]:
        far = (100, 100, 100, 100, 0)  # no volume: only acceptance decides
        for some, status in ((lots, "expired"), (lots + 1, "rejected")):
            result = run([FLAT, far], order("buy", some, **given), cash=1000, volume_cap=0.5)
            assert result.orders[1].status == status, (given, some)
    # Worsened: 100 * 1.25 = 125 for a market order, not for a limit.
    far = (100, 100, 100, 100, 0)
    slipped = {"cash": 1000, "volume_cap": 0.5, "slippage": 0.25}
    # equity after: 1000 - n * 125 + n * 125 (the mark is the fill price): gross 125 n <= 1000.
    assert run([FLAT, far], order("buy", 8), **slipped).orders[1].status == "expired"
    assert run([FLAT, far], order("buy", 9), **slipped).orders[1].status == "rejected"
    assert run([FLAT, far], order("buy", 10, limit=100), **slipped).orders[1].status == "expired"


def test_reducing_orders_of_a_tick_come_first_and_market_orders_count_as_done() -> None:
    series = {"A": bars(*[FLAT] * 4), "B": bars(*[FLAT] * 4)}
    cash = Settings(cash=D(1000), cash_only=True)
    # All of the 1000 is in A. At tick 2 B is bought first by call order; the sale of A counts before it.
    plan = [At(1, order("buy", 10)), At(2, order("buy", 10, symbol="B")), At(2, order("sell", 10))]
    result = simulate(series, plan, cash)
    assert [(f.symbol, f.side) for f in result.fills] == [("A", "buy"), ("A", "sell"), ("B", "buy")]
    # Two buys of 6 at one tick: the second finds only 400 left.
    plan = [At(1, order("buy", 6)), At(1, order("buy", 6, symbol="B"))]
    result = simulate(series, plan, cash)
    assert [result.orders[n].status for n in (1, 2)] == ["filled", "rejected"]
    # A resting limit holds nothing back.
    plan = [At(1, order("buy", 6, limit=90)), At(1, order("buy", 6, symbol="B"))]
    assert [simulate(series, plan, cash).orders[n].status for n in (1, 2)] == ["expired", "filled"]


def test_an_account_may_be_long_or_short_up_to_leverage_times_its_equity() -> None:
    for side in ("buy", "sell"):
        assert run([FLAT, FLAT], order(side, 10), cash=1000).positions == {"A": 10 if side == "buy" else -10}
        assert run([FLAT, FLAT], order(side, 11), cash=1000).fills == []
        assert len(run([FLAT, FLAT], order(side, 30), cash=1000, leverage=3).fills) == 1
        assert run([FLAT, FLAT], order(side, 31), cash=1000, leverage=3).fills == []


def test_cash_only_forbids_shorts_and_borrowing() -> None:
    assert run([FLAT, FLAT], order("sell", 1), cash=1000, cash_only=True).orders[1].reason == "money"
    assert run([FLAT, FLAT], order("buy", 11), cash=1000, cash_only=True).orders[1].reason == "money"
    assert run([FLAT, FLAT], order("buy", 10), cash=1000, cash_only=True).cash == 0


def test_reducing_fills_are_never_refused() -> None:
    # Short 10 at 100 with 1000; at 250 equity is 2000 - 2500 < 0. Buying back still works (maintenance set aside).
    rows = [FLAT, FLAT, (250, 250, 250, 250), (250, 250, 250, 250)]
    result = run(rows, order("sell", 10), (3, order("buy", 4)), cash=1000, maintenance=-1000)
    assert result.positions == {"A": -6}


def test_an_order_that_turns_the_position_is_checked() -> None:
    rows = [FLAT] * 3
    assert run(rows, order("buy", 5), (2, order("sell", 15)), cash=1000).positions == {"A": -10}
    assert run(rows, order("buy", 5), (2, order("sell", 16)), cash=1000).positions == {"A": 5}
    assert run(rows, order("buy", 5), (2, order("sell", 16, shrink=True)), cash=1000).positions == {"A": -10}


def test_what_is_freed_inside_a_bar_is_not_spendable_in_it() -> None:
    row = (100, 105, 95, 100)
    series = {"A": bars(FLAT, FLAT, row, row), "B": bars(FLAT, FLAT, row, row)}
    # A is sold inside bar 2 for 10 * 102 = 1020, and B wants 10 * 98 inside the same bar.
    plan = [
        At(1, order("buy", 10)),
        At(2, order("sell", 10, limit=102)),
        At(2, order("buy", 10, symbol="B", limit=98)),
    ]
    for cash_only in (False, True):
        result = simulate(series, plan, Settings(cash=D(1000), cash_only=cash_only))
        assert (result.orders[3].status, result.orders[3].reason) == ("rejected", "money")
    later = [*plan[:2], At(3, order("buy", 10, symbol="B", limit=98))]
    assert simulate(series, later, Settings(cash=D(1000))).orders[3].status == "filled"
    # What the opens free is spendable inside.
    plan[1] = At(2, order("sell", 10))
    assert simulate(series, plan, Settings(cash=D(1000))).orders[3].status == "filled"


def test_borrow_accrues_on_the_short_notional_for_the_time_since_the_last_bar_end() -> None:
    # Short 10 at 100; at C 110 of bar 1: 10 * 110 * 0.365 * 1 / 365 = 1.10; then a gap of one: two days, 2.20.
    rows = [FLAT, (100, 110, 100, 110), None, (110, 110, 110, 110)]
    result = run(rows, order("sell", 10), cash=5000, borrow=0.365)
    assert [equity for _, equity in result.equity] == [D(5000), D("4898.90"), D("4896.70")]


def test_financing_accrues_on_borrowed_cash_without_the_short_proceeds() -> None:
    # 20 bought for 2000 with 1000: 1000 borrowed, 1000 * 0.365 / 365 = 1.
    result = run([FLAT, FLAT], order("buy", 20), cash=1000, leverage=2, financing=0.365)
    assert result.cash == D(-1001)
    # Long 15 B, short 5 A with 1000: cash is 1000 + 500 - 1500 = 0, the 500 of proceeds are held, so 500 are borrowed.
    series = {"A": bars(FLAT, FLAT), "B": bars(FLAT, FLAT)}
    plan = [At(1, order("sell", 5)), At(1, order("buy", 15, symbol="B"))]
    result = simulate(series, plan, Settings(cash=D(1000), leverage=D(2), financing=D("0.365")))
    assert abs(result.cash - D("-0.5")) < D("1e-40")


def test_below_maintenance_every_position_is_closed_at_the_next_open() -> None:
    # Long 20 at 100 with 1000 and leverage 2: at 66, equity 320 < 0.25 * 1320 = 330.
    rows = [FLAT, FLAT, (66, 66, 66, 66), (60, 60, 60, 60)]
    result = run(rows, order("buy", 20), (2, order("sell", 25, limit=200)), (2, order("sell", 20, limit=200)),
                 cash=1000, leverage=2)  # fmt: skip
    assert [(f.start, f.number, f.side, f.lots, f.price) for f in result.fills][1:] == [(3, -1, "sell", 20, 60)]
    assert (result.orders[2].status, result.orders[2].reason) == ("cancelled", "liquidation")
    assert (result.orders[3].status, result.orders[3].reason) == ("cancelled", "liquidation")
    # At 67 it is 340 against 335: nothing happens.
    rows = [FLAT, FLAT, (67, 67, 67, 67), (60, 60, 60, 60)]
    assert len(run(rows, order("buy", 20), cash=1000, leverage=2).fills) == 1


# ---------------------------------------------------------------- commands, numbers, the end


def test_numbers_count_calls_and_a_bracket_takes_one_for_each_leg_given() -> None:
    asked = [order("buy", stop_loss=90), order("buy", take_profit=120), order("buy", stop_loss=90, take_profit=120)]
    result = run([FLAT, FLAT], *asked, order("sell", limit=150))
    assert sorted(result.orders) == [1, 2, 3, 4, 5, 6, 7, 8]
    assert [n for n, o in result.orders.items() if o.status == "filled"] == [1, 3, 5]


def test_cancelling_takes_effect_before_the_new_orders_and_what_is_done_stays_done() -> None:
    result = run([FLAT] * 3, order("buy"), order("buy", limit=90), (2, Cancel(1)), (2, Cancel(2)))
    assert [result.orders[n].status for n in (1, 2)] == ["filled", "cancelled"]


def test_modify_changes_price_and_total() -> None:
    rows = [FLAT, FLAT, (99, 99, 99, 99)]
    result = run(rows, order("buy", 2, limit=90), (2, Modify(1, limit=D(99), lots=3)))
    assert [(f.start, f.lots, f.price) for f in result.fills] == [(2, 3, 99)]


def test_orders_of_the_last_tick_expire_with_the_data() -> None:
    result = run([FLAT, FLAT], order("buy"), tick=2)
    assert (result.fills, result.orders[1].reason) == ([], "end_of_data")


def test_a_command_at_an_instant_without_a_tick_is_refused() -> None:
    with pytest.raises(ValueError, match="no tick"):
        run([FLAT, None, None, FLAT], order("buy"), tick=2)


def test_equity_has_a_row_per_bar_end_marked_at_the_last_known_close() -> None:
    series = {"A": bars(FLAT, FLAT, (110, 110, 110, 110)), "B": bars(FLAT, (101, 101, 101, 101), None)}
    plan = [At(1, order("buy", 1)), At(1, order("buy", 2, symbol="B"))]
    result = simulate(series, plan, Settings(cash=D(1000)))
    # Bought at 100 and 101; at bar 2 A is 110 and B still 101.
    assert result.equity == [(0, D(1000)), (1, D(1000)), (2, D(1010))]
