"""Small markets to run strategies on."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import partial
from typing import Any

import polars as pl
import pytest

import builders
from weaver import Result, Strategy, backtest


@pytest.fixture
def make_bars() -> Callable[..., pl.DataFrame]:
    """`builders.frame` with bars of one minute: a frame from closes."""
    return partial(builders.frame, step="1m")


@pytest.fixture
def play() -> Callable[..., tuple[Result, Any]]:
    """`play(bars, {0: act, ...}, **options)`: run a strategy that calls `act(self)` at its on_bars number 0, ...;
    gives the result and the strategy, whose `out` holds what each act returned."""

    def played(
        bars: Any, script: Mapping[int, Callable[[Any], Any]], *, base: type[Strategy] = Strategy, **options: Any
    ) -> tuple[Result, Any]:
        kept: list[Any] = []

        class Played(base):  # type: ignore[misc, valid-type]
            def on_start(self) -> None:
                kept.append(self)
                self.tick = -1
                self.out: dict[int, Any] = {}
                super().on_start()
                if -1 in script:
                    self.out[-1] = script[-1](self)

            def on_bars(self, bars: Any) -> None:
                self.tick += 1
                if self.tick in script:
                    self.out[self.tick] = script[self.tick](self)

        result = backtest(Played, bars, **options)
        return result, kept[0]

    return played
