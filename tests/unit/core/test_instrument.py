"""Instruments: quantities are whole lots, prices lie on the step, and floats are read as the decimals they stand for."""

from __future__ import annotations

import math
import pickle
from decimal import Decimal
from fractions import Fraction
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from weaver import ConfigError, Instrument

LOTS = st.sampled_from(["0.00000001", "0.001", "0.1", "0.3", "1", "3", "10", "0.25"])
STEPS = st.sampled_from(["0.01", "0.05", "0.25", "0.0001", "1", "0.1", "0.03125"])


@given(LOTS, st.integers(0, 10**10))
def test_whole_lots_come_back_from_their_quantity(lot: str, lots: int) -> None:
    instrument = Instrument(lot=lot)
    quantity = instrument.to_quantity(lots)
    assert quantity == float(Fraction(Decimal(lot)) * lots)  # correctly rounded
    assert instrument.to_lots(quantity) == lots
    assert instrument.to_lots(-quantity) == -lots


@given(LOTS, st.decimals(0, 10_000, places=10))
def test_a_quantity_is_cut_towards_zero(lot: str, quantity: Decimal) -> None:
    exact = Fraction(quantity) / Fraction(Decimal(lot))
    lots = Instrument(lot=lot).to_lots(float(quantity))
    # What lies closer below a whole lot than floats can tell counts as whole.
    assert lots == math.floor(exact) or (
        lots == math.ceil(exact) and lots - exact <= max(Fraction(1, 10**9), exact / 10**12)
    )
    assert Instrument(lot=lot).to_lots(-float(quantity)) == -lots


@pytest.mark.parametrize(
    ("quantity", "lots"),
    [(0.3, 30_000_000), (0.1 + 0.2, 30_000_000), (0.3 - 0.1, 20_000_000), (10.000000009, 1_000_000_000),
     (12.345678909, 1_234_567_890), (sum([0.1] * 1000), 10_000_000_000), (9e-9, 0), (1e-8, 1), (0, 0)],
)  # fmt: skip
def test_floats_are_read_as_decimals_and_never_cut_up(quantity: float, lots: int) -> None:
    assert Instrument().to_lots(quantity) == lots


@pytest.mark.parametrize("lot", [0.001, "0.001", Decimal("0.001")])
def test_a_lot_may_be_text_decimal_or_float(lot: Any) -> None:
    instrument = Instrument(lot=lot)
    assert instrument.lot == Decimal("0.001")
    assert instrument == Instrument(lot="0.001")
    assert instrument.to_lots(1) == 1000


@given(STEPS, st.integers(1, 10**7), st.booleans())
def test_a_price_on_the_step_stays_there(step: str, steps: int, up: bool) -> None:
    instrument = Instrument(price_step=step)
    price = float(Fraction(Decimal(step)) * steps)
    assert instrument.round_price(price, up=up) == price
    # Multiplied as floats it may be a neighbour of that price, and it is still on the step.
    assert instrument.round_price(float(step) * steps, up=up) == price


@given(STEPS, st.decimals("0.5", 10_000, places=7))
def test_a_price_moves_to_the_next_step_on_the_side_asked_for(step: str, price: Decimal) -> None:
    instrument = Instrument(price_step=step)
    low, high = (Fraction(Decimal(repr(instrument.round_price(float(price), up=up)))) for up in (False, True))
    size = Fraction(Decimal(step))
    assert low <= Fraction(price) <= high
    assert high - low == (0 if (Fraction(price) / size).denominator == 1 else size)


def test_without_a_step_a_price_stays_as_it_is() -> None:
    assert Instrument().round_price(95.123456789, up=True) == 95.123456789


@pytest.mark.parametrize(
    ("settings", "told"),
    [
        ({"lot": 0}, "lot=0: the smallest quantity must be greater than zero"),
        ({"lot": -1}, "lot=-1"), ({"lot": "nan"}, "lot='nan'"), ({"lot": float("inf")}, "lot=inf"),
        ({"lot": "one"}, "lot='one'"), ({"lot": None}, "lot=None"),
        ({"price_step": 0}, "price_step=0: must be greater than zero, or None for any price"),
        ({"price_step": "x"}, "price_step='x'"),
        ({"multiplier": 0}, "multiplier=0: must be greater than zero"), ({"multiplier": float("nan")}, "multiplier=nan"),
    ],
)  # fmt: skip
def test_what_cannot_be_is_refused_by_name(settings: dict[str, Any], told: str) -> None:
    with pytest.raises(ConfigError) as caught:
        Instrument(**settings)
    assert str(caught.value).startswith(told)


def test_instruments_are_values() -> None:
    one = Instrument(lot=0.1, price_step="0.25", multiplier=50)
    assert one == Instrument(lot="0.1", price_step=0.25, multiplier=50)
    assert hash(one) == hash(Instrument(lot="0.1", price_step=0.25, multiplier=50))
    assert pickle.loads(pickle.dumps(one)) == one
    assert pickle.loads(pickle.dumps(one)).to_lots(1) == 10
    with pytest.raises(AttributeError):
        one.multiplier = 5  # type: ignore[misc]
