"""DatabaseUrl: every part of a URL, unknown parameters refused by name, and a password that appears nowhere."""

from __future__ import annotations

import pytest

from weaver.core.database_url import DatabaseUrl
from weaver.core.errors import ConfigError

SECRET = "s3cret"


@pytest.mark.parametrize(
    ("url", "hosts"),
    [
        ("postgresql://u@h/d", (("h", 5432),)),
        ("postgresql://u@h:1/d", (("h", 1),)),
        ("postgresql://u@a:1,b:2,c/d", (("a", 1), ("b", 2), ("c", 5432))),
        ("postgresql://u@[::1]:1,[fe80::2]/d", (("::1", 1), ("fe80::2", 5432))),
        ("postgresql://u@/d?host=a,b&port=1,2", (("a", 1), ("b", 2))),
        ("postgresql://u@/d?host=a,b&port=7", (("a", 7), ("b", 7))),
        ("postgresql://u@/d?host=/run/pg", (("/run/pg", 5432),)),
        ("postgresql://u@%2Frun%2Fpg:1/d", (("/run/pg", 1),)),
        ("postgresql://u@/d?port=7", (("localhost", 7),)),
        ("postgresql:///d", ()),
        ("postgres://u@h", (("h", 5432),)),
        ("  postgresql+asyncpg://u@h/d\n", (("h", 5432),)),
    ],
)
def test_hosts_are_read_in_every_spelling_and_the_text_means_the_same(
    url: str, hosts: tuple[tuple[str, int], ...]
) -> None:
    parsed = DatabaseUrl.parse(url)
    assert parsed.hosts == hosts
    assert DatabaseUrl.parse(parsed.text()) == parsed
    assert DatabaseUrl.parse(parsed.text(database="other")).database == "other"


def test_every_part_reaches_postgresqls_programs() -> None:
    url = (
        "postgresql://me%40x:p%2F%23%40ss@a:1,b/name%20x?ssl=true&sslrootcert=/ca.crt&connect_timeout=5&application_name=mine"
        "&channel_binding=prefer&options=-c%20search_path%3Dw"
    )
    assert DatabaseUrl.parse(url).environment() == {
        "PGHOST": "a,b",
        "PGPORT": "1,5432",
        "PGUSER": "me@x",
        "PGPASSWORD": "p/#@ss",
        "PGDATABASE": "name x",
        "PGSSLMODE": "require",
        "PGSSLROOTCERT": "/ca.crt",
        "PGCONNECT_TIMEOUT": "5",
        "PGAPPNAME": "mine",
        "PGCHANNELBINDING": "prefer",
        "PGOPTIONS": "-c search_path=w",
        "PGTARGETSESSIONATTRS": "primary",
    }


@pytest.mark.parametrize(
    ("parameters", "message"),
    [
        ("sslmod=require", r"unknown parameter \(number 1\); did you mean 'sslmode'\?"),
        (
            "prepared_statement_cache_size=0",
            "unknown parameter 'prepared_statement_cache_size'; the known ones are .*sslmode",
        ),
        ("pgbouncer=true", "unknown parameter 'pgbouncer'"),
        ("sslmode=on-off", "'sslmode' of the database URL must be one of disable, .*, verify-full$"),
        (
            "channel_binding=yes",
            "'channel_binding' of the database URL must be one of disable, prefer, require$",
        ),
        ("target_session_attrs=master", "'target_session_attrs' of the database URL must be one of any"),
        ("connect_timeout=soon", "'connect_timeout' of the database URL must be a whole number of seconds$"),
        ("connect_timeout=-1", "must be a whole number of seconds"),
        ("sslmode", "'sslmode' of the database URL has no value; write sslmode=VALUE"),
        ("ssl=require&sslmode=disable", "names its parameter 'sslmode' twice"),
        ("host=other", "names its host twice"),
        ("port=1", "names its port twice"),
        ("user=other", "names its user twice"),
        ("dbname=other", "names its dbname twice"),
        ("sslrootcert=system&sslmode=require", "it needs sslmode=verify-full"),
    ],
)
def test_a_parameter_that_cannot_be_honoured_is_refused_by_name(parameters: str, message: str) -> None:
    with pytest.raises(ConfigError, match=message) as refused:
        DatabaseUrl.parse(f"postgresql://me:{SECRET}@h/d?{parameters}")
    assert SECRET not in str(refused.value)


@pytest.mark.parametrize(
    ("url", "message"),
    [
        ("postgresql://u@a,,b/d", "empty host"),
        ("postgresql://u@/d?host=a,&port=1", "empty host"),
        ("postgresql://u@/d?host=a,b&port=1,2,3", "2 hosts and 3 ports"),
        ("postgresql://u@a,%2Frun/d", "mixes hosts and folders of sockets"),
        ("postgresql://u@h:0/d", "a port outside of 1 to 65535"),
        ("postgresql://u@h:70000/d", "a port outside of 1 to 65535"),
        ("postgresql://u@h:x/d", "cannot be read"),
        ("postgresql://u@[::1/d", "cannot be read"),
        ("mysql://u@h/d", "'mysql' is not a database that Weaver can use"),
        ("postgresql+psycopg://u@h/d", "the driver 'psycopg' is not Weaver's"),
        ("h/d", "no scheme"),
    ],
)
def test_a_url_that_is_wrong_is_refused_with_the_part_that_is(url: str, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        DatabaseUrl.parse(url)


@pytest.mark.parametrize("password", ["s3cret", "s3c:ret", "@s3cret", "s3%20cret", "%F0%9F%94%91s3cret"])
def test_a_password_is_in_the_text_for_the_driver_and_nowhere_else(password: str) -> None:
    parsed = DatabaseUrl.parse(f"postgresql://me:{password}@h/d")
    assert parsed.password
    assert parsed.environment()["PGPASSWORD"] == parsed.password
    assert DatabaseUrl.parse(parsed.text()).password == parsed.password
    for shown in (repr(parsed), parsed.description, parsed.safe_text):
        assert "cret" not in shown


@pytest.mark.parametrize(
    ("url", "shown"),
    [
        ("postgres://me:s3cret@db.example/w?ssl=1", "postgresql+asyncpg://me:***@db.example/w?sslmode=require"),
        ("postgresql://db/w?user=me&password=s3cret", "postgresql+asyncpg://me:***@db/w"),
        ("postgresql://m%40e:@a:1,[::1]/d%20x", "postgresql+asyncpg://m%40e@a:1,[::1]/d%20x"),
        ("postgresql://weaver:s3cret@/w?host=/run/pg", "postgresql+asyncpg://weaver:***@/w?host=/run/pg&port=5432"),
        ("postgresql://h/d?options=-c%20app.token%3Ds3cret", "postgresql+asyncpg://h/d?options=***"),
        ("postgresql://me%3As3cret@h", "postgresql+asyncpg://me:***@h"),
        ("postgresql:///", "postgresql+asyncpg:///"),
    ],
)
def test_a_url_for_display_is_built_from_its_parts(url: str, shown: str) -> None:
    parsed = DatabaseUrl.parse(url)
    assert parsed.safe_text == shown
    assert repr(parsed) == f"DatabaseUrl({shown!r})"
