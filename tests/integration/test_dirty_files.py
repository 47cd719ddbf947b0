"""Every dirty file of the test data is understood to the last bit, mended as named, or refused by line, value and reason.

docs/data.md says the same file by file; the last test holds the two together.
"""

from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta
from pathlib import Path

import numpy as np
import polars as pl
import pytest

from weaver.core.errors import DataError, NaiveDatetimeError
from weaver.core.instants import to_ns
from weaver.core.timeframe import Timeframe
from weaver.data.catalog import Catalog
from weaver.data.importer.findings import FileRefusal
from weaver.data.importer.importer import ImportOptions, import_files, read_bars
from weaver.data.load_bars import load_bars
from weaver.data.timestamps import Ambiguous

Find = Callable[[str], Path]


@pytest.fixture
def dirty(test_data: Path) -> Find:
    def find(number: str) -> Path:
        (path,) = (test_data / "dirty").glob(f"{number}_*.csv")
        return path

    return find


@pytest.fixture
def clean(test_data: Path) -> pl.DataFrame:
    return pl.read_parquet(test_data / "clean" / "crypto_BTCPERP_1m_2022_01.parquet")


def frame_of(path: Path, *fixes: str, **options) -> pl.DataFrame:
    options.setdefault("timeframe", Timeframe("1m"))
    return read_bars(path, ImportOptions(fixes=frozenset(fixes), **options))[1][0].frame


def refused(path: Path, *fixes: str, **options) -> FileRefusal:
    with pytest.raises(FileRefusal) as caught:
        frame_of(path, *fixes, **options)
    return caught.value


def without(clean: pl.DataFrame, *lines: int) -> pl.DataFrame:
    """The first 300 clean bars without those of these lines of a file (the header is line 1)."""
    return clean.head(300).with_row_index("line", offset=2).filter(~pl.col("line").is_in(list(lines))).drop("line")


@pytest.mark.parametrize("number", ["09", "12", "16"])
def test_odd_dress_is_understood_as_it_is(number: str, dirty: Find, clean: pl.DataFrame) -> None:
    assert frame_of(dirty(number)).equals(clean.head(300))
    assert frame_of(dirty(number), timeframe=None).equals(clean.head(300))


def test_02_missing_bars_are_accepted_and_reported(dirty: Find, clean: pl.DataFrame, tmp_path: Path) -> None:
    gone = {*range(62, 77), 102}
    expected = without(clean, *gone)
    assert frame_of(dirty("02")).equals(expected)
    report = import_files([dirty("02")], Catalog(tmp_path), ImportOptions(symbol="X"))
    (note,) = report.symbols[0].notes
    assert "2 gaps in the 1m bars; the largest is 15m" in note


def test_21_the_second_part_is_understood_as_it_is(dirty: Find, clean: pl.DataFrame) -> None:
    assert frame_of(dirty("21")).equals(clean.slice(250, 300))


def test_22_a_filled_halt_is_understood_as_it_is_and_reported(dirty: Find, clean: pl.DataFrame) -> None:
    frame = frame_of(dirty("22"))
    kept = np.r_[0:120, 180:300]
    assert frame[kept].equals(clean.head(300)[kept])
    flat = frame.slice(120, 60)
    assert flat["timestamp"].equals(clean["timestamp"].slice(120, 60))
    assert flat["volume"].to_list() == [0.0] * 60
    assert set(flat["close"]) == {frame["close"][119]}
    notes = load_bars(dirty("22"), symbols=["X"])["X"].notes
    assert any("the longest is 60 bars from 2022-01-01T01:01:00Z" in note for note in notes)


@pytest.mark.parametrize(("number", "naive"), [("08", 50), ("10", 300)])
def test_times_without_a_zone_need_one(number: str, naive: int, dirty: Find, clean: pl.DataFrame) -> None:
    assert frame_of(dirty(number), tz="UTC").equals(clean.head(300))
    error = refused(dirty(number))
    assert (error.codes, len(error.lines)) == (("naive",), naive)
    with pytest.raises(NaiveDatetimeError, match=r'backtest\(\.\.\., tz="America/New_York"\)'):
        load_bars(dirty(number))


def test_08_names_exactly_the_naive_lines(dirty: Find) -> None:
    assert refused(dirty("08")).lines == tuple(range(102, 152))


