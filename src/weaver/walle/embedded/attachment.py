"""attach: use the embedded PostgreSQL, which is started where it does not run, and stopped after its last user has left.

Guarantees that the server answers when `attach` returns, and that it is not stopped while an Attachment is open, except by
`weaver db stop --force`. Whatever way a process ends, its hold falls with it. Does not guarantee that the server
lives for ever: it can be killed, and then a user's connections break, and the next `attach` starts it again.
"""

from __future__ import annotations

import contextlib
import errno
import fcntl
import json
import os
import select
import sys
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from types import TracebackType
from typing import Any
from urllib.parse import quote

from weaver.core.errors import DatabaseDiskFull, DatabaseError, DatabaseInUse, DatabaseStartError
from weaver.core.files import write_whole
from weaver.home import data_folder
from weaver.walle.embedded.paths import DatabasePaths

__all__ = ["Attachment", "attach", "is_kept_by", "keep", "locked", "server_of", "stop", "telling"]

_PORT = 5432
_PAUSE_S = 0.01
_PATIENCE_S = 2.0
_KEEPER = "from weaver.walle.embedded.keeper import main; main()"
_ALPHABET = "ABCDEFGHJKLMNPQRSTUVWXYZabcdefghijkmnopqrstuvwxyz23456789"
_PASSWORD_LENGTH = 32


class Attachment:
    """A hold on the running server, until `close()` or the end of the process (a dropped one holds on)."""

    def __init__(self, place: DatabasePaths, server: dict[str, Any], password: str, lock: int) -> None:
        self.place = place
        self.server = server
        self.password = password
        self._lock: int | None = lock

    @property
    def url(self) -> str:
        """Where the server is, with the password, for SQLAlchemy; asyncpg takes it without `+asyncpg`."""
        return (
            f"postgresql+asyncpg://weaver:{self.password}@/weaver"
            f"?host={quote(self.server['socket'], safe='/')}&port={self.server['port']}"
        )

    @property
    def lock(self) -> int:
        """The descriptor of the hold, for a process that becomes another program and keeps it."""
        if self._lock is None:
            raise DatabaseError("this hold on the database was closed")
        return self._lock

    def close(self) -> None:
        """Let go. Again is nothing."""
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
) -> Attachment:
    """Hold the server of `folder` (default: `data_folder()`), started where it does not run.

    `linger` keeps it for so many seconds after the last user has left; the longest wish counts. `tcp` is a port on 127.0.0.1
    that it listens on besides. `say` takes a line when this takes longer than two seconds (default: standard error, where it
    is a terminal).

    Raises DatabaseStartError, DatabaseDiskFull, DatabaseVersionError or PostgresNotFound.
    """
    if os.name != "posix":
        raise DatabaseStartError("the embedded database runs on Linux and macOS; use a server of your own with DB_URL")
    place = DatabasePaths(folder or data_folder())
    with _room_is_needed(place), telling(f"PostgreSQL in {place.folder} is being started", say):
        place.make()
        while True:
            with locked(place.start_lock):
                holding = _use(place, linger, tcp)
            if holding is not None:
                return holding
            select.select([], [], [], _PAUSE_S)  # a keeper is on its way up or down: look again


def _use(place: DatabasePaths, linger: float, tcp: int | None) -> Attachment | None:
    """Under start.lock: become a user, and then see that the server is there. None: look again in a moment."""
    users = os.open(place.users_lock, os.O_RDWR | os.O_CREAT, 0o600)
    try:
        fcntl.flock(users, fcntl.LOCK_SH)
        os.utime(users)  # tells a lingering keeper that somebody came
        with contextlib.ExitStack() as opened:
            keeper = _keeper_is_free(place, opened)
            if keeper is None:
                server = server_of(place)
                if server is None or not _answers(server):
                    os.close(users)
                    return None
            else:
                server = _start(place, keeper, tcp)
        if tcp is not None and not (server["tcp"] and server["port"] == tcp):
            heard = f"listens on 127.0.0.1:{server['port']}" if server["tcp"] else "does not listen on 127.0.0.1"
            raise DatabaseInUse(f"the server runs already and {heard}; stop it first with: weaver db stop")
        if linger > 0:
            _wish(place, linger)
        return Attachment(place, server, place.password.read_text(encoding="ascii").strip(), users)
    except BaseException:
        with contextlib.suppress(OSError):
            os.close(users)
        raise


