"""Order arguments: checked, and converted to the instrument's lots and price steps. Places no order."""

from __future__ import annotations

import math
from datetime import datetime

from weaver.core.errors import OrderError
from weaver.core.instants import to_ns
from weaver.core.instrument import Instrument
from weaver.core.orders import TimeInForce, Trail
from weaver.core.text import brief

__all__ = [
    "check_distance",
    "check_terms",
    "lots_of",
    "number_of",
    "positive_lots",
    "price_of",
    "stop_of",
    "time_in_force",
]

_TIFS = {tif.value: tif for tif in TimeInForce}


def time_in_force(tif: str | TimeInForce | None, good_till: datetime | str | None) -> tuple[TimeInForce, int | None]:
    """Return the time in force of the two arguments together, and its instant in ns if it has one."""
    if good_till is not None:
        if tif not in (None, "gtd", TimeInForce.GTD):
            raise OrderError(f"tif={brief(tif)} and good_till={brief(good_till)} contradict each other; leave tif out")
        return TimeInForce.GTD, to_ns(good_till)
    if tif is None:
        return TimeInForce.GTC, None
    force = _TIFS.get(str(tif).lower().replace("-", "_"))
    if force is None:
        raise OrderError(f"tif={brief(tif)}: must be one of {', '.join(_TIFS)}")
    if force is TimeInForce.GTD:
        raise OrderError("tif='gtd' needs good_till=, an aware datetime or an ISO string")
    return force, None


def number_of(value: object, name: str) -> float:
    """Return `value` as a finite float. Text and booleans are refused: they are mistakes, although Python converts them."""
    try:
        if isinstance(value, str | bytes) or type(value).__name__ in ("bool", "bool_"):
            raise TypeError
        number = float(value)  # type: ignore[arg-type]
    except (TypeError, ValueError, OverflowError):
        raise OrderError(f"{name}={brief(value)} is not a number") from None
    if not math.isfinite(number):
        raise OrderError(f"{name}={brief(value)} is not a number")
    return number


def lots_of(instrument: Instrument, quantity: float, what: str) -> int:
    """Return the whole lots in a quantity of units, rounded down."""
    try:
        return instrument.to_lots(quantity)
    except OverflowError:
        raise OrderError(f"{what}: quantity={brief(quantity)} is beyond all numbers of lots") from None


def positive_lots(instrument: Instrument, quantity: float, what: str) -> int:
    """Return the whole lots in a quantity, which must be a number greater than zero."""
    if isinstance(quantity, str) and what != "modify":  # most often the symbol, which other backtesters take first
        call = "" if what == "close" else "10, "
        raise OrderError(
            f"{what}: quantity={brief(quantity)} is not a number; a symbol is a keyword: "
            f"self.{what}({call}symbol={brief(quantity)})"
        )
    value = number_of(quantity, f"{what}: quantity")
    if value <= 0:
        raise OrderError(f"{what}: quantity={brief(quantity)} must be greater than zero")
    return lots_of(instrument, value, what)


def check_terms(what: str, force: TimeInForce, limit: float | None, stop: float | None, trail: Trail | None) -> None:
    """Refuse terms that exclude each other."""
    if trail is not None and limit is not None:
        raise OrderError(f"{what}: a trailing stop takes no limit; give stop= or limit=, not both")
    if force in (TimeInForce.AT_OPEN, TimeInForce.AT_CLOSE) and (stop is not None or trail is not None):
        raise OrderError(f"{what}: tif={force.value!r} goes with a market or a limit order, not with a stop")


def check_distance(what: str, name: str, price: float | None, reference: float | None, *, above: bool) -> None:
    """Refuse a stop or exit below a tenth of the current price: such numbers are fractions or distances, not prices.

    `above` says on which side of the current price the order belongs, for the advice.
    """
    if price is None or reference is None or not 0 < 10 * price < reference:
        return
    sign, side = (1, "above") if above else (-1, "below")
    if price < 1:
        advice, trail = (
            f"for {100 * price:g} % write {name}={reference * (1 + sign * price):.10g}",
            f"percent={100 * price:g}",
        )
    else:
        advice = f"for {price:g} {side} {reference:g} write {name}={reference + sign * price:.10g}"
        trail = f"amount={price:g}"
    if name != "take_profit" and what != "modify":  # neither can trail
        advice += f" or use Trail({trail})"
    raise OrderError(f"{what}: {name}={price:g} is a price, and the current price is {reference:g}; {advice}")


def price_of(instrument: Instrument, price: float | None, name: str, *, up: bool) -> float | None:
    """Return a price rounded up or down to the instrument's price step; None stays None."""
    if price is None:
        return None
    value = number_of(price, name)
    rounded = instrument.round_price(value, up=up)
    if value <= 0 or rounded <= 0:
        step = f"; its price step is {instrument.price_step}" if value > 0 else ""
        raise OrderError(f"{name}={brief(price)}: must be a price greater than zero, or None{step}")
    return rounded


def stop_of(
    instrument: Instrument, stop: float | Trail | None, name: str, *, up: bool
) -> tuple[float | None, Trail | None]:
    """Return a stop as a price on the price step, or as a trail."""
    if isinstance(stop, Trail):
        return None, stop
    return price_of(instrument, stop, name, up=up), None
