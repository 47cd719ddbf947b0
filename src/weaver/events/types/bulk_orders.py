"""orders.RecordedInBulk: the orders and fills of a backtest that has very many of them."""

from __future__ import annotations

import msgspec

from weaver.events.registry import register

__all__ = ["OrdersRecordedInBulk"]


@register("orders.RecordedInBulk")
class OrdersRecordedInBulk(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """Several thousand orders or fills as CSV text with a header line, which costs a tenth of JSON arrays to store.

    The columns of `fills` are seq (counts the run's fills from 1), number, symbol, side, ts_ns, quantity, price, commission,
    tag. Those of `orders` are number, symbol, side, kind, quantity, status, reason, tag, submitted_ns, done_ns,
    filled_quantity, average_price. An empty field is null; the text is quoted as PostgreSQL's COPY with FORMAT csv expects.
    """

    fills: str = ""
    orders: str = ""
