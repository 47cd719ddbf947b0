"""BarInterval: decides which orders at work fill within one bar interval, in the order of docs/fills.md.

First the opens of all symbols, then the inside of each symbol's bar, then the closes, then the trails and the orders that
expire. It asks `matching` whether and where an order fills; the broker books the fill.

An interval has two steps. `open` does all that is certain once the opens are known, `end` all that the complete bars decide.
A backtest has complete bars from the beginning and runs both by `run`; the results are equal byte for byte.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import NamedTuple

from weaver.core.bars import Bar
from weaver.core.orders import OrderStatus, TimeInForce
from weaver.greta import matching
from weaver.greta.bar_magnifier import FinerBars
from weaver.greta.broker import SimulatedBroker
from weaver.greta.buying_power import SLACK
from weaver.greta.market import Market
from weaver.greta.matching import (
    AT_LIMIT,
    AT_OPEN,
    AT_STOP,
    CLOSED,
    FELL,
    LOSS,
    OPENED,
    PROFIT,
    RESTS_AS_LIMIT,
    ROSE,
    TURNED,
    EntryPath,
)
from weaver.greta.order_book import OrderBook
from weaver.greta.symbol_book import SymbolBook
from weaver.greta.working_order import LIMIT, MARKET, STOP, STOP_LIMIT, WorkingOrder

__all__ = ["BarInterval"]

_JUDGED_AT_OPEN = (TimeInForce.IOC, TimeInForce.FOK, TimeInForce.AT_OPEN)
_NOT_INSIDE = (*_JUDGED_AT_OPEN, TimeInForce.AT_CLOSE)


class _Candidate(NamedTuple):
    """An order that the inside of a bar reaches: candidates are ordered by `trigger` and fill at `price`."""

    order: WorkingOrder
    falls: bool
    """Reached by falling prices."""
    trigger: float
    price: float
    path: EntryPath


class _Meeting(NamedTuple):
    """A bar and the orders of its symbol that it may fill or change; bracket legs that start in it are added."""

    bar: Bar
    book: SymbolBook
    orders: list[WorkingOrder]


class BarInterval:
    """Lets the bars of a tick meet the orders of an OrderBook.

    `broker` books the fills. `finer` holds, by symbol index, bars of a smaller timeframe that show which of two prices
    came first.
    """

    def __init__(
        self, order_book: OrderBook, market: Market, broker: SimulatedBroker, finer: Mapping[int, FinerBars]
    ) -> None:
        settings = broker.settings
        self._order_book = order_book
        self._market = market
        self._account = broker.account
        self._broker = broker
        self._pricing = broker.pricing
        self._fast_path = broker.lane
        self._watch = broker.margin_call.watch
        self._finer = finer
        self._judged: list[WorkingOrder] = []
        """Bracket legs whose entry has filled inside the current smaller bar."""
        self._fills_before = 0
        """The number of fills before the open of the interval."""
        self._through = settings.limit_fill == "through"
        self._best = settings.intrabar == "best"

    def run(self, bars: Sequence[Bar], now_ns: int) -> None:
        """Handle the bars that end at `now_ns`, in the order of the run."""
        order_book = self._order_book
        order_book.now_ns = now_ns
        if order_book.waiting:
            if not order_book.by_number and self._fast_path.fill(bars, now_ns):
                return
            order_book.promote()
        self._expire_before(bars)
        if order_book.by_number:
            meetings = self._meetings(bars)
            if meetings or now_ns >= order_book.expiry.next_ns:
                self._open(meetings)
                self._end(meetings)
        self._watch()

    def open(self, opens: Sequence[Bar], now_ns: int) -> None:
        """Fill the orders that the opens of the interval that ends at `now_ns` fill, and end those that only an open fills.

        To be called once, with a bar of every symbol that will have one. Of each bar only `ts_ns` and `open` are used, and
        `volume` where a volume cap or a cost model depends on it; then the interval must have ended. No order may be sent
        between this and `end`.
        """
        order_book = self._order_book
        order_book.now_ns = now_ns
        order_book.promote()
        self._expire_before(opens)
        # Of a bar that has only begun, the range is its open.
        begun = [Bar(bar.symbol, bar.ts_ns, bar.open, bar.open, bar.open, bar.open, bar.volume) for bar in opens]
        self._open(self._meetings(begun))

    def end(self, bars: Sequence[Bar], now_ns: int) -> None:
        """Do the rest of the interval that ended at `now_ns` with its complete bars, those of `open` in the same order."""
        self._order_book.now_ns = now_ns
        self._end(self._meetings(bars))
        self._watch()

    def _expire_before(self, bars: Sequence[Bar]) -> None:
        """End the orders whose time was up when the bars began, and let new ones join the session of their bar."""
        order_book = self._order_book
        if order_book.expiry:
            # The clock has ticked every boundary since the last bar, including those without a bar.
            order_book.expire_timed(bars[0].ts_ns)
            order_book.join_sessions(bars)

    def _meetings(self, bars: Sequence[Bar]) -> list[_Meeting]:
        index_of, books = self._market.index_of, self._order_book.books
        meetings = []
        for bar in bars:
            book = books[index_of[bar.symbol]]
            if book.orders and not book.is_quiet(bar):
                meetings.append(_Meeting(bar, book, book.reached(bar)))
        return meetings

    def _open(self, meetings: Sequence[_Meeting]) -> None:
        order_book = self._order_book
        self._fills_before = len(order_book.fills)
        self._broker.begin_interval()
        first_update = len(order_book.updates)
        self._opens(meetings)
        order_book.sort_news(first_update, self._fills_before)

    def _end(self, meetings: Sequence[_Meeting]) -> None:
        order_book = self._order_book
        self._broker.inside = True
        for meeting in meetings:
            self._inside(meeting)
        self._broker.inside = False
        first_update, first_fill = len(order_book.updates), len(order_book.fills)
        self._closes(meetings)
        for meeting in meetings:
            self._after(meeting)
        order_book.expire_timed(order_book.now_ns)
        order_book.sort_news(first_update, first_fill)
        if len(order_book.fills) != self._fills_before:
            self._broker.log_account()

    def _opens(self, meetings: Sequence[_Meeting]) -> None:
        # Which orders reduce is decided once, with the positions before the opens.
        lots = self._account.lots
        due = [
            (not order.reduces(lots[order.index]), order.number, order, meeting)
            for meeting in meetings
            for order in meeting.orders
            if self._fills_at_open(order, meeting.bar)
        ]
        due.sort(key=lambda item: item[:2])
        newborn: list[tuple[WorkingOrder, Bar]] = []
        payable: dict[int, tuple[int, float]] = {}
        for increases, _, order, meeting in due:
            if not order.done:
                bar = meeting.bar
                if increases and order.request.shrink and order.number not in payable:
                    payable.update(self._payable(order, bar, due))
                maker = order.kind is LIMIT and not order.fresh
                self._fill(meeting, order, bar.open, maker=maker, payable=payable.get(order.number))
                newborn.extend((leg, bar) for leg in self._broker.newborn)
        for meeting in meetings:
            for order in meeting.orders:
                if order.tif in _JUDGED_AT_OPEN and (
                    order.tif is not TimeInForce.AT_OPEN or self._market.opens_session(order.index)
                ):
                    self._order_book.end(order, OrderStatus.EXPIRED, f"{order.tif.value}: not filled at the open")
        for leg, bar in sorted(newborn, key=lambda item: item[0].number):
            if not leg.done and self._fills_at_open(leg, bar):
                self._broker.fill(leg, bar, bar.open, maker=False)

    def _fill(
        self,
        meeting: _Meeting,
        order: WorkingOrder,
        price: float,
        *,
        maker: bool,
        payable: tuple[int, float] | None = None,
    ) -> None:
        """Fill an order, and let the bracket legs that this starts meet the rest of the bar."""
        self._broker.newborn.clear()
        self._broker.fill(order, meeting.bar, price, maker=maker, payable=payable)
        meeting.orders.extend(self._broker.newborn)

    def _payable(
        self, order: WorkingOrder, bar: Bar, due: Sequence[tuple[bool, int, WorkingOrder, _Meeting]]
    ) -> dict[int, tuple[int, float]]:
        """Return, by number, the lots that can be paid for of the increasing orders of one target_weights call."""
        basket = order.request.basket
        members = [
            (other, meeting.bar)
            for increases, _, other, meeting in due
            if basket is not None and other.request.basket == basket and increases and not other.done
        ] or [(order, bar)]
        sizes = self._broker.payable_at_open(members)
        return {member.number: size for (member, _), size in zip(members, sizes, strict=True)}

    def _fills_at_open(self, order: WorkingOrder, bar: Bar) -> bool:
        if order.tif is TimeInForce.AT_CLOSE or (
            order.tif is TimeInForce.AT_OPEN and not self._market.opens_session(order.index)
        ):
            return False
        kind = order.kind
        if kind is MARKET:
            return True
        if kind is LIMIT:
            assert order.limit is not None
            return matching.limit_fills_at_open(order.buy, order.limit, bar.open, self._through)
        level = order.level
        assert level is not None
        if kind is STOP:
            return matching.stop_fills_at_open(order.buy, level, bar.open)
        assert order.limit is not None
        reached = matching.stop_limit_at_open(order.buy, level, order.limit, bar.open)
        if reached == RESTS_AS_LIMIT:
            order.kind = LIMIT
            self._order_book.replace(order)
        return reached == AT_OPEN

    def _inside(self, meeting: _Meeting) -> None:
        """Fill what the inside of a bar reaches, on the smaller bars where there are any."""
        bar = meeting.bar
        finer = self._finer.get(self._market.index_of[bar.symbol]) if self._finer else None
        parts = [] if finer is None else finer.within(bar, self._order_book.now_ns)
        if parts:
            kinds = {order.number: order.kind for order in meeting.orders if not order.done}
            for part in parts:
                if part.ts_ns != bar.ts_ns:  # the open of one that starts with the bar is the bar's own
                    self._open_of_part(meeting, part)
                self._reach(meeting, part)
                self._end_part(meeting)
            # Where smaller bars are missing, the bar decides the orders that were there before it and are as they were.
            for order in meeting.orders:
                if kinds.get(order.number) is not order.kind:
                    order.sits_out = True
        self._reach(meeting, bar)

    def _open_of_part(self, meeting: _Meeting, part: Bar) -> None:
        """Judge orders at the open of a smaller bar as at the open of a bar, then the legs that begin there."""
        lots = self._account.lots
        due = [
            (not order.reduces(lots[order.index]), order.number, order)
            for order in meeting.orders
            if not order.done
            and not order.sits_out
            and order.kind is not MARKET
            and order.tif not in _NOT_INSIDE
            and self._fills_at_open(order, part)
        ]
        due.sort(key=lambda item: item[:2])
        newborn: list[WorkingOrder] = []
        for _, _, order in due:
            if not order.done:
                path = FELL if order.kind is LIMIT else ROSE
                self._fill(meeting, order, part.open, maker=order.kind is LIMIT)
                order.sits_out = True
                for leg in self._broker.newborn:
                    leg.entry_path = path
                newborn.extend(self._broker.newborn)
        for leg in sorted(newborn, key=lambda leg: leg.number):
            if not leg.done and self._fills_at_open(leg, part):
                self._fill(meeting, leg, part.open, maker=False)
                leg.sits_out = True

    def _end_part(self, meeting: _Meeting) -> None:
        """Let legs that sat out their entry's smaller bar take part in the next one, and stop-limits rest as limits."""
        for leg in self._judged:
            leg.sits_out = False
            leg.proved = None
        self._judged.clear()
        for order in meeting.orders:
            if order.rests_after and not order.done:
                order.kind = LIMIT
                order.rests_after = False
                self._order_book.replace(order)

    def _reach(self, meeting: _Meeting, part: Bar) -> None:
        """Fill what the inside of `part` reaches: of the bar itself, or of a smaller bar in it."""
        bar = meeting.bar
        while True:
            falling: _Candidate | None = None
            rising: _Candidate | None = None
            for order in meeting.orders:
                if order.done or order.sits_out or order.kind is MARKET or order.tif in _NOT_INSIDE:
                    continue
                candidate = self._reached_inside(order, part)
                if candidate is None:
                    continue
                # Falling prices reach the highest trigger first, rising ones the lowest; equal ones go in call order.
                if candidate.falls:
                    if falling is None or (-candidate.trigger, order.number) < (-falling.trigger, falling.order.number):
                        falling = candidate
                elif rising is None or (candidate.trigger, order.number) < (rising.trigger, rising.order.number):
                    rising = candidate
            if falling is not None and rising is not None:
                first = self._first_of(falling, rising, bar)
            elif falling is not None:
                first = falling
            elif rising is not None:
                first = rising
            else:
                return
            order = first.order
            self._fill(meeting, order, first.price, maker=order.kind in (LIMIT, STOP_LIMIT))
            order.sits_out = True
            if order in self._judged:
                self._judged.remove(order)
            if self._broker.newborn:
                self._judge_legs(order, first.path, first.price, part)
                if part is not bar:
                    self._judged.extend(leg for leg in self._broker.newborn if not leg.done)

    def _reached_inside(self, order: WorkingOrder, bar: Bar) -> _Candidate | None:
        buy = order.buy
        if order.kind is LIMIT:
            limit = order.limit if order.proved is None else order.proved
            assert limit is not None
            if order.proved is not None or matching.limit_fills_inside(buy, limit, bar.low, bar.high, self._through):
                return _Candidate(order, buy, limit, limit, FELL)
            return None
        level = order.level if order.proved is None else order.proved
        assert level is not None
        if order.kind is STOP:
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

    def _first_of(self, falling: _Candidate, rising: _Candidate, bar: Bar) -> _Candidate:
        """Return which fills first: the next candidate below or the next above."""
        low, high = falling.order, rising.order
        in_call_order = falling if low.number < high.number else rising
        if not ((low.exit and high.exit) or (low.partners is not None and high in low.partners)):
            return in_call_order
        gains, amounts = zip(
            *(
                self._pricing.gain_at_close(
                    candidate.order,
                    bar,
                    candidate.price,
                    self._broker.lots_in_reach(candidate.order, bar),
                    maker=candidate.order.kind in (LIMIT, STOP_LIMIT),
                )
                for candidate in (falling, rising)
            ),
            strict=True,
        )
        if abs(gains[0] - gains[1]) <= SLACK * max(amounts):
            return in_call_order
        worse, better = (falling, rising) if gains[0] < gains[1] else (rising, falling)
        return better if self._best else worse

    def _judge_legs(self, entry: WorkingOrder, path: EntryPath, price: float, bar: Bar) -> None:
        """Decide the legs on the bar whose inside filled their entry.

        A leg that was certainly reached becomes a candidate; the other sits out the bar.
        """
        loss = profit = None
        for leg in self._broker.newborn:
            if not leg.done:
                leg.sits_out = True
                leg.entry_path = path
                if leg.kind is STOP:
                    loss = leg
                else:
                    profit = leg
        which = matching.leg_on_entry_bar(
            entry.buy,
            path,
            price,
            None if loss is None else loss.level,
            None if profit is None else profit.limit,
            bar.low,
            bar.high,
            bar.close,
            self._through,
            not self._best,
        )
        proved = loss if which == LOSS else profit if which == PROFIT else None
        if proved is not None:
            level = proved.level if which == LOSS else proved.limit
            assert level is not None
            proved.proved = matching.leg_price(proved.buy, which, level, price)
            proved.sits_out = False

    def _closes(self, meetings: Sequence[_Meeting]) -> None:
        order_book = self._order_book
        due = [
            (not order.reduces(self._account.lots[order.index]), order.number, order, meeting)
            for meeting in meetings
            for order in meeting.orders
            if order.tif is TimeInForce.AT_CLOSE and not order.done and order.until_ns == order_book.now_ns
        ]
        due.sort(key=lambda item: item[:2])
        for _, _, order, meeting in due:
            if order.done:
                continue
            bar = meeting.bar
            self._broker.newborn.clear()
            if order.limit is None or matching.limit_fills_at_open(order.buy, order.limit, bar.close, self._through):
                self._fill(meeting, order, bar.close, maker=False)
            order_book.end(order, OrderStatus.EXPIRED, "at_close: not filled at the close")
            for leg in self._broker.newborn:
                leg.entry_path = CLOSED

    def _after(self, meeting: _Meeting) -> None:
        bar = meeting.bar
        for order in meeting.orders:
            if order.done:
                continue
            if order.trail is not None:
                buy = order.buy
                if order.entry_path > OPENED:
                    order.best = matching.best_after_entry(
                        buy, order.best, order.entry_path, bar.low, bar.high, bar.close
                    )
                elif order.entry_path != CLOSED:
                    order.best = matching.best_after_bar(buy, order.best, bar.low, bar.high)
            order.entry_path = OPENED
            order.proved = None
            order.sits_out = False
            if order.rests_after:
                order.kind = LIMIT
                order.rests_after = False
                self._order_book.replace(order)
        meeting.book.settle()
