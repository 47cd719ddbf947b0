"""Every error that Weaver raises on purpose, as one tree, named for what the caller can do about it.

    WeaverError
    ├── ConfigError                  a setting or a parameter is wrong: change it
    │   ├── ParameterError           a strategy's parameter: unknown name, wrong type
    │   ├── TimeframeError           not a timeframe, or one that does not divide its parent evenly
    │   ├── NaiveDatetimeError       a datetime without a time zone
    │   ├── CalendarError            a session calendar that does not exist, or does not know these years
    │   └── MissingExtra             an optional dependency is not installed
    ├── DataError                    the bars are wrong: mend the file or say how to read it
    │   ├── UnknownSymbol            not in the data; names the nearest
    │   ├── OffGridError             bars that do not start on a boundary of their timeframe
    │   ├── BarsRefused              a file with lines that cannot be bars; lists them, and the repairs
    │   └── NoBars                   there are no bars to run on
    ├── StrategyError                the strategy's own code
    │   ├── StrategyLoadError        the file or class cannot be loaded
    │   ├── StrategyCrashed          a callback raised; names bar, line and parameters
    │   ├── SymbolRequired           several symbols in the run, and the call names none
    │   ├── IndicatorError           an indicator was called wrongly (a period below 1, columns of unequal length)
    │   └── OrderError               a call that can never be an order (no quantity, both price and trail)
    ├── ClockError                   time
    │   ├── ClockRunning             started twice
    │   ├── ClockMovedBackwards      a test clock was asked to go back
    │   └── MissedBoundary           a boundary that bars need was never ticked
    ├── MessageError                 commands or updates of a run that cannot be encoded, or read by this version
    ├── UnsafeFork                   this process was forked after Polars had started its threads: spawn workers
    ├── EventError                   an event that the log refuses; nothing was written
    │   ├── UnknownEventType         its payload's class is not registered
    │   ├── EventNotSerialisable     it cannot become JSON and come back equal (NaN, infinity, NUL)
    │   ├── EventTooLarge            it exceeds the limit of one event
    │   └── BatchTooLarge            they exceed the limit of one append
    └── StoreError                   the database
        ├── StoreUnavailable         it cannot be reached; nothing was done, try again
        ├── OutcomeUnknown           the connection broke during the commit: check before you repeat
        ├── SchemaMismatch           its tables are older or newer than this Weaver; names the command
        ├── MissingPrivilege         the role lacks a privilege; names it and who can grant it
        ├── LeaseLost                another process runs this consumer; the last batch was rolled back
        ├── InvalidRunId             a run id that Weaver did not make: no file is touched for it
        └── DatabaseError            the server itself, our own or yours
            ├── PostgresNotFound     there are no server programs
            ├── DatabaseStartError   it does not start; quotes its message
            ├── DatabaseDiskFull     the disk is full: nothing was written, nothing is lost; free space and retry
            ├── DatabaseVersionError  the data belong to another version
            ├── DatabaseInUse        others use it, or it is not empty
            └── BackupError          a backup cannot be written, read or restored

A docstring's first line is the default message. Messages name the thing, the value and the way out. A message of more than
10,000 characters is cut in its middle.
"""

from __future__ import annotations

from typing import Any

from weaver.core.text import brief, cut_middle, visible

__all__ = [
    "BackupError",
    "BarsRefused",
    "BatchTooLarge",
    "CalendarError",
    "ClockError",
    "ClockMovedBackwards",
    "ClockRunning",
    "ConfigError",
    "DataError",
    "DatabaseDiskFull",
    "DatabaseError",
    "DatabaseInUse",
    "DatabaseStartError",
    "DatabaseVersionError",
    "EventError",
    "EventNotSerialisable",
    "EventTooLarge",
    "IndicatorError",
    "InvalidRunId",
    "LeaseLost",
    "MessageError",
    "MissedBoundary",
    "MissingExtra",
    "MissingPrivilege",
    "NaiveDatetimeError",
    "NoBars",
    "OffGridError",
    "OrderError",
    "OutcomeUnknown",
    "ParameterError",
    "PostgresNotFound",
    "SchemaMismatch",
    "StoreError",
    "StoreUnavailable",
    "StrategyCrashed",
    "StrategyError",
    "StrategyLoadError",
    "SymbolRequired",
    "TimeframeError",
    "UnknownEventType",
    "UnknownSymbol",
    "UnsafeFork",
    "WeaverError",
]


