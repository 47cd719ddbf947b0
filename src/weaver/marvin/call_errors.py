"""Errors for order calls with wrong arguments: each names the call and shows the corrected one."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from weaver.core.errors import OrderError
from weaver.core.suggest import nearest
from weaver.core.text import brief, cut, cut_middle

__all__ = ["MISSING", "wrong_call"]

MISSING: Any = type("_Missing", (), {"__repr__": lambda self: "nothing"})()
"""The value of an argument that was left out."""

_KEYWORDS = {
    "buy": ("quantity", "symbol", "limit", "stop", "stop_loss", "take_profit", "tif", "good_till", "tag"),
    "close": ("quantity", "symbol", "limit", "stop", "tif", "good_till", "tag"),
    "target": ("weight", "quantity", "symbol", "tag"),
    "target_weights": ("weights", "tag"),
}
_KEYWORDS["sell"] = _KEYWORDS["buy"]
_ELSEWHERE = {
    "size": "quantity", "qty": "quantity", "amount": "quantity", "units": "quantity", "shares": "quantity",
    "volume": "quantity", "price": "limit", "limit_price": "limit", "stop_price": "stop",
    "sl": "stop_loss", "tp": "take_profit", "stoploss": "stop_loss",
    "ticker": "symbol", "asset": "symbol", "percent": "weight", "pct": "weight",
    "time_in_force": "tif",
}  # fmt: skip
"""Names that other backtesters give to the same arguments."""


def wrong_call(method: str, positional: tuple[Any, ...], keywords: Mapping[str, Any]) -> OrderError:
    """Return the error for `self.<method>(*positional, **keywords)`, with the corrected call as far as it can be known."""
    shown = [_text(value) for value in positional]
    shown += [f"{cut(name)}={_text(value)}" for name, value in keywords.items()]
    call = cut_middle(f"self.{method}({', '.join(shown)})", 500)
    for name in keywords:
        if name not in _KEYWORDS[method]:
            meant = _ELSEWHERE.get(name) or next(iter(nearest(name, _KEYWORDS[method])), None)
            hint = f"did you mean {meant}=?" if meant in _KEYWORDS[method] else ""
            known = f"its arguments are {', '.join(_KEYWORDS[method])}"
            return OrderError(f"{call}: {method} has no argument {brief(name)}; {hint or known}")
    return OrderError(f"{call}: {_hint(method, positional)}")


def _hint(method: str, positional: tuple[Any, ...]) -> str:
    symbol = next((value for value in positional if isinstance(value, str)), None)
    numbers = [value for value in positional if isinstance(value, int | float) and not isinstance(value, bool)]
    if method == "target_weights":
        example = {symbol or "AAPL": numbers[0] if numbers else 0.5}
        return f"weights are one mapping: self.target_weights({brief(example)})"
    if method == "target":
        value = _text(numbers[0]) if numbers else "0.5"
        of = "" if symbol is None else f", symbol={brief(symbol)}"
        return f"name the argument: self.target(weight={value}{of}) or self.target(quantity={value}{of})"
    if symbol is not None:
        quantity = [_text(numbers[0])] if numbers else ["10"] if method != "close" else []
        return f"the symbol is a keyword: self.{method}({', '.join([*quantity, f'symbol={brief(symbol)}'])})"
    if len(numbers) > 1:
        first, second = _text(numbers[0]), _text(numbers[1])
        return f"prices are keywords: self.{method}({first}, limit={second}) or self.{method}({first}, stop={second})"
    if not positional:
        return f"the quantity is missing: self.{method}(10)"
    return f"the quantity is the only positional argument: self.{method}(10, symbol=..., limit=..., stop=...)"


def _text(value: object) -> str:
    return brief(value, 40)
