"""Login guard: lets the driver send a password only to a server, and in a way, that the URL allows.

The driver asyncpg answers whatever login a server asks for, with the password in clear text if that is asked for. So each
connection begins with a guard between the driver and the line. It reads the server's messages until the login is over, and
closes the line before the driver sees a request that is not allowed. Then it steps out of the way, so that later messages
cost nothing more.

Guarantees, for every connection that `Connector` makes:

- A password leaves in clear text only over TLS with a verified certificate, or with `require_auth=password` in the URL.
- With `require_auth=METHODS` the server uses one of these methods. A server that skips the login, or ends it before it has
  proved (SCRAM) that it knows the password, is refused as well.
- With `requirepeer=USER` the process at the other end of a Unix socket runs as USER. That is checked on the connection that
  is then used, before a byte is sent.

Does not guarantee that a server over TCP without TLS is the right one, unless `require_auth=scram-sha-256` is in the URL:
SCRAM proves it, the other methods do not.
"""

from __future__ import annotations

import asyncio
import socket
import ssl
import struct
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import asyncpg.protocol

from weaver.core.database_url import DatabaseUrl
from weaver.core.errors import ConfigError, StoreUnavailable
from weaver.walle.peer import peer_uid, uid_of

__all__ = ["GuardedLoop", "LoginRule"]

_METHODS = ("password", "md5", "gss", "sspi", "scram-sha-256", "none")  # names of libpq's require_auth
_OK, _CLEARTEXT, _SASL, _SASL_FINAL = 0, 3, 10, 12
_METHOD_OF = {_CLEARTEXT: "password", 5: "md5", 7: "gss", 9: "sspi", _SASL: "scram-sha-256"}
_BEFORE_LOGIN = (b"R", b"E", b"v", b"N")  # authentication, error, other version of the protocol, notice
_LARGEST_MESSAGE = 1 << 20
_HEADER = 5


@dataclass(frozen=True, slots=True, kw_only=True)
class LoginRule:
    """What a server may ask for at the login, from the parameters `require_auth` and `requirepeer` of a URL."""

    place: str
    """The database for messages, without its password."""
    methods: frozenset[str] | None
    """The allowed methods; None: all, but a password in clear text only over verified TLS."""
    proves_itself: bool
    """True if a SCRAM login must end with the server's proof that it knows the password."""
    peer: str | None
    """The user of the process at the other end of a Unix socket; None: any."""
    peer_uid: int | None

    @classmethod
    def of(cls, url: DatabaseUrl) -> LoginRule:
        """Return the rule of `url`. Raises ConfigError for an unknown method or user."""
        text = url.parameters.get("require_auth")
        peer = url.parameters.get("requirepeer")
        uid = None if peer is None else uid_of(peer)
        if peer is not None and uid is None:
            raise ConfigError(
                "the parameter 'requirepeer' of the database URL names a user that this machine does not have"
            )
        methods = None if text is None else _parse_methods(text)
        return cls(
            place=url.description,
            methods=methods,
            proves_itself=methods is not None and "none" not in methods,
            peer=peer,
            peer_uid=uid,
        )

    def check_peer(self, line: socket.socket) -> None:
        """Raise StoreUnavailable if another user than `requirepeer` listens at the other end of the Unix socket `line`."""
        if self.peer_uid is None:
            return
        uid = peer_uid(line)
        if uid is not None and uid != self.peer_uid:
            raise StoreUnavailable(
                f"the socket of {self.place} belongs to a process of user id {uid}, not of {self.peer} (requirepeer); "
                f"nothing was sent to it. Who runs it? (weaver db status)"
            )

    def refusal(self, method: str, *, verified: bool) -> str | None:
        """Return why the login method is not allowed; None if it is. `verified`: over TLS with a verified certificate."""
        if self.methods is None:
            if method != "password" or verified:
                return None
            return (
                f"{self.place} asks for the password in clear text, over a line that others may read or redirect; it was "
                f"not sent. Use TLS with a verified certificate (sslmode=verify-full), let the server ask for "
                f"scram-sha-256, or allow it with require_auth=password in DB_URL"
            )
        if method in self.methods:
            return None
        asks = "asks for no login" if method == "none" else f"asks for the login method {method!r}"
        return (
            f"{self.place} {asks}, and only {', '.join(sorted(self.methods))} is allowed (require_auth); no password was "
            f"sent. Is it the right server? (weaver db status)"
        )


