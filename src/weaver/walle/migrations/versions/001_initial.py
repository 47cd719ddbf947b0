"""Tables of the event log, of consumers, and of runs with their orders, fills and results."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects.postgresql import JSONB

revision = "001"
down_revision = None
branch_labels = None
depends_on = None

_NOW = sa.text("now()")


def _moment(name: str, *, nullable: bool = False) -> sa.Column[object]:
    return sa.Column(name, sa.DateTime(timezone=True), nullable=nullable, server_default=None if nullable else _NOW)


def upgrade() -> None:
    op.create_table(
        "outbox",
        sa.Column("id", sa.BigInteger, sa.Identity(always=True), primary_key=True),
        sa.Column("type", sa.String(100), nullable=False),
        sa.Column("payload", JSONB, nullable=False),
        _moment("created_at"),
    )
    op.create_index("idx_outbox_type", "outbox", ["type"])
    op.create_index("idx_outbox_created_at", "outbox", ["created_at"])
    op.create_index("idx_outbox_type_created", "outbox", ["type", "created_at"])
    op.create_index("idx_outbox_run", "outbox", [sa.text("(payload ->> 'run_id')"), "id"])

    op.create_table(
        "consumer_offsets",
        sa.Column("consumer_id", sa.String(100), primary_key=True),
        sa.Column("last_offset", sa.BigInteger, nullable=False, server_default=sa.text("'-1'")),
        _moment("updated_at"),
    )
    op.create_table(
        "dead_letters",
        sa.Column("id", sa.BigInteger, sa.Identity(always=True), primary_key=True),
        sa.Column("consumer_id", sa.String(100), nullable=False),
        sa.Column("event_offset", sa.BigInteger, nullable=False),
        sa.Column("event_type", sa.String(100), nullable=False),
        sa.Column("payload", JSONB),
        sa.Column("error", sa.Text, nullable=False),
        sa.Column("attempts", sa.Integer, nullable=False),
        _moment("created_at"),
    )
    op.create_index("idx_dead_letters_consumer", "dead_letters", ["consumer_id", "id"])

    op.create_table(
        "runs",
        sa.Column("id", sa.String(100), primary_key=True),
        sa.Column("mode", sa.String(20), nullable=False),
        sa.Column("strategy", sa.Text, nullable=False),
        sa.Column("status", sa.String(20), nullable=False),
        sa.Column("config", JSONB, nullable=False),
        sa.Column("bars_total", sa.BigInteger),
        sa.Column("bars_done", sa.BigInteger, nullable=False, server_default=sa.text("0")),
        sa.Column("error", sa.Text),
        sa.Column("lock_key", sa.BigInteger, nullable=False),
        _moment("created_at"),
        _moment("ended_at", nullable=True),
    )
    op.create_index("idx_runs_created_at", "runs", ["created_at"])
    op.create_table(
        "orders",
        sa.Column("run_id", sa.String(100), sa.ForeignKey("runs.id", ondelete="CASCADE"), primary_key=True),
        sa.Column("number", sa.BigInteger, primary_key=True),
        sa.Column("symbol", sa.Text, nullable=False),
        sa.Column("side", sa.String(4), nullable=False),
        sa.Column("kind", sa.String(20), nullable=False),
        sa.Column("quantity", sa.Float(53), nullable=False),
        sa.Column("status", sa.String(20), nullable=False),
        sa.Column("reason", sa.Text),
        sa.Column("tag", sa.Text),
        sa.Column("submitted_ns", sa.BigInteger, nullable=False),
        sa.Column("done_ns", sa.BigInteger),
        sa.Column("filled_quantity", sa.Float(53), nullable=False),
        sa.Column("average_price", sa.Float(53)),
    )
    op.create_table(
        "fills",
        sa.Column("run_id", sa.String(100), sa.ForeignKey("runs.id", ondelete="CASCADE"), primary_key=True),
        sa.Column("seq", sa.BigInteger, primary_key=True),
        sa.Column("number", sa.BigInteger, nullable=False),
        sa.Column("symbol", sa.Text, nullable=False),
        sa.Column("side", sa.String(4), nullable=False),
        sa.Column("ts_ns", sa.BigInteger, nullable=False),
        sa.Column("quantity", sa.Float(53), nullable=False),
        sa.Column("price", sa.Float(53), nullable=False),
        sa.Column("commission", sa.Float(53), nullable=False),
        sa.Column("tag", sa.Text),
    )
    op.create_table(
        "results",
        sa.Column("run_id", sa.String(100), sa.ForeignKey("runs.id", ondelete="CASCADE"), primary_key=True),
        sa.Column("stats", JSONB, nullable=False),
        sa.Column("equity", JSONB, nullable=False),
        sa.Column("warnings", JSONB, nullable=False, server_default=sa.text("'[]'::jsonb")),
        sa.Column("folder", sa.Text),
        sa.Column("elapsed_s", sa.Float(53), nullable=False),
        _moment("created_at"),
    )


def downgrade() -> None:
    for table in ("results", "fills", "orders", "runs", "dead_letters", "consumer_offsets", "outbox"):
        op.drop_table(table)
