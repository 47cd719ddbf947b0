"""Migrations: up, down and up again, by Weaver and by Alembic's own command, and no drift from the models."""

from __future__ import annotations

import asyncio
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import asyncpg
import pytest

from weaver.core.errors import ConfigError, SchemaMismatch, StoreUnavailable
from weaver.core.run_id import RUN_ID_PATTERN
from weaver.glados.clock.system import SystemClock
from weaver.glados.wiring import _make_tables
from weaver.walle.database import Database
from weaver.walle.migrate import check_drift, downgrade, upgrade
from weaver.walle.models import Base, Run
from weaver.walle.schema import REVISION, revision_of

pytestmark = pytest.mark.log

ROOT = Path(__file__).parents[2]
VERSIONS = ROOT / "src/weaver/walle/migrations/versions"
RUN_ID = "20240101T000000000000Z-abcdefgh"


def ask(url: str, statement: str) -> list[Any]:
    async def main() -> list[Any]:
        connection = await asyncpg.connect(url.replace("+asyncpg", ""))
        try:
            return [row[0] for row in await connection.fetch(statement)]
        finally:
            await connection.close()

    return asyncio.run(main())


def tables(url: str) -> set[str]:
    return set(ask(url, "SELECT tablename::text FROM pg_tables WHERE schemaname = 'public'")) - {"alembic_version"}


def indexes(url: str) -> set[str]:
    return set(ask(url, "SELECT indexname::text FROM pg_indexes WHERE schemaname = 'public'"))


def alembic(*arguments: str, url: str | None) -> subprocess.CompletedProcess[str]:
    environment = {key: value for key, value in os.environ.items() if key != "DB_URL"}
    if url is not None:
        environment["DB_URL"] = url
    return subprocess.run(
        [sys.executable, "-m", "alembic", *arguments], cwd=ROOT, env=environment, capture_output=True, text=True
    )


def test_up_down_and_up_again_with_data_in_it(empty_url: str) -> None:
    upgrade(empty_url)
    assert tables(empty_url) == set(Base.metadata.tables)
    assert {"idx_outbox_type", "idx_outbox_created_at", "idx_outbox_type_created"} <= indexes(empty_url)
    ask(empty_url, "INSERT INTO outbox (type, payload) VALUES ('a.B', '{}') RETURNING id")
    ask(empty_url, "INSERT INTO consumer_offsets (consumer_id) VALUES ('one') RETURNING last_offset")
    ask(
        empty_url,
        "WITH run AS (INSERT INTO runs (id, mode, strategy, status, config, lock_key) "
        f"VALUES ('{RUN_ID}', 'backtest', 's', 'running', '{{}}', 1) RETURNING id) SELECT 1 FROM run",
    )
    ask(
        empty_url,
        "INSERT INTO fills (run_id, seq, number, symbol, side, ts_ns, quantity, price, commission) "
        "VALUES ('r', 1, 1, 'A', 'buy', 0, 1, 1, 0) RETURNING 1",
    )
    downgrade(empty_url)
    assert tables(empty_url) == set()
    assert ask(empty_url, "SELECT count(*) FROM pg_class WHERE relkind = 'S' AND relname LIKE 'outbox%'") == [0]
    upgrade(empty_url)
    assert tables(empty_url) == set(Base.metadata.tables)
    assert ask(empty_url, "INSERT INTO outbox (type, payload) VALUES ('a.B', '{}') RETURNING id") == [1]


def test_rows_of_the_version_before_survive_the_upgrade_and_the_way_back(empty_url: str) -> None:
    upgrade(empty_url, "001")
    insert_run = "INSERT INTO runs (id, mode, strategy, status, config, lock_key) VALUES ('{}', 'b', 's', 'done', '{{}}', 1) RETURNING 1"
    insert_fill = (
        "INSERT INTO fills (run_id, seq, number, symbol, side, ts_ns, quantity, price, commission) "
        "VALUES ('{}', 1, 1, 'A', 'buy', 0, 1, 1, 0) RETURNING 1"
    )
    ask(empty_url, insert_run.format(RUN_ID))
    ask(empty_url, insert_fill.format(RUN_ID))
    upgrade(empty_url)
    assert ask(empty_url, "SELECT run_id FROM fills") == [RUN_ID]
    ask(empty_url, insert_fill.format("orphan"))
    downgrade(empty_url, "001")
    assert ask(empty_url, "SELECT run_id FROM fills") == [RUN_ID], "an orphan would break the foreign key"
    upgrade(empty_url)
    assert ask(empty_url, "SELECT run_id FROM fills") == [RUN_ID]


def test_the_embedded_database_of_an_older_weaver_is_brought_up_to_date_when_it_is_opened(own_url: str) -> None:
    lines: list[str] = []
    downgrade(own_url, "001")

    async def main() -> None:
        async with Database(own_url, clock=SystemClock()) as database:
            await _make_tables(database, lines.append)
            await _make_tables(database, lines.append)

    asyncio.run(main())
    assert lines == ["bringing the tables up to date ..."]
    assert tables(own_url) == set(Base.metadata.tables)


