"""Costs: commissions, slippage and the costs of holding, as small frozen classes that add up with `+`.

A commission is money. An order that fills in parts pays in all what it would pay at once at its average price, so each
fill is charged the difference that it makes. A slippage is the distance by which a market or stop fill is worse than its
price. Rates in bps are 1/10,000. Costs are never negative, except for a maker's rebate and for what a later fill returns
of a commission that is capped by the notional.
"""

from __future__ import annotations

import inspect
import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field, fields
from numbers import Real
from typing import Any, Protocol, overload

from weaver.core.errors import ConfigError
from weaver.core.orders import Fill
from weaver.core.text import brief

__all__ = [
    "Borrow",
    "Commission",
    "CommissionBps",
    "CommissionFixed",
    "CommissionPerShare",
    "EarlierFills",
    "Financing",
    "Slippage",
    "SlippageBps",
    "SlippageSquareRoot",
    "SlippageSteps",
    "SlippageVolumeShare",
    "by_order",
    "commission_of",
    "cost_of",
    "distance_of",
    "slippage_of",
]


class Commission(Protocol):
    """The price of a broker's service.

    Of your own, give an object with these two methods or a function. Both may leave out `earlier`; they are then asked for
    each fill as if it were an order of its own.
    """

    def cost(self, price: float, quantity: float, notional: float, maker: bool, earlier: Sequence[Fill] = ()) -> float:
        """Return the money for `quantity` units (positive) at `price`, worth `notional`.

        `maker` is true where the order was resting; `earlier` holds the order's earlier fills, oldest first.
        """

    def describe(self) -> str:
        """Return one line for the settings of a result."""


class Slippage(Protocol):
    """How much worse a market or stop order fills than its price."""

    def distance(self, price: float, quantity: float, volume: float, price_step: float | None) -> float:
        """Return the distance in price (positive) for `quantity` units in a bar of `volume` units."""

    def describe(self) -> str:
        """Return one line for the settings of a result."""


class EarlierFills(Sequence[Fill]):
    """The fills of one order so far, oldest first, with their totals, so that a long order costs no more to charge."""

    __slots__ = ("_fills", "quantity", "value")

    def __init__(self) -> None:
        self._fills: list[Fill] = []
        self.quantity = 0.0
        """The sum of the quantities."""
        self.value = 0.0
        """The sum of quantity times price."""

    def append(self, fill: Fill) -> None:
        """Add the latest fill."""
        self._fills.append(fill)
        self.quantity += fill.quantity
        self.value += fill.quantity * fill.price

    def __len__(self) -> int:
        return len(self._fills)

    def __iter__(self) -> Iterator[Fill]:
        return iter(self._fills)

    @overload
    def __getitem__(self, index: int) -> Fill: ...

    @overload
    def __getitem__(self, index: slice) -> Sequence[Fill]: ...

    def __getitem__(self, index: int | slice) -> Fill | Sequence[Fill]:
        return self._fills[index]


def _totals(earlier: Sequence[Fill]) -> tuple[float, float]:
    """Return the quantity of earlier fills and their quantity times price."""
    if isinstance(earlier, EarlierFills):
        return earlier.quantity, earlier.value
    return sum(fill.quantity for fill in earlier), sum(fill.quantity * fill.price for fill in earlier)


class _Checked:
    """Check that a cost's fields are sane numbers."""

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
                    f"{type(self).__name__}({item.name}={brief(value)}): must be a "
                    f"number{'' if signed else ', zero or greater'}"
                )


class _AddsCommission(_Checked):
    def __add__(self, other: Commission | Callable[..., float]) -> CommissionSum:
        return CommissionSum((self, other))  # type: ignore[arg-type]


@dataclass(frozen=True, slots=True)
class CommissionBps(_AddsCommission):
    """`bps` of the notional; `maker` bps (a rebate is negative) for orders that were resting, None for the same."""

    bps: float
    maker: float | None = None
    _allows_negative = ("maker",)

    def cost(self, price: float, quantity: float, notional: float, maker: bool, earlier: Sequence[Fill] = ()) -> float:
        rate = self.maker if maker and self.maker is not None else self.bps
        return notional * rate / 10_000.0

    def describe(self) -> str:
        maker = "" if self.maker is None else f", {self.maker:g} bps for resting orders"
        return f"{self.bps:g} bps of the notional{maker}"


