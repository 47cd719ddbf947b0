"""Every message of the command line has at most 10,000 characters, whatever the strategy, the file or the database holds."""

from __future__ import annotations

import gzip
import warnings
from pathlib import Path

import pytest
from tiny_parquet import tiny_parquet

from weaver.cli.main import LONGEST_TRACEBACK, main
from weaver.cli.output import LONGEST_CELL, table

MEGABYTE = 1024**2
BODIES = {
    "an exception": "raise ValueError('Z' * 50 * 1024**2)",
    "an exception of control characters": "raise ValueError(chr(27) * 1024**2)",
    "a chain of exceptions": "exec('try:\\n raise KeyError(chr(90) * 1024**2)\\nexcept KeyError as e:\\n raise ValueError from e')",
    "an error of Weaver": "self.buy('Z' * 1024**2)",
    "exit": "exit('Z' * 1024**2)",
}


def strategy(tmp_path: Path, body: str) -> Path:
    path = tmp_path / "acting.py"
    path.write_text(
        f"from weaver import Strategy\n\nclass Acting(Strategy):\n    def on_bar(self, bar):\n        {body}\n"
    )
    return path


@pytest.mark.parametrize("body", BODIES)
def test_a_strategy_cannot_print_megabytes_by_failing(weaver, bars_csv, tmp_path, body: str) -> None:
    path = strategy(tmp_path, BODIES[body])
    ended = weaver("backtest", path, "--data", bars_csv, "--no-record")
    assert ended.code == 3
    assert len(ended.out) + len(ended.err) < 12_000
    assert "Acting" in ended.err
    ended = weaver("backtest", path, "--data", bars_csv, "--no-record", "--debug")
    assert len(ended.err) < LONGEST_TRACEBACK + 12_000


@pytest.mark.parametrize(
    "text",
    ["raise ValueError('Z' * 1024**2)", "import " + "Z" * MEGABYTE, "Z = '" + "Z" * MEGABYTE, "x" * MEGABYTE + " y"],
    ids=["raises", "import", "open quote", "syntax"],
)
def test_a_strategy_that_cannot_be_loaded_is_reported_shortly(weaver, bars_csv, tmp_path, text: str) -> None:
    path = tmp_path / "broken.py"
    path.write_text(text)
    ended = weaver("backtest", path, "--data", bars_csv, "--no-record")
    assert ended.code == 3
    assert len(ended.err) < 5_000


@pytest.mark.parametrize(
    "arguments",
    [("Z" * MEGABYTE,), ("backtest", "Z" * MEGABYTE), ("backtest", "S", "--data", "demo:" + "Z" * MEGABYTE),
     ("backtest", "S", "--data", "Z" * MEGABYTE), ("backtest", "S", "--data", "demo:AAPL", "--param", "Z" * MEGABYTE),
     ("backtest", "S", "--data", "demo:AAPL", "--param", "size=" + "Z" * MEGABYTE),
     ("backtest", "S", "--data", "demo:AAPL", "--param", "Z" * MEGABYTE + "=1"),
     ("backtest", "S", "--data", "demo:AAPL", "--start", "Z" * MEGABYTE),
     ("backtest", "S", "--data", "demo:AAPL", "--calendar", "Z" * MEGABYTE),
     ("backtest", "S", "--data", "demo:AAPL", "--tz", "Z" * MEGABYTE),
     ("backtest", "S", "--data", "demo:AAPL", "--cash", "Z" * MEGABYTE),
     ("backtest", "S", "--data", "demo:AAPL", "--" + "Z" * MEGABYTE),
     ("data", "import", "C", "--symbol", "Z" * MEGABYTE), ("data", "import", "C", "--columns", "Z," * MEGABYTE),
     ("data", "import", "C", "--fix", "Z" * MEGABYTE), ("new", "Z" * MEGABYTE)],
    ids=range(16),
)  # fmt: skip
def test_an_argument_of_a_megabyte_is_refused_shortly(
    weaver, buy_once, bars_csv, monkeypatch, tmp_path, arguments
) -> None:
    monkeypatch.setenv("WEAVER_HOME", str(tmp_path / "home"))
    monkeypatch.setenv("WEAVER_RECORD", "0")
    given = [{"S": str(buy_once), "C": str(bars_csv)}.get(argument, argument) for argument in arguments]
    ended = weaver(*given)
    assert ended.code in (1, 2, 3, 4)
    assert len(ended.out) + len(ended.err) < 12_000


def test_small_files_that_state_gigabytes_are_data_errors(weaver, buy_once, tmp_path, monkeypatch) -> None:
    monkeypatch.setenv("WEAVER_MAX_TEXT_BYTES", "1000000")
    packed = tmp_path / "bars.csv.gz"
    packed.write_bytes(gzip.compress(b"2024-01-01,1,1,1,1,1\n" * 100_000))
    rows = tmp_path / "bars.parquet"
    rows.write_bytes(tiny_parquet(300_000_000))
    for path, reason in ((packed, "WEAVER_MAX_TEXT_BYTES="), (rows, "states 300,000,000 rows")):
        for ended in (
            weaver("backtest", buy_once, "--data", path, "--no-record"),
            weaver("data", "import", path, "--symbol", "A", "--catalog", tmp_path / "catalog"),
        ):
            assert ended.code == 4
            assert reason in ended.err


def test_a_cell_of_a_table_is_cut() -> None:
    text = table([["Z" * MEGABYTE, 1], ["a", 2]], ["name", "count"])
    assert max(map(len, text.split("\n"))) == LONGEST_CELL + len("  count")


def test_a_warning_is_cut(capsys) -> None:
    seen = []
    warnings_of_main = warnings.formatwarning

    def command(*_: object, **__: object) -> None:
        seen.append(warnings.formatwarning("Z" * MEGABYTE, UserWarning, "x.py", 1))

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("weaver.cli.main.cli.main", command)
        assert main(["x"]) == 0
    assert len(seen[0]) < 10_100
    assert warnings.formatwarning is warnings_of_main
