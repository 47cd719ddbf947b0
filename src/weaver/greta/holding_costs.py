"""Holding costs: the interest on borrowed shares and borrowed cash. Computed here, charged by the broker."""

from __future__ import annotations

from collections.abc import Sequence

from weaver.core.account import Account
from weaver.greta.broker_settings import BrokerSettings

__all__ = ["holding_cost"]

_YEAR_NS = 365 * 86_400 * 1_000_000_000


def holding_cost(account: Account, marks: Sequence[float], settings: BrokerSettings, elapsed_ns: int) -> float:
    """Return what the positions cost for `elapsed_ns` at the closes `marks`: borrow on shorts, financing on borrowed cash.

    Rates are per year of 365 days. Cash is borrowed as far as it is below the value of the short positions.
    """
    years = elapsed_ns / _YEAR_NS
    short_value = account.short_value(marks)
    cost = short_value * settings.borrow_rate * years
    borrowed = short_value - account.cash
    if borrowed > 0:
        cost += borrowed * settings.financing_rate * years
    return cost
