"""DatabaseUrl: the only parser of the URL of a PostgreSQL database (DB_URL).

    postgresql://user:password@host:5432/name?parameter=value&...

`postgres://` and `postgresql+asyncpg://` mean the same. Several hosts are separated by commas. The parameters are those of
PostgreSQL's own programs, as far as Weaver can honour them; any other is refused by name. Guarantees that no error and no
text except `password` contains the password. Opens no connection.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from types import MappingProxyType
from urllib.parse import quote, unquote

from weaver.core.errors import ConfigError
from weaver.core.suggest import listed, suggest

__all__ = ["ASYNC_SCHEME", "DatabaseUrl", "hide_password"]

ASYNC_SCHEME = "postgresql+asyncpg"
_SCHEMES = ("postgresql", "postgres", ASYNC_SCHEME)
_EXAMPLE = "postgresql+asyncpg://user:password@host:5432/name"
_DEFAULT_PORT = 5432
_PLACE = ("host", "port", "user", "password", "dbname")
_ALIASES = {"ssl": "sslmode", "database": "dbname"}
_SSL_MODES = ("disable", "allow", "prefer", "require", "verify-ca", "verify-full")
_CHOICES: Mapping[str, tuple[str, ...]] = {
    "sslmode": _SSL_MODES,
    "channel_binding": ("disable", "prefer", "require"),
    "target_session_attrs": ("any", "read-write", "read-only", "primary", "standby", "prefer-standby"),
}
_SSL_FLAGS = {"true": "require", "1": "require", "on": "require", "false": "disable", "0": "disable", "off": "disable"}
# Parameter -> the environment variable by which PostgreSQL's programs take it.
_PARAMETERS: Mapping[str, str] = {
    "application_name": "PGAPPNAME",
    "channel_binding": "PGCHANNELBINDING",
    "connect_timeout": "PGCONNECT_TIMEOUT",
    "options": "PGOPTIONS",
    "passfile": "PGPASSFILE",
    "sslcert": "PGSSLCERT",
    "sslcrl": "PGSSLCRL",
    "sslkey": "PGSSLKEY",
    "sslmode": "PGSSLMODE",
    "sslrootcert": "PGSSLROOTCERT",
    "target_session_attrs": "PGTARGETSESSIONATTRS",
}
_KNOWN = tuple(sorted({*_PARAMETERS, *_PLACE, *_ALIASES}))


def hide_password(url: str) -> str:
    """Return the URL with *** in place of its password. Works for texts that `DatabaseUrl.parse` refuses, too."""
    hidden = re.sub(r"(?<=//)([^:@/?]*):.*(?=@)", r"\1:***", url)
    return re.sub(r"(?i)((?:^|[?&])(?:ssl)?password=)[^&]*", r"\1***", hidden)


@dataclass(frozen=True, slots=True, kw_only=True)
class DatabaseUrl:
    """The parts of a database URL. `parse` makes it."""

    hosts: tuple[tuple[str, int], ...]
    """Hosts, or folders of a Unix socket, with their ports, in the order in which they are tried. Empty: this machine."""
    user: str | None
    """None is the name of the operating system's user."""
    password: str | None = field(repr=False)
    database: str | None
    """None is the name of the user."""
    parameters: Mapping[str, str]
    """The other parameters by PostgreSQL's names: `ssl` is stored as `sslmode`."""

    @classmethod
    def parse(cls, url: str) -> DatabaseUrl:
        """Return the parts of `url`. Raises ConfigError that names the part which is wrong, without a password."""
        scheme, separator, rest = url.strip().partition("://")
        _check_scheme(scheme if separator else None)
        address, _, query = rest.partition("?")
        login, _, path = address.partition("/")
        # A password with a character that was not escaped ends the address early; the rest of it must not be shown.
        if "#" in rest or "@" in path or "@" in query.partition("=")[0] or ("@" in query and "@" not in login):
            raise _unreadable()
        credentials, _, places = login.rpartition("@")
        user, colon, password = credentials.partition(":")
        values = _parse_query(query)
        known: dict[str, str] = {}
        for name, text in (("host", places), ("user", user), ("password", password if colon else "")):
            if text:
                known[name] = text if name == "host" else unquote(text)
        if path:
            known["dbname"] = unquote(path)
        for name in _PLACE:
            if name in values and name in known:
                raise ConfigError(f"the database URL names its {name} twice: before the ? and as a parameter")
        hosts = _parse_hosts(places) if places else _hosts_of_parameters(values.pop("host", ""), values.pop("port", ""))
        if len({host.startswith("/") for host, _ in hosts}) > 1:
            raise ConfigError("the database URL mixes hosts and folders of sockets; name one kind")
        known |= {name: values.pop(name) for name in _PLACE if name in values}
        if "port" in known:
            raise ConfigError("the database URL names its port twice: before the ? and as a parameter")
        return cls(
            hosts=hosts,
            user=known.get("user"),
            password=known.get("password"),
            database=known.get("dbname"),
            parameters=MappingProxyType(values),
        )

    @property
    def description(self) -> str:
        """The database for people, without the password: `PostgreSQL user@host:5433/name`."""
        hosts = ",".join(host + _port_text(port) for host, port in self.hosts) or "localhost"
        user = f"{self.user}@" if self.user else ""
        return f"PostgreSQL {user}{hosts}{'/' if self.database else ''}{self.database or ''}"

    @property
    def session_attributes(self) -> str:
        """The kind of server that is wanted: the URL's target_session_attrs, else the primary one of several hosts."""
        return self.parameters.get("target_session_attrs") or ("primary" if len(self.hosts) > 1 else "any")

    def text(self, *, database: str | None = None) -> str:
        """Return the URL, password included, with another database's name if one is given."""
        login = "" if self.user is None else quote(self.user, safe="")
        if self.password is not None:
            login += f":{quote(self.password, safe='')}"
        parameters = dict(self.parameters)
        if self.hosts:
            parameters["host"] = ",".join(host for host, _ in self.hosts)
            parameters["port"] = ",".join(str(port) for _, port in self.hosts)
        query = "&".join(f"{name}={quote(value, safe='/,')}" for name, value in parameters.items())
        name = quote(database or self.database or "", safe="")
        return f"{ASYNC_SCHEME}://{login}{'@' if login else ''}/{name}{'?' if query else ''}{query}"

    def environment(self) -> dict[str, str]:
        """Return the URL as the environment variables that psql, pg_dump and pg_restore read, password included."""
        variables = {_PARAMETERS[name]: value for name, value in self.parameters.items()}
        variables |= {
            "PGHOST": ",".join(host for host, _ in self.hosts),
            "PGPORT": ",".join(str(port) for _, port in self.hosts),
            "PGUSER": self.user or "",
            "PGPASSWORD": self.password or "",
            "PGDATABASE": self.database or self.user or "",
        }
        if self.session_attributes != "any":
            variables["PGTARGETSESSIONATTRS"] = self.session_attributes
        return {name: value for name, value in variables.items() if value}


