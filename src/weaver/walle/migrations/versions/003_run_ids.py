"""The id of a run has the form that Weaver makes, because it names a folder.

Rows of another form, which only another program can have stored, stay and are listed; Weaver reads, writes and removes no
file for them (core/run_folders.py). The constraint is then not validated: it holds for new and changed rows alone.

The `run_id` of other tables has no such constraint: results refers to runs, and orders and fills are read by the id of a run
alone. A check of each of a million rows would cost time for nothing.
"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import context, op

from weaver.core.run_id import shown_run_id

revision = "003"
down_revision = "002"
branch_labels = None
depends_on = None

_NAME = "runs_id_form"
_FORM = "^[0-9]{8}T[0-9]{12}Z-[0-9a-z]{8}$"  # a copy of core.run_id: a migration never changes


def upgrade() -> None:
    op.execute(f"ALTER TABLE runs ADD CONSTRAINT {_NAME} CHECK (id ~ '{_FORM}') NOT VALID")
    op.execute(
        f"DO $$ BEGIN IF NOT EXISTS (SELECT FROM runs WHERE NOT id ~ '{_FORM}') THEN "
        f"ALTER TABLE runs VALIDATE CONSTRAINT {_NAME}; END IF; END $$"
    )
    if not context.is_offline_mode():
        ids = (
            op.get_bind().execute(sa.text(f"SELECT id FROM runs WHERE NOT id ~ '{_FORM}' ORDER BY id")).scalars().all()
        )
        if ids:
            examples = ", ".join(map(shown_run_id, ids[:3]))
            context.config.attributes.setdefault("notes", []).append(
                f"{len(ids)} runs have an id that Weaver did not make ({examples}): no file is read or removed for them; "
                "weaver runs delete ID removes their rows; before that, a backup of this database cannot be restored"
            )


def downgrade() -> None:
    op.drop_constraint(_NAME, "runs", type_="check")
