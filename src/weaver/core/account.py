"""Account: computes cash, positions and equity from fills; no other module does.

Money is float64 in one currency. Positions are whole lots, so a position that was bought and sold again is exactly zero.
The account does not decide whether a fill is allowed and has no prices of its own: callers pass the marks.

An account that is computed again from the same fills in another order may differ in its last bits, because float addition
is not associative. A snapshot is exact: the restored account continues with the same bits.
"""

from __future__ import annotations

from collections.abc import Sequence

import msgspec

from weaver.core.errors import WeaverError
from weaver.core.instrument import Instrument
from weaver.core.text import brief

__all__ = ["Account", "AccountSnapshot"]


class AccountSnapshot(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The state of an account as plain values, by symbol in the order of the run; see `Account` for each."""

    cash: float
    charged: float
    symbols: tuple[str, ...]
    lots: tuple[int, ...]
    quantity: tuple[float, ...]
    average: tuple[float, ...]


class Account:
    """Cash and one net position per symbol, by the symbol's index in the order of the run."""

    __slots__ = ("average", "cash", "charged", "instruments", "lots", "multipliers", "quantity", "shorts", "symbols")

    def __init__(self, cash: float, symbols: Sequence[str], instruments: Sequence[Instrument]) -> None:
        self.cash = cash
        self.charged = 0.0
        """Sum of the amounts that `charge` has taken."""
        self.symbols = tuple(symbols)
        self.instruments = tuple(instruments)
        self.multipliers = tuple(instrument.multiplier for instrument in instruments)
        self.lots = [0] * len(self.symbols)
        self.quantity = [0.0] * len(self.symbols)
        """`lots` in units, signed; equity is computed from it."""
        self.average = [0.0] * len(self.symbols)
        """Average entry price of the open position, 0.0 when flat."""
        self.shorts = 0
        """Number of symbols with a short position."""

    def apply(self, index: int, lots: int, quantity: float, price: float, commission: float) -> None:
        """Book one fill: `lots` is signed, `quantity` its size in units (positive)."""
        held_lots = self.lots
        before = held_lots[index]
        held_lots[index] = after = before + lots
        amount = quantity * price * self.multipliers[index]
        self.cash = self.cash - amount - commission if lots > 0 else self.cash + amount - commission
        if not before:
            self.quantity[index] = quantity if lots > 0 else -quantity
            self.average[index] = price
            if lots < 0:
                self.shorts += 1
            return
        if not after:
            self.quantity[index] = self.average[index] = 0.0
            if before < 0:
                self.shorts -= 1
            return
        held = self.quantity[index]
        self.quantity[index] = self.instruments[index].to_quantity(after)
        if (before > 0) != (after > 0):
            self.shorts += 1 if after < 0 else -1
            self.average[index] = price
        elif abs(after) > abs(before):
            self.average[index] = (self.average[index] * abs(held) + price * quantity) / (abs(held) + quantity)

    def copy(self) -> Account:
        """Return an independent account in the same state."""
        twin = Account(self.cash, self.symbols, self.instruments)
        twin.lots, twin.quantity, twin.average = list(self.lots), list(self.quantity), list(self.average)
        twin.shorts, twin.charged = self.shorts, self.charged
        return twin

    def snapshot(self) -> AccountSnapshot:
        """Return the state of the account as plain values."""
        return AccountSnapshot(
            cash=self.cash,
            charged=self.charged,
            symbols=self.symbols,
            lots=tuple(self.lots),
            quantity=tuple(self.quantity),
            average=tuple(self.average),
        )

    def restore(self, snapshot: AccountSnapshot) -> None:
        """Set the account to a snapshot, to the last bit. Raises WeaverError if it is not of the same symbols in order."""
        if snapshot.symbols != self.symbols:
            raise WeaverError(
                f"a snapshot of the symbols {brief(list(snapshot.symbols))} does not fit an account of "
                f"{brief(list(self.symbols))}; make the account of the same symbols in the same order"
            )
        columns = {"lots": snapshot.lots, "quantity": snapshot.quantity, "average": snapshot.average}
        for name, column in columns.items():
            if len(column) != len(self.symbols):
                raise WeaverError(
                    f"a snapshot with {len(column)} values of {name} does not fit {len(self.symbols)} symbols; it is damaged"
                )
        self.cash, self.charged = snapshot.cash, snapshot.charged
        # In place: others hold these lists.
        self.lots[:], self.quantity[:], self.average[:] = snapshot.lots, snapshot.quantity, snapshot.average
        self.shorts = sum(lots < 0 for lots in self.lots)

    def charge(self, amount: float) -> None:
        """Take a cost of holding (borrow, financing) from the cash."""
        self.cash -= amount
        self.charged += amount

    def equity(self, marks: Sequence[float]) -> float:
        """Return cash plus every position at its mark, added in the order of the run, so that the sum is reproducible."""
        total = self.cash
        for held, mark, multiplier in zip(self.quantity, marks, self.multipliers, strict=True):
            if held:
                total += held * mark * multiplier
        return total

    def gross(self, marks: Sequence[float]) -> float:
        """Return the notional of all positions, long plus short."""
        total = 0.0
        for held, mark, multiplier in zip(self.quantity, marks, self.multipliers, strict=True):
            if held:
                total += abs(held) * mark * multiplier
        return total

    def short_value(self, marks: Sequence[float]) -> float:
        """Return the notional of the short positions (positive)."""
        total = 0.0
        for held, mark, multiplier in zip(self.quantity, marks, self.multipliers, strict=True):
            if held < 0:
                total -= held * mark * multiplier
        return total
