"""Parameters: public annotated attributes with a default. What is wrong is refused by name, when the class is made or set."""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass
from enum import Enum, IntEnum, StrEnum
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np
import polars as pl
import pytest

from weaver import ParameterError, Strategy, StrategyError, Timeframe
from weaver.marvin.parameters import parameters_of, parse_values, resolve_values

if TYPE_CHECKING:
    from nowhere import Unknown


class Mode(Enum):
    LONG = "long"
    SHORT = "short"
    both = "both"


class Level(IntEnum):
    LOW = 1
    HIGH = 2


class Word(StrEnum):
    A = "alpha"


class Plain(Strategy):
    count: int = 10
    ratio: float = 0.5
    eager: bool = True
    name: str = "x"
    mode: Mode = Mode.LONG
    longer: Timeframe = Timeframe("1h")


def test_the_six_kinds_are_parameters_in_the_order_of_the_class() -> None:
    assert {name: kind for name, (kind, _) in parameters_of(Plain).items()} == {
        "count": int, "ratio": float, "eager": bool, "name": str, "mode": Mode, "longer": Timeframe,
    }  # fmt: skip
    assert list(resolve_values(Plain, None).items()) == [
        ("count", 10), ("ratio", 0.5), ("eager", True), ("name", "x"), ("mode", Mode.LONG), ("longer", Timeframe("1h")),
    ]  # fmt: skip


def test_what_is_private_unannotated_or_without_a_default_is_no_parameter() -> None:
    class Mixed(Strategy):
        count: int = 1
        _private: int = 2
        loose = 3
        declared: int
        other: Unknown
        constant: ClassVar[int] = 4
        bare: ClassVar = 5

    assert list(parameters_of(Mixed)) == ["count"]


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("count", 1.0), ("count", True), ("count", "10"), ("count", None), ("count", np.float64(2)),
        ("count", np.array([5])), ("count", np.array([5, 6])), ("count", np.True_),
        ("ratio", True), ("ratio", "0.5"), ("ratio", None), ("ratio", 1 + 0j),
        ("eager", 1), ("eager", "true"), ("eager", None), ("eager", np.int64(1)),
        ("name", 1), ("name", None), ("name", b"x"),
        ("mode", "LONG"), ("mode", "long"), ("mode", Level.LOW), ("mode", None),
    ],
)  # fmt: skip
def test_a_value_of_another_type_is_refused_by_name(name: str, value: Any) -> None:
    kind = parameters_of(Plain)[name][0]
    with pytest.raises(ParameterError, match=rf"^Plain\.{name}=.* is \w+; it must be {kind.__name__}"):
        resolve_values(Plain, {name: value})


def test_an_enum_says_its_members() -> None:
    with pytest.raises(ParameterError, match=r"Plain\.mode='up' is str; it must be Mode: LONG, SHORT, both"):
        resolve_values(Plain, {"mode": "up"})


@pytest.mark.parametrize("value", [float("nan"), float("inf"), -float("inf"), np.nan])
def test_a_float_is_finite(value: float) -> None:
    with pytest.raises(ParameterError, match=r"Plain\.ratio=.*must be a finite number"):
        resolve_values(Plain, {"ratio": value})


def test_a_whole_number_is_taken_for_a_float_and_becomes_one() -> None:
    value = resolve_values(Plain, {"ratio": 2})["ratio"]
    assert value == 2.0
    assert type(value) is float


@pytest.mark.parametrize(
    ("name", "value", "plain"),
    [
        ("count", np.int64(7), 7),
        ("ratio", np.float64(0.25), 0.25),
        ("ratio", np.int32(2), 2.0),
        ("eager", np.False_, False),
    ],
)
def test_numpy_scalars_become_plain_values(name: str, value: Any, plain: Any) -> None:
    got = resolve_values(Plain, {name: value})[name]
    assert got == plain
    assert type(got) is type(plain)


def test_a_timeframe_may_be_text() -> None:
    class Text(Strategy):
        longer: Timeframe = "4h"  # type: ignore[assignment]

    assert resolve_values(Text, None)["longer"] == Timeframe("4h")
    assert resolve_values(Text, {"longer": "60m"})["longer"] == Timeframe("1h")
    with pytest.raises(ParameterError, match=r"Text\.longer='90m': timeframe '90m' is refused"):
        resolve_values(Text, {"longer": "90m"})
    with pytest.raises(ParameterError, match=r"Text\.longer=5: 5 is not a timeframe"):
        resolve_values(Text, {"longer": 5})


