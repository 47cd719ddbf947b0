"""FillBook: books fills into an account, each trade once. A fill is a fact, so the status of its order is not asked for.

Venues report a trade more than once: after a reconnect, and in both the order's and the account's stream. A fill without a
trade id (a backtest's) is always a trade.
"""

from __future__ import annotations

from weaver.core.account import Account
from weaver.core.orders import Fill, Side
from weaver.core.suggest import unknown_symbol

__all__ = ["FillBook", "TradeIds"]


class TradeIds:
    """The trades that have been seen, by symbol and trade id: two symbols of a venue may use the same ids.

    It grows with the trades of a run, as the orders of a run do.
    """

    def __init__(self) -> None:
        self._seen: set[tuple[str, str]] = set()

    def add(self, fill: Fill) -> bool:
        """Remember the trade of a fill, and return whether it is new."""
        if fill.trade_id is None:
            return True
        trade = (fill.symbol, fill.trade_id)
        if trade in self._seen:
            return False
        self._seen.add(trade)
        return True


class FillBook:
    """Books the fills of one account."""

    def __init__(self, account: Account) -> None:
        self._account = account
        self._index_of = {symbol: index for index, symbol in enumerate(account.symbols)}
        self._trades = TradeIds()

    def book(self, fill: Fill) -> bool:
        """Book a fill, and return False without doing so if its trade was booked before. Raises UnknownSymbol."""
        index = self._index_of.get(fill.symbol)
        if index is None:
            raise unknown_symbol(fill.symbol, self._index_of)
        if not self._trades.add(fill):
            return False
        lots = fill.lots if fill.side is Side.BUY else -fill.lots
        self._account.apply(index, lots, fill.quantity, fill.price, fill.commission)
        return True
