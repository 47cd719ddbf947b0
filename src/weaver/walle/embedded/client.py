"""Client: psql, pg_dump and pg_restore on a database, the embedded one or your own.

Guarantees that a backup appears whole or not at all, and that a restore which fails, or is killed, leaves the database as it
was: it goes into a new database, which takes the old one's name in one step. Nothing in a backup is executed (walle/dump). A
password is passed in the environment, never as an argument, which every user of the machine can read. The servers may be
PostgreSQL 15 or newer, older or newer than the one that wrote the backup.
"""

from __future__ import annotations

import contextlib
import errno
import os
import re
import signal
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path

from weaver.core.database_url import DatabaseUrl
from weaver.core.errors import BackupError, DatabaseDiskFull, DatabaseError, DatabaseInUse, DataError, StoreError
from weaver.core.files import replacing
from weaver.core.notices import notice
from weaver.core.run_folders import RunFolders
from weaver.core.run_id import RUN_ID_PATTERN
from weaver.walle import backup_file
from weaver.walle.connection import addresses, login_methods, missing_privilege, root_certificate, system_user
from weaver.walle.dump.dump import Dump
from weaver.walle.embedded.binaries import Programs
from weaver.walle.embedded.private_folder import user_name
from weaver.walle.embedded.program_places import search_path
from weaver.walle.embedded.server import DISK_FULL
from weaver.walle.embedded.tls_tunnel import tunnel

__all__ = ["Client", "Restored", "open_client"]

_MAINTENANCE = "template1"  # exists in every cluster; an embedded one has no database `postgres`
_TABLES = """
SELECT count(*) FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
WHERE n.nspname NOT IN ('pg_catalog', 'information_schema') AND n.nspname !~ '^pg_(toast|temp)'
  AND c.relkind IN ('r', 'p', 'm', 'v')
"""
_OTHERS = """
SELECT count(*) FROM pg_stat_activity
WHERE datname = current_database() AND pid <> pg_backend_pid() AND backend_type = 'client backend'
"""
_RUN_IDS = f"SELECT id FROM runs WHERE id ~ '^{RUN_ID_PATTERN}$'"
_OTHER_IDS = f"SELECT count(*) FROM runs WHERE NOT id ~ '^{RUN_ID_PATTERN}$'"
_HAS_TABLE = "SELECT to_regclass('{}') IS NOT NULL"


@dataclass(frozen=True, slots=True)
class Restored:
    """The result of a restore."""

    runs: int
    """Runs whose files were restored."""
    privileges: list[str]
    """Privileges that the backup grants to roles; they are not restored."""


