"""`weaver backtest`: what goes in, what comes out, and how it ends."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from pathlib import Path

import polars as pl
import pytest

from weaver.cli.main import ExitCode
from weaver.results.result import JSON_KEYS


def report_json(ended) -> dict:
    assert (ended.code, ended.err) == (0, "")
    return json.loads(ended.out)


def test_json_on_standard_output_is_one_object_with_exactly_the_documented_keys(weaver, buy_once, bars_csv) -> None:
    found = report_json(weaver("backtest", buy_once, "--data", bars_csv, "--json", "-"))
    assert tuple(found) == JSON_KEYS
    assert found["strategy"] == "BuyOnce"
    assert (found["symbols"], found["timeframe"], found["bars"], found["fills"]) == (["rising"], "1d", 40, 1)
    assert found["start"].startswith("2024-01-01")
    # One unit bought at the second bar's open of 101, marked at the last close of 139.5.
    assert found["final_equity"] == pytest.approx(100_000 + 139.5 - 101)


def test_without_json_it_prints_the_result_for_people(weaver, buy_once, bars_csv) -> None:
    ended = weaver("backtest", buy_once, "--data", bars_csv)
    assert (ended.code, ended.err) == (0, "")
    assert "BuyOnce" in ended.out
    with pytest.raises(json.JSONDecodeError):
        json.loads(ended.out)


def test_files_are_written_where_asked_and_folders_are_made(weaver, buy_once, bars_csv, tmp_path) -> None:
    out, page = tmp_path / "a" / "r.json", tmp_path / "b" / "c" / "r.html"
    ended = weaver("backtest", buy_once, "--data", bars_csv, "--json", out, "--report", page)
    assert (ended.code, ended.err) == (0, "")
    assert tuple(json.loads(out.read_text(encoding="utf-8"))) == JSON_KEYS
    assert "<html" in page.read_text(encoding="utf-8")[:2000]
    assert str(out) in ended.out
    assert str(page) in ended.out


def test_the_report_is_named_on_standard_error_where_json_has_standard_output(
    weaver, buy_once, bars_csv, tmp_path
) -> None:
    ended = weaver("backtest", buy_once, "--data", bars_csv, "--json", "-", "--report", tmp_path / "r.html")
    json.loads(ended.out)
    assert f"report: {tmp_path / 'r.html'}" in ended.err


def test_every_setting_reaches_the_run(weaver, buy_once, bars_csv) -> None:
    base = ("backtest", buy_once, "--data", f"UP={bars_csv}", "--json", "-")
    found = report_json(weaver(*base, "--start", "2024-01-05", "--end", "2024-01-25", "--cash", "5000", "--seed", "7"))
    assert (found["symbols"], found["bars"]) == (["UP"], 20)
    assert found["final_equity"] == pytest.approx(5000 + 123.5 - 105)
    paid = report_json(weaver(*base, "--commission", "0.01", "--slippage-bps", "100"))
    price = 101 * 1.01
    assert paid["final_equity"] == pytest.approx(100_000 + 139.5 - price - 0.01 * price)
    closed = report_json(weaver(*base, "--finalize"))
    assert closed["fills"] == 2
    sized = report_json(weaver(*base, "--param", "size=2.7", "--lot", "1"))
    assert sized["final_equity"] == pytest.approx(100_000 + 2 * (139.5 - 101))
    assert sized["params"] == {"size": 2.7}
    held = report_json(weaver(*base, "--borrow", "0.03", "--financing", "0.05", "--limit-fill", "through"))["settings"]
    assert (held["borrow"], held["financing"], held["limit_fill"]) == (0.03, 0.05, "through")
    assert report_json(weaver(*base, "--volume-cap", "0.5"))["settings"]["volume_cap"] == 0.5
    best = report_json(weaver(*base, "--intrabar", "best", "--leverage", "2"))
    assert "best" in json.dumps(best["settings"])


def test_several_sources_are_several_symbols_and_symbol_selects_among_them(weaver, bars_csv, tmp_path) -> None:
    strategy = tmp_path / "idle.py"
    strategy.write_text("from weaver import Strategy\nclass Idle(Strategy):\n    pass\n", encoding="utf-8")
    base = ("backtest", strategy, "--data", f"A={bars_csv}", "--data", f"B={bars_csv}", "--json", "-")
    assert report_json(weaver(*base))["symbols"] == ["A", "B"]
    assert report_json(weaver(*base, "--symbol", "B"))["symbols"] == ["B"]


def test_a_class_in_a_file_and_in_a_module_can_be_named(weaver, buy_once, bars_csv, monkeypatch) -> None:
    monkeypatch.syspath_prepend(buy_once.parent)
    for text in (f"{buy_once}:BuyOnce", "buy_once:BuyOnce"):
        assert report_json(weaver("backtest", text, "--data", bars_csv, "--json", "-"))["strategy"] == "BuyOnce"


@pytest.mark.parametrize(
    ("arguments", "code", "said"),
    [
        (("nowhere.py", "--data", "{bars}"), ExitCode.STRATEGY, "nowhere.py"),
        (("{strategy}:Sell", "--data", "{bars}"), ExitCode.STRATEGY, "Sell"),
        (("{strategy}", "--data", "nowhere.csv"), ExitCode.DATA, "nowhere.csv"),
        (("{strategy}", "--data", "demo:APPL"), ExitCode.DATA, "AAPL"),
        (("{strategy}", "--data", "UP={bars}", "--symbol", "PU"), ExitCode.DATA, "did you mean 'UP'"),
        (("{strategy}", "--data", "{bars}", "--timeframe", "90m"), ExitCode.USAGE, "90m"),
        (("{strategy}", "--data", "{bars}", "--param", "sise=2"), ExitCode.USAGE, "did you mean 'size'"),
        (("{strategy}", "--data", "{bars}", "--param", "size=big"), ExitCode.USAGE, "size"),
        (("{strategy}", "--data", "{bars}", "--param", "size"), ExitCode.USAGE, "NAME=VALUE"),
        (("{strategy}", "--data", "{bars}", "--start", "2030-01-01"), ExitCode.DATA, "rising"),
        (("{strategy}", "--data", "{bars}", "--cash", "-5"), ExitCode.USAGE, "cash"),
        (("{strategy}",), ExitCode.USAGE, "--data"),
    ],
)
def test_a_mistake_is_one_line_that_names_it(weaver, buy_once, bars_csv, arguments, code, said) -> None:
    ended = weaver("backtest", *(text.format(strategy=buy_once, bars=bars_csv) for text in arguments))
    assert ended.code == code, ended
    assert ended.out == ""
    assert ended.err.startswith("error: ")
    assert ended.err.count("\n") == 1
    assert said in ended.err


@pytest.mark.parametrize(
    ("time", "parquet", "way"),
    [
        ("2024-01-02T14:{:02}:00", False, "--tz UTC"),
        ("2024-01-02T14:{:02}:00", True, "--tz UTC"),
        ("2024-01-02T14:{:02}:17Z", False, "--calendar XNYS"),
        ("2024-01-02T14:{:02}:17Z", True, "--calendar XNYS"),
    ],
)
def test_what_mends_a_file_is_told_in_options(weaver, buy_once, tmp_path, time: str, parquet: bool, way: str) -> None:
    rows = [f"{time.format(k)},10,12,9,11,5" for k in range(9)]
    file = tmp_path / "bars.csv"
    file.write_text("\n".join(["timestamp,open,high,low,close,volume", *rows]) + "\n", encoding="utf-8")
    if parquet:
        pl.read_csv(file).write_parquet(file)
    assert way in weaver("backtest", buy_once, "--data", file).err


def test_a_strategy_that_raises_ends_with_its_bar_line_and_parameters(weaver, bars_csv, tmp_path) -> None:
    strategy = tmp_path / "broken.py"
    strategy.write_text(
        "from weaver import Strategy\n"
        "class Broken(Strategy):\n"
        "    depth: int = 3\n"
        "    def on_bar(self, bar):\n"
        "        if bar.close > 110:\n"
        "            raise ValueError('too high')\n",
        encoding="utf-8",
    )
    ended = weaver("backtest", strategy, "--data", bars_csv)
    assert ended.code == ExitCode.STRATEGY
    assert ended.err.count("\n") == 1
    for part in ("too high", "broken.py", "6", "2024-01-11", "depth"):
        assert part in ended.err
    shown = weaver("backtest", strategy, "--data", bars_csv, "--debug")
    assert "Traceback" in shown.err
    assert "raise ValueError('too high')" in shown.err
    written = weaver("backtest", strategy, "--data", bars_csv, "--report", tmp_path / "r.html", "--json", "-")
    assert (written.code, written.out) == (ExitCode.STRATEGY, "")
    assert f"report: {tmp_path / 'r.html'}" in written.err
    assert (tmp_path / "r.html").exists()


@pytest.mark.parametrize("option", ["--json", "--report"])
@pytest.mark.parametrize(
    ("target", "said"), [(".", "is a folder"), ("{bars}/r", "is a file, not a folder"), ("", "folder")]
)
def test_a_place_that_cannot_be_written_is_refused_before_the_run(
    weaver, buy_once, bars_csv, tmp_path, monkeypatch, option: str, target: str, said: str
) -> None:
    monkeypatch.chdir(tmp_path)
    ended = weaver("backtest", buy_once, "--data", bars_csv, option, target.format(bars=bars_csv))
    assert (ended.code, ended.out) == (ExitCode.FAILED, "")
    assert said in ended.err
    assert ended.err.count("\n") == 1


def test_the_result_and_the_report_do_not_overwrite_each_other(weaver, buy_once, bars_csv, tmp_path) -> None:
    out = tmp_path / "out"
    ended = weaver("backtest", buy_once, "--data", bars_csv, "--json", out, "--report", tmp_path / "." / "out")
    assert (ended.code, ended.out) == (ExitCode.USAGE, "")
    assert "give them different files" in ended.err
    assert not out.exists()


def test_a_folder_without_permission_is_named_before_the_run(weaver, buy_once, bars_csv, tmp_path, monkeypatch) -> None:
    monkeypatch.setattr(os, "access", lambda path, mode: Path(path) != tmp_path / "locked")  # root may write anywhere
    (tmp_path / "locked").mkdir()
    ended = weaver("backtest", buy_once, "--data", bars_csv, "--json", tmp_path / "locked" / "deep" / "r.json")
    assert (ended.code, ended.out) == (ExitCode.FAILED, "")
    assert f"no permission in {tmp_path / 'locked'}" in ended.err
    assert not list((tmp_path / "locked").iterdir())


def test_json_that_cannot_be_written_to_its_end_leaves_the_old_file(
    weaver, buy_once, bars_csv, tmp_path, monkeypatch
) -> None:
    out = tmp_path / "r.json"
    out.write_text("old", encoding="utf-8")
    write_bytes = Path.write_bytes

    def full(path: Path, data: bytes) -> int:
        write_bytes(path, data[:100])
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(Path, "write_bytes", full)
    ended = weaver("backtest", buy_once, "--data", bars_csv, "--json", out)
    assert ended.code == ExitCode.FAILED
    assert ended.err == f"error: {out}: No space left on device\n"
    assert out.read_text(encoding="utf-8") == "old"
    assert sorted(path.name for path in tmp_path.iterdir()) == ["buy_once.py", "r.json", "rising.csv"]


@pytest.mark.skipif(os.name == "nt", reason="POSIX devices and links")
def test_json_is_written_through_links_and_into_pipes_and_devices(weaver, buy_once, bars_csv, tmp_path) -> None:
    (tmp_path / "link.json").symlink_to(tmp_path / "real.json")
    assert weaver("backtest", buy_once, "--data", bars_csv, "--json", tmp_path / "link.json").code == 0
    assert (tmp_path / "link.json").is_symlink()
    assert tuple(json.loads((tmp_path / "real.json").read_text(encoding="utf-8"))) == JSON_KEYS
    os.mkfifo(tmp_path / "pipe")
    reader = os.open(tmp_path / "pipe", os.O_RDONLY | os.O_NONBLOCK)
    try:
        assert weaver("backtest", buy_once, "--data", bars_csv, "--json", tmp_path / "pipe").code == 0
        assert json.loads(os.read(reader, 100_000))["bars"] == 40
    finally:
        os.close(reader)
    assert not (tmp_path / "pipe").is_file()


@pytest.mark.parametrize("closed", ["stdout", "stderr"])
def test_a_process_without_a_standard_stream_runs_all_the_same(
    weaver, buy_once, bars_csv, tmp_path, monkeypatch, closed: str
) -> None:
    monkeypatch.setattr(sys, closed, None)
    for command in (["backtest", buy_once], ["check", buy_once]):
        assert weaver(*command, "--data", bars_csv).code == 0
    imported = ("data", "import", bars_csv, "-s", "UP", "--catalog", tmp_path / "catalog")
    assert weaver(*imported).code == 0


def test_what_a_strategy_prints_is_beside_the_json(weaver, bars_csv, tmp_path) -> None:
    strategy = tmp_path / "talker.py"
    strategy.write_text(
        "from weaver import Strategy\nprint('loaded')\nclass Talker(Strategy):\n"
        "    def on_stop(self):\n        print('stopped')\n",
        encoding="utf-8",
    )
    ended = weaver("backtest", strategy, "--data", bars_csv, "--json", "-")
    assert json.loads(ended.out)["bars"] == 40
    assert ended.err == "loaded\nstopped\n"
    assert weaver("backtest", strategy, "--data", bars_csv).out.startswith("loaded\nstopped\n")


def test_a_strategy_that_ends_the_program_is_told(weaver, bars_csv, tmp_path) -> None:
    strategy = tmp_path / "quitter.py"
    strategy.write_text(
        "from weaver import Strategy\nclass Quitter(Strategy):\n    def on_bar(self, bar):\n        raise SystemExit(0)\n",
        encoding="utf-8",
    )
    ended = weaver("backtest", strategy, "--data", bars_csv)
    assert (ended.code, ended.out) == (ExitCode.STRATEGY, "")
    assert "Quitter ended the program, by exit(0)" in ended.err
    checked = weaver("check", strategy, "--data", bars_csv)
    assert (checked.code, checked.out) == (ExitCode.STRATEGY, "")
    assert "nothing is proved" in checked.err


def run_child(tmp_path: Path, body: str, *arguments: str, **options) -> subprocess.Popen:
    (tmp_path / "child.py").write_text(body, encoding="utf-8")
    command = [sys.executable, "-m", "weaver", "backtest", "child.py", *arguments]
    return subprocess.Popen(command, cwd=tmp_path, text=True, **options)


INTERRUPTING = """
import os, signal
from weaver import Strategy
class Interrupting(Strategy):
    presses: int = 1
    def on_bar(self, bar):
        if bar.close == 120.5:
            for _ in range(self.presses):
                os.kill(os.getpid(), signal.SIGINT)
