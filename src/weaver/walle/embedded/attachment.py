"""Attachment: uses the embedded PostgreSQL. It starts where it does not run, and stops after its last user has left.

Guarantees that the server answers when `attach` returns, and that it is not stopped while an Attachment is open, except by
`weaver db stop --force`. An attachment ends with its process, however that ends. Does not guarantee that the server lives
for ever: it can be killed, and then its users' connections break. A long-lived user starts it again with
`Attachment.restart`, unless `weaver db stop` was run since; every other command does so when it attaches.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import select
import sys
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from types import TracebackType
from typing import Any
from urllib.parse import quote

from weaver.core.errors import DatabaseError, DatabaseInUse, DatabaseStartError, StoreUnavailable
from weaver.core.files import write_whole
from weaver.core.text import visible
from weaver.home import data_folder
from weaver.walle.embedded.paths import DatabasePaths
from weaver.walle.embedded.private_folder import NotPrivate, check_private, user_name
from weaver.walle.embedded.startup import disk_full_errors, read_server_facts, socket_owners, start_server
from weaver.walle.peer import peer_uid, uid_of

__all__ = ["Attachment", "attach", "is_kept", "keep", "locked", "report_if_slow", "stop"]

_PAUSE_S = 0.01
_PATIENCE_S = 2.0
_MOST_SILENT_LOOKS = 6_000  # a minute: a server that ends may have much to write
_MOST_LOOKS = 2_000  # 20 s: a keeper ends within milliseconds of its server


class Attachment:
    """One use of the running server, until `close()` or the end of the process, even if this object is dropped."""

    def __init__(self, place: DatabasePaths, server: dict[str, Any], password: str, lock: int) -> None:
        self.place = place
        self.server = server
        self.password = password
        self._lock: int | None = lock

    @property
    def url(self) -> str:
        """The URL of the server, with the password, for any program. Weaver's own connections use `guarded_url`."""
        return (
            f"postgresql+asyncpg://weaver:{self.password}@/weaver"
            f"?host={quote(self.server['socket'], safe='/')}&port={self.server['port']}"
        )

    @property
    def guarded_url(self) -> str:
        """The URL for `Connector` and `Client`: they refuse a server of another user, and any login but SCRAM."""
        uid = uid_of(self.server["user"]) if self.server["user"] else os.geteuid()
        peer = self.server["user"] if uid is None else user_name(uid)  # as PostgreSQL's programs name the user id
        return f"{self.url}&require_auth=scram-sha-256&requirepeer={quote(peer, safe='')}"

    @property
    def description(self) -> str:
        """The database for people, without the password. Unlike the path of its socket, it stays the same."""
        return f"PostgreSQL weaver@{self.place.near_socket}/weaver"

    @property
    def lock(self) -> int:
        """The open file of the attachment, for a process that becomes another program and keeps it open."""
        if self._lock is None:
            raise DatabaseError("this attachment to the database was closed")
        return self._lock

    def restart(self) -> str:
        """Start the server again if it has ended, and return its guarded URL, which may have changed.

        Raises StoreUnavailable if `weaver db stop` stopped it: it stays stopped until the next command that uses it. Also
        raises it, with the reason, if the server does not start.
        """
        for _ in range(_MOST_LOOKS):
            try:
                with disk_full_errors(self.place), locked(self.place.start_lock):
                    if self._lock is None or self._is_running() or self._started_again():
                        return self.guarded_url
            except DatabaseError as error:
                raise StoreUnavailable(str(error)) from error
            select.select([], [], [], _PAUSE_S)  # its keeper is still ending
        raise StoreUnavailable(
            f"PostgreSQL in {self.place.folder} has not answered for {_MOST_LOOKS * _PAUSE_S:.0f} s; its keeper runs"
        )

    def _started_again(self) -> bool:
        """Under start.lock: start the server. False while the keeper of the one that ended still lives."""
        with contextlib.ExitStack() as opened:
            keeper = _take_keeper_lock(self.place, opened)
            if keeper is None:
                return False
            _check_not_stopped(self.place)
            self.server = start_server(self.place, keeper, self.server["port"] if self.server["tcp"] else None)
            return True

    def _is_running(self) -> bool:
        server = read_server_facts(self.place)
        if server is None or not _answers(server):
            return False
        self.server = server
        return True

    def close(self) -> None:
        """End this use. Closing again is allowed."""
        if self._lock is not None:
            os.close(self._lock)
            self._lock = None

    def __enter__(self) -> Attachment:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.close()

    def __repr__(self) -> str:
        return f"<Attachment of {self.place.folder}, {'closed' if self._lock is None else 'open'}>"


