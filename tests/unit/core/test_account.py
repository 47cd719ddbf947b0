"""The account: fills become cash, positions and equity, exactly."""

from __future__ import annotations

import struct
from fractions import Fraction
from random import Random

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from weaver import Instrument, WeaverError
from weaver.core.account import Account, AccountSnapshot

LOT = Instrument()
FILLS = st.lists(
    st.tuples(st.integers(0, 1), st.integers(-(10**10), 10**10).filter(bool), st.floats(0.01, 1e5), st.floats(0, 100)),
    max_size=30,
)


def account(cash: float = 1000.0, *instruments: Instrument) -> Account:
    return Account(cash, ("A", "B"), instruments or (LOT, LOT))


def book(to: Account, index: int, lots: int, price: float, commission: float = 0.0) -> None:
    to.apply(index, lots, to.instruments[index].to_quantity(abs(lots)), price, commission)


@given(FILLS)
def test_cash_and_positions_are_those_of_exact_arithmetic(fills: list[tuple[int, int, float, float]]) -> None:
    one = account()
    cash, held = Fraction(1000), [0, 0]
    turnover = Fraction(1000)
    for index, lots, price, commission in fills:
        book(one, index, lots, price, commission)
        held[index] += lots
        quantity = Fraction(one.instruments[index].to_quantity(abs(lots)))
        cash -= (1 if lots > 0 else -1) * quantity * Fraction(price) + Fraction(commission)
        turnover += quantity * Fraction(price) + Fraction(commission)
    assert one.lots == held
    assert one.quantity == [LOT.to_quantity(lots) for lots in held]
    assert abs(Fraction(one.cash) - cash) <= turnover / 10**12
    assert one.shorts == sum(lots < 0 for lots in held)
    for lots, average in zip(held, one.average, strict=True):
        assert (average == 0.0) == (lots == 0)
    marks = [3.0, 7.0]
    assert one.equity(marks) == pytest.approx(
        float(cash) + sum(q * m for q, m in zip(one.quantity, marks, strict=True))
    )
    assert one.gross(marks) == pytest.approx(sum(abs(q) * m for q, m in zip(one.quantity, marks, strict=True)))
    assert one.short_value(marks) == pytest.approx(
        sum(max(0.0, -q) * m for q, m in zip(one.quantity, marks, strict=True))
    )


def test_a_position_bought_in_parts_and_sold_again_is_exactly_zero() -> None:
    one = account()
    for _ in range(10):
        book(one, 0, LOT.to_lots(0.1), 100.0)
    assert one.quantity[0] == 1.0
    book(one, 0, -LOT.to_lots(1), 100.0)
    assert (one.lots[0], one.quantity[0], one.average[0], one.cash) == (0, 0.0, 0.0, 1000.0)


def test_the_average_price_is_that_of_entries_and_starts_anew_when_the_position_turns() -> None:
    one = account()
    seen = []
    for lots, price in [(10, 100), (10, 110), (-5, 200), (-25, 120), (-10, 90), (4, 50), (16, 70), (2, 60)]:
        book(one, 0, lots * 10**8, float(price))
        seen.append((one.quantity[0], one.average[0]))
    assert seen == [(10, 100), (20, 105), (15, 105), (-10, 120), (-20, 105), (-16, 105), (0, 0), (2, 60)]


def test_commissions_and_costs_of_holding_come_out_of_the_cash() -> None:
    one = account()
    book(one, 0, 10**8, 100.0, 1.5)
    book(one, 0, -(10**8), 100.0, 2.5)
    one.charge(3.0)
    one.charge(0.5)
    assert (one.cash, one.charged) == (992.5, 3.5)


def test_a_contract_size_multiplies_money_and_not_quantity() -> None:
    one = account(1e6, Instrument(lot=1, multiplier=50), LOT)
    book(one, 0, 2, 4000.0)
    assert (one.quantity[0], one.average[0], one.cash) == (2, 4000, 600_000)
    assert one.equity([4100.0, 0.0]) == 1_010_000
    assert one.gross([4100.0, 0.0]) == 410_000


