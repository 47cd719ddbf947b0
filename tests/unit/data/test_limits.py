"""A small file cannot exhaust the memory: each attack gets an error that names the limit, and legitimate sizes pass."""

from __future__ import annotations

import gzip
import os
import resource
import subprocess
import sys
from datetime import date
from pathlib import Path

import pandas as pd
import polars as pl
import pyarrow.parquet
import pytest
from tiny_parquet import BARS, tiny_parquet

from builders import MONDAY, frame
from weaver.core.errors import ConfigError, DataError
from weaver.data import limits
from weaver.data.catalog import Catalog
from weaver.data.importer import file_content
from weaver.data.importer.importer import ImportOptions, read_bars
from weaver.data.load_bars import load_bars
from weaver.data.parquet_footer import FooterError, read_footer
from weaver.data.symbol_groups import rows_by_symbol

HEADER = "timestamp,open,high,low,close,volume\n"
LINE = "2024-01-01T00:00:00Z,1,1,1,1,1\n"
MEGABYTE = 1024**2

CHILD = """
import resource, sys
from weaver.core.errors import WeaverError
from weaver.data.load_bars import load_bars
before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
resource.setrlimit(resource.RLIMIT_AS, (4 << 30, 4 << 30))
try:
    load_bars(sys.argv[1])
except WeaverError as error:
    print(type(error).__name__, error)
print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before)
"""


def load_in_child(path: Path, **environment: str) -> tuple[str, int]:
    """Return the error of `load_bars(path)` in a process with 4 GB of memory, and the megabytes that it took."""
    ended = subprocess.run(
        [sys.executable, "-c", CHILD, str(path)],
        env=os.environ | environment,
        capture_output=True,
        text=True,
        check=False,
    )
    assert ended.returncode == 0, ended.stderr[-2000:]
    message, _, kilobytes = ended.stdout.strip().rpartition("\n")
    return message, int(kilobytes) // 1024


def write(path: Path, content: bytes | str) -> Path:
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    return path


def bars_csv(rows: int, extra: str = "") -> str:
    stamps = pl.Series([MONDAY + row * 60 * 10**9 for row in range(rows)]).cast(pl.Datetime("ns", "UTC"))
    return HEADER + "".join(f"{stamp.isoformat()},1,1,1,1,1{extra}\n" for stamp in stamps)


# Text files.


