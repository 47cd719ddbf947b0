"""Importing: every shape of file understood, every fault refused by line, nothing dropped in silence."""

from __future__ import annotations

import gzip
import os
from pathlib import Path

import polars as pl
import pytest

from weaver.core.errors import ConfigError, DataError, NoBars
from weaver.core.timeframe import Timeframe
from weaver.data.catalog import Catalog, Conflict
from weaver.data.importer.findings import FileRefusal
from weaver.data.importer.importer import ImportOptions, import_files, read_bars
from weaver.data.load_bars import load_bars
from weaver.data.timestamps import Ambiguous

CLEAN = """timestamp,open,high,low,close,volume
2024-01-31T12:00:00Z,10,12,9,11,5
2024-01-31T12:01:00Z,11,13,10,12,6
2024-01-31T12:02:00Z,12,14,11,13,7
"""


@pytest.fixture
def write(tmp_path: Path):
    def make(content: str | bytes, name: str = "bars.csv") -> Path:
        path = tmp_path / name
        path.write_bytes(content if isinstance(content, bytes) else content.encode())
        return path

    return make


@pytest.fixture
def expected(write) -> pl.DataFrame:
    return frame_of(write(CLEAN, "clean.csv"))


def frame_of(path: Path, **options) -> pl.DataFrame:
    return read_bars(path, ImportOptions(**options))[1][0].frame


def refused(path: Path, **options) -> FileRefusal:
    with pytest.raises(FileRefusal) as caught:
        read_bars(path, ImportOptions(**options))
    return caught.value


def test_a_clean_file_is_what_it_says(expected: pl.DataFrame) -> None:
    assert expected.schema == {
        "timestamp": pl.Datetime("us", "UTC"),
        **dict.fromkeys(("open", "high", "low", "close", "volume"), pl.Float64),
    }
    assert expected["close"].to_list() == [11.0, 12.0, 13.0]


ROWS = CLEAN.splitlines()
SHAPES = {
    "tabs": CLEAN.replace(",", "\t"),
    "bars": CLEAN.replace(",", "|"),
    "crlf": CLEAN.replace("\n", "\r\n"),
    "old macintosh": CLEAN.replace("\n", "\r"),
    "utf-8 mark": b"\xef\xbb\xbf" + CLEAN.encode(),
    "utf-16": b"\xff\xfe" + CLEAN.encode("utf-16-le"),
    "utf-32": b"\xff\xfe\0\0" + CLEAN.encode("utf-32-le"),
    "gzip": gzip.compress(CLEAN.encode()),
    "no last line end": CLEAN.rstrip("\n"),
    "blank lines at the end": CLEAN + "\n \n\n",
    "leading comments": "# from somewhere\n# in 2024\n" + CLEAN,
    "leading blank lines": "\n \n# from somewhere\n\n" + CLEAN,
    "quoted": "\n".join(",".join(f'"{field}"' for field in row.split(",")) for row in ROWS),
    "blanks around": CLEAN.replace(",", " , "),
    "no header": "\n".join(ROWS[1:]),
    "capitals": ROWS[0].upper() + "\n" + "\n".join(ROWS[1:]),
    "other order": "\n".join(",".join(row.split(",")[k] for k in (5, 4, 0, 1, 2, 3)) for row in ROWS),
    "epoch seconds": "\n".join([ROWS[0], *(f"{1706702400 + 60 * k},{row[21:]}" for k, row in enumerate(ROWS[1:]))]),
    "offset": CLEAN.replace("T12:", "T07:").replace("Z", "-05:00"),
    "date and time": CLEAN.replace("timestamp", "Date,Time").replace("T12", ",12"),
}  # fmt: skip


@pytest.mark.parametrize("shape", SHAPES)
def test_a_shape_is_understood_to_the_last_bit(shape: str, write, expected: pl.DataFrame) -> None:
    assert frame_of(write(SHAPES[shape])).equals(expected)