def test_an_unknown_name_suggests_the_nearest_or_lists_all() -> None:
    with pytest.raises(ParameterError, match=r"Plain has no parameter 'coutn'; did you mean 'count'\?"):
        resolve_values(Plain, {"coutn": 1})
    with pytest.raises(
        ParameterError, match=r"Plain has no parameter 'zzz'; it has: count, ratio, eager, name, mode, longer"
    ):
        resolve_values(Plain, {"zzz": 1})
    with pytest.raises(ParameterError, match=r"Nothing has no parameter 'fast'; it has: none"):
        resolve_values(type("Nothing", (Strategy,), {}), {"fast": 1})


def test_a_parameter_without_a_default_is_pointed_out_when_it_is_set() -> None:
    class Half(Strategy):
        fast: int

    with pytest.raises(
        ParameterError, match="Half has no parameter 'fast'; it is annotated, but a parameter has a default"
    ):
        resolve_values(Half, {"fast": 1})


# Inheritance.


def test_parameters_are_inherited_and_defaults_overridden_with_or_without_annotation() -> None:
    class Base(Strategy):
        fast: int = 10
        slow: int = 30

    class Quick(Base):
        fast = 5
        extra: float = 1.0

    class Quicker(Quick):
        slow: int = 20

    assert resolve_values(Quicker, None) == {"fast": 5, "slow": 20, "extra": 1.0}
    assert resolve_values(Base, None) == {"fast": 10, "slow": 30}


def test_an_overridden_default_is_checked_too() -> None:
    class Base(Strategy):
        fast: int = 10

    with pytest.raises(ParameterError, match=r"Wrong\.fast='5' is str; it must be int"):
        type("Wrong", (Base,), {"fast": "5"})
    with pytest.raises(ParameterError, match=r"Hidden\.fast=.* is property; it must be int"):
        type("Hidden", (Base,), {"fast": property(lambda self: 5)})


def test_a_mixin_that_is_no_strategy_brings_its_parameters() -> None:
    class Sized:
        size: float = 2.0

    class Uses(Sized, Strategy):
        fast: int = 1

    assert resolve_values(Uses, None) == {"fast": 1, "size": 2.0}


# Annotations that are text (as in this file), whatever else stands beside them.


def test_an_enum_defined_in_a_function_is_understood() -> None:
    class Local(Enum):
        A = 1

    class Uses(Strategy):
        mode: Local = Local.A
        other: Unknown

    assert parameters_of(Uses)["mode"] == (Local, Local.A)


def test_an_annotation_that_means_nothing_is_refused_by_name() -> None:
    with pytest.raises(ParameterError, match=r"Bad\.fast: cannot read its annotation 'Unknown'"):

        class Bad(Strategy):
            fast: Unknown = 5


@pytest.mark.parametrize(
    "text", ["int | None", "list[int]", "None", "object", "complex", "tuple", "Any", "int | float"]
)
def test_other_annotations_are_refused_by_name(text: str) -> None:
    with pytest.raises(
        ParameterError, match=r"Bad\.fast is annotated as .*: a parameter is an int, float, .*name it _fast"
    ):
        type("Bad", (Strategy,), {"__annotations__": {"fast": text}, "fast": 5, "__module__": __name__})


def test_annotations_that_are_no_text_are_read_as_they_are() -> None:
    kind = type("Real", (Strategy,), {"__annotations__": {"fast": int, "side": Mode}, "fast": 5, "side": Mode.SHORT})
    assert resolve_values(kind, None) == {"fast": 5, "side": Mode.SHORT}


def test_a_default_of_another_type_is_refused_when_the_class_is_made() -> None:
    with pytest.raises(ParameterError, match=r"Bad\.fast=1\.5 is float; it must be int"):

        class Bad(Strategy):
            fast: int = 1.5  # type: ignore[assignment]


# What all runs would share.


@dataclass
class Loose:
    value: int = 1


@dataclass(frozen=True)
class Firm:
    value: int = 1


@pytest.mark.parametrize(
    "value",
    [[], {}, set(), bytearray(), deque(), np.zeros(2), pl.DataFrame(), Loose()],
    ids=lambda value: type(value).__name__,
)
def test_a_mutable_class_attribute_is_refused_by_name(value: Any) -> None:
    with pytest.raises(
        ParameterError, match=rf"Bad\.seen is a {type(value).__name__}, which all runs would share and change"
    ):
        type("Bad", (Strategy,), {"seen": value})
    with pytest.raises(ParameterError, match=rf"Bad\._seen is a {type(value).__name__}"):
        type("Bad", (Strategy,), {"_seen": value})


def test_a_mutable_default_says_where_it_belongs() -> None:
    with pytest.raises(ParameterError, match=r"set it in on_start instead: self\.levels = \[1, 2\]"):

        class Bad(Strategy):
            levels: list = [1, 2]  # type: ignore[type-arg]