class WeaverError(Exception):
    """Something in Weaver went wrong."""

    def __init__(self, message: str | None = None) -> None:
        message = message or (type(self).__doc__ or "").strip().splitlines()[0]
        # Values in it come from files, venues and databases. Cut twice: an escape is longer than its character.
        super().__init__(cut_middle(visible(cut_middle(message), multiline=True)))


class ConfigError(WeaverError):
    """A setting is wrong."""


class ParameterError(ConfigError):
    """A strategy's parameter is wrong."""


class TimeframeError(ConfigError):
    """Not a timeframe."""


class NaiveDatetimeError(ConfigError):
    """A datetime without a time zone was given."""


class CalendarError(ConfigError):
    """A session calendar does not exist, or does not know these years."""


class MissingExtra(ConfigError):
    """An optional dependency is not installed."""

    def __init__(self, package: str, extra: str, purpose: str) -> None:
        self._given = (package, extra, purpose)
        super().__init__(
            f"{purpose} needs {brief(package)}, which is not installed; "
            f"install it with: pip install 'weaver-trading[{extra}]' (or: pip install {package})"
        )

    def __reduce__(self) -> tuple[Any, ...]:  # errors travel back from worker processes
        return MissingExtra, self._given


class DataError(WeaverError):
    """The bars are wrong."""


class UnknownSymbol(DataError):
    """A symbol is not in the data."""


class OffGridError(DataError):
    """Bars do not start on a boundary of their timeframe."""


class BarsRefused(DataError):
    """A file holds lines that cannot be bars."""


class NoBars(DataError):
    """There are no bars to run on."""


class StrategyError(WeaverError):
    """The strategy's own code is wrong."""


class StrategyLoadError(StrategyError):
    """A strategy cannot be loaded."""


class StrategyCrashed(StrategyError):
    """A strategy's callback raised.

    `result` is the Result of the run up to that point, if there is one; the strategy's own exception is `__cause__`.
    """

    result: Any = None


class SymbolRequired(StrategyError):
    """The run has several symbols; say which one."""


class IndicatorError(StrategyError, ValueError):
    """An indicator was called wrongly."""


class OrderError(StrategyError, ValueError):
    """This call can never become an order."""


class ClockError(WeaverError):
    """A clock was used wrongly, or time went wrong."""


class ClockRunning(ClockError):
    """The clock is already running."""


class ClockMovedBackwards(ClockError):
    """A clock cannot be moved backwards."""


class MissedBoundary(ClockError):
    """A boundary that bars need was never ticked."""


class MessageError(WeaverError):
    """A message between the parts of a run cannot be encoded or read."""


class UnsafeFork(WeaverError):
    """This process was forked after Polars had started its threads."""


class EventError(WeaverError):
    """An event cannot go into the log."""


class UnknownEventType(EventError):
    """The class of a payload is not registered."""


class EventNotSerialisable(EventError):
    """An event cannot become JSON and come back equal."""


class EventTooLarge(EventError):
    """An event is too large."""


class BatchTooLarge(EventError):
    """Too many events in one append."""


class StoreError(WeaverError):
    """The database did not carry out a request."""


class StoreUnavailable(StoreError):
    """The database cannot be reached."""


class OutcomeUnknown(StoreError):
    """The connection to the database broke during the commit."""


class SchemaMismatch(StoreError):
    """The database's tables are not those of this Weaver."""


class MissingPrivilege(StoreError):
    """The database's role lacks a privilege."""


class LeaseLost(StoreError):
    """Another process has taken this consumer over."""


class InvalidRunId(StoreError):
    """A run id that Weaver did not make."""


class DatabaseError(StoreError):
    """The database cannot carry out a request."""


class PostgresNotFound(DatabaseError):
    """The programs of PostgreSQL were not found."""


class DatabaseStartError(DatabaseError):
    """The database does not start."""


class DatabaseDiskFull(DatabaseError):
    """The disk of the database is full."""


class DatabaseVersionError(DatabaseError):
    """The data belong to another version."""


class DatabaseInUse(DatabaseError):
    """The database is in use."""


class BackupError(DatabaseError):
    """A backup cannot be written, read or restored."""
