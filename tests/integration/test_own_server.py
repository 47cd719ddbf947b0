"""A PostgreSQL 15 of your own, as Debian packages it: every command with every kind of URL, poolers, privileges, backups."""

from __future__ import annotations

import asyncio
import json
import logging
import os
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any
from urllib.parse import quote

import pytest
from debian_server import PASSWORD, PROGRAMS, DebianServer, Pooler, free_port, running_debian_server, running_pooler
from using import ask

from weaver.cli.main import main
from weaver.walle.connection import Connector
from weaver.walle.embedded import attach
from weaver.walle.embedded.attachment import stop
from weaver.walle.embedded.paths import DatabasePaths
from weaver.walle.schema import REVISION

pytestmark = pytest.mark.log

Run = Callable[..., tuple[int, str, str]]
STORED = Path(__file__).parents[1] / "fixtures" / "stored_by_0_1_0"
STRATEGY = STORED / "cross.py"


@pytest.fixture(scope="module")
def server() -> Iterator[DebianServer]:
    with running_debian_server() as server:
        yield server


@pytest.fixture(scope="module")
def name(server: DebianServer) -> str:
    """A database with Weaver's tables, which no test changes."""
    return server.new_database()


@pytest.fixture(scope="module")
def transaction_pooler(server: DebianServer) -> Iterator[Pooler]:
    with running_pooler(server, "transaction") as pooler:
        yield pooler


@pytest.fixture(scope="module")
def session_pooler(server: DebianServer) -> Iterator[Pooler]:
    with running_pooler(server, "session") as pooler:
        yield pooler


