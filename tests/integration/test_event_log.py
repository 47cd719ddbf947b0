"""The event log in PostgreSQL keeps the contract of every log, and what only a database can promise."""

from __future__ import annotations

from tests.fixtures.postgres import InPostgres

from weaver.testing.contracts import EventLogContract, RefusalContract


class TestPostgresEventLog(InPostgres, EventLogContract): ...


class TestPostgresEventLogRefuses(InPostgres, RefusalContract): ...
