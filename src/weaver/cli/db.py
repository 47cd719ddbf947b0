"""`weaver db`: the embedded PostgreSQL, or your own. Results go to standard output, errors to standard error."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import click

from weaver import __version__
from weaver.cli.output import echo, echo_text, json_text, table
from weaver.cli.store import sure
from weaver.core.errors import ConfigError, DatabaseError, StoreError
from weaver.core.text import visible

if TYPE_CHECKING:
    from weaver.config import Settings
    from weaver.walle.embedded.attachment import Attachment
    from weaver.walle.embedded.client import Client

__all__ = ["db"]

_TCP_PORT = 54318  # not 5432, which a PostgreSQL of the system is likely to use
_PASSED_ON = {"ignore_unknown_options": True, "allow_interspersed_args": False, "help_option_names": ["--help"]}


@click.group(short_help="Start, stop, inspect, back up and restore the database.")
def db() -> None:
    """Manage the database of runs and events.

    By default this is a bundled PostgreSQL database that starts on demand and shuts down when nothing uses it. DB_URL names
    a server of your own instead. See docs/database.md.
    """


@db.command()
@click.option("--linger", type=float, metavar="SECONDS",
              help="Stop this long after the last user has left, instead of at `weaver db stop`.")  # fmt: skip
@click.option("--tcp", type=click.IntRange(1, 65535), is_flag=False, flag_value=_TCP_PORT, metavar="[PORT]",
              help=f"Listen on 127.0.0.1 too, on this port (default {_TCP_PORT}).")  # fmt: skip
def start(linger: float | None, tcp: int | None) -> None:
    """Start the embedded server and keep it running until `weaver db stop`."""
    from weaver.walle.embedded.attachment import attach, keep

    settings = _embedded_settings("start", {"database.linger": linger})
    with attach(settings.home, linger=settings.linger, tcp=tcp) as holding:
        if linger is None:
            keep(holding)
            until = "it runs until: weaver db stop"
        else:
            until = f"it stops {linger:g} s after its last user has left"
        where = f" and on 127.0.0.1:{holding.server['port']}" if holding.server["tcp"] else ""
        echo(f"PostgreSQL {holding.server['version']} is running in {holding.place.folder}{where}; {until}")


@db.command()
def upgrade() -> None:
    """Create the tables, or update those of an older version of Weaver. Their content stays; make a backup first."""
    from weaver.walle.migrate import upgrade as migrate

    with _database_url(_settings(), "updating the tables") as url:
        for line in migrate(url):
            echo(line, err=True)
    echo("the tables are up to date")


@db.command()
@click.argument("revision", default="base")
@click.option("--yes", is_flag=True, help="Do not ask for confirmation.")
def downgrade(revision: str, yes: bool) -> None:
    """Take the tables back to REVISION. Without one, remove them and everything in them."""
    from weaver.walle.migrate import downgrade as migrate

    settings = _settings()
    what = "remove all tables with everything in them" if revision == "base" else f"take the tables back to {revision}"
    if not yes:
        sure(f"{what} ({settings.database.safe_url or settings.home})?")
    with _database_url(settings, "taking the tables back") as url:
        migrate(url, revision)
    echo(f"the tables are at revision {revision}")


@db.command()
@click.option("--force", is_flag=True, help="Stop it even while others use it; their connections break.")
def stop(force: bool) -> None:
    """Stop the embedded server until the next command that needs it.

    While others use it, this is refused, and the server stops when they have left. With or without --force, programs that
    still use it do not start it again.
    """
    from weaver.walle.embedded import attachment
    from weaver.walle.embedded.paths import DatabasePaths
    from weaver.walle.embedded.status import describe_users

    place = DatabasePaths(_embedded_settings("stop").home)
    stopped = attachment.stop(place, force=force, users=describe_users)
    echo("stopped" if stopped else "no embedded PostgreSQL is running")


@db.command()
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object.")
def status(as_json: bool) -> None:
    """Show which database is used, whether it runs, its folder and its users. Starts nothing."""
    settings = _settings()
    if settings.database.url is not None:
        _own_status(settings, as_json=as_json)
        return
    from weaver.walle.embedded.paths import DatabasePaths
    from weaver.walle.embedded.status import read_status

    state = read_status(DatabasePaths(settings.home))
    if as_json:
        echo(json_text(state.as_json()))
        return
    server = state.server
    rows = [
        ("database", "embedded"),
        ("state", "not running; it starts when a command needs it"),
        ("folder", str(state.place.folder)),
    ]
    if server is not None:
        ends = "until `weaver db stop`" if state.kept else f"until {state.linger:g} s after its last user has left"
        copied = f" (a copy: user {server['user']} cannot reach the original)" if server["copied"] else ""
        rows[1] = ("state", f"running, {ends}")
        rows += [
            ("version", f"PostgreSQL {server['version']}, from {server['origin']}"),
            ("programs", f"{server['programs']}{copied}"),
            (
                "process",
                f"{server['pid']}, keeper {server['keeper']}"
                + (f", as user {server['user']}" if server["user"] else ""),
            ),
            ("socket", f"{server['socket']}, port {server['port']}"),
            ("TCP", f"127.0.0.1:{server['port']}" if server["tcp"] else "no"),
            ("log", f"{server['data']}/log"),
        ]
        rows += [("user", f"{pid} {command}") for pid, command in state.users]
    rows.append(("size", f"{state.size / 1e6:.0f} MB"))
    echo_text(table(rows))


def _own_status(settings: Settings, *, as_json: bool) -> None:
    version: str | None = None
    problem: str | None = None
    try:
        with _own_client(settings) as client:
            version = client.ask("SHOW server_version")
    except StoreError as error:
        problem = str(error)
    url, source = settings.database.safe_url, settings.sources["database.url"]
    if as_json:
        about = {"running": version is not None, "embedded": False, "url": url, "from": source, "version": version}
        echo(json_text(about | {"problem": problem}))
        return
    state = f"answers, PostgreSQL {version}" if version else f"does not answer: {problem}"
    echo_text(table([("database", f"your own, from {source}"), ("url", str(url)), ("state", state)]))


@db.command()
@click.option(
    "--show-password", is_flag=True, help="Print the password too; it then appears on the screen or in a log."
)
def url(show_password: bool) -> None:
    """Print the URL of the database. The embedded one has a URL only while it runs.

    It stays the same, unless the path of WEAVER_HOME is too long for a socket: then it changes at each start.
    """
    from weaver.core.database_url import DatabaseUrl

    settings = _settings()
    address = settings.database.url or _running_url(settings)
    parts = DatabaseUrl.parse(address)
    # For a script: characters that `echo` would replace by text are escaped as a URL does it.
    whole = address if visible(address) == address else parts.text()
    echo(whole if show_password else parts.safe_text)


def _running_url(settings: Settings) -> str:
    from weaver.walle.embedded.attachment import attach
    from weaver.walle.embedded.paths import DatabasePaths
    from weaver.walle.embedded.status import read_status

    if read_status(DatabasePaths(settings.home)).server is None:
        raise DatabaseError("the embedded database is not running; start it with: weaver db start")
    with attach(settings.home) as holding:
        return holding.url


@db.command(context_settings=_PASSED_ON)
@click.argument("arguments", nargs=-1, metavar="[PSQL ARGUMENTS]...", type=click.UNPROCESSED)
def psql(arguments: tuple[str, ...]) -> None:
    """Open psql on the database and pass ARGUMENTS to it: weaver db psql -c 'SELECT 1'."""
    settings = _settings()
    if settings.database.url is not None:
        with _own_client(settings) as client:
            client.become_psql(arguments)
    from weaver.walle.embedded.attachment import attach

    holding = attach(settings.home, linger=settings.linger)
    _client(holding).become_psql(arguments, keep=holding.lock)


@db.command()
@click.argument("file", type=click.Path(path_type=Path))
def backup(file: Path) -> None:
    """Write the database and the files of its runs to FILE, which replaces an existing one when it is complete."""
    settings = _settings()
    with _open_client(settings, f"writing the backup to {file}") as client:
        runs = client.backup(file, settings.home / "runs", version=__version__)
    echo(f"{file}: {file.stat().st_size / 1e6:.1f} MB, with the files of {runs} run{'s' * (runs != 1)}")


@db.command()
@click.argument("file", type=click.Path(path_type=Path))
@click.option(
    "--force", "--yes", is_flag=True, help="Replace existing tables, and cut the connections of other programs."
)
@click.option("--skip-unknown", is_flag=True, help="Leave out what is not Weaver's, instead of refusing the backup.")
def restore(file: Path, force: bool, skip_unknown: bool) -> None:
    """Replace the database by the backup FILE. If it fails, the database is as it was.

    Only data of Weaver's own tables are restored, and nothing in FILE is executed.
    """
    settings = _settings()
    with _open_client(settings, f"restoring {file}") as client:
        restored = client.restore(file, settings.home / "runs", force=force, skip_unknown=skip_unknown)
    runs = restored.runs
    echo(f"restored from {file}" + (f", with the files of {runs} run{'s' * (runs != 1)}" if runs else ""))
    if restored.privileges:
        echo("privileges of other roles are not restored; grant them again", err=True)


def _settings(options: dict[str, object] | None = None) -> Settings:
    from weaver.config import Settings

    return Settings.load(options)


def _embedded_settings(verb: str, options: dict[str, object] | None = None) -> Settings:
    settings = _settings(options)
    if settings.database.url is not None:
        raise ConfigError(
            f"`weaver db {verb}` is for the embedded database, and {settings.sources['database.url']} names one of your own "
            f"({settings.database.safe_url}); unset it, or {verb} yours by its own means"
        )
    return settings


@contextmanager
def _open_client(settings: Settings, activity: str) -> Iterator[Client]:
    from weaver.walle.embedded.attachment import attach, report_if_slow

    if settings.database.url is not None:
        with report_if_slow(activity, None), _own_client(settings) as client:
            yield client
        return
    with attach(settings.home, linger=settings.linger) as holding, report_if_slow(activity, None):
        yield _client(holding)


@contextmanager
def _database_url(settings: Settings, activity: str) -> Iterator[str]:
    from weaver.walle.embedded.attachment import attach, report_if_slow

    if settings.database.url is not None:
        with report_if_slow(activity, None):
            yield settings.database.url
        return
    with attach(settings.home, linger=settings.linger) as holding, report_if_slow(activity, None):
        yield holding.guarded_url


def _client(holding: Attachment) -> Client:
    from weaver.walle.embedded.binaries import find_programs
    from weaver.walle.embedded.client import Client

    return Client(holding.guarded_url, find_programs())


@contextmanager
def _own_client(settings: Settings) -> Iterator[Client]:
    """Yield the client of your own server, after a connection whose errors PostgreSQL's programs would not name."""
    from weaver.walle.connection import check_server
    from weaver.walle.embedded.binaries import find_programs
    from weaver.walle.embedded.client import open_client

    url = str(settings.database.url)
    address = asyncio.run(check_server(url))
    with open_client(url, find_programs(), address) as client:
        yield client
