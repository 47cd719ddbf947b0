"""Session calendars from the library `exchange-calendars`, an extra that is imported when a calendar is first used.

All results come from sessions that the library knows: years outside its range are an error, never an empty result. It does
not know halts inside a session, nor decisions of an exchange after the library's release.
"""

from __future__ import annotations

import functools
import threading
import warnings
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from weaver.core.calendar import Sessions
from weaver.core.durations import duration_text
from weaver.core.errors import CalendarError, MissingExtra, OffGridError
from weaver.core.instants import NS_PER_DAY, format_ns, from_ns, to_ns
from weaver.core.suggest import nearest
from weaver.core.text import brief
from weaver.core.timeframe import Timeframe

__all__ = ["ExchangeCalendar", "get_calendar"]

Instants = NDArray[np.int64]

_NO_BREAK = np.iinfo(np.int64).min
# A session may open on the day before its date (futures) and close on the day after it.
_MARGIN = 2 * NS_PER_DAY
# Sessions are loaded in whole blocks of years, so that neighbouring queries cost one load; one block takes about 50 ms.
_BLOCK_YEARS = 10
_WEEK = Timeframe("1w")
_LONGEST_REASON = 300
# One lock for all calendars, since warnings are silenced for the whole process while one is loaded.
_LOADING = threading.Lock()


def get_calendar(name: str) -> ExchangeCalendar:
    """Return the calendar of an exchange by its ISO 10383 code (`XNYS`) or usual alias (`NYSE`), upper or lower case.

    Raises `MissingExtra` without the library and `CalendarError` with the nearest names for an unknown name.
    """
    library = _library()
    names = {known.upper(): known for known in library.get_calendar_names(include_aliases=True)}
    known = names.get(name.strip().upper())
    if known is None:
        near = nearest(name.strip(), names, most=3, cutoff=0.5)
        hint = (
            f"did you mean {', '.join(repr(names[each]) for each in near)}?" if near else "for example 'XNYS' or 'XLON'"
        )
        raise CalendarError(f"calendar {brief(name)} does not exist; {hint}")
    return _calendar(library.resolve_alias(known))


