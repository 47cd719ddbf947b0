"""WEAVER_HOME keeps other users out: whatever the umask, in folders of older versions too, and by changing nothing of others."""

from __future__ import annotations

import errno
import os
import shutil
import stat
from collections.abc import Callable, Iterator
from pathlib import Path

import polars as pl
import pytest
from second_user import SecondUser, open_folder, second_user

from weaver import Strategy, backtest, shipped_bars
from weaver.cli.main import main
from weaver.core.run_folders import RunFolders
from weaver.data.catalog import Catalog
from weaver.glados.backtest.run_ending import RunEnding
from weaver.private_home import is_in_home, secure_home
from weaver.results.run_files import save
from weaver.walle.embedded.attachment import stop
from weaver.walle.embedded.paths import DatabasePaths

__all__ = ["open_folder", "second_user"]

Weaver = Callable[..., str]
STORED = Path(__file__).parents[1] / "fixtures" / "stored_by_0_1_0" / "home"
STRATEGY = '''
from weaver import Strategy


class Holds(Strategy):
    """My secret."""

    def on_bar(self, bar):
        if not self.position:
            self.buy(1)
'''
BARS = "date,open,high,low,close,volume\n" + "".join(f"2024-01-{day:02},1,2,1,2,5\n" for day in range(1, 9))

# Prints each path of its arguments that this user can read, or list.
READ = """
for path in map(pathlib.Path, sys.argv[1:]):
    with contextlib.suppress(OSError):
        list(path.iterdir()) if path.is_dir() else path.read_bytes()
        print(path)
"""


