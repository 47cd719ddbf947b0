"""RunConfig: everything that identifies a run, nothing else, unchanged through JSON."""

from __future__ import annotations

import pickle
from datetime import UTC, datetime
from enum import StrEnum
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from weaver.core.errors import ConfigError, NaiveDatetimeError, TimeframeError
from weaver.core.instants import to_ns
from weaver.core.run_config import RunConfig, RunMode
from weaver.core.timeframe import Timeframe


class Colour(StrEnum):
    RED = "red"


def config(**changes: Any) -> RunConfig:
    values: dict[str, Any] = {
        "mode": "backtest",
        "strategy": "examples.sma:SmaCross",
        "symbols": ["B", "A"],
        "timeframe": "1h",
    }
    return RunConfig(**(values | changes))


def test_values_are_kept_in_their_own_types() -> None:
    made = config(start="2024-01-01", end=datetime(2024, 2, 1, tzinfo=UTC), history="2023-12-01T00:00Z", cash=5)
    assert made.mode is RunMode.BACKTEST
    assert made.symbols == ("B", "A")
    assert made.timeframe == Timeframe("1h")
    assert (made.start, made.end, made.history) == (to_ns("2024-01-01"), to_ns("2024-02-01"), to_ns("2023-12-01"))
    assert (made.start_time, made.end_time) == (datetime(2024, 1, 1, tzinfo=UTC), datetime(2024, 2, 1, tzinfo=UTC))
    assert config().start_time is config().end_time is None
    assert made.cash == 5.0
    assert isinstance(made.cash, float)


def test_params_become_plain_values_and_are_a_copy() -> None:
    given_params: dict[str, Any] = {
        "tf": Timeframe("60m"),
        "colour": Colour.RED,
        "deep": {"list": (1, 2.5, None, True)},
    }
    made = config(params=given_params)
    given_params["deep"]["list"] = "changed"
    assert made.params == {"tf": "1h", "colour": "red", "deep": {"list": [1, 2.5, None, True]}}


def test_a_config_is_frozen_and_pickles() -> None:
    made = config(params={"fast": 10})
    with pytest.raises(AttributeError):
        made.seed = 1  # type: ignore[misc]
    assert pickle.loads(pickle.dumps(made)) == made


def test_equal_configs_give_equal_bytes_and_hashes() -> None:
    one, other = config(params={"a": 1, "b": 2}), config(params={"b": 2, "a": 1}, timeframe="60m")
    assert one == other
    assert one.to_json() == other.to_json()
    assert len({one, other, config()}) == 2


def test_json_holds_instants_as_text_since_a_number_would_lose_nanoseconds() -> None:
    stored = msgspec.json.decode(config(start=1, history=None).to_json())
    assert stored["start"] == "1970-01-01T00:00:00.000000001Z"
    assert stored["history"] is None


@pytest.mark.parametrize(
    ("changes", "error", "message"),
    [
        ({"mode": "dream"}, ConfigError, "mode='dream'.*'backtest', 'paper', 'live'"),
        ({"strategy": ""}, ConfigError, "strategy=''"),
        ({"strategy": "my_strategy.py:Sma"}, ConfigError, "holds no path"),
        ({"strategy": "/home/me/sma"}, ConfigError, "holds no path"),
        ({"strategy": "C:\\sma"}, ConfigError, "holds no path"),
        ({"symbols": []}, ConfigError, "at least one symbol"),
        ({"symbols": "AAPL"}, ConfigError, "at least one symbol"),
        ({"symbols": None}, ConfigError, "at least one symbol"),
        ({"symbols": ["A", "B", "A"]}, ConfigError, "'A' is named more than once"),
        ({"symbols": [" A"]}, ConfigError, "without spaces"),
        ({"symbols": [3]}, ConfigError, "symbols=3"),
        ({"timeframe": "90m"}, TimeframeError, "90m"),
        ({"start": datetime(2024, 1, 1)}, NaiveDatetimeError, "no time zone"),
        ({"start": "2024-02-01", "end": "2024-01-01"}, ConfigError, "start=2024-02-01.*after end=2024-01-01"),
        ({"start": "2024-02-01", "history": "2024-02-02"}, ConfigError, "history=2024-02-02.*after start"),
        ({"cash": 0}, ConfigError, "cash=0"),
        ({"cash": float("inf")}, ConfigError, "cash=inf"),
        ({"cash": "much"}, ConfigError, "cash='much'"),
        ({"cash": True}, ConfigError, "cash=True"),
        ({"seed": -1}, ConfigError, "seed=-1"),
        ({"seed": 1.5}, ConfigError, "seed=1.5"),
        ({"seed": True}, ConfigError, "seed=True"),
        ({"calendar": ""}, ConfigError, "calendar=''"),
        ({"params": [1]}, ConfigError, "params=.*must be a mapping"),
        ({"settings": {"x": object}}, ConfigError, r"settings\['x'\].*cannot be stored as JSON"),
        ({"params": {1: 2}}, ConfigError, "params has the key 1"),
        ({"params": {"a": [float("nan")]}}, ConfigError, r"params\['a'\]\[0\]=nan"),
        ({"params": {"a": 2**63}}, ConfigError, "fit into 64 bits"),
    ],
)
def test_a_wrong_value_is_refused_by_name(changes: dict[str, Any], error: type[Exception], message: str) -> None:
    with pytest.raises(error, match=message):
        config(**changes)


@pytest.mark.parametrize("data", [b"", b"{}", b"\xff", "[]", b'{"mode":"backtest","secret":1}'])
def test_other_json_is_refused(data: bytes | str) -> None:
    with pytest.raises(ConfigError, match="not the JSON of a RunConfig"):
        RunConfig.from_json(data)


def test_an_unknown_field_is_refused_by_name() -> None:
    data = config().to_json().replace(b'"seed"', b'"sead"')
    with pytest.raises(ConfigError, match="sead"):
        RunConfig.from_json(data)


plain = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(2**63), 2**63 - 1)
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=10,
)


@given(
    params=st.dictionaries(st.text(), plain, max_size=4),
    settings=st.dictionaries(st.text(), plain, max_size=4),
    start=st.none() | st.integers(0, 10**18),
    seed=st.integers(0, 2**60),
    mode=st.sampled_from(list(RunMode)),
)
def test_a_config_survives_json_unchanged(
    params: dict[str, Any], settings: dict[str, Any], start: int | None, seed: int, mode: RunMode
) -> None:
    made = config(params=params, settings=settings, start=start, seed=seed, mode=mode, calendar="XNYS")
    assert RunConfig.from_json(made.to_json()) == made
    assert RunConfig.from_json(made.to_json()).to_json() == made.to_json()
