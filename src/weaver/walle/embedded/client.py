"""Client: psql, pg_dump and pg_restore on a database, the embedded one or your own.

A backup appears whole or not at all. A restore goes into a new database, which takes the old one's name in one step when it
is complete; whatever stops it before leaves the old one as it was. A password is handed over in the environment, never as an
argument, where everybody on the machine could read it.
"""

from __future__ import annotations

import os
import subprocess
from pathlib import Path
from urllib.parse import parse_qsl, unquote, urlsplit

from weaver.core.errors import BackupError, DatabaseDiskFull, DatabaseError, DatabaseInUse
from weaver.walle.embedded.binaries import Programs
from weaver.walle.embedded.server import DISK_FULL

__all__ = ["Client"]

_MAINTENANCE = "template1"  # there in every cluster; an embedded one has no database `postgres`
_TABLES = """
SELECT count(*) FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
WHERE n.nspname NOT IN ('pg_catalog', 'information_schema') AND n.nspname !~ '^pg_(toast|temp)'
  AND c.relkind IN ('r', 'p', 'm', 'v')
"""
_OTHERS = """
SELECT count(*) FROM pg_stat_activity
WHERE datname = current_database() AND pid <> pg_backend_pid() AND backend_type = 'client backend'
"""
_SSL = {"ssl": "PGSSLMODE", "sslmode": "PGSSLMODE", "sslrootcert": "PGSSLROOTCERT", "host": "PGHOST", "port": "PGPORT",
        "user": "PGUSER", "password": "PGPASSWORD"}  # fmt: skip


