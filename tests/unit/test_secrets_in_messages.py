"""The password of DB_URL appears in no message, whatever is wrong with the URL: several hundred URLs with a mistake."""

from __future__ import annotations

import json
import logging
import traceback
from collections.abc import Callable
from pathlib import Path
from random import Random

import pytest
from refusing_server import refusing_server

from weaver.cli.main import main
from weaver.config import DatabaseConfig, Settings
from weaver.core.database_url import DatabaseUrl
from weaver.core.errors import ConfigError
from weaver.walle.embedded.binaries import Programs
from weaver.walle.embedded.client import Client

FIRST, SECOND = "Zq7vXj", "kW9pLm"
PIECES = [part[start : start + 4] for part in (FIRST, SECOND) for start in range(3)]

MARKS = ["", "#", "/", "?", "@", ":", "://", "?x=", "@@", "[", "]", "%", "%zz", "&", "&x=", "=", ";", ",", " ", "\n", "\x1b", "é",
         "\u202e", "\ud800"]  # fmt: skip
PASSWORDS = [
    *(f"{FIRST}{mark}{SECOND}" for mark in MARKS),
    *(f"{mark}{FIRST}{SECOND}" for mark in MARKS[1:10]),
    *(f"{FIRST}{SECOND}{mark}" for mark in MARKS[1:10]),
    *(f"12{mark}{SECOND}{mark}" for mark in ("/", "?", "#", "&", ";")),
]

WITH_HOST = [
    "postgresql://me:{}@host:5432/db",
    "postgresql+asyncpg://me:{}@host/db?sslmode=require",
    "postgres://:{}@host/db",
    "postgresql://me:{}@/db",
    "postgresql://me:{}@",
    "postgresql://me:{}@host:port/db",
    "postgresql://me:{}@host:99999/db",
    "postgresql://me:{}@[::1]:5432/db",
    "postgresql://me:{}@[::1/db",
    "postgresql://me:{}@a,b:1,[fe80::1]/db",
    "postgresql://me:{}@a,,b/db",
    "postgresql://me:{}@one@two/db",
    "postgresql://mé:{}@hö.example/dä",
    "postgresql://me;password={}@host/db",
    "postgresql://me%3A{}@host/db",
    "postgresql://user=me password={}@host/db",
    " \n postgresql://me:{}@host/db?sslmod=require \n",
    "postgresql://me:{}@host/db?sslmode=on",
    "postgresql://postgresql://me:{}@host/db",
    "jdbc:postgresql://me:{}@host/db",
    "mysql://me:{}@host/db",
    "postgresql+driver://me:{}@host/db",
    "me:{}@host/db",
    "postgresql:me:{}@host/db",
]
WITHOUT_HOST = [
    "postgresql://me:{}",
    "postgresql://me:{}/db",
    "postgresql://:{}",
    "postgresql://me@host:{}/db",
    "postgresql://host/db?port={}",
    "postgresql://host/me:{}",
]
PARAMETERS = [
    "postgresql://host/db?user=me;password={}",
    "postgresql://host/db?user=me%3Bpassword%3D{}",
    "postgresql://host/db?user=me&password={}",
    "postgresql://me@host/db?pass%77ord={}",
    "postgresql://me@host/db?%70assword={}&x=1",
    "postgresql://me@host/db?PASSWORD={}",
    "postgresql://me@host/db?passwd={}",
    "postgresql://me@host/db?sslpassword={}",
    "postgresql://me@host/db?ssl%70assword={}",
    "postgresql://me@host/db?sslmode=require;password={}",
    "postgresql://me@host/db?sslmode=require password={}",
    "postgresql://me@host/db?connect_timeout={}",
    "postgresql://me@host/db?options=-c%20app.password%3D{}",
    "postgresql://me@host/db?options=-c app.token={}",
    "postgresql://me@host/db?application_name=x password={}",
    "postgresql://me@host/db?dbname=postgresql%3A%2F%2Fme%3A{}%40other",
    "postgresql://me@/?host=me:{}",
    "postgresql:///db?host=h password={}",
    "postgresql://me@host/db?service=s&password={}",
    "postgresql://me@host/db?passfile=/f&password={}",
    "postgresql://me@host/db?{}=1",
    "postgresql://me@host/db?{}",
    "host=host user=me password={} dbname=db",
    "host=host user=me password='a://{}' dbname=db",
    "postgresql+{}://me@host/db",
    "{}://me@host/db",
]
# With an @ and no host, the rest of the password is the host, as far as anyone can see.
URLS = [template.format(password) for template in (*WITH_HOST, *PARAMETERS) for password in PASSWORDS] + [
    template.format(password) for template in WITHOUT_HOST for password in PASSWORDS if "@" not in password
]


