"""The login guard: a password leaves only as the URL allows it, whatever a server asks for."""

from __future__ import annotations

import asyncio
import os
import pwd
import ssl
import struct
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
from fake_postgres import CLEARTEXT, LOGGED_IN, MD5, SCRAM, FakePostgres, message

from weaver.core.database_url import DatabaseUrl
from weaver.core.errors import ConfigError, StoreError, StoreUnavailable
from weaver.walle import login_guard
from weaver.walle.connection import Connector, check_server, login_methods
from weaver.walle.embedded.binaries import find_programs
from weaver.walle.embedded.client import Client, open_client
from weaver.walle.login_guard import GuardedLoop, LoginRule

SECRET = "correct-horse-battery"


@pytest.fixture(autouse=True)
def _no_settings_of_postgresql(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    for name in [name for name in os.environ if name.startswith("PG")]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("HOME", str(tmp_path))  # no ~/.postgresql and no ~/.pgpass of the developer


@pytest.fixture(scope="session")
def certificate(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("tls")
    subprocess.run(
        ["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2", "-subj", "/CN=localhost",
         "-addext", "subjectAltName=DNS:localhost,IP:127.0.0.1", "-keyout", folder / "key", "-out", folder / "crt"],
        check=True, capture_output=True,
    )  # fmt: skip
    return folder


@pytest.fixture
def folder(tmp_path: Path) -> Iterator[Path]:
    """A folder with a path that is short enough for a socket."""
    short = Path("/tmp") / f"weaver-guard-{os.getpid()}"
    short.mkdir()
    yield short
    for path in short.iterdir():
        path.unlink()
    short.rmdir()


def connect(url: str) -> str:
    """Connect as every command does. Return the reason of the failure, or an empty text."""

    async def attempt() -> str:
        try:
            connection = await Connector(url).connect()
        except (StoreError, OSError) as error:
            return str(error)
        except Exception as error:  # the driver's
            return f"driver: {error}"
        connection.terminate()
        return ""

    return asyncio.run(attempt())


def tcp(server: FakePostgres, parameters: str) -> str:
    return f"postgresql://weaver:{SECRET}@127.0.0.1:{server.port}/weaver?connect_timeout=10{parameters}"


def tls_context(certificate: Path) -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate / "crt", certificate / "key")
    return context


# --- a password in clear text --------------------------------------------------------------------------------------


def test_no_password_in_clear_text_goes_over_a_socket(folder: Path) -> None:
    with FakePostgres(CLEARTEXT, folder=folder) as server:
        problem = connect(f"postgresql://weaver:{SECRET}@/weaver?host={folder}")
        assert "clear text" in problem
        assert "require_auth=password in DB_URL" in problem
        assert SECRET not in problem
    assert server.received != b""
    assert SECRET.encode() not in server.received


@pytest.mark.parametrize("parameters", ["", "&sslmode=disable", "&sslmode=allow", "&sslmode=prefer"])
def test_no_password_in_clear_text_goes_over_tcp_without_tls(parameters: str) -> None:
    with FakePostgres(CLEARTEXT) as server:
        assert "clear text" in connect(tcp(server, parameters))
    assert SECRET.encode() not in server.received


@pytest.mark.parametrize("mode", ["allow", "prefer", "require"])
def test_no_password_in_clear_text_goes_over_tls_to_a_server_that_nothing_verifies(
    certificate: Path, mode: str
) -> None:
    with FakePostgres(CLEARTEXT, context=tls_context(certificate)) as server:
        assert "clear text" in connect(tcp(server, f"&sslmode={mode}"))
    assert SECRET.encode() not in server.received


@pytest.mark.parametrize("mode", ["require", "verify-ca", "verify-full"])
def test_a_verified_server_may_ask_for_the_password_in_clear_text(certificate: Path, mode: str) -> None:
    with FakePostgres(CLEARTEXT, context=tls_context(certificate)) as server:
        connect(tcp(server, f"&sslmode={mode}&sslrootcert={certificate / 'crt'}"))
    assert SECRET.encode() in server.received


@pytest.mark.parametrize("allowed", ["password", "password,md5", "!md5"])
def test_the_url_can_allow_a_password_in_clear_text(folder: Path, allowed: str) -> None:
    with FakePostgres(CLEARTEXT, folder=folder) as server:
        connect(f"postgresql://weaver:{SECRET}@/weaver?host={folder}&require_auth={allowed}")
    assert SECRET.encode() in server.received


def test_a_password_from_the_environment_or_a_file_is_guarded_too(
    folder: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    passfile = tmp_path / "pgpass"
    passfile.write_text(f"*:*:*:*:{SECRET}\n")
    passfile.chmod(0o600)
    with FakePostgres(CLEARTEXT, folder=folder) as server:
        assert "clear text" in connect(f"postgresql://weaver@/weaver?host={folder}&passfile={passfile}")
        monkeypatch.setenv("PGPASSWORD", SECRET)
        assert "clear text" in connect(f"postgresql://weaver@/weaver?host={folder}")
    assert SECRET.encode() not in server.received


class _Line:
    """The transport and the driver's protocol of a guard, in one."""

    def __init__(self) -> None:
        self.passed_on: list[bytes] = []
        self.is_closed = False
        self.protocol: object = None

    def data_received(self, data: bytes) -> None:
        self.passed_on.append(data)

    def abort(self) -> None:
        self.is_closed = True

    def get_extra_info(self, name: str) -> None:
        return None

    def set_protocol(self, protocol: object) -> None:
        self.protocol = protocol


@pytest.mark.parametrize("step", [1, 3, 1000])
def test_messages_in_pieces_are_judged_whole(step: int) -> None:
    async def feed(answer: bytes) -> tuple[_Line, GuardedLoop]:
        line = _Line()
        loop = GuardedLoop(LoginRule.of(DatabaseUrl.parse("postgresql://u@h/n")))
        guard = login_guard._LoginGuard(line, loop, loop._rule)
        guard.transport = line
        for start in range(0, len(answer), step):
            if line.protocol is None:
                guard.data_received(answer[start : start + step])
        return line, loop

    notice = message(b"N", b"SNOTICE\0Mhello\0\0")
    line, loop = asyncio.run(feed(notice + SCRAM + CLEARTEXT + LOGGED_IN))
    assert (line.passed_on, line.is_closed, loop.is_logged_in) == ([notice, SCRAM], True, False)
    assert "clear text" in str(loop.refusal)
    line, loop = asyncio.run(feed(notice + LOGGED_IN))
    assert (line.is_closed, loop.is_logged_in, loop.refusal) == (False, True, None)
    assert b"".join(line.passed_on) == (notice + LOGGED_IN)[: len(b"".join(line.passed_on))]
    assert line.protocol is line


# --- the other methods ---------------------------------------------------------------------------------------------


def test_md5_works_with_your_own_server_and_can_be_forbidden(folder: Path) -> None:
    with FakePostgres(MD5, folder=folder) as server:
        for methods in ("scram-sha-256", "!md5", "!password,!md5", "none"):
            problem = connect(f"postgresql://weaver:{SECRET}@/weaver?host={folder}&require_auth={methods}")
            assert "asks for the login method 'md5'" in problem
        assert b"md5" not in server.received
        connect(f"postgresql://weaver:{SECRET}@/weaver?host={folder}")
    assert b"md5" in server.received
    assert SECRET.encode() not in server.received


def test_with_required_scram_a_server_that_skips_or_shortens_the_login_is_refused(folder: Path) -> None:
    url = f"postgresql://weaver:{SECRET}@/weaver?host={folder}&require_auth=scram-sha-256"
    for answer, problem in (
        (LOGGED_IN, "asks for no login"),
        (SCRAM + LOGGED_IN, "without a proof that it knows the password"),
        (CLEARTEXT, "'password'"),
        (MD5, "'md5'"),
        (SCRAM + CLEARTEXT, "'password'"),
    ):
        with FakePostgres(answer, folder=folder) as server:
            assert problem in connect(url)
        (folder / ".s.PGSQL.5432").unlink()
        assert SECRET.encode() not in server.received
        assert b"md5" not in server.received


@pytest.mark.parametrize(
    "answer",
    [
        message(b"Z", b"I"),
        message(b"K", struct.pack("!ii", 1, 2)) + message(b"Z", b"I"),
        b"R" + struct.pack("!i", 1 << 30),
        b"R" + struct.pack("!i", -1) + b"xxxx",
        b"HTTP/1.1 400 Bad Request\r\n\r\n",
        message(b"T", b"\0\0"),
    ],
    ids=["ready", "key and ready", "too long", "negative", "http", "rows"],
)
def test_an_answer_that_is_not_a_login_is_refused(folder: Path, answer: bytes) -> None:
    with FakePostgres(answer, folder=folder) as server:
        problem = connect(f"postgresql://weaver:{SECRET}@/weaver?host={folder}")
        assert "does not answer as PostgreSQL does before a login" in problem
    assert SECRET.encode() not in server.received


# --- the user at the other end -------------------------------------------------------------------------------------


def test_a_socket_of_another_user_receives_nothing(folder: Path) -> None:
    with FakePostgres(SCRAM, folder=folder) as server:
        problem = connect(f"postgresql://weaver:{SECRET}@/weaver?host={folder}&requirepeer={os.geteuid() + 1}")
        assert f"of user id {os.geteuid()}, not of {os.geteuid() + 1}" in problem
    assert server.received == b""
    (folder / ".s.PGSQL.5432").unlink()
    with FakePostgres(SCRAM, folder=folder) as server:
        connect(f"postgresql://weaver:{SECRET}@/weaver?host={folder}&requirepeer={os.geteuid()}&connect_timeout=1")
    assert b"SCRAM-SHA-256" in server.received


@pytest.mark.parametrize(
    ("parameters", "problem"),
    [
        ("require_auth=skram-sha-256", "has an unknown method; the known ones are password, md5"),
        ("require_auth=md5,!password", "mixes names with and without !"),
        ("requirepeer=nobody-knows", "a user that this machine does not have"),
    ],
)
def test_a_wrong_rule_is_refused_by_name(parameters: str, problem: str) -> None:
    with pytest.raises(ConfigError, match=problem):
        Connector(f"postgresql://a@b/c?{parameters}")


# --- PostgreSQL's programs ------------------------------------------------------------------------------------------


def test_the_programs_get_the_same_rule(certificate: Path) -> None:
    verified = f"sslrootcert={certificate / 'crt'}"
    for parameters, methods in {
        "": "!password",
        "sslmode=require": "!password",
        "sslmode=prefer": "!password",
        f"sslmode=require&{verified}": None,
        f"sslmode=verify-full&{verified}": None,
        f"channel_binding=require&{verified}": None,
        "require_auth=password": "password",
        "require_auth=scram-sha-256&sslmode=require": "scram-sha-256",
    }.items():
        url = f"postgresql://u:{SECRET}@db.example/weaver?{parameters}"
        assert login_methods(DatabaseUrl.parse(url)) == methods
        assert Client(url, find_programs()).environment().get("PGREQUIREAUTH") == methods
    socket = f"postgresql://u:{SECRET}@/weaver?host=/run/x&{verified}&sslmode=verify-full&requirepeer=root"
    environment = Client(socket, find_programs()).environment()
    assert (environment["PGREQUIREAUTH"], environment["PGREQUIREPEER"]) == ("!password", "root")
    tunnelled = Client("postgresql://u@db.example/weaver?requirepeer=daemon", find_programs(), socket="/tmp/x")
    assert tunnelled.environment()["PGREQUIREPEER"] == pwd.getpwuid(os.geteuid()).pw_name
    numbered = Client(f"postgresql://u@/weaver?host=/run/x&requirepeer={os.geteuid()}", find_programs())
    assert "PGREQUIREPEER" not in numbered.environment()


@pytest.mark.parametrize("answer", [CLEARTEXT, MD5, LOGGED_IN], ids=["cleartext", "md5", "no login"])
def test_psql_sends_no_password_to_a_server_that_asks_for_another_login(folder: Path, answer: bytes) -> None:
    programs = find_programs()
    if int(programs.major) < 16:
        pytest.skip("PostgreSQL's programs before 16 do not know require_auth")
    url = f"postgresql://weaver:{SECRET}@/weaver?host={folder}&require_auth=scram-sha-256"
    with FakePostgres(answer, folder=folder) as server, pytest.raises(StoreError):
        Client(url, programs).ask("SELECT 1")
    assert server.received != b""
    assert SECRET.encode() not in server.received
    assert b"md5" not in server.received


def test_psql_sends_nothing_to_the_socket_of_another_user(folder: Path) -> None:
    url = f"postgresql://weaver:{SECRET}@/weaver?host={folder}&requirepeer=daemon"
    with FakePostgres(CLEARTEXT, folder=folder) as server, pytest.raises(StoreError, match="requirepeer"):
        Client(url, find_programs()).ask("SELECT 1")
    assert SECRET.encode() not in server.received


def test_psql_behind_the_tls_tunnel_sends_no_password_in_clear_text(certificate: Path) -> None:
    """The check before it connects with the driver; here the server is another one by the time psql connects."""
    with FakePostgres(CLEARTEXT, context=tls_context(certificate)) as server:
        url = tcp(server, "&sslmode=require")
        with pytest.raises(StoreUnavailable, match="clear text"):
            asyncio.run(check_server(url))
        with open_client(url, find_programs(), ("127.0.0.1", server.port)) as client, pytest.raises(StoreError):
            client.ask("SELECT 1")
    assert SECRET.encode() not in server.received
