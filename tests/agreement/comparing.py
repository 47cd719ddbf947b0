"""Runs one scenario through the engine and through the reference, and says where they differ.

The scenario's plan goes through the public strategy API, which may give other orders than the plan asks for: `close` needs
a position and never asks for more than it, a plain one cancels the other exits first, and a `target` replaces its earlier
one. So the strategy writes down what it gave, in the reference's words, and that is what the reference runs.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal
from types import MappingProxyType
from typing import Any

import numpy as np
import reference
from scenarios import Scenario

from weaver.core.bars import BarSeries
from weaver.core.calendar import Sessions
from weaver.core.instants import NS_PER_DAY, from_ns, to_ns
from weaver.core.instrument import Instrument
from weaver.core.orders import Fill, Trail
from weaver.core.timeframe import Timeframe
from weaver.glados.backtest import clock_for, run_plan
from weaver.glados.backtest.plan import RunPlan
from weaver.greta.broker_settings import BrokerSettings
from weaver.greta.costs import (
    Commission,
    CommissionBps,
    CommissionPerShare,
    CommissionSum,
    Slippage,
    SlippageBps,
    SlippageSum,
)
from weaver.greta.engine import Engine, Hooks
from weaver.marvin.order import Order
from weaver.marvin.strategy import Strategy
from weaver.results.equity import EquityColumns, equity_columns
from weaver.results.result import Result

MIDNIGHT = 1_704_067_200 * 1_000_000_000  # 2024-01-01 00:00 UTC, where the reference's tick 0 lies
NS = 1_000_000_000
CLOSE = 1e-9


class Planned(Strategy):
    """Gives a scenario's commands at their ticks and keeps what it gave (`given`) and saw (`seen`)."""

    def on_start(self) -> None:
        self.handles: dict[int, Order] = {}  # by the plan's number
        self.numbers: dict[int, int] = {}  # the reference's number by the order's id
        self.exits: dict[int, Order | None] = {}  # by the reference's number: an exit's entry, None where it has none
        self.targets: dict[str, Order] = {}
        self.given: list[reference.At] = []
        self.seen: list[tuple[float, float]] = []
        self.planned = 0
        self.baskets = 0
        self._give()

    def on_bars(self, bars: Any) -> None:
        self.seen.append((self.equity, self.cash))
        self._give()

    def _tick(self) -> int:
        return (to_ns(self.now) - MIDNIGHT) // (self._scenario.settings.seconds * NS)

    def _when(self, tick: int) -> datetime:
        return from_ns(MIDNIGHT + tick * self._scenario.settings.seconds * NS)

    def _give(self) -> None:
        tick = self._tick()
        for command in self._plan.get(tick, ()):
            if isinstance(command, reference.Order):
                self._place(tick, command)
                self.planned += 1 + (command.stop_loss is not None) + (command.take_profit is not None)
            elif isinstance(command, reference.Basket):
                self._basket(tick, command)
            elif isinstance(command, reference.Oco):
                pair = [self.handles.get(command.first), self.handles.get(command.second)]
                if None not in pair and pair[0] is not pair[1]:
                    self.oco(*pair)
                    self._note(tick, reference.Oco(*(self.numbers[order.id] for order in pair)))
            elif (order := self.handles.get(command.number)) is None:
                continue
            elif isinstance(command, reference.Cancel):
                order.cancel()
                self._note(tick, reference.Cancel(self.numbers[order.id]))
            else:
                order.modify(limit=number(command.limit), stop=number(command.stop), quantity=number(command.lots))
                self._note(tick, reference.Modify(self.numbers[order.id], command.limit, command.stop, command.lots))

    def _basket(self, tick: int, basket: reference.Basket) -> None:
        """Give targets for all symbols: for those that are not in the basket, the position that there is."""
        asked = {order.symbol: order for order in basket.orders}
        if not self.equity:
            self.planned += len(basket.orders)
            return
        weights, orders = {}, []
        for symbol in self.symbols:
            held = int(self.positions[symbol])
            bars = self.bars if len(self.symbols) == 1 else self.bars[symbol]
            earlier = self.targets.pop(symbol, None)
            if earlier is not None and earlier.is_open:
                self._note(tick, reference.Cancel(self.numbers[earlier.id]))
            if not len(bars.close):
                continue
            order = asked.get(symbol)
            wanted = held if order is None else held + (order.lots if order.side == "buy" else -order.lots)
            weights[symbol] = wanted * bars.close[-1] / self.equity
            if order is not None:
                orders.append(replaced(order, basket=self.baskets))
        self.baskets += 1
        made = self.target_weights(weights)
        assert [order.symbol for order in made] == [order.symbol for order in orders]
        places = {order.symbol: place for place, order in enumerate(basket.orders)}
        planned = self.planned
        for order, each in zip(orders, made, strict=True):
            self.planned = planned + places[order.symbol]
            self.targets[order.symbol] = each
            self._keep(tick, each, order)
        self.planned = planned + len(basket.orders)

    def _note(self, tick: int, command: Any) -> None:
        self.given.append(reference.At(tick, command))

    def _place(self, tick: int, asked: reference.Order) -> None:
        symbol = None if len(self.symbols) == 1 else asked.symbol
        if asked.exit:
            self._close(tick, asked, symbol)
        elif asked.shrink:
            self._target(tick, asked, symbol)
        else:
            order = (self.buy if asked.side == "buy" else self.sell)(
                asked.lots,
                symbol=symbol,
                limit=number(asked.limit),
                stop=stop(asked.stop, asked.trail),
                stop_loss=stop(asked.stop_loss),
                take_profit=number(asked.take_profit),
                tif=None if asked.tif in ("gtc", "gtd") else asked.tif,
                good_till=None if asked.good_till is None else self._when(asked.good_till),
            )
            self._keep(tick, order, asked)

    def _close(self, tick: int, asked: reference.Order, symbol: str | None) -> None:
        held = int(self.positions[asked.symbol])
        if not held:
            return
        side = "sell" if held > 0 else "buy"
        lots = min(abs(held), asked.lots)
        plain = asked.limit is None and asked.stop is None and asked.trail is None and asked.tif == "gtc"
        if plain and lots == abs(held):
            for order in self.orders:
                its = self.numbers.get(order.id)
                if its in self.exits and order.symbol == asked.symbol:
                    entry = self.exits[its]
                    if order.side == side and (entry is None or entry.filled_quantity):
                        self._note(tick, reference.Cancel(its))
                        if entry is not None:
                            self._note(tick, reference.Cancel(self.numbers[entry.id]))
        order = self.close(
            asked.lots,
            symbol=symbol,
            limit=number(asked.limit),
            stop=stop(asked.stop, asked.trail),
            tif=None if asked.tif in ("gtc", "gtd") else asked.tif,
            good_till=None if asked.good_till is None else self._when(asked.good_till),
        )
        assert order is not None
        self._keep(tick, order, replaced(asked, side=side, lots=lots))

    def _target(self, tick: int, asked: reference.Order, symbol: str | None) -> None:
        """A size from a weight: such a one that the order is for the lots that the plan asks for."""
        held = int(self.positions[asked.symbol])
        wanted = held + (asked.lots if asked.side == "buy" else -asked.lots)
        if not self.equity:
            return
        earlier = self.targets.get(asked.symbol)
        if earlier is not None and earlier.is_open:
            self._note(tick, reference.Cancel(self.numbers[earlier.id]))
        close = (self.bars if symbol is None else self.bars[symbol]).close[-1]
        order = self.target(weight=wanted * close / self.equity, symbol=symbol)
        assert order is not None
        self.targets[asked.symbol] = order
        self._keep(tick, order, asked)

    def _keep(self, tick: int, order: Order, asked: reference.Order) -> None:
        self._note(tick, asked)
        made = [order, *(leg for leg in (order.stop_loss, order.take_profit) if leg is not None)]
        for offset, each in enumerate(made, start=1):
            its = len(self.numbers) + 1
            self.numbers[each.id] = its
            self.handles[self.planned + offset] = each
            if asked.exit or each is not order:
                self.exits[its] = None if each is order else order


