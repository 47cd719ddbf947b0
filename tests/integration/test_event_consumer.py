"""Consumers on PostgreSQL keep the contract of every consumer, and survive what happens to connections."""

from __future__ import annotations

from tests.fixtures.postgres import InPostgres

from weaver.testing.contracts import ConsumerDeskContract, EventConsumerContract


class TestPostgresConsumerDesk(InPostgres, ConsumerDeskContract): ...


class TestEventConsumerOnPostgres(InPostgres, EventConsumerContract): ...
