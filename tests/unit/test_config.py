"""Settings: four places, one order, and no password where somebody could read it."""

from __future__ import annotations

from pathlib import Path

import pytest

from weaver.config import DatabaseConfig, Settings
from weaver.core.errors import ConfigError


@pytest.fixture
def here(tmp_path: Path) -> Path:
    folder = tmp_path / "here"
    folder.mkdir()
    return folder


@pytest.fixture
def home(tmp_path: Path) -> Path:
    folder = tmp_path / "home"
    folder.mkdir()
    return folder


def load(here: Path, home: Path, **environment: str) -> Settings:
    return Settings.load(environment={"WEAVER_HOME": str(home)} | environment, folder=here)


def test_the_defaults_are_the_embedded_database(here: Path, home: Path) -> None:
    settings = load(here, home)
    assert settings.database == DatabaseConfig(url=None, pool_size=5, max_overflow=10, echo=False)
    assert (settings.home, settings.linger) == (home, 0.0)
    assert settings.sources["database.url"] == "the default"


def test_the_order_is_command_line_environment_this_folder_home_default(here: Path, home: Path) -> None:
    (home / "weaver.toml").write_text("[database]\npool_size = 2\nmax_overflow = 2\necho = true\nlinger = 2\n")
    (here / "weaver.toml").write_text("[database]\npool_size = 3\nmax_overflow = 3\nlinger = 3.5\n")
    environment = {
        "WEAVER_HOME": str(home),
        "WEAVER_DATABASE_POOL_SIZE": "4",
        "WEAVER_DATABASE_MAX_OVERFLOW": "4",
        "DB_URL": "",
    }
    given = {"database.pool_size": 6, "database.echo": None}
    settings = Settings.load(given, environment=environment, folder=here)
    assert settings.database == DatabaseConfig(pool_size=6, max_overflow=4, echo=True)
    assert settings.linger == 3.5
    assert settings.sources == {
        "home": "the environment variable WEAVER_HOME",
        "database.url": "the default",
        "database.pool_size": "the command line",
        "database.max_overflow": "the environment variable WEAVER_DATABASE_MAX_OVERFLOW",
        "database.echo": f"{home / 'weaver.toml'}, line 4",
        "database.linger": f"{here / 'weaver.toml'}, line 4",
        "backtest.record": "the default",
    }


@pytest.mark.parametrize("scheme", ["postgresql", "postgres", "postgresql+asyncpg"])
def test_a_url_is_understood_in_three_spellings(scheme: str) -> None:
    config = DatabaseConfig(url=f"{scheme}://me:secret@db:5432/weaver?ssl=require")
    assert config.url == "postgresql+asyncpg://me:secret@db:5432/weaver?ssl=require"
    assert config.sync_url == "postgresql://me:secret@db:5432/weaver?ssl=require"
    assert DatabaseConfig().sync_url is None


@pytest.mark.parametrize(
    ("url", "named"),
    [
        ("postgresql+psycopg2://me:secret@db/w", "'psycopg2'"),
        ("mysql://me:secret@db/w", "'mysql'"),
        ("sqlite:///file.db", "'sqlite'"),
        ("me:secret@db.example.com", "write postgresql\\+asyncpg://"),
    ],
)
def test_another_driver_or_database_is_refused_by_name(here: Path, home: Path, url: str, named: str) -> None:
    with pytest.raises(ConfigError, match=named) as refused:
        load(here, home, DB_URL=url)
    assert "DB_URL" in str(refused.value)
    assert "secret" not in str(refused.value)


@pytest.mark.parametrize(
    "url",
    [
        "postgresql://me:secret@db/w",
        "postgresql://me:se:secret@cret@db/w",
        "postgresql://:secret@/w?host=/run",
        "postgresql://db/w?user=me&password=secret",
    ],
)
def test_a_password_is_shown_nowhere(here: Path, home: Path, url: str) -> None:
    settings = load(here, home, DB_URL=url)
    assert "secret" in str(settings.database.url)
    for shown in (repr(settings), str(settings.database), str(settings.database.safe_url)):
        assert "secret" not in shown
        assert "cret@" not in shown


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (
            "[database]\npool_sise = 3\n",
            r"weaver.toml, line 2: .*'database.pool_sise'; did you mean 'database.pool_size'",
        ),
        ("[datbase]\nurl = 'x'\n", r"line 1: there is no table 'datbase'; did you mean 'database'"),
        ("[database]\npool_size = 'many'\n", r"line 2: database.pool_size must be a whole number, not 'many'"),
        ("[database]\npool_size = 0\n", r"line 2: pool_size must be 1 or more, not 0"),
        ("[database]\nmax_overflow = -1\n", r"line 2: max_overflow must be 0 or more, not -1"),
        ("[database]\necho = 3\n", r"line 2: database.echo must be true or false, not 3"),
        ("[database]\nlinger = -1\n", r"line 2: database.linger must be a number of seconds, 0 or more, not -1"),
        ("[database]\nurl = 7\n", r"line 2: database.url must be a non-empty string, not a int"),
        ("database = 3\n", r"line 1: 'database' must be a table"),
        ("home = '/x'\n", r"line 1: home cannot be set here.*WEAVER_HOME"),
        ("[database\n", r"weaver.toml: Expected"),
        ("[database]\nurl x\n", r"weaver.toml: Expected '=' after a key in a key/value pair \(at line 2, column 5\)"),
        ("[database]\necho = true\necho = true\n", r"weaver.toml: Cannot overwrite a value \(at line 3"),
    ],
)
def test_a_mistake_in_the_file_is_named_with_its_place(here: Path, home: Path, text: str, message: str) -> None:
    (here / "weaver.toml").write_text(text)
    with pytest.raises(ConfigError, match=message):
        load(here, home)


def test_a_mistake_in_the_environment_or_the_call_is_named(here: Path, home: Path) -> None:
    with pytest.raises(ConfigError, match=r"WEAVER_DATABASE_POOLSIZE.*did you mean 'WEAVER_DATABASE_POOL_SIZE'"):
        load(here, home, WEAVER_DATABASE_POOLSIZE="3")
    with pytest.raises(
        ConfigError, match=r"WEAVER_DATABASE_LINGER: database.linger must be a number of seconds, not 'x'"
    ):
        load(here, home, WEAVER_DATABASE_LINGER="x")
    with pytest.raises(ConfigError, match=r"WEAVER_DATABASE_ECHO: database.echo must be true or false, not 'maybe'"):
        load(here, home, WEAVER_DATABASE_ECHO="maybe")
    with pytest.raises(ConfigError, match=r"no setting 'database.uri'; did you mean 'database.url'"):
        Settings.load({"database.uri": "x"}, environment={"WEAVER_HOME": str(home)}, folder=here)


def test_other_variables_that_begin_with_weaver_are_left_alone(here: Path, home: Path) -> None:
    assert load(here, home, WEAVER_TEST_DATA="/x", WEAVER_DATABASE_ECHO="yes").database.echo is True
