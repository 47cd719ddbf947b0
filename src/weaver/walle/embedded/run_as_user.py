"""What root must do: PostgreSQL refuses to run as root, so it runs as a user that owns nothing else here.

Changes no mode and no owner of a folder that is not ours. Programs that this user cannot reach (an environment below /root)
are copied once to /var/lib/weaver, a folder of ours; the data need no such thing (see server).
"""

from __future__ import annotations

import contextlib
import hashlib
import os
import shutil
from pathlib import Path

from weaver.core.errors import DatabaseStartError
from weaver.walle.embedded.binaries import Programs

__all__ = ["COPIES", "runner_and_programs"]

COPIES = Path("/var/lib/weaver/programs")
_USERS = ("postgres", "nobody")


def runner_and_programs(found: Programs, data: Path) -> tuple[str | None, Path]:
    """The user that the server runs as (None: as we are), and the folder of the programs where it can reach them.

    Data that are there already decide: they belong to the user whom an earlier start chose.
    """
    if os.geteuid() != 0:
        return None, found.folder
    name, uid = _owner_of(data) if data.is_dir() else _somebody()
    if _reaches(uid, found.folder / "postgres"):
        return name, found.folder
    return name, _copy(found)


def _owner_of(data: Path) -> tuple[str, int]:
    import pwd

    uid = data.stat().st_uid
    try:
        name = pwd.getpwuid(uid).pw_name
    except KeyError:
        name = ""
    if not uid or not name:
        raise DatabaseStartError(
            f"{data} belongs to user {name or uid}, as whom PostgreSQL cannot run here; give it back to the user it was "
            f"made by, such as: chown -R {_USERS[0]} {data}"
        )
    return name, uid


def _somebody() -> tuple[str, int]:
    import pwd

    for name in _USERS:
        with contextlib.suppress(KeyError):
            return name, pwd.getpwnam(name).pw_uid
    raise DatabaseStartError(
        f"PostgreSQL does not run as root, and there is neither a user {' nor '.join(_USERS)} to run it as; make one "
        f"(useradd --system postgres), run Weaver as a normal user, or use a server of your own with DB_URL"
    )


def _reaches(uid: int, program: Path) -> bool:
    """True where the user may pass every folder above the program and run it."""
    real = program.resolve()
    for path in (real, *real.parents):
        about = path.stat()
        wanted = 0o100 if about.st_uid == uid else 0o001
        if not about.st_mode & wanted:
            return False
    return True


def _copy(found: Programs) -> Path:
    """Copy the whole installation (41 MB of the wheel), whole or not at all, once for each version and place."""
    root = found.folder.parent
    mark = hashlib.sha256(os.fsencode(root)).hexdigest()[:8]
    target = COPIES / f"{found.version}-{mark}"
    parts = [root]
    if root.name == "pginstall":  # a wheel: its libraries lie beside the package
        parts += [path for path in (root.parent.with_name(root.parent.name + ".libs"),) if path.is_dir()]
    base = root.parent.parent if root.name == "pginstall" else root.parent
    inside = target / root.relative_to(base) / found.folder.name
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
            f"PostgreSQL runs as user {_USERS[0]} or {_USERS[1]} here, who cannot reach {found.folder}, and a copy in "
            f"{target} cannot be made ({error.strerror or error}); name programs that everybody can reach with "
            f"WEAVER_PG_BIN=DIR"
        ) from None
    return inside
