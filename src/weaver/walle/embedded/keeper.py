"""Keeper: a small process that owns one PostgreSQL server and stops it when nothing uses it any more.

Guarantees that the server is stopped after its last user has left, however that user ended (a lock ends with its process),
and that it is never stopped while it has users, except by SIGTERM to the keeper (`weaver db stop --force`). The reasons:

- A user takes users.lock shared, and only while it holds start.lock; then it checks whether the server answers, and releases
  start.lock last.
- The keeper stops the server only while it holds start.lock *and* users.lock exclusively. So no process can become a user
  between its check and the stop; one that comes later waits at start.lock, finds no keeper, and starts another one.
- The process that starts a keeper takes keeper.lock under start.lock and passes it on as an open descriptor. So two keepers
  never exist at a time, and a starting one is never taken for none.

When the server ends by itself (a kill -9), the keeper ends too; the next user starts both again. When the keeper is killed,
Linux signals the server (PR_SET_PDEATHSIG, see child_process.py), which ends; on systems without that signal the next keeper
ends the orphan before it starts its own server.

Imports only the standard library, because it runs under `python -I -S`. Standard input brings the task as JSON; standard
output gets one JSON line: ready, or the reason why not.
"""

from __future__ import annotations

import contextlib
import errno
import fcntl
import json
import os
import select
import signal
import sys
import threading
from collections.abc import Callable
from pathlib import Path
from types import FrameType
from typing import Any, TextIO

from weaver.core.files import write_whole
from weaver.walle.embedded.child_process import find_user
from weaver.walle.embedded.server import Server, StartFailed

__all__ = ["Keeper", "main"]

_USERS_GONE = 0  # no signal has this number