@pytest.fixture
def run(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path) -> Run:
    """`run(url, "runs", "list")` runs a command on the database `url` and returns (exit code, output, errors)."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("WEAVER_HOME", str(tmp_path / "home"))
    for name in [name for name in os.environ if name.startswith("PG")]:
        monkeypatch.delenv(name)

    def command(url: str | None, *arguments: str) -> tuple[int, str, str]:
        if url is None:
            monkeypatch.delenv("DB_URL", raising=False)
        else:
            monkeypatch.setenv("DB_URL", url)
        capsys.readouterr()
        code = main(arguments)
        output = capsys.readouterr()
        return code, output.out, output.err

    return command


# --- every command with every URL -----------------------------------------------------------------------------------

URLS: dict[str, Callable[[DebianServer, str], str]] = {
    "socket": lambda server, name: server.url(name),
    "sslmode": lambda server, name: server.tcp(name, "?sslmode=require"),
    "ssl": lambda server, name: server.tcp(name, "?ssl=true"),
    "verified certificate": lambda server, name: server.tcp(
        name, f"?sslmode=verify-full&sslrootcert={server.certificate}"
    ),
    "connect_timeout": lambda server, name: server.tcp(name, "?connect_timeout=7&sslmode=disable"),
    "application_name": lambda server, name: server.tcp(name, "?application_name=mine"),
    "channel_binding": lambda server, name: server.tcp(name, "?channel_binding=prefer&sslmode=require"),
    "several hosts": lambda server, name: server.tcp(name, host=f"127.0.0.1:{free_port()},127.0.0.1"),
}
COMMANDS = {
    "PostgreSQL's programs": ("db", "status", "--json"),
    "Alembic": ("db", "upgrade"),
    "the driver": ("events", "stats"),
    "a backup": ("db", "backup", "all.backup"),
}


@pytest.mark.parametrize("command", COMMANDS)
@pytest.mark.parametrize("kind", URLS)
def test_every_kind_of_url_works_in_every_command(
    server: DebianServer, name: str, run: Run, kind: str, command: str
) -> None:
    url = URLS[kind](server, name)
    code, output, errors = run(url, *COMMANDS[command])
    assert code == 0, errors
    assert "s3cret" not in output + errors
    if command == "PostgreSQL's programs":
        about = json.loads(output)
        assert (about["running"], about["problem"]) == (True, None)


@pytest.mark.parametrize("kind", ["several hosts", "channel_binding", "verified certificate"])
def test_alembic_by_hand_and_psql_take_the_same_urls(server: DebianServer, kind: str) -> None:
    url = URLS[kind](server, server.new_database())
    root = Path(__file__).parents[2]
    environment = dict(os.environ) | {"DB_URL": url, "WEAVER_HOME": "/nonexistent"}
    for arguments in (
        ["alembic", "upgrade", "head"],
        ["weaver", "db", "psql", "-Atc", "SELECT version_num FROM alembic_version"],
    ):
        done = subprocess.run(
            [sys.executable, "-m", *arguments], cwd=root, env=environment, capture_output=True, text=True
        )
        assert done.returncode == 0, done.stderr
    assert done.stdout == f"{REVISION}\n"


def test_channel_binding_that_is_required_needs_a_certificate_that_can_be_verified(
    name: str, server: DebianServer, run: Run
) -> None:
    verified = server.tcp(name, f"?channel_binding=require&sslmode=require&sslrootcert={server.certificate}")
    for arguments in COMMANDS.values():
        code, _, errors = run(verified, *arguments)
        assert code == 0, errors
    code, _, errors = run(server.tcp(name, "?channel_binding=require&sslmode=require"), "events", "stats")
    assert code == 1
    assert "sslrootcert=FILE" in errors


def test_programs_that_have_tls_need_no_tunnel(
    server: DebianServer, run: Run, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("WEAVER_PG_BIN", str(PROGRAMS))
    parameters = f"?channel_binding=require&sslmode=verify-full&sslrootcert={server.certificate}"
    url = server.tcp(server.new_database(), parameters)
    for arguments in (*COMMANDS.values(), ("db", "restore", "all.backup", "--force"), ("runs", "list")):
        code, _, errors = run(url, *arguments)
        assert code == 0, errors


def test_the_application_name_of_the_url_is_that_of_every_connection(name: str, server: DebianServer) -> None:
    async def names() -> list[str]:
        connector = Connector(server.tcp(name, "?application_name=mine&options=-c%20statement_timeout%3D54321"))
        connections = [await connector.connect(), await connector.connect(application="weaver listener")]
        try:
            assert await connections[0].fetchval("SHOW statement_timeout") == "54321ms"
            return [await connection.fetchval("SHOW application_name") for connection in connections]
        finally:
            for connection in connections:
                connection.terminate()

    assert asyncio.run(names()) == ["mine", "mine listener"]


def test_a_recorded_run_leaves_the_password_in_no_output_log_file_or_row(
    server: DebianServer, run: Run, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture, tmp_path: Path
) -> None:
    monkeypatch.setenv("WEAVER_RECORD", "1")
    monkeypatch.setenv("WEAVER_DATABASE_ECHO", "1")
    caplog.set_level(logging.DEBUG)
    name = server.new_database()
    url = server.tcp(name, "?sslmode=require")
    arguments: list[str] = []
    start = subprocess.Popen.__init__

    def noted(self: Any, args: Any, *rest: Any, **options: Any) -> None:
        arguments.extend(map(str, args))
        start(self, args, *rest, **options)

    monkeypatch.setattr(subprocess.Popen, "__init__", noted)
    texts = []
    for command in (("demo",), ("runs", "list"), ("runs", "show", "last", "--json"), ("runs", "compare", "last", "last"),
                    ("runs", "report", "last"), ("events", "tail", "--json"), ("events", "stats"), ("db", "status"), ("db", "url"),
                    ("db", "backup", "all.backup")):  # fmt: skip
        code, output, errors = run(url, *command)
        assert code == 0, errors
        texts += [output, errors]
    dump = subprocess.run(
        [PROGRAMS / "pg_dump", server.url(name).replace("+asyncpg", "")], capture_output=True, text=True, check=True
    )
    assert "SmaCross" in dump.stdout
    assert any("pg_dump" in argument for argument in arguments)
    texts += [dump.stdout, caplog.text, *arguments]
    texts += [path.read_bytes().decode("latin-1") for path in tmp_path.rglob("*") if path.is_file()]
    for secret in ("s3cret", "cret%20word", "word%2F"):
        assert [text[:200] for text in texts if secret in text] == []


# --- poolers --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("command", COMMANDS)
def test_pgbouncer_in_transaction_mode_is_refused_by_name(
    name: str, transaction_pooler: Pooler, run: Run, command: str
) -> None:
    code, output, errors = run(transaction_pooler.url(name), *COMMANDS[command])
    said = output + errors
    assert "pgbouncer" in said
    assert "transaction" in said
    assert "pool_mode = session" in said
    assert code == (0 if command == "PostgreSQL's programs" else 1)  # a status reports the problem


@pytest.mark.parametrize("command", COMMANDS)
def test_pgbouncer_in_session_mode_works(name: str, session_pooler: Pooler, run: Run, command: str) -> None:
    code, output, errors = run(session_pooler.url(name), *COMMANDS[command])
    assert code == 0, errors
    assert "pool_mode" not in output


def test_through_a_pooler_connections_have_weavers_settings(name: str, session_pooler: Pooler) -> None:
    async def settings() -> list[str]:
        connection = await Connector(session_pooler.url(name)).connect()
        try:
            return [await connection.fetchval(f"SHOW {name}") for name in ("jit", "synchronous_commit", "timezone")]
        finally:
            connection.terminate()

    assert asyncio.run(settings()) == ["off", "on", "UTC"]


# --- logins and privileges ------------------------------------------------------------------------------------------


@pytest.mark.parametrize("command", COMMANDS)
def test_a_refused_login_is_called_that_and_never_a_failed_migration(
    name: str, server: DebianServer, run: Run, command: str
) -> None:
    code, output, errors = run(server.tcp(name, password="wr0ng"), *COMMANDS[command])
    said = output + errors
    assert "refused the login" in said
    assert "password authentication failed" in said
    assert "migration" not in said
    assert "wr0ng" not in said
    assert code == (0 if command == "PostgreSQL's programs" else 1)


def test_a_password_in_clear_text_needs_verified_tls_or_a_word_in_the_url(server: DebianServer, run: Run) -> None:
    name = server.new_database()
    server.execute(f"DROP ROLE IF EXISTS cleartext; CREATE ROLE cleartext LOGIN SUPERUSER PASSWORD '{PASSWORD}'")
    verified = f"sslmode=verify-full&sslrootcert={server.certificate}"
    for parameters, works in {
        "?sslmode=disable": False,
        "?sslmode=require": False,
        "": False,
        f"?{verified}": True,
        "?sslmode=disable&require_auth=password": True,
        f"?{verified}&require_auth=scram-sha-256": False,
    }.items():
        url = server.tcp(name, parameters).replace("weaver:", "cleartext:", 1)
        for command in (COMMANDS["the driver"], COMMANDS["a backup"], ("db", "upgrade")):
            code, output, errors = run(url, *command)
            assert (code == 0) == works, (parameters, command, errors)
            assert PASSWORD not in output + errors
            if not works:
                assert "require_auth" in errors


def test_md5_works_and_can_be_forbidden(server: DebianServer, run: Run) -> None:
    name = server.new_database()
    server.execute(
        "DROP ROLE IF EXISTS md5; SET password_encryption = md5; "
        f"CREATE ROLE md5 LOGIN SUPERUSER PASSWORD '{PASSWORD}'; RESET password_encryption"
    )
    for parameters, works in {"": True, "?require_auth=!md5": False}.items():
        url = server.tcp(name, parameters).replace("weaver:", "md5:", 1)
        for command in (COMMANDS["the driver"], COMMANDS["a backup"]):
            code, _, errors = run(url, *command)
            assert (code == 0) == works, errors


@pytest.mark.parametrize("login", ["md5", "scram-sha-256", "plain"])
def test_pgbouncer_works_with_each_of_its_logins(server: DebianServer, run: Run, login: str) -> None:
    name = server.new_database()
    with running_pooler(server, "session", login) as pooler:
        url = pooler.url(name).replace("weaver@", f"weaver:{quote(PASSWORD, safe='')}@")
        for command in (COMMANDS["the driver"], COMMANDS["a backup"]):
            code, _, errors = run(url, *command)
            assert code == (1 if login == "plain" else 0), errors
            assert ("require_auth=password" in errors) == (login == "plain")
            code, _, errors = run(f"{url}&require_auth=password,md5,scram-sha-256", *command)
            assert code == 0, errors


def test_a_missing_privilege_is_named_with_the_statement_that_grants_it(
    name: str, server: DebianServer, run: Run, tmp_path: Path
) -> None:
    server.execute("DROP ROLE IF EXISTS plain")
    server.execute("CREATE ROLE plain LOGIN")
    empty = "empty"
    server.execute("DROP DATABASE IF EXISTS empty")
    server.execute("CREATE DATABASE empty TEMPLATE template0")
    url = server.url(empty).replace("weaver@", "plain@")
    code, _, errors = run(url, "db", "upgrade")
    assert code == 1
    assert "GRANT USAGE, CREATE ON SCHEMA public TO plain" in errors
    assert "migration" not in errors
    code, _, errors = run(server.url(name).replace("weaver@", "plain@"), "runs", "list")
    assert code == 1
    assert "plain lacks a privilege: permission denied for table" in errors
    server.execute("REVOKE ALL ON SCHEMA public FROM PUBLIC", empty)
    code, _, errors = run(url, "db", "upgrade")
    assert code == 1
    assert "GRANT USAGE, CREATE ON SCHEMA public TO plain" in errors
    code, _, errors = run(url, "db", "restore", str(STORED / "weaver.dump"))
    assert code == 1
    assert "ALTER ROLE plain CREATEDB" in errors
    server.execute(f"REVOKE CONNECT ON DATABASE {empty} FROM PUBLIC")
    code, _, errors = run(url, "db", "upgrade")
    assert code == 1
    assert "plain lacks a privilege" in errors
    assert "CONNECT" in errors


def test_a_database_that_does_not_exist_is_not_waited_for(server: DebianServer, run: Run) -> None:
    code, _, errors = run(server.url("nowhere"), "db", "upgrade")
    assert code == 1
    assert 'database "nowhere" does not exist; is the name in DB_URL right?' in errors


# --- backup and restore ---------------------------------------------------------------------------------------------


@pytest.fixture
def embedded(run: Run, tmp_path: Path) -> Iterator[Path]:
    home = tmp_path / "home"
    with attach(home, linger=60):
        yield home
    stop(DatabasePaths(home), force=True)


def record(run: Run, url: str | None) -> str:
    arguments = ("--data", "demo:AAPL", "--start", "2010-01-01", "--record")
    code, _, errors = run(url, "backtest", str(STRATEGY), *arguments)
    assert code == 0, errors
    code, output, errors = run(url, "runs", "list", "--json")
    assert code == 0, errors
    run_id: str = json.loads(output.splitlines()[0])["id"]
    return run_id


def restore_elsewhere(run: Run, source: str | None, target: str | None, tmp_path: Path) -> None:
    """Record a run in `source`, restore its backup in `target` with a home of its own, and show the run's report there."""
    if source is not None:
        assert run(source, "db", "upgrade")[0] == 0
    run_id = record(run, source)
    file, runs = tmp_path / "weaver.backup", tmp_path / "home" / "runs"
    code, output, errors = run(source, "db", "backup", str(file))
    assert code == 0, errors
    assert "with the files of 1 run" in output
    assert file.stat().st_mode & 0o777 == 0o600
    shutil.rmtree(runs)
    code, output, errors = run(target, "db", "restore", str(file), "--force")
    assert code == 0, errors
    assert "with the files of 1 run" in output
    code, output, errors = run(target, "runs", "list", "--json")
    assert [json.loads(line)["id"] for line in output.splitlines()] == [run_id], errors
    page = tmp_path / "report.html"
    code, _, errors = run(target, "runs", "report", run_id, "-o", str(page))
    assert code == 0, errors
    assert page.stat().st_size > 100_000


