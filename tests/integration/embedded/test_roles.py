"""The role of the embedded server is no superuser, in new databases and in those of Weaver 0.1.0, which are changed once."""

from __future__ import annotations

import os
import re
import shutil
from collections.abc import Iterator, Sequence
from pathlib import Path

import pytest
from using import Stop, User, ask, kill, psql, wait_until_stopped

from weaver.cli.main import main
from weaver.walle.embedded import attach, roles, startup
from weaver.walle.embedded.binaries import find_programs
from weaver.walle.embedded.child_process import find_user
from weaver.walle.embedded.paths import DatabasePaths
from weaver.walle.embedded.run_as_user import choose_user_and_programs
from weaver.walle.embedded.server import Server
from weaver.walle.schema import REVISION

# A keeper that makes the database as Weaver 0.1.0 did.
OLD_KEEPER = """
from weaver.walle.embedded import roles
roles.ADMINISTRATOR = "weaver"
roles.new_cluster = lambda password: ["ALTER DATABASE postgres RENAME TO weaver"]
from weaver.walle.embedded.keeper import main
main()
"""
# A keeper whose change of the roles fails in its last part.
FAILING_KEEPER = """
from weaver.walle.embedded import roles
whole = roles.end_change
roles.end_change = lambda password: [*whole(password)[:-2], "SELECT no_such_column", "COMMIT"]
from weaver.walle.embedded.keeper import main
main()
"""
OBJECTS = """
CREATE TABLE own (id serial PRIMARY KEY, mood text); INSERT INTO own (mood) VALUES ('good');
CREATE VIEW own_view AS SELECT * FROM own; CREATE MATERIALIZED VIEW own_stored AS SELECT 1 AS n;
CREATE SCHEMA "My Schema"; CREATE TYPE "My Schema".mood AS ENUM ('good'); CREATE DOMAIN small AS int; CREATE SEQUENCE own_numbers;
CREATE TABLE "My Schema"."My Table" (id int GENERATED ALWAYS AS IDENTITY, moods "My Schema".mood[]);
CREATE FUNCTION pg_catalog.hidden() RETURNS int LANGUAGE sql SECURITY DEFINER AS 'SELECT 1';
CREATE FUNCTION own_function(int) RETURNS int LANGUAGE sql AS 'SELECT $1';
CREATE AGGREGATE own_sum(int) (sfunc = int4pl, stype = int); CREATE PROCEDURE own_procedure() LANGUAGE sql AS 'SELECT 1';
CREATE EXTENSION hstore; SELECT lo_from_bytea(0, 'x'); CREATE ROLE reader; GRANT SELECT ON own TO reader;
ALTER ROLE weaver SET work_mem = '7MB'
"""
IS_SUPERUSER = "SELECT rolsuper FROM pg_roles WHERE rolname = current_user"
LEFT_BEHIND = """
SELECT count(*) + (SELECT count(*) FROM pg_proc WHERE prosecdef AND proowner = 10)
FROM pg_class WHERE relowner = 10 AND oid >= 16384 AND relnamespace::regnamespace::text !~ '^pg_'
  AND NOT EXISTS (SELECT FROM pg_depend WHERE objid = pg_class.oid AND deptype = 'e')
"""


