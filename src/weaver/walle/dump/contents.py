"""Contents: the list of a dump's entries, as `pg_restore -l` prints it, compared with the tables of Weaver.

Guarantees that an entry which is not part of Weaver's tables is found and named. Nothing depends on it for safety: the list
comes from the dump's author, and the load takes data of known tables only, whatever the list says (see reader.py).
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass

__all__ = ["REVISION_TABLE", "Contents", "KnownTables"]

REVISION_TABLE = "alembic_version"
_SCHEMA = "public"
_LEFT_OUT = ("ACL ", "DEFAULT ACL ", "COMMENT ", "SECURITY LABEL ", "STATISTICS DATA ", f"SCHEMA - {_SCHEMA} ")
"""Entries that every dump may have and that change no data: they are neither restored nor refused."""


@dataclass(frozen=True, slots=True, kw_only=True)
class KnownTables:
    """The tables of one revision, as our own migrations made them, in the schema `public`."""

    columns: Mapping[str, tuple[str, ...]]
    """Columns by table, without the table of the revision."""
    sequences: Mapping[str, tuple[str, str]]
    """Table and column by the name of the sequence that numbers its rows."""
    others: frozenset[str]
    """Indexes and constraints as the list names them: `INDEX public NAME`, `CONSTRAINT public TABLE NAME`."""

    @classmethod
    def none(cls) -> KnownTables:
        """Return the tables of a database in which no migration was run."""
        return cls(columns={}, sequences={}, others=frozenset())

    def entries(self) -> frozenset[str]:
        """Return the beginnings of all lines that the list of a dump of these tables may have."""
        tables = [f"{kind} {_SCHEMA} {name}" for name in self.columns for kind in ("TABLE", "TABLE DATA")]
        sequences = [f"{kind} {_SCHEMA} {name}" for name in self.sequences for kind in ("SEQUENCE", "SEQUENCE SET")]
        return frozenset([*tables, *sequences]) | self.others | _REVISION_ENTRIES


_REVISION_ENTRIES = frozenset(
    [
        f"TABLE {_SCHEMA} {REVISION_TABLE}",
        f"TABLE DATA {_SCHEMA} {REVISION_TABLE}",
        f"CONSTRAINT {_SCHEMA} {REVISION_TABLE} {REVISION_TABLE}_pkc",
    ]
)


@dataclass(frozen=True, slots=True)
class Contents:
    """The entries of a dump: lines `NUMBER; CLASS OBJECT KIND SCHEMA NAME OWNER`."""

    entries: tuple[tuple[str, str], ...]
    """The number of each entry, and the text from its kind on."""

    @classmethod
    def parse(cls, listing: str) -> Contents:
        """Return the entries of the output of `pg_restore -l`."""
        return cls(tuple(_entries(listing.splitlines())))

    @property
    def has_revision(self) -> bool:
        """True if the dump has the table that names the revision of Weaver's tables."""
        return any(_begins_with(text, [f"TABLE DATA {_SCHEMA} {REVISION_TABLE}"]) for _, text in self.entries)

    def unknown(self, known: frozenset[str]) -> Iterator[str]:
        """Yield the entries that are neither `known` nor left out of every restore."""
        for _, text in self.entries:
            if not text.startswith(_LEFT_OUT) and not _begins_with(text, known):
                yield text

    def privileges(self) -> list[str]:
        """Return the entries that grant privileges, which a restore leaves out."""
        return [text for _, text in self.entries if text.startswith(("ACL ", "DEFAULT ACL "))]

    def selection(self, known: frozenset[str]) -> str:
        """Return the list for `pg_restore -L` that selects the data of known tables and sequences only."""
        kinds = ("TABLE DATA ", "SEQUENCE SET ")
        wanted = [name for name in known if name.startswith(kinds) and not name.endswith(f" {REVISION_TABLE}")]
        return "".join(f"{number};\n" for number, text in self.entries if _begins_with(text, wanted))


def _entries(lines: Iterable[str]) -> Iterator[tuple[str, str]]:
    for line in lines:
        number, separator, rest = line.partition("; ")
        if separator and number.isdecimal():
            yield number, rest.split(" ", 2)[-1]


def _begins_with(text: str, names: Iterable[str]) -> bool:
    """Return whether the entry is one of `names`; the owner's name follows there."""
    return any(text == name or text.startswith(f"{name} ") for name in names)
