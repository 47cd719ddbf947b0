"""Random runs for comparing forms of the engine: a strategy that does everything by chance, over bars drawn from a seed.

It notes all that it is shown, so that two runs can be compared by what they heard and not only by what they did.
"""

from __future__ import annotations

from dataclasses import dataclass
from random import Random
from typing import Any

import numpy as np
from comparing import DailyHours

import builders
from weaver.core.bars import BarSeries
from weaver.core.calendar import SessionCalendar
from weaver.core.instants import NS_PER_DAY
from weaver.core.instrument import Instrument
from weaver.core.orders import Trail
from weaver.core.timeframe import Timeframe
from weaver.glados.backtest import clock_for
from weaver.greta.broker_settings import BrokerSettings
from weaver.greta.costs import CommissionBps, CommissionPerShare, SlippageBps
from weaver.greta.engine import Engine, Hooks
from weaver.indicators import atr, bollinger, ema, sma
from weaver.marvin.strategy import Strategy
from weaver.results.equity import equity_columns

HOUR = 3_600 * 10**9
TIFS = ("gtc", "gtc", "day", "ioc", "fok", "at_open", "at_close")


def windows(values: Any, length: int) -> Any:
    """A moving sum as people write it: it raises for columns that are shorter than its window."""
    if len(values) < length:
        raise ValueError(f"{len(values)} values are too few")
    return np.r_[np.full(length - 1, np.nan), np.lib.stride_tricks.sliding_window_view(values, length).sum(axis=1)]


class Everything(Strategy):
    """Makes views of every kind, and gives orders of every kind by chance."""

    def on_start(self) -> None:
        self.heard: list[Any] = []
        self.ways = Random(int(self.random.integers(2**31)))
        ways = self.ways
        all_bars = [self.bars] if len(self.symbols) == 1 else [self.bars[symbol] for symbol in self.symbols]
        self.shown: list[Any] = []
        for bars in all_bars:
            self.shown.append(bars.close)
            if ways.random() < 0.7:
                self.shown.append(self.indicator(sma, bars.close, ways.choice([2, 5, 12])))
            if ways.random() < 0.3:
                line = self.indicator(ema, bars.close, 4)
                self.shown += [line, self.indicator(sma, line, 3)]
            if ways.random() < 0.3:
                self.shown.append(self.indicator(atr, bars.high, bars.low, bars.close, 3))
            if ways.random() < 0.3:
                self.shown += self.indicator(bollinger, bars.close, 5)
            if ways.random() < 0.3:
                self.shown.append(self.indicator(windows, bars.volume, 6))
            if ways.random() < 0.3:
                self.shown.append(self.indicator(sma, bars.mood, 2))
            if ways.random() < 0.5:
                longer = bars.resample("1w" if str(bars.timeframe) == "1d" else ways.choice(["4h", "1d"]))
                self.shown += [longer.close, longer.volume, longer.ts]
                if ways.random() < 0.5:
                    self.shown.append(self.indicator(sma, longer.high, 2))
        if len(all_bars) > 1 and ways.random() < 0.5:
            pair = self.symbols[:2]
            joined = self.bars.join(*pair)
            first, second = (joined[symbol] for symbol in pair)
            self.shown += [first.close, joined.ts, self.indicator(np.subtract, first.close, second.close)]
            if str(first.timeframe) == "1h" and ways.random() < 0.5:
                self.shown.append(first.resample("4h").low)
        if ways.random() < 0.6:
            self.every(ways.choice(["1d", "3h", "week"]), self.on_timer)
        if ways.random() < 0.3:
            self.at(self.now, self.on_timer)
        self.note("start")

    def on_bar(self, bar: Any) -> None:
        bars = self.bars if len(self.symbols) == 1 else self.bars[bar.symbol]
        self.note("bar", bar, bars.open[-3:].tolist(), bars.ts[-1], len(bars))
        if self.ways.random() < 0.15:
            self.act(bar.symbol, bar.close)

    def on_bars(self, bars: Any) -> None:
        self.note("bars", tuple(bars))
        if len(bars) == len(self.symbols) and self.ways.random() < 0.05:
            self.target_weights({symbol: self.ways.uniform(-0.3, 0.5) for symbol in self.symbols})
        for symbol, bar in bars.items():
            if self.ways.random() < 0.3:
                self.act(symbol, bar.close)

    def on_timer(self) -> None:
        self.note("timer")
        symbol = self.ways.choice(self.symbols)
        bars = self.bars if len(self.symbols) == 1 else self.bars[symbol]
        if len(bars) and self.ways.random() < 0.3:
            self.act(symbol, bars.close[-1])

    def on_stop(self) -> None:
        self.note("stop")

    def note(self, *facts: Any) -> None:
        values = [(len(view), view[-1]) if len(view) else None for view in self.shown]
        orders = [(order.id, order.status, order.filled_quantity) for order in self.orders]
        held = [(float(position), position.average_price) for position in self.positions.values()]
        self.heard.append((self.now, *facts, values, orders, held, self.cash, self.equity))

    def act(self, symbol: str, close: float) -> None:
        """Give one order, cancel, change or link."""
        ways, symbol_of = self.ways, {} if len(self.symbols) == 1 else {"symbol": symbol}
        quantity, near = ways.randint(1, 8), ways.uniform(0.985, 1.015)
        terms: dict[str, Any] = {**symbol_of, "tif": ways.choice(TIFS)}
        chance = ways.random()
        if chance < 0.2:
            ways.choice([self.buy, self.sell])(quantity, **symbol_of)
        elif chance < 0.35:
            ways.choice([self.buy, self.sell])(quantity, limit=close * near, **terms)
        elif chance < 0.42:
            self.buy(quantity, limit=close, stop_loss=close * 0.98, take_profit=close * 1.02, **symbol_of)
        elif chance < 0.49:
            self.sell(quantity, limit=close, stop_loss=Trail(percent=2), take_profit=close * 0.98, **symbol_of)
        elif chance < 0.55:
            self.buy(quantity, stop=close * 1.005, limit=close * 1.01, **symbol_of)
        elif chance < 0.62:
            self.close(stop=Trail(percent=1.5), **symbol_of)
        elif chance < 0.7:
            self.close(**symbol_of)
        elif chance < 0.76:
            self.target(weight=ways.uniform(-0.5, 0.9), **symbol_of)
        elif chance < 0.84 and len(self.orders) > 1:
            self.oco(self.orders[0], self.orders[-1])
        elif chance < 0.92 and self.orders:
            ways.choice(self.orders).cancel()
        else:
            for order in self.orders:
                if order.limit is not None and order.request.parent is None:
                    order.modify(limit=order.limit * 1.001)
                    break


