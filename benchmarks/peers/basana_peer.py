"""basana 1.11, on its backtesting exchange. Timed: dispatching all bar events. It has no statistics."""

from __future__ import annotations

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

import asyncio
import datetime
from collections import deque
from decimal import Decimal

import basana
from basana.backtesting import exchange as backtesting_exchange
from basana.backtesting import fees, liquidity
from measure import Outcome, Run, measure
from workloads import CASH, FAST, SLOW, Bars

EPOCH = datetime.datetime(1970, 1, 1, tzinfo=datetime.UTC)
MINUTE = datetime.timedelta(minutes=1)


class SmaCross:
    """Sums of Decimal are exact, so the running ones cannot drift; basana brings no indicators of its own."""

    def __init__(self, exchange, pair):
        self.exchange, self.pair, self.held = exchange, pair, False
        self.closes, self.fast, self.slow = deque(), Decimal(0), Decimal(0)

    async def on_bar(self, event):
        close, closes = event.bar.close, self.closes
        closes.append(close)
        self.fast += close
        self.slow += close
        if len(closes) > FAST:
            self.fast -= closes[-FAST - 1]
        if len(closes) > SLOW:
            self.slow -= closes.popleft()
        if len(closes) < SLOW:
            return
        fast, slow = self.fast / FAST, self.slow / SLOW
        if fast > slow:
            if not self.held:
                self.held = True
                await self.exchange.create_market_order(basana.OrderOperation.BUY, self.pair, Decimal(1))
        elif fast < slow and self.held:
            self.held = False
            await self.exchange.create_market_order(basana.OrderOperation.SELL, self.pair, Decimal(1))


async def nothing(event):
    pass


def prepare(workload: str, bars: Bars) -> Run:
    pairs = [basana.Pair(symbol, "USD") for symbol in bars.symbols]
    begins = [EPOCH + datetime.timedelta(microseconds=ns // 1000) for ns in bars.start_ns.tolist()]
    events = []
    for i, pair in enumerate(pairs):
        prices = ([Decimal(repr(value)) for value in rows[i].tolist()] for rows in bars.columns.values())
        events.append(
            [
                basana.BarEvent(begin + MINUTE, basana.Bar(begin, pair, *row, MINUTE))
                for begin, row in zip(begins, zip(*prices, strict=True), strict=True)
            ]
        )

    def run() -> Outcome:
        return asyncio.run(dispatch())

    async def dispatch() -> Outcome:
        dispatcher = basana.backtesting_dispatcher()
        exchange = backtesting_exchange.Exchange(
            dispatcher,
            {"USD": Decimal(CASH)},
            liquidity_strategy_factory=liquidity.InfiniteLiquidity,
            fee_strategy=fees.Percentage(Decimal("0.1")),
            default_pair_info=basana.PairInfo(base_precision=0, quote_precision=8),
        )
        strategies = [SmaCross(exchange, pair) for pair in pairs]
        for pair, strategy, own in zip(pairs, strategies, events, strict=True):
            exchange.add_bar_source(basana.FifoQueueEventSource(events=own))
            exchange.subscribe_to_bar_events(pair, nothing if workload == "W2" else strategy.on_bar)
        await dispatcher.run(stop_signals=[])
        equity = float((await exchange.get_balance("USD")).total)
        fills = sum(len(order.fills) for order in await exchange.get_orders())
        for i, pair in enumerate(pairs):
            held = await exchange.get_balance(pair.base_symbol)
            equity += float(held.total) * float(bars.columns["close"][i, -1])
        return Outcome(fills, equity)

    return run


measure(prepare)