def test_a_gzip_file_is_refused_while_it_is_unpacked(tmp_path: Path) -> None:
    member = gzip.compress(LINE.encode() * (8 * MEGABYTE // len(LINE)))
    path = write(tmp_path / "bomb.csv.gz", gzip.compress(HEADER.encode()) + member * 20)
    assert path.stat().st_size < MEGABYTE
    message, megabytes = load_in_child(path, WEAVER_MAX_TEXT_BYTES="100000000")
    assert "unpacks from" in message
    assert "WEAVER_MAX_TEXT_BYTES=200000000" in message
    assert megabytes < 150


def test_a_gzip_file_that_needs_more_memory_than_is_free_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = write(tmp_path / "bars.csv.gz", gzip.compress((HEADER + LINE).encode() + LINE.encode() * 400_000))
    monkeypatch.setattr(limits, "free_memory", lambda: 110_000_000)
    with pytest.raises(DataError, match="WEAVER_MAX_MEMORY="):
        load_bars(path)


def test_a_packed_file_above_what_is_kept_while_it_is_measured_is_read_whole(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(file_content, "KEPT", 100)
    monkeypatch.setattr(file_content, "_CHUNK", 64)
    text = bars_csv(30)
    for name, content in (("a.csv", text.encode()), ("b.csv.gz", gzip.compress(text.encode()))):
        assert len(load_bars(write(tmp_path / name, content))[name[0]]) == 30


@pytest.mark.parametrize(
    "content",
    [b"\x1f\x8b broken", gzip.compress(b"1,2\n" * 99)[:-12], gzip.compress(b"a")[:11] + b"\xff" * 9],
    ids=["no header", "its end is missing", "its content is damaged"],  # a header holds the time at which it was made
)
def test_a_damaged_gzip_file_is_refused(tmp_path: Path, content: bytes) -> None:
    with pytest.raises(DataError, match="cannot be read"):
        load_bars(write(tmp_path / "bars.csv.gz", content))


@pytest.mark.parametrize("packed", [False, True])
@pytest.mark.parametrize(
    "content",
    [b"1" * 2 * MEGABYTE, HEADER.encode() + b"1,2,3,4,5,6" * MEGABYTE, b"1\r" * MEGABYTE + b"\n", b'a,b,c,d,"' + b"\t" * 2 * MEGABYTE],
    ids=["one line", "a line after the header", "carriage returns", "an open quote"],
)  # fmt: skip
def test_a_long_line_is_refused(tmp_path: Path, content: bytes, packed: bool) -> None:
    path = write(tmp_path / "bars.csv", gzip.compress(content, 1) if packed else content)
    with pytest.raises(DataError, match="has a line of more than 1,048,576 bytes"):
        load_bars(path)


def test_a_file_of_one_long_line_is_not_read_whole(tmp_path: Path) -> None:
    path = tmp_path / "bars.csv"
    with path.open("wb") as file:
        file.write(b"1" * 2 * MEGABYTE)
        file.truncate(100 * MEGABYTE)  # a hole, which reads as zeros and is no line end
    message, megabytes = load_in_child(path)
    assert "has a line of more than" in message
    assert megabytes < 40


@pytest.mark.parametrize("chunk", [1, 7, 64, 1000])
@pytest.mark.parametrize("end", ["\n", "\r", "\r\n"])
def test_the_longest_line_is_measured_exactly(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, chunk: int, end: str
) -> None:
    text = bars_csv(20).replace("\n", end)
    longest = max(len(line) for line in text.split("\n" if "\n" in end else "\r"))
    monkeypatch.setattr(file_content, "_CHUNK", chunk)
    monkeypatch.setattr(file_content, "LONGEST_LINE", max(longest, chunk))
    assert len(load_bars(write(tmp_path / "bars.csv", text))["bars"]) == 20
    if chunk < longest:
        monkeypatch.setattr(file_content, "LONGEST_LINE", longest - 1)
        with pytest.raises(DataError, match="has a line of more than"):
            load_bars(tmp_path / "bars.csv")


def test_a_header_of_too_many_columns_is_refused(tmp_path: Path) -> None:
    names = HEADER.strip() + "".join(f",c{number}" for number in range(100_000))
    path = write(tmp_path / "bars.csv", names + "\n" + LINE)
    with pytest.raises(DataError, match=r"has 100,006 columns, more than 10,000"):
        load_bars(path)


def test_a_field_that_is_longer_than_csv_allows_is_a_bad_line(tmp_path: Path) -> None:
    path = write(tmp_path / "bars.csv", bars_csv(3) + 'x,"' + "y" * 200_000 + '",1,1,1,1\n')
    with pytest.raises(DataError, match="line 5") as caught:
        load_bars(path)
    assert len(str(caught.value)) < 1_000


# Values in messages.


@pytest.mark.parametrize("column", ["timestamp", "open", "volume"])
def test_a_bad_cell_is_shown_cut(tmp_path: Path, column: str) -> None:
    lines = bars_csv(5).splitlines()
    cells = lines[3].split(",")
    cells[HEADER.strip().split(",").index(column)] = "Z" * 500_000
    path = write(tmp_path / "bars.csv", "\n".join([*lines[:3], ",".join(cells), *lines[4:]]) + "\n")
    for read in (lambda: load_bars(path), lambda: read_bars(path, ImportOptions(symbol="A"))):
        with pytest.raises(DataError) as caught:
            read()
        assert "line 4" in str(caught.value)
        assert "Z" * 77 + "…'" in str(caught.value)
        assert "Z" * 79 not in str(caught.value)


@pytest.mark.parametrize("column", ["timestamp", "open"])
def test_a_bad_cell_of_a_frame_is_shown_cut(column: str) -> None:
    bars = frame([1.0] * 3).with_columns(pl.lit("Z" * 16 * MEGABYTE).alias(column))
    for value in (bars, bars.to_pandas()):
        with pytest.raises(DataError) as caught:
            load_bars(value)
        assert len(str(caught.value)) < 600
        assert "Z" * 79 not in str(caught.value)


@pytest.mark.parametrize(
    "arguments",
    [{"symbols": ["Z" * MEGABYTE]}, {"timeframe": "Z" * MEGABYTE}, {"start": "Z" * MEGABYTE}, {"tz": "Z" * MEGABYTE},
     {"time_unit": "Z" * MEGABYTE}, {"instrument": "Z" * MEGABYTE}, {"history": "Z" * MEGABYTE, "start": "2024-01-01"},
     {"symbols": [["Z" * MEGABYTE]]}, {"start": 10**5000}],
    ids=lambda arguments: str(next(iter(arguments))),
)  # fmt: skip
def test_an_argument_is_shown_cut(arguments: dict[str, object]) -> None:
    with pytest.raises((ConfigError, DataError)) as caught:
        load_bars(frame([1.0] * 3), **arguments)  # type: ignore[arg-type]
    assert len(str(caught.value)) < 1_000
    assert "Z" * 81 not in str(caught.value)


# Columns and symbols.


@pytest.mark.parametrize("kind", ["polars", "lazy", "pandas"])
def test_a_frame_of_too_many_columns_is_refused(kind: str) -> None:
    bars = pl.DataFrame({f"c{number}": [1.0] for number in range(10_001)})
    value = {"polars": bars, "lazy": bars.lazy(), "pandas": pd.DataFrame([[1.0] * 10_001])}[kind]
    with pytest.raises(DataError, match="has 10,001 columns, more than 10,000"):
        load_bars(value)


def test_too_many_symbols_and_long_names_are_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    bars = frame([1.0] * 4)
    long = "Z" * MEGABYTE
    for value in ({long: bars}, bars.with_columns(symbol=pl.lit(long)), write(tmp_path / "a.csv", bars_csv(2).replace(",volume", ",volume,symbol").replace(",1\n", f",1,{long[:500_000]}\n"))):  # fmt: skip
        with pytest.raises(DataError, match=r"symbol 'Z+…' has [0-9,]+ characters, more than 200") as caught:
            load_bars(value)
        assert len(str(caught.value)) < 400
    monkeypatch.setattr(limits, "MOST_SYMBOLS", 3)
    monkeypatch.setattr("weaver.data.symbol_groups.MOST_SYMBOLS", 3)
    for value in ({str(number): bars for number in range(4)}, bars.with_columns(symbol=pl.Series(list("abcd")))):
        with pytest.raises(DataError, match="has 4 symbols, more than 3"):
            load_bars(value)


def test_many_symbols_in_one_file_are_read_in_one_pass(tmp_path: Path) -> None:
    names = [f"S{number:05}" for number in range(50)]
    days = pl.date_range(date(2024, 1, 1), date(2024, 1, 2), eager=True).to_frame("timestamp")
    rows = days.join(pl.DataFrame({"symbol": names}), how="cross")  # by time, as exchanges write them
    bars = rows.with_columns(pl.lit(1.0).alias(name) for name in ("open", "high", "low", "close"))
    for value in (bars, bars.sort("symbol", "timestamp")):
        series = load_bars(value, timeframe="1d")
        assert list(series) == names
        assert {len(each) for each in series.values()} == {2}
    bars.write_csv(tmp_path / "bars.csv")
    report, parts = read_bars(tmp_path / "bars.csv", ImportOptions())
    assert report.rows == 100
    assert [part.symbol for part in parts] == names


def test_rows_are_grouped_by_twenty_thousand_symbols() -> None:
    labels = pl.Series([f"S{number:05}" for number in range(20_000)] * 25)
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    groups = rows_by_symbol(labels)
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 200 * 1024  # masks would take 10 GB
    assert list(groups) == labels[:20_000].to_list()
    assert groups["S00007"].tolist() == list(range(7, 500_000, 20_000))


def test_legitimate_sizes_pass(tmp_path: Path) -> None:
    names = "".join(f",factor_{number:04}" for number in range(1_000))
    lines = bars_csv(3).splitlines()
    text = "\n".join([lines[0] + names, *(line + ",1.25" * 1_000 for line in lines[1:])]) + "\n"
    assert len(load_bars(write(tmp_path / "wide.csv", text))["wide"].extra) == 1_000
    text = bars_csv(3).replace(",volume\n", ",volume,note\n").replace(",1\n", ",1," + "n" * 65_536 + "\n")
    assert len(load_bars(write(tmp_path / "long.csv", text))["long"]) == 3


# Parquet.


def test_a_parquet_file_of_too_many_rows_is_refused_from_its_footer(tmp_path: Path) -> None:
    path = write(tmp_path / "bomb.parquet", tiny_parquet(300_000_000))
    assert path.stat().st_size < 2_000
    message, megabytes = load_in_child(path)
    assert "states 300,000,000 rows, more than 200,000,000" in message
    assert "WEAVER_MAX_ROWS=300000000" in message
    assert megabytes < 50


def test_a_parquet_file_that_needs_more_memory_than_is_free_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = write(tmp_path / "bars.parquet", tiny_parquet(150_000_000))
    monkeypatch.setattr(limits, "free_memory", lambda: 8 * 10**9)
    with pytest.raises(DataError, match=r"needs about 13\.2 GB of memory, more than the 7\.2 GB .* WEAVER_MAX_MEMORY="):
        load_bars(path)
    with pytest.raises(DataError, match="needs about"):
        read_bars(path, ImportOptions(symbol="A"))


def test_the_limits_can_be_raised_by_the_names_in_their_messages(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(limits, "_ALWAYS_THERE", 0)
    monkeypatch.setattr(limits, "MOST_ROWS", 100)
    monkeypatch.setattr(limits, "MOST_TEXT_BYTES", 100)
    monkeypatch.setattr(limits, "free_memory", lambda: 100)
    parquet = tmp_path / "a.parquet"
    frame([1.0] * 101).write_parquet(parquet)
    csv = write(tmp_path / "a.csv", bars_csv(101))
    for path, name, high in (
        (parquet, "WEAVER_MAX_ROWS", "101"),
        (csv, "WEAVER_MAX_TEXT_BYTES", "10000"),
        (parquet, "WEAVER_MAX_MEMORY", "1000000"),
    ):
        with pytest.raises(DataError, match=name):
            load_bars(path)
        monkeypatch.setenv(name, high)
    for path in (parquet, csv):
        assert len(load_bars(path)["a"]) == 101
    monkeypatch.setenv("WEAVER_MAX_ROWS", "many")
    with pytest.raises(ConfigError, match="WEAVER_MAX_ROWS=many: must be a whole number"):
        load_bars(parquet)


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (tiny_parquet(10, footer_rows=2**62), "states 4,611,686,018,427,387,904 rows, and its row groups 10"),
        (tiny_parquet(300_000_000, footer_rows=10), "states 10 rows, and its row groups 300,000,000"),
        (tiny_parquet(10, footer_rows=-5), "states -5 rows"),
        (tiny_parquet(10, footer_rows=3 * 10**8, group_rows=3 * 10**8), "10 values in a row group of 300,000,000 rows"),
        (tiny_parquet(10, chunk_values=3 * 10**8), "300,000,000 values in a row group of 10 rows"),
        (tiny_parquet(10**6, groups=300), "states 300,000,000 rows, more than"),
        (tiny_parquet(3, BARS | {f"c{number}": 1.0 for number in range(10_000)}), "has 10,006 columns"),
        (tiny_parquet(10)[:-9] + b"\x7f" + tiny_parquet(10)[-8:], "unknown kind 15"),
        (tiny_parquet(10)[:-8] + b"\xff\xff\xff\x7fPAR1", "its end is missing"),
        (b"PAR1PAR1", "too short"),
    ],
    ids=range(10),
)  # fmt: skip
def test_a_footer_that_cannot_be_right_is_refused(tmp_path: Path, content: bytes, reason: str) -> None:
    path = write(tmp_path / "bars.parquet", content)
    for read in (lambda: load_bars(path), lambda: read_bars(path, ImportOptions(symbol="A"))):
        with pytest.raises(DataError, match=reason):
            read()


def test_every_byte_of_a_footer_may_be_wrong(tmp_path: Path) -> None:
    content = tiny_parquet(3, {"open": 1.0, "name": b"text"})
    start = len(content) - 8 - int.from_bytes(content[-8:-4], "little")
    for at in range(start, len(content) - 8):
        for value in (0xFF, content[at] ^ 1):
            changed = write(tmp_path / "bars.parquet", content[:at] + bytes([value]) + content[at + 1 :])
            try:
                read_footer(changed)
            except FooterError:
                pass


def test_the_headers_of_pages_count_where_the_footer_states_less(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = write(tmp_path / "bars.parquet", tiny_parquet(10, page_bytes=2**31 - 1))
    monkeypatch.setattr(limits, "free_memory", lambda: 8 * 10**9)
    with pytest.raises(DataError, match=r"needs about 12\.9 GB of memory"):
        load_bars(path)
    write(path, tiny_parquet(1, BARS | {"timestamp": MONDAY}, page_bytes=8))
    assert len(load_bars(path, timeframe="1d", time_unit="ns")["bars"]) == 1


@pytest.mark.parametrize("compression", ["NONE", "SNAPPY", "GZIP", "ZSTD", "LZ4", "BROTLI"])
@pytest.mark.parametrize("version", ["1.0", "2.0"])
def test_files_of_other_programs_are_measured_as_they_are(tmp_path: Path, compression: str, version: str) -> None:
    bars = frame([float(price) for price in range(1, 5_001)], step="1m")
    bars = bars.with_columns(name=pl.lit("x" * 5_000) + pl.col("close").cast(pl.String), deep=pl.concat_list("open"))
    path = tmp_path / "bars.parquet"
    pyarrow.parquet.write_table(
        bars.to_arrow(), path, compression=compression, data_page_version=version, row_group_size=2_000,
        data_page_size=10_000, version="2.6",
    )  # fmt: skip
    footer = read_footer(path)
    assert (footer.rows, footer.values) == (5_000, 5_000 * 7)
    metadata = pyarrow.parquet.read_metadata(path)
    groups = [metadata.row_group(number) for number in range(3)]
    stated = sum(group.column(number).total_uncompressed_size for group in groups for number in range(7))
    assert footer.unpacked == stated
    assert footer.nested == {"deep"}
    if compression != "BROTLI" and version == "1.0":
        assert len(load_bars(path)["bars"]) == 5_000


def test_lists_in_a_parquet_file_are_not_read(tmp_path: Path) -> None:
    path = tmp_path / "bars.parquet"
    write(path, tiny_parquet(1, BARS | {"timestamp": MONDAY, "deep": 1.0}, lists={"deep": 10**9}))
    series = load_bars(path, timeframe="1d", end="2100-01-01", tz="UTC", time_unit="ns")["bars"]
    assert len(series) == 1
    assert "bars: column 'deep' holds no numbers and is left out" in series.notes
    bars = frame([1.0] * 3).with_columns(deep=pl.Series([[1], [2, 3], None]), deeper=pl.struct(pl.lit(1).alias("x")))
    bars.write_parquet(path)
    report, _ = read_bars(path, ImportOptions(symbol="A"))
    assert [note for note in report.notes if "left out" in note] == [
        f"column {name!r} holds no numbers (or text among them) and is left out" for name in ("deep", "deeper")
    ]


def test_texts_that_rows_share_count_for_each_row(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = write(tmp_path / "bars.parquet", tiny_parquet(100_000, BARS | {"symbol": b"Z" * 100_000}))
    monkeypatch.setattr(limits, "free_memory", lambda: 4 * 10**9)
    with pytest.raises(DataError, match=r"needs about 10\.0 GB of memory"):
        load_bars(path)


def test_texts_that_rows_of_a_pandas_frame_share_count_for_each_row(monkeypatch: pytest.MonkeyPatch) -> None:
    bars = frame([1.0] * 1_000).to_pandas()
    bars["note"] = pd.Series(["Z" * MEGABYTE] * 1_000, dtype=object, index=bars.index)
    monkeypatch.setattr(limits, "free_memory", lambda: 10**9)
    with pytest.raises(DataError, match=r"the pandas frame: reading it needs about 1\.0 GB"):
        load_bars(bars)


def test_a_catalog_is_bounded_as_files_are(tmp_path: Path) -> None:
    catalog = Catalog(tmp_path / "catalog")
    bars = frame([1.0] * 3).with_columns(pl.col("timestamp").dt.cast_time_unit("us"))
    catalog.write("A", "1d", bars.select("timestamp", "open", "high", "low", "close", "volume"))
    write(catalog.path("A", "1d"), tiny_parquet(300_000_000))
    with pytest.raises(DataError, match="states 300,000,000 rows"):
        load_bars(catalog.select(["A"], timeframe="1d"))


def test_free_memory_is_known_here() -> None:
    free = limits.free_memory()
    assert free is not None
    assert free > 10_000_000
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss > 0
