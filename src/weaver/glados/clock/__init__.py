"""Clocks: the only package that reads the time and sleeps. Other code receives a clock as a parameter."""

from __future__ import annotations

from weaver.glados.clock.backtest import BacktestClock
from weaver.glados.clock.base import BaseClock
from weaver.glados.clock.calendars import get_calendar
from weaver.glados.clock.drift import Drift
from weaver.glados.clock.factory import ClockConfig, create_clock
from weaver.glados.clock.realtime import RealtimeClock
from weaver.glados.clock.system import SystemClock, new_run_id, stopwatch_ns
from weaver.glados.clock.ticks import CallbackFailure, ClockGap, ClockTick, GapReason
from weaver.glados.clock.time_source import Reading, SystemTime, TimeSource

__all__ = [
    "BacktestClock",
    "BaseClock",
    "CallbackFailure",
    "ClockConfig",
    "ClockGap",
    "ClockTick",
    "Drift",
    "GapReason",
    "Reading",
    "RealtimeClock",
    "SystemClock",
    "SystemTime",
    "TimeSource",
    "create_clock",
    "get_calendar",
    "new_run_id",
    "stopwatch_ns",
]
