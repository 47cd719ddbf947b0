"""Dump: a file of pg_dump, whose data are loaded into tables that our own migrations make.

pg_restore only turns the file into text: it runs without the address of a database, and its text is read by reader.py. So
nothing that the file's author wrote is executed, by the server or by a program here. Guarantees that a dump with anything
else than Weaver's tables is refused by name, unless the caller leaves it out. Does not protect from a fault in pg_restore
itself, which reads the file as this user.
"""

from __future__ import annotations

import asyncio
import os
import re
import subprocess
import tempfile
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path

from sqlalchemy.exc import IntegrityError

from weaver.core.errors import BackupError, StoreUnavailable
from weaver.core.text import brief
from weaver.walle.dump.contents import REVISION_TABLE, Contents, KnownTables
from weaver.walle.dump.load import check_rows, known_tables, load
from weaver.walle.dump.reader import DumpReader, TableData
from weaver.walle.migrate import upgrade
from weaver.walle.schema import REVISION

__all__ = ["Dump"]

_REVISION = re.compile(rb"((?!000)[0-9]{3})\n")
_LONGEST_REVISION = 100  # bytes
_MOST_NAMES = 40  # entries that an error lists
_LONGEST_TEXT = 120  # characters of one of them, or of a message of pg_restore, in an error


class Dump:
    """The dump `path`, read with the program `pg_restore`.

    `skip_unknown` leaves out what is not Weaver's, instead of refusing the dump.
    """

    def __init__(self, path: Path, pg_restore: Path, *, skip_unknown: bool = False) -> None:
        self._path = path.absolute()  # a name that begins with - is not taken for an option
        self._pg_restore = pg_restore
        self._skip_unknown = skip_unknown
        self._contents = Contents.parse(self._listing())
        self._revision = self._read_revision()

    @property
    def privileges(self) -> list[str]:
        """The entries of the dump that grant privileges. They are not restored."""
        return self._contents.privileges()

    def load(self, url: str) -> None:
        """Make Weaver's tables in the empty database at `url`, load the data into them, and bring them up to date.

        Raises BackupError for anything that is not Weaver's, and for rows that the tables of this version refuse.
        """
        if self._revision is None:
            self._refuse(self._contents.unknown(KnownTables.none().entries()))
            return
        upgrade(url, self._revision)
        asyncio.run(self._load(url))
        try:
            upgrade(url)
        except StoreUnavailable as error:
            if isinstance(error.__cause__, IntegrityError):
                raise BackupError(f"its rows do not fit the tables of this version: {error}") from error
            raise
        asyncio.run(check_rows(url))

    async def _load(self, url: str) -> None:
        known = await known_tables(url)
        entries = known.entries()
        self._refuse(self._contents.unknown(entries))
        with tempfile.NamedTemporaryFile("w", suffix=".list") as selection:
            selection.write(self._contents.selection(entries))
            selection.flush()
            with self._text("-L", selection.name) as text:
                await load(url, known, text)

    def _listing(self) -> str:
        done = subprocess.run(
            [self._pg_restore, "-Fc", "-l", self._path],
            env=_environment(),
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            errors="replace",
            check=False,
        )
        if done.returncode:
            raise _unreadable(done.stderr)
        return done.stdout

    def _read_revision(self) -> str | None:
        """Return the revision of the tables in the dump; None where it has no tables of Weaver's."""
        if not self._contents.has_revision:
            return None
        rows: list[bytes] = []
        with self._text("-n", "public", "-t", REVISION_TABLE) as text:
            for section in text:
                if not isinstance(section, TableData) or section.table != REVISION_TABLE:
                    raise BackupError("it has other data in the table of the revision")
                for part in section.rows:
                    rows.append(part)
                    if sum(map(len, rows)) > _LONGEST_REVISION:
                        raise BackupError("it has more than one revision")
        content = b"".join(rows)
        if not content:
            return None
        match = _REVISION.fullmatch(content)
        if match is None:
            raise BackupError(f"it names the revision {brief(content[:40])}, which no version of Weaver has")
        revision = match[1].decode()
        if revision > REVISION:
            raise BackupError(
                f"it has tables of revision {revision}, from a newer version of Weaver than this one, which knows "
                f"{REVISION}; restore it with that version"
            )
        return revision

    def _refuse(self, unknown: Iterable[str]) -> None:
        """Raise BackupError with the names of the entries in `unknown`, unless they are left out."""
        names = [] if self._skip_unknown else list(unknown)
        if names:
            shown = ", ".join(_cut(name) for name in names[:_MOST_NAMES])
            more = f", and {len(names) - _MOST_NAMES} more" if len(names) > _MOST_NAMES else ""
            raise BackupError(
                f"it has {len(names)} thing{'s' * (len(names) > 1)} that Weaver did not make: {shown}{more}. If you did not "
                f"add them to your database yourself, do not trust this file; --skip-unknown restores Weaver's tables alone"
            )

    @contextmanager
    def _text(self, *arguments: str) -> Iterator[DumpReader]:
        """Yield a reader of the dump's data as text, which must be read to its end."""
        with tempfile.TemporaryFile() as messages:
            program = subprocess.Popen(
                [self._pg_restore, "-Fc", "--data-only", "--no-owner", *arguments, "-f", "-", self._path],
                env=_environment(),
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=messages,
            )
            assert program.stdout is not None
            with program.stdout as text:
                try:
                    yield DumpReader(text)
                except BaseException:
                    program.kill()
                    program.wait()
                    raise
            if program.wait():
                messages.seek(0)
                raise _unreadable(messages.read().decode(errors="replace"))


def _unreadable(message: str) -> BackupError:
    advice = "; name the folder of newer programs with WEAVER_PG_BIN=DIR" if "unsupported version" in message else ""
    return BackupError(f"pg_restore cannot read it, it is not a backup or a part is missing: {_cut(message)}{advice}")


def _environment() -> dict[str, str]:
    """Return the environment of pg_restore, without the address and the password of a database."""
    kept = ("PATH", "LD_LIBRARY_PATH", "DYLD_LIBRARY_PATH", "LD_PRELOAD", "TMPDIR")
    return {name: os.environ[name] for name in kept if name in os.environ} | {"LC_ALL": "C"}


def _cut(text: str) -> str:
    text = text.strip()
    return text if len(text) <= _LONGEST_TEXT else f"{text[:_LONGEST_TEXT]}..."
