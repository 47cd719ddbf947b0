"""Attachment: what positions cost while they are held, and what becomes of those that lack margin. Fills nothing itself."""

from __future__ import annotations

from weaver.core.orders import OrderRequest, OrderStatus, OrderUpdate, Side
from weaver.greta.broker import SimulatedBroker
from weaver.greta.buying_power import SLACK
from weaver.greta.working_order import WorkingOrder

__all__ = ["hold"]

_YEAR_NS = 365 * 86_400 * 1_000_000_000


def hold(broker: SimulatedBroker, now_ns: int, elapsed_ns: int) -> None:
    """At a bar's end: charge what holding costs for `elapsed_ns`, and call a position that lacks margin."""
    account, settings = broker.account, broker.settings
    marks = broker.context.marks()
    broker.now_ns = now_ns
    years = elapsed_ns / _YEAR_NS
    short_value = account.short_value(marks)
    cost = short_value * settings.borrow_rate * years
    borrowed = short_value - account.cash
    if borrowed > 0:
        cost += borrowed * settings.financing_rate * years
    if cost:
        account.charge(cost)
        broker.holding_costs += cost
        broker.log_account()
    equity, gross = account.equity(marks), account.gross(marks)
    needed = settings.maintenance_margin * gross
    if gross > 0 and needed - equity > SLACK * max(needed, abs(equity)):
        _liquidate(
            broker,
            f"liquidation: equity {equity:.2f} is below {settings.maintenance_margin:g} of the gross position {gross:.2f}",
        )
    broker.mind()


def _liquidate(broker: SimulatedBroker, reason: str) -> None:
    """Cancel every open order of every symbol, and close every position at its symbol's next open."""
    broker.promote()
    first_update = len(broker.updates)
    for order in list(broker.by_number.values()):
        if not order.liquidation:
            broker.end(order, OrderStatus.CANCELLED, reason)
    for index, book in enumerate(broker.books):
        held = broker.account.lots[index]
        if held and not book:  # what is in the book now is an earlier liquidation, still waiting for a bar
            request = OrderRequest(
                number=broker.next_number(),
                symbol=broker.context.symbols[index],
                side=Side.SELL if held > 0 else Side.BUY,
                lots=abs(held),
                exit=True,
                tag="liquidation",
            )
            # It takes its number at once: on the way to hearing of it, a strategy may give orders of its own.
            broker.context.desk.adopt(request, broker.now_ns)
            order = WorkingOrder(request, index)
            order.liquidation = True
            book.append(order)
            broker.by_number[order.number] = order
            broker.updates.append(OrderUpdate(order.number, broker.now_ns, OrderStatus.ACCEPTED, reason, None, request))
    broker.tell_in_order(first_update, len(broker.fills))
