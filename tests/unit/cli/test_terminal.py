"""Nothing that a file, a strategy or a database contains acts on the terminal or forges a line of output."""

from __future__ import annotations

import asyncio
import io
import json
import os
import re
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import msgspec
import pytest

import weaver as package
from weaver.core.errors import DataError
from weaver.events.envelope import Envelope, StoredEvent, UnknownPayload
from weaver.walle.embedded import attachment
from weaver.walle.log.event_queries import TypeCount
from weaver.walle.runs import RunRow, StoredResult

HOSTILE = "a\x1b]52;c;ZXZpbA==\x07\x1b[2J\x9b31m\u202egpj\u2066\u200b\u2028\x85\x7f\x08\r\nFORGED: yes\tb\U000e0041"
IN_FILE_NAMES = HOSTILE.replace("/", "")
"""Without a slash; the operating system allows everything else in a file name."""
ACTING = set(HOSTILE) - set("a]52;c;ZXZpbA==[2J31mgpj\nFORGED: yes\tb")

Run = Callable[..., Any]


@dataclass(frozen=True)
class Ended:
    code: int
    out: str
    err: str


def assert_harmless(ended: Any) -> None:
    text = ended.out + ended.err
    assert "52;c" in text or "FORGED" in text, text  # the value is in the output
    assert sorted(ACTING & set(text)) == []
    before_traceback = text.partition("Traceback (most recent")[
        0
    ]  # of --debug: an exception's text has its lines there
    assert [line for line in before_traceback.splitlines() if line.startswith("FORGED")] == []


@pytest.fixture(autouse=True)
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("WEAVER_HOME", str(tmp_path / "home"))
    monkeypatch.delenv("DB_URL", raising=False)
    monkeypatch.chdir(tmp_path)
    return tmp_path / "home"


STRATEGIES = {
    "an exception": "def on_bar(self, bar): raise ValueError(HOSTILE)",
    "an exception's class": "def on_bar(self, bar): raise type(HOSTILE, (Exception,), {})()",
    "a note of an exception": "def on_bar(self, bar):\n        error = ValueError(HOSTILE); error.add_note(HOSTILE); raise error",
    "an exit": "def on_bar(self, bar): raise SystemExit(HOSTILE)",
    "an error on loading": "x = int(HOSTILE)",
    "an unknown symbol": "def on_bar(self, bar): self.buy(1, symbol=HOSTILE)",
    "a tag of a rejected order": "def on_bar(self, bar): self.buy(1e15, tag=HOSTILE); raise ValueError(HOSTILE)",
}


@pytest.mark.parametrize("debug", [False, True], ids=["", "--debug"])
@pytest.mark.parametrize("command", ["backtest", "check"])
@pytest.mark.parametrize("kind", STRATEGIES)
def test_texts_of_a_strategy(
    weaver: Run, bars_csv: Path, tmp_path: Path, kind: str, command: str, *, debug: bool
) -> None:
    file = tmp_path / "mine.py"
    file.write_text(
        f"from weaver import Strategy\nHOSTILE = {HOSTILE!r}\nclass Mine(Strategy):\n    {STRATEGIES[kind]}\n"
    )
    assert_harmless(weaver(command, file, "--data", bars_csv, *(["--debug"] if debug else [])))


@pytest.mark.parametrize("command", ["backtest", "check"])
def test_the_name_and_the_parameters_of_a_strategy(weaver: Run, bars_csv: Path, tmp_path: Path, command: str) -> None:
    file = tmp_path / "mine.py"
    file.write_text(
        "from weaver import Strategy\n"
        f"HOSTILE = {HOSTILE!r}\n"
        "class Mine(Strategy):\n"
        "    word: str = 'x'\n"
        "    def on_bar(self, bar): self.buy(1, tag=self.word)\n"
        "Mine.__name__ = Mine.__qualname__ = HOSTILE\n"
    )
    assert_harmless(weaver(command, file, "--data", bars_csv, "-p", f"word={HOSTILE}"))
    assert_harmless(weaver(command, file, "--data", bars_csv, "-p", f"{HOSTILE}=1"))
    assert_harmless(weaver(command, f"{file}:{HOSTILE}", "--data", bars_csv))