def leaks(text: str) -> list[str]:
    return [piece for piece in PIECES if piece in text]


def whole_text(error: BaseException | None) -> str:
    """Every text of an error and of those behind it, also where `from None` hides them."""
    texts = []
    while error is not None:
        texts += [*traceback.format_exception_only(error), repr(error.args)]
        error = error.__context__ or error.__cause__
    return "\n".join(texts)


def test_several_hundred_urls_are_tried_and_most_are_refused() -> None:
    assert len(set(URLS)) > 2000
    refused = 0
    for url in URLS:
        try:
            DatabaseUrl.parse(url)
        except ConfigError:
            refused += 1
    assert refused > 1000


@pytest.mark.parametrize("template", [*WITH_HOST, *WITHOUT_HOST, *PARAMETERS])
def test_no_part_of_a_password_is_in_a_message_or_a_display(template: str, tmp_path: Path) -> None:
    leaking = []
    for password in PASSWORDS:
        url = template.format(password)
        if template in WITHOUT_HOST and "@" in password:
            continue
        try:
            parsed, config = DatabaseUrl.parse(url), DatabaseConfig(url=url)
        except ConfigError as error:
            texts = [whole_text(error)]
            with pytest.raises(ConfigError) as refused:
                load(tmp_path, DB_URL=url)
            texts.append(whole_text(refused.value))
        else:
            texts = [
                repr(parsed),
                str(parsed),
                parsed.safe_text,
                parsed.description,
                repr(config),
                str(config.safe_url),
            ]
            texts.append(repr(load(tmp_path, DB_URL=url)))
        if any(map(leaks, texts)):
            leaking.append(url)
    assert leaking == []


TOKENS = [FIRST, SECOND, *"#/?@:&=;,%[] \né", "%2", "x", "12", "host", "sslmode", "require", "user", "password", "dbname", "port", "://",
          "%40", "%3A"]  # fmt: skip
PLACES = ["postgresql://me:{}@host/db", "postgresql://me:{}@/db", "postgresql://me:{}@[::1]/db?sslmode=require",
          "postgresql://host/db?password={}", "postgresql://me@host/db?PASSWORD={}", "postgresql://h/d?user=u;password={}"]  # fmt: skip


def test_random_passwords_are_shown_nowhere() -> None:
    random = Random(8)
    leaking = []
    for _ in range(5000):
        url = random.choice(PLACES).format("".join(random.choices(TOKENS, k=random.randint(1, 7))))
        try:
            parsed = DatabaseUrl.parse(url)
            text = repr(parsed) + parsed.description
        except ConfigError as error:
            text = str(error)
        if leaks(text):
            leaking.append(url)
    assert leaking == []


def load(folder: Path, **environment: str) -> Settings:
    return Settings.load(environment={"WEAVER_HOME": str(folder)} | environment, folder=folder)


def test_a_url_in_another_setting_is_not_repeated(tmp_path: Path) -> None:
    url = f"postgresql://me:{FIRST}{SECOND}@host/db"
    for variable in ("ECHO", "LINGER", "POOL_SIZE", "MAX_OVERFLOW"):
        with pytest.raises(ConfigError, match=variable) as refused:
            load(tmp_path, **{f"WEAVER_DATABASE_{variable}": url})
        assert leaks(whole_text(refused.value)) == []
    text = json.dumps(url)
    for lines in (
        f"[database]\necho = {text}\n",
        f"[database]\npool_size = [{text}]\n",
        f"[database]\nurl = [{text}]\n",
        f"[database]\n{text} = 1\n",
        f"[database]\nurl.{text} = 1\n",
        f"[database]\nurl = {url}\n",
        f"[{text}]\n",
        f"[database.{text}]\n",
        f"[database]\nurl = {text} {text}\n",
        f"[database]\n{text} = 1\n{text} = 1\n",
        f"[database]\n[database.{text}]\n[database.{text}]\n",
        f"{text} = 1\n",
        f"database = {text}\n",
    ):
        (tmp_path / "weaver.toml").write_text(lines, encoding="utf-8")
        with pytest.raises(ConfigError) as refused:
            load(tmp_path)
        assert leaks(whole_text(refused.value)) == [], lines


