"""Order: a strategy's handle of an order it has given. Order entry makes it, and the context changes its status."""

from __future__ import annotations

import msgspec

from weaver.core.errors import OrderError
from weaver.core.instrument import Instrument
from weaver.core.orders import (
    ALLOWED,
    Cancel,
    Fill,
    Modify,
    OrderRequest,
    OrderStatus,
    OrderUpdate,
    Side,
    TimeInForce,
    Trail,
)
from weaver.core.text import brief, visible
from weaver.marvin.command_queue import CommandQueue
from weaver.marvin.order_arguments import check_distance, positive_lots, price_of

__all__ = ["Order"]

_FILLED = OrderStatus.FILLED


class Order(msgspec.Struct, eq=False, gc=False):
    """An order as its strategy sees it: read-only, changed by `modify` and `cancel`. Its status changes only at a tick."""

    # A run keeps every order. A struct is created at half the cost of a class; it has no reference back to the order or its
    # run, so the garbage collector can skip it. The fields are private because a strategy could assign them otherwise.
    _queue: CommandQueue
    _instrument: Instrument
    _request: OrderRequest
    _quantity: float
    _submitted_ns: int
    _updated_ns: int
    _status: OrderStatus = OrderStatus.SUBMITTED
    _filled_quantity: float = 0.0
    _average_price: float | None = None
    _reason: str | None = None
    _note: str | None = None
    _stop_loss: Order | None = None
    _take_profit: Order | None = None
    _filled_lots: int = 0
    _terms_ns: int = 0

    @property
    def request(self) -> OrderRequest:
        """The terms of the order."""
        return self._request

    @property
    def quantity(self) -> float:
        """The size in units, cut to whole lots."""
        return self._quantity

    @property
    def submitted_ns(self) -> int:
        """The tick at which it was given, in ns since 1970-01-01 UTC."""
        return self._submitted_ns

    @property
    def updated_ns(self) -> int:
        """The tick of its last change, in ns since 1970-01-01 UTC."""
        return self._updated_ns

    @property
    def status(self) -> OrderStatus:
        """Its status, as far as the strategy has been notified."""
        return self._status

    @property
    def filled_quantity(self) -> float:
        """The number of units that have filled."""
        return self._filled_quantity

    @property
    def average_price(self) -> float | None:
        """The average price of its fills, None before the first."""
        return self._average_price

    @property
    def reason(self) -> str | None:
        """The reason why it ended without filling."""
        return self._reason

    @property
    def note(self) -> str | None:
        """A change that Weaver made to it, such as a quantity cut to whole lots."""
        return self._note

    @property
    def stop_loss(self) -> Order | None:
        """The order of its stop-loss exit, if any."""
        return self._stop_loss

    @property
    def take_profit(self) -> Order | None:
        """The order of its take-profit exit, if any."""
        return self._take_profit

    @property
    def id(self) -> int:
        """The number of the order within its run, from 1."""
        return self._request.number

    @property
    def symbol(self) -> str:
        """The symbol."""
        return self._request.symbol

    @property
    def side(self) -> Side:
        """Side.BUY or Side.SELL; compares equal to "buy" and "sell"."""
        return self._request.side

    @property
    def tag(self) -> str | None:
        """The text given with the order."""
        return self._request.tag

    @property
    def limit(self) -> float | None:
        """Its current limit, on the price step."""
        return self._request.limit

    @property
    def stop(self) -> float | Trail | None:
        """Its current stop price, on the price step, or its Trail."""
        return self._request.trail if self._request.trail is not None else self._request.stop

    @property
    def tif(self) -> TimeInForce:
        """Its time in force."""
        return self._request.tif

    @property
    def is_open(self) -> bool:
        """Whether it can still fill, as far as the strategy has been notified."""
        return self._status.is_open

    def cancel(self) -> None:
        """Cancel it, before the new orders of this tick. No effect on an order that has ended."""
        if self.is_open:
            self._queue.add(Cancel(self.id), "cancel")

    def modify(
        self, *, limit: float | None = None, stop: float | Trail | None = None, quantity: float | None = None
    ) -> None:
        """Change the limit, the stop price or the quantity, which is the new total including the filled part."""
        if not self.is_open:
            return
        request, buy = self._request, self.side is Side.BUY
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
        check_distance("modify", "stop", stop, request.stop, above=request.side is Side.BUY)
        self._queue.add(
            Modify(
                number=self.id,
                limit=price_of(self._instrument, limit, "limit", up=not buy),
                stop=price_of(self._instrument, stop, "stop", up=buy),
                lots=None if quantity is None else positive_lots(self._instrument, quantity, "modify"),
            ),
            "modify",
        )

    def _move(self, update: OrderUpdate, fill: Fill | None) -> bool:
        """Apply an update, and return whether it has changed anything.

        `fill` is its fill, None if that was applied before. The status moves only as `ALLOWED` says: a late update leaves it
        as it is, and its fill counts all the same.
        """
        status, present, request = update.status, self._status, update.request
        moves = status is not present and status in ALLOWED[present]
        repeats = fill is None and update.fill is not None
        if moves:
            self._status = status
        elif fill is None and (repeats or not present.is_open or (update.reason is None and request is None)):
            return False
        if moves or status is present or update.ts_ns > self._updated_ns:
            self._updated_ns = update.ts_ns
        if update.reason is not None:
            if moves and not status.is_open and status is not _FILLED:
                self._reason = update.reason
            else:
                self._note = update.reason
        if request is not None and update.ts_ns >= self._terms_ns:
            self._terms_ns = update.ts_ns
            self._request = request
            self._quantity = self._instrument.to_quantity(request.lots)
        if fill is not None:
            self._count(fill)
            if present is _FILLED:
                self._quantity = self._instrument.to_quantity(self._filled_lots)
        if moves and status is _FILLED and update.fill is not None and self._filled_lots != self._request.lots:
            # A size that shrank to what can be paid for, or a leg that covers what its entry filled.
            self._quantity = self._filled_quantity
        return True

    def _count(self, fill: Fill) -> None:
        if self._filled_lots == 0:
            self._filled_quantity = fill.quantity
            self._average_price = fill.price
        else:
            value = (self._average_price or 0.0) * self._filled_quantity + fill.price * fill.quantity
            self._filled_quantity += fill.quantity
            self._average_price = value / self._filled_quantity
        self._filled_lots += fill.lots

    def __repr__(self) -> str:
        price = "".join(
            f" {name}={value:g}"
            for name, value in (("limit", self._request.limit), ("stop", self._request.stop))
            if value
        )
        symbol = visible(self.symbol)
        return f"<Order {self.id} {self.side.value} {self._quantity:g} {symbol}{price} {self._status.value}>"


_HINTS = {
    "quantity": "change it with order.modify(quantity=...)",
    "limit": "change it with order.modify(limit=...)",
    "stop": "change it with order.modify(stop=...)",
    "status": "end the order with order.cancel()",
    "stop_loss": "change the exit with order.stop_loss.modify(stop=...)",
    "take_profit": "change the exit with order.take_profit.modify(limit=...)",
}


def _refuse_assignments(name: str, getter: property) -> None:
    def refuse(order: Order, value: object) -> None:
        hint = _HINTS.get(name, "place a new order instead")
        raise OrderError(f"order {order.id}: order.{name} = {brief(value)} has no effect on the order; {hint}")

    setattr(Order, name, getter.setter(refuse))


for _name, _getter in list(vars(Order).items()):
    if isinstance(_getter, property):
        _refuse_assignments(_name, _getter)
