"""Builds the Result of a finished engine: its orders, fills, account and indicators as one `RunRecord`."""

from __future__ import annotations

import inspect
from collections.abc import Iterator, Sequence
from typing import Any, overload

import numpy as np

from weaver.core.instants import format_ns
from weaver.core.orders import OrderStatus
from weaver.core.text import cut_middle
from weaver.glados.backtest.plan import RunPlan
from weaver.glados.backtest.plots import LazyPlots
from weaver.greta.engine import Engine
from weaver.greta.margin_call import LIQUIDATION
from weaver.marvin.order import Order
from weaver.marvin.strategy import Strategy
from weaver.results.equity import equity_columns
from weaver.results.record import LazyOrders, OrderRecord, RunRecord
from weaver.results.result import Result

__all__ = ["order_record", "result_of"]


def result_of(engine: Engine, plan: RunPlan, elapsed_ns: int) -> Result:
    """Return the result of a run that has ended, completely or early."""
    broker, context = engine.broker, engine.context
    columns = equity_columns(engine.series, plan.cash, broker.account_log, context.now_ns)
    session_dates = None
    if plan.calendar is not None and plan.timeframe.is_intraday:
        session_dates = plan.calendar.session_ids(columns.start, plan.timeframe)
    warnings = [*plan.warnings, *engine.warnings, *_warm_up(engine, plan)]
    if not engine.finished:
        warnings.append(f"the run stopped before its end ({engine.stopped_by}) at {format_ns(context.now_ns)}")
    notes = [note for bars in engine.series.values() for note in bars.notes]
    warnings += [warning for bars in engine.series.values() for warning in bars.warnings]
    return Result(
        RunRecord(
            run_id=context.run_id,
            strategy=plan.strategy.__name__,
            source=_source(plan.strategy),
            params=dict(plan.params),
            symbols=context.symbols,
            timeframe=plan.timeframe,
            series=engine.series,
            fills=broker.fills,
            orders=_Records(context.orders),
            equity_start=columns.start,
            equity_end=columns.end,
            equity=columns.equity,
            cash=columns.cash,
            gross_exposure=columns.gross,
            net_exposure=columns.net,
            initial_cash=plan.cash,
            settings=plan.describe(),
            plots=LazyPlots(context.indicators, engine.series),
            warnings=tuple(map(cut_middle, warnings)),
            notes=tuple(map(cut_middle, notes)),
            seed=plan.seed,
            elapsed_s=elapsed_ns / 1e9,
            bars=engine.bars_done,
            finished=engine.finished,
            holding_costs=broker.holding_costs,
            calendar=None if plan.calendar is None else plan.calendar.name,
            session_dates=session_dates,
            periods_per_year=plan.periods_per_year,
        )
    )


def _warm_up(engine: Engine, plan: RunPlan) -> list[str]:
    """Name the bars that indicators needed after `start=`, which bars before it would have spared."""
    if not plan.started:
        return []
    late = {
        state.symbol: row
        for state in engine.context.states
        if (row := int(np.searchsorted(state.series.end, state.ready_ns))) and row < len(state.series)
    }
    if not late:
        return []
    symbol, bars = max(late.items(), key=lambda item: item[1])
    text = f"indicators needed the first {bars:,} bars of {symbol} after start=, so on_bar was not called for them"
    return [f"{text}; history={bars} (--history {bars}) lets them use the bars before start"]


def _source(strategy: type[Strategy]) -> str | None:
    try:
        return inspect.getsource(strategy)
    except (OSError, TypeError):
        return None  # typed into an interpreter, or made by exec


class _Records(LazyOrders):
    """The run's orders, which become records on access: most runs have many orders, and few readers ask for them."""

    def __init__(self, orders: Sequence[Order]) -> None:
        self._orders = orders
        self._made: list[OrderRecord] | None = None

    def _records(self) -> list[OrderRecord]:
        if self._made is None:
            self._made = [order_record(order) for order in self._orders]
        return self._made

    def rejected(self) -> list[OrderRecord]:
        rejected = OrderStatus.REJECTED  # an enum's attribute is slow to look up
        return [order_record(order) for order in self._orders if order.status is rejected]

    def liquidations(self) -> list[OrderRecord]:
        return [order_record(order) for order in self._orders if order.note is not None and _is_liquidation(order)]

    @overload
    def __getitem__(self, index: int) -> OrderRecord: ...
    @overload
    def __getitem__(self, index: slice) -> Sequence[OrderRecord]: ...
    def __getitem__(self, index: int | slice) -> OrderRecord | Sequence[OrderRecord]:
        return self._records()[index]

    def __iter__(self) -> Iterator[OrderRecord]:
        # Not stored: a pass over a million orders must not hold a record of each.
        return map(order_record, self._orders) if self._made is None else iter(self._made)

    def __len__(self) -> int:
        return len(self._orders)

    def __reduce__(
        self,
    ) -> tuple[Any, ...]:  # the records are pickled, not the strategy that the orders belong to
        return tuple, (tuple(self._records()),)


_KINDS = {
    (False, False): "market",
    (True, False): "limit",
    (False, True): "stop",
    (True, True): "stop-limit",
}


def _is_liquidation(order: Order) -> bool:
    # The margin call accepts its orders with this note; orders that it cancels have it as their reason instead.
    return order.note is not None and order.note.startswith(LIQUIDATION)


def order_record(order: Order) -> OrderRecord:
    """Return an order as a record, without the strategy that holds it."""
    request = order.request
    kind = "trailing stop" if request.trail is not None else _KINDS[request.limit is not None, request.stop is not None]
    return OrderRecord(
        number=order.id,
        symbol=request.symbol,
        side=request.side,
        quantity=order.quantity,
        limit=request.limit,
        stop=request.stop,
        tif=request.tif,
        tag=request.tag,
        status=order.status,
        reason=order.reason or order.note,
        submitted_ns=order.submitted_ns,
        done_ns=order.updated_ns if not order.status.is_open else None,
        filled_quantity=order.filled_quantity,
        average_price=order.average_price,
        parent=request.parent,
        exit=request.exit,
        kind=kind,
        liquidation=_is_liquidation(order),
    )
