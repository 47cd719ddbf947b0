"""BuyingPower: whether an account can pay for a fill, and for how much of it. Moves no money."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from weaver.core.account import Account

__all__ = ["SLACK", "BuyingPower"]

SLACK = 1e-9
"""Comparisons of money allow for this share of the amounts compared."""


class BuyingPower:
    """The money rules of docs/fills.md for one account."""

    __slots__ = ("account", "cash_only", "leverage", "marks")

    def __init__(
        self, account: Account, marks: Callable[[], Sequence[float]], leverage: float, *, cash_only: bool
    ) -> None:
        self.account = account
        self.marks = marks
        self.leverage = leverage
        self.cash_only = cash_only

    def allows(self, account: Account, index: int, lots: int, price: float, commission: float, freed: float) -> bool:
        """Whether `account` may add `lots` (signed) of symbol `index` at `price`.

        `freed` is the notional that this bar's inside has freed, which is not spendable yet. Other symbols count at their
        last close.
        """
        instrument = account.instruments[index]
        multiplier = account.multipliers[index]
        after = account.lots[index] + lots
        cash = account.cash - instrument.to_quantity(lots) * price * multiplier - commission
        slack = SLACK * abs(account.cash)
        if self.cash_only:
            return after >= 0 and cash - freed >= -slack
        # Without shorts the cash that is left is exactly what is not spent, and that needs no marks.
        if after >= 0 and account.shorts == 0 and self.leverage >= 1.0 and cash - freed >= 0:
            return True
        held = account.quantity[index]
        quantity = instrument.to_quantity(after)
        equity = cash + quantity * price * multiplier
        gross = abs(quantity) * price * multiplier
        marks = self.marks()
        if len(account.lots) > 1:
            own = held * marks[index] * multiplier
            equity += account.equity(marks) - account.cash - own
            gross += account.gross(marks) - abs(own)
        limit = self.leverage * equity
        return gross + freed <= limit + SLACK * max(abs(limit), gross, freed)

    def most(
        self,
        account: Account,
        index: int,
        lots: int,
        price_of: Callable[[int], tuple[float, float]],
        freed: float,
    ) -> int:
        """The largest part of `lots` (signed) that is allowed; `price_of(n)` gives price and commission of n lots.

        What only reduces the position is always allowed, so a turn is cut no further than to flat.
        """
        held = account.lots[index]
        sign = 1 if lots > 0 else -1
        low = min(abs(held), abs(lots)) if held * sign < 0 else 0
        high = abs(lots)

        def allowed(part: int) -> bool:
            price, commission = price_of(part)
            return self.allows(account, index, sign * part, price, commission, freed)

        # Costs are nearly in proportion to the size, so the answer lies close to what the cash is for; looking there first
        # saves most of the halvings, of which a lot of 1e-8 would need thirty or more.
        price, commission = price_of(high)
        cost = account.instruments[index].to_quantity(high) * price * account.multipliers[index] + commission
        if sign > 0 and cost > 0:
            near = min(high, max(low, int(high * max(0.0, account.cash - freed) / cost)))
            reach = high // 2**24 + 1
            if near > low and allowed(near - reach if near - reach > low else low):
                low = max(low, near - reach)
            if near + reach < high and not allowed(near + reach):
                high = near + reach - 1
        while low < high:
            middle = (low + high + 1) // 2
            if allowed(middle):
                low = middle
            else:
                high = middle - 1
        return sign * low