def test_13_new_york_wall_times_over_the_change_of_clocks(dirty: Find, test_data: Path) -> None:
    whole = pl.read_parquet(test_data / "clean" / "fx_EURUSD_1h_oanda_bid.parquet")
    frame = frame_of(dirty("13"), timeframe=Timeframe("1h"), tz="America/New_York")
    expected = whole.filter(pl.col("timestamp").is_between(frame["timestamp"][0], frame["timestamp"][-1]))
    assert frame["timestamp"][0].isoformat() == "2017-11-03T00:00:00+00:00"
    assert frame.equals(expected)
    assert refused(dirty("13"), timeframe=Timeframe("1h")).lines == tuple(range(2, 73))


@pytest.mark.parametrize("tz", [None, "UTC", "America/New_York"])
def test_23_a_latin1_header_is_understood_with_or_without_a_zone(
    tz: str | None, dirty: Find, clean: pl.DataFrame
) -> None:
    report, parts = read_bars(dirty("23"), ImportOptions(tz=tz))
    assert parts[0].frame.equals(clean.head(50))
    assert "encoding cp1252" in report.notes


def test_14_a_repeated_hour_is_refused_unless_told_how(dirty: Find, test_data: Path) -> None:
    error = refused(dirty("14"), tz="America/New_York")
    assert error.lines == tuple(range(62, 182))
    assert "timestamp '2023-11-05 01:00:00' occurs twice in America/New_York" in error.listing[0]
    assert any("--ambiguous" in way for way in error.ways)
    assert refused(dirty("14")).codes == ("naive",)
    whole = pl.read_parquet(test_data / "clean" / "crypto_FILUSDT_1m_binance_um.parquet")
    start = frame_of(dirty("14"), tz="America/New_York", ambiguous=Ambiguous.INFER)["timestamp"][0]
    expected = whole.filter(pl.col("timestamp").is_between(start, start + timedelta(minutes=239)))
    assert expected.height == 240
    assert frame_of(dirty("14"), tz="America/New_York", ambiguous=Ambiguous.INFER).equals(expected)
    for wrong in (Ambiguous.EARLIER, Ambiguous.LATER):  # one choice for both passes doubles the hour
        assert "conflict" in refused(dirty("14"), tz="America/New_York", ambiguous=wrong).codes


REFUSED: dict[str, tuple[tuple[int, ...], tuple[str, ...], dict[int, str]]] = {
    "01": (
        (52, 122, 202),
        ("duplicate", "conflict"),
        {202: "repeats line 201 with other values: close 46926.0, not 46921.0"},
    ),
    "03": (
        (31, 62, 93, 124, 155, 186, 217),
        ("value", "volume"),
        {
            31: "open '' is missing",
            62: "high 'NaN' is missing",
            93: "close 'null' is missing",
            124: "volume '' is missing",
            155: "low 'N/A' is missing",
            186: "open 'inf' is not finite",
            217: "close '-' is missing",
        },
    ),
    "04": ((42, 46, *range(152, 161)), ("order",), {42: "is before", 46: "is before"}),
    "05": (tuple(range(3, 302)), ("order",), {3: "2022-01-01T03:59:00Z is before 2022-01-01T04:00:00Z of line 2"}),
    "06": (
        (51, 101, 151, 201),
        ("bar", "volume"),
        {
            51: "low 0.0 is not above zero, close 0.0",
            101: "open -1.0 is not above zero",
            151: "volume -10.0 is below zero",
            201: "high 0.0 is not above zero",
        },
    ),
    "07": (
        (31, 61, 91, 121),
        ("swapped", "bar"),
        {
            31: "high 46355.0 is below low 46411.0",
            61: "is above high 46196.0",
            91: "low 46391.0",
            121: "close 4666000.0 is above high 46672.0",
        },
    ),
    "11": (
        (301,),
        ("line",),
        {301: "has 5 fields instead of 6, and the file ends there: a download that was cut off?"},
    ),
    "15": (
        (51, 101, 151, 201, 251),
        ("line", "thousands"),
        {
            51: "has 7 fields instead of 6",
            101: "has 4 fields instead of 6",
            151: "'' is an empty line",
            201: "'# comment line' is a comment",
            251: "open '46,813.0' has a thousands separator",
        },
    ),
    "19": (tuple(range(102, 202)), ("grid",), {102: "2022-01-01T00:41:17Z is off the 1m grid, 17s after a boundary"}),
}


