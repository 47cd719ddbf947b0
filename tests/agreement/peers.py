"""Peers: one plan of orders, run by Weaver, by backtesting.py and by backtrader, each with its own log of fills.

A plan says after which bar which orders are given; it is made from the closes up to that bar and from nothing else, so
every engine is asked for exactly the same. What the peers do not have (a life in bars, an order to clear everything) is
done by hand in their own words. The peers are imported where they run: each takes a second or two.
"""

from __future__ import annotations

import warnings
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import timedelta
from pathlib import Path
from types import MappingProxyType
from typing import Any, NamedTuple

import polars as pl

from weaver import Strategy, backtest
from weaver.core.orders import Trail

GOOG = "us_daily_GOOG_2004_2013"
EURUSD = "fx_EURUSD_1h_oanda_bid"
RELATIVE = 1e-9
CASH = 10_000_000.0  # never the limit, where it is not what a test is about


@dataclass(frozen=True, repr=False)
class Bars:
    """Bars as Weaver takes them (`frame`), and their columns by bar number."""

    frame: pl.DataFrame
    open: list[float]
    high: list[float]
    low: list[float]
    close: list[float]
    step: timedelta

    def __len__(self) -> int:
        return len(self.frame)

    def day(self, bar: int) -> str:
        return str(self.frame["timestamp"][bar])

    def cut(self, first: int, count: int) -> Bars:
        """`count` bars from bar number `first` on, counted anew."""
        return bars_of(self.frame.slice(first, count))

    def mirrored(self, bar: int, side: str) -> tuple[float, float, float, float]:
        """Open, high, low, close as a buyer sees them: for a sell the prices' signs are turned, and high and low change
        places, so that one condition serves both sides."""
        prices = self.open[bar], self.high[bar], self.low[bar], self.close[bar]
        if side == "buy":
            return prices
        return -prices[0], -prices[2], -prices[1], -prices[3]


def bars_of(frame: pl.DataFrame) -> Bars:
    step = frame["timestamp"].diff().drop_nulls().mode().sort()[0]
    open_, high, low, close = (frame[name].to_list() for name in ("open", "high", "low", "close"))
    return Bars(frame, open_, high, low, close, step)


def read(folder: Path, name: str, count: int | None = None) -> Bars:
    """The first `count` bars of a clean file."""
    return bars_of(pl.read_parquet(folder / "clean" / f"{name}.parquet", n_rows=count))


@dataclass(frozen=True)
class Ask:
    """One order: at the market, or from `stop` on, or at `limit`, or both; `life` bars later it is cancelled."""

    side: str
    size: float
    limit: float | None = None
    stop: float | None = None
    stop_loss: float | None = None
    take_profit: float | None = None
    trail: float | None = None
    """The amount of a trailing stop."""
    life: int | None = None
    tif: str | None = None
    good_till: int | None = None
    """The last bar in which it may fill."""
    oco: bool = False
    """One cancels the other: this one and the order that was given just before it."""

    @property
    def buy(self) -> bool:
        return self.side == "buy"


@dataclass(frozen=True)
class Clear:
    """Cancel every open order and close the position at the next open."""


Plan = Mapping[int, Sequence[Ask | Clear]]


class Filled(NamedTuple):
    """One execution, in the bar of that number; `commission` is None where the peer does not tell it by fill."""

    bar: int
    side: str
    quantity: float
    price: float
    commission: float | None = None


class Run(NamedTuple):
    """What one engine made of a plan: its fills, and its equity at each bar's close."""

    fills: list[Filled]
    equity: list[float]
    cash: float
    rejected: list[str]
    raw: Any


# Weaver.


class Planned(Strategy):
    """Gives a plan's orders."""

    _plan: Plan = MappingProxyType({})
    _stamps: Sequence[Any] = ()

    def on_start(self) -> None:
        self.bar = -1
        self.ends: dict[int, list[Any]] = {}
        self.before: Any = None

    def on_bar(self, bar: Any) -> None:
        self.bar += 1
        for order in self.ends.pop(self.bar, ()):
            order.cancel()
        for asked in self._plan.get(self.bar, ()):
            if isinstance(asked, Clear):
                for order in self.orders:
                    order.cancel()
                self.close()
            else:
                self._give(asked)

    def _give(self, asked: Ask) -> None:
        order = (self.buy if asked.buy else self.sell)(
            asked.size,
            limit=asked.limit,
            stop=asked.stop if asked.trail is None else Trail(amount=asked.trail),
            stop_loss=asked.stop_loss,
            take_profit=asked.take_profit,
            tif=asked.tif,
            # "May fill in that bar" is, in Weaver's words, good until just after that bar has started.
            good_till=None if asked.good_till is None else self._stamps[asked.good_till] + timedelta(seconds=1),
        )
        if asked.oco:
            self.oco(self.before, order)
        self.before = order
        if asked.life is not None:
            self.ends.setdefault(self.bar + asked.life, []).append(order)


