"""Interval: what happens to the orders at work within one bar interval, in the order of docs/fills.md.

Opens over all symbols, then the inside of each symbol's bar, then closes, then what the interval leaves behind. It decides
when an order fills and asks `matching` whether and where; booking is the broker's.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from weaver.core.bars import Bar
from weaver.core.orders import OrderStatus, TimeInForce
from weaver.greta import matching
from weaver.greta.broker import SimulatedBroker
from weaver.greta.buying_power import SLACK
from weaver.greta.matching import AT_LIMIT, AT_OPEN, AT_STOP, FELL, LOSS, PROFIT, RESTS_AS_LIMIT, ROSE, TURNED
from weaver.greta.working_order import LIMIT, MARKET, STOP, STOP_LIMIT, WorkingOrder

__all__ = ["run_interval"]

_AT_THE_CLOSE = -1
_JUDGED_AT_OPEN = (TimeInForce.IOC, TimeInForce.FOK, TimeInForce.AT_OPEN)
_NOT_INSIDE = (*_JUDGED_AT_OPEN, TimeInForce.AT_CLOSE)

Bars = Sequence[tuple[int, Bar]]


def run_interval(broker: SimulatedBroker, bars: Sequence[Bar], now_ns: int) -> None:
    """Let the bars that end at `now_ns`, in the order of the run, meet the orders at work."""
    broker.now_ns = now_ns
    if broker.lane.waiting:
        if not broker.by_number and broker.lane.fill(bars, now_ns):
            return
        broker.promote()
    if broker.timed:
        # The clock has ticked every boundary since the last bar, also those without one.
        broker.expire_timed(bars[0].ts_ns)
        broker.join_session(bars)
    if broker.by_number:
        index_of = broker.context.index_of
        _let_meet(broker, [(index_of[bar.symbol], bar) for bar in bars])
    broker.mind()


def _let_meet(broker: SimulatedBroker, bars: Bars) -> None:
    fills_before = len(broker.fills)
    broker.allowance.clear()
    broker.freed = 0.0
    first_update, first_fill = len(broker.updates), len(broker.fills)
    _opens(broker, bars)
    broker.tell_in_order(first_update, first_fill)
    broker.inside = True
    for index, bar in bars:
        if broker.books[index]:
            _inside(broker, index, bar)
    broker.inside = False
    first_update, first_fill = len(broker.updates), len(broker.fills)
    _closes(broker, bars)
    for index, bar in bars:
        if broker.books[index]:
            _after(broker, index, bar)
    if broker.timed:
        broker.expire_timed(broker.now_ns)
    broker.tell_in_order(first_update, first_fill)
    if len(broker.fills) != fills_before:
        broker.log_account()


# Opens.


def _opens(broker: SimulatedBroker, bars: Bars) -> None:
    # Who reduces is decided once, with the positions before the opens.
    due = [
        (not broker.reduces(order), order.number, order, bar)
        for index, bar in bars
        for order in broker.books[index]
        if _fills_at_open(broker, order, bar)
    ]
    due.sort(key=lambda item: item[:2])
    newborn: list[tuple[WorkingOrder, Bar]] = []
    for _, _, order, bar in due:
        if not order.done:
            broker.newborn.clear()
            broker.fill(order, bar, bar.open, order.kind == LIMIT and not order.fresh)
            newborn.extend((leg, bar) for leg in broker.newborn)
    for index, _ in bars:
        for order in tuple(broker.books[index]):
            if order.tif in _JUDGED_AT_OPEN and (order.tif is not TimeInForce.AT_OPEN or _opens_session(broker, order)):
                broker.end(order, OrderStatus.EXPIRED, f"{order.tif.value}: not filled at the open")
    for leg, bar in sorted(newborn, key=lambda item: item[0].number):
        if not leg.done and _fills_at_open(broker, leg, bar):
            broker.fill(leg, bar, bar.open, False)


def _opens_session(broker: SimulatedBroker, order: WorkingOrder) -> bool:
    row = broker.context.states[order.index].track.cursor.last + 1
    return bool(broker.session_rows(order.index).first[row])


def _fills_at_open(broker: SimulatedBroker, order: WorkingOrder, bar: Bar) -> bool:
    if order.tif is TimeInForce.AT_CLOSE or (order.tif is TimeInForce.AT_OPEN and not _opens_session(broker, order)):
        return False
    kind = order.kind
    if kind == MARKET:
        return True
    if kind == LIMIT:
        assert order.limit is not None
        return matching.limit_fills_at_open(order.buy, order.limit, bar.open, broker.through)
    level = order.level
    assert level is not None
    if kind == STOP:
        return matching.stop_fills_at_open(order.buy, level, bar.open)
    assert order.limit is not None
    reached = matching.stop_limit_at_open(order.buy, level, order.limit, bar.open)
    if reached == RESTS_AS_LIMIT:
        order.kind = LIMIT
    return reached == AT_OPEN


# Inside.


class _Candidate(NamedTuple):
    """An order that the inside of a bar reaches: `trigger` is what orders it, at `price` it fills."""

    order: WorkingOrder
    falls: bool
    """Reached by prices that fall."""
    trigger: float
    price: float
    how: int


def _inside(broker: SimulatedBroker, index: int, bar: Bar) -> None:
    while True:
        falling: _Candidate | None = None
        rising: _Candidate | None = None
        for order in broker.books[index]:
            if order.sits_out or order.kind == MARKET or order.tif in _NOT_INSIDE:
                continue
            found = _reached_inside(broker, order, bar)
            if found is None:
                continue
            # Falling prices reach the highest trigger first, rising ones the lowest; equal ones go in call order.
            if found.falls:
                if falling is None or (-found.trigger, order.number) < (-falling.trigger, falling.order.number):
                    falling = found
            elif rising is None or (found.trigger, order.number) < (rising.trigger, rising.order.number):
                rising = found
        if falling is not None and rising is not None:
            first = _first_of(broker, falling, rising, bar)
        elif falling is not None:
            first = falling
        elif rising is not None:
            first = rising
        else:
            return
        order = first.order
        broker.newborn.clear()
        broker.fill(order, bar, first.price, order.kind in (LIMIT, STOP_LIMIT))
        order.sits_out = True
        if broker.newborn:
            _judge_legs(broker, order, first.how, first.price, bar)


def _reached_inside(broker: SimulatedBroker, order: WorkingOrder, bar: Bar) -> _Candidate | None:
    buy = order.buy
    if order.kind == LIMIT:
        limit = order.limit if order.proved is None else order.proved
        assert limit is not None
        if order.proved is not None or matching.limit_fills_inside(buy, limit, bar.low, bar.high, broker.through):
            return _Candidate(order, buy, limit, limit, FELL)
        return None
    level = order.level if order.proved is None else order.proved
    assert level is not None
    if order.kind == STOP:
        if order.proved is not None or matching.stop_fills_inside(buy, level, bar.low, bar.high):
            return _Candidate(order, not buy, level, level, ROSE)
        return None
    assert order.limit is not None
    reached = matching.stop_limit_inside(buy, level, order.limit, bar.low, bar.high, bar.close)
    if reached == AT_STOP:
        return _Candidate(order, not buy, level, level, ROSE)
    if reached == AT_LIMIT:
        return _Candidate(order, not buy, level, order.limit, TURNED)
    if reached == RESTS_AS_LIMIT:
        order.rests_after = True
    return None


def _first_of(broker: SimulatedBroker, falling: _Candidate, rising: _Candidate, bar: Bar) -> _Candidate:
    """Of the next candidate below and the next above, the one that goes first."""
    low, high = falling.order, rising.order
    in_call_order = falling if low.number < high.number else rising
    if not ((low.exit and high.exit) or (low.partners is not None and high in low.partners)):
        return in_call_order
    drill = broker.drills.get(low.index)
    if drill is not None:
        fell = drill.falls_first(bar.ts_ns, broker.now_ns, falling.price, rising.price)
        if fell is not None:
            return falling if fell else rising
    gains, amounts = zip(
        *(
            broker.pricing.gain_at_close(
                one.order,
                bar,
                one.price,
                broker.lots_in_reach(one.order, bar),
                one.order.kind in (LIMIT, STOP_LIMIT),
            )
            for one in (falling, rising)
        ),
        strict=True,
    )
    if abs(gains[0] - gains[1]) <= SLACK * max(amounts):
        return in_call_order
    worse, better = (falling, rising) if gains[0] < gains[1] else (rising, falling)
    return better if broker.settings.intrabar == "best" else worse


def _judge_legs(broker: SimulatedBroker, entry: WorkingOrder, how: int, price: float, bar: Bar) -> None:
    """On the bar whose inside filled their entry, a leg that is proved joins the candidates; the other sits the bar out."""
    loss = profit = None
    for leg in broker.newborn:
        if not leg.done:
            leg.sits_out = True
            leg.how = how
            if leg.kind == STOP:
                loss = leg
            else:
                profit = leg
    which = matching.leg_on_entry_bar(
        entry.buy,
        how,
        price,
        None if loss is None else loss.level,
        None if profit is None else profit.limit,
        bar.low,
        bar.high,
        bar.close,
        broker.through,
        broker.settings.intrabar != "best",
    )
    proved = loss if which == LOSS else profit if which == PROFIT else None
    if proved is not None:
        level = proved.level if which == LOSS else proved.limit
        assert level is not None
        proved.proved = matching.leg_price(proved.buy, which, level, price)
        proved.sits_out = False


# Closes, and what the interval leaves behind.


def _closes(broker: SimulatedBroker, bars: Bars) -> None:
    due = [
        (not broker.reduces(order), order.number, order, bar)
        for index, bar in bars
        for order in broker.books[index]
        if order.tif is TimeInForce.AT_CLOSE and order.until_ns == broker.now_ns
    ]
    due.sort(key=lambda item: item[:2])
    for _, _, order, bar in due:
        if order.done:
            continue
        broker.newborn.clear()
        if order.limit is None or matching.limit_fills_at_open(order.buy, order.limit, bar.close, broker.through):
            broker.fill(order, bar, bar.close, False)
        broker.end(order, OrderStatus.EXPIRED, "at_close: not filled at the close")
        for leg in broker.newborn:
            leg.how = _AT_THE_CLOSE


def _after(broker: SimulatedBroker, index: int, bar: Bar) -> None:
    for order in tuple(broker.books[index]):
        if order.trail is not None:
            buy = order.buy
            if order.how > 0:
                order.best = matching.best_after_entry(buy, order.best, order.how, bar.low, bar.high, bar.close)
            elif order.how != _AT_THE_CLOSE:
                order.best = matching.best_after_bar(buy, order.best, bar.low, bar.high)
        order.how = 0
        order.proved = None
        order.fresh = False
        order.sits_out = False
        if order.rests_after:
            order.kind = LIMIT
            order.rests_after = False
