"""Factory: creates the clock for a configuration.

`backtest` gets a `BacktestClock` over the run's stretch of time; `paper` and `live` get a `RealtimeClock`.
"""

from __future__ import annotations

from datetime import date, datetime
from functools import partial

import msgspec
import numpy as np

from weaver.core.calendar import SessionCalendar
from weaver.core.errors import ConfigError, NoBars, OffGridError
from weaver.core.instants import format_ns, to_ns
from weaver.core.run_config import RunConfig, RunMode
from weaver.core.text import brief
from weaver.core.timeframe import Timeframe
from weaver.glados.clock.backtest import BacktestClock
from weaver.glados.clock.base import BaseClock
from weaver.glados.clock.grid import SessionGrid
from weaver.glados.clock.realtime import RealtimeClock, check_spin

__all__ = ["ClockConfig", "create_clock"]


class ClockConfig(msgspec.Struct, frozen=True, kw_only=True):
    """The settings of a clock; wrong or contradictory values raise `ConfigError` that names them.

    `start_time` and `end_time` (both included) belong to a backtest and are required there; `spin` (see `RealtimeClock`)
    belongs to paper and live, `backpressure` to a backtest. Times may be any value that `to_ns` takes and `timeframe` may
    be text; they are stored as int nanoseconds since 1970-01-01 UTC and as a `Timeframe`.
    """

    mode: RunMode | str
    timeframe: Timeframe | str
    start_time: datetime | date | str | int | None = None
    end_time: datetime | date | str | int | None = None
    calendar: str | None = None
    backpressure: bool = False
    spin: float = 0.0

    def __post_init__(self) -> None:
        try:
            mode = RunMode(self.mode)
        except ValueError:
            raise ConfigError(
                f"mode={brief(self.mode)}: choose one of {', '.join(map(repr, map(str, RunMode)))}"
            ) from None
        msgspec.structs.force_setattr(self, "mode", mode)
        msgspec.structs.force_setattr(self, "timeframe", Timeframe.of(self.timeframe))
        for name in ("start_time", "end_time"):
            value = getattr(self, name)
            if mode is RunMode.BACKTEST and value is None:
                raise ConfigError(f"{name} is missing: a backtest's clock needs start_time and end_time")
            if mode is not RunMode.BACKTEST and value is not None:
                raise ConfigError(
                    f"{name}={brief(value)} does not apply to a {mode} clock, which starts now; leave it out"
                )
            if value is not None:
                msgspec.structs.force_setattr(self, name, to_ns(value))
        if self.start_time is not None and self.end_time is not None:
            first, last = to_ns(self.start_time), to_ns(self.end_time)
            if first > last:
                raise ConfigError(f"start_time={format_ns(first)} is after end_time={format_ns(last)}; swap them")
        if not isinstance(self.backpressure, bool):
            raise ConfigError(f"backpressure={brief(self.backpressure)}: must be True or False")
        if self.calendar is not None and not (isinstance(self.calendar, str) and self.calendar.strip()):
            raise ConfigError(
                f"calendar={brief(self.calendar)}: must be the name of an exchange, such as 'XNYS', or None"
            )
        if mode is RunMode.BACKTEST and self.spin:
            raise ConfigError(f"spin={brief(self.spin)} does not apply to a backtest's clock; leave it out")
        check_spin(self.spin)
        if mode is not RunMode.BACKTEST and self.backpressure:
            raise ConfigError(
                f"backpressure=True does not apply to a {mode} clock, as time does not wait; leave it out"
            )


def create_clock(config: ClockConfig | RunConfig) -> BaseClock:
    """Return the clock for `config`, not started.

    A `RunConfig` of a backtest must have `start` and `end`; the clock then ticks from the start of the first bar that
    starts in [start, end) to the end of the last one.
    """
    if isinstance(config, RunConfig):
        if config.mode is not RunMode.BACKTEST:
            return RealtimeClock(config.timeframe, calendar=config.calendar)
        first, last = _period(config)
        return BacktestClock(first, last, config.timeframe, calendar=config.calendar)
    if config.start_time is not None and config.end_time is not None:
        return BacktestClock(
            config.start_time,
            config.end_time,
            config.timeframe,
            calendar=config.calendar,
            backpressure=config.backpressure,
        )
    return RealtimeClock(config.timeframe, calendar=config.calendar, spin=config.spin)


def _period(config: RunConfig) -> tuple[int, int]:
    """Return the start of the first bar that starts in [start, end), and the end of the last one."""
    if config.start is None or config.end is None:
        missing = "start" if config.start is None else "end"
        raise ConfigError(
            f"{missing} is None: a backtest's clock needs both; the first and last bar of the data give them"
        )
    timeframe, start, end = config.timeframe, config.start, config.end
    nothing = NoBars(f"no {timeframe} bar starts in [{format_ns(start)}, {format_ns(end)}); choose a longer period")
    if config.calendar is None:
        if not timeframe.count(start, end):
            raise nothing
        return timeframe.next_bar_start(start - 1), timeframe.next_bar_start(end - 1)
    from weaver.glados.clock.calendars import get_calendar

    calendar = get_calendar(config.calendar)
    if timeframe.is_intraday:
        grid = SessionGrid(timeframe, calendar)
        first = next(filter(partial(_bar_end, calendar, timeframe), grid.between(start, end - 1)), None)
        if first is None:
            raise nothing
        last, past = None, end - 1
        while last is None:
            # Between two bar starts there are at most two ends, so this takes a step or two back.
            past = (grid.ends(first, past) or (first, first))[1] - 1
            last = _bar_end(calendar, timeframe, past + 1)
        return first, last
    sessions = calendar.sessions(start, end + timeframe.ns)
    names = timeframe.bar_starts(sessions.date)
    chosen = (names >= start) & (names < end)
    if not chosen.any():
        raise nothing
    return int(sessions.open[chosen][0]), int(sessions.close[chosen][-1])


def _bar_end(calendar: SessionCalendar, timeframe: Timeframe, boundary: int) -> int | None:
    """Return the end of the bar that starts at `boundary`; None where only a bar ends there."""
    try:
        return int(calendar.bar_ends(np.array([boundary], dtype=np.int64), timeframe)[0])
    except OffGridError:
        return None
