"""Validate parsed rows: bars that are possible, on the grid and in order; named repairs are applied, the rest is refused.

Guarantees that every row of the file is in the result, counted in a repair or refused by line.
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
    FLOAT32_ROUNDING,
    explain_bar,
    impossible_bars,
    include_open_and_close,
    longer_spacing,
    only_rounding_wrong,
    only_volume_wrong,
    rounding_note,
    swapped_bars,
    unordered_rows,
)
from weaver.data.build_series import infer_timeframe
from weaver.data.grid_advice import resample_advice
from weaver.data.importer.finding_code import HOW_TO_READ, FindingCode
from weaver.data.importer.findings import FileFinding, refuse
from weaver.data.importer.parser import ParsedRows
from weaver.data.importer.repairs import FIXES, Repair
from weaver.data.symbol_groups import check_labels, rows_by_symbol

__all__ = ["ValidatedBars", "validate"]


@dataclass(frozen=True, slots=True)
class ValidatedBars:
    """The bars of one symbol of one file, checked for `timeframe`.

    The columns of `frame` are those of the catalog: timestamp (Datetime microseconds UTC), prices, volume, further ones.
    """

    symbol: str | None
    frame: pl.DataFrame
    timeframe: Timeframe
    repairs: tuple[Repair, ...]


def validate(
    rows: ParsedRows, fixes: frozenset[str], timeframe: Timeframe | None, calendar: SessionCalendar | None
) -> list[ValidatedBars]:
    """Return the bars of each symbol of a file, in order of first appearance; adds to the notes of `rows`.

    Raises FileRefusal for every finding that no repair removes, NoBars where no bar is left, and DataError for a timeframe
    that is not that of the bars.
    """
    findings = list(rows.findings)
    fixed: dict[str, list[Instants]] = {name: [lines] for name, lines in rows.fixed.items()}
    _repair_volume(rows, findings, fixed, fixes)
    _clip_rounding(rows)
    keep = _bars(rows, findings, fixed, fixes)
    groups = _groups(rows)
    frame = timeframe or _infer(rows, groups, findings)
    if frame is not None:
        keep &= _on_grid(rows, keep, findings, frame, calendar)
    first = min(findings, key=lambda finding: int(finding.lines[0]), default=None)
    if "drop-invalid" in fixes:
        findings = _drop_invalid(rows, findings, fixed)
    ordered = {symbol: _ordered(rows, group[keep[group]], findings, fixed, fixes) for symbol, group in groups}
    lines = sum(len(finding.lines) for finding in rows.findings if finding.code is FindingCode.LINE)
    refuse(rows.file, rows.unit, findings, rows.total, headers=rows.total - len(rows.lines) - lines)
    if not any(len(index) for index in ordered.values()):
        reason = "" if first is None else f"; the first {rows.unit} that was dropped is {_worded(first, rows.unit)}"
        raise NoBars(f"{rows.file}: no bar is left{reason}")
    if frame is None:
        frame = infer_timeframe([rows.starts[index] for index in ordered.values()])
    for symbol, index in ordered.items():
        longer = longer_spacing(rows.starts[index], frame)
        if longer is not None:
            raise DataError(
                f"{rows.file}: {symbol + ': ' if symbol else ''}the bars are {duration_text(longer)} apart or more, so they "
                f"are not {frame} bars; import them with their own --timeframe"
            )
    repairs = tuple(Repair.of(name, np.concatenate(fixed[name])) for name in FIXES if name in fixed)
    return [
        ValidatedBars(symbol, _frame(rows, index), frame, repairs) for symbol, index in ordered.items() if len(index)
    ]


def _drop_invalid(rows: ParsedRows, findings: list[FileFinding], fixed: dict[str, list[Instants]]) -> list[FileFinding]:
    droppable = FIXES["drop-invalid"].codes
    dropped = [finding.lines for finding in findings if finding.code in droppable]
    fixed["drop-invalid"] = [np.unique(np.concatenate(dropped))] if dropped else [rows.lines[:0]]
    return [finding for finding in findings if finding.code not in droppable]


def _worded(finding: FileFinding, unit: str) -> str:
    return f"{unit} {int(finding.lines[0])}: {finding.describe(0)}"


def _clip_rounding(rows: ParsedRows) -> None:
    """Include open and close in high and low where rounding alone keeps them out (not a repair: no value is in doubt)."""
    wrong = impossible_bars(rows.columns)
    wrong = wrong[~rows.bad[wrong]]
    rounded = wrong[only_rounding_wrong(rows.columns, wrong)]
    if not len(rounded):
        return
    include_open_and_close(rows.columns, rounded)
    lines = ", ".join(str(int(line)) for line in rows.lines[rounded][:3]) + (", ..." if len(rounded) > 3 else "")
    rows.notes.append(f"{rounding_note(len(rounded))} ({rows.unit} {lines})")


def _groups(rows: ParsedRows) -> list[tuple[str | None, Instants]]:
    """Return the rows of each symbol, in order of first appearance."""
    if rows.symbols is None:
        return [(None, np.arange(len(rows.lines), dtype=np.int64))]
    names = rows.symbols.fill_null("")
    check_labels(names, rows.file)
    return list(rows_by_symbol(names).items())


def _repair_volume(
    rows: ParsedRows, findings: list[FileFinding], fixed: dict[str, list[Instants]], fixes: frozenset[str]
) -> None:
    if "zero-volume" not in fixes:
        return
    removed = [finding for finding in findings if finding.code == FindingCode.VOLUME]
    lines = np.unique(np.concatenate([f.lines for f in removed])) if removed else rows.lines[:0]
    findings[:] = [finding for finding in findings if finding.code != FindingCode.VOLUME]
    volume = rows.columns["volume"].copy()
    still = np.concatenate([f.lines for f in findings]) if findings else rows.lines[:0]
    empty = np.isin(rows.lines, lines)
    rows.bad[empty & ~np.isin(rows.lines, still)] = False
    negative = (volume < 0) & ~rows.bad
    volume[empty | negative] = 0.0
    rows.columns["volume"] = volume
    fixed["zero-volume"] = [rows.lines[empty | negative]]


def _bars(
    rows: ParsedRows, findings: list[FileFinding], fixed: dict[str, list[Instants]], fixes: frozenset[str]
) -> NDArray[np.bool_]:
    """Return which rows are possible bars. The others become findings, unless exchanging high and low repairs them."""
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
    volume = only_volume_wrong(rows.columns, wrong) & ~swapped
    rounding = only_rounding_wrong(rows.columns, wrong, FLOAT32_ROUNDING)
    for code, mask in (
        (FindingCode.SWAPPED, swapped & ~rounding),
        (FindingCode.VOLUME, volume),
        (FindingCode.ROUNDING, rounding),
        (FindingCode.BAR, ~volume & ~swapped & ~rounding),
    ):
        index = wrong[mask]
        if len(index):
            findings.append(
                FileFinding(code, rows.lines[index], lambda k, index=index: explain_bar(rows.columns, int(index[k])))  # type: ignore[misc]
            )
    good[wrong] = False
    return good


def _infer(
    rows: ParsedRows, groups: list[tuple[str | None, Instants]], findings: list[FileFinding]
) -> Timeframe | None:
    """Return the commonest spacing of all rows whose times are known; None where there are findings and too few times."""
    if any(finding.code in HOW_TO_READ for finding in findings):
        return None
    starts = [rows.starts[group[~rows.timeless[group]]] for _, group in groups]
    starts = [np.unique(times) if len(unordered_rows(times)) else times for times in starts]
    if findings and not any(len(times) > 1 for times in starts):
        return None
    return infer_timeframe(starts)


def _on_grid(
    rows: ParsedRows,
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
        resample = resample_advice(rows.starts[timed], timeframe)
        if resample is not None and len(off) > 1:
            raise DataError(f"{rows.file}: {resample}")
        where = "grid" if calendar is None else f"grid of the sessions of {calendar.name}"

        def describe(k: int) -> str:
            start = int(rows.starts[off[k]])
            late = (
                f", {duration_text(int(timeframe.offsets(np.array([start]))[0]))} after a boundary"
                if calendar is None
                else ""
            )
            return f"{format_ns(start)} is off the {timeframe} {where}{late}"

        findings.append(
            FileFinding(FindingCode.GRID if calendar is None else FindingCode.SESSION, rows.lines[off], describe)
        )
        mask[off] = False
    return mask


def _ordered(
    rows: ParsedRows,
    index: Instants,
    findings: list[FileFinding],
    fixed: dict[str, list[Instants]],
    fixes: frozenset[str],
) -> Instants:
    """Return the rows `index` in order of time, each time once; rows that no named repair allows become findings."""
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

            findings.append(FileFinding(FindingCode.ORDER, rows.lines[index[back]], describe))
    index = index[order]
    return _without_duplicates(rows, index, findings, fixed, fixes)


def _without_duplicates(
    rows: ParsedRows,
    index: Instants,
    findings: list[FileFinding],
    fixed: dict[str, list[Instants]],
    fixes: frozenset[str],
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
            _find_again(rows, FindingCode.DUPLICATE, index[again[same]], index[first[same]], findings)
        _find_again(rows, FindingCode.CONFLICT, index[again[~same]], index[first[~same]], findings)
    return index[~drop]


def _find_again(
    rows: ParsedRows, code: FindingCode, later: Instants, earlier: Instants, findings: list[FileFinding]
) -> None:
    if not len(later):
        return
    by_line = np.argsort(rows.lines[later], kind="stable")
    later, earlier = later[by_line], earlier[by_line]

    def describe(k: int) -> str:
        row, before = int(later[k]), int(earlier[k])
        text = f"{format_ns(int(rows.starts[row]))} repeats {rows.unit} {rows.lines[before]}"
        if code is FindingCode.DUPLICATE:
            return text + " in every value"
        values = rows.columns | rows.extra
        other = [
            f"{name} {float(v[row])!r}, not {float(v[before])!r}" for name, v in values.items() if v[row] != v[before]
        ]
        return f"{text} with other values: {', '.join(other[:3])}"

    findings.append(FileFinding(code, rows.lines[later], describe))


def _add(fixed: dict[str, list[Instants]], name: str, lines: Instants) -> None:
    fixed.setdefault(name, []).append(lines)


def _frame(rows: ParsedRows, index: Instants) -> pl.DataFrame:
    stamps = pl.Series("timestamp", rows.starts[index] // 1_000).cast(pl.Datetime("us", "UTC"))
    values = {name: pl.Series(name, column[index]) for name, column in (rows.columns | rows.extra).items()}
    return pl.DataFrame([stamps, *values.values()])
