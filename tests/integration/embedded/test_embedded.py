"""The embedded PostgreSQL, on a real one: it is there when it is used, and gone when nobody uses it, whatever way they left."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
from pathlib import Path

import pytest
from using import User, ask, kill, on, psql, wait_until_stopped

from weaver.core.errors import DatabaseStartError, DatabaseVersionError
from weaver.walle.embedded import Attachment, attach
from weaver.walle.embedded.binaries import find_programs
from weaver.walle.embedded.paths import DatabasePaths


def test_the_first_start_makes_the_database_and_the_last_to_leave_stops_it(tmp_path: Path) -> None:
    with attach(tmp_path) as held:
        assert ask(held.url, "SELECT current_database(), current_user, pg_encoding_to_char(encoding) FROM pg_database "
                             "WHERE datname = current_database()") == "weaver|weaver|UTF8"  # fmt: skip
        assert ask(held.url, "SHOW fsync") == ask(held.url, "SHOW data_checksums") == "on"
        assert ask(held.url, "SHOW listen_addresses") == ""
        assert ask(held.url, "SHOW idle_in_transaction_session_timeout") == "1min"
    wait_until_stopped(tmp_path)
    assert on(tmp_path) == []
    assert not (tmp_path / "postgres" / "server.json").exists()


def test_what_was_written_is_there_at_the_next_start(home: Path) -> None:
    with attach(home) as held:
        ask(held.url, "CREATE TABLE kept_over AS SELECT 42 AS n")
    wait_until_stopped(home)
    with attach(home) as held:
        assert ask(held.url, "SELECT n FROM kept_over; DROP TABLE kept_over").splitlines()[0] == "42"


def test_a_wrong_password_is_refused_and_the_right_one_is_shown_nowhere(holding: Attachment) -> None:
    refused = psql(holding.url, "SELECT 1", password="wrong")
    assert refused.returncode == 2
    assert "password authentication failed" in refused.stderr
    assert psql(holding.url, "SELECT 1", password="").returncode == 2
    assert holding.password not in repr(holding)
    assert DatabasePaths(holding.place.home).password.stat().st_mode & 0o777 == 0o600
    assert not any(holding.password in words for words in on(holding.place.home))


def test_two_processes_share_one_server_and_the_last_to_leave_stops_it(home: Path) -> None:
    first, second = User(home), User(home)
    assert (first.server, first.url) == (second.server, second.url)
    first.leave()
    assert ask(second.url, "SELECT 1") == "1"
    second.leave()
    wait_until_stopped(home)


def test_a_killed_user_is_a_user_who_left(home: Path) -> None:
    first, second = User(home), User(home)
    first.kill()
    assert ask(second.url, "SELECT 1") == "1"
    second.kill()
    wait_until_stopped(home)


@pytest.mark.parametrize(
    "victims", [("server",), ("keeper",), ("server", "keeper"), ("keeper", "server")], ids="+".join
)
def test_after_a_kill_the_next_attach_starts_again_with_all_that_was_committed(
    home: Path, victims: tuple[str, ...]
) -> None:
    user = User(home)
    ask(user.url, "DROP TABLE IF EXISTS survives; CREATE TABLE survives AS SELECT 7 AS n")
    for victim in victims:
        kill(getattr(user, victim))
    with attach(home) as held:  # while the first user still believes it holds the server
        assert held.server["pid"] != int(user.server)
        assert held.url == user.url
        assert ask(held.url, "SELECT n FROM survives") == "7"
        user.leave()
        assert ask(held.url, "SELECT n FROM survives; DROP TABLE survives").splitlines()[0] == "7"


def test_the_server_and_its_user_killed_together(home: Path) -> None:
    user = User(home)
    kill(user.server)
    user.kill()
    kill(user.keeper)
    with attach(home) as held:
        assert ask(held.url, "SELECT 1") == "1"


@pytest.mark.parametrize("pid", ["own", "gone", "nonsense"])
def test_a_stale_note_of_a_server_is_recognised(home: Path, pid: str) -> None:
    """Also where the number is another process's by now: here, this test's."""
    gone = subprocess.Popen([sys.executable, "-c", ""])
    gone.wait()
    note = DatabasePaths(home).data(find_programs().major) / "postmaster.pid"
    first = {"own": str(os.getpid()), "gone": str(gone.pid), "nonsense": "?"}[pid]
    note.write_text(f"{first}\n{note.parent}\n1\n5432\n/tmp\n\n 1 1\nready   \n")
    with attach(home) as held:
        assert ask(held.url, "SELECT 1") == "1"


def test_the_data_of_another_major_version_are_refused(tmp_path: Path) -> None:
    folder = tmp_path / "postgres" / "pg14"
    folder.mkdir(parents=True)
    (folder / "PG_VERSION").write_text("14\n")
    with pytest.raises(DatabaseVersionError, match=r"made by PostgreSQL 14.*WEAVER_PG_BIN"):
        attach(tmp_path)


def test_a_lost_password_is_replaced(home: Path) -> None:
    DatabasePaths(home).password.unlink()
    with attach(home) as held:
        assert ask(held.url, "SELECT 1") == "1"


def test_joining_takes_the_place_of_no_start(holding: Attachment) -> None:
    with attach(holding.place.home) as second:
        assert second.server == holding.server
    second.close()
    assert ask(holding.url, "SELECT 1") == "1"


def test_it_listens_on_tcp_only_where_that_was_asked_for(home: Path) -> None:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    with attach(home, tcp=port) as held:
        assert (held.server["tcp"], held.server["port"]) == (True, port)
        assert ask(f"postgresql://weaver:{held.password}@127.0.0.1:{port}/weaver", "SELECT 1") == "1"
        assert ask(held.url, "SHOW listen_addresses") == "127.0.0.1"


def test_a_server_that_cannot_start_says_why_in_its_own_words(home: Path) -> None:
    settings = DatabasePaths(home).data(find_programs().major) / "postgresql.conf"
    before = settings.read_text()
    settings.write_text(before + "max_connections = many\n")
    try:
        with pytest.raises(DatabaseStartError, match='invalid value for parameter "max_connections": "many"'):
            attach(home)
    finally:
        settings.write_text(before)
    with attach(home) as held:
        assert ask(held.url, "SELECT 1") == "1"
