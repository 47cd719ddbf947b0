"""Alembic's environment: runs the migrations in one transaction on the database that the caller or DB_URL names."""

from __future__ import annotations

import asyncio
import os

from alembic import context
from sqlalchemy import Connection, pool
from sqlalchemy.ext.asyncio import create_async_engine

from weaver.walle.connection import Connector
from weaver.walle.models import Base

# Two processes that migrate at once would conflict: the second one waits for the first, and finds nothing to do.
_LOCK = 0x5EA7E4


def _url() -> str:
    url: str | None = (
        context.config.attributes.get("url")
        or os.environ.get("DB_URL")
        or context.config.get_main_option("sqlalchemy.url")
    )
    if not url:
        raise SystemExit(
            "no database: set DB_URL=postgresql+asyncpg://user:password@host:5432/name, or use: weaver db upgrade"
        )
    return url


def _migrate(connection: Connection) -> None:
    connection.exec_driver_sql(f"SELECT pg_advisory_xact_lock({_LOCK})")
    context.configure(connection=connection, target_metadata=Base.metadata, compare_server_default=True)
    with context.begin_transaction():
        context.run_migrations()


async def _online() -> None:
    connector = Connector(_url())
    engine = create_async_engine(
        "postgresql+asyncpg://",
        async_creator=lambda: connector.connect(application="weaver migration"),
        poolclass=pool.NullPool,
    )
    try:
        async with engine.begin() as connection:
            await connection.run_sync(_migrate)
    finally:
        await engine.dispose()


if context.is_offline_mode():
    context.configure(
        dialect_name="postgresql",
        target_metadata=Base.metadata,
        literal_binds=True,
        dialect_opts={"paramstyle": "named"},
    )
    with context.begin_transaction():
        context.run_migrations()
else:
    asyncio.run(_online())
