"""Server: the keeper's PostgreSQL on one data folder: make the data, start, wait until it is ready, stop.

Only a keeper that holds keeper.lock may use it, so there is one at a time. If the keeper is root, the server runs as another
user and gets the data folder and the socket's folder as open descriptors (/proc/self/fd/N). A process with the descriptor
needs no permission on the folders above, so their modes stay as they are.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
from collections.abc import Callable, Mapping, Sequence
from itertools import count
from pathlib import Path
from typing import Any

from weaver.walle.embedded import roles
from weaver.walle.embedded.child_process import ServerUser, launch
from weaver.walle.embedded.private_folder import NotPrivate, give_away, open_own, remove_files, remove_private
from weaver.walle.embedded.program_places import search_path
from weaver.walle.embedded.server_processes import kill_left_behind, serves, work_of
from weaver.walle.embedded.server_settings import OWN_SETTINGS, server_settings

__all__ = ["DISK_FULL", "Server", "StartFailed"]

DISK_FULL = ("No space left on device", "Check free disk space", "Disk quota exceeded")  # PostgreSQL's messages
_STILL_IN_USE = "is still in use"
_NO_PROGRESS_S = 60.0
_FAST_S = 60.0
_PAUSE_S = 0.02
_AT_ONCE_S = 15.0
_NEEDED_ROOM = 16 << 20  # bytes: one file of the write-ahead log
_PATIENT_ON_FULL_DISK_S = 1.0
_TAIL = 1500  # characters of the server's messages that an error shows
_RETRIES = 100
_SOCKET_PREFIX = ".s.PGSQL."
_KEPT_VARIABLES = (
    "LD_LIBRARY_PATH", "DYLD_LIBRARY_PATH",
    "LD_PRELOAD", "NSS_WRAPPER_PASSWD", "NSS_WRAPPER_GROUP",  # give a user id without an account a name (nss_wrapper)
)  # fmt: skip


class StartFailed(Exception):
    """The server does not start; the text is the reason, mostly the server's own message."""

    @property
    def disk_full(self) -> bool:
        return any(words in str(self) for words in DISK_FULL)