@pytest.mark.parametrize("kind", ["socket", "ssl", "session pooler"])
def test_what_is_backed_up_on_postgresql_15_restores_there(
    server: DebianServer, session_pooler: Pooler, run: Run, tmp_path: Path, kind: str
) -> None:
    name = server.new_database()
    url = session_pooler.url(name) if kind == "session pooler" else URLS[kind](server, name)
    restore_elsewhere(run, url, url, tmp_path)


def test_a_backup_of_postgresql_15_restores_in_the_embedded_one(
    server: DebianServer, run: Run, tmp_path: Path, embedded: Path
) -> None:
    restore_elsewhere(run, server.url(server.new_database()), None, tmp_path)


def test_a_backup_of_the_embedded_one_restores_on_postgresql_15(
    server: DebianServer, run: Run, tmp_path: Path, embedded: Path
) -> None:
    restore_elsewhere(run, None, server.url(server.new_database()), tmp_path)


def test_a_dump_of_0_1_0_restores_on_postgresql_15(server: DebianServer, run: Run) -> None:
    url = server.url(server.new_database())
    code, _, errors = run(url, "db", "restore", str(STORED / "weaver.dump"), "--force")
    assert code == 0, errors
    assert ask(url, "SELECT version_num FROM alembic_version") == REVISION
    assert ask(url, "SELECT count(*) FROM runs") == "4"


