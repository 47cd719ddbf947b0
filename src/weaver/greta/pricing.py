"""Pricing: price and commission of a fill, and the texts about them. It decides and books nothing."""

from __future__ import annotations

from weaver.core.account import Account
from weaver.core.bars import Bar
from weaver.greta import matching
from weaver.greta.broker_settings import BrokerSettings
from weaver.greta.costs import by_order, cost_of, distance_of
from weaver.greta.working_order import MARKET, STOP, WorkingOrder

__all__ = ["LEAST_SALE", "Pricing"]

LEAST_SALE = 0.01
"""Without a price step, slippage leaves a sale this share of its price."""


class Pricing:
    """The costs in force for the instruments of one account."""

    def __init__(self, account: Account, settings: BrokerSettings) -> None:
        self._account = account
        self._settings = settings
        self._commission_rate = settings.commission_rate
        self._slippage_rate = settings.slippage_rate
        self._steps = [None if one.price_step is None else float(one.price_step) for one in account.instruments]
        self._commission = None if settings.commission is None else by_order(settings.commission)

    def priced(
        self, order: WorkingOrder, volume: float, price: float, lots: int, *, maker: bool
    ) -> tuple[float, float, float]:
        """Return price after slippage, commission, and quantity of a fill of `lots` at `price` in a bar of `volume`."""
        account = self._account
        quantity = account.instruments[order.index].to_quantity(lots)
        if order.kind is MARKET or order.kind is STOP:
            rate = self._slippage_rate
            if rate is None:
                slippage = self._settings.slippage
                assert slippage is not None
                distance = distance_of(slippage, price, quantity, volume, self._steps[order.index])
                distance += price * self._settings.spread / 2
                price = price + distance if order.buy else max(price - distance, self.least_sale(order.index, price))
            elif rate:
                if order.buy:
                    price = price * (1.0 + rate)
                else:
                    price = max(price * (1.0 - rate), self.least_sale(order.index, price))
        notional = quantity * price * account.multipliers[order.index]
        if self._commission_rate is not None:
            return price, notional * self._commission_rate, quantity
        commission = self._commission
        assert commission is not None
        return price, cost_of(commission, price, quantity, notional, maker, order.earlier), quantity

    def least_sale(self, index: int, price: float) -> float:
        """Return the price below which slippage never takes a sale at `price`: a price step, without one 1 % of `price`."""
        step = self._steps[index]
        return price * LEAST_SALE if step is None else min(step, price)

    def expected(self, order: WorkingOrder, close: float, volume: float, lots: int) -> tuple[float, float]:
        """Return the price and commission that acceptance expects, from the last complete bar."""
        price = close
        pick, other = (min, max) if order.buy else (max, min)
        stop = order.level
        if stop is not None:
            price = other(stop, price)
        if order.limit is not None:
            price = pick(order.limit, price)
        final, commission, _ = self.priced(order, volume, price, lots, maker=False)
        return final, commission

    def gain_at_close(
        self, order: WorkingOrder, bar: Bar, price: float, lots: int, *, maker: bool
    ) -> tuple[float, float]:
        """Return the gain at the bar's close of filling `lots` of `order` now, costs included, and the amount traded."""
        final, commission, quantity = self.priced(order, bar.volume, price, lots, maker=maker)
        multiplier = self._account.multipliers[order.index]
        gain = matching.mark_gain(order.buy, final, quantity, bar.close) * multiplier - commission
        return gain, abs(price) * quantity * multiplier

    def nothing_left(self, order: WorkingOrder, factor: float) -> str:
        """Return the reason of an order that is cut to what can be paid for and has not a lot left."""
        instrument = self._account.instruments[order.index]
        if self._settings.cash_only and not order.buy:
            return "cannot be sold short: cash_only allows no short positions"
        return (
            f"cannot be paid for: {factor:.4%} of {instrument.to_quantity(order.lots):g} {order.request.symbol} can, "
            f"which is less than one lot of {instrument.lot}"
        )

    def shrunk(self, order: WorkingOrder, lots: int) -> str:
        """Return the note of an order whose size came from a weight and was cut."""
        to_quantity = self._account.instruments[order.index].to_quantity
        return f"quantity {to_quantity(order.lots):g} cut to {to_quantity(lots):g}: what can be paid for"
