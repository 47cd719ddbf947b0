"""orders.*: orders of a run, their fills and their ends.

Instants are int nanoseconds since 1970-01-01 UTC. Quantities are in units, not lots.
"""

from __future__ import annotations

import msgspec

from weaver.events.registry import register

__all__ = ["OrderCancelled", "OrderFilled", "OrderPlaced", "OrderRejected", "OrdersRecorded"]


@register("orders.Placed")
class OrderPlaced(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """A strategy gave an order; `number` counts the run's orders from 1."""

    number: int
    client_order_id: str
    symbol: str
    side: str
    quantity: float
    kind: str = "market"
    limit: float | None = None
    stop: float | None = None
    tif: str = "gtc"
    tag: str | None = None


@register("orders.Filled")
class OrderFilled(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """An order was filled, completely or in part. `ts_ns` is the instant at the venue."""

    number: int
    symbol: str
    side: str
    quantity: float
    price: float
    commission: float
    ts_ns: int
    trade_id: str | None = None


@register("orders.Cancelled")
class OrderCancelled(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """An order ended before it was filled completely: cancelled or expired."""

    number: int
    reason: str | None = None


@register("orders.Rejected")
class OrderRejected(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """An order was rejected; `reason` says by which check and why."""

    number: int
    reason: str


@register("orders.Recorded")
class OrdersRecorded(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """Orders and fills of a part of a backtest, many in one event.

    A row of `fills` is [order number, symbol, side, start of the bar in ns, quantity, price, commission, tag]; a row of
    `orders` [number, symbol, side, kind, quantity, status, reason, tag, submitted in ns, done in ns, filled quantity,
    average price]. An order is listed once it has ended.
    """

    fills: list[tuple[int, str, str, int, float, float, float, str | None]]
    orders: list[
        tuple[int, str, str, str, float, str, str | None, str | None, int, int | None, float, float | None]
    ] = []
