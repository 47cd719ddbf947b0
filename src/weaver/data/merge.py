"""Merge new bars into stored ones, so that importing the same bars again changes nothing.

Guarantees that two different values of one bar are refused unless the caller says which one stays.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

import numpy as np
import polars as pl

from weaver.core.errors import DataError

__all__ = ["Conflict", "Merge", "merge_bars"]

_SHOWN = 5


class Conflict(StrEnum):
    """The action for a bar that is stored already with other values."""

    REFUSE = "refuse"
    KEEP_OLD = "keep-old"
    TAKE_NEW = "take-new"


@dataclass(frozen=True, slots=True)
class Merge:
    """Counts of a merge: bars before, added, identical in both, replaced by new values, kept against new values."""

    before: int
    added: int
    identical: int
    replaced: int
    kept: int

    @property
    def after(self) -> int:
        """Return the number of bars in the result."""
        return self.before + self.added

    @property
    def changes(self) -> bool:
        """Return whether the result differs from the stored bars."""
        return bool(self.added or self.replaced)

    @property
    def overlap(self) -> str:
        """Return a sentence about the bars that were in both."""
        parts = [f"{self.identical:,} bars were there already with the same values"] if self.identical else []
        parts += [f"{self.replaced:,} replaced by new values"] if self.replaced else []
        parts += [f"{self.kept:,} kept against new values"] if self.kept else []
        return ", ".join(parts) or "no bar was there before"


def merge_bars(old: pl.DataFrame, new: pl.DataFrame, on_conflict: Conflict, *, what: str) -> tuple[pl.DataFrame, Merge]:
    """Return both frames as one, in order of time, each time once. Both have rising timestamps; extra columns unite.

    A value that one side lacks (an extra column) is filled from the other. Raises DataError for different values of one
    bar unless `on_conflict` says which stays; `what` names the two sides.
    """
    stamps_old, stamps_new = old["timestamp"], new["timestamp"]
    shared_old, shared_new = stamps_old.is_in(stamps_new.implode()), stamps_new.is_in(stamps_old.implode())
    ours, theirs = old.filter(shared_old), new.filter(shared_new)
    names = [
        name
        for name in (*old.columns, *(name for name in new.columns if name not in old.columns))
        if name != "timestamp"
    ]
    differs = np.zeros(ours.height, dtype=np.bool_)
    both = [name for name in names if name in ours.columns and name in theirs.columns]
    for name in both:
        a, b = ours[name].to_numpy(), theirs[name].to_numpy()
        differs |= (a != b) & ~np.isnan(a) & ~np.isnan(b)
    conflicts = np.flatnonzero(differs)
    if len(conflicts) and on_conflict is Conflict.REFUSE:
        raise DataError(_conflict_text(ours, theirs, conflicts, both, what))
    first, second = (theirs, ours) if on_conflict is Conflict.TAKE_NEW else (ours, theirs)
    united = ours.select("timestamp").with_columns(_united(name, first, second) for name in names)
    parts = [old.filter(~shared_old), united, new.filter(~shared_new)]
    result = pl.concat([_complete(part, names) for part in parts]).sort("timestamp")
    changed = len(conflicts) if on_conflict is Conflict.TAKE_NEW else 0
    gained = 0
    for name in names:
        mine = ours[name].to_numpy() if name in ours.columns else np.full(ours.height, np.nan)
        gained += int((np.isnan(mine) & ~np.isnan(united[name].to_numpy())).sum())
    merge = Merge(
        before=old.height,
        added=new.height - theirs.height,
        identical=ours.height - len(conflicts) - min(gained, ours.height - len(conflicts)),
        replaced=changed + min(gained, ours.height - len(conflicts)),
        kept=len(conflicts) - changed,
    )
    return result, merge


def _united(name: str, first: pl.DataFrame, second: pl.DataFrame) -> pl.Series:
    if name not in second.columns:
        return first[name]
    if name not in first.columns:
        return second[name]
    a, b = first[name].to_numpy(), second[name].to_numpy()
    return pl.Series(name, np.where(np.isnan(a), b, a))


def _complete(part: pl.DataFrame, names: list[str]) -> pl.DataFrame:
    lacking = [pl.lit(float("nan")).alias(name) for name in names if name not in part.columns]
    return part.with_columns(lacking).select("timestamp", *names)


def _conflict_text(ours: pl.DataFrame, theirs: pl.DataFrame, rows: np.ndarray, names: list[str], what: str) -> str:
    lines = []
    for row in rows[:_SHOWN]:
        other = [
            f"{name} {theirs[name][int(row)]!r}, there {ours[name][int(row)]!r}"
            for name in names
            if theirs[name][int(row)] != ours[name][int(row)]
        ]
        lines.append(f"{ours['timestamp'][int(row)]:%Y-%m-%dT%H:%M:%SZ}: {'; '.join(other[:3])}")
    more = [f"and {len(rows) - _SHOWN:,} further bars"] if len(rows) > _SHOWN else []
    count = f"{len(rows):,} bars are" if len(rows) > 1 else "1 bar is"
    head = f"{what}: refused, since {count} there already with other values"
    return "\n  ".join([head, *lines, *more, "say which ones stay: --on-conflict keep-old or take-new"])
