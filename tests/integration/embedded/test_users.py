"""Who runs it: root, as somebody else and without touching a folder that is not ours; a normal user, as themselves."""

from __future__ import annotations

import os
import pwd
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest
from using import User, ask, on, wait_until_stopped

from weaver.core.errors import DatabaseStartError
from weaver.walle.embedded import attach, run_as_user
from weaver.walle.embedded.binaries import find_programs
from weaver.walle.embedded.paths import DatabasePaths

SOURCE = Path(__file__).parents[3] / "src" / "weaver"
as_root = pytest.mark.skipif(os.geteuid() != 0, reason="needs root, which this user is not")


@pytest.fixture
def open_folder() -> Iterator[Path]:
    """A folder that every user can pass, unlike those that pytest makes for root."""
    folder = Path(tempfile.mkdtemp(prefix="weaver-"))
    folder.chmod(0o755)
    yield folder
    shutil.rmtree(folder)


def modes_above(path: Path) -> list[tuple[int, int, int]]:
    return [(found.st_mode, found.st_uid, found.st_gid) for found in (folder.stat() for folder in path.parents)]


@as_root
def test_as_root_it_runs_as_another_user_and_no_folder_above_is_changed(tmp_path: Path) -> None:
    home = tmp_path / "closed" / "home"
    home.mkdir(parents=True)
    home.parent.chmod(0o700)  # only root can pass it: the server is handed its folder
    before = modes_above(home)
    with attach(home) as held:
        owner = Path(f"/proc/{held.server['pid']}").stat().st_uid
        assert pwd.getpwuid(owner).pw_name == held.server["user"]
        assert owner != 0
        assert DatabasePaths(home).data(find_programs().major).stat().st_uid == owner
        assert ask(held.url, "SELECT 1") == "1"
        assert modes_above(home) == before
    wait_until_stopped(home)
    assert modes_above(home) == before
    assert DatabasePaths(home).folder.stat().st_mode & 0o777 == 0o700


@as_root
def test_programs_that_the_other_user_cannot_reach_are_copied_once(
    home: Path, open_folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    found = find_programs()
    package = found.folder.parent.parent
    if found.folder.parent.name != "pginstall":
        pytest.skip("the programs here are not a wheel's")
    closed = open_folder / "closed"
    closed.mkdir(mode=0o700)
    for part in (package, package.with_name(package.name + ".libs")):
        if part.is_dir():
            shutil.copytree(part, closed / part.name, symlinks=True)
    for _ in range(2):
        with monkeypatch.context() as patch:
            patch.setenv("WEAVER_PG_BIN", str(closed / package.name / "pginstall" / "bin"))
            patch.setattr(run_as_user, "COPIES", open_folder / "weaver" / "programs")
            held = attach(home)
        with held:
            assert held.server["copied"]
            assert Path(held.server["programs"]).is_relative_to(open_folder / "weaver")
            assert ask(held.url, "SELECT 1") == "1"
        wait_until_stopped(home)
    assert len(list((open_folder / "weaver" / "programs").iterdir())) == 1


@as_root
def test_a_normal_user_runs_it_as_themselves(open_folder: Path) -> None:
    """A process that has become `nobody`, with code, programs and a Python that nobody can reach."""
    python = next((path for path in (sys.executable, "/usr/bin/python3") if _can_run(path)), None)
    if python is None:
        pytest.skip("there is no Python 3.11 here that the user nobody can reach")
    shutil.copytree(SOURCE, open_folder / "weaver", ignore=shutil.ignore_patterns("__pycache__"))
    package = find_programs().folder.parent.parent
    if find_programs().folder.parent.name == "pginstall":
        for part in (package, package.with_name(package.name + ".libs")):
            if part.is_dir():
                shutil.copytree(part, open_folder / part.name, symlinks=True, ignore=shutil.ignore_patterns("include"))
    for path in open_folder.rglob("*"):
        if not path.is_symlink():
            path.chmod(0o755 if path.is_dir() or os.access(path, os.X_OK) else 0o644)
    nobody = pwd.getpwnam("nobody")
    home = open_folder / ("a-home-with-a-long-name-" * 4)  # too long a path for a socket
    home.mkdir()
    os.chown(home, nobody.pw_uid, nobody.pw_gid)
    environment = {"PATH": os.environ["PATH"], "PYTHONPATH": str(open_folder), "HOME": "/nonexistent"}
    user = User(
        home, python=python, user=nobody.pw_uid, group=nobody.pw_gid, extra_groups=[], env=environment, cwd=open_folder
    )
    assert Path(f"/proc/{user.keeper}").stat().st_uid == Path(f"/proc/{user.server}").stat().st_uid == nobody.pw_uid
    assert ask(user.url, "SELECT 1") == "1"
    socket = Path(user.url.partition("host=")[2].partition("&")[0])
    assert socket.stat().st_mode & 0o777 == 0o700
    assert socket.parent in (Path("/tmp"), Path(tempfile.gettempdir()))
    with pytest.raises(DatabaseStartError, match="belongs to user nobody, and you are root"):
        attach(home)
    user.leave()
    wait_until_stopped(home)
    assert on(home) == []
    assert not socket.exists()


def _can_run(python: str) -> bool:
    code = "import sys; sys.exit(sys.version_info < (3, 11))"
    try:
        return not subprocess.run([python, "-c", code], user="nobody", extra_groups=[], cwd="/", check=False).returncode
    except OSError:
        return False


def test_a_folder_that_cannot_be_written_is_named(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    def refused(*_: object, **__: object) -> None:
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(Path, "mkdir", refused)
    with pytest.raises(DatabaseStartError, match=r"Permission denied; name a folder of your own with WEAVER_HOME=DIR"):
        DatabasePaths(tmp_path / "x").make()
