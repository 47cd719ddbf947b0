"""Judging: whether understood rows are bars in order; applies the repairs that were named and refuses the rest by line.

Guarantees that every row of the file is in the result, or counted in a repair, or refused. Nothing else leaves.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import polars as pl
from numpy.typing import NDArray

from weaver.core.bars import Instants
from weaver.core.calendar import SessionCalendar
from weaver.core.durations import duration_text
from weaver.core.errors import DataError, NoBars
from weaver.core.instants import format_ns
from weaver.core.timeframe import Timeframe
from weaver.data.bar_checks import (
    explain_bar,
    impossible_bars,
    longer_spacing,
    only_volume_wrong,
    swapped_bars,
    unordered_rows,
)
from weaver.data.build_series import infer_timeframe
from weaver.data.importer.findings import FileFinding, refuse
from weaver.data.importer.parser import Rows
from weaver.data.importer.repairs import FIXES, Repair

__all__ = ["ValidatedRows", "judge"]


# Until the caller has said how to read these, their times and prices are not known, and no repair helps.
_HOW_TO_READ = frozenset({"naive", "ambiguous", "undecided", "decimal", "unit"})


@dataclass(frozen=True, slots=True)
class ValidatedRows:
    """The bars of one symbol of one file: timestamp (Datetime microseconds UTC), prices, volume, further columns."""

    symbol: str | None
    frame: pl.DataFrame
    timeframe: Timeframe
    repairs: tuple[Repair, ...]


def judge(
    rows: Rows, fixes: frozenset[str], timeframe: Timeframe | None, calendar: SessionCalendar | None
) -> list[ValidatedRows]:
    """The bars of each symbol of a file, in order of first appearance. Raises a `Refusal` for whatever is not repaired."""
    findings = list(rows.findings)
    fixed: dict[str, list[Instants]] = {name: [lines] for name, lines in rows.fixed.items()}
    _repair_volume(rows, findings, fixed, fixes)
    keep = _bars(rows, findings, fixed, fixes)
    frame = timeframe or _infer(rows, findings)
    groups = _groups(rows)
    if frame is not None:
        keep &= _on_grid(rows, keep, findings, frame, calendar)
    droppable = FIXES["drop-invalid"].codes
    if "drop-invalid" in fixes:
        dropped = [finding for finding in findings if finding.code in droppable]
        findings = [finding for finding in findings if finding.code not in droppable]
        fixed["drop-invalid"] = [np.unique(np.concatenate([f.lines for f in dropped]))] if dropped else [rows.lines[:0]]
    ordered = {symbol: _ordered(rows, np.flatnonzero(keep & mask), findings, fixed, fixes) for symbol, mask in groups}
    refuse(rows.file, rows.unit, findings, rows.total)
    assert frame is not None
    if not any(len(index) for index in ordered.values()):
        raise NoBars(f"{rows.file}: no bar is left")
    for symbol, index in ordered.items():
        longer = longer_spacing(rows.starts[index], frame)
        if longer is not None:
            raise DataError(
                f"{rows.file}: {symbol + ': ' if symbol else ''}the bars are {duration_text(longer)} apart or more, so they "
                f"are no {frame} bars; import them with their own --timeframe"
            )
    repairs = tuple(Repair.of(name, np.concatenate(fixed[name])) for name in FIXES if name in fixed)
    return [
        ValidatedRows(symbol, _frame(rows, index), frame, repairs) for symbol, index in ordered.items() if len(index)
    ]


def _groups(rows: Rows) -> list[tuple[str | None, NDArray[np.bool_]]]:
    if rows.symbols is None:
        return [(None, np.ones(len(rows.lines), dtype=np.bool_))]
    names = rows.symbols.fill_null("")
    return [(name, (names == name).to_numpy()) for name in names.unique(maintain_order=True).to_list()]


def _repair_volume(
    rows: Rows, findings: list[FileFinding], fixed: dict[str, list[Instants]], fixes: frozenset[str]
) -> None:
    if "zero-volume" not in fixes:
        return
    mended = [finding for finding in findings if finding.code == "volume"]
    lines = np.unique(np.concatenate([f.lines for f in mended])) if mended else rows.lines[:0]
    findings[:] = [finding for finding in findings if finding.code != "volume"]
    volume = rows.columns["volume"].copy()
    still = np.concatenate([f.lines for f in findings]) if findings else rows.lines[:0]
    empty = np.isin(rows.lines, lines)
    rows.bad[empty & ~np.isin(rows.lines, still)] = False
    negative = (volume < 0) & ~rows.bad
    volume[empty | negative] = 0.0
    rows.columns["volume"] = volume
    fixed["zero-volume"] = [rows.lines[empty | negative]]


def _bars(
    rows: Rows, findings: list[FileFinding], fixed: dict[str, list[Instants]], fixes: frozenset[str]
) -> NDArray[np.bool_]:
    """Which rows are possible bars; the others become findings, except where high and low may be exchanged."""
    good = ~rows.bad
    wrong = impossible_bars(rows.columns)
    wrong = wrong[good[wrong]]
    swapped = swapped_bars(rows.columns, wrong)
    if "swap-high-low" in fixes:
        index = wrong[swapped]
        high, low = rows.columns["high"].copy(), rows.columns["low"].copy()
        high[index], low[index] = low[index], high[index]
        rows.columns["high"], rows.columns["low"] = high, low
        fixed["swap-high-low"] = [rows.lines[index]]
        wrong, swapped = wrong[~swapped], swapped[~swapped]
    volume = only_volume_wrong(rows.columns, wrong)
    for code, mask in (("swapped", swapped), ("volume", volume & ~swapped), ("bar", ~volume & ~swapped)):
        index = wrong[mask]
        if len(index):
            findings.append(
                FileFinding(code, rows.lines[index], lambda k, index=index: explain_bar(rows.columns, int(index[k])))  # type: ignore[misc]
            )
    good[wrong] = False
    return good


def _infer(rows: Rows, findings: list[FileFinding]) -> Timeframe | None:
    """The commonest spacing of all rows whose times are known; None where the file is to be refused before it matters."""
    if any(finding.code in _HOW_TO_READ for finding in findings):
        return None
    starts = [rows.starts[mask & ~rows.timeless] for _, mask in _groups(rows)]
    starts = [np.unique(times) if len(unordered_rows(times)) else times for times in starts]
    if findings and not any(len(times) > 1 for times in starts):
        return None
    return infer_timeframe(starts)


def _on_grid(
    rows: Rows,
    keep: NDArray[np.bool_],
    findings: list[FileFinding],
    timeframe: Timeframe,
    calendar: SessionCalendar | None,
) -> NDArray[np.bool_]:
    timed = ~rows.timeless
    if calendar is None:
        offsets = timeframe.offsets(rows.starts)
        off = np.flatnonzero((offsets != 0) & timed)
    else:
        known = rows.starts[timed]
        bounds = calendar.boundaries(int(known.min()), int(known.max()) + 1, timeframe) if len(known) else known
        dates = calendar.sessions(int(known.min()), int(known.max()) + 1).date if len(known) else known
        off = np.flatnonzero(
            ~np.isin(rows.starts, bounds if timeframe.is_intraday else timeframe.bar_starts(dates)) & timed
        )
    mask = np.ones(len(rows.lines), dtype=np.bool_)
    if len(off):
        where = "grid" if calendar is None else f"grid of the sessions of {calendar.name}"

        def describe(k: int) -> str:
            start = int(rows.starts[off[k]])
            late = (
                f", {duration_text(int(timeframe.offsets(np.array([start]))[0]))} after a boundary"
                if calendar is None
                else ""
            )
            return f"{format_ns(start)} is off the {timeframe} {where}{late}"

        findings.append(FileFinding("grid" if calendar is None else "session", rows.lines[off], describe))
        mask[off] = False
    return mask


def _ordered(
    rows: Rows, index: Instants, findings: list[FileFinding], fixed: dict[str, list[Instants]], fixes: frozenset[str]
) -> Instants:
    """The rows `index` in order of time, each time once; what no repair allows becomes a finding."""
    index = index[~rows.timeless[index]]
    starts = rows.starts[index]
    order = np.argsort(starts, kind="stable")
    if "sort" in fixes:
        moved = np.flatnonzero(order != np.arange(len(order)))
        fixed.setdefault("sort", []).append(rows.lines[index[order[moved]]])
    else:
        back = np.flatnonzero(starts[1:] < starts[:-1]) + 1
        if len(back):
            # Bound now: `index` is put in order below.
            def describe(k: int, there: Instants = index) -> str:
                row, before = there[back[k]], there[back[k] - 1]
                return (
                    f"{format_ns(int(rows.starts[row]))} is before {format_ns(int(rows.starts[before]))} of {rows.unit} "
                    f"{rows.lines[before]}"
                )

            findings.append(FileFinding("order", rows.lines[index[back]], describe))
    index = index[order]
    return _without_duplicates(rows, index, findings, fixed, fixes)


def _without_duplicates(
    rows: Rows, index: Instants, findings: list[FileFinding], fixed: dict[str, list[Instants]], fixes: frozenset[str]
) -> Instants:
    starts = rows.starts[index]
    again = np.flatnonzero(starts[1:] == starts[:-1]) + 1
    first = np.searchsorted(starts, starts[again], side="left")
    same = np.ones(len(again), dtype=np.bool_)
    for values in (*rows.columns.values(), *rows.extra.values()):
        ours, theirs = values[index[again]], values[index[first]]
        same &= (ours == theirs) | (np.isnan(ours) & np.isnan(theirs))
    drop = np.zeros(len(index), dtype=np.bool_)
    if "keep-first" in fixes:
        drop[again] = True
        _add(fixed, "keep-first", rows.lines[index[drop]])
    elif "keep-last" in fixes:
        drop[again - 1] = True
        _add(fixed, "keep-last", rows.lines[index[drop]])
    else:
        if "drop-duplicates" in fixes:
            drop[again[same]] = True
            _add(fixed, "drop-duplicates", rows.lines[index[drop]])
        else:
            _find_again(rows, "duplicate", index[again[same]], index[first[same]], findings)
        _find_again(rows, "conflict", index[again[~same]], index[first[~same]], findings)
    return index[~drop]


def _find_again(rows: Rows, code: str, later: Instants, earlier: Instants, findings: list[FileFinding]) -> None:
    if not len(later):
        return
    by_line = np.argsort(rows.lines[later], kind="stable")
    later, earlier = later[by_line], earlier[by_line]

    def describe(k: int) -> str:
        row, before = int(later[k]), int(earlier[k])
        text = f"{format_ns(int(rows.starts[row]))} repeats {rows.unit} {rows.lines[before]}"
        if code == "duplicate":
            return text + " in every value"
        values = rows.columns | rows.extra
        other = [
            f"{name} {float(v[row])!r}, not {float(v[before])!r}" for name, v in values.items() if v[row] != v[before]
        ]
        return f"{text} with other values: {', '.join(other[:3])}"

    findings.append(FileFinding(code, rows.lines[later], describe))


def _add(fixed: dict[str, list[Instants]], name: str, lines: Instants) -> None:
    fixed.setdefault(name, []).append(lines)


def _frame(rows: Rows, index: Instants) -> pl.DataFrame:
    stamps = pl.Series("timestamp", rows.starts[index] // 1_000).cast(pl.Datetime("us", "UTC"))
    values = {name: pl.Series(name, column[index]) for name, column in (rows.columns | rows.extra).items()}
    return pl.DataFrame([stamps, *values.values()])
