"""The models: what they say of the tables, and what a row of them shows, without a database."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

import pytest
from sqlalchemy import BigInteger, String, inspect
from sqlalchemy.dialects import postgresql
from sqlalchemy.schema import CreateTable

from weaver.events.offsets import MOST_CONSUMER_CHARACTERS
from weaver.events.registry import MOST_TYPE_CHARACTERS
from weaver.walle.models import (
    Base,
    ConsumerAttempt,
    ConsumerOffset,
    DeadLetterRow,
    FillRow,
    OrderRow,
    OutboxEvent,
    ResultRow,
    Run,
)

pytestmark = pytest.mark.log

TABLES = {
    OutboxEvent: "outbox",
    ConsumerAttempt: "consumer_attempts",
    ConsumerOffset: "consumer_offsets",
    DeadLetterRow: "dead_letters",
    Run: "runs",
    OrderRow: "orders",
    FillRow: "fills",
    ResultRow: "results",
}


def ddl(model: Any) -> str:
    return " ".join(str(CreateTable(model.__table__).compile(dialect=postgresql.dialect())).split())


def test_the_tables_are_those_and_no_others() -> None:
    assert {model.__tablename__ for model in TABLES} == set(Base.metadata.tables) == set(TABLES.values())


def test_an_event_is_created_from_its_type_and_payload() -> None:
    when = datetime(2024, 1, 2, tzinfo=UTC)
    event = OutboxEvent(type="orders.Placed", payload={"a": [1, None]}, created_at=when)
    assert (event.type, event.payload, event.created_at) == ("orders.Placed", {"a": [1, None]}, when)
    assert event.id is None, "the database gives it"
    with pytest.raises(TypeError, match="colour"):
        OutboxEvent(colour="red")


def test_the_outbox_is_what_the_design_says() -> None:
    said = ddl(OutboxEvent)
    assert "id BIGINT GENERATED ALWAYS AS IDENTITY" in said
    assert "type VARCHAR(100) NOT NULL" in said
    assert "payload JSONB NOT NULL" in said
    assert "created_at TIMESTAMP WITH TIME ZONE DEFAULT now() NOT NULL" in said
    assert "PRIMARY KEY (id)" in said
    names = {index.name: [column.name for column in index.columns] for index in OutboxEvent.__table__.indexes}
    assert names["idx_outbox_type"] == ["type"]
    assert names["idx_outbox_created_at"] == ["created_at"]
    assert names["idx_outbox_type_created"] == ["type", "created_at"]


def test_offsets_are_what_the_design_says() -> None:
    said = ddl(ConsumerOffset)
    assert "consumer_id VARCHAR(100) NOT NULL" in said
    assert "last_offset BIGINT DEFAULT '-1' NOT NULL" in said
    assert "updated_at TIMESTAMP WITH TIME ZONE DEFAULT now() NOT NULL" in said
    assert "PRIMARY KEY (consumer_id)" in said


def test_the_bounds_that_are_checked_before_are_those_of_the_columns() -> None:
    for model, column, most in (
        (OutboxEvent, "type", MOST_TYPE_CHARACTERS),
        (DeadLetterRow, "event_type", MOST_TYPE_CHARACTERS),
        (ConsumerOffset, "consumer_id", MOST_CONSUMER_CHARACTERS),
        (DeadLetterRow, "consumer_id", MOST_CONSUMER_CHARACTERS),
    ):
        kind = inspect(model).columns[column].type
        assert isinstance(kind, String)
        assert kind.length == most


def test_a_result_goes_with_its_run() -> None:
    (key,) = ResultRow.__table__.foreign_keys
    assert (key.target_fullname, key.ondelete) == ("runs.id", "CASCADE")


@pytest.mark.parametrize("model", [OrderRow, FillRow])
def test_orders_and_fills_have_no_foreign_key_which_would_cost_a_trigger_for_each_row(model: Any) -> None:
    assert not model.__table__.foreign_keys
    assert model.__table__.primary_key.columns.keys()[0] == "run_id"


@pytest.mark.parametrize("model", list(TABLES))
def test_every_offset_and_instant_has_64_bits_and_every_moment_a_time_zone(model: Any) -> None:
    for column in model.__table__.columns:
        if column.name.endswith(("_ns", "_offset")) or (column.name in ("id", "seq", "number") and model is not Run):
            assert isinstance(column.type, BigInteger), column
        if column.name.endswith("_at"):
            assert column.type.timezone, column


def test_a_row_shows_what_it_is_and_nothing_of_its_payload() -> None:
    assert repr(OutboxEvent(id=7, type="orders.Placed", payload={"secret": 1})) == "<OutboxEvent 7 orders.Placed>"
    assert repr(ConsumerOffset(consumer_id="one", last_offset=-1)) == "<ConsumerOffset one -1>"