def test_an_upgrade_of_what_is_up_to_date_changes_nothing(own_url: str) -> None:
    ask(own_url, "INSERT INTO outbox (type, payload) VALUES ('a.B', '{}') RETURNING id")
    upgrade(own_url)
    assert ask(own_url, "SELECT count(*) FROM outbox") == [1]


def test_the_revision_that_weaver_expects_is_the_newest_and_the_one_that_an_upgrade_leaves(own_url: str) -> None:
    newest = sorted(path.name for path in VERSIONS.glob("[0-9]*.py"))[-1]
    assert newest.startswith(f"{REVISION}_")

    async def main() -> str | None:
        connection = await asyncpg.connect(own_url.replace("+asyncpg", ""))
        try:
            return await revision_of(connection)
        finally:
            await connection.close()

    assert asyncio.run(main()) == REVISION


def test_models_and_migrations_agree_and_a_column_by_hand_is_found(
    own_url: str, capsys: pytest.CaptureFixture[str]
) -> None:
    check_drift(own_url)
    ask(own_url, "ALTER TABLE runs ADD COLUMN extra int")
    with pytest.raises(SchemaMismatch, match="extra"):
        check_drift(own_url)
    ask(own_url, "ALTER TABLE runs DROP COLUMN extra")
    check_drift(own_url)
    ask(own_url, "DROP INDEX idx_outbox_type")
    with pytest.raises(SchemaMismatch, match="idx_outbox_type"):
        check_drift(own_url)
    capsys.readouterr()


def test_the_form_of_a_run_id_is_the_same_in_the_tables_the_models_and_the_code(own_url: str) -> None:
    definition = "SELECT pg_get_constraintdef(oid) FROM pg_constraint WHERE conname = 'runs_id_form'"
    assert ask(own_url, definition) == [f"CHECK (((id)::text ~ '^{RUN_ID_PATTERN}$'::text))"], "and it is validated"
    (model,) = (each for each in Run.__table__.constraints if each.name == "runs_id_form")
    assert str(model.sqltext) == f"id ~ '^{RUN_ID_PATTERN}$'"  # type: ignore[attr-defined]


def test_two_migrations_at_once_both_succeed(empty_url: str) -> None:
    code = f"from weaver.walle.migrate import upgrade; upgrade({empty_url!r})"
    both = [subprocess.Popen([sys.executable, "-c", code], stderr=subprocess.PIPE, text=True) for _ in range(2)]
    said = [one.communicate()[1] for one in both]
    assert [one.returncode for one in both] == [0, 0], said
    assert tables(empty_url) == set(Base.metadata.tables)


def test_alembic_itself_honours_db_url(empty_url: str) -> None:
    for command, expected in (
        (["upgrade", "head"], set(Base.metadata.tables)),
        (["downgrade", "base"], set()),
        (["upgrade", "head"], set(Base.metadata.tables)),
    ):
        done = alembic(*command, url=empty_url)
        assert done.returncode == 0, done.stderr
        assert tables(empty_url) == expected
    plain = empty_url.replace("postgresql+asyncpg", "postgresql")
    done = alembic("check", url=plain)
    assert done.returncode == 0, done.stderr


def test_alembic_without_a_database_says_what_to_set() -> None:
    done = alembic("upgrade", "head", url=None)
    assert done.returncode != 0
    assert "DB_URL=postgresql+asyncpg://" in done.stderr


def test_alembic_writes_the_statements_down_where_it_is_asked_to() -> None:
    done = alembic("upgrade", "head", "--sql", url="postgresql://nobody@nowhere/none")
    assert done.returncode == 0, done.stderr
    assert "CREATE TABLE outbox" in done.stdout


def test_a_migration_that_fails_is_taken_back_whole(empty_url: str) -> None:
    ask(empty_url, "CREATE TABLE runs (id int)")
    with pytest.raises(StoreUnavailable, match="taken back whole"):
        upgrade(empty_url)
    assert tables(empty_url) == {"runs"}


def test_a_revision_that_nobody_knows_is_told(own_url: str) -> None:
    with pytest.raises(ConfigError, match="777"):
        upgrade(own_url, "777")


def test_a_database_of_a_newer_weaver_is_not_touched(own_url: str) -> None:
    ask(own_url, "UPDATE alembic_version SET version_num = '999'")
    with pytest.raises(ConfigError, match="999"):
        upgrade(own_url)
    with pytest.raises(ConfigError, match="999"):
        downgrade(own_url)
    assert tables(own_url) == set(Base.metadata.tables)


def test_a_server_that_is_away_is_told(tmp_path: Path) -> None:
    with pytest.raises(StoreUnavailable, match="cannot be reached"):
        upgrade(f"postgresql+asyncpg://me@/name?host={tmp_path}")
