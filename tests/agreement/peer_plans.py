"""Plans for Weaver and its peers: whole runs of one kind of order, and episodes that have nothing to do with each other.

In a run, one fill that differs moves everything after it. So what is known to differ is asked for in episodes, which begin
and end flat: a difference stays in its own, and a test can say of each which rule of docs/fills.md explains it.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import NamedTuple

from peers import EURUSD, GOOG, Ask, Bars, Clear, Filled, Plan, Run, merged, same


class Scale(NamedTuple):
    """What is a usual size and a usual distance, as a fraction of the price, for some bars."""

    unit: float
    distance: float


SCALES = {GOOG: Scale(10, 0.02), EURUSD: Scale(10_000, 0.001)}


def side_of(number: int) -> str:
    return "sell" if number % 2 else "buy"


def better(side: str, price: float, fraction: float) -> float:
    """A price that is `fraction` better for who trades on that side: where a limit rests. Negative: where a stop does."""
    return price * (1 - fraction if side == "buy" else 1 + fraction)


def every(bars: Bars, step: int, scale: Scale, make: Callable[[str, float, float], Ask]) -> Plan:
    """`make(side, size, close)` every `step` bars, on both sides in turn, in five sizes; so the position turns often."""
    return {
        bar: [make(side_of(number), scale.unit * (number % 5 + 1), bars.close[bar])]
        for number, bar in enumerate(range(1, len(bars) - 1, step))
    }


def market_orders(bars: Bars, scale: Scale) -> Plan:
    return every(bars, 5, scale, lambda side, size, close: Ask(side, size))


def limit_orders(bars: Bars, scale: Scale) -> Plan:
    return every(
        bars, 2, scale, lambda side, size, close: Ask(side, size, limit=better(side, close, scale.distance), life=6)
    )


def stop_orders(bars: Bars, scale: Scale) -> Plan:
    return every(
        bars, 2, scale, lambda side, size, close: Ask(side, size, stop=better(side, close, -scale.distance), life=6)
    )


def all_kinds(bars: Bars, scale: Scale) -> Plan:
    """Market orders into a book of resting limits and stops on both sides."""
    plan: dict[int, list[Ask | Clear]] = {}
    for one in (limit_orders(bars, scale), stop_orders(bars, scale), market_orders(bars, scale)):
        for bar, asked in one.items():
            plan.setdefault(bar, []).extend(asked)
    return plan


def shorts_only(bars: Bars, scale: Scale) -> Plan:
    """Sold first and bought back later, ever again; never long."""
    plan: dict[int, list[Ask | Clear]] = {}
    for number, bar in enumerate(range(1, len(bars) - 8, 8)):
        size = scale.unit * (number % 5 + 1)
        plan[bar] = [Ask("sell", size, limit=bars.close[bar] * (1 - scale.distance))]  # at the open, mostly
        plan[bar + 4] = [Clear()]
    return plan


PLANS: Mapping[str, Callable[[Bars, Scale], Plan]] = {
    "market": market_orders,
    "limit": limit_orders,
    "stop": stop_orders,
    "all kinds": all_kinds,
    "short": shorts_only,
}


# Episodes.


class Episode(NamedTuple):
    """One order after bar `given`; everything is cleared after bar `cleared`."""

    given: int
    cleared: int
    asked: Ask


def episodes(bars: Bars, span: int, make: Callable[[int, float, str], Ask]) -> list[Episode]:
    """`make(number, close, side)` every `span` bars, buying and selling in turn, with two bars of rest between them."""
    starts = range(5, len(bars) - span, span)
    return [
        Episode(start, start + span - 3, make(number, bars.close[start], "sell" if number % 2 else "buy"))
        for number, start in enumerate(starts)
    ]


def plan_of(listed: Sequence[Episode]) -> Plan:
    plan: dict[int, list[Ask | Clear]] = {}
    for each in listed:
        plan.setdefault(each.given, []).append(each.asked)
        plan.setdefault(each.cleared, []).append(Clear())
    return plan


def brackets(kind: str, scale: Scale) -> Callable[[int, float, str], Ask]:
    """Entries of that kind with both legs at the same distance."""

    def make(number: int, close: float, side: str) -> Ask:
        away = {"market": 0.0, "limit": scale.distance / 2, "stop": -scale.distance / 2}[kind]
        entry = better(side, close, away)
        return Ask(
            side,
            scale.unit * (number % 5 + 1),
            limit=entry if kind == "limit" else None,
            stop=entry if kind == "stop" else None,
            stop_loss=better(side, entry, scale.distance),
            take_profit=better(side, entry, -scale.distance),
        )

    return make


def stop_limits(beyond: float, scale: Scale) -> Callable[[int, float, str], Ask]:
    """Stop-limits half a distance away, with their limit `beyond` (of a distance) behind the stop; negative: before it."""

    def make(number: int, close: float, side: str) -> Ask:
        stop = better(side, close, -scale.distance / 2)
        limit = better(side, close, -scale.distance * (0.5 + beyond))
        return Ask(side, scale.unit * (number % 5 + 1), stop=stop, limit=limit)

    return make


class Compared(NamedTuple):
    """An episode with both engines' fills."""

    episode: Episode
    ours: list[Filled]
    theirs: list[Filled]

    @property
    def agree(self) -> bool:
        return len(self.ours) == len(self.theirs) and all(map(same, self.ours, self.theirs))