class Keeper:
    """Starts the server, waits until its users have left, and stops it.

    `at_step` is called with the name of each step (making, made, launched, ready, users gone, stopping), for tests.
    """

    def __init__(self, spec: dict[str, Any], at_step: Callable[[str], None] = lambda _: None) -> None:
        self._spec = spec
        self._folder = Path(spec["folder"])
        self._at_step = at_step
        self._events, self._wake = os.pipe()
        os.set_blocking(self._wake, False)
        os.set_blocking(self._events, False)
        self._seen: set[int] = set()
        for number in (signal.SIGCHLD, signal.SIGTERM, signal.SIGINT, signal.SIGHUP, signal.SIGUSR1):
            signal.signal(number, _noted)
        signal.set_wakeup_fd(self._wake, warn_on_full_buffer=False)
        self._server = Server(spec, find_user(spec["user"]), self._wait_for_signal, at_step)

    def run(self) -> None:
        """Do all of it. Return when the server has ended."""
        notices: list[str] = []
        try:
            if not self._server.made:
                self._server.make(self._spec["password"])
            else:
                notices = self._change_roles()
                if self._spec["new_password"]:
                    self._server.set_password(self._spec["password"])
            self._server.start()
            self._note()
        except (StartFailed, OSError) as error:
            disk_full = (
                error.disk_full if isinstance(error, StartFailed) else error.errno in (errno.ENOSPC, errno.EDQUOT)
            )
            full = disk_full or self._server.no_room()
            self._server.stop()
            self._server.leave()
            _report({"error": str(error), "disk_full": full})
            return
        _report({"ready": True, "notices": notices})
        self._at_step("ready")
        self._keep()
        for name in ("server.json", "kept", "linger"):
            (self._folder / name).unlink(missing_ok=True)
        self._server.leave()

    def _change_roles(self) -> list[str]:
        """Take the superuser's rights from the role `weaver` of an older version; return a line about it for the user."""
        if not self._server.has_superuser:
            return []
        try:
            changed = self._server.change_roles(self._spec["password"])
        except StartFailed as error:
            if error.disk_full or self._seen & {signal.SIGTERM, signal.SIGINT, signal.SIGHUP}:
                raise
            reason = str(error).strip().splitlines()[-1]
            return [
                f"the role weaver of the database in {self._folder} is still a superuser, which is less safe: {reason}"
            ]
        line = f"the role weaver of the database in {self._folder} is no superuser any more; its data are unchanged"
        return [line] if changed else []

    def _keep(self) -> None:
        watched = False
        if self._over():
            return
        while True:
            if not watched:  # a thread made before this would be a second one while the server is forked
                threading.Thread(target=self._watch_users, daemon=True).start()
                watched = True
            self._read(None)
            if self._over():
                return
            if _USERS_GONE not in self._seen:
                self._seen.clear()
                continue
            self._seen.clear()
            self._at_step("users gone")
            watched = False
            if self._kept():
                self._read(None)
            elif self._lingered() and self._stopped_unused():
                return
            if self._over():
                return

    def _over(self) -> bool:
        """Return whether the server has ended, by itself or after a signal."""
        if self._seen & {signal.SIGTERM, signal.SIGINT, signal.SIGHUP}:
            self._server.stop()
        return self._server.ended()

    def _lingered(self) -> bool:
        """Wait for the linger time of the users. False if a signal or another user came meanwhile."""
        users = self._folder / "users.lock"
        before = users.stat().st_mtime_ns  # every user touches it
        try:
            seconds = float((self._folder / "linger").read_text(encoding="ascii"))
        except (OSError, ValueError):
            return True
        self._read(seconds)
        return not self._seen and users.stat().st_mtime_ns == before

    def _stopped_unused(self) -> bool:
        with (self._folder / "start.lock").open("a") as start:
            while not _locks(start):  # never blocking: its holder may be waiting for this keeper to end
                self._read(0.02)
                if self._seen:
                    return False
            with (self._folder / "users.lock").open("a") as users:
                if not _locks(users) or self._kept():
                    return False
                self._at_step("stopping")
                (self._folder / "server.json").unlink(missing_ok=True)
                self._server.stop()
                return True

    def _kept(self) -> bool:
        return (self._folder / "kept").exists()

    def _note(self) -> None:
        about = {
            name: self._spec[name]
            for name in ("version", "programs", "origin", "copied", "socket", "port", "tcp", "user")
        }
        text = json.dumps(
            about
            | {"pid": self._server.pid, "keeper": os.getpid(), "data": str(self._folder / f"pg{self._spec['major']}")}
        )
        write_whole(self._folder / "server.json", text, locked=True)

    # --- waiting ------------------------------------------------------------------------------------------------------

    def _watch_users(self) -> None:
        """Wait until users.lock is free, release it at once, and report that. Runs in a thread."""
        with (self._folder / "users.lock").open("a") as users:
            fcntl.flock(users, fcntl.LOCK_EX)
        os.write(self._wake, bytes([_USERS_GONE]))

    def _read(self, seconds: float | None) -> None:
        """Wait for signals from the pipe for at most `seconds`, and add them to those seen."""
        if select.select([self._events], [], [], seconds)[0]:
            self._seen.update(os.read(self._events, 512))

    def _wait_for_signal(self, seconds: float | None) -> bool:
        """For the server: wait, and return True if a signal asks for its end."""
        self._read(seconds)
        return bool(self._seen & {signal.SIGTERM, signal.SIGINT, signal.SIGHUP})


def _locks(file: TextIO) -> bool:
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def _noted(number: int, frame: FrameType | None) -> None:
    """Do nothing: the signal is a byte in the pipe already (set_wakeup_fd)."""


def _report(what: dict[str, Any]) -> None:
    with contextlib.suppress(OSError):  # the process that asked may have ended
        os.write(1, json.dumps(what).encode() + b"\n")
    nothing = os.open(os.devnull, os.O_WRONLY)
    os.dup2(nothing, 1)
    os.close(nothing)


def main(at_step: Callable[[str], None] = lambda _: None) -> None:
    """Read the task from standard input and do it. The descriptor of keeper.lock is open, and is released at the end."""
    if os.fork():  # an orphan leaves no zombie in the process of its first user
        os._exit(0)
    signal.signal(signal.SIGPIPE, signal.SIG_IGN)
    spec = json.loads(sys.stdin.buffer.read())
    os.set_inheritable(spec["keeper_lock"], False)
    os.chdir("/")
    os.umask(0o077)  # everything that it writes is in WEAVER_HOME
    try:
        Keeper(spec, at_step).run()
    finally:
        sys.stderr.flush()
        os._exit(0)  # a thread may be waiting for a lock


if __name__ == "__main__":
    main()