def attach(
    folder: Path | None = None,
    *,
    linger: float = 0.0,
    tcp: int | None = None,
    say: Callable[[str], None] | None = None,
    resume: bool = False,
) -> Attachment:
    """Return an attachment to the server of `folder` (default: `data_folder()`), which is started if it does not run.

    `linger` keeps the server for that many seconds after its last user has left; the longest of all users counts. `tcp` is
    a port of 127.0.0.1 on which it listens too. `say` is called with a line if this takes longer than two seconds (default:
    print it to standard error if that is a terminal). This ends a `weaver db stop`, except with `resume`, for a program that
    goes on with earlier work: then StoreUnavailable is raised while the server is stopped.

    Raises DatabaseStartError, DatabaseDiskFull, DatabaseVersionError or PostgresNotFound.
    """
    if os.name != "posix":
        raise DatabaseStartError("the embedded database runs on Linux and macOS; use a server of your own with DB_URL")
    place = DatabasePaths(folder or data_folder())
    with disk_full_errors(place), report_if_slow(f"starting PostgreSQL in {place.folder}", say):
        place.make()
        silent, looks = None, 0
        while True:
            with locked(place.start_lock):
                attachment = _attach(place, linger, tcp, resume=resume)
                server = read_server_facts(place) if attachment is None else None
            if attachment is not None:
                return attachment
            # A keeper is starting, and has written no facts yet, or ending: look again.
            silent, looks = server, looks + 1 if server is not None and server == silent else 0
            if server is not None and looks >= _MOST_SILENT_LOOKS:
                raise _silent(server, looks * _PAUSE_S)
            select.select([], [], [], _PAUSE_S)


def _attach(place: DatabasePaths, linger: float, tcp: int | None, *, resume: bool) -> Attachment | None:
    """Under start.lock: become a user first, and then make sure that the server runs. None: look again in a moment."""
    users = os.open(place.users_lock, os.O_RDWR | os.O_CREAT, 0o600)
    try:
        fcntl.flock(users, fcntl.LOCK_SH)
        os.utime(users)  # tells a lingering keeper that there was a user
        if not resume:
            place.stopped.unlink(missing_ok=True)
        with contextlib.ExitStack() as opened:
            keeper = _take_keeper_lock(place, opened)
            if keeper is None:
                server = read_server_facts(place)
                if server is None or not _answers(server):
                    os.close(users)
                    return None
            else:
                _check_not_stopped(place)
                server = start_server(place, keeper, tcp)
        if tcp is not None and not (server["tcp"] and server["port"] == tcp):
            where = f"listens on 127.0.0.1:{server['port']}" if server["tcp"] else "does not listen on 127.0.0.1"
            raise DatabaseInUse(f"the server runs already and {where}; stop it first with: weaver db stop")
        if linger > 0:
            _extend_linger(place, linger)
        return Attachment(place, server, place.password.read_text(encoding="ascii").strip(), users)
    except BaseException:
        with contextlib.suppress(OSError):
            os.close(users)
        raise


def _check_not_stopped(place: DatabasePaths) -> None:
    """Raise StoreUnavailable where `weaver db stop` was the last command."""
    if place.stopped.exists():
        raise StoreUnavailable(
            f"the database in {place.folder} was stopped with `weaver db stop`; it starts again with the next command that "
            f"uses it, or with: weaver db start"
        )


