"""The report is one file that holds everything, escapes everything, and is the same for the same run."""

from __future__ import annotations

import json
import os
import re
import threading
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from weaver.core.bars import BarSeries
from weaver.core.errors import ConfigError, UnknownSymbol
from weaver.results import PlotSeries, Result, RunRecord
from weaver.results.analysis import RunAnalysis
from weaver.results.report import datasets, sections
from weaver.results.report.writer import render

MakeSeries = Callable[..., BarSeries]
MakeRecord = Callable[..., RunRecord]
DAY = 86_400_000_000_000
COLUMNS = ("start", "end", "open", "high", "low", "close", "volume")
HOSTILE = "</script><script>alert('&')</script>"


@pytest.fixture
def run(series: MakeSeries, record: MakeRecord) -> RunRecord:
    closes = (100 + 10 * np.sin(np.arange(100) / 5)).round(2)
    trades = [(1, "A", 5, 100.0, 1.0), (9, "A", -5, 104.0, 1.0), (20, "A", 5, 99.0, 1.0)]
    return record([series("A", closes)], trades, params={"fast": 10}, settings={"intrabar": "worst"})


def without_library(page: str) -> str:
    """The page without Plotly, whose own text would drown every search."""
    return re.sub(r"<script>/\*\*.*?</script>", "", page, flags=re.DOTALL)


def test_the_page_loads_nothing_from_anywhere(run: RunRecord) -> None:
    page = without_library(render(RunAnalysis(run)))
    assert not re.search(r"<(link|img|iframe)|<script[^>]+src|url\(|@import|https?://", page)
    assert "default-src &#x27;none&#x27;" in page or "default-src 'none'" in page


def test_the_policy_names_the_hash_of_every_script_that_runs(run: RunRecord) -> None:
    import base64
    import hashlib

    page = render(RunAnalysis(run))
    scripts = re.findall(r"<script>(.*?)</script>", page, flags=re.DOTALL)
    hashes = {base64.b64encode(hashlib.sha256(script.encode()).digest()).decode() for script in scripts}
    assert hashes == set(re.findall(r"'sha256-([^']+)'", page))
    assert len(scripts) == 2


def test_texts_of_the_strategy_never_become_markup(run: RunRecord) -> None:
    hostile = replace(
        run, strategy=HOSTILE, run_id=HOSTILE, source=HOSTILE, params={HOSTILE: HOSTILE},
        settings={"x": {HOSTILE: [HOSTILE]}}, warnings=(HOSTILE,), notes=(HOSTILE,), calendar=HOSTILE,
        plots=[PlotSeries(symbol="A", name=HOSTILE, values=run.series["A"].close)],
        series={"A": replace(run.series["A"], source=HOSTILE, notes=(HOSTILE,))},
    )  # fmt: skip
    plain = without_library(render(RunAnalysis(run)))
    page = without_library(render(RunAnalysis(hostile)))
    assert page.count("<script") == plain.count("<script") + 1  # one more block, for the plot
    assert page.count("</script") == plain.count("</script") + 1
    assert "alert('" not in page.replace("\\u003c/script>\\u003cscript>alert('&')", "")


def test_the_page_shows_what_was_in_force(run: RunRecord) -> None:
    page = without_library(
        render(RunAnalysis(replace(run, warnings=("prices are adjusted",), finished=False, calendar="XNYS")))
    )
    for text in ("intrabar", "worst", "fast", "XNYS", "prices are adjusted", "stopped before the end", "run-1", "seed"):
        assert text in page, text


def test_trades_that_are_still_open_are_counted_on_top(run: RunRecord) -> None:
    open_trades = replace(run, fills=run.fills[:1])
    assert "none closed, 1 still open" in without_library(render(RunAnalysis(open_trades)))
    assert "still open" not in without_library(render(RunAnalysis(replace(run, fills=run.fills[:0]))))


