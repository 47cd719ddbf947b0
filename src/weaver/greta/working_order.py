"""WorkingOrder: an accepted order as the simulated broker keeps it between bars. State only; the rules are elsewhere."""

from __future__ import annotations

from weaver.core.orders import Fill, OrderRequest, OrderStatus, Side, TimeInForce, Trail
from weaver.greta import matching
from weaver.greta.costs import EarlierFills

__all__ = ["ENDS_WITH_SESSION", "LIMIT", "MARKET", "STOP", "STOP_LIMIT", "WorkingOrder"]

_BUY = Side.BUY
MARKET = 0
LIMIT = 1
STOP = 2
STOP_LIMIT = 3

ENDS_WITH_SESSION = (TimeInForce.DAY, TimeInForce.AT_CLOSE)


class WorkingOrder:
    """One order at work.

    `kind` is what it is now: a stop-limit that was triggered beyond its limit turns into a LIMIT, a triggered stop that
    found no volume into a MARKET. `lots` is what is still to be filled; a bracket leg's follows its entry. A `plain` one is
    a market order that nothing but its symbol's next open decides.
    """

    # Defaults of the class: an order that never needs one of these pays nothing for it.
    status = OrderStatus.ACCEPTED
    done = False
    filled = 0
    partners: list[WorkingOrder] | None = None
    """One cancels the other: the orders it is linked to."""
    parent: WorkingOrder | None = None
    legs: list[WorkingOrder] | None = None
    legs_filled = 0
    waiting = False
    """A leg whose entry has not filled yet."""
    sits_out = False
    """It takes no further part in the present bar."""
    fresh = True
    """It has not seen a bar yet."""
    rests_after = False
    """A stop-limit triggered inside this bar beyond its limit: a plain limit from the next bar on."""
    how = 0
    """For a leg on its entry's bar: how the entry was reached (0: at the open, -1: at the close)."""
    proved: float | None = None
    """For a leg on its entry's bar: the price at which it must have been reached after the entry."""
    liquidation = False
    """The broker's own order, which a strategy can neither cancel nor change."""
    best = 0.0
    """For a trailing stop: the best price so far."""
    earlier: EarlierFills | tuple[()] = ()
    """Its fills so far, where it has filled in part."""
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
            self.kind = MARKET
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
        """For an entry: how much of what it filled its legs have not yet closed."""
        return self.filled - self.legs_filled

    @property
    def level(self) -> float | None:
        """Where its stop stands, trailing or not; None where it has none."""
        if self.trail is not None:
            return matching.trail_level(self.buy, self.best, self.trail.percent, self.trail.amount)
        return self.stop
