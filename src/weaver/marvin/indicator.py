"""Indicators: a causal array function is applied once to whole columns, and its result becomes views.

This module does not prove that the function is causal; `weaver check` does.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from weaver.core.bars import Floats
from weaver.core.errors import StrategyError
from weaver.core.text import brief, cut
from weaver.marvin.bar_views import JoinedBars, RunBars, SymbolBars, Track
from weaver.marvin.timers import NEVER
from weaver.marvin.views import TimeView, View

__all__ = ["IndicatorInfo", "RecordedCall", "compute_indicator", "ready_at"]

_MADE_UP_BARS = 1_000
_LONGEST_NAME = 120  # characters of an indicator's name, which its views, messages and the report repeat


@dataclass(frozen=True, slots=True, kw_only=True)
class RecordedCall:
    """The arguments of one `self.indicator(...)` and the views that it returned, so that it can be repeated."""

    label: str
    function: Callable[..., Any]
    inputs: tuple[Any, ...]
    keywords: Mapping[str, Any]
    views: tuple[View, ...]

    def columns(self) -> tuple[tuple[Any, ...], dict[str, Any]]:
        """Return the arguments with the columns that the views have now."""
        return tuple(map(_column, self.inputs)), {key: _column(value) for key, value in self.keywords.items()}

    def repeat(self, length: int) -> tuple[Floats, ...]:
        """Call the function with the columns that the views have now, of `length` rows, and return its outputs."""
        inputs, keywords = self.columns()
        _, outputs = _call(self.label, self.function, inputs, keywords, length)
        if len(outputs) != len(self.views):
            raise StrategyError(
                f"indicator {self.label}: it returned {len(outputs)} columns for {length} bars, and {len(self.views)} before"
            )
        return outputs


@dataclass(frozen=True, slots=True, kw_only=True)
class IndicatorInfo:
    """One `self.indicator(...)`, for readiness, the report and `weaver check`.

    `inputs` and `keywords` are the arguments of `function`, with whole columns in place of views; `price_columns` are the
    identities of the open, high, low and close columns among them. `call` is the same with the views.
    """

    name: str
    track: Track
    outputs: tuple[Floats, ...]
    ready_ns: int
    plot: Any
    function: Callable[..., Any]
    inputs: tuple[Any, ...]
    keywords: Mapping[str, Any]
    price_columns: frozenset[int]
    call: RecordedCall

    @property
    def length(self) -> int:
        """The number of values, one per bar of its track."""
        return len(self.outputs[0])


def compute_indicator(
    function: Callable[..., Any],
    inputs: Sequence[Any],
    kwargs: Mapping[str, Any],
    plot: Any,
    name: str | None,
    tracks: Mapping[int, Track],
    *,
    grows: bool = False,
) -> tuple[View | tuple[View, ...], IndicatorInfo]:
    """Call `function` with the columns behind its views. Raises StrategyError that names what does not fit.

    `grows` says that the columns are only the beginning: a function that cannot use so few bars has no value yet.
    """
    label = cut(str(name or _label(function, inputs, kwargs)), _LONGEST_NAME)
    if not (plot is None or isinstance(plot, bool) or plot in ("overlay", "panel")):
        raise StrategyError(f"indicator {label}: plot={brief(plot)}; give True or 'overlay', 'panel', or False")
    if not callable(function):
        raise StrategyError(
            f"indicator {label}: the first argument is the function, for example self.indicator(sma, self.bars.close, 20)"
        )
    everything = [*inputs, *kwargs.values()]
    for value in everything:
        _check_input(label, value)
    views = [value for value in everything if isinstance(value, View)]
    if not views:
        raise StrategyError(f"indicator {label}: give at least one view, for example self.bars.close")
    lengths = {view.name: len(view._array) for view in views}
    if any(view._cursor is not views[0]._cursor for view in views):
        listed = ", ".join(f"{name} has {length} bars" for name, length in lengths.items())
        raise StrategyError(
            f"indicator {label}: its inputs do not advance together ({listed}); "
            "use self.bars.join(...) for the bars that symbols have in common"
        )
    track = tracks.get(id(views[0]._cursor))
    if track is None:
        raise StrategyError(f"indicator {label}: {views[0].name} is a view of another run; make it anew in on_start")
    columns, keywords = tuple(map(_column, inputs)), {key: _column(value) for key, value in kwargs.items()}
    several, outputs = (_call_early if grows else _call)(label, function, columns, keywords, len(views[0]._array))
    made = tuple(
        track.view(output, label if len(outputs) == 1 else f"{label}[{i}]") for i, output in enumerate(outputs)
    )
    track.indicators.extend(made)
    info = IndicatorInfo(
        name=label,
        track=track,
        outputs=outputs,
        ready_ns=ready_at(track, outputs),
        plot=plot,
        function=function,
        inputs=columns,
        keywords=keywords,
        price_columns=frozenset(id(view._array) for view in views if _is_price(view)),
        call=RecordedCall(label=label, function=function, inputs=tuple(inputs), keywords=dict(kwargs), views=made),
    )
    return (made if several else made[0]), info


def _call(
    label: str, function: Callable[..., Any], inputs: Sequence[Any], keywords: Mapping[str, Any], length: int
) -> tuple[bool, tuple[Floats, ...]]:
    """Return whether the function returned several columns, and its checked outputs of `length` rows."""
    result = function(*inputs, **keywords)
    several = isinstance(result, tuple) or (isinstance(result, list) and bool(result) and np.ndim(result[0]) > 0)
    outputs = tuple(_checked(label, output, length) for output in (result if several else (result,)))
    if not outputs:
        raise StrategyError(f"indicator {label}: the function returned nothing")
    return several, outputs


def _call_early(
    label: str, function: Callable[..., Any], inputs: Sequence[Any], keywords: Mapping[str, Any], length: int
) -> tuple[bool, tuple[Floats, ...]]:
    """Do the same with columns that may be too short for the function: its outputs are NaN then.

    How many it has, a call with made-up values shows. Raises what the function raises for those as well.
    """
    try:
        return _call(label, function, inputs, keywords, length)
    except Exception:  # noqa: BLE001 - the user's function: many cannot use an empty column, and raise anything
        values = np.linspace(100.0, 110.0, _MADE_UP_BARS) + np.resize([0.0, 0.5, -0.5], _MADE_UP_BARS)
        values.flags.writeable = False

        def replaced(value: Any) -> Any:
            return values if isinstance(value, np.ndarray) and value.shape == (length,) else value

        several, outputs = _call(
            label,
            function,
            tuple(map(replaced, inputs)),
            {key: replaced(value) for key, value in keywords.items()},
            _MADE_UP_BARS,
        )
        no_value = np.full(length, np.nan)
        no_value.flags.writeable = False
        return several, (no_value,) * len(outputs)


def _check_input(label: str, value: Any) -> None:
    if isinstance(value, TimeView):
        raise StrategyError(f"indicator {label}: `.ts` cannot be an input")
    if isinstance(value, SymbolBars | RunBars | JoinedBars):
        raise StrategyError(f"indicator {label}: bars are no input, their columns are, for example self.bars.close")
    if isinstance(value, tuple | list | dict):
        for one in value.values() if isinstance(value, dict) else value:
            if isinstance(one, View):
                raise StrategyError(
                    f"indicator {label}: {one.name} stands inside a {type(value).__name__}; give each view as an argument "
                    "of its own"
                )


def _column(value: Any) -> Any:
    return value._array if isinstance(value, View) else value


def _is_price(view: View) -> bool:
    return view.name.rpartition(".")[2] in ("open", "high", "low", "close")


def _checked(label: str, output: Any, length: int) -> Floats:
    if hasattr(output, "mask") and hasattr(output, "filled"):  # a masked array: what is masked is no value
        output = output.astype(np.float64).filled(np.nan)
    try:
        array = np.asarray(output.to_numpy() if hasattr(output, "to_numpy") else output)
        if array.dtype.kind in "cmMSU":  # which NumPy would turn into numbers all the same
            raise TypeError(array.dtype)
        array = array.astype(np.float64, copy=False)
    except (TypeError, ValueError) as error:
        raise StrategyError(f"indicator {label}: it returned {type(output).__name__}, not numbers") from error
    if array.shape != (length,):
        raise StrategyError(
            f"indicator {label}: it returned shape {array.shape} for {length} bars; "
            "an indicator has one value per bar (NaN while it has none)"
        )
    array = np.ascontiguousarray(array)
    if array.flags.writeable:
        array = array.view()
        array.flags.writeable = False
    return array


def ready_at(track: Track, outputs: Sequence[Floats]) -> int:
    """Return the tick at which every output has had a value; NEVER if one of them has none."""
    return max(_ready(track, output) for output in outputs)


def _ready(track: Track, output: Floats) -> int:
    """Return the tick at which the first value is visible."""
    # Warm-ups are short: look at the beginning before looking at everything.
    for end in (1_000, len(output)):
        has_value = ~np.isnan(output[:end])
        row = int(has_value.argmax()) if len(has_value) else 0
        if len(has_value) and has_value[row]:
            return int(track.end[row])
    return NEVER


def _label(function: Callable[..., Any], inputs: Sequence[Any], kwargs: Mapping[str, Any]) -> str:
    name = getattr(function, "__name__", None) or type(function).__name__
    shown = [brief(value) for value in inputs if isinstance(value, int | float | str)]
    shown += [f"{key}={brief(value)}" for key, value in kwargs.items() if isinstance(value, int | float | str)]
    return f"{name}({', '.join(shown)})" if shown else name
