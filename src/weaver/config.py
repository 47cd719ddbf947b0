"""Settings of this machine and folder, read once from four places. The first one that has a value wins:

    command line > environment > weaver.toml in the current folder > weaver.toml in WEAVER_HOME > the default

A weaver.toml that another user may have written is ignored, and a line on standard error says so (core/trusted_file.py).
Every value is stored with the place it came from, and errors name that place. Only `DatabaseConfig.url` and `sync_url`
contain a password; neither `repr` nor `str` nor an error shows it, also where the URL was written to another key. The
strategy and the bars of a run are not settings but belong to the run (`weaver.core.run_config`).
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

from weaver.core.database_url import ASYNC_SCHEME, DatabaseUrl
from weaver.core.errors import ConfigError
from weaver.core.notices import notice
from weaver.core.suggest import listed, suggest
from weaver.core.trusted_file import UntrustedFile, read_trusted
from weaver.home import data_folder

__all__ = ["FILE_NAME", "DatabaseConfig", "Settings"]

FILE_NAME = "weaver.toml"
_LARGEST_FILE = 1 << 20  # bytes of weaver.toml: a file of settings has hundreds


@dataclass(frozen=True, slots=True, kw_only=True, repr=False)
class DatabaseConfig:
    """Connection to the database. Without a `url` it is the embedded PostgreSQL."""

    url: str | None = None
    """postgresql+asyncpg://user:password@host:port/name; postgresql:// and postgres:// mean the same."""
    pool_size: int = 5
    """Number of connections that stay open."""
    max_overflow: int = 10
    """Number of additional connections under load."""
    echo: bool = False
    """Log every SQL statement."""

    def __post_init__(self) -> None:
        if self.url is not None:
            DatabaseUrl.parse(self.url)
            object.__setattr__(self, "url", f"{ASYNC_SCHEME}://{self.url.strip().partition('://')[2]}")
        if self.pool_size < 1:
            raise ConfigError(f"pool_size must be 1 or more, not {self.pool_size}")
        if self.max_overflow < 0:
            raise ConfigError(f"max_overflow must be 0 or more, not {self.max_overflow}")

    @property
    def sync_url(self) -> str | None:
        """The URL for tools with their own driver (psql, SQLAlchemy's synchronous engines): postgresql://..."""
        return None if self.url is None else self.url.replace(ASYNC_SCHEME, "postgresql", 1)

    @property
    def safe_url(self) -> str | None:
        """The URL for display: built from its parts, with *** for the password."""
        return None if self.url is None else DatabaseUrl.parse(self.url).safe_text

    def __repr__(self) -> str:
        return (
            f"DatabaseConfig(url={self.safe_url!r}, pool_size={self.pool_size}, max_overflow={self.max_overflow}, "
            f"echo={self.echo})"
        )


# --- the settings and their types --------------------------------------------------------------------------------------


def _read_text(value: object) -> str:
    if not isinstance(value, str) or not value.strip():
        raise ValueError("a non-empty string")
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
        seconds: float | None = float(value)
    except ValueError:  # whose text repeats the value
        seconds = None
    if seconds is None:
        raise ValueError("a number of seconds")
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
    "database.url": _Key("DB_URL", _read_text, None),
    "database.pool_size": _Key("WEAVER_DATABASE_POOL_SIZE", _count, 5),
    "database.max_overflow": _Key("WEAVER_DATABASE_MAX_OVERFLOW", _count, 10),
    "database.echo": _Key("WEAVER_DATABASE_ECHO", _truth, False),
    "database.linger": _Key("WEAVER_DATABASE_LINGER", _seconds, 0.0),
    "backtest.record": _Key("WEAVER_RECORD", _truth, True),
}
_MAY_BE_URL = re.compile("[:@=/]")  # a key or value with one of these is not repeated in a message
_OF_DATABASE = frozenset(("database.url", "database.pool_size", "database.max_overflow", "database.echo"))
_PREFIX = "WEAVER_DATABASE_"  # other variables that begin with WEAVER_ are no settings, and are ignored


