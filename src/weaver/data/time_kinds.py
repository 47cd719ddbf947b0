"""The kinds of times in a column: instants, wall-clock times without a zone, dates, and numbers of unclear unit."""

from __future__ import annotations

from dataclasses import dataclass
from enum import IntEnum, StrEnum

import numpy as np
from numpy.typing import NDArray

__all__ = ["Ambiguous", "Instants", "Kind", "Times"]

Instants = NDArray[np.int64]


class Kind(IntEnum):
    """The kind of one time: unreadable, an instant, a wall-clock time without a zone, a date, a number of unclear unit."""

    BAD = 0
    INSTANT = 1
    WALL = 2
    DATE = 3
    NUMBER = 4


class Ambiguous(StrEnum):
    """The meaning of a local time that occurs twice, when the clocks go back."""

    REFUSE = "refuse"
    EARLIER = "earlier"
    LATER = "later"
    INFER = "infer"


@dataclass(frozen=True, slots=True)
class Times:
    """One entry per row. `ns` is in UTC where the kind is INSTANT, else the wall clock read as if it were UTC."""

    ns: Instants
    kind: NDArray[np.uint8]
    undecided: bool = False
    """True where day and month cannot be told apart; the rows that say so are BAD."""
    only_instants: bool = False
    """True only if every row is an INSTANT. False says nothing: `kind` does."""

    def all_of(self, kind: Kind) -> bool:
        """Return whether every row is of this kind."""
        return bool((self.kind == kind).all())
