"""CheckReport: the findings of one check, as values and as text. It is immutable and holds no bars."""

from __future__ import annotations

import dataclasses
import warnings
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum
from typing import Any

from weaver.core.jsonable import jsonable
from weaver.core.text import visible

__all__ = ["CheckReport", "FindingKind", "LookaheadFinding", "Lookback"]


class FindingKind(StrEnum):
    """The kind of a finding."""

    LOOK_AHEAD = "look-ahead"
    """A decision or an indicator value depends on later bars."""
    NOT_REPEATABLE = "not repeatable"
    """Two runs on the same bars differ: an unseeded random number, a clock, a file."""
    NOT_RESTARTABLE = "not restartable"
    """Two runs in one process differ because the first changed state outside `self`."""
    FAILS = "fails"
    """The strategy raises on fewer or other bars, but not on all of them."""


@dataclass(frozen=True, slots=True, kw_only=True)
class LookaheadFinding:
    """One finding.

    `bar` counts from 0 in the bars of `symbol` (with `timeframe`: in its longer bars); `instant` is the start of that bar,
    an aware UTC datetime. Both are None where the finding concerns no single bar.
    """

    kind: FindingKind
    text: str
    bar: int | None = None
    instant: datetime | None = None
    symbol: str | None = None
    timeframe: str | None = None
    indicator: str | None = None

    def __str__(self) -> str:
        return visible(self.text)


@dataclass(frozen=True, slots=True, kw_only=True)
class Lookback:
    """The number of bars that an indicator's value depends on: `bars` of them give the same value within 1e-9.

    `bars` is None where only all bars do: the indicator depends on all past bars, or on more bars than there are. `short`
    is true where it needs more bars than `lookback=` allows a live run.
    """

    indicator: str
    bars: int | None
    short: bool
    symbol: str | None = None
    """None in a run with one symbol."""

    def __str__(self) -> str:
        of = f" of {self.symbol}" if self.symbol is not None else ""
        needs = "all of these, or more" if self.bars is None else f"{self.bars:,} bar{'s' if self.bars != 1 else ''}"
        return visible(f"{self.indicator}{of}: {needs}")


