"""A slow simulator of order fills in Decimal, written from the rules in docs/fills.md and from nothing else.

It imports nothing from the product, so that the two can be wrong only independently. It is meant to be read beside the
rules, not to be fast. A sell is a buy in a mirror: its prices and the bar are negated (`mirrored`), and every table is
written down once, for a buy. One bar of any symbol is one interval of a common grid; a bar that starts at i is
[i, i+1), the tick i says that what ended there is complete. One lot is one unit.

Places where the rules leave a choice are marked "Choice".
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from decimal import Decimal, localcontext
from math import gcd

ZERO = Decimal(0)
SLACK = Decimal("1e-9")
DAY = 86_400
ONCE = ("ioc", "fok", "at_open")


@dataclass(frozen=True)
class Bar:
    start: int
    open: Decimal
    high: Decimal
    low: Decimal
    close: Decimal
    volume: Decimal = Decimal(1_000_000)


@dataclass(frozen=True)
class Trail:
    """Exactly one of the two."""

    percent: Decimal | None = None
    amount: Decimal | None = None

    def level(self, best: Decimal, sign: int) -> Decimal:
        """Where a buy (sign 1) or a sell (sign -1) stop stands when `best` is the best price so far."""
        return best + sign * (self.amount if self.amount is not None else best * self.percent / 100)


@dataclass(frozen=True)
class Order:
    """Takes the next number; its stop-loss the one after, where given; then its take-profit."""

    symbol: str
    side: str  # "buy" or "sell"
    lots: int
    limit: Decimal | None = None
    stop: Decimal | None = None
    trail: Trail | None = None
    tif: str = "gtc"  # gtc, day, gtd, ioc, fok, at_open, at_close
    good_till: int | None = None  # a tick
    exit: bool = False
    shrink: bool = False
    basket: int | None = None  # orders with the same one share a factor
    stop_loss: Decimal | Trail | None = None
    take_profit: Decimal | None = None


@dataclass(frozen=True)
class Cancel:
    number: int


@dataclass(frozen=True)
class Basket:
    """Orders of one call that share a factor where they cannot be paid for; at most one for each symbol."""

    orders: tuple[Order, ...]


@dataclass(frozen=True)
class Modify:
    """`lots` is the new total, what was filled included."""

    number: int
    limit: Decimal | None = None
    stop: Decimal | None = None
    lots: int | None = None


@dataclass(frozen=True)
class Oco:
    first: int
    second: int


@dataclass(frozen=True)
class At:
    """A command given at a tick: the start of the first bar of all, or the end of any bar."""

    tick: int
    command: Order | Basket | Cancel | Modify | Oco


@dataclass(frozen=True)
class Settings:
    """Rates are fractions (0.001 is 10 basis points), borrow and financing per year; `seconds` is a bar's length."""

    cash: Decimal = Decimal(100_000)
    commission: Decimal = ZERO
    per_lot: Decimal = ZERO  # commission in addition: so much for each lot, and
    least: Decimal = ZERO  # at least so much for each order
    slippage: Decimal = ZERO
    spread: Decimal = ZERO
    step: Decimal | None = None  # the price step, on which all prices of orders are
    leverage: Decimal = Decimal(1)
    cash_only: bool = False
    intrabar: str = "worst"
    through: bool = False
    volume_cap: Decimal | None = None
    borrow: Decimal = ZERO
    financing: Decimal = ZERO
    maintenance: Decimal | None = None
    seconds: int = DAY
    finalize: bool = False
    finer: Mapping[str, Mapping[int, Sequence[Bar]]] | None = None  # by symbol and bar start: smaller bars, in order
    hours: tuple[int, ...] | None = None  # a calendar: the slots of each UTC date in which trading is open


@dataclass(frozen=True)
class Fill:
    start: int
    phase: str  # open, inside, close, end (what the run closes itself)
    symbol: str
    number: int  # of the order; below zero for one of the venue's own
    side: str
    lots: int
    price: Decimal
    commission: Decimal
    before: Decimal  # the price before slippage and spread


@dataclass(frozen=True)
class Outcome:
    status: str  # filled, cancelled, expired, rejected
    reason: str
    filled: int
    lots: int


@dataclass
class Result:
    fills: list[Fill] = field(default_factory=list)
    cash: Decimal = ZERO
    positions: dict[str, int] = field(default_factory=dict)
    equity: list[tuple[int, Decimal]] = field(default_factory=list)  # (bar start, equity at its end)
    orders: dict[int, Outcome] = field(default_factory=dict)
    ties: int = 0  # how often "worse at the close" was a tie


