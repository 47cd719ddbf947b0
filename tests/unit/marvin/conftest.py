"""Small markets to run strategies on."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
import polars as pl
import pytest

from weaver import Result, Strategy, backtest
from weaver.core.instants import from_ns, to_ns
from weaver.core.timeframe import Timeframe


def bars_of(
    closes: Sequence[float],
    *,
    start: str = "2024-01-01",
    step: str = "1m",
    rows: Sequence[int] | None = None,
    opens: Sequence[float] | None = None,
    highs: Sequence[float] | None = None,
    lows: Sequence[float] | None = None,
    **extra: Any,
) -> pl.DataFrame:
    """One bar per close, `step` apart from `start` on; `rows` says in which of these places they stand, so that others
    are missing. A bar opens at its own close unless `opens` says otherwise."""
    first, length = to_ns(start), Timeframe(step).ns
    places = range(len(closes)) if rows is None else rows
    close = np.asarray(closes, dtype=np.float64)
    opened = close if opens is None else np.asarray(opens, dtype=np.float64)
    high = np.maximum(opened, close) if highs is None else np.asarray(highs, dtype=np.float64)
    low = np.minimum(opened, close) if lows is None else np.asarray(lows, dtype=np.float64)
    return pl.DataFrame(
        {
            "timestamp": [from_ns(first + place * length) for place in places],
            "open": opened,
            "high": high,
            "low": low,
            "close": close,
            "volume": np.full(len(close), 1000.0),
            **extra,
        }
    )


@pytest.fixture
def make_bars() -> Callable[..., pl.DataFrame]:
    """`bars_of`: a frame from closes."""
    return bars_of


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