def by_episode(listed: Sequence[Episode], ours: Run, theirs: Run) -> list[Compared]:
    """Both engines' fills, dealt out to the episodes; none is left over."""
    dealt = [
        Compared(
            each,
            [fill for fill in mine if each.given < fill.bar <= each.cleared + 1],
            [fill for fill in their if each.given < fill.bar <= each.cleared + 1],
        )
        for mine, their in [(merged(ours.fills), merged(theirs.fills))]
        for each in listed
    ]
    assert sum(len(each.ours) for each in dealt) == len(merged(ours.fills))
    assert sum(len(each.theirs) for each in dealt) == len(merged(theirs.fills))
    assert not ours.rejected
    assert not theirs.rejected
    return dealt


def signed(price: float | None, asked: Ask) -> float:
    """A price of an order as `Bars.mirrored` sees it."""
    assert price is not None
    return price if asked.buy else -price


def trigger_bar(bars: Bars, episode: Episode) -> int | None:
    """The bar that reaches the episode's stop, None where none does."""
    stop = signed(episode.asked.stop, episode.asked)
    for bar in range(episode.given + 1, episode.cleared + 1):
        if bars.mirrored(bar, episode.asked.side)[1] >= stop:
            return bar
    return None


class EntryBar(NamedTuple):
    """What the bar of a bracket's entry says about its legs, by the table of docs/fills.md, written down once more."""

    loss: bool
    """The stop-loss was reached after the entry, whatever the path was."""
    profit: bool
    """So was the take-profit."""
    low_reached: bool
    """The stop-loss lies within the bar, be it before or after the entry."""
    exit: float | None
    """What the leg that fills on this bar has to fill at, as `Bars.mirrored` sees it; None where none does."""


def entry_bar(bars: Bars, each: Compared) -> EntryBar | None:
    """None where the entry did not fill."""
    if not each.ours:
        return None
    asked, entry = each.episode.asked, signed(each.ours[0].price, each.episode.asked)
    if each.ours[0].side != asked.side:  # both in one bar, sorted by side
        entry = signed(each.ours[1].price, asked)
    o, h, low, c = bars.mirrored(each.ours[0].bar, asked.side)
    stop_loss, take_profit = signed(asked.stop_loss, asked), signed(asked.take_profit, asked)
    low_reached = low <= stop_loss
    if asked.limit is not None and o > signed(asked.limit, asked):
        loss, profit = low_reached, c >= take_profit
    elif asked.stop is not None and o < signed(asked.stop, asked):
        loss, profit = c <= stop_loss, h >= take_profit
    else:
        loss, profit = low_reached, h >= take_profit
        if o >= take_profit:
            return EntryBar(loss, profit, low_reached, o)
    if loss or (profit and low_reached):
        return EntryBar(loss, profit, low_reached, min(stop_loss, entry))
    return EntryBar(loss, profit, low_reached, max(take_profit, entry) if profit else None)


def assert_exits_of_entry_bars(bars: Bars, compared: Sequence[Compared]) -> int:
    """Weaver leaves on the entry's own bar where the table says so, at that price, and nowhere else. Gives their count."""
    count = 0
    for each in compared:
        legs = entry_bar(bars, each)
        own = [
            signed(fill.price, each.episode.asked)
            for fill in each.ours
            if fill.bar == each.ours[0].bar and fill.side != each.episode.asked.side
        ]
        assert own == ([] if legs is None or legs.exit is None else [legs.exit]), shown(bars, [each])
        count += len(own)
    return count


def opens_beyond_target(bars: Bars, each: Compared) -> bool:
    """Whether Weaver's exit took the profit at an open, in a bar that reached the stop-loss later."""
    asked = each.episode.asked
    if len(each.ours) < 2:
        return False
    leave = max(each.ours, key=lambda fill: (fill.bar, fill.side != asked.side))
    o, _, low, _ = bars.mirrored(leave.bar, asked.side)
    beyond = o >= signed(asked.take_profit, asked) and low <= signed(asked.stop_loss, asked)
    return beyond and leave.price == bars.open[leave.bar]


def shown(bars: Bars, differing: Sequence[Compared]) -> str:
    """A few differing episodes in words, for a failing test."""
    lines = []
    for each in differing[:5]:
        lines.append(f"{each.episode.asked} after bar {each.episode.given} ({bars.day(each.episode.given)})")
        lines.append(f"   Weaver {each.ours}\n   peer   {each.theirs}")
        lines += [
            f"   bar {bar}: {bars.open[bar]} {bars.high[bar]} {bars.low[bar]} {bars.close[bar]}"
            for bar in sorted({fill.bar for fill in (*each.ours, *each.theirs)})
        ]
    return "\n".join(lines)