class Listening(Everything):
    """Also hears every update, and answers some fills."""

    def on_order(self, order: Any) -> None:
        self.note("order", order.id, order.status, order.reason, order.note)

    def on_fill(self, fill: Any) -> None:
        self.note("fill", fill)
        if self.ways.random() < 0.1:
            self.act(fill.symbol, fill.price)


@dataclass(frozen=True)
class RandomRun:
    """One run: everything that an engine needs."""

    seed: int
    series: dict[str, BarSeries]
    finer: dict[str, BarSeries] | None
    settings: BrokerSettings
    calendar: SessionCalendar | None
    cash: float
    finalize: bool
    listens: bool


def draw(seed: int) -> RandomRun:
    """Draw a run from `seed`: 20 to 70 bars of one to three symbols."""
    source = Random(seed)
    step = source.choice(["1h", "1h", "1d"])
    hours = source.choice([None, (9, 10, 11, 14, 15)]) if step == "1h" else None
    calendar = None if hours is None else DailyHours(hours, HOUR)
    count, history = source.randint(20, 70), source.choice([0, 0, 3, 15])
    # Most data begin within a longer bar, whose beginning is missing then.
    begins = builders.MONDAY if hours is not None else builders.MONDAY + source.randint(0, 3) * Timeframe(step).ns
    series, finer = {}, {}
    for place, symbol in enumerate(["B", "A", "C"][: source.choice([1, 1, 2, 3])]):
        kept = [row for row in range(count) if row < 2 or source.random() > 0.12 * (seed % 3)]
        walk = builders.random_walk(count, seed + 10_000 * place)
        columns = {name: values[kept] for name, values in walk.items()}
        columns["volumes"] = np.round(columns["volumes"] / 2_000)
        starts = [begins + start_of(row, step, hours) for row in kept]
        mood = [np.nan if source.random() < 0.1 else source.random() for _ in kept]
        bars = builders.series(
            **columns, symbol=symbol, step=step, starts=starts, extra={"mood": mood},
            instrument=Instrument(lot="0.01", price_step="0.01" if seed % 2 else None),
            ends=[start + (HOUR if step == "1h" else NS_PER_DAY) for start in starts],
        )  # fmt: skip
        series[symbol] = begun_at(bars, history)
        finer[symbol] = halves(bars)
    settings = BrokerSettings(
        commission=source.choice([CommissionBps(10), CommissionPerShare(0.01, minimum=1.0)]),
        slippage=SlippageBps(source.choice([0, 5])),
        leverage=source.choice([0.5, 1.0, 2.0, 4.0]),
        borrow_rate=source.choice([0.0, 0.05]),
        financing_rate=source.choice([0.0, 0.05]),
        volume_cap=source.choice([None, None, 0.1]),
    )
    return RandomRun(
        seed=seed,
        series=series,
        finer=finer if step == "1h" and source.random() < 0.3 else None,
        settings=settings,
        calendar=calendar,
        cash=source.choice([1_000.0, 10_000.0]),
        finalize=source.random() < 0.3,
        listens=source.random() < 0.5,
    )