def test_names_of_files(weaver: Run, bars_csv: Path, buy_once: Path, tmp_path: Path) -> None:
    strategy = tmp_path / f"{IN_FILE_NAMES}.py"
    strategy.write_text(buy_once.read_text().replace("self.buy", "raise ValueError\n            self.buy"))
    prices = tmp_path / f"{IN_FILE_NAMES}.csv"
    prices.write_bytes(bars_csv.read_bytes())
    assert weaver("data", "import", bars_csv, "--timeframe", "1d", "--symbol", "GOOD").code == 0
    for arguments in (
        ("backtest", strategy, "--data", bars_csv),
        ("backtest", strategy, "--data", bars_csv, "--debug"),
        ("backtest", buy_once, "--data", prices),
        ("backtest", buy_once, "--data", f"{IN_FILE_NAMES}={bars_csv}"),
        ("backtest", buy_once, "--data", f"{tmp_path}/no {IN_FILE_NAMES}.csv"),
        ("backtest", f"no {IN_FILE_NAMES}.py", "--data", bars_csv),
        ("backtest", buy_once, "--data", bars_csv, "--report", f"{IN_FILE_NAMES}.html"),
        ("backtest", buy_once, "--data", bars_csv, "--json", f"{IN_FILE_NAMES}.json"),
        ("backtest", buy_once, "--data", bars_csv, "--json", f"{bars_csv}/{IN_FILE_NAMES}"),
        ("check", buy_once, "--data", prices),
        ("data", "import", prices, "--timeframe", "1d"),
        ("data", "import", prices, "--timeframe", "1d", "--symbol", HOSTILE),
        ("data", "list", "--catalog", IN_FILE_NAMES),
        ("data", "synth", "--bars", "3", "--output", f"{IN_FILE_NAMES}.parquet"),
        ("data", "show", HOSTILE),
        ("data", "check", HOSTILE),
        ("db", "restore", IN_FILE_NAMES),
    ):
        assert_harmless(weaver(*arguments))


def test_a_file_name_that_is_not_utf_8(weaver: Run, bars_csv: Path, buy_once: Path, tmp_path: Path) -> None:
    prices = os.fsdecode(bytes(tmp_path) + b"/\xff\x9b31m.csv")
    Path(prices).write_bytes(bars_csv.read_bytes())
    for arguments in (("backtest", buy_once, "--data", prices), ("data", "import", prices, "--timeframe", "1d")):
        ended = weaver(*arguments)
        assert "\\udcff\\udc9b31m" in ended.out + ended.err
        (ended.out + ended.err).encode()


@pytest.mark.parametrize("place", ["header", "cell", "symbol"])
def test_content_of_a_file_of_bars(weaver: Run, buy_once: Path, tmp_path: Path, place: str) -> None:
    quoted = '"' + HOSTILE.replace("\r", "") + '"'
    lines = ["date,symbol,open,high,low,close,volume", *(f"2024-01-0{n},A,1,2,1,2,5" for n in range(1, 9))]
    match place:
        case "header":
            lines[0] = f"date,symbol,{quoted},high,low,close,volume"
        case "cell":
            lines[3] = f"2024-01-03,A,{quoted},2,1,2,5"
        case "symbol":
            lines = [line.replace(",A,", f",{quoted},") for line in lines]
    file = tmp_path / "bars.csv"
    file.write_text("\n".join(lines) + "\n", encoding="utf-8")
    assert_harmless(weaver("backtest", buy_once, "--data", file))
    assert_harmless(weaver("data", "import", file, "--timeframe", "1d"))


@pytest.mark.parametrize(
    "text",
    [
        f"[database]\n{json.dumps(HOSTILE)} = 1\n",
        f"[{json.dumps(HOSTILE)}]\n",
        f"[database]\npool_size = {json.dumps(HOSTILE)}\n",
        f"[database]\n{json.dumps(HOSTILE)} = 1\n{json.dumps(HOSTILE)} = 1\n",
    ],
)
def test_content_of_weaver_toml(weaver: Run, tmp_path: Path, text: str) -> None:
    (tmp_path / "weaver.toml").write_text(text.replace("\x7f", "\\u007f"), encoding="utf-8")
    ended = weaver("db", "status")
    assert ended.code == 2
    assert sorted(ACTING & set(ended.out + ended.err)) == []
    assert ended.err.count("\n") == 1


