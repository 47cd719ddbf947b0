"""Values that JSON can hold: any value is converted, or refused where it could not be read back."""

from __future__ import annotations

import json
from datetime import UTC, date, datetime, timedelta, timezone
from decimal import Decimal
from enum import IntEnum, StrEnum
from pathlib import PurePosixPath

import numpy as np
import pytest

from weaver.core.errors import ConfigError
from weaver.core.jsonable import check_json, jsonable
from weaver.core.timeframe import Timeframe


class Side(IntEnum):
    BUY = 1


class Mode(StrEnum):
    LIVE = "live"


VALUES = {
    date(2024, 1, 2): {"b", "a"},
    "when": datetime(2024, 1, 2, tzinfo=UTC),
    "there": datetime(2024, 1, 2, 1, tzinfo=timezone(timedelta(hours=1))),
    "lot": Decimal("0.1"),
    "path": PurePosixPath("a/b"),
    "array": np.array([1.5, np.nan, np.inf]),
    "number": np.int64(7),
    "object": Timeframe("1h"),
    "codes": (Side.BUY, Mode.LIVE),
    Mode.LIVE: None,
}


def test_any_value_becomes_json() -> None:
    converted = jsonable(VALUES)
    assert converted == {
        "2024-01-02": ["a", "b"],
        "when": "2024-01-02T00:00:00Z",
        "there": "2024-01-02T00:00:00Z",
        "lot": "0.1",
        "path": "a/b",
        "array": [1.5, None, None],
        "number": 7,
        "object": "1h",
        "codes": [1, "live"],
        "live": None,
    }
    assert json.loads(json.dumps(converted, allow_nan=False)) == converted


def test_checked_values_are_copied() -> None:
    value = {"a": [1, 2.5, None, True, "x", Timeframe("1h"), Mode.LIVE], "b": {}}
    checked = check_json("params", value)
    value["a"].append(3)  # type: ignore[attr-defined]
    assert checked == {"a": [1, 2.5, None, True, "x", "1h", "live"], "b": {}}


@pytest.mark.parametrize(
    ("value", "message"),
    [
        ({"a": float("nan")}, r"params\['a'\]=nan: must be finite"),
        ({"a": [2**63]}, r"params\['a'\]\[0\]=9223372036854775808: whole numbers must fit into 64 bits"),
        ({1: 2}, "params has the key 1; keys must be text"),
        ({"a": date(2024, 1, 2)}, "date cannot be stored as JSON"),
    ],
)
def test_values_that_cannot_be_read_back_are_refused_by_name(value: object, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        check_json("params", value)