@dataclass(frozen=True, slots=True)
class CommissionPerShare(_AddsCommission):
    """`amount` for each unit, at least `minimum` and at most `maximum_share` of the notional, both for each order."""

    amount: float
    minimum: float = 0.0
    maximum_share: float | None = None

    def cost(self, price: float, quantity: float, notional: float, maker: bool, earlier: Sequence[Fill] = ()) -> float:
        if not earlier:
            return self._whole(quantity, notional)
        before, value = _totals(earlier)
        # A fill does not know its instrument's multiplier; this one's notional does.
        notional_before = value * notional / (quantity * price) if quantity * price else value
        whole = self._whole(before + quantity, notional_before + notional)
        return whole - self._whole(before, notional_before)

    def _whole(self, quantity: float, notional: float) -> float:
        """Return the commission of an order that fills at once."""
        cost = max(self.minimum, quantity * self.amount)
        return cost if self.maximum_share is None else min(cost, notional * self.maximum_share)

    def describe(self) -> str:
        least = f", at least {self.minimum:g} an order" if self.minimum else ""
        most = "" if self.maximum_share is None else f", at most {self.maximum_share:g} of the notional"
        return f"{self.amount:g} per unit{least}{most}"


@dataclass(frozen=True, slots=True)
class CommissionFixed(_AddsCommission):
    """`amount` for each order that fills, whatever its size and in however many parts."""

    amount: float

    def cost(self, price: float, quantity: float, notional: float, maker: bool, earlier: Sequence[Fill] = ()) -> float:
        return 0.0 if earlier else self.amount

    def describe(self) -> str:
        return f"{self.amount:g} per order"


@dataclass(frozen=True, slots=True)
class CommissionSum(_AddsCommission):
    """Several commissions, added."""

    parts: tuple[Commission, ...]

    def __post_init__(self) -> None:
        parts = (by_order(part) for part in map(commission_of, self.parts) if part is not None)
        object.__setattr__(self, "parts", tuple(parts))

    def cost(self, price: float, quantity: float, notional: float, maker: bool, earlier: Sequence[Fill] = ()) -> float:
        return sum(part.cost(price, quantity, notional, maker, earlier) for part in self.parts)

    def describe(self) -> str:
        return " + ".join(part.describe() for part in self.parts)


@dataclass(frozen=True, slots=True)
class CommissionFunction(_AddsCommission):
    """A function of your own: (price, quantity, notional, maker), and `earlier` where it wants the order's earlier fills.

    It returns money. Raises ConfigError for a function that takes any other number of arguments.
    """

    function: Callable[..., float]
    _takes_earlier: bool = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "_takes_earlier", _takes_earlier(self.function, self.describe()))

    def cost(self, price: float, quantity: float, notional: float, maker: bool, earlier: Sequence[Fill] = ()) -> float:
        if self._takes_earlier:
            return self.function(price, quantity, notional, maker, earlier)
        return self.function(price, quantity, notional, maker)

    def describe(self) -> str:
        return f"function {getattr(self.function, '__qualname__', 'of the user')}"


@dataclass(frozen=True, slots=True)
class _ByFill:
    """A commission of the user's own whose cost() does not take the order's earlier fills."""

    commission: Any

    def cost(self, price: float, quantity: float, notional: float, maker: bool, earlier: Sequence[Fill] = ()) -> float:
        return self.commission.cost(price, quantity, notional, maker)  # type: ignore[no-any-return]

    def describe(self) -> str:
        return str(self.commission.describe())


def by_order(commission: Commission) -> Commission:
    """Return `commission`, or one that asks it fill by fill where its cost() takes no earlier fills.

    Raises ConfigError where cost() takes neither four nor five arguments.
    """
    if isinstance(commission, _Checked | _ByFill) or _takes_earlier(commission.cost, type(commission).__name__):
        return commission
    return _ByFill(commission)


