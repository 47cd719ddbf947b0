"""Findings in a file, by line, value and reason, and the refusal that lists them with the ways out.

A finding covers many lines and words only those that are shown, so that a million bad lines cost no more than ten.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

import numpy as np

from weaver.core.bars import Instants
from weaver.core.errors import BarsRefused
from weaver.data.bar_checks import ROUNDING_ADVICE
from weaver.data.importer.finding_code import FindingCode
from weaver.data.importer.repairs import FIXES

__all__ = ["SHOWN", "FileFinding", "FileRefusal", "FindingCode", "refuse"]

SHOWN = 10
"""How many lines a refusal lists; it always counts all of them."""

_ADVICE = {
    FindingCode.NAIVE: "say which zone the times are in: --tz America/New_York, or --tz UTC",
    FindingCode.AMBIGUOUS: "say which of the two hours is meant: --ambiguous earlier, later or infer (by line order)",
    FindingCode.UNDECIDED: "say which comes first: --dates day-first or month-first",
    FindingCode.DECIMAL: "say which sign is the decimal one: --decimal comma or point",
    FindingCode.UNIT: "if they are times, say their unit: --time-unit s, ms, us, ns, excel or matlab",
    FindingCode.GRID: "if they follow the sessions of an exchange, name it: --calendar XNYS",
    FindingCode.ROUNDING: ROUNDING_ADVICE,
}


@dataclass(frozen=True, slots=True)
class FileFinding:
    """One kind of fault. `lines` are its line numbers in rising order, `describe(k)` words the k-th of them."""

    code: FindingCode
    lines: Instants
    describe: Callable[[int], str]


class FileRefusal(BarsRefused):
    """A file is refused. `summary` is the first line of the message, `listing` the shown faults, `ways` the ways out.

    `codes` are the kinds of its findings, `lines` every line number with one. `total` counts all lines of the file,
    `headers` those without a finding that are no bars.
    """

    def __init__(self, file: str, unit: str, findings: Sequence[FileFinding], total: int, headers: int) -> None:
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
        shown_lines = {line for line, _, _ in shown[:SHOWN]}
        self.listing = [f"{unit} {line}: {text}" for line, _, text in shown[:SHOWN]]
        if count > len(shown_lines):
            self.listing.append(
                f"and {count - len(shown_lines):,} further {unit}{'' if count - len(shown_lines) == 1 else 's'}"
            )
        self.ways = _ways(findings, total - headers)
        super().__init__("\n  ".join([self.summary, *self.listing, *self.ways]))


def refuse(file: str, unit: str, findings: Iterable[FileFinding], total: int, headers: int = 0) -> None:
    """Raise the refusal of a file with findings; do nothing without one."""
    remaining = [finding for finding in findings if len(finding.lines)]
    if remaining:
        raise FileRefusal(file, unit, remaining, total, headers)


def _ways(findings: Sequence[FileFinding], rows: int) -> list[str]:
    codes = list(dict.fromkeys(finding.code for finding in findings))
    ways = [_ADVICE[code] for code in codes if code in _ADVICE]
    for name, fix in FIXES.items():
        removed = [finding.lines for finding in findings if finding.code in fix.codes]
        if removed and not (name == "drop-invalid" and _loses_good_bars(findings, removed, rows)):
            ways.append(f"--fix {name} {fix.does}")
    return ways or ["correct the file"]


def _loses_good_bars(findings: Sequence[FileFinding], removed: Sequence[Instants], rows: int) -> bool:
    """Return whether dropping these lines leaves nothing, or most lines are wrong in a way that good bars are as well.

    Where most bars are off the grid, the timeframe or the calendar is wrong and not the bars.
    """
    off_grid = [f.lines for f in findings if f.code in (FindingCode.GRID, FindingCode.SESSION)]
    if off_grid and 2 * len(np.unique(np.concatenate(off_grid))) > rows:
        return True
    return len(np.unique(np.concatenate(removed))) >= rows
