"""crossover and crossunder: decided by the last two values, on views, arrays and fixed numbers."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from weaver.core.errors import IndicatorError
from weaver.indicators import crossover, crossunder

NAN = float("nan")


class LastTwo:
    """A series that refuses everything but its length, [-1] and [-2]."""

    def __init__(self, before: float, now: float, length: int = 2) -> None:
        self.before, self.now, self.length = before, now, length

    def __len__(self) -> int:
        return self.length

    def __getitem__(self, index: int) -> float:
        return {-1: self.now, -2: self.before}[index]


@pytest.mark.parametrize(
    ("a", "b", "over", "under"),
    [
        ((1, 3), (2, 2), True, False),
        ((2, 3), (2, 2), True, False),
        ((3, 1), (2, 2), False, True),
        ((2, 1), (2, 2), False, True),
        ((1, 2), (2, 2), False, False),
        ((2, 2), (2, 2), False, False),
        ((3, 4), (2, 2), False, False),
        ((1, 0), (2, 2), False, False),
        ((1, 4), (0, 5), False, True),
        ((NAN, 3), (2, 2), False, False),
        ((1, NAN), (2, 2), False, False),
        ((1, 3), (NAN, 2), False, False),
        ((3, 1), (2, NAN), False, False),
    ],
)
def test_a_crossing_is_at_or_on_one_side_before_and_strictly_on_the_other_now(
    a: tuple[float, float], b: tuple[float, float], over: bool, under: bool
) -> None:
    for make in (lambda pair: LastTwo(*pair), lambda pair: np.array(pair, dtype=float), list):
        assert crossover(make(a), make(b)) is over
        assert crossunder(make(a), make(b)) is under
    if b[0] == b[1]:
        level = b[0]
        assert crossover(LastTwo(*a), level) is over
        assert crossunder(LastTwo(*a), level) is under
        assert crossunder(level, LastTwo(*a)) is over
        assert crossover(level, LastTwo(*a)) is under


@pytest.mark.parametrize("length", [0, 1])
def test_nothing_crosses_while_there_are_fewer_than_two_values(length: int) -> None:
    young, old = LastTwo(1.0, 3.0, length), LastTwo(2.0, 2.0)
    for cross in (crossover, crossunder):
        for a, b in ((young, old), (old, young), (young, 2.0), (2.0, young), (young, young)):
            assert cross(a, b) is False


@pytest.mark.parametrize("level", [2, 2.0, np.float64(2.0), np.int64(2)])
def test_any_kind_of_number_may_be_the_level(level: Any) -> None:
    assert crossover(LastTwo(1.0, 3.0), level) is True
    assert crossunder(level, LastTwo(1.0, 3.0)) is True


def test_two_numbers_are_refused_with_the_call_that_was_meant() -> None:
    for cross in (crossover, crossunder):
        with pytest.raises(IndicatorError, match=rf"{cross.__name__}\(self.fast_ma, self.slow_ma\)"):
            cross(1.5, 2.5)
