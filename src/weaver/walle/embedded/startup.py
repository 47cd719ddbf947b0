"""Startup: starts the keeper of one place, which starts the server, and reports why it does not start.

Guarantees that `start_server` returns when the server takes connections, or raises. The caller holds start.lock and
keeper.lock, so that no second keeper can be started; keeper.lock passes to the new one.
"""

from __future__ import annotations

import contextlib
import errno
import json
import os
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from weaver.core.errors import DatabaseDiskFull, DatabaseError, DatabaseStartError
from weaver.core.files import write_whole
from weaver.core.notices import notice
from weaver.home import no_account_advice
from weaver.walle.embedded.paths import DatabasePaths
from weaver.walle.peer import uid_of

__all__ = ["disk_full_errors", "read_server_facts", "socket_owners", "start_server"]

_PORT = 5432
_KEEPER = "from weaver.walle.embedded.keeper import main; main()"
_ALPHABET = "ABCDEFGHJKLMNPQRSTUVWXYZabcdefghijkmnopqrstuvwxyz23456789"
_PASSWORD_LENGTH = 32


def start_server(place: DatabasePaths, keeper_lock: int, tcp: int | None) -> dict[str, Any]:
    """Start a keeper and its server, and return the facts of the running server (see `read_server_facts`).

    `tcp` is a port of 127.0.0.1 to listen on. Raises DatabaseStartError, DatabaseDiskFull or DatabaseVersionError.
    """
    import subprocess

    from weaver.walle.embedded.binaries import find_programs
    from weaver.walle.embedded.run_as_user import choose_user_and_programs

    for note in (place.server, place.kept, place.linger):  # of a keeper that has ended
        note.unlink(missing_ok=True)
    is_new = not place.password.exists()
    if is_new:
        _check_account(place)
    binaries = find_programs()
    place.check_major(binaries.major, binaries.folder)
    if not place.data(binaries.major).exists():
        _check_account(place)
    user, programs = choose_user_and_programs(binaries, place.data(binaries.major))
    task = {
        "folder": str(place.folder),
        "major": binaries.major,
        "version": binaries.version,
        "origin": binaries.origin,
        "programs": str(programs),
        "copied": programs != binaries.folder,
        "user": user,
        "socket": str(place.socket_folder(socket_owners(user))),
        "port": tcp or _PORT,
        "tcp": tcp is not None,
        "password": _password(place),
        "new_password": is_new,
        "keeper_lock": keeper_lock,
    }
    source = str(Path(__file__).resolve().parents[3])
    code = f"import sys; sys.path.append({source!r})\n{_KEEPER}"
    with open(os.open(place.keeper_log, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "wb") as log:
        process = subprocess.Popen(
            [sys.executable, "-I", "-S", "-c", code, str(place.folder)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=log,
            pass_fds=(keeper_lock,),
            start_new_session=True,
        )
    assert process.stdin is not None
    assert process.stdout is not None
    with process.stdin as standard_input, process.stdout as standard_output:
        with contextlib.suppress(BrokenPipeError):
            standard_input.write(json.dumps(task).encode())
            standard_input.close()
        process.wait()  # the keeper is its child, which goes on if this process is interrupted here
        line = standard_output.readline()
    answer = json.loads(line) if line else {"error": _last_log_line(place)}
    if "error" in answer:
        raise _start_error(place, answer)
    for text in answer.get("notices", ()):
        notice(text)
    server = read_server_facts(place)
    if server is None:
        raise DatabaseStartError(f"PostgreSQL in {place.folder} ended as soon as it was ready: {_last_log_line(place)}")
    return server


def socket_owners(user: str | None) -> set[int]:
    """Return the user ids that may own the folder of the socket: this process's, and that of the server's `user`."""
    uid = None if user is None else uid_of(user)
    return {os.geteuid()} if uid is None else {os.geteuid(), uid}


def read_server_facts(place: DatabasePaths) -> dict[str, Any] | None:
    """Return the version, socket, port and process ids of the server, as its keeper wrote them; it may have ended since."""
    try:
        facts: dict[str, Any] = json.loads(place.server.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None
    return facts


@contextlib.contextmanager
def disk_full_errors(place: DatabasePaths) -> Iterator[None]:
    """Raise DatabaseDiskFull for an OSError of the block that means a full disk."""
    try:
        yield
    except OSError as error:
        if error.errno in (errno.ENOSPC, errno.EDQUOT):
            raise _disk_full(place) from None
        raise


def _check_account(place: DatabasePaths) -> None:
    """Raise DatabaseStartError where initdb would: it asks for the name of the user who runs it."""
    import pwd

    try:
        pwd.getpwuid(os.geteuid())
    except KeyError:
        raise DatabaseStartError(
            f"PostgreSQL cannot make a database in {place.folder} as user id {os.geteuid()}, which has no entry in "
            f"/etc/passwd; {no_account_advice()}"
        ) from None


def _start_error(place: DatabasePaths, answer: dict[str, Any]) -> DatabaseError:
    if answer.get("disk_full"):
        return _disk_full(place)
    return DatabaseStartError(
        f"PostgreSQL in {place.folder} does not start: {answer['error']}; the full output is in "
        f"{place.folder / 'start.log'} and in the folder log inside the data"
    )


def _disk_full(place: DatabasePaths) -> DatabaseDiskFull:
    return DatabaseDiskFull(
        f"the disk of {place.folder} is full, so the database does not start; nothing is lost: make room (a new database "
        f"takes 60 MB), or name a folder on another disk with WEAVER_HOME=DIR"
    )


def _last_log_line(place: DatabasePaths) -> str:
    try:
        lines = place.keeper_log.read_text(encoding="utf-8", errors="replace").strip().splitlines()
    except OSError:
        lines = []
    return lines[-1] if lines else "its keeper was killed"


def _password(place: DatabasePaths) -> str:
    """Return the password of the role `weaver`, which is random, made once, and never printed or passed as an argument."""
    import secrets  # noqa: TID251 - a secret must not follow from anything

    if not place.password.exists():
        password = "".join(secrets.choice(_ALPHABET) for _ in range(_PASSWORD_LENGTH))
        write_whole(place.password, password + "\n", mode=0o600, durable=True, locked=True)
    return place.password.read_text(encoding="ascii").strip()
