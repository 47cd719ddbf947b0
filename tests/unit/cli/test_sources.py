"""`--data`: what each form of it means."""

from __future__ import annotations

import os
from pathlib import Path

import click
import pytest

from weaver.cli.main import ExitCode
from weaver.cli.sources import bars_of, pairs_of
from weaver.core.errors import UnknownSymbol
from weaver.data.load_bars import load_bars


def test_a_file_is_a_path_and_a_named_file_a_mapping(bars_csv) -> None:
    assert bars_of([str(bars_csv)], [], None) == bars_csv
    assert bars_of([f"UP={bars_csv}"], [], None) == {"UP": bars_csv}
    assert bars_of([f"A={bars_csv}", f"B={bars_csv}"], [], None) == {"A": bars_csv, "B": bars_csv}


def test_a_file_with_an_equals_sign_in_its_name_is_still_a_file(tmp_path) -> None:
    path = tmp_path / "a=b.csv"
    path.touch()
    assert bars_of([str(path)], [], None) == path


def test_the_demo_is_one_symbol_some_or_all() -> None:
    assert list(load_bars(bars_of(["demo:AAPL"], [], None))) == ["AAPL"]
    assert list(load_bars(bars_of(["demo:MSFT,AAPL"], [], None))) == ["MSFT", "AAPL"]
    assert list(bars_of(["demo"], [], None)) == ["AAPL", "FB", "GOOG", "IBM", "MSFT"]
    with pytest.raises(UnknownSymbol, match="'APPL' is not in the bars that come with Weaver; did you mean 'AAPL'"):
        bars_of(["demo:APPL"], [], None)


def test_demo_and_files_can_be_mixed(bars_csv) -> None:
    found = bars_of(["demo:AAPL", f"UP={bars_csv}"], [], None)
    assert list(found) == ["AAPL", "UP"]


def test_what_cannot_be_combined_is_refused_with_the_way_out(bars_csv) -> None:
    with pytest.raises(click.UsageError, match="SYMBOL="):
        bars_of([str(bars_csv), str(bars_csv)], [], None)
    with pytest.raises(click.UsageError, match="names UP twice"):
        bars_of([f"UP={bars_csv}", f"UP={bars_csv}"], [], None)


@pytest.mark.parametrize("sources", [[""], ["demo:AAPL", ""]])
def test_nothing_is_no_source(sources: list[str]) -> None:
    with pytest.raises(click.UsageError, match="--data is empty"):
        bars_of(sources, [], None)


def test_a_file_without_permission_is_told_by_its_reader(weaver, bars_csv, buy_once, monkeypatch) -> None:
    access, opened = os.access, Path.open

    def refuse(path: Path, *arguments: object, **options: object) -> object:  # root may read every file
        if path == bars_csv:
            raise PermissionError(13, "Permission denied", str(path))
        return opened(path, *arguments, **options)

    monkeypatch.setattr(Path, "open", refuse)
    monkeypatch.setattr(os, "access", lambda path, mode: str(path) != str(bars_csv) and access(path, mode))
    for command in (("backtest", buy_once, "--data", bars_csv), ("data", "import", bars_csv, "-s", "X")):
        ended = weaver(*command)
        assert ended.code == ExitCode.DATA
        assert f"{bars_csv}: cannot be read: Permission denied" in ended.err


def test_parameters_are_pairs_each_named_once() -> None:
    assert pairs_of(["fast=10", " slow = 30 ", "name=a=b"]) == {"fast": "10", "slow": "30", "name": "a=b"}
    for wrong in ("fast", "=3", " =3"):
        with pytest.raises(click.BadParameter, match="NAME=VALUE"):
            pairs_of([wrong])
    with pytest.raises(click.BadParameter, match="twice"):
        pairs_of(["fast=1", "fast=2"])


def test_a_folder_is_a_catalog(tmp_path: Path, weaver, bars_csv) -> None:
    folder = tmp_path / "catalog"
    imported = weaver(
        "data", "import", bars_csv, "--symbol", "UP", "--timeframe", "1d", "--tz", "UTC", "--catalog", folder
    )
    assert imported.code == 0, imported
    assert list(load_bars(bars_of([str(folder)], [], None))) == ["UP"]
    assert list(load_bars(bars_of([str(folder)], ["UP"], "1d"))) == ["UP"]
