"""A recorded run leaves in the store what its result says, however it ended, and the commands tell it."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from weaver import Strategy, StrategyCrashed, backtest, shipped_bars
from weaver.cli.main import main
from weaver.core.definitions import STATS_DEFINITIONS
from weaver.core.run_folders import RunFolders
from weaver.events.envelope import StoredEvent
from weaver.glados.clock.system import SystemClock
from weaver.glados.wiring import OpenStore, open_store, run_folders, runs_folder
from weaver.indicators import sma
from weaver.results.report.writer import render
from weaver.results.result import Result
from weaver.results.run_files import load
from weaver.walle.database import Database
from weaver.walle.log.event_log import PostgresEventLog

pytestmark = pytest.mark.log


class Cross(Strategy):
    days: int = 20

    def on_start(self) -> None:
        self.average = self.indicator(sma, self.bars.close, self.days)

    def on_bar(self, bar: Any) -> None:
        if bar.close > self.average[-1] and not self.position:
            self.buy(10, stop_loss=bar.close * 0.9, tag="in")
        elif bar.close < self.average[-1] and self.position:
            self.close()


class Breaks(Strategy):
    def on_bar(self, bar: Any) -> None:
        if self.orders_given() == 3:
            raise ZeroDivisionError("on purpose")
        self.buy(1)

    def orders_given(self) -> int:
        self.count = getattr(self, "count", 0) + 1
        return self.count


@pytest.fixture
def store(database_url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The store of this test alone: its own database, its own folder."""
    monkeypatch.setenv("DB_URL", database_url)
    monkeypatch.setenv("WEAVER_HOME", str(tmp_path / "home"))
    monkeypatch.chdir(tmp_path)
    # No second passes while a run is under way, however slow the machine: all of it is written at its end, in one batch.
    monkeypatch.setattr("weaver.glados.backtest.stopwatch_ns", lambda: 0)


def ask(work: Callable[[OpenStore], Any]) -> Any:
    async def go() -> Any:
        async with open_store() as opened:
            return await work(opened)

    return asyncio.run(go())


def events() -> list[StoredEvent]:
    return ask(lambda store: store.log.read_from(-1))


def recorded(strategy: type[Strategy] = Cross, **settings: Any) -> Result:
    result = backtest(strategy, shipped_bars("AAPL"), commission=0.001, record=True, **settings)
    assert result.recording.wait(60)
    assert result.recording.error is None
    return result


@pytest.fixture
def weaver(capsys: pytest.CaptureFixture[str]) -> Callable[..., tuple[int, str, str]]:
    def run(*arguments: str) -> tuple[int, str, str]:
        code = main(list(arguments))
        captured = capsys.readouterr()
        return code, captured.out, captured.err

    return run


# ---------------------------------------------------------------- what is left


def test_a_run_leaves_its_life_in_the_log_in_order_and_as_one_chain(store: None) -> None:
    result = recorded()
    found = events()
    assert [one.envelope.type for one in found] == ["run.Created", "run.Started", "orders.Recorded", "run.Completed"]
    assert {one.envelope.run_id for one in found} == {result.run_id}
    root = found[0].envelope
    assert {one.envelope.corr_id for one in found} == {root.id}
    assert [one.envelope.causation_id for one in found] == [None, root.id, root.id, root.id]
    completed = found[-1].envelope.payload
    assert (completed.bars, completed.orders, completed.fills) == (3270, len(result.orders), len(result.fills))
    assert completed.stats["final_equity"] == result.final_equity
    config = root.payload.config
    assert (config["strategy"], config["symbols"], config["params"]) == ("Cross", ["AAPL"], {"days": 20})


