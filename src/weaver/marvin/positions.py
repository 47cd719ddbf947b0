"""Position and Positions: the positions as a strategy reads them. Only fills change them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NoReturn

from weaver.core.errors import StrategyError
from weaver.core.suggest import unknown_symbol

__all__ = ["Position", "Positions"]


class Position(float):
    """A position as a signed number of units: 0.0 is flat and false, below 0 is short."""

    __slots__ = ("average_price", "symbol")

    symbol: str
    average_price: float

    @classmethod
    def of(cls, quantity: float, symbol: str, average_price: float) -> Position:
        """Return a position of `quantity` units of `symbol`; `average_price` is its average entry price (0.0 when flat)."""
        self = cls(quantity)
        self.symbol = symbol
        self.average_price = average_price
        return self

    @property
    def quantity(self) -> float:
        """The same number as a plain float."""
        return float(self)

    @property
    def is_long(self) -> bool:
        """Whether the position is above zero."""
        return self > 0

    @property
    def is_short(self) -> bool:
        """Whether the position is below zero."""
        return self < 0


class Positions(dict[str, Position]):
    """The position of every symbol of the run. An unknown symbol raises UnknownSymbol; writing raises StrategyError."""

    __slots__ = ()

    def __init__(self, symbols: Sequence[str]) -> None:
        super().__init__((symbol, Position.of(0.0, symbol, 0.0)) for symbol in symbols)

    def __missing__(self, symbol: str) -> Position:
        raise unknown_symbol(symbol, self)

    def _refuse(self, *args: Any, **kwargs: Any) -> NoReturn:
        raise StrategyError("positions change by fills only; use self.buy, self.sell, self.close or self.target")

    __setitem__ = __delitem__ = __ior__ = _refuse
    clear = pop = popitem = setdefault = update = _refuse
