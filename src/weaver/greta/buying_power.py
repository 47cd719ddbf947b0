"""BuyingPower: whether an account can pay for fills, and for how much of them. It moves no money.

Two comparisons: an explicit quantity may miss by `SLACK`, which only covers rounding. A size that is cut to what can be paid
for uses no slack: afterwards the cash, or leverage * equity - gross, is zero or more in the account's own arithmetic.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import NamedTuple

from weaver.core.account import Account

__all__ = ["SLACK", "BuyingPower", "Increase"]

SLACK = 1e-9
"""Comparisons of money for explicit quantities allow for this share of the amounts compared."""
_INTERPOLATIONS = 24
"""So many guesses follow the money that is left; after them the interval is halved, whatever the costs are like."""


class Increase(NamedTuple):
    """An order that may be cut: `lots` (positive), of which `reducing` only close an opposite position."""

    symbol_index: int
    buy: bool
    lots: int
    reducing: int
    price_of: Callable[[int], tuple[float, float]]
    """Return price and commission of so many lots."""


class BuyingPower:
    """The money rules of docs/fills.md for one account. `marks()` returns the price of every symbol that does not fill."""

    __slots__ = ("account", "cash_only", "leverage", "marks")

    def __init__(
        self, account: Account, marks: Callable[[], Sequence[float]], leverage: float, *, cash_only: bool
    ) -> None:
        self.account = account
        self.marks = marks
        self.leverage = leverage
        self.cash_only = cash_only

    def allows(self, account: Account, index: int, lots: int, price: float, commission: float, freed: float) -> bool:
        """Return whether `account` may add `lots` (signed) of symbol `index` at `price`.

        `freed` is the notional that this bar's inside has freed, which cannot be spent yet.
        """
        instrument = account.instruments[index]
        multiplier = account.multipliers[index]
        after = account.lots[index] + lots
        cash = account.cash - instrument.to_quantity(lots) * price * multiplier - commission
        if self.cash_only:
            return after >= 0 and cash - freed >= 0.0
        # Without shorts the cash that is left is exactly what is not spent, and that needs no marks.
        if after >= 0 and account.shorts == 0 and self.leverage >= 1.0 and cash - freed >= 0:
            return True
        equity, gross = self.after(account, index, lots, price, commission)
        limit = self.leverage * equity
        return gross + freed <= limit + SLACK * max(abs(limit), gross, freed)

    def refusal(self, account: Account, index: int, lots: int, price: float, commission: float, freed: float) -> str:
        """Return why `allows` is false: the two numbers that were compared, with enough decimals to tell them apart."""
        instrument = account.instruments[index]
        held = account.lots[index]
        quantity = instrument.to_quantity(abs(lots))
        symbol = account.symbols[index]
        if self.cash_only and held + lots < 0:
            return (
                f"cannot be sold short: {quantity:g} {symbol}, and {instrument.to_quantity(held):g} are held; "
                "cash_only allows no short positions"
            )
        notional = quantity * price * account.multipliers[index]
        what = f"cannot be paid for: {quantity:g} {symbol} at {price:g} is {notional:.2f} and costs {commission:.2f}"
        counted = "" if account is self.account else ", the orders given before it counted"
        later = f" ({freed:.2f} more was freed inside this bar, and is spendable from the next tick)" if freed else ""
        if self.cash_only:
            needed, available = _apart(notional + commission, account.cash - freed)
            return (
                f"{what}, together {needed}; {available} in cash is available{later}{counted}; cash_only never borrows"
            )
        equity, gross = self.after(account, index, lots, price, commission)
        needed, available = _apart(gross + freed, self.leverage * equity)
        return (
            f"{what}; afterwards positions of {needed} would be held{later}, and equity of {equity:.2f} would bear "
            f"{available} at leverage {self.leverage:g}{counted}"
        )

    def after(self, account: Account, index: int, lots: int, price: float, commission: float) -> tuple[float, float]:
        """Return equity and gross position after such a fill, its symbol marked at `price`."""
        instrument = account.instruments[index]
        multiplier = account.multipliers[index]
        cash = account.cash - instrument.to_quantity(lots) * price * multiplier - commission
        quantity = instrument.to_quantity(account.lots[index] + lots)
        equity = cash + quantity * price * multiplier
        gross = abs(quantity) * price * multiplier
        if len(account.lots) > 1:
            marks = self.marks()
            own = account.quantity[index] * marks[index] * multiplier
            equity += account.equity(marks) - account.cash - own
            gross += account.gross(marks) - abs(own)
        return equity, gross

    def largest(self, account: Account, increases: Sequence[Increase], freed: float) -> tuple[list[int], float]:
        """Return the lots of each increase at the largest common factor at which all can be paid for, and the factor.

        The factor is from 0 to 1 and applies to all but the reducing lots, which are always allowed. Lots are cut to whole
        ones, and the costs are those of the lots that remain.
        """
        if self.cash_only:  # a short is not a matter of money: it must not hold up the rest
            increases = [each if each.buy else each._replace(lots=each.reducing) for each in increases]
        full = [increase.lots for increase in increases]
        over = self._spare(account, increases, full, freed)
        if over >= 0.0:
            return full, 1.0
        base = [increase.reducing for increase in increases]
        added = [increase.lots - increase.reducing for increase in increases]
        # Factors are whole numbers of 1 / scale, fine enough to tell k / n from any other m / l.
        scale = 1 << (2 * max(added).bit_length() + 2)
        low, high = 0, scale
        left = self._spare(account, increases, base, freed)
        if left < 0.0:
            return base, 0.0
        turns = 0
        while True:
            # The smallest factor above `low` at which any of them has one lot more.
            following = min(-(-(lots * low // scale + 1) * scale // lots) for lots in added if lots)
            if following >= high:
                return [have + lots * low // scale for have, lots in zip(base, added, strict=True)], low / scale
            middle = low + int((high - low) * (left / (left - over))) if turns < _INTERPOLATIONS else (low + high) // 2
            middle = min(max(middle, following), high - 1)
            sizes = [have + lots * middle // scale for have, lots in zip(base, added, strict=True)]
            spare = self._spare(account, increases, sizes, freed)
            # Illinois' variant of the false position: an end that stays twice counts half.
            if spare >= 0.0:
                low, left, over = middle, spare, over / 2.0
            else:
                high, over, left = middle, spare, left / 2.0
            turns += 1

    def _spare(self, account: Account, increases: Sequence[Increase], sizes: Sequence[int], freed: float) -> float:
        """Return the buying power that is left after fills of these sizes, below zero where they cannot be paid for.

        It books them as the account will, one after the other, and marks their symbols at their prices.
        """
        cash, shorts = account.cash, account.shorts
        filled: list[tuple[int, float, float]] = []
        for increase, size in zip(increases, sizes, strict=True):
            index = increase.symbol_index
            price, commission = increase.price_of(size or 1)
            if not size:
                filled.append((index, account.quantity[index], price))
                continue
            amount = account.instruments[index].to_quantity(size) * price * account.multipliers[index]
            cash = cash - amount - commission if increase.buy else cash + amount - commission
            before = account.lots[index]
            after = before + size if increase.buy else before - size
            shorts += (after < 0) - (before < 0)
            filled.append((index, account.instruments[index].to_quantity(after), price))
        if self.cash_only:
            return cash - freed if shorts == 0 else -abs(cash) - 1.0
        if shorts == 0 and self.leverage == 1.0:
            return cash - freed
        quantities, marks = list(account.quantity), list(self.marks())
        for index, quantity, price in filled:
            quantities[index], marks[index] = quantity, price
        equity, gross = cash, 0.0
        for quantity, mark, multiplier in zip(quantities, marks, account.multipliers, strict=True):
            if quantity:
                equity += quantity * mark * multiplier
                gross += abs(quantity) * mark * multiplier
        return self.leverage * equity - gross - freed


def _apart(larger: float, smaller: float) -> tuple[str, str]:
    """Return two numbers as text, with two decimals or as many more as it takes to see that they differ."""
    for decimals in (2, 4, 6, 8):
        texts = f"{larger:.{decimals}f}", f"{smaller:.{decimals}f}"
        if texts[0] != texts[1]:
            return texts
    return repr(larger), repr(smaller)