"""


@pytest.fixture
def many_bars(tmp_path: Path) -> Path:
    """Twenty thousand one-minute bars."""
    rows = (
        f"{1_700_000_040 + 60 * n},{100 + n},{101 + n},{99 + n},{100.5 + n},1"  # epoch seconds
        for n in range(20_000)
    )
    path = tmp_path / "many.csv"
    path.write_text("timestamp,open,high,low,close,volume\n" + "\n".join(rows) + "\n", encoding="utf-8")
    return path


@pytest.mark.skipif(os.name == "nt", reason="POSIX signals")
def test_ctrl_c_ends_the_run_soon_and_shows_what_there_is(tmp_path: Path, many_bars: Path) -> None:
    child = run_child(
        tmp_path, INTERRUPTING, "--data", str(many_bars), "--json", "out.json", "--report", "out.html",
        stdout=subprocess.PIPE, stderr=subprocess.PIPE,
    )  # fmt: skip
    out, err = child.communicate()
    assert child.returncode == ExitCode.INTERRUPTED
    came = re.fullmatch(r"error: interrupted after ([\d,]+) of 20,000 bars \(\d+ %\)\n", err)
    assert came, err
    assert 20 < int(came[1].replace(",", "")) < 20_000
    assert f"({came[1]} bars)" in out
    assert "interrupted" in out
    assert (tmp_path / "out.html").exists()
    assert not (tmp_path / "out.json").exists()


@pytest.mark.skipif(os.name == "nt", reason="POSIX signals")
def test_a_second_ctrl_c_ends_it_where_it_stands(tmp_path: Path, many_bars: Path) -> None:
    child = run_child(
        tmp_path, INTERRUPTING, "--data", str(many_bars), "--param", "presses=2", "--report", "out.html",
        stdout=subprocess.PIPE, stderr=subprocess.PIPE,
    )  # fmt: skip
    out, err = child.communicate()
    assert (child.returncode, out) == (ExitCode.INTERRUPTED, "")
    assert err.startswith("error: interrupted ")
    assert err.count("\n") == 1
    assert not (tmp_path / "out.html").exists()


@pytest.mark.skipif(os.name == "nt", reason="a pseudo-terminal is POSIX")
def test_a_terminal_sees_a_progress_bar_and_standard_output_stays_clean(tmp_path, buy_once, bars_csv) -> None:
    import pty

    master, slave = pty.openpty()
    child = run_child(
        tmp_path, buy_once.read_text(encoding="utf-8"), "--data", str(bars_csv), "--json", "-",
        stdout=subprocess.PIPE, stderr=slave,
    )  # fmt: skip
    out, _ = child.communicate()
    os.close(slave)
    try:
        drawn = os.read(master, 100_000).decode()
    finally:
        os.close(master)
    assert child.returncode == 0
    assert json.loads(out)["bars"] == 40
    assert "bars" in drawn
