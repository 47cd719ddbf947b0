"""Files of a run that are missing, damaged or forged: the error names the file, and nothing outside of the runs is read."""

from __future__ import annotations

import json
import random
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import polars as pl
import pytest

from weaver import Strategy, backtest, shipped_bars
from weaver.core.errors import DataError
from weaver.core.run_folders import RunFolders
from weaver.indicators import sma
from weaver.results.run_files import forget, load, remove_false_bars, save

OTHER = "20240101T000000000000Z-otherrun"


class Cross(Strategy):
    def on_start(self) -> None:
        self.average = self.indicator(sma, self.bars.close, 20)

    def on_bar(self, bar: Any) -> None:
        if bar.close > self.average[-1] and not self.position:
            self.buy(10)
        elif bar.close < self.average[-1] and self.position:
            self.close()


@pytest.fixture(scope="module")
def saved(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, str]:
    """The folder of a recorded run, and its id."""
    root = tmp_path_factory.mktemp("runs")
    result = backtest(Cross, shipped_bars("AAPL"))
    save(result.record, RunFolders(root))
    return root, result.run_id


@pytest.fixture
def run(saved: tuple[Path, str], tmp_path: Path) -> tuple[RunFolders, str]:
    """A copy of it that a test may damage."""
    shutil.copytree(saved[0], tmp_path / "runs")
    return RunFolders(tmp_path / "runs"), saved[1]


def files(folders: RunFolders, run_id: str) -> list[Path]:
    return sorted([*folders.folder(run_id).iterdir(), *folders.bars_folder.iterdir()])


NAMES = ("bars", "equity.parquet", "fills.parquet", "orders.parquet", "plot-0.parquet", "run.json")


def file_named(run: tuple[RunFolders, str], name: str) -> Path:
    folders, run_id = run
    return next(folders.bars_folder.iterdir()) if name == "bars" else folders.file(run_id, name)


@pytest.mark.parametrize("name", NAMES)
def test_a_missing_file_is_named(run: tuple[RunFolders, str], name: str) -> None:
    file = file_named(run, name)
    file.unlink()
    with pytest.raises(DataError) as caught:
        load(*run)
    assert str(caught.value) == f"{file} is missing: the files of run {run[1]} are not complete"


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("damage", [lambda _: b"", lambda _: b"garbage" * 9, lambda data: data[: len(data) // 2],
                                    lambda data: data[:-3] + b"abc"], ids=["empty", "garbage", "half", "end"])  # fmt: skip
def test_a_damaged_file_is_named(run: tuple[RunFolders, str], name: str, damage: Callable[[bytes], bytes]) -> None:
    file = file_named(run, name)
    file.write_bytes(damage(file.read_bytes()))
    with pytest.raises(DataError, match="cannot be read: ") as caught:
        load(*run)
    assert str(caught.value).startswith(str(file))
    assert len(str(caught.value)) < len(str(file)) + 300


def test_damage_anywhere_in_a_file_is_an_error_that_names_it_or_changes_values_alone(
    run: tuple[RunFolders, str],
) -> None:
    chance = random.Random(5)
    messages: list[str] = []
    for file in files(*run):
        whole = file.read_bytes()
        for _ in range(25):
            data = bytearray(whole)
            for place in (chance.randrange(len(data)), len(data) - 1 - chance.randrange(min(400, len(data)))):
                data[place] ^= 1 << chance.randrange(8)
            file.write_bytes(data)
            try:
                load(*run)
            except DataError as error:
                messages.append(str(error))
        file.write_bytes(whole)
    load(*run)
    assert len(messages) > 20
    assert all(str(run[0].root) in message for message in messages)


@pytest.mark.parametrize("facts", [[], 7, None, {}, {"series": [3]}, "x"], ids=str)
def test_facts_of_another_form_are_refused_by_name(run: tuple[RunFolders, str], facts: object) -> None:
    file = file_named(run, "run.json")
    file.write_text(json.dumps(facts))
    with pytest.raises(DataError, match="cannot be read: ") as caught:
        load(*run)
    assert str(caught.value).startswith(str(file))


def forge(run: tuple[RunFolders, str], change: Callable[[dict[str, Any]], object]) -> None:
    file = file_named(run, "run.json")
    facts = json.loads(file.read_text())
    change(facts)
    file.write_text(json.dumps(facts))


@pytest.mark.parametrize("path", ["../../secret", "{outside}/secret", "../secret", "secret\x00", ["secret"]], ids=str)
def test_no_name_in_the_facts_reads_a_file_elsewhere(run: tuple[RunFolders, str], tmp_path: Path, path: Any) -> None:
    bars = pl.read_parquet(file_named(run, "bars"))
    for folder in (tmp_path, tmp_path / "runs"):
        bars.write_parquet(folder / "secret.parquet")
    pl.DataFrame({"values": bars["close"]}).write_parquet(tmp_path / "secret")
    path = path.format(outside=tmp_path) if isinstance(path, str) else path
    forge(run, lambda facts: facts["series"][0].update(digest=path))
    with pytest.raises(DataError, match="is not a digest of bars"):
        load(*run)
    good = file_named(run, "bars").stem
    forge(run, lambda facts: facts["series"][0].update(digest=good))
    forge(run, lambda facts: facts["plots"][0].update(file=path))
    with pytest.raises(DataError, match="is not the name of a file of run"):
        load(*run)


def test_the_record_of_another_run_is_refused(run: tuple[RunFolders, str]) -> None:
    forge(run, lambda facts: facts.update(run_id="../../x"))
    with pytest.raises(DataError, match="it is the record of another run"):
        load(*run)


def test_bars_stay_where_the_record_of_another_run_cannot_be_read(run: tuple[RunFolders, str]) -> None:
    folders, run_id = run
    shutil.copytree(folders.folder(run_id), folders.folder(OTHER))
    file = folders.file(OTHER, "run.json")
    whole = file.read_bytes()
    file.write_bytes(whole[:50])
    forget(folders, run_id)
    assert not folders.folder(run_id).exists()
    assert len(list(folders.bars_folder.iterdir())) == 1
    file.write_bytes(whole)
    forget(folders, OTHER)
    assert list(folders.bars_folder.iterdir()) == []


def test_bars_that_a_backup_of_others_brought_under_a_known_digest_are_not_taken(run: tuple[RunFolders, str]) -> None:
    file = file_named(run, "bars")
    bars = pl.read_parquet(file)
    bars.with_columns(pl.col("close") + 0.01, pl.col("high") + 1).write_parquet(file)
    with pytest.raises(DataError, match="its bars are not those that its name is the digest of") as caught:
        load(*run)
    assert str(caught.value).startswith(str(file))
    bars.write_parquet(file)
    load(*run)


def test_false_bars_of_a_backup_do_not_take_the_place_of_those_of_later_runs(run: tuple[RunFolders, str]) -> None:
    folders, run_id = run
    good = file_named(run, "bars")
    assert remove_false_bars(folders) == 0
    whole = good.read_bytes()
    pl.read_parquet(good).with_columns(pl.col("volume") + 1).write_parquet(good)
    (folders.bars_folder / f"{'ab' * 16}.parquet").write_bytes(whole)
    assert remove_false_bars(folders) == 2
    assert list(folders.bars_folder.iterdir()) == []
    good.write_bytes(whole)
    shutil.copytree(folders.folder(run_id), folders.folder(OTHER))
    file_named((folders, OTHER), "run.json").write_text("{}")
    assert remove_false_bars(folders) == 0
    load(folders, run_id)
    assert remove_false_bars(RunFolders(folders.root / "nowhere")) == 0
