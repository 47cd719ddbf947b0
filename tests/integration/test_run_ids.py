"""Run ids in a database that others write to: no command reads, writes or removes a file outside of the folder of runs."""

from __future__ import annotations

import asyncio
import json
import os
import shutil
import tarfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import asyncpg
import msgspec
import pytest

from weaver import Strategy, backtest, shipped_bars
from weaver.cli.main import main

pytestmark = pytest.mark.log

OTHER = "20240101T000000000000Z-otherrun"


class Holds(Strategy):
    def on_bar(self, bar: object) -> None:
        if not self.position:
            self.buy(1)


@dataclass(frozen=True)
class Place:
    """A recorded run, and a database in which another writer may store rows of any form."""

    folder: Path
    run_id: str
    url: str

    @property
    def runs(self) -> Path:
        return self.folder / "home" / "runs"

    def execute(self, statement: str, *arguments: object) -> list[asyncpg.Record]:
        async def work() -> list[asyncpg.Record]:
            connection = await asyncpg.connect(self.url.replace("+asyncpg", ""))
            try:
                return list(await connection.fetch(statement, *arguments))
            finally:
                await connection.close()

        return asyncio.run(work())

    def add_rows(self, *run_ids: str) -> None:
        """Store copies of the recorded run's row under other ids, as a writer who ignores the constraint."""
        self.execute("ALTER TABLE runs DROP CONSTRAINT IF EXISTS runs_id_form")
        self.execute(
            "INSERT INTO runs SELECT (jsonb_populate_record(r, jsonb_build_object('id', other))).* "
            "FROM runs r, unnest($1::text[]) other WHERE r.id = $2",
            run_ids, self.run_id,
        )  # fmt: skip

    def plant(self, folder: Path) -> None:
        """Make a folder that looks like a run and has a file which must survive."""
        shutil.copytree(self.runs / self.run_id, folder, dirs_exist_ok=True)
        (folder / "canary").write_text("alive")

    def files(self) -> dict[str, bytes]:
        """Return every file below the folder, except those of the run that was recorded and of the backup."""
        return {
            str(path.relative_to(self.folder)): path.read_bytes()
            for path in sorted(self.folder.rglob("*"))
            if path.is_file()
        }


