"""Backups from other people: nothing in them is executed, and what is not Weaver's is refused by name.

The server is one of a user's own, where the role of DB_URL is a superuser: there a crafted dump could do anything.
"""

from __future__ import annotations

import io
import json
import subprocess
import tarfile
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from postgres import Server
from using import ask

from weaver.cli.main import main
from weaver.walle.embedded.binaries import find_programs
from weaver.walle.embedded.client import Client
from weaver.walle.schema import REVISION

pytestmark = pytest.mark.log

Restore = Callable[..., tuple[int, str]]

RUN = "20240301T093000123456Z-7k2m9q4x"
ROWS = f"""
INSERT INTO runs (id, mode, strategy, status, config, lock_key) VALUES ('{RUN}', 'backtest', 's', 'done', '{{}}', 1);
INSERT INTO outbox (type, payload) SELECT 'run.Started', '{{"run_id": "{RUN}"}}' FROM generate_series(1, 5);
DELETE FROM outbox WHERE id > 3;
INSERT INTO orders VALUES ('{RUN}', 1, 'A', 'buy', 'market', 1, 'filled', NULL, E'a\\tb\\\\.\\nc', 1, 1, 1, 1);
"""
COPY = b"COPY public.runs (id, mode, strategy, status, config, bars_total, bars_done, error, lock_key, created_at, ended_at) FROM stdin;"
RUNS_PROGRAM = "BEGIN COPY (SELECT 1) TO PROGRAM 'touch {marker}'; RETURN {value}; END"

# Every statement makes an object that a dump carries; the names are those by which a restore must refuse them.
OBJECTS = {
    "a function and a trigger": (
        (
            "CREATE FUNCTION evil_row() RETURNS trigger LANGUAGE plpgsql AS $$ {trigger} $$;"
            "CREATE TRIGGER evil_trigger BEFORE INSERT OR UPDATE ON runs FOR EACH ROW EXECUTE FUNCTION evil_row()"
        ),
        ("FUNCTION public evil_row()", "TRIGGER public runs evil_trigger"),
    ),
    "a constraint that calls a function": (
        (
            "CREATE FUNCTION evil_check() RETURNS boolean LANGUAGE plpgsql AS $$ {check} $$;"
            "ALTER TABLE orders ADD CONSTRAINT evil_check CHECK (evil_check());"
            "ALTER TABLE fills ADD CONSTRAINT evil_later CHECK (evil_check()) NOT VALID"
        ),
        ("FUNCTION public evil_check()", "CHECK CONSTRAINT public fills evil_later"),
    ),
    "an event trigger": (
        (
            "CREATE FUNCTION evil_event() RETURNS event_trigger LANGUAGE plpgsql AS $$ {event} $$;"
            "CREATE EVENT TRIGGER evil_event ON sql_drop EXECUTE FUNCTION evil_event()"
        ),
        ("FUNCTION public evil_event()", "EVENT TRIGGER - evil_event"),
    ),
    "an extension": ("CREATE EXTENSION pg_trgm", ("EXTENSION - pg_trgm",)),
    "a view with a rule": (
        (
            "CREATE VIEW evil_view AS SELECT 1 AS n;"
            "CREATE RULE evil_rule AS ON INSERT TO evil_view DO INSTEAD SELECT pg_sleep(0)"
        ),
        ("VIEW public evil_view", "RULE public evil_view evil_rule"),
    ),
    "a materialized view": (
        "CREATE MATERIALIZED VIEW evil_stored AS SELECT 1 AS n",
        ("MATERIALIZED VIEW public evil_stored",),
    ),
    "another table": (
        "CREATE TABLE evil_table AS SELECT 1 AS n",
        ("TABLE public evil_table", "TABLE DATA public evil_table"),
    ),
    "another schema": (
        "CREATE SCHEMA evil_schema; CREATE TABLE evil_schema.runs AS SELECT 1 AS n",
        ("SCHEMA - evil_schema", "TABLE evil_schema runs"),
    ),
    "an index on an expression": ("CREATE INDEX evil_index ON runs (abs(lock_key))", ("INDEX public evil_index",)),
    "a large object": ("SELECT lo_from_bytea(0, 'x')", ("BLOB",)),
}


@pytest.fixture
def source(server: Server) -> Iterator[str]:
    """A database with some rows, on a server whose role is a superuser."""
    name = server.new_database()
    server.execute(ROWS, name)
    yield name
    server.execute(f"DROP DATABASE IF EXISTS {name} WITH (FORCE)")