ZONED = {
    "naive": CLEAN.replace("Z", "").replace("T", " "),
    "day first": "\n".join(row.replace("2024-01-31T", "31.01.2024 ").replace("Z", "") for row in ROWS),
    "compact": CLEAN.replace("2024-01-31T12:0", "20240131 120").replace(":00Z", "00"),
    "semicolon and comma": CLEAN.replace(",", ";").replace("Z", "").replace(";10;", ";10,0;"),
    "metatrader": "<DATE>\t<TIME>\t<OPEN>\t<HIGH>\t<LOW>\t<CLOSE>\t<TICKVOL>\n"
    + "\n".join(row.replace("2024-01-31T", "2024.01.31,").replace("Z", "").replace(",", "\t") for row in ROWS[1:]),
}


@pytest.mark.parametrize("shape", ZONED)
def test_a_shape_without_a_zone_is_understood_with_one_and_refused_without(
    shape: str, write, expected: pl.DataFrame
) -> None:
    path = write(ZONED[shape])
    assert frame_of(path, tz="UTC").equals(expected)
    error = refused(path)
    assert error.codes == ("naive",)
    assert "--tz" in str(error)


def test_a_raw_kline_file_is_understood(write, expected: pl.DataFrame) -> None:
    rows = [
        f"{1706702400000 + k * 60000},1{k},1{k + 2},{9 + k},1{k + 1},{5 + k},{1706702459999 + k * 60000},50,3,2,20,0"
        for k in range(3)
    ]
    frame = frame_of(write("\n".join(rows)))
    assert frame.select(expected.columns).equals(expected)
    assert frame.columns[6:] == [
        "close_time",
        "quote_volume",
        "count",
        "taker_buy_volume",
        "taker_buy_quote_volume",
        "ignore",
    ]


def test_columns_may_be_named_by_the_caller(write, expected: pl.DataFrame) -> None:
    path = write("\n".join(row + ",x,y,z" for row in ROWS[1:]))
    with pytest.raises(
        DataError, match="line 1 is not a header, and the meaning of its 9 columns is not known; name them: --columns"
    ):
        frame_of(path)
    names = ("timestamp", "open", "high", "low", "close", "volume", "a", "b", "c")
    assert frame_of(path, columns=names).equals(expected)
    with pytest.raises(DataError, match=r"--columns names 2 columns .*, the file has 9"):
        frame_of(path, columns=("timestamp", "open"))


def test_daily_files_need_no_zone(write) -> None:
    for stamp in ("2024-01-{}", "{}.01.2024", "2024-01-{} 00:00:00", "2024-01-{}T00:00:00-05:00", "01/{}/2024"):
        rows = [",".join((stamp.format(day), "1", "1", "1", "1")) for day in (29, 30, 31)]
        report, parts = read_bars(write("date,open,high,low,close\n" + "\n".join(rows)), ImportOptions())
        assert str(parts[0].timeframe) == "1d"
        assert [f"{time:%m-%dT%H}" for time in parts[0].frame["timestamp"]] == ["01-29T00", "01-30T00", "01-31T00"]
        assert parts[0].frame["volume"].to_list() == [0.0] * 3
        assert any("no volume column" in note for note in report.notes)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("", r"empty \(0 bytes\), line 1"),
        ("\n\n# nothing\n", "nothing but blank lines and comments"),
        (ROWS[0] + "\n", "line 1 'timestamp,open,high,low,close,volume' is the header, and no bars follow it"),
        ("hello\nworld\n", "line 1: 'hello' has no five columns"),
        ("time,open,high,price,volume\n2024-01-01T00:00:00Z,1,1,1,1\n", "no column for low and close among 'time'"),
        (b"\x00\x01\x02" * 10, "binary file"),
        (b"\x1f\x8b broken", "cannot be read"),
        (b"\xff\xfeA", "is not valid utf-16-le"),
    ],
)
def test_a_file_that_holds_no_bars_is_refused_with_the_reason(content: str | bytes, message: str, write) -> None:
    with pytest.raises(DataError, match=message):
        frame_of(write(content))


