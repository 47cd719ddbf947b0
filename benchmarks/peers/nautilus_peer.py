"""nautilus_trader 1.221. Timed: `BacktestEngine.run()` and its fills and account reports. Fills at the close decided on."""

from __future__ import annotations

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from decimal import Decimal

from measure import Outcome, Run, measure
from nautilus_trader.backtest.engine import BacktestEngine, BacktestEngineConfig
from nautilus_trader.config import LoggingConfig
from nautilus_trader.indicators import SimpleMovingAverage
from nautilus_trader.model.currencies import USDT
from nautilus_trader.model.data import Bar, BarType
from nautilus_trader.model.enums import AccountType, OmsType, OrderSide
from nautilus_trader.model.identifiers import InstrumentId, Symbol, Venue
from nautilus_trader.model.instruments import Equity
from nautilus_trader.model.objects import Money, Price, Quantity
from nautilus_trader.trading.strategy import Strategy
from workloads import CASH, COMMISSION, FAST, MINUTE_NS, SLOW, Bars

VENUE = Venue("SIM")
ONE = Quantity.from_int(1)


class SmaCross(Strategy):
    def __init__(self, bar_types):
        super().__init__()
        self.bar_types = bar_types
        self.averages = {}

    def on_start(self):
        for bar_type in self.bar_types:
            fast, slow = SimpleMovingAverage(FAST), SimpleMovingAverage(SLOW)
            self.averages[bar_type] = fast, slow
            self.register_indicator_for_bars(bar_type, fast)
            self.register_indicator_for_bars(bar_type, slow)
            self.subscribe_bars(bar_type)

    def on_bar(self, bar):
        fast, slow = self.averages[bar.bar_type]
        if not slow.initialized:
            return
        instrument_id = bar.bar_type.instrument_id
        if fast.value > slow.value:
            if self.portfolio.is_flat(instrument_id):
                self.submit_order(self.order_factory.market(instrument_id, OrderSide.BUY, ONE))
        elif fast.value < slow.value and self.portfolio.is_net_long(instrument_id):
            self.submit_order(self.order_factory.market(instrument_id, OrderSide.SELL, ONE))


class Nothing(Strategy):
    def __init__(self, bar_types):
        super().__init__()
        self.bar_types = bar_types

    def on_start(self):
        for bar_type in self.bar_types:
            self.subscribe_bars(bar_type)

    def on_bar(self, bar):
        pass


def equity(symbol: str) -> Equity:
    return Equity(
        instrument_id=InstrumentId(Symbol(symbol), VENUE),
        raw_symbol=Symbol(symbol),
        currency=USDT,  # 8 decimals; a dollar's cents would round every commission
        price_precision=8,
        price_increment=Price(1e-8, 8),
        lot_size=ONE,
        maker_fee=Decimal(str(COMMISSION)),
        taker_fee=Decimal(str(COMMISSION)),
        ts_event=0,
        ts_init=0,
    )


def prepare(workload: str, bars: Bars) -> Run:
    engine = BacktestEngine(BacktestEngineConfig(logging=LoggingConfig(bypass_logging=True)))
    engine.add_venue(
        venue=VENUE,
        oms_type=OmsType.NETTING,
        account_type=AccountType.CASH,
        base_currency=USDT,
        starting_balances=[Money(CASH, USDT)],
    )
    ends = (bars.start_ns + MINUTE_NS).tolist()
    bar_types = []
    for i, symbol in enumerate(bars.symbols):
        instrument = equity(symbol)
        engine.add_instrument(instrument)
        bar_type = BarType.from_str(f"{instrument.id}-1-MINUTE-LAST-EXTERNAL")
        bar_types.append(bar_type)
        rows = zip(*(values[i].tolist() for values in bars.columns.values()), ends, strict=True)
        engine.add_data(
            [
                Bar(bar_type, Price(o, 8), Price(h, 8), Price(lo, 8), Price(c, 8), Quantity(v, 0), end, end)
                for o, h, lo, c, v, end in rows
            ],
            sort=i == len(bars.symbols) - 1,
        )
    engine.add_strategy((Nothing if workload == "W2" else SmaCross)(bar_types))

    def run() -> Outcome:
        engine.run()
        fills = engine.trader.generate_order_fills_report()
        engine.trader.generate_account_report(VENUE)
        value = engine.portfolio.account(VENUE).balance_total(USDT).as_double()
        for i, bar_type in enumerate(bar_types):
            held = engine.portfolio.net_position(bar_type.instrument_id)
            value += float(held) * float(bars.columns["close"][i, -1])
        return Outcome(len(fills), value)

    return run


measure(prepare)
