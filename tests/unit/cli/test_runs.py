"""`weaver runs list` and `compare` mark statistics that were computed by other definitions than those in force."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

import pytest

from weaver.core.definitions import STATS_DEFINITIONS, definitions_of, with_definitions
from weaver.walle.runs import RunRow

FIGURES: dict[str, object] = {
    "return": 0.12,
    "sharpe": 1.5,
    "max_drawdown": -0.2,
    "trades": 9,
    "final_equity": 112_000.0,
}


def row(name: str, stats: dict[str, Any] | None) -> RunRow:
    return RunRow(
        id=f"20240101T000000000000Z-{name}",
        mode="backtest",
        strategy="Mine",
        status="completed",
        config={"symbols": ["A"]},
        bars_total=3,
        bars_done=3,
        error=None,
        created_at=datetime(2024, 1, 1, tzinfo=UTC),
        ended_at=datetime(2024, 1, 1, tzinfo=UTC),
        orders=0,
        fills=0,
        stats=stats,
    )


OLD, NEW, NONE = row("oldoldol", FIGURES), row("newnewne", with_definitions(FIGURES)), row("nonenone", None)
NOTE = (
    f"* statistics by definitions 1; version {STATS_DEFINITIONS} is in force (docs/metrics.md). weaver runs show ID computes "
    "them again.\n"
)


def lines_of(out: str) -> dict[str, str]:
    return {line.split()[0]: line for line in out.splitlines() if line.strip()}


def test_the_list_marks_statistics_of_older_definitions(weaver: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("weaver.cli.runs.with_store", lambda work: [OLD, NEW, NONE])
    out = weaver("runs", "list").out
    lines = lines_of(out)
    assert "12.00 %*" in lines["oldoldol"]
    assert "1.50*" in lines["oldoldol"]
    assert "*" not in lines["newnewne"] + lines["nonenone"]
    assert out.endswith(NOTE)


def test_a_comparison_marks_statistics_of_older_definitions(weaver: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("weaver.cli.runs.with_store", lambda work: [OLD, NEW])
    out = weaver("runs", "compare", "old", "new").out
    assert lines_of(out)["trades"].split() == ["trades", "9*", "9"]
    assert out.endswith(NOTE)


def test_nothing_is_marked_where_all_have_the_definitions_in_force(
    weaver: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("weaver.cli.runs.with_store", lambda work: [NEW, NONE])
    assert "*" not in weaver("runs", "list").out


def test_statistics_without_a_version_are_of_the_first_one() -> None:
    assert definitions_of({}) == definitions_of(FIGURES) == 1
    assert definitions_of(with_definitions(FIGURES)) == STATS_DEFINITIONS