def test_a_missing_file_a_folder_and_an_empty_parquet_are_refused(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="no such file"):
        frame_of(tmp_path / "none.csv")
    with pytest.raises(DataError, match="is a folder"):
        frame_of(tmp_path)
    pl.DataFrame({"timestamp": [], "open": []}).write_parquet(tmp_path / "e.parquet")
    with pytest.raises(DataError, match="holds no bars"):
        frame_of(tmp_path / "e.parquet")
    (tmp_path / "b.parquet").write_bytes(b"PAR1")
    with pytest.raises(DataError, match="cannot be read as Parquet"):
        frame_of(tmp_path / "b.parquet")


@pytest.mark.skipif(os.name == "nt", reason="POSIX pipes")
def test_a_pipe_is_told_from_a_file_that_is_not_there(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    for attempt in (lambda path: read_bars(path, ImportOptions()), load_bars):
        with pytest.raises(DataError, match="is a pipe or a device; write its bars to a file first"):
            attempt(tmp_path / "pipe")
        with pytest.raises(DataError, match="there is no such file"):
            attempt(tmp_path / "none")


def test_every_fault_is_listed_with_line_value_and_reason(write) -> None:
    lines = CLEAN.splitlines()
    lines[2] = "2024-01-31T12:01:00Z,11,13,10,oops,6"
    lines.insert(3, "")
    lines.insert(4, "# a comment")
    lines.insert(5, "2024-01-31T12:01:30Z,1,2")
    lines.append("yesterday,1,1,1,1,1")
    error = refused(write("\n".join(lines)))
    assert error.lines == (3, 4, 5, 6, 8)
    assert error.listing == [
        "line 3: close 'oops' is not a number",
        "line 4: '' is an empty line in place of a bar",
        "line 5: '# a comment' is a comment in place of a bar",
        "line 6: '2024-01-31T12:01:30Z,1,2' has 3 fields instead of 6",
        "line 8: timestamp 'yesterday' is not a time",
    ]
    assert "refused, since 5 of 8 lines are wrong" in str(error)
    assert any("--fix drop-invalid" in way for way in error.ways)


def test_a_refusal_lists_ten_lines_and_counts_all(write) -> None:
    rows = [f"2024-01-31T12:{k:02d}:00Z,1,1,1,x,1" for k in range(60)]
    error = refused(write(ROWS[0] + "\n" + "\n".join(rows)))
    assert len(error.lines) == 60
    assert len(error.listing) == 11
    assert error.listing[-1] == "and 50 further lines"


def test_rows_of_a_parquet_file_are_counted_from_zero(tmp_path: Path, expected: pl.DataFrame) -> None:
    expected.write_parquet(tmp_path / "p.parquet")
    assert frame_of(tmp_path / "p.parquet").equals(expected)
    expected.with_columns(low=pl.when(pl.int_range(3) == 1).then(99.0).otherwise("low")).write_parquet(
        tmp_path / "q.parquet"
    )
    error = refused(tmp_path / "q.parquet")
    assert error.listing == ["row 1: high 13.0 is below low 99.0"]


@pytest.mark.parametrize("name", ["sort", "drop-duplicates", "keep-first", "keep-last", "zero-volume", "swap-high-low"])
def test_a_repair_that_has_nothing_to_do_changes_nothing_and_says_so(name: str, write, expected: pl.DataFrame) -> None:
    report, parts = read_bars(write(CLEAN), ImportOptions(fixes=frozenset({name})))
    assert parts[0].frame.equals(expected)
    assert [(repair.name, repair.count) for repair in report.repairs] == [(name, 0)]


def test_every_repair_says_what_it_did_to_which_lines(write) -> None:
    lines = [
        ROWS[0],
        "2024-01-31T12:03:00Z,1,1,1,1,1",  # 2: out of order
        "2024-01-31T12:00:00Z,0,1,1,1,1",  # 3: no possible bar
        "2024-01-31T12:01:00Z,5,1,2,1,1",  # 4: likewise, whichever way high and low are
        "2024-01-31T12:02:00Z,3,2,4,3,1",  # 5: high and low exchanged
        "2024-01-31T12:04:00Z,1,1,1,1,",  # 6: no volume
        "2024-01-31T12:05:00Z,1,1,1,1,-1",  # 7: negative volume
        "2024-01-31T12:06:00Z,1,1,1,1,1",  # 8
        "2024-01-31T12:06:00Z,1,1,1,1,1",  # 9: the same again
        "2024-01-31T12:07:00Z,\"1,000\",1000,1000,1000,1",  # 10: thousands
    ]  # fmt: skip
    path = write("\n".join(lines) + "\n")
    fixes = frozenset({"sort", "drop-duplicates", "zero-volume", "swap-high-low", "drop-invalid", "strip-thousands"})
    report, parts = read_bars(path, ImportOptions(fixes=fixes))
    assert {repair.name: repair.lines for repair in report.repairs} == {
        "sort": (2, 5),
        "drop-duplicates": (9,),
        "strip-thousands": (10,),
        "zero-volume": (6, 7),
        "swap-high-low": (5,),
        "drop-invalid": (3, 4),
    }
    frame = parts[0].frame
    assert frame["timestamp"].is_sorted()
    assert frame.filter(pl.col("timestamp").dt.minute() == 7)["open"].to_list() == [1000.0]
    assert frame.filter(pl.col("timestamp").dt.minute().is_in([4, 5]))["volume"].to_list() == [0.0, 0.0]
    assert frame.filter(pl.col("timestamp").dt.minute() == 2).row(0)[1:] == (3.0, 4.0, 2.0, 3.0, 1.0)
    dropped = sum(repair.count for repair in report.repairs if repair.name in ("drop-duplicates", "drop-invalid"))
    assert frame.height + dropped == len(lines) - 1


def test_unnamed_repairs_are_not_done(write) -> None:
    path = write("\n".join([ROWS[0], ROWS[2], ROWS[1], ROWS[1], ROWS[3].replace("7", "-7")]) + "\n")
    assert refused(path, fixes=frozenset({"sort"})).codes == ("volume", "duplicate")
    assert refused(path, fixes=frozenset({"sort", "zero-volume"})).codes == ("duplicate",)
    assert refused(path, fixes=frozenset({"zero-volume", "keep-first"})).codes == ("order",)


def test_conflicting_rows_are_never_dropped_as_duplicates(write) -> None:
    path = write(CLEAN + ROWS[3].replace("13", "12.5") + "\n")
    error = refused(path, fixes=frozenset({"drop-duplicates"}))
    assert error.listing == ["line 5: 2024-01-31T12:02:00Z repeats line 4 with other values: close 12.5, not 13.0"]
    assert frame_of(path, fixes=frozenset({"keep-first"}))["close"][-1] == 13.0
    assert frame_of(path, fixes=frozenset({"keep-last"}))["close"][-1] == 12.5


def test_dropping_everything_is_refused(write) -> None:
    path = write(CLEAN.replace(",9,", ",0,").replace(",10,", ",0,").replace("14,11", "14,0"))
    with pytest.raises((NoBars, DataError)):
        frame_of(path, fixes=frozenset({"drop-invalid"}), timeframe=Timeframe("1m"))


def test_unknown_and_contradicting_repairs_are_refused() -> None:
    with pytest.raises(ConfigError, match="--fix guess: unknown repair; the repairs are sort"):
        ImportOptions(fixes=frozenset({"guess"}))
    with pytest.raises(ConfigError, match="contradict"):
        ImportOptions(fixes=frozenset({"keep-first", "keep-last"}))
    with pytest.raises(ConfigError, match="not a time zone"):
        ImportOptions(tz="Nowhere")


def test_a_repeated_hour_is_the_callers_to_tell_apart(write) -> None:
    stamps = [
        "2023-11-05 00:30",
        "2023-11-05 01:00",
        "2023-11-05 01:30",
        "2023-11-05 01:00",
        "2023-11-05 01:30",
        "2023-11-05 02:00",
    ]
    path = write("time,open,high,low,close\n" + "\n".join(f"{stamp},1,1,1,1" for stamp in stamps))
    error = refused(path, tz="America/New_York")
    assert error.lines == (3, 4, 5, 6)
    assert "occurs twice in America/New_York" in error.listing[0]
    assert any("--ambiguous" in way for way in error.ways)
    assert frame_of(path, tz="America/New_York", ambiguous=Ambiguous.INFER).height == 6
    assert "order" in refused(path, tz="America/New_York", ambiguous=Ambiguous.EARLIER).codes


def test_an_hour_that_never_was_is_refused_by_line(write) -> None:
    path = write(
        "time,open,high,low,close\n2023-03-12 01:30,1,1,1,1\n2023-03-12 02:00,1,1,1,1\n2023-03-12 03:00,1,1,1,1\n"
    )
    error = refused(path, tz="America/New_York", timeframe=Timeframe("30m"))
    assert error.listing == [
        "line 3: time '2023-03-12 02:00' does not exist in America/New_York, the clocks go forward over it"
    ]


def test_a_doubtful_date_or_decimal_sign_is_the_callers_to_say(write) -> None:
    path = write("date,open,high,low,close\n01/02/2024,1,1,1,1\n02/02/2024,1,1,1,1\n03/02/2024,1,1,1,1\n")
    assert any("--dates" in way for way in refused(path).ways)
    assert frame_of(path, day_first=True)["timestamp"].dt.month().to_list() == [2, 2, 2]
    path = write(
        "time;open;high;low;close\n2024-01-01T00:00:00Z;1,234;1,234;1,234;1,234\n2024-01-01T00:01:00Z;1,235;1,235;1,235;1,235\n"
    )
    error = refused(path)
    assert error.listing[0] == "line 2: open '1,234': the comma may be decimal or group thousands"
    assert any("--decimal" in way for way in error.ways)
    assert frame_of(path, decimal=",")["open"].to_list() == [1.234, 1.235]
    assert frame_of(path, decimal=".", fixes=frozenset({"strip-thousands"}))["open"].to_list() == [1234.0, 1235.0]


def test_an_empty_volume_column_is_zero_and_a_column_of_text_is_left_out_and_both_are_said(write) -> None:
    rows = [row.rsplit(",", 1)[0] + ",,fine" for row in ROWS[1:]]
    report, parts = read_bars(write(ROWS[0] + ",remark\n" + "\n".join(rows)), ImportOptions())
    assert parts[0].frame["volume"].to_list() == [0.0] * 3
    assert "the volume column is empty, so volume is 0" in report.notes
    assert any("'remark' holds no numbers" in note for note in report.notes)
    assert "remark" not in parts[0].frame.columns


def test_a_further_column_of_numbers_is_kept_with_its_missing_values(write) -> None:
    rows = [f"{row},{value}" for row, value in zip(ROWS[1:], ("1.5", "", "nan"), strict=True)]
    frame = frame_of(write(ROWS[0] + ",Signal\n" + "\n".join(rows)))
    assert frame["signal"].fill_nan(None).to_list() == [1.5, None, None]


def test_a_run_on_a_faulty_file_says_in_one_line_how_to_mend_it(write) -> None:
    path = write("\n".join([ROWS[0], *ROWS[:0:-1]]))
    with pytest.raises(
        DataError, match=r"refused, since 2 of 4 lines.*line 3.*weaver data import bars.csv; --fix sort"
    ) as caught:
        load_bars(path)
    assert "\n" not in str(caught.value)


def test_a_timeframe_shorter_than_the_bars_is_refused(write) -> None:
    rows = [f"2024-01-31T{hour}:00:00Z,1,1,1,1,1" for hour in (10, 11, 12, 13)]
    with pytest.raises(DataError, match="1h apart or more, so they are not 1m bars"):
        frame_of(write(ROWS[0] + "\n" + "\n".join(rows)), timeframe=Timeframe("1m"))


def test_a_column_of_symbols_is_imported_by_symbol_or_by_choice(write, tmp_path: Path) -> None:
    rows = [f"{name},{row}" for name in ("B", "A") for row in ROWS[1:]]
    path = write("Symbol," + ROWS[0] + "\n" + "\n".join(rows))
    catalog = Catalog(tmp_path / "all")
    report = import_files([path], catalog, ImportOptions())
    assert [part.symbol for part in report.symbols] == ["B", "A"]
    assert [entry.symbol for entry in catalog.list()] == ["A", "B"]
    chosen = import_files([path], Catalog(tmp_path / "one"), ImportOptions(symbol="A"))
    assert [part.symbol for part in chosen.symbols] == ["A"]
    assert "3 rows of other symbols are not imported" in chosen.notes[0]
    with pytest.raises(DataError, match="has B, A, but not 'C'"):
        import_files([path], Catalog(tmp_path / "none"), ImportOptions(symbol="C"))
    error = refused(write("Symbol," + ROWS[0] + "\n," + ROWS[1] + "\nA," + ROWS[2] + "\n"), timeframe=Timeframe("1m"))
    assert error.listing == ["line 2: the symbol is missing"]


def test_without_a_symbol_anywhere_it_is_asked_for(write, tmp_path: Path) -> None:
    with pytest.raises(DataError, match="--symbol AAPL"):
        import_files([write(CLEAN)], Catalog(tmp_path / "c"), ImportOptions())


def test_files_that_overlap_are_put_together(write, tmp_path: Path) -> None:
    first, second = write("\n".join(ROWS[:3]), "a.csv"), write("\n".join([ROWS[0], *ROWS[2:]]), "b.csv")
    catalog = Catalog(tmp_path / "c")
    report = import_files([first, second], catalog, ImportOptions(symbol="X", timeframe=Timeframe("1m")))
    assert report.symbols[0].merge.added == 3
    assert "1 bars were there already with the same values" in report.notes[0]
    assert catalog.list()[0].sources == ("a.csv", "b.csv")
    again = import_files([first, second], catalog, ImportOptions(symbol="X", timeframe=Timeframe("1m")))
    assert not again.symbols[0].merge.changes


def test_files_that_contradict_each_other_are_refused_unless_told(write, tmp_path: Path) -> None:
    paths = [write(CLEAN, "a.csv"), write(CLEAN.replace(",13,7", ",12.5,7"), "b.csv")]
    catalog = Catalog(tmp_path / "c")
    with pytest.raises(DataError, match=r"b.csv and the files before it: refused, since 1 bar is there"):
        import_files(paths, catalog, ImportOptions(symbol="X"))
    assert not catalog.root.exists()
    import_files(paths, catalog, ImportOptions(symbol="X", on_conflict=Conflict.TAKE_NEW))
    assert catalog.read("X", "1m")["close"][-1] == 12.5


def test_nothing_is_written_unless_every_file_is_accepted(write, tmp_path: Path) -> None:
    paths = [write(CLEAN, "a.csv"), write(CLEAN.replace("9", "0"), "b.csv")]
    with pytest.raises(FileRefusal):
        import_files(paths, Catalog(tmp_path / "c"), ImportOptions(symbol="X"))
    assert not (tmp_path / "c").exists()


def test_a_dry_run_says_all_and_writes_nothing(write, tmp_path: Path) -> None:
    seen: list[str] = []
    catalog = Catalog(tmp_path / "c")
    report = import_files([write(CLEAN)], catalog, ImportOptions(symbol="X"), dry_run=True, progress=seen.append)
    assert (report.written, report.symbols[0].merge.added) == (False, 3)
    assert not catalog.root.exists()
    assert seen == ["reading bars.csv", "checking X"]


def test_bars_of_a_session_calendar_are_judged_by_it(write) -> None:
    pytest.importorskip("exchange_calendars")
    import warnings

    from weaver.glados.clock.calendars import get_calendar

    rows = [f"2024-01-03T{hour}:30:00Z,1,1,1,1,1" for hour in range(14, 21)]
    path = write(ROWS[0] + "\n" + "\n".join(rows))
    assert refused(path, timeframe=Timeframe("1h")).codes == ("grid",)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)  # exchange_calendars 4 on pandas 3.1
        assert frame_of(path, timeframe=Timeframe("1h"), calendar=get_calendar("XNYS")).height == 7
        late = write(ROWS[0] + "\n" + "\n".join([*rows[:-1], rows[-1].replace("20:30", "20:45")]))
        error = refused(late, timeframe=Timeframe("1h"), calendar=get_calendar("XNYS"))
    assert error.listing == ["line 8: 2024-01-03T20:45:00Z is off the 1h grid of the sessions of XNYS"]


