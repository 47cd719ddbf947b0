"""Migrating: brings a database to a revision, and says what it changed. It needs Alembic; nothing else here does."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import asyncpg
from alembic import command
from alembic.config import Config
from alembic.util.exc import CommandError
from sqlalchemy.exc import DBAPIError

from weaver.core.errors import ConfigError, SchemaMismatch, StoreUnavailable

__all__ = ["check_drift", "downgrade", "upgrade"]


def upgrade(url: str, revision: str = "head") -> None:
    """Bring the database up to `revision`. Raises StoreUnavailable or ConfigError; then nothing was changed."""
    with _named():
        command.upgrade(_config(url), revision)


def downgrade(url: str, revision: str = "base") -> None:
    """Take the database back to `revision`; "base" removes Weaver's tables with everything in them."""
    with _named():
        command.downgrade(_config(url), revision)


def check_drift(url: str) -> None:
    """Raise SchemaMismatch where the models and the migrated tables differ."""
    try:
        with _named():
            command.check(_config(url))
    except ConfigError as error:
        raise SchemaMismatch(str(error)) from None


def _config(url: str) -> Config:
    config = Config()
    config.set_main_option("script_location", str(Path(__file__).with_name("migrations")).replace("%", "%%"))
    config.attributes["url"] = url
    return config


@contextmanager
def _named() -> Iterator[None]:
    try:
        yield
    except CommandError as error:
        raise ConfigError(f"the migration did not run: {error}") from error
    except (OSError, asyncpg.PostgresConnectionError, asyncpg.CannotConnectNowError) as error:
        raise StoreUnavailable(f"the database cannot be reached: {error}") from error
    except DBAPIError as error:
        raise StoreUnavailable(f"the migration failed, and was taken back whole: {error.orig}") from error
