"""LookaheadChecker: one check, from the first run to the report. Its result holds for the given bars and parameters only."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import msgspec
import numpy as np

from weaver.core.bars import BarSeries
from weaver.core.instants import from_ns
from weaver.glados.lookahead.cuts import Cuts, choose_cuts, cut_off, scrambled
from weaver.glados.lookahead.differences import IndicatorDifference, decisions_differ, indicator_differs
from weaver.glados.lookahead.lookback import measure_lookbacks
from weaver.glados.lookahead.outside_state import OutsideState
from weaver.glados.lookahead.report import CheckReport, FindingKind, LookaheadFinding, Lookback
from weaver.glados.lookahead.traced_run import RunTrace, TracedRunner
from weaver.glados.lookahead.wording import Wording, day_of
from weaver.marvin.indicator import IndicatorInfo

__all__ = ["LookaheadChecker"]

_RESTARTS = 5
"""Number of restarts; they are spread evenly over the bars."""
_BE_REPEATABLE = "draw from self.random, and read no clock, file or network"


class LookaheadChecker:
    """One check, in this order: a first run, repetition and restarts, the cuts, the lookbacks of the indicators.

    `limit` is the largest number of cuts, `sample_seed` seeds their sample and the scrambled bars, `lookback` is the number
    of bars that a live run will have.
    """

    def __init__(
        self,
        runner: TracedRunner,
        outside: OutsideState,
        *,
        limit: int | None = None,
        lookback: int | None = None,
        sample_seed: int = 0,
        progress: Callable[[int, int], object] | None = None,
    ) -> None:
        self.runner = runner
        self.wording = Wording(runner.series, runner.ticks)
        self.outside = outside
        self.limit = limit
        self.lookback = lookback
        self.sample_seed = sample_seed
        self.progress = progress
        self.generator = np.random.default_rng(sample_seed)
        self.findings: list[LookaheadFinding] = []
        self.notes: list[str] = []
        self.runs = 0
        self.judged: set[int] = set()
        """Numbers of the indicators that are still compared: without a finding, and equal in two runs on the same bars."""
        self.judging_decisions = True
        self.tried = 0
        self.failed: dict[tuple[str, str], list[tuple[int, str]]] = {}
        """By (change, callback): the cuts at which the callback raised, and its error."""

    def report(self) -> CheckReport:
        """Run the check and return its report."""
        runner = self.runner
        self.first = first = self._run()
        if first.crash is not None:
            raise first.crash.error
        self.judged = set(range(len(first.indicators)))
        restarts = self._repeat_and_restart()
        cuts = choose_cuts(runner.series, runner.ticks, first.indicators, runner.calendar, self.limit, self.sample_seed)
        self._cut_all(cuts)
        self._find_failures()
        lookbacks = self._lookbacks()
        self.outside.restore()
        if first.indicators and not first.orders:
            self.notes.append("the strategy gave no order on these bars; only its indicators were judged")
        every = runner.plan.series.values()
        return CheckReport(
            strategy=runner.strategy.__name__,
            params=runner.params,
            symbols=tuple(runner.series),
            timeframe=runner.timeframe.text,
            first=from_ns(min(int(bars.start[0]) for bars in every)),
            last=from_ns(max(int(bars.start[-1]) for bars in every)),
            bars=len(runner.ticks),
            cuts=self.tried,
            cuts_planned=len(cuts.rows),
            cuts_possible=cuts.possible,
            edges=cuts.edges,
            edges_found=cuts.edges_found,
            sample=cuts.sample,
            sample_seed=self.sample_seed,
            runs=self.runs,
            orders=first.orders,
            fills=len(first.fills),
            indicators=len(first.indicators),
            restarts=restarts,
            findings=tuple(self.findings),
            lookbacks=lookbacks,
            lookback=self.lookback,
            notes=tuple(self.notes),
        )

    def _run(self, *changed: Any, **until: Any) -> RunTrace:
        self.runs += 1
        return self.runner.run(*changed, **until)

    # Repetition and restarts.

    def _repeat_and_restart(self) -> int:
        """Stop the strategy after some bars and start it again in this process, several times; then run to the end again.

        Return the number of restarts.
        """
        ticks, first = self.runner.ticks, self.first
        places = sorted({int(tick) for tick in np.linspace(0, len(ticks) - 1, _RESTARTS + 2)[1:-1]})
        restarts = [(int(ticks[place]), self._run(last_tick=int(ticks[place]))) for place in places]
        again = self._run()
        last = int(ticks[-1])
        difference = None
        for until, run in [*restarts, (last, again)]:
            difference = difference or self._difference(run, until)
        if difference is None:
            return len(places)
        # Equal with the outside state restored: the state caused it. Otherwise the strategy is not repeatable.
        changed = self.outside.changed()
        self.outside.restore()
        clean = self._run()
        clean_difference = self._difference(clean, last)
        where, text = difference
        if clean_difference is None:
            cause = f"; a run changes {', '.join(changed)}" if changed else ""
            text = f"started again in the same process, it decides differently: {text}{cause}; keep all state on self"
            self._find(FindingKind.NOT_RESTARTABLE, text, where)
            return len(places)
        self._find(FindingKind.NOT_REPEATABLE, f"two runs on the same bars differ: {text}; {_BE_REPEATABLE}", where)
        # Decisions and indicators that differ by themselves cannot show look-ahead.
        for run in (clean, again):
            if decisions_differ(first, run, last) is not None or run.crash is not None:
                self.judging_decisions = False
            for number in tuple(self.judged):
                if number >= len(run.indicators) or indicator_differs(
                    first.indicators[number], run.indicators[number], last
                ):
                    self.judged.discard(number)
        self.notes.append("decisions and indicators that differ from run to run were not judged for look-ahead")
        return len(places)

    def _difference(self, run: RunTrace, until: int) -> tuple[tuple[str, int] | None, str] | None:
        """Return the bar and the text of the first difference to the first run up to the tick `until`; None if equal."""
        first = self.first
        if run.crash is not None and run.crash.phase != "stop":
            return self.wording.bar_at(run.crash.tick), f"it raises {run.crash.text}"
        difference = decisions_differ(first, run, until)
        if difference is not None:
            return self.wording.decision(difference, "the second time")
        for before, after in zip(first.indicators, run.indicators, strict=False):
            changed = indicator_differs(before, after, until)
            if changed is not None:
                return None, f"indicator {before.name} {self.wording.values(changed, 'the second time')}"
        expected = first.fills if until == self.runner.ticks[-1] else first.fills[: len(run.fills)]
        if msgspec.msgpack.encode(expected) != msgspec.msgpack.encode(run.fills):
            return None, "the same orders fill differently"
        return None

    # The cuts.

    def _cut_all(self, cuts: Cuts) -> None:
        rows = list(cuts.rows)
        total = len(rows)
        for done, row in enumerate(rows):
            if self.judging_decisions or self.judged:
                self._cut(row)
                self.tried += 1
            if self.progress is not None:
                self.progress(done + 1, total)

    def _cut(self, row: int) -> None:
        """Compare decisions and indicators up to the tick number `row` with later bars removed and scrambled."""
        runner = self.runner
        tick, following = int(runner.ticks[row]), int(runner.ticks[row + 1])
        without = cut_off(runner.series, tick, self.generator)
        other = scrambled(runner.series, tick, self.generator)
        # Timers that fire before the next bar ends must not know that bar either.
        for series, until, how in ((without, tick, "removed"), (other, following - 1, "scrambled")):
            self.outside.restore()
            if self.judging_decisions:
                self._compare(series, row, until, how)
            else:
                indicators = runner.indicators(series)
                if indicators is not None:
                    self._compare_indicators(indicators, row, until, how)

    def _compare(self, series: Mapping[str, BarSeries], row: int, until: int, how: str) -> None:
        run = self._run(series, last_tick=until)
        crash = run.crash
        started = crash is None or crash.phase != "start"
        self._compare_indicators(run.indicators, row, until, how, started=started)
        # A scrambled run ends early, so an error in its on_stop is not a finding.
        if crash is not None and (crash.phase == "start" or (crash.phase == "stop" and how == "removed")):
            self.failed.setdefault((how, f"on_{crash.phase}"), []).append((row, crash.text))
        if not started:
            return
        difference = decisions_differ(self.first, run, until)
        if crash is not None and crash.phase == "run" and (difference is None or crash.tick <= difference.tick):
            # The bars up to here are the same, so a callback that raises only now depends on later bars.
            where = self.wording.bar_at(crash.tick)
            text = f"{self.wording.place(crash.tick)} it raises {crash.text} when {self.wording.later(row, how)}"
        elif difference is not None:
            where, text = self.wording.decision(difference, f"when {self.wording.later(row, how)}")
        else:
            return
        self.judging_decisions = False
        # Randomness looks the same: it is look-ahead only if the same later bars give the same difference again.
        self.outside.restore()
        again = self._run(series, last_tick=until)
        if decisions_differ(run, again, until) is None and (crash is None) == (again.crash is None):
            self._find(FindingKind.LOOK_AHEAD, text, where)
        elif all(finding.kind is not FindingKind.NOT_REPEATABLE for finding in self.findings):
            text = f"two runs on the same bars differ: each run on the first {row + 1:,} gives other orders"
            self._find(FindingKind.NOT_REPEATABLE, f"{text}; {_BE_REPEATABLE}", where)

    def _compare_indicators(
        self, indicators: Sequence[IndicatorInfo], row: int, until: int, how: str, *, started: bool = True
    ) -> None:
        for number in sorted(self.judged):
            before = self.first.indicators[number]
            if number >= len(indicators) or indicators[number].name != before.name:
                if started:  # otherwise on_start raised before it
                    self.judged.discard(number)
                    text = f"on_start does not create indicator {before.name} when {self.wording.later(row, how)}"
                    self._find(FindingKind.LOOK_AHEAD, text, self.wording.bar_at(until), before.name)
                continue
            changed = indicator_differs(before, indicators[number], until)
            if changed is None:
                continue
            if changed.rounding:
                note = f"indicator {before.name} rounds differently (by less than 1e-9) when later bars are removed"
                if note not in self.notes:
                    self.notes.append(note)
                continue
            self.judged.discard(number)
            self._find_indicator(before, changed, row, how)

    def _find_indicator(self, info: IndicatorInfo, changed: IndicatorDifference, row: int, how: str) -> None:
        track, timeframe = info.track, self.runner.timeframe
        symbol = track.symbols[0]
        own = track.start is self.runner.series[symbol].start
        start = int(track.start[changed.row])
        where = f"bar {changed.row} ({day_of(start, timeframe)})" + ("" if own else f" of {track.label}")
        if own and len(self.runner.series) > 1:
            where += f" of {symbol}"
        text = (
            f"at {where} indicator {info.name} {self.wording.values(changed, f'when {self.wording.later(row, how)}')}"
        )
        self.findings.append(
            LookaheadFinding(
                kind=FindingKind.LOOK_AHEAD,
                text=text,
                bar=changed.row,
                instant=from_ns(start),
                symbol=symbol,
                timeframe=None if own else track.label.partition("@")[2] or None,
                indicator=info.name,
            )
        )

    def _find_failures(self) -> None:
        """Report a strategy that cannot start or stop on changed bars: one finding per callback, with the number of cuts."""
        for (how, callback), cuts in self.failed.items():
            (row, error), last = cuts[0], cuts[-1][0]
            bars = f"{row + 1:,} bar{'s' if row else ''}" if row == last else f"{row + 1:,} to {last + 1:,} bars"
            on = f"on the first {bars} alone" if how == "removed" else f"with other bars after the first {bars}"
            text = f"{on} ({len(cuts):,} of {self.tried:,} cuts) {callback} raises {error}"
            self._find(FindingKind.FAILS, text, self.wording.bar_at(int(self.runner.ticks[row])))

    # Lookbacks.

    def _lookbacks(self) -> tuple[Lookback, ...]:
        indicators = self.first.indicators
        if not indicators or len(self.runner.ticks) < 2:
            return ()
        self.outside.restore()
        lookbacks = measure_lookbacks(self.runner, indicators, self.lookback)
        return tuple(lookback for number, lookback in enumerate(lookbacks) if number in self.judged)

    # Findings.

    def _find(
        self, kind: FindingKind, text: str, where: tuple[str, int] | None = None, indicator: str | None = None
    ) -> None:
        symbol, bar = where if where is not None else (None, None)
        instant = None if symbol is None or bar is None else from_ns(int(self.runner.series[symbol].start[bar]))
        self.findings.append(
            LookaheadFinding(kind=kind, text=text, bar=bar, instant=instant, symbol=symbol, indicator=indicator)
        )