@pytest.fixture
def place(own_url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Place:
    monkeypatch.setenv("DB_URL", own_url)
    monkeypatch.setenv("WEAVER_HOME", str(tmp_path / "home"))
    work = tmp_path / "deep" / "er"
    work.mkdir(parents=True)
    monkeypatch.chdir(work)
    result = backtest(Holds, shipped_bars("AAPL"), record=True)
    assert result.recording.wait(60)
    assert result.recording.error is None
    return Place(tmp_path, result.run_id, own_url)


Run = Callable[..., tuple[int, str, str]]


@pytest.fixture
def weaver(capsys: pytest.CaptureFixture[str]) -> Run:
    def run(*arguments: str) -> tuple[int, str, str]:
        capsys.readouterr()
        code = main(arguments)
        captured = capsys.readouterr()
        return code, captured.out, captured.err

    return run


def hostile_ids(place: Place) -> dict[str, Path | None]:
    """Return ids, and the folder that each would name."""
    outside = place.folder / "outside"
    return {
        "../../x": place.folder / "x",
        str(outside): outside,
        "../catalog": place.folder / "home" / "catalog",
        f"{OTHER}/../../y": place.folder / "home" / "y",
        "bars": place.runs / "bars",
        ".": place.runs,
        "..": place.folder / "home",
        "": place.runs,
        "a\nb": place.runs / "a\nb",
        f"{place.run_id}\n": place.runs / f"{place.run_id}\n",
        "\x1b[31mred": place.runs / "\x1b[31mred",
        "l" * 100: place.runs / ("l" * 100),
        f"{place.run_id}.part": place.runs / f"{place.run_id}.part",
    }


def test_no_command_touches_a_file_for_an_id_that_weaver_did_not_make(place: Place, weaver: Run) -> None:
    ids = hostile_ids(place)
    place.add_rows(*ids)
    for folder in ids.values():
        if folder is not None:
            place.plant(folder)
    before = place.files()
    code, listed, _ = weaver("runs", "list")
    assert code == 0
    assert len(listed.splitlines()) == len(ids) + 2, "no id adds a line"
    assert "\x1b" not in listed
    for run_id in ids:
        code, out, err = weaver("runs", "show", run_id)
        assert code == 1
        assert "run     " in out
        assert "is not one that Weaver makes" in err
        code, _, err = weaver("runs", "report", run_id, *(("-o", "mine.html") if run_id == "bars" else ()))
        assert (code, "is not one that Weaver makes" in err) == (1, True)
        code, out, _ = weaver("runs", "compare", run_id, place.run_id)
        assert code == 0
        assert "\x1b" not in out
    code, _, err = weaver("db", "backup", str(place.folder / "b"))
    assert code == 0, err
    assert f"{len(ids)} runs have an id that Weaver did not make: weaver db restore refuses this backup" in err
    with tarfile.open(place.folder / "b") as archive:
        names = archive.getnames()
    (place.folder / "b").unlink()
    assert not [name for name in names if "canary" in name or ".." in name]
    assert {name.split("/")[1] for name in names if name.startswith("runs/")} == {place.run_id, "bars"}
    assert place.files() == before
    for run_id in ids:
        code, out, err = weaver("runs", "delete", run_id, "--yes")
        assert (code, out.startswith("deleted: '")) == (0, True), err
        assert place.files() == before, f"{run_id!r} removed a file"
    assert [row["id"] for row in place.execute("SELECT id FROM runs")] == [place.run_id]
    assert weaver("runs", "show", place.run_id)[0] == 0


def test_an_empty_name_is_not_every_run(place: Place, weaver: Run) -> None:
    before = place.files()
    code, _, err = weaver("runs", "delete", "", "--yes")
    assert (code, "give more of the id" in err) == (2, True)
    assert place.files() == before


def test_a_link_in_the_folder_of_runs_is_not_followed(place: Place, weaver: Run) -> None:
    target = place.folder / "target"
    place.plant(target)
    facts = json.loads((target / "run.json").read_text())
    (target / "run.json").write_text(json.dumps(facts | {"run_id": OTHER}))
    place.add_rows(OTHER)
    (place.runs / OTHER).symlink_to(target)
    before = place.files()
    for arguments in (
        ("runs", "show", OTHER),
        ("runs", "report", OTHER),
        ("runs", "delete", OTHER, "--yes"),
        ("db", "backup", "b"),
    ):
        code, _, err = weaver(*arguments)
        assert code != 0
        assert "is a link, which is not followed" in err
    assert place.files() == before
    assert len(place.execute("SELECT id FROM runs")) == 2


def test_removing_bars_leaves_other_files_and_the_target_of_a_link(place: Place, weaver: Run) -> None:
    market, bars = place.folder / "market", place.runs / "bars"
    shutil.copytree(bars, market)
    (market / "spx.parquet").write_bytes(b"mine")
    shutil.rmtree(bars)
    bars.symlink_to(market)
    before = {path.name: path.read_bytes() for path in market.iterdir()}
    code, _, err = weaver("runs", "delete", place.run_id, "--yes")
    assert (code, "is a link" in err) == (4, True)
    assert {path.name: path.read_bytes() for path in market.iterdir()} == before
    bars.unlink()
    market.rename(bars)
    place.add_rows(OTHER)
    shutil.copytree(place.runs / place.run_id, place.runs / OTHER)
    assert weaver("runs", "delete", place.run_id, "--yes")[0] == 0
    assert weaver("runs", "delete", OTHER, "--yes")[0] == 0
    assert [path.name for path in bars.iterdir()] == ["spx.parquet"]


def test_the_database_refuses_an_id_that_weaver_does_not_make(place: Place) -> None:
    for run_id in hostile_ids(place):
        with pytest.raises(asyncpg.CheckViolationError, match="runs_id_form"):
            place.execute("UPDATE runs SET id = $1 WHERE id = $2", run_id, place.run_id)


def test_an_ending_of_another_run_is_not_stored(place: Place, weaver: Run) -> None:
    ending = _ending(place)
    folder = place.runs / OTHER
    shutil.copytree(place.runs / place.run_id, folder)
    for run_id in ("20240101T000000000000Z-forgedid", "../../x"):
        (folder / "pending.json").write_bytes(msgspec.json.encode(ending | {"run_id": run_id}))
        code, _, err = weaver("runs", "list")
        assert code == 0
        assert f"run {OTHER} is not recorded yet" in err
        assert "so it is not stored; remove the file" in err
        assert len(place.execute("SELECT id FROM runs")) == 1
    (folder / "pending.json").write_bytes(msgspec.json.encode(ending | {"run_id": OTHER}))
    assert weaver("runs", "list")[0] == 0
    assert len(place.execute("SELECT id FROM runs")) == 2


def test_an_ending_in_a_folder_of_another_name_or_behind_a_link_is_not_stored(place: Place, weaver: Run) -> None:
    ending = _ending(place)
    for folder in (place.runs / "evil", place.folder / "linked"):
        shutil.copytree(place.runs / place.run_id, folder)
        (folder / "pending.json").write_bytes(msgspec.json.encode(ending | {"run_id": OTHER}))
    (place.runs / OTHER).symlink_to(place.folder / "linked")
    assert weaver("runs", "list")[0] == 0
    assert len(place.execute("SELECT id FROM runs")) == 1
    assert (place.folder / "linked" / "pending.json").exists()


def _ending(place: Place) -> dict[str, object]:
    """Return the ending of the recorded run as its pending file would have it."""
    row = place.execute("SELECT config::text, bars_total, bars_done FROM runs")[0]
    return {
        "run_id": place.run_id, "mode": "backtest", "strategy": "Holds", "config": row[0], "weaver": "1", "bars_total": row[1],
        "began_ns": 1, "ended_ns": 2, "status": "stopped", "bars_done": row[2], "with_rows": False, "orders": 1, "fills": 1,
    }  # fmt: skip


def test_a_downgrade_and_an_upgrade_keep_rows_of_another_form_and_name_them(place: Place, weaver: Run) -> None:
    assert weaver("db", "downgrade", "002", "--yes")[0] == 0
    place.add_rows("../../x")
    code, _, err = weaver("db", "upgrade")
    assert code == 0
    assert "1 runs have an id that Weaver did not make ('../../x')" in err
    assert sorted(row["id"] for row in place.execute("SELECT id FROM runs")) == ["../../x", place.run_id]
    with pytest.raises(asyncpg.CheckViolationError):
        place.execute(
            'INSERT INTO runs SELECT (jsonb_populate_record(r, \'{"id": "../y"}\')).* FROM runs r WHERE id = $1',
            place.run_id,
        )
    assert weaver("runs", "delete", "../../x", "--yes")[0] == 0
    assert os.listdir(place.runs)