COMMANDS = [
    ("db", "status"),
    ("db", "status", "--json"),
    ("db", "url"),
    ("db", "start"),
    ("db", "stop"),
    ("db", "upgrade"),
    ("db", "downgrade", "--yes"),
    ("db", "downgrade"),
    ("db", "psql", "-c", "SELECT 1"),
    ("db", "backup", "all.backup"),
    ("db", "restore", "all.backup"),
    ("runs", "list"),
    ("runs", "list", "--json"),
    ("runs", "show", "last"),
    ("runs", "report", "last"),
    ("runs", "compare", "a", "b"),
    ("runs", "delete", "last", "--yes"),
    ("events", "tail"),
    ("events", "show", "1"),
    ("events", "stats"),
    ("events", "prune", "--older-than", "1d", "--yes"),
]
SAMPLE = [
    f"postgresql://me:{FIRST}#{SECOND}@host/db",
    f"postgresql://me:{FIRST}/{SECOND}@host/db",
    f"postgresql://me:{FIRST}?{SECOND}@host/db",
    f"postgresql://me:12?{FIRST}=x@host/db",
    f"postgresql://me:x@y?{FIRST}=x@host/db",
    f"postgresql://me:{FIRST}",
    f"postgresql://host/db?user=me;password={FIRST}",
    f"postgresql://me@host/db?PASSWORD={FIRST}&{SECOND}",
    f"postgresql://me@host/db?sslmode=require;password={FIRST}",
    f"host=host password=a://{FIRST}",
    f"host=host password={FIRST}",
]
Texts = Callable[..., str]


@pytest.fixture
def texts_of(
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    caplog: pytest.LogCaptureFixture,
    recwarn: pytest.WarningsRecorder,
    tmp_path: Path,
) -> Texts:
    """`texts_of(url, "db", "status")` runs a command with DB_URL and returns everything that it printed or logged."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("WEAVER_HOME", str(tmp_path / "home"))
    (tmp_path / "all.backup").write_bytes(b"no backup")
    caplog.set_level(logging.DEBUG)

    def run(url: str, *arguments: str) -> str:
        monkeypatch.setenv("DB_URL", url)
        capsys.readouterr()
        caplog.clear()
        main([*arguments, "--debug"] if "psql" not in arguments else ["--debug", *arguments])
        output = capsys.readouterr()
        warned = [str(warning.message) for warning in recwarn]
        return "\n".join([output.out, output.err, caplog.text, *warned])

    return run


@pytest.mark.parametrize("command", COMMANDS, ids=" ".join)
def test_no_command_prints_a_part_of_a_url_that_cannot_be_read(command: tuple[str, ...], texts_of: Texts) -> None:
    leaking = [url for url in SAMPLE if leaks(texts_of(url, *command))]
    assert leaking == []


@pytest.mark.parametrize("command", COMMANDS, ids=" ".join)
@pytest.mark.parametrize(
    ("code", "message"),
    [
        ("28P01", 'password authentication failed for user "me"'),
        ("3D000", 'database "db" does not exist'),
        ("42501", "permission denied for schema public"),
    ],
)
def test_no_command_prints_the_password_where_the_server_refuses(
    command: tuple[str, ...], code: str, message: str, texts_of: Texts
) -> None:
    with refusing_server(code, message) as port:
        url = (
            f"postgresql://me:{FIRST}%2F{SECOND}@127.0.0.1:{port}/db?sslmode=disable&options=-c%20app.token%3D{SECOND}"
        )
        text = texts_of(url, *command)
    assert leaks(text) == []
    if command != ("db", "url") and command[:2] not in (("db", "start"), ("db", "stop")):
        assert "127.0.0.1" in text


@pytest.mark.parametrize("password", [f"{FIRST}#{SECOND}", f"{FIRST}%23{SECOND}"])
def test_a_run_that_cannot_be_recorded_says_so_without_the_password(
    password: str, texts_of: Texts, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("WEAVER_RECORD", "1")
    with refusing_server("28P01", "password authentication failed") as port:
        text = texts_of(f"postgresql://me:{password}@127.0.0.1:{port}/db", "demo", "--report", "demo.html")
    assert "DB_URL" in text
    assert leaks(text) == []
    kept = [path for path in tmp_path.rglob("*") if path.is_file()]
    assert [path for path in kept if leaks(path.read_bytes().decode("latin-1"))] == []


def test_programs_get_the_password_in_their_environment_and_not_as_an_argument(tmp_path: Path) -> None:
    folder = tmp_path / "bin"
    folder.mkdir()
    for name in ("psql", "pg_dump", "pg_restore"):
        program = folder / name
        program.write_text(
            f'#!/bin/sh\nprintf "%s\\n" "$0" "$@" >> {tmp_path}/arguments\necho "$PGPASSWORD" >> {tmp_path}/seen\n'
        )
        program.chmod(0o755)
    client = Client(
        f"postgresql://me:{FIRST}{SECOND}@host/db", Programs(folder=folder, version="18.0", origin="a test")
    )
    client.ask("SELECT 1")
    client.backup(tmp_path / "all.backup", tmp_path / "runs", version="1")
    assert set((tmp_path / "seen").read_text().split()) == {FIRST + SECOND}
    assert "pg_dump" in (tmp_path / "arguments").read_text()
    assert leaks((tmp_path / "arguments").read_text()) == []