def test_equal_runs_give_equal_pages(run: RunRecord) -> None:
    assert render(RunAnalysis(run)) == render(RunAnalysis(run))


def test_writing_makes_the_folder_and_replaces_the_file_whole(run: RunRecord, tmp_path: Path) -> None:
    target = tmp_path / "deep" / "er" / "out.html"
    assert Result(run).report(target) == target
    assert Result(run).report(str(target)) == target
    assert [path.name for path in target.parent.iterdir()] == ["out.html"]
    assert target.read_text(encoding="utf-8").startswith("<!doctype html>")


def test_a_folder_is_no_file_to_write_and_nothing_is_left_beside_it(run: RunRecord, tmp_path: Path) -> None:
    folder = tmp_path / "reports"
    folder.mkdir()
    with pytest.raises(ConfigError, match=r"reports is a folder; name the file to write, for example .*report\.html"):
        Result(run).report(folder)
    assert list(tmp_path.iterdir()) == [folder]


def test_monthly_returns_chain_to_the_whole_return(run: RunRecord) -> None:
    html = sections.monthly_returns(RunAnalysis(run))
    assert "-0.0<" not in html
    cells = [float(text) for text in re.findall(r'<td class="[^"]*" style[^>]*>([+-]?[\d.]+)</td>', html)]
    assert len(cells) == 4  # January to April 2024
    total = float(re.findall(r"<td class=total>([+-][\d.]+)</td>", html)[0])
    assert total == pytest.approx(Result(run).stats["return"] * 100, abs=0.06)


def test_a_month_without_bars_is_empty_and_the_next_counts_from_before_it(
    series: MakeSeries, record: MakeRecord
) -> None:
    january, march = series("A", [100.0] * 3), series("A", [110.0] * 3, first=19_783 * DAY)
    both = replace(
        january,
        **{name: np.concatenate((getattr(january, name), getattr(march, name))) for name in COLUMNS},
    )
    html = sections.monthly_returns(RunAnalysis(record([both], [(1, "A", 100, 100.0, 0.0)])))
    assert re.findall(r"<td[^>]*>([^<]*)</td>", html)[:4] == ["0.0", "", "+10.0", ""]


def test_breaks_between_bars_are_counted_by_length(series: MakeSeries) -> None:
    bars = series("A", [1.0] * 30)
    assert sections.breaks_text(bars) == "none"
    days = np.array([day for day in range(28) if day % 7 < 5 and day != 9])
    part = replace(bars, **{name: getattr(bars, name)[days] for name in COLUMNS})
    assert sections.breaks_text(part) == "4: 3 of 2d, 1 of 1d"


