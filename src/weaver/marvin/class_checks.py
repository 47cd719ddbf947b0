"""Checks of a strategy class before it runs: its attributes, its callbacks, and assignments to what Weaver sets.

`check_class` runs when a class is defined, `check_runnable` before a run, since a base class for others need not run itself.
Assignments are found in the bytecode of the class's methods, which costs nothing while the strategy runs. An assignment by
`setattr` or from another class is not found here; the engine notices it at the end of a chunk of bars.
"""

from __future__ import annotations

import dis
import inspect
from collections.abc import Iterator
from types import CodeType, FunctionType, MappingProxyType
from typing import Any

from weaver.core.errors import ParameterError, StrategyError
from weaver.core.suggest import nearest
from weaver.core.text import brief, cut

__all__ = ["CALLBACKS", "check_class", "check_runnable"]

CALLBACKS = {
    "on_start": "self", "on_bar": "self, bar", "on_bars": "self, bars", "on_order": "self, order", "on_fill": "self, fill",
    "on_stop": "self",
}  # fmt: skip
"""The methods that Weaver calls, and their arguments."""

_ELSEWHERE = {
    "next": "on_bar", "handle_data": "on_bar", "ondata": "on_bar", "on_data": "on_bar", "on_tick": "on_bar",
    "step": "on_bar", "run": "on_bar", "on_candle": "on_bar", "init": "on_start", "initialize": "on_start",
    "setup": "on_start", "start": "on_start", "notify_order": "on_order", "notify_trade": "on_fill", "on_trade": "on_fill",
    "stop": "on_stop",
}  # fmt: skip
"""Names that other backtesters give to the same callbacks."""

_LONGEST_NAME = 200  # characters of a class, whose name is repeated in messages, reports and recorded runs

_SETTERS = {
    "position": "a position changes by orders: self.buy, self.sell, self.close or self.target(quantity=...)",
    "positions": "positions change by orders: self.buy, self.sell, self.close or self.target(quantity=...)",
    "cash": "cash changes by fills; the starting cash is backtest(..., cash=...)",
    "equity": "equity follows from cash and positions; the starting cash is backtest(..., cash=...)",
    "orders": "orders are placed with self.buy or self.sell and cancelled with order.cancel()",
    "bars": "bars are those of the run; keep a column of your own under another name",
}


def check_class(cls: type, reserved: frozenset[str]) -> None:
    """Raise ParameterError and StrategyError for mutable class attributes, hidden members and wrong callback signatures."""
    for base in _own_classes(cls):
        for name, value in base.__dict__.items():
            if name.startswith("__"):
                continue
            if name in reserved:
                raise ParameterError(f"{cls.__name__}.{name} hides Strategy.{name}; choose another name")
            if _is_mutable(value):
                raise ParameterError(
                    f"{cls.__name__}.{name} is a {type(value).__name__}, which all runs would share and change; "
                    f"set it in on_start instead: self.{name} = {_shortly(value)}"
                )
            if name not in CALLBACKS:
                continue
            if inspect.isfunction(value):
                _check_callback(f"{cls.__name__}.{name}", value, CALLBACKS[name])
            elif not (callable(value) or isinstance(value, staticmethod | classmethod)):
                raise StrategyError(
                    f"{cls.__name__}.{name} is a {type(value).__name__}, not a method; write def {name}({CALLBACKS[name]})"
                )


def check_runnable(cls: type, reserved: frozenset[str]) -> tuple[str, ...]:
    """Raise StrategyError where methods would never be called or members of Strategy are assigned; return warnings.

    A class without any method runs: it gives no orders, and one warning says so.
    """
    if len(cls.__name__) > _LONGEST_NAME:
        raise StrategyError(
            f"{cut(cls.__name__)}: the name of a strategy has at most {_LONGEST_NAME} characters; this one has "
            f"{len(cls.__name__):,}"
        )
    methods = {
        name: value
        for base in reversed(_own_classes(cls))
        for name, value in base.__dict__.items()
        if isinstance(value, FunctionType | staticmethod | classmethod)
        and not (name.startswith("__") and name.endswith("__"))
    }
    for name in methods:
        if name not in CALLBACKS and (name.startswith("on_") or _plain(name) in map(_plain, CALLBACKS)):
            raise StrategyError(
                f"{cls.__name__}.{name} is not a callback, so it would never be called; did you mean "
                f"{brief(_nearest_callback(name))}? The callbacks are {', '.join(CALLBACKS)}; name a method of your own "
                "without on_"
            )
    for base in _own_classes(cls):
        for value in base.__dict__.values():
            if isinstance(value, FunctionType):
                _check_assignments(cls, value, reserved)
    if not any(name in CALLBACKS for name in methods):
        if methods:
            name = next((name for name in methods if name in _ELSEWHERE), next(iter(methods)))
            raise StrategyError(
                f"{cls.__name__} overrides no callback, so nothing of it would be called; rename its method "
                f"{brief(name)} to "
                f"{brief(_nearest_callback(name))} (the callbacks are {', '.join(CALLBACKS)})"
            )
        return (f"{cls.__name__} has no callback such as on_bar, so it gives no orders",)
    if not {"on_bar", "on_bars"} & methods.keys():
        meant = [name for name in methods if _ELSEWHERE.get(name) == "on_bar"]
        return tuple(
            f"{cls.__name__}.{name} is not called by Weaver; the callback for each bar is on_bar" for name in meant
        )
    return ()