@pytest.fixture
def weaver(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Weaver:
    """Run a command on a home in this process; return what it printed to standard error."""

    def run(home: Path, *arguments: str) -> str:
        monkeypatch.setenv("WEAVER_HOME", str(home))
        monkeypatch.delenv("DB_URL", raising=False)
        capsys.readouterr()
        code = main(arguments)
        err = capsys.readouterr().err
        assert code == 0, err
        return err

    return run


@pytest.fixture(params=[0o022, 0o000], ids=["umask 022", "umask 000"])
def umask(request: pytest.FixtureRequest) -> Iterator[None]:
    before = os.umask(request.param)
    yield
    os.umask(before)


@pytest.fixture
def no_umask() -> Iterator[None]:
    """The umask that takes away nothing, so that every mode is the one that Weaver asks for."""
    before = os.umask(0)
    yield
    os.umask(before)


def modes(home: Path) -> dict[str, str]:
    """Return the paths below `home`, itself included, with the permissions of other users than the owner."""
    return {
        str(path.relative_to(home)): f"{stat.S_IMODE(path.lstat().st_mode):o}"
        for path in (home, *home.rglob("*"))
        if (path.is_dir() or path.is_file()) and not path.is_symlink() and path.lstat().st_mode & 0o077
    }


def readable(user: SecondUser, home: Path) -> list[str]:
    """Return the paths below `home` that the user can read, also if every folder above them were open."""
    paths = [home, *(path for path in home.rglob("*") if path.is_file() or path.is_dir())]
    first = user.run(READ, *paths).stdout.split()
    folders = [path for path in paths if path.is_dir()]
    kept = {folder: folder.stat().st_mode for folder in folders}
    for folder in folders:
        folder.chmod(0o711)
    files = user.run(READ, *(path for path in paths if path.is_file())).stdout.split()
    for folder, mode in kept.items():
        folder.chmod(mode)
    return first + files


def test_another_user_reads_nothing_that_weaver_writes(
    weaver: Weaver, no_umask: None, second_user: SecondUser, open_folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    home, work = open_folder / "new" / "home", open_folder / "work"
    work.mkdir()
    monkeypatch.chdir(work)
    (work / "mine.py").write_text(STRATEGY)
    (work / "bars.csv").write_text(BARS)
    try:
        weaver(home, "db", "start", "--linger", "60")
        weaver(home, "data", "import", "bars.csv", "--symbol", "X", "--timeframe", "1d")
        weaver(
            home,
            "backtest",
            "mine.py",
            "--data",
            "catalog",
            "-s",
            "X",
            "--record",
            "--json",
            "mine.json",
            "--report",
            "mine.html",
        )
        weaver(home, "db", "backup", "mine.backup")
        shutil.rmtree(home / "runs")
        weaver(home, "db", "restore", "mine.backup", "--force")
        assert list((home / "runs").glob("*/run.json")), "its files are there again"
        assert modes(home) == {}
        assert readable(second_user, home) == []
        assert not (home.parent.stat().st_mode & 0o022), "nobody may exchange the home"
        for name in ("mine.json", "mine.html"):  # files that the user names have the modes that the user's umask gives
            assert stat.S_IMODE((work / name).stat().st_mode) == 0o666
        assert stat.S_IMODE((work / "mine.backup").stat().st_mode) == 0o600
    finally:
        stop(DatabasePaths(home), force=True)


def old_home(folder: Path, mode: int = 0o755) -> Path:
    """Make a home as an older version left it with the usual umask."""
    home = folder / "home"
    shutil.copytree(STORED, home)
    for path in (home, *home.rglob("*")):
        path.chmod(mode if path.is_dir() else mode & 0o666)
    return home


def test_an_older_home_is_closed_once_and_that_is_reported_in_one_line(
    weaver: Weaver, second_user: SecondUser, open_folder: Path
) -> None:
    home = old_home(open_folder)
    count = len(modes(home))
    assert len(readable(second_user, home)) > 20, "the control: all of it could be read"
    said = weaver(home, "data", "list").splitlines()
    assert said == [
        f"other users could enter or read {count} folders and files in {home}: now only you can (0700, 0600)"
    ]
    assert modes(home) == {}
    assert readable(second_user, home) == []
    assert weaver(home, "data", "list") == ""


def test_a_group_loses_its_permissions_too_and_programs_stay_programs(tmp_path: Path) -> None:
    home = old_home(tmp_path, 0o2770)
    (home / "runs" / "tool").write_text("#!/bin/sh")
    (home / "runs" / "tool").chmod(0o755)
    secure_home(home, lambda line: None)
    assert modes(home) == {}
    assert stat.S_IMODE((home / "runs" / "tool").stat().st_mode) == 0o700


def test_folders_of_others_links_and_files_with_several_names_are_left_as_they_are(
    second_user: SecondUser, open_folder: Path
) -> None:
    home, elsewhere = old_home(open_folder), open_folder / "elsewhere"
    elsewhere.mkdir(mode=0o755)
    (elsewhere / "file").write_text("mine")
    (elsewhere / "file").chmod(0o644)
    os.link(elsewhere / "file", home / "runs" / "hard")
    (home / "runs" / "link").symlink_to(elsewhere)
    foreign = home / "runs" / "foreign"
    (foreign / "below").mkdir(parents=True, mode=0o755)
    for path in (foreign, foreign / "below"):
        path.chmod(0o755)
        os.chown(path, second_user.uid, second_user.gid)
    lines: list[str] = []
    secure_home(home, lines.append)
    assert len(lines) == 1
    for part in (
        f"{foreign} (of another user)",
        f"{home / 'runs' / 'link'} (a link)",
        "hard (a file with several names)",
    ):
        assert part in lines[0]
    assert modes(home) == {"runs/foreign": "755", "runs/foreign/below": "755", "runs/hard": "644"}
    assert stat.S_IMODE(elsewhere.stat().st_mode) == 0o755
    secure_home(home, lines.append)
    assert len(lines) == 1, "not at every command"


def test_a_home_of_another_user_is_not_changed_and_what_is_ours_in_it_is(
    second_user: SecondUser, open_folder: Path
) -> None:
    home = old_home(open_folder)
    os.chown(home, second_user.uid, second_user.gid)
    lines: list[str] = []
    secure_home(home, lines.append)
    assert modes(home) == {".": "755"}
    assert len(lines) == 1


@pytest.mark.parametrize("mode", [0o1777, 0o755])
def test_a_home_that_holds_other_files_keeps_its_mode(tmp_path: Path, mode: int) -> None:
    home = old_home(tmp_path)
    (home / "projects").mkdir(mode=0o755)
    home.chmod(mode)
    secure_home(home, lambda line: None)
    assert stat.S_IMODE(home.stat().st_mode) == mode
    assert set(modes(home)) == {".", "projects"}


def test_a_link_in_place_of_a_folder_is_not_followed(tmp_path: Path) -> None:
    home, elsewhere = tmp_path / "home", tmp_path / "elsewhere"
    for folder in (home, elsewhere):
        folder.mkdir(mode=0o755)
    (home / "catalog").symlink_to(elsewhere)
    (home / "runs").mkdir()
    (home / "runs").chmod(0o755)
    lines: list[str] = []
    secure_home(home, lines.append)
    assert stat.S_IMODE(elsewhere.stat().st_mode) == 0o755
    assert f"not changed: {home / 'catalog'} (a link)" in lines[0]


@pytest.mark.parametrize("error", [None, errno.EPERM, errno.EROFS], ids=["ignored", "EPERM", "EROFS"])
def test_a_file_system_without_permissions_is_no_error_and_nothing_is_said_to_be_closed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, error: int | None
) -> None:
    def fchmod(descriptor: int, mode: int) -> None:
        if error is not None:
            raise OSError(error, os.strerror(error))

    home, lines = old_home(tmp_path), list[str]()
    monkeypatch.setattr(os, "fchmod", fchmod)
    secure_home(home, lines.append)
    assert lines == []


def test_an_empty_home_is_closed_without_a_word(tmp_path: Path) -> None:
    home = tmp_path / "home"
    home.mkdir()
    home.chmod(0o755)
    lines: list[str] = []
    secure_home(home, lines.append)
    assert (modes(home), lines) == ({}, [])


def test_a_line_break_in_the_name_of_the_home_adds_no_line(tmp_path: Path) -> None:
    folder = tmp_path / "a\nerror: b\x1b"
    folder.mkdir()
    lines: list[str] = []
    secure_home(old_home(folder), lines.append)
    assert lines[0].isprintable()


def test_a_catalog_elsewhere_keeps_the_modes_of_the_umask(
    weaver: Weaver, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    before = os.umask(0o002)
    try:
        Path("bars.csv").write_text(BARS)
        shared = tmp_path / "shared"
        weaver(tmp_path / "home", "data", "import", "bars.csv", "-s", "X", "-t", "1d", "--catalog", str(shared))
    finally:
        os.umask(before)
    kinds = {stat.S_IMODE(path.stat().st_mode) for path in shared.rglob("*")}
    assert kinds == {0o775, 0o664}
    monkeypatch.setenv("WEAVER_HOME", str(tmp_path / "home"))
    assert not is_in_home(shared)
    assert is_in_home(tmp_path / "home" / "catalog")
    (tmp_path / "home").mkdir()
    (tmp_path / "home" / "linked").symlink_to(shared)
    assert not is_in_home(tmp_path / "home" / "linked")


class Holds(Strategy):
    def on_bar(self, bar: object) -> None:
        if not self.position:
            self.buy(1)


@pytest.mark.usefixtures("umask")
def test_the_files_of_a_run_and_of_the_catalog_are_private_from_the_first_byte(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """No file is made with the modes of the umask and closed afterwards."""
    monkeypatch.setenv("WEAVER_HOME", str(tmp_path / "home"))
    changed: list[object] = []
    monkeypatch.setattr(os, "chmod", lambda *arguments, **_: changed.append(arguments))
    result = backtest(Holds, shipped_bars("AAPL"))
    folders = RunFolders(tmp_path / "home" / "runs")
    save(result.record, folders)
    RunEnding(
        run_id=result.run_id, mode="backtest", strategy="Holds", config="{}", weaver="1", bars_total=1, began_ns=1,
        ended_ns=1, status="stopped", bars_done=1, with_rows=False, orders=0, fills=0,
    ).keep(folders)  # fmt: skip
    bars = pl.read_csv(BARS.encode(), try_parse_dates=True).rename({"date": "timestamp"})
    columns = pl.exclude("timestamp").cast(pl.Float64), pl.col("timestamp").cast(pl.Datetime("us", "UTC"))
    Catalog().write("X", "1d", bars.with_columns(*columns))
    assert len(list((tmp_path / "home").rglob("*"))) > 10
    assert modes(tmp_path / "home") == {}
    assert changed == []