@dataclass(frozen=True, slots=True, kw_only=True)
class CheckReport:
    """The outcome of `weaver.check`.

    `bars` counts the bar ends of the run (bars of several symbols that end together count once). `cuts` counts those after
    which the future was removed and scrambled; `edges` of them are edges of missing values and `sample` were drawn with
    `sample_seed`. `cuts` is less than `cuts_planned` where the check ended early because nothing was left to find. `runs`
    is the number of runs of the strategy. `lookbacks` has one entry per indicator; `lookback` is the argument of `check`.
    `notes` are remarks that are not findings.
    """

    strategy: str
    params: Mapping[str, Any]
    symbols: tuple[str, ...]
    timeframe: str
    first: datetime
    last: datetime
    bars: int
    cuts: int
    cuts_planned: int
    cuts_possible: int
    edges: int
    edges_found: int
    sample: int
    sample_seed: int
    runs: int
    orders: int
    fills: int
    indicators: int
    restarts: int
    findings: tuple[LookaheadFinding, ...] = ()
    lookbacks: tuple[Lookback, ...] = ()
    lookback: int | None = None
    notes: tuple[str, ...] = field(default=())

    @property
    def ok(self) -> bool:
        """Whether there are no findings."""
        return not self.findings

    @property
    def passed(self) -> bool:
        """The same as `ok`."""
        return self.ok

    @property
    def judged(self) -> bool:
        """Whether the strategy gave an order or created an indicator that the check could judge."""
        return bool(self.orders or self.indicators)

    @property
    def proved(self) -> bool:
        """Whether there are no findings, every bar was cut, and there was something to judge.

        Then no decision on these bars uses the future.
        """
        return self.ok and self.judged and self.cuts == self.cuts_possible

    @property
    def verdict(self) -> str:
        """One sentence, or one for each finding."""
        if self.findings:
            return "\n".join(visible(f"{_WORD[finding.kind]}: {finding.text}") for finding in self.findings)
        if not self.judged:
            return "nothing to judge: the strategy gave no order and created no indicator on these bars"
        if self.proved:
            return f"proved: on these {self.bars:,} bars no decision uses the future"
        return (
            f"nothing found, but this is no proof: {self._tried()}; with fewer bars or more --cuts all of them are cut"
        )

    def _tried(self) -> str:
        if not self.cuts and self.cuts_possible:
            return "no bar was cut, because nothing could be judged"
        if self.cuts < self.cuts_planned:
            return f"{self.cuts:,} of {self.cuts_possible:,} bars were cut, then nothing was left to find"
        if self.cuts == self.cuts_possible:
            return f"all {self.cuts:,} bars before the last were cut"
        edges = f"{self.edges:,}" if self.edges == self.edges_found else f"{self.edges:,} of {self.edges_found:,}"
        return (
            f"{self.cuts:,} of {self.cuts_possible:,} bars were cut: {edges} edges of missing values "
            f"and a sample of {self.sample:,} (seed {self.sample_seed})"
        )

    def summary(self) -> str:
        """Return the report as text; the verdict is last."""
        params = ", ".join(f"{name}={value}" for name, value in self.params.items())
        on = f"{self.bars:,} bars of {self.timeframe}, {self.first:%Y-%m-%d} to {self.last:%Y-%m-%d}"
        gave = f"{self.orders:,} order commands and {self.fills:,} fills"
        lines = [
            visible(f"{self.strategy}({params}) on {', '.join(self.symbols)}: {on}"),
            f"look-ahead: {self._tried()}; at each, later bars were removed, then scrambled",
            f"runs: {self.runs:,}, {self.restarts} of them restarts; the first gave {gave}",
        ]
        if self.lookbacks:
            lines.append("lookback: bars that an indicator's value depends on (within 1e-9)")
            lines += [f"  {lookback}" for lookback in self.lookbacks]
            short = list(dict.fromkeys(lookback.indicator for lookback in self.lookbacks if lookback.short))
            if short:
                limit = f"the {self.lookback:,} bars of --lookback" if self.lookback else "these bars"
                names = visible(", ".join(short))
                lines.append(f"  more than {limit}: {names}; a run that starts later gets other values")
        lines += [visible(f"note: {note}") for note in self.notes]
        return "\n".join([*lines, self.verdict])

    def __str__(self) -> str:
        return self.summary()

    @property
    def memory(self) -> tuple[Lookback, ...]:
        """The old name of `lookbacks`."""
        _warn_renamed("memory", "lookbacks")
        return self.lookbacks

    @property
    def history(self) -> int | None:
        """The old name of `lookback`."""
        _warn_renamed("history", "lookback")
        return self.lookback

    @property
    def seed(self) -> int:
        """The old name of `sample_seed`."""
        _warn_renamed("seed", "sample_seed")
        return self.sample_seed

    def to_dict(self) -> dict[str, Any]:
        """Return the report as values that JSON can hold; instants are ISO 8601 in UTC."""
        values = {field.name: getattr(self, field.name) for field in dataclasses.fields(self)}
        values["findings"] = [dataclasses.asdict(finding) for finding in self.findings]
        values["lookbacks"] = [dataclasses.asdict(lookback) for lookback in self.lookbacks]
        values |= {"ok": self.ok, "proved": self.proved, "verdict": self.verdict, "symbols": list(self.symbols)}
        values |= {"notes": list(self.notes), "params": dict(self.params)}
        return dict(jsonable(values))


_WORD = {
    FindingKind.LOOK_AHEAD: "cheats",
    FindingKind.NOT_REPEATABLE: "not repeatable",
    FindingKind.NOT_RESTARTABLE: "not restartable",
    FindingKind.FAILS: "fails",
}


def _warn_renamed(old: str, new: str) -> None:
    warnings.warn(f"CheckReport.{old} is now CheckReport.{new}", DeprecationWarning, stacklevel=3)