def run_weaver(bars: Bars, plan: Plan, *, strategy: type[Strategy] | None = None, **settings: Any) -> Run:
    """Through the public door, `backtest()`."""
    stamps = bars.frame["timestamp"].to_list()
    if strategy is None:
        strategy = type("Planned", (Planned,), {"_plan": MappingProxyType(dict(plan)), "_stamps": tuple(stamps)})
    result = backtest(strategy, bars.frame, **settings)
    number = {stamp: bar for bar, stamp in enumerate(stamps)}
    fills = [
        Filled(number[row["timestamp"]], row["side"], row["quantity"], row["price"], row["commission"])
        for row in result.fills.iter_rows(named=True)
    ]
    rejected = result.orders.filter(pl.col("status") == "rejected")["reason"].to_list()
    equity = result.equity
    return Run(fills, equity["equity"].to_list(), equity["cash"][-1], rejected, result)


# backtesting.py.

KNOWN_TO_BACKTESTING_PY = ("side", "size", "limit", "stop", "stop_loss", "take_profit")
"""The terms of an order that it has words for."""


def run_backtesting_py(bars: Bars, plan: Plan, *, strategy: Any = None, **settings: Any) -> Run:
    """backtesting.py 0.6.6; its log of fills is the table of its trades, with those that are still open."""
    from backtesting import Backtest
    from backtesting import Strategy as Base

    class Native(Base):  # type: ignore[misc]
        def init(self) -> None:
            self.ends: dict[int, list[Any]] = {}

        def next(self) -> None:
            bar = len(self.data) - 1
            for order in self.ends.pop(bar, ()):
                if order in self.orders:
                    order.cancel()
            for asked in plan.get(bar, ()):
                if isinstance(asked, Clear):
                    for order in list(self.orders):
                        if not order.is_contingent:
                            order.cancel()
                    self.position.close()
                    continue
                assert replace(asked, life=None) == Ask(*(getattr(asked, name) for name in KNOWN_TO_BACKTESTING_PY))
                order = (self.buy if asked.buy else self.sell)(
                    size=asked.size, limit=asked.limit, stop=asked.stop, sl=asked.stop_loss, tp=asked.take_profit
                )
                if asked.life is not None:
                    self.ends.setdefault(bar + asked.life, []).append(order)

    assert all(bar >= 1 for bar in plan), "backtesting.py asks its strategy from the second bar on"
    with warnings.catch_warnings():
        # The peer's own, raised in its caller's name.
        warnings.filterwarnings("ignore", message="Some trades remain open at the end of backtest")
        warnings.filterwarnings("ignore", message="Some prices are larger than initial cash value")
        stats = Backtest(pandas_of(bars, capital=True), strategy or Native, **settings).run()
    fills: list[Filled] = []
    for row in stats["_trades"].itertuples():
        fills += _both_ends(row.Size, row.EntryBar, row.EntryPrice, row.ExitBar, row.ExitPrice)
    for trade in stats["_strategy"].trades:
        fills += _both_ends(trade.size, trade.entry_bar, trade.entry_price, None, None)
    equity = stats["_equity_curve"]["Equity"].tolist()
    return Run(fills, equity, float("nan"), [], stats)


def _both_ends(size: int, entered: int, price: float, left: int | None, exit_price: float | None) -> Iterator[Filled]:
    yield Filled(int(entered), "buy" if size > 0 else "sell", abs(size), float(price))
    if left is not None and exit_price is not None:
        yield Filled(int(left), "sell" if size > 0 else "buy", abs(size), float(exit_price))


# backtrader.


