"""Random bar paths and order mixes for the reference: `scenarios()` for hypothesis, `build(Random(seed))` for bulk.

Everything is the reference's own plain dataclasses. What the public API refuses by name (a leg on the wrong side of a
limit) is not drawn. Prices move by few steps of a coarse grid, so that touches, ties,
gaps and equal prices are common. What could make float and Decimal differ by mere rounding is kept out: on
the grid of 0.5 every level is exact in binary; on the grid of 0.01 no level of a trailing stop lies on the grid or on that of
another one.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from decimal import Decimal
from itertools import combinations, count
from random import Random

from hypothesis import strategies as st
from reference import At, Bar, Basket, Cancel, Modify, Oco, Order, Settings, Trail

D = Decimal


@dataclass(frozen=True)
class Scenario:
    grid: Decimal
    bars: dict[str, list[Bar]]
    plan: list[At]
    settings: Settings


def scenarios() -> st.SearchStrategy[Scenario]:
    """Hypothesis draws (and shrinks) what `build` asks its source of randomness for."""
    return st.randoms(use_true_random=False).map(build)


def build(source: Random) -> Scenario:
    """One of four kinds: `mix` of everything; `brackets`, mostly entries inside a bar with both legs near; `called`, little
    money and much movement, so that margin is called; `counted`, where orders ask for about as much as can be paid for."""
    kind = source.choice(["mix", "mix", "brackets", "brackets", "called", "counted"])
    grid = source.choice([D("0.5"), D("0.01")])
    price = first_price(grid) * grid
    symbols = ["B", "A", "C"][: source.choice([1, 1, 2, 3])]
    seconds = source.choice([86_400, 86_400, 21_600])
    hours = source.choice([None, (0, 1, 2), (1, 2), (0, 1, 3)]) if seconds < 86_400 else None
    first = source.randint(0, 5) if hours is None else hours[0]  # a calendar's clock begins where a session opens
    length = source.randint(5, 25)
    wild = 4 if kind == "called" else source.choice([1, 1, 4])
    # Without volume nothing fills, and only what is accepted decides; dry from somewhere on, positions are there already.
    dry_from = first + source.randint(0, length) if kind == "counted" and source.randint(0, 1) else first + length
    bars = {symbol: path(source, grid, first, length, wild, dry_from, hours) for symbol in symbols}
    leverage = source.choice([D(2), D(4)] if kind == "called" else [D(1), D(1), D(2), D(4), D("0.5")])
    cash = {
        "called": 10 * price,
        "counted": source.choice([20, 100]) * bars[symbols[0]][: source.randint(1, 3)][-1].close,
        "mix": source.choice([8, 20, 1_000]) * price,
        "brackets": 1_000 * price,
    }
    cap = source.choice([None, None, D("0.5"), D("0.25"), D("0.1")])
    if kind in ("called", "counted"):
        cap = D("0.5") if dry_from < first + length else None
    cash_only = kind != "called" and source.randint(0, 1 if kind == "counted" else 6) == 0
    # Sizes from weights are cut without slack, and so is every order with cash only. So their cash lacks a little, less
    # than the slack: no sum of prices comes to it, and one lot more than can be paid for would miss by no more.
    odd = cash_only or source.randint(0, 1) == 0
    maintenance = [D("0.9") / leverage, D("0.99") / leverage] if kind == "called" else [None, D("0.3") / leverage]
    settings = Settings(
        cash=cash[kind] + (-cash[kind] * D("4e-10") if odd else 0),
        commission=source.choice([D(0), D("0.001"), D("0.01")]),
        per_lot=source.choice([D(0), D(0), D("0.25")]),
        least=source.choice([D(0), D(0), D("1.5")]),
        slippage=source.choice([D(0), D(0), D(0), D("0.0005"), D("0.0005"), D("0.01"), D("0.9985")]),
        step=source.choice([None, grid]),
        spread=source.choice([D(0), D(0), D("0.002")]),
        leverage=leverage,
        cash_only=cash_only,
        intrabar=source.choice(["worst", "worst", "best"]),
        through=source.randint(0, 4) == 0,
        volume_cap=cap,
        borrow=source.choice([D(0), D("0.05"), D("0.5")]),
        financing=source.choice([D(0), D("0.05"), D("0.5")]),
        maintenance=source.choice(maintenance),
        seconds=seconds,
        finalize=source.randint(0, 3) == 0,
        finer=None
        if source.randint(0, 3)
        else {symbol: halves(source, grid, series) for symbol, series in bars.items()},
        hours=hours,
    )
    if kind == "counted" and odd and source.randint(0, 3):  # without costs, what can be paid for is a number of lots
        settings = replace(settings, commission=D(0), per_lot=D(0), least=D(0), slippage=D(0), spread=D(0))
    return Scenario(grid, bars, Plan(source, grid, bars, settings, kind, odd).commands(), settings)


def path(
    source: Random, grid: Decimal, first: int, length: int, wild: int, dry_from: int, hours: tuple[int, ...] | None
) -> list[Bar]:
    """Bars on the grid; some are missing, some are flat, some open with a gap. At least one."""
    close = first_price(grid)
    bars: list[Bar] = []
    for start in range(first, first + length):
        if hours is not None and start % 4 not in hours:
            continue
        if bars and source.randint(0, 4 if hours else 9) == 0:
            continue
        gap = source.choice([0, 0, 1, -1, 2, -2, source.randint(-12, 12) * wild])
        open_ = max(20, close + gap)
        close = max(20, open_ + source.randint(-6, 6) * wild)
        high = max(open_, close) + source.choice([0, 0, 1, 2, 4, 8])
        low = min(open_, close) - source.choice([0, 0, 1, 2, 4, 8])
        if source.randint(0, 12) == 0:
            high = low = close = open_
        volume = source.choice([0, 5, 12, 30, 60, 200])
        if start >= dry_from:
            volume = 0
        bars.append(Bar(start, open_ * grid, high * grid, low * grid, close * grid, D(volume)))
    return bars


def halves(source: Random, grid: Decimal, bars: Sequence[Bar]) -> dict[int, list[Bar]]:
    """Two smaller bars for most bars, which together have its prices; the second may open with a gap."""
    found: dict[int, list[Bar]] = {}
    for bar in bars:
        low, high = int(bar.low / grid), int(bar.high / grid)
        middle = source.randint(low, high) * grid
        gap = source.choice([middle, source.randint(low, high) * grid])
        prices = [[bar.open, middle], [gap, bar.close]]
        prices[source.randint(0, 1)].append(bar.high)
        prices[source.randint(0, 1)].append(bar.low)
        made = [Bar(bar.start, each[0], max(each), min(each), each[1]) for each in prices]
        kept = source.choice([made, made, made, made, made[:1], made[1:], []])
        if kept == made[1:]:  # its open is not the bar's own, and so it is judged as one inside
            kept = []
        if kept:
            found[bar.start] = kept
    return found


def first_price(grid: Decimal) -> int:
    """Where paths begin, in steps of the grid: 128.00 and 10.00."""
    return 256 if grid == D("0.5") else 1_000


class Plan:
    """A strategy without sense: what it may do at each tick, with a rough idea of its position."""

    def __init__(
        self,
        source: Random,
        grid: Decimal,
        bars: dict[str, list[Bar]],
        settings: Settings,
        kind: str,
        may_shrink: bool,
    ) -> None:
        self.source, self.grid, self.bars, self.kind, self.may_shrink = source, grid, bars, kind, may_shrink
        self.has_sessions = settings.seconds >= 86_400 or settings.hours is not None
        self.funds = settings.cash * (1 if settings.cash_only else settings.leverage)
        self.cash_only = settings.cash_only
        self.basket_from = 8 if kind == "counted" and not settings.cash_only else 99
        self.offsets = (D(n) / 100_000 for n in count(1))
        self.made: list[At] = []
        self.given: dict[int, Order | str] = {}  # by number; a leg is "loss" or "profit"
        self.rough = dict.fromkeys(bars, 0)

    def commands(self) -> list[At]:
        starts = sorted({bar.start for series in self.bars.values() for bar in series})
        if self.kind == "called":
            symbol, side = self.source.choice(sorted(self.bars)), self.source.choice(["buy", "sell"])
            self.give(starts[0], Order(symbol, side, int(self.funds / self.near(symbol, 0)) * 9 // 10))
        for tick in [starts[0], *(start + 1 for start in starts)]:
            earlier = sorted(self.given)
            for _ in range(self.source.choice([0, 0, 1, 1, 2, 3])):
                what = self.source.randint(0, 11)
                if what == 0 and earlier:
                    self.made.append(At(tick, Cancel(self.source.choice(earlier))))
                elif what == 1 and earlier:
                    self.change(tick, self.source.choice(earlier))
                elif what == 2:
                    self.link(tick, earlier)
                elif self.may_shrink and self.kind != "called" and (what == 5 or what > self.basket_from):
                    self.basket(tick)
                elif what in (3, 4) and self.kind != "brackets":
                    self.exits(tick)
                else:
                    self.place(tick)
        return self.made

    def link(self, tick: int, earlier: Sequence[int]) -> None:
        """Two new orders, sometimes three, sometimes a new one and an earlier one; each cancels all the others."""
        group = [self.place(tick, bracket=False)]
        if earlier and self.source.randint(0, 3) == 0:
            group.append(self.source.choice(earlier))
        else:
            group.extend(self.place(tick, bracket=False) for _ in range(self.source.choice([1, 1, 1, 2])))
        self.made.extend(At(tick, Oco(first, second)) for first, second in combinations(group, 2))

    def close(self, symbol: str, tick: int) -> Decimal | None:
        return next((bar.close for bar in reversed(self.bars[symbol]) if bar.start < tick), None)

    def near(self, symbol: str, tick: int) -> Decimal:
        """A price on the grid around the last close."""
        close = self.close(symbol, tick)
        around = first_price(self.grid) * self.grid if close is None else close
        return max(self.grid, around + self.source.choice(STEPS) * self.grid)

    def trail(self) -> Trail:
        if self.grid == D("0.5"):
            if self.source.randint(0, 1):
                return Trail(amount=self.source.randint(1, 10) * self.grid)
            return Trail(percent=self.source.choice([D("0.78125"), D("1.5625"), D("3.125")]))
        if self.source.randint(0, 1):
            return Trail(amount=self.source.randint(0, 12) * self.grid + next(self.offsets))
        return Trail(percent=self.source.choice([D("0.20037"), D("0.40071"), D("0.90013")]))

    def prices(self, symbol: str, tick: int, kinds: Sequence[str]) -> dict[str, Decimal | Trail]:
        kind = self.source.choice(kinds)
        given: dict[str, Decimal | Trail] = {}
        if "limit" in kind:
            given["limit"] = self.near(symbol, tick)
        if "stop" in kind:
            given["stop"] = self.near(symbol, tick)
        if kind == "trail":
            given["trail"] = self.trail()
        return given

    def give(self, tick: int, order: Order) -> int:
        number = len(self.given) + 1
        self.given[number] = order
        for leg, price in (("loss", order.stop_loss), ("profit", order.take_profit)):
            if price is not None:
                self.given[len(self.given) + 1] = "trail" if isinstance(price, Trail) else leg
        if order.limit is None and order.stop is None and order.trail is None:
            self.rough[order.symbol] += order.lots if order.side == "buy" else -order.lots
        self.made.append(At(tick, order))
        return number

    def place(self, tick: int, *, bracket: bool = True) -> int:
        source = self.source
        symbol = source.choice(sorted(self.bars))
        tif = source.choice(TIFS if self.has_sessions or source.randint(0, 9) == 0 else TIFS[:-2])
        kinds = KINDS[:3] if tif in ("at_open", "at_close") else KINDS
        given = self.prices(symbol, tick, kinds)
        side = source.choice(["buy", "sell"])
        legs: dict[str, Decimal | Trail] = {}
        if bracket and (self.kind == "brackets" or source.randint(0, 2) == 0):
            legs = self.legs(symbol, tick, side, given)
        plain = not given and not legs and tif == "gtc" and self.close(symbol, tick) is not None
        return self.give(
            tick,
            Order(
                symbol=symbol,
                side=side,
                lots=self.size(symbol, tick, given),
                tif=tif,
                good_till=tick + source.randint(1, 5) if tif == "gtd" else None,
                shrink=plain and self.may_shrink and source.randint(0, 2) == 0,
                **given,
                **legs,
            ),
        )

    def basket(self, tick: int) -> None:
        """Targets for some symbols in one call, together about as much as can be paid for, or more, or less."""
        source = self.source
        symbols = [
            symbol for symbol in sorted(self.bars) if self.close(symbol, tick) is not None and source.randint(0, 3)
        ]
        share = self.funds * source.choice([D(1), D(1), D("1.05"), D("0.5")]) / max(1, len(symbols))
        orders = []
        for symbol in symbols:
            price = self.close(symbol, tick) if self.kind == "counted" else self.near(symbol, tick)
            lots = max(1, int(share / price) + source.choice([-1, 0, 0, 1]))
            orders.append(Order(symbol, source.choice(["buy", "buy", "buy", "sell"]), lots, shrink=True))
        if orders:
            self.made.append(At(tick, Basket(tuple(orders))))
            for order in orders:
                self.given[len(self.given) + 1] = order
                self.rough[order.symbol] += order.lots if order.side == "buy" else -order.lots

    def size(self, symbol: str, tick: int, given: Mapping[str, Decimal | Trail]) -> int:
        if self.kind != "counted":
            return self.source.choice([1, 2, 3, 5, 8, 12, 30])
        prices = [price for name, price in given.items() if name != "trail"]
        price = self.source.choice(prices) if prices else self.close(symbol, tick) or self.near(symbol, tick)
        most, held = int(self.funds / price), abs(self.rough[symbol])
        about = self.source.choice([most, most, most // 2, most - held, most + held, held])
        # With cash only, `most` is one lot less than the cash comes to within the slack: ask for that lot more often.
        return max(1, about + self.source.choice([1, 0, 1, 1] if self.cash_only else [-1, 0, 0, 1]))

    def legs(
        self, symbol: str, tick: int, side: str, given: Mapping[str, Decimal | Trail]
    ) -> dict[str, Decimal | Trail]:
        """Beyond the entry's prices; anywhere near where it has none, as long as the two are the right way round."""
        source, sign = self.source, 1 if side == "buy" else -1
        entries = [sign * price for name, price in given.items() if name in ("limit", "stop")]
        low = min(entries) if entries else sign * self.near(symbol, tick)
        high = max(entries) if entries else low + 1 * self.grid
        loss = sign * (low - source.choice(DISTANCES) * self.grid)
        profit = sign * (high + source.choice(DISTANCES) * self.grid)
        legs: dict[str, Decimal | Trail] = {}
        which = 2 if self.kind == "brackets" else source.randint(0, 3)
        if which != 0:
            legs["stop_loss"] = self.trail() if source.randint(0, 3) == 0 else max(self.grid, loss)
        if which != 1:
            legs["take_profit"] = max(self.grid, profit)
        return legs

    def exits(self, tick: int) -> None:
        """One or two exits of what the position may be."""
        for _ in range(self.source.choice([1, 2])):
            symbol = self.source.choice(sorted(self.bars))
            held = self.rough[symbol] or self.source.choice([1, -1])
            side = "sell" if held > 0 else "buy"
            if self.source.randint(0, 9) == 0:
                side = "buy" if side == "sell" else "sell"
            lots = self.source.choice([abs(held), abs(held), 1, 4, 40])
            tif = self.source.choice(TIFS if self.has_sessions else TIFS[:-2])
            kinds = KINDS[:3] if tif in ("at_open", "at_close") else KINDS
            good_till = tick + self.source.randint(1, 5) if tif == "gtd" else None
            given = self.prices(symbol, tick, kinds)
            self.give(tick, Order(symbol, side, lots, tif=tif, good_till=good_till, exit=True, **given))

    def change(self, tick: int, number: int) -> None:
        order = self.given[number]
        if isinstance(order, Order):
            changes = {}
            if order.limit is not None:
                changes["limit"] = self.near(order.symbol, tick)
            if order.stop is not None:
                changes["stop"] = self.near(order.symbol, tick)
            if self.source.randint(0, 2) == 0 or not changes:
                changes["lots"] = self.source.randint(1, 15)
            self.made.append(At(tick, Modify(number, **changes)))
        elif order != "trail":
            entry = next(self.given[n] for n in range(number - 1, 0, -1) if isinstance(self.given[n], Order))
            name = "stop" if order == "loss" else "limit"
            self.made.append(At(tick, Modify(number, **{name: self.near(entry.symbol, tick)})))


STEPS = [0, 0, 1, -1, 2, -2, 3, -3, 4, -4, 6, -6, 9, -9]
KINDS = ["market", "limit", "limit", "stop", "stop", "stop limit", "stop limit", "trail"]
DISTANCES = [1, 1, 2, 2, 3, 4, 6, 9]
TIFS = ["gtc"] * 10 + ["day", "day", "gtd", "ioc", "fok", "at_open", "at_close"]
