"""Views: a column of bars or of an indicator, up to the current bar.

A view holds the whole column and a cursor that the engine moves; all reads end at the cursor. `[-1]` is the newest bar
and costs one memoryview read; slices are read-only NumPy arrays without a copy. Before a symbol's first bar a view is
empty. A view prevents accidental look-ahead, not intended look-ahead (`slice.base` is the whole column); `weaver check`
finds both.
"""

from __future__ import annotations

import operator
from collections.abc import Callable, Iterator
from datetime import datetime
from math import nan
from typing import TYPE_CHECKING, Any, Final, NoReturn, overload

import numpy as np
from numpy.typing import NDArray

from weaver.core.errors import StrategyError
from weaver.core.instants import from_ns
from weaver.core.text import brief, visible

if TYPE_CHECKING:
    from weaver.core.bars import Floats, Instants

__all__ = ["Cursor", "FedView", "TimeView", "View"]


class Cursor:
    """The row of the bar that closed last; -1 before the first."""

    __slots__ = ("last",)

    def __init__(self) -> None:
        self.last = -1


class _NoBarYet:
    """Replaces a column before its first bar, so that reading `[-1]` cannot reach the column's end."""

    def __getitem__(self, index: int) -> float:
        raise IndexError("no bar of this symbol has closed yet; in on_start only self.indicator() sees the columns")


_NO_BAR_YET: Final = _NoBarYet()


class View:
    """A float64 series that ends at the current bar."""

    __slots__ = ("_array", "_cursor", "_last", "_live", "name")

    def __init__(self, array: Floats, cursor: Cursor, name: str) -> None:
        self._array = array
        self._cursor = cursor
        self._live: Any = _NO_BAR_YET
        self._last = nan  # only a FedView's is ever read
        self.name = name
        if cursor.last >= 0:
            self._begin()

    def _begin(self) -> None:
        """Prepare the view; called once, when the first bar closes."""
        self._live = memoryview(self._array.data)

    def _rebind(self, array: Floats) -> None:
        """Read from a longer column from now on."""
        self._array = array
        if self._live is not _NO_BAR_YET:
            self._live = memoryview(array.data)

    @overload
    def __getitem__(self, index: int) -> float: ...
    @overload
    def __getitem__(self, index: slice) -> Floats: ...
    def __getitem__(self, index: int | slice) -> float | Floats:
        # The first line is the hot one: CPython inlines it, and a cursor of -1 meets _NO_BAR_YET.
        if index == -1:
            return self._live[self._cursor.last]  # type: ignore[no-any-return]
        return self._pick(index)

    def _pick(self, index: int | slice) -> float | Floats:
        length = self._cursor.last + 1
        if isinstance(index, slice):
            return self._array[:length][index]
        row = operator.index(index)
        if row < 0:
            row += length
        if not 0 <= row < length:
            raise IndexError(f"{self.name}[{index}]: only {length} bars have closed")
        return self._live[row]  # type: ignore[no-any-return]

    def __len__(self) -> int:
        return self._cursor.last + 1

    def __iter__(self) -> Iterator[float]:
        return iter(self._array[: len(self)].tolist())

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> NDArray[Any]:
        known = self._array[: len(self)]
        if dtype is not None and np.dtype(dtype) != known.dtype:
            if copy is False:
                raise ValueError(f"{self.name} is float64; converting it to {np.dtype(dtype)} needs a copy")
            return known.astype(dtype)
        return known.copy() if copy else known

    def __repr__(self) -> str:
        last = f", last {self[-1]!r}" if len(self) else ""
        return f"<View {visible(self.name)}: {len(self)} values{last}>"

    def __float__(self) -> float:
        raise StrategyError(f"{self.name} is a series of values; take one of them, for example {self.name}[-1]")

    def __format__(self, spec: str) -> str:
        if spec:
            raise StrategyError(f"{self.name} is a series of values; format one of them: {{{self.name}[-1]:{spec}}}")
        return repr(self)

    def __eq__(self, other: object) -> bool:
        if other is self:
            return True
        if isinstance(other, View | int | float | np.ndarray):
            self._refuse_operator("==", other)
        return NotImplemented

    __hash__ = object.__hash__

    def _refuse_operator(self, operator: str, other: object, *, reflected: bool = False) -> NoReturn:
        own, theirs = f"{self.name}[-1]", f"{other.name}[-1]" if isinstance(other, View) else f"{brief(other)}"
        left, right = (theirs, own) if reflected else (own, theirs)
        raise StrategyError(
            f"{self.name} is a series of values, so {operator!r} does not apply to it; compare or compute with single "
            f"values: {left} {operator} {right} (or with arrays: np.asarray(view))"
        )