def run_backtrader(
    bars: Bars,
    plan: Plan,
    *,
    cash: float = 100_000.0,
    commission: float = 0.0,
    slippage: Mapping[str, Any] | None = None,
    cancel_legs: bool = True,
) -> Run:
    """backtrader 1.9.78; its log of fills is what its broker tells the strategy. `cancel_legs=False` leaves them at
    `Clear`, as its own `close()` does."""
    import backtrader as bt

    number: dict[float, int] = {}
    fills: list[Filled] = []
    equity: list[float] = []
    rejected: list[str] = []

    class Native(bt.Strategy):  # type: ignore[misc]
        def __init__(self) -> None:
            self.given: list[Any] = []
            self.ends: dict[int, list[Any]] = {}
            self.told: dict[int, tuple[float, float]] = {}

        def prenext(self) -> None:
            raise AssertionError("nothing to wait for")

        def notify_order(self, order: Any) -> None:
            done = order.executed
            size, paid = self.told.get(order.ref, (0.0, 0.0))
            if done.size != size:
                self.told[order.ref] = done.size, done.comm
                side = "buy" if order.isbuy() else "sell"
                price = done.exbits[-1].price
                fills.append(Filled(number[done.dt], side, abs(done.size - size), price, done.comm - paid))
            if order.status == order.Margin:
                rejected.append("margin")

        def next(self) -> None:
            bar = len(self.data) - 1
            number[self.data.datetime[1] if bar + 1 < len(bars) else -1.0] = bar + 1
            equity.append(self.broker.getvalue())
            for order in self.ends.pop(bar, ()):
                self.cancel(order)
            for asked in plan.get(bar, ()):
                if isinstance(asked, Clear):
                    for order in self.given:
                        if order.alive() and (cancel_legs or order.parent is None):
                            self.cancel(order)
                    self.given.clear()
                    self.close()
                else:
                    self._give(bar, asked)

        def _give(self, bar: int, asked: Ask) -> None:
            terms = _backtrader_terms(bt, asked)
            if asked.tif == "at_close":
                terms["exectype"] = bt.Order.Close
            if asked.tif == "day":
                terms["valid"] = bt.Order.DAY
            if asked.good_till is not None:
                terms["valid"] = bars.frame["timestamp"][asked.good_till].replace(tzinfo=None)
            if asked.stop_loss is None and asked.take_profit is None:
                terms |= {"oco": self.given[-1]} if asked.oco else {}
                made = [(self.buy if asked.buy else self.sell)(size=asked.size, **terms)]
            else:
                legs: dict[str, Any] = {}
                legs |= {"stopexec": None} if asked.stop_loss is None else {"stopprice": asked.stop_loss}
                legs |= {"limitexec": None} if asked.take_profit is None else {"limitprice": asked.take_profit}
                terms.setdefault("exectype", bt.Order.Market)
                bracket = (self.buy_bracket if asked.buy else self.sell_bracket)(size=asked.size, **terms, **legs)
                made = [order for order in bracket if order is not None]
            self.given += made
            if asked.life is not None:
                self.ends.setdefault(bar + asked.life, []).append(made[0])

    cerebro = bt.Cerebro(stdstats=False)
    cerebro.broker.setcash(cash)
    cerebro.broker.setcommission(commission=commission)
    cerebro.broker.set_checksubmit(True)
    if slippage:
        cerebro.broker.set_slippage_perc(**slippage)
    daily = bars.step >= timedelta(days=1)
    cerebro.adddata(
        bt.feeds.PandasData(
            dataname=pandas_of(bars, capital=False),
            timeframe=bt.TimeFrame.Days if daily else bt.TimeFrame.Minutes,
            compression=1 if daily else round(bars.step / timedelta(minutes=1)),
        )
    )
    cerebro.addstrategy(Native)
    cerebro.run()
    return Run(fills, equity, cerebro.broker.getcash(), rejected, None)


def _backtrader_terms(bt: Any, asked: Ask) -> dict[str, Any]:
    if asked.trail is not None:
        return {"exectype": bt.Order.StopTrail, "trailamount": asked.trail}
    if asked.stop is not None and asked.limit is not None:
        return {"exectype": bt.Order.StopLimit, "price": asked.stop, "plimit": asked.limit}
    if asked.stop is not None:
        return {"exectype": bt.Order.Stop, "price": asked.stop}
    if asked.limit is not None:
        return {"exectype": bt.Order.Limit, "price": asked.limit}
    return {}


def pandas_of(bars: Bars, *, capital: bool) -> Any:
    """The same bars as both peers want them: a pandas frame with naive times as its index."""
    import pandas as pd

    index = pd.DatetimeIndex(bars.frame["timestamp"].dt.replace_time_zone(None).to_numpy())
    names = ("open", "high", "low", "close", "volume")
    return pd.DataFrame({name.title() if capital else name: bars.frame[name].to_numpy() for name in names}, index=index)


# Comparing.


def merged(fills: Sequence[Filled]) -> list[Filled]:
    """Fills of the same bar, side and price as one, in order: an order that turns a position is two trades to a peer."""
    sums: dict[tuple[int, str, float], list[Any]] = {}
    for fill in fills:
        found = sums.setdefault((fill.bar, fill.side, fill.price), [0.0, 0.0])
        found[0] += fill.quantity
        found[1] = None if fill.commission is None or found[1] is None else found[1] + fill.commission
    return [Filled(bar, side, total[0], price, total[1]) for (bar, side, price), total in sorted(sums.items())]


def same(ours: Filled, theirs: Filled) -> bool:
    return (
        (ours.bar, ours.side) == (theirs.bar, theirs.side)
        and near(ours.quantity, theirs.quantity)
        and near(ours.price, theirs.price)
        and (ours.commission is None or theirs.commission is None or near(ours.commission, theirs.commission))
    )


def near(one: float, other: float, relative: float = RELATIVE) -> bool:
    return abs(one - other) <= relative * max(abs(one), abs(other))


def assert_agree(ours: Run, theirs: Run, *, at_least: int) -> int:
    """Every fill and every bar's equity agree, and there are enough of them to mean something. Gives their count."""
    mine, their = merged(ours.fills), merged(theirs.fills)
    for number, (one, other) in enumerate(zip(mine, their, strict=False)):
        assert same(one, other), f"fill {number}: Weaver {one}, the peer {other}"
    assert len(mine) == len(their), f"Weaver has {len(mine)} fills, the peer {len(their)}"
    assert len(mine) >= at_least, f"only {len(mine)} fills were compared"
    assert not ours.rejected
    assert not theirs.rejected
    assert len(ours.equity) == len(theirs.equity)
    for bar, (own, its) in enumerate(zip(ours.equity, theirs.equity, strict=True)):
        assert near(own, its, 1e-11), f"equity at the close of bar {bar}: Weaver {own!r}, the peer {its!r}"
    return len(mine)
