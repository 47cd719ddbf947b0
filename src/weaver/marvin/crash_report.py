"""Crash report: whether an exception comes from the strategy's code, and the error that names the place in it."""

from __future__ import annotations

import inspect
import re
import traceback
from collections.abc import Mapping
from pathlib import Path

from weaver.core.errors import StrategyCrashed
from weaver.core.instants import format_ns
from weaver.core.text import brief, cut, describe_error
from weaver.marvin.context import Context
from weaver.marvin.order import Order
from weaver.marvin.strategy import Strategy
from weaver.marvin.symbol_state import SymbolState
from weaver.marvin.timers import Timers

__all__ = ["is_from_strategy", "strategy_crashed"]

_FIRE = Timers.fire.__code__
_LONGEST_REASON = 2_000  # characters of the strategy's own exception
_LONGEST_LINE = 200  # characters of the source line
_LOOPS = ("loop", "_run_several", "_call_bars")
"""The functions of the engine and of `tick` that hold the bar being handled in a local variable `bar`."""


def is_from_strategy(error: BaseException, strategy: Strategy) -> bool:
    """Return whether the strategy's code, or a timer it set, is on the call stack where `error` was raised."""
    modules = _modules_of(strategy)
    trace = error.__traceback__
    while trace is not None:
        if trace.tb_frame.f_globals.get("__name__") in modules or trace.tb_frame.f_code is _FIRE:
            return True
        trace = trace.tb_next
    return False


def strategy_crashed(
    error: Exception, context: Context, params: Mapping[str, object], callback: str
) -> StrategyCrashed:
    """Return the error to raise: it names the callback, the bar, the tick, the source line and the parameters.

    `callback` is the name to use if no frame of the strategy is on the stack.
    """
    strategy = context.strategy
    modules = _modules_of(strategy)
    trace = error.__traceback__
    line = ""
    is_first = True
    while trace is not None:
        frame = trace.tb_frame
        if frame.f_globals.get("__name__") in modules:
            if is_first:
                callback, is_first = frame.f_code.co_name, False
            summary = traceback.extract_tb(trace, limit=1)[0]
            line = f"{Path(summary.filename).name}:{summary.lineno}: {cut(summary.line or '', _LONGEST_LINE)}"
        trace = trace.tb_next
    if not line:  # a timer may call a function of another module
        summary = traceback.extract_tb(error.__traceback__)[-1]
        callback, line = (
            "timer",
            f"{Path(summary.filename).name}:{summary.lineno}: {cut(summary.line or '', _LONGEST_LINE)}",
        )
    state, row = _bar_of(error, context)
    bar = f"bar {row} of {state.symbol} at {format_ns(int(state.series.start[row]))}" if row >= 0 else "before any bar"
    values = ", ".join(f"{cut(name)}={brief(value)}" for name, value in params.items()) or "none"
    reason = describe_error(error, _LONGEST_REASON)
    return StrategyCrashed(
        f"{cut(type(strategy).__name__)}.{cut(callback)} raised {reason}{_call_hint(error)} "
        f"[{bar}; tick {format_ns(context.now_ns)}; {line}; parameters: {values}]"
    )


def _call_hint(error: Exception) -> str:
    """Return the signature of the method of Strategy or Order that a TypeError says was called wrongly."""
    call = re.match(r"(Strategy|Order)\.(\w+)\(\) ", str(error)) if isinstance(error, TypeError) else None
    method = None if call is None else getattr({"Strategy": Strategy, "Order": Order}[call[1]], call[2], None)
    if call is None or method is None:
        return ""
    kinds = (inspect.Parameter.VAR_POSITIONAL, inspect.Parameter.VAR_KEYWORD)
    parameters = inspect.signature(method).parameters.values()
    names = [parameter for parameter in parameters if parameter.kind not in kinds and parameter.name != "self"]
    shown = [
        f"{parameter.name}=..." if parameter.kind is inspect.Parameter.KEYWORD_ONLY else parameter.name
        for parameter in names
    ]
    owner = "self" if call[1] == "Strategy" else "order"
    return f"; the call is {owner}.{call[2]}({', '.join(shown)})"


def _modules_of(strategy: Strategy) -> set[str]:
    """Return the modules of the strategy's own classes."""
    modules = {cls.__module__ for cls in type(strategy).__mro__ if not cls.__dict__.get("__weaver_base__")}
    return modules - {"builtins"}


def _bar_of(error: BaseException, context: Context) -> tuple[SymbolState, int]:
    """Return the symbol and row of the bar that was being handled: the engine's loop still knows it."""
    states = context.states
    trace, bar = error.__traceback__, None
    while trace is not None:
        if trace.tb_frame.f_code.co_name in _LOOPS:
            bar = trace.tb_frame.f_locals.get("bar")
        trace = trace.tb_next
    state = next((state for state in states if bar is not None and state.symbol == bar.symbol), states[0])
    return state, state.cursor.last
