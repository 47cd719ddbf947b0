"""`weaver data`: what it prints, where to, and with which exit code."""

from __future__ import annotations

from pathlib import Path

import polars as pl
import pytest

from weaver.cli.main import ExitCode, main
from weaver.data.catalog import Catalog
from weaver.data.load_bars import load_bars

CLEAN = """timestamp,open,high,low,close,volume
2024-01-31T12:00:00Z,10,12,9,11,5
2024-01-31T12:01:00Z,11,13,10,12,6
2024-01-31T12:02:00Z,12,14,11,13,7
"""


@pytest.fixture
def root(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("WEAVER_HOME", str(tmp_path / "home"))
    monkeypatch.chdir(tmp_path)
    (tmp_path / "bars.csv").write_text(CLEAN)
    return tmp_path / "home" / "catalog"


def run(*arguments: str) -> int:
    return main(["data", *arguments])


def test_import_writes_the_catalog_and_says_what_it_did(root: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run("import", "bars.csv", "--symbol", "BTC/USD", "--timeframe", "1m") == ExitCode.DONE
    out = capsys.readouterr().out
    assert "bars.csv: 3 bars understood" in out
    assert "BTC/USD 1m: 3 bars added" in out
    assert len(Catalog(root).read("BTC/USD", "1m")) == 3
    assert run("import", "bars.csv", "-s", "BTC/USD") == ExitCode.DONE
    out = capsys.readouterr().out
    assert "0 bars added, 3 bars were there already with the same values" in out
    assert "timeframe 1m: the commonest spacing" in out


def test_a_dry_run_writes_nothing(root: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run("import", "bars.csv", "-s", "X", "--dry-run") == ExitCode.DONE
    out = capsys.readouterr().out
    assert "would be added" in out
    assert "dry run: nothing was written" in out
    assert not root.exists()


def test_a_refusal_lists_lines_on_standard_error_and_ends_with_one_line_of_error(
    root: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "bars.csv").write_text(CLEAN.replace("13,10", "9,10"))
    assert run("import", "bars.csv", "-s", "X", "-t", "1m") == ExitCode.DATA
    said = capsys.readouterr()
    assert said.out == ""
    *listing, last = said.err.splitlines()
    assert listing == ["bars.csv: refused, since 1 of 4 lines is wrong", "  line 3: high 9.0 is below low 10.0"]
    assert last.startswith("error: nothing was imported; --fix drop-invalid")
    assert not root.exists()


def test_every_option_reaches_the_importer(root: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "de.csv").write_text(
        "02/01/2024 12:01;1,234;1,234;1,234;1,234;-1\n02/01/2024 12:00;1,234;1,234;1,234;1,234;1\n"
    )
    options = [
        "--tz",
        "Europe/Berlin",
        "--dates",
        "month-first",
        "--decimal",
        "comma",
        "--fix",
        "sort",
        "--fix",
        "zero-volume",
    ]
    columns = "timestamp,open,high,low,close,volume"
    where = str(tmp_path / "elsewhere")
    assert (
        run("import", "de.csv", "-s", "X", "-t", "1m", *options, "--columns", columns, "--catalog", where)
        == ExitCode.DONE
    )
    out = capsys.readouterr().out
    assert "sort: 2 rows (line 1, 2)" in out
    assert "zero-volume: 1 row (line 1)" in out
    frame = Catalog(where).read("X", "1m")
    assert frame["open"].to_list() == [1.234, 1.234]
    assert frame["timestamp"][0].isoformat() == "2024-02-01T11:00:00+00:00"
    assert not root.exists()


def test_conflicts_end_with_the_way_out_and_may_be_decided(
    root: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run("import", "bars.csv", "-s", "X")
    (tmp_path / "new.csv").write_text(CLEAN.replace(",13,7", ",12,7"))
    assert run("import", "new.csv", "-s", "X") == ExitCode.DATA
    assert "--on-conflict keep-old or take-new" in capsys.readouterr().err
    assert run("import", "new.csv", "-s", "X", "--on-conflict", "take-new") == ExitCode.DONE
    assert Catalog(root).read("X", "1m")["close"].to_list() == [11.0, 12.0, 12.0]


@pytest.mark.parametrize(
    ("arguments", "code", "message"),
    [
        (["import"], ExitCode.USAGE, "Missing argument"),
        (["import", "none.csv", "-s", "X"], ExitCode.DATA, "none.csv: there is no such file"),
        (["import", "bars.csv"], ExitCode.DATA, "--symbol AAPL"),
        (["import", "bars.csv", "-s", "X", "--fix", "magic"], ExitCode.USAGE, "unknown repair"),
        (["import", "bars.csv", "-s", "X", "-t", "7m"], ExitCode.USAGE, "7m"),
        (["import", "bars.csv", "-s", "X", "--tz", "Mars"], ExitCode.USAGE, "not a time zone"),
        (["show", "X"], ExitCode.DATA, "is empty; fill it with"),
        (["check", "X"], ExitCode.DATA, "is empty; fill it with"),
        (["synth", "--price", "0"], ExitCode.USAGE, "price"),
    ],
)
def test_a_wrong_call_ends_with_one_line(
    root: Path, arguments: list[str], code: int, message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(*arguments) == code
    err = capsys.readouterr().err
    assert message in err
    assert len(err.splitlines()) == 1


def test_the_repairs_can_be_listed(capsys: pytest.CaptureFixture[str]) -> None:
    assert run("import", "--list-fixes") == ExitCode.DONE
    assert "drop-duplicates  drops rows that repeat an earlier one in every value" in capsys.readouterr().out


def test_list_shows_symbols_bars_and_what_is_synthetic(root: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run("list") == ExitCode.DONE
    assert "is empty; fill it with" in capsys.readouterr().out
    run("import", "bars.csv", "-s", "BTC/USD")
    run("synth", "--symbol", "S", "--bars", "10")
    capsys.readouterr()
    assert run("list") == ExitCode.DONE
    rows = [line.split() for line in capsys.readouterr().out.splitlines()]
    assert rows[0] == ["symbol", "timeframe", "bars", "first", "last"]
    assert rows[1] == ["BTC/USD", "1m", "3", "2024-01-31T12:00:00Z", "2024-01-31T12:02:00Z"]
    assert rows[2][:3] == ["S", "1m", "10"]
    assert "synthetic" in rows[2]


def test_check_says_what_is_right_and_ends_with_an_error_where_something_is_wrong(
    root: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "bars.csv").write_text(CLEAN + "2024-01-31T12:07:00Z,12,14,11,13,7\n")
    run("import", "bars.csv", "-s", "A")
    run("synth", "-s", "B", "--bars", "5")
    capsys.readouterr()
    assert run("check") == ExitCode.DONE
    out = capsys.readouterr().out
    assert "A 1m: 4 bars, right" in out
    assert "1 gap in the 1m bars; the largest is 4m" in out
    assert run("check", "B") == ExitCode.DONE
    assert "A 1m" not in capsys.readouterr().out
    assert run("check", "C") == ExitCode.DATA
    path = Catalog(root).path("A", "1m")
    pl.read_parquet(path).reverse().write_parquet(path)
    capsys.readouterr()
    assert run("check") == ExitCode.DATA
    said = capsys.readouterr()
    assert "A 1m: 4 bars, wrong" in said.out
    assert "error: 1 of 2 files in the catalog" in said.err


def test_a_broken_file_is_told_after_all_the_others(root: Path, capsys: pytest.CaptureFixture[str]) -> None:
    run("import", "bars.csv", "-s", "A")
    run("import", "bars.csv", "-s", "B")
    Catalog(root).path("A", "1m").write_bytes(b"PAR1 and no more")
    capsys.readouterr()
    for command in ("list", "check"):
        assert run(command) == ExitCode.DATA
        said = capsys.readouterr()
        assert "B" in said.out
        assert "remove this file, and import its bars again" in said.err
    assert run("check", "B") == ExitCode.DONE
    assert run("check", "A") == ExitCode.DATA


def test_bars_that_follow_sessions_are_checked_and_shown_by_their_calendar(
    root: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    rows = [f"2024-01-{day:02d}T{hour}:30:00Z,10,12,9,11,5" for day in (2, 3) for hour in range(14, 21)]
    del rows[3]
    (tmp_path / "ny.csv").write_text("\n".join([CLEAN.splitlines()[0], *rows]) + "\n")
    assert run("import", "ny.csv", "-s", "NY") == ExitCode.DATA
    assert "if they follow the sessions of an exchange, name it: --calendar XNYS" in capsys.readouterr().err
    assert run("import", "ny.csv", "-s", "NY", "--calendar", "XLON") == ExitCode.DATA
    assert "name it" not in capsys.readouterr().err
    assert run("import", "ny.csv", "-s", "NY", "--calendar", "XNYS") == ExitCode.DONE
    capsys.readouterr()
    assert run("check") == ExitCode.DONE
    assert "NY 1h: 13 bars, right" in capsys.readouterr().out
    assert run("show", "NY") == ExitCode.DONE
    shown = capsys.readouterr().out
    assert [line for line in shown.splitlines() if line.startswith("gap")] == ["gap of 1h from 2024-01-02T17:30:00Z"]


def test_show_prints_first_and_last_bars_gaps_and_a_sparkline(
    root: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    rows = [f"2024-01-31T12:{k:02d}:00Z,{k + 1},{k + 1},{k + 1},{k + 1},5" for k in range(30) if k not in (10, 11, 20)]
    (tmp_path / "bars.csv").write_text(CLEAN.splitlines()[0] + "\n" + "\n".join(rows) + "\n")
    run("import", "bars.csv", "-s", "X")
    capsys.readouterr()
    assert run("show", "X") == ExitCode.DONE
    lines = capsys.readouterr().out.splitlines()
    assert lines[0].startswith("X 1m: 27 bars from 2024-01-31T12:00:00Z to 2024-01-31T12:29:00Z")
    assert lines[1][0] == "▁"
    assert lines[1][-1] == "█"
    assert len(lines[1]) == 27
    assert [line.split()[0] for line in lines[3:10]] == [
        "2024-01-31T12:00:00Z", "2024-01-31T12:01:00Z", "2024-01-31T12:02:00Z", "...",
        "2024-01-31T12:27:00Z", "2024-01-31T12:28:00Z", "2024-01-31T12:29:00Z",
    ]  # fmt: skip
    assert lines[10:12] == ["gap of 2m from 2024-01-31T12:10:00Z", "gap of 1m from 2024-01-31T12:20:00Z"]


def test_show_serves_adjusted_prices_and_those_that_come_with_weaver(
    root: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run("show", "demo:AAPL", "--adjusted") == ExitCode.DONE
    out = capsys.readouterr().out
    assert "public domain" in out
    assert "adjusted for splits and dividends" in out
    assert run("show", "demo:AAPL") == ExitCode.DONE
    assert "looks like a 2:1 split" in capsys.readouterr().out
    assert run("show", "demo:TSLA") == ExitCode.DATA


def test_synth_is_seeded_idempotent_and_never_mixed_with_anything(
    root: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for _ in range(2):
        assert run("synth", "--symbol", "S", "--bars", "50", "--seed", "7", "--timeframe", "1h") == ExitCode.DONE
    out = capsys.readouterr().out
    assert "no market data" in out
    assert "it was there already" in out
    assert run("synth", "--symbol", "S", "--bars", "60", "--seed", "7", "--timeframe", "1h") == ExitCode.DONE
    assert len(Catalog(root).read("S", "1h")) == 60
    assert run("synth", "--symbol", "S", "--bars", "50", "--seed", "8", "--timeframe", "1h") == ExitCode.DATA
    assert "not mixed" in capsys.readouterr().err


def test_synth_writes_files_that_load(root: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for name in ("x.parquet", "x.csv"):
        assert run("synth", "--bars", "20", "--output", name) == ExitCode.DONE
    loaded = [load_bars(tmp_path / name)["SYNTH"] for name in ("x.parquet", "x.csv")]
    assert loaded[0].close.tolist() == loaded[1].close.tolist()
    assert "synthetic" in loaded[0].source
    assert not root.exists()
    assert "its name should" in capsys.readouterr().out


def test_a_unit_of_times_is_an_option_of_the_import_and_of_the_backtest(weaver, tmp_path: Path, buy_once: Path) -> None:
    path = tmp_path / "serials.csv"
    rows = "".join(f"{45292 + day},1,1,1,1,1\n" for day in range(5))
    path.write_text("Date,Open,High,Low,Close,Volume\n" + rows, encoding="utf-8")
    refused = weaver("data", "import", path, "--symbol", "X", "--catalog", tmp_path / "catalog")
    assert refused.code != 0
    assert "line 2: Date '45292' is a number" in refused.err
    assert "as an Excel serial 2024-01-01" in refused.err
    assert "--time-unit s, ms, us, ns, excel or matlab" in refused.err
    done = weaver("data", "import", path, "--symbol", "X", "--time-unit", "excel", "--catalog", tmp_path / "catalog")
    assert done.code == 0, done.err
    assert "2024-01-01" in weaver("data", "list", "--catalog", tmp_path / "catalog").out
    run = weaver("backtest", buy_once, "--data", path, "--time-unit", "excel", "--quote", "USD")
    assert run.code == 0, run.err
    assert "2024-01-01" in run.out
