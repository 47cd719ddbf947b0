"""`weaver db` where no server is needed: whose database it is, and what it refuses. The rest is in tests/integration."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from weaver.core.database_url import DatabaseUrl

URL = "postgresql://me:secret@127.0.0.1:1/w"


@pytest.fixture(autouse=True)
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("WEAVER_HOME", str(tmp_path / "home"))
    monkeypatch.delenv("DB_URL", raising=False)
    monkeypatch.chdir(tmp_path)
    return tmp_path / "home"


def test_a_look_starts_nothing_and_makes_no_folder(weaver: Callable[..., Any], home: Path) -> None:
    ended = weaver("db", "status")
    assert (ended.code, ended.err) == (0, "")
    assert "not running; it starts when a command needs it" in ended.out
    assert json.loads(weaver("db", "status", "--json").out)["running"] is False
    assert weaver("db", "stop").out == "no embedded PostgreSQL is running\n"
    assert not home.exists()


def test_the_url_of_a_server_that_does_not_run_is_not_made_up(weaver: Callable[..., Any]) -> None:
    ended = weaver("db", "url")
    assert (ended.code, ended.out) == (1, "")
    assert "weaver db start" in ended.err


@pytest.mark.parametrize("verb", ["start", "stop"])
def test_your_own_server_is_yours_to_start_and_stop(
    weaver: Callable[..., Any], monkeypatch: pytest.MonkeyPatch, verb: str
) -> None:
    monkeypatch.setenv("DB_URL", URL)
    ended = weaver("db", verb)
    assert ended.code == 2
    assert "DB_URL names one of your own (postgresql+asyncpg://me:***@127.0.0.1:1/w)" in ended.err


def test_the_url_of_your_own_server_hides_its_password_unless_asked(
    weaver: Callable[..., Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("DB_URL", URL)
    assert weaver("db", "url").out == "postgresql+asyncpg://me:***@127.0.0.1:1/w\n"
    assert weaver("db", "url", "--show-password").out == "postgresql+asyncpg://me:secret@127.0.0.1:1/w\n"


def test_the_url_with_its_password_can_be_used_whatever_its_characters(
    weaver: Callable[..., Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("DB_URL", "postgresql://me:a\u202eb\u200bc@127.0.0.1:1/w")
    printed = weaver("db", "url", "--show-password").out.strip()
    assert printed.isascii()
    assert DatabaseUrl.parse(printed).password == "a\u202eb\u200bc"


def test_your_own_server_that_does_not_answer_is_said_so(
    weaver: Callable[..., Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("DB_URL", URL)
    ended = weaver("db", "status")
    assert ended.code == 0
    assert "your own, from the environment variable DB_URL" in ended.out
    assert "does not answer" in ended.out
    assert "secret" not in ended.out + ended.err
    about = json.loads(weaver("db", "status", "--json").out)
    assert (about["running"], about["embedded"]) == (False, False)


def test_a_mistake_in_weaver_toml_is_a_wrong_setting(weaver: Callable[..., Any], tmp_path: Path) -> None:
    (tmp_path / "weaver.toml").write_text("[database]\nurll = 'x'\n")
    ended = weaver("db", "status")
    assert ended.code == 2
    assert "weaver.toml, line 2: there is no setting 'database.urll'; did you mean 'database.url'?" in ended.err