class Client:
    """The programs of `programs` on the database at `url`."""

    def __init__(self, url: str, programs: Programs) -> None:
        self._programs = programs
        self._reach = _environment(url)
        self.database = self._reach["PGDATABASE"]

    def environment(self, database: str | None = None) -> dict[str, str]:
        """This process's, with nothing of another PostgreSQL's in it, and where the database is."""
        others = {name: value for name, value in os.environ.items() if not name.startswith("PG")}
        return others | self._reach | ({"PGDATABASE": database} if database else {})

    def ask(self, statement: str, database: str | None = None) -> str:
        """What psql answers. Several statements are one transaction. Raises DatabaseError with the server's words."""
        done = self._run(["psql", "-XAtqw", "-v", "ON_ERROR_STOP=1", "-c", statement], database)
        if done.returncode:
            raise DatabaseError(f"database {database or self.database!r}: {_said(done)}")
        return done.stdout.strip()

    def become_psql(self, arguments: tuple[str, ...], keep: int | None = None) -> None:
        """Become psql, in the place of this process. `keep` is a descriptor that psql holds until its end."""
        if keep is not None:
            os.set_inheritable(keep, True)
        program = str(self._programs.path("psql"))
        os.execve(program, [program, *arguments], self.environment())

    # --- backup ---------------------------------------------------------------------------------------------------------

    def backup(self, file: Path) -> None:
        """Write everything to `file`, readable by its owner alone, replacing what is there when it is complete."""
        if file.is_dir():
            raise BackupError(f"{file} is a folder; name a file, such as {file / 'weaver.dump'}")
        if file.exists() and not file.is_file():
            raise BackupError(f"{file} is not a file, and a backup is put in its place whole; name a file")
        new = file.with_name(f".{file.name}.{os.getpid()}.new")
        try:
            os.close(os.open(new, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600))
            done = self._run(["pg_dump", "-Fc", "-w", "-f", str(new)])
            if done.returncode:
                raise _failed(f"{file}: the backup was not written", done)
            with new.open("rb") as written:
                os.fsync(written.fileno())
            new.replace(file)
        except OSError as error:
            raise BackupError(f"{file}: the backup was not written: {error.strerror or error}") from None
        finally:
            new.unlink(missing_ok=True)
        folder = os.open(file.absolute().parent, os.O_RDONLY)
        try:
            os.fsync(folder)
        finally:
            os.close(folder)

    def restore(self, file: Path, *, force: bool = False) -> None:
        """Put the content of `file` in the database's place.

        Raises DatabaseInUse where somebody is connected or there are tables, unless `force`, which cuts the connections and
        replaces the tables; BackupError where the file is none or does not go in, and then everything is as it was.
        """
        if not file.is_file():
            raise BackupError(f"{file}: there is no such file")
        listed = self._run(["pg_restore", "-l", str(file)])
        if listed.returncode:
            raise BackupError(f"{file} is not a backup that `weaver db backup` wrote: {_said(listed)}")
        if not force:
            self._refuse_to_replace()
        new, old = f"{self.database}_restoring", f"{self.database}_replaced"
        for left in (new, old):  # by a restore that was killed: before its swap, or after it
            self.ask(f"DROP DATABASE IF EXISTS {_quoted(left)}", _MAINTENANCE)
        try:
            self.ask(f"CREATE DATABASE {_quoted(new)} TEMPLATE template0", _MAINTENANCE)
            done = self._run(["pg_restore", "-w", "--single-transaction", "--no-owner", "-d", new, str(file)], new)
            if done.returncode:
                raise _failed(f"{file}: the backup does not go in, and the database is as it was", done)
            cut = (
                f"SELECT pg_terminate_backend(pid, 5000) FROM pg_stat_activity WHERE datname = {_literal(self.database)}"
                if force
                else "SELECT 1"
            )
            self.ask(
                f"{cut}; ALTER DATABASE {_quoted(self.database)} RENAME TO {_quoted(old)}; "
                f"ALTER DATABASE {_quoted(new)} RENAME TO {_quoted(self.database)}",
                _MAINTENANCE,
            )
        except BaseException:
            self._run(["psql", "-XAtqw", "-c", f"DROP DATABASE IF EXISTS {_quoted(new)}"], _MAINTENANCE)
            raise
        self.ask(f"DROP DATABASE {_quoted(old)} WITH (FORCE)", _MAINTENANCE)

    def _refuse_to_replace(self) -> None:
        others = int(self.ask(_OTHERS))
        if others:
            raise DatabaseInUse(
                f"database {self.database!r} has {others} open connection{'s' * (others > 1)}; close what uses it, or cut "
                f"them with --force"
            )
        tables = int(self.ask(_TABLES))
        if tables:
            raise DatabaseInUse(
                f"database {self.database!r} is not empty: it has {tables} table{'s' * (tables > 1)}; save it first with "
                f"`weaver db backup FILE`, and replace it with --force"
            )

    def _run(self, arguments: list[str], database: str | None = None) -> subprocess.CompletedProcess[str]:
        program, *rest = arguments
        return subprocess.run(
            [self._programs.path(program), *rest],
            env=self.environment(database),
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            errors="replace",
            check=False,
        )


def _environment(url: str) -> dict[str, str]:
    """A URL as the variables that PostgreSQL's own programs read."""
    parts = urlsplit(url)
    found = {
        "PGHOST": parts.hostname or "",
        "PGPORT": str(parts.port or ""),
        "PGUSER": unquote(parts.username or ""),
        "PGPASSWORD": unquote(parts.password or ""),
        "PGDATABASE": unquote(parts.path.lstrip("/")),
    }
    found |= {_SSL[name]: value for name, value in parse_qsl(parts.query) if name in _SSL}
    found.setdefault("PGCONNECT_TIMEOUT", "15")
    found["PGDATABASE"] = found["PGDATABASE"] or found["PGUSER"]
    return {name: value for name, value in found.items() if value}


def _failed(what: str, done: subprocess.CompletedProcess[str]) -> DatabaseError:
    said = _said(done)
    if any(words in said for words in DISK_FULL):
        return DatabaseDiskFull(f"{what}: the disk is full; make room and try again")
    return BackupError(f"{what}: {said}")


def _said(done: subprocess.CompletedProcess[str]) -> str:
    return done.stderr.strip()[-1500:] or f"the program ended with {done.returncode}"


def _quoted(name: str) -> str:
    return '"' + name.replace('"', '""') + '"'


def _literal(text: str) -> str:
    return "'" + text.replace("'", "''") + "'"
