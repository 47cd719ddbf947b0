"""Data that Weaver 0.1.0 stored still opens: its catalog, runs, events, settings and its dump (tests/fixtures/stored_by_0_1_0)."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from using import ask

from weaver.cli.main import main
from weaver.walle.embedded import attach
from weaver.walle.embedded.attachment import stop
from weaver.walle.embedded.binaries import find_programs
from weaver.walle.embedded.client import Client
from weaver.walle.embedded.paths import DatabasePaths
from weaver.walle.schema import REVISION

pytestmark = pytest.mark.log

Weaver = Callable[..., str]
STORED = Path(__file__).parents[1] / "fixtures" / "stored_by_0_1_0"
RUNS = [json.loads(line) for line in (STORED / "runs.jsonl").read_text().splitlines()]
EVENTS = [json.loads(line) for line in (STORED / "events.jsonl").read_text().splitlines()]
FINISHED = next(run["id"] for run in RUNS if run["config"]["params"] == {"fast": 3, "slow": 8, "fails_at": 0})
OTHER = next(run["id"] for run in RUNS if run["config"]["params"] == {"fast": 5, "slow": 8, "fails_at": 0})
FAILED = next(run["id"] for run in RUNS if run["status"] == "failed")


@pytest.fixture
def weaver(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Weaver:
    """`weaver(home, "runs", "list")` runs the command in this process, which saves a second each, and returns its output."""

    def run(home: Path, *arguments: str) -> str:
        monkeypatch.setenv("WEAVER_HOME", str(home))
        monkeypatch.delenv("DB_URL", raising=False)
        monkeypatch.chdir(home)
        capsys.readouterr()
        code = main(arguments)
        output = capsys.readouterr()
        assert code == 0, output.err
        return output.out

    return run


@pytest.fixture(scope="module")
def old_home(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """The home as 0.1.0 left it. Its database is made from the dump with pg_restore alone, so that its tables are the old ones."""
    home = tmp_path_factory.mktemp("stored") / "home"
    shutil.copytree(STORED / "home", home)
    with attach(home, linger=120) as attachment:
        client = Client(attachment.url, find_programs())
        done = client._run(["pg_restore", "--no-owner", "-d", client.database, str(STORED / "weaver.dump")])
        assert done.returncode == 0, done.stderr
        assert ask(attachment.url, "SELECT version_num FROM alembic_version") == "001"
    yield home
    stop(DatabasePaths(home), force=True)


def test_the_catalog_and_the_settings_of_the_version_before_are_read(weaver: Weaver, old_home: Path) -> None:
    listing = weaver(old_home, "data", "list")
    assert listing.count("90  2023-01-02") == 2
    weaver(old_home, "data", "check")
    (old_home / "old.py").write_text((STORED / "cross.py").read_text())
    printed = weaver(
        old_home, "backtest", "old.py", "--data", "catalog", "-s", "ACME", "--commission", "0.001", "--no-record"
    )
    assert "100,293.17" in printed


def test_its_runs_are_listed_shown_compared_and_reported_with_the_values_of_then(
    weaver: Weaver, old_home: Path
) -> None:
    listed = [json.loads(line) for line in weaver(old_home, "runs", "list", "--json").splitlines()]
    assert [run["id"] for run in listed] == [run["id"] for run in RUNS]
    for run, old in zip(listed, RUNS, strict=True):
        for name in ("status", "strategy", "error", "orders", "fills", "bars_done", "created_at", "ended_at"):
            assert run[name] == old[name]
        assert run["config"]["params"] == old["config"]["params"]
        assert run["stats"]["final_equity"] == old["stats"]["final_equity"]
    with attach(old_home) as attachment:
        assert ask(attachment.url, "SELECT version_num FROM alembic_version") == REVISION
    shown = weaver(old_home, "runs", "show", FINISHED)
    assert "100,293.17" in shown
    assert "fails on purpose" in weaver(old_home, "runs", "show", FAILED)
    compared = weaver(old_home, "runs", "compare", FINISHED, OTHER)
    assert "100,269.17" in compared
    for run in RUNS:
        page = old_home / "report.html"
        weaver(old_home, "runs", "report", run["id"], "-o", str(page))
        assert page.stat().st_size > 100_000


def test_its_events_and_consumers_are_read_as_they_were(weaver: Weaver, old_home: Path) -> None:
    events = [json.loads(line) for line in weaver(old_home, "events", "tail", "-n", "100", "--json").splitlines()]
    assert events == EVENTS
    stats = json.loads(weaver(old_home, "events", "stats", "--json"))
    assert "ledger" in json.dumps(stats)
    with attach(old_home) as attachment:
        assert ask(attachment.url, "SELECT consumer_id, last_offset FROM consumer_offsets") == "ledger|17"
        assert ask(attachment.url, "SELECT consumer_id, event_type FROM dead_letters") == "ledger|run.Error"


def test_its_dump_restores_into_tables_of_this_version(weaver: Weaver, tmp_path: Path) -> None:
    home = tmp_path / "home"
    try:
        home.mkdir()
        weaver(home, "db", "start", "--linger", "60")
        assert "restored" in weaver(home, "db", "restore", str(STORED / "weaver.dump"))
        with attach(home) as attachment:
            assert ask(attachment.url, "SELECT version_num FROM alembic_version") == REVISION
        listed = [json.loads(line) for line in weaver(home, "runs", "list", "--json").splitlines()]
        assert [run["id"] for run in listed] == [run["id"] for run in RUNS]
        events = weaver(home, "events", "tail", "-n", "100", "--json").splitlines()
        assert [json.loads(line) for line in events] == EVENTS
    finally:
        stop(DatabasePaths(home), force=True)


def test_a_backup_of_an_old_home_restores_with_its_run_files_elsewhere(
    weaver: Weaver, old_home: Path, tmp_path: Path
) -> None:
    file, home = tmp_path / "weaver.backup", tmp_path / "home"
    printed = weaver(old_home, "db", "backup", str(file))
    assert "with the files of 4 runs" in printed
    home.mkdir()
    try:
        weaver(home, "db", "start", "--linger", "60")
        assert "with the files of 4 runs" in weaver(home, "db", "restore", str(file), "--force")
        stored = {path.relative_to(old_home) for path in (old_home / "runs").rglob("*") if path.is_file()}
        assert {path.relative_to(home) for path in (home / "runs").rglob("*") if path.is_file()} == stored
        page = home / "report.html"
        weaver(home, "runs", "report", FINISHED, "-o", str(page))
        assert page.stat().st_size > 100_000
        assert [path.name for path in home.iterdir() if path.name.startswith(".")] == []
    finally:
        stop(DatabasePaths(home), force=True)
