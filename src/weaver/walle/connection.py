"""Connector: makes every connection to PostgreSQL, whichever command needs it.

A URL is read by `weaver.core.database_url`; this module turns it into the driver's arguments, so that the same URL works for
the store, the migrations and PostgreSQL's own programs (client.py uses `addresses` too).

Guarantees that every connection has Weaver's session settings, that its login is one that the URL allows (login_guard.py),
and that a connection pooler in transaction mode is refused by name: there, prepared statements, advisory locks and LISTEN
would belong to other clients. Retries nothing.
"""

from __future__ import annotations

import os
import ssl
from collections.abc import Mapping
from pathlib import Path
from types import MappingProxyType
from typing import Any
from urllib.parse import urlencode

import asyncpg

from weaver.core.database_url import DatabaseUrl
from weaver.core.errors import ConfigError, MissingPrivilege, StoreError, StoreUnavailable
from weaver.walle.login_guard import GuardedLoop, LoginRule

__all__ = ["BROKEN", "SETTINGS", "Connector", "addresses", "check_server", "connection_error", "describe_url", "first_line",
           "login_methods", "missing_privilege", "root_certificate", "system_user", "tls_context"]  # fmt: skip

BROKEN = (
    asyncpg.PostgresConnectionError,
    asyncpg.CannotConnectNowError,
    asyncpg.AdminShutdownError,
    asyncpg.CrashShutdownError,
    asyncpg.IdleInTransactionSessionTimeoutError,
    asyncpg.InterfaceError,
    asyncpg.InternalClientError,
    OSError,
)
"""What asyncpg raises when a connection is gone, or cannot be had."""

SETTINGS = {
    "synchronous_commit": "on",  # what `append` returned from has reached the disk, whatever the server's default
    "jit": "off",  # every statement here is short
    "timezone": "UTC",
    # A machine that vanished is noticed in half a minute, and its leases are free again. No effect on a Unix socket.
    "tcp_keepalives_idle": "10",
    "tcp_keepalives_interval": "5",
    "tcp_keepalives_count": "4",
}
_APPLICATION = "weaver"
_LOGIN_FAILED = (
    asyncpg.InvalidPasswordError,
    asyncpg.InvalidAuthorizationSpecificationError,
)
_CONNECT_TIMEOUT_S = 10.0
_POOLER_TIMEOUT_S = 2.0
_POOLER_ROUNDS = 4
_SOCKET_FOLDERS = ("/run/postgresql", "/var/run/postgresql", "/tmp", "/private/tmp")
_SSL_FILES = ("sslrootcert", "sslcert", "sslkey", "sslcrl")
_POOLER_ADVICE = (
    "Weaver needs connections that keep their server (advisory locks, LISTEN, prepared statements); name the server itself "
    "in DB_URL, or set pool_mode = session in the pooler"
)


def describe_url(url: str) -> str:
    """Return the database that `url` names, without its password: `PostgreSQL user@host:5433/name`."""
    return DatabaseUrl.parse(url).description


def addresses(url: DatabaseUrl) -> tuple[tuple[str, int], ...]:
    """Return the hosts and ports to try in order. A URL without a host means this machine: its socket, else localhost."""
    if url.hosts:
        return url.hosts
    sockets = (folder for folder in _SOCKET_FOLDERS if Path(folder, ".s.PGSQL.5432").exists())
    return ((next(sockets, "localhost"), 5432),)