def test_many_symbols_are_cut_to_those_with_the_most_fills(
    series: MakeSeries, record: MakeRecord, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(datasets, "MAX_SYMBOLS", 2)
    many = [series(name, [10.0, 11.0, 12.0]) for name in ("A", "B", "C", "D")]
    facts, blocks = datasets.datasets(RunAnalysis(record(many, [(1, "D", 1, 10.0, 0.0), (1, "B", 1, 10.0, 0.0)])))
    assert [symbol["name"] for symbol in facts["symbols"]] == ["B", "D"]
    assert facts["counts"]["symbols"] == 4
    assert {"bars-0", "bars-1"} < set(blocks)


def test_more_bars_than_a_page_holds_are_merged_and_said(run: RunRecord, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(datasets, "MAX_ROWS", 40)
    monkeypatch.setattr(datasets, "MIN_ROWS", 10)
    facts, blocks = datasets.datasets(RunAnalysis(run))
    assert facts["symbols"][0]["size"] == 3
    assert blocks["bars-0"]["rows"] == 34
    assert facts["equity_rows"]["exact"] is False
    assert blocks["equity"]["rows"] <= 44


def test_a_plot_with_its_own_instants_is_aligned_to_the_bars(run: RunRecord) -> None:
    from weaver.results.report.datasets import _plots_block

    bars = run.series["A"]
    weekly = PlotSeries(symbol="A", name="weekly", values=bars.close[4::7], ts=bars.start[4::7], style="step")
    short = PlotSeries(symbol="A", name="short", values=bars.close[:50])
    block = _plots_block([weekly, short], bars, 1)
    assert [spec["nan"] for spec in block["columns"]] == [[[0, 4]], [[50, 50]]]
    assert block["rows"] == 100


def test_settings_read_like_text() -> None:
    html = sections.details({"a": None, "b": True, "c": {"x": 1.5, "y": []}, "d": [1_000, "z"], "e": {}})
    assert re.findall(r"<dd>([^<]*)</dd>", html) == ["none", "yes", "x: 1.5, y: none", "1,000, z", "none"]
    assert "None" in sections.details({})


def test_the_facts_are_json_whatever_the_run(run: RunRecord, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(datasets, "MAX_FILLS", 2)
    facts, blocks = datasets.datasets(RunAnalysis(replace(run, initial_cash=0.0)))
    assert blocks["fills"]["rows"] == 2
    assert json.loads(json.dumps([facts, blocks], allow_nan=False))


def test_plot_draws_equity_candles_fills_and_plots(run: RunRecord) -> None:
    close = run.series["A"].close
    plots = [
        PlotSeries(symbol="A", name="mean", values=close),
        PlotSeries(symbol="A", name="<b>rsi", values=close, overlay=False),
        PlotSeries(symbol="A", name="slow", values=close[:3], ts=run.series["A"].start[:3]),
    ]
    figure = Result(replace(run, plots=plots)).plot()
    names = [trace.name for trace in figure.data]
    assert names == ["buy and hold", "strategy", "drawdown", "A", "mean", "&lt;b&gt;rsi", "slow", "buys", "sells"]
    assert len(figure.data[3].x) == 100
    with pytest.raises(UnknownSymbol, match="'B' is not in this run; it has A"):
        Result(run).plot("B")


def test_plot_marks_evenly_many_of_too_many_fills(run: RunRecord, monkeypatch: pytest.MonkeyPatch) -> None:
    from weaver.results import figure

    monkeypatch.setattr(figure, "MARKS", 1)
    assert [trace.name for trace in Result(run).plot().data][-2:] == ["buys (1 of 2)", "sells"]


def test_a_report_is_written_to_a_pipe_and_does_not_replace_it(tmp_path: Path, run: RunRecord) -> None:
    pipe = tmp_path / "report.html"
    os.mkfifo(pipe)
    read: list[str] = []
    reader = threading.Thread(target=lambda: read.append(pipe.read_text(encoding="utf-8")))
    reader.start()
    Result(run).report(pipe)
    reader.join()
    assert read == [render(RunAnalysis(run))]
    assert pipe.is_fifo()
    assert list(tmp_path.iterdir()) == [pipe]


def test_the_notes_of_forty_symbols_are_summarised(series: MakeSeries, record: MakeRecord) -> None:
    many = [
        replace(
            series(f"S{number}", [10.0, 11.0]),
            notes=(
                "timeframe 1d: the commonest spacing of the bars",
                f"S{number}: {number + 1} gap{'s' if number else ''} in the 1d bars; the largest is {number + 5}d 3h",
                f"S{number}: {number + 1} run{'s' if number else ''} of flat bars without volume",
            ),
        )
        for number in range(40)
    ]
    few = sections.data_used(RunAnalysis(record(many[:3])))
    assert few.count("<p class=note>") == 1 + 2 * 3
    html = sections.data_used(RunAnalysis(record(many, notes=tuple(note for bars in many for note in bars.notes))))
    assert html.count("<p class=note>") == 3
    assert "40 symbols have notes of this kind, for example S0: 1 gap in the 1d bars" in html
    assert "40 symbols have notes of this kind, for example S0: 1 run of flat bars" in html
