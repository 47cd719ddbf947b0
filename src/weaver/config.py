"""Settings: what this machine and this folder want of Weaver, from four places, read once.

    command line > environment > weaver.toml in the current folder > weaver.toml in WEAVER_HOME > the default

Every value knows where it came from, so that an error can send its reader there. A password is in `DatabaseConfig.url`
and `sync_url` alone: neither `repr` nor `str` nor an error shows it. Which strategy runs on which bars is no setting, but
part of a run (`weaver.core.run_config`).
"""

from __future__ import annotations

import math
import os
import re
import tomllib
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from types import MappingProxyType
from typing import Any

from weaver.core.errors import ConfigError
from weaver.core.suggest import listed, suggest

__all__ = ["FILE_NAME", "DatabaseConfig", "Settings", "hide_password"]

FILE_NAME = "weaver.toml"
_ASYNC = "postgresql+asyncpg"
_SCHEMES = ("postgresql", "postgres", _ASYNC)


def hide_password(url: str) -> str:
    """The URL with *** in place of its password."""
    hidden = re.sub(r"(?<=//)([^:@/?]*):.*(?=@)", r"\1:***", url)
    return re.sub(r"(?i)((?:^|[?&])(?:ssl)?password=)[^&]*", r"\1***", hidden)


@dataclass(frozen=True, slots=True, kw_only=True, repr=False)
class DatabaseConfig:
    """How to reach the store. `url` None is the embedded PostgreSQL."""

    url: str | None = None
    """postgresql+asyncpg://user:password@host:port/name; postgresql:// and postgres:// are understood as that."""
    pool_size: int = 5
    """Connections that are kept open."""
    max_overflow: int = 10
    """Connections besides, while they are needed."""
    echo: bool = False
    """Log every statement."""

    def __post_init__(self) -> None:
        if self.url is not None:
            object.__setattr__(self, "url", _understood(self.url))
        if self.pool_size < 1:
            raise ConfigError(f"pool_size is {self.pool_size}; it is 1 or more")
        if self.max_overflow < 0:
            raise ConfigError(f"max_overflow is {self.max_overflow}; it is 0 or more")

    @property
    def sync_url(self) -> str | None:
        """The URL for tools with a driver of their own (psql, pg_dump, a synchronous one): postgresql://..."""
        return None if self.url is None else self.url.replace(_ASYNC, "postgresql", 1)

    @property
    def safe_url(self) -> str | None:
        """The URL without its password, for people."""
        return None if self.url is None else hide_password(self.url)

    def __repr__(self) -> str:
        return (
            f"DatabaseConfig(url={self.safe_url!r}, pool_size={self.pool_size}, max_overflow={self.max_overflow}, "
            f"echo={self.echo})"
        )


def _understood(url: str) -> str:
    scheme, colon, rest = url.strip().partition("://")
    if not colon:
        raise ConfigError("the url is not that of a database; one is like postgresql://user:password@host:5432/name")
    if scheme in _SCHEMES:
        return f"{_ASYNC}://{rest}"
    if scheme.startswith(("postgresql+", "postgres+")):
        driver = scheme.partition("+")[2]
        raise ConfigError(
            f"the driver {driver!r} is not Weaver's, which is asyncpg; write postgresql://... without a driver"
        )
    raise ConfigError(f"{scheme!r} is not a database that Weaver can use; it is PostgreSQL alone: postgresql://...")


# --- what there is to set ------------------------------------------------------------------------------------------------


def _text(value: object) -> str:
    if not isinstance(value, str) or not value.strip():
        raise ValueError("a text")
    return value


def _count(value: object) -> int:
    if isinstance(value, str) and re.fullmatch(r"\d{1,6}", value.strip()):
        return int(value)
    if isinstance(value, bool) or not isinstance(value, int):
        raise ValueError("a whole number")
    return value


def _seconds(value: object) -> float:
    if isinstance(value, bool) or not isinstance(value, int | float | str):
        raise ValueError("a number of seconds")
    try:
        seconds = float(value)
    except ValueError:
        raise ValueError("a number of seconds") from None
    if not 0 <= seconds < math.inf:
        raise ValueError("a number of seconds, 0 or more")
    return seconds


def _truth(value: object) -> bool:
    known = {"true": True, "1": True, "yes": True, "on": True, "false": False, "0": False, "no": False, "off": False}
    if isinstance(value, bool):
        return value
    if isinstance(value, str) and value.strip().lower() in known:
        return known[value.strip().lower()]
    raise ValueError("true or false")


@dataclass(frozen=True, slots=True)
class _Key:
    variable: str
    read: Callable[[object], Any]
    default: Any


_KEYS: Mapping[str, _Key] = {
    "database.url": _Key("DB_URL", _text, None),
    "database.pool_size": _Key("WEAVER_DATABASE_POOL_SIZE", _count, 5),
    "database.max_overflow": _Key("WEAVER_DATABASE_MAX_OVERFLOW", _count, 10),
    "database.echo": _Key("WEAVER_DATABASE_ECHO", _truth, False),
    "database.linger": _Key("WEAVER_DATABASE_LINGER", _seconds, 0.0),
    "backtest.record": _Key("WEAVER_RECORD", _truth, True),
}
_OF_DATABASE = frozenset(("database.url", "database.pool_size", "database.max_overflow", "database.echo"))
_PREFIX = "WEAVER_DATABASE_"  # other variables that begin with WEAVER_ are not settings, and not ours to refuse


