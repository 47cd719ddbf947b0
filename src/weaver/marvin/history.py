"""History: the columns of a run that grow bar by bar, with the indicators and the resampled and joined bars made from them.

It guarantees that a view has the values that the same call would have had over the bars shown so far, and that views
remain the same objects. The call is repeated on the longer columns; of an indicator that is known to give the same bits
that way, only the added values are computed. A resampled bar is made once, of the bars that were shown when it ended; a
bar that is shown later does not change it. History does not guarantee that an indicator is causal: a value that changes
after it was shown is reported once per indicator (`repaints`).
"""

from __future__ import annotations

from collections.abc import Sequence
from collections.abc import Set as AbstractSet
from dataclasses import dataclass, replace
from functools import reduce

import numpy as np
from numpy.typing import NDArray

from weaver.core.bars import PRICE_COLUMNS, Bar, BarSeries, Floats, Instants
from weaver.core.errors import StrategyError
from weaver.core.instants import format_ns
from weaver.core.text import describe_error
from weaver.marvin.bar_views import Joined, Resampled, SymbolBars, Track
from weaver.marvin.context import Context
from weaver.marvin.growing_bars import GrowingBars
from weaver.marvin.indicator import IndicatorInfo, ready_at
from weaver.marvin.indicators.continuation import continued
from weaver.marvin.resample import resample_rows
from weaver.marvin.rounding import values_agree
from weaver.marvin.symbol_state import SymbolState
from weaver.marvin.timers import NEVER