def start_of(row: int, step: str, hours: tuple[int, ...] | None) -> int:
    """Return when the bar of a row begins, in nanoseconds after the first midnight."""
    if hours is not None:
        return row // len(hours) * NS_PER_DAY + hours[row % len(hours)] * HOUR
    return row * (HOUR if step == "1h" else NS_PER_DAY)


def begun_at(bars: BarSeries, history: int) -> BarSeries:
    """Return the same bars, of which the first ones are history: those of the first `history` rows of the grid."""
    rows = bars.rows(0, len(bars))
    count = min(history, len(bars) - 2)
    object.__setattr__(rows, "history", count)
    return rows


def halves(bars: BarSeries) -> BarSeries:
    """Return two bars of half the length for each bar: its open to its high or low, then to its close."""
    starts = np.ravel(np.column_stack([bars.start, bars.start + HOUR // 2])).tolist()
    turn = np.where(np.arange(len(bars)) % 2 == 0, bars.high, bars.low)
    return builders.series(
        np.ravel(np.column_stack([turn, bars.close])),
        opens=np.ravel(np.column_stack([bars.open, turn])),
        symbol=bars.symbol, step="30m", starts=starts,
    )  # fmt: skip


def run(drawn: RandomRun, engine_class: type[Engine]) -> list[tuple[str, object]]:
    """Run it and return everything that came out, by name: floats of the account's curve as bytes."""
    strategy = (Listening if drawn.listens else Everything)()
    commands: list[object] = []
    begun = {symbol: bars.without_history() for symbol, bars in drawn.series.items()}
    engine = engine_class(
        strategy,
        drawn.series,
        clock_for(begun, drawn.calendar).boundaries(),
        run_id="agreement",
        cash=drawn.cash,
        settings=drawn.settings,
        seed=drawn.seed,
        calendar=drawn.calendar,
        finalize=drawn.finalize,
        finer=drawn.finer,
        hooks=Hooks(on_commands=lambda given, tick_ns: commands.append((tick_ns, tuple(given)))),
    )
    engine.run()
    columns = equity_columns(begun, drawn.cash, engine.broker.account_log, engine.context.now_ns)
    infos = engine.context.indicators
    return [
        ("commands", commands),
        ("fills", list(engine.broker.fills)),
        (
            "orders",
            [(o.id, o.status, o.filled_quantity, o.average_price, o.reason, o.note) for o in engine.context.orders],
        ),
        ("equity", [getattr(columns, name).tobytes() for name in ("start", "end", "equity", "cash", "gross", "net")]),
        ("account", (engine.account.cash, engine.account.charged, engine.account.lots, engine.account.average)),
        ("heard", [repr(fact) for fact in strategy.heard]),
        ("warnings", engine.warnings),
        ("indicators", [(info.name, ready) for info in infos if (ready := info.ready_ns) <= engine.context.now_ns]),
    ]


def first_difference(expected: list[tuple[str, object]], actual: list[tuple[str, object]]) -> str | None:
    """Return where two runs differ first, None where all is equal."""
    for (name, one), (_, other) in zip(expected, actual, strict=True):
        if repr(one) != repr(other):
            if isinstance(one, list) and isinstance(other, list):
                pairs = zip([*one, None], [*other, None], strict=False)
                at, pair = next((at, pair) for at, pair in enumerate(pairs) if repr(pair[0]) != repr(pair[1]))
                return f"{name} {at}: {pair[0]!r} and {pair[1]!r}"
            return f"{name}: {one!r} and {other!r}"
    return None
