"""DatabaseUrl: the only parser of the URL of a PostgreSQL database (DB_URL), and the only source of a URL for display.

    postgresql://user:password@host:5432/name?parameter=value&...

`postgres://` and `postgresql+asyncpg://` mean the same. Several hosts are separated by commas. The parameters are those of
PostgreSQL's own programs, as far as Weaver can honour them; any other is refused. Opens no connection.

Guarantees that no error repeats a part of a URL that it refuses: a character that was not escaped can make a password look
like any other part. Errors name positions, and words from the lists in this module. Text for display is built from the
parsed parts, without the password.

Does not guarantee that a password is recognised where the URL has another meaning: without a host, `postgresql://user:5555`
is the host `user` with the port 5555, and a password may contain `@host?sslmode=require`.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from types import MappingProxyType
from urllib.parse import quote, unquote

from weaver.core.errors import ConfigError
from weaver.core.suggest import listed, suggest

__all__ = ["ASYNC_SCHEME", "DatabaseUrl"]

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
    "require_auth": "PGREQUIREAUTH",
    "requirepeer": "PGREQUIREPEER",
    "sslcert": "PGSSLCERT",
    "sslcrl": "PGSSLCRL",
    "sslkey": "PGSSLKEY",
    "sslmode": "PGSSLMODE",
    "sslrootcert": "PGSSLROOTCERT",
    "target_session_attrs": "PGTARGETSESSIONATTRS",
}
_KNOWN = tuple(sorted({*_PARAMETERS, *_PLACE, *_ALIASES}))
_REFUSED = frozenset(
    ("gssencmode", "hostaddr", "keepalives", "load_balance_hosts", "pgbouncer", "pool_size", "prepared_statement_cache_size",
     "schema", "search_path", "service", "sslpassword", "statement_cache_size", "statement_timeout")
)  # fmt: skip
"""Parameters of PostgreSQL and of other drivers that Weaver does not honour. Errors may name these, and no other text."""
_OTHER_DATABASES = ("cockroachdb", "duckdb", "http", "https", "jdbc", "mariadb", "mssql", "mysql", "oracle", "sqlite")
_OTHER_DRIVERS = ("aiopg", "pg8000", "psycopg", "psycopg2", "psycopg2cffi", "psycopg_async", "pygresql")

_CONTROL = re.compile("[\0-\x1f\x7f-\x9f\ud800-\udfff]")
_UNESCAPED = re.compile(r"[\s;=&:/]")
"""Characters of a user or a name of a database that must be escaped: each separates something in a URL or in its like."""
_HOST = re.compile(r"[^\s;=&:/@?#%\[\].]{1,63}(\.[^\s;=&:/@?#%\[\].]{1,63})*\.?")
_IPV6 = re.compile(r"[0-9A-Fa-f:.]*:[0-9A-Fa-f:.]*(%[\w.-]+)?")
_NAMED_PASSWORD = re.compile(r"(?i)pass\w*\s*[=:]|pwd\s*[=:]|://")
"""What a value other than the password contains if it holds another connection string."""


@dataclass(frozen=True, slots=True, kw_only=True, repr=False)
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
        """Return the parts of `url`. Raises ConfigError that names the part which is wrong, without any of its text."""
        scheme, separator, rest = url.strip().partition("://")
        _check_scheme(scheme if separator else None)
        address, _, query = rest.partition("?")
        login, _, path = address.partition("/")
        # A password with a character that was not escaped ends the address early.
        is_cut = "@" in path or "@" in query.partition("=")[0] or ("@" in query and "@" not in login)
        if is_cut or "#" in rest or _CONTROL.search(rest):
            raise _unreadable()
        credentials, _, places = login.rpartition("@")
        user, colon, password = credentials.partition(":")
        if _UNESCAPED.search(user) or _UNESCAPED.search(path):
            raise _unreadable()
        hosts = _parse_hosts(places) if places else ()
        values = _parse_query(query)
        known: dict[str, str] = {"host": places} if places else {}
        for name, text in (("user", user), ("password", password if colon else ""), ("dbname", path)):
            if text:
                known[name] = _decoded(name, text)
        for name in _PLACE:
            if name in values and name in known:
                raise ConfigError(f"the database URL names its {name} twice: before the ? and as a parameter")
        hosts = hosts or _hosts_of_parameters(values.pop("host", ""), values.pop("port", ""))
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

    def __repr__(self) -> str:
        return f"DatabaseUrl({self.safe_text!r})"

    @property
    def description(self) -> str:
        """The database for people, without the password: `PostgreSQL user@host:5433/name`."""
        hosts = ",".join(host + _port_text(port) for host, port in self.hosts) or "localhost"
        user = f"{_shown(self.user)}@" if self.user else ""
        return f"PostgreSQL {user}{hosts}{'/' if self.database else ''}{_shown(self.database or '')}"

    @property
    def safe_text(self) -> str:
        """The URL for display, built from its parts, with *** for the password and for `options`."""
        login = quote(_shown(self.user or ""), safe="*:") + (":***" if self.password is not None else "")
        parameters = dict(self.parameters)
        if "options" in parameters:
            parameters["options"] = "***"
        places = ""
        if self.hosts and not self.hosts[0][0].startswith("/"):
            places = ",".join((f"[{host}]" if ":" in host else host) + _port_text(port) for host, port in self.hosts)
        elif self.hosts:
            parameters["host"] = ",".join(host for host, _ in self.hosts)
            parameters["port"] = ",".join(str(port) for _, port in self.hosts)
        query = "&".join(f"{name}={quote(value, safe='/,*')}" for name, value in parameters.items())
        name = f"/{quote(_shown(self.database), safe='*:')}" if self.database else "" if places else "/"
        return f"{ASYNC_SCHEME}://{login}{'@' if login else ''}{places}{name}{'?' if query else ''}{query}"

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
    base, plus, driver = scheme.partition("+")
    if plus and base in ("postgresql", "postgres"):
        name = f"the driver {driver!r}" if driver in _OTHER_DRIVERS else "the driver of the database URL"
        raise ConfigError(f"{name} is not Weaver's, which is asyncpg; write {_EXAMPLE}")
    other = base.partition(":")[0]
    name = repr(other) if other in _OTHER_DATABASES else "the scheme of the database URL"
    raise ConfigError(f"{name} is not a database that Weaver can use, only PostgreSQL is; write {_EXAMPLE}")


def _unreadable() -> ConfigError:
    return ConfigError(
        f"the database URL cannot be read: write {_EXAMPLE}, and the special characters of a password as %40 for @, "
        "%2F for /, %23 for #, %3F for ?, %3A for :"
    )


def _decoded(name: str, text: str) -> str:
    """Return the value of a part or parameter; refuse one that contains another connection string or a control character."""
    try:
        value = unquote(text, errors="strict")
    except UnicodeDecodeError:
        raise ConfigError(f"the {name} in the database URL has escapes (%XX) that are not UTF-8") from None
    if _CONTROL.search(value):
        raise ConfigError(f"the {name} in the database URL has a control character")
    if name != "password" and _NAMED_PASSWORD.search(value):
        raise ConfigError(f"the {name} in the database URL contains a password or another URL; write {_EXAMPLE}")
    return value


def _parse_query(query: str) -> dict[str, str]:
    values: dict[str, str] = {}
    for number, pair in enumerate(query.split("&"), 1):
        if not pair:
            continue
        encoded, equals, text = pair.partition("=")
        name = unquote(encoded)
        if name not in _KNOWN:
            raise ConfigError(
                f"the database URL has an unknown parameter {repr(name) if name in _REFUSED else f'(number {number})'}; "
                f"{suggest(name, _KNOWN, f'the known ones are {listed(_KNOWN, 100)}')}"
            )
        if not equals:
            raise ConfigError(f"the parameter {name!r} of the database URL has no value; write {name}=VALUE")
        target = _ALIASES.get(name, name)
        if ";" in text and target != "password":
            raise ConfigError(f"the parameter {name!r} of the database URL has a semicolon; separate parameters by &")
        if target in values:
            raise ConfigError(f"the database URL names its parameter {target!r} twice")
        values[target] = _checked(target, _decoded(target, text))
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
        raise ConfigError(f"the parameter {name!r} of the database URL must be one of {', '.join(_CHOICES[name])}")
    if name == "connect_timeout" and not (value.isascii() and value.isdecimal() and len(value) <= 6):
        raise ConfigError("the parameter 'connect_timeout' of the database URL must be a whole number of seconds")
    return value


def _hosts_of_parameters(hosts: str, ports: str) -> tuple[tuple[str, int], ...]:
    """`host=a,b&port=1,2`, as PostgreSQL's programs understand it: one port is that of every host."""
    names = [_host(name) for name in hosts.split(",")] if hosts else []
    numbers = [_port(text) for text in ports.split(",")] if ports else [_DEFAULT_PORT]
    if not names and ports:
        names = ["localhost"]
    if len(numbers) not in (1, len(names)) and names:
        raise ConfigError(f"the database URL has {len(names)} hosts and {len(numbers)} ports")
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
        if not host and "," not in text:
            raise ConfigError("the database URL has a port without a host; write localhost before it")
        hosts.append((_host(_decoded("host", host)), _port(port) if port else _DEFAULT_PORT))
    return tuple(hosts)


def _host(name: str) -> str:
    """Return `name` if it is a host name, an address, or the folder of a socket. Raises ConfigError."""
    if not name:
        raise ConfigError("the database URL has an empty host in its list of hosts")
    if not name.startswith("/") and not _HOST.fullmatch(name) and not _IPV6.fullmatch(name):
        raise _unreadable()
    try:
        name.encode("idna" if not name.isascii() else "ascii")  # as the driver does; its error has no name
    except UnicodeError:
        raise _unreadable() from None
    return name


def _port(text: str) -> int:
    if not (text.isascii() and text.isdecimal()):
        raise _unreadable()
    if len(text) > 5 or not 0 < int(text) <= 65535:
        raise ConfigError("the database URL has a port outside of 1 to 65535")
    return int(text)


def _port_text(port: int) -> str:
    return "" if port == _DEFAULT_PORT else f":{port}"


def _shown(name: str) -> str:
    """Return a user or database for display; after a colon it may be a password whose colon was escaped by mistake."""
    before, colon, _ = name.partition(":")
    return f"{before}:***" if colon else name
