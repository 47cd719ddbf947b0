"""Instrument: lot, price step, contract size and currency of a traded symbol. Quantities are whole numbers of lots."""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from decimal import Decimal, InvalidOperation
from fractions import Fraction

from weaver.core.errors import ConfigError
from weaver.core.text import brief

__all__ = ["Instrument"]

_ON_STEP = Fraction(1, 10**9)


@dataclass(frozen=True, slots=True)
class Instrument:
    """An instrument's rules.

    `lot` is the smallest quantity (default 1e-8, which suits a bare data frame), `price_step` the smallest price change
    (None: any price), `multiplier` the money that one unit gains when the price rises by one (a future's contract size).
    `quote` is the currency of the prices ("USD"); None: the name says it (EURUSD, see `weaver.core.currencies`) or it is
    not known. All symbols of a run with a known quote have the same one, as amounts are not converted.
    `lot` and `price_step` may be given as float, str or Decimal; a float means its shortest decimal form.
    """

    lot: Decimal | float | str = Decimal("0.00000001")
    price_step: Decimal | float | str | None = None
    multiplier: float = 1.0
    quote: str | None = None
    _lots: int = field(init=False, repr=False, compare=False)
    _units: int = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        lot = _decimal(self.lot)
        if lot is None:
            raise ConfigError(f"lot={brief(self.lot)}: the smallest quantity must be greater than zero")
        object.__setattr__(self, "lot", lot)
        if self.price_step is not None:
            step = _decimal(self.price_step)
            if step is None:
                raise ConfigError(
                    f"price_step={brief(self.price_step)}: must be greater than zero, or None for any price"
                )
            object.__setattr__(self, "price_step", step)
        if not math.isfinite(self.multiplier) or self.multiplier <= 0:
            raise ConfigError(f"multiplier={brief(self.multiplier)}: must be greater than zero")
        if self.quote is not None:
            if not isinstance(self.quote, str) or not self.quote.strip().isalnum():
                raise ConfigError(f'quote={brief(self.quote)}: give the code of a currency, such as "USD", or None')
            code = self.quote.strip()
            object.__setattr__(self, "quote", "GBX" if code == "GBp" else code.upper())  # pence are not pounds
        ratio = Fraction(lot)
        object.__setattr__(self, "_units", ratio.numerator)
        object.__setattr__(self, "_lots", ratio.denominator)

    def to_lots(self, quantity: float) -> int:
        """Return the whole lots in `quantity` units, cut towards zero; 0.3 means the decimal 0.3, not its binary neighbour.

        A quantity that is short of a whole lot by at most 1e-12 of itself, as sums of floats are, counts as that lot.
        """
        exact = quantity * self._lots / self._units
        nearest = round(exact)
        if abs(exact - nearest) <= max(1e-9, 1e-12 * abs(exact)):
            return nearest
        return int(exact)

    def to_quantity(self, lots: int) -> float:
        """Return the quantity of `lots` lots, correctly rounded."""
        return lots * self._units / self._lots

    def round_price(self, price: float, *, up: bool) -> float:
        """Return `price` rounded up or down to the price step; unchanged without a step.

        A price within 1e-9 of a step is on it: 951 * 0.1 is on a step of 0.1, although as a float it is 95.10000000000001.
        """
        if self.price_step is None:
            return price
        step = Fraction(Decimal(str(self.price_step)))
        exact = Fraction(Decimal(str(price))) / step
        whole = round(exact)
        if abs(exact - whole) > _ON_STEP:
            whole = math.ceil(exact) if up else math.floor(exact)
        return float(whole * step)


def _decimal(value: object) -> Decimal | None:
    """Return `value` as a Decimal, None unless it is a finite number above zero."""
    try:
        number = Decimal(str(value))
    except InvalidOperation:
        return None
    return number if number.is_finite() and number > 0 else None
