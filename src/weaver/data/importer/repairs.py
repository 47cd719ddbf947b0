"""Repairs of a file, each done only where its name is fixes, and counted.

Guarantees that no row is changed, moved or dropped by a repair that was not named.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np

from weaver.core.bars import Instants
from weaver.core.errors import ConfigError
from weaver.data.importer.finding_code import FindingCode

__all__ = ["FIXES", "Fix", "Repair", "check_fixes"]


@dataclass(frozen=True, slots=True)
class Fix:
    """A repair: the kinds of findings that it removes, and a description that continues its name."""

    codes: frozenset[FindingCode]
    does: str


_REPEATED = frozenset({FindingCode.DUPLICATE, FindingCode.CONFLICT})
_INVALID = frozenset(
    {
        FindingCode.LINE,
        FindingCode.VALUE,
        FindingCode.THOUSANDS,
        FindingCode.TIME,
        FindingCode.BAR,
        FindingCode.SWAPPED,
        FindingCode.VOLUME,
        FindingCode.GRID,
        FindingCode.SESSION,
    }
)
FIXES: dict[str, Fix] = {
    "sort": Fix(frozenset({FindingCode.ORDER}), "puts the rows in order of time"),
    "drop-duplicates": Fix(frozenset({FindingCode.DUPLICATE}), "drops rows that repeat an earlier one in every value"),
    "keep-first": Fix(_REPEATED, "keeps, of rows with the same time, the first one"),
    "keep-last": Fix(_REPEATED, "keeps, of rows with the same time, the last one"),
    "strip-thousands": Fix(frozenset({FindingCode.THOUSANDS}), "reads 46,813.0 as 46813.0"),
    "zero-volume": Fix(frozenset({FindingCode.VOLUME}), "sets a volume that is missing or below zero to 0"),
    "swap-high-low": Fix(frozenset({FindingCode.SWAPPED}), "exchanges high and low where that makes a possible bar"),
    "drop-invalid": Fix(_INVALID, "drops every line that cannot be a bar"),
}
"""In the order in which they are offered."""


@dataclass(frozen=True, slots=True)
class Repair:
    """A repair that was done: its name, the number of rows and the first of their lines."""

    name: str
    count: int
    lines: tuple[int, ...]

    @classmethod
    def of(cls, name: str, lines: Instants) -> Repair:
        """Return the repair `name` of these lines."""
        return cls(name, len(lines), tuple(int(line) for line in np.sort(lines)[:10]))

    def __str__(self) -> str:
        listed = ", ".join(map(str, self.lines)) + (", ..." if self.count > len(self.lines) else "")
        return f"{self.name}: {self.count:,} row{'' if self.count == 1 else 's'}" + (
            f" (line {listed})" if self.count else ""
        )


def check_fixes(names: Iterable[str]) -> frozenset[str]:
    """Return the names as a set. Raises ConfigError for an unknown repair and for two that contradict each other."""
    fixes = frozenset(names)
    for name in sorted(fixes - FIXES.keys()):
        raise ConfigError(f"--fix {name}: unknown repair; the repairs are {', '.join(FIXES)}")
    if {"keep-first", "keep-last"} <= fixes:
        raise ConfigError("--fix keep-first and --fix keep-last contradict each other; name one")
    return fixes