def test_orders_and_fills_in_the_log_and_in_the_tables_are_those_of_the_result(store: None, database_url: str) -> None:
    result = recorded()
    payload = events()[2].envelope.payload
    fills = result.record.fills
    assert [row[0] for row in payload.fills] == [fill.number for fill in fills]
    assert [tuple(row[1:]) for row in payload.fills] == [
        (f.symbol, f.side, f.ts_ns, f.quantity, f.price, f.commission, f.tag) for f in fills
    ]
    assert sorted(row[0] for row in payload.orders) == list(range(1, len(result.orders) + 1))

    async def tables(opened: OpenStore) -> Any:
        async with opened.database.connection() as connection:
            rows = await connection.fetch(
                "SELECT seq, number, price FROM fills WHERE run_id = $1 ORDER BY seq", result.run_id
            )
            orders = await connection.fetch(
                "SELECT number, status, average_price FROM orders WHERE run_id = $1 ORDER BY number", result.run_id
            )
        return [tuple(row) for row in rows], [tuple(row) for row in orders]

    in_fills, in_orders = ask(tables)
    assert in_fills == [(seq, fill.number, fill.price) for seq, fill in enumerate(fills, start=1)]
    assert in_orders == [(order.number, order.status, order.average_price) for order in result.record.orders]


def test_what_was_kept_gives_the_same_json_and_the_same_report(store: None) -> None:
    result = recorded(params={"days": 50}, cash=12_345)
    kept = Result(load(run_folders(), result.run_id))
    assert kept.to_json() == result.to_json()
    assert render(kept.analysis) == render(result.analysis)


def test_two_runs_over_the_same_bars_keep_them_once_until_both_are_gone(store: None, weaver: Any) -> None:
    first, second = recorded(), recorded(params={"days": 30})
    bars = runs_folder() / "bars"
    assert len(list(bars.iterdir())) == 1
    assert weaver("runs", "delete", first.run_id, "--yes")[0] == 0
    assert len(list(bars.iterdir())) == 1
    assert weaver("runs", "delete", second.run_id, "--yes")[0] == 0
    assert list(bars.iterdir()) == []
    assert ask(lambda store: store.runs.newest()) == []

    async def rows(opened: OpenStore) -> int:
        async with opened.database.connection() as connection:
            return await connection.fetchval("SELECT (SELECT count(*) FROM orders) + (SELECT count(*) FROM fills)")

    assert ask(rows) == 0