def test_arguments_and_variables(weaver: Run, monkeypatch: pytest.MonkeyPatch, buy_once: Path, bars_csv: Path) -> None:
    run = ("backtest", buy_once, "--data", bars_csv)
    for arguments in (
        (HOSTILE,),
        ("runs", HOSTILE),
        (*run, f"--{HOSTILE}"),
        (*run, "--start", HOSTILE),
        (*run, "--tz", HOSTILE),
        (*run, "--timeframe", HOSTILE),
        (*run, "--calendar", HOSTILE),
        (*run, "--limit-fill", HOSTILE),
        (*run, "--cash", HOSTILE),
        (*run, "--lot", HOSTILE),
        (*run, "--quote", HOSTILE),
        (*run, "--symbol", HOSTILE),
        (*run, "-p", HOSTILE),
        ("data", "import", bars_csv, "--fix", HOSTILE),
        ("data", "import", bars_csv, "--columns", HOSTILE),
        ("events", "prune", "--older-than", HOSTILE),
        ("db", "downgrade", HOSTILE),
    ):
        assert_harmless(weaver(*arguments))
    monkeypatch.setenv("SHELL", f"/bin/{IN_FILE_NAMES}")
    assert_harmless(weaver("completion"))
    monkeypatch.setenv(f"WEAVER_DATABASE_{IN_FILE_NAMES.replace('=', '')}", "1")
    assert_harmless(weaver("db", "status"))


