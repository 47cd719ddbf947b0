"""Costs: commissions, slippage and the costs of holding, as small frozen classes that add up with `+`.

Commissions are money per fill; a slippage is a distance by which a market or stop fill is worse than its price. Rates
given in bps are 1/10,000. Costs are never negative here, except a maker's rebate.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, fields
from numbers import Real
from typing import Protocol

from weaver.core.errors import ConfigError

__all__ = [
    "Borrow",
    "Commission",
    "CommissionBps",
    "CommissionFixed",
    "CommissionPerShare",
    "Financing",
    "Slippage",
    "SlippageBps",
    "SlippageSquareRoot",
    "SlippageSteps",
    "SlippageVolumeShare",
    "commission_of",
    "cost_of",
    "distance_of",
    "slippage_of",
]


class Commission(Protocol):
    """What a fill costs."""

    def cost(self, price: float, quantity: float, notional: float, maker: bool) -> float:
        """Money for `quantity` units (positive) at `price`, worth `notional`; `maker`: the order was resting."""

    def describe(self) -> str:
        """One line for the settings of a result."""


class Slippage(Protocol):
    """How much worse a market or stop order fills than its price."""

    def distance(self, price: float, quantity: float, volume: float, price_step: float | None) -> float:
        """The distance in price (positive) for `quantity` units in a bar of `volume` units."""

    def describe(self) -> str:
        """One line for the settings of a result."""


class _Checked:
    """A check that a cost's fields are sane numbers."""

    _allows_negative: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        for item in fields(self):  # type: ignore[arg-type]
            value = getattr(self, item.name)
            if item.type not in ("float", "float | None") or (value is None and item.type == "float | None"):
                continue
            is_number = isinstance(value, Real) and not isinstance(value, bool) and math.isfinite(value)
            signed = item.name in self._allows_negative
            if not is_number or (value < 0 and not signed):
                raise ConfigError(
                    f"{type(self).__name__}({item.name}={value!r}): must be a number{'' if signed else ', zero or greater'}"
                )


class _AddsCommission(_Checked):
    def __add__(self, other: Commission) -> CommissionSum:
        return CommissionSum((self, other))  # type: ignore[arg-type]


@dataclass(frozen=True, slots=True)
class CommissionBps(_AddsCommission):
    """`bps` of the notional; `maker` bps (a rebate is negative) for orders that were resting, None for the same."""

    bps: float
    maker: float | None = None
    _allows_negative = ("maker",)

    def cost(self, price: float, quantity: float, notional: float, maker: bool) -> float:
        rate = self.maker if maker and self.maker is not None else self.bps
        return notional * rate / 10_000.0

    def describe(self) -> str:
        maker = "" if self.maker is None else f", {self.maker:g} bps for resting orders"
        return f"{self.bps:g} bps of the notional{maker}"


@dataclass(frozen=True, slots=True)
class CommissionPerShare(_AddsCommission):
    """`amount` for each unit, at least `minimum` and at most `maximum_share` of the notional."""

    amount: float
    minimum: float = 0.0
    maximum_share: float | None = None

    def cost(self, price: float, quantity: float, notional: float, maker: bool) -> float:
        cost = max(self.minimum, quantity * self.amount)
        return cost if self.maximum_share is None else min(cost, notional * self.maximum_share)

    def describe(self) -> str:
        least = f", at least {self.minimum:g}" if self.minimum else ""
        most = "" if self.maximum_share is None else f", at most {self.maximum_share:g} of the notional"
        return f"{self.amount:g} per unit{least}{most}"


@dataclass(frozen=True, slots=True)
class CommissionFixed(_AddsCommission):
    """`amount` for each fill, whatever its size."""

    amount: float

    def cost(self, price: float, quantity: float, notional: float, maker: bool) -> float:
        return self.amount

    def describe(self) -> str:
        return f"{self.amount:g} per fill"


@dataclass(frozen=True, slots=True)
class CommissionSum(_AddsCommission):
    """Several commissions, added."""

    parts: tuple[Commission, ...]

    def cost(self, price: float, quantity: float, notional: float, maker: bool) -> float:
        return sum(part.cost(price, quantity, notional, maker) for part in self.parts)

    def describe(self) -> str:
        return " + ".join(part.describe() for part in self.parts)


@dataclass(frozen=True, slots=True)
class CommissionFunction(_Checked):
    """Your own: a function of (price, quantity, notional, maker) that returns money."""

    function: Callable[[float, float, float, bool], float]

    def cost(self, price: float, quantity: float, notional: float, maker: bool) -> float:
        return self.function(price, quantity, notional, maker)

    def describe(self) -> str:
        return f"function {getattr(self.function, '__qualname__', 'of the user')}"


class _AddsSlippage(_Checked):
    def __add__(self, other: Slippage) -> SlippageSum:
        return SlippageSum((self, other))  # type: ignore[arg-type]


@dataclass(frozen=True, slots=True)
class SlippageBps(_AddsSlippage):
    """`bps` of the price."""

    bps: float

    def distance(self, price: float, quantity: float, volume: float, price_step: float | None) -> float:
        return price * self.bps / 10_000.0

    def describe(self) -> str:
        return f"{self.bps:g} bps of the price"