@pytest.mark.parametrize("value", [(1, 2), frozenset(), MappingProxyType({}), Firm(), "text", None, slice(1), print])
def test_what_cannot_change_may_stand_in_the_class(value: Any) -> None:
    assert parameters_of(type("Good", (Strategy,), {"constant": value})) == {}


@pytest.mark.parametrize(
    "name", ["position", "bars", "buy", "sell", "close", "cash", "equity", "orders", "now", "symbols", "random", "target",
             "target_weights", "oco", "indicator", "at", "every", "positions", "_context", "_order_entry"]
)  # fmt: skip
def test_hiding_a_name_of_the_strategys_own_is_refused(name: str) -> None:
    with pytest.raises(ParameterError, match=rf"Bad\.{name} hides Strategy\.{name}; choose another name"):
        type("Bad", (Strategy,), {name: 5})
    with pytest.raises(ParameterError, match=rf"Bad\.{name} hides"):
        type("Bad", (Strategy,), {name: lambda self: None})


def test_a_callback_that_calling_would_not_run_is_refused() -> None:
    with pytest.raises(StrategyError, match=r"Bad\.on_bar is async or a generator"):

        class Bad(Strategy):
            async def on_bar(self, bar: Any) -> None:  # type: ignore[override]
                pass

    with pytest.raises(StrategyError, match=r"Worse\.on_start is async or a generator"):

        class Worse(Strategy):
            def on_start(self) -> Any:
                yield 1


@pytest.mark.parametrize(
    ("name", "function", "shape"),
    [
        ("on_bar", lambda self: None, "self, bar"),
        ("on_bar", lambda self, bar, more: None, "self, bar"),
        ("on_start", lambda self, bars: None, "self"),
        ("on_fill", lambda: None, "self, fill"),
        ("on_order", lambda self, *, order: None, "self, order"),
    ],
)
def test_a_callback_that_cannot_be_called_is_refused_with_its_shape(name: str, function: Any, shape: str) -> None:
    with pytest.raises(StrategyError, match=rf"Bad\.{name} is called as {name}\({shape}\): "):
        type("Bad", (Strategy,), {name: function})


def test_a_callback_may_take_more_than_it_is_given() -> None:
    type("Good", (Strategy,), {"on_bar": lambda self, bar, extra=1: None, "on_start": lambda *args: None})


# From a command line.


@pytest.mark.parametrize(
    ("name", "text", "value"),
    [
        ("count", "12", 12), ("count", "-3", -3), ("ratio", "0.25", 0.25), ("ratio", "2", 2.0), ("ratio", "1e-3", 0.001),
        ("eager", "true", True), ("eager", "No", False), ("eager", "1", True), ("eager", "0", False), ("eager", " yes ", True),
        ("name", "5", "5"), ("name", "", ""), ("mode", "short", Mode.SHORT), ("mode", "SHORT", Mode.SHORT),
        ("mode", "Both", Mode.both), ("longer", "15m", Timeframe("15m")),
    ],
)  # fmt: skip
def test_text_becomes_the_parameters_type(name: str, text: str, value: Any) -> None:
    got = parse_values(Plain, {name: text})
    assert got == {name: value}
    assert type(got[name]) is type(value)


def test_an_enum_is_named_by_its_member_or_its_value() -> None:
    class Uses(Strategy):
        level: Level = Level.LOW
        word: Word = Word.A

    assert parse_values(Uses, {"level": "high", "word": "alpha"}) == {"level": Level.HIGH, "word": Word.A}
    assert parse_values(Uses, {"level": "2", "word": "a"}) == {"level": Level.HIGH, "word": Word.A}


@pytest.mark.parametrize(
    ("name", "text", "wanted"),
    [
        ("count", "ten", "int"), ("count", "1.0", "int"), ("count", "", "int"), ("ratio", "x", "float"),
        ("eager", "maybe", "bool"), ("mode", "sideways", "Mode: LONG, SHORT, both"),
    ],
)  # fmt: skip
def test_text_that_is_no_such_value_is_refused_by_name(name: str, text: str, wanted: str) -> None:
    with pytest.raises(ParameterError, match=rf"^Plain\.{name}='{text}': must be {wanted}$"):
        parse_values(Plain, {name: text})


def test_text_for_a_float_is_finite_and_for_a_timeframe_is_one() -> None:
    with pytest.raises(ParameterError, match="must be a finite number"):
        parse_values(Plain, {"ratio": "nan"})
    with pytest.raises(ParameterError, match="'90m' is refused"):
        parse_values(Plain, {"longer": "90m"})
    with pytest.raises(ParameterError, match=r"no parameter 'ratoi'; did you mean 'ratio'\?"):
        parse_values(Plain, {"ratoi": "1"})