class Client:
    """The programs of `programs` on the database at `url`.

    `socket` is the folder of a tunnel's socket (tls_tunnel.py), for programs without TLS.
    """

    def __init__(self, url: str, programs: Programs, *, socket: str | None = None) -> None:
        self._url = DatabaseUrl.parse(url)
        self._programs = programs
        self._has_tunnel = socket is not None
        self._variables = _environment(self._url, socket)
        self.database = self._variables["PGDATABASE"]

    def environment(self, database: str | None = None) -> dict[str, str]:
        """Return this process's environment with the database in it, and nothing of another PostgreSQL."""
        kept = ("PGPASSWORD", "PGPASSFILE")  # as the driver does: used where the URL has no password
        others = {name: value for name, value in os.environ.items() if not name.startswith("PG") or name in kept}
        variables = self._variables | {"PATH": search_path()}  # psql starts a pager
        return others | variables | ({"PGDATABASE": database} if database else {})

    def ask(self, statement: str, database: str | None = None) -> str:
        """Return psql's answer. Several statements are one transaction.

        Raises MissingPrivilege, or DatabaseError with the server's message.
        """
        done = self._run(["psql", "-XAtqw", "-v", "ON_ERROR_STOP=1", "-c", statement], database)
        if done.returncode:
            raise self._error(f"database {database or self.database!r}", done)
        return done.stdout.strip()

    def become_psql(self, arguments: tuple[str, ...], keep: int | None = None) -> None:
        """Replace this process by psql, or run psql and exit with its code where this process has a tunnel for it.

        `keep` is a descriptor that psql holds until it ends.
        """
        program = str(self._programs.path("psql"))
        if self._has_tunnel:
            signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is for psql, which cancels a statement
            raise SystemExit(subprocess.run([program, *arguments], env=self.environment(), check=False).returncode)
        if keep is not None:
            os.set_inheritable(keep, True)
        os.execve(program, [program, *arguments], self.environment())

    # --- backup ---------------------------------------------------------------------------------------------------------

    def backup(self, file: Path, runs_folder: Path, *, version: str) -> int:
        """Write the database and the files of its runs to `file`, readable by its owner only, and replace an existing one.

        `version` is Weaver's, for the file. Returns the number of runs whose files are in it. Raises BackupError,
        DatabaseDiskFull or MissingPrivilege.
        """
        if file.is_dir():
            raise BackupError(f"{file} is a folder; name a file, such as {file / 'weaver.backup'}")
        if file.exists() and not file.is_file():
            raise BackupError(f"{file} is not a regular file, which a backup could replace; name a file")
        failed = f"{file}: the backup was not written"
        try:
            with replacing(file, mode=0o600, durable=True) as new:
                dump = new.with_name(f"{new.name}.dump")
                try:
                    os.close(os.open(dump, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600))
                    done = self._run(["pg_dump", "-Fc", "-w", "-f", str(dump)])
                    if done.returncode:
                        raise self._error(failed, done)
                    has_runs = self.ask(_HAS_TABLE.format("runs")) == "t"
                    run_ids = self.ask(_RUN_IDS).splitlines() if has_runs else []
                    if has_runs and (others := int(self.ask(_OTHER_IDS))):
                        notice(
                            f"{others} runs have an id that Weaver did not make: weaver db restore refuses this backup; "
                            "remove them with weaver runs delete ID (weaver runs list quotes these ids) and make another"
                        )
                    return backup_file.write(new, dump=dump, runs_folder=runs_folder, run_ids=run_ids, version=version)
                finally:
                    dump.unlink(missing_ok=True)
        except OSError as error:
            raise _file_error(failed, error) from None

    # --- restore --------------------------------------------------------------------------------------------------------

    def restore(self, file: Path, runs_folder: Path, *, force: bool = False, skip_unknown: bool = False) -> Restored:
        """Replace the database by the content of `file`, and put the files of its runs into `runs_folder`.

        Only data of Weaver's tables are restored, and brought up to date (see walle/dump). `skip_unknown` leaves out what
        is not Weaver's; without it such a file is refused.

        Raises DatabaseInUse where there are connections or tables, unless `force`, which cuts the connections and replaces
        the tables; BackupError where the file is no backup or cannot be restored, and then the database is as it was.
        """
        if not file.is_file():
            raise BackupError(f"{file}: there is no such file")
        if not force:
            self._refuse_to_replace()
        staging = runs_folder.with_name(f".{runs_folder.name}.{os.getpid()}.restoring")
        try:
            with backup_file.read(file, staging) as dump:
                try:
                    content = Dump(dump, self._programs.path("pg_restore"), skip_unknown=skip_unknown)
                    self._replace_database(content, force=force)
                except BackupError as error:
                    raise BackupError(f"{file} cannot be restored, and the database is as it was: {error}") from error
                from weaver.results.run_files import (
                    remove_false_bars,  # it imports Polars, which other commands need not
                )

                try:
                    false = remove_false_bars(RunFolders(staging / "runs"))
                    if false:
                        notice(f"{file}: {false} files of bars are left out, because they are not the bars of its runs")
                    runs = backup_file.install_runs(staging, runs_folder)
                    return Restored(runs, content.privileges)
                except (OSError, DataError) as error:
                    reason = error.strerror or error if isinstance(error, OSError) else error
                    raise BackupError(
                        f"the database was restored from {file}, but the files of its runs were not put into {runs_folder}: "
                        f"{reason}; repeat the restore with --force"
                    ) from None
        except OSError as error:
            raise _file_error(f"{file}: the backup was not restored", error) from None

    def _replace_database(self, dump: Dump, *, force: bool) -> None:
        new, old = f"{self.database}_restoring", f"{self.database}_replaced"
        for leftover in (new, old):  # of a restore that was killed before or after its last step
            self._drop(leftover)
        try:
            self.ask(f"CREATE DATABASE {_quoted(new)} TEMPLATE template0", _MAINTENANCE)
            dump.load(self._url.text(database=new))
            # A pooler keeps its connections to the new database. An autovacuum worker, which has no user, is ended by ALTER.
            names = [new, self.database] if force else [new]
            cut = (
                f"SELECT pg_terminate_backend(pid, 5000) FROM pg_stat_activity WHERE usesysid IS NOT NULL "
                f"AND datname IN ({', '.join(map(_literal, names))})"
            )
            self.ask(
                f"{cut}; ALTER DATABASE {_quoted(self.database)} RENAME TO {_quoted(old)}; "
                f"ALTER DATABASE {_quoted(new)} RENAME TO {_quoted(self.database)}",
                _MAINTENANCE,
            )
        except BaseException:
            with contextlib.suppress(StoreError):  # the next restore drops it
                self._drop(new)
            raise
        self._drop(old)

    def _drop(self, database: str) -> None:
        """Drop a database if it exists, and cut connections that a pooler keeps to it.

        A role that may not end an autovacuum worker drops it without FORCE, which ends the worker, too.
        """
        statement = f"DROP DATABASE IF EXISTS {_quoted(database)}"
        if self._run(["psql", "-XAtqw", "-c", f"{statement} WITH (FORCE)"], _MAINTENANCE).returncode:
            self.ask(statement, _MAINTENANCE)

    def _refuse_to_replace(self) -> None:
        others = int(self.ask(_OTHERS))
        if others:
            raise DatabaseInUse(
                f"database {self.database!r} has {others} open connection{'s' * (others > 1)}; close what uses it, "
                f"or cut them with --force"
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
            env=self.environment(database) | {"LC_ALL": "C"},
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            errors="replace",
            check=False,
        )

    def _error(self, problem: str, done: subprocess.CompletedProcess[str]) -> StoreError:
        """Return the error for a program that failed: full disk, missing privilege, other version, or the program's text."""
        words = _stderr(done)
        if any(text in words for text in DISK_FULL):
            return DatabaseDiskFull(f"{problem}: the disk is full; make room and try again")
        denied = re.search(r"(permission denied (?:to|for) .*|must be (?:owner|able) .*)", words)
        if denied:
            return missing_privilege(self._url.description, self._variables.get("PGUSER"), DatabaseError(denied[1]))
        if "server version mismatch" in words:
            words += "; name the folder of newer programs with WEAVER_PG_BIN=DIR"
        return BackupError(f"{problem}: {words}") if "backup" in problem else DatabaseError(f"{problem}: {words}")


