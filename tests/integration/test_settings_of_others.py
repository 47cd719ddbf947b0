"""A weaver.toml that another user may have written is ignored, with a line that says so, and never holds a command up."""

from __future__ import annotations

import os
import stat
from pathlib import Path
from typing import Any

import pytest
from second_user import SecondUser, open_folder, second_user

from weaver.cli.main import main
from weaver.config import Settings
from weaver.core.errors import ConfigError

__all__ = ["open_folder", "second_user"]

TEXT = '[database]\nurl = "postgresql://them@127.0.0.1:1/theirs"\nlinger = 7\n'
OWN = "[database]\nlinger = 7\n"


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The current folder, which belongs to this user."""
    monkeypatch.setenv("WEAVER_HOME", str(tmp_path / "home"))
    monkeypatch.delenv("DB_URL", raising=False)
    (tmp_path / "here").mkdir()
    monkeypatch.chdir(tmp_path / "here")
    return tmp_path / "here"


def write(path: Path, text: str = TEXT, mode: int = 0o644) -> Path:
    path.parent.mkdir(exist_ok=True)
    path.write_text(text)
    path.chmod(mode)
    return path


@pytest.mark.parametrize("place", ["here", "home"])
def test_a_file_of_another_user_is_ignored_and_named_once(
    here: Path, second_user: SecondUser, capsys: pytest.CaptureFixture[str], place: str
) -> None:
    file = write(here.parent / place / "weaver.toml")
    os.chown(file, second_user.uid, second_user.gid)
    settings = Settings.load()
    assert settings.database.url is None
    assert settings.linger == 0
    assert str(file) not in str(settings.sources)
    Settings.load()
    line = f"{file} is ignored: it belongs to user {second_user.name}, not to you or root; if you want its settings, copy it\n"
    assert capsys.readouterr().err == line


def test_a_shared_folder_in_which_another_user_waits(
    second_user: SecondUser, open_folder: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """What a command in /tmp meets: a file, a link to a file of root, or a named pipe, which would never be read to its end."""
    open_folder.chmod(0o1777)
    monkeypatch.chdir(open_folder)
    monkeypatch.setenv("WEAVER_HOME", str(open_folder / "home"))
    monkeypatch.delenv("DB_URL", raising=False)
    target = write(open_folder / "of_root.toml")
    file = open_folder / "weaver.toml"
    for code in (
        f"pathlib.Path({str(file)!r}).write_text({TEXT!r})",
        f"os.symlink({str(target)!r}, {str(file)!r})",
        f"os.mkfifo({str(file)!r})",
    ):
        done = second_user.run(code)
        assert done.returncode == 0, done.stderr
        assert main(["db", "status"]) == 0
        printed = capsys.readouterr()
        assert "embedded" in printed.out
        assert "theirs" not in printed.out
        second_user.run(f"os.unlink({str(file)!r})")


def test_a_file_that_every_user_can_write_to_is_ignored_and_stays_as_it_is(
    here: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    files = [write(here / "weaver.toml", mode=0o666), write(here.parent / "home" / "weaver.toml", mode=0o666)]
    assert main(["db", "status"]) == 0
    assert main(["data", "list"]) == 0
    err = capsys.readouterr().err
    for file in files:
        assert f"{file} is ignored: every user can write to it" in err
        assert stat.S_IMODE(file.stat().st_mode) == 0o666, "closing it would make it trusted"


@pytest.mark.parametrize("mode", [0o600, 0o644, 0o664])
def test_a_file_of_this_user_counts_and_so_does_a_link_to_it(here: Path, mode: int) -> None:
    write(here.parent / "real.toml", OWN, mode)
    (here / "weaver.toml").symlink_to(here.parent / "real.toml")
    assert Settings.load().linger == 7


def test_a_named_pipe_or_a_folder_of_this_user_is_an_error(here: Path) -> None:
    os.mkfifo(here / "weaver.toml")
    with pytest.raises(ConfigError, match=r"weaver\.toml: cannot be read: it is not a regular file"):
        Settings.load()
    (here / "weaver.toml").unlink()
    (here / "weaver.toml").mkdir()
    with pytest.raises(ConfigError, match=r"weaver\.toml: cannot be read"):
        Settings.load()


def test_a_file_of_settings_has_a_limit(here: Path) -> None:
    write(here / "weaver.toml", OWN + "#" * (1 << 20))
    with pytest.raises(ConfigError, match="settings have at most 1,048,576 bytes"):
        Settings.load()


STRATEGY = """
from weaver import Strategy


class Holds(Strategy):
    def on_bar(self, bar):
        if not self.position:
            self.buy(1)
"""


def test_where_a_run_was_recorded_is_named_if_the_current_folder_chose_the_database(
    here: Path, database_url: str, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    (here / "mine.py").write_text(STRATEGY)
    command = ["backtest", "mine.py", "--data", "demo:AAPL", "--record"]
    monkeypatch.setenv("DB_URL", database_url)
    assert main(command) == 0
    assert recorded(capsys).count(" ") == 4, "the database that the environment names is no surprise"
    monkeypatch.delenv("DB_URL")
    file = write(here / "weaver.toml", f'[database]\nurl = "{database_url}"\n')
    assert main(command) == 0
    line = recorded(capsys)
    assert ", in PostgreSQL weaver@" in line
    assert line.endswith(f"({file}, line 2)")


def recorded(capsys: Any) -> str:
    err = capsys.readouterr().err
    return next(line for line in err.splitlines() if line.startswith("recorded: weaver runs show "))