def _fabricated(name: str, **span: Any) -> Any:
    """Return the library's own calendar, without its warnings about deprecated calls into pandas."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            return _library().get_calendar(name, **span)
        except Exception as error:
            reason = str(error) if len(str(error)) < _LONGEST_REASON else f"{str(error)[:_LONGEST_REASON]} ..."
            raise CalendarError(f"exchange-calendars cannot create calendar {brief(name)}: {reason}") from error


@functools.cache
def _calendar(name: str) -> ExchangeCalendar:
    return ExchangeCalendar(name)


def _library() -> Any:
    try:
        import exchange_calendars
    except ImportError:
        raise MissingExtra("exchange-calendars", "calendars", "a session calendar") from None
    return exchange_calendars


class _Table(NamedTuple):
    """Sessions of [first_day, past_day), and the periods of unbroken trading in them (two where there is a lunch break)."""

    first_day: int
    past_day: int
    sessions: Sessions
    part_open: Instants
    part_close: Instants
    part_date: Instants
    week: Instants
    week_close: Instants


class ExchangeCalendar:
    """The sessions of one exchange; see `weaver.core.calendar.SessionCalendar` for the contract of each method.

    Years are loaded on demand and kept. It may be used from several threads, and pickles as its name.
    """

    def __init__(self, name: str) -> None:
        self.name = name
        self._table: _Table | None = None
        self._bounds: tuple[int, int] | None = None

    def sessions(self, first_ns: int, last_ns: int) -> Sessions:
        """Return the sessions that overlap [first_ns, last_ns]; each is from its date (00:00 UTC) or open to its close."""
        table = self._covering(first_ns, last_ns)
        date, open_, close = table.sessions
        low = int(np.searchsorted(close, first_ns, side="right"))
        high = int(np.searchsorted(np.minimum(date, open_), last_ns, side="right"))
        return Sessions(date[low:high], open_[low:high], close[low:high])

    def bar_ends(self, starts: Instants, timeframe: Timeframe) -> Instants:
        """Return the end of each bar by its start. Raises `OffGridError` that names the first start off the grid."""
        if not len(starts):
            return np.empty(0, dtype=np.int64)
        table, index = self._locate(starts, timeframe)
        if timeframe.is_intraday:
            return np.minimum(starts + timeframe.ns, table.part_close[index])
        return (table.week_close if timeframe == _WEEK else table.sessions.close)[index]

    def session_ids(self, starts: Instants, timeframe: Timeframe) -> Instants:
        """Return the session date (00:00 UTC) of each bar; the start of a daily or weekly bar is that date."""
        if not len(starts):
            return np.empty(0, dtype=np.int64)
        table, index = self._locate(starts, timeframe)
        return table.part_date[index] if timeframe.is_intraday else np.array(starts, dtype=np.int64)

    def boundaries(self, first_ns: int, last_ns: int, timeframe: Timeframe) -> Instants:
        """Return all ticks in [first_ns, last_ns], strictly rising: the opens of trading and the ends of bars."""
        if last_ns < first_ns:
            return np.empty(0, dtype=np.int64)
        table = self._covering(first_ns, last_ns)
        if not timeframe.is_intraday:
            opens, closes = table.sessions.open, table.sessions.close
            if timeframe == _WEEK:
                closes = table.week_close
                opens = opens[np.searchsorted(table.sessions.date, table.week, side="left")]
            ticks = np.union1d(_within(opens, first_ns, last_ns), _within(closes, first_ns, last_ns))
            return ticks.astype(np.int64)
        low = int(np.searchsorted(table.part_close, first_ns, side="left"))
        high = int(np.searchsorted(table.part_open, last_ns, side="right"))
        opens, closes, step = table.part_open[low:high], table.part_close[low:high], timeframe.ns
        # Of each period only the part inside the range is computed, so that a narrow query stays cheap.
        skipped = np.maximum(0, -((opens - first_ns) // step))
        last = np.minimum(-((opens - closes) // step), (last_ns - opens) // step)
        counts = np.maximum(0, last - skipped + 1)
        within = np.arange(int(counts.sum())) - np.repeat(np.cumsum(counts) - counts, counts)
        ticks = np.minimum(np.repeat(opens + skipped * step, counts) + within * step, np.repeat(closes, counts))
        # A close that is not a multiple of the step may be in the range although the multiple after it is not.
        ticks = np.union1d(ticks, _within(closes, first_ns, last_ns))
        return _within(ticks, first_ns, last_ns).astype(np.int64)

    def __reduce__(self) -> tuple[Any, ...]:
        return get_calendar, (self.name,)

    def __repr__(self) -> str:
        return f"get_calendar({self.name!r})"

    def _locate(self, starts: Instants, timeframe: Timeframe) -> tuple[_Table, Instants]:
        """Return the row of each bar in the table: of its period of trading (intraday), its session or its week."""
        table = self._covering(int(starts.min()), int(starts.max()))
        if timeframe.is_intraday:
            index = np.searchsorted(table.part_open, starts, side="right") - 1
            opens, closes = table.part_open[index], table.part_close[index]
            wrong = (index < 0) | (starts >= closes) | ((starts - opens) % timeframe.ns != 0)
        else:
            names = table.week if timeframe == _WEEK else table.sessions.date
            index = np.minimum(np.searchsorted(names, starts), len(names) - 1)
            wrong = names[index] != starts
        if wrong.any():
            raise OffGridError(self._off_grid(table, starts[wrong], timeframe))
        return table, np.asarray(index, dtype=np.int64)

    def _off_grid(self, table: _Table, wrong: Instants, timeframe: Timeframe) -> str:
        ts, more = int(wrong[0]), len(wrong) - 1
        others = f" ({more} more like it)" if more else ""
        text = f"{format_ns(ts)} is not the start of a {timeframe} bar of calendar {self.name!r}{others}: "
        if not timeframe.is_intraday:
            offset = ts - (timeframe.bar_start(ts))
            if offset:
                word = "its Monday" if timeframe == _WEEK else "its session date"
                return f"{text}such a bar is named by {word} at 00:00 UTC, and this is {duration_text(offset)} after it"
            unit = "week" if timeframe == _WEEK else "day"
            return f"{text}there is no session on that {unit} ({from_ns(ts):%A}); leave the bar out or use no calendar"
        index = int(np.searchsorted(table.part_open, ts, side="right")) - 1
        if index >= 0 and ts < table.part_close[index]:
            offset = (ts - int(table.part_open[index])) % timeframe.ns
            return (
                f"{text}it is {duration_text(offset)} after the bar start {format_ns(ts - offset)}; bars are aligned to the "
                f"open at {format_ns(int(table.part_open[index]))}. Resample the data to that grid or use no calendar"
            )
        around = []
        if index >= 0:
            around.append(f"{duration_text(ts - int(table.part_close[index]))} after the last close")
        if index + 1 < len(table.part_open):
            opens = int(table.part_open[index + 1])
            around.append(f"{duration_text(opens - ts)} before trading opens at {format_ns(opens)}")
        return f"{text}the exchange is closed then; it is {' and '.join(around)}. Drop such bars or use no calendar"

    def _covering(self, first_ns: int, last_ns: int) -> _Table:
        """Return the table with at least the sessions that touch [first_ns, last_ns]."""
        table = self._table
        if table is None or first_ns - _MARGIN < table.first_day or last_ns + _MARGIN > table.past_day:
            with _LOADING:
                table = self._table = self._load(first_ns, last_ns)
        return table

    def _load(self, first_ns: int, last_ns: int) -> _Table:
        low, high = first_ns - _MARGIN, last_ns + _MARGIN
        if self._bounds is None:
            try:
                return self._read(_block(self._first(low)), _block(self._past(high), 1))
            except CalendarError:
                # Years that it does not know are the usual reason; for any other, the next attempt raises it again.
                self._bounds = self._known_range()
        earliest, latest = self._bounds
        if first_ns < earliest or last_ns > latest:
            raise CalendarError(
                f"calendar {self.name!r} knows {_day(earliest)} to {_day(latest)}, not {_day(first_ns)} to "
                f"{_day(last_ns)}; choose a range inside, a newer exchange-calendars, or no calendar"
            )
        low, high = max(low, earliest), min(high, latest)
        table = self._table
        if table is not None and table.first_day <= low and high < table.past_day:
            return table
        return self._read(max(_block(self._first(low)), earliest), min(_block(self._past(high), 1), latest + 1))

    def _first(self, ts_ns: int) -> int:
        return ts_ns if self._table is None else min(ts_ns, self._table.first_day)

    def _past(self, ts_ns: int) -> int:
        return ts_ns if self._table is None else max(ts_ns, self._table.past_day - 1)

    def _known_range(self) -> tuple[int, int]:
        calendar = _fabricated(self.name)
        earliest, latest = calendar.bound_min(), calendar.bound_max()
        return (
            # Instants of the library are int64 nanoseconds, so the years 1678 to 2261 are the widest range that it can hold.
            to_ns("1678-01-01") if earliest is None else to_ns(earliest.date()),
            to_ns("2261-12-31") if latest is None else to_ns(latest.date()) + NS_PER_DAY - 1,
        )

    def _read(self, first_day: int, past_day: int) -> _Table:
        calendar = _fabricated(
            self.name, start=from_ns(first_day).replace(tzinfo=None), end=from_ns(past_day - 1).date()
        )
        date, opens, closes = (
            np.array(column, dtype=np.int64)
            for column in (calendar.sessions_nanos, calendar.opens_nanos, calendar.closes_nanos)
        )
        pauses = np.array(calendar.break_starts_nanos, dtype=np.int64)
        resumes = np.array(calendar.break_ends_nanos, dtype=np.int64)
        broken = pauses != _NO_BREAK
        part_open = np.concatenate((opens, resumes[broken]))
        part_close = np.concatenate((np.where(broken, pauses, closes), closes[broken]))
        part_date = np.concatenate((date, date[broken]))
        order = np.argsort(part_open, kind="stable")
        weeks = _WEEK.bar_starts(date)
        last_of_week = np.flatnonzero(np.append(weeks[1:] != weeks[:-1], True))
        table = _Table(
            first_day,
            past_day,
            Sessions(date, opens, closes),
            part_open[order],
            part_close[order],
            part_date[order],
            weeks[last_of_week],
            closes[last_of_week],
        )
        for column in (*table.sessions, *table[3:]):
            column.flags.writeable = False
        return table


def _within(ticks: Instants, first_ns: int, last_ns: int) -> Instants:
    low = np.searchsorted(ticks, first_ns, side="left")
    return ticks[low : np.searchsorted(ticks, last_ns, side="right")]


def _block(ts_ns: int, after: int = 0) -> int:
    """Return the start of the block of years that contains `ts_ns`, or of a later one by `after` blocks."""
    year = from_ns(ts_ns).year // _BLOCK_YEARS * _BLOCK_YEARS + after * _BLOCK_YEARS
    return to_ns(f"{year:04d}-01-01")


def _day(ts_ns: int) -> str:
    return format_ns(ts_ns)[:10]
