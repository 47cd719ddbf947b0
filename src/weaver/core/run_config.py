"""RunConfig: everything that identifies a run, as one frozen value that survives JSON unchanged.

Two runs with equal configs over equal data make the same decisions. It holds no secret and no path of this machine, since it
is stored in the event log and shown to others; `weaver.glados.wiring` knows where bars and strategy files are.
"""

from __future__ import annotations

import math
import re
from collections.abc import Mapping, Sequence
from datetime import date, datetime
from enum import StrEnum
from typing import Any

import msgspec

from weaver.core.errors import ConfigError
from weaver.core.instants import format_ns, from_ns, to_ns
from weaver.core.jsonable import check_json
from weaver.core.text import brief
from weaver.core.timeframe import Timeframe

__all__ = ["RunConfig", "RunMode"]

Instant = datetime | date | str | int

_PATHLIKE = re.compile(r"[/\\]|\.py\b")


class RunMode(StrEnum):
    """Where a run's time and fills come from; compares equal to "backtest", "paper" and "live"."""

    BACKTEST = "backtest"
    PAPER = "paper"
    LIVE = "live"


class _Stored(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The JSON form. Instants are ISO text, since many readers lose nanoseconds of a JSON number."""

    mode: RunMode
    strategy: str
    symbols: list[str]
    timeframe: str
    params: dict[str, Any] = {}
    start: str | None = None
    end: str | None = None
    history: str | None = None
    cash: float = 100_000.0
    settings: dict[str, Any] = {}
    calendar: str | None = None
    seed: int = 0
    instruments: dict[str, Any] = {}
    finer: str | None = None
    source: str | None = None


class RunConfig(msgspec.Struct, frozen=True, kw_only=True):
    """The identity of a run. Wrong values raise `ConfigError` that names the field.

    `strategy` is an importable name (`module:Class`) or a plain name, never a file. `params` are the strategy's parameters
    and `settings` the costs and account rules in force, both as plain JSON values. `timeframe` may be given as text, and
    `start`, `end` and `history` as anything that `to_ns` takes; they are kept as int nanoseconds since 1970-01-01 UTC.
    Bars whose start is in [start, end) take part; None leaves a side open. `history` is the start of the first bar that
    the strategy is shown (None: `start`); it is part of the identity because some indicators depend on all earlier bars.
    `instruments` are the terms in force (lot, price step, multiplier, quote), once or by symbol. `finer` is the timeframe of
    the bars that decide between two exits, `source` the fingerprint of the strategy's code. Configs that version 0.1.0
    stored have none of the three.
    """

    mode: RunMode
    strategy: str
    symbols: tuple[str, ...]
    timeframe: Timeframe
    params: dict[str, Any] = {}
    start: int | None = None
    end: int | None = None
    history: int | None = None
    cash: float = 100_000.0
    settings: dict[str, Any] = {}
    calendar: str | None = None
    seed: int = 0
    instruments: dict[str, Any] = {}
    finer: str | None = None
    source: str | None = None

    def __post_init__(self) -> None:
        try:
            self._set("mode", RunMode(self.mode))
        except ValueError:
            raise ConfigError(
                f"mode={brief(self.mode)}: choose one of {', '.join(map(repr, map(str, RunMode)))}"
            ) from None
        _check_name("strategy", self.strategy)
        if _PATHLIKE.search(self.strategy):
            raise ConfigError(
                f"strategy={brief(self.strategy)} looks like a file; a RunConfig holds no path, so give "
                "'module:Class' or a name"
            )
        self._set("symbols", _symbols(self.symbols))
        self._set("timeframe", Timeframe.of(self.timeframe))
        for name in ("start", "end", "history"):
            value = getattr(self, name)
            if value is not None:
                self._set(name, to_ns(value))
        if self.start is not None and self.end is not None and self.start > self.end:
            raise ConfigError(f"start={format_ns(self.start)} is after end={format_ns(self.end)}; swap them")
        if self.history is not None and self.start is not None and self.history > self.start:
            raise ConfigError(
                f"history={format_ns(self.history)} is after start={format_ns(self.start)}; it is the first bar shown, "
                "at the start or before it"
            )
        if not _is_number(self.cash) or not math.isfinite(self.cash) or self.cash <= 0:
            raise ConfigError(f"cash={brief(self.cash)}: must be a number greater than zero")
        self._set("cash", float(self.cash))
        if isinstance(self.seed, bool) or not isinstance(self.seed, int) or self.seed < 0:
            raise ConfigError(f"seed={brief(self.seed)}: must be a whole number, zero or greater")
        if self.calendar is not None:
            _check_name("calendar", self.calendar)
        self._set("params", _mapping("params", self.params))
        self._set("settings", _mapping("settings", self.settings))
        self._set("instruments", _mapping("instruments", self.instruments))
        for name in ("finer", "source"):
            if getattr(self, name) is not None:
                _check_name(name, getattr(self, name))

    @property
    def start_time(self) -> datetime | None:
        """`start` as an aware UTC datetime."""
        return None if self.start is None else from_ns(self.start)

    @property
    def end_time(self) -> datetime | None:
        """`end` as an aware UTC datetime."""
        return None if self.end is None else from_ns(self.end)

    def to_json(self) -> bytes:
        """Return UTF-8 JSON with sorted keys: equal configs give equal bytes."""
        stored = _Stored(
            mode=self.mode,
            strategy=self.strategy,
            symbols=list(self.symbols),
            timeframe=self.timeframe.text,
            params=self.params,
            start=_text(self.start),
            end=_text(self.end),
            history=_text(self.history),
            cash=self.cash,
            settings=self.settings,
            calendar=self.calendar,
            seed=self.seed,
            instruments=self.instruments,
            finer=self.finer,
            source=self.source,
        )
        return msgspec.json.encode(stored, order="sorted")

    @classmethod
    def from_json(cls, data: bytes | str) -> RunConfig:
        """Return the config that `to_json` wrote. Raises `ConfigError` that names the wrong or unknown field."""
        try:
            stored = msgspec.json.decode(data, type=_Stored)
        except (msgspec.DecodeError, UnicodeDecodeError) as error:
            raise ConfigError(f"this is not the JSON of a RunConfig: {error}") from None
        return cls(**{name: getattr(stored, name) for name in stored.__struct_fields__})

    def __hash__(self) -> int:
        return hash(self.to_json())

    def _set(self, name: str, value: object) -> None:
        msgspec.structs.force_setattr(self, name, value)


def _text(ns: int | None) -> str | None:
    return None if ns is None else format_ns(ns)


def _check_name(field: str, value: object) -> None:
    if not isinstance(value, str) or not value.strip() or value != value.strip():
        raise ConfigError(f"{field}={brief(value)}: must be a name, without spaces around it")


def _symbols(value: object) -> tuple[str, ...]:
    if isinstance(value, str) or not isinstance(value, Sequence) or not value:
        raise ConfigError(
            f"symbols={brief(value)}: give at least one symbol in a list or tuple, in the order of the run"
        )
    for symbol in value:
        _check_name("symbols", symbol)
    twice = sorted({symbol for symbol in value if value.count(symbol) > 1})
    if twice:
        raise ConfigError(f"symbols={brief(value)}: {', '.join(map(repr, twice))} is named more than once")
    return tuple(value)


def _is_number(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


def _mapping(name: str, value: object) -> Any:
    """Return a deep copy, so that the config does not change with the mapping that it was created from."""
    if not isinstance(value, Mapping):
        raise ConfigError(f"{name}={brief(value)}: must be a mapping of names to plain values")
    return check_json(name, value)