@dataclass(frozen=True, slots=True, kw_only=True)
class Settings:
    """Everything that can be set, and where it was set. Immutable; `load` reads it."""

    home: Path
    """Where the catalog and the embedded database lie. Set by WEAVER_HOME alone, for weaver.toml is looked for in it."""
    database: DatabaseConfig
    linger: float
    """Seconds that the embedded server stays after its last user."""
    record: bool = True
    """Whether `weaver backtest` keeps its runs, where its call does not say."""
    sources: Mapping[str, str] = field(default_factory=dict)
    """Key -> where it was set, in words."""

    @classmethod
    def load(
        cls,
        given: Mapping[str, object] | None = None,
        *,
        environment: Mapping[str, str] | None = None,
        folder: Path | None = None,
    ) -> Settings:
        """Read all four places. `given` is what the command line says, by key (`database.url`); None in it is unsaid.

        Raises ConfigError, which names the place, the key and the value that is wrong, and the nearest name there is.
        """
        environment = os.environ if environment is None else environment
        home, home_from = _home(environment)
        values: dict[str, Any] = {name: key.default for name, key in _KEYS.items()}
        sources = dict.fromkeys(_KEYS, "the default") | {"home": home_from}
        files = dict.fromkeys(((folder or Path.cwd()) / FILE_NAME, home / FILE_NAME))
        for source in (
            *(_of_file(path) for path in reversed(files)),
            _of_environment(environment),
            _of_call(given or {}),
        ):
            for name, (value, where) in source.items():
                values[name], sources[name] = _read(name, value, where), where
        try:
            database = DatabaseConfig(
                **{name.partition(".")[2]: values[name] for name in _KEYS if name in _OF_DATABASE}
            )
        except ConfigError as error:
            guilty = next((name for name in _KEYS if name.partition(".")[2] in str(error)), "database.url")
            raise ConfigError(f"{sources[guilty]}: {error}") from None
        return cls(
            home=home,
            database=database,
            linger=values["database.linger"],
            record=values["backtest.record"],
            sources=MappingProxyType(sources),
        )


def _home(environment: Mapping[str, str]) -> tuple[Path, str]:
    named = environment.get("WEAVER_HOME")
    if named:
        return Path(named).expanduser().absolute(), "the environment variable WEAVER_HOME"
    from platformdirs import user_data_path

    return user_data_path("weaver", appauthor=False), "the default"


def _read(name: str, value: object, where: str) -> Any:
    try:
        return _KEYS[name].read(value)
    except ValueError as error:
        shown = "that" if name == "database.url" else repr(value)
        raise ConfigError(f"{where}: {name} is {error}, not {shown}") from None


def _of_call(given: Mapping[str, object]) -> dict[str, tuple[object, str]]:
    for name in given:
        if name not in _KEYS:
            raise ConfigError(f"there is no setting {name!r}{_nearest(name, _KEYS)}")
    return {name: (value, "the command line") for name, value in given.items() if value is not None}


def _of_environment(environment: Mapping[str, str]) -> dict[str, tuple[object, str]]:
    known = {key.variable: name for name, key in _KEYS.items()}
    for variable in environment:
        if variable.startswith(_PREFIX) and variable not in known:
            raise ConfigError(
                f"the environment variable {variable} is not a setting of Weaver{_nearest(variable, known)}"
            )
    return {
        name: (environment[variable], f"the environment variable {variable}")
        for variable, name in known.items()
        if environment.get(variable)  # an empty one is one that was not set, as in a compose file
    }


def _of_file(path: Path) -> dict[str, tuple[object, str]]:
    try:
        text = path.read_text(encoding="utf-8")
    except FileNotFoundError:
        return {}
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(f"{path}: cannot be read: {error}") from None
    try:
        tables = tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        raise ConfigError(f"{path}: {error}") from None
    found: dict[str, tuple[object, str]] = {}
    rooms = {name.partition(".")[0] for name in _KEYS}
    for table, entries in tables.items():
        if table == "home":
            raise ConfigError(
                f"{_line(path, text, table)}: home is not set here, for this file is looked for in it; set WEAVER_HOME"
            )
        if table not in rooms:
            raise ConfigError(f"{_line(path, text, table)}: there is no table {table!r}{_nearest(table, rooms)}")
        if not isinstance(entries, dict):
            raise ConfigError(f"{_line(path, text, table)}: {table!r} is a table: [{table}]")
        for key, value in entries.items():
            name = f"{table}.{key}"
            where = _line(path, text, key)
            if name not in _KEYS:
                raise ConfigError(f"{where}: there is no setting {name!r}{_nearest(name, _KEYS)}")
            found[name] = (value, where)
    return found


def _line(path: Path, text: str, key: str) -> str:
    """The file and, as far as a search for the word finds it, the line."""
    pattern = re.compile(rf"""^\s*(?:\[\s*|(?:\w+\s*\.\s*))?["']?{re.escape(key)}["']?\s*[\]=.]""")
    line = next((number for number, line in enumerate(text.splitlines(), 1) if pattern.match(line)), None)
    return f"{path}, line {line}" if line else str(path)


def _nearest(name: str, known: Mapping[str, Any] | set[str]) -> str:
    return f"; {suggest(name, sorted(known), f'there are {listed(sorted(known), 100)}')}"