def test_the_data_folder_and_the_database(weaver: Run, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("WEAVER_HOME", str(tmp_path / IN_FILE_NAMES))
    assert_harmless(weaver("db", "status"))
    json.loads(weaver("db", "status", "--json").out)


# --- rows of a database that others may write ---------------------------------------------------------------------------


def row(**changed: Any) -> RunRow:
    values: dict[str, Any] = {
        "id": f"20240101T000000000000Z-{HOSTILE}",
        "mode": HOSTILE,
        "strategy": HOSTILE,
        "status": HOSTILE,
        "config": {"symbols": [HOSTILE], "timeframe": HOSTILE, HOSTILE: HOSTILE, "params": {HOSTILE: [HOSTILE]}},
        "bars_total": 3,
        "bars_done": 3,
        "error": HOSTILE,
        "created_at": datetime(2024, 1, 1, tzinfo=UTC),
        "ended_at": datetime(2024, 1, 1, tzinfo=UTC),
        "orders": 0,
        "fills": 0,
        "stats": None,
    }
    return RunRow(**values | changed)


def test_recorded_runs(weaver: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    answers: list[Any] = []
    monkeypatch.setattr("weaver.cli.runs.with_store", lambda work: answers[0])
    for status in (HOSTILE, "failed", "interrupted", "running"):
        answers[:] = [[row(status=status)]]
        assert_harmless(weaver("runs", "list"))
        listed = weaver("runs", "list", "--json").out
        assert sorted(ACTING & set(listed)) == []
        assert [json.loads(line)["strategy"] for line in listed.splitlines()] == [HOSTILE]
        answers[:] = [(row(status=status), None)]
        assert_harmless(weaver("runs", "show", "last"))
        shown = weaver("runs", "show", "last", "--json").out
        assert json.loads(shown)["run"]["config"] == row().config
        assert sorted(ACTING & set(shown)) == []
        answers[:] = [[row(status=status), row(strategy=f"{HOSTILE}2", config={HOSTILE: 1, "tags": [HOSTILE]})]]
        assert_harmless(weaver("runs", "compare", "a", "b"))
        answers[:] = [row(status=status)]
        assert_harmless(weaver("runs", "report", "last"))
        assert_harmless(weaver("runs", "delete", "last"))
    answers[:] = [(row(), StoredResult(stats={}, equity=[], warnings=[HOSTILE], folder=HOSTILE, elapsed_s=1.0))]
    assert_harmless(weaver("runs", "show", "last"))


class Payload(msgspec.Struct):
    text: str = HOSTILE
    texts: list[str] = msgspec.field(default_factory=lambda: [HOSTILE, HOSTILE])
    values: dict[str, str] = msgspec.field(default_factory=lambda: {HOSTILE: HOSTILE})


def event(payload: Any, offset: int = 1) -> StoredEvent:
    names = dict.fromkeys(("id", "type", "run_id", "corr_id", "ts_text", "producer"), HOSTILE)
    return StoredEvent(offset, Envelope(**names, version=1, causation_id=None, payload=payload))


@pytest.mark.parametrize(
    "payload",
    [Payload(), UnknownPayload(json=json.dumps({HOSTILE: HOSTILE}, ensure_ascii=False).encode(), reason=HOSTILE)],
    ids=["known", "unknown"],
)
def test_events(weaver: Run, monkeypatch: pytest.MonkeyPatch, payload: Any) -> None:
    answers: list[Any] = []

    async def one_event(*_: object) -> list[Any]:
        return answers

    class Store:
        database = None
        log = runs = property(lambda self: self)

        async def latest_offset(self) -> int:
            return 1

        async def find(self, name: str) -> list[Any]:
            return []

    monkeypatch.setattr("weaver.cli.events.with_store", lambda work: answers[0])
    answers[:] = [(event(payload), [event(payload), event(payload, 2)])]
    assert_harmless(weaver("events", "show", "1"))
    shown = weaver("events", "show", "1", "--json").out
    assert sorted(ACTING & set(shown)) == []
    assert json.loads(shown)["producer"] == HOSTILE
    monkeypatch.setattr("weaver.cli.events.with_store", lambda work: asyncio.run(work(Store())))
    monkeypatch.setattr("weaver.walle.log.event_queries.EventQueries.last", one_event)
    answers[:] = [event(payload)]
    for arguments in ((), ("--run", HOSTILE), ("--json",)):
        assert_harmless(weaver("events", "tail", *arguments))


def test_counts_of_events(weaver: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    from weaver.events.health import LogHealth

    health = LogHealth(**dict.fromkeys(LogHealth.__struct_fields__) | {"latest_offset": 1, "lag": {HOSTILE: 1}})
    types = [TypeCount(type=HOSTILE, count=1, first=1, last=1)]
    monkeypatch.setattr("weaver.cli.events.with_store", lambda work: (health, types, []))
    assert_harmless(weaver("events", "stats"))
    shown = weaver("events", "stats", "--json").out
    assert sorted(ACTING & set(shown)) == []
    assert json.loads(shown)["types"][0]["type"] == HOSTILE


def test_an_error_of_the_server(weaver: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(work: Any) -> None:
        raise DataError(f"the server said: {HOSTILE}")

    monkeypatch.setattr("weaver.cli.runs.with_store", fail)
    assert_harmless(weaver("runs", "list"))
    assert_harmless(weaver("runs", "list", "--debug"))
    assert sorted(ACTING & set(str(DataError(HOSTILE)))) == []


def test_a_warning_of_a_library() -> None:
    code = f"""
import sys, warnings
from weaver.cli import runs
from weaver.cli.main import main
def with_store(work):
    warnings.warn({HOSTILE!r})
    return []
runs.with_store = with_store
sys.exit(main(["runs", "list"]))
"""
    ended = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, encoding="utf-8")
    assert "FORGED" in ended.stderr
    assert sorted(ACTING & set(ended.stderr)) == []
    assert not any(line.startswith("FORGED") for line in ended.stderr.splitlines())


# --- results and reports in Python ------------------------------------------------------------------------------------


PRINTING = re.compile(r"^\s*(?:\w+ = )?(?:click\.(?:echo|secho|confirm|prompt|echo_via_pager)|print|traceback\.print_\w+"
                      r"|sys\.std(?:out|err)\.write)\((?!visible\()", re.MULTILINE)  # fmt: skip


def test_everything_that_is_printed_is_made_visible_first() -> None:
    folder = Path(package.__file__).parent
    files = [file.relative_to(folder) for file in sorted(folder.rglob("*.py"))]
    assert [str(file) for file in files if PRINTING.search((folder / file).read_text(encoding="utf-8"))] == []


def test_a_note_about_a_slow_server(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys.stderr, "isatty", lambda: True)
    attachment._print_to_terminal(f"writing the backup to {HOSTILE} ...")
    assert_harmless(Ended(0, "", capsys.readouterr().err))


def test_a_question(weaver: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("weaver.cli.runs.with_store", lambda work: row(status="failed"))
    monkeypatch.setattr(sys, "stdin", Terminal("n\n"))
    ended = weaver("runs", "delete", "last")
    assert "delete run" in ended.err
    assert sorted(ACTING & set(ended.err)) == []


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def test_values_of_the_library_that_people_print(bars_csv: Path) -> None:
    class Mine(package.Strategy):
        def on_bar(self, bar: Any) -> None:
            texts.append(repr(self.buy(1e15, tag=HOSTILE)))

    Mine.__name__ = HOSTILE
    texts: list[str] = []
    result = package.backtest(Mine, {HOSTILE: bars_csv}, record=False)
    texts += [repr(result), str(result), *result.warnings, result._repr_html_(), result.to_json()]
    assert json.loads(result.to_json())["symbols"] == [HOSTILE]
    for text in texts:
        assert sorted(ACTING & set(text)) == []
        assert "\nFORGED" not in text
