"""Order: a strategy's handle of an order it has given. Order entry makes it, and the context changes its status."""

from __future__ import annotations

import msgspec

from weaver.core.errors import OrderError, WeaverError
from weaver.core.instrument import Instrument
from weaver.core.orders import (
    ALLOWED,
    Cancel,
    Command,
    Modify,
    OrderRequest,
    OrderStatus,
    OrderUpdate,
    Side,
    TimeInForce,
    Trail,
)
from weaver.marvin.order_arguments import positive_lots, price_of

__all__ = ["Order"]

_FILLED = OrderStatus.FILLED


class Order(msgspec.Struct, eq=False, gc=False):
    """An order as its strategy sees it. Its status moves only when a tick delivers the news.

    `id` counts the run's orders from 1; `quantity` is in units, cut to whole lots; `reason` says why it ended other than
    by filling, or what was cut; `stop_loss` and `take_profit` are the handles of a bracket's legs.
    """

    # A run keeps every order. A struct is made at half the price of a class; it holds nothing that leads back to it (so not
    # its run either), and the garbage collector need not look at it.
    _commands: list[Command]
    _instrument: Instrument
    request: OrderRequest
    quantity: float
    submitted_ns: int
    updated_ns: int
    status: OrderStatus = OrderStatus.SUBMITTED
    filled_quantity: float = 0.0
    """How many units have filled."""
    average_price: float | None = None
    """Average price of what has filled, None while nothing has."""
    reason: str | None = None
    """Why it ended without filling."""
    note: str | None = None
    """What was changed about it, such as a quantity cut to whole lots."""
    stop_loss: Order | None = None
    take_profit: Order | None = None
    _filled_lots: int = 0

    @property
    def id(self) -> int:
        """The count of the order within its run, from 1."""
        return self.request.number

    @property
    def symbol(self) -> str:
        """What is traded."""
        return self.request.symbol

    @property
    def side(self) -> Side:
        """Side.BUY or Side.SELL; compares equal to "buy" and "sell"."""
        return self.request.side

    @property
    def tag(self) -> str | None:
        """The text given with the order."""
        return self.request.tag

    @property
    def limit(self) -> float | None:
        """Its limit as it stands, on the price step."""
        return self.request.limit

    @property
    def stop(self) -> float | Trail | None:
        """Its stop price as it stands, on the price step, or its Trail."""
        return self.request.trail if self.request.trail is not None else self.request.stop

    @property
    def tif(self) -> TimeInForce:
        """Its time in force."""
        return self.request.tif

    @property
    def is_open(self) -> bool:
        """Whether it can still fill, as far as the strategy has been told."""
        return self.status.is_open

    def cancel(self) -> None:
        """Ask to cancel it, before this tick's new orders; one that is done stays as it is."""
        if self.is_open:
            self._commands.append(Cancel(self.id))

    def modify(
        self, *, limit: float | None = None, stop: float | Trail | None = None, quantity: float | None = None
    ) -> None:
        """Ask to change what is given; `quantity` is the new total, what has filled included. Its number stays."""
        if not self.is_open:
            return
        request, buy = self.request, self.side is Side.BUY
        if limit is None and stop is None and quantity is None:
            raise OrderError(f"modify: say what to change of order {self.id}: limit=, stop= or quantity=")
        if quantity is not None and request.parent is not None:
            raise OrderError(f"modify: order {self.id} is a bracket's leg; its quantity is what its entry has filled")
        if limit is not None and request.limit is None:
            raise OrderError(f"modify: order {self.id} has no limit to change; cancel it and place another")
        if stop is not None and request.stop is None:
            raise OrderError(f"modify: order {self.id} has no stop price to change; cancel it and place another")
        if isinstance(stop, Trail):
            raise OrderError(f"modify: the stop of order {self.id} is a price; it cannot become a trail")
        self._commands.append(
            Modify(
                number=self.id,
                limit=price_of(self._instrument, limit, "limit", up=not buy),
                stop=price_of(self._instrument, stop, "stop", up=buy),
                lots=None if quantity is None else positive_lots(self._instrument, quantity, "modify"),
            )
        )

    def _move(self, update: OrderUpdate) -> None:
        status = update.status
        if status is not self.status:
            if status not in ALLOWED[self.status]:
                raise WeaverError(f"order {self.id} cannot go from {self.status.value} to {status.value}")
            self.status = status
        self.updated_ns = update.ts_ns
        if update.reason is not None:
            if not status.is_open and status is not _FILLED:
                self.reason = update.reason
            else:
                self.note = update.reason
        if update.request is not None:
            self.request = update.request
            self.quantity = self._instrument.to_quantity(update.request.lots)
        fill = update.fill
        if fill is not None:
            if self._filled_lots == 0:
                self.filled_quantity = fill.quantity
                self.average_price = fill.price
            else:
                value = (self.average_price or 0.0) * self.filled_quantity + fill.price * fill.quantity
                self.filled_quantity += fill.quantity
                self.average_price = value / self.filled_quantity
            self._filled_lots += fill.lots
            if status is _FILLED and self._filled_lots != self.request.lots:
                # A size that shrank to what can be paid for, or a leg that covers what its entry filled.
                self.quantity = self.filled_quantity

    def __repr__(self) -> str:
        price = "".join(
            f" {name}={value:g}"
            for name, value in (("limit", self.request.limit), ("stop", self.request.stop))
            if value
        )
        return f"<Order {self.id} {self.side.value} {self.quantity:g} {self.symbol}{price} {self.status.value}>"