class Server:
    """The PostgreSQL of one folder. `wait(seconds)` returns early when a child ends or a signal arrives."""

    def __init__(
        self,
        spec: Mapping[str, Any],
        user: ServerUser | None,
        wait: Callable[[float | None], bool],
        at_step: Callable[[str], None],
    ) -> None:
        self._folder = Path(spec["folder"])
        self._programs = Path(spec["programs"])
        self._major = int(spec["major"])
        self._data = self._folder / f"pg{self._major}"
        self._socket = Path(spec["socket"])
        self._port = int(spec["port"])
        self._tcp = bool(spec["tcp"])
        self._user = user
        self._wait = wait
        self._at_step = at_step
        self._log_sizes: dict[str, int] = {}
        self.pid: int | None = None

    # --- making -------------------------------------------------------------------------------------------------------

    def make(self, password: str) -> None:
        """Make the data with initdb, whole or not at all, and flushed to the disk."""
        for left in self._folder.glob("pg*.new"):
            shutil.rmtree(left, ignore_errors=True)
        new = self._data.with_name(self._data.name + ".new")
        new.mkdir(mode=0o700)
        os.close(self._give(new))
        self._at_step("making")
        handed = new.with_name(f"{new.name}.password.new")
        data = os.open(new, os.O_RDONLY)
        secret = os.open(handed, os.O_RDWR | os.O_CREAT | os.O_EXCL, 0o600)
        try:
            os.write(secret, f"{password}\n".encode())
            if self._user is not None:
                os.fchown(secret, self._user.uid, self._user.gid)
            locale = (
                ["--locale-provider=builtin", "--builtin-locale=C.UTF-8", "--locale=C"]
                if self._major >= 17
                else ["--locale=C"]
            )
            self._run(
                "initdb", "-D", self._path(data, new), "-U", roles.ADMINISTRATOR, "--encoding=UTF8", *locale,
                "--auth=scram-sha-256", "--data-checksums", f"--pwfile={self._path(secret, handed)}", "--no-sync",
                "--no-instructions", "--text-search-config=english", keep=(data, secret),
            )  # fmt: skip
            self._write(data, "postgresql.conf", OWN_SETTINGS)
            self._write(data, "weaver.conf", server_settings(self._major, tcp=self._tcp))
            self._single(data, new, roles.new_cluster(password))
            self._write(data, roles.MARK, "")
            self._run("initdb", "--sync-only", "-D", self._path(data, new), keep=(data,))
        except StartFailed:
            shutil.rmtree(new, ignore_errors=True)
            raise
        finally:
            os.close(data)
            os.close(secret)
            handed.unlink(missing_ok=True)
        self._at_step("made")
        new.rename(self._data)
        folder = os.open(self._folder, os.O_RDONLY)
        os.fsync(folder)
        os.close(folder)

    @property
    def made(self) -> bool:
        """True if there is a data folder."""
        return self._data.exists()

    def set_password(self, password: str) -> None:
        """Change the password of the role `weaver` while no server runs."""
        data = os.open(self._data, os.O_RDONLY)
        try:
            self._single(data, self._data, roles.new_password(password))
        finally:
            os.close(data)

    @property
    def has_superuser(self) -> bool:
        """True if the role `weaver` is, or may be, the superuser of the data (see roles.py)."""
        return not (self._data / roles.MARK).exists()

    def change_roles(self, password: str) -> bool:
        """Take the superuser's rights from the role `weaver`, while no server runs. False where it has none.

        Raises StartFailed if that is not possible; the role then has them as before, and owns its data.
        """
        data = os.open(self._data, os.O_RDONLY | os.O_NOFOLLOW)
        try:
            self._clear(data)
            databases = roles.databases_to_change(self._single(data, self._data, roles.begin_change()))
            for database in databases:
                self._at_step("moving objects")
                self._single(data, self._data, roles.move_objects(), database)
            if databases:
                self._at_step("renaming roles")
                output = self._single(data, self._data, roles.end_change(password))
                if not roles.change_is_complete(output):
                    raise StartFailed(f"the role weaver is still a superuser: {output[-_TAIL:]}")
                self._at_step("roles renamed")
            self._write(data, roles.MARK, "")
        finally:
            os.close(data)
        return bool(databases)

    def _single(self, data: int, path: Path, statements: Sequence[str], database: str = "template1") -> str:
        """Execute the statements, each in one line, in single-user mode and return the output. Raises StartFailed."""
        for attempt in range(_RETRIES):
            try:
                output = self._run(
                    "postgres", "--single", "-D", self._path(data, path), "-c", "logging_collector=off",
                    "-c", "log_min_error_statement=panic", database,  # a statement may have the password in it
                    keep=(data,), given="".join(f"{statement}\n" for statement in statements),
                )  # fmt: skip
                break
            except StartFailed as error:
                if _STILL_IN_USE not in str(error) or attempt == _RETRIES - 1:
                    raise
                kill_left_behind(self._data)
                self._wait(0.05)
        errors = [line.partition("ERROR:")[2].strip() for line in output.splitlines() if "ERROR:" in line]
        if errors:
            raise StartFailed(errors[0][:_TAIL])
        return output

    # --- starting -----------------------------------------------------------------------------------------------------

    def start(self) -> None:
        """Start it and wait until it takes connections; a crash recovery may take as long as it makes progress."""
        for attempt in range(_RETRIES):
            data = os.open(self._data, os.O_RDONLY | os.O_NOFOLLOW)
            self._clear(data)
            self._write(data, "weaver.conf", server_settings(self._major, tcp=self._tcp))
            sockets = self._open_socket_folder()
            try:
                self._launch(data, sockets)
                self._at_step("launched")
                self._until_ready()
                return
            except StartFailed as error:
                # Backends of a killed server hold its shared memory until they notice.
                if _STILL_IN_USE not in str(error) or attempt == _RETRIES - 1:
                    raise
                kill_left_behind(self._data)
                self._wait(0.05)
            finally:
                os.close(data)
                os.close(sockets)

    def _open_socket_folder(self) -> int:
        """Return a descriptor of the socket's folder, empty and of the server's user."""
        if self._socket.parent == self._folder:  # another one was made for this start
            self._socket.mkdir(mode=0o700, exist_ok=True)
        sockets = self._give(self._socket)
        remove_files(sockets, _SOCKET_PREFIX)  # of a server that has ended: only Weaver uses this folder
        return sockets

    def _launch(self, data: int, sockets: int) -> None:
        self._listen_from_here()
        arguments = [
            str(self._programs / "postgres"), "-D", self._path(data, self._data), "-p", str(self._port),
            "-k", self._path(sockets, self._socket),
        ]  # fmt: skip
        if self._tcp:
            arguments += ["-c", "listen_addresses=127.0.0.1"]
        with self._said("wb") as output, open(os.devnull, "rb") as nothing:
            self.pid = launch(
                arguments,
                environment=_environment(),
                user=self._user,
                death_signal=signal.SIGINT,
                stdin=nothing.fileno(),
                output=output.fileno(),
                keep=(data, sockets) if self._by_descriptor else (),
            )

    def _until_ready(self) -> None:
        still, seen = 0.0, -1
        pause = 0.002
        while True:
            if self.ended():
                raise StartFailed(self._words())
            if self._status() == "ready":
                return
            if self._wait(pause) and not self.ended():
                self.stop()
                raise StartFailed("it was stopped while it was starting")
            now = work_of(self.pid)
            still = 0.0 if now is None or now != seen else still + pause
            seen = seen if now is None else now
            if still > _NO_PROGRESS_S:
                self.stop()
                raise StartFailed(f"it did nothing for {_NO_PROGRESS_S:.0f} s while it was starting: {self._words()}")
            pause = min(pause * 1.2, 0.05)

    def _status(self) -> str:
        try:
            lines = (self._data / "postmaster.pid").read_text(encoding="utf-8").splitlines()
        except OSError:
            return ""
        mine = len(lines) >= 8 and lines[0].strip() == str(self.pid)
        return lines[7].strip() if mine else ""

    # --- ending -------------------------------------------------------------------------------------------------------

    def ended(self) -> bool:
        """Return whether the server has ended; collect its exit status."""
        if self.pid is not None:
            try:
                gone, _ = os.waitpid(self.pid, os.WNOHANG)
            except ChildProcessError:
                gone = self.pid
            if gone:
                self.pid = None
        return self.pid is None

    def stop(self) -> None:
        """Stop it; after a minute, without a last checkpoint, and then the next start recovers.

        On a full disk it repeats the last checkpoint for ever, so there it does not get the minute.
        """
        self._listen_from_here()
        for number, patience in ((signal.SIGINT, _FAST_S), (signal.SIGQUIT, _AT_ONCE_S), (signal.SIGKILL, 5.0)):
            if self.ended() or self.pid is None:
                return
            os.kill(self.pid, number)
            waited, pause = 0.0, 0.1
            while waited < patience and not self.ended():
                self._wait(pause)
                waited += pause
                if number == signal.SIGINT and waited > _PATIENT_ON_FULL_DISK_S and self.no_room():
                    break

    def no_room(self) -> bool:
        """Return whether the disk is full: by the server's messages, or because there is no room even for them."""
        about = os.statvfs(self._folder)
        return about.f_bavail * about.f_frsize < _NEEDED_ROOM or StartFailed(self._words()).disk_full

    def leave(self) -> None:
        """Remove the socket's folder if it is outside of the database's own folder."""
        if self._socket.parent != self._folder:
            owners = {os.geteuid()} if self._user is None else {os.geteuid(), self._user.uid}
            remove_private(self._socket, owners, _SOCKET_PREFIX)
            if not self._socket.exists():
                (self._folder / "socket").unlink(missing_ok=True)

    # --- helpers -------------------------------------------------------------------------------------------------

    @property
    def _by_descriptor(self) -> bool:
        return self._user is not None and os.path.isdir("/proc/self/fd")

    def _path(self, descriptor: int, path: Path) -> str:
        return f"/proc/self/fd/{descriptor}" if self._by_descriptor else str(path)

    def _give(self, folder: Path) -> int:
        """Make the server's user the owner of `folder`, close it to all others, and return a descriptor of it.

        Raises StartFailed if another user than ours or the server's owns it.
        """
        uid, gid = (os.geteuid(), -1) if self._user is None else (self._user.uid, self._user.gid)
        try:
            opened = open_own(folder, (os.geteuid(), uid))
            try:
                give_away(opened, uid, gid)
            except BaseException:
                os.close(opened)
                raise
        except NotPrivate as error:
            raise StartFailed(str(error)) from None
        return opened

    def _write(self, folder: int, name: str, text: str) -> None:
        """Write a file into the server user's folder, never through a link that this user may have made there."""
        with contextlib.suppress(FileNotFoundError):
            os.unlink(name, dir_fd=folder)
        opened = os.open(name, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW, 0o600, dir_fd=folder)
        with os.fdopen(opened, "w", encoding="utf-8") as file:
            file.write(text)
            if self._user is not None:
                os.fchown(opened, self._user.uid, self._user.gid)

    def _said(self, mode: str) -> Any:
        return open(self._folder / "start.log", mode)

    def _run(self, program: str, *arguments: str, keep: tuple[int, ...], given: str = "") -> str:
        reader, writer = os.pipe()
        with self._said("w+b") as output:
            os.write(writer, given.encode())
            os.close(writer)
            pid = launch(
                [str(self._programs / program), *arguments],
                environment=_environment(),
                user=self._user,
                death_signal=signal.SIGKILL,
                stdin=reader,
                output=output.fileno(),
                keep=keep if self._by_descriptor else (),
            )
            os.close(reader)
            _, status = os.waitpid(pid, 0)
            output.seek(0)
            said: str = output.read().decode(errors="replace")
        if status:
            raise StartFailed(f"{program} ended with {os.waitstatus_to_exitcode(status)}: {said[-_TAIL:]}")
        return said

    def _listen_from_here(self) -> None:
        logs = self._data / "log"
        self._log_sizes = {path.name: path.stat().st_size for path in logs.glob("*.log")} if logs.is_dir() else {}

    def _words(self) -> str:
        """Return the server's messages since it was started or asked to stop."""
        words = []
        for path in [self._folder / "start.log", *sorted((self._data / "log").glob("*.log"))]:
            with contextlib.suppress(OSError), path.open("rb") as file:
                file.seek(self._log_sizes.get(path.name, 0) if path.parent.name == "log" else 0)
                words.append(file.read()[-_TAIL:].decode(errors="replace"))
        return "\n".join(words).strip() or "it printed nothing"

    def _clear(self, data: int) -> None:
        """Remove the pid file of a server that has ended; wait for one that is still ending after its keeper was killed."""
        for attempt in count():
            try:
                first = (self._data / "postmaster.pid").read_text(encoding="utf-8").split("\n", 1)[0]
                pid = abs(int(first))
            except FileNotFoundError:
                return
            except (OSError, ValueError):
                pid = 0
            if not (pid and serves(pid, self._data)):
                with contextlib.suppress(FileNotFoundError):
                    os.unlink("postmaster.pid", dir_fd=data)
                return
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGINT if attempt * _PAUSE_S < _FAST_S else signal.SIGQUIT)
            if self._wait(_PAUSE_S):
                raise StartFailed("it was stopped while it waited for an earlier server to end")


def _environment() -> dict[str, str]:
    kept = {name: os.environ[name] for name in _KEPT_VARIABLES if name in os.environ}
    return kept | {"PATH": search_path(), "TZ": "UTC", "LC_ALL": "C"}  # initdb asks `locale` for its collations
