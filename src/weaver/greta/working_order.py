"""WorkingOrder: an accepted order as the simulated broker keeps it between bars. The fill rules are in `matching`."""

from __future__ import annotations

from collections.abc import Callable
from enum import IntEnum

from weaver.core.orders import Fill, OrderRequest, OrderStatus, Side, TimeInForce, Trail
from weaver.greta import matching
from weaver.greta.buying_power import Increase
from weaver.greta.costs import EarlierFills

__all__ = [
    "ENDS_WITH_SESSION",
    "LIMIT",
    "MARKET",
    "PARTNER_FILLED",
    "POSITION_GONE",
    "STOP",
    "STOP_LIMIT",
    "OrderKind",
    "WorkingOrder",
]

_BUY = Side.BUY

PARTNER_FILLED = "the order it was linked to has filled"
POSITION_GONE = "the position it would reduce is gone"
ENDS_WITH_SESSION = (TimeInForce.DAY, TimeInForce.AT_CLOSE)


class OrderKind(IntEnum):
    """How an order is matched now."""

    MARKET = 0
    LIMIT = 1
    STOP = 2
    STOP_LIMIT = 3


# A member of an Enum is looked up through a descriptor on CPython 3.11; a module's constant is not.
MARKET, LIMIT, STOP, STOP_LIMIT = OrderKind.MARKET, OrderKind.LIMIT, OrderKind.STOP, OrderKind.STOP_LIMIT


class WorkingOrder:
    """One order at work.

    `kind` may change: a stop-limit that was triggered beyond its limit becomes a LIMIT, a triggered stop that found too
    little volume a MARKET. `lots` is what remains to be filled; the size of a bracket leg follows its entry. A `plain`
    order is a market order without other terms.
    """

    # Class defaults: an order that never needs one of these costs nothing.
    status = OrderStatus.ACCEPTED
    done = False
    filled = 0
    partners: list[WorkingOrder] | None = None
    """The orders it is linked to: one cancels the other."""
    parent: WorkingOrder | None = None
    legs: list[WorkingOrder] | None = None
    legs_filled = 0
    waiting = False
    """A leg whose entry has not filled yet."""
    sits_out = False
    """It takes no further part in the current bar."""
    levels: list[tuple[float, int, WorkingOrder]] | None = None
    """Where its book keeps it: the price levels that it is in, at `level_price`; None if it is looked at for every bar."""
    level_price = 0.0
    fresh = True
    """No bar has ended since it was accepted."""
    rests_after = False
    """A stop-limit triggered inside this bar beyond its limit: a plain limit from the next bar on."""
    entry_path = matching.OPENED
    """For a leg on its entry's bar: how the entry was reached."""
    proved: float | None = None
    """For a leg on its entry's bar: the price at which it must have been reached after the entry."""
    liquidation = False
    """An order of the broker itself, which a strategy can neither cancel nor change."""
    best = 0.0
    """For a trailing stop: the best price so far."""
    earlier: EarlierFills | tuple[()] = ()
    """Its fills so far, if it has filled in part."""
    limit: float | None = None
    stop: float | None = None
    trail: Trail | None = None
    tif = TimeInForce.GTC
    until_ns: int | None = None
    """The instant at which it expires: `good_till`, or the close of its session once a bar has shown which one it is."""

    def __init__(self, request: OrderRequest, index: int) -> None:
        self.request = request
        self.number = request.number
        self.index = index
        self.buy = request.side is _BUY
        self.lots = request.lots
        self.exit = request.exit
        if request.plain:
            self.kind: OrderKind = MARKET
            self.plain = True
            return
        self.plain = False
        self.limit = request.limit
        self.stop = request.stop
        self.trail = request.trail
        self.tif = request.tif
        self.until_ns = request.good_till_ns
        if request.stop is None and request.trail is None:
            self.kind = MARKET if request.limit is None else LIMIT
        else:
            self.kind = STOP if request.limit is None else STOP_LIMIT

    def keep(self, fill: Fill) -> None:
        """Remember a fill that has left something to be filled."""
        if not isinstance(self.earlier, EarlierFills):
            self.earlier = EarlierFills()
        self.earlier.append(fill)

    @property
    def uncovered(self) -> int:
        """For an entry: how many of its filled lots its legs have not closed yet."""
        return self.filled - self.legs_filled

    @property
    def level(self) -> float | None:
        """The price of its stop, trailing or not; None without a stop."""
        if self.trail is not None:
            return matching.trail_level(self.buy, self.best, self.trail.percent, self.trail.amount)
        return self.stop

    def reduces(self, held: int) -> bool:
        """Return whether it only reduces a position of `held` lots.

        That is an exit, or an order against the position and not larger than it.
        """
        return self.exit or (held != 0 and (held > 0) != self.buy and self.lots <= abs(held))

    def increase(self, lots: int, held: int, price_of: Callable[[int], tuple[float, float]]) -> Increase:
        """Return what `lots` of it are for the buying power of an account that holds `held` lots."""
        against = held != 0 and (held > 0) != self.buy
        return Increase(self.index, self.buy, lots, min(abs(held), lots) if against else 0, price_of)

    def exit_lots(self, held: int) -> int:
        """Return how many lots an exit may fill at a position of `held` lots: for a leg, at most what its entry filled."""
        open_lots = -held if self.buy else held
        return max(0, min(open_lots, self.lots if self.parent is None else self.parent.uncovered))