def _keeper_is_free(place: DatabasePaths, opened: contextlib.ExitStack) -> int | None:
    """The descriptor of keeper.lock, now ours, or None where a keeper lives."""
    keeper = os.open(place.keeper_lock, os.O_RDWR | os.O_CREAT, 0o600)
    opened.callback(os.close, keeper)
    try:
        fcntl.flock(keeper, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return None
    return keeper


def _answers(server: dict[str, Any]) -> bool:
    import socket

    with socket.socket(socket.AF_UNIX) as line:
        try:
            line.connect(f"{server['socket']}/.s.PGSQL.{server['port']}")
        except OSError:
            return False
    return True


def _start(place: DatabasePaths, keeper: int, tcp: int | None) -> dict[str, Any]:
    """Under start.lock and keeper.lock: start a keeper, which gets the latter, and wait until it says ready."""
    import subprocess

    from weaver.walle.embedded.binaries import find_programs
    from weaver.walle.embedded.run_as_user import runner_and_programs

    for note in (place.server, place.kept, place.linger):  # of a keeper that is no more
        note.unlink(missing_ok=True)
    found = find_programs()
    place.check_major(found.major, found.folder)
    user, programs = runner_and_programs(found, place.data(found.major))
    fresh = not place.password.exists()
    task = {
        "folder": str(place.folder),
        "major": found.major,
        "version": found.version,
        "origin": found.origin,
        "programs": str(programs),
        "copied": programs != found.folder,
        "user": user,
        "socket": str(place.socket_folder()),
        "port": tcp or _PORT,
        "tcp": tcp is not None,
        "password": _password(place),
        "new_password": fresh,
        "keeper_lock": keeper,
    }
    source = str(Path(__file__).resolve().parents[3])
    code = f"import sys; sys.path.append({source!r})\n{_KEEPER}"
    with place.keeper_log.open("wb") as log:
        process = subprocess.Popen(
            [sys.executable, "-I", "-S", "-c", code, str(place.folder)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=log,
            pass_fds=(keeper,),
            start_new_session=True,
        )
    assert process.stdin is not None
    assert process.stdout is not None
    with process.stdin as given, process.stdout as told:
        with contextlib.suppress(BrokenPipeError):
            given.write(json.dumps(task).encode())
            given.close()
        process.wait()  # the keeper is its child: nobody's whom we know, and it goes on where we are interrupted here
        said = told.readline()
    answer = json.loads(said) if said else {"error": _last_words(place)}
    if "error" in answer:
        raise _explained(place, answer)
    server = server_of(place)
    if server is None:
        raise DatabaseStartError(f"PostgreSQL in {place.folder} ended as soon as it was ready: {_last_words(place)}")
    return server


def _explained(place: DatabasePaths, answer: dict[str, Any]) -> DatabaseError:
    if answer.get("disk_full"):
        return _no_room(place)
    return DatabaseStartError(
        f"PostgreSQL in {place.folder} does not start: {answer['error']}; the whole story is in "
        f"{place.folder / 'start.log'} and in the folder log inside the data"
    )


def _no_room(place: DatabasePaths) -> DatabaseDiskFull:
    return DatabaseDiskFull(
        f"the disk of {place.folder} is full, so the database does not start; nothing is lost: make room (a new database "
        f"takes 60 MB), or name a folder on another disk with WEAVER_HOME=DIR"
    )


@contextlib.contextmanager
def _room_is_needed(place: DatabasePaths) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        if error.errno in (errno.ENOSPC, errno.EDQUOT):
            raise _no_room(place) from None
        raise


def _last_words(place: DatabasePaths) -> str:
    try:
        said = place.keeper_log.read_text(encoding="utf-8", errors="replace").strip()
    except OSError:
        said = ""
    return said.splitlines()[-1] if said else "its keeper was killed"


def _password(place: DatabasePaths) -> str:
    """The password of the role `weaver`, made by chance on the first day; never shown, never an argument of a program."""
    import secrets  # noqa: TID251 - a secret must not follow from anything

    if not place.password.exists():
        password = "".join(secrets.choice(_ALPHABET) for _ in range(_PASSWORD_LENGTH))
        write_whole(place.password, password + "\n", mode=0o600, durable=True, locked=True)
    return place.password.read_text(encoding="ascii").strip()


def _wish(place: DatabasePaths, linger: float) -> None:
    with contextlib.suppress(OSError, ValueError):
        linger = max(linger, float(place.linger.read_text(encoding="ascii")))
    write_whole(place.linger, f"{linger}\n")


def server_of(place: DatabasePaths) -> dict[str, Any] | None:
    """What the keeper wrote down when the server was ready. It may have ended since."""
    try:
        about: dict[str, Any] = json.loads(place.server.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None
    return about


# --- keeping and stopping --------------------------------------------------------------------------------------------


def keep(holding: Attachment) -> None:
    """From now on the server runs on without users, until `stop`, a kill or the end of the machine."""
    holding.place.kept.touch(mode=0o600)


def is_kept_by(place: DatabasePaths) -> bool:
    """True where `keep` was said to the running server."""
    return place.kept.exists()


def stop(place: DatabasePaths, *, force: bool = False, users: Callable[[DatabasePaths], str] = lambda _: "") -> bool:
    """Stop the server, and return when it is no more; False where none ran.

    Raises DatabaseInUse where others use it, with what `users` says of them, unless `force`; it ends with the last of them.
    """
    if not place.folder.is_dir():
        return False
    with telling(f"PostgreSQL in {place.folder} is being stopped", None):
        while True:
            with locked(place.start_lock):
                stopped = _stop(place, force, users)
            if stopped is not None:
                return stopped
            select.select([], [], [], _PAUSE_S)


def _stop(place: DatabasePaths, force: bool, users: Callable[[DatabasePaths], str]) -> bool | None:
    """Under start.lock. None: a keeper is on its way up, and needs that lock to come down again; look again in a moment."""
    import signal

    with contextlib.ExitStack() as opened:
        if _keeper_is_free(place, opened) is not None:
            return False
    server = server_of(place)
    if server is None:
        return None
    place.kept.unlink(missing_ok=True)
    with place.users_lock.open("a") as mine:
        try:
            fcntl.flock(mine, fcntl.LOCK_EX | fcntl.LOCK_NB)
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
    """Hold `path` exclusively; wait for whoever holds it."""
    lock = os.open(path, os.O_RDWR | os.O_CREAT, 0o600)
    try:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield
    finally:
        os.close(lock)


@contextlib.contextmanager
def telling(what: str, say: Callable[[str], None] | None) -> Iterator[None]:
    """Say `what` once where the block takes longer than two seconds."""
    done = threading.Event()

    def speak() -> None:
        if not done.wait(_PATIENCE_S):
            (say or _to_standard_error)(f"{what} ...")

    thread = threading.Thread(target=speak, daemon=True)
    thread.start()
    try:
        yield
    finally:
        done.set()
        thread.join()


def _to_standard_error(line: str) -> None:
    if sys.stderr.isatty():  # as every progress: for somebody who waits, and never in a pipe
        print(line, file=sys.stderr, flush=True)  # noqa: T201 - a wait that nobody explains looks like a hang