def new_target(server: Server) -> Iterator[str]:
    name = server.new_database()
    server.execute("INSERT INTO outbox (type, payload) VALUES ('precious', '{}')", name)
    yield name
    for leftover in (name, f"{name}_restoring", f"{name}_replaced"):
        server.execute(f"DROP DATABASE IF EXISTS {leftover} WITH (FORCE)")


@pytest.fixture(scope="module")
def target(server: Server) -> Iterator[str]:
    """A database with a row that a refused restore must not change, for all these tests."""
    yield from new_target(server)


@pytest.fixture
def own_target(server: Server) -> Iterator[str]:
    """Such a database for a test whose restore succeeds."""
    yield from new_target(server)


@pytest.fixture
def restore(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path, server: Server
) -> Restore:
    """`restore(target, file)` restores the file into the database `target` and returns the exit code and the errors."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("WEAVER_HOME", str(tmp_path / "home"))

    def run(target: str, file: Path, *options: str) -> tuple[int, str]:
        monkeypatch.setenv("DB_URL", server.url(target))
        capsys.readouterr()
        code = main(("db", "restore", str(file), "--force", *options))
        return code, capsys.readouterr().err

    return run


def dump_of(server: Server, name: str, file: Path) -> Path:
    environment = Client(server.url(name), find_programs()).environment()
    subprocess.run([find_programs().path("pg_dump"), "-Fc", "-Z0", "-f", file], env=environment, check=True)
    return file


def in_backup(dump: Path, file: Path) -> Path:
    """A backup file with this dump in it, as `weaver db backup` writes it."""
    with tarfile.open(file, "w") as archive:
        contents = {
            "weaver-backup.json": json.dumps({"format": 1, "weaver": "0.1.0"}).encode(),
            "database.dump": dump.read_bytes(),
            "complete": b"",
        }
        for name, content in contents.items():
            member = tarfile.TarInfo(name)
            member.size = len(content)
            archive.addfile(member, io.BytesIO(content))
    return file


def is_unchanged(server: Server, target: str) -> bool:
    databases = ask(server.url("postgres"), f"SELECT count(*) FROM pg_database WHERE datname LIKE '{target}_re%'")
    return (ask(server.url(target), "SELECT type FROM outbox"), databases) == ("precious", "0")


def add(server: Server, name: str, marker: Path, *kinds: str) -> None:
    bodies = {
        kind: RUNS_PROGRAM.format(marker=marker, value=value)
        for kind, value in (("trigger", "NEW"), ("check", "true"), ("event", ""))
    }
    for kind in kinds:
        server.execute(OBJECTS[kind][0].format(**bodies), name)


@pytest.mark.parametrize("kind", ["plain dump", "backup"])
def test_everything_that_is_not_weavers_is_refused_by_name_before_anything_runs(
    server: Server, source: str, target: str, restore: Restore, tmp_path: Path, kind: str
) -> None:
    marker = server.folder / f"evil-{kind.split()[0]}"
    add(server, source, marker, *OBJECTS)
    file = dump_of(server, source, tmp_path / "evil.dump")
    marker.unlink(missing_ok=True)  # some of it has run in the source
    if kind == "backup":
        file = in_backup(file, tmp_path / "evil.backup")
    code, errors = restore(target, file)
    assert not marker.exists()
    assert code == 1
    assert f"{file} cannot be restored, and the database is as it was" in errors
    assert "do not trust this file" in errors
    for _, names in OBJECTS.values():
        for name in names:
            assert name in errors
    assert is_unchanged(server, target)


def test_weavers_tables_alone_can_be_restored_from_such_a_file(
    server: Server, source: str, own_target: str, restore: Restore, tmp_path: Path
) -> None:
    marker = server.folder / "evil-skipped"
    add(server, source, marker, *OBJECTS)
    server.execute("ALTER TABLE runs ALTER strategy SET DEFAULT pg_read_file('/etc/hostname')", source)
    server.execute("GRANT SELECT ON runs TO PUBLIC; COMMENT ON TABLE runs IS 'x'", source)
    file = dump_of(server, source, tmp_path / "evil.dump")
    marker.unlink(missing_ok=True)
    code, errors = restore(own_target, file, "--skip-unknown")
    assert code == 0, errors
    assert "privileges of other roles are not restored" in errors
    url = server.url(own_target)
    ask(url, "INSERT INTO outbox (type, payload) VALUES ('next', '{}'); CREATE TABLE x (); DROP TABLE x")
    assert not marker.exists()
    assert ask(url, "SELECT version_num FROM alembic_version") == REVISION
    assert ask(url, "SELECT id, tag FROM runs, orders") == f"{RUN}|a\tb\\.\nc"
    assert ask(url, "SELECT string_agg(id::text, ',' ORDER BY id) FROM outbox") == "1,2,3,6"
    functions = "SELECT count(*) FROM pg_proc WHERE pronamespace = 'public'::regnamespace"
    assert ask(url, functions) == ask(url, "SELECT count(*) FROM pg_event_trigger") == "0"
    defaults = (
        "SELECT column_default FROM information_schema.columns WHERE table_name = 'runs' AND column_name = 'strategy'"
    )
    assert ask(url, defaults) == ""
    drift = "SELECT count(*) FROM pg_indexes WHERE schemaname = 'public'"
    assert ask(url, drift) == ask(server.url("weaver_template"), drift)
    constraints = (
        "SELECT string_agg(conname || pg_get_constraintdef(oid), ',' ORDER BY conname) FROM pg_constraint "
        "WHERE connamespace = 'public'::regnamespace AND conname NOT LIKE '%not_null'"
    )
    assert ask(url, constraints) == ask(server.url("weaver_template"), constraints)


@pytest.mark.parametrize(
    "statement",
    [
        "COPY public.runs FROM PROGRAM 'touch {marker}';",
        "COPY (SELECT 1) TO PROGRAM 'touch {marker}';",
    ],
)
def test_the_statement_before_the_rows_is_the_authors_and_is_not_executed(
    server: Server, source: str, target: str, restore: Restore, tmp_path: Path, statement: str
) -> None:
    marker = server.folder / "p"
    content = dump_of(server, source, tmp_path / "plain").read_bytes()
    assert content.count(COPY) == 1
    forged = statement.format(marker=marker).encode()
    file = tmp_path / "evil.dump"
    file.write_bytes(content.replace(COPY, forged + b" " * (len(COPY) - len(forged))))
    code, errors = restore(target, file)
    assert not marker.exists()
    assert code == 1
    assert "a statement that is not data of a table" in errors
    assert statement[:20] in errors
    assert is_unchanged(server, target)


@pytest.mark.parametrize(
    ("change", "problem"),
    [
        ("ALTER TABLE runs ADD evil int", "the table public.runs has the columns"),
        ("ALTER TABLE runs ALTER mode TYPE text; UPDATE runs SET mode = repeat('x', 200)", "the server refuses a row: value too long"),
        ("ALTER TABLE orders DROP CONSTRAINT orders_pkey; INSERT INTO orders SELECT * FROM orders", "refuses a row"),
        ("ALTER TABLE orders ALTER quantity TYPE text; UPDATE orders SET quantity = 'many'", "the server refuses a row"),
        ("UPDATE alembic_version SET version_num = '999'", "revision 999, from a newer version of Weaver"),
        ("UPDATE alembic_version SET version_num = E'x\\n\\\\.'", "which no version of Weaver has"),
        ("INSERT INTO alembic_version VALUES ('001')", "which no version of Weaver has"),
        ("DELETE FROM alembic_version", "that Weaver did not make"),
        ("ALTER TABLE runs DROP CONSTRAINT runs_id_form; UPDATE runs SET id = '../../x'", "(../../x, backtest"),
        (
            ("ALTER TABLE runs DROP CONSTRAINT runs_id_form; UPDATE runs SET id = '../../x'; "
            "UPDATE alembic_version SET version_num = '002'"),
            "the table runs has a row that its constraint runs_id_form refuses: '(../../x,backtest",
        ),
    ],
)  # fmt: skip
def test_rows_and_columns_that_do_not_fit_are_refused_by_name(
    server: Server, source: str, target: str, restore: Restore, tmp_path: Path, change: str, problem: str
) -> None:
    server.execute(change, source)
    code, errors = restore(target, dump_of(server, source, tmp_path / "odd.dump"))
    assert code == 1
    assert problem in errors
    assert is_unchanged(server, target)


def test_an_id_is_not_given_twice_where_the_dump_has_another_number(
    server: Server, source: str, own_target: str, restore: Restore, tmp_path: Path
) -> None:
    server.execute("ALTER SEQUENCE outbox_id_seq RESTART", source)
    code, errors = restore(own_target, dump_of(server, source, tmp_path / "odd.dump"))
    assert code == 0, errors
    ask(server.url(own_target), "INSERT INTO outbox (type, payload) VALUES ('next', '{}')")
    assert ask(server.url(own_target), "SELECT id FROM outbox WHERE type = 'next'") == "4"
