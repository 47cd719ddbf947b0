"""LookaheadChecker: one check from the first run to the report. It proves nothing about other bars or other parameters."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import msgspec
import numpy as np

from weaver.core.bars import BarSeries
from weaver.core.instants import from_ns
from weaver.glados.lookahead.cuts import Cuts, choose_cuts, cut_off, scrambled
from weaver.glados.lookahead.differences import IndicatorDifference, decisions_differ, indicator_differs
from weaver.glados.lookahead.lookback import measure_memory
from weaver.glados.lookahead.outside_state import OutsideState
from weaver.glados.lookahead.report import CheckReport, FindingKind, LookaheadFinding, Lookback
from weaver.glados.lookahead.traced_run import Runner, RunTrace
from weaver.glados.lookahead.wording import Wording, day_of
from weaver.marvin.indicator import IndicatorInfo

__all__ = ["LookaheadChecker"]

_RESTARTS = 5
"""After this many shares of the bars, evenly spaced, the strategy is stopped and started again."""
_BE_REPEATABLE = "draw from self.random, and read no clock, file or network"


class LookaheadChecker:
    """One check, in order: the run itself, again and restarted, then cut by cut, then what its indicators remember."""

    def __init__(
        self,
        runner: Runner,
        outside: OutsideState,
        limit: int | None,
        history: int | None,
        progress: Callable[[int, int], object] | None,
    ) -> None:
        self.runner = runner
        self.words = Wording(runner.series, runner.ticks)
        self.outside = outside
        self.limit = limit
        self.history = history
        self.progress = progress
        self.generator = np.random.default_rng(runner.seed)
        self.findings: list[LookaheadFinding] = []
        self.notes: list[str] = []
        self.runs = 0
        self.judged: set[int] = set()
        """The indicators, by number, that are still worth comparing: no finding so far, and the same twice on one input."""
        self.judging_decisions = True
        self.tried = 0
        self.failed: dict[tuple[str, str], list[tuple[int, str]]] = {}
        """By (how, callback): at which cuts it raised, and what."""

    def report(self) -> CheckReport:
        """Do all of it."""
        runner = self.runner
        self.first = first = self._run()
        if first.crash is not None:
            raise first.crash.error
        self.judged = set(range(len(first.indicators)))
        restarts = self._repeat_and_restart()
        cuts = choose_cuts(runner.series, runner.ticks, first.indicators, runner.calendar, self.limit, runner.seed)
        self._cut_all(cuts)
        self._find_failures()
        memory = self._memory()
        self.outside.restore()
        if not first.orders and not first.indicators:
            self.notes.append(
                "it gave no order and made no indicator on these bars: there was nothing that could cheat"
            )
        elif not first.orders:
            self.notes.append("it gave no order on these bars; only its indicators could be judged")
        every = runner.series.values()
        return CheckReport(
            strategy=runner.strategy.__name__,
            params=runner.params,
            symbols=tuple(runner.series),
            timeframe=runner.timeframe.text,
            first=from_ns(min(int(one.start[0]) for one in every)),
            last=from_ns(max(int(one.start[-1]) for one in every)),
            bars=len(runner.ticks),
            cuts=self.tried,
            cuts_planned=len(cuts.rows),
            cuts_possible=cuts.possible,
            edges=cuts.edges,
            edges_found=cuts.edges_found,
            sample=cuts.sample,
            seed=runner.seed,
            runs=self.runs,
            orders=first.orders,
            fills=len(first.fills),
            restarts=restarts,
            findings=tuple(self.findings),
            memory=memory,
            history=self.history,
            notes=tuple(self.notes),
        )

    def _run(self, *changed: Any, **until: Any) -> RunTrace:
        self.runs += 1
        return self.runner.run(*changed, **until)

    # Twice the same, and from the beginning again.

    def _repeat_and_restart(self) -> int:
        """Stopped after some bars and started again, in this process, on the same bars; then once more to the end.

        Returns how often it was started again after a stop.
        """
        ticks, first = self.runner.ticks, self.first
        places = sorted({int(tick) for tick in np.linspace(0, len(ticks) - 1, _RESTARTS + 2)[1:-1]})
        restarts = [(int(ticks[place]), self._run(last_tick=int(ticks[place]))) for place in places]
        again = self._run()
        last = int(ticks[-1])
        trouble = None
        for until, run in [*restarts, (last, again)]:
            trouble = trouble or self._unlike(run, until)
        if trouble is None:
            return len(places)
        # The same from a clean slate? Then what it had left behind did it; otherwise it is chance.
        left = self.outside.changed()
        self.outside.restore()
        clean = self._run()
        dirty = self._unlike(clean, last)
        where, what = trouble
        if dirty is None:
            behind = f"; a run changes {', '.join(left)}" if left else ""
            text = f"started again in the same process, it decides otherwise: {what}{behind}; keep all state on self"
            self._find(FindingKind.NOT_RESTARTABLE, text, where)
            return len(places)
        self._find(FindingKind.NOT_REPEATABLE, f"two runs on the same bars differ: {what}; {_BE_REPEATABLE}", where)
        # What differs by itself says nothing about the future.
        for run in (clean, again):
            if decisions_differ(first, run, last) is not None or run.crash is not None:
                self.judging_decisions = False
            for number in tuple(self.judged):
                if number >= len(run.indicators) or indicator_differs(
                    first.indicators[number], run.indicators[number], last
                ):
                    self.judged.discard(number)
        self.notes.append("what differs from run to run could not be judged for look-ahead")
        return len(places)

    def _unlike(self, run: RunTrace, until: int) -> tuple[tuple[str, int] | None, str] | None:
        """Where and how `run`, up to the tick `until`, is unlike the first one; None where it is the same byte for byte."""
        first = self.first
        if run.crash is not None and run.crash.phase != "stop":
            return self.words.bar_at(run.crash.tick), f"it raises {run.crash.text}"
        difference = decisions_differ(first, run, until)
        if difference is not None:
            return self.words.told(difference, "the second time")
        for before, after in zip(first.indicators, run.indicators, strict=False):
            changed = indicator_differs(before, after, until)
            if changed is not None:
                return None, f"indicator {before.name} {self.words.values(changed, 'the second time')}"
        expected = first.fills if until == self.runner.ticks[-1] else first.fills[: len(run.fills)]
        if msgspec.msgpack.encode(expected) != msgspec.msgpack.encode(run.fills):
            return None, "the same orders fill otherwise"
        return None

    # Without the future.

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
        """Compare what was known and done by the bar that ends at `row`, without and with another future."""
        runner = self.runner
        tick, following = int(runner.ticks[row]), int(runner.ticks[row + 1])
        without = cut_off(runner.series, tick, self.generator)
        other = scrambled(runner.series, tick, self.generator)
        # What happens before the next bar ends (timers in a gap) must not know that bar either.
        for series, until, how in ((without, tick, "removed"), (other, following - 1, "scrambled")):
            self.outside.restore()
            if self.judging_decisions:
                self._compare(series, row, until, how)
            else:
                made = runner.indicators(series)
                if made is not None:
                    self._compare_indicators(made, row, until, how)

    def _compare(self, series: Mapping[str, BarSeries], row: int, until: int, how: str) -> None:
        run = self._run(series, last_tick=until)
        crash = run.crash
        started = crash is None or crash.phase != "start"
        self._compare_indicators(run.indicators, row, until, how, started=started)
        # on_stop is called where a scrambled run breaks off, which says nothing.
        if crash is not None and (crash.phase == "start" or (crash.phase == "stop" and how == "removed")):
            self.failed.setdefault((how, f"on_{crash.phase}"), []).append((row, crash.text))
        if not started:
            return
        difference = decisions_differ(self.first, run, until)
        if crash is not None and crash.phase == "run" and (difference is None or crash.tick <= difference.tick):
            # The bars up to here are the same, so a callback that raises only now has missed what comes later.
            where = self.words.bar_at(crash.tick)
            text = f"{self.words.place(crash.tick)} it raises {crash.text} when {self.words.later(row, how)}"
        elif difference is not None:
            where, text = self.words.told(difference, f"when {self.words.later(row, how)}")
        else:
            return
        self.judging_decisions = False
        # Chance would look the same: it is the future's doing only if the same future does it again.
        self.outside.restore()
        again = self._run(series, last_tick=until)
        if decisions_differ(run, again, until) is None and (crash is None) == (again.crash is None):
            self._find(FindingKind.LOOK_AHEAD, text, where)
        elif all(finding.kind is not FindingKind.NOT_REPEATABLE for finding in self.findings):
            text = (
                f"two runs on the same bars differ: of the first {row + 1:,} one more run makes other orders each time"
            )
            self._find(FindingKind.NOT_REPEATABLE, f"{text}; {_BE_REPEATABLE}", where)

    def _compare_indicators(
        self, made: Sequence[IndicatorInfo], row: int, until: int, how: str, *, started: bool = True
    ) -> None:
        for number in sorted(self.judged):
            before = self.first.indicators[number]
            if number >= len(made) or made[number].name != before.name:
                if started:  # otherwise on_start did not come that far
                    self.judged.discard(number)
                    text = f"on_start does not make indicator {before.name} when {self.words.later(row, how)}"
                    self._find(FindingKind.LOOK_AHEAD, text, self.words.bar_at(until), before.name)
                continue
            changed = indicator_differs(before, made[number], until)
            if changed is None:
                continue
            if changed.rounding:
                note = f"indicator {before.name} is rounded otherwise (by less than 1e-9) when later bars are removed"
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
        text = f"at {where} indicator {info.name} {self.words.values(changed, f'when {self.words.later(row, how)}')}"
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
        """A strategy that cannot start, or stop, on these bars: told once for each callback, with the cuts."""
        for (how, callback), cuts in self.failed.items():
            (row, error), last = cuts[0], cuts[-1][0]
            bars = f"{row + 1:,} bar{'s' if row else ''}" if row == last else f"{row + 1:,} to {last + 1:,} bars"
            on = f"on the first {bars} alone" if how == "removed" else f"with other bars after the first {bars}"
            text = f"{on} ({len(cuts):,} of {self.tried:,} cuts) {callback} raises {error}"
            self._find(FindingKind.FAILS, text, self.words.bar_at(int(self.runner.ticks[row])))

    # What remembers.

    def _memory(self) -> tuple[Lookback, ...]:
        made = self.first.indicators
        if not made or len(self.runner.ticks) < 2:
            return ()
        self.outside.restore()
        found = measure_memory(self.runner, made, self.history)
        return tuple(one for number, one in enumerate(found) if number in self.judged)

    # In words.

    def _find(
        self, kind: FindingKind, text: str, where: tuple[str, int] | None = None, indicator: str | None = None
    ) -> None:
        symbol, bar = where if where is not None else (None, None)
        instant = None if symbol is None or bar is None else from_ns(int(self.runner.series[symbol].start[bar]))
        self.findings.append(
            LookaheadFinding(kind=kind, text=text, bar=bar, instant=instant, symbol=symbol, indicator=indicator)
        )