@dataclass(frozen=True, slots=True, kw_only=True)
class Settings:
    """All settings, and the place where each was set. Immutable; `load` reads it."""

    home: Path
    """Folder of the catalog, the runs and the embedded database. Only WEAVER_HOME sets it: it may hold weaver.toml."""
    database: DatabaseConfig
    linger: float
    """Seconds for which the embedded server runs on after its last user has left."""
    record: bool = True
    """Default of `weaver backtest --record/--no-record`."""
    sources: Mapping[str, str] = field(default_factory=dict)
    """Key -> the place where it was set, as text for errors."""

    @classmethod
    def load(
        cls,
        options: Mapping[str, object] | None = None,
        *,
        environment: Mapping[str, str] | None = None,
        folder: Path | None = None,
    ) -> Settings:
        """Read all four places. `options` are those of the command line by key (`database.url`); None means not given.

        Raises ConfigError that names the place, the key and the wrong value, or the nearest existing name.
        """
        environment = os.environ if environment is None else environment
        home = data_folder(environment)
        home_from = "the environment variable WEAVER_HOME" if environment.get("WEAVER_HOME") else "the default"
        values: dict[str, Any] = {name: key.default for name, key in _KEYS.items()}
        sources = dict.fromkeys(_KEYS, "the default") | {"home": home_from}
        files = dict.fromkeys(((folder or Path.cwd()) / FILE_NAME, home / FILE_NAME))
        for source in (
            *(_read_file(path) for path in reversed(files)),
            _read_environment(environment),
            _read_options(options or {}),
        ):
            for name, (value, where) in source.items():
                values[name], sources[name] = _read(name, value, where), where
        try:
            database = DatabaseConfig(
                **{name.partition(".")[2]: values[name] for name in _KEYS if name in _OF_DATABASE}
            )
        except ConfigError as error:
            wrong = next((name for name in _KEYS if str(error).startswith(name.partition(".")[2])), "database.url")
            raise ConfigError(f"{sources[wrong]}: {error}") from None
        return cls(
            home=home,
            database=database,
            linger=values["database.linger"],
            record=values["backtest.record"],
            sources=MappingProxyType(sources),
        )


def _read(name: str, value: object, where: str) -> Any:
    try:
        return _KEYS[name].read(value)
    except ValueError as error:
        raise ConfigError(f"{where}: {name} must be {error}, not {_shown(name, value)}") from None


def _shown(name: str, value: object) -> str:
    """Return a wrong value for a message; a text that may be a URL with a password is named by its type."""
    is_secret = name == "database.url" or _MAY_BE_URL.search(str(value))
    return f"a {type(value).__name__}" if is_secret else repr(value)


def _key(name: str) -> str:
    """Return an unknown key for a message; a URL in the place of a key is not shown."""
    return "of this name" if _MAY_BE_URL.search(name) else repr(name)


def _read_options(options: Mapping[str, object]) -> dict[str, tuple[object, str]]:
    for name in options:
        if name not in _KEYS:
            raise ConfigError(f"there is no setting {name!r}{_nearest(name, _KEYS)}")
    return {name: (value, "the command line") for name, value in options.items() if value is not None}


def _read_environment(environment: Mapping[str, str]) -> dict[str, tuple[object, str]]:
    known = {key.variable: name for name, key in _KEYS.items()}
    for variable in environment:
        if variable.startswith(_PREFIX) and variable not in known:
            raise ConfigError(
                f"the environment variable {variable} is not a setting of Weaver{_nearest(variable, known)}"
            )
    return {
        name: (environment[variable], f"the environment variable {variable}")
        for variable, name in known.items()
        if environment.get(variable)  # an empty variable counts as not set, as in a compose file
    }


def _read_file(path: Path) -> dict[str, tuple[object, str]]:
    try:
        content = read_trusted(path, limit=_LARGEST_FILE)
        text = content.decode()
    except (FileNotFoundError, NotADirectoryError):
        return {}
    except UntrustedFile as error:
        notice(f"{path} is ignored: {error}")
        return {}
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(f"{path}: cannot be read: {error}") from None
    if len(content) > _LARGEST_FILE:
        raise ConfigError(f"{path}: cannot be read: settings have at most {_LARGEST_FILE:,} bytes")
    tables = _parse_toml(path, text)
    values: dict[str, tuple[object, str]] = {}
    sections = {name.partition(".")[0] for name in _KEYS}
    for table, entries in tables.items():
        if table == "home":
            raise ConfigError(
                f"{_line(path, text, table)}: home cannot be set here, because this file may be in it; set WEAVER_HOME"
            )
        if table not in sections:
            raise ConfigError(f"{_line(path, text, table)}: there is no table {_key(table)}{_nearest(table, sections)}")
        if not isinstance(entries, dict):
            raise ConfigError(f"{_line(path, text, table)}: {table!r} must be a table: [{table}]")
        for key, value in entries.items():
            name = f"{table}.{key}"
            where = _line(path, text, key)
            if name not in _KEYS:
                raise ConfigError(f"{where}: there is no setting {_key(name)}{_nearest(name, _KEYS)}")
            values[name] = (value, where)
    return values


def _parse_toml(path: Path, text: str) -> dict[str, Any]:
    try:
        return tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        problem, position, place = str(error).rpartition(" (at ")
    if re.search(r"[:@][\w/]", problem):  # it repeats a key, which may be a URL
        problem = "a key is defined twice, or is not a table"
    raise ConfigError(f"{path}: {problem}{position}{place}")


def _line(path: Path, text: str, key: str) -> str:
    """Return the file and, if a search for the key finds it, the line."""
    pattern = re.compile(rf"""^\s*(?:\[\s*|(?:\w+\s*\.\s*))?["']?{re.escape(key)}["']?\s*[\]=.]""")
    line = next((number for number, line in enumerate(text.splitlines(), 1) if pattern.match(line)), None)
    return f"{path}, line {line}" if line else str(path)


def _nearest(name: str, known: Mapping[str, Any] | set[str]) -> str:
    return f"; {suggest(name, sorted(known), f'there are {listed(sorted(known), 100)}')}"