def _add_operators() -> None:
    """Let every comparison and arithmetic operator of a view raise StrategyError with the corrected expression."""
    names = {"lt": "<", "le": "<=", "gt": ">", "ge": ">=", "ne": "!="}
    arithmetic = {"add": "+", "sub": "-", "mul": "*", "truediv": "/", "floordiv": "//", "mod": "%", "pow": "**"}
    arithmetic |= {"and": "&", "or": "|"}

    def method(symbol: str, reflected: bool) -> Callable[[View, object], NoReturn]:
        def operate(self: View, other: object) -> NoReturn:
            self._refuse_operator(symbol, other, reflected=reflected)

        return operate

    def unary(symbol: str) -> Callable[[View], NoReturn]:
        def operate(self: View) -> NoReturn:
            raise StrategyError(
                f"{self.name} is a series of values; take one of them: {symbol.format(self.name + '[-1]')}"
            )

        return operate

    for name, symbol in (names | arithmetic).items():
        setattr(View, f"__{name}__", method(symbol, reflected=False))
    for name, symbol in arithmetic.items():
        setattr(View, f"__r{name}__", method(symbol, reflected=True))
    for name, symbol in {"neg": "-{}", "abs": "abs({})", "round": "round({})"}.items():
        setattr(View, f"__{name}__", unary(symbol))


_add_operators()


class FedView(View):
    """A view whose newest value the engine's loop writes into `_last` at each bar, so that `[-1]` costs half.

    A view becomes one, and stays the same object, when its run's first bar is about to close (`View.__class__` is set).
    """

    __slots__ = ()

    if not TYPE_CHECKING:

        def __getitem__(self, index: int | slice) -> float | Floats:
            if index == -1:
                return self._last
            return self._pick(index)


class TimeView:
    """The starts of the bars up to now: `[-1]` is an aware UTC datetime, slices are datetime64[ns] arrays (UTC)."""

    __slots__ = ("_array", "_cursor")

    def __init__(self, starts: Instants, cursor: Cursor) -> None:
        self._array = starts
        self._cursor = cursor

    @overload
    def __getitem__(self, index: int) -> datetime: ...
    @overload
    def __getitem__(self, index: slice) -> NDArray[np.datetime64]: ...
    def __getitem__(self, index: int | slice) -> datetime | NDArray[np.datetime64]:
        if isinstance(index, slice):
            return self.__array__()[index]
        length = len(self)
        row = operator.index(index)
        if row < 0:
            row += length
        if not 0 <= row < length:
            raise IndexError(f"ts[{index}]: only {length} bars have closed")
        return from_ns(int(self._array[row]))

    def __len__(self) -> int:
        return self._cursor.last + 1

    def __iter__(self) -> Iterator[datetime]:
        return (from_ns(value) for value in self._array[: len(self)].tolist())

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> NDArray[Any]:
        known: NDArray[Any] = self._array[: len(self)].view("datetime64[ns]")
        if dtype is not None and np.dtype(dtype) != known.dtype:
            if copy is False:
                raise ValueError(f"ts is datetime64[ns]; converting it to {np.dtype(dtype)} needs a copy")
            return known.astype(dtype)
        return known.copy() if copy else known

    def __repr__(self) -> str:
        last = f", last {self[-1].isoformat()}" if len(self) else ""
        return f"<TimeView: {len(self)} bars{last}>"