YFINANCE = """Price,Close,High,Low,Open,Volume
Ticker,AAPL,AAPL,AAPL,AAPL,AAPL
Date,,,,,
2024-01-02,184.9,187.7,183.2,186.4,82488700
2024-01-03,183.5,185.2,182.8,183.6,58414500
"""
YFINANCE_BY_TICKER = "\n".join([*reversed(YFINANCE.splitlines()[:2]), *YFINANCE.splitlines()[2:]])


@pytest.mark.parametrize("content", [YFINANCE, YFINANCE_BY_TICKER, YFINANCE.replace("Date", "Datetime")])
def test_a_yfinance_file_with_three_header_lines_is_read_with_its_symbol(content: str, write, tmp_path: Path) -> None:
    path = write(content)
    frame = frame_of(path)
    assert (frame["open"][0], frame["close"][0]) == (186.4, 184.9)
    assert load_bars(path)["AAPL"].open.tolist() == [186.4, 183.6]
    report = import_files([path], Catalog(tmp_path / "catalog"), ImportOptions())
    assert [symbol.symbol for symbol in report.symbols] == ["AAPL"]


def test_columns_that_exchange_open_and_close_are_refused_with_the_names_in_order(write) -> None:
    columns = ("timestamp", "open", "high", "low", "close", "volume")
    for content in (YFINANCE, CLEAN.replace("open,high,low,close", "Close,High,Low,Open")):
        with pytest.raises(
            DataError, match=r"calls column 2 'open', but the header calls it 'Close'.*timestamp,close,high,low,open"
        ):
            read_bars(write(content), ImportOptions(columns=columns, fixes=frozenset({"drop-invalid"})))


