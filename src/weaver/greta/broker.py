"""SimulatedBroker: accepts a strategy's commands, fills them from bars, and reports what happened. Knows no time of its own.

The rules are docs/fills.md: what an order may do is in `matching`, in which order a bar's events go in `interval`, what a
fill costs in `pricing`, whether it can be paid for in `funds`, what holding costs in `holding`. Here is what an order goes
through, from its request to its end, and the one place where a fill is booked.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from typing import TYPE_CHECKING

from weaver.core.account import Account
from weaver.core.bars import Bar
from weaver.core.orders import (
    Cancel,
    Command,
    Fill,
    Link,
    Modify,
    OrderRequest,
    OrderStatus,
    OrderUpdate,
    Side,
    TimeInForce,
)
from weaver.core.sessions import SessionRows, session_rows
from weaver.greta.bar_magnifier import FinerBars
from weaver.greta.broker_settings import BrokerSettings
from weaver.greta.buying_power import BuyingPower
from weaver.greta.fast_path import FastPath
from weaver.greta.pricing import Pricing
from weaver.greta.working_order import ENDS_WITH_SESSION, LIMIT, MARKET, STOP, STOP_LIMIT, WorkingOrder
from weaver.marvin.context import Context
from weaver.results.equity import AccountLog

if TYPE_CHECKING:
    from weaver.marvin.broker import Broker

__all__ = ["SimulatedBroker"]

_ACCEPTED = OrderStatus.ACCEPTED
_FILLED = OrderStatus.FILLED
_PARTNER_FILLED = "the order it was linked to has filled"
_POSITION_GONE = "the position it would reduce is gone"
_TIME_IS_UP = {
    TimeInForce.GTD: "gtd: its time is up",
    TimeInForce.DAY: "day: its session is over",
    TimeInForce.AT_CLOSE: "at_close: no bar ended at the close of its session",
}
_BUY, _SELL = Side.BUY, Side.SELL


class SimulatedBroker:
    """The venue and the account of a backtest.

    `updates` collects what the strategy hears at the next tick; `fills` all that was filled; `account_log` the account after
    each tick that changed it.
    """

    def __init__(self, context: Context, account: Account, settings: BrokerSettings) -> None:
        self.context = context
        self.account = account
        self.settings = settings
        self.drills: dict[int, FinerBars] = {}
        """By symbol, the smaller bars that tell which of two rivals a bar reached first."""
        self.pricing = Pricing(account, settings)
        self.funds = BuyingPower(account, self.marks, settings.leverage, settings.cash_only)
        self.books: list[list[WorkingOrder]] = [[] for _ in context.states]
        self.by_number: dict[int, WorkingOrder] = {}
        self.updates: list[OrderUpdate] = []
        """What the strategy is told next."""
        self.fills: list[Fill] = []
        self.account_log = AccountLog()
        self.lane = FastPath(self, context, account, settings, self.fills, self.account_log)
        self.holding_costs = 0.0
        self.busy = False
        """Whether the next bar needs the broker: orders at work, news to tell, or a position to watch."""
        self.watching = False
        """Whether positions cost something to hold, or may be called for lack of margin."""
        self.touched: set[int] = set()
        self.announces = True
        """Whether somebody listens to every step of an order, and not only to how it ends."""
        self.now_ns = 0
        self.freed = 0.0
        self.inside = False
        self.allowance: dict[int, int] = {}
        self.newborn: list[WorkingOrder] = []
        self.timed: list[WorkingOrder] = []
        """The open orders that end at an instant or with a session."""
        self.through = settings.limit_fill == "through"
        self._sessions: list[SessionRows | None] = [None] * len(context.states)
        # Who is long with cash in hand pays nothing for it, and no margin asks for more where leverage is at least 1.
        self._always_watch = settings.leverage < 1.0

    # From the strategy.

    def send(self, commands: Sequence[Command], tick_ns: int) -> None:
        """Take one tick's commands: cancels and changes first, then orders, reducing ones before increasing ones."""
        self.now_ns = tick_ns
        self.busy = True  # every command has an answer to be told
        if not self.by_number and not self.lane.waiting and self.lane.takes(commands, tick_ns):
            return
        self.promote()
        first_update = len(self.updates)
        self._send_many(commands)
        self.tell_in_order(first_update, len(self.fills))

    def _send_many(self, commands: Sequence[Command]) -> None:
        if self.timed:
            self.expire_timed(self.now_ns)  # a timer's tick may lie between two bars
        index_of = self.context.index_of
        new = {
            command.number: WorkingOrder(command, index_of[command.symbol])
            for command in commands
            if type(command) is OrderRequest
        }
        stillborn = set()
        for command in commands:
            if type(command) is Cancel:
                order = self.by_number.get(command.number)
                if command.number in new:
                    stillborn.add(command.number)
                elif order is not None and not order.liquidation:
                    self.end(order, OrderStatus.CANCELLED, "cancelled by the strategy")
        for number, order in list(new.items()):
            if number in stillborn or order.request.parent in stillborn:
                stillborn.add(number)
                del new[number]
                self._report(number, OrderStatus.CANCELLED, "cancelled by the strategy")
        for command in commands:
            if type(command) is Modify:
                order = new.get(command.number)
                if order is not None:
                    if not self._modify(order, command, OrderStatus.SUBMITTED):
                        del new[command.number]
                elif command.number in self.by_number:
                    order = self.by_number[command.number]
                    if not order.liquidation:
                        self._modify(order, command, order.status)
        self._accept_all(list(new.values()))
        for command in commands:
            if type(command) is Link:
                self._link(command)

    def _accept_all(self, orders: Sequence[WorkingOrder]) -> None:
        account = self.account
        entries = [order for order in orders if order.request.parent is None]
        entries.sort(key=lambda order: not self.reduces(order))
        # What an order that passes is expected to do counts for those after it, so they are checked on a copy.
        expected = account.copy() if len(entries) > 1 else account
        for order in entries:
            self._accept(order, expected, expected is not account)
        for leg in orders:
            if leg.request.parent is not None:
                self._accept_leg(leg)

    def _accept(self, order: WorkingOrder, expected: Account, book: bool) -> None:
        if self._is_refused(order):
            return
        index = order.index
        reduces = order.exit or _reduces(expected, order, order.lots)
        state = self.context.states[index]
        close = state.last_close
        note = None
        if close is not None and (book or not reduces):
            if order.trail is not None:
                order.best = close
            volume = float(state.series.volume[state.cursor.last])
            price, commission = self.pricing.expected(order, close, volume, order.lots)
            if not reduces:
                lots = order.lots if order.buy else -order.lots
                if not self.funds.allows(expected, index, lots, price, commission, 0.0):
                    if order.request.shrink:
                        price_of = partial(self.pricing.expected, order, close, volume)
                        lots = self.funds.most(expected, index, lots, price_of, 0.0)
                    if not order.request.shrink or lots == 0:
                        reason = self.pricing.cannot_pay(order, price, commission, self.marks())
                        self._report(order.number, OrderStatus.REJECTED, reason)
                        return
                    note = self.pricing.shrunk(order, abs(lots))
                    order.lots = abs(lots)
            if book and order.kind == MARKET:
                lots = order.lots
                if order.exit:
                    held = expected.lots[index]
                    lots = min(lots, max(0, -held if order.buy else held))
                if lots:
                    price, commission = self.pricing.expected(order, close, volume, lots)
                    quantity = expected.instruments[index].to_quantity(lots)
                    expected.apply(index, lots if order.buy else -lots, quantity, price, commission)
        if order.trail is not None:
            assert close is not None
            order.best = close
        if order.until_ns is not None or order.tif in ENDS_WITH_SESSION:
            self.timed.append(order)
        order.status = _ACCEPTED
        self.books[order.index].append(order)
        self.by_number[order.number] = order
        self.updates.append(OrderUpdate(order.number, self.now_ns, _ACCEPTED, note))

    def _accept_leg(self, leg: WorkingOrder) -> None:
        parent = self.by_number.get(leg.request.parent or 0)
        if parent is None:
            self._report(leg.number, OrderStatus.CANCELLED, "its entry was rejected")
            return
        leg.parent = parent
        leg.waiting = True
        leg.status = _ACCEPTED
        parent.legs = [*(parent.legs or ()), leg]
        self.by_number[leg.number] = leg
        self.updates.append(OrderUpdate(leg.number, self.now_ns, _ACCEPTED))

    def _is_refused(self, order: WorkingOrder) -> bool:
        """Whether an order ends before money is asked about; it has been reported then."""
        state = self.context.states[order.index]
        till = order.request.good_till_ns
        if order.lots <= 0:
            lot = self.account.instruments[order.index].lot
            self._report(order.number, OrderStatus.REJECTED, f"the quantity is less than one lot of {lot}")
        elif (
            order.tif in (TimeInForce.AT_OPEN, TimeInForce.AT_CLOSE)
            and state.series.timeframe.is_intraday
            and self.context.calendar is None
        ):
            self._report(
                order.number,
                OrderStatus.REJECTED,
                f"tif={order.tif.value!r} on {state.series.timeframe} bars needs a calendar; give backtest(calendar=...)",
            )
        elif order.trail is not None and state.last_close is None:
            self._report(order.number, OrderStatus.REJECTED, "a trailing stop needs a close to start from")
        elif till is not None and till <= self.now_ns:
            self._report(order.number, OrderStatus.EXPIRED, "gtd: its time is up")
        elif order.exit and self.exit_lots(order) == 0:
            self._report(order.number, OrderStatus.CANCELLED, _POSITION_GONE)
        else:
            return False
        return True

    def _modify(self, order: WorkingOrder, change: Modify, status: OrderStatus) -> bool:
        """Change what is given; False where nothing is left of the order."""
        if change.limit is not None and order.limit is not None:
            order.limit = change.limit
        if change.stop is not None and order.kind in (STOP, STOP_LIMIT):
            order.stop = change.stop
        if change.lots is not None and order.parent is None and order.request.parent is None:
            order.lots = max(0, change.lots - order.filled)
        request = order.request
        order.request = OrderRequest(
            number=request.number,
            symbol=request.symbol,
            side=request.side,
            lots=order.filled + order.lots,
            plain=request.plain,
            limit=order.limit,
            stop=order.stop,
            trail=request.trail,
            tif=request.tif,
            good_till_ns=request.good_till_ns,
            exit=request.exit,
            parent=request.parent,
            shrink=request.shrink,
            tag=request.tag,
        )
        if order.lots == 0:
            self.end(order, OrderStatus.CANCELLED, "its quantity was cut to what had filled")
            return False
        self.updates.append(OrderUpdate(order.number, self.now_ns, status, "modified", None, order.request))
        return True

    def _link(self, link: Link) -> None:
        """One cancels the other, pair by pair; who comes late for a partner's first fill is cancelled at once."""
        alive = [self.by_number[number] for number in link.numbers if number in self.by_number]
        for order in alive:
            others = [other for other in alive if other is not order and other not in (order.partners or ())]
            order.partners = [*(order.partners or ()), *others]
        if any(self._has_filled(number) for number in link.numbers):
            for order in alive:
                if not order.filled:
                    self.end(order, OrderStatus.CANCELLED, _PARTNER_FILLED)

    def _has_filled(self, number: int) -> bool:
        return self.context.orders[number - 1].filled_quantity > 0

    def promote(self) -> None:
        """Give every order that still waits in the lane its place among the others."""
        if self.lane.waiting:
            waiting, self.lane.waiting = self.lane.waiting, []
            for request in waiting:
                self._promoted(request)

    def fill_promoted(self, request: OrderRequest, bar: Bar) -> None:
        """Fill an order of the lane the general way, at the open of `bar`: it may not be what the account can pay."""
        self.fill(self._promoted(request), bar, bar.open, False)
        self.log_account()

    def _promoted(self, request: OrderRequest) -> WorkingOrder:
        order = WorkingOrder(request, self.context.index_of[request.symbol])
        self.books[order.index].append(order)
        self.by_number[order.number] = order
        if not self.announces:
            self.updates.append(OrderUpdate(order.number, self.now_ns, _ACCEPTED))
        return order

    # What orders go through.

    def session_rows(self, index: int) -> SessionRows:
        """The sessions of a symbol's rows, worked out when first needed."""
        rows = self._sessions[index]
        if rows is None:
            rows = self._sessions[index] = session_rows(self.context.states[index].series, self.context.calendar)
        return rows

    def tell_in_order(self, first_update: int, first_fill: int) -> None:
        """What happened at one instant is told by symbol and order number, whatever the order of booking."""
        if len(self.updates) - first_update > 1:
            told = self.updates[first_update:]
            told.sort(key=lambda update: (self.index_of(update.number), update.number))
            self.updates[first_update:] = told
        if len(self.fills) - first_fill > 1:
            filled = self.fills[first_fill:]
            index_of = self.context.index_of
            filled.sort(key=lambda fill: (index_of[fill.symbol], fill.number))
            self.fills[first_fill:] = filled

    def index_of(self, number: int) -> int:
        """The index of the symbol that order `number` is for."""
        order = self.by_number.get(number)
        return order.index if order is not None else self.context.index_of_order(number)

    def end(self, order: WorkingOrder, status: OrderStatus, reason: str) -> None:
        """End an order other than by filling; its legs that wait for it end too."""
        if order.done:
            return
        self._remove(order)
        order.status = status
        self._report(order.number, status, reason)
        for leg in order.legs or ():
            if leg.waiting or order.uncovered == 0:
                self.end(leg, OrderStatus.CANCELLED, "its entry has ended")

    def fill(self, order: WorkingOrder, bar: Bar, price: float, maker: bool) -> None:
        """Fill what can be filled of `order` at `price` (before slippage)."""
        account = self.account
        index = order.index
        held = account.lots[index]
        lots = order.lots
        if order.exit:
            lots = self.exit_lots(order)
            if lots == 0:
                self.end(order, OrderStatus.CANCELLED, _POSITION_GONE)
                return
        cap = self.settings.volume_cap
        if cap is not None:
            lots = self._capped(order, lots, bar, cap)
            if lots == 0:
                return
        reduces = held != 0 and (held > 0) != order.buy and lots <= abs(held)
        final, commission, quantity = self.pricing.priced(order, bar.volume, price, lots, maker)
        signed = lots if order.buy else -lots
        if not reduces and not self.funds.allows(account, index, signed, final, commission, self.freed):
            if not order.request.shrink:
                self.end(order, OrderStatus.REJECTED, self.pricing.cannot_pay(order, final, commission, self.marks()))
                return
            signed = self.funds.most(
                account,
                index,
                signed,
                lambda n: self.pricing.priced(order, bar.volume, price, n, maker)[:2],
                self.freed,
            )
            lots = abs(signed)
            if lots == 0:
                self.end(order, OrderStatus.REJECTED, self.pricing.cannot_pay(order, final, commission, self.marks()))
                return
            note: str | None = self.pricing.shrunk(order, lots)
            final, commission, quantity = self.pricing.priced(order, bar.volume, price, lots, maker)
            order.lots = lots
        else:
            note = None
        if cap is not None:
            self.allowance[index] -= lots
        account.apply(index, signed, quantity, final, commission)
        self.touched.add(index)
        if reduces and self.inside:
            self.freed += quantity * final * account.multipliers[index]
        request = order.request
        fill = Fill(
            order.number, request.symbol, bar.ts_ns, request.side, lots, quantity, final, commission, request.tag
        )
        self.fills.append(fill)
        order.filled += lots
        if order.parent is None:
            order.lots -= lots
            complete = order.lots == 0
        else:
            order.parent.legs_filled += lots
            complete = order.parent.uncovered == 0
        order.status = _FILLED if complete else OrderStatus.PARTIALLY_FILLED
        self.updates.append(OrderUpdate(order.number, self.now_ns, order.status, note, fill))
        if complete:
            self._remove(order)
        else:
            order.keep(fill)
        if order.partners is not None or order.parent is not None or order.legs is not None or self.books[index]:
            self._consequences(order, price)

    def _consequences(self, order: WorkingOrder, price: float) -> None:
        """What else a fill changes: partners, entry, legs, and exits that have lost their position."""
        for other in order.partners or ():
            self.end(other, OrderStatus.CANCELLED, _PARTNER_FILLED)
        parent = order.parent
        if parent is not None:
            self.end(parent, OrderStatus.CANCELLED, "a leg of its bracket has filled")
            if parent.uncovered == 0:
                for leg in parent.legs or ():
                    if leg is not order:
                        self.end(leg, OrderStatus.CANCELLED, "the other leg has closed the bracket")
        book = self.books[order.index]
        held = self.account.lots[order.index]
        for leg in order.legs or ():
            if leg.waiting and not leg.done:
                if held and (held > 0) == order.buy:
                    leg.waiting = False
                    leg.best = price
                    book.append(leg)
                    self.newborn.append(leg)
                elif order.done:
                    self.end(leg, OrderStatus.CANCELLED, _POSITION_GONE)
        for other in tuple(book):
            if other.exit and (held == 0 or (held > 0) == other.buy):
                self.end(other, OrderStatus.CANCELLED, _POSITION_GONE)
                if other.parent is not None:  # the rest of it would open what nothing protects any more
                    self.end(other.parent, OrderStatus.CANCELLED, "its legs have ended with their position")

    def reduces(self, order: WorkingOrder) -> bool:
        """Whether an order is one of those that go first: an exit, or against the position and not larger than it."""
        return order.exit or _reduces(self.account, order, order.lots)

    def exit_lots(self, order: WorkingOrder) -> int:
        """How much an exit may fill now: no more than the position, nor, for a leg, than its entry filled."""
        held = self.account.lots[order.index]
        open_lots = -held if order.buy else held
        if order.parent is not None:
            return max(0, min(open_lots, order.parent.uncovered))
        return max(0, min(open_lots, order.lots))

    def expire_timed(self, now_ns: int) -> None:
        """End the orders of all symbols whose `good_till` or session close is at or before `now_ns`."""
        tick_ns = self.now_ns
        for order in tuple(self.timed):
            if order.done:
                self.timed.remove(order)
            elif order.until_ns is not None and order.until_ns <= now_ns:
                # The close of a session is a tick, though the broker may learn of it only at the next bar.
                self.now_ns = order.until_ns if order.tif in ENDS_WITH_SESSION else tick_ns
                self.end(order, OrderStatus.EXPIRED, _TIME_IS_UP[order.tif])
                self.timed.remove(order)
        self.now_ns = tick_ns

    def join_session(self, bars: Sequence[Bar]) -> None:
        """Set when orders that end with a session expire: it is the first session that has a bar after acceptance."""
        indexes = {self.context.index_of[bar.symbol] for bar in bars}
        for order in self.timed:
            if order.until_ns is None and order.index in indexes:
                row = self.context.states[order.index].track.cursor.last + 1
                order.until_ns = int(self.session_rows(order.index).close[row])

    def expire_between_bars(self, now_ns: int) -> None:
        """End the orders whose time is up at a tick on which no bar ends."""
        self.now_ns = now_ns
        if self.timed:
            self.expire_timed(now_ns)

    def marks(self) -> list[float]:
        """Every symbol's last close; before its first one, in the bar that opened a position, that one's entry price."""
        marks = self.context.marks()
        for index, state in enumerate(self.context.states):
            if state.cursor.last < 0:
                marks[index] = self.account.average[index]
        return marks

    def close_at(self, request: OrderRequest, index: int, bar: Bar) -> None:
        """Fill an order that the run itself gives at its end, at the bar's close."""
        order = WorkingOrder(request, index)
        self.updates.append(OrderUpdate(order.number, self.now_ns, _ACCEPTED, None, None, request))
        self.allowance[index] = request.lots  # the volume cap is for what could have waited for another bar
        self.fill(order, bar, bar.close, False)

    def next_number(self) -> int:
        known = len(self.context.orders)
        return known + 1 + len({update.number for update in self.updates if update.number > known})

    def log_account(self) -> None:
        """Note cash and positions as they are at this tick."""
        account, add = self.account, self.account_log.add
        if not self.touched:
            add((self.now_ns, -1, 0.0, account.cash))
        for index in self.touched:
            add((self.now_ns, index, account.quantity[index], account.cash))
        self.touched.clear()

    def rest(self) -> None:
        """The news has been told: be busy only where orders are at work or a position is watched."""
        self.busy = bool(self.by_number) or self.watching or bool(self.lane.waiting)

    def mind(self) -> None:
        """See whether the positions must be watched, after they or the cash have changed."""
        account = self.account
        self.watching = account.shorts > 0 or account.cash < 0.0 or (self._always_watch and any(account.lots))
        self.busy = True

    # Small parts.

    def _remove(self, order: WorkingOrder) -> None:
        order.done = True
        self.by_number.pop(order.number, None)
        book = self.books[order.index]
        if order in book:
            book.remove(order)

    def _report(self, number: int, status: OrderStatus, reason: str) -> None:
        self.updates.append(OrderUpdate(number, self.now_ns, status, reason))

    def lots_in_reach(self, order: WorkingOrder, bar: Bar) -> int:
        """How many lots of `order` this bar could fill now."""
        lots = self.exit_lots(order) if order.exit else order.lots
        cap = self.settings.volume_cap
        return lots if cap is None else min(lots, self.room(order.index, bar, cap))

    def room(self, index: int, bar: Bar, cap: float) -> int:
        """How many lots of a symbol the volume cap still leaves in this bar."""
        if index not in self.allowance:
            self.allowance[index] = self.account.instruments[index].to_lots(cap * bar.volume)
        return self.allowance[index]

    def _capped(self, order: WorkingOrder, lots: int, bar: Bar, cap: float) -> int:
        left = self.room(order.index, bar, cap)
        if lots <= left:
            return lots
        if order.tif is TimeInForce.FOK:
            self.end(order, OrderStatus.EXPIRED, "fok: the volume cap leaves too little")
            return 0
        # It was reached, and what is left of it waits for volume.
        order.sits_out = True
        if order.kind == STOP:
            order.kind = MARKET
            order.trail = None
        elif order.kind == STOP_LIMIT:
            order.kind = LIMIT
        return left


def _reduces(account: Account, order: WorkingOrder, lots: int) -> bool:
    """Whether `lots` of an order are against the position in `account` and not larger than it."""
    held = account.lots[order.index]
    return held != 0 and (held > 0) != order.buy and lots <= abs(held)


if TYPE_CHECKING:
    _it_is_a: type[Broker] = SimulatedBroker
