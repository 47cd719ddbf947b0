"""`weaver db`: the embedded PostgreSQL, or your own. Results go to standard output, refusals to standard error."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import click

from weaver.cli.output import json_text, table
from weaver.cli.store import sure
from weaver.core.errors import ConfigError, DatabaseError

if TYPE_CHECKING:
    from weaver.config import Settings
    from weaver.walle.embedded.attachment import Attachment
    from weaver.walle.embedded.client import Client

__all__ = ["db"]

_TCP_PORT = 54318  # not 5432, where a PostgreSQL of the system is likely to be
_STATED = {"ignore_unknown_options": True, "allow_interspersed_args": False, "help_option_names": ["--help"]}


@click.group(short_help="The database: start, stop, look, back up.")
def db() -> None:
    """The database that Weaver keeps its records in: a PostgreSQL of its own that starts when it is used and stops after its
    last user, or the one that DB_URL names. docs/database.md has the promises.
    """


@db.command()
@click.option("--linger", type=float, metavar="SECONDS",
              help="Stop so many seconds after the last user has left, and not at `weaver db stop` alone.")  # fmt: skip
@click.option("--tcp", type=click.IntRange(1, 65535), is_flag=False, flag_value=_TCP_PORT, metavar="[PORT]",
              help=f"Listen on 127.0.0.1 too, on this port ({_TCP_PORT} where none is named).")  # fmt: skip
def start(linger: float | None, tcp: int | None) -> None:
    """Start the embedded server, and keep it running until `weaver db stop`, a kill or the end of the machine."""
    from weaver.walle.embedded.attachment import attach, keep

    settings = _embedded_settings("start", {"database.linger": linger})
    with attach(settings.home, linger=settings.linger, tcp=tcp) as holding:
        if linger is None:
            keep(holding)
            until = "it runs until: weaver db stop"
        else:
            until = f"it stops {linger:g} s after its last user has left"
        where = f" and on 127.0.0.1:{holding.server['port']}" if holding.server["tcp"] else ""
        click.echo(f"PostgreSQL {holding.server['version']} is running in {holding.place.folder}{where}; {until}")


@db.command()
def upgrade() -> None:
    """Make the tables, or bring those of an older Weaver up to date. What is in them stays; make a backup first."""
    from weaver.walle.migrate import upgrade as bring_up

    with _url_of(_settings(), "bringing the tables up to date") as url:
        bring_up(url)
    click.echo("the tables are up to date")


@db.command()
@click.argument("revision", default="base")
@click.option("--yes", is_flag=True, help="Do not ask.")
def downgrade(revision: str, yes: bool) -> None:
    """Take the tables back to REVISION; without one, remove them with everything in them."""
    from weaver.walle.migrate import downgrade as take_back

    settings = _settings()
    what = "remove all tables with everything in them" if revision == "base" else f"take the tables back to {revision}"
    if not yes:
        sure(f"{what} ({settings.database.safe_url or settings.home})?")
    with _url_of(settings, "taking the tables back") as url:
        take_back(url, revision)
    click.echo(f"the tables are at revision {revision}")


@db.command()
@click.option("--force", is_flag=True, help="Stop it even while others use it; their connections break.")
def stop(force: bool) -> None:
    """Stop the embedded server. While others use it, it is no longer kept, and stops when they have left."""
    from weaver.walle.embedded import attachment
    from weaver.walle.embedded.paths import DatabasePaths
    from weaver.walle.embedded.status import users_in_words

    place = DatabasePaths(_embedded_settings("stop").home)
    stopped = attachment.stop(place, force=force, users=users_in_words)
    click.echo("stopped" if stopped else "no embedded PostgreSQL is running")


@db.command()
@click.option("--json", "as_json", is_flag=True, help="One JSON object.")
def status(as_json: bool) -> None:
    """Say which database is used, whether it runs, where it lies and who uses it. Starts nothing."""
    settings = _settings()
    if settings.database.url is not None:
        _own_status(settings, as_json)
        return
    from weaver.walle.embedded.paths import DatabasePaths
    from weaver.walle.embedded.status import look

    state = look(DatabasePaths(settings.home))
    if as_json:
        click.echo(json_text(state.as_json()))
        return
    server = state.server
    rows = [
        ("database", "embedded"),
        ("state", "not running; it starts when it is used"),
        ("folder", str(state.place.folder)),
    ]
    if server is not None:
        ends = "until `weaver db stop`" if state.kept else f"until its last user has left, and {state.linger:g} s more"
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
    click.echo(table(rows))


def _own_status(settings: Settings, as_json: bool) -> None:
    try:
        version, problem = _own_client(settings).ask("SHOW server_version"), None
    except DatabaseError as error:
        version, problem = None, str(error)
    url, source = settings.database.safe_url, settings.sources["database.url"]
    if as_json:
        about = {"running": version is not None, "embedded": False, "url": url, "from": source, "version": version}
        click.echo(json_text(about | {"problem": problem}))
        return
    state = f"answers, PostgreSQL {version}" if version else f"does not answer: {problem}"
    click.echo(table([("database", f"your own, from {source}"), ("url", str(url)), ("state", state)]))


@db.command()
@click.option("--show-password", is_flag=True, help="Show it; whoever reads the screen or a log then has it.")
def url(show_password: bool) -> None:
    """Print the URL of the database. The embedded one has it while it runs, and the same one after the next start."""
    from weaver.config import hide_password

    settings = _settings()
    found = settings.database.url or _running_url(settings)
    click.echo(found if show_password else hide_password(found))


def _running_url(settings: Settings) -> str:
    from weaver.walle.embedded.attachment import attach
    from weaver.walle.embedded.paths import DatabasePaths
    from weaver.walle.embedded.status import look

    if look(DatabasePaths(settings.home)).server is None:
        raise DatabaseError("the embedded database is not running; start it with: weaver db start")
    with attach(settings.home) as holding:
        return holding.url


@db.command(context_settings=_STATED)
@click.argument("arguments", nargs=-1, metavar="[PSQL ARGUMENTS]...", type=click.UNPROCESSED)
def psql(arguments: tuple[str, ...]) -> None:
    """Open psql on the database, with what follows as its arguments: weaver db psql -c 'SELECT 1'."""
    settings = _settings()
    if settings.database.url is not None:
        _own_client(settings).become_psql(arguments)
    from weaver.walle.embedded.attachment import attach

    holding = attach(settings.home, linger=settings.linger)
    _client(holding).become_psql(arguments, keep=holding.lock)


@db.command()
@click.argument("file", type=click.Path(path_type=Path))
def backup(file: Path) -> None:
    """Write the whole database to FILE (pg_dump's custom format). FILE appears whole or not at all."""
    with _either(_settings(), f"the backup is being written to {file}") as client:
        client.backup(file)
    click.echo(f"{file}: {file.stat().st_size / 1e6:.1f} MB")


@db.command()
@click.argument("file", type=click.Path(path_type=Path))
@click.option(
    "--force", "--yes", is_flag=True, help="Replace what is in the database, and cut the connections of others."
)
def restore(file: Path, force: bool) -> None:
    """Put the content of FILE in the database's place. One that fails leaves the database as it was."""
    with _either(_settings(), f"{file} is being restored") as client:
        client.restore(file, force=force)
    click.echo(f"restored from {file}")


def _settings(given: dict[str, object] | None = None) -> Settings:
    from weaver.config import Settings

    return Settings.load(given)


def _embedded_settings(verb: str, given: dict[str, object] | None = None) -> Settings:
    settings = _settings(given)
    if settings.database.url is not None:
        raise ConfigError(
            f"`weaver db {verb}` is for the embedded database, and {settings.sources['database.url']} names one of your own "
            f"({settings.database.safe_url}); unset it, or {verb} yours by its own means"
        )
    return settings


@contextmanager
def _either(settings: Settings, doing: str) -> Iterator[Client]:
    from weaver.walle.embedded.attachment import attach, telling

    if settings.database.url is not None:
        with telling(doing, None):
            yield _own_client(settings)
        return
    with attach(settings.home, linger=settings.linger) as holding, telling(doing, None):
        yield _client(holding)


@contextmanager
def _url_of(settings: Settings, doing: str) -> Iterator[str]:
    from weaver.walle.embedded.attachment import attach, telling

    if settings.database.url is not None:
        with telling(doing, None):
            yield settings.database.url
        return
    with attach(settings.home, linger=settings.linger) as holding, telling(doing, None):
        yield holding.url


def _client(holding: Attachment) -> Client:
    from weaver.walle.embedded.binaries import find_programs
    from weaver.walle.embedded.client import Client

    return Client(holding.url, find_programs())


def _own_client(settings: Settings) -> Client:
    from weaver.walle.embedded.binaries import find_programs
    from weaver.walle.embedded.client import Client

    return Client(str(settings.database.sync_url), find_programs())
