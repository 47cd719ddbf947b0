"""RunState: the tick, the account and the symbols of a run, as order entry and the context see them.

The engine moves it (`now_ns`, the symbols' cursors, `moved`), the context swaps its account while it reports fills. It
gives no orders and reports nothing.
"""

from __future__ import annotations

from collections.abc import Sequence

from weaver.core.account import Account
from weaver.core.errors import SymbolRequired
from weaver.core.suggest import unknown_symbol
from weaver.core.text import brief
from weaver.marvin.symbol_state import SymbolState

__all__ = ["RunState"]


class RunState:
    """The state of one run at its current tick.

    `now_ns` is the tick in UTC nanoseconds. `account` is the account as the strategy knows it. `index_of` maps a symbol
    to its place in the order of the run.
    """

    __slots__ = ("_by_symbol", "_equity", "_marks", "account", "index_of", "now_ns", "only", "states", "symbols")

    def __init__(self, states: Sequence[SymbolState], account: Account) -> None:
        self.now_ns = 0
        self.account = account
        self.states = states
        self.symbols = tuple(state.symbol for state in states)
        self.index_of = {state.symbol: state.index for state in states}
        self.only = states[0] if len(states) == 1 else None
        """The state of the only symbol, None where there are several."""
        self._by_symbol = {state.symbol: state for state in states}
        self._marks: list[float] | None = None
        self._equity: float | None = None

    def state(self, symbol: str | None, caller: str) -> SymbolState:
        """Return the state of `symbol`, or of the only one.

        Raises SymbolRequired and UnknownSymbol; `caller` names the call.
        """
        if symbol is None:
            if self.only is None:
                raise SymbolRequired(
                    f"{caller}: this run has {len(self.symbols)} symbols; say which one, for example "
                    f"symbol={brief(self.symbols[0])}"
                )
            return self.only
        try:
            return self._by_symbol[symbol]
        except (KeyError, TypeError):  # TypeError: a list, for example
            raise unknown_symbol(symbol, self._by_symbol) from None

    def marks(self) -> list[float]:
        """Return every symbol's last close, 0.0 before its first bar (when its position can only be zero).

        With several symbols the list is computed once per tick and shared: callers must not change it.
        """
        only = self.only
        if only is not None:
            row = only.cursor.last
            return [only.closes[row] if row >= 0 else 0.0]
        marks = self._marks
        if marks is None:
            marks = self._marks = [
                state.closes[state.cursor.last] if state.cursor.last >= 0 else 0.0 for state in self.states
            ]
        return marks

    def equity(self) -> float:
        """Return the account's equity at the last closes.

        With several symbols it is computed once until something changes.
        """
        if self.only is not None:
            return self.account.equity(self.marks())
        equity = self._equity
        if equity is None:
            equity = self._equity = self.account.equity(self.marks())
        return equity

    def moved(self) -> None:
        """Forget what was computed: the cursors of a run with several symbols have moved."""
        self._marks = self._equity = None

    def account_changed(self) -> None:
        """Forget the equity: the account, as the strategy knows it, has changed."""
        self._equity = None