class Connector:
    """Connects to the database of one URL, with Weaver's session settings."""

    def __init__(self, url: str) -> None:
        self.url = DatabaseUrl.parse(url)
        self._rule = LoginRule.of(self.url)
        self._pooled: bool | None = None  # None: not known before the first connection

    async def connect(
        self,
        *,
        application: str = _APPLICATION,
        settings: Mapping[str, str] = MappingProxyType({}),
        connection_class: type[Any] | None = None,
    ) -> Any:
        """Return a new connection. `settings` are added to the session settings.

        Raises the driver's errors (see `connection_error`), and StoreUnavailable for a login that the URL does not allow,
        the socket of another user, or a pooler in transaction mode.
        """
        wanted = SETTINGS | dict(settings)
        if not self._pooled:
            connection = await self._connect_directly(application, wanted, connection_class)
            if connection is not None:
                return connection
            await self._refuse_transaction_mode()
            self._pooled = True
        connection = await self._open(application, {"timezone": wanted["timezone"]}, connection_class)
        await self._checked(connection, _apply(connection, wanted))
        return connection

    async def _connect_directly(
        self, application: str, settings: dict[str, str], connection_class: type[Any] | None
    ) -> Any | None:
        """Return a connection to the server itself; None where a pooler answers."""
        try:
            connection = await self._open(application, settings, connection_class)
        except asyncpg.ProtocolViolationError as error:
            if "unsupported startup parameter" in str(error):  # pgbouncer refuses those that it does not track
                return None
            raise
        if self._pooled is None:
            pooled = await self._checked(connection, self._has_pooler(connection))
            if not pooled:
                self._pooled = False
        if self._pooled is False:
            return connection
        connection.terminate()
        return None

    async def check(self) -> tuple[str, int]:
        """Connect once, close the connection, and return the host and port that answered. Raises what `connect` raises."""
        connection = await self.connect()
        address = connection._addr  # the driver has no public name for the host that it chose
        connection.terminate()
        if isinstance(address, str):  # FOLDER/.s.PGSQL.5432
            folder, _, name = address.rpartition("/")
            return folder, int(name.rpartition(".")[2])
        host, port = address
        return str(host), int(port)

    async def _open(self, application: str, settings: dict[str, str], connection_class: type[Any] | None) -> Any:
        arguments = _arguments(self.url)
        name = self.url.parameters.get("application_name")
        named = application if name is None else application.replace(_APPLICATION, name, 1)
        arguments["server_settings"] = (
            arguments.get("server_settings", {}) | settings | {"application_name": named[:63]}
        )
        if connection_class is not None:
            arguments["connection_class"] = connection_class
        guarded = GuardedLoop(self._rule)
        try:
            connection = await asyncpg.connect(loop=guarded, **arguments)
        except (asyncpg.PostgresError, asyncpg.InterfaceError, OSError):
            if guarded.refusal is not None:
                raise guarded.refusal from None
            raise
        if not guarded.is_logged_in:  # a driver that connects in a way that the guard does not know
            connection.terminate()
            raise StoreError(f"the driver asyncpg {asyncpg.__version__} connects without Weaver's check of the login")
        connection._loop = guarded.loop  # asyncio compares loops by identity; the login is over
        return connection

    async def _checked(self, connection: Any, question: Any) -> Any:
        """Return the answer to `question`, and close the connection where it raises."""
        try:
            return await question
        except BaseException:
            connection.terminate()
            raise

    @staticmethod
    async def _has_pooler(connection: Any) -> bool:
        """Return whether the process id that the other side gave at the login differs from the server's own."""
        pid: int = await connection.fetchval("SELECT pg_backend_pid()")
        return bool(pid != connection.get_server_pid())

    async def _refuse_transaction_mode(self) -> None:
        """Raise StoreUnavailable where the pooler gives one server connection to several clients.

        One client asks for its server's process id. While it stays connected, others open transactions: in session mode
        they cannot get that process, and the first client keeps it. In transaction mode a quiet pooler gives the same
        process to the second client; a busy one moves the first client. A few rounds make the first client's process either
        busy or the only free one.
        """
        opened: list[Any] = []
        try:
            first = await self._open(_APPLICATION, {}, None)
            opened.append(first)
            pid = await first.fetchval("SELECT pg_backend_pid()", timeout=_POOLER_TIMEOUT_S)
            for _ in range(_POOLER_ROUNDS):
                other = await self._open(_APPLICATION, {}, None)
                opened.append(other)
                await other.execute("BEGIN", timeout=_POOLER_TIMEOUT_S)
                shared = pid == await other.fetchval("SELECT pg_backend_pid()", timeout=_POOLER_TIMEOUT_S)
                moved = pid != await first.fetchval("SELECT pg_backend_pid()", timeout=_POOLER_TIMEOUT_S)
                if shared or moved:
                    raise StoreUnavailable(
                        f"{self.url.description} is a connection pooler (pgbouncer or another) in transaction mode. "
                        f"{_POOLER_ADVICE}"
                    )
        except TimeoutError:  # the pool is exhausted because each client keeps its server: session mode
            return
        except (
            asyncpg.DuplicatePreparedStatementError,
            asyncpg.InvalidSQLStatementNameError,
            asyncpg.ProtocolViolationError,
        ) as error:
            raise StoreUnavailable(
                f"{self.url.description} is a connection pooler (pgbouncer or another) in transaction or statement mode "
                f"({first_line(error)}). {_POOLER_ADVICE}"
            ) from error
        finally:
            for connection in opened:
                connection.terminate()


