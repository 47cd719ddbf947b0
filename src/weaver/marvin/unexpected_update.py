"""UnexpectedUpdate: news of an order that contradicts what was known of it. Its fill is booked all the same."""

from __future__ import annotations

from typing import NamedTuple

from weaver.core.orders import Fill, OrderStatus, OrderUpdate
from weaver.core.text import brief
from weaver.marvin.order import Order

__all__ = ["UnexpectedUpdate", "contradiction"]

_ENDED_UNFILLED = (OrderStatus.CANCELLED, OrderStatus.EXPIRED, OrderStatus.REJECTED)


class UnexpectedUpdate(NamedTuple):
    """An update, and how it contradicts what was known."""

    update: OrderUpdate
    reason: str


def contradiction(order: Order | None, before: OrderStatus | None, fill: Fill | None, number: int) -> str | None:
    """Return how a booked fill contradicts its order, None if it does not. The order had the status `before`.

    `order` is None if `number` is no order of this run, or one of another symbol.
    """
    if order is None:
        return f"order {number} is not an order of this run" + (
            "" if fill is None else f" for {brief(fill.symbol)}; its fill of {fill.quantity:g} is booked"
        )
    if fill is None:
        return None
    # The size of a bracket's leg follows its entry, so its fills may exceed the size with which it was placed.
    if order._request.parent is None and order._filled_lots > order._request.lots:
        ordered = order._instrument.to_quantity(order._request.lots)
        return f"order {order.id} has filled {order.filled_quantity:g} of {ordered:g}; the fill is booked"
    if before in _ENDED_UNFILLED:
        return f"order {order.id} was {before.value} before its fill of {fill.quantity:g} arrived; the fill is booked"
    return None