def _takes_earlier(function: Callable[..., Any], name: str) -> bool:
    """Return whether a commission's function is to receive the order's earlier fills; ConfigError where it cannot be called.

    A fifth parameter with a default of its own receives them only if it is called `earlier`.
    """
    try:
        signature = inspect.signature(function)
    except (TypeError, ValueError):  # some functions written in C do not say what they take
        return False
    if _accepts(signature, 4):
        parameter = signature.parameters.get("earlier")
        return parameter is not None and parameter.kind is not parameter.KEYWORD_ONLY and _accepts(signature, 5)
    if _accepts(signature, 5):
        return True
    raise ConfigError(
        f"commission ({name}) takes ({', '.join(signature.parameters)}); it must take (price, quantity, notional, maker), "
        "and may take (price, quantity, notional, maker, earlier), where earlier holds the order's earlier fills"
    )


def _accepts(signature: inspect.Signature, count: int) -> bool:
    try:
        signature.bind(*range(count))
    except TypeError:
        return False
    return True


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


def commission_of(value: float | Commission | Callable[..., float] | None) -> Commission | None:
    """Return the commission that an argument means: a fraction of the notional (0.001 is 0.1 %), an object, a function.

    None and 0 mean no commission. Raises ConfigError for anything else.
    """
    if value is None:
        return None
    if isinstance(value, int | float):
        if not 0 <= value < 1:
            raise ConfigError(
                f"commission={brief(value)}: a number is a fraction of the notional, so 0.001 is 0.1 %; "
                "for money per share or per fill use weaver.costs.CommissionPerShare or CommissionFixed"
            )
        return CommissionBps(value * 10_000.0) if value else None
    if callable(getattr(value, "cost", None)):
        return by_order(_described(value, "commission"))  # type: ignore[arg-type]
    if callable(value):
        return CommissionFunction(value)
    raise ConfigError(f"commission={brief(value)}: give a fraction of the notional or an object of weaver.costs")


def slippage_of(value: float | Slippage | None) -> Slippage | None:
    """Return the slippage that a user's argument means: a fraction of the price (0.0005 is 5 bps) or an object."""
    if value is None:
        return None
    if isinstance(value, int | float):
        if not 0 <= value < 1:
            raise ConfigError(f"slippage={brief(value)}: a number is a fraction of the price, so 0.0005 is 5 bps")
        return SlippageBps(value * 10_000.0) if value else None
    if callable(getattr(value, "distance", None)):
        return _described(value, "slippage")  # type: ignore[return-value]
    raise ConfigError(f"slippage={brief(value)}: give a fraction of the price or an object of weaver.costs")


def _described(value: object, name: str) -> object:
    if isinstance(value, type) or not callable(getattr(value, "describe", None)):
        raise ConfigError(
            f"{name}={brief(value)}: give an object, not a class, with a method describe() that says in one "
            "line what it charges"
        )
    return value


def cost_of(
    commission: Commission, price: float, quantity: float, notional: float, maker: bool, earlier: Sequence[Fill]
) -> float:
    """Return what a commission charges. Raises ConfigError where one of the user's own returns no finite number."""
    cost = commission.cost(price, quantity, notional, maker, earlier)
    if not _is_finite(cost):
        raise ConfigError(
            f"commission ({commission.describe()}) of {quantity:g} at {price:g} is {brief(cost)}: it must be a finite number"
        )
    return float(cost)


def distance_of(slippage: Slippage, price: float, quantity: float, volume: float, price_step: float | None) -> float:
    """Return the distance of a slippage. Raises ConfigError where one of the user's own returns no number or one below 0."""
    distance = slippage.distance(price, quantity, volume, price_step)
    if not _is_finite(distance) or distance < 0:
        raise ConfigError(
            f"slippage ({slippage.describe()}) of {quantity:g} at {price:g} is {brief(distance)}: it must be a finite "
            "distance in price, zero or greater"
        )
    return float(distance)


def _is_finite(value: object) -> bool:
    try:
        return math.isfinite(value)  # type: ignore[arg-type]
    except TypeError:
        return False