def _parse_methods(text: str) -> frozenset[str]:
    """Return the methods that `require_auth=text` allows: a list, or all but a list (`!password,!md5`)."""
    names = [name.strip() for name in text.split(",")]
    negated = {name.startswith("!") for name in names}
    if len(negated) > 1:
        raise ConfigError(
            "the parameter 'require_auth' of the database URL mixes names with and without !; use one kind"
        )
    plain = [name.removeprefix("!") for name in names]
    if not set(plain) <= set(_METHODS):  # the text is not repeated: it may be part of a password
        raise ConfigError(
            f"the parameter 'require_auth' of the database URL has an unknown method; the known ones are "
            f"{', '.join(_METHODS)}"
        )
    return frozenset(_METHODS) - frozenset(plain) if True in negated else frozenset(plain)


class GuardedLoop:
    """The running event loop, for one call of `asyncpg.connect`: lines that the driver opens through it are guarded.

    `refusal` is the reason why a line was closed, if one was. `is_logged_in` is true after an allowed login.
    """

    def __init__(self, rule: LoginRule) -> None:
        self._rule = rule
        self.loop = asyncio.get_running_loop()
        self.refusal: StoreUnavailable | None = None
        self.is_logged_in = False
        # The driver calls these for each statement: without the detour over __getattr__.
        self.create_future = self.loop.create_future
        self.call_later = self.loop.call_later
        self.time = self.loop.time

    def __getattr__(self, name: str) -> Any:
        return getattr(self.loop, name)

    async def create_unix_connection(self, factory: Callable[[], Any], path: str) -> tuple[Any, Any]:
        """Connect to a Unix socket, after a check of the user at its other end."""
        line = socket.socket(socket.AF_UNIX)
        try:
            line.setblocking(False)
            await self.loop.sock_connect(line, path)
            self._rule.check_peer(line)
            transport, protocol = await self.loop.create_unix_connection(lambda: self._guarded(factory()), sock=line)
        except BaseException:
            line.close()
            raise
        return transport, _unguarded(protocol)

    async def create_connection(self, factory: Callable[[], Any], *address: Any, **options: Any) -> tuple[Any, Any]:
        """Connect over TCP. The driver may ask for TLS first; the protocol that it sets afterwards is guarded as well."""
        transport, protocol = await self.loop.create_connection(lambda: self._guarded(factory()), *address, **options)
        return _GuardedTransport(transport, self), _unguarded(protocol)

    async def start_tls(self, transport: Any, protocol: Any, context: ssl.SSLContext, **options: Any) -> Any:
        """Return the transport after the TLS handshake on `transport`."""
        inner = transport.inner if isinstance(transport, _GuardedTransport) else transport
        encrypted = await self.loop.start_tls(inner, protocol, context, **options)
        return None if encrypted is None else _GuardedTransport(encrypted, self)

    def guarded(self, protocol: Any, transport: Any) -> Any:
        """Return the protocol for a transport that is connected already."""
        guard = self._guarded(protocol)
        if isinstance(guard, _LoginGuard):
            guard.transport = transport
        return guard

    def _guarded(self, protocol: Any) -> Any:
        """Return a guard for PostgreSQL's protocol; a request for TLS, or to cancel a statement, has no login."""
        is_login = isinstance(protocol, asyncpg.protocol.Protocol)
        return _LoginGuard(protocol, self, self._rule) if is_login else protocol