async def _apply(connection: Any, settings: dict[str, str]) -> None:
    """Set the session settings by a statement, for a pooler that does not pass them on at the login."""
    await connection.execute("; ".join(f"SET SESSION {name} = '{value}'" for name, value in settings.items()))


def _arguments(url: DatabaseUrl) -> dict[str, Any]:
    """Return the URL as the arguments of `asyncpg.connect`. Nothing is left to the variables PGHOST, PGUSER and so on."""
    places = addresses(url)
    user = url.user or system_user()
    given = url.parameters
    arguments: dict[str, Any] = {
        "host": [host for host, _ in places],
        "port": [port for _, port in places],
        "user": user,
        "password": url.password,
        "database": url.database or user,
        "target_session_attrs": url.session_attributes,
        "timeout": _timeout(given.get("connect_timeout"), len(places)),
    }
    if "passfile" in given:
        arguments["passfile"] = given["passfile"]
    if "options" in given:
        arguments["server_settings"] = {"options": given["options"]}
    if places[0][0].startswith("/"):  # a socket has no TLS, and the driver's cancel request hangs where it is asked for
        arguments["ssl"] = False
        return arguments
    mode = _tls_mode(url)
    if mode == "verify-full" and root_certificate(url) == "system":
        arguments["ssl"] = tls_context(url)
    else:
        files = {name: given[name] for name in _SSL_FILES if name in given}
        arguments["dsn"] = f"postgresql:///?{urlencode({'sslmode': mode} | files)}"
    return arguments


def _tls_mode(url: DatabaseUrl) -> str:
    """Return the URL's sslmode, raised to verify-full by `channel_binding=require`.

    The driver cannot bind channels. A verified certificate and host name protect against the same attack.
    """
    if url.parameters.get("channel_binding") == "require":
        return "verify-full"
    return url.parameters.get("sslmode", "prefer")


def root_certificate(url: DatabaseUrl) -> str | None:
    """Return the URL's sslrootcert; without one `system`, or None where the user has PostgreSQL's own file for it."""
    if "sslrootcert" in url.parameters:
        return url.parameters["sslrootcert"]
    return None if Path(os.path.expanduser("~/.postgresql/root.crt")).is_file() else "system"


def tls_context(url: DatabaseUrl) -> ssl.SSLContext:
    """Return the TLS settings of the URL, with the meaning that sslmode has for PostgreSQL's own programs."""
    mode = _tls_mode(url)
    certificate = root_certificate(url)
    if certificate is None:
        certificate = os.path.expanduser("~/.postgresql/root.crt")
    explicit = certificate != "system"
    context = ssl.create_default_context(cafile=certificate if explicit else None)
    context.check_hostname = mode == "verify-full"
    if not mode.startswith("verify-") and not (mode == "require" and explicit):
        context.verify_mode = ssl.CERT_NONE
    if "sslcrl" in url.parameters:
        context.load_verify_locations(url.parameters["sslcrl"])
        context.verify_flags |= ssl.VERIFY_CRL_CHECK_CHAIN
    if "sslcert" in url.parameters:
        context.load_cert_chain(url.parameters["sslcert"], url.parameters.get("sslkey"))
    return context


def login_methods(url: DatabaseUrl) -> str | None:
    """Return the login methods for PostgreSQL's programs (PGREQUIREAUTH), as the driver's guard allows them.

    None: all. Without `require_auth`, a password goes in clear text only over TLS with a verified certificate.
    """
    if "require_auth" in url.parameters:
        return url.parameters["require_auth"]
    over_socket = addresses(url)[0][0].startswith("/")
    has_tls = not over_socket and _tls_mode(url) in ("require", "verify-ca", "verify-full")
    return None if has_tls and tls_context(url).verify_mode == ssl.CERT_REQUIRED else "!password"


