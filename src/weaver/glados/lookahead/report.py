"""Check report: what a check has found, as values and in words. It holds no bars and never changes."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum
from typing import Any

__all__ = ["CheckReport", "FindingKind", "LookaheadFinding", "Lookback"]


class FindingKind(StrEnum):
    """What is wrong."""

    LOOK_AHEAD = "look-ahead"
    """Something up to a bar depends on what comes after it."""
    NOT_REPEATABLE = "not repeatable"
    """Two runs on the same bars differ, and nobody knows why: an unseeded random number, a clock, a file."""
    NOT_RESTARTABLE = "not restartable"
    """Two runs in one process differ, because the first left something behind outside `self`."""
    FAILS = "fails"
    """It raises on fewer or other bars, where it does not on all of them."""


@dataclass(frozen=True, slots=True, kw_only=True)
class LookaheadFinding:
    """One thing that is wrong. `bar` counts from 0 in the bars of `symbol` (or, `timeframe` given, in its longer bars);
    `instant` is that bar's start, an aware UTC datetime. Both are None where it is no one bar's doing."""

    kind: FindingKind
    text: str
    bar: int | None = None
    instant: datetime | None = None
    symbol: str | None = None
    timeframe: str | None = None
    indicator: str | None = None

    def __str__(self) -> str:
        return self.text


@dataclass(frozen=True, slots=True, kw_only=True)
class Lookback:
    """How much history an indicator's value needs: `bars` of it give the same within 1e-9, with all before left out.

    `bars` is None where no shorter history does: it remembers for ever, or longer than there are bars. `short` says that
    it is more than the history that was given.
    """

    indicator: str
    bars: int | None
    short: bool
    symbol: str | None = None
    """Only where the run has several."""

    def __str__(self) -> str:
        of = f" of {self.symbol}" if self.symbol is not None else ""
        needs = "all of these, or more" if self.bars is None else f"{self.bars:,} bar{'s' if self.bars != 1 else ''}"
        return f"{self.indicator}{of}: {needs}"


@dataclass(frozen=True, slots=True, kw_only=True)
class CheckReport:
    """The outcome of `weaver.check`.

    `bars` counts the bar ends of the run (bars of several symbols that end together count once), `cuts` those after which
    the future was cut off and scrambled, of which `edges` are edges of missing values and `sample` were drawn by `seed`.
    `cuts` is less than `cuts_planned` where everything was found before. `runs` is how often the strategy ran. `notes` are
    remarks that are no findings.
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
    seed: int
    runs: int
    orders: int
    fills: int
    restarts: int
    findings: tuple[LookaheadFinding, ...] = ()
    memory: tuple[Lookback, ...] = ()
    history: int | None = None
    notes: tuple[str, ...] = field(default=())

    @property
    def ok(self) -> bool:
        """Whether nothing was found."""
        return not self.findings

    @property
    def passed(self) -> bool:
        """The same as `ok`."""
        return self.ok

    @property
    def proved(self) -> bool:
        """Whether nothing was found and every bar was cut: then no decision on these bars uses the future."""
        return self.ok and self.cuts == self.cuts_possible

    @property
    def verdict(self) -> str:
        """One sentence, or one for each finding."""
        if self.findings:
            return "\n".join(f"{_WORD[finding.kind]}: {finding.text}" for finding in self.findings)
        if self.proved:
            return f"proved: on these {self.bars:,} bars no decision uses the future"
        return (
            f"nothing found, but this is no proof: {self._tried()}; with fewer bars, or more cuts, all of them are cut"
        )

    def _tried(self) -> str:
        if not self.cuts and self.cuts_possible:
            return "no bar was cut, for nothing could be judged"
        if self.cuts < self.cuts_planned:
            return f"{self.cuts:,} of {self.cuts_possible:,} bars were cut, then there was nothing left to find"
        if self.cuts == self.cuts_possible:
            return f"all {self.cuts:,} bars before the last were cut"
        edges = f"{self.edges:,}" if self.edges == self.edges_found else f"{self.edges:,} of {self.edges_found:,}"
        return (
            f"{self.cuts:,} of {self.cuts_possible:,} bars were cut: {edges} edges of missing values "
            f"and a sample of {self.sample:,} (seed {self.seed})"
        )

    def summary(self) -> str:
        """The report as text, the verdict last."""
        params = ", ".join(f"{name}={value}" for name, value in self.params.items())
        on = f"{self.bars:,} bars of {self.timeframe}, {self.first:%Y-%m-%d} to {self.last:%Y-%m-%d}"
        gave = f"{self.orders:,} order commands and {self.fills:,} fills"
        lines = [
            f"{self.strategy}({params}) on {', '.join(self.symbols)}: {on}",
            f"look-ahead: {self._tried()}; the future was once removed and once scrambled",
            f"runs: {self.runs:,}, {self.restarts} of them restarts; the first gave {gave}",
        ]
        if self.memory:
            lines.append("memory: how many bars an indicator's value needs (within 1e-9)")
            lines += [f"  {one}" for one in self.memory]
            short = list(dict.fromkeys(one.indicator for one in self.memory if one.short))
            if short:
                given = f"the {self.history:,} bars of history given" if self.history else "the bars given"
                lines.append(
                    f"  longer than {given}: {', '.join(short)}; started later, a run has other values of them"
                )
        lines += [f"note: {note}" for note in self.notes]
        return "\n".join([*lines, self.verdict])

    def __str__(self) -> str:
        return self.summary()

    def to_dict(self) -> dict[str, Any]:
        """Everything, as plain values that JSON can hold; instants are ISO 8601 in UTC."""
        values = {one.name: getattr(self, one.name) for one in dataclasses.fields(self)}
        values["findings"] = [_plain(dataclasses.asdict(one)) for one in self.findings]
        values["memory"] = [dataclasses.asdict(one) for one in self.memory]
        values |= {"ok": self.ok, "proved": self.proved, "verdict": self.verdict, "symbols": list(self.symbols)}
        values |= {"notes": list(self.notes), "params": _plain(dict(self.params))}
        return _plain(values)


_WORD = {
    FindingKind.LOOK_AHEAD: "cheats",
    FindingKind.NOT_REPEATABLE: "not repeatable",
    FindingKind.NOT_RESTARTABLE: "not restartable",
    FindingKind.FAILS: "fails",
}


def _plain(values: Mapping[str, Any]) -> dict[str, Any]:
    return {name: _plain_value(value) for name, value in values.items()}


def _plain_value(value: Any) -> Any:
    if isinstance(value, datetime):
        return value.isoformat().replace("+00:00", "Z")
    if isinstance(value, int | float | bool | list | dict | None) and not isinstance(value, StrEnum):
        return value
    return str(value)