class _GuardedTransport:
    """A transport whose protocol is guarded when the driver replaces the one that asked for TLS."""

    def __init__(self, inner: Any, loop: GuardedLoop) -> None:
        self.inner = inner
        self._loop = loop
        self.write = inner.write  # for each statement: without the detour over __getattr__
        self.writelines = inner.writelines

    def __getattr__(self, name: str) -> Any:
        return getattr(self.inner, name)

    def set_protocol(self, protocol: Any) -> None:
        self.inner.set_protocol(self._loop.guarded(protocol, self.inner))


class _LoginGuard(asyncio.Protocol):
    """Passes the server's messages on to the driver, whole and one by one, until the login has ended or is refused."""

    def __init__(self, inner: Any, owner: GuardedLoop, rule: LoginRule) -> None:
        self.inner = inner
        self.transport: Any = None
        self._owner = owner
        self._rule = rule
        self._received = bytearray()
        self._method = "none"
        self._has_proof = False
        self._is_over = False

    def connection_made(self, transport: Any) -> None:
        self.transport = transport
        self.inner.connection_made(transport)

    def connection_lost(self, error: Exception | None) -> None:
        self.inner.connection_lost(error)

    def eof_received(self) -> Any:
        return self.inner.eof_received()

    def pause_writing(self) -> None:
        self.inner.pause_writing()

    def resume_writing(self) -> None:
        self.inner.resume_writing()

    def data_received(self, data: bytes) -> None:
        self._received += data
        while not self._is_over and (message := self._next_message()):
            problem, ends_login = self._judge(message)
            if problem is not None:
                self._refuse(problem)
                return
            self.inner.data_received(message)
            if ends_login:
                self._step_aside()

    def _next_message(self) -> bytes:
        """Return the next message, whole, and remove it from those received; b"" if it is not complete."""
        if len(self._received) < _HEADER:
            return b""
        (length,) = struct.unpack_from("!i", self._received, 1)
        if not 4 <= length <= _LARGEST_MESSAGE or bytes(self._received[:1]) not in _BEFORE_LOGIN:
            self._refuse(
                f"{self._rule.place} does not answer as PostgreSQL does before a login; nothing was sent to it"
            )
            return b""
        if len(self._received) <= length:
            return b""
        message = bytes(self._received[: length + 1])
        del self._received[: length + 1]
        return message

    def _judge(self, message: bytes) -> tuple[str | None, bool]:
        """Return why `message` is not allowed (None if it is), and whether it ends the login."""
        if message[:1] != b"R" or len(message) < _HEADER + 4:
            return None, False
        (code,) = struct.unpack_from("!i", message, _HEADER)
        if code == _SASL_FINAL:
            self._has_proof = True
        elif code in _METHOD_OF:
            self._method = _METHOD_OF[code]
            return self._refusal(), False
        elif code == _OK:
            if self._method == "none":
                return self._refusal(), True
            if self._rule.proves_itself and self._method == "scram-sha-256" and not self._has_proof:
                return f"{self._rule.place} ended the login without a proof that it knows the password", True
            return None, True
        return None, False

    def _refusal(self) -> str | None:
        return self._rule.refusal(self._method, verified=_has_verified_tls(self.transport))

    def _refuse(self, problem: str) -> None:
        self._owner.refusal = StoreUnavailable(problem)
        self._is_over = True
        self.transport.abort()

    def _step_aside(self) -> None:
        self._owner.is_logged_in = True
        self._is_over = True
        self.transport.set_protocol(self.inner)
        if self._received:
            self.inner.data_received(bytes(self._received))


def _has_verified_tls(transport: Any) -> bool:
    tls = transport.get_extra_info("ssl_object")
    return tls is not None and tls.context.verify_mode == ssl.CERT_REQUIRED


def _unguarded(protocol: Any) -> Any:
    return protocol.inner if isinstance(protocol, _LoginGuard) else protocol