def test_short_proceeds_are_cash_and_the_short_is_counted() -> None:
    one = account()
    book(one, 1, -5 * 10**8, 100.0)
    assert (one.cash, one.shorts, one.short_value([0.0, 90.0])) == (1500, 1, 450)
    assert one.equity([0.0, 90.0]) == 1050
    book(one, 1, 8 * 10**8, 90.0)
    assert (one.shorts, one.quantity[1], one.average[1]) == (0, 3, 90)


def test_a_copy_goes_its_own_way() -> None:
    one = account()
    book(one, 0, -(10**8), 100.0)
    one.charge(5.0)
    twin = one.copy()
    assert (twin.cash, twin.lots, twin.quantity, twin.average, twin.shorts, twin.charged) == (
        one.cash, one.lots, one.quantity, one.average, one.shorts, one.charged,
    )  # fmt: skip
    book(twin, 0, 10**8, 50.0)
    twin.charge(1.0)
    assert (one.lots[0], one.shorts, one.charged, one.average[0]) == (-(10**8), 1, 5.0, 100.0)
    assert (twin.lots[0], twin.shorts) == (0, 0)


def test_equity_needs_a_mark_for_every_symbol() -> None:
    for total in (account().equity, account().gross, account().short_value):
        with pytest.raises(ValueError, match="zip"):
            total([1.0])


def bits(one: Account) -> bytes:
    """Every number of an account, to the last bit."""
    floats = [one.cash, one.charged, *one.quantity, *one.average]
    return struct.pack(f"{len(floats)}d", *floats) + repr((one.lots, one.shorts, one.symbols)).encode()


def restored(one: Account) -> Account:
    """A fresh account, set to a snapshot that has travelled as MessagePack."""
    data = msgspec.msgpack.encode(one.snapshot())
    twin = account(0.0, *one.instruments)
    twin.restore(msgspec.msgpack.decode(data, type=AccountSnapshot))
    return twin


TENTHS = (Instrument(lot=0.1, multiplier=50), Instrument(lot=0.01))


@given(FILLS, FILLS, st.floats(0, 10))
def test_a_restored_account_continues_to_the_last_bit(
    before: list[tuple[int, int, float, float]], after: list[tuple[int, int, float, float]], charge: float
) -> None:
    one = account(1000.0, *TENTHS)
    for index, lots, price, commission in before:
        book(one, index, lots, price, commission)
    one.charge(charge)
    twin = restored(one)
    assert bits(twin) == bits(one)
    for index, lots, price, commission in after:
        book(one, index, lots, price, commission)
        book(twin, index, lots, price, commission)
        assert bits(twin) == bits(one)
    assert twin.equity([3.1, 0.7]) == one.equity([3.1, 0.7])


def test_an_account_computed_again_in_another_order_differs_where_a_restored_one_does_not() -> None:
    different = 0
    for seed in range(60):
        draw = Random(seed)
        fills = [(draw.randrange(2), draw.choice((-7, 3, 11)), draw.uniform(1, 100), draw.random()) for _ in range(12)]
        one, shuffled = account(1000.0, *TENTHS), account(1000.0, *TENTHS)
        for fill in fills:
            book(one, *fill)
        for fill in sorted(fills):
            book(shuffled, *fill)
        assert bits(restored(one)) == bits(one)
        different += bits(shuffled) != bits(one)
    assert different > 30


def test_restoring_changes_the_lists_that_others_hold() -> None:
    one = account()
    lots = one.lots
    book(one, 0, -5, 10.0)
    snapshot = one.snapshot()
    book(one, 0, 9, 10.0)
    one.restore(snapshot)
    assert (lots, one.shorts) == ([-5, 0], 1)


def test_a_snapshot_of_other_symbols_is_refused_by_name() -> None:
    other = Account(1.0, ("A", "C"), (LOT, LOT))
    with pytest.raises(WeaverError, match=r"\['A', 'B'\] does not fit an account of \['A', 'C'\]"):
        other.restore(account().snapshot())
    damaged = msgspec.structs.replace(account().snapshot(), average=(0.0,))
    with pytest.raises(WeaverError, match="1 values of average does not fit 2 symbols"):
        account().restore(damaged)
