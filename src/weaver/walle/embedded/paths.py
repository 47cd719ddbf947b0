"""DatabasePaths: the files of the embedded server: data, locks and notes. Names and makes folders; starts nothing.

HOME/postgres/            0700, of the user who runs Weaver
    pg18/                 the data folder, its name carries PostgreSQL's major version
    password              0600
    run/                  the Unix socket (in another folder if the path would be too long for a socket)
    socket                the path of that other folder, which is made at each start and removed at the end
    users.lock            every user holds a shared lock on it
    start.lock            locked by a process that attaches to, starts or stops the server
    keeper.lock           locked by the keeper while it lives
    server.json           the facts of the running server, written when it is ready
    kept, linger          settings of its users, which the keeper reads
    stopped               exists from `weaver db stop` until the next command that uses the server
    start.log, keeper.log output of the last start and of the keeper
"""

from __future__ import annotations

import os
import stat
from collections.abc import Collection, Iterator
from contextlib import suppress
from pathlib import Path

from weaver.core.errors import DatabaseStartError, DatabaseVersionError
from weaver.core.files import make_private_folder, write_whole
from weaver.private_home import secure_home
from weaver.walle.embedded.private_folder import (
    NotPrivate,
    check_above,
    make_private,
    open_own,
    remove_private,
    user_name,
)

__all__ = ["DatabasePaths"]

_SOCKET_PREFIX = ".s.PGSQL."
_SOCKET_NAME = "/.s.PGSQL.65535"
_SOCKET_LIMIT = 103  # bytes of a socket's path on macOS; Linux has 107
_FAR_PREFIX = "weaver-"
_NAME_BYTES = 8
_TRIES = 10


class DatabasePaths:
    """The paths below one home folder."""

    def __init__(self, home: Path) -> None:
        self.home = home.expanduser().absolute()
        self.folder = self.home / "postgres"
        self.password = self.folder / "password"
        self.users_lock = self.folder / "users.lock"
        self.start_lock = self.folder / "start.lock"
        self.keeper_lock = self.folder / "keeper.lock"
        self.server = self.folder / "server.json"
        self.kept = self.folder / "kept"
        self.linger = self.folder / "linger"
        self.stopped = self.folder / "stopped"
        self.near_socket = self.folder / "run"
        self.far_socket = self.folder / "socket"
        self.keeper_log = self.folder / "keeper.log"

    def data(self, major: int) -> Path:
        """Return the data folder of one major version."""
        return self.folder / f"pg{major}"

    def make(self) -> None:
        """Make the folder if it does not exist, and close it to other users.

        Raises DatabaseStartError if it belongs to another user, or, for root, if another user can replace it.
        """
        try:
            self._check_owner()
            if os.geteuid() == 0:
                check_above(self.folder)
            make_private_folder(self.home)
            self.folder.mkdir(mode=0o700, exist_ok=True)
            self._check_owner()
        except NotPrivate as error:
            raise DatabaseStartError(str(error)) from None
        except PermissionError as error:
            raise DatabaseStartError(
                f"{self.folder}: {error.strerror}; name a folder of your own with WEAVER_HOME=DIR"
            ) from None
        secure_home(self.home)

    def _check_owner(self) -> None:
        try:
            owner = self.folder.stat().st_uid
        except FileNotFoundError:
            return
        if owner != os.geteuid():
            raise DatabaseStartError(
                f"{self.folder} belongs to user {user_name(owner)}, and you are {user_name(os.geteuid())}; run the "
                f"command as {user_name(owner)}, or name a folder of your own with WEAVER_HOME=DIR"
            )

    def check_major(self, major: int, programs: Path) -> None:
        """Raise DatabaseVersionError if the data were made by another major version than that of the programs."""
        marks = {path.parent.name: _read(path) for path in self.folder.glob("pg*/PG_VERSION")}
        ours = marks.pop(f"pg{major}", None)
        if ours is None:
            other = next((mark for name, mark in sorted(marks.items()) if not name.endswith(".new")), None)
        else:
            other = ours if ours != str(major) else None
        if other is not None:
            raise DatabaseVersionError(
                f"the database in {self.folder} was made by PostgreSQL {other}, and the programs in {programs} are "
                f"PostgreSQL {major}, which cannot read it; name programs of {other} with WEAVER_PG_BIN=DIR and save it "
                f"with `weaver db backup FILE`, then move the folder away and use `weaver db restore FILE`"
            )

    def socket_folder(self, owners: Collection[int]) -> Path:
        """Return the folder of the socket: `run`, or a new private folder elsewhere if that path is too long for a socket.

        The caller excludes other starts. What an earlier start left elsewhere is removed if it belongs to one of the user
        ids `owners`. The new folder has a random name, so that no other user can make it first.
        """
        self.remove_far_socket(owners)
        if _fits(self.near_socket):
            return self.near_socket
        for base in _bases():
            folder = self._make_far_socket(base)
            if folder is not None:
                return folder
        raise DatabaseStartError(
            f"{self.near_socket}: too long a path for a socket, and no private folder can be made in /tmp; name a folder "
            f"with a shorter path with WEAVER_HOME=DIR"
        )

    def _make_far_socket(self, base: Path) -> Path | None:
        """Make a private folder in `base`, and note its path before, so that it is removed after a crash as well."""
        import secrets  # noqa: TID251 - a name that another user could guess could be taken before

        for _ in range(_TRIES):
            folder = base / f"{_FAR_PREFIX}{secrets.token_hex(_NAME_BYTES)}"
            if not _fits(folder):
                return None
            write_whole(self.far_socket, os.fsencode(folder), mode=0o600, locked=True)
            with suppress(OSError, NotPrivate):
                if make_private(folder):
                    return folder
        return None

    def remove_far_socket(self, owners: Collection[int]) -> None:
        """Remove the folder of a socket that an earlier start made elsewhere, if one of the user ids `owners` owns it."""
        folder = ""
        with suppress(OSError):
            folder = os.fsdecode(self.far_socket.read_bytes())
        if os.path.basename(folder).startswith(_FAR_PREFIX):
            remove_private(Path(folder), owners, _SOCKET_PREFIX)
        self.far_socket.unlink(missing_ok=True)


def _bases() -> Iterator[Path]:
    """Yield the folders in which a private folder can be made that no other user can replace."""
    runtime = os.environ.get("XDG_RUNTIME_DIR")
    names = [runtime or "", "/run" if os.geteuid() == 0 else "", os.environ.get("TMPDIR") or "", "/tmp"]
    for base in map(Path, filter(os.path.isabs, names)):
        with suppress(OSError, NotPrivate):
            check_above(base / _FAR_PREFIX)
            descriptor = open_own(base.resolve(), (0, os.geteuid()))
            mode = os.fstat(descriptor).st_mode
            os.close(descriptor)
            if not mode & 0o022 or mode & stat.S_ISVTX:
                yield base


def _fits(folder: Path) -> bool:
    return len(os.fsencode(folder)) + len(_SOCKET_NAME) <= _SOCKET_LIMIT


def _read(path: Path) -> str:
    try:
        return path.read_text(encoding="ascii").strip()
    except OSError:
        return ""
