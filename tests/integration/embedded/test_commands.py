"""`weaver db` on the real embedded server."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
import tarfile
from collections.abc import Callable
from pathlib import Path

import pytest
from using import User, ask, lives, wait_until_stopped

from weaver.walle.embedded import Attachment, attach
from weaver.walle.embedded.binaries import find_programs
from weaver.walle.embedded.client import Client
from weaver.walle.migrate import downgrade

Run = Callable[..., subprocess.CompletedProcess[str]]
EVENTS = """
INSERT INTO outbox (type, payload) SELECT 'n', jsonb_build_object('n', n) FROM generate_series(1, {}) n
"""


@pytest.fixture
def weaver(home: Path) -> Run:
    def run(*arguments: str) -> subprocess.CompletedProcess[str]:
        environment = dict(os.environ) | {"WEAVER_HOME": str(home), "PYTHONWARNINGS": "error"}
        return subprocess.run(
            [sys.executable, "-m", "weaver", "db", *arguments],
            env=environment,
            capture_output=True,
            text=True,
            check=False,
        )

    return run


def remove_tables(url: str) -> None:
    """Leave the database without tables for the next test, which shares it."""
    downgrade(url)
    ask(url, "DROP TABLE alembic_version")


def test_started_it_runs_without_users_until_it_is_stopped(weaver: Run) -> None:
    started = weaver("start")
    assert started.returncode == 0, started.stderr
    about = json.loads(weaver("status", "--json").stdout)
    assert (about["running"], about["kept"], about["users"]) == (True, True, [])
    assert lives(about["pid"])
    assert "running, until `weaver db stop`" in weaver("status").stdout
    assert re.fullmatch(r"postgresql\+asyncpg://weaver:\*\*\*@/weaver\?host=\S+&port=5432\n", weaver("url").stdout)
    url = weaver("url", "--show-password").stdout.strip()
    assert ask(url, "SELECT 1") == "1"
    assert weaver("stop").stdout == "stopped\n"
    assert not lives(about["pid"])


def test_stop_says_who_uses_it_and_then_leaves_it_to_the_last_of_them(weaver: Run, home: Path) -> None:
    weaver("start")
    user = User(home)
    refused = weaver("stop")
    assert refused.returncode == 1
    assert f"in use by process {user.process.pid} (" in refused.stderr
    assert "--force" in refused.stderr
    assert ask(user.url, "SELECT 1") == "1"
    user.leave()
    wait_until_stopped(home)


def test_stop_by_force_stops_it_under_its_users_and_they_may_come_again(weaver: Run, home: Path) -> None:
    user = User(home)
    assert weaver("stop", "--force").stdout == "stopped\n"
    assert not lives(int(user.server))
    user.leave()
    with attach(home) as held:
        assert ask(held.url, "SELECT 1") == "1"


def test_psql_holds_the_server_while_it_runs_and_shows_no_password_in_its_arguments(weaver: Run, home: Path) -> None:
    done = weaver("psql", "-At", "-c", "SELECT 6 * 7", "-c", r"\! ps -o args= -p $PPID")
    assert done.returncode == 0, done.stderr
    answer, arguments = done.stdout.strip().splitlines()
    assert answer == "42"
    assert (home / "postgres" / "password").read_text().strip() not in arguments


def test_a_backup_comes_back_whole(weaver: Run, home: Path, tmp_path: Path) -> None:
    file = tmp_path / "saved.dump"
    with attach(home) as held:
        assert weaver("upgrade").returncode == 0
        ask(held.url, EVENTS.format(100))
        assert weaver("backup", str(file)).returncode == 0
        assert file.stat().st_mode & 0o777 == 0o600
        ask(held.url, "DELETE FROM outbox; CREATE TABLE later (n int)")
        refused = weaver("restore", str(file))
        assert (refused.returncode, "is not empty: it has 10 tables" in refused.stderr) == (1, True)
        assert ask(held.url, "SELECT count(*) FROM outbox") == "0"
        assert weaver("restore", str(file), "--force").returncode == 0
        assert ask(held.url, "SELECT count(*), sum((payload ->> 'n')::int) FROM outbox") == "100|5050"
        assert ask(held.url, "SELECT to_regclass('later') IS NULL") == "t"
        assert ask(held.url, "SELECT count(*) FROM pg_database WHERE datname LIKE 'weaver%'") == "1"
        remove_tables(held.url)


def test_a_backup_with_a_table_of_your_own_restores_without_it_where_you_say_so(
    weaver: Run, home: Path, tmp_path: Path
) -> None:
    file = tmp_path / "saved.dump"
    with attach(home) as held:
        assert weaver("upgrade").returncode == 0
        ask(held.url, EVENTS.format(1) + "; CREATE TABLE own AS SELECT 1 AS n")
        assert weaver("backup", str(file)).returncode == 0
        refused = weaver("restore", str(file), "--force")
        assert (refused.returncode, "TABLE public own" in refused.stderr) == (1, True)
        assert "--skip-unknown" in refused.stderr
        assert weaver("restore", str(file), "--force", "--skip-unknown").returncode == 0
        assert ask(held.url, "SELECT count(*), to_regclass('own') IS NULL FROM outbox") == "1|t"
        remove_tables(held.url)


def test_a_restore_that_fails_leaves_everything_as_it_was(holding: Attachment, weaver: Run, tmp_path: Path) -> None:
    assert weaver("upgrade").returncode == 0
    ask(holding.url, EVENTS.format(20_000))
    whole, broken = tmp_path / "whole.dump", tmp_path / "broken.dump"
    Client(holding.url, find_programs()).backup(whole, tmp_path / "runs", version="0")
    with tarfile.open(whole) as archive:
        content = archive.extractfile("database.dump")
        assert content is not None
        text = content.read()
    broken.write_bytes(text[: len(text) * 3 // 4])
    for file in (broken, tmp_path / "missing.dump", Path(__file__)):
        refused = weaver("restore", str(file), "--force")
        assert (refused.returncode, str(file) in refused.stderr) == (1, True), refused
        assert ask(holding.url, "SELECT count(*) FROM outbox") == "20000"
        assert ask(holding.url, "SELECT count(*) FROM pg_database WHERE datname LIKE 'weaver%'") == "1"
    remove_tables(holding.url)


def test_a_restore_is_refused_while_somebody_is_connected(weaver: Run, holding: Attachment, tmp_path: Path) -> None:
    file = tmp_path / "empty.dump"
    assert weaver("backup", str(file)).returncode == 0
    program = find_programs().path("psql")
    environment = Client(holding.url, find_programs()).environment()
    other = subprocess.Popen(
        [program, "-XAt"], env=environment, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    assert other.stdin is not None
    assert other.stdout is not None
    other.stdin.write("SELECT 'here';\n")
    other.stdin.flush()
    assert other.stdout.readline() == "here\n"
    refused = weaver("restore", str(file))
    assert (refused.returncode, "has 1 open connection;" in refused.stderr) == (1, True)
    other.communicate()
    assert weaver("restore", str(file)).returncode == 0


def test_a_backup_into_a_folder_or_nowhere_is_refused_by_name(weaver: Run, tmp_path: Path) -> None:
    for target in (tmp_path, tmp_path / "no" / "folder.dump"):
        refused = weaver("backup", str(target))
        assert (refused.returncode, str(target) in refused.stderr) == (1, True)
    assert list(tmp_path.glob("**/*.new")) == []


def test_your_own_server_is_backed_up_and_restored_alike(home: Path, tmp_path: Path) -> None:
    """The same server, met as somebody's own through DB_URL."""
    with attach(home) as held:
        environment = dict(os.environ) | {"WEAVER_HOME": str(tmp_path / "other"), "DB_URL": held.url}

        def run(*arguments: str) -> str:
            done = subprocess.run(
                [sys.executable, "-m", "weaver", "db", *arguments],
                env=environment,
                capture_output=True,
                text=True,
                check=True,
            )
            return done.stdout

        assert "answers, PostgreSQL" in run("status")
        run("upgrade")
        ask(held.url, EVENTS.format(1))
        run("backup", str(tmp_path / "mine.dump"))
        run("restore", "--yes", str(tmp_path / "mine.dump"))
        assert run("psql", "-Atc", "SELECT count(*) FROM outbox") == "1\n"
        assert not (tmp_path / "other").exists()
        remove_tables(held.url)