def test_bars_that_another_run_comes_to_need_while_they_are_being_removed_stay(
    store: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    from weaver.results import run_files

    first = recorded()
    folders, another = run_folders(), first.run_id[:-8] + "another1"
    asked: list[int] = []
    needed = run_files._needed

    def at_the_second_look(folders: RunFolders) -> set[str] | None:
        asked.append(1)
        if (
            len(asked) == 2
        ):  # the bars were put aside; now another process saves a run over them, and dies before its bars
            monkeypatch.setattr(run_files, "_keep_bars", lambda *_: None)
            run_files.save(replace(first.record, run_id=another), folders)
        return needed(folders)

    monkeypatch.setattr(run_files, "_needed", at_the_second_look)
    run_files.forget(folders, first.run_id)
    assert len(asked) == 2
    kept = json.loads(Result(load(folders, another)).to_json())
    assert kept | {"run_id": first.run_id} == json.loads(first.to_json())


def test_a_strategy_that_raises_leaves_its_error_and_what_it_had_done(store: None) -> None:
    with pytest.raises(StrategyCrashed) as caught:
        backtest(Breaks, shipped_bars("AAPL"), record=True)
    assert caught.value.result.recording.wait(60)
    (row,) = ask(lambda store: store.runs.newest())
    assert (row.status, row.orders) == ("failed", 2)
    assert "ZeroDivisionError" in row.error
    last = events()[-1].envelope
    assert (last.type, last.payload.error) == ("run.Error", "ZeroDivisionError")
    assert 'raise ZeroDivisionError("on purpose")' in last.payload.traceback


class Odd(Strategy):
    note: str = "fine"

    def on_bar(self, bar: Any) -> None:
        self.buy(1, tag="a\0b" + "\ud800" + "x" * 5_000)
        if len(self.bars) == 5:
            raise ValueError("\0 \ud800 " + "y" * 3_000_000)


def test_texts_that_the_database_cannot_keep_are_written_out_and_lose_nothing_else(store: None) -> None:
    with pytest.raises(StrategyCrashed) as caught:
        backtest(Odd, shipped_bars("AAPL"), record=True, params={"note": "\0 and \ud800"})
    recording = caught.value.result.recording
    assert recording.wait(60)
    assert recording.error is None
    (row,) = ask(lambda store: store.runs.newest())
    assert (row.status, row.fills, row.orders) == ("failed", 4, 5)
    assert row.config["params"] == {"note": "\\0 and \\ud800"}
    fills = [row for one in events() if one.envelope.type == "orders.Recorded" for row in one.envelope.payload.fills]
    assert [row[-1].startswith("a\\0b\\ud800xxx") for row in fills] == [True] * 4


def test_a_run_that_was_told_to_stop_is_kept_as_stopped_with_its_result(store: None) -> None:
    result = recorded(should_stop=lambda: True)
    (row,) = ask(lambda store: store.runs.newest())
    assert row.status == "stopped"
    assert 0 < row.bars_done == result.bars < 3270
    assert ask(lambda store: store.runs.result(row.id)).stats["final_equity"] == result.final_equity
    assert events()[-1].envelope.payload.reason == "interrupted"


def test_a_run_without_record_leaves_nothing(store: None) -> None:
    assert backtest(Cross, shipped_bars("AAPL")).recording is None
    assert events() == []


_LAST_THING = """
from weaver import Strategy, backtest, shipped_bars


class Trades(Strategy):
    def on_bar(self, bar):
        self.close() if self.position else self.buy(1)


backtest(Trades, shipped_bars("AAPL"), record=True)
"""


def test_a_script_that_ends_with_its_run_and_waits_for_nothing_leaves_it_whole(store: None) -> None:
    subprocess.run([sys.executable, "-c", _LAST_THING], env=os.environ, check=True, timeout=60)
    (row,) = ask(lambda store: store.runs.newest())
    assert (row.status, row.bars_done) == ("completed", 3270)
    assert events()[-1].envelope.type == "run.Completed"


_KILLED = """
import itertools, sys
import weaver.glados.backtest as room
from weaver import Strategy, backtest, shipped_bars

seconds = itertools.count()
room.stopwatch_ns = lambda: next(seconds) * 2_000_000_000   # so that every bar is a second later, and is written


class Waits(Strategy):
    def on_bar(self, bar):
        self.close() if self.position else self.buy(1)
        if len(self.bars) == 50:
            print("here", flush=True)
            sys.stdin.read()   # until the process is killed


backtest(Waits, shipped_bars("AAPL"), record=True)
"""


def test_a_killed_run_shows_as_interrupted_with_what_it_had_done(
    store: None, database_url: str, weaver: Any, tmp_path: Path
) -> None:
    child = subprocess.Popen(
        [sys.executable, "-c", _KILLED], stdin=subprocess.PIPE, stdout=subprocess.PIPE, env=os.environ, text=True
    )
    try:
        assert child.stdout is not None
        assert child.stdout.readline() == "here\n"

        async def until_written() -> str:
            async with Database(database_url, clock=SystemClock()) as database:
                log = PostgresEventLog(database)
                async for stored in log.subscribe(types="orders.Recorded", from_offset=-1):
                    if stored.envelope.payload.fills:
                        break
                await log.close()
                return str(stored.envelope.run_id)

        run_id = asyncio.run(asyncio.wait_for(until_written(), 60))
        (running,) = ask(lambda store: store.runs.newest())
        assert running.status == "running"
        child.send_signal(signal.SIGKILL)
        child.wait()
    finally:
        child.kill()
        child.communicate()

    async def once_it_is_seen(opened: OpenStore) -> Any:
        async with (
            opened.database.connection() as connection
        ):  # the server notices the broken connection in its own time
            await connection.execute("SELECT pg_advisory_lock(lock_key), pg_advisory_unlock(lock_key) FROM runs")
        return await opened.runs.newest()

    (row,) = ask(once_it_is_seen)
    assert (row.id, row.status, row.bars_total) == (run_id, "interrupted", 3270)
    assert row.fills > 0
    assert row.bars_done > 0
    code, out, _ = weaver("runs", "show", "last")
    assert code == 0
    assert f"its process ended after about {row.bars_done:,} of 3,270 bars; written by then were" in out


# ---------------------------------------------------------------- a store that is not there


def test_a_run_that_cannot_be_kept_is_still_a_result_and_says_why(
    empty_url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, weaver: Any
) -> None:
    monkeypatch.setenv("DB_URL", empty_url)
    monkeypatch.setenv("WEAVER_HOME", str(tmp_path))
    strategy = tmp_path / "mine.py"
    strategy.write_text(
        "from weaver import Strategy\n\n\nclass Mine(Strategy):\n    def on_bar(self, bar):\n        pass\n"
    )
    code, out, err = weaver("backtest", str(strategy), "--data", "demo:AAPL", "--record")
    assert code == 0
    assert "Final equity" in out
    assert "not recorded: the database has no tables of Weaver's yet; make them with: weaver db upgrade" in err
    assert weaver("db", "upgrade") == (0, "the tables are up to date\n", "")
    code, _, err = weaver("backtest", str(strategy), "--data", "demo:AAPL", "--record")
    assert (code, err.startswith("recorded: weaver runs show ")) == (0, True)


# ---------------------------------------------------------------- the commands


def test_runs_are_listed_shown_compared_and_reported_by_a_part_of_their_id(
    store: None, weaver: Any, tmp_path: Path
) -> None:
    first, second = recorded(), recorded(params={"days": 50})
    code, out, _ = weaver("runs", "list")
    lines = out.splitlines()
    assert (code, len(lines)) == (0, 3)
    assert lines[1].startswith(second.run_id[-8:]), "the newest first"
    assert "completed" in lines[1]
    code, out, _ = weaver("runs", "show", first.run_id[-8:])
    assert code == 0
    assert repr(first) in out
    code, out, _ = weaver("runs", "compare", first.run_id, "last")
    assert code == 0
    assert any(line.split() == ["params.days", "20", "50"] for line in out.splitlines())
    code, out, _ = weaver("runs", "report", "last", "-o", "mine.html")
    assert code == 0
    assert (tmp_path / "mine.html").read_text() == render(second.analysis)
    code, out, _ = weaver("runs", "list", "--json", "-n", "1")
    assert json.loads(out)["id"] == second.run_id
    code, out, _ = weaver("runs", "show", "last", "--json")
    assert json.loads(out)["result"]["stats"]["final_equity"] == second.final_equity
    assert json.loads(out)["result"]["stats"]["definitions"] == STATS_DEFINITIONS


def test_compare_names_changed_instrument_terms_and_a_changed_source(store: None, weaver: Any, tmp_path: Path) -> None:
    path = tmp_path / "buy.py"
    source = "from weaver import Strategy\n\n\nclass Buy(Strategy):\n    def on_bar(self, bar):\n        self.target(quantity=1)\n"

    def run(*options: str) -> None:
        assert (
            weaver("backtest", str(path), "--data", "demo:IBM", "--start", "2013-01-01", "--record", *options)[0] == 0
        )

    path.write_text(source)
    run()
    first = json.loads(weaver("runs", "list", "--json", "-n", "1")[1])["id"]
    run("--lot", "1")
    terms = weaver("runs", "compare", first, "last")[1]
    assert any(line.split() == ["instruments.lot", "0.00000001", "1"] for line in terms.splitlines())
    path.write_text(source + "# changed\n")
    run()
    code = weaver("runs", "compare", first, "last")[1]
    assert any(line.split()[:1] == ["source"] for line in code.splitlines())
    path.write_text(source)
    run()
    assert "both runs have the same settings" in weaver("runs", "compare", first, "last")[1]


def test_a_run_that_is_not_there_or_not_clear_is_refused_by_name(store: None, weaver: Any) -> None:
    code, out, _ = weaver("runs", "list")
    assert (code, out) == (0, "no runs are recorded yet; weaver backtest records each run\n")
    code, _, err = weaver("runs", "show", "nothing")
    assert (code, "there is no run 'nothing'" in err) == (2, True)
    first, second = recorded(), recorded()
    shared = first.run_id[:8]
    assert second.run_id.startswith(shared)
    code, _, err = weaver("runs", "show", shared)
    assert (code, "matches 2 runs" in err) == (2, True)


def test_events_are_told_by_offset_type_and_run(store: None, weaver: Any) -> None:
    first, _ = recorded(), recorded()
    code, out, _ = weaver("events", "tail")
    assert (code, len(out.splitlines())) == (0, 8)
    code, out, _ = weaver("events", "tail", "--from", "-1", "--run", first.run_id[-8:], "--type", "run.*", "--json")
    told = [json.loads(line) for line in out.splitlines()]
    assert [(one["offset"], one["type"]) for one in told] == [
        (1, "run.Created"),
        (2, "run.Started"),
        (4, "run.Completed"),
    ]
    assert told[0]["payload"]["config"]["strategy"] == "Cross"
    code, out, _ = weaver("events", "tail", "-n", "1", "--type", "orders.Recorded")
    assert (code, out.split()[0]) == (0, "7")
    code, _, err = weaver("events", "tail", "--type", "orders")
    assert (code, "orders.Placed" in err) == (2, True)


def test_an_event_is_shown_within_its_chain(store: None, weaver: Any) -> None:
    recorded()
    code, out, _ = weaver("events", "show", "3")
    assert code == 0
    assert [line.split("  ")[0] for line in out.splitlines()[-4:]] == [
        "1 run.Created",
        "├─ 2 run.Started",
        "├─ 3 orders.Recorded",
        "└─ 4 run.Completed",
    ]
    assert out.splitlines()[-2].endswith("<--")
    event_id = events()[3].envelope.id
    code, out, _ = weaver("events", "show", event_id, "--json")
    assert json.loads(out)["type"] == "run.Completed"
    code, _, err = weaver("events", "show", "99")
    assert (code, "there is no event '99'" in err) == (2, True)


def test_stats_tell_counts_and_how_far_each_consumer_is_behind(store: None, weaver: Any) -> None:
    recorded()
    ask(lambda store: store.desk.offsets.set_offset("billing", 1))
    code, out, _ = weaver("events", "stats")
    assert code == 0
    assert ["run.Created", "1", "1", "1"] in [line.split() for line in out.splitlines()]
    assert ["billing", "3", "0"] in [line.split() for line in out.splitlines()]
    code, out, _ = weaver("events", "stats", "--json")
    assert json.loads(out)["log"]["lag"] == {"billing": 3}


def test_pruning_stops_at_the_slowest_consumer_and_keeps_the_newest_event(store: None, weaver: Any) -> None:
    recorded()
    ask(lambda store: store.desk.offsets.set_offset("slow", 2))
    code, out, _ = weaver("events", "prune", "--older-than", "0s", "--yes")
    assert (code, "removed: 2 events" in out, "consumer 'slow' stands" in out) == (0, True, True)
    assert [one.offset for one in events()] == [3, 4]
    code, out, _ = weaver("events", "prune", "--older-than", "0s", "--yes", "--force")
    assert [one.offset for one in events()] == [4]
    code, out, _ = weaver("events", "prune", "--older-than", "1h", "--yes")
    assert "removed: 0 events" in out
    code, _, err = weaver("events", "prune", "--older-than", "soon", "--yes")
    assert (code, "90d" in err) == (2, True)