def _own_classes(cls: type) -> list[type]:
    return [base for base in cls.__mro__ if base is not object and not base.__dict__.get("__weaver_base__")]


def _plain(name: str) -> str:
    return name.replace("_", "").lower()


def _nearest_callback(name: str) -> str:
    same = [callback for callback in CALLBACKS if _plain(callback) == _plain(name)]
    return (
        same or [_ELSEWHERE.get(name, "")] if same or name in _ELSEWHERE else nearest(name, CALLBACKS) or ["on_bar"]
    )[0]


def _check_callback(where: str, function: Any, arguments: str) -> None:
    if (
        inspect.iscoroutinefunction(function)
        or inspect.isgeneratorfunction(function)
        or inspect.isasyncgenfunction(function)
    ):
        raise StrategyError(f"{where} is async or a generator, so calling it does nothing; make it a plain function")
    try:
        inspect.signature(function).bind(*arguments.split(", "))
    except TypeError as error:
        raise StrategyError(f"{where} is called as {where.rpartition('.')[2]}({arguments}): {error}") from None


def _check_assignments(cls: type, function: FunctionType, reserved: frozenset[str]) -> None:
    code = function.__code__
    if not code.co_argcount:
        return
    for name, line in _assigned_attributes(code, code.co_varnames[0]):
        if name in CALLBACKS:
            hint = f"define {name} as a method of the class"
        elif name in reserved:
            hint = _SETTERS.get(name, "choose another name")
        else:
            continue
        raise StrategyError(
            f"{cls.__name__}.{function.__name__} assigns self.{name} (line {line}), which Weaver sets itself; {hint}"
        )


def _assigned_attributes(code: CodeType, owner: str) -> Iterator[tuple[str, int]]:
    """Yield (attribute, line) of each `owner.attribute = ...`, `+=` and `del` in a function and the functions inside it."""
    instructions = [step for step in dis.get_instructions(code) if step.opname != "EXTENDED_ARG"]
    line = code.co_firstlineno
    for index, step in enumerate(instructions):
        line = _line_of(step) or line
        if step.opname not in ("STORE_ATTR", "DELETE_ATTR") or not index:
            continue
        before = instructions[index - 1]
        if _loads(before, owner) or (
            before.opname == "SWAP" and _reads_in_place(instructions[:index], owner, step.argval)
        ):
            yield str(step.argval), line
    for constant in code.co_consts:
        if isinstance(constant, CodeType) and owner in constant.co_freevars:
            yield from _assigned_attributes(constant, owner)


def _line_of(step: dis.Instruction) -> int | None:
    position = getattr(step, "positions", None)
    return None if position is None else position.lineno


def _loads(step: dis.Instruction, owner: str) -> bool:
    value = step.argval[-1] if isinstance(step.argval, tuple) else step.argval
    return step.opname.startswith(("LOAD_FAST", "LOAD_DEREF", "STORE_FAST_LOAD_FAST")) and value == owner


def _reads_in_place(before: list[dis.Instruction], owner: str, name: str) -> bool:
    """Return whether `owner.name` was read for an assignment such as `owner.name += 1`."""
    return any(
        first.opname.startswith("LOAD") and _loads(first, owner) and second.opname == "COPY" and third.argval == name
        for first, second, third in zip(before, before[1:], before[2:], strict=False)
    )


def _is_mutable(value: object) -> bool:
    # Mutable values are not hashable: lists, dicts, sets, arrays, frames, dataclasses that are not frozen.
    return type(value).__hash__ is None and not isinstance(value, MappingProxyType | slice)


def _shortly(value: object) -> str:
    text = repr(value)
    return text if len(text) <= 60 and "\n" not in text else "..."