def test_a_yfinance_file_of_several_symbols_is_refused_with_the_call_that_divides_it(write) -> None:
    with pytest.raises(DataError, match=r"several symbols \(AAPL, MSFT\).*frame.xs\('AAPL', axis=1, level='Ticker'\)"):
        read_bars(write(YFINANCE.replace("AAPL,AAPL,AAPL,AAPL,AAPL", "AAPL,MSFT,AAPL,MSFT,AAPL")), ImportOptions())


def test_the_columns_option_in_a_refusal_follows_the_order_of_the_file_and_can_be_used(write) -> None:
    path = write(CLEAN.replace("timestamp,open,high,low,close", "when,Close,High,Low,Open"))
    with pytest.raises(DataError, match="no column for timestamp") as caught:
        read_bars(path, ImportOptions())
    option = str(caught.value).split("--columns ")[1]
    assert option == "timestamp,close,high,low,open,volume"
    frame = frame_of(path, columns=tuple(option.split(",")))
    assert (frame["close"][0], frame["open"][0]) == (10.0, 11.0)


UNREADABLE = {
    "no time": "abc,1,1,1,1,1\ndef,1,1,1,1,1\n",
    "one time, in a bad line": "abc,1,1,1,1,1\n2024-01-01,x,1,1,1,1\n",
    "a single line": "abc,1,1,1,1,1\n",
    "empty times": ",1,1,1,1,1\n,1,1,1,1,1\n",
}


