"""Tables, sparklines and JSON of the commands."""

from __future__ import annotations

import io
import json
import sys
from datetime import UTC, datetime

import msgspec
import pytest

from weaver.cli.output import json_text, sparkline, table


def test_numbers_are_aligned_to_the_right_and_text_to_the_left() -> None:
    rows = [["AAPL", "3,270", "-"], ["X", "5", "-1.20 %"]]
    assert table(rows, ["symbol", "bars", "return"]).splitlines() == [
        "symbol   bars   return",
        "AAPL    3,270        -",
        "X           5  -1.20 %",
    ]


def test_without_a_header_all_columns_are_text() -> None:
    assert table([("size", "5"), ("state", "running")]) == "size   5\nstate  running"
    assert table([]) == ""


def test_a_sparkline_has_at_most_its_width_and_shows_means() -> None:
    assert sparkline([0.0, 0.0, 7.0, 7.0], 2) == "▁█"
    assert sparkline([1.0, 1.0, 1.0]) == "▁▁▁"
    assert len(sparkline([float(n) for n in range(1000)], 64)) == 64


def test_a_sparkline_is_ascii_where_the_terminal_is(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "stdout", io.TextIOWrapper(io.BytesIO(), encoding="latin-1"))
    assert sparkline([0.0, 1.0]) == "_@"


def test_json_is_one_line_and_knows_structs_and_times() -> None:
    class Row(msgspec.Struct):
        at: datetime

    text = json_text({"rows": [Row(datetime(2024, 1, 2, tzinfo=UTC))], "text": "a\nb"})
    assert "\n" not in text
    assert json.loads(text) == {"rows": [{"at": "2024-01-02T00:00:00Z"}], "text": "a\nb"}