@dataclass(eq=False)
class Live:
    """An order on its way. `born` says how a leg's entry filled, during the bar in which it did, else ''."""

    number: int
    symbol: str
    sign: int
    lots: int
    limit: Decimal | None = None
    stop: Decimal | None = None
    trail: Trail | None = None
    tif: str = "gtc"
    good_till: int | None = None
    exit: bool = False
    shrink: bool = False
    basket: int | None = None
    entry: Live | None = None
    loss: Live | None = None
    profit: Live | None = None
    partners: set[int] = field(default_factory=set)
    status: str = "new"  # new, dormant (a leg whose entry has not filled), open, or an Outcome's
    reason: str = ""
    filled: int = 0
    best: Decimal | None = None
    triggered: bool = False
    born: str = ""
    born_in: Bar | None = None  # a leg: the bar, or smaller bar, whose inside filled its entry
    until: int | None = None  # the tick at which it expires, once that is known
    verdict: Decimal | None = None  # the price at which a leg fills on its entry's own bar

    @property
    def alive(self) -> bool:
        return self.status in ("new", "dormant", "open")

    @property
    def legs(self) -> list[Live]:
        return [leg for leg in (self.loss, self.profit) if leg]

    @property
    def remaining(self) -> int:
        if self.entry:  # both legs together cover what the entry filled
            return self.entry.filled - sum(leg.filled for leg in self.entry.legs)
        return self.lots - self.filled

    @property
    def level(self) -> Decimal | None:
        return self.trail.level(self.best, self.sign) if self.trail else self.stop

    @property
    def kind(self) -> str:
        if (self.stop is None and self.trail is None) or self.triggered:
            return "market" if self.limit is None else "limit"
        return "stop" if self.limit is None else "stop_limit"


def mirrored(bar: Bar, sign: int) -> tuple[Decimal, Decimal, Decimal, Decimal]:
    if sign > 0:
        return bar.open, bar.high, bar.low, bar.close
    return -bar.open, -bar.low, -bar.high, -bar.close


def at_most(a: Decimal, b: Decimal) -> bool:
    return a - b <= SLACK * max(abs(a), abs(b))


def simulate(bars: Mapping[str, Sequence[Bar]], plan: Sequence[At], settings: Settings | None = None) -> Result:
    """Run the plan over the bars. The order of `bars` is the run's order of symbols."""
    with localcontext() as context:
        context.prec = 50
        return Simulation(bars, plan, settings or Settings()).run()