@pytest.mark.parametrize("timeframe", [None, Timeframe("1d")])
@pytest.mark.parametrize("kind", UNREADABLE)
def test_drop_invalid_that_leaves_nothing_says_so_with_the_first_line(
    kind: str, timeframe: Timeframe | None, write
) -> None:
    path = write("timestamp,open,high,low,close,volume\n" + UNREADABLE[kind])
    with pytest.raises(
        NoBars, match=r"no bar is left; the first line that was dropped is line 2: timestamp .* is not a time"
    ):
        read_bars(path, ImportOptions(fixes=frozenset({"drop-invalid"}), timeframe=timeframe))
    assert not any("drop-invalid" in way for way in refused(path).ways)


def test_a_single_bar_that_drop_invalid_leaves_needs_its_timeframe(write) -> None:
    path = write("timestamp,open,high,low,close,volume\nabc,1,1,1,1,1\n2024-01-01,1,1,1,1,1\n")
    with pytest.raises(DataError, match="the timeframe of a single bar is not known"):
        read_bars(path, ImportOptions(fixes=frozenset({"drop-invalid"})))
    assert frame_of(path, fixes=frozenset({"drop-invalid"}), timeframe=Timeframe("1d")).height == 1


@pytest.mark.parametrize("fixes", [frozenset(), frozenset({"drop-invalid"})])
def test_a_timeframe_longer_than_the_bars_is_refused_with_resample(fixes: frozenset[str], write) -> None:
    days = "".join(f"2024-01-{day:02d},1,1,1,1,1\n" for day in range(1, 20))
    path = write("timestamp,open,high,low,close,volume\n" + days)
    with pytest.raises(DataError, match=r'the bars are 1d apart, so they are not 1w bars.*self.bars.resample\("1w"\)'):
        read_bars(path, ImportOptions(timeframe=Timeframe("1w"), fixes=fixes))


