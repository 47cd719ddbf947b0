"""Migrate: brings a database to a revision of the tables with Alembic, and reports how its tables differ from the models.

Guarantees that a migration that fails changes nothing. Its errors distinguish a database that cannot be reached, a login
that was refused, a privilege that the role lacks, and a migration that failed.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import asyncpg
from alembic import command
from alembic.config import Config
from alembic.util.exc import CommandError
from sqlalchemy.exc import DBAPIError

from weaver.core.database_url import DatabaseUrl
from weaver.core.errors import ConfigError, SchemaMismatch, StoreUnavailable
from weaver.walle.connection import connection_error

__all__ = ["check_drift", "downgrade", "upgrade"]


def upgrade(url: str, revision: str = "head") -> list[str]:
    """Bring the database up to `revision`. Return a line for each thing in its rows that needs attention.

    Raises StoreError or ConfigError; then nothing was changed.
    """
    config = _config(url)
    with _named_errors(url):
        command.upgrade(config, revision)
    return list(config.attributes.get("notes", ()))


def downgrade(url: str, revision: str = "base") -> None:
    """Take the database back to `revision`; "base" removes Weaver's tables with everything in them."""
    with _named_errors(url):
        command.downgrade(_config(url), revision)


def check_drift(url: str) -> None:
    """Raise SchemaMismatch where the models and the migrated tables differ."""
    try:
        with _named_errors(url):
            command.check(_config(url))
    except ConfigError as error:
        raise SchemaMismatch(str(error)) from None


def _config(url: str) -> Config:
    config = Config()
    config.set_main_option("script_location", str(Path(__file__).with_name("migrations")).replace("%", "%%"))
    config.attributes["url"] = url
    return config


@contextmanager
def _named_errors(url: str) -> Iterator[None]:
    place = DatabaseUrl.parse(url)
    try:
        yield
    except CommandError as error:
        raise ConfigError(f"the migration did not run: {error}") from error
    except (OSError, asyncpg.PostgresError, asyncpg.InterfaceError) as error:  # raised by the driver while connecting
        raise connection_error(place, error) or StoreUnavailable(
            f"{place.description} cannot be reached: {error}"
        ) from error
    except DBAPIError as error:
        cause: BaseException = error
        while (deeper := getattr(cause, "orig", None) or cause.__cause__) is not None:
            cause = deeper
        if (named := connection_error(place, cause)) is not None:  # SQLAlchemy wraps the errors of connecting, too
            raise named from error
        raise StoreUnavailable(f"the migration failed, and was taken back whole: {error.orig}") from error