def number(value: Decimal | int | None) -> float | None:
    return None if value is None else float(value)


def stop(price: Decimal | reference.Trail | None, trail: reference.Trail | None = None) -> float | Trail | None:
    trail = price if isinstance(price, reference.Trail) else trail
    if trail is not None:
        return Trail(percent=number(trail.percent), amount=number(trail.amount))
    return number(price)


def replaced(asked: reference.Order, **changes: Any) -> reference.Order:
    return reference.Order(**{**asked.__dict__, **changes})


@dataclass(frozen=True)
class DailyHours:
    """A calendar: trading is open in the same slots of each UTC date, each as long as a bar."""

    slots: tuple[int, ...]
    slot_ns: int
    name: str = "HOURS"

    def sessions(self, first_ns: int, last_ns: int) -> Sessions:
        date = np.arange(first_ns // NS_PER_DAY - 1, last_ns // NS_PER_DAY + 2) * NS_PER_DAY
        open_, close = date + min(self.slots) * self.slot_ns, date + (max(self.slots) + 1) * self.slot_ns
        kept = (np.minimum(date, open_) <= last_ns) & (close > first_ns)
        return Sessions(date[kept], open_[kept], close[kept])

    def bar_ends(self, starts: Any, timeframe: Timeframe) -> Any:
        last = (max(self.slots) + 1) * self.slot_ns
        return starts + (self.slot_ns if timeframe.is_intraday else last)

    def boundaries(self, first_ns: int, last_ns: int, timeframe: Timeframe) -> Any:
        dates = self.sessions(first_ns, last_ns).date
        ticks = {int(date) + (slot + at) * self.slot_ns for date in dates for slot in self.slots for at in (0, 1)}
        return np.array(sorted(tick for tick in ticks if first_ns <= tick <= last_ns), dtype=np.int64)

    def session_ids(self, starts: Any, timeframe: Timeframe) -> Any:
        return starts - starts % NS_PER_DAY


def calendar_of(scenario: Scenario) -> DailyHours | None:
    settings = scenario.settings
    return None if settings.hours is None else DailyHours(settings.hours, settings.seconds * NS)


@dataclass
class Ran:
    """What the engine made of a scenario."""

    fills: list[Fill]
    orders: list[Order]
    columns: EquityColumns
    cash: float
    positions: dict[str, int]
    strategy: Planned
    took_the_fast_lane: int


def series_of(scenario: Scenario) -> dict[str, BarSeries]:
    step = scenario.settings.seconds * NS
    timeframe = Timeframe(
        "1d" if scenario.settings.seconds == reference.DAY else f"{scenario.settings.seconds // 3600}h"
    )
    made = {}
    instrument = Instrument(lot=1, price_step=scenario.settings.step)
    for symbol, bars in scenario.bars.items():
        start = np.array([MIDNIGHT + bar.start * step for bar in bars], dtype=np.int64)
        columns = {
            name: np.array([float(getattr(bar, name)) for bar in bars])
            for name in ("open", "high", "low", "close", "volume")
        }
        made[symbol] = BarSeries(
            symbol=symbol, timeframe=timeframe, start=start, end=start + step, instrument=instrument, **columns
        )
    return made


def finer_of(scenario: Scenario) -> dict[str, BarSeries] | None:
    """Return the smaller bars, two for each of the run's."""
    if scenario.settings.finer is None:
        return None
    step = scenario.settings.seconds * NS // 2
    made = {}
    for symbol, parts in scenario.settings.finer.items():
        rows = [
            (MIDNIGHT + (2 * at + place) * step, bar) for at, bars in parts.items() for place, bar in enumerate(bars)
        ]
        start = np.array([at for at, _ in rows], dtype=np.int64)
        columns = {
            name: np.array([float(getattr(bar, name)) for _, bar in rows], dtype=np.float64)
            for name in ("open", "high", "low", "close", "volume")
        }
        timeframe = Timeframe(f"{scenario.settings.seconds // 7200}h")
        made[symbol] = BarSeries(symbol=symbol, timeframe=timeframe, start=start, end=start + step, **columns)
    return made


def settings_of(scenario: Scenario, *, by_rates: bool) -> BrokerSettings:
    """`by_rates=False` wraps the costs so that the engine does not see that they are plain fractions."""
    asked = scenario.settings
    commission: Commission = CommissionBps(float(asked.commission * 10_000))
    by_lot = CommissionPerShare(float(asked.per_lot), minimum=float(asked.least))
    slippage: Slippage = SlippageBps(float(asked.slippage * 10_000))
    return BrokerSettings(
        commission=commission
        if by_rates and not (asked.per_lot or asked.least)
        else CommissionSum((commission, by_lot)),
        slippage=slippage if by_rates else SlippageSum((slippage,)),
        spread=float(asked.spread),
        leverage=float(asked.leverage),
        cash_only=asked.cash_only,
        maintenance=number(asked.maintenance),
        borrow_rate=float(asked.borrow),
        financing_rate=float(asked.financing),
        volume_cap=number(asked.volume_cap),
        intrabar=asked.intrabar,
        limit_fill="through" if asked.through else "touch",
    )


def planned(scenario: Scenario, kind: type[Planned]) -> type[Planned]:
    plan: dict[int, list[Any]] = {}
    for at in scenario.plan:
        plan.setdefault(at.tick, []).append(at.command)
    return type(kind.__name__, (kind,), {"_scenario": scenario, "_plan": MappingProxyType(plan)})


def run_engine(
    scenario: Scenario,
    *,
    kind: type[Planned] = Planned,
    by_rates: bool = True,
    takes_plain: bool = True,
    engine_class: type[Engine] | None = None,
    hooks: Hooks | None = None,
) -> Ran:
    strategy = planned(scenario, kind)()
    series = series_of(scenario)
    cash = float(scenario.settings.cash)
    engine = (engine_class or Engine)(
        strategy,
        series,
        clock_for(series, calendar_of(scenario)).boundaries(),
        run_id="agreement",
        cash=cash,
        calendar=calendar_of(scenario),
        settings=settings_of(scenario, by_rates=by_rates),
        finalize=scenario.settings.finalize,
        finer=finer_of(scenario),
        hooks=hooks,
    )
    broker = engine.broker
    lane = broker.lane
    lane.open = lane.open and takes_plain
    fast: list[int] = []
    book = lane._book
    lane._book = lambda request, *rest: (fast.append(request.number), book(request, *rest))[1]
    engine.run()
    columns = equity_columns(series, cash, broker.account_log, engine.context.now_ns)
    positions = dict(zip(series, engine.account.lots, strict=True))
    return Ran(broker.fills, engine.context.orders, columns, engine.account.cash, positions, strategy, len(fast))


def run_through_backtest(scenario: Scenario) -> Result:
    settings, cash = settings_of(scenario, by_rates=True), float(scenario.settings.cash)
    plan = RunPlan(
        strategy=planned(scenario, Planned),
        series=series_of(scenario),
        params={},
        settings=settings,
        cash=cash,
        calendar=calendar_of(scenario),
        finalize=scenario.settings.finalize,
        finer=finer_of(scenario),
    )
    return run_plan(plan)


def ran_bytes(ran: Ran, *, heard: bool = True) -> bytes:
    """Everything a run made, as bytes: floats by their bits."""
    columns = [getattr(ran.columns, name).tobytes() for name in ("start", "end", "equity", "cash", "gross", "net")]
    orders = [
        (order.id, order.status.value, order.filled_quantity, order.average_price, order.reason, order.quantity)
        for order in ran.orders
    ]
    told = getattr(ran.strategy, "heard", None) if heard else None
    return repr((ran.fills, orders, columns, ran.cash, ran.positions, ran.strategy.seen, told)).encode()


def compare(scenario: Scenario, **how: Any) -> Ran:
    """Assert that both agree."""
    ran = run_engine(scenario, **how)
    expected = run_reference(scenario, ran)
    found = differences(scenario, ran, expected)
    assert not found, "\n".join([*found, f"{scenario.settings}", *map(str, ran.strategy.given)])
    return ran


def run_reference(scenario: Scenario, ran: Ran) -> reference.Result:
    return reference.simulate(scenario.bars, ran.strategy.given, scenario.settings)


def differences(scenario: Scenario, ran: Ran, expected: reference.Result) -> list[str]:
    """Where the engine and the reference differ, one line each; empty where they agree."""
    return list(_differences(scenario, ran, expected))


def _differences(scenario: Scenario, ran: Ran, expected: reference.Result) -> Iterator[str]:
    numbers = dict(ran.strategy.numbers)
    liquidations = [order.id for order in ran.orders if order.id not in numbers]
    numbers.update({each: -place for place, each in enumerate(liquidations, start=1)})
    step = scenario.settings.seconds * NS
    ours = [
        ((fill.ts_ns - MIDNIGHT) // step, fill.symbol, numbers[fill.number], fill.side.value, fill.lots)
        for fill in ran.fills
    ]
    theirs = told(scenario, expected.fills, {its: each for each, its in numbers.items()})
    keys = [(fill.start, fill.symbol, fill.number, fill.side, fill.lots) for fill in theirs]
    if ours != keys:
        at = next((i for i, (a, b) in enumerate(zip(ours, keys, strict=False)) if a != b), min(len(ours), len(keys)))
        yield f"fill {at} of {len(ours)} and {len(keys)}: engine {ours[at : at + 3]}, reference {keys[at : at + 3]}"
    else:
        for mine, their in zip(ran.fills, theirs, strict=True):
            for name in ("price", "commission"):
                if not near(getattr(mine, name), getattr(their, name), 0.0):
                    yield f"{name} of {their}: engine {getattr(mine, name)!r}, reference {getattr(their, name)}"
    scale = float(scenario.settings.cash)
    if not near(ran.cash, expected.cash, scale):
        yield f"cash: engine {ran.cash!r}, reference {expected.cash}"
    if ran.positions != expected.positions:
        yield f"positions: engine {ran.positions}, reference {expected.positions}"
    starts = [(ns - MIDNIGHT) // step for ns in ran.columns.start.tolist()]
    if starts != [start for start, _ in expected.equity]:
        yield f"rows of equity: engine {starts}, reference {[start for start, _ in expected.equity]}"
    else:
        for (start, value), mine in zip(expected.equity, ran.columns.equity.tolist(), strict=True):
            if not near(mine, value, scale):
                yield f"equity of bar {start}: engine {mine!r}, reference {value}"
    for order in ran.orders:
        if (its := numbers[order.id]) > 0:
            mine = (order.status.value, int(order.filled_quantity))
            outcome = expected.orders[its]
            leg, shrinks = order.request.parent is not None, order.request.shrink
            if not leg and not shrinks and order.quantity != outcome.lots:
                yield f"order {its}: the engine has its size as {order.quantity:g}, the reference as {outcome.lots}"
            if mine != (outcome.status, outcome.filled):
                yield f"order {its}: engine {mine} ({order.reason}), reference {outcome}"


def told(scenario: Scenario, fills: list[reference.Fill], ids: dict[int, int]) -> list[reference.Fill]:
    """The reference's fills as a strategy hears them: those of one instant by symbol and order, the inside as it was."""
    place = {symbol: at for at, symbol in enumerate(scenario.bars)}
    phases = {"open": 0, "inside": 1, "close": 2, "end": 3}

    def key(item: tuple[int, reference.Fill]) -> tuple[int, ...]:
        at, fill = item
        inside = (at,) if fill.phase == "inside" else (place[fill.symbol], ids.get(fill.number, 0), at)
        return (fill.start, phases[fill.phase], *inside)

    return [fill for _, fill in sorted(enumerate(fills), key=key)]


def near(mine: float, theirs: Decimal, scale: float) -> bool:
    return abs(mine - float(theirs)) <= CLOSE * max(abs(float(theirs)), scale)