class Simulation:
    def __init__(self, bars: Mapping[str, Sequence[Bar]], plan: Sequence[At], settings: Settings) -> None:
        self.bars, self.plan, self.set = bars, plan, settings
        self.orders: dict[int, Live] = {}
        self.cash = settings.cash
        self.positions = dict.fromkeys(bars, 0)
        self.average = dict.fromkeys(bars, ZERO)  # entry price of each open position
        self.closes: dict[str, Decimal] = {}
        self.result = Result()
        self.freed = ZERO  # notional of the interval's reducing fills inside bars: not spendable before the next tick
        self.phase = "open"
        self.room: dict[str, int | None] = {}
        self.waiting: list[Live] = []
        self.own_orders = 0
        self.part = Bar(0, ZERO, ZERO, ZERO, ZERO)  # the bar, or smaller bar, whose inside fills an order
        self.baskets = 0
        self.cuts: dict[int, int] = {}  # what the opens leave of orders that may shrink

    def run(self) -> Result:
        starts = sorted({bar.start for series in self.bars.values() for bar in series})
        if wrong := {at.tick for at in self.plan} - {starts[0]} - {start + 1 for start in starts}:
            raise ValueError(f"there is no tick at {sorted(wrong)}")
        self.tick(starts[0])
        last_end = starts[0]
        for start in starts:
            now = {symbol: bar for symbol, series in self.bars.items() for bar in series if bar.start == start}
            self.room = {
                symbol: None if self.set.volume_cap is None else int(self.set.volume_cap * bar.volume)
                for symbol, bar in now.items()
            }
            self.expire(start)
            self.join_session(now, start)
            self.phase = "open"
            self.opens(now)
            self.phase = "inside"
            for symbol, bar in now.items():
                self.inside(symbol, bar)
            self.phase = "close"
            self.closes_of(now)
            self.after(now, start)
            self.holding(start, start + 1 - last_end)
            last_end = start + 1
            self.tick(start + 1)
        if self.set.finalize:
            self.close_all(starts[-1])
        for order in self.live():
            self.end(order, "expired", "end_of_data")
        self.result.cash, self.result.positions = self.cash, self.positions
        self.result.orders = {n: Outcome(o.status, o.reason, o.filled, o.lots) for n, o in self.orders.items() if n > 0}
        return self.result

    def close_all(self, start: int) -> None:
        """Close what is open at the last closes, in the run's last bar, also where the symbol's own bars ended earlier."""
        self.phase = "end"
        for symbol, held in self.positions.items():
            if held:
                for order in self.live(symbol):
                    self.end(order, "cancelled", "finalize")
                self.room[symbol] = None
                self.fill(self.own(symbol), self.closes[symbol], "end", Bar(start, *[self.closes[symbol]] * 4))
        self.result.equity[-1] = (start, self.cash)

    # ------------------------------------------------------------------ orders, and how they end

    def live(self, symbol: str | None = None) -> list[Live]:
        return [o for n, o in sorted(self.orders.items()) if o.alive and symbol in (None, o.symbol)]

    def open_in(self, now: Mapping[str, Bar]) -> list[Live]:
        """The orders that can fill in the bars of `now`."""
        return [o for o in self.live() if o.status == "open" and o.symbol in now]

    def expire(self, tick: int) -> None:
        """The clock ticks every boundary, also one without a bar, so a gap in the data lets a `good_till` pass."""
        for order in self.live():
            if order.until is not None and order.until <= tick:
                self.end(order, "expired", order.tif)

    def join_session(self, now: Mapping[str, Bar], start: int) -> None:
        """DAY and at-close belong to the first session that has a bar after acceptance, and end at the tick that closes it.

        Choice: where later bars of that session are missing, the close passes all the same.
        """
        for order in self.open_in(now):
            if order.tif in ("day", "at_close") and order.until is None:
                order.until = self.session_close(start)

    def end(self, order: Live, status: str, reason: str) -> None:
        if order.alive:
            order.status, order.reason = status, reason
            for leg in order.legs:
                if leg.status == "dormant" and status != "filled":
                    self.end(leg, "cancelled", "entry")

    def against(self, order: Live) -> int:
        """Lots of the position that the order is against; 0 when it is flat or on the order's own side."""
        return max(0, -order.sign * self.positions[order.symbol])

    def reducing(self, order: Live) -> bool:
        return order.exit or 0 < order.remaining <= self.against(order)

    # ------------------------------------------------------------------ a tick: commands

    def tick(self, tick: int) -> None:
        commands: list[Order | Cancel | Modify | Oco] = []
        for at in self.plan:
            if at.tick == tick and isinstance(at.command, Basket):
                self.baskets += 1
                commands.extend(replace(order, basket=-self.baskets) for order in at.command.orders)
            elif at.tick == tick:
                commands.append(at.command)
        new = [self.make(command) for command in commands if isinstance(command, Order)]
        for command in commands:  # cancelling takes effect before the new orders of the same tick
            if isinstance(command, Cancel) and command.number in self.orders:
                self.end(self.orders[command.number], "cancelled", "asked")
        for command in commands:
            if isinstance(command, Modify) and command.number in self.orders:
                self.modify(self.orders[command.number], command)
        # What market orders of this tick will do to cash and positions, at their expected prices.
        cash, positions = self.cash, dict(self.positions)
        orders = sorted((o for o in new if o.alive), key=lambda o: (not self.reducing(o), o.number))
        counted: list[Live] = []
        for place, order in enumerate(orders):
            if order.shrink and order not in counted:
                basket = self.basket_of(order, orders[place:], positions)
                counted.extend(basket)
                self.cut_at_acceptance(basket, cash, positions)
            if order.alive:
                cash = self.accept(order, tick, cash, positions)
        for command in commands:
            if isinstance(command, Oco):
                self.link(self.orders[command.first], self.orders[command.second])

    def link(self, first: Live, second: Live) -> None:
        """Choice: linking goes by pairs, not across them; a partner that has filled something already cancels the other
        that has not."""
        first.partners.add(second.number)
        second.partners.add(first.number)
        for one, other in ((first, second), (second, first)):
            if one.filled and not other.filled:
                self.end(other, "cancelled", "oco")

    def make(self, asked: Order) -> Live:
        sign = 1 if asked.side == "buy" else -1
        order = Live(
            len([n for n in self.orders if n > 0]) + 1,
            asked.symbol,
            sign,
            asked.lots,
            asked.limit,
            asked.stop,
            asked.trail,
            asked.tif,
            asked.good_till,
            asked.exit,
            asked.shrink,
            asked.basket,
            until=asked.good_till,
        )
        self.orders[order.number] = order
        number = order.number
        if asked.stop_loss is not None:
            number += 1
            trail = asked.stop_loss if isinstance(asked.stop_loss, Trail) else None
            stop = None if isinstance(asked.stop_loss, Trail) else asked.stop_loss
            order.loss = Live(number, asked.symbol, -sign, asked.lots, stop=stop, trail=trail, exit=True, entry=order)
            self.orders[number] = order.loss
        if asked.take_profit is not None:
            number += 1
            limit = asked.take_profit
            order.profit = Live(number, asked.symbol, -sign, asked.lots, limit=limit, exit=True, entry=order)
            self.orders[number] = order.profit
        for leg in order.legs:
            leg.status = "dormant"
        return order

    def modify(self, order: Live, change: Modify) -> None:
        """Choice: only what the order has can be changed, a leg's lots cannot; money is not checked until the fill."""
        if not order.alive:
            return
        if change.limit is not None and order.limit is not None:
            order.limit = change.limit
        if change.stop is not None and order.stop is not None:
            order.stop = change.stop
        if change.lots is not None and not order.entry:
            if change.lots <= order.filled:
                self.end(order, "cancelled", "asked")
            else:
                order.lots = change.lots

    def accept(self, order: Live, tick: int, cash: Decimal, positions: dict[str, int]) -> Decimal:
        """Check at acceptance; returns the expected cash and changes the expected positions."""
        symbol, sign = order.symbol, order.sign
        if order.tif in ("at_open", "at_close") and self.set.seconds < DAY and self.set.hours is None:
            self.end(order, "rejected", "calendar")
            return cash
        if order.good_till is not None and order.good_till <= tick:
            self.end(order, "expired", "gtd")
            return cash
        if order.exit and not self.against(order):
            self.end(order, "cancelled", "exit")  # Choice: an exit without a position ends at once, like a later one
            return cash
        if symbol not in self.closes:  # no price to expect: money is checked at the fill only
            order.status = "open"
            if order.trail:
                self.end(order, "rejected", "no_price")
            return cash
        close = self.closes[symbol]
        order.best = close
        stop, limit = order.level, order.limit
        price = close if stop is None else sign * max(sign * stop, sign * close)
        price = self.worsened(order, price) if limit is None else sign * min(sign * price, sign * limit)
        lots = min(order.lots, max(0, -sign * positions[symbol])) if order.exit else order.lots
        if not order.shrink and lots and not self.allowed(order, lots, price, cash, positions):
            self.end(order, "rejected", "money")
            return cash
        order.status = "open"
        if order.kind == "market":
            cash -= sign * lots * price + self.charge(order, lots, price)
            positions[symbol] += sign * lots
        return cash

    # ------------------------------------------------------------------ money

    def worsened(self, order: Live, price: Decimal) -> Decimal:
        """Choice: slippage and half the spread are both fractions of the price before either, and add up."""
        if order.limit is not None:
            return price
        worse = price * (1 + order.sign * (self.set.slippage + self.set.spread / 2))
        if order.sign > 0:
            return worse
        # Choice: where the price itself is below one step, the sale is at that price.
        return max(worse, price / 100 if self.set.step is None else min(self.set.step, price))

    def charge(self, order: Live, lots: int, price: Decimal) -> Decimal:
        """The commission of the next `lots`: what the order pays in all, less what it has paid."""
        whole = max(self.set.least, self.set.per_lot * (order.filled + lots))
        before = max(self.set.least, self.set.per_lot * order.filled) if order.filled else ZERO
        return self.set.commission * lots * price + whole - before

    # ------------------------------------------------------------------ sizes that came from weights

    def basket_of(self, order: Live, following: Sequence[Live], positions: Mapping[str, int]) -> list[Live]:
        """The increasing orders of the same call that have not had their turn; a single target is a basket of its own."""

        def increases(other: Live) -> bool:
            against = max(0, -other.sign * positions[other.symbol])
            return other.alive and not 0 < other.remaining <= against

        if not increases(order):
            return []
        if order.basket is None:
            return [order]
        return [o for o in following if o.basket == order.basket and increases(o)]

    def cut_at_acceptance(self, basket: list[Live], cash: Decimal, positions: dict[str, int]) -> None:
        basket = [order for order in basket if order.symbol in self.closes]
        prices = {order.symbol: self.worsened(order, self.closes[order.symbol]) for order in basket}
        for order, lots in zip(basket, self.common_cut(basket, prices, cash, positions, None), strict=True):
            order.lots = lots
            if not lots:
                self.end(order, "rejected", "money")

    def common_cut(
        self,
        basket: list[Live],
        prices: Mapping[str, Decimal],
        cash: Decimal,
        positions: Mapping[str, int],
        reach: Mapping[int, int] | None,
    ) -> list[int]:
        """The lots of each order at the largest common factor at which all of them can be paid for, without any slack."""
        wanted = [order.remaining if reach is None else reach[order.number] for order in basket]
        closing = [min(lots, max(0, -o.sign * positions[o.symbol])) for o, lots in zip(basket, wanted, strict=True)]
        if self.set.cash_only:  # Choice: a short that is not allowed at all does not hold up the rest
            wanted = [lots if o.sign > 0 else part for o, lots, part in zip(basket, wanted, closing, strict=True)]
        more = [lots - part for lots, part in zip(wanted, closing, strict=True)]
        # Every factor at which some order gains a lot, in lowest terms. Floats sort them: they differ by far more than rounding.
        lowest = {(some // gcd(some, lots), lots // gcd(some, lots)) for lots in more for some in range(1, lots + 1)}
        for top, bottom in sorted(lowest | {(1, 1)}, key=lambda pair: pair[0] / pair[1], reverse=True):
            sizes = [part + lots * top // bottom for part, lots in zip(closing, more, strict=True)]
            if self.left_after(basket, sizes, prices, cash, positions) >= 0:
                return sizes
        return closing

    def left_after(
        self,
        basket: list[Live],
        sizes: list[int],
        prices: Mapping[str, Decimal],
        cash: Decimal,
        positions: Mapping[str, int],
    ) -> Decimal:
        """Cash, or leverage * equity - gross, after the fills; below zero where they are not allowed."""
        after = dict(positions)
        for order, lots in zip(basket, sizes, strict=True):
            after[order.symbol] += order.sign * lots
            if lots:
                cash -= order.sign * lots * prices[order.symbol] + self.charge(order, lots, prices[order.symbol])
        if self.set.cash_only:
            return Decimal(-1_000_000) if any(held < 0 for held in after.values()) else cash - self.freed
        values = [held * prices.get(s, self.mark(s) if s not in prices else ZERO) for s, held in after.items() if held]
        equity, gross = cash + sum(values), sum(abs(value) for value in values)
        return self.set.leverage * equity - gross - self.freed

    def allowed(self, order: Live, lots: int, price: Decimal, cash: Decimal, positions: Mapping[str, int]) -> bool:
        symbol, change = order.symbol, order.sign * lots
        held = positions[symbol]
        if held * change < 0 and abs(change) <= abs(held):
            return True
        after = cash - change * price - self.charge(order, lots, price)
        positions = {**positions, symbol: held + change}
        if self.set.cash_only:
            return after >= self.freed and all(position >= 0 for position in positions.values())
        values = [held * (price if s == symbol else self.mark(s)) for s, held in positions.items() if held]
        equity, gross = after + sum(values), sum(abs(value) for value in values)
        return at_most(gross + self.freed, self.set.leverage * equity)

    def mark(self, symbol: str) -> Decimal:
        """Choice: what its symbol's first bar has just opened counts at its entry price until there is a close."""
        return self.closes.get(symbol, self.average[symbol])

    def book(self, symbol: str, change: int, price: Decimal, commission: Decimal) -> None:
        before = self.positions[symbol]
        after = before + change
        if before * change < 0:
            kept = self.average[symbol]
            self.average[symbol] = price if after * change > 0 else kept
        else:
            self.average[symbol] = (before * self.average[symbol] + change * price) / after
        self.positions[symbol] = after
        self.cash -= change * price + commission

    # ------------------------------------------------------------------ one bar interval

    def at_open(self, order: Live, bar: Bar) -> Decimal | None:
        """The price at which the order fills at the open. Buys; a sell in the mirror."""
        o, _, _, _ = mirrored(bar, order.sign)
        limit = None if order.limit is None else order.sign * order.limit
        level = None if order.level is None else order.sign * order.level
        match order.kind:
            case "market":
                due = True
            case "limit":
                due = o < limit if self.set.through else o <= limit
            case "stop":
                due = o >= level
            case _:
                due = o >= level and o <= limit
        return bar.open if due else None

    def reached(self, order: Live, bar: Bar) -> tuple[str, Decimal, Decimal] | None:
        """(how, the price that orders it, the price at which it fills) inside the bar, in the order's mirror."""
        _, h, low, c = mirrored(bar, order.sign)
        limit = None if order.limit is None else order.sign * order.limit
        level = None if order.level is None else order.sign * order.level
        if order.kind == "limit":
            if low < limit or (low == limit and not self.set.through):
                return "fell", limit, limit
        elif order.kind == "stop":
            if h >= level:
                return "rose", level, level
        elif order.kind == "stop_limit" and h >= level:
            if level <= limit:
                return "rose", level, level
            if c <= limit:
                return "rose_fell", level, limit
        return None

    def opens(self, now: Mapping[str, Bar]) -> None:
        for order in self.live():
            order.born, order.born_in, order.verdict = "", None, None
        resting = [
            o for o in self.open_in(now) if o.tif != "at_close" and (o.tif != "at_open" or self.opens_session(o, now))
        ]
        self.waiting = [o for o in resting if self.at_open(o, now[o.symbol]) is not None]
        # Choice: which orders are reducing is decided once, with the positions before the opens.
        reduce = {o.number for o in self.waiting if self.reducing(o)}
        waiting = sorted(self.waiting, key=lambda o: (o.number not in reduce, o.number))
        self.cuts = {}
        for order in waiting:
            if order.status == "open":
                if order.shrink and order.number not in reduce and order.number not in self.cuts:
                    self.cut_at_open([o for o in waiting if o.number not in reduce], order, now)
                self.fill(order, now[order.symbol].open, "open", now[order.symbol])
        for order in resting:
            if order.tif in ONCE and order.alive:
                self.end(order, "expired", order.tif)
            if order.kind == "stop_limit" and order.sign * now[order.symbol].open >= order.sign * order.level:
                order.triggered = True  # beyond its limit at O: a plain limit from here on
        for symbol, bar in now.items():
            for leg in self.live(symbol):
                if leg.born == "open" and leg.alive and self.at_open(leg, bar) is not None:
                    self.waiting.append(leg)
                    self.fill(leg, bar.open, "open", bar)

    def cut_at_open(self, waiting: list[Live], order: Live, now: Mapping[str, Bar]) -> None:
        basket = [o for o in waiting if o.alive and (o is order or (o.basket == order.basket and o.basket is not None))]
        prices = {o.symbol: self.worsened(o, now[o.symbol].open) for o in basket}
        reach = {o.number: self.can_fill(o) for o in basket}
        sizes = self.common_cut(basket, prices, self.cash, self.positions, reach)
        self.cuts.update({o.number: lots for o, lots in zip(basket, sizes, strict=True)})

    def inside(self, symbol: str, bar: Bar) -> None:
        tried = [*self.waiting]  # what was due at O and is left waits for the next bar
        before = self.open_in({symbol: bar})
        kinds = {order.number: order.kind for order in before}
        parts = () if self.set.finer is None else self.set.finer.get(symbol, {}).get(bar.start, ())
        for place, part in enumerate(parts):
            if place:  # the open of the first one is the bar's own, which has been judged
                self.open_of_part(symbol, bar, part, tried)
            self.reach(symbol, bar, part, tried)
        if parts:  # where smaller bars are missing, the bar decides what was there before it and is as it was
            tried.extend(o for o in self.open_in({symbol: bar}) if kinds.get(o.number) != o.kind)
        self.reach(symbol, bar, bar, tried)

    def open_of_part(self, symbol: str, bar: Bar, part: Bar, tried: list[Live]) -> None:
        """As at the opens: reducing orders first, then call order; then the legs that began there."""
        rest = [o for o in self.open_in({symbol: bar}) if o not in tried and o.tif not in ("at_open", "at_close")]
        due = [o for o in rest if self.at_open(o, part) is not None]
        for order in sorted(due, key=lambda o: (not self.reducing(o), o.number)):
            if order.status == "open":
                how = "fell" if order.kind == "limit" else "rose"
                tried.append(order)
                self.fill(order, part.open, how + "_open", bar)
        for order in rest:
            if order.alive and order.kind == "stop_limit" and order.sign * part.open >= order.sign * order.level:
                order.triggered = True
        for leg in self.live(symbol):
            if leg.born.endswith("_open") and leg not in tried and leg.status == "open":
                leg.born = leg.born.removesuffix("_open")
                if self.at_open(leg, part) is not None:
                    tried.append(leg)
                    self.fill(leg, part.open, "open", bar)

    def reach(self, symbol: str, whole: Bar, bar: Bar, tried: list[Live]) -> None:
        """The inside of `bar`: the bar of the run (`whole`), or one of the smaller ones in it."""
        while True:
            falling, rising = [], []  # (distance in the order of being reached, number, how, price, order)
            for order in self.open_in({symbol: bar}):
                if order in tried or order.tif in ("at_open", "at_close") or order.born == "close":
                    continue
                if order.born_in is not None and (order.born_in is bar or bar is whole):
                    if order.verdict is None:
                        continue
                    # A leg that goes back against its entry's side: a long's loss lies below, its profit above.
                    how = "fell" if order.limit is not None else "rose"
                    at = price = order.sign * order.verdict
                elif found := self.reached(order, bar):
                    how, at, price = found
                else:
                    continue
                falls = (how == "fell") == (order.sign > 0)
                at, price = order.sign * at, order.sign * price
                (falling if falls else rising).append((-at if falls else at, order.number, how, price, order))
            heads = [min(side, key=lambda c: c[:2]) for side in (falling, rising) if side]
            if not heads:
                break
            chosen = min(heads, key=lambda c: c[1])  # call order
            if len(heads) == 2:
                first, second = heads[0][4], heads[1][4]
                if second.number in first.partners or (first.exit and second.exit):
                    chosen = self.worse_or_better(heads, whole)
            _, _, how, price, order = chosen
            tried.append(order)
            self.part = bar
            self.fill(order, price, how, whole)
        for order in self.live(symbol):
            order.verdict = None
        for order in self.open_in({symbol: bar}):
            if order.kind == "stop_limit" and order.tif != "at_close":
                _, h, _, _ = mirrored(bar, order.sign)
                order.triggered = h >= order.sign * order.level  # a plain limit from the next bar

    def worse_or_better(self, heads: list[tuple], bar: Bar) -> tuple:
        """Which of two that compete fills: by what each alone, costs included, is worth to the trader at C."""
        worth = []
        for _, _, _, price, order in heads:
            paid = self.worsened(order, price)
            lots = self.can_fill(order)
            worth.append(lots * order.sign * (bar.close - paid) - self.charge(order, lots, paid))
        scale = max(self.can_fill(order) * abs(price) for _, _, _, price, order in heads)
        if abs(worth[0] - worth[1]) <= SLACK * scale:
            self.result.ties += 1
            return min(heads, key=lambda c: c[1])
        lower = 0 if worth[0] < worth[1] else 1
        return heads[lower if self.set.intrabar == "worst" else 1 - lower]

    def closes_of(self, now: Mapping[str, Bar]) -> None:
        """Choice: as at the opens, reducing orders first, then call order, over all symbols."""
        due = [o for o in self.open_in(now) if o.tif == "at_close" and o.until == now[o.symbol].start + 1]
        for order in sorted(due, key=lambda o: (not self.reducing(o), o.number)):
            bar = now[order.symbol]
            as_open = Bar(bar.start, bar.close, bar.close, bar.close, bar.close)
            if order.alive and self.at_open(order, as_open) is not None:
                self.fill(order, bar.close, "close", bar)
            self.end(order, "expired", "at_close")

    # ------------------------------------------------------------------ a fill

    def can_fill(self, order: Live) -> int:
        wanted = min(order.remaining, self.against(order)) if order.exit else order.remaining
        room = self.room[order.symbol]
        return wanted if room is None else min(wanted, room)

    def fill(self, order: Live, before: Decimal, how: str, bar: Bar) -> None:
        """Fill what can be filled at `before` (the price before slippage), then tell everybody whom it concerns."""
        symbol, sign = order.symbol, order.sign
        wanted = min(order.remaining, self.against(order)) if order.exit else order.remaining
        lots = self.can_fill(order)
        order.triggered = True  # what is left of a stop is a market order, of a stop-limit a plain limit
        if order.tif == "fok" and lots < wanted:
            self.end(order, "expired", "fok")
            return
        if lots == 0:
            return
        price = self.worsened(order, before)
        if order.number in self.cuts:
            if self.cuts[order.number] < lots:
                lots, order.lots = self.cuts[order.number], order.filled + self.cuts[order.number]
            if lots == 0:
                self.end(order, "rejected", "money")
                return
        elif not self.allowed(order, lots, price, self.cash, self.positions):
            self.end(order, "rejected", "money")
            return
        commission = self.charge(order, lots, price)
        if self.phase == "inside" and lots <= self.against(order):
            self.freed += lots * price
        if self.room[symbol] is not None:
            self.room[symbol] -= lots
        self.book(symbol, sign * lots, price, commission)
        side = "buy" if sign > 0 else "sell"
        self.result.fills.append(
            Fill(bar.start, self.phase, symbol, order.number, side, lots, price, commission, before)
        )
        order.filled += lots
        if order.remaining == 0:
            self.end(order, "filled", "")
        if order.entry:
            self.end(order.entry, "cancelled", "leg")
            if order.remaining == 0:
                for leg in order.entry.legs:
                    self.end(leg, "cancelled", "leg")
        for number in order.partners:
            self.end(self.orders[number], "cancelled", "oco")
        if any(leg.status == "dormant" for leg in order.legs):
            if sign * self.positions[symbol] > 0:
                self.wake_legs(order, before, how, bar)
            elif order.remaining == 0:
                for leg in order.legs:
                    self.end(leg, "cancelled", "exit")
        for other in self.live(symbol):
            if other.exit and other.status == "open" and not self.against(other):
                self.end(other, "cancelled", "exit")
                if other.entry:
                    self.end(other.entry, "cancelled", "leg")

    def wake_legs(self, entry: Live, before: Decimal, how: str, bar: Bar) -> None:
        """The entry has opened a position; after a fill inside, judge its legs for the rest of this bar."""
        for leg in entry.legs:
            if leg.status == "dormant":
                leg.status, leg.born, leg.best = "open", how, before
        if how in ("open", "close") or how.endswith("_open"):
            return
        for leg in entry.legs:
            leg.born_in = self.part
        _, h, low, c = mirrored(self.part, entry.sign)
        e = entry.sign * before
        # The lowest and the highest price that were surely seen after the entry; e itself is one of them.
        after_low = min(e, low if how == "fell" else c)
        after_high = max(e, h if how == "rose" else c)
        loss = entry.loss if entry.loss and entry.loss.alive else None
        profit = entry.profit if entry.profit and entry.profit.alive else None
        s = entry.sign * loss.level if loss else None
        t = entry.sign * profit.limit if profit else None
        loss_must = s is not None and after_low <= s
        loss_could = s is not None and min(e, low) <= s
        profit_must = t is not None and (after_high > t if self.set.through else after_high >= t)
        if self.set.intrabar == "best":
            loss_fills = loss_must and not profit_must
            profit_fills = profit_must
        else:
            loss_fills = loss_must or (loss_could and profit_must)
            profit_fills = profit_must and not loss_could
        # Choice: a leg on the wrong side of e fills at e, as a stop or limit does that is beyond its price at an open.
        if loss_fills:
            loss.verdict = entry.sign * min(s, e)
        if profit_fills:
            profit.verdict = entry.sign * max(t, e)

    # ------------------------------------------------------------------ the end of an interval

    def after(self, now: Mapping[str, Bar], start: int) -> None:
        """What the interval leaves behind: trails, and orders whose time is up."""
        self.freed = ZERO
        self.closes.update({symbol: bar.close for symbol, bar in now.items()})
        for order in self.open_in(now):
            bar = now[order.symbol]
            if order.trail and order.born != "close":
                seen = bar.low if order.sign > 0 else bar.high
                if order.born in ("fell", "rose_fell"):
                    seen = bar.close
                order.best = order.sign * min(order.sign * order.best, order.sign * seen)
        self.expire(start + 1)

    def session(self, start: int) -> int:
        return start * self.set.seconds // DAY

    def session_close(self, start: int) -> int:
        """The tick that closes the session of the bar that starts at `start`: never a matter of the bars that follow."""
        slots = DAY // self.set.seconds
        return self.session(start) * slots + (slots if self.set.hours is None else max(self.set.hours) + 1)

    def opens_session(self, order: Live, now: Mapping[str, Bar]) -> bool:
        start = now[order.symbol].start
        earlier = [bar.start for bar in self.bars[order.symbol] if bar.start < start]
        return not earlier or self.session(earlier[-1]) != self.session(start)

    def holding(self, start: int, bars_since: int) -> None:
        """Costs of holding, the mark, and the margin."""
        values = {s: held * self.closes[s] for s, held in self.positions.items() if held}
        years = Decimal(bars_since * self.set.seconds) / (365 * DAY)
        short = sum((-value for value in values.values() if value < 0), ZERO)
        borrowed = max(ZERO, short - self.cash)
        # Choice: both costs from the cash before either.
        self.cash -= years * (self.set.borrow * short + self.set.financing * borrowed)
        equity, gross = self.cash + sum(values.values()), sum(abs(value) for value in values.values())
        self.result.equity.append((start, equity))
        maintenance = self.set.maintenance
        if maintenance is None:
            maintenance = Decimal("0.5") / self.set.leverage
        if gross and not at_most(maintenance * gross, equity):
            self.liquidate()

    def liquidate(self) -> None:
        for order in self.live():
            if order.number > 0:
                self.end(order, "cancelled", "liquidation")
        pending = {o.symbol for o in self.live()}
        for symbol, held in self.positions.items():
            if held and symbol not in pending:
                self.own(symbol)

    def own(self, symbol: str) -> Live:
        """An order of the venue's own that closes the position."""
        self.own_orders += 1
        held = self.positions[symbol]
        order = Live(-self.own_orders, symbol, -1 if held > 0 else 1, abs(held), exit=True, status="open")
        self.orders[order.number] = order
        return order