def test_a_role_that_owns_the_database_and_may_create_others_restores_it(
    server: DebianServer, run: Run, tmp_path: Path
) -> None:
    server.execute("DROP DATABASE IF EXISTS made")
    server.execute("DROP ROLE IF EXISTS maker")
    server.execute("CREATE ROLE maker LOGIN CREATEDB")
    server.execute("CREATE DATABASE made OWNER maker TEMPLATE template0")
    url = server.url("made").replace("weaver@", "maker@")
    restore_elsewhere(run, url, url, tmp_path)
    assert ask(url, "SELECT DISTINCT tableowner FROM pg_tables WHERE schemaname = 'public'") == "maker"


@pytest.mark.parametrize("part", [0.1, 0.5, 0.9, 1.0])
def test_a_backup_that_was_cut_off_is_refused_and_changes_nothing(
    server: DebianServer, run: Run, tmp_path: Path, part: float
) -> None:
    url = server.url(server.new_database())
    ask(url, "CREATE TABLE precious AS SELECT 1 AS n")
    file = tmp_path / "whole.backup"
    assert run(url, "db", "backup", str(file))[0] == 0
    content = file.read_bytes()
    file.write_bytes(content[: int(content.rindex(b"complete") * part)])
    code, _, errors = run(url, "db", "restore", str(file), "--force")
    assert code == 1
    assert str(file) in errors
    assert ask(url, "SELECT n FROM precious") == "1"
    assert ask(url, "SELECT count(*) FROM pg_database WHERE datname LIKE '%_restoring'") == "0"