@dataclass(frozen=True, slots=True)
class SlippageSteps(_AddsSlippage):
    """`steps` smallest price changes of the instrument, which must have a price step."""

    steps: float

    def distance(self, price: float, quantity: float, volume: float, price_step: float | None) -> float:
        if price_step is None:
            raise ConfigError(
                f"SlippageSteps({self.steps}) needs an instrument with a price step; "
                "give one: backtest(..., instrument=Instrument(price_step=0.01))"
            )
        return self.steps * price_step

    def describe(self) -> str:
        return f"{self.steps:g} price steps"


@dataclass(frozen=True, slots=True)
class SlippageVolumeShare(_AddsSlippage):
    """`impact` * (quantity / volume) ** 2 of the price; a bar without volume counts as a share of 1.

    The form is that of Zipline's VolumeShareSlippage, whose default impact is 0.1.
    """

    impact: float = 0.1

    def distance(self, price: float, quantity: float, volume: float, price_step: float | None) -> float:
        share = min(1.0, quantity / volume) if volume > 0 else 1.0
        return price * self.impact * share * share

    def describe(self) -> str:
        return f"{self.impact:g} x (share of the bar's volume) squared"


@dataclass(frozen=True, slots=True)
class SlippageSquareRoot(_AddsSlippage):
    """The square-root law of market impact: `coefficient` * `volatility` * sqrt(quantity / volume) of the price.

    `volatility` is that of one bar, as a fraction; a bar without volume counts as a share of 1. Source: B. Toth et al.,
    "Anomalous price impact and the critical nature of liquidity in financial markets", Physical Review X 1 (2011) 021006.
    """

    volatility: float
    coefficient: float = 1.0

    def distance(self, price: float, quantity: float, volume: float, price_step: float | None) -> float:
        share = min(1.0, quantity / volume) if volume > 0 else 1.0
        return price * self.coefficient * self.volatility * math.sqrt(share)

    def describe(self) -> str:
        return f"{self.coefficient:g} x {self.volatility:g} x square root of the share of the bar's volume"


@dataclass(frozen=True, slots=True)
class SlippageSum(_AddsSlippage):
    """Several slippages, added."""

    parts: tuple[Slippage, ...]

    def distance(self, price: float, quantity: float, volume: float, price_step: float | None) -> float:
        return sum(part.distance(price, quantity, volume, price_step) for part in self.parts)

    def describe(self) -> str:
        return " + ".join(part.describe() for part in self.parts)


@dataclass(frozen=True, slots=True)
class Borrow(_Checked):
    """What it costs to be short: `annual_rate` (0.03 is 3 %) of the short notional, by elapsed time / 365 days."""

    annual_rate: float


@dataclass(frozen=True, slots=True)
class Financing(_Checked):
    """What borrowed cash costs: `annual_rate` of it, by elapsed time / 365 days."""

    annual_rate: float


def commission_of(value: float | Commission | Callable[[float, float, float, bool], float] | None) -> Commission | None:
    """A commission from what a user may give: a fraction of the notional (0.001 is 0.1 %), an object, or a function."""
    if value is None:
        return None
    if isinstance(value, int | float):
        if not 0 <= value < 1:
            raise ConfigError(
                f"commission={value!r}: a number is a fraction of the notional, so 0.001 is 0.1 %; "
                "for money per share or per fill use weaver.costs.CommissionPerShare or CommissionFixed"
            )
        return CommissionBps(value * 10_000.0) if value else None
    if callable(getattr(value, "cost", None)):
        return _described(value, "commission")  # type: ignore[return-value]
    if callable(value):
        return CommissionFunction(value)
    raise ConfigError(f"commission={value!r}: give a fraction of the notional or an object of weaver.costs")


def slippage_of(value: float | Slippage | None) -> Slippage | None:
    """A slippage from what a user may give: a fraction of the price (0.0005 is 5 bps) or an object."""
    if value is None:
        return None
    if isinstance(value, int | float):
        if not 0 <= value < 1:
            raise ConfigError(f"slippage={value!r}: a number is a fraction of the price, so 0.0005 is 5 bps")
        return SlippageBps(value * 10_000.0) if value else None
    if callable(getattr(value, "distance", None)):
        return _described(value, "slippage")  # type: ignore[return-value]
    raise ConfigError(f"slippage={value!r}: give a fraction of the price or an object of weaver.costs")


def _described(value: object, name: str) -> object:
    if isinstance(value, type) or not callable(getattr(value, "describe", None)):
        raise ConfigError(
            f"{name}={value!r}: give an object, not a class, with a method describe() that says in one line what it charges"
        )
    return value


def cost_of(commission: Commission, price: float, quantity: float, notional: float, maker: bool) -> float:
    """What a commission comes to. Raises ConfigError where one of the user's own gives what is no money."""
    cost = commission.cost(price, quantity, notional, maker)
    if not _is_finite(cost):
        raise ConfigError(
            f"commission ({commission.describe()}) of {quantity:g} at {price:g} is {cost!r}: it must be a finite number"
        )
    return float(cost)


def distance_of(slippage: Slippage, price: float, quantity: float, volume: float, price_step: float | None) -> float:
    """The distance of a slippage. Raises ConfigError where one of the user's own gives none, or one below zero."""
    distance = slippage.distance(price, quantity, volume, price_step)
    if not _is_finite(distance) or distance < 0:
        raise ConfigError(
            f"slippage ({slippage.describe()}) of {quantity:g} at {price:g} is {distance!r}: it must be a finite "
            "distance in price, zero or greater"
        )
    return float(distance)


def _is_finite(value: object) -> bool:
    try:
        return math.isfinite(value)  # type: ignore[arg-type]
    except TypeError:
        return False