def _check_scheme(scheme: str | None) -> None:
    if scheme is None:
        raise ConfigError(f"the url is not that of a database (it has no scheme); write {_EXAMPLE}")
    if scheme in _SCHEMES:
        return
    base, plus, driver = scheme[:40].partition("+")
    if plus and base in ("postgresql", "postgres"):
        raise ConfigError(f"the driver {driver!r} is not Weaver's, which is asyncpg; write {_EXAMPLE}")
    raise ConfigError(f"{scheme[:40]!r} is not a database that Weaver can use, only PostgreSQL is; write {_EXAMPLE}")


def _unreadable() -> ConfigError:
    return ConfigError(
        f"the database URL cannot be read: write {_EXAMPLE}, and the special characters of a password as %40 for @, "
        "%2F for /, %23 for #, %3F for ?, %3A for :"
    )


def _parse_query(query: str) -> dict[str, str]:
    values: dict[str, str] = {}
    for pair in query.split("&"):
        if not pair:
            continue
        name, equals, text = pair.partition("=")
        if name not in _KNOWN:
            raise ConfigError(f"the database URL has an unknown parameter {_shown(name)}{_nearest(name)}")
        if not equals:
            raise ConfigError(f"the parameter {name!r} of the database URL has no value; write {name}=VALUE")
        target, value = _ALIASES.get(name, name), unquote(text)
        if target in values:
            raise ConfigError(f"the database URL names its parameter {target!r} twice")
        values[target] = _checked(target, value)
    values = {name: value for name, value in values.items() if value}
    if values.get("sslrootcert") == "system" and values.setdefault("sslmode", "verify-full") != "verify-full":
        raise ConfigError(
            f"the database URL has sslrootcert=system with sslmode={values['sslmode']}; it needs sslmode=verify-full"
        )
    return values