def test_rounded_adjusted_prices_are_clipped_and_reported(write) -> None:
    ulp_above = "10.000000000000002"
    path = write(f"timestamp,open,high,low,close,volume\n2024-01-01,9,10,9,{ulp_above},1\n2024-01-02,9,11,9.5,10,1\n")
    error = refused(path)
    assert error.listing == ["line 3: open 9.0 is below low 9.5"]
    path = write(f"timestamp,open,high,low,close,volume\n2024-01-01,9,10,9,{ulp_above},1\n2024-01-02,9,11,9,10,1\n")
    report, (part,) = read_bars(path, ImportOptions())
    assert part.frame["high"].to_list() == [float(ulp_above), 11.0]
    assert any("1 bar whose open or close breached high or low by rounding" in note for note in report.notes)
    assert not part.repairs


def test_prices_rounded_to_single_precision_are_refused_without_advice_that_deletes_them(write) -> None:
    path = write("timestamp,open,high,low,close,volume\n2024-01-01,9,10,9,10.000001,1\n2024-01-02,9,11,9,x,1\n")
    error = refused(path)
    assert error.codes == ("value", "rounding")
    assert any("set high to the largest and low to the smallest of the four" in way for way in error.ways)
    assert refused(path, fixes=frozenset({"drop-invalid"})).codes == ("rounding",)


def test_bars_that_are_all_off_the_grid_are_not_offered_for_dropping(write) -> None:
    rows = "".join(f"2024-01-01T{hour + 10}:30:00Z,1,1,1,1,1\n" for hour in range(8))
    error = refused(write("timestamp,open,high,low,close,volume\n" + rows))
    assert error.codes == ("grid",)
    assert not any("drop-invalid" in way for way in error.ways)
