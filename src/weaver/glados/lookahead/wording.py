"""Wording: the text of findings, which names bars, commands and values. It makes no decision."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from weaver.core.bars import BarSeries, Instants
from weaver.core.instants import format_ns
from weaver.core.orders import Cancel, Command, Link, Modify, OrderRequest
from weaver.core.text import brief
from weaver.core.timeframe import Timeframe
from weaver.glados.lookahead.differences import DecisionDifference, IndicatorDifference

__all__ = ["Wording", "day_of"]


class Wording:
    """Describes the bars and commands of one run. `ticks` are the instants (ns) at which its bars end, rising."""

    def __init__(self, series: Mapping[str, BarSeries], ticks: Instants) -> None:
        self._series = series
        self._ticks = ticks
        self._timeframe = next(iter(series.values())).timeframe

    def decision(self, difference: DecisionDifference, when: str) -> tuple[tuple[str, int] | None, str]:
        """Return the bar of `difference` and its sentence: "at bar 57 it orders buy 1, but nothing when ..."."""
        commands = (*difference.expected, *difference.actual)
        symbol = next((command.symbol for command in commands if isinstance(command, OrderRequest)), None)
        expected, actual = self.describe(difference.expected), self.describe(difference.actual)
        if expected == actual:
            expected, actual = repr(difference.expected), repr(difference.actual)
        text = f"{self.place(difference.tick, symbol)} it orders {expected}, but {actual} {when}"
        return self.bar_at(difference.tick, symbol), text

    def bar_at(self, tick: int, symbol: str | None = None) -> tuple[str, int] | None:
        """Return (symbol, row) of the last bar that has ended by `tick` (ns); None before the first."""
        names = [symbol] if symbol is not None else list(self._series)
        best: tuple[int, str, int] | None = None
        for name in names:
            ends = self._series[name].end
            row = int(np.searchsorted(ends, tick, side="right")) - 1
            if row >= 0 and (best is None or int(ends[row]) > best[0]):
                best = (int(ends[row]), name, row)
        return None if best is None else best[1:]

    def place(self, tick: int, symbol: str | None = None) -> str:
        """Name the last bar that has ended by `tick` (ns): "at bar 57 (2001-05-23)"."""
        where = self.bar_at(tick, symbol)
        if where is None:
            return "before the first bar"
        name, row = where
        of = f" of {name}" if len(self._series) > 1 else ""
        return f"at bar {row} ({day_of(int(self._series[name].start[row]), self._timeframe)}){of}"

    def later(self, row: int, how: str) -> str:
        """Say how the bars after the tick number `row` were changed: "bar 58 and later are removed"."""
        count = len(self._ticks) - row - 1
        bars = f"bar {row + 1:,} is" if count == 1 else f"bar {row + 1:,} and later are"
        if len(self._series) > 1:
            symbol, last = self.bar_at(int(self._ticks[row])) or (next(iter(self._series)), 0)
            bars = f"the bars after {day_of(int(self._series[symbol].start[last]), self._timeframe)} are"
        return f"{bars} {how}"

    def values(self, changed: IndicatorDifference, when: str) -> str:
        """Say how an indicator changed: "changes when ... (from 1 to 2)"."""
        if changed.actual is None:
            return f"has no value {when}"
        return f"changes {when} (from {changed.expected:.10g} to {changed.actual:.10g})"

    def describe(self, commands: Sequence[Command]) -> str:
        """Return commands as text: "buy 1 AAPL, cancel order 3", or "nothing"."""
        return ", ".join(self._describe(command) for command in commands) or "nothing"

    def _describe(self, command: Command) -> str:
        match command:
            case OrderRequest():
                terms = [
                    f"{'close' if command.exit else command.side.value} {self._quantity(command):g} {command.symbol}"
                ]
                if command.parent is not None:
                    terms[0] = f"{command.side.value} to exit order {command.parent}"
                terms += [
                    f"{name} {value:.10g}"
                    for name in ("limit", "stop")
                    if (value := getattr(command, name)) is not None
                ]
                if command.trail is not None:
                    amount, percent = command.trail.amount, command.trail.percent
                    terms.append(f"trailing by {percent:g} %" if amount is None else f"trailing by {amount:g}")
                if command.tif != "gtc":
                    terms.append(command.tif.value)
                if command.tag is not None and command.parent is None:
                    terms.append(f"tag {brief(command.tag)}")
                return " ".join(terms)
            case Cancel():
                return f"cancel order {command.number}"
            case Modify():
                terms = [f"modify order {command.number}"]
                terms += [
                    f"{name} {value:.10g}" for name in ("limit", "stop", "lots") if (value := getattr(command, name))
                ]
                return " ".join(terms)
            case Link():
                return f"link orders {', '.join(map(str, command.numbers))}"

    def _quantity(self, request: OrderRequest) -> float:
        return self._series[request.symbol].instrument.to_quantity(request.lots)


def day_of(start_ns: int, timeframe: Timeframe) -> str:
    """Return the start of a bar as text: its date for daily and longer bars, otherwise date and time in UTC."""
    text = format_ns(start_ns)
    return text[:10] if timeframe.is_daily_or_longer else text