def _take_keeper_lock(place: DatabasePaths, opened: contextlib.ExitStack) -> int | None:
    """Return the descriptor of keeper.lock, locked, or None where a keeper holds it."""
    keeper = os.open(place.keeper_lock, os.O_RDWR | os.O_CREAT, 0o600)
    opened.callback(os.close, keeper)
    try:
        fcntl.flock(keeper, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return None
    return keeper


def _answers(server: dict[str, Any]) -> bool:
    """Return whether the server accepts connections on its socket.

    Raises DatabaseStartError if another user can enter the socket's folder, or listens there.
    """
    import socket

    owners = socket_owners(server["user"])
    try:
        check_private(Path(server["socket"]), owners)
        with socket.socket(socket.AF_UNIX) as line:
            line.connect(f"{server['socket']}/.s.PGSQL.{server['port']}")
            uid = peer_uid(line)
    except NotPrivate as error:
        raise _not_ours(str(error)) from None
    except OSError:
        return False
    if uid is not None and uid not in owners:
        raise _not_ours(f"the socket in {server['socket']} is that of user {user_name(uid)}")
    return True


def _silent(server: dict[str, Any], seconds: float) -> DatabaseStartError:
    socket = Path(server["socket"]) / f".s.PGSQL.{server['port']}"
    why = "" if socket.exists() else f": its socket {socket} is missing, as after a cleaning of the folder"
    return DatabaseStartError(
        f"PostgreSQL (process {server['pid']}) has not answered for {seconds:.0f} s{why}; stop it with "
        f"`weaver db stop --force`, and the next command starts it again"
    )


def _not_ours(problem: str) -> DatabaseStartError:
    return DatabaseStartError(
        f"{problem}; Weaver sends no password there. Stop the server with `weaver db stop --force`; the next start closes "
        f"the folder to other users"
    )


def _extend_linger(place: DatabasePaths, linger: float) -> None:
    with contextlib.suppress(OSError, ValueError):
        linger = max(linger, float(place.linger.read_text(encoding="ascii")))
    write_whole(place.linger, f"{linger}\n", mode=0o600, locked=True)


# --- keeping and stopping --------------------------------------------------------------------------------------------


def keep(attachment: Attachment) -> None:
    """Let the server run without users from now on, until `stop`, a kill or the end of the machine."""
    attachment.place.kept.touch(mode=0o600)


def is_kept(place: DatabasePaths) -> bool:
    """Return whether `keep` was called for the running server."""
    return place.kept.exists()


def stop(place: DatabasePaths, *, force: bool = False, users: Callable[[DatabasePaths], str] = lambda _: "") -> bool:
    """Stop the server, and return when it has ended; False where none ran. It stays stopped until the next `attach`.

    Raises DatabaseInUse where others use it, with the text that `users` returns for them, unless `force`; then it stops when
    the last of them has left, and none of them starts it again.
    """
    if not place.folder.is_dir():
        return False
    with report_if_slow(f"stopping PostgreSQL in {place.folder}", None):
        while True:
            with locked(place.start_lock):
                place.stopped.touch(mode=0o600)
                stopped = _stop(place, users, force=force)
            if stopped is not None:
                return stopped
            select.select([], [], [], _PAUSE_S)


def _stop(place: DatabasePaths, users: Callable[[DatabasePaths], str], *, force: bool) -> bool | None:
    """Stop the server under start.lock. Return None while a keeper is starting: the caller tries again."""
    import signal

    with contextlib.ExitStack() as opened:
        if _take_keeper_lock(place, opened) is not None:
            return False
    server = read_server_facts(place)
    if server is None:
        return None
    place.kept.unlink(missing_ok=True)
    with place.users_lock.open("a") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            if not force:
                with contextlib.suppress(ProcessLookupError):
                    os.kill(server["keeper"], signal.SIGUSR1)  # look again whether it is kept
                raise DatabaseInUse(
                    f"the database is in use{users(place)}; it stops when the last user leaves, or now with: "
                    f"weaver db stop --force"
                ) from None
    with contextlib.suppress(ProcessLookupError):
        os.kill(server["keeper"], signal.SIGTERM)
    with place.keeper_lock.open("a") as ended:
        fcntl.flock(ended, fcntl.LOCK_EX)
    return True


@contextlib.contextmanager
def locked(path: Path) -> Iterator[None]:
    """Hold the file `path` locked exclusively for the block; wait until it is free."""
    lock = os.open(path, os.O_RDWR | os.O_CREAT, 0o600)
    try:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield
    finally:
        os.close(lock)


@contextlib.contextmanager
def report_if_slow(activity: str, say: Callable[[str], None] | None) -> Iterator[None]:
    """Call `say` once with `activity` if the block takes longer than two seconds."""
    done = threading.Event()

    def report() -> None:
        if not done.wait(_PATIENCE_S):
            (say or _print_to_terminal)(f"{activity} ...")

    thread = threading.Thread(target=report, daemon=True)
    thread.start()
    try:
        yield
    finally:
        done.set()
        thread.join()


def _print_to_terminal(line: str) -> None:
    if sys.stderr.isatty():  # progress is for a person who waits, never for a pipe
        print(visible(line), file=sys.stderr, flush=True)  # noqa: T201 - a wait without a reason looks like a hang
