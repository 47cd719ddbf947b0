"""Orders, commands, fills and updates: frozen values that marvin, greta and veda pass to each other. No behaviour.

A command carries its kind as a tag, and all are encoded and read by `order_messages`. A change of a field's name or type
makes recorded messages unreadable; a new field needs a default.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from enum import StrEnum
from numbers import Real
from types import MappingProxyType

import msgspec

from weaver.core.errors import OrderError
from weaver.core.instants import from_ns
from weaver.core.text import brief

__all__ = [
    "ALLOWED",
    "Cancel",
    "Command",
    "Fill",
    "Link",
    "Modify",
    "OrderRequest",
    "OrderStatus",
    "OrderUpdate",
    "Side",
    "TimeInForce",
    "Trail",
]


class Side(StrEnum):
    """The side of an order or a fill; compares equal to "buy" and "sell"."""

    BUY = "buy"
    SELL = "sell"


class TimeInForce(StrEnum):
    """How long an order may rest."""

    GTC = "gtc"
    DAY = "day"
    GTD = "gtd"
    IOC = "ioc"
    FOK = "fok"
    AT_OPEN = "at_open"
    AT_CLOSE = "at_close"


class OrderStatus(StrEnum):
    """The status of an order; `ALLOWED` holds the moves from one to another. `is_open`: it can still fill."""

    is_open: bool

    SUBMITTED = "submitted"
    ACCEPTED = "accepted"
    PARTIALLY_FILLED = "partially_filled"
    FILLED = "filled"
    CANCELLED = "cancelled"
    EXPIRED = "expired"
    REJECTED = "rejected"

    def __init__(self, value: str) -> None:
        self.is_open = value in ("submitted", "accepted", "partially_filled")


_OPEN_MOVES = frozenset(
    {OrderStatus.PARTIALLY_FILLED, OrderStatus.FILLED, OrderStatus.CANCELLED, OrderStatus.EXPIRED, OrderStatus.REJECTED}
)

ALLOWED: Mapping[OrderStatus, frozenset[OrderStatus]] = MappingProxyType(
    {
        OrderStatus.SUBMITTED: _OPEN_MOVES | {OrderStatus.ACCEPTED},
        OrderStatus.ACCEPTED: _OPEN_MOVES,
        OrderStatus.PARTIALLY_FILLED: _OPEN_MOVES,
        OrderStatus.FILLED: frozenset(),
        OrderStatus.CANCELLED: frozenset(),
        OrderStatus.EXPIRED: frozenset(),
        OrderStatus.REJECTED: frozenset(),
    }
)
"""Allowed moves of a status. An accepted order may still be rejected: its cost is checked again at the fill."""


class Trail(msgspec.Struct, frozen=True, omit_defaults=True, forbid_unknown_fields=True):
    """The distance of a trailing stop from the best price since its activation: `percent` of it, or an `amount`."""

    percent: float | None = None
    amount: float | None = None

    def __post_init__(self) -> None:
        given = [value for value in (self.percent, self.amount) if value is not None]
        is_one_number = len(given) == 1 and isinstance(given[0], Real) and not isinstance(given[0], bool)
        if not is_one_number or not 0 < given[0] < float("inf") or (self.percent is not None and self.percent >= 100):
            raise OrderError(
                f"Trail(percent={brief(self.percent)}, amount={brief(self.amount)}): give exactly one, greater than zero "
                "(and percent below 100); for example Trail(percent=5)"
            )
        # Equal trails are encoded equally.
        name = "amount" if self.percent is None else "percent"
        msgspec.structs.force_setattr(self, name, float(given[0]))


LONGEST_TAG = 120
"""Characters of an order's tag, which is repeated in fills, trades, reports and the tables of recorded runs."""


class OrderRequest(
    msgspec.Struct, frozen=True, kw_only=True, gc=False, tag="order", omit_defaults=True, forbid_unknown_fields=True
):
    """One order as requested. Prices are on the price step; `lots` is a positive whole number of lots.

    `number` counts the run's orders from 1. `exit` marks an order that may only reduce; `parent` is the entry of a bracket
    leg; `shrink` allows a size that came from a weight to be cut to the buying power, together with those of the same
    `basket`, the number of the first order of a target_weights call. A `plain` order is a market order without terms other
    than `exit` and `tag`.
    """

    number: int
    symbol: str
    side: Side
    lots: int
    plain: bool = False
    limit: float | None = None
    stop: float | None = None
    trail: Trail | None = None
    tif: TimeInForce = TimeInForce.GTC
    good_till_ns: int | None = None
    exit: bool = False
    parent: int | None = None
    shrink: bool = False
    basket: int | None = None
    tag: str | None = None


class Cancel(msgspec.Struct, frozen=True, gc=False, tag="cancel", omit_defaults=True, forbid_unknown_fields=True):
    """Cancel order `number`; its fills stay."""

    number: int


class Modify(
    msgspec.Struct, frozen=True, kw_only=True, gc=False, tag="modify", omit_defaults=True, forbid_unknown_fields=True
):
    """Change the given terms of order `number`; `lots` is the new total, filled lots included."""

    number: int
    limit: float | None = None
    stop: float | None = None
    lots: int | None = None


class Link(msgspec.Struct, frozen=True, gc=False, tag="link", omit_defaults=True, forbid_unknown_fields=True):
    """One cancels the other: when any of `numbers` fills, the others are cancelled."""

    numbers: tuple[int, ...]


Command = OrderRequest | Cancel | Modify | Link


class Fill(msgspec.Struct, frozen=True, gc=False, omit_defaults=True, forbid_unknown_fields=True):
    """One execution. `ts_ns` is the start of the bar in which it happened (live: the venue's time).

    `trade_id` is the venue's id of the trade: the same id of the same symbol is the same trade, and is booked once. Fills of
    a backtest have none, and each of them is a trade.
    """

    number: int
    symbol: str
    ts_ns: int
    side: Side
    lots: int
    quantity: float
    price: float
    commission: float
    tag: str | None = None
    trade_id: str | None = None

    @property
    def ts(self) -> datetime:
        """Time of the fill (start of its bar), an aware UTC datetime."""
        return from_ns(self.ts_ns)

    @property
    def order_id(self) -> int:
        """The `id` of the order."""
        return self.number


class OrderUpdate(msgspec.Struct, frozen=True, gc=False, omit_defaults=True, forbid_unknown_fields=True):
    """One change of an order: its new status, with the reason or the fill that caused it."""

    number: int
    ts_ns: int
    status: OrderStatus
    reason: str | None = None
    fill: Fill | None = None
    request: OrderRequest | None = None
