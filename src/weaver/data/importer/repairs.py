"""Repairs: the named ways in which a file may be mended, each only when it is asked for, each with its count.

Guarantees that no row is changed, moved or dropped by a repair that was not named.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np

from weaver.core.bars import Instants
from weaver.core.errors import ConfigError

__all__ = ["FIXES", "Fix", "Repair", "check_fixes"]


@dataclass(frozen=True, slots=True)
class Fix:
    """A repair that can be asked for: which findings it mends, and what it does."""

    codes: frozenset[str]
    does: str


FIXES: dict[str, Fix] = {
    "sort": Fix(frozenset({"order"}), "puts the rows in order of time"),
    "drop-duplicates": Fix(frozenset({"duplicate"}), "drops rows that repeat an earlier one in every value"),
    "keep-first": Fix(frozenset({"duplicate", "conflict"}), "keeps, of rows with the same time, the first one"),
    "keep-last": Fix(frozenset({"duplicate", "conflict"}), "keeps, of rows with the same time, the last one"),
    "strip-thousands": Fix(frozenset({"thousands"}), "reads 46,813.0 as 46813.0"),
    "zero-volume": Fix(frozenset({"volume"}), "sets a volume that is missing or below zero to 0"),
    "swap-high-low": Fix(frozenset({"swapped"}), "exchanges high and low where that makes a possible bar"),
    "drop-invalid": Fix(
        frozenset({"line", "value", "thousands", "time", "bar", "swapped", "volume", "grid", "session"}),
        "drops every line that is no possible bar",
    ),
}
"""In the order in which they are offered."""


@dataclass(frozen=True, slots=True)
class Repair:
    """What one fix did: to how many rows, and the first of their lines."""

    name: str
    count: int
    lines: tuple[int, ...]

    @classmethod
    def of(cls, name: str, lines: Instants) -> Repair:
        """The repair `name` of these lines."""
        return cls(name, len(lines), tuple(int(line) for line in np.sort(lines)[:10]))

    def __str__(self) -> str:
        listed = ", ".join(map(str, self.lines)) + (", ..." if self.count > len(self.lines) else "")
        return f"{self.name}: {self.count:,} row{'' if self.count == 1 else 's'}" + (
            f" (line {listed})" if self.count else ""
        )


def check_fixes(names: Iterable[str]) -> frozenset[str]:
    """The names as a set. Raises ConfigError for one that is no repair, and for two that contradict each other."""
    given = frozenset(names)
    for name in sorted(given - FIXES.keys()):
        raise ConfigError(f"--fix {name}: there is no such repair; there are {', '.join(FIXES)}")
    if {"keep-first", "keep-last"} <= given:
        raise ConfigError("--fix keep-first and --fix keep-last contradict each other; name one")
    return given
