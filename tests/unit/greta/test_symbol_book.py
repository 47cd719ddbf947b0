"""Orders in price order give, byte for byte, the result of looking at every order at every bar.

The control is a book that is never quiet, that shows every order to every bar, and that asks every order whether its time is up.
Wrong lines in the source of the book and of the expiry must be caught on the same seeds.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from datetime import timedelta
from functools import cache
from pathlib import Path
from random import Random
from types import ModuleType
from typing import Any

import numpy as np
import pytest

from weaver.core.bars import Bar, BarSeries
from weaver.core.instrument import Instrument
from weaver.core.orders import Trail
from weaver.core.timeframe import Timeframe
from weaver.greta import expiry, order_book, symbol_book
from weaver.greta.broker_settings import BrokerSettings
from weaver.greta.costs import CommissionBps
from weaver.greta.engine import Engine
from weaver.greta.expiry import Expiry
from weaver.greta.symbol_book import SymbolBook
from weaver.greta.working_order import WorkingOrder
from weaver.marvin.order import Order
from weaver.marvin.strategy import Strategy

HOUR_NS = 3_600_000_000_000
START_NS = 1_704_067_200_000_000_000  # 2024-01-01 00:00 UTC
SEEDS = range(40)


class PlainBook(SymbolBook):
    """Shows every order to every bar."""

    __slots__ = ()

    restless = property(lambda self: True, lambda self, value: None)  # type: ignore[assignment]

    def is_quiet(self, bar: Bar) -> bool:
        return False

    def reached(self, bar: Bar) -> list[WorkingOrder]:
        return list(self.orders.values())

    def exits_without_position(self, held: int) -> tuple[WorkingOrder, ...]:
        return tuple(order for order in self.orders.values() if order.exit and (held == 0 or (held > 0) == order.buy))


class PlainExpiry(Expiry):
    """Asks every order with an end whether it is due."""

    __slots__ = ("orders",)

    def __init__(self) -> None:
        super().__init__()
        self.orders: list[WorkingOrder] = []
        self.next_ns = 0

    def __bool__(self) -> bool:
        return True

    def add(self, order: WorkingOrder) -> None:
        self.orders.append(order)

    def join_sessions(self, indices: Iterable[int], session_close: Callable[[int], int]) -> None:
        present = set(indices)
        for order in self.orders:
            if order.until_ns is None and order.index in present:
                order.until_ns = session_close(order.index)

    def take_due(self, now_ns: int) -> list[WorkingOrder]:
        due = [o for o in self.orders if not o.done and o.until_ns is not None and o.until_ns <= now_ns]
        self.orders = [order for order in self.orders if not order.done and order not in due]
        return due


class Erratic(Strategy):
    """Gives orders of every kind at random, near and far, and changes, cancels and links them."""

    seed: int = 0

    def on_start(self) -> None:
        self.source = Random(self.seed)
        self.heard: list[Any] = []
        self.given: list[Order] = []

    def on_order(self, order: Order) -> None:
        self.heard.append((order.id, order.status.value, order.filled_quantity, order.reason, order.note, self.cash))

    def on_bars(self, bars: Any) -> None:
        self.heard.append(self.equity)
        for symbol, bar in bars.items():
            for _ in range(self.source.choice([0, 0, 1, 2, 4])):
                order = self.act(symbol, bar.close)
                if order is not None:
                    self.given.append(order)

    def act(self, symbol: str, close: float) -> Order | None:
        source = self.source
        distance = source.choice([1, 2, 3, 5, 10, 40])
        below, above = max(float(int(close * 0.6)), close - distance), close + distance
        life: dict[str, Any] = source.choice(
            [{}, {}, {"tif": "day"}, {"good_till": self.now + timedelta(hours=source.randint(1, 60))}]
        )
        units = source.randint(1, 6)
        work = [order for order in self.given if order.is_open]
        match source.randint(0, 14):
            case 0:
                return self.buy(units, symbol=symbol, limit=below, **life)
            case 1:
                return self.sell(units, symbol=symbol, limit=above, **life)
            case 2:
                return self.buy(units, symbol=symbol, stop=above, **life)
            case 3:
                return self.sell(units, symbol=symbol, stop=below, **life)
            case 4:
                return self.buy(units, symbol=symbol, stop=above, limit=above + source.choice([-3, 0, 2]))
            case 5:
                limit = max(float(int(close * 0.5)), below + source.choice([3, 0, -2]))
                return self.sell(units, symbol=symbol, stop=below, limit=limit)
            case 6:
                loss = max(below * 0.6, below - 4)
                return self.buy(units, symbol=symbol, limit=below, stop_loss=loss, take_profit=below + 4, **life)
            case 7:
                return self.sell(
                    units, symbol=symbol, stop_loss=Trail(amount=float(distance)), take_profit=max(below, close * 0.6)
                )
            case 8:
                terms = source.choice([{}, {"tif": "ioc"}, {"limit": close, "tif": "fok"}])
                return self.buy(units, symbol=symbol, **terms)
            case 9:
                terms = source.choice([{}, {"stop": below}, {"limit": above}, {"stop": Trail(percent=3)}])
                return self.close(symbol=symbol, **terms)
            case 10 if len(work) > 1:
                self.oco(*source.sample(work, 2))
            case 11 | 12 if work:
                order = source.choice(work)
                price = max(float(int(close * 0.6)), close + source.randint(-12, 12))
                if order.request.limit is not None:
                    order.modify(limit=price)
                elif order.request.stop is not None:
                    order.modify(stop=price)
            case 13 if work:
                source.choice(work).cancel()
        return None


def walk(source: Random, symbol: str, bars: int) -> BarSeries:
    """Prices on a grid of whole numbers, so that touches and equal levels are common; some bars are missing."""
    close, rows = 100, []
    for row in range(bars):
        open_ = max(20, close + source.choice([0, 0, 0, 1, -1, source.randint(-15, 15)]))
        close = max(20, open_ + source.randint(-3, 3))
        high = max(open_, close) + source.choice([0, 0, 1, 2])
        low = min(open_, close) - source.choice([0, 0, 1, 2])
        if row == 0 or source.random() > 0.1:
            rows.append((START_NS + row * HOUR_NS, open_, high, low, close, source.choice([5, 20, 200])))
    columns = np.array([row[1:] for row in rows], dtype=np.float64)
    start = np.array([row[0] for row in rows], dtype=np.int64)
    names = ("open", "high", "low", "close", "volume")
    return BarSeries(
        symbol=symbol,
        timeframe=Timeframe("1h"),
        start=start,
        end=start + HOUR_NS,
        instrument=Instrument(lot=1),
        **{name: columns[:, column].copy() for column, name in enumerate(names)},
    )


def outcome(seed: int) -> bytes:
    """Return everything that a run of the erratic strategy made and heard, floats by their bits."""
    source = Random(seed)
    series = {symbol: walk(source, symbol, 90) for symbol in ["B", "A", "C"][: source.choice([1, 1, 1, 3])]}
    strategy = Erratic()
    strategy.seed = seed
    engine = Engine(
        strategy,
        series,
        iter(range(START_NS, START_NS + 91 * HOUR_NS, HOUR_NS)),
        run_id="book",
        cash=source.choice([1_000.0, 100_000.0]),
        settings=BrokerSettings(
            commission=source.choice([None, CommissionBps(5.0, maker=-1.0)]),
            leverage=source.choice([1.0, 2.0]),
            volume_cap=source.choice([None, None, 0.25]),
            intrabar=source.choice(["worst", "best"]),
            limit_fill=source.choice(["touch", "touch", "through"]),
        ),
    )
    engine.run()
    orders = [(o.id, o.status.value, o.filled_quantity, o.average_price, o.reason) for o in engine.context.orders]
    return repr((engine.broker.fills, orders, engine.broker.account_log.entries, strategy.heard)).encode()


@cache
def plain(seed: int) -> bytes:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(order_book, "SymbolBook", PlainBook)
        patch.setattr(order_book, "Expiry", PlainExpiry)
        return outcome(seed)


@pytest.mark.parametrize("seed", SEEDS)
def test_price_order_gives_the_bytes_of_a_plain_scan(seed: int) -> None:
    assert outcome(seed) == plain(seed)


def test_the_seeds_fill_and_end_orders_in_every_way() -> None:
    text = b"".join(map(plain, SEEDS))
    for words in (b"'filled'", b"'expired'", b"'cancelled'", b"'rejected'", b"modified", b"day: its", b"gtd: its"):
        assert text.count(words) > 20, words


MUTATIONS = {
    "a bar that only touches a level is quiet": (
        symbol_book,
        "bar.low > self.below and bar.high < self.above",
        "bar.low >= self.below and bar.high <= self.above",
    ),
    "the highest level below is not the nearest": (
        symbol_book,
        "self.below = self._falling[-1][0]",
        "self.below = self._falling[0][0]",
    ),
    "a level that is touched from below is not reached": (
        symbol_book,
        "(bar.high, _INFINITY)",
        "(bar.high, 0)",
    ),
    "a selling stop is reached by rising prices": (
        symbol_book,
        "self._falling if order.buy is is_limit else self._rising",
        "self._falling if order.buy else self._rising",
    ),
    "a modified order stays at its old price": (
        symbol_book,
        "            self._take_away(order)\n            self._place(order)",
        "            pass",
    ),
    "a trailing stop rests": (
        symbol_book,
        "order.kind is MARKET or order.trail is not None or",
        "order.kind is MARKET or (order.trail is not None and order.stop is None and order.levels) or",
    ),
    "an order of an earlier bar stays fresh": (
        symbol_book,
        "            order.fresh = False",
        "            pass",
    ),
    "buying exits are not counted": (
        symbol_book,
        "self._buying_exits += order.buy",
        "pass",
    ),
    "only the first order that is due expires": (
        expiry,
        "return [order for _, order in due]",
        "return [order for _, order in due[:1]]",
    ),
    "the next expiry is not found": (
        expiry,
        "self.next_ns = self._heap[0][0] if self._heap else NEVER",
        "self.next_ns = NEVER",
    ),
}


@pytest.mark.parametrize("wrong", MUTATIONS)
def test_a_wrong_line_is_caught(wrong: str, monkeypatch: pytest.MonkeyPatch) -> None:
    original, right, mutated = MUTATIONS[wrong]
    source = Path(str(original.__file__)).read_text(encoding="utf-8")
    assert source.count(right) == 1, f"{right!r} must occur in {original.__name__} exactly once"
    module = ModuleType(original.__name__)
    exec(compile(source.replace(right, mutated), f"{original.__name__}, mutated", "exec"), module.__dict__)
    name = "SymbolBook" if original is symbol_book else "Expiry"
    monkeypatch.setattr(order_book, name, getattr(module, name))
    assert any(differs(seed) for seed in SEEDS)


def differs(seed: int) -> bool:
    try:
        return outcome(seed) != plain(seed)
    except (AssertionError, IndexError, KeyError, TypeError):
        return True