def _checked(name: str, value: str) -> str:
    if name == "sslmode":
        value = _SSL_FLAGS.get(value.lower(), value)
    if name in _CHOICES and value not in _CHOICES[name]:
        raise ConfigError(
            f"the parameter {name!r} of the database URL must be one of {', '.join(_CHOICES[name])}, not {value!r}"
        )
    if name == "connect_timeout" and not (value.isascii() and value.isdecimal() and len(value) <= 6):
        raise ConfigError(
            f"the parameter 'connect_timeout' of the database URL must be a whole number of seconds, not {value!r}"
        )
    return value


def _shown(name: str) -> str:
    """Return the error for unknown parameters; a name that could be part of a password is not repeated."""
    return repr(name) if name.replace("_", "").replace("-", "").isalnum() and len(name) <= 40 else "with a special name"


def _nearest(name: str) -> str:
    return f"; {suggest(name, _KNOWN, f'the known ones are {listed(_KNOWN, 100)}')}"


def _hosts_of_parameters(hosts: str, ports: str) -> tuple[tuple[str, int], ...]:
    """`host=a,b&port=1,2`, as PostgreSQL's programs understand it: one port is that of every host."""
    names = hosts.split(",") if hosts else []
    numbers = [_port(text) for text in ports.split(",")] if ports else [_DEFAULT_PORT]
    if not names and ports:
        names = ["localhost"]
    if len(numbers) not in (1, len(names)) and names:
        raise ConfigError(f"the database URL has {len(names)} hosts and {len(numbers)} ports")
    if any(not name for name in names):
        raise ConfigError("the database URL has an empty host in its list of hosts")
    return tuple(zip(names, numbers * len(names) if len(numbers) == 1 else numbers, strict=True)) if names else ()


def _parse_hosts(text: str) -> tuple[tuple[str, int], ...]:
    """`host:5432,[::1]:5433` in the address of the URL."""
    hosts = []
    for place in text.split(","):
        if place.startswith("["):
            host, bracket, rest = place[1:].partition("]")
            if not bracket or (rest and not rest.startswith(":")):
                raise _unreadable()
            port = rest[1:]
        else:
            host, colon, port = place.partition(":")
            if ":" in port or (colon and not port):
                raise _unreadable()
        if not host:
            raise ConfigError("the database URL has an empty host in its list of hosts" if "," in text else "the database "
                              "URL has a port without a host; write localhost before it")  # fmt: skip
        hosts.append((unquote(host), _port(port) if port else _DEFAULT_PORT))
    return tuple(hosts)


def _port(text: str) -> int:
    if not (text.isascii() and text.isdecimal() and len(text) <= 5 and 0 < int(text) <= 65535):
        if text.isascii() and text.isdecimal():
            raise ConfigError(f"the database URL has the port {text[:10]}, which must be between 1 and 65535")
        raise _unreadable()  # the text may be part of a password
    return int(text)


def _port_text(port: int) -> str:
    return "" if port == _DEFAULT_PORT else f":{port}"