__all__ = ["History", "Repaint"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Repaint:
    """A past value of an indicator that has changed: of the bar that starts at `bar_ns`, seen at the tick `tick_ns`."""

    indicator: str
    bar_ns: int
    tick_ns: int
    before: float
    after: float

    def __str__(self) -> str:
        return (
            f"indicator {self.indicator} changes past values: its value of the bar at {format_ns(self.bar_ns)} was "
            f"{self.before:.10g} and became {self.after:.10g} at the tick {format_ns(self.tick_ns)}; "
            "a backtest shows the later value too early"
        )


class History:
    """The columns of one run, from the end of `on_start` on.

    `context` must be one that `grows`. `repaints` are the past values that have changed, one per indicator at most.
    """

    def __init__(self, context: Context) -> None:
        self.repaints: list[Repaint] = []
        self._context = context
        self._states = context.states
        self._bars = [GrowingBars(state.series) for state in context.states]
        self._derived = [_growing(track) for track in context.derived]
        computed = {id(view) for info in context.indicators for view in info.call.views}
        self._indicators = [_Indicator(info, computed) for info in context.indicators]
        self._advance_derived(context.now_ns)
        self._repeat(None)

    @property
    def indicators(self) -> list[IndicatorInfo]:
        """The indicators of the run with their values so far."""
        return [indicator.described() for indicator in self._indicators]

    @property
    def failures(self) -> list[str]:
        """The indicators that have no value yet because their function raises, with its last error."""
        return [
            f"indicator {indicator.info.name} has no value in {len(indicator.info.track.end)} bars: it raised "
            f"{describe_error(indicator.failure)}"
            for indicator in self._indicators
            if indicator.failure is not None
        ]

    def show(self, state: SymbolState, bar: Bar, end_ns: int, extra: Sequence[float] = ()) -> None:
        """Add a bar to its symbol's columns and move the symbol's cursor to it. Call `advance` after the last one.

        Raises StrategyError for a bar that is not after the symbol's last one.
        """
        if len(state.series) and bar.ts_ns <= state.series.start[-1]:
            raise StrategyError(
                f"the bar of {state.symbol} at {format_ns(bar.ts_ns)} is not after the last one that was shown, at "
                f"{format_ns(int(state.series.start[-1]))}"
            )
        bars = self._bars[state.index]
        bars.append(bar, end_ns, extra)
        series = bars.series
        state.show(series)
        track = state.track
        track.start, track.end = series.start, series.end
        state.bars._rebind(series)
        state.cursor.last += 1
        if state.cursor.last == state.first_row:
            self._context.begin(state)

    def advance(self, states: Sequence[SymbolState], now_ns: int) -> None:
        """Bring what is made from the bars of `states` up to `now_ns`, and the readiness of all symbols.

        Raises StrategyError for an indicator that fails after it has had a value.
        """
        self._context.run.moved()
        changed = {id(state.track) for state in states}
        changed.update(self._advance_derived(now_ns))
        if changed:
            self._repeat(changed)
        self._context.show_derived()

    def _advance_derived(self, now_ns: int) -> set[int]:
        """Add the resampled and joined bars that have ended; return the identities of their tracks."""
        return {id(derived.track) for derived in self._derived if derived.advance(now_ns)}

    def _repeat(self, changed: set[int] | None) -> None:
        """Repeat the indicators of the changed tracks (None: of all), in the order of their first calls."""
        became_ready = changed is None
        for indicator in self._indicators:
            if changed is None or id(indicator.info.track) in changed:
                was_ready = indicator.ready_ns
                repaint = indicator.repeat(self._context.now_ns)
                became_ready |= indicator.ready_ns != was_ready
                if repaint is not None:
                    self.repaints.append(repaint)
        if became_ready:
            self._set_readiness()

    def _set_readiness(self) -> None:
        run = self._context.run
        for state in self._states:
            state.ready_ns = 0
        for indicator in self._indicators:
            for symbol in indicator.info.track.symbols:
                state = run.state(symbol, "indicator")
                state.ready_ns = max(state.ready_ns, indicator.ready_ns)


class _Indicator:
    """One indicator: its call is repeated when its track has grown."""

    __slots__ = ("_continues", "_outputs", "_reported", "_room", "failure", "info", "ready_ns")

    def __init__(self, info: IndicatorInfo, computed: AbstractSet[int]) -> None:
        self.info = info
        call = info.call
        # Bars never change; the values of another indicator may.
        self._continues = len(call.views) == 1 and not any(
            id(value) in computed for value in (*call.inputs, *call.keywords.values())
        )
        self._room: Floats | None = None
        """Where the values are that were continued, with room for later ones."""
        self.ready_ns = NEVER
        self.failure: Exception | None = None
        self._outputs = info.outputs
        self._reported = False

    def repeat(self, tick_ns: int) -> Repaint | None:
        """Compute the values anew and bind the views to them; return a past value that has changed, once."""
        track, call = self.info.track, self.info.call
        length = len(track.end)
        try:
            if self._continues and self._continue(length):
                return None
            outputs = call.repeat(length)
        except Exception as error:  # the user's function: many cannot use a short column, and raise anything
            if self.ready_ns != NEVER:
                raise StrategyError(
                    f"indicator {self.info.name} raised {describe_error(error)} for {length} bars, at the tick "
                    f"{format_ns(tick_ns)}; it had values before"
                ) from error
            self.failure = error
            no_value = np.full(length, np.nan)
            no_value.flags.writeable = False
            outputs = (no_value,) * len(call.views)
        else:
            self.failure = None
        repaint = None if self._reported else self._changed(outputs, tick_ns)
        for view, output in zip(call.views, outputs, strict=True):
            view._rebind(output)
        self._outputs = outputs
        self._room = None
        if self.ready_ns == NEVER:
            self.ready_ns = ready_at(track, outputs)
        self._reported = self._reported or repaint is not None
        return repaint

    def _continue(self, length: int) -> bool:
        """Compute the values of the added rows alone, where the function is known to give the same bits that way."""
        call, earlier = self.info.call, self._outputs[0]
        first = len(earlier)
        if self.ready_ns == NEVER or first == length:
            return False
        added = continued(call.function, *call.columns(), earlier, length)
        if added is None:
            return False
        room = self._with_room(length, earlier)
        room[first:length] = added
        output = room[:length]
        output.flags.writeable = False
        call.views[0]._rebind(output)
        self._outputs = (output,)
        return True

    def _with_room(self, length: int, earlier: Floats) -> Floats:
        """Return the array that holds the values of `earlier` at its beginning, with room for `length`."""
        room = self._room
        if room is not None and len(room) >= length:
            return room
        longer: Floats = np.empty(2 * length)
        longer[: len(earlier)] = earlier
        self._room = longer
        return longer

    def described(self) -> IndicatorInfo:
        """Return the indicator with its values so far."""
        inputs, keywords = self.info.call.columns()
        return replace(self.info, outputs=self._outputs, inputs=inputs, keywords=keywords, ready_ns=self.ready_ns)

    def _changed(self, outputs: Sequence[Floats], tick_ns: int) -> Repaint | None:
        """Return the first past value that differs by more than rounding."""
        shown = self.info.track.cursor.last + 1
        for old, new in zip(self._outputs, outputs, strict=True):
            rows = min(len(old), len(new), shown)
            before, after = old[:rows], new[:rows]
            if before.tobytes() == after.tobytes():  # the usual case, at the cost of a memcmp
                continue
            differing = np.flatnonzero(~values_agree(before, after))
            if len(differing):
                row = int(differing[0])
                return Repaint(
                    indicator=self.info.name,
                    bar_ns=int(self.info.track.start[row]),
                    tick_ns=tick_ns,
                    before=float(before[row]),
                    after=float(after[row]),
                )
        return None


def _growing(track: Track) -> _ResampledBars | _JoinedBars:
    origin = track.origin
    if isinstance(origin, Resampled):
        return _ResampledBars(track, origin)
    assert origin is not None, f"{track.label} has no origin"
    return _JoinedBars(track, origin)


class _ResampledBars:
    """Resampled bars: a long bar is added when it has ended."""

    def __init__(self, track: Track, origin: Resampled) -> None:
        self.track = track
        self._origin = origin
        self._bars = GrowingBars(origin.bars._series.rows(0, 0))
        self._row = 0
        """The row of the source with which the first long bar that has not been added begins."""
        self._continues = False
        """Whether the long bar of that row is known to begin with it."""
        self._next_end = 0
        """The end of that long bar; 0 while it is not known."""
        _bind(track, origin.bars, self._bars.series)

    def advance(self, now_ns: int) -> bool:
        """Add the long bars that have ended by `now_ns`; return whether there are any."""
        source = self._origin.source._series
        if now_ns < self._next_end or self._row >= len(source):
            return False
        tail = source.rows(self._row, len(source))
        long_bars, first_rows = resample_rows(
            tail, self._origin.timeframe, self._origin.calendar, keep_first=self._continues
        )
        complete = int(np.searchsorted(long_bars.end, now_ns, side="right"))
        own = self._bars.series
        # A bar that was shown after its long bar had ended comes too late for it.
        late = int(np.searchsorted(long_bars.start, own.start[-1], side="right")) if len(own) else 0
        if complete < len(long_bars):
            self._row += int(first_rows[complete])
            self._next_end = int(long_bars.end[complete])
            self._continues = True
        elif complete:
            self._row = len(source)
            self._next_end = 0
            self._continues = True
        if complete <= late:
            return False
        self._bars.extend(long_bars.rows(late, complete), complete - late)
        _bind(self.track, self._origin.bars, self._bars.series)
        return True


class _JoinedBars:
    """Joined bars: a row is added when all of its symbols have a bar of the same start."""

    def __init__(self, track: Track, origin: Joined) -> None:
        self.track = track
        self._origin = origin
        self._bars = [GrowingBars(part._series.rows(0, 0)) for part in origin.parts]
        self._rows = [0] * len(origin.sources)
        """The first row of each source that has not been looked at."""
        self._bind()

    def advance(self, now_ns: int) -> bool:
        """Add the rows that the symbols have in common by now; return whether there are any."""
        sources = [source._series for source in self._origin.sources]
        if any(row >= len(source) for row, source in zip(self._rows, sources, strict=True)):
            return False
        starts = [source.start[row:] for row, source in zip(self._rows, sources, strict=True)]
        common = reduce(lambda a, b: np.intersect1d(a, b, assume_unique=True), starts)
        # A symbol that has passed a start without a bar never has one there.
        passed = min(int(start[-1]) for start in starts)
        if len(common):
            rows = [np.searchsorted(source.start, common) for source in sources]
            end = np.max([source.end[row] for source, row in zip(sources, rows, strict=True)], axis=0)
            for bars, source, row in zip(self._bars, sources, rows, strict=True):
                bars.extend(_picked(source, row, common, end), len(common))
            self._bind()
        self._rows = [int(np.searchsorted(source.start, passed, side="right")) for source in sources]
        return bool(len(common))

    def _bind(self) -> None:
        for part, bars in zip(self._origin.parts, self._bars, strict=True):
            _bind(self.track, part, bars.series)
        self._origin.ts._array = self.track.start


def _picked(source: BarSeries, rows: NDArray[np.intp], start: Instants, end: Instants) -> BarSeries:
    """Return some rows of `source` with other starts and ends."""
    return replace(
        source,
        start=start,
        end=end,
        extra={name: column[rows] for name, column in source.extra.items()},
        history=0,
        **{name: getattr(source, name)[rows] for name in PRICE_COLUMNS},
    )


def _bind(track: Track, bars: SymbolBars, series: BarSeries) -> None:
    track.start, track.end = series.start, series.end
    bars._rebind(series)