@pytest.mark.parametrize("number", REFUSED)
def test_without_a_named_repair_a_fault_is_refused_by_line_value_and_reason(number: str, dirty: Find) -> None:
    lines, codes, said = REFUSED[number]
    error = refused(dirty(number))
    assert error.lines == lines
    assert set(error.codes) == set(codes)
    for line, text in said.items():
        assert any(entry.startswith(f"line {line}: ") and text in entry for entry in error.listing)
    assert any("--fix" in way for way in error.ways)
    with pytest.raises(DataError, match="refused"):
        load_bars(dirty(number))


def test_17_and_18_have_no_bars(dirty: Find) -> None:
    with pytest.raises(DataError, match=r"empty \(0 bytes\), line 1 is missing"):
        frame_of(dirty("17"))
    with pytest.raises(
        DataError, match="line 1 'timestamp,open,high,low,close,volume' is the header, and no bars follow it"
    ):
        frame_of(dirty("18"))


MENDED = {
    ("01", "keep-first"): (),
    ("04", "sort"): (),
    ("05", "sort"): (),
    ("03", "drop-invalid"): (31, 62, 93, 124, 155, 186, 217),
    ("06", "drop-invalid"): (51, 101, 151, 201),
    ("07", "drop-invalid"): (31, 61, 91, 121),
    ("07", "drop-invalid", "swap-high-low"): (61, 91, 121),
    ("11", "drop-invalid"): (301,),
    ("15", "drop-invalid"): (51, 101, 151, 201, 251),
    ("15", "drop-invalid", "strip-thousands"): (51, 101, 151, 201),
    ("19", "drop-invalid"): tuple(range(102, 202)),
}


@pytest.mark.parametrize("case", MENDED)
def test_a_named_repair_leaves_exactly_the_other_bars(case: tuple[str, ...], dirty: Find, clean: pl.DataFrame) -> None:
    number, *fixes = case
    assert frame_of(dirty(number), *fixes).equals(without(clean, *MENDED[case]))


def test_01_only_exact_repetitions_are_duplicates(dirty: Find) -> None:
    assert refused(dirty("01"), "drop-duplicates").lines == (202,)
    kept = frame_of(dirty("01"), "keep-last")
    assert kept.filter(pl.col("timestamp").dt.timestamp("ns") == to_ns("2022-01-01T02:18:00Z"))["close"].to_list() == [
        46926.0
    ]


def test_03_a_missing_volume_may_be_zero(dirty: Find, clean: pl.DataFrame) -> None:
    frame = frame_of(dirty("03"), "zero-volume", "drop-invalid")
    expected = without(clean, 31, 62, 93, 155, 186, 217)
    at_124 = pl.col("timestamp") == clean["timestamp"][122]
    assert frame.equals(expected.with_columns(volume=pl.when(at_124).then(0.0).otherwise("volume")))


def test_06_a_negative_volume_may_be_zero(dirty: Find, clean: pl.DataFrame) -> None:
    frame = frame_of(dirty("06"), "zero-volume", "drop-invalid")
    at_151 = pl.col("timestamp") == clean["timestamp"][149]
    expected = without(clean, 51, 101, 201)
    assert frame.equals(expected.with_columns(volume=pl.when(at_151).then(0.0).otherwise("volume")))


def test_two_overlapping_files_make_one_series_and_a_second_import_changes_nothing(
    dirty: Find, clean: pl.DataFrame, tmp_path: Path
) -> None:
    catalog = Catalog(tmp_path)
    options = ImportOptions(symbol="BTC-PERP", timeframe=Timeframe("1m"), fixes=frozenset({"keep-first"}))
    for together in ([dirty("01"), dirty("21")], [dirty("21")], [dirty("01")]):
        report = import_files(together, catalog, options)
    assert not report.symbols[0].merge.changes
    assert catalog.read("BTC-PERP", "1m").equals(clean.head(550))


def test_every_dirty_file_stands_in_the_documentation(test_data: Path) -> None:
    text = (Path(__file__).parents[2] / "docs" / "data.md").read_text(encoding="utf-8")
    for path in (test_data / "dirty").glob("*.csv"):
        assert f"`{path.name}`" in text