@pytest.fixture(scope="module")
def made_by_0_1_0(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A stopped database as Weaver 0.1.0 made it, with objects of every kind in it."""
    home = tmp_path_factory.mktemp("old") / "home"
    user = User(home, OLD_KEEPER)
    data_of(home).joinpath(roles.MARK).unlink()
    assert ask(user.url, IS_SUPERUSER) == "t"
    ask(user.url, OBJECTS)
    ask(user.url, 'CREATE DATABASE "another one"')
    ask(user.url.replace("/weaver?", "/another%20one?"), "CREATE TABLE own AS SELECT 2 AS n")
    user.leave()
    wait_until_stopped(home)
    return home


@pytest.fixture
def old_home(made_by_0_1_0: Path, tmp_path: Path) -> Iterator[Path]:
    """A copy of that database."""
    home = tmp_path / "home"
    shutil.copytree(made_by_0_1_0, home, symlinks=True, ignore=shutil.ignore_patterns("*.lock"))
    owner = data_of(made_by_0_1_0).stat()
    for path in (data_of(home), *data_of(home).rglob("*")):
        shutil.chown(path, owner.st_uid, owner.st_gid)
    yield home
    for user in User.there:
        user.kill()
    User.there.clear()
    wait_until_stopped(home)


def data_of(home: Path) -> Path:
    return DatabasePaths(home).data(find_programs().major)


def check_changed(home: Path) -> None:
    with attach(home) as held:
        assert ask(held.url, IS_SUPERUSER) == "f"
        assert ask(held.url, "SELECT rolname FROM pg_roles WHERE rolsuper OR rolcreaterole") == roles.ADMINISTRATOR
        assert ask(held.url, "SELECT count(*) FROM pg_roles WHERE rolname ~ 'weaver_(application|renamer)'") == "0"
        for url, row in ((held.url, "1|good"), (held.url.replace("/weaver?", "/another%20one?"), "2")):
            assert ask(url, "SELECT * FROM own") == row
            assert ask(url, LEFT_BEHIND) == "0"
        assert data_of(home).joinpath(roles.MARK).exists()


@pytest.mark.parametrize("step", ["moving objects", "renaming roles", "roles renamed", "launched"])
def test_a_keeper_killed_while_it_changes_the_roles_leaves_a_database_that_is_changed_at_the_next_start(
    old_home: Path, tmp_path: Path, step: str
) -> None:
    stop = Stop(tmp_path, step)
    user = User(old_home, stop.code, waits=False)
    kill(stop.reached())
    user.kill()
    check_changed(old_home)


class SingleUser:
    """The database of `home` without a server: statements one after the other, as the keeper executes them."""

    def __init__(self, home: Path) -> None:
        binaries = find_programs()
        self._data = data_of(home)
        user, programs = choose_user_and_programs(binaries, self._data)
        task = {"folder": str(DatabasePaths(home).folder), "programs": str(programs), "major": binaries.major}
        self._server = Server(
            task | {"socket": str(home), "port": 1, "tcp": False}, find_user(user), lambda _: False, lambda _: None
        )

    def execute(self, statements: Sequence[str], database: str = "template1") -> str:
        data = os.open(self._data, os.O_RDONLY)
        try:
            return self._server._single(data, self._data, statements, database)
        finally:
            os.close(data)


STATE = "SELECT string_agg(rolname, ',' ORDER BY rolname) AS state FROM pg_roles WHERE rolsuper OR rolname = 'weaver'"


def state_in(output: str) -> str:
    match = re.search('state = "(.*?)"', output)
    assert match is not None
    return match[1]


def test_an_end_after_any_statement_leaves_the_old_role_or_the_new_one(old_home: Path) -> None:
    """The end of the input is an end of the process between two statements: the transaction is rolled back."""
    server = SingleUser(old_home)
    assert roles.databases_to_change(server.execute(roles.begin_change())) == ["another one", "template1", "weaver"]
    for database in ("another one", "template1", "weaver"):
        server.execute(roles.move_objects(), database)
    statements = roles.end_change("secret")
    commit = statements.index("COMMIT")
    for count in range(commit + 1):
        output = server.execute([STATE, *statements[:count]])  # the state that the attempt before left
        assert state_in(output) == "weaver"
    server.execute(statements[: commit + 1])
    assert state_in(server.execute([STATE])) == "weaver,weaver_admin"
    assert roles.databases_to_change(server.execute(roles.begin_change())) == []
    DatabasePaths(old_home).password.write_text("secret\n")
    check_changed(old_home)


def test_without_the_transaction_an_end_in_between_would_leave_no_role_to_log_in_with(old_home: Path) -> None:
    """The control of the test above."""
    server = SingleUser(old_home)
    server.execute(roles.begin_change())
    statements = [statement for statement in roles.end_change("secret") if statement not in ("BEGIN", "COMMIT")]
    renamed = next(number for number, statement in enumerate(statements) if "weaver RENAME" in statement)
    server.execute(statements[: renamed + 1])
    assert "weaver" not in state_in(server.execute([STATE])).split(",")


def test_a_database_of_0_1_0_is_changed_once_and_a_line_says_so(
    old_home: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    check_changed(old_home)
    assert capfd.readouterr().err == (
        f"the role weaver of the database in {DatabasePaths(old_home).folder} is no superuser any more; its data are unchanged\n"
    )
    wait_until_stopped(old_home)
    with attach(old_home) as held:
        assert ask(held.url, "SHOW work_mem") == "7MB"
        assert ask(held.url, "SELECT has_table_privilege('reader', 'own', 'SELECT')") == "t"
        ask(held.url, "ALTER TABLE own ADD x int; DROP VIEW own_view; REFRESH MATERIALIZED VIEW own_stored")
        ask(held.url, 'DROP SCHEMA "My Schema" CASCADE; DROP FUNCTION own_function; DROP AGGREGATE own_sum(int)')
        ask(
            held.url,
            "DROP PROCEDURE own_procedure; DROP DOMAIN small; SELECT lo_unlink(oid) FROM pg_largeobject_metadata",
        )
        ask(held.url, 'DROP DATABASE "another one"')
    assert capfd.readouterr().err == ""


def test_where_the_change_fails_the_database_starts_as_before_and_the_next_start_changes_it(
    old_home: Path, capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as patch:
        patch.setattr(startup, "_KEEPER", FAILING_KEEPER)
        with attach(old_home) as held:
            assert ask(held.url, IS_SUPERUSER) == "t"
            assert ask(held.url, "SELECT mood FROM own") == "good"
            ask(held.url, "CREATE TABLE later AS SELECT 3 AS n")
    message = capfd.readouterr().err
    assert "is still a superuser" in message
    assert 'column "no_such_column" does not exist' in message
    assert DatabasePaths(old_home).password.read_text().strip() not in message
    wait_until_stopped(old_home)
    check_changed(old_home)
    with attach(old_home) as held:
        assert ask(held.url, "DROP TABLE later") == "DROP TABLE"


def test_a_database_of_0_1_0_whose_password_was_lost_gets_both(old_home: Path) -> None:
    DatabasePaths(old_home).password.unlink()
    check_changed(old_home)


@pytest.mark.parametrize(
    "statement",
    [
        "COPY (SELECT 1) TO PROGRAM 'touch {marker}'",
        "COPY (SELECT 1) TO '{marker}'",
        "CREATE TEMP TABLE t (l text); COPY t FROM PROGRAM 'touch {marker}; echo'",
        "CREATE TEMP TABLE t (l text); COPY t FROM '/etc/passwd'",
        "SELECT pg_read_file('/etc/passwd')",
        "SELECT pg_ls_dir('/')",
        "SELECT lo_import('/etc/passwd')",
        "SELECT lo_export(lo_from_bytea(0, 'x'), '{marker}')",
        "CREATE FUNCTION evil() RETURNS int LANGUAGE c AS 'libc.so.6', 'system'",
        "CREATE EXTENSION file_fdw",
        "CREATE EXTENSION dblink",
        "ALTER SYSTEM SET archive_command = 'touch {marker}'",
        "SET session_preload_libraries = '{marker}'",
        "SET SESSION AUTHORIZATION weaver_admin",
        "SET ROLE weaver_admin",
        "ALTER ROLE weaver SUPERUSER",
        "ALTER ROLE weaver_admin LOGIN PASSWORD 'x'",
        "CREATE ROLE other SUPERUSER",
        "GRANT pg_execute_server_program TO weaver",
        "CREATE EVENT TRIGGER evil ON ddl_command_start EXECUTE FUNCTION evil()",
        "UPDATE pg_authid SET rolsuper = true",
    ],
)
def test_the_role_runs_no_program_and_reads_and_writes_no_file(shared_url: str, tmp_path: Path, statement: str) -> None:
    marker = Path("/tmp") / f"weaver-{tmp_path.name}"
    refused = psql(shared_url, statement.format(marker=marker))
    assert not marker.exists()
    assert refused.returncode == 1
    assert re.search("permission denied|must be superuser|must have admin option", refused.stderr), refused.stderr


@pytest.fixture(scope="module")
def shared_url(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    home = tmp_path_factory.mktemp("shared")
    with attach(home) as held:
        yield held.url
    wait_until_stopped(home)


def test_the_superuser_cannot_log_in(shared_url: str) -> None:
    url = shared_url.replace("//weaver:", f"//{roles.ADMINISTRATOR}:")
    refused = psql(url, "SELECT 1")
    assert refused.returncode == 2
    assert "password authentication failed" in refused.stderr


def test_the_role_can_do_what_the_application_and_its_owner_need(shared_url: str) -> None:
    for statement in (
        "CREATE DATABASE one TEMPLATE template0",
        "ALTER DATABASE one RENAME TO two",
        "DROP DATABASE two WITH (FORCE)",
        "CREATE TABLE t (n int PRIMARY KEY); INSERT INTO t VALUES (1); COPY t TO STDOUT",
        "VACUUM ANALYZE t",
        "CHECKPOINT",
        "LISTEN weaver_events; NOTIFY weaver_events",
        "SELECT pg_advisory_lock(1), pg_advisory_unlock(1)",
        "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE usename = current_user AND pid <> pg_backend_pid()",
        "SELECT backend_type, query FROM pg_stat_activity",
        "TRUNCATE t; DROP TABLE t",
        "CREATE EXTENSION pg_trgm; DROP EXTENSION pg_trgm",
        "CREATE SCHEMA s; DROP SCHEMA s",
    ):
        done = psql(shared_url, statement)
        assert done.returncode == 0, done.stderr


def test_the_commands_work_in_a_database_of_0_1_0(
    old_home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("WEAVER_HOME", str(old_home))
    file = tmp_path / "weaver.backup"
    with attach(old_home) as held:
        for arguments in (
            ("db", "upgrade"),
            ("db", "backup", str(file)),
            ("db", "restore", str(file), "--force", "--skip-unknown"),
            ("runs", "list"),
            ("events", "stats"),
        ):
            assert main(arguments) == 0, capfd.readouterr().err
        assert ask(held.url, "SELECT version_num FROM alembic_version") == REVISION
