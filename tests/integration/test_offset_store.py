"""Offsets in PostgreSQL keep the contract of every offset store, and outlive whoever wrote them."""

from __future__ import annotations

from tests.fixtures.postgres import InPostgres

from weaver.testing.contracts import OffsetStoreContract


class TestPostgresOffsetStore(InPostgres, OffsetStoreContract): ...
