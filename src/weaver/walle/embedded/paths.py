"""DatabasePaths: the files of the embedded server: data, locks and notes. Names and makes folders; starts nothing.

HOME/postgres/            0700, of the user who runs Weaver
    pg18/                 the data folder, its name carries PostgreSQL's major version
    password              0600
    run/                  the Unix socket (in another folder if the path would be too long for a socket)
    users.lock            every user holds a shared lock on it
    start.lock            locked by a process that attaches to, starts or stops the server
    keeper.lock           locked by the keeper while it lives
    server.json           the facts of the running server, written when it is ready
    kept, linger          settings of its users, which the keeper reads
    stopped               exists from `weaver db stop` until the next command that uses the server
    start.log, keeper.log output of the last start and of the keeper
"""

from __future__ import annotations

import hashlib
import os
import stat
import tempfile
from pathlib import Path

from weaver.core.errors import DatabaseStartError, DatabaseVersionError
from weaver.core.files import make_private_folder
from weaver.private_home import secure_home

__all__ = ["DatabasePaths"]

_SOCKET_NAME = "/.s.PGSQL.65535"
_SOCKET_LIMIT = 103  # bytes of a socket's path on macOS; Linux has 107


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
        self.keeper_log = self.folder / "keeper.log"

    def data(self, major: int) -> Path:
        """Return the data folder of one major version."""
        return self.folder / f"pg{major}"

    def make(self) -> None:
        """Make the folder if it does not exist. Raises DatabaseStartError if it belongs to another user."""
        try:
            make_private_folder(self.home)
            self.folder.mkdir(mode=0o700, exist_ok=True)
            owner = self.folder.stat().st_uid
        except PermissionError as error:
            raise DatabaseStartError(
                f"{self.folder}: {error.strerror}; name a folder of your own with WEAVER_HOME=DIR"
            ) from None
        if owner != os.geteuid():
            raise DatabaseStartError(
                f"{self.folder} belongs to user {_user_name(owner)}, and you are {_user_name(os.geteuid())}; run the "
                f"command as {_user_name(owner)}, or name a folder of your own with WEAVER_HOME=DIR"
            )
        secure_home(self.home)

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

    def socket_folder(self) -> Path:
        """Return the folder of the socket: `run`, or a private folder elsewhere if that path is too long for a socket."""
        near = self.folder / "run"
        if len(os.fsencode(near)) + len(_SOCKET_NAME) <= _SOCKET_LIMIT:
            return near
        mark = hashlib.sha256(os.fsencode(self.folder)).hexdigest()[:12]
        name = f"weaver-{os.geteuid()}-{mark}"
        runtime = Path(os.environ.get("XDG_RUNTIME_DIR") or "/nonexistent")
        for base in (runtime, Path(tempfile.gettempdir()), Path("/tmp")):
            far = base / name
            if base.is_dir() and len(os.fsencode(far)) + len(_SOCKET_NAME) <= _SOCKET_LIMIT and _makes(far):
                return far
        raise DatabaseStartError(f"{near}: too long a path for a socket, and no private folder can be made in /tmp")


def _makes(folder: Path) -> bool:
    """Make `folder`, or accept one that only its owner can enter: in /tmp another user may have made it."""
    try:
        folder.mkdir(mode=0o700, exist_ok=True)
        status = folder.lstat()
    except OSError:
        return False
    mine = status.st_uid == os.geteuid() or os.geteuid() == 0
    return stat.S_ISDIR(status.st_mode) and mine and not status.st_mode & 0o077


def _read(path: Path) -> str:
    try:
        return path.read_text(encoding="ascii").strip()
    except OSError:
        return ""


def _user_name(uid: int) -> str:
    import pwd

    try:
        return pwd.getpwuid(uid).pw_name
    except KeyError:
        return str(uid)
