"""The tables as SQLAlchemy models. The migrations create them; a test compares the two.

Weaver itself reads and writes by plain SQL (`log/event_log.py`, `runs.py`, `consumer_store.py`), which is faster. The models
serve Alembic and code of yours that uses SQLAlchemy.
"""

from __future__ import annotations

from datetime import datetime
from typing import Any

from sqlalchemy import (
    BigInteger,
    CheckConstraint,
    DateTime,
    Float,
    ForeignKey,
    Identity,
    Index,
    Integer,
    String,
    Text,
    func,
    text,
)
from sqlalchemy.dialects.postgresql import JSONB
from sqlalchemy.orm import DeclarativeBase, Mapped, mapped_column

from weaver.core.run_id import RUN_ID_PATTERN

__all__ = [
    "Base",
    "ConsumerAttempt",
    "ConsumerOffset",
    "DeadLetterRow",
    "FillRow",
    "OrderRow",
    "OutboxEvent",
    "ResultRow",
    "Run",
]


class Base(DeclarativeBase):
    """Base of all tables of Weaver."""


class OutboxEvent(Base):
    """One event of the log. `payload` is the whole envelope. An id is never used twice, and some ids are never used."""

    __tablename__ = "outbox"
    __table_args__ = (
        Index("idx_outbox_type", "type"),
        Index("idx_outbox_created_at", "created_at"),
        Index("idx_outbox_type_created", "type", "created_at"),
        Index("idx_outbox_run", text("(payload ->> 'run_id')"), "id"),
    )

    id: Mapped[int] = mapped_column(BigInteger, Identity(always=True), primary_key=True)
    type: Mapped[str] = mapped_column(String(100))
    payload: Mapped[dict[str, Any]] = mapped_column(JSONB)
    created_at: Mapped[datetime] = mapped_column(DateTime(timezone=True), server_default=func.now())

    def __repr__(self) -> str:
        return f"<OutboxEvent {self.id} {self.type}>"


class ConsumerOffset(Base):
    """Progress of a consumer: the id of the last event that it has handled, -1 before the first."""

    __tablename__ = "consumer_offsets"

    consumer_id: Mapped[str] = mapped_column(String(100), primary_key=True)
    last_offset: Mapped[int] = mapped_column(BigInteger, default=-1, server_default=text("'-1'"))
    updated_at: Mapped[datetime] = mapped_column(DateTime(timezone=True), server_default=func.now())

    def __repr__(self) -> str:
        return f"<ConsumerOffset {self.consumer_id} {self.last_offset}>"


class ConsumerAttempt(Base):
    """The event that a consumer was about to handle when it last reported, and how often it has begun with it."""

    __tablename__ = "consumer_attempts"

    consumer_id: Mapped[str] = mapped_column(String(100), primary_key=True)
    event_offset: Mapped[int] = mapped_column(BigInteger)
    attempts: Mapped[int] = mapped_column(Integer)
    updated_at: Mapped[datetime] = mapped_column(DateTime(timezone=True), server_default=func.now())


class DeadLetterRow(Base):
    """An event that a consumer failed to handle."""

    __tablename__ = "dead_letters"
    __table_args__ = (Index("idx_dead_letters_consumer", "consumer_id", "id"),)

    id: Mapped[int] = mapped_column(BigInteger, Identity(always=True), primary_key=True)
    consumer_id: Mapped[str] = mapped_column(String(100))
    event_offset: Mapped[int] = mapped_column(BigInteger)
    event_type: Mapped[str] = mapped_column(String(100))
    payload: Mapped[dict[str, Any] | None] = mapped_column(JSONB)
    error: Mapped[str] = mapped_column(Text)
    attempts: Mapped[int] = mapped_column(Integer)
    created_at: Mapped[datetime] = mapped_column(DateTime(timezone=True), server_default=func.now())


class Run(Base):
    """One run and its status. Its writer holds the advisory lock `lock_key`, so that a writer that died is noticed.

    `id` has the form of the ids that Weaver makes, because it names the folder of the run's files.
    """

    __tablename__ = "runs"
    __table_args__ = (
        Index("idx_runs_created_at", "created_at"),
        CheckConstraint(f"id ~ '^{RUN_ID_PATTERN}$'", name="runs_id_form"),
    )

    id: Mapped[str] = mapped_column(String(100), primary_key=True)
    mode: Mapped[str] = mapped_column(String(20))
    strategy: Mapped[str] = mapped_column(Text)
    status: Mapped[str] = mapped_column(String(20))
    config: Mapped[dict[str, Any]] = mapped_column(JSONB)
    bars_total: Mapped[int | None] = mapped_column(BigInteger)
    bars_done: Mapped[int] = mapped_column(BigInteger, default=0, server_default=text("0"))
    error: Mapped[str | None] = mapped_column(Text)
    lock_key: Mapped[int] = mapped_column(BigInteger)
    created_at: Mapped[datetime] = mapped_column(DateTime(timezone=True), server_default=func.now())
    ended_at: Mapped[datetime | None] = mapped_column(DateTime(timezone=True))


class OrderRow(Base):
    """One order of a run, in its last stored state."""

    __tablename__ = "orders"

    run_id: Mapped[str] = mapped_column(String(100), primary_key=True)
    number: Mapped[int] = mapped_column(BigInteger, primary_key=True)
    symbol: Mapped[str] = mapped_column(Text)
    side: Mapped[str] = mapped_column(String(4))
    kind: Mapped[str] = mapped_column(String(20))
    quantity: Mapped[float] = mapped_column(Float(53))
    status: Mapped[str] = mapped_column(String(20))
    reason: Mapped[str | None] = mapped_column(Text)
    tag: Mapped[str | None] = mapped_column(Text)
    submitted_ns: Mapped[int] = mapped_column(BigInteger)
    done_ns: Mapped[int | None] = mapped_column(BigInteger)
    filled_quantity: Mapped[float] = mapped_column(Float(53))
    average_price: Mapped[float | None] = mapped_column(Float(53))


class FillRow(Base):
    """One execution; `seq` counts the run's fills from 1. `ts_ns` is in nanoseconds since 1970-01-01 UTC."""

    __tablename__ = "fills"

    run_id: Mapped[str] = mapped_column(String(100), primary_key=True)
    seq: Mapped[int] = mapped_column(BigInteger, primary_key=True)
    number: Mapped[int] = mapped_column(BigInteger)
    symbol: Mapped[str] = mapped_column(Text)
    side: Mapped[str] = mapped_column(String(4))
    ts_ns: Mapped[int] = mapped_column(BigInteger)
    quantity: Mapped[float] = mapped_column(Float(53))
    price: Mapped[float] = mapped_column(Float(53))
    commission: Mapped[float] = mapped_column(Float(53))
    tag: Mapped[str | None] = mapped_column(Text)


class ResultRow(Base):
    """The result of a run: statistics and a downsampled equity curve; `folder` holds the files with all columns."""

    __tablename__ = "results"

    run_id: Mapped[str] = mapped_column(ForeignKey("runs.id", ondelete="CASCADE"), primary_key=True)
    stats: Mapped[dict[str, Any]] = mapped_column(JSONB)
    equity: Mapped[list[Any]] = mapped_column(JSONB)
    warnings: Mapped[list[Any]] = mapped_column(JSONB, server_default=text("'[]'::jsonb"))
    folder: Mapped[str | None] = mapped_column(Text)
    elapsed_s: Mapped[float] = mapped_column(Float(53))
    created_at: Mapped[datetime] = mapped_column(DateTime(timezone=True), server_default=func.now())