def _timeout(text: str | None, hosts: int) -> float | None:
    """`connect_timeout` is for one host, and 0 means no limit; the driver's timeout is for all hosts."""
    seconds = _CONNECT_TIMEOUT_S if text is None else float(text)
    return seconds * hosts if seconds else None


def system_user() -> str:
    """Return the name of the user who runs this process, which a URL without a user means. Raises ConfigError."""
    import pwd

    try:
        return pwd.getpwuid(os.geteuid()).pw_name
    except KeyError:
        raise ConfigError(
            f"the database URL names no user, and the user id {os.geteuid()} has no name on this machine; write "
            "postgresql://USER:PASSWORD@HOST/NAME in DB_URL"
        ) from None


async def check_server(url: str) -> tuple[str, int]:
    """Connect once, and return the host and port that answered.

    Raises StoreError if the server cannot be reached, or is a pooler that Weaver cannot use.
    """
    connector = Connector(url)
    try:
        return await connector.check()
    except (asyncpg.PostgresError, asyncpg.InterfaceError, OSError) as error:
        raise connection_error(connector.url, error) or StoreUnavailable(
            f"{connector.url.description} refused the connection: {first_line(error)}"
        ) from error


def connection_error(url: DatabaseUrl, error: BaseException) -> StoreError | None:
    """Return the driver's error about connecting under Weaver's name; None where the error is not about that."""
    described = url.description
    match error:
        case asyncpg.InvalidCatalogNameError():
            return StoreUnavailable(
                f"{described} refused the connection: {first_line(error)}; is the name in DB_URL right?"
            )
        case asyncpg.InvalidSchemaNameError() if "no schema has been selected" in str(error):
            return missing_privilege(described, url.user, PermissionError("permission denied for schema public"))
        case asyncpg.InsufficientPrivilegeError():
            return missing_privilege(described, url.user, error)
        case _ if isinstance(error, _LOGIN_FAILED):
            return StoreUnavailable(
                f"{described} refused the login: {first_line(error)}; are user and password in DB_URL right?"
            )
        case asyncpg.ClientConfigurationError():
            return StoreUnavailable(f"{described} cannot be reached with this URL: {first_line(error)} (DB_URL)")
        case ssl.SSLCertVerificationError():
            return StoreUnavailable(
                f"{described} has a certificate that cannot be verified: {first_line(error)}; name the authority with "
                "sslrootcert=FILE in DB_URL"
            )
        case _ if isinstance(error, (*BROKEN, asyncpg.TooManyConnectionsError, TimeoutError)):
            return StoreUnavailable(
                f"{described} cannot be reached: {first_line(error)}; is it running? (weaver db status; or is DB_URL right?)"
            )
    return None


def missing_privilege(described: str, user: str | None, error: BaseException) -> MissingPrivilege:
    """Return the error that names the privilege which the role lacks."""
    said = first_line(error)
    role = user or "the role"
    if "schema" in said:
        schema = said.rpartition(" ")[2]
        advice = f"the owner of the database can grant it with: GRANT USAGE, CREATE ON SCHEMA {schema} TO {role}"
    elif "create database" in said:
        advice = f"an administrator can grant it with: ALTER ROLE {role} CREATEDB"
    elif "table" in said or "sequence" in said:
        advice = (
            f"{role} must own Weaver's tables, or the owner grants: GRANT ALL ON ALL TABLES IN SCHEMA public TO {role}; "
            f"GRANT ALL ON ALL SEQUENCES IN SCHEMA public TO {role}"
        )
    elif "database" in said:
        advice = f"an administrator can grant it with: GRANT CONNECT, TEMPORARY ON DATABASE ... TO {role}"
    else:
        advice = "an administrator can grant it"
    return MissingPrivilege(f"{described}: {role} lacks a privilege: {said}; {advice}")


def first_line(error: BaseException) -> str:
    """Return the first line of an error's text, or its class where it has none."""
    return (str(error) or type(error).__name__).strip().splitlines()[0]
