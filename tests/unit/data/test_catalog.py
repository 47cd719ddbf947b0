"""Catalog: whole before and after a kill, idempotent, with a folder for any symbol."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st

from weaver.core.errors import DataError, UnknownSymbol
from weaver.core.instants import to_ns
from weaver.data.catalog import Catalog, Conflict, default_root, folder_name, symbol_of, write_parquet
from weaver.data.load_bars import load_bars
from weaver.data.shipped import shipped_bars
from weaver.data.synthetic import synthetic_bars
from weaver.glados.clock.calendars import get_calendar

BARS = synthetic_bars(100).drop("symbol")
STEPS = ("locked", "merged", "written", "flushed", "replaced")


@pytest.fixture
def catalog(tmp_path: Path) -> Catalog:
    return Catalog(tmp_path / "catalog")


@given(st.text(min_size=1, max_size=20))
def test_a_folder_name_is_reversible_and_safe(symbol: str) -> None:
    try:
        encoded = symbol.encode()
    except UnicodeEncodeError:
        return
    if len(encoded) > 80:
        return
    name = folder_name(symbol)
    assert symbol_of(name) == symbol
    assert name.isascii()
    assert not set(name) & set('<>:"/\\|?* ')
    assert not name.startswith(".")
    assert not name.endswith(".")


@pytest.mark.parametrize(
    ("symbol", "folder"),
    [
        ("BTC/USD", "BTC%2FUSD"),
        ("BRK-B", "BRK-B"),
        ("BRK.B", "BRK.B"),
        ("^GSPC", "%5EGSPC"),
        ("..", "%2E%2E"),
        ("CON", "%43ON"),
    ],
)
def test_usual_symbols_have_these_folders(symbol: str, folder: str) -> None:
    assert (folder_name(symbol), symbol_of(folder)) == (folder, symbol)


@pytest.mark.parametrize("symbol", ["", "x" * 81])
def test_an_impossible_symbol_is_refused(symbol: str) -> None:
    with pytest.raises(DataError):
        folder_name(symbol)


def test_the_default_root_is_in_weaver_home_or_the_users_folder(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("WEAVER_HOME", str(tmp_path))
    assert default_root() == tmp_path / "catalog"
    assert Catalog().root == tmp_path / "catalog"
    monkeypatch.delenv("WEAVER_HOME")
    assert default_root().name == "catalog"


def test_what_is_written_is_read_back_to_the_last_bit(catalog: Catalog) -> None:
    for symbol in ("BTC/USD", "^GSPC"):
        merge = catalog.write(symbol, "1m", BARS, sources=["a.csv"])
        assert (merge.added, merge.after) == (100, 100)
        assert catalog.read(symbol, "1m").equals(BARS)
    assert [entry.symbol for entry in catalog.list()] == ["BTC/USD", "^GSPC"]
    entry = catalog.entry("BTC/USD", "1m")
    assert (entry.bars, entry.first, entry.sources, entry.synthetic) == (100, to_ns("2020-01-01"), ("a.csv",), False)
    assert entry.last == to_ns("2020-01-01T01:39:00Z")
    assert catalog.path("BTC/USD", "1m") == catalog.root / "BTC%2FUSD" / "1m" / "bars.parquet"


def test_a_second_import_of_overlapping_bars_changes_nothing(catalog: Catalog) -> None:
    catalog.write("X", "1m", BARS.head(60))
    before = catalog.path("X", "1m").stat()
    merge = catalog.write("X", "1m", BARS.slice(20, 30))
    assert (merge.added, merge.identical, merge.changes) == (0, 30, False)
    assert catalog.path("X", "1m").stat().st_mtime_ns == before.st_mtime_ns
    assert catalog.write("X", "1m", BARS.slice(40)).added == 40
    assert catalog.read("X", "1m").equals(BARS)


def test_other_values_for_a_bar_are_refused_unless_told(catalog: Catalog) -> None:
    catalog.write("X", "1m", BARS)
    other = BARS.with_columns(volume=pl.col("volume") + 1)
    for attempt in (catalog.write, catalog.try_write):
        with pytest.raises(DataError, match="100 bars are there already with other values"):
            attempt("X", "1m", other)
    catalog.write("X", "1m", other, on_conflict=Conflict.KEEP_OLD)
    assert catalog.read("X", "1m").equals(BARS)
    catalog.write("X", "1m", other, on_conflict=Conflict.TAKE_NEW)
    assert catalog.read("X", "1m").equals(other)


def test_trying_writes_nothing(catalog: Catalog) -> None:
    assert catalog.try_write("X", "1m", BARS).added == 100
    assert not catalog.root.exists()


@pytest.mark.parametrize("step", STEPS)
@pytest.mark.parametrize("kill", [False, True], ids=["error", "kill"])
def test_whatever_stops_a_write_leaves_the_old_or_the_new_bars_whole(tmp_path: Path, step: str, kill: bool) -> None:
    root = tmp_path / "catalog"
    old, new = BARS.head(60), BARS
    Catalog(root).write("X", "1m", old)
    if kill:
        # os._exit is what a SIGKILL is to the file system: no finally, no flush, no unlock.
        script = (
            "import os, sys\n"
            "from weaver.data.catalog import Catalog\n"
            "from weaver.data.synthetic import synthetic_bars\n"
            f"catalog = Catalog({str(root)!r}, at_step=lambda step: os._exit(9) if step == {step!r} else None)\n"
            "catalog.write('X', '1m', synthetic_bars(100).drop('symbol'))\n"
        )
        assert subprocess.run([sys.executable, "-c", script], check=False, timeout=60).returncode == 9
    else:

        def stop(now: str) -> None:
            if now == step:
                raise KeyboardInterrupt

        with pytest.raises(KeyboardInterrupt):
            Catalog(root, at_step=stop).write("X", "1m", new)
    catalog = Catalog(root)
    assert catalog.read("X", "1m").equals(new if step == "replaced" else old)
    assert [entry.bars for entry in catalog.list()] == [100 if step == "replaced" else 60]
    assert not catalog.check(catalog.list()[0])
    catalog.write("X", "1m", new)  # a rest of the killed write is in nobody's way
    assert catalog.read("X", "1m").equals(new)
    assert sorted(path.name for path in (root / "X" / "1m").iterdir()) == [".lock", "bars.parquet"]


def test_every_step_is_named(catalog: Catalog, tmp_path: Path) -> None:
    seen: list[str] = []
    Catalog(tmp_path / "other", at_step=seen.append).write("X", "1m", BARS)
    assert tuple(seen) == STEPS


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        (BARS.clear(), "there are no bars"),
        (BARS.with_columns(pl.col("timestamp").dt.replace_time_zone(None)), "microseconds UTC"),
        (BARS.with_columns(pl.col("open").cast(pl.Int64)), "'open' must be Float64"),
        (BARS.reverse(), "row 1: the times do not rise"),
        (BARS.with_columns(low=pl.col("high") + 1), "row 0 .* is below low"),
    ],
)
def test_bars_that_are_not_right_do_not_enter(catalog: Catalog, wrong: pl.DataFrame, message: str) -> None:
    with pytest.raises(DataError, match=message):
        catalog.write("X", "1m", wrong)
    assert not catalog.list()


def test_synthetic_and_imported_bars_are_not_mixed_and_synthetic_ones_are_labelled(catalog: Catalog) -> None:
    catalog.write("X", "1m", BARS, origin="synthetic random walk, seed 0")
    for attempt in (catalog.write, catalog.try_write):
        with pytest.raises(DataError, match="not mixed"):
            attempt("X", "1m", BARS)
    assert catalog.list()[0].synthetic
    series = load_bars(catalog.select("X"))["X"]
    assert "synthetic" in series.source
    assert any("no market data" in note for note in series.notes)


def test_a_selection_is_passed_as_bars(catalog: Catalog) -> None:
    catalog.write("B", "1m", BARS)
    catalog.write("A", "1m", BARS.head(1))
    loaded = load_bars(catalog.select())
    assert list(loaded) == ["A", "B"]
    assert str(loaded["A"].timeframe) == "1m"
    assert list(load_bars(catalog.select(["B", "A"]))) == ["B", "A"]
    assert list(load_bars(catalog.select(), symbols=["B"])) == ["B"]
    assert loaded["B"].source == "catalog: B 1m"
    assert catalog.select().frame()["symbol"].value_counts(sort=True)["count"].to_list() == [100, 1]


def test_a_selection_may_be_adjusted(catalog: Catalog) -> None:
    raw = shipped_bars("AAPL", adjusted=False).frame().drop("symbol")
    catalog.write("AAPL", "1d", raw)
    adjusted = load_bars(catalog.select("AAPL", adjusted=True))["AAPL"]
    assert adjusted.close.tolist() == raw["adj_close"].to_list()
    assert adjusted.source.endswith("adjusted")
    plain = load_bars(catalog.select("AAPL"))["AAPL"]
    assert plain.close.tolist() == raw["close"].to_list()
    assert any("not adjusted" in note for note in plain.notes)
    catalog.write("X", "1m", BARS)
    with pytest.raises(DataError, match="adjusted=False"):
        load_bars(catalog.select("X", adjusted=True))


def test_the_timeframe_may_be_left_out_where_there_is_one(catalog: Catalog) -> None:
    catalog.write("A", "1m", BARS)
    catalog.write("A", "1h", synthetic_bars(5, timeframe="1h").drop("symbol"))
    catalog.write("B", "1h", synthetic_bars(5, timeframe="1h").drop("symbol"))
    assert str(catalog.select(["A", "B"]).timeframe) == "1h"
    assert catalog.select(timeframe="1m").symbols == ("A",)
    with pytest.raises(DataError, match=r"which timeframe\? There are A: 1m, 1h"):
        catalog.select("A")
    with pytest.raises(DataError, match=r"B has no 1m bars .*; there are 1h"):
        catalog.select("B", "1m")
    with pytest.raises(DataError, match="has no 1d bars"):
        catalog.select(timeframe="1d")


def test_what_is_not_there_is_refused_with_the_nearest(catalog: Catalog) -> None:
    with pytest.raises(DataError, match="is empty; fill it with: weaver data import"):
        catalog.select()
    catalog.write("AAPL", "1m", BARS)
    for attempt in (
        lambda: catalog.select("APPL"),
        lambda: catalog.read("APPL", "1m"),
        lambda: catalog.entry("APPL", "1m"),
    ):
        with pytest.raises(UnknownSymbol, match="did you mean 'AAPL'"):
            attempt()


def test_a_broken_file_is_named_and_not_hidden(catalog: Catalog) -> None:
    catalog.write("X", "1m", BARS)
    entry = catalog.list()[0]
    assert not catalog.check(entry)
    entry.path.write_bytes(entry.path.read_bytes()[:-100])
    assert "cannot be read" in catalog.check(entry)[0]
    for attempt in (catalog.list, lambda: catalog.read("X", "1m"), lambda: load_bars(catalog.select("X", "1m"))):
        with pytest.raises(DataError, match="cannot be read"):
            attempt()


def test_a_broken_file_hides_none_of_the_others(catalog: Catalog) -> None:
    for symbol in ("A", "B", "C"):
        catalog.write(symbol, "1m", BARS)
    catalog.path("B", "1m").write_bytes(b"PAR1 and no more")
    catalog.path("C", "1m").parent.rename(catalog.root / "C" / "ages")
    entries, broken = catalog.survey()
    assert [entry.symbol for entry in entries] == ["A"]
    assert len(broken) == 2
    assert f"{catalog.path('B', '1m')}: the bars cannot be read" in broken[0]
    assert "'ages' is not a timeframe" in broken[1]
    assert len(load_bars(catalog.select("A", "1m"))["A"]) == 100


def test_what_a_broken_file_says_is_what_mends_it(catalog: Catalog) -> None:
    catalog.write("X", "1m", BARS)
    catalog.path("X", "1m").write_bytes(b"PAR1 and no more")
    with pytest.raises(DataError, match="remove this file, and import its bars again"):
        catalog.write("X", "1m", BARS)
    catalog.path("X", "1m").unlink()
    assert catalog.write("X", "1m", BARS).added == 100


def test_a_catalog_that_may_not_be_read_is_not_taken_for_an_empty_one(
    catalog: Catalog, monkeypatch: pytest.MonkeyPatch
) -> None:
    catalog.write("X", "1m", BARS)
    monkeypatch.setattr(os, "access", lambda path, mode: Path(path) != catalog.root)  # root may read anything
    for attempt in (catalog.list, catalog.select):
        with pytest.raises(DataError, match=r"catalog .* cannot be read: no permission"):
            attempt()


def test_bars_of_sessions_remember_their_calendar(catalog: Catalog) -> None:
    calendar = get_calendar("XNYS")
    opens = calendar.sessions(to_ns("2024-01-02"), to_ns("2024-01-31")).open
    stamps = pl.Series("timestamp", opens // 1_000).cast(pl.Datetime("us", "UTC"))
    bars = BARS.head(len(opens)).with_columns(stamps)
    catalog.write("X", "1h", bars.head(10), calendar="XNYS")
    catalog.write("X", "1h", bars)  # said once is enough
    (entry,) = catalog.list()
    assert entry.calendar == "XNYS"
    assert not catalog.check(entry, calendar)
    assert "off the 1h grid of UTC" in catalog.check(entry)[0]
    write_parquet(entry.path, bars.with_columns(pl.col("timestamp").dt.offset_by("17s")), {})
    assert "17s after the bar start" in catalog.check(entry, calendar)[0]


@pytest.mark.skipif(os.name == "nt", reason="POSIX limits")
def test_a_write_that_runs_out_of_room_leaves_the_old_bars_and_no_rest(tmp_path: Path) -> None:
    root = tmp_path / "catalog"
    Catalog(root).write("X", "1m", BARS.head(60))
    script = (
        "import resource, signal\n"
        "from weaver.core.errors import DataError\n"
        "from weaver.data.catalog import Catalog\n"
        "from weaver.data.synthetic import synthetic_bars\n"
        "bars = synthetic_bars(50_000).drop('symbol')\n"
        "signal.signal(signal.SIGXFSZ, signal.SIG_IGN)\n"
        "resource.setrlimit(resource.RLIMIT_FSIZE, (10_000, 10_000))\n"
        f"try:\n    Catalog({str(root)!r}).write('X', '1m', bars)\n"
        "except DataError as error:\n    print(error)\n"
    )
    found = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, timeout=60)
    assert re.search("bars.parquet: cannot be written: .*File too large", found.stdout), found
    assert Catalog(root).read("X", "1m").equals(BARS.head(60))
    assert sorted(path.name for path in (root / "X" / "1m").iterdir()) == [".lock", "bars.parquet"]


def test_a_parquet_file_is_written_beside_nobody_elses(tmp_path: Path) -> None:
    (tmp_path / "x.new").write_text("precious")
    write_parquet(tmp_path / "x.parquet", BARS, {})
    assert (tmp_path / "x.new").read_text() == "precious"
    assert sorted(path.name for path in tmp_path.iterdir()) == ["x.new", "x.parquet"]


@pytest.mark.parametrize("symbol", [" A", "A ", "A\nB", "A\tB", "\0"])
def test_a_symbol_that_would_break_a_line_or_a_name_does_not_enter(catalog: Catalog, symbol: str) -> None:
    for attempt in (catalog.write, catalog.try_write):
        with pytest.raises(DataError, match="a symbol is a name"):
            attempt(symbol, "1m", BARS)


def test_a_check_finds_what_a_stranger_has_written(catalog: Catalog) -> None:
    catalog.write("X", "1m", BARS)
    entry = catalog.list()[0]
    write_parquet(entry.path, BARS.with_columns(low=pl.lit(0.0)), {})
    assert "low 0.0 is not above zero" in catalog.check(entry)[0]
    write_parquet(entry.path, BARS.with_columns(pl.col("timestamp").dt.offset_by("17s")), {})
    assert "100 bars are off the 1m grid" in catalog.check(entry)[0]


def test_a_folder_that_cannot_be_written_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(DataError, match="cannot be written"):
        Catalog(tmp_path / "file").write("X", "1m", BARS)
    with pytest.raises(DataError, match="cannot be written"):
        write_parquet(tmp_path / "none" / "x.parquet", BARS, {})


def test_a_file_of_synthetic_bars_says_so_when_it_is_loaded(tmp_path: Path) -> None:
    write_parquet(tmp_path / "x.parquet", BARS, {"origin": "synthetic random walk, seed 0"})
    series = load_bars(tmp_path / "x.parquet")["x"]
    assert "synthetic" in series.source
    assert any("no market data" in note for note in series.notes)