@contextlib.contextmanager
def open_client(url: str, programs: Programs, address: tuple[str, int]) -> Iterator[Client]:
    """Yield a client of your own server for the block, with a TLS tunnel where the programs have no TLS themselves.

    `address` is the host of the URL that the driver chose (see `check_server`); all programs use the same.
    """
    place = replace(DatabaseUrl.parse(url), hosts=(address,))
    over_tcp = not address[0].startswith("/") and place.parameters.get("sslmode") != "disable"
    if not over_tcp or _has_tls(programs):
        yield Client(place.text(), programs)
        return
    with tunnel(place, address) as socket:
        yield Client(place.text(), programs, socket=socket)


def _has_tls(programs: Programs) -> bool:
    """Ask psql for TLS on a socket that does not exist: without TLS it refuses the setting before it looks there."""
    done = subprocess.run(
        [programs.path("psql"), "-Xw", "-c", ""],
        env={"PGHOST": "/nonexistent", "PGSSLMODE": "require", "LC_ALL": "C"},
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        errors="replace",
        check=False,
    )
    return "not compiled in" not in done.stderr


def _environment(url: DatabaseUrl, socket: str | None) -> dict[str, str]:
    """Return the URL as the variables that PostgreSQL's programs read, completed as the driver completes it."""
    places = addresses(url) if socket is None else ((socket, 5432),)
    variables = {"PGCONNECT_TIMEOUT": "15"} | url.environment()
    if socket is not None:  # the tunnel does the TLS
        variables = {
            name: value for name, value in variables.items() if name != "PGCHANNELBINDING" and "SSL" not in name
        }
    variables["PGHOST"] = ",".join(host for host, _ in places)
    variables["PGPORT"] = ",".join(str(port) for _, port in places)
    if variables.get("PGSSLMODE") == "verify-full" and (certificate := root_certificate(url)) is not None:
        variables["PGSSLROOTCERT"] = certificate
    methods = login_methods(url)  # read by PostgreSQL's programs from version 16 on
    variables |= {} if methods is None else {"PGREQUIREAUTH": methods}
    peer = (
        variables.pop("PGREQUIREPEER", "") if socket is None else user_name(os.geteuid())
    )  # the tunnel is this process
    if peer and not peer.isdecimal():  # a user id without a name cannot be compared
        variables["PGREQUIREPEER"] = peer
    if not variables.get("PGUSER"):
        variables["PGUSER"] = system_user()
        variables.setdefault("PGDATABASE", variables["PGUSER"])
    return variables


def _file_error(problem: str, error: OSError) -> DatabaseError:
    if error.errno in (errno.ENOSPC, errno.EDQUOT):
        return DatabaseDiskFull(f"{problem}: the disk is full; make room and try again")
    return BackupError(f"{problem}: {error.strerror or error}")


def _stderr(done: subprocess.CompletedProcess[str]) -> str:
    return done.stderr.strip()[-1500:] or f"the program ended with {done.returncode}"


def _quoted(name: str) -> str:
    return '"' + name.replace('"', '""') + '"'


def _literal(text: str) -> str:
    return "'" + text.replace("'", "''") + "'"
