"""Findings: what is wrong with a file, by line, value and reason, and the refusal that lists it with the ways out.

A finding covers many lines and words only those that are shown, so that a million bad lines cost no more than ten.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

import numpy as np

from weaver.core.bars import Instants
from weaver.core.errors import BarsRefused
from weaver.data.importer.repairs import FIXES

__all__ = ["SHOWN", "FileFinding", "Refusal", "refuse"]

SHOWN = 10
"""How many lines a refusal lists; it always counts all of them."""

_ADVICE = {
    "naive": "say which zone the times are in: --tz America/New_York, or --tz UTC",
    "ambiguous": "say which of the two hours is meant: --ambiguous earlier, later or infer (by the order of the lines)",
    "undecided": "say which comes first: --dates day-first or month-first",
    "decimal": "say which sign is the decimal one: --decimal comma or point",
    "unit": "if they are times, say their unit: --time-unit s, ms, us, ns, excel or matlab",
    "grid": "if they follow the sessions of an exchange, name it: --calendar XNYS",
}


@dataclass(frozen=True, slots=True)
class FileFinding:
    """One kind of fault. `lines` are its line numbers in rising order, `describe(k)` words the k-th of them."""

    code: str
    lines: Instants
    describe: Callable[[int], str]


class Refusal(BarsRefused):
    """A file that was not understood. `summary` is its first line; `lines` holds every line number that is at fault."""

    def __init__(self, file: str, unit: str, findings: Sequence[FileFinding], total: int) -> None:
        self.file = file
        self.unit = unit
        self.codes = tuple(dict.fromkeys(finding.code for finding in findings))
        self.lines: tuple[int, ...] = tuple(
            int(line) for line in np.unique(np.concatenate([f.lines for f in findings]))
        )
        count = len(self.lines)
        self.summary = f"{file}: refused, since {count:,} of {total:,} {unit}s {'is' if count == 1 else 'are'} wrong"
        shown = sorted(
            (int(finding.lines[k]), order, finding.describe(k))
            for order, finding in enumerate(findings)
            for k in range(min(SHOWN, len(finding.lines)))
        )
        told = {line for line, _, _ in shown[:SHOWN]}
        self.listing = [f"{unit} {line}: {text}" for line, _, text in shown[:SHOWN]]
        if count > len(told):
            self.listing.append(f"and {count - len(told):,} further {unit}{'' if count - len(told) == 1 else 's'}")
        self.ways = _ways(self.codes)
        super().__init__("\n  ".join([self.summary, *self.listing, *self.ways]))


def refuse(file: str, unit: str, findings: Iterable[FileFinding], total: int) -> None:
    """Raises the refusal of a file, where there is anything to refuse."""
    there = [finding for finding in findings if len(finding.lines)]
    if there:
        raise Refusal(file, unit, there, total)


def _ways(codes: Sequence[str]) -> list[str]:
    ways = [_ADVICE[code] for code in codes if code in _ADVICE]
    for name, fix in FIXES.items():
        if any(code in fix.codes for code in codes):
            ways.append(f"--fix {name} {fix.does}")
    return ways or ["mend the file"]
